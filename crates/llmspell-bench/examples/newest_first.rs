//! How long do listings by time and samples take in a large scope?
//!
//! `cargo run --release -p llmspell-bench --features measure --example newest_first [ENTRIES]`: 1,000,000 messages in one session unless said
//! otherwise, ten in each millisecond, without a graph. Every answer is checked.

use std::time::{Duration, Instant};

use llmspell_storage::{
    DatabaseOptions, Filter, HNSWConfig, HNSWVectorStorage, ListOrder, ListPage, ListQuery, Result, SampleQuery,
    StateScope, Timestamp, VectorEntry,
};
use serde_json::json;

const BATCH: usize = 10_000;
const BEGIN: i64 = 1_900_000_000_000;
const CALLS: usize = 1_000;

fn session() -> StateScope {
    StateScope::session("42")
}

fn message(number: usize) -> VectorEntry {
    let vector = [1.0, (number % 97) as f32, (number % 89) as f32, (number % 83) as f32];
    // Ids in no order, as random ones are.
    let id = format!("{:016x}-{number}", (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut entry = VectorEntry::new(id, vector).with_scope(session()).with_metadata(
        json!({"role": if number.is_multiple_of(2) { "user" } else { "model" }, "thread": number % 1_000}),
    );
    entry.created_at = Some(Timestamp::from_millis(BEGIN + number as i64 / 10));
    entry
}

/// The numbers of messages, from their ids.
fn numbers(entries: &[VectorEntry]) -> Vec<usize> {
    let number = |entry: &VectorEntry| entry.id.rsplit('-').next().and_then(|text| text.parse().ok());
    entries.iter().filter_map(number).collect()
}

/// Median and 99th percentile of the calls, in microseconds.
async fn measured(what: &str, mut call: impl AsyncFnMut(usize) -> Result<()>) -> Result<()> {
    let mut micros = Vec::with_capacity(CALLS);
    for number in 0..CALLS {
        let start = Instant::now();
        call(number).await?;
        micros.push(start.elapsed().as_secs_f64() * 1e6);
    }
    micros.sort_by(f64::total_cmp);
    println!(
        "{what:<58} p50 {:>8.1} µs   p99 {:>8.1} µs",
        micros[CALLS / 2],
        micros[CALLS * 99 / 100]
    );
    Ok(())
}

fn assert_newest(page: &ListPage, count: usize) {
    let expected: Vec<usize> = (0..20).map(|back| (count - 1 - back) / 10).collect();
    let found: Vec<usize> = numbers(&page.entries).iter().map(|number| number / 10).collect();
    assert_eq!(found, expected, "the newest come first");
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let count = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let dir = tempfile::tempdir().expect("a directory for the database");
    let database = DatabaseOptions::new()
        .graph_points_min(u64::MAX)
        .open(dir.path())
        .await?;
    let store = database.vectors("messages", 4, HNSWConfig::fast()).await?;
    let start = Instant::now();
    for first in (0..count).step_by(BATCH) {
        store
            .insert((first..count.min(first + BATCH)).map(message).collect())
            .await?;
    }
    println!("{count} messages stored in {:.1} s", start.elapsed().as_secs_f64());

    let newest = ListQuery::newest(session(), 20);
    let start = Instant::now();
    assert_newest(&store.list_page(&newest).await?, count);
    println!(
        "the first listing, without an index of the time: {:.0} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    wait_for_index(&store, &newest).await?;
    println!(
        "the index of the time is there after {:.1} s",
        start.elapsed().as_secs_f64()
    );

    measured("the last 20", async |_| {
        assert_newest(&store.list_page(&newest).await?, count);
        Ok(())
    })
    .await?;
    measured("20 from the middle on, newest first", async |number| {
        let middle = message(count / 2 + 37 * number % (count / 4));
        let page = store.list_page(&newest.clone().after_entry(&middle)?).await?;
        assert_eq!(page.entries.len(), 20);
        Ok(())
    })
    .await?;
    let of_users = newest.clone().with_filter(Filter::eq("role", "user"));
    measured("the last 20 of one role (half of all)", async |_| {
        let page = store.list_page(&of_users).await?;
        assert!(numbers(&page.entries).iter().all(|number| number % 2 == 0) && page.entries.len() == 20);
        Ok(())
    })
    .await?;
    let of_thread = newest.clone().with_filter(Filter::eq("thread", 7));
    measured("the last 20 of one thread (1 in 1,000)", async |_| {
        let page = store.list_page(&of_thread).await?;
        assert!(numbers(&page.entries).iter().all(|number| number % 1_000 == 7) && page.entries.len() == 20);
        Ok(())
    })
    .await?;
    let backwards = ListQuery::new(session())
        .with_order(ListOrder::IdDescending)
        .with_limit(20);
    measured("the 20 greatest ids", async |_| {
        let page = store.list_page(&backwards).await?;
        assert!(page.entries.is_sorted_by(|one, other| one.id > other.id) && page.entries.len() == 20);
        Ok(())
    })
    .await?;
    measured("a sample of 20", async |number| {
        let entries = store.sample(&SampleQuery::new(session(), 20, number as u64)).await?;
        assert_eq!(entries.len(), 20);
        Ok(())
    })
    .await?;
    let more = count..count + CALLS;
    let mut last = count;
    for number in more {
        store.insert(vec![message(number)]).await?;
        last = number + 1;
    }
    measured("the last 20, after 1,000 more one by one", async |_| {
        assert_newest(&store.list_page(&newest).await?, last);
        Ok(())
    })
    .await?;
    drop(store);
    database.close().await
}

/// The indexer makes it once it was asked for.
async fn wait_for_index(store: &HNSWVectorStorage, query: &ListQuery) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(300) {
        let call = Instant::now();
        store.list_page(query).await?;
        if call.elapsed() < Duration::from_millis(5) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("the index of the time did not come within five minutes");
}
