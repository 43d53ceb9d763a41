//! How many of the true neighbors does a search find, and how quickly?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use llmspell_storage::{HNSWVectorStorage, VectorQuery, VectorStorage};
use serde::Serialize;

use super::ann_data::Queries;
use crate::errors::CliError;
use crate::measure::latency::{Latencies, rounded};

/// Queries that are asked before the clock starts.
const WARM_UP: usize = 100;

/// One line of phase `search`.
#[derive(Debug, Serialize)]
pub(super) struct SearchReport {
    pub(super) phase: &'static str,
    pub(super) ef: usize,
    pub(super) k: usize,
    pub(super) recall: f64,
    pub(super) qps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) threads: usize,
    pub(super) queries: usize,
    pub(super) exact: bool,
}

/// How to search.
#[derive(Debug, Clone, Copy)]
pub(super) struct SearchSettings {
    pub(super) k: usize,
    pub(super) ef: usize,
    pub(super) exact: bool,
    pub(super) threads: usize,
    /// The queries are asked again until this has passed.
    pub(super) time_min: Duration,
}

/// Asks one query at a time on each thread, each thread with an executor of its own.
pub(super) fn measure(
    store: &HNSWVectorStorage,
    queries: &Arc<Queries>,
    settings: SearchSettings,
) -> Result<SearchReport, CliError> {
    // Threads take every n-th query, so that together they ask all of them.
    let is_enough = Arc::new(AtomicBool::new(false));
    let barrier = Arc::new(std::sync::Barrier::new(settings.threads + 1));
    let threads: Vec<_> = (0..settings.threads)
        .map(|first| {
            let (store, queries) = (store.clone(), Arc::clone(queries));
            let (is_enough, barrier) = (Arc::clone(&is_enough), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                let runtime = runtime.map_err(|source| CliError::system("cannot start threads", source))?;
                let worker = Worker {
                    store,
                    queries,
                    settings,
                    first,
                };
                let warm_up = runtime.block_on(worker.round(WARM_UP));
                barrier.wait();
                runtime.block_on(worker.rounds(warm_up.map(drop), &is_enough))
            })
        })
        .collect();

    barrier.wait();
    let started = Instant::now();
    let mut latencies = Latencies::default();
    let mut found = 0;
    while started.elapsed() < settings.time_min && threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    is_enough.store(true, Ordering::Relaxed);
    for thread in threads {
        let (thread_latencies, thread_found) = thread.join().expect("a search does not panic")?;
        latencies.append(thread_latencies);
        found += thread_found;
    }
    let seconds = started.elapsed().as_secs_f64();
    let asked = latencies.len();
    Ok(SearchReport {
        phase: "search",
        ef: settings.ef,
        k: settings.k,
        recall: found as f64 / (queries.vectors.len() * settings.k) as f64,
        qps: (asked as f64 / seconds * 10.0).round() / 10.0,
        p50_us: rounded(latencies.p50_us()),
        p99_us: rounded(latencies.p99_us()),
        threads: settings.threads,
        queries: asked,
        exact: settings.exact,
    })
}

struct Worker {
    store: HNSWVectorStorage,
    queries: Arc<Queries>,
    settings: SearchSettings,
    first: usize,
}

impl Worker {
    /// Rounds over this thread's queries until the clock says so; the first one counts for the recall.
    async fn rounds(
        &self,
        warm_up: Result<(), CliError>,
        is_enough: &AtomicBool,
    ) -> Result<(Latencies, usize), CliError> {
        warm_up?;
        let (mut latencies, found) = self.round(usize::MAX).await?;
        while !is_enough.load(Ordering::Relaxed) {
            latencies.append(self.round(usize::MAX).await?.0);
        }
        Ok((latencies, found))
    }

    async fn round(&self, queries_max: usize) -> Result<(Latencies, usize), CliError> {
        let SearchSettings {
            k, ef, exact, threads, ..
        } = self.settings;
        let mine = (self.first..self.queries.vectors.len())
            .step_by(threads)
            .take(queries_max);
        let mut latencies = Latencies::with_capacity(self.queries.vectors.len() / threads + 1);
        let mut found = 0;
        for number in mine {
            let query = VectorQuery::new(self.queries.vectors[number].clone(), k)
                .with_ef_search(ef)
                .with_exact(exact)
                .with_metadata(false);
            let started = Instant::now();
            let results = self.store.search(&query).await?;
            latencies.record(started.elapsed());
            found += self.queries.found(number, &results);
        }
        Ok((latencies, found))
    }
}
