//! How large, how fast and how good is one way of storing?

use std::path::Path;
use std::sync::Arc;

use llmspell_storage::{
    DimensionRouter, EmbeddingModel, HNSWConfig, HNSWVectorStorage, ModelSpace, VectorQuery, VectorStorage,
};
use serde_json::json;

use super::truth::Truths;
use super::{MatryoshkaArgs, SWEEP, rounded4};
use crate::commands::bench::ann::{Queries, SearchReport, SearchSettings, measure, next_batch};
use crate::commands::bench::load::{Load, load};
use crate::commands::bench::report;
use crate::errors::CliError;
use crate::input::npy::NpyReader;
use crate::measure::disk::disk_bytes;
use crate::measure::latency::rounded;
use crate::output::{Output, bytes_text, grouped, number_cell, row, table, text_cell};
use crate::progress::Progress;

const MODEL: &str = "bench";

/// A way of storing vectors, and of finding them.
pub(super) struct Variant {
    pub(super) name: String,
    /// Components of a whole vector.
    pub(super) dim: usize,
    pub(super) store_dim: usize,
    pub(super) config: HNSWConfig,
}

/// What was measured of it, at the default width of the beam.
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) disk_bytes: u64,
    /// Against the nearest by whole vectors.
    pub(super) recall: f64,
    pub(super) qps: f64,
}

impl Variant {
    /// In a directory of its own below `directory`.
    pub(super) async fn measure(
        &self,
        args: &MatryoshkaArgs,
        truths: &Truths,
        directory: &Path,
        output: &mut Output,
    ) -> Result<Measured, CliError> {
        let directory = directory.join(&self.name);
        if !(args.reuse && directory.exists()) {
            self.load(args, &directory, output).await?;
        }
        let disk_bytes = disk_bytes(&directory)?;
        let (router, store) = self.open(&directory).await?;
        let (vectors, rows) = (
            store.stats().await?.vectors,
            args.rows_of(NpyReader::open(&args.base)?.header().rows),
        );
        if vectors != rows {
            return Err(CliError::usage(
                format!("{} has {vectors} vectors, not {rows}", directory.display()),
                "name another --dir, or leave out --reuse",
            ));
        }
        store.build_index().await?;
        let (recall, qps) = self.search(args, truths, &router, output).await?;
        drop(store);
        router.close().await?;
        Ok(Measured {
            name: self.name.clone(),
            disk_bytes,
            recall,
            qps,
        })
    }

    async fn open(&self, directory: &Path) -> Result<(DimensionRouter, HNSWVectorStorage), CliError> {
        let router = DimensionRouter::open(directory, self.config.clone()).await?;
        let mut model = EmbeddingModel::new(MODEL, self.dim).with_metric(self.config.metric());
        if self.store_dim < self.dim {
            model = model.with_matryoshka([self.store_dim]);
        }
        let space = ModelSpace::new(model).with_store_dim(self.store_dim);
        router.register_model(space).await?;
        let store = router.database().existing_vectors(MODEL).await?;
        Ok((router, store.expect("its model was just registered")))
    }

    async fn load(&self, args: &MatryoshkaArgs, directory: &Path, output: &mut Output) -> Result<(), CliError> {
        let mut base = NpyReader::open(&args.base)?;
        let rows = args.rows_of(base.header().rows);
        let (router, store) = self.open(directory).await?;
        let progress = Progress::new(Some(rows), "rows", output.is_json());
        let next = || {
            let left = rows - base.rows_read();
            next_batch(&mut base, usize::try_from(left).unwrap_or(usize::MAX).min(args.batch))
        };
        let Load {
            vectors,
            insert_seconds,
            seconds,
        } = load(&store, directory, next, progress).await?;
        drop(store);
        router.close().await?;
        let (disk, raw) = (disk_bytes(directory)?, 4 * vectors * self.dim as u64);
        let line = json!({
            "phase": "load", "variant": self.name, "dim": self.dim, "store_dim": self.store_dim, "vectors": vectors,
            "insert_seconds": rounded(insert_seconds), "index_seconds": rounded(seconds - insert_seconds),
            "seconds": rounded(seconds), "config": self.config, "disk_bytes": disk,
            "disk_per_raw": rounded4(disk as f64 / raw.max(1) as f64),
        });
        let sentence = format!(
            "load    {}: {} vectors, durable after {insert_seconds:.2} s, indexed {:.2} s later; {} on disk",
            self.name,
            grouped(vectors),
            seconds - insert_seconds,
            bytes_text(disk)
        );
        report(output, &line, sentence)
    }

    /// The recall and the speed at the default width.
    async fn search(
        &self,
        args: &MatryoshkaArgs,
        truths: &Truths,
        router: &DimensionRouter,
        output: &mut Output,
    ) -> Result<(f64, f64), CliError> {
        let of = |nearest: &[Vec<u32>]| Queries::of(truths.queries.clone(), nearest, args.k).of_model(MODEL);
        let by_whole = Arc::new(of(&truths.by_whole));
        let is_whole = self.store_dim == self.dim;
        let by_stored = of(if is_whole { &truths.by_whole } else { &truths.by_leading });
        let storage: Arc<dyn VectorStorage> = Arc::new(router.clone());
        let default_ef = self.config.ef_search().max(args.k);
        let mut widths = args.ef.clone().unwrap_or_else(|| SWEEP.to_vec());
        widths.push(default_ef);
        widths.retain(|ef| *ef >= args.k);
        widths.sort_unstable();
        widths.dedup();

        let mut lines = table(["", "ef", "recall", "of stored", "p50 µs", "p99 µs", "queries a second"]);
        let mut at_default = (0.0, 0.0);
        for ef in widths {
            let settings = SearchSettings {
                k: args.k,
                ef,
                exact: false,
                threads: 1,
                reps: args.reps,
                time_min: args.seconds,
            };
            let search = tokio::task::block_in_place(|| measure(&storage, &by_whole, settings))?;
            let recall_stored = if is_whole {
                search.recall
            } else {
                recall(router, &by_stored, args.k, ef).await?
            };
            if ef == default_ef {
                at_default = (search.recall, search.qps);
            }
            self.report(&search, recall_stored, ef == default_ef, output)?;
            lines.add_row(row([
                text_cell(if ef == default_ef { "default" } else { "" }),
                number_cell(ef),
                number_cell(format!("{:.4}", search.recall)),
                number_cell(format!("{recall_stored:.4}")),
                number_cell(format!("{:.1}", search.p50_us)),
                number_cell(format!("{:.1}", search.p99_us)),
                number_cell(grouped(search.qps as u64)),
            ]));
        }
        output.table(lines)?;
        Ok(at_default)
    }

    fn report(
        &self,
        search: &SearchReport,
        recall_stored: f64,
        is_default: bool,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let mut line = serde_json::to_value(search).map_err(llmspell_storage::StorageError::from)?;
        line["variant"] = json!(self.name);
        line["recall_stored"] = json!(recall_stored);
        line["is_default"] = json!(is_default);
        report(output, &line, String::new())
    }
}

/// The share of what should be found that is, each query asked once.
async fn recall(router: &DimensionRouter, queries: &Queries, k: usize, ef: usize) -> Result<f64, CliError> {
    let mut found = 0;
    for (number, vector) in queries.vectors.iter().enumerate() {
        let query = VectorQuery::new(vector.clone(), k).with_model(MODEL).with_ef_search(ef);
        found += queries.found(number, &router.search(&query.with_metadata(false)).await?);
    }
    Ok(found as f64 / (queries.vectors.len() * k).max(1) as f64)
}
