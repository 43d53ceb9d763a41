//! Which rows of the base are nearest to each query, exactly?
//!
//! The file is read again, block by block: what was rounded to 16 bits is compared as it is stored. Each thread has
//! its share of the queries and compares them with the whole block.

use std::path::Path;

use llmspell_storage::DistanceMetric;
use llmspell_vector::{ExactDistance, Metric, PointId, TopK, scan};

use crate::errors::CliError;
use crate::input::npy::NpyReader;
use crate::progress::Progress;

/// Bytes of a block.
const BLOCK_BYTES: usize = 32 << 20;
/// Rows that a thread compares with all its queries before it goes on: they stay in its cache.
const CACHED_BYTES: usize = 256 << 10;

/// The `k` nearest rows of each query, best first; at the same distance the smaller number.
pub(super) fn nearest(
    base: &Path,
    queries: &[Vec<f32>],
    metric: DistanceMetric,
    k: usize,
    threads: usize,
    progress: &Progress,
) -> Result<Vec<Vec<u32>>, CliError> {
    let mut reader = NpyReader::open(base)?;
    let dim = reader.header().columns;
    let mut searches: Vec<Search> = queries.iter().map(|query| Search::new(query, metric, k)).collect();
    let share = searches.len().div_ceil(threads).max(1);
    let block_rows = (BLOCK_BYTES / (4 * dim)).max(1);
    loop {
        let first = reader.rows_read();
        let block = read_block(&mut reader, block_rows)?;
        if block.is_empty() {
            break;
        }
        let first = u32::try_from(first).expect("the arguments bound the rows");
        std::thread::scope(|scope| {
            for searches in searches.chunks_mut(share) {
                scope.spawn(|| compare(searches, &block, first, dim));
            }
        });
        progress.set(reader.rows_read());
    }
    Ok(searches.into_iter().map(Search::rows).collect())
}

fn read_block(reader: &mut NpyReader, rows_max: usize) -> Result<Vec<f32>, CliError> {
    let mut block = Vec::new();
    for _ in 0..rows_max {
        let Some(row) = reader.next_row()? else { break };
        block.extend(row);
    }
    Ok(block)
}

fn compare(searches: &mut [Search], block: &[f32], first: u32, dim: usize) {
    let rows_cached = (CACHED_BYTES / (4 * dim)).max(1);
    let points = (first..).step_by(rows_cached);
    for (first, rows) in points.zip(block.chunks(rows_cached * dim)) {
        for search in searches.iter_mut() {
            let rows = (first..).map(PointId).zip(rows.chunks_exact(dim));
            scan(&search.distance, rows, None, &mut search.top);
        }
    }
}

struct Search {
    distance: ExactDistance,
    top: TopK,
}

impl Search {
    fn new(query: &[f32], metric: DistanceMetric, k: usize) -> Self {
        Self {
            distance: ExactDistance::new(kernel_metric(metric), query),
            top: TopK::new(k),
        }
    }

    fn rows(self) -> Vec<u32> {
        let (nearest, _) = self.top.into_sorted();
        nearest.into_iter().map(|neighbor| neighbor.point.0).collect()
    }
}

/// The same metric, as the maths calls it.
pub(in crate::commands::bench) fn kernel_metric(metric: DistanceMetric) -> Metric {
    match metric {
        DistanceMetric::Cosine => Metric::Cosine,
        DistanceMetric::Euclidean => Metric::Euclidean,
        DistanceMetric::InnerProduct => Metric::InnerProduct,
        DistanceMetric::Manhattan => Metric::Manhattan,
    }
}
