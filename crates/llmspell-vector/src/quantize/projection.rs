//! A projection of vectors onto the directions in which they differ most.
//!
//! Embeddings of many components lie near a space of fewer: the directions of the largest variance (principal components,
//! Pearson 1901; for search: Tepper et al., "`LeanVec`", arXiv 2312.16335). A code of these components says more than one of
//! the same size of all components. Codes stand for what is left of vectors once the nearest centroid was subtracted, so the
//! directions are those in which that differs.
//!
//! The directions are found by subspace iteration (Halko, Martinsson and Tropp, arXiv 0909.4061, algorithm 4.4) on the
//! covariance of a sample, then turned at random, so that the components are alike. They are rounded to bytes: that
//! leads an estimate astray by less than a hundredth of what codes do.

use crate::kernels::{CodeKernels, Kernels, PADDING};
use crate::quantize::bytes::round;
use crate::quantize::{CodeShape, Rotation};
use crate::random::Random;

/// Vectors of the sample that the covariance is computed of, at most.
const SAMPLE_MAX: usize = 6_144;
/// Rounds of the iteration. The directions need not be exact, only those that matter must be among them.
const ROUNDS: usize = 4;
/// Bits of a component that a code may have.
const BITS: [u8; 3] = [1, 2, 4];

/// A linear map from vectors of `dim` components to some of fewer, which keeps angles and lengths of those that lie in
/// the chosen directions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Projection {
    dim: usize,
    /// Of each component that is kept, its direction, as multiples of `step`.
    levels: Vec<i8>,
    step: f32,
}

/// Directions, the one of the largest variance first.
pub(crate) struct Directions {
    dim: usize,
    directions: Vec<f32>,
    /// The variance along each of what codes stand for.
    variances: Vec<f32>,
    /// The sum of the variances along all directions, also those that were not found, and that of their squares.
    variance: f32,
    squares: f32,
}

impl Directions {
    /// The `count` main directions of `rests`, rows of `dim` components that codes will stand for, and of the centroids that
    /// were subtracted from them, which differ from each other in other directions; both count alike.
    pub(crate) fn find((rests, centroids): (&[f32], &[f32]), dim: usize, count: usize, random: &mut Random) -> Self {
        let kernels = Kernels::detect();
        let rows = (rests.len() / dim).min(SAMPLE_MAX);
        let of_rests = covariance(&rests[..rows * dim], dim, kernels);
        let of_centroids = covariance(centroids, dim, kernels);
        let trace = |covariance: &[f32]| (0..dim).map(|i| covariance[i * dim + i]).sum::<f32>();
        let share = |covariance: &[f32]| {
            let trace = trace(covariance);
            if trace > f32::MIN_POSITIVE && trace.is_finite() {
                1.0 / trace
            } else {
                0.0
            }
        };
        let (rest_share, centroid_share) = (share(&of_rests), share(&of_centroids));
        let both = of_rests.iter().zip(&of_centroids);
        let covariance: Vec<f32> = both
            .map(|(rest, centroid)| rest * rest_share + centroid * centroid_share)
            .collect();

        let mut directions: Vec<f32> = (0..count * dim)
            .map(|_| {
                (0..4)
                    .map(|_| random.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0)
                    .sum()
            })
            .collect();
        let mut next = vec![0.0; count * dim];
        let multiply = |covariance: &[f32], directions: &[f32], out: &mut [f32]| {
            for (out, direction) in out.chunks_exact_mut(dim).zip(directions.chunks_exact(dim)) {
                for (value, row) in out.iter_mut().zip(covariance.chunks_exact(dim)) {
                    *value = kernels.dot(row, direction);
                }
            }
        };
        for _ in 0..ROUNDS {
            multiply(&covariance, &directions, &mut next);
            make_orthonormal(&mut next, dim, kernels);
            std::mem::swap(&mut directions, &mut next);
        }
        multiply(&of_rests, &directions, &mut next);
        let pairs = next.chunks_exact(dim).zip(directions.chunks_exact(dim));
        Self {
            dim,
            variances: pairs.map(|(next, direction)| kernels.dot(next, direction)).collect(),
            variance: trace(&of_rests),
            squares: kernels.dot(&of_rests, &of_rests),
            directions,
        }
    }

