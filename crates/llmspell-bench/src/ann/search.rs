//! Speed and recall over all widths of the beam.

use std::sync::Arc;

use llmspell_storage::{HNSWVectorStorage, VectorStorage};

use super::at::{AtRecall, TARGETS};
use super::data::Queries;
use super::rounds::{SearchReport, SearchSettings, measure};
use super::{Bench, SWEEP};
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, grouped, number_cell, row, table};

/// A default sweep ends here: wider beams have nothing more to find.
const RECALL_ENOUGH: f64 = 0.999;

impl Bench<'_> {
    /// Says the narrowest beam that reached a recall of 0.95, or the widest one measured.
    pub(super) fn search(
        &self,
        store: &HNSWVectorStorage,
        queries: &Arc<Queries>,
        output: &mut Output,
    ) -> Result<usize, CliError> {
        let mut good_enough = self.args.k;
        for threads in &self.args.threads {
            let searches = self.sweep(store, queries, *threads, output)?;
            for target in TARGETS {
                let at = AtRecall::of(&searches, target);
                report(output, &at, at.sentence())?;
            }
            let narrowest = searches.iter().find(|search| search.recall >= TARGETS[0]);
            if let Some(search) = narrowest.or(searches.last()) {
                good_enough = search.ef;
            }
        }
        Ok(good_enough)
    }

    fn sweep(
        &self,
        store: &HNSWVectorStorage,
        queries: &Arc<Queries>,
        threads: usize,
        output: &mut Output,
    ) -> Result<Vec<SearchReport>, CliError> {
        let k = self.args.k;
        let widths: Vec<usize> = match &self.args.ef {
            Some(widths) => widths.clone(),
            None => std::iter::once(k)
                .chain(SWEEP.into_iter().filter(|ef| *ef > k))
                .collect(),
        };
        let mut lines = table([
            "search",
            "threads",
            "ef",
            "recall",
            "p50 µs",
            "p95 µs",
            "p99 µs",
            "queries a second",
            "median",
        ]);
        let store: Arc<dyn VectorStorage> = Arc::new(store.clone());
        let mut searches = Vec::new();
        for ef in widths {
            let settings = SearchSettings {
                k,
                ef,
                exact: self.args.exact,
                threads,
                reps: self.args.reps,
                time_min: self.args.seconds,
            };
            // The search has threads of its own; this one only waits.
            let search = tokio::task::block_in_place(|| measure(&store, queries, settings))?;
            report(output, &search, String::new())?;
            lines.add_row(row([
                number_cell(""),
                number_cell(threads),
                number_cell(ef),
                number_cell(format!("{:.4}", search.recall)),
                number_cell(format!("{:.1}", search.p50_us)),
                number_cell(format!("{:.1}", search.p95_us)),
                number_cell(format!("{:.1}", search.p99_us)),
                number_cell(grouped(search.qps as u64)),
                number_cell(grouped(search.qps_median as u64)),
            ]));
            let is_enough = self.args.ef.is_none() && search.recall >= RECALL_ENOUGH;
            searches.push(search);
            if is_enough {
                break;
            }
        }
        output.table(lines)?;
        Ok(searches)
    }
}
