//! The stored vectors that are searched with, and the entries that should be found.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use llmspell_storage::{HNSWVectorStorage, Pages, StateScope, VectorQuery, VectorResult};
use tokio::runtime::Builder;

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::progress::Progress;
use llmspell_cli_base::random::Random;

const PAGE: usize = 1000;

/// A stored vector.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sampled {
    pub(super) id: String,
    pub(super) vector: Vec<f32>,
}

/// At most `count` entries of a scope that have a vector, each with the same chance, and how many there are in all.
///
/// One pass over the entries; of them only the sample is kept (Vitter 1985, algorithm R).
pub(super) async fn draw(
    store: &HNSWVectorStorage,
    scope: &StateScope,
    count: usize,
    seed: u64,
    progress: &Progress,
) -> Result<(Vec<Sampled>, u64), CliError> {
    let mut random = Random::new(&[seed]);
    let mut sample = Vec::with_capacity(count.min(PAGE));
    let mut seen = 0_u64;
    let mut pages = Pages::new(store, scope.clone()).with_limit(PAGE);
    while let Some(page) = pages.next().await? {
        for entry in page.into_iter().filter(|entry| !entry.embedding.is_empty()) {
            seen += 1;
            let entry = Sampled {
                id: entry.id,
                vector: entry.embedding,
            };
            if sample.len() < count {
                sample.push(entry);
                continue;
            }
            let place = random.below(seen);
            if let Some(kept) = usize::try_from(place).ok().and_then(|place| sample.get_mut(place)) {
                *kept = entry;
            }
        }
        progress.set(seen);
    }
    Ok((sample, seen))
}

/// What a search with a sampled vector should find: the nearest others.
#[derive(Debug, Clone)]
pub(super) struct Truth {
    distances: HashMap<String, f32>,
    /// Of the farthest of them; what is as near is as right.
    farthest: f32,
}

impl Truth {
    fn new(own_id: &str, k: usize, results: Vec<VectorResult>) -> Self {
        let others = others(own_id, k, results);
        let farthest = others.last().map_or(f32::NEG_INFINITY, |result| result.distance);
        Self {
            distances: others.into_iter().map(|result| (result.id, result.distance)).collect(),
            farthest,
        }
    }

    /// How many should be found.
    pub(super) fn len(&self) -> usize {
        self.distances.len()
    }

    /// How many of them were found.
    pub(super) fn found(&self, own_id: &str, results: Vec<VectorResult>) -> usize {
        others(own_id, self.len(), results)
            .iter()
            .filter(|result| self.distances.contains_key(&result.id) || result.distance <= self.farthest)
            .count()
    }
}

/// The answer without the entry that was searched with.
fn others(own_id: &str, k: usize, mut results: Vec<VectorResult>) -> Vec<VectorResult> {
    results.retain(|result| result.id != own_id);
    results.truncate(k);
    results
}

/// A search for the `k` nearest others: one more than `k`, for the entry itself.
pub(super) fn query(sampled: &Sampled, scope: &StateScope, k: usize) -> VectorQuery {
    VectorQuery::new(sampled.vector.clone(), k + 1)
        .with_scope(scope.clone())
        .with_metadata(false)
}

/// The truth of each sampled vector, by comparing it with every entry of its scope, on all cores.
pub(super) fn truths(
    store: &HNSWVectorStorage,
    scope: &StateScope,
    sample: &[Sampled],
    k: usize,
    progress: &Progress,
) -> Result<Vec<Truth>, CliError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let done = Arc::new(AtomicUsize::new(0));
    let share = sample.len().div_ceil(threads).max(1);
    let parts = std::thread::scope(|threads| {
        let workers: Vec<_> = sample
            .chunks(share)
            .map(|sample| {
                let done = Arc::clone(&done);
                threads.spawn(move || {
                    let runtime = Builder::new_current_thread().build();
                    let runtime = runtime.map_err(|source| CliError::system("cannot start threads", source))?;
                    let mut truths = Vec::with_capacity(sample.len());
                    for sampled in sample {
                        let query = query(sampled, scope, k).with_exact(true);
                        let results = runtime.block_on(store.search(&query))?;
                        truths.push(Truth::new(&sampled.id, k, results));
                        progress.set(done.fetch_add(1, Ordering::Relaxed) as u64 + 1);
                    }
                    Ok(truths)
                })
            })
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Result<Vec<Truth>, CliError>>| {
            worker.join().expect("a search does not panic")
        };
        workers.into_iter().map(join).collect::<Result<Vec<_>, CliError>>()
    })?;
    Ok(parts.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use llmspell_storage::{HNSWConfig, VectorEntry};

    use super::*;

    fn result(id: &str, distance: f32) -> VectorResult {
        VectorResult::new(id.into(), -distance, distance)
    }

    #[test]
    fn every_entry_of_the_scope_has_the_same_chance() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let store = HNSWVectorStorage::new(1, HNSWConfig::balanced());
        let entries =
            (0..3000_u16).map(|number| VectorEntry::new(format!("{number:04}"), vec![f32::from(number) + 1.0]));
        runtime.block_on(store.insert(entries.collect())).unwrap();
        let progress = Progress::new(None, "entries", true);
        let draw = |count, seed| {
            let drawn = draw(&store, &StateScope::Global, count, seed, &progress);
            runtime.block_on(drawn).unwrap()
        };

        let (sample, seen) = draw(600, 1);
        assert_eq!((sample.len(), seen), (600, 3000));
        let mut numbers: Vec<u16> = sample.iter().map(|sampled| sampled.id.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 600, "no entry twice");
        for third in [0..1000, 1000..2000, 2000..3000] {
            let drawn = numbers.iter().filter(|number| third.contains(*number)).count();
            // 200 are expected, with a deviation of about 12.
            assert!((140..260).contains(&drawn), "{third:?}: {drawn}");
        }
        assert_eq!(draw(600, 1).0, sample, "the same seed draws the same sample");
        assert_ne!(draw(600, 2).0, sample);
        assert_eq!(draw(5000, 1).0.len(), 3000);
    }

    #[test]
    fn an_entry_does_not_count_as_its_own_neighbor() {
        let truth = Truth::new("a", 2, vec![result("a", 0.0), result("b", 0.1), result("c", 0.2)]);
        assert_eq!(truth.len(), 2);
        assert_eq!(
            truth.found("a", vec![result("a", 0.0), result("b", 0.1), result("d", 0.3)]),
            1
        );
    }

    #[test]
    fn what_is_as_near_as_the_last_one_is_as_right() {
        let truth = Truth::new("a", 1, vec![result("a", 0.0), result("b", 0.1)]);
        assert_eq!(truth.found("a", vec![result("a", 0.0), result("twin", 0.1)]), 1);
        // The entry itself is missing: still no more than k count.
        assert_eq!(truth.found("a", vec![result("b", 0.1), result("twin", 0.1)]), 1);
    }

    #[test]
    fn in_an_empty_scope_nothing_can_be_missed() {
        assert_eq!(Truth::new("a", 3, vec![result("a", 0.0)]).len(), 0);
    }
}
