//! Exact search: a scan of rows for the nearest.

use crate::distance::ExactDistance;
use crate::neighbor::PointId;
use crate::top_k::{TiesDropped, TopK};

/// Compares the query with every row, and offers `top` those no farther than `threshold_distance`.
///
/// `top` may hold neighbors from before; several scans can share it if their points differ. The answer does not depend
/// on the order of the rows. One pass over every row.
///
/// # Panics
///
/// If a row has not as many components as the query.
pub fn scan<'rows>(
    distance: &ExactDistance,
    rows: impl Iterator<Item = (PointId, &'rows [f32])>,
    threshold_distance: Option<f32>,
    top: &mut TopK,
) {
    let threshold_distance = threshold_distance.unwrap_or(f32::INFINITY);
    for (point, row) in rows {
        let distance = distance.distance(row);
        if distance <= threshold_distance {
            top.offer(distance, point);
        }
    }
}

/// The points that are exactly `at` away: at most `points_max` of them, the smallest first, and whether there are more.
///
/// For a caller who breaks ties by something else than the number of a point: [`TopK`] says that it dropped some
/// ([`TiesDropped::At`]), and this finds all of them again. One pass over every row.
///
/// # Panics
///
/// If a row has not as many components as the query.
#[must_use]
pub fn collect_ties<'rows>(
    distance: &ExactDistance,
    rows: impl Iterator<Item = (PointId, &'rows [f32])>,
    at: f32,
    points_max: usize,
) -> (Vec<PointId>, TiesDropped) {
    let mut ties = TopK::new(points_max);
    for (point, row) in rows {
        let distance = distance.distance(row);
        if distance.total_cmp(&at).is_eq() {
            ties.offer(distance, point);
        }
    }
    let (ties, more) = ties.into_sorted();
    (ties.into_iter().map(|neighbor| neighbor.point).collect(), more)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::distance::Metric;
    use crate::neighbor::Neighbor;

    type Rows = Vec<(PointId, Vec<f32>)>;

    fn borrowed(rows: &Rows) -> impl Iterator<Item = (PointId, &[f32])> {
        rows.iter().map(|(point, row)| (*point, row.as_slice()))
    }

    fn numbered(rows: Vec<Vec<f32>>) -> Rows {
        (0..).map(PointId).zip(rows).collect()
    }

    fn scan_all(query: &ExactDistance, rows: &Rows, k: usize) -> (Vec<Neighbor>, TiesDropped) {
        let mut top = TopK::new(k);
        scan(query, borrowed(rows), None, &mut top);
        top.into_sorted()
    }

    fn metric() -> impl Strategy<Value = Metric> {
        proptest::sample::select(Metric::ALL.to_vec())
    }

    /// A query and rows of one dimension, of small whole numbers: distances are exact in `f32` except for the square
    /// root, and ties are common.
    fn whole_numbers() -> impl Strategy<Value = (Vec<f32>, Rows)> {
        (1..40_usize).prop_flat_map(|dim| {
            let row = move || vec((-2i8..=2).prop_map(f32::from), dim);
            (row(), vec(row(), 0..60).prop_map(numbered))
        })
    }

    fn reals() -> impl Strategy<Value = (Vec<f32>, Rows)> {
        (1..100_usize).prop_flat_map(|dim| {
            let row = move || vec(-1.0f32..1.0, dim);
            (row(), vec(row(), 1..60).prop_map(numbered))
        })
    }

    /// The distances of all rows in f64, nearest first.
    fn model(metric: Metric, query: &[f32], rows: &Rows) -> Vec<f64> {
        let mut distances: Vec<f64> = borrowed(rows)
            .map(|(_, row)| {
                let sum = |term: fn(f64, f64) -> f64| -> f64 {
                    query
                        .iter()
                        .zip(row)
                        .map(|(a, b)| term(f64::from(*a), f64::from(*b)))
                        .sum()
                };
                let norms = sum(|a, _| a * a).sqrt() * sum(|_, b| b * b).sqrt();
                match metric {
                    Metric::Cosine if norms == 0.0 => 1.0,
                    Metric::Cosine => 1.0 - sum(|a, b| a * b) / norms,
                    Metric::Euclidean => sum(|a, b| (a - b) * (a - b)).sqrt(),
                    Metric::InnerProduct => -sum(|a, b| a * b),
                    Metric::Manhattan => sum(|a, b| (a - b).abs()),
                }
            })
            .collect();
        distances.sort_by(f64::total_cmp);
        distances
    }

    proptest! {
        /// Distances, not points: rounding may swap two that are nearly equal, and then the i-th distances still agree.
        #[test]
        fn a_scan_agrees_with_exact_arithmetic((query, rows) in reals(), metric in metric(), k in 1..70_usize) {
            let expected = model(metric, &query, &rows);
            let (nearest, _) = scan_all(&ExactDistance::new(metric, &query), &rows, k);

            prop_assert_eq!(nearest.len(), k.min(rows.len()));
            // No component is larger than 1, so no sum of terms exceeds twice the dimension.
            let allowed = 4.0 * (query.len() as f64).powi(2) * f64::from(f32::EPSILON);
            for (got, expected) in nearest.iter().zip(expected) {
                prop_assert!((f64::from(got.distance) - expected).abs() <= allowed, "{:?}, not {}", got, expected);
            }
        }

        /// Order of the rows, their place in memory and what else was scanned: nothing but query and row counts.
        #[test]
        fn the_order_of_rows_changes_no_bit(
            (query, rows, shuffled) in prop_oneof![whole_numbers(), reals()]
                .prop_flat_map(|(query, rows)| (Just(query), Just(rows.clone()), Just(rows).prop_shuffle())),
            metric in metric(),
            k in 1..70_usize,
            cut in 0..60_usize,
        ) {
            let query = ExactDistance::new(metric, &query);
            let expected = scan_all(&query, &rows, k);
            prop_assert_eq!(scan_all(&query, &shuffled, k), expected.clone());

            let (first, second) = shuffled.split_at(cut.min(shuffled.len()));
            let mut top = TopK::new(k);
            scan(&query, borrowed(&second.to_vec()), None, &mut top);
            scan(&query, borrowed(&first.to_vec()), None, &mut top);
            prop_assert_eq!(top.into_sorted(), expected);
        }

        /// What a caller who orders ties differently needs: kept ones and ties together are all that may belong in.
        #[test]
        fn ties_are_found_again((query, rows) in whole_numbers(), metric in metric(), k in 1..30_usize, points_max in 1..30_usize) {
            let query = ExactDistance::new(metric, &query);
            let (nearest, ties_dropped) = scan_all(&query, &rows, k);
            let Some(last) = nearest.last() else { return Ok(()) };

            let ties: BTreeSet<PointId> = borrowed(&rows)
                .filter(|(_, row)| query.distance(row).to_bits() == last.distance.to_bits())
                .map(|(point, _)| point)
                .collect();
            let kept = nearest.iter().filter(|neighbor| neighbor.distance == last.distance).count();
            prop_assert_eq!(ties_dropped != TiesDropped::No, ties.len() > kept);

            let (found, more) = collect_ties(&query, borrowed(&rows), last.distance, points_max);
            prop_assert!(found.iter().eq(ties.iter().take(points_max)));
            prop_assert_eq!(more != TiesDropped::No, ties.len() > points_max);
        }

        #[test]
        fn the_threshold_is_inclusive_and_comes_before_k((query, rows) in whole_numbers(), metric in metric(), k in 1..30_usize) {
            let query = ExactDistance::new(metric, &query);
            let (all, _) = scan_all(&query, &rows, rows.len());
            for threshold in all.iter().map(|neighbor| neighbor.distance) {
                let mut top = TopK::new(k);
                scan(&query, borrowed(&rows), Some(threshold), &mut top);
                let expected: Vec<_> = all.iter().filter(|neighbor| neighbor.distance <= threshold).take(k).copied().collect();
                prop_assert_eq!(top.into_sorted().0, expected);
            }
        }
    }

    #[test]
    fn a_threshold_that_is_not_a_number_lets_nothing_through() {
        let mut top = TopK::new(1);
        let query = ExactDistance::new(Metric::Euclidean, &[1.0]);
        scan(&query, borrowed(&numbered(vec![vec![1.0]])), Some(f32::NAN), &mut top);
        assert!(top.is_empty());
    }
}
