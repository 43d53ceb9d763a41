//! The time of removing a large scope, and until its space is reusable.

use std::path::Path;
use std::time::{Duration, Instant};

use llmspell_storage::{Database, HNSWVectorStorage};
use serde_json::json;

use super::data::LARGE;
use super::{Bench, promise};
use crate::measure::disk::disk_bytes;
use crate::measure::latency::rounded;
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, bytes_text};
use llmspell_cli_base::progress::Progress;

/// How long the purge may take.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Bench<'_> {
    /// Removes the large scope, waits until its space is free, and writes it again.
    pub(super) async fn delete(
        &self,
        directory: &Path,
        database: Database,
        store: HNSWVectorStorage,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let scope = self.tenants.scope(LARGE);
        let before = disk_bytes(directory)?;
        let slots_before = database.stats().await?.slot_bytes;
        let raw_bytes = self.args.large * 4 * self.tenants.dim() as u64;
        let started = Instant::now();
        let removed = store.delete_scope(&scope).await?;
        let to_caller = started.elapsed();
        promise(removed == self.args.large, || {
            format!("{} removed, not {removed}", self.args.large)
        })?;
        promise(store.search(&self.tenants.query(LARGE, 0)).await?.is_empty(), || {
            "no hits of a removed scope".into()
        })?;

        // Slots that are free are given back to the file system as well, where it takes holes.
        let mut reusable = None;
        let progress = Progress::spinner("purging".into(), output.is_json());
        while store.stats().await?.scopes_to_purge > 0 {
            promise(started.elapsed() < PATIENCE, || "the removed scope to be purged".into())?;
            tokio::task::block_in_place(|| std::thread::sleep(LOOK_EVERY));
            if reusable.is_none() && database.stats().await?.slot_bytes + raw_bytes / 2 < slots_before {
                reusable = Some(started.elapsed());
            }
        }
        let purged_after = started.elapsed();
        let reusable = reusable.unwrap_or(purged_after);
        drop(progress);
        promise(store.count(&scope).await? == 0, || "nothing in a removed scope".into())?;
        let purged = disk_bytes(directory)?;

        self.insert_large(&store, output).await?;
        store.build_index().await?;
        drop(store);
        database.close().await?;
        let (database, store) = self.open(directory).await?;
        let count = store.count(&scope).await?;
        promise(count == self.args.large, || {
            format!("{} vectors, not {count}", self.args.large)
        })?;
        self.search_once(&store, 0, 0).await?;
        drop(store);
        database.close().await?;
        let again = disk_bytes(directory)?;
        let line = json!({
            "phase": "delete", "vectors": self.args.large, "to_caller_ms": rounded(to_caller.as_secs_f64() * 1000.0),
            "reusable_seconds": rounded(reusable.as_secs_f64()), "purged_seconds": rounded(purged_after.as_secs_f64()),
            "disk_bytes_before": before,
            "disk_bytes_purged": purged, "disk_bytes_again": again, "again_per_before": rounded(again as f64 / before as f64),
        });
        let sentence = format!(
            "delete  {:.2} ms to the caller, space reusable after {:.2} s, all rows gone after \
             {:.2} s; {} on disk before, {} then, {} written again",
            to_caller.as_secs_f64() * 1000.0,
            reusable.as_secs_f64(),
            purged_after.as_secs_f64(),
            bytes_text(before),
            bytes_text(purged),
            bytes_text(again)
        );
        report(output, &line, sentence)
    }
}
