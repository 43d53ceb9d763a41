//! Size, speed and recall of one way of storing.

use std::path::Path;
use std::sync::Arc;

use comfy_table::Table;
use llmspell_storage::{
    DimensionRouter, EmbeddingModel, HNSWConfig, HNSWVectorStorage, ModelSpace, VectorQuery, VectorStorage,
};
use serde_json::json;

use super::truth::Truths;
use super::{MatryoshkaArgs, rounded4};
use crate::ann::{Queries, SearchReport, SearchSettings, measure, next_batch};
use crate::load::{Load, load};
use crate::measure::disk::disk_bytes;
use crate::measure::latency::rounded;
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::output::{Output, bytes_text, grouped, number_cell, row, table, text_cell};
use llmspell_cli_base::progress::Progress;

const MODEL: &str = "bench";

/// A way of storing vectors, and of finding them.
pub(super) struct Variant {
    pub(super) name: String,
    /// Components of a whole vector.
    pub(super) dim: usize,
    pub(super) store_dim: usize,
    pub(super) config: HNSWConfig,
}

impl Variant {
    async fn open(&self, directory: &Path) -> Result<(DimensionRouter, HNSWVectorStorage), CliError> {
        let router = DimensionRouter::open(directory, self.config.clone()).await?;
        let mut model = EmbeddingModel::new(MODEL, self.dim).with_metric(self.config.metric());
        let cuts = [Some(self.store_dim), self.config.index_dim()].into_iter().flatten();
        if let Some(cut) = cuts.min().filter(|cut| *cut < self.dim) {
            model = model.with_matryoshka([cut]);
        }
        let space = ModelSpace::new(model)
            .with_store_dim(self.store_dim)
            .with_index(self.config.clone());
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
}

/// One of the ways, loaded and open.
pub(super) struct Way {
    variant: Variant,
    router: DimensionRouter,
    pub(super) disk_bytes: u64,
    default_ef: usize,
    /// What was measured of it, against the nearest by whole vectors.
    pub(super) searches: Vec<SearchReport>,
    /// The recall of each, against the nearest by what is stored.
    recalls_stored: Vec<f64>,
}

impl Way {
    /// In a directory of its own below `directory`.
    pub(super) async fn ready(
        variant: Variant,
        args: &MatryoshkaArgs,
        directory: &Path,
        output: &mut Output,
    ) -> Result<Self, CliError> {
        let directory = directory.join(&variant.name);
        if !(args.reuse && directory.exists()) {
            variant.load(args, &directory, output).await?;
        }
        let disk_bytes = disk_bytes(&directory)?;
        let (router, store) = variant.open(&directory).await?;
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
        Ok(Self {
            variant,
            router,
            disk_bytes,
            default_ef: args.default_ef(),
            searches: Vec::new(),
            recalls_stored: Vec::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.variant.name
    }

    /// Measures one width of the beam.
    pub(super) async fn search(
        &mut self,
        args: &MatryoshkaArgs,
        truths: &Truths,
        ef: usize,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let of = |nearest: &[Vec<u32>]| Queries::of(truths.queries.clone(), nearest, args.k).of_model(MODEL);
        let by_whole = Arc::new(of(&truths.by_whole));
        let storage: Arc<dyn VectorStorage> = Arc::new(self.router.clone());
        let settings = SearchSettings {
            k: args.k,
            ef,
            exact: false,
            threads: 1,
            reps: args.reps,
            time_min: args.seconds,
        };
        let search = tokio::task::block_in_place(|| measure(&storage, &by_whole, settings))?;
        let recall_stored = if self.variant.store_dim == self.variant.dim {
            search.recall
        } else {
            recall(&self.router, &of(&truths.by_leading), args.k, ef).await?
        };
        let mut line = serde_json::to_value(&search).map_err(llmspell_storage::StorageError::from)?;
        line["variant"] = json!(self.variant.name);
        line["recall_stored"] = json!(recall_stored);
        line["is_default"] = json!(ef == self.default_ef);
        report(output, &line, String::new())?;
        self.searches.push(search);
        self.recalls_stored.push(recall_stored);
        Ok(())
    }

    /// What was measured at the width that is not named.
    pub(super) fn at_default(&self) -> &SearchReport {
        let is_default = |search: &&SearchReport| search.ef == self.default_ef;
        self.searches
            .iter()
            .find(is_default)
            .expect("the default width is one of the widths")
    }

    pub(super) async fn close(self) -> Result<(), CliError> {
        Ok(self.router.close().await?)
    }
}

/// All that was measured, a row for each width.
pub(super) fn table_of(ways: &[Way]) -> Table {
    let heads = [
        "",
        "",
        "ef",
        "recall",
        "of stored",
        "p50 µs",
        "p99 µs",
        "queries a second",
    ];
    let mut lines = table(heads);
    for way in ways {
        for (search, recall_stored) in way.searches.iter().zip(&way.recalls_stored) {
            lines.add_row(row([
                text_cell(way.name()),
                text_cell(if search.ef == way.default_ef { "default" } else { "" }),
                number_cell(search.ef),
                number_cell(format!("{:.4}", search.recall)),
                number_cell(format!("{recall_stored:.4}")),
                number_cell(format!("{:.1}", search.p50_us)),
                number_cell(format!("{:.1}", search.p99_us)),
                number_cell(grouped(search.qps as u64)),
            ]));
        }
    }
    lines
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
