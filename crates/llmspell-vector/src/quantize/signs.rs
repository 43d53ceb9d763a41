//! Codes of one bit per component: the neighbors of a point, seen from that point.
//!
//! A batch holds the codes of 32 neighbors `o` of one center `v`, all rotated; `r = o - v`, `x` its signs:
//!
//! ```text
//! byte 0           64            128
//!      │ adds      │ factors     │ for each 4 components, 16 bytes: the 4 signs of neighbor i and of i + 16 …
//!      │ 32 × f16  │ 32 × f16    │
//! ```
//!
//! With `s = |r|² / <r,x>`, the estimate of the squared distance of a query `q` is `|q-v|² + add + factor * <x,q>`
//! where `add = |r|² + 2s<x,v>` and `factor = -2s`. The error is that of `r`, which is short: neighbors are near. The
//! arrangement of one block per point is that of SymphonyQG (Gou et al., SIGMOD 2025), the one for byte shuffles that
//! of André et al., "Cache locality is not enough", VLDB 2015.

use crate::kernels::{BATCH, CodeKernels, GROUP_BYTES, Scale, SignSums, TABLE_MAX};

/// Bytes of the two halves of factors.
const FACTOR_BYTES: usize = 2 * 2 * BATCH;

/// Components whose signs are taken at once.
const PART: usize = 512;

/// Standard deviation of the error of an estimate, as a share of factor and distance to the center: `√(1 - 2/π)`, for of a
/// normally distributed component a sign keeps `2/π` of the square.
const DEVIATION: f32 = 0.603;

/// Writes and scores batches of sign codes.
#[derive(Debug, Clone)]
pub(crate) struct Signs {
    padded: usize,
    codes: CodeKernels,
}

/// A rotated query as tables: for each four components, what each of the 16 choices of signs adds.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignQuery {
    tables: Vec<u8>,
    step: f32,
    offset: f32,
}

impl Signs {
    pub(crate) fn new(padded: usize) -> Self {
        Self {
            padded,
            codes: CodeKernels::detect(),
        }
    }

    /// Bytes of a batch for rotated vectors of `padded` components.
    pub(crate) fn batch_bytes(padded: usize) -> usize {
        FACTOR_BYTES + padded / 4 * GROUP_BYTES
    }

    /// Writes the code of one neighbor into its place of a batch, which holds zeros or an older code there.
    pub(crate) fn encode(&self, center: &[f32], neighbor: &[f32], place: usize, batch: &mut [u8]) {
        let (adds, rest) = batch.split_at_mut(FACTOR_BYTES / 2);
        let (factors, codes) = rest.split_at_mut(FACTOR_BYTES / 2);
        let (byte, shift) = if place < BATCH / 2 {
            (place, 0)
        } else {
            (place - BATCH / 2, 4)
        };
        let mut sums = SignSums::default();
        let parts = center.chunks(PART).zip(neighbor.chunks(PART));
        for ((center, neighbor), groups) in parts.zip(codes.chunks_mut(PART / 4 * GROUP_BYTES)) {
            let mut bits = [0_u16; PART / 16];
            let bits = &mut bits[..center.len() / 16];
            sums = sums + self.codes.signs(center, neighbor, bits);
            for (bits, groups) in bits.iter().zip(groups.as_chunks_mut::<{ 4 * GROUP_BYTES }>().0) {
                for quarter in 0..4 {
                    let group = &mut groups[quarter * GROUP_BYTES + byte];
                    let signs = (bits >> (4 * quarter) & 15) as u8;
                    *group = *group & !(15 << shift) | signs << shift;
                }
            }
        }
        let s = if sums.absolute > 0.0 {
            sums.squares / sums.absolute
        } else {
            0.0
        };
        write_half(adds, place, sums.squares + 2.0 * s * sums.of_center);
        write_half(factors, place, -2.0 * s);
    }

    /// Makes a place of a batch farther than everything.
    pub(crate) fn clear(&self, place: usize, batch: &mut [u8]) {
        let (adds, rest) = batch.split_at_mut(FACTOR_BYTES / 2);
        write_half(adds, place, f32::INFINITY);
        write_half(&mut rest[..FACTOR_BYTES / 2], place, 0.0);
    }

