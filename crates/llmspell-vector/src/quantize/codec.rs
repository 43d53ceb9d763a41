//! Codes of the vertices of a graph, and the distances that they estimate.
//!
//! A record of a vector `y`, rotated, with its centroid `c` and the rest `r = y - c`. With a half byte per component, where
//! speed counts:
//!
//! ```text
//! byte 0                padded/2      +4        +8          +10     +12
//!      │ half bytes     │ add        │ factor  │ centroid  │ error │
//!      │ padded × 4 bit │ f32        │ f32     │ u16       │ bf16  │
//! ```
//!
//! and packed, with one, two or four bits per component, where bytes count:
//!
//! ```text
//! byte 0                padded/8 × bits  +4            +7       +8         +9
//!      │ levels           │ add     │ factor      │ error  │ centroid │
//!      │ see `levels.rs`  │ f32     │ f32, 3 bytes│ u8     │ u8       │
//! ```
//!
//! The levels are the grid vector `x` nearest in direction to `r`. With `s = |r|² / <r,x>`, the estimate of the
//! squared distance to a query `q` is `|q-c|² + add + factor * <x,q>` where `add = |r|² + 2s<x,c>` and `factor = -2s`.
//! The error is the length of `sx - r`, rounded up, and with half bytes at least a tenth of `|r|`.
//!
//! Where codes are of a projection `P`, `x` stands for `r` all the same: `s = |r|² / <Pr,x>`, distances to centroids are those
//! of whole vectors, and the estimate is `|q-c|² + add + factor * <x,Pq>` where `add = |r|² + 2s<x,Pc>`. What lies in other
//! directions counts as an error of the grid vector like any other.

use crate::kernels::{CodeKernels, Kernels};
use crate::quantize::Centroids;
use crate::quantize::bytes::step;
use crate::quantize::levels::{Levels, QueryLevels};

/// What a code looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodeShape {
    /// Components, a multiple of 64.
    pub(crate) padded: usize,
    /// Bits per component: 1, 2 or 4.
    pub(crate) bits: u8,
    /// Whether a record is as small as possible.
    pub(crate) is_packed: bool,
}

/// Bytes of a record after the levels.
const FACTOR_BYTES: usize = 12;
const PACKED_FACTOR_BYTES: usize = 9;
/// Steps of the grid of half bytes, as shares of the deviation of the components: the best for normally distributed ones,
/// and those around it. (Max, "Quantizing for Minimum Distortion", 1960: 0.335 for 16 levels, 0.996 for four.)
const STEPS: [f32; 5] = [0.26, 0.30, 0.335, 0.37, 0.42];
const STEPS_OF_TWO_BITS: [f32; 5] = [0.80, 0.90, 1.0, 1.10, 1.25];
/// The error of a record of half bytes is at least this share of the length of what it stands for.
const ERROR_SHARE_MIN: f32 = 0.1;

impl CodeShape {
    /// Half bytes, as fast as possible.
    pub(crate) fn half_bytes(padded: usize) -> Self {
        Self {
            padded,
            bits: 4,
            is_packed: false,
        }
    }

    fn levels(self) -> Levels {
        Levels::new(self.padded, self.bits)
    }

    /// Bytes of a record.
    pub(crate) fn record_bytes(self) -> usize {
        let factors = if self.is_packed {
            PACKED_FACTOR_BYTES
        } else {
            FACTOR_BYTES
        };
        self.levels().code_bytes() + factors
    }

    /// The level in the middle of the grid.
    fn middle(self) -> f32 {
        f32::from(self.levels().top()) / 2.0
    }

