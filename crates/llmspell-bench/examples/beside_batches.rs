//! Measures a single insert beside another tenant's large batches.
//! `cargo run --release -p llmspell-bench --features measure --example beside_batches [entries from which on a batch is large]`.
//!
//! One tenant inserts batches of 20,000 entries without end, each id once; another inserts single entries, one every 2 ms.
//! Both are durable. First the second tenant is alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use llmspell_storage::{
    DEFAULT_LARGE_BATCH_ENTRIES, DatabaseOptions, HNSWConfig, HNSWVectorStorage, Result, StateScope, VectorEntry,
    VectorStorage,
};

const DIM: usize = 128;
const BATCH: u64 = 20_000;
const SINGLES: usize = 600;
const PAUSE: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() -> Result<()> {
    let argument = std::env::args()
        .nth(1)
        .map(|text| text.parse().expect("a number of entries"));
    let entries = argument.unwrap_or(DEFAULT_LARGE_BATCH_ENTRIES);
    let dir = tempfile::tempdir().expect("a directory");
    let options = DatabaseOptions::new()
        .large_batch_entries(entries)
        .graph_points_min(u64::MAX);
    let database = options.open(dir.path()).await?;
    let vectors = Arc::new(database.vectors("v", DIM, HNSWConfig::fast()).await?);

    report("alone", singles(&vectors, "alone").await?);
    let (stop, batches) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn(keep_writing(
        Arc::clone(&vectors),
        Arc::clone(&stop),
        Arc::clone(&batches),
    ));
    let start = Instant::now();
    let beside = singles(&vectors, "beside").await?;
    let (count, seconds) = (batches.load(Ordering::SeqCst), start.elapsed().as_secs_f64());
    report("beside batches", beside);
    println!("{count} batches in {seconds:.1} s");
    stop.store(true, Ordering::SeqCst);
    writer.await.expect("no panic")?;
    Ok(())
}

fn entry(scope: StateScope, id: u64) -> VectorEntry {
    let random = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let vector: Vec<f32> = (0..DIM as u64)
        .map(|place| ((random >> (place % 40)) & 0xff) as f32 + 1.0)
        .collect();
    VectorEntry::new(format!("{random:016x}"), vector)
        .with_scope(scope)
        .with_metadata(serde_json::json!({ "text": format!("what somebody said in message {id}"), "turn": id }))
}

async fn keep_writing(vectors: Arc<HNSWVectorStorage>, stop: Arc<AtomicBool>, batches: Arc<AtomicU64>) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        let first = batches.load(Ordering::SeqCst) * BATCH;
        let scope = || StateScope::User("batches".to_string());
        let entries = (first..first + BATCH).map(|id| entry(scope(), id)).collect();
        vectors.insert(entries).await?;
        batches.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

async fn singles(vectors: &HNSWVectorStorage, who: &str) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(SINGLES);
    for id in 0..SINGLES as u64 {
        let entry = entry(StateScope::User(who.to_string()), id);
        let start = Instant::now();
        vectors.insert(vec![entry]).await?;
        times.push(start.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let quantile = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{what:<15} p50 {:>6.1} ms   p99 {:>6.1} ms   most {:>6.1} ms",
        quantile(0.5),
        quantile(0.99),
        quantile(0.999)
    );
}
