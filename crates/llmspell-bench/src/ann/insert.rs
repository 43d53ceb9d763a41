//! The time of a durable insert while other threads search.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use llmspell_storage::{HNSWVectorStorage, StateScope, VectorEntry, VectorQuery, VectorResult};
use llmspell_vector::ExactDistance;
use serde_json::json;
use tokio::runtime::Builder;

use super::Bench;
use super::data::Queries;
use crate::generate::kernel_metric;
use crate::measure::disk::fdatasync_p50_us;
use crate::measure::latency::{Latencies, rounded};
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, grouped};
use llmspell_cli_base::progress::Progress;
use llmspell_cli_base::random::Random;

const SINGLE_INSERTS: usize = 1000;
/// What ids of inserts begin with; those of the base are numbers, and come before it.
const PREFIX: &str = "insert-";
const PAGE: usize = 1000;

/// Deletes what a run left that was killed while it inserted. Says how many entries that were.
pub(super) async fn remove_leftovers(store: &HNSWVectorStorage) -> Result<u64, CliError> {
    let mut removed = 0;
    loop {
        let left = store.list(&StateScope::Global, Some(PREFIX), PAGE).await?;
        if left.is_empty() {
            return Ok(removed);
        }
        let ids: Vec<String> = left.into_iter().map(|entry| entry.id).collect();
        removed += store.delete(&StateScope::Global, &ids).await?;
    }
}

impl Bench<'_> {
    /// Inserts one vector at a time, and measures the disk's sync on the same file system.
    pub(super) async fn insert(
        &self,
        store: &HNSWVectorStorage,
        queries: &Queries,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let fdatasync = fdatasync_p50_us(self.directory)?;
        let mut latencies = Latencies::with_capacity(SINGLE_INSERTS);
        for number in 0..SINGLE_INSERTS {
            let vector = queries.vectors[number % queries.vectors.len()].clone();
            let entry = VectorEntry::new(format!("{PREFIX}{number}"), vector);
            let started = Instant::now();
            store.insert(vec![entry]).await?;
            latencies.record(started.elapsed());
        }
        // The vectors of the base are again what the truth was made for.
        remove_leftovers(store).await?;
        let (p50, p99) = (latencies.p50_us(), latencies.p99_us());
        let line = json!({
            "phase": "insert", "inserts": SINGLE_INSERTS, "p50_us": rounded(p50), "p99_us": rounded(p99),
            "fdatasync_p50_us": rounded(fdatasync),
        });
        let sentence = format!(
            "insert  one at a time, durable: p50 {p50:.0} µs, p99 {p99:.0} µs; the disk's fdatasync {fdatasync:.0} µs"
        );
        report(output, &line, sentence)
    }

    /// Inserts one vector at a time while another thread searches without a pause. The search that follows an insert
    /// must find what was inserted.
    pub(super) async fn insert_while_searching(
        &self,
        store: &HNSWVectorStorage,
        queries: &Arc<Queries>,
        ef: usize,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let count = self.args.insert_while_searching;
        let fdatasync = fdatasync_p50_us(self.directory)?;
        let searcher = Searcher::start(store.clone(), Arc::clone(queries), self.args.k, ef)?;
        let progress = Progress::new(Some(count as u64), "inserts", output.is_json());
        let mut latencies = Latencies::with_capacity(count);
        let mut inserted = Ok(());
        for number in 0..count {
            let base = &queries.vectors[number % queries.vectors.len()];
            inserted = self.insert_and_find(store, number, base, ef, &mut latencies).await;
            if inserted.is_err() {
                break;
            }
            progress.set(number as u64 + 1);
        }
        drop(progress);
        let mut searches = searcher.stop()?;
        inserted?;
        remove_leftovers(store).await?;

        let (p50, p99) = (latencies.p50_us(), latencies.p99_us());
        let line = json!({
            "phase": "insert_while_searching", "inserts": count, "p50_us": rounded(p50), "p99_us": rounded(p99),
            "found_at_once": count, "ef": ef, "searches": searches.calls(), "search_p50_us": rounded(searches.p50_us()),
            "search_p99_us": rounded(searches.p99_us()), "fdatasync_p50_us": rounded(fdatasync),
        });
        let sentence = format!(
            "insert  while searching: p50 {p50:.0} µs, p99 {p99:.0} µs, all {} found by the next search; {} searches \
             meanwhile, p50 {:.0} µs, p99 {:.0} µs",
            grouped(count as u64),
            grouped(searches.calls() as u64),
            searches.p50_us(),
            searches.p99_us()
        );
        report(output, &line, sentence)
    }

    async fn insert_and_find(
        &self,
        store: &HNSWVectorStorage,
        number: usize,
        base: &[f32],
        ef: usize,
        latencies: &mut Latencies,
    ) -> Result<(), CliError> {
        let id = format!("{PREFIX}while-{number}");
        let vector = beside(base, number);
        let entry = VectorEntry::new(id.clone(), vector.clone());
        let started = Instant::now();
        store.insert(vec![entry]).await?;
        latencies.record(started.elapsed());

        let query = VectorQuery::new(vector.clone(), self.args.k)
            .with_ef_search(ef)
            .with_metadata(false);
        let results = store.search(&query).await?;
        let own = ExactDistance::new(kernel_metric(self.args.metric), &vector).distance(&vector);
        if is_missed(&id, own, &results, self.args.k) {
            return Err(CliError::PromiseBroken {
                expected: format!("`{id}` in the search after its insert"),
            });
        }
        Ok(())
    }
}