    fn steps(self) -> &'static [f32] {
        match self.bits {
            1 => &[1.0],
            2 => &STEPS_OF_TWO_BITS,
            _ => &STEPS,
        }
    }

    /// Square of the error that the levels leave, as a share of the square of what they stand for: that of a normally
    /// distributed vector.
    pub(crate) fn error_squared(self) -> f32 {
        match self.bits {
            1 => 0.571,
            2 => 0.133,
            _ => 0.0125,
        }
    }

    /// Cosine of the angle between a normally distributed vector and its grid vector.
    fn alignment(self) -> f32 {
        1.0 / (1.0 + self.error_squared()).sqrt()
    }

    /// Bits of a component of a query, with its sign: as many as make its rounding small beside the error of the levels.
    fn query_bits(self) -> usize {
        if self.bits == 1 { 4 } else { 8 }
    }

    /// The largest level of a query.
    fn query_top(self) -> f32 {
        ((1 << (self.query_bits() - 1)) - 1) as f32
    }

    /// Square of the error that a query adds which is rounded to multiples of `step`, for a record with an error of
    /// length 1: the deviation of a rounded component, `1 / √12`, times the length of the grid vector as a multiple of that
    /// of its error.
    pub(crate) fn rounding_squared(self, step: f32) -> f32 {
        let grid = 1.0 + 1.0 / self.error_squared();
        grid / 12.0 * step * step
    }
}

/// Makes and compares codes of vectors that are rotated already.
#[derive(Debug, Clone)]
pub(crate) struct Codec {
    shape: CodeShape,
    levels: Levels,
    pub(crate) centroids: Centroids,
    /// Those of whole vectors, of which `centroids` are the projections.
    pub(crate) whole_centroids: Option<Centroids>,
    kernels: Kernels,
    codes: CodeKernels,
}

/// A rotated query, prepared to be compared with codes.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueryCode {
    /// Components as multiples of `step`.
    levels: QueryLevels,
    step: f32,
    /// What the middle of the grid adds to every product.
    middle: f32,
    /// The rotated query.
    components: Vec<f32>,
    /// The whole of it, if the components are those of a projection.
    pub(crate) whole: Vec<f32>,
    /// Squared distance to each centroid; NaN until it is asked for.
    to_centroids: Vec<f32>,
}

/// Numbers of a record beside its levels.
#[derive(Clone, Copy)]
struct Factors {
    add: f32,
    factor: f32,
    error: f32,
    centroid: usize,
}

impl Factors {
    #[inline]
    fn read(bytes: &[u8; FACTOR_BYTES]) -> Self {
        let [a0, a1, a2, a3, f0, f1, f2, f3, c0, c1, e0, e1] = *bytes;
        Self {
            add: f32::from_le_bytes([a0, a1, a2, a3]),
            factor: f32::from_le_bytes([f0, f1, f2, f3]),
            error: f32::from_le_bytes([0, 0, e0, e1]),
            centroid: usize::from(u16::from_le_bytes([c0, c1])),
        }
    }

    #[inline]
    fn read_packed(bytes: &[u8; PACKED_FACTOR_BYTES]) -> Self {
        let [a0, a1, a2, a3, f0, f1, f2, error, centroid] = *bytes;
        Self {
            add: f32::from_le_bytes([a0, a1, a2, a3]),
            factor: f32::from_le_bytes([0, f0, f1, f2]),
            error: error_of_byte(error),
            centroid: usize::from(centroid),
        }
    }

    fn write(self, out: &mut [u8]) {
        if out.len() == PACKED_FACTOR_BYTES {
            let [a0, a1, a2, a3] = self.add.to_le_bytes();
            let [_, f0, f1, f2] = self.factor.to_le_bytes();
            out.copy_from_slice(&[
                a0,
                a1,
                a2,
                a3,
                f0,
                f1,
                f2,
                byte_of_error(self.error),
                self.centroid as u8,
            ]);
        } else {
            out[0..4].copy_from_slice(&self.add.to_le_bytes());
            out[4..8].copy_from_slice(&self.factor.to_le_bytes());
            out[8..10].copy_from_slice(&(self.centroid as u16).to_le_bytes());
            let [_, _, e0, e1] = rounded_up(self.error).to_le_bytes();
            out[10..12].copy_from_slice(&[e0, e1]);
        }
    }
}

