//! Rounds of searches: their recall and latency.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use llmspell_storage::{VectorQuery, VectorResult, VectorStorage};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use super::data::Queries;
use crate::measure::latency::{Latencies, median, rounded};
use llmspell_cli_base::errors::CliError;

/// Queries that are asked before the clock starts, on each thread.
const WARM_UP: usize = 100;

/// One line of phase `search`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SearchReport {
    pub(crate) phase: &'static str,
    pub(crate) ef: usize,
    pub(crate) k: usize,
    pub(crate) recall: f64,
    /// Of the best repetition.
    pub(crate) qps: f64,
    pub(crate) qps_median: f64,
    /// Of the calls of all repetitions, as the next two.
    pub(crate) p50_us: f64,
    pub(crate) p95_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) threads: usize,
    /// Calls, in all repetitions.
    pub(crate) queries: usize,
    pub(crate) reps: usize,
    pub(crate) exact: bool,
}

/// How to search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SearchSettings {
    pub(crate) k: usize,
    pub(crate) ef: usize,
    pub(crate) exact: bool,
    pub(crate) threads: usize,
    pub(crate) reps: usize,
    /// The queries are asked again until this has passed, in each repetition.
    pub(crate) time_min: Duration,
}

/// Asks one query at a time on each thread, each thread with an executor of its own.
///
/// What is timed is the call and nothing else: queries are made before, answers are compared with the truth afterwards.
pub(crate) fn measure(
    store: &Arc<dyn VectorStorage>,
    queries: &Arc<Queries>,
    settings: SearchSettings,
) -> Result<SearchReport, CliError> {
    let SearchSettings { k, ef, threads, .. } = settings;
    let prepared = queries.vectors.iter().map(|vector| {
        let mut query = VectorQuery::new(vector.clone(), k)
            .with_ef_search(ef)
            .with_exact(settings.exact)
            .with_metadata(false);
        query.model = queries.model.clone();
        query
    });
    let prepared: Arc<Vec<VectorQuery>> = Arc::new(prepared.collect());
    let barrier = Arc::new(Barrier::new(threads));
    let mut workers = Vec::new();
    for number in 0..threads {
        let runtime = Builder::new_current_thread().build();
        let runtime = runtime.map_err(|source| CliError::system("cannot start threads", source))?;
        let (first, next) = (
            number * prepared.len() / threads,
            (number + 1) * prepared.len() / threads,
        );
        let worker = Worker {
            store: Arc::clone(store),
            queries: Arc::clone(queries),
            prepared: Arc::clone(&prepared),
            settings,
            at: first,
            share: next - first,
        };
        let barrier = Arc::clone(&barrier);
        workers.push(std::thread::spawn(move || worker.run(&runtime, &barrier)));
    }

    let mut latencies = Latencies::default();
    let mut qps = vec![0.0; settings.reps];
    let mut found = 0;
    for worker in workers {
        for (rep, mut repetition) in worker.join().expect("a search does not panic")?.into_iter().enumerate() {
            qps[rep] += repetition.latencies.calls() as f64 / repetition.seconds;
            latencies.append(std::mem::take(&mut repetition.latencies));
            found += repetition.found;
        }
    }
    let tenth = |value: f64| (value * 10.0).round() / 10.0;
    Ok(SearchReport {
        phase: "search",
        ef,
        k,
        recall: found as f64 / (prepared.len() * k) as f64,
        qps: tenth(qps.iter().copied().fold(0.0, f64::max)),
        qps_median: tenth(median(qps)),
        p50_us: rounded(latencies.p50_us()),
        p95_us: rounded(latencies.p95_us()),
        p99_us: rounded(latencies.p99_us()),
        threads,
        queries: latencies.calls(),
        reps: settings.reps,
        exact: settings.exact,
    })
}

struct Worker {
    store: Arc<dyn VectorStorage>,
    queries: Arc<Queries>,
    prepared: Arc<Vec<VectorQuery>>,
    settings: SearchSettings,
    /// Where it is in the queries; it goes round and round through all of them.
    at: usize,
    /// How many queries from its start count for the recall: those of all threads are all queries, each once.
    share: usize,
}

/// What one thread did in one repetition.
struct Repetition {
    latencies: Latencies,
    seconds: f64,
    found: usize,
}

impl Worker {
    fn run(mut self, runtime: &Runtime, barrier: &Barrier) -> Result<Vec<Repetition>, CliError> {
        let start = self.at;
        let mut failed = runtime.block_on(self.ask(WARM_UP, Duration::ZERO)).err();
        self.at = start;
        let mut repetitions = Vec::new();
        for number in 0..self.settings.reps {
            // Where something failed, the others still wait.
            barrier.wait();
            if failed.is_some() {
                continue;
            }
            let calls_min = if number == 0 { self.share } else { 0 };
            match runtime.block_on(self.ask(calls_min, self.settings.time_min)) {
                Ok(repetition) => repetitions.push(repetition),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(repetitions), Err)
    }

    /// Asks until both the least number of calls and the least time are reached. The first `calls_min` calls count for the recall.
    async fn ask(&mut self, calls_min: usize, time_min: Duration) -> Result<Repetition, CliError> {
        let mut latencies = Latencies::with_capacity(calls_min);
        let mut answers: Vec<(usize, Vec<VectorResult>)> = Vec::with_capacity(calls_min);
        let started = Instant::now();
        let mut before = started;
        loop {
            let results = self.store.search(&self.prepared[self.at]).await?;
            let now = Instant::now();
            latencies.record(now - before);
            before = now;
            if answers.len() < calls_min {
                answers.push((self.at, results));
            }
            self.at = (self.at + 1) % self.prepared.len();
            if latencies.calls() >= calls_min && now - started >= time_min {
                break;
            }
        }
        let found = answers
            .iter()
            .map(|(query, results)| self.queries.found(*query, results));
        Ok(Repetition {
            seconds: (before - started).as_secs_f64(),
            latencies,
            found: found.sum(),
        })
    }
}