/// Whether an entry is not there although it is nearer than what is.
///
/// Under the inner product, longer vectors may be nearer to an entry than it is to itself.
fn is_missed(id: &str, own_distance: f32, results: &[VectorResult], k: usize) -> bool {
    let is_there = results.iter().any(|result| result.id == id);
    let is_outranked = results.len() == k && results.iter().all(|result| result.distance <= own_distance);
    !is_there && !is_outranked
}

/// A vector close to `base`, for each number another one.
fn beside(base: &[f32], number: usize) -> Vec<f32> {
    let mut random = Random::new(&[number as u64]);
    let squares: f32 = base.iter().map(|component| component * component).sum();
    let step = 0.1 * (squares / base.len() as f32).sqrt();
    base.iter()
        .map(|component| component + step * random.normal())
        .collect()
}

/// A thread that searches until it is told to stop.
struct Searcher {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Latencies, CliError>>,
}

impl Searcher {
    fn start(store: HNSWVectorStorage, queries: Arc<Queries>, k: usize, ef: usize) -> Result<Self, CliError> {
        let runtime = Builder::new_current_thread().build();
        let runtime = runtime.map_err(|source| CliError::system("cannot start threads", source))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut latencies = Latencies::default();
            for vector in queries.vectors.iter().cycle() {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                let query = VectorQuery::new(vector.clone(), k)
                    .with_ef_search(ef)
                    .with_metadata(false);
                let started = Instant::now();
                let results = runtime.block_on(store.search(&query))?;
                latencies.record(started.elapsed());
                assert!(!results.is_empty(), "a fast wrong answer is not a result");
            }
            Ok(latencies)
        });
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<Latencies, CliError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a search does not panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_missed_unless_it_is_there_or_outranked() {
        let result = |id: &str, distance: f32| VectorResult::new(id.into(), -distance, distance);
        assert!(!is_missed("a", 0.0, &[result("b", 0.0), result("a", 0.0)], 2));
        assert!(is_missed("a", 0.0, &[result("b", 0.0), result("c", 0.1)], 2));
        assert!(!is_missed("a", -1.0, &[result("b", -3.0), result("c", -2.0)], 2));
        assert!(is_missed("a", -1.0, &[result("b", -3.0)], 2));
    }

    #[test]
    fn inserted_vectors_are_close_to_a_query_and_differ() {
        let base = vec![1.0; 64];
        assert_ne!(beside(&base, 1), beside(&base, 2));
        let squares: f32 = beside(&base, 1).iter().map(|component| (component - 1.0).powi(2)).sum();
        assert!((0.1..2.0).contains(&squares), "{squares}");
    }
}
