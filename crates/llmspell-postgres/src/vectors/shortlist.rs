//! Shortlists: whether an answer is complete, though the server rounds distances differently.
//!
//! The server sorts by distances that it rounds in its own way; those of an answer are computed here, from the vectors. Both differ from
//! the true distance by less than a bound that follows from the number of components. So once the `k`-th best is nearer than the
//! farthest row of the shortlist by more than that bound, no row outside of it can be better.

use llmspell_core::DistanceMetric;

/// The distance that no row beyond the shortlist can be below.
///
/// `last` is the server's distance of its last row, `norms` the product of the norms of the query and of the longest vector, for inner
/// products.
pub(super) fn reach(metric: DistanceMetric, dim: usize, last: f64, norms: f64) -> f64 {
    if !last.is_finite() {
        // Sums overflowed: the server's order says nothing.
        return f64::NEG_INFINITY;
    }
    // A sum of `dim` products, each step rounded once, by the server and by us.
    let unit = (dim as f64 + 16.0) * f64::from(f32::EPSILON);
    // Squares below this vanish.
    let least = 1e-18 * (dim as f64).sqrt();
    let slack = match metric {
        DistanceMetric::Cosine => 4.0 * unit,
        DistanceMetric::Euclidean | DistanceMetric::Manhattan => 2.0 * unit * last.abs() + least,
        DistanceMetric::InnerProduct => 2.0 * unit * norms + least,
    };
    last - slack
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_that_overflowed_reaches_nowhere() {
        for metric in DistanceMetric::ALL {
            assert_eq!(reach(metric, 3, f64::INFINITY, 1.0), f64::NEG_INFINITY);
            assert_eq!(reach(metric, 3, f64::NAN, 1.0), f64::NEG_INFINITY);
            let near = reach(metric, 384, 0.5, 1.0);
            assert!(near < 0.5 && near > 0.499, "{metric}: {near}");
        }
    }
}
