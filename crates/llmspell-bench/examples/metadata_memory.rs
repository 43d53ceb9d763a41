//! Measures a metadata index: RAM per entry and field, and the time of building and querying it.
//!
//! ```text
//! cargo run --release -p llmspell-bench --features measure --example metadata_memory [entries]
//! ```

use std::time::Instant;

use llmspell_storage::{
    EntryTimes, Filter, IndexType, Metadata, MetadataIndex, MetadataIndexConfig, OwnTime, Timestamp,
};
use serde_json::json;

const FIELDS: [&str; 7] = ["section", "lang", "tags", "size", "created", "draft", "title"];
/// How often each filter is asked.
const EVALUATIONS: usize = 21;

fn main() -> anyhow::Result<()> {
    let entries: u32 = std::env::args().nth(1).map_or(Ok(100_000), |count| count.parse())?;
    let all: Vec<Metadata> = (0..entries).map(entry).collect();

    let config = MetadataIndexConfig {
        bytes: usize::MAX,
        bytes_per_point: 0,
    };
    let mut index = MetadataIndex::new(config);
    // Learned as strings, dates take 21 bytes per entry.
    index.configure_field("created", IndexType::Date)?;
    let resident = resident_bytes();
    let start = Instant::now();
    for (point, metadata) in (0..).zip(&all) {
        index.insert(point, metadata);
    }
    let (grown, took) = (resident_bytes().saturating_sub(resident), start.elapsed());
    let per_entry = |bytes: usize| bytes as f64 / f64::from(entries);
    println!(
        "{entries} entries inserted in {took:.0?}, {:.2} µs each",
        took.as_secs_f64() * 1e6 / f64::from(entries)
    );
    for field in FIELDS {
        println!(
            "{field:>8} {:6.2} bytes per entry",
            per_entry(index.field_bytes(&field.into()).unwrap_or(0))
        );
    }
    println!(
        "   total {:6.2} bytes per entry counted, {:.2} resident",
        per_entry(index.memory_bytes()),
        per_entry(grown)
    );

    let mut at_once = MetadataIndex::new(config);
    at_once.configure_field("created", IndexType::Date)?;
    let resident = resident_bytes();
    let start = Instant::now();
    at_once.insert_all((0..).zip(&all));
    let (grown, took) = (resident_bytes().saturating_sub(resident), start.elapsed());
    println!(
        "all at once in {took:.0?}, {:.2} µs each: {:6.2} bytes per entry counted, {:.2} resident",
        took.as_secs_f64() * 1e6 / f64::from(entries),
        per_entry(at_once.memory_bytes()),
        per_entry(grown)
    );

    for text in [
        "section = \"s3\"",
        "section = \"s3\" and lang = \"l1\" and size > 30000",
        "size between 1000 and 50000",
        "created >= \"2025-06-01\"",
        "tags contains \"t3\" and not draft = true",
        "title matches \"w3 w17\"",
    ] {
        let filter: Filter = text.parse()?;
        let compiled = filter.compile(index.dates())?;
        anyhow::ensure!(index.candidates(&filter)? == at_once.candidates(&filter)?, "{text}");
        let expected = all.iter().filter(|metadata| compiled.matches(metadata)).count() as u64;
        let mut times = Vec::new();
        for _ in 0..EVALUATIONS {
            let start = Instant::now();
            let count = index.cardinality(&filter)?;
            times.push(start.elapsed());
            anyhow::ensure!(count == Some(expected), "{text}: {count:?} instead of {expected}");
        }
        times.sort_unstable();
        let took = times[EVALUATIONS / 2];
        println!("{took:>10.1?} for {expected:>7}: {text}");
    }

    let start = Instant::now();
    let times = [OwnTime::Event, OwnTime::Created];
    let mut timed = index.clone();
    times.into_iter().for_each(|time| timed.index_time(time));
    (0..entries).for_each(|point| timed.fill_times(point, &times_of(point)));
    let took = start.elapsed();
    for time in times {
        let bytes = timed.field_bytes(&time.into()).unwrap_or(0);
        println!("{:>12} {:6.2} bytes per entry", time.name(), per_entry(bytes));
    }
    println!("{took:.1?} to index both times of all");

    let mut copy = index.clone();
    let start = Instant::now();
    for point in entries..entries + 1_000 {
        let before = copy.clone();
        copy.insert(point, &entry(point));
        drop(before);
    }
    println!("{:.1?} per insert into a shared index", start.elapsed() / 1_000);
    Ok(())
}

/// An event at some millisecond of a year; created in batches of 1,000.
fn times_of(number: u32) -> EntryTimes {
    let event = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) % (365 * 86_400_000);
    EntryTimes {
        event_time: Some(Timestamp::from_millis(1_735_689_600_000 + event as i64)),
        created_at: Some(Timestamp::from_millis(
            1_795_341_600_000 + i64::from(number / 1_000) * 137,
        )),
        updated_at: None,
    }
}

/// Two strings of few values, tags, an integer, a date, a boolean, and a text of eight words of a natural distribution.
fn entry(number: u32) -> Metadata {
    let mut state = u64::from(number) + 1;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    };
    // Zipf's law over 30,000 words, near enough.
    let mut word = || format!("w{}", (30_000_f64.powf(random())) as u32);
    let title = (0..8).map(|_| word()).collect::<Vec<_>>().join(" ");
    let tags: Vec<String> = (0..3)
        .map(|_| format!("t{}", (random() * random() * 40.0) as u32))
        .collect();
    let seconds = (random() * 31_536_000.0) as u32;
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let created = format!(
        "2025-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        days / 31 + 1,
        days % 28 + 1,
        clock / 3_600,
        clock / 60 % 60,
        clock % 60
    );
    let fields = json!({
        "section": format!("s{}", (random() * 20.0) as u32),
        "lang": format!("l{}", (random() * random() * 8.0) as u32),
        "tags": tags,
        "size": (100.0 * 1_000_f64.powf(random())) as u32,
        "created": created,
        "draft": random() < 0.1,
        "title": title,
    });
    fields.as_object().cloned().unwrap_or_default()
}

/// RAM of the process where the system tells it, else 0.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.unwrap_or(0) * 1_024
}