    /// Prepares a rotated query.
    pub(crate) fn prepare(&self, components: &[f32], query: &mut SignQuery) {
        let groups = components.as_chunks::<4>().0;
        // Of four lanes, so that one addition need not wait for the last.
        let (mut sums, mut largest) = ([0.0_f32; 4], [0.0_f32; 4]);
        for groups in groups.as_chunks::<4>().0 {
            for lane in 0..4 {
                let [a, b, c, d] = groups[lane].map(f32::abs);
                let span = (a + b) + (c + d);
                sums[lane] += span;
                largest[lane] = largest[lane].max(span);
            }
        }
        let (sum, largest) = (sums.iter().sum::<f32>(), largest.into_iter().fold(0.0, f32::max));
        query.step = if largest > 0.0 && largest.is_finite() {
            2.0 * largest / TABLE_MAX as f32
        } else {
            1.0
        };
        query.offset = -sum;
        query.tables.resize(groups.len() * GROUP_BYTES, 0);
        // A chosen component is positive instead of negative: twice its value more.
        self.codes.tables(components, 2.0 / query.step, &mut query.tables);
    }

    /// Estimated squared distances of the neighbors of a batch, whose center is `to_center` away.
    #[inline]
    pub(crate) fn estimates(&self, query: &SignQuery, to_center: f32, batch: &[u8], out: &mut [f32; BATCH]) {
        self.estimates_with(query, (to_center, 0.0), batch, out);
    }

    /// The same with something added to the product of every neighbor.
    #[inline]
    fn estimates_with(
        &self,
        query: &SignQuery,
        (to_center, surplus): (f32, f32),
        batch: &[u8],
        out: &mut [f32; BATCH],
    ) {
        let (adds, rest) = batch.split_first_chunk().expect("a batch begins with its factors");
        let (factors, codes) = rest.split_first_chunk().expect("a batch begins with its factors");
        let scale = Scale {
            step: query.step,
            offset: query.offset + surplus,
            base: to_center,
        };
        let codes = &codes[..self.padded / 4 * GROUP_BYTES];
        self.codes.estimates(codes, &query.tables, adds, factors, scale, out);
    }

    /// What those distances are at least, with `deviations` standard deviations of the error of an estimate taken off: with
    /// one and a half, one of 15 is nearer than that.
    #[inline]
    pub(crate) fn lower_bounds(
        &self,
        query: &SignQuery,
        (to_center, deviations): (f32, f32),
        batch: &[u8],
        out: &mut [f32; BATCH],
    ) {
        // The error grows with the length of what the signs stand for, and so does the factor that this is multiplied by.
        let surplus = deviations * DEVIATION * to_center.max(0.0).sqrt();
        self.estimates_with(query, (to_center, surplus), batch, out);
    }

    /// Which of the estimates are below `bound`.
    #[inline]
    pub(crate) fn below(&self, estimates: &[f32; BATCH], bound: f32) -> u32 {
        self.codes.below(estimates, bound)
    }
}

