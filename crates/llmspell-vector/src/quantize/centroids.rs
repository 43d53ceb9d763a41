//! Centroids: codes hold only what differs from the nearest one.
//!
//! The error of a code grows with the length of what it stands for. What is left after the nearest of a few centroids
//! is subtracted is shorter than the vector, and much shorter where the data lies in clusters.

use crate::kernels::Kernels;
use crate::random::Random;

/// Sampled vectors per centroid: enough for a mean.
const SAMPLE_PER_CENTROID: usize = 48;
/// Vectors per centroid, at least, in the whole set.
const POINTS_PER_CENTROID: usize = 512;
/// A centroid's number is stored in a byte or two, and distances to all of them are computed for every vector.
pub(crate) const CENTROIDS_MAX: usize = 256;
const ITERATIONS: usize = 6;

/// Vectors that stand for the clusters of a set. The first is the origin if there is only one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Centroids {
    dim: usize,
    components: Vec<f32>,
}

impl Centroids {
    /// Number of centroids for a set of this many points.
    pub(crate) fn count_for(points: usize) -> usize {
        (points / POINTS_PER_CENTROID).clamp(1, CENTROIDS_MAX)
    }

    /// How many of its points are to be sampled for [`train`](Self::train).
    pub(crate) fn sample_for(points: usize) -> usize {
        points.min(Self::count_for(points) * SAMPLE_PER_CENTROID)
    }

    /// Lloyd's k-means over `sample`, rows of `dim` components.
    pub(crate) fn train(dim: usize, sample: &[f32], count: usize, random: &mut Random) -> Self {
        let rows: Vec<&[f32]> = sample.chunks_exact(dim).collect();
        let count = count.min(rows.len()).max(1);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        random.shuffle(&mut order);
        let mut components = Vec::with_capacity(count * dim);
        match order.get(..count) {
            Some(chosen) => chosen.iter().for_each(|row| components.extend_from_slice(rows[*row])),
            None => components.resize(dim, 0.0),
        }
        let mut centroids = Self { dim, components };
        for _ in 0..ITERATIONS {
            centroids.improve(&rows);
        }
        centroids
    }

    /// Moves every centroid to the mean of the rows nearest to it. One that is nearest to none stays.
    fn improve(&mut self, rows: &[&[f32]]) {
        let mut sums = vec![0.0_f64; self.components.len()];
        let mut counts = vec![0_u32; self.len()];
        for row in rows {
            let nearest = self.nearest(row);
            counts[nearest] += 1;
            let sum = &mut sums[nearest * self.dim..(nearest + 1) * self.dim];
            for (sum, component) in sum.iter_mut().zip(*row) {
                *sum += f64::from(*component);
            }
        }
        let all = self
            .components
            .chunks_exact_mut(self.dim)
            .zip(sums.chunks_exact(self.dim));
        for ((centroid, sum), count) in all.zip(counts) {
            if count > 0 {
                for (component, sum) in centroid.iter_mut().zip(sum) {
                    *component = (sum / f64::from(count)) as f32;
                }
            }
        }
    }

    /// Those that were stored.
    pub(crate) fn from_components(dim: usize, components: Vec<f32>) -> Self {
        Self { dim, components }
    }

    pub(crate) fn components(&self) -> &[f32] {
        &self.components
    }

    pub(crate) fn len(&self) -> usize {
        self.components.len() / self.dim
    }

    pub(crate) fn get(&self, place: usize) -> &[f32] {
        &self.components[place * self.dim..(place + 1) * self.dim]
    }

    /// Place of the centroid nearest to `vector`. `O(centroids * dim)`.
    pub(crate) fn nearest(&self, vector: &[f32]) -> usize {
        let kernels = Kernels::detect();
        let distances = self.components.chunks_exact(self.dim);
        let distances = distances.map(|centroid| kernels.l2_squared(centroid, vector));
        distances
            .enumerate()
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
            .map_or(0, |(place, _)| place)
    }

    /// Subtracts the nearest centroid from `vector`; returns its place.
    pub(crate) fn subtract_nearest(&self, vector: &mut [f32]) -> usize {
        let place = self.nearest(vector);
        let centers = self.get(place);
        vector
            .iter_mut()
            .zip(centers)
            .for_each(|(value, center)| *value -= center);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_far_apart_get_a_centroid_each() {
        let mut random = Random::new(3);
        let sample: Vec<f32> = (0..400)
            .flat_map(|row| {
                let center = (row % 4) as f32 * 100.0;
                [center + random.below(100) as f32 / 100.0, -center]
            })
            .collect();
        let centroids = Centroids::train(2, &sample, 12, &mut random);
        for row in sample.chunks(2) {
            let nearest = centroids.get(centroids.nearest(row));
            assert!(
                (nearest[0] - row[0]).abs() < 2.0 && (nearest[1] - row[1]).abs() < 2.0,
                "{row:?} {nearest:?}"
            );
        }
    }

    #[test]
    fn more_centroids_than_rows_are_not_made() {
        let mut random = Random::new(3);
        assert_eq!(
            Centroids::train(2, &[1.0, 2.0], 9, &mut random).components(),
            [1.0, 2.0]
        );
        assert_eq!(Centroids::train(2, &[], 9, &mut random).components(), [0.0, 0.0]);
    }
}
