//! A random rotation, which spreads what a vector holds evenly over its components.
//!
//! Codes of one or four bits lose least when all components are alike. A random rotation makes them so, whatever the
//! data. A dense rotation costs `dim²`; this one is made of fast Walsh-Hadamard transforms with random signs between
//! them (Ailon and Chazelle, "The Fast Johnson-Lindenstrauss Transform", 2009), `O(dim log dim)`. Where the length is
//! no power of two, each round transforms the first and then the last power of two, which overlap.

use std::ops::Range;

use crate::kernels::{CodeKernels, PADDING};
use crate::random::Random;

/// Rounds of signs and transforms. Two leave patterns of the data visible, three do not; the fourth is for lengths
/// whose two halves overlap little.
const ROUNDS: usize = 4;

/// A random rotation of vectors of one dimension, padded with zeros to a multiple of 64. Lengths and angles stay.
///
/// The same seed gives the same rotation on every machine and in every later version: stored codes depend on it. (The
/// last bits of a rotated vector may differ between CPUs.) Takes 16 bytes per component.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    dim: usize,
    padded: usize,
    /// Of each round, a factor per component: 1 or -1, times what keeps lengths where the transform makes them longer.
    factors: Vec<f32>,
    kernels: CodeKernels,
}

impl Rotation {
    /// The rotation of a seed, for vectors of `dim` components; none are taken for one.
    pub(crate) fn new(dim: usize, seed: u64) -> Self {
        let dim = dim.max(1);
        let padded = padded(dim);
        let mut random = Random::new(seed ^ 0x726f_7461_7465_0001);
        let mut factors = Vec::with_capacity(ROUNDS * padded);
        while factors.len() < ROUNDS * padded {
            let bits = random.next();
            factors.extend((0..64).map(|bit| if bits >> bit & 1 == 0 { 1.0 } else { -1.0 }));
        }
        for (round, factors) in factors.chunks_exact_mut(padded).enumerate() {
            let part = &mut factors[part(round, padded)];
            let scale = 1.0 / (part.len() as f32).sqrt();
            part.iter_mut().for_each(|factor| *factor *= scale);
        }
        Self {
            dim,
            padded,
            factors,
            kernels: CodeKernels::detect(),
        }
    }

    /// Components of a rotated vector.
    pub(crate) fn padded(&self) -> usize {
        self.padded
    }

    /// Rotates in place. The vector stands in the first [`dim`](Self::dim) components; the others are overwritten.
    /// `O(dim log dim)`.
    ///
    /// # Panics
    ///
    /// If `values` has not [`padded`](Self::padded) components.
    pub(crate) fn rotate(&self, values: &mut [f32]) {
        assert_eq!(values.len(), self.padded, "rotated vectors are padded");
        values[self.dim..].fill(0.0);
        for (round, factors) in self.factors.chunks_exact(self.padded).enumerate() {
            for (value, factor) in values.iter_mut().zip(factors) {
                *value *= factor;
            }
            self.kernels.hadamard(&mut values[part(round, self.padded)]);
        }
    }
}

/// The components that a round transforms.
fn part(round: usize, padded: usize) -> Range<usize> {
    let span = 1 << padded.ilog2();
    if round.is_multiple_of(2) {
        0..span
    } else {
        padded - span..padded
    }
}

/// `dim` rounded up to what codes are made of.
pub(crate) fn padded(dim: usize) -> usize {
    dim.next_multiple_of(PADDING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotated(rotation: &Rotation, vector: &[f32]) -> Vec<f32> {
        let mut values = vec![0.0; rotation.padded()];
        values[..vector.len()].copy_from_slice(vector);
        rotation.rotate(&mut values);
        values
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn lengths_and_angles_stay() {
        for dim in [1, 3, 64, 65, 100, 384, 768, 1000, 1536] {
            let rotation = Rotation::new(dim, 5);
            let a: Vec<f32> = (0..dim).map(|i| (i as f32 * 0.7).sin()).collect();
            let b: Vec<f32> = (0..dim).map(|i| (i as f32 * 1.3).cos()).collect();
            let (turned_a, turned_b) = (rotated(&rotation, &a), rotated(&rotation, &b));
            for (before, after) in [
                (dot(&a, &b), dot(&turned_a, &turned_b)),
                (dot(&a, &a), dot(&turned_a, &turned_a)),
            ] {
                assert!(
                    (before - after).abs() < 1.0e-3 * dim as f32,
                    "dim {dim}: {before} became {after}"
                );
            }
        }
    }

    #[test]
    fn one_component_is_spread_over_all() {
        for dim in [64, 384, 784, 1536] {
            let rotation = Rotation::new(dim, 1);
            for component in [0, dim / 2, dim - 1] {
                let mut vector = vec![0.0; dim];
                vector[component] = 1.0;
                let largest = rotated(&rotation, &vector)
                    .into_iter()
                    .map(f32::abs)
                    .fold(0.0, f32::max);
                assert!(
                    largest < 6.0 / (dim as f32).sqrt(),
                    "dim {dim}, component {component}: {largest}"
                );
            }
        }
    }

    #[test]
    fn the_rotation_of_a_seed_never_changes() {
        let turned = rotated(&Rotation::new(70, 42), &[1.0; 70]);
        let expected = [0.682_617, 0.430_664, 0.104_492, -0.588_867];
        for (component, expected) in turned.iter().zip(expected) {
            assert!((component - expected).abs() < 1.0e-5, "{component}, not {expected}");
        }
        assert!((dot(&turned, &turned) - 70.0).abs() < 1.0e-3);
        assert_ne!(turned, rotated(&Rotation::new(70, 43), &[1.0; 70]));
    }
}