    /// The shape of codes of at most `bytes` bytes that leads estimates least astray, among those with a projection.
    pub(crate) fn best_shape(&self, bytes: usize) -> CodeShape {
        let shapes = BITS.map(|bits| CodeShape {
            padded: (8 * bytes / usize::from(bits) / PADDING * PADDING).clamp(PADDING, self.variances.len()),
            bits,
            is_packed: true,
        });
        let error = |shape: &CodeShape| self.error_squared(*shape);
        let best = shapes.into_iter().min_by(|a, b| error(a).total_cmp(&error(b)));
        best.expect("there are several")
    }

    /// Square of the error of the product of what a code stands for with what is as likely, as a share of their lengths:
    /// what the levels leave out, what lies in other directions, and what is made longer in the kept ones to make up for
    /// these.
    fn error_squared(&self, shape: CodeShape) -> f32 {
        let kept = &self.variances[..shape.padded.min(self.variances.len())];
        let variance = self.variance.max(f32::MIN_POSITIVE);
        let share = (kept.iter().sum::<f32>() / variance).clamp(f32::MIN_POSITIVE, 1.0);
        let kept_squares: f32 = kept.iter().map(|variance| variance * variance).sum();
        let cut_off = (self.squares - kept_squares).max(0.0) / (variance * variance);
        let stretched = (1.0 / share - 1.0).powi(2) * kept_squares / (variance * variance);
        shape.error_squared() / shape.padded as f32 + cut_off + stretched
    }

    /// The projection onto the first `kept` of them.
    pub(crate) fn projection(&self, kept: usize, seed: u64) -> Projection {
        let rotation = Rotation::new(kept, seed ^ 0x7072_6f6a_0000_0001);
        let mut turned = vec![0.0; kept * self.dim];
        let mut column = vec![0.0; rotation.padded()];
        for component in 0..self.dim {
            for (kept, value) in column.iter_mut().enumerate() {
                *value = self.directions[kept * self.dim + component];
            }
            rotation.rotate(&mut column);
            for (kept, value) in column.iter().enumerate() {
                turned[kept * self.dim + component] = *value;
            }
        }
        let mut levels = vec![0; turned.len()];
        let step = round(&turned, &mut levels);
        Projection {
            dim: self.dim,
            levels,
            step,
        }
    }
}

/// Of rows of `dim` components around the origin: the mean product of each two components.
fn covariance(rows: &[f32], dim: usize, kernels: Kernels) -> Vec<f32> {
    let count = rows.len() / dim;
    // By component, so that a covariance is one product.
    let mut by_component = vec![0.0; count * dim];
    for (row, vector) in rows.chunks_exact(dim).enumerate() {
        for (component, value) in vector.iter().enumerate() {
            by_component[component * count + row] = *value;
        }
    }
    let columns: Vec<&[f32]> = by_component.chunks_exact(count.max(1)).collect();
    let mut covariance = vec![0.0; dim * dim];
    for (a, first) in columns.iter().enumerate() {
        for (b, second) in columns[..=a].iter().enumerate() {
            let value = kernels.dot(first, second) / count.max(1) as f32;
            covariance[a * dim + b] = value;
            covariance[b * dim + a] = value;
        }
    }
    covariance
}

/// Makes rows of `dim` components orthogonal and of length one, in order (Gram and Schmidt, modified).
fn make_orthonormal(rows: &mut [f32], dim: usize, kernels: Kernels) {
    for row in 0..rows.len() / dim {
        let (before, rest) = rows.split_at_mut(row * dim);
        let vector = &mut rest[..dim];
        for other in before.chunks_exact(dim) {
            let product = kernels.dot(vector, other);
            for (value, other) in vector.iter_mut().zip(other) {
                *value -= product * other;
            }
        }
        let length = kernels.dot(vector, vector).sqrt();
        let factor = if length > f32::MIN_POSITIVE { 1.0 / length } else { 0.0 };
        vector.iter_mut().for_each(|value| *value *= factor);
    }
}

impl Projection {
    /// One that was stored.
    pub(crate) fn of(dim: usize, levels: Vec<i8>, step: f32) -> Self {
        Self { dim, levels, step }
    }

    pub(crate) fn levels(&self) -> &[i8] {
        &self.levels
    }

