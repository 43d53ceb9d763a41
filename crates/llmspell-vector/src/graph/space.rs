//! The space that a walk measures in: straight-line distances there order points as the metric does.
//!
//! | metric       | a vector becomes                      | a query becomes     |
//! |--------------|---------------------------------------|---------------------|
//! | cosine       | itself at length 1                    | itself at length 1  |
//! | Euclidean    | itself                                | itself              |
//! | inner product| itself and `√(M² - length²)`          | itself at length `M`, and 0 |
//!
//! `M` is the largest length when the graph was built: then the straight line is the shorter the larger the product
//! (Bachrach et al., "Speeding up the Xbox recommender system", RecSys 2014). Longer vectors that come later count as
//! if they had length `M`; the exact distances that decide in the end do not care.
//!
//! Afterwards the mean is subtracted and all is divided by the typical length, so that codes and half-precision factors
//! are of moderate size for any data.

use crate::distance::Metric;
use crate::kernels::Kernels;

/// Square of how much nearer to another neighbor than to the point a candidate must be to be left out.
const SLACK_SQUARED: f32 = 1.1;

/// How vectors become points of the walk.
#[derive(Debug, Clone)]
pub(crate) struct WalkSpace {
    metric: Metric,
    dim: usize,
    /// Square of the largest length.
    length_squared_max: f32,
    /// One divided by the typical distance from the mean.
    pub(crate) scale: f32,
    /// Subtracted after the vector took its form.
    pub(crate) mean: Vec<f32>,
    kernels: Kernels,
}

impl WalkSpace {
    /// Learns mean and lengths from a sample of the vectors, which stand for the others.
    pub(crate) fn learn<'a>(metric: Metric, dim: usize, sample: impl Iterator<Item = &'a [f32]> + Clone) -> Self {
        let kernels = Kernels::detect();
        let lengths = sample.clone().map(|row| kernels.dot(row, row));
        let longest = lengths.filter(|length| length.is_finite()).fold(0.0, f32::max);
        let mut space = Self {
            metric,
            dim,
            length_squared_max: longest,
            scale: 1.0,
            mean: vec![0.0; dim_of_walk(metric, dim)],
            kernels,
        };
        let mut sums = vec![0.0_f64; space.dim()];
        let mut embedded = vec![0.0; space.dim()];
        let mut count = 0_u32;
        for row in sample.clone() {
            space.embed(row, &mut embedded);
            sums.iter_mut()
                .zip(&embedded)
                .for_each(|(sum, component)| *sum += f64::from(*component));
            count += 1;
        }
        let count = f64::from(count.max(1));
        space.mean = sums.iter().map(|sum| (sum / count) as f32).collect();
        let mut squares = 0.0;
        for row in sample {
            space.embed(row, &mut embedded);
            squares += embedded
                .iter()
                .map(|component| f64::from(*component).powi(2))
                .sum::<f64>();
        }
        let typical = (squares / count).sqrt();
        if typical > 0.0 && typical.is_finite() {
            space.scale = (1.0 / typical) as f32;
        }
        if !space.scale.is_finite() || space.scale == 0.0 {
            space.scale = 1.0;
        }
        space
    }

    /// One that was stored.
    pub(crate) fn stored(metric: Metric, dim: usize, length_squared_max: f32, scale: f32, mean: Vec<f32>) -> Self {
        Self {
            metric,
            dim,
            length_squared_max,
            scale,
            mean,
            kernels: Kernels::detect(),
        }
    }

    pub(crate) fn metric(&self) -> Metric {
        self.metric
    }

    pub(crate) fn length_squared_max(&self) -> f32 {
        self.length_squared_max
    }

    /// Components of a point of the walk.
    pub(crate) fn dim(&self) -> usize {
        dim_of_walk(self.metric, self.dim)
    }

    /// Writes where a vector is in the walk to the first components of `out`.
    pub(crate) fn embed(&self, row: &[f32], out: &mut [f32]) {
        let factor = match self.metric {
            Metric::Cosine => self.norm_term(row),
            Metric::Euclidean | Metric::InnerProduct | Metric::Manhattan => 1.0,
        };
        self.center(row, factor, out);
        if self.metric == Metric::InnerProduct {
            out[self.dim] = (self.norm_term(row) - self.mean[self.dim]) * self.scale;
        }
    }

    /// The same for a query.
    pub(crate) fn embed_query(&self, query: &[f32], out: &mut [f32]) {
        let length = self.kernels.dot(query, query).sqrt();
        let factor = match self.metric {
            Metric::Cosine if length > 0.0 => 1.0 / length,
            Metric::InnerProduct if length > 0.0 => self.length_squared_max.sqrt() / length,
            Metric::Cosine | Metric::InnerProduct | Metric::Euclidean | Metric::Manhattan => 1.0,
        };
        self.center(query, factor, out);
        if self.metric == Metric::InnerProduct {
            out[self.dim] = -self.mean[self.dim] * self.scale;
        }
    }

    /// What a distance of [`ExactDistance`](crate::ExactDistance) to `query` is in the walk: `offset + factor * distance`
    /// is the squared distance, under Euclidean with the square of the distance.
    pub(crate) fn exact_to_walk(&self, query: &[f32]) -> (f64, f64) {
        let scale_squared = f64::from(self.scale).powi(2);
        let length = f64::from(self.kernels.dot(query, query)).sqrt();
        let longest_squared = f64::from(self.length_squared_max);
        let (offset, factor) = match self.metric {
            // A query without direction is equally far from all.
            Metric::Cosine if length == 0.0 => (1.0, 0.0),
            Metric::InnerProduct if length == 0.0 => (longest_squared, 0.0),
            Metric::Cosine => (0.0, 2.0),
            Metric::InnerProduct => (2.0 * longest_squared, 2.0 * longest_squared.sqrt() / length),
            Metric::Euclidean | Metric::Manhattan => (0.0, 1.0),
        };
        (offset * scale_squared, factor * scale_squared)
    }

    /// What must be added to the squared distance of a vector in the walk so that it is what its exact distance says:
    /// less than zero for one that is longer than `M`, which has no place where it belongs.
    pub(crate) fn correction(&self, row: &[f32]) -> f32 {
        match self.metric {
            Metric::InnerProduct => {
                let beyond = self.kernels.dot(row, row) - self.length_squared_max;
                -beyond.max(0.0) * self.scale * self.scale
            }
            Metric::Cosine | Metric::Euclidean | Metric::Manhattan => 0.0,
        }
    }

    fn center(&self, row: &[f32], factor: f32, out: &mut [f32]) {
        for ((out, component), mean) in out.iter_mut().zip(row).zip(&self.mean) {
            *out = (component * factor - mean) * self.scale;
        }
    }

    /// The term of a vector that [`distance`](Self::distance) needs: under cosine, one divided by its length; inner product,
    /// its additional component.
    pub(crate) fn norm_term(&self, row: &[f32]) -> f32 {
        match self.metric {
            Metric::Cosine => {
                let length = self.kernels.dot(row, row).sqrt();
                if length > 0.0 { 1.0 / length } else { 0.0 }
            }
            Metric::InnerProduct => (self.length_squared_max - self.kernels.dot(row, row)).max(0.0).sqrt(),
            Metric::Euclidean | Metric::Manhattan => 0.0,
        }
    }

    /// How far two vectors are from each other, exactly, each with its [`norm_term`](Self::norm_term): their squared
    /// distance in the walk. Under inner product the negative product, because there a link has a direction: it leads
    /// to what is near to a query like the point, not to what looks like the point (Morozov and Babenko,
    /// "Non-metric similarity graphs for maximum inner product search", NeurIPS 2018).
    #[inline]
    pub(crate) fn distance(&self, a: &[f32], a_trait: f32, b: &[f32], b_trait: f32) -> f32 {
        let squared = match self.metric {
            Metric::Cosine => (2.0 - 2.0 * self.kernels.dot(a, b) * a_trait * b_trait).max(0.0),
            Metric::Euclidean | Metric::Manhattan => self.kernels.l2_squared(a, b),
            Metric::InnerProduct => -self.kernels.dot(a, b),
        };
        squared * self.scale * self.scale
    }

    /// Whether a candidate is not worth a link: so near is it to one that was taken, and so far from the point. Both
    /// distances are those of [`distance`](Self::distance).
    #[inline]
    pub(crate) fn is_covered(&self, to_taken: f32, to_point: f32) -> bool {
        match self.metric {
            Metric::InnerProduct => to_taken < to_point,
            // Not less: of several equal vectors, one is taken.
            Metric::Cosine | Metric::Euclidean | Metric::Manhattan => to_taken * SLACK_SQUARED <= to_point,
        }
    }

    /// Whether two vectors at this distance are equal.
    pub(crate) fn is_same(&self, distance: f32) -> bool {
        distance == 0.0 && self.metric != Metric::InnerProduct
    }
}

