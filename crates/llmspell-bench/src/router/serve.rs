//! The time of opening and searching through the router, and the RAM that it takes.

use std::sync::Arc;
use std::time::Instant;

use llmspell_storage::{DimensionRouter, HNSWConfig, VectorQuery, VectorStorage};
use serde_json::json;

use super::{Bench, model, prefix};
use crate::ann::{Queries, SearchSettings, measure};
use crate::measure::disk::disk_bytes;
use crate::measure::latency::rounded;
use crate::measure::memory::ProcessMemory;
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, bytes_text, grouped, number_cell, row, table};

impl Bench<'_> {
    pub(super) async fn serve(&self, output: &mut Output) -> Result<(), CliError> {
        let mut sets = Vec::new();
        for dim in self.args.dims.iter().copied() {
            let set = self.set(dim);
            let (queries, truth) = (set.join("queries.npy"), set.join("truth.npy"));
            let queries = Queries::open(&queries, &truth, self.args.k, dim, self.args.vectors)?;
            sets.push((
                dim,
                Arc::new(queries.of_model(&model(dim).name).with_prefix(&prefix(dim))),
            ));
        }
        let Some((_, first_set)) = sets.first() else {
            return Ok(());
        };
        let first_query = query(first_set, self.args.k, self.args.dims[0]);

        let before = ProcessMemory::now().unwrap_or_default();
        let started = Instant::now();
        let config = HNSWConfig::balanced();
        let router = DimensionRouter::open(self.database(), config.clone()).await?;
        let open_seconds = started.elapsed().as_secs_f64();
        router.search(&first_query).await?;
        let first_seconds = started.elapsed().as_secs_f64();
        let millis = |seconds: f64| (seconds * 1e6).round() / 1e3;
        let line = json!({
            "phase": "open", "spaces": sets.len(), "open_ms": millis(open_seconds),
            "first_answer_ms": millis(first_seconds),
        });
        let sentence = format!(
            "open      {} spaces in {:.1} ms, the first answer after {:.1} ms",
            sets.len(),
            open_seconds * 1e3,
            first_seconds * 1e3
        );
        report(output, &line, sentence)?;

        let storage: Arc<dyn VectorStorage> = Arc::new(router.clone());
        let settings = SearchSettings {
            k: self.args.k,
            ef: config.ef_search().max(self.args.k),
            exact: false,
            threads: 1,
            reps: self.args.reps,
            time_min: self.args.seconds,
        };
        let mut lines = table([
            "dim",
            "first ms",
            "recall",
            "p50 µs",
            "p99 µs",
            "queries a second",
            "resident per vector",
        ]);
        for (dim, queries) in &sets {
            let held = ProcessMemory::now().unwrap_or_default();
            let first = query(queries, self.args.k, *dim);
            let started = Instant::now();
            router.search(&first).await?;
            let first_ms = millis(started.elapsed().as_secs_f64());
            let search = tokio::task::block_in_place(|| measure(&storage, queries, settings))?;
            let grown = ProcessMemory::now().unwrap_or_default().grown_since(held);
            let per_vector = grown.rss_bytes as f64 / self.args.vectors as f64;
            let mut line = serde_json::to_value(&search).map_err(llmspell_storage::StorageError::from)?;
            line["dim"] = json!(dim);
            line["first_ms"] = json!(first_ms);
            line["resident_bytes_per_vector"] = json!(rounded(per_vector));
            report(output, &line, String::new())?;
            lines.add_row(row([
                number_cell(dim),
                number_cell(first_ms),
                number_cell(format!("{:.4}", search.recall)),
                number_cell(format!("{:.1}", search.p50_us)),
                number_cell(format!("{:.1}", search.p99_us)),
                number_cell(grouped(search.qps as u64)),
                number_cell(format!("{per_vector:.0}")),
            ]));
        }
        output.table(lines)?;
        self.total(before, &router, output).await?;
        drop(storage);
        router.close().await?;
        Ok(())
    }

    async fn total(
        &self,
        before: ProcessMemory,
        router: &DimensionRouter,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let grown = ProcessMemory::now().unwrap_or_default().grown_since(before);
        let (mut vectors, mut raw) = (0, 0);
        for space in router.distribution().await? {
            vectors += space.vectors;
            raw += space.vector_bytes;
        }
        let disk = disk_bytes(&self.database())?;
        let ratio = disk as f64 / raw.max(1) as f64;
        let per_vector = grown.rss_bytes as f64 / vectors.max(1) as f64;
        let line = json!({
            "phase": "total", "spaces": self.args.dims.len(), "vectors": vectors, "raw_bytes": raw, "disk_bytes": disk,
            "disk_per_raw": rounded(ratio), "resident_bytes": grown.rss_bytes,
            "resident_anonymous_bytes": grown.anonymous_bytes, "resident_bytes_per_vector": rounded(per_vector),
        });
        let sentence = format!(
            "total     {} vectors: {} on disk, {ratio:.3} of the vectors; {} resident, {per_vector:.0} bytes per vector",
            grouped(vectors),
            bytes_text(disk),
            bytes_text(grown.rss_bytes)
        );
        report(output, &line, sentence)
    }
}

/// The first query of a set.
fn query(queries: &Queries, k: usize, dim: usize) -> VectorQuery {
    VectorQuery::new(queries.vectors[0].clone(), k)
        .with_model(model(dim).name)
        .with_metadata(false)
}
