//! Measures what a metadata index adds to a load, and the first filter after opening.
//!
//! ```text
//! cargo run --release -p llmspell-bench --features measure --example metadata_load -- DIR COUNT DIM [METADATA.jsonl] [graph]
//! ```
//!
//! Loads into new directories under `DIR`, durably, in turns without an index and with one live: a filter has asked before
//! and asks after. Medians; vectors are noise. Without a file of metadata, entries have six fields. With `graph`
//! the graph is built too, and files of both.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use llmspell_storage::{
    Database, DatabaseOptions, Filter, HNSWConfig, HNSWVectorStorage, Metadata, StateScope, VectorEntry,
};
use serde_json::json;

const BATCH: usize = 1_000;
/// Loads of each kind, as many as this has room for, and at most.
const ROUNDS_ENTRIES: usize = 300_000;
const ROUNDS_MAX: usize = 5;
const SINGLE: usize = 200;

struct Input {
    dim: usize,
    metadata: Vec<Metadata>,
}

impl Input {
    fn entry(&self, number: usize) -> VectorEntry {
        let mut state = number as u64 + 1;
        let mut component = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        };
        let vector: Vec<f32> = (0..self.dim).map(|_| component()).collect();
        VectorEntry::new(format!("entry-{number:08}"), vector)
            .with_metadata(serde_json::Value::Object(self.metadata[number].clone()))
    }

    async fn load(&self, vectors: &HNSWVectorStorage, numbers: std::ops::Range<usize>) -> anyhow::Result<Duration> {
        let mut took = Duration::ZERO;
        for first in numbers.clone().step_by(BATCH) {
            let batch = (first..numbers.end.min(first + BATCH))
                .map(|number| self.entry(number))
                .collect();
            let start = Instant::now();
            vectors.insert(batch).await?;
            took += start.elapsed();
        }
        Ok(took)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, count, dim, rest @ ..] = arguments.as_slice() else {
        anyhow::bail!("DIR COUNT DIM [METADATA.jsonl] [graph]");
    };
    let (count, dim): (usize, usize) = (count.parse()?, dim.parse()?);
    let with_graph = rest.last().is_some_and(|last| last == "graph");
    let file = rest.first().filter(|file| *file != "graph");
    let metadata = match file {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("read {file}"))?
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<Vec<Metadata>, _>>()?,
        None => Vec::new(),
    };
    let metadata = (0..count).map(|number| match metadata.len() {
        0 => six_fields(number),
        len => metadata[number % len].clone(),
    });
    let input = Input {
        dim,
        metadata: metadata.collect(),
    };
    let field = if file.is_some() { "section" } else { "lang" };
    let filter = Filter::eq(
        field,
        input.metadata[0]
            .get(field)
            .and_then(|value| value.as_str())
            .unwrap_or("l1"),
    );
    let dir = Path::new(dir);

    let (mut without, mut live) = (Vec::new(), Vec::new());
    // The graph of a million would take minutes each time.
    let rounds_min = usize::from(!with_graph);
    let rounds = (ROUNDS_ENTRIES / count.max(1)).clamp(rounds_min, ROUNDS_MAX);
    for _ in 0..rounds {
        for (is_live, times) in [(false, &mut without), (true, &mut live)] {
            let dir = dir.join("round");
            let (database, vectors) = open(&dir, dim, with_graph).await?;
            times.push(load(&input, &vectors, is_live.then_some(&filter), with_graph).await?);
            drop(vectors);
            database.close().await?;
            std::fs::remove_dir_all(&dir)?;
        }
    }
    for (place, what) in ["inserted", "inserted and indexed"]
        .into_iter()
        .enumerate()
        .take(2 * rounds)
    {
        let [without, live] = [&without, &live].map(|times| median(times.iter().map(|times| times[place]).collect()));
        let more = 100.0 * (live.as_secs_f64() / without.as_secs_f64() - 1.0);
        println!("{count} x {dim} {what} in {without:.2?}, with a live index in {live:.2?}: {more:+.1} %");
    }

    let (database, vectors) = open(&dir.join("without"), dim, with_graph).await?;
    input.load(&vectors, 0..count).await?;
    singles(&input, &vectors, "without the index").await?;
    let start = Instant::now();
    let matching = vectors.count_matching(&StateScope::Global, &filter).await?;
    println!("first filter, {matching} match: {:.1?}", start.elapsed());
    let index_bytes = loop {
        let stats = vectors.stats_for_scope(&StateScope::Global).await?;
        if stats.metadata_index_bytes > 0 {
            break stats.metadata_index_bytes;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let took = start.elapsed();
    println!(
        "index made within {took:.1?}, {:.1} bytes an entry",
        index_bytes as f64 / count as f64
    );
    let start = Instant::now();
    vectors.count_matching(&StateScope::Global, &filter).await?;
    println!("filter with it: {:.1?}", start.elapsed());
    drop(vectors);
    database.close().await?;

    let (database, vectors) = open(&dir.join("live"), dim, with_graph).await?;
    load(&input, &vectors, Some(&filter), with_graph).await?;
    let start = Instant::now();
    vectors.count_matching(&StateScope::Global, &filter).await?;
    println!("filter after the load: {:.1?}", start.elapsed());
    let stats = vectors.stats_for_scope(&StateScope::Global).await?;
    println!("{:.1} bytes an entry", stats.metadata_index_bytes as f64 / count as f64);
    singles(&input, &vectors, "with the index").await?;
    if with_graph {
        let start = Instant::now();
        vectors.build_index().await?;
        println!("graph and files in {:.1?}", start.elapsed());
        drop(vectors);
        database.close().await?;
        let (_database, vectors) = open(&dir.join("live"), dim, with_graph).await?;
        vectors.count(&StateScope::Global).await?;
        let start = Instant::now();
        let again = vectors.count_matching(&StateScope::Global, &filter).await?;
        println!("first filter after opening, {again} match: {:.1?}", start.elapsed());
    }
    Ok(())
}

async fn open(dir: &Path, dim: usize, with_graph: bool) -> anyhow::Result<(Database, HNSWVectorStorage)> {
    let options = DatabaseOptions::new();
    let options = if with_graph {
        options
    } else {
        options.graph_points_min(u64::MAX)
    };
    let database = options.open(dir).await?;
    let vectors = database.vectors("s", dim, HNSWConfig::fast()).await?;
    Ok((database, vectors))
}

/// How long inserting takes, and how long until the index of what a filter has asked before, or the graph, is there too.
async fn load(
    input: &Input,
    vectors: &HNSWVectorStorage,
    filter: Option<&Filter>,
    with_graph: bool,
) -> anyhow::Result<[Duration; 2]> {
    let count = input.metadata.len();
    let mut inserting = input.load(vectors, 0..BATCH.min(count)).await?;
    if let Some(filter) = filter {
        vectors.count_matching(&StateScope::Global, filter).await?;
    }
    inserting += input.load(vectors, BATCH.min(count)..count).await?;
    let start = Instant::now();
    if filter.is_some() || with_graph {
        vectors.build_index().await?;
    }
    Ok([inserting, inserting + start.elapsed()])
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Changes of one entry each.
async fn singles(input: &Input, vectors: &HNSWVectorStorage, name: &str) -> anyhow::Result<()> {
    let mut took = Vec::new();
    for number in 0..SINGLE {
        let other = input.metadata[number * 7 % input.metadata.len()].clone();
        let start = Instant::now();
        vectors
            .update_metadata(&StateScope::Global, &format!("entry-{number:08}"), other)
            .await?;
        let updated = start.elapsed();
        vectors.upsert(vec![input.entry(number)]).await?;
        took.push((updated, start.elapsed() - updated));
    }
    let (updates, upserts): (Vec<_>, Vec<_>) = took.into_iter().unzip();
    println!(
        "{name}: {:.1?} an update, {:.1?} an upsert",
        median(updates),
        median(upserts)
    );
    Ok(())
}

/// Two strings of few values, tags, an integer, a date, and a text of eight words of a natural distribution.
fn six_fields(number: usize) -> Metadata {
    let mut state = number as u64 + 1;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut word = || format!("w{}", 30_000_f64.powf(random()) as u32);
    let title = (0..8).map(|_| word()).collect::<Vec<_>>().join(" ");
    let tags: Vec<String> = (0..3)
        .map(|_| format!("t{}", (random() * random() * 40.0) as u32))
        .collect();
    let fields = json!({
        "section": format!("s{}", (random() * 20.0) as u32),
        "lang": format!("l{}", (random() * random() * 8.0) as u32),
        "tags": tags,
        "size": (100.0 * 1_000_f64.powf(random())) as u32,
        "created": 1_735_689_600 + (random() * 31_536_000.0) as u32,
        "title": title,
    });
    fields.as_object().cloned().unwrap_or_default()
}
