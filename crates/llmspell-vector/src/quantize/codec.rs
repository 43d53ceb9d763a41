//! Codes of half a byte per component, and the distances that they estimate.
//!
//! A record of a vector `y`, rotated, with its centroid `c` and the rest `r = y - c`:
//!
//! ```text
//! byte 0                padded/2      +4        +8          +10     +12
//!      │ half bytes     │ add        │ factor  │ centroid  │ error │
//!      │ padded × 4 bit │ f32        │ f32     │ u16       │ bf16  │
//! ```
//!
//! The half bytes are the grid vector `x` nearest in direction to `r`. With `s = |r|² / <r,x>`, the estimate of the
//! squared distance to a query `q` is `|q-c|² + add + factor * <x,q>` where `add = |r|² + 2s<x,c>` and `factor = -2s`.
//! The error is the length of `sx - r`, rounded up, and at least a tenth of `|r|`.

use crate::kernels::{CodeKernels, Kernels};
use crate::quantize::Centroids;

/// Bytes of a record after the half bytes.
const FACTOR_BYTES: usize = 12;
/// Steps of the grid, as shares of the deviation of the components: the best for normally distributed ones, and those
/// around it. (Max, "Quantizing for Minimum Distortion", 1960: 0.335 for 16 levels.)
const STEPS: [f32; 5] = [0.26, 0.30, 0.335, 0.37, 0.42];
/// Cosine of the angle between a normally distributed vector and its grid vector: `1 / √1.0125`.
const ALIGNMENT: f32 = 0.994;
/// The error of a record is at least this share of the length of what it stands for.
const ERROR_SHARE_MIN: f32 = 0.1;
/// Error that a query rounded to multiples of one adds to an estimate, for a record with an error of length 1: the
/// deviation of a rounded component, `1 / √12`, times the length of the grid vector, nine times that of its error.
const ROUNDING: f32 = 2.6;
/// The level in the middle of the grid.
const MIDDLE: f32 = 7.5;

/// Makes and compares codes of vectors that are rotated already.
#[derive(Debug, Clone)]
pub(crate) struct Codec {
    padded: usize,
    pub(crate) centroids: Centroids,
    kernels: Kernels,
    codes: CodeKernels,
}

/// A rotated query, prepared to be compared with codes.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueryCode {
    /// Components as multiples of `step`.
    levels: Vec<i8>,
    step: f32,
    /// What the middle of the grid adds to every product.
    middle: f32,
    /// The rotated query.
    components: Vec<f32>,
    /// Squared distance to each centroid; NaN until it is asked for.
    to_centroids: Vec<f32>,
}

impl Codec {
    pub(crate) fn new(padded: usize, centroids: Centroids) -> Self {
        Self {
            padded,
            centroids,
            kernels: Kernels::detect(),
            codes: CodeKernels::detect(),
        }
    }

    /// Bytes of a record for rotated vectors of `padded` components.
    pub(crate) fn record_bytes(padded: usize) -> usize {
        padded / 2 + FACTOR_BYTES
    }

    /// Writes the record of a rotated vector. `rest` is room for as many components.
    pub(crate) fn encode(&self, vector: &[f32], rest: &mut [f32], record: &mut [u8]) {
        let centroid_id = self.centroids.nearest(vector);
        let centroid = self.centroids.get(centroid_id);
        for ((rest, component), center) in rest.iter_mut().zip(vector).zip(centroid) {
            *rest = component - center;
        }
        let (code, factors) = record.split_at_mut(self.padded / 2);
        let norm_squared = self.kernels.dot(rest, rest);
        let deviation = (norm_squared / self.padded as f32).sqrt();
        let (mut add, mut factor, mut error) = (0.0, 0.0, 0.0_f32);
        if deviation > 0.0 && deviation.is_finite() {
            let alignment = |step: f32, code: &mut [u8]| {
                let (dot, squares) = self.codes.quantize_nibbles(rest, 1.0 / (step * deviation), code);
                (dot / squares.sqrt(), dot, squares)
            };
            let best = STEPS.into_iter().map(|step| (alignment(step, code).0, step));
            let (_, step) = best.max_by(|(a, _), (b, _)| a.total_cmp(b)).expect("there are steps");
            let (_, dot, squares) = alignment(step, code);
            let s = norm_squared / dot;
            add = norm_squared + 2.0 * s * self.product(code, centroid);
            factor = -2.0 * s;
            let apart = (s * s * squares - norm_squared).max(0.0).sqrt();
            error = apart.max(ERROR_SHARE_MIN * norm_squared.sqrt());
        } else {
            // The vector is its centroid.
            code.fill(0);
        }
        factors[0..4].copy_from_slice(&add.to_le_bytes());
        factors[4..8].copy_from_slice(&factor.to_le_bytes());
        factors[8..10].copy_from_slice(&(centroid_id as u16).to_le_bytes());
        // The upper half of a float, rounded up.
        let error = (error.to_bits().saturating_add(0xffff) >> 16) as u16;
        factors[10..12].copy_from_slice(&error.to_le_bytes());
    }