/// The nearest number whose last byte is zero. A factor must be as exact as this: it is multiplied by the product with
/// the query, and what that is off by does not shrink with the distance, as the error of the levels does.
fn rounded(value: f32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    f32::from_bits(value.to_bits().saturating_add(0x80) >> 8 << 8)
}

/// Errors are written in quarters of powers of two, from this one on, rounded up. Vectors of a walk have a length of
/// about one.
const ERROR_EXPONENT_MIN: u32 = 127 - 48;

fn byte_of_error(error: f32) -> u8 {
    let quarters = error.to_bits().saturating_add(0x1f_ffff) >> 21;
    quarters.saturating_sub(4 * ERROR_EXPONENT_MIN).min(255) as u8
}

#[inline]
fn error_of_byte(byte: u8) -> f32 {
    if byte == 255 {
        return f32::INFINITY;
    }
    f32::from_bits((u32::from(byte) + 4 * ERROR_EXPONENT_MIN) << 21)
}

/// The upper half of a positive float, rounded up.
fn rounded_up(value: f32) -> f32 {
    f32::from_bits(value.to_bits().saturating_add(0xffff) >> 16 << 16)
}

impl Codec {
    pub(crate) fn new(shape: CodeShape, centroids: Centroids) -> Self {
        Self::of_projection(shape, centroids, None)
    }

    /// One whose codes are of a projection, with the centroids of whole vectors.
    pub(crate) fn of_projection(shape: CodeShape, centroids: Centroids, whole_centroids: Option<Centroids>) -> Self {
        Self {
            shape,
            levels: shape.levels(),
            centroids,
            whole_centroids,
            kernels: Kernels::detect(),
            codes: CodeKernels::detect(),
        }
    }

    pub(crate) fn shape(&self) -> CodeShape {
        self.shape
    }

    /// Writes the record of a rotated vector. `rest` is room for as many components.
    pub(crate) fn encode(&self, vector: &[f32], rest: &mut [f32], record: &mut [u8]) {
        rest.copy_from_slice(vector);
        let centroid_id = self.centroids.subtract_nearest(rest);
        let norm_squared = self.kernels.dot(rest, rest);
        self.encode_rest(centroid_id, (rest, norm_squared), record);
    }

    /// The same of a vector whose `rest`, after a centroid was subtracted, was projected; `norm_squared` is the square of
    /// what it was before that.
    pub(crate) fn encode_rest(&self, centroid_id: usize, (rest, norm_squared): (&[f32], f32), record: &mut [u8]) {
        let (code, factors) = record.split_at_mut(self.levels.code_bytes());
        let deviation = (self.kernels.dot(rest, rest) / self.shape.padded as f32).sqrt();
        let (mut add, mut factor, mut error) = (norm_squared, 0.0, norm_squared.max(0.0).sqrt());
        if deviation > 0.0 && deviation.is_finite() {
            let alignment = |step: f32, code: &mut [u8]| {
                let (dot, squares) = self.quantize(rest, 1.0 / (step * deviation), code);
                (dot / squares.sqrt(), dot, squares)
            };
            let steps = self.shape.steps().iter().copied();
            let best = steps.map(|step| (alignment(step, code).0, step));
            let (_, step) = best.max_by(|(a, _), (b, _)| a.total_cmp(b)).expect("there are steps");
            let (_, dot, squares) = alignment(step, code);
            let mut s = norm_squared / dot;
            if self.shape.is_packed {
                s = rounded(s);
            }
            add = norm_squared + 2.0 * s * self.product(code, self.centroids.get(centroid_id));
            factor = -2.0 * s;
            let apart = (s * s * squares - norm_squared).max(0.0).sqrt();
            error = if self.shape.is_packed {
                apart
            } else {
                apart.max(ERROR_SHARE_MIN * norm_squared.sqrt())
            };
        } else {
            // The vector is its centroid, or the projection shows nothing of the difference.
            code.fill(0);
        }
        let factors_of_record = Factors {
            add,
            factor,
            error,
            centroid: centroid_id,
        };
        factors_of_record.write(factors);
    }