fn dim_of_walk(metric: Metric, dim: usize) -> usize {
    dim + usize::from(metric == Metric::InnerProduct)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<f32>> {
        (0..40)
            .map(|row| {
                (0..8)
                    .map(|i| ((row * 8 + i) as f32 * 1.7).sin() * (1.0 + row as f32 / 9.0))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn the_walk_orders_points_as_the_metric_does() {
        let rows = rows();
        let query: Vec<f32> = (0..8).map(|i| (i as f32 * 0.9).cos() * 3.0).collect();
        for metric in [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct] {
            let space = WalkSpace::learn(metric, 8, rows.iter().map(Vec::as_slice));
            let exact = crate::ExactDistance::new(metric, &query);
            let mut center = vec![0.0; space.dim()];
            space.embed_query(&query, &mut center);
            let mut distances: Vec<(f32, f32)> = rows
                .iter()
                .map(|row| {
                    let mut place = vec![0.0; space.dim()];
                    space.embed(row, &mut place);
                    (exact.distance(row), space.kernels.l2_squared(&center, &place))
                })
                .collect();
            distances.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(
                distances.windows(2).all(|pair| pair[0].1 <= pair[1].1 + 1.0e-4),
                "{metric:?} {distances:?}"
            );
        }
    }

    #[test]
    fn the_exact_distance_of_two_vectors_is_that_of_their_places() {
        let rows = rows();
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let space = WalkSpace::learn(metric, 8, rows.iter().map(Vec::as_slice));
            let (mut a, mut b) = (vec![0.0; space.dim()], vec![0.0; space.dim()]);
            space.embed(&rows[3], &mut a);
            space.embed(&rows[30], &mut b);
            let places = space.kernels.l2_squared(&a, &b);
            let norm_terms = [3, 30].map(|row: usize| space.norm_term(&rows[row]));
            let exact = space.distance(&rows[3], norm_terms[0], &rows[30], norm_terms[1]);
            assert!(
                (places - exact).abs() < 1.0e-4 * (1.0 + exact),
                "{metric:?}: {places}, not {exact}"
            );
        }
    }

    #[test]
    fn equal_vectors_leave_the_scale_alone() {
        let row = vec![2.0; 8];
        let space = WalkSpace::learn(Metric::Euclidean, 8, std::iter::repeat_n(row.as_slice(), 5));
        assert_eq!(space.scale, 1.0);
    }
}
