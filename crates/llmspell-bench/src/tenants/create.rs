//! The number of scopes created in a second, and the disk that they take.

use std::time::Instant;

use llmspell_storage::{HNSWVectorStorage, VectorEntry};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Bench, promise};
use crate::measure::disk::{disk_bytes, write_bytes_per_second};
use crate::measure::latency::rounded;
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, bytes_text, grouped};
use llmspell_cli_base::progress::Progress;

/// Most bytes that are written to learn how fast the disk is.
const PROBE_BYTES_MAX: u64 = 1 << 30;

impl Bench<'_> {
    /// Makes the scopes, a batch of them at a time. Making up their vectors is part of the time.
    pub(super) async fn create(&self, output: &mut Output) -> Result<(), CliError> {
        let (database, store) = self.open(self.directory).await?;
        if store.stats().await?.vectors > 0 {
            return Err(CliError::usage(
                format!("{} has vectors already", self.directory.display()),
                "name another --dir, or measure those with --steps serve",
            ));
        }
        let (scopes, vectors) = (self.args.scopes, self.args.scopes * self.args.vectors);
        let started = Instant::now();
        self.insert_scopes(&store, scopes, output).await?;
        let seconds = started.elapsed().as_secs_f64();
        let stats = store.stats().await?;
        promise((stats.scopes, stats.vectors) == (scopes, vectors), || {
            format!(
                "{scopes} scopes with {vectors} vectors, not {} with {}",
                stats.scopes, stats.vectors
            )
        })?;
        drop(store);
        database.close().await?;

        let raw_bytes = vectors * 4 * self.tenants.dim() as u64;
        let disk = disk_bytes(self.directory)?;
        let piece = (disk / scopes).saturating_mul(self.args.batch).max(1);
        let probe =
            tokio::task::block_in_place(|| write_bytes_per_second(self.directory, disk.min(PROBE_BYTES_MAX), piece))?;
        let per_raw = disk as f64 / raw_bytes as f64;
        let line = json!({
            "phase": "create", "scopes": scopes, "vectors": vectors, "dim": self.tenants.dim(),
            "seconds": rounded(seconds), "scopes_per_second": (scopes as f64 / seconds).round(),
            "vectors_per_second": (vectors as f64 / seconds).round(), "batch_scopes": self.args.batch,
            "writers": self.args.writers, "raw_bytes": raw_bytes, "disk_bytes": disk,
            "disk_per_raw": rounded(per_raw), "disk_bytes_per_second": (disk as f64 / seconds).round(),
            "disk_write_bytes_per_second": probe.round(),
        });
        let sentence = format!(
            "create  {} scopes with {} vectors each in {seconds:.2} s: {} scopes a second; {} on disk, {per_raw:.3} x \
             the raw vectors; {} of it a second, of {} that the disk can",
            grouped(scopes),
            self.args.vectors,
            grouped((scopes as f64 / seconds) as u64),
            bytes_text(disk),
            bytes_text((disk as f64 / seconds) as u64),
            bytes_text(probe as u64)
        );
        report(output, &line, sentence)
    }

    /// Inserts the first `scopes` scopes, by the number of writers that was asked for.
    pub(super) async fn insert_scopes(
        &self,
        store: &HNSWVectorStorage,
        scopes: u64,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let progress = Progress::new(Some(scopes), "scopes", output.is_json());
        let mut under_way: JoinSet<Result<usize, CliError>> = JoinSet::new();
        let mut inserted = 0;
        let mut first = 0;
        while first < scopes || !under_way.is_empty() {
            if first < scopes && under_way.len() < self.args.writers {
                let batch = first..(first + self.args.batch).min(scopes);
                first = batch.end;
                let entries: Vec<VectorEntry> = batch
                    .flat_map(|scope| (0..self.args.vectors).map(move |vector| (scope, vector)))
                    .map(|(scope, vector)| self.tenants.entry(scope, vector))
                    .collect();
                let store = store.clone();
                under_way.spawn(async move { Ok(store.insert(entries).await?.len()) });
                continue;
            }
            if let Some(done) = under_way.join_next().await {
                inserted +=
                    done.map_err(|error| CliError::system("a writer ended", std::io::Error::other(error)))??;
                progress.set(inserted as u64 / self.args.vectors);
            }
        }
        Ok(())
    }
}