    /// Inner product of a grid vector and a vector.
    fn product(&self, code: &[u8], vector: &[f32]) -> f32 {
        let mut sum = 0.0;
        for (bytes, components) in code.as_chunks::<32>().0.iter().zip(vector.as_chunks::<64>().0) {
            let (low, high) = components.split_at(32);
            for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
                sum += (f32::from(byte & 15) - MIDDLE) * low + (f32::from(byte >> 4) - MIDDLE) * high;
            }
        }
        sum
    }

    /// Prepares the rotated query that stands in `query.components`.
    pub(crate) fn prepare(&self, query: &mut QueryCode) {
        let largest = query
            .components
            .iter()
            .fold(0.0_f32, |largest, component| largest.max(component.abs()));
        query.step = if largest > 0.0 && largest.is_finite() {
            largest / 127.0
        } else {
            1.0
        };
        let per_step = 1.0 / query.step;
        query.levels.resize(query.components.len(), 0);
        let sum = self
            .codes
            .quantize_bytes(&query.components, per_step, &mut query.levels);
        query.middle = MIDDLE * sum as f32;
        query.to_centroids.clear();
        query.to_centroids.resize(self.centroids.len(), f32::NAN);
    }

    /// Estimated squared distance of the vector of a record.
    #[inline]
    pub(crate) fn distance(&self, query: &mut QueryCode, record: &[u8]) -> f32 {
        let (code, factors) = record.split_at(self.padded / 2);
        let dot = self.codes.nibble_dot(code, &query.levels);
        let factors: &[u8; FACTOR_BYTES] = factors.first_chunk().expect("a record ends with its factors");
        let [a0, a1, a2, a3, f0, f1, f2, f3, c0, c1, _, _] = *factors;
        let centroid = usize::from(u16::from_le_bytes([c0, c1]));
        let product = query.step * (dot as f32 - query.middle);
        let add = f32::from_le_bytes([a0, a1, a2, a3]);
        let factor = f32::from_le_bytes([f0, f1, f2, f3]);
        self.to_centroid(query, centroid) + add + factor * product
    }

    /// Length of the error of the grid vector of a record.
    #[inline]
    pub(crate) fn error(record: &[u8]) -> f32 {
        let bytes: &[u8; 2] = record.last_chunk().expect("a record ends with its error");
        f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16)
    }

    /// Square of the error that a query adds which is rounded to multiples of `step`, for a record with an error of
    /// length 1.
    pub(crate) fn rounding_squared(step: f32) -> f32 {
        (ROUNDING * step).powi(2)
    }

    /// Adds to the estimate of a record, whatever the query is.
    pub(crate) fn add(&self, record: &mut [u8], more: f32) {
        let place = &mut record[self.padded / 2..self.padded / 2 + 4];
        let bytes: &mut [u8; 4] = place.first_chunk_mut().expect("four bytes");
        *bytes = (f32::from_le_bytes(*bytes) + more).to_le_bytes();
    }

    /// Place of the centroid of a record; the last one where a damaged record names none.
    pub(crate) fn centroid_of(&self, record: &[u8]) -> u8 {
        let at = self.padded / 2 + 8;
        let named = u16::from_le_bytes([record[at], record[at + 1]]);
        usize::from(named).min(self.centroids.len() - 1) as u8
    }

    /// Writes the vector that a record stands for, rotated as it was: as far from the original as half bytes lead astray.
    pub(crate) fn decode(&self, record: &[u8], out: &mut [f32]) {
        let (code, factors) = record.split_at(self.padded / 2);
        let centroid = self.centroids.get(usize::from(self.centroid_of(record)));
        let factor = f32::from_le_bytes([factors[4], factors[5], factors[6], factors[7]]);
        let scale = -0.5 * factor * ALIGNMENT;
        let parts = out.as_chunks_mut::<64>().0.iter_mut().zip(centroid.as_chunks::<64>().0);
        for (bytes, (out, center)) in code.as_chunks::<32>().0.iter().zip(parts) {
            for (i, byte) in bytes.iter().enumerate() {
                out[i] = center[i] + scale * (f32::from(byte & 15) - MIDDLE);
                out[i + 32] = center[i + 32] + scale * (f32::from(byte >> 4) - MIDDLE);
            }
        }
    }

    /// Squared distance of a query to a centroid; infinite if there is none.
    #[inline]
    pub(crate) fn to_centroid(&self, query: &mut QueryCode, centroid: usize) -> f32 {
        match query.to_centroids.get(centroid) {
            Some(distance) if !distance.is_nan() => *distance,
            Some(_) => {
                let distance = self.kernels.l2_squared(&query.components, self.centroids.get(centroid));
                // Not NaN again, or it would be computed each time.
                let distance = if distance.is_nan() { f32::INFINITY } else { distance };
                query.to_centroids[centroid] = distance;
                distance
            }
            // Only in damaged bytes.
            None => f32::INFINITY,
        }
    }
}