    /// Rounds `rest` to the grid and packs it; returns the inner product of the grid vector with `rest`, and its square.
    fn quantize(&self, rest: &[f32], scale: f32, code: &mut [u8]) -> (f32, f32) {
        if self.shape.bits == 4 {
            return self.codes.quantize_nibbles(rest, scale, code);
        }
        let mut levels = vec![0; rest.len()];
        let sums = self.codes.quantize_levels(rest, scale, self.levels.top(), &mut levels);
        self.levels.pack(&levels, code);
        sums
    }

    /// Inner product of a grid vector and a vector.
    fn product(&self, code: &[u8], vector: &[f32]) -> f32 {
        let middle = self.shape.middle();
        let levels = self
            .levels
            .blocks(code)
            .flatten()
            .map(|level| f32::from(level) - middle);
        levels.zip(vector).map(|(level, component)| level * component).sum()
    }

    /// Prepares the rotated query that stands in `query.components`.
    pub(crate) fn prepare(&self, query: &mut QueryCode) {
        query.step = step(&query.components, self.shape.query_top());
        let sum = query.levels.prepare(
            self.levels,
            (&query.components, 1.0 / query.step),
            self.shape.query_bits(),
            self.codes,
        );
        query.middle = self.shape.middle() * sum as f32;
        query.to_centroids.clear();
        query.to_centroids.resize(self.centroids.len(), f32::NAN);
    }

    #[inline]
    fn factors(&self, factors: &[u8]) -> Factors {
        if self.shape.is_packed {
            Factors::read_packed(factors.first_chunk().expect("a record ends with its factors"))
        } else {
            Factors::read(factors.first_chunk().expect("a record ends with its factors"))
        }
    }

    /// Estimated squared distance of the vector of a record.
    #[inline]
    pub(crate) fn distance(&self, query: &mut QueryCode, record: &[u8]) -> f32 {
        let (code, factors) = record.split_at(self.levels.code_bytes());
        let dot = self.levels.dot(self.codes, code, &query.levels);
        let Factors {
            add, factor, centroid, ..
        } = self.factors(factors);
        let product = query.step * (dot as f32 - query.middle);
        self.to_centroid(query, centroid) + add + factor * product
    }

    /// Length of the error of the grid vector of a record.
    #[inline]
    pub(crate) fn error(&self, record: &[u8]) -> f32 {
        self.factors(&record[self.levels.code_bytes()..]).error
    }

    /// Adds to the estimate of a record, whatever the query is.
    pub(crate) fn add(&self, record: &mut [u8], more: f32) {
        let place = &mut record[self.levels.code_bytes()..];
        let mut factors = self.factors(place);
        factors.add += more;
        factors.write(place);
    }

    /// Place of the centroid of a record; the last one where a damaged record names none.
    pub(crate) fn centroid_of(&self, record: &[u8]) -> u8 {
        let named = self.factors(&record[self.levels.code_bytes()..]).centroid;
        named.min(self.centroids.len() - 1) as u8
    }

    /// Writes the vector that a record stands for, rotated as it was: as far from the original as its levels lead astray.
    pub(crate) fn decode(&self, record: &[u8], out: &mut [f32]) {
        let (code, factors) = record.split_at(self.levels.code_bytes());
        let centroid = self.centroids.get(usize::from(self.centroid_of(record)));
        let scale = -0.5 * self.factors(factors).factor * self.shape.alignment() * self.shape.alignment();
        let middle = self.shape.middle();
        let levels = self.levels.blocks(code).flatten();
        for ((out, center), level) in out.iter_mut().zip(centroid).zip(levels) {
            *out = center + scale * (f32::from(level) - middle);
        }
    }

