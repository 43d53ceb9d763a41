//! The share of the nearest that leading components of vectors find.
//!
//! Everything is compared with everything, whole and at each cut, on all processors: nothing here is approximate.

use llmspell_storage::{DistanceMetric, StorageError, cut, validate_vectors};
use llmspell_vector::{ExactDistance, share_out};

use super::vectors::Drawn;
use llmspell_bench::kernel_metric;

/// Candidates that are compared whole where the best of a cut are rescored, as a multiple of `k`.
pub(super) const RESCORED_TIMES: usize = 4;

/// What a cut finds of the `k` nearest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CutRecall {
    pub(super) dim: usize,
    /// By the cut alone: those among its `k` nearest.
    pub(super) recall: f64,
    /// With the best 4 `k` of the cut compared whole.
    pub(super) rescored: f64,
}

/// How vectors are compared, and where they are cut.
#[derive(Debug, Clone)]
pub(super) struct Cuts {
    pub(super) metric: DistanceMetric,
    /// Components of a whole vector.
    pub(super) dim: usize,
    pub(super) at: Vec<usize>,
    pub(super) k: usize,
}

/// What is nearest to each of the queries, of the vectors compared so far.
pub(super) struct Comparison {
    cuts: Cuts,
    searches: Vec<Search>,
    threads: usize,
}

/// A query, whole and at each cut.
struct Search {
    /// Its own number: it is no neighbor of itself.
    row: Option<u64>,
    whole: (ExactDistance, Nearest),
    cuts: Vec<(ExactDistance, Nearest)>,
}

impl Comparison {
    /// `own_rows`: whether the queries are of the vectors that they are compared with.
    pub(super) fn new(cuts: Cuts, queries: Vec<Drawn>, own_rows: bool) -> Result<Self, StorageError> {
        let searches = queries.into_iter().map(|query| {
            validate_vectors::vector(&query.row.to_string(), &query.vector, cuts.dim, cuts.metric)?;
            let distance = |vector: &[f32]| ExactDistance::new(kernel_metric(cuts.metric), vector);
            let at_cut = |dim: &usize| {
                let vector = cut_vector(query.row, &query.vector, *dim, cuts.metric)?;
                Ok((distance(&vector), Nearest::new(RESCORED_TIMES * cuts.k)))
            };
            Ok(Search {
                row: own_rows.then_some(query.row),
                whole: (distance(&query.vector), Nearest::new(cuts.k)),
                cuts: cuts.at.iter().map(at_cut).collect::<Result<_, StorageError>>()?,
            })
        });
        Ok(Self {
            searches: searches.collect::<Result<_, StorageError>>()?,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            cuts,
        })
    }

    /// Compares every query with these vectors, whose numbers begin with `first`.
    pub(super) fn compare(&mut self, first: u64, block: &[f32]) -> Result<(), StorageError> {
        let rows = block.chunks_exact(self.cuts.dim);
        let mut cut_blocks = Vec::with_capacity(self.cuts.at.len());
        for (number, row) in (first..).zip(rows.clone()) {
            validate_vectors::vector(&number.to_string(), row, self.cuts.dim, self.cuts.metric)?;
        }
        for dim in &self.cuts.at {
            let mut cut_block = Vec::with_capacity(rows.len() * dim);
            for (number, row) in (first..).zip(rows.clone()) {
                cut_block.extend(cut_vector(number, row, *dim, self.cuts.metric)?);
            }
            cut_blocks.push((*dim, cut_block));
        }
        let share = self.searches.len().div_ceil(self.threads).max(1);
        let (rows, cut_blocks) = (&rows, &cut_blocks);
        share_out(self.searches.chunks_mut(share).map(|searches| {
            move || {
                for search in searches {
                    search.compare(first, rows.clone(), cut_blocks);
                }
            }
        }));
        Ok(())
    }

    /// The recall of each cut, over all queries.
    pub(super) fn recalls(&self) -> Vec<CutRecall> {
        let of_cut = |(place, dim): (usize, &usize)| {
            let (mut due, mut found, mut rescored) = (0, 0, 0);
            for search in &self.searches {
                let true_ones = &search.whole.1.found;
                let Some((farthest, _)) = true_ones.last() else {
                    continue;
                };
                let by_cut = &search.cuts[place].1.found;
                // What is exactly as near as the last of the true ones is as right.
                let right = |candidates: &[(f32, f32)]| {
                    let right = candidates.iter().filter(|(_, whole)| whole <= farthest);
                    right.count().min(true_ones.len())
                };
                due += true_ones.len();
                found += right(&by_cut[..by_cut.len().min(self.cuts.k)]);
                rescored += right(by_cut);
            }
            let share = |found: usize| found as f64 / due.max(1) as f64;
            CutRecall {
                dim: *dim,
                recall: share(found),
                rescored: share(rescored),
            }
        };
        self.cuts.at.iter().enumerate().map(of_cut).collect()
    }
}

impl Search {
    fn compare<'r>(
        &mut self,
        first: u64,
        rows: impl ExactSizeIterator<Item = &'r [f32]>,
        cut_blocks: &[(usize, Vec<f32>)],
    ) {
        for (place, row) in rows.enumerate() {
            if self.row == Some(first + place as u64) {
                continue;
            }
            let whole = self.whole.0.distance(row);
            self.whole.1.offer(whole, whole);
            for ((distance, nearest), (dim, block)) in self.cuts.iter_mut().zip(cut_blocks) {
                nearest.offer(distance.distance(&block[place * dim..][..*dim]), whole);
            }
        }
    }
}

/// The nearest of what was offered, nearest first; of equals those that came first.
struct Nearest {
    room: usize,
    /// How far each is, and how far its whole vector.
    found: Vec<(f32, f32)>,
}

