//! The rows of the base that are nearest to each query, by comparing all of them.
//!
//! The file is read again, block by block: what was rounded to 16 bits is compared as it is stored. Each thread has
//! its share of the queries and compares them with the whole block.

use std::path::Path;

use llmspell_storage::DistanceMetric;
use llmspell_vector::{ExactDistance, Metric, PointId, TopK, scan, share_out};

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::progress::Progress;

/// How much of the base is looked at together, in bytes.
#[derive(Debug, Clone, Copy)]
struct Portions {
    /// Read at once.
    block: usize,
    /// What a thread compares with all its queries before it goes on: it stays in its cache.
    cached: usize,
}

const PORTIONS: Portions = Portions {
    block: 32 << 20,
    cached: 256 << 10,
};

/// What is compared with the queries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base<'a> {
    pub(crate) path: &'a Path,
    /// Rows after these do not count.
    pub(crate) rows_max: u64,
    /// Components after these do not count, of queries neither; all, if there are fewer. Under cosine, what is left is
    /// compared as if it were normalized again: the length of a vector never counts there.
    pub(crate) leading: usize,
}

impl<'a> Base<'a> {
    /// All of a file.
    pub(super) fn whole(path: &'a Path) -> Self {
        Self {
            path,
            rows_max: u64::MAX,
            leading: usize::MAX,
        }
    }
}

/// The `k` nearest rows of each query, best first; at the same distance the smaller number.
pub(crate) fn nearest(
    base: Base<'_>,
    queries: &[Vec<f32>],
    metric: DistanceMetric,
    k: usize,
    threads: usize,
    progress: &Progress,
) -> Result<Vec<Vec<u32>>, CliError> {
    let leading = |query: &'_ Vec<f32>| base.leading.min(query.len());
    let searches = queries
        .iter()
        .map(|query| Search::new(&query[..leading(query)], metric, k));
    let mut searches: Vec<Search> = searches.collect();
    search_all(base, &mut searches, threads, PORTIONS, progress)?;
    Ok(searches.into_iter().map(Search::rows).collect())
}

fn search_all(
    base: Base<'_>,
    searches: &mut [Search],
    threads: usize,
    portions: Portions,
    progress: &Progress,
) -> Result<(), CliError> {
    let mut reader = NpyReader::open(base.path)?;
    let dim = reader.header().columns;
    let share = searches.len().div_ceil(threads).max(1);
    let rows_of = |bytes: usize| (bytes / (4 * dim)).max(1);
    loop {
        let first = reader.rows_read();
        let rows = rows_of(portions.block) as u64;
        let rows = rows.min(base.rows_max.saturating_sub(first)) as usize;
        let block = read_block(&mut reader, rows)?;
        if block.is_empty() {
            break;
        }
        let first = u32::try_from(first).expect("the arguments bound the rows");
        let columns = (dim, base.leading.min(dim));
        let (block, rows) = (&block, rows_of(portions.cached));
        let parts = searches.chunks_mut(share);
        share_out(parts.map(|searches| move || compare(searches, block, first, columns, rows)));
        progress.set(reader.rows_read());
    }
    Ok(())
}

fn read_block(reader: &mut NpyReader, rows_max: usize) -> Result<Vec<f32>, CliError> {
    let mut block = Vec::new();
    for _ in 0..rows_max {
        let Some(row) = reader.next_row()? else { break };
        block.extend(row);
    }
    Ok(block)
}

fn compare(searches: &mut [Search], block: &[f32], first: u32, (dim, leading): (usize, usize), rows_cached: usize) {
    let points = (first..).step_by(rows_cached);
    for (first, rows) in points.zip(block.chunks(rows_cached * dim)) {
        for search in searches.iter_mut() {
            let rows = rows.chunks_exact(dim).map(|row| &row[..leading]);
            let rows = (first..).map(PointId).zip(rows);
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
#[must_use]
pub fn kernel_metric(metric: DistanceMetric) -> Metric {
    match metric {
        DistanceMetric::Cosine => Metric::Cosine,
        DistanceMetric::Euclidean => Metric::Euclidean,
        DistanceMetric::InnerProduct => Metric::InnerProduct,
        DistanceMetric::Manhattan => Metric::Manhattan,
    }
}

#[cfg(test)]
mod tests {
    use super::super::npy_file::NpyFile;
    use super::*;

    /// Points on a line: those next to a query are known, wherever blocks and cached portions end.
    #[test]
    fn rows_keep_their_numbers_whatever_is_looked_at_together() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("base.npy");
        let mut file = NpyFile::create(base.clone(), "<f4", 100, 1).unwrap();
        for row in 0..100_u8 {
            file.write(&f32::from(row).to_le_bytes()).unwrap();
        }
        file.finish().unwrap();

        for (block, cached) in [(4, 4), (28, 12), (52, 400), (400, 28), (4000, 4000)] {
            for threads in [1, 2, 7] {
                let queries = [3.2_f32, 50.4, 98.9];
                let mut searches = queries.map(|at| Search::new(&[at], DistanceMetric::Euclidean, 3));
                let progress = Progress::new(None, "rows", true);
                let whole = Base::whole(&base);
                search_all(whole, &mut searches, threads, Portions { block, cached }, &progress).unwrap();
                let found = searches.map(Search::rows);
                assert_eq!(
                    found,
                    [[3, 4, 2], [50, 51, 49], [99, 98, 97]],
                    "{block} {cached} {threads}"
                );
            }
        }
    }

    #[test]
    fn only_the_leading_components_of_the_first_rows_count_if_that_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("base.npy");
        let mut file = NpyFile::create(path.clone(), "<f4", 4, 2).unwrap();
        for number in [1.0_f32, 9.0, 2.0, 0.0, 3.0, 5.0, 1.5, 0.0] {
            file.write(&number.to_le_bytes()).unwrap();
        }
        file.finish().unwrap();
        let found = |rows_max, leading| {
            let base = Base {
                path: &path,
                rows_max,
                leading,
            };
            let progress = Progress::new(None, "rows", true);
            let metric = DistanceMetric::Euclidean;
            nearest(base, &[vec![1.0, 0.0]], metric, 2, 1, &progress)
                .unwrap()
                .remove(0)
        };
        assert_eq!(found(u64::MAX, usize::MAX), [3, 1]);
        assert_eq!(found(u64::MAX, 1), [0, 3]);
        assert_eq!(found(3, 1), [0, 1]);
        assert_eq!(found(3, 2), [1, 2]);
    }
}
