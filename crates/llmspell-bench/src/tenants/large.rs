//! A large scope among small ones: the speed of both beside each other and alone.

use std::time::{Duration, Instant};

use llmspell_storage::{HNSWVectorStorage, VectorEntry};
use serde_json::json;

use super::data::LARGE;
use super::{Bench, promise};
use crate::measure::latency::{Latencies, rounded};
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, grouped};
use llmspell_cli_base::progress::Progress;
use llmspell_cli_base::random::Random;

/// Vectors per batch.
const BATCH: u64 = 5_000;
/// Searches of a round, at most.
const ROUND_MAX: u64 = 4_000;
/// Rounds alone and among, in turn; what counts is the best of each.
const ROUNDS: usize = 5;
/// Of this share of the searches by the graph the first hit must be the vector itself.
const FOUND_MIN: f64 = 0.95;

impl Bench<'_> {
    pub(super) async fn large(&self, output: &mut Output) -> Result<(), CliError> {
        let inner = tempfile::Builder::new()
            .prefix("large-")
            .tempdir_in(self.directory)
            .map_err(|source| CliError::file("create a directory in", self.directory, source))?;
        let (database, store) = self.open(inner.path()).await?;
        self.insert_large(&store, output).await?;
        store.build_index().await?;
        // A process that opens the database finds the graph in the file that searches map.
        drop(store);
        database.close().await?;
        let (database, store) = self.open(inner.path()).await?;
        store.build_index().await?;

        let mut alone = self.round(&store, 0).await?;
        for _ in 1..ROUNDS {
            alone = alone.min(self.round(&store, 0).await?);
        }
        self.insert_scopes(&store, self.args.beside, output).await?;
        let mut among = self.round(&store, self.args.beside).await?;
        let mut there = self.round(&store, 0).await?;
        let mut small = Latencies::default();
        for _ in 1..ROUNDS {
            let round = self.round(&store, self.args.beside).await?;
            small.append(round.small.clone());
            among = among.min(round);
            there = there.min(self.round(&store, 0).await?);
        }
        small.append(among.small.clone());

        let (p50, p99) = (small.p50_us(), small.p99_us());
        let per_second = |round: &Round| self.round_searches() as f64 / round.large.as_secs_f64();
        let (alone, there, among) = (per_second(&alone), per_second(&there), per_second(&among));
        let line = json!({
            "phase": "large", "vectors": self.args.large, "dim": self.tenants.dim(), "small_scopes": self.args.beside,
            "qps_alone": alone.round(), "qps_beside": there.round(), "qps_in_turn": among.round(),
            "beside_per_alone": rounded(there / alone), "in_turn_per_alone": rounded(among / alone),
            "small_p50_us": rounded(p50), "small_p99_us": rounded(p99),
        });
        let sentence = format!(
            "large   {} vectors: {} searches a second alone, {} with {} small scopes beside it ({:.2} x), {} in turn \
             with searches of those ({:.2} x); small ones p50 {p50:.1} µs, p99 {p99:.1} µs",
            grouped(self.args.large),
            grouped(alone as u64),
            grouped(there as u64),
            grouped(self.args.beside),
            there / alone,
            grouped(among as u64),
            among / alone
        );
        report(output, &line, sentence)?;
        self.delete(inner.path(), database, store, output).await
    }

    pub(super) async fn insert_large(&self, store: &HNSWVectorStorage, output: &mut Output) -> Result<(), CliError> {
        let progress = Progress::new(Some(self.args.large), "vectors", output.is_json());
        let mut first = 0;
        while first < self.args.large {
            let end = (first + BATCH).min(self.args.large);
            let batch: Vec<VectorEntry> = (first..end).map(|vector| self.tenants.entry(LARGE, vector)).collect();
            store.insert(batch).await?;
            first = end;
            progress.set(end);
        }
        Ok(())
    }

    fn round_searches(&self) -> u64 {
        self.args.searches.min(ROUND_MAX)
    }

    /// Searches of the large scope; with small ones, one of a small scope after each.
    async fn round(&self, store: &HNSWVectorStorage, small_scopes: u64) -> Result<Round, CliError> {
        let mut random = Random::new(&[5]);
        let mut round = Round::default();
        let mut right = 0;
        for _ in 0..self.round_searches() {
            let vector = random.below(self.args.large);
            let query = self.tenants.query(LARGE, vector);
            let started = Instant::now();
            let hits = store.search(&query).await?;
            round.large += started.elapsed();
            right += u64::from(self.tenants.is_right(LARGE, vector, &hits));
            if small_scopes > 0 {
                let (scope, vector) = (random.below(small_scopes), random.below(self.args.vectors));
                round.small.record(self.search_once(store, scope, vector).await?);
            }
        }
        let share = right as f64 / self.round_searches() as f64;
        promise(share >= FOUND_MIN, || {
            format!("{FOUND_MIN} of the vectors found, not {share:.3}")
        })?;
        Ok(round)
    }
}

/// What searches took.
#[derive(Default)]
struct Round {
    large: Duration,
    small: Latencies,
}

impl Round {
    fn min(self, other: Self) -> Self {
        if other.large < self.large { other } else { self }
    }
}