impl Nearest {
    fn new(room: usize) -> Self {
        Self {
            room,
            found: Vec::with_capacity(room + 1),
        }
    }

    fn offer(&mut self, distance: f32, whole: f32) {
        let is_full = self.found.len() == self.room;
        if is_full && self.found.last().is_none_or(|(last, _)| distance >= *last) {
            return;
        }
        let place = self.found.partition_point(|(found, _)| *found <= distance);
        self.found.insert(place, (distance, whole));
        self.found.truncate(self.room);
    }
}

fn cut_vector(number: u64, whole: &[f32], dim: usize, metric: DistanceMetric) -> Result<Vec<f32>, StorageError> {
    let mut vector = whole.to_vec();
    cut(&number.to_string(), &mut vector, dim, metric)?;
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recalls(metric: DistanceMetric, rows: &[[f32; 4]], at: &[usize], k: usize, block_rows: usize) -> Vec<CutRecall> {
        let cuts = Cuts {
            metric,
            dim: 4,
            at: at.to_vec(),
            k,
        };
        let query = |(row, vector): (u64, &[f32; 4])| Drawn {
            row,
            vector: vector.to_vec(),
        };
        let queries = (0..).zip(rows).map(query).collect();
        let mut comparison = Comparison::new(cuts, queries, true).unwrap();
        let mut first = 0;
        for block in rows.chunks(block_rows) {
            comparison.compare(first, block.as_flattened()).unwrap();
            first += block.len() as u64;
        }
        comparison.recalls()
    }

    /// The `count` nearest of a row among the others, by its leading components, in f64.
    fn nearest(rows: &[[f32; 4]], own: usize, dim: usize, count: usize) -> Vec<usize> {
        let squares = |a: &[f32], b: &[f32]| -> f64 {
            let differences = a.iter().zip(b).map(|(a, b)| f64::from(a - b));
            differences.map(|difference| difference * difference).sum()
        };
        let mut others: Vec<usize> = (0..rows.len()).filter(|other| *other != own).collect();
        others.sort_by(|a, b| {
            let by = |other: &usize| squares(&rows[own][..dim], &rows[*other][..dim]);
            by(a).total_cmp(&by(b)).then(a.cmp(b))
        });
        others.truncate(count);
        others
    }

    proptest! {
        /// Whole numbers, so that distances are exact; what is as near as the last true one counts as right.
        #[test]
        fn recall_is_what_comparing_everything_by_hand_gives(
            rows in prop::collection::vec(prop::array::uniform4((-9_i8..10).prop_map(f32::from)), 2..40),
            dim in 1_usize..4,
            k in 1_usize..6,
            block_rows in 1_usize..50,
        ) {
            let measured = recalls(DistanceMetric::Euclidean, &rows, &[dim], k, block_rows)[0];
            let far = |a: usize, b: usize| -> f64 {
                let differences = rows[a].iter().zip(&rows[b]).map(|(a, b)| f64::from(a - b).powi(2));
                differences.sum()
            };
            let (mut due, mut found, mut rescored) = (0, 0, 0);
            for own in 0..rows.len() {
                let true_ones = nearest(&rows, own, 4, k);
                let farthest = far(own, true_ones[true_ones.len() - 1]);
                let right = |count: usize| {
                    let by_cut = nearest(&rows, own, dim, count);
                    by_cut.iter().filter(|other| far(own, **other) <= farthest).count().min(true_ones.len())
                };
                due += true_ones.len();
                found += right(k);
                rescored += right(RESCORED_TIMES * k);
            }
            prop_assert_eq!(measured.recall, found as f64 / due as f64);
            prop_assert_eq!(measured.rescored, rescored as f64 / due as f64);
        }
    }

    #[test]
    fn a_cut_is_normalized_again_under_cosine() {
        // By their leading two components, the first two point the same way; their lengths differ much.
        let rows = [
            [0.01, 0.0, 1.0, 0.0],
            [1.0, 0.0, 0.9, 0.0],
            [0.9, 0.4, 0.1, 0.0],
            [0.0, 1.0, 0.0, 0.1],
        ];
        let nearest_of_first = |metric| {
            let cuts = Cuts {
                metric,
                dim: 4,
                at: vec![2],
                k: 1,
            };
            let query = Drawn {
                row: 0,
                vector: rows[0].to_vec(),
            };
            let mut comparison = Comparison::new(cuts, vec![query], true).unwrap();
            comparison.compare(0, rows.as_flattened()).unwrap();
            comparison.searches[0].cuts[0].1.found[0].0
        };
        assert!(nearest_of_first(DistanceMetric::Cosine).abs() < 1e-6);
        assert!(nearest_of_first(DistanceMetric::Euclidean) > 0.5);
    }

    #[test]
    fn what_is_no_vector_is_refused() {
        for wrong in [[f32::NAN, 0.0, 0.0, 1.0], [0.0; 4]] {
            let cuts = || Cuts {
                metric: DistanceMetric::Cosine,
                dim: 4,
                at: vec![2],
                k: 1,
            };
            let mut comparison = Comparison::new(cuts(), Vec::new(), false).unwrap();
            assert!(comparison.compare(0, &wrong).is_err());
            let query = Drawn {
                row: 0,
                vector: wrong.to_vec(),
            };
            assert!(Comparison::new(cuts(), vec![query], false).is_err());
        }
    }

    #[test]
    fn leading_components_without_direction_are_refused() {
        let rows = [[0.0, 0.0, 1.0, 0.0]];
        let cuts = Cuts {
            metric: DistanceMetric::Cosine,
            dim: 4,
            at: vec![2],
            k: 1,
        };
        let mut comparison = Comparison::new(cuts, Vec::new(), false).unwrap();
        assert!(comparison.compare(0, rows.as_flattened()).is_err());
    }
}
