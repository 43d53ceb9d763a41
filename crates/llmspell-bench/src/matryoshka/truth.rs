//! The rows that whole vectors and their leading components should find, by comparing all of them.

use std::collections::HashSet;

use super::MatryoshkaArgs;
use crate::generate::{Base, nearest};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::progress::Progress;

/// Queries, and the rows that are nearest to each, nearest first.
pub(super) struct Truths {
    pub(super) queries: Vec<Vec<f32>>,
    pub(super) by_whole: Vec<Vec<u32>>,
    pub(super) by_leading: Vec<Vec<u32>>,
}

impl Truths {
    /// Refuses queries that are none of these vectors.
    pub(super) fn of(args: &MatryoshkaArgs, dim: usize, is_quiet: bool) -> Result<Self, CliError> {
        let mut reader = NpyReader::open(&args.queries)?;
        let header = reader.header();
        if header.columns != dim || header.rows == 0 {
            return Err(CliError::usage(
                format!(
                    "there are {} queries of {} components, the base has {dim}",
                    header.rows, header.columns
                ),
                "name arrays that were made together",
            ));
        }
        let mut queries = Vec::new();
        while let Some(query) = reader.next_row()? {
            queries.push(query);
        }
        let rows = NpyReader::open(&args.base)?.header().rows;
        let rows_max = args.rows_of(rows);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let truth = |leading: usize, what: &str| {
            let progress = Progress::new(Some(rows_max), "rows", is_quiet);
            progress.say(format!("true neighbors, by {what}"));
            let base = Base {
                path: &args.base,
                rows_max,
                leading,
            };
            nearest(base, &queries, args.metric, args.k, threads, &progress)
        };
        Ok(Self {
            by_whole: truth(dim, "whole vectors")?,
            by_leading: truth(args.store_dim, "leading components")?,
            queries,
        })
    }

    /// The share of the nearest by whole vectors that exact search finds by their leading components.
    pub(super) fn recall_of_leading(&self) -> f64 {
        let found = self.by_whole.iter().zip(&self.by_leading).map(|(whole, leading)| {
            let whole: HashSet<&u32> = whole.iter().collect();
            leading.iter().filter(|row| whole.contains(row)).count()
        });
        let due: usize = self.by_whole.iter().map(Vec::len).sum();
        found.sum::<usize>() as f64 / due.max(1) as f64
    }
}