    pub(crate) fn step(&self) -> f32 {
        self.step
    }

    /// Projects a vector. `O(dim * kept)`.
    pub(crate) fn apply(&self, vector: &[f32], out: &mut [f32]) {
        let mut rounded = vec![0; self.dim];
        let step = round(vector, &mut rounded);
        out.fill(0.0);
        self.add(&rounded, step, out);
    }

    /// Projects a vector of which a part much smaller than the whole counts, at twice the cost.
    pub(crate) fn apply_exactly(&self, vector: &[f32], out: &mut [f32]) {
        let mut rounded = vec![0; self.dim];
        let step = round(vector, &mut rounded);
        out.fill(0.0);
        self.add(&rounded, step, out);
        let rest: Vec<f32> = vector
            .iter()
            .zip(&rounded)
            .map(|(value, level)| value - f32::from(*level) * step)
            .collect();
        let step = round(&rest, &mut rounded);
        self.add(&rounded, step, out);
    }

    fn add(&self, rounded: &[i8], step: f32, out: &mut [f32]) {
        let kernels = CodeKernels::detect();
        for (value, direction) in out.iter_mut().zip(self.levels.chunks_exact(self.dim)) {
            *value += kernels.byte_dot(rounded, direction) as f32 * step * self.step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize, random: &mut Random) -> Vec<f32> {
        (0..count)
            .map(|_| (0..12).map(|_| random.below(1000) as f32 / 1000.0).sum::<f32>() - 6.0)
            .collect()
    }

    /// Vectors of 128 components that differ in 40 directions, and a little in all others.
    fn sample(random: &mut Random) -> Vec<f32> {
        let directions: Vec<Vec<f32>> = (0..40).map(|_| noise(128, random)).collect();
        let mut rows = Vec::new();
        for _ in 0..600 {
            let mut row = noise(128, random).iter().map(|value| value * 0.3).collect::<Vec<f32>>();
            for (direction, weight) in directions.iter().zip(noise(40, random)) {
                row.iter_mut()
                    .zip(direction)
                    .for_each(|(value, part)| *value += weight * part);
            }
            rows.extend(row);
        }
        rows
    }

    #[test]
    fn what_differs_is_kept_and_products_stay() {
        let mut random = Random::new(5);
        let rows = sample(&mut random);
        let directions = Directions::find((&rows, &[]), 128, 64, &mut random);
        let projection = directions.projection(64, 1);
        let kernels = Kernels::detect();
        let mut previous: Option<(Vec<f32>, &[f32])> = None;
        for row in rows.chunks_exact(128).take(50) {
            let mut kept = vec![0.0; 64];
            projection.apply(row, &mut kept);
            let squared = kernels.dot(row, row);
            let cut_off = squared - kernels.dot(&kept, &kept);
            assert!(cut_off < 0.02 * squared, "{cut_off} of {squared} was cut off");
            let mut exactly = vec![0.0; 64];
            projection.apply_exactly(row, &mut exactly);
            let apart = kernels.l2_squared(&kept, &exactly);
            assert!(apart < 1.0e-3 * squared, "{apart} of {squared}");
            if let Some((other, other_row)) = previous {
                let (exact, kept) = (kernels.dot(row, other_row), kernels.dot(&kept, &other));
                assert!((exact - kept).abs() < 0.05 * squared, "{exact} became {kept}");
            }
            previous = Some((kept, row));
        }
    }

    #[test]
    fn vectors_of_few_directions_get_more_bits_for_each() {
        let mut random = Random::new(6);
        let few = Directions::find((&sample(&mut random), &[]), 128, 128, &mut random);
        assert_eq!(few.best_shape(32).padded, 64);
        let even = Directions::find((&noise(128 * 2_000, &mut random), &[]), 128, 128, &mut random);
        assert_eq!(even.best_shape(32).padded, 128);
    }

    #[test]
    fn a_sample_without_any_difference_gives_a_projection() {
        let mut random = Random::new(7);
        let directions = Directions::find((&vec![0.0; 128 * 10], &[0.0; 128]), 128, 64, &mut random);
        let mut kept = vec![1.0; 64];
        directions.projection(64, 3).apply(&vec![1.0; 128], &mut kept);
        assert!(kept.iter().all(|value| value.is_finite()));
    }
}