    /// Squared distance of a query to a centroid; infinite if there is none.
    #[inline]
    pub(crate) fn to_centroid(&self, query: &mut QueryCode, centroid: usize) -> f32 {
        match query.to_centroids.get(centroid) {
            Some(distance) if !distance.is_nan() => *distance,
            Some(_) => {
                let distance = match &self.whole_centroids {
                    None => self.kernels.l2_squared(&query.components, self.centroids.get(centroid)),
                    Some(whole) => self.kernels.l2_squared(&query.whole, whole.get(centroid)),
                };
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

    /// The same, and room for the whole query.
    pub(crate) fn parts_mut(&mut self, padded: usize, whole: usize) -> (&mut [f32], &mut [f32]) {
        self.components.resize(padded, 0.0);
        self.whole.resize(whole, 0.0);
        (&mut self.components, &mut self.whole)
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
            let codec = Codec::new(
                CodeShape::half_bytes(padded),
                Centroids::from_components(padded, center.clone()),
            );
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
                let mut record = vec![0; codec.shape().record_bytes()];
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

    fn packed(padded: usize, bits: u8) -> CodeShape {
        CodeShape {
            padded,
            bits,
            is_packed: true,
        }
    }

    #[test]
    fn packed_codes_of_every_width_are_unbiased_and_as_exact_as_their_records_say() {
        for (padded, bits) in [(64, 4), (128, 4), (128, 2), (448, 2), (320, 1), (1536, 1)] {
            let mut random = Random::new(4);
            let center = noise(padded, &mut random);
            let codec = Codec::new(packed(padded, bits), Centroids::from_components(padded, center.clone()));
            let (mut sum, mut squares, rounds) = (0.0, 0.0, 300);
            for _ in 0..rounds {
                let near = |random: &mut Random| -> Vec<f32> {
                    let rest = noise(padded, random);
                    rest.iter()
                        .zip(&center)
                        .map(|(rest, center)| 0.2 * rest + center)
                        .collect()
                };
                let (vector, query) = (near(&mut random), near(&mut random));
                let mut record = vec![0; codec.shape().record_bytes()];
                codec.encode(&vector, &mut vec![0.0; padded], &mut record);
                let exact = l2_squared(&vector, &query);
                let said = 2.0 * codec.error(&record) * (exact / (padded - 1) as f32).sqrt();
                let off = (estimate(&codec, &query, &record) - exact) / said;
                sum += off;
                squares += off * off;
            }
            let deviation = (squares / rounds as f32).sqrt();
            assert!((0.6..1.15).contains(&deviation), "{padded} × {bits}: {deviation}");
            let mean = sum / rounds as f32;
            assert!(
                mean.abs() < 4.0 / (rounds as f32).sqrt(),
                "{padded} × {bits}: biased by {mean}"
            );
        }
    }

    /// The error of a code vanishes with the distance, so that of its factors must as well: else codes could not tell
    /// near-duplicates of a query from what is far.
    #[test]
    fn a_packed_record_of_the_query_itself_is_at_no_distance() {
        for bits in [1, 2, 4] {
            let mut random = Random::new(5);
            let codec = Codec::new(packed(128, bits), Centroids::from_components(128, vec![0.0; 128]));
            for _ in 0..50 {
                let vector = noise(128, &mut random);
                let mut record = vec![0; codec.shape().record_bytes()];
                codec.encode(&vector, &mut [0.0; 128], &mut record);
                let mut prepared = QueryCode::default();
                prepared.components_mut(128).copy_from_slice(&vector);
                codec.prepare(&mut prepared);
                let rounding = codec.error(&record) * 2.0 * codec.shape().rounding_squared(prepared.step()).sqrt();
                let estimate = codec.distance(&mut prepared, &record);
                assert!(
                    estimate.abs() < 4.0 * rounding + 0.001,
                    "{bits} bits: {estimate}, rounding {rounding}"
                );
            }
        }
    }

    /// The code holds 64 of 128 components of a vector, whose distance to itself is none all the same, and to another one
    /// what the other components say as well.
    #[test]
    fn a_record_of_a_projection_stands_for_the_whole_vector() {
        let mut random = Random::new(6);
        let (whole, center) = (noise(128, &mut random), noise(128, &mut random));
        let centroids = [64, 128].map(|kept| Centroids::from_components(kept, center[..kept].to_vec()));
        let [kept_centroids, whole_centroids] = centroids;
        let codec = Codec::of_projection(packed(64, 4), kept_centroids, Some(whole_centroids));
        let rest: Vec<f32> = whole
            .iter()
            .zip(&center)
            .map(|(value, center)| value - center)
            .collect();
        let norm_squared: f32 = rest.iter().map(|value| value * value).sum();
        let mut record = vec![0; codec.shape().record_bytes()];
        codec.encode_rest(0, (&rest[..64], norm_squared), &mut record);
        let distance = |query: &[f32]| {
            let mut prepared = QueryCode {
                whole: query.to_vec(),
                ..QueryCode::default()
            };
            prepared.components_mut(64).copy_from_slice(&query[..64]);
            codec.prepare(&mut prepared);
            codec.distance(&mut prepared, &record)
        };
        assert!(
            distance(&whole).abs() < 0.1 * norm_squared.sqrt(),
            "{}",
            distance(&whole)
        );
        assert!(
            (distance(&center) - norm_squared).abs() < 0.01 * norm_squared,
            "{}",
            distance(&center)
        );
        let other = noise(128, &mut random);
        let (exact, estimate) = (l2_squared(&other, &whole), distance(&other));
        let said = 2.0 * codec.error(&record) * (exact / 63.0).sqrt();
        assert!(
            (estimate - exact).abs() < 4.0 * said,
            "{estimate}, not {exact} ± {said}"
        );
    }

    #[test]
    fn errors_are_rounded_up_to_a_quarter_of_their_power_of_two() {
        let mut error = 1.0e-9_f32;
        while error < 1.0e4 {
            let written = error_of_byte(byte_of_error(error));
            assert!((error..=1.25 * error).contains(&written), "{error} became {written}");
            error *= 1.37;
        }
        assert_eq!(error_of_byte(byte_of_error(f32::MAX)), f32::INFINITY);
        assert!(error_of_byte(byte_of_error(0.0)) < 1.0e-14);
    }

    #[test]
    fn what_a_record_stands_for_is_near_to_the_vector() {
        for padded in [64, 384] {
            let mut random = Random::new(3);
            let centers = [noise(padded, &mut random), noise(padded, &mut random)];
            let codec = Codec::new(
                CodeShape::half_bytes(padded),
                Centroids::from_components(padded, centers.concat()),
            );
            for center in &centers {
                let rest = noise(padded, &mut random);
                let vector: Vec<f32> = rest.iter().zip(center).map(|(a, c)| 0.3 * a + c).collect();
                let mut record = vec![0; codec.shape().record_bytes()];
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
        let codec = Codec::new(
            CodeShape::half_bytes(64),
            Centroids::from_components(64, centroid.clone()),
        );
        let mut record = vec![0xff; codec.shape().record_bytes()];
        codec.encode(&centroid, &mut [0.0; 64], &mut record);
        let query = [1.0; 64];
        assert_eq!(estimate(&codec, &query, &record), l2_squared(&query, &centroid));
    }

    #[test]
    fn damaged_records_are_nearer_than_nothing_and_do_not_panic() {
        let codec = Codec::new(CodeShape::half_bytes(64), Centroids::from_components(64, vec![0.0; 64]));
        let estimate = estimate(&codec, &[1.0; 64], &[0xff; 44]);
        assert!(estimate.is_nan() || estimate == f32::INFINITY, "{estimate}");
    }
}