fn write_half(halves: &mut [u8], place: usize, value: f32) {
    halves[2 * place..2 * place + 2].copy_from_slice(&half::f16::from_f32(value).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn noise(count: usize, scale: f32, random: &mut Random) -> Vec<f32> {
        let scale = scale / (count as f32).sqrt();
        (0..count)
            .map(|_| scale * ((0..12).map(|_| random.below(1000) as f32 / 1000.0).sum::<f32>() - 6.0))
            .collect()
    }

    fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    }

    /// Neighbors around a center, with their signs, and a query.
    struct Crowd {
        center: Vec<f32>,
        query: Vec<f32>,
        neighbors: Vec<Vec<f32>>,
        batch: Vec<u8>,
        prepared: SignQuery,
    }

    impl Crowd {
        fn new(signs: &Signs, padded: usize, random: &mut Random) -> Self {
            let center = noise(padded, 1.0, random);
            let query = noise(padded, 1.0, random);
            let near = |_| -> Vec<f32> {
                let rest = noise(padded, 0.5, random);
                rest.iter().zip(&center).map(|(a, c)| a + c).collect()
            };
            let neighbors: Vec<Vec<f32>> = (0..BATCH).map(near).collect();
            let mut batch = vec![0; Signs::batch_bytes(padded)];
            for (place, neighbor) in neighbors.iter().enumerate() {
                signs.encode(&center, neighbor, place, &mut batch);
            }
            let mut prepared = SignQuery::default();
            signs.prepare(&query, &mut prepared);
            Self {
                center,
                query,
                neighbors,
                batch,
                prepared,
            }
        }
    }

    /// The share of vectors nearer than their lower bound is that of the normal distribution beyond as many deviations.
    #[test]
    fn lower_bounds_hold_for_as_many_as_they_promise() {
        for (deviations, promised) in [(0.0, 0.5), (1.5, 0.067), (2.5, 0.0062)] {
            let padded = 128;
            let mut random = Random::new(4);
            let signs = Signs::new(padded);
            let (mut broken, mut count) = (0.0, 0.0);
            for _ in 0..100 {
                let Crowd {
                    center,
                    query,
                    neighbors,
                    batch,
                    prepared,
                } = Crowd::new(&signs, padded, &mut random);
                let mut bounds = [0.0; BATCH];
                let to_center = l2_squared(&query, &center);
                signs.lower_bounds(&prepared, (to_center, deviations), &batch, &mut bounds);
                let is_broken = |(neighbor, bound): (&Vec<f32>, f32)| l2_squared(neighbor, &query) < bound;
                broken += neighbors.iter().zip(bounds).filter(|pair| is_broken(*pair)).count() as f32;
                count += BATCH as f32;
            }
            let share: f32 = broken / count;
            assert!(
                share < 1.25 * promised + 0.005 && share > 0.5 * promised,
                "{deviations} deviations: {share} promised {promised}"
            );
        }
    }

    #[test]
    fn estimates_are_unbiased_and_as_exact_as_the_paper_says() {
        for padded in [64, 384, 1536] {
            let mut random = Random::new(2);
            let signs = Signs::new(padded);
            let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
            for _ in 0..20 {
                let Crowd {
                    center,
                    query,
                    neighbors,
                    batch,
                    prepared,
                } = Crowd::new(&signs, padded, &mut random);
                let mut estimates = [0.0; BATCH];
                signs.estimates(&prepared, l2_squared(&query, &center), &batch, &mut estimates);
                for (neighbor, estimate) in neighbors.iter().zip(estimates) {
                    let unit = 2.0 * (l2_squared(neighbor, &center) * l2_squared(&query, &center)).sqrt();
                    let error = (estimate - l2_squared(neighbor, &query)) / unit;
                    (sum, squares, count) = (sum + error, squares + error * error, count + 1.0);
                }
            }
            // A sign keeps 2/π of the square of a normally distributed component.
            let promised = (0.571 / padded as f32).sqrt();
            let deviation: f32 = (squares / count).sqrt();
            assert!(
                deviation < 1.15 * promised,
                "padded {padded}: {deviation} promised {promised}"
            );
            assert!(
                (sum / count).abs() < 5.0 * promised / (count).sqrt() + 5.0e-4,
                "padded {padded}: biased"
            );
        }
    }

    #[test]
    fn a_place_that_is_cleared_is_farther_than_everything() {
        let signs = Signs::new(64);
        let mut batch = vec![0; Signs::batch_bytes(64)];
        signs.clear(3, &mut batch);
        let mut query = SignQuery::default();
        signs.prepare(&[1.0; 64], &mut query);
        let mut estimates = [0.0; BATCH];
        signs.estimates(&query, 2.0, &batch, &mut estimates);
        assert_eq!(signs.below(&estimates, f32::INFINITY), !(1 << 3));
        assert_eq!(estimates[3], f32::INFINITY);
    }

    #[test]
    fn a_neighbor_at_the_same_place_is_as_far_as_its_center() {
        let signs = Signs::new(64);
        let mut batch = vec![0; Signs::batch_bytes(64)];
        signs.encode(&[0.5; 64], &[0.5; 64], 0, &mut batch);
        let mut query = SignQuery::default();
        signs.prepare(&[1.0; 64], &mut query);
        let mut estimates = [0.0; BATCH];
        signs.estimates(&query, 16.0, &batch, &mut estimates);
        assert_eq!(estimates[0], 16.0);
    }
}