impl QueryCode {
    /// Room for a rotated query.
    pub(crate) fn components_mut(&mut self, padded: usize) -> &mut [f32] {
        self.components.resize(padded, 0.0);
        &mut self.components
    }

    pub(crate) fn components(&self) -> &[f32] {
        &self.components
    }

    /// What the components are rounded to multiples of.
    pub(crate) fn step(&self) -> f32 {
        self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Components like those of a rotated vector.
    fn noise(count: usize, random: &mut Random) -> Vec<f32> {
        (0..count)
            .map(|_| (0..12).map(|_| random.below(1000) as f32 / 1000.0).sum::<f32>() - 6.0)
            .collect()
    }

    fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    }

    fn estimate(codec: &Codec, query: &[f32], record: &[u8]) -> f32 {
        let mut prepared = QueryCode::default();
        prepared.components_mut(query.len()).copy_from_slice(query);
        codec.prepare(&mut prepared);
        codec.distance(&mut prepared, record)
    }

    #[test]
    fn estimates_are_unbiased_and_as_exact_as_the_paper_says() {
        for padded in [64, 128, 384, 1536] {
            let mut random = Random::new(1);
            let center = noise(padded, &mut random);
            let codec = Codec::new(padded, Centroids::from_components(padded, center.clone()));
            let (mut sum, mut squares, rounds) = (0.0, 0.0, 300);
            for _ in 0..rounds {
                let vector: Vec<f32> = noise(padded, &mut random)
                    .iter()
                    .zip(&center)
                    .map(|(a, c)| a + c)
                    .collect();
                let query: Vec<f32> = noise(padded, &mut random)
                    .iter()
                    .zip(&center)
                    .map(|(a, c)| a + c)
                    .collect();
                let mut record = vec![0; Codec::record_bytes(padded)];
                codec.encode(&vector, &mut vec![0.0; padded], &mut record);
                let error = estimate(&codec, &query, &record) - l2_squared(&vector, &query);
                // In units of 2 |r| |q-c|, which are those of the cosine.
                let unit = 2.0 * (l2_squared(&vector, &center) * l2_squared(&query, &center)).sqrt();
                sum += error / unit;
                squares += (error / unit) * (error / unit);
            }
            let deviation = (squares / rounds as f32).sqrt();
            // 16 levels leave a variance of 0.0115 to 0.0096 / (1 - that), divided among the components.
            let promised = (0.0125 / padded as f32).sqrt();
            assert!(
                deviation < 1.15 * promised,
                "padded {padded}: {deviation} promised {promised}"
            );
            assert!(
                (sum / rounds as f32).abs() < 4.0 * promised / (rounds as f32).sqrt(),
                "padded {padded}: biased"
            );
        }
    }

    #[test]
    fn what_a_record_stands_for_is_near_to_the_vector() {
        for padded in [64, 384] {
            let mut random = Random::new(3);
            let centers = [noise(padded, &mut random), noise(padded, &mut random)];
            let codec = Codec::new(padded, Centroids::from_components(padded, centers.concat()));
            for center in &centers {
                let rest = noise(padded, &mut random);
                let vector: Vec<f32> = rest.iter().zip(center).map(|(a, c)| 0.3 * a + c).collect();
                let mut record = vec![0; Codec::record_bytes(padded)];
                codec.encode(&vector, &mut vec![0.0; padded], &mut record);
                let mut decoded = vec![0.0; padded];
                codec.decode(&record, &mut decoded);
                let error = l2_squared(&decoded, &vector) / l2_squared(&vector, center);
                assert!(error < 0.03, "padded {padded}: {error} of the square");
            }
        }
    }

    #[test]
    fn a_vector_that_is_its_centroid_has_the_distance_of_the_centroid() {
        let centroid: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let codec = Codec::new(64, Centroids::from_components(64, centroid.clone()));
        let mut record = vec![0xff; Codec::record_bytes(64)];
        codec.encode(&centroid, &mut [0.0; 64], &mut record);
        let query = [1.0; 64];
        assert_eq!(estimate(&codec, &query, &record), l2_squared(&query, &centroid));
    }

    #[test]
    fn damaged_records_are_nearer_than_nothing_and_do_not_panic() {
        let codec = Codec::new(64, Centroids::from_components(64, vec![0.0; 64]));
        let estimate = estimate(&codec, &[1.0; 64], &[0xff; 44]);
        assert!(estimate.is_nan() || estimate == f32::INFINITY, "{estimate}");
    }
}
