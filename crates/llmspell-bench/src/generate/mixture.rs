//! A mixture of clusters, each of few dimensions, with a spectrum that decays.
//!
//! With `g` a number drawn from the normal distribution, each time another one:
//!
//! ```text
//! s_i       = 1 / √(1 + 16 i / dim)         the spectrum: leading components vary most
//! S         = √(Σ s_i²)
//! center_c  = s_i g / S                     length about 1
//! axis_cj   = s_i g / S                     `intrinsic` of them for each cluster
//! a_j       ∝ (1 + j)^(-1/4), Σ a_j² = 1    the spectrum inside a cluster
//! c         = ⌊clusters u²⌋, u uniform      the first cluster is the largest
//! x         = center_c + Σ_j a_j g axis_cj + 0.1 s_i g / S
//! ```
//!
//! Under cosine, `x` is divided by its length. Two points of one cluster are about as far from each other as two
//! centers, so that clusters overlap and a walk from one to the next is possible.
//!
//! Each row has a stream of random numbers of its own, from seed, kind and number: neither the number of threads nor
//! the number of rows changes a row. Only sums, products, divisions and square roots are used, which every machine
//! rounds in the same way.

use llmspell_cli_base::random::Random;

/// Variance of what no cluster explains is the square of this.
const NOISE: f32 = 0.1;
/// How much more the first component varies than the last: 1 + this.
const DECAY: f32 = 16.0;

/// What a stream of random numbers is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Center = 0,
    Axis = 1,
    /// Vectors to store.
    Base = 2,
    /// Vectors to search with; from the same mixture, none of them in the base.
    Query = 3,
    /// Which rows are copies.
    Copy = 4,
    /// Which rows are in which group.
    Order = 5,
}

/// The shape of a mixture; every number at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) dim: usize,
    pub(super) clusters: usize,
    pub(super) intrinsic: usize,
    /// Whether rows are divided by their length.
    pub(super) unit_length: bool,
    pub(super) seed: u64,
}

impl Shape {
    /// Bytes of RAM that its [`Mixture`] takes; none if they cannot be counted.
    pub(super) fn bytes(self) -> Option<u64> {
        let rows = (self.clusters as u64).checked_mul(self.intrinsic as u64 + 1)?;
        rows.checked_mul(4 * self.dim as u64)
    }
}

/// Centers and axes of all clusters.
#[derive(Debug)]
pub(super) struct Mixture {
    shape: Shape,
    /// `s_i / S`.
    spectrum: Vec<f32>,
    /// `a_j`.
    amplitudes: Vec<f32>,
    centers: Vec<f32>,
    /// Cluster after cluster, axis after axis.
    axes: Vec<f32>,
}

impl Mixture {
    pub(super) fn new(shape: Shape) -> Self {
        let Shape {
            dim,
            clusters,
            intrinsic,
            ..
        } = shape;
        let spectrum = unit((0..dim).map(|i| 1.0 / (1.0 + DECAY * i as f32 / dim as f32).sqrt()));
        let amplitudes = unit((0..intrinsic).map(|j| 1.0 / (1.0 + j as f32).sqrt().sqrt()));
        let draw = |kind: Kind, count: usize| {
            let mut rows = Vec::with_capacity(count * dim);
            for number in 0..count {
                let mut random = Random::new(&[shape.seed, kind as u64, number as u64]);
                rows.extend(spectrum.iter().map(|scale| scale * random.normal()));
            }
            rows
        };
        Self {
            centers: draw(Kind::Center, clusters),
            axes: draw(Kind::Axis, clusters * intrinsic),
            shape,
            spectrum,
            amplitudes,
        }
    }

    /// Writes row `number` of its kind.
    pub(super) fn row(&self, kind: Kind, number: u64, row: &mut [f32]) {
        let Shape {
            dim,
            clusters,
            intrinsic,
            ..
        } = self.shape;
        let mut random = Random::new(&[self.shape.seed, kind as u64, number]);
        let uniform = random.unit();
        let cluster = (clusters as f64 * uniform * uniform) as usize;
        row.copy_from_slice(&self.centers[cluster * dim..][..dim]);
        let axes = self.axes[cluster * intrinsic * dim..][..intrinsic * dim].chunks_exact(dim);
        for (amplitude, axis) in self.amplitudes.iter().zip(axes) {
            let along = amplitude * random.normal();
            for (component, step) in row.iter_mut().zip(axis) {
                *component += along * step;
            }
        }
        for (component, scale) in row.iter_mut().zip(&self.spectrum) {
            *component += NOISE * scale * random.normal();
        }
        if self.shape.unit_length {
            let length = length(row);
            for component in row {
                *component = (f64::from(*component) / length) as f32;
            }
        }
    }
}

fn unit(values: impl Iterator<Item = f32>) -> Vec<f32> {
    let values: Vec<f32> = values.collect();
    let length = length(&values);
    values.iter().map(|value| (f64::from(*value) / length) as f32).collect()
}

/// The square root of the sum of the squares.
pub(super) fn length(values: &[f32]) -> f64 {
    let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    squares.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        dim: 64,
        clusters: 8,
        intrinsic: 6,
        unit_length: false,
        seed: 3,
    };

    fn rows(shape: Shape, kind: Kind, count: u64) -> Vec<Vec<f32>> {
        let mixture = Mixture::new(shape);
        let one = |number| {
            let mut row = vec![0.0; shape.dim];
            mixture.row(kind, number, &mut row);
            row
        };
        (0..count).map(one).collect()
    }

    /// A set that someone else made with the same seed is the same set, on every machine and in every version.
    #[test]
    fn the_first_components_never_change() {
        let bits: Vec<u32> = rows(SHAPE, Kind::Base, 1)[0][..4].iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [0x3eb9_a46a, 0xbf6e_7f80, 0x3f00_297b, 0xbf0c_7813]);
    }

    #[test]
    fn queries_are_not_in_the_base_and_seeds_differ() {
        let base = rows(SHAPE, Kind::Base, 50);
        assert!(rows(SHAPE, Kind::Query, 50).iter().all(|query| !base.contains(query)));
        assert_ne!(rows(Shape { seed: 4, ..SHAPE }, Kind::Base, 50), base);
    }

    #[test]
    fn a_row_under_cosine_has_length_one() {
        let shape = Shape {
            unit_length: true,
            ..SHAPE
        };
        assert!(
            rows(shape, Kind::Base, 20)
                .iter()
                .all(|row| (length(row) - 1.0).abs() < 1e-5)
        );
    }

    #[test]
    fn leading_components_vary_most() {
        let rows = rows(Shape { clusters: 200, ..SHAPE }, Kind::Base, 3000);
        let variance = |at: usize| rows.iter().map(|row| f64::from(row[at]).powi(2)).sum::<f64>();
        let (first, last): (f64, f64) = ((0..8).map(variance).sum(), (56..64).map(variance).sum());
        // By the formula 7.2; 200 clusters vary around it.
        assert!((4.0..12.0).contains(&(first / last)), "{}", first / last);
    }
}
