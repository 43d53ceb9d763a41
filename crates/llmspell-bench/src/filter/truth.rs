//! The rows that pass a filter and are nearest to each query, by comparing all of them.
//!
//! The file is read block by block. Each thread has its share of the queries, and compares them with the whole block:
//! one distance counts for all filters that the row passes.

use std::path::Path;

use llmspell_storage::DistanceMetric;
use llmspell_vector::{ExactDistance, PointId, TopK, share_out};

use crate::generate::kernel_metric;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::progress::Progress;

/// Rows that are read at once.
const BLOCK_ROWS: usize = 16_384;

/// What is nearest to one query, through each filter.
struct Search {
    distance: ExactDistance,
    pivot: usize,
    tops: Vec<TopK>,
}

/// The nearest rows of one query through one filter, best first, and the distance of the last of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Nearest {
    pub(super) rows: Vec<u32>,
    pub(super) farthest: f32,
}

/// The `k` nearest rows of each query through each of `filters` filters; `passes` says which a row passes, seen from the
/// pivot of the query.
pub(super) fn nearest(
    base: &Path,
    queries: &[(Vec<f32>, usize)],
    metric: DistanceMetric,
    (k, filters): (usize, usize),
    passes: &(dyn Fn(usize, usize) -> u64 + Sync),
    progress: &Progress,
) -> Result<Vec<Vec<Nearest>>, CliError> {
    let search = |(vector, pivot): &(Vec<f32>, usize)| Search {
        distance: ExactDistance::new(kernel_metric(metric), vector),
        pivot: *pivot,
        tops: vec![TopK::new(k); filters],
    };
    let mut searches: Vec<Search> = queries.iter().map(search).collect();
    let pivots = queries.iter().map(|(_, pivot)| pivot + 1).max().unwrap_or(0);
    let share = searches.len().div_ceil(threads()).max(1);
    blocks(base, progress, &mut |first, rows| {
        let mask = |pivot: usize| (0..rows.len()).map(|row| passes(first + row, pivot)).collect();
        let masks: Vec<Vec<u64>> = (0..pivots).map(mask).collect();
        let masks = &masks;
        share_out(searches.chunks_mut(share).map(|searches| {
            move || {
                for search in searches {
                    search.compare(first, rows, masks);
                }
            }
        }));
    })?;
    Ok(searches.into_iter().map(Search::nearest).collect())
}

/// The distances of all rows from each query.
pub(super) fn distances(
    base: &Path,
    queries: &[Vec<f32>],
    metric: DistanceMetric,
    progress: &Progress,
) -> Result<Vec<Vec<f32>>, CliError> {
    let exact = |query: &Vec<f32>| (ExactDistance::new(kernel_metric(metric), query), Vec::new());
    let mut searches: Vec<(ExactDistance, Vec<f32>)> = queries.iter().map(exact).collect();
    blocks(base, progress, &mut |_, rows| {
        for (distance, found) in &mut searches {
            found.extend(rows.iter().map(|row| distance.distance(row)));
        }
    })?;
    Ok(searches.into_iter().map(|(_, found)| found).collect())
}

fn blocks(base: &Path, progress: &Progress, each: &mut dyn FnMut(usize, &[Vec<f32>])) -> Result<(), CliError> {
    let mut reader = NpyReader::open(base)?;
    let mut rows = Vec::with_capacity(BLOCK_ROWS);
    loop {
        let first = reader.rows_read() as usize;
        rows.clear();
        while rows.len() < BLOCK_ROWS {
            let Some(row) = reader.next_row()? else { break };
            rows.push(row);
        }
        if rows.is_empty() {
            return Ok(());
        }
        each(first, &rows);
        progress.set(reader.rows_read());
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Search {
    fn compare(&mut self, first: usize, rows: &[Vec<f32>], masks: &[Vec<u64>]) {
        for ((row, number), mask) in rows.iter().zip(first..).zip(&masks[self.pivot]) {
            let mut mask = *mask;
            if mask == 0 {
                continue;
            }
            let distance = self.distance.distance(row);
            while mask != 0 {
                let filter = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                self.tops[filter].offer(distance, PointId(number as u32));
            }
        }
    }

    fn nearest(self) -> Vec<Nearest> {
        let nearest = |top: TopK| {
            let (neighbors, _) = top.into_sorted();
            Nearest {
                farthest: neighbors.last().map_or(f32::NEG_INFINITY, |last| last.distance),
                rows: neighbors.into_iter().map(|neighbor| neighbor.point.0).collect(),
            }
        };
        self.tops.into_iter().map(nearest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::NpyFile;

    /// Points on a line, more than a block of them: what is nearest through a filter is known.
    #[test]
    fn each_filter_has_its_own_nearest_rows() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("base.npy");
        let rows = BLOCK_ROWS + 100;
        let mut file = NpyFile::create(base.clone(), "<f4", rows as u64, 1).unwrap();
        for row in 0..rows {
            file.write(&(row as f32).to_le_bytes()).unwrap();
        }
        file.finish().unwrap();
        let progress = Progress::new(None, "rows", true);
        let at = BLOCK_ROWS as f32 + 0.2;
        let passes = |row: usize, pivot: usize| u64::from(row % 2 == pivot) | u64::from(row < 2) << 1 | 4;
        let queries = [(vec![at], 0), (vec![at], 1)];
        let found = nearest(&base, &queries, DistanceMetric::Euclidean, (3, 3), &passes, &progress).unwrap();
        let of = |query: usize, filter: usize| -> Vec<i64> {
            let rows = found[query][filter].rows.iter();
            rows.map(|row| i64::from(*row) - BLOCK_ROWS as i64).collect()
        };
        assert_eq!(of(0, 0), [0, 2, -2]);
        assert_eq!(of(1, 0), [1, -1, 3]);
        assert_eq!(found[0][1].rows, [1, 0]);
        assert_eq!(of(0, 2), [0, 1, -1]);
        assert!((found[0][2].farthest - 1.2).abs() < 0.01);
        let all = distances(&base, &[vec![at]], DistanceMetric::Euclidean, &progress).unwrap();
        assert_eq!(
            (all[0].len(), all[0][BLOCK_ROWS + 1]),
            (rows, BLOCK_ROWS as f32 + 1.0 - at)
        );
    }
}
