//! The time of loading a space of each dimension, and the disk that it takes.

use std::fs;

use llmspell_storage::{DimensionRouter, HNSWConfig};
use serde_json::json;

use super::{Bench, model, prefix};
use crate::ann::next_batch;
use crate::generate::{GenerateArgs, write_set};
use crate::load::{Load, load};
use crate::measure::disk::disk_bytes;
use crate::measure::latency::rounded;
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::output::{Output, bytes_text, grouped};
use llmspell_cli_base::progress::Progress;

/// Rows per inserted batch.
const BATCH: usize = 1000;

impl Bench<'_> {
    /// Makes a set for each dimension, loads it, and leaves only its queries and their true neighbors.
    pub(super) async fn build(&self, output: &mut Output) -> Result<(), CliError> {
        let router = DimensionRouter::open(self.database(), HNSWConfig::balanced()).await?;
        for dim in self.args.dims.iter().copied() {
            let set = GenerateArgs::of(self.set(dim), self.args.vectors, dim, self.args.queries, self.args.k);
            let (base, _) = tokio::task::block_in_place(|| write_set(&set, output.is_json()))?;
            let before = disk_bytes(&self.database())?;
            let model = model(dim);
            router.register_model(model.clone()).await?;
            let store = router.database().existing_vectors(&model.name).await?;
            let store = store.expect("its model was just registered");
            let mut rows = NpyReader::open(&base)?;
            let total = Some(rows.header().rows);
            let next = || {
                let mut entries = next_batch(&mut rows, BATCH)?;
                for entry in &mut entries {
                    entry.id.insert_str(0, &prefix(dim));
                }
                Ok(entries)
            };
            let progress = Progress::new(total, "rows", output.is_json());
            let Load {
                vectors,
                insert_seconds,
                seconds,
            } = load(&store, &self.database(), next, progress).await?;
            drop(rows);
            fs::remove_file(&base).map_err(|source| CliError::file("remove", &base, source))?;

            let (disk, raw) = (
                disk_bytes(&self.database())?.saturating_sub(before),
                4 * vectors * dim as u64,
            );
            let line = json!({
                "phase": "load", "dim": dim, "vectors": vectors, "insert_seconds": rounded(insert_seconds),
                "index_seconds": rounded(seconds - insert_seconds), "seconds": rounded(seconds), "raw_bytes": raw,
                "disk_bytes": disk, "disk_per_raw": rounded(disk as f64 / raw.max(1) as f64),
            });
            let sentence = format!(
                "load      {dim:>5}: {} vectors, durable after {insert_seconds:.2} s, indexed {:.2} s later; {} on disk, \
                 {:.3} of the vectors",
                grouped(vectors),
                seconds - insert_seconds,
                bytes_text(disk),
                disk as f64 / raw.max(1) as f64
            );
            report(output, &line, sentence)?;
        }
        router.close().await?;
        Ok(())
    }
}
