//! Codes of one to eight bits per component: estimated distances from a query, with bounds of their error.
//!
//! A record of a vector `o` with the rest `r = R(o - c)`, where `R` is the rotation and `c` the center of the codec:
//!
//! ```text
//! byte 0                        code            +4        +8          +12          +16
//!      │ levels                 │ length        │ factor  │ tangent   │ of_center  │   little-endian
//!      │ padded × bits bits     │ f32           │ f32     │ f32       │ f32        │
//! ```
//!
//! * `levels`: those of the grid vector `x`, whose components are `level - (2^bits - 1) / 2`; see `levels.rs`.
//! * `length`: `|r|`. Infinite if the vector has no code (a component is not finite): nothing is known of it.
//! * `factor`: `|r|² / <r,x>`: the estimate of `<r,y>` is `factor * <x,y>`.
//! * `tangent`: of the angle between `r` and `x`.
//! * `of_center`: `<o,c>`, for inner products.
//!
//! Version 1. Codes of up to eight bits and their estimate: Gao et al., "Practical and Asymptotically Optimal
//! Quantization of High-Dimensional Vectors in Euclidean Space for Approximate Nearest Neighbor Search", SIGMOD 2025;
//! one bit, the bound and the rounded query: Gao and Long, "RaBitQ", SIGMOD 2024, sections 3.2 and 3.3.
//!
//! Two things are not as in the papers. The scale of the grid is not the best of all, which takes `2^bits * dim` steps
//! to find, but the best of sixteen: with 384 components the angle is larger by at most a twentieth (eight bits), and
//! by a thousandth with up to four. And the query is rounded to the nearest, not at random: what the rounding leaves out
//! is measured and counted in the bound.

use std::ops::RangeInclusive;

use crate::kernels::{CodeKernels, Kernels};
use crate::quantize::levels::{Levels, QueryLevels};
use crate::quantize::{CodeError, Rotation};

/// Bits per component that a code can have.
pub const BITS_RANGE: RangeInclusive<u8> = 1..=8;
/// Components that a vector with a code can have.
pub const CODE_DIM_RANGE: RangeInclusive<usize> = 1..=4096;
/// Standard deviations within an error bound, unless the query says otherwise: `ε₀` of the papers, and their value.
pub const DEFAULT_DEVIATIONS: f32 = 1.9;

/// Bytes of a record after the levels.
const FACTOR_BYTES: usize = 16;
/// Of normally distributed components, the best step of a grid of `2^bits` levels as a share of their deviation. (Max,
/// "Quantizing for Minimum Distortion", 1960, table II; from 6 bits on computed in the same way.)
const STEPS: [f32; 9] = [1.0, 1.0, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308];
/// Multiples of that step that are tried first, and multiples of the best of those that are tried then.
const COARSE: [f32; 9] = [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.45, 1.7];
const FINE: [f32; 7] = [0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06];
/// What single precision may add to an error, as a share of the squares of the lengths: the rotation has up to 48
/// steps, and distances are sums of up to 4096 terms.
const ROUNDING: f32 = 4.0e-6;

/// Makes codes of the vectors of one dimension around one center, and estimates distances from them.
///
/// | bits | record of 384 components | typical error of the cosine seen from the center |
/// |-----:|-------------------------:|---------------------------------------------------|
/// | 1    |                 64 bytes | `0.76 / √dim`                                     |
/// | 2    |                112 bytes | `0.37 / √dim`                                     |
/// | 4    |                208 bytes | `0.10 / √dim`                                     |
/// | 8    |                400 bytes | `0.01 / √dim`                                     |
///
/// The nearer the center is to the vectors, the smaller the error: it is proportional to the distance of both, vector
/// and query, from it. The mean of the vectors is a good one. Rotation, center and number of bits must be kept with
/// the records: the same three give the same codec.
///
/// ```
/// use llmspell_vector::{RabitqCodec, Rotation};
///
/// let codec = RabitqCodec::new(Rotation::new(96, 7), &[0.5; 96], 4)?;
/// let vector: Vec<f32> = (0..96).map(|i| (i as f32).sin()).collect();
/// let mut record = vec![0; codec.record_bytes()];
/// codec.encode(&vector, &mut record)?;
///
/// let query = codec.query(&[0.1; 96])?;
/// let exact: f32 = vector.iter().map(|component| (component - 0.1) * (component - 0.1)).sum();
/// let estimate = codec.estimate(&query, &record);
/// assert!(estimate.lower() <= exact && exact <= estimate.upper());
/// # Ok::<(), llmspell_vector::CodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RabitqCodec {
    rotation: Rotation,
    center: Vec<f32>,
    center_length: f32,
    levels: Levels,
    bits: u8,
    kernels: CodeKernels,
}

/// Bits that a component of a query is rounded to, its sign included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryBits {
    /// Half the work where bits are counted; the error of codes of one bit grows by a fiftieth, of two by a fifteenth.
    Four,
    /// Hardly to be told from a query that is not rounded, up to codes of six bits.
    Eight,
}

impl QueryBits {
    fn count(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// A query, prepared by a codec to be compared with its records.
#[derive(Debug, Clone)]
pub struct RabitqQuery {
    levels: QueryLevels,
    sum_of_levels: i32,
    /// Half of what one level is worth. Products with it are made in double precision: as single ones they would be
    /// computed beside other lanes of a register, and what is left there may be numbers that take a hundred cycles.
    half_step: f64,
    /// `|q - c|`.
    length: f32,
    length_squared: f32,
    /// Square of the tangent of the angle between the query and its levels.
    rounding_squared: f32,
    /// `<c, q - c>`.
    of_center: f32,
    /// Deviation of an error whose tangent is one, per length of the rest of the vector.
    deviation: f32,
    /// Deviations that make the bound.
    deviations: f32,
}

/// How far a vector probably is from a query, squared.
///
/// The true value is within [`lower`](Self::lower) and [`upper`](Self::upper) for a share of the vectors that depends
/// on [`RabitqQuery::with_deviations`]. Where squares leave the range of `f32`, or the vector or the query is not
/// finite, nothing is known: estimate and bound are infinite. No field is ever NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Unbiased: over all rotations, the mean is the true value. So it may be negative where that is small.
    pub squared_distance: f32,
    /// How much more or less it may be; at least zero.
    pub error_bound: f32,
}

/// What the inner product of a vector and a query probably is.
///
/// As for [`Estimate`]; where nothing is known, the product is zero and the bound infinite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProductEstimate {
    /// Unbiased.
    pub inner_product: f32,
    /// How much more or less it may be; at least zero.
    pub error_bound: f32,
}

impl Estimate {
    /// What the squared distance is at least; never negative.
    #[inline]
    #[must_use]
    pub fn lower(&self) -> f32 {
        // Infinity minus infinity is not a number; this turns it into zero.
        (self.squared_distance - self.error_bound).max(0.0)
    }

    /// What the squared distance is at most.
    #[inline]
    #[must_use]
    pub fn upper(&self) -> f32 {
        self.squared_distance + self.error_bound
    }
}

/// What a record says besides its levels.
struct Factors {
    length: f32,
    factor: f32,
    tangent: f32,
    of_center: f32,
}

impl RabitqCodec {
    /// A codec of `bits` bits per component around `center`, a vector that is not rotated.
    ///
    /// # Errors
    ///
    /// [`CodeError::Bits`] and [`CodeError::Dim`] outside [`BITS_RANGE`] and [`CODE_DIM_RANGE`];
    /// [`CodeError::WrongDim`] if `center` and `rotation` differ; [`CodeError::NotFinite`] for the center.
    pub fn new(rotation: Rotation, center: &[f32], bits: u8) -> Result<Self, CodeError> {
        let dim = rotation.dim();
        if !BITS_RANGE.contains(&bits) {
            return Err(CodeError::Bits { bits });
        }
        if !CODE_DIM_RANGE.contains(&dim) {
            return Err(CodeError::Dim { dim });
        }
        check_dim(dim, center)?;
        if !center.iter().all(|component| component.is_finite()) {
            return Err(CodeError::NotFinite);
        }
        Ok(Self {
            levels: Levels::new(rotation.padded(), bits),
            center_length: product(center, center).sqrt() as f32,
            center: center.to_vec(),
            rotation,
            bits,
            kernels: CodeKernels::detect(),
        })
    }

    /// Components of vectors and queries.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.center.len()
    }

    /// Bits per component.
    #[must_use]
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// What is subtracted from vectors and queries.
    #[must_use]
    pub fn center(&self) -> &[f32] {
        &self.center
    }

    /// How they are rotated then.
    #[must_use]
    pub fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// Bytes of a record: 16, and `bits / 8` per component; the number of components is a multiple of 64.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.levels.code_bytes() + FACTOR_BYTES
    }

    /// Writes the record of `vector` over `record`. `O(dim log dim)`, and 16 passes with more than one bit.
    ///
    /// A vector with a component that is not finite gets a record whose estimates are unbounded.
    ///
    /// # Errors
    ///
    /// [`CodeError::WrongDim`], and [`CodeError::WrongBytes`] if `record` has not
    /// [`record_bytes`](Self::record_bytes).
    pub fn encode(&self, vector: &[f32], record: &mut [u8]) -> Result<(), CodeError> {
        check_dim(self.dim(), vector)?;
        if record.len() != self.record_bytes() {
            let (record, got) = (self.record_bytes(), record.len());
            return Err(CodeError::WrongBytes { record, got });
        }
        let (code, bytes) = record.split_at_mut(self.levels.code_bytes());
        let mut factors = Factors {
            length: 0.0,
            factor: 0.0,
            tangent: 0.0,
            of_center: product(vector, &self.center) as f32,
        };
        match self.residual(vector) {
            Residual::Zero => code.fill(0),
            Residual::NotFinite => {
                code.fill(0);
                factors.length = f32::INFINITY;
                factors.of_center = 0.0;
            }
            Residual::Rotated { components, scale } => {
                let levels = self.nearest_on_grid(&components);
                self.levels.pack(&levels, code);
                let middle = f64::from(self.levels.top()) / 2.0;
                let pairs = || {
                    let grid = levels.iter().map(|level| f64::from(*level) - middle);
                    components.iter().map(|component| f64::from(*component)).zip(grid)
                };
                let length_squared: f64 = pairs().map(|(component, _)| component * component).sum();
                let on_grid: f64 = pairs().map(|(component, grid)| component * grid).sum();
                let factor = length_squared / on_grid;
                let beside: f64 = pairs()
                    .map(|(component, grid)| component - factor * grid)
                    .map(|beside| beside * beside)
                    .sum();
                factors.length = (length_squared.sqrt() * scale) as f32;
                factors.factor = (factor * scale) as f32;
                factors.tangent = (beside / length_squared).sqrt() as f32;
            }
        }
        for (bytes, factor) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(factors.in_order()) {
            *bytes = factor.to_le_bytes();
        }
        Ok(())
    }

    /// Prepares a query: rounded to four bits for codes of one bit, to eight for all others.
    ///
    /// # Errors
    ///
    /// [`CodeError::WrongDim`].
    pub fn query(&self, query: &[f32]) -> Result<RabitqQuery, CodeError> {
        let bits = if self.bits == 1 {
            QueryBits::Four
        } else {
            QueryBits::Eight
        };
        self.query_of_bits(query, bits)
    }

    /// Prepares a query rounded to `bits`. `O(dim log dim)`.
    ///
    /// # Errors
    ///
    /// [`CodeError::WrongDim`].
    pub fn query_of_bits(&self, query: &[f32], bits: QueryBits) -> Result<RabitqQuery, CodeError> {
        check_dim(self.dim(), query)?;
        let padded = self.rotation.padded();
        let mut levels = vec![0_i8; padded];
        let (mut half_step, mut length, mut rounding_squared) = (0.0, 0.0, 0.0);
        match self.residual(query) {
            Residual::Zero => {}
            Residual::NotFinite => length = f32::INFINITY,
            Residual::Rotated { components, scale } => {
                let best = Rounded::best_of(&components, bits);
                half_step = 0.5 * best.step * scale;
                length = (best.length * scale) as f32;
                rounding_squared = best.tangent_squared as f32;
                levels = best.levels;
            }
        }
        let sum_of_levels = levels.iter().map(|level| i32::from(*level)).sum();
        let of_center = product(query, &self.center) - product(&self.center, &self.center);
        Ok(RabitqQuery {
            levels: self.levels.query(levels, bits.count()),
            sum_of_levels,
            half_step,
            length,
            length_squared: length * length,
            rounding_squared,
            of_center: of_center as f32,
            deviation: length / ((padded - 1) as f32).sqrt(),
            deviations: DEFAULT_DEVIATIONS,
        })
    }

    /// Estimates the squared distance of the vector of a record. One pass over the record.
    ///
    /// # Panics
    ///
    /// If the record, or the query, is one of a codec of another dimension or width.
    #[inline]
    #[must_use]
    pub fn estimate(&self, query: &RabitqQuery, record: &[u8]) -> Estimate {
        let (product, error, factors) = self.compare(query, record);
        let squares = factors.length * factors.length + query.length_squared;
        let squared_distance = squares - 2.0 * product;
        let error_bound = 2.0 * error + (ROUNDING * squares + f32::MIN_POSITIVE);
        // Also where one of them is not a number.
        if (squared_distance + error_bound).is_finite() {
            Estimate {
                squared_distance,
                error_bound,
            }
        } else {
            Estimate {
                squared_distance: f32::INFINITY,
                error_bound: f32::INFINITY,
            }
        }
    }

    /// Estimates the inner product with the vector of a record. One pass over the record.
    ///
    /// For cosines, encode vectors of length one and ask with a query of length one.
    ///
    /// # Panics
    ///
    /// As [`estimate`](Self::estimate).
    #[inline]
    #[must_use]
    pub fn estimate_product(&self, query: &RabitqQuery, record: &[u8]) -> ProductEstimate {
        let (product, error, factors) = self.compare(query, record);
        let inner_product = factors.of_center + query.of_center + product;
        let lengths = (factors.length + self.center_length) * (query.length + self.center_length);
        let error_bound = error + (ROUNDING * lengths + f32::MIN_POSITIVE);
        if (inner_product.abs() + error_bound).is_finite() {
            ProductEstimate {
                inner_product,
                error_bound,
            }
        } else {
            ProductEstimate {
                inner_product: 0.0,
                error_bound: f32::INFINITY,
            }
        }
    }

    /// The estimate of `<r, q - c>`, its error bound, and the factors of the record.
    #[inline]
    fn compare(&self, query: &RabitqQuery, record: &[u8]) -> (f32, f32, Factors) {
        assert_eq!(
            record.len(),
            self.record_bytes(),
            "records of one codec have one length"
        );
        let (code, factors) = record.split_at(self.levels.code_bytes());
        let dot = self.levels.dot(self.kernels, code, &query.levels);
        let factors = Factors::read(factors);
        // Whole numbers: their difference is small where each of them is large.
        let twice = 2 * dot - i32::from(self.levels.top()) * query.sum_of_levels;
        let product = (f64::from(factors.factor) * (query.half_step * f64::from(twice))) as f32;
        let tangent_squared = factors.tangent * factors.tangent;
        let both = tangent_squared + (1.0 + tangent_squared) * query.rounding_squared;
        let error = factors.length * (query.deviations * query.deviation * both.sqrt());
        (product, error, factors)
    }

    /// Levels of the grid vector nearest in direction to `rest`.
    fn nearest_on_grid(&self, rest: &[f32]) -> Vec<u8> {
        let top = self.levels.top();
        let mut levels = vec![0; rest.len()];
        if self.bits == 1 {
            // Any step gives the same signs.
            self.kernels.quantize_levels(rest, f32::MAX, top, &mut levels);
            return levels;
        }
        let length_squared = Kernels::detect().dot(rest, rest);
        let usual = STEPS[usize::from(self.bits)] * (length_squared / rest.len() as f32).sqrt();
        let mut best = (0.0, usual);
        for multiples in [&COARSE[..], &FINE] {
            let (_, around) = best;
            for multiple in multiples {
                let step = multiple * around;
                let (dot, squares) = self.kernels.quantize_levels(rest, 1.0 / step, top, &mut levels);
                let alignment = dot / squares.sqrt();
                if alignment > best.0 {
                    best = (alignment, step);
                }
            }
        }
        self.kernels.quantize_levels(rest, 1.0 / best.1, top, &mut levels);
        levels
    }

    /// What is left of a vector at the center, rotated and brought into a range where no square is lost.
    fn residual(&self, vector: &[f32]) -> Residual {
        let rest = |(component, center): (&f32, &f32)| f64::from(*component) - f64::from(*center);
        let scale = vector.iter().zip(&self.center).map(rest).map(f64::abs);
        // The maximum of the standard library would pass over what is not a number.
        let scale = scale.fold(0.0, |largest, rest| if rest <= largest { largest } else { rest });
        if !scale.is_finite() {
            return Residual::NotFinite;
        }
        if scale == 0.0 {
            return Residual::Zero;
        }
        let mut components = vec![0.0; self.rotation.padded()];
        for (component, pair) in components.iter_mut().zip(vector.iter().zip(&self.center)) {
            *component = (rest(pair) / scale) as f32;
        }
        self.rotation.rotate(&mut components);
        Residual::Rotated { components, scale }
    }
}

impl RabitqQuery {
    /// Makes error bounds as wide as `deviations` standard deviations of the error, which is nearly normally
    /// distributed. Default [`DEFAULT_DEVIATIONS`].
    ///
    /// | deviations | true value within the bounds | not below the lower bound |
    /// |-----------:|-----------------------------:|--------------------------:|
    /// | 1.0        |                       68.3 % |                    84.1 % |
    /// | 1.9        |                       94.3 % |                    97.1 % |
    /// | 3.0        |                       99.7 % |                    99.9 % |
    ///
    /// These are at least so many: the error has a part of the length of the query only, that at a right angle to the
    /// vector. (RaBitQ, SIGMOD 2024, theorem 3.2: the share outside falls as `exp(-c * deviations²)`.) Negative ones
    /// and NaN count as zero.
    #[must_use]
    pub fn with_deviations(mut self, deviations: f32) -> Self {
        self.deviations = deviations.max(0.0);
        self
    }
}

/// A vector seen from the center.
enum Residual {
    Zero,
    NotFinite,
    /// The components times `scale` are the rest.
    Rotated {
        components: Vec<f32>,
        scale: f64,
    },
}

/// A query in whole numbers.
struct Rounded {
    levels: Vec<i8>,
    /// Worth of one level, so that the product with the query itself is right: what is left out stands at a right
    /// angle to the query.
    step: f64,
    length: f64,
    /// Of the angle between the query and the levels.
    tangent_squared: f64,
}

impl Rounded {
    /// Rounded to as many bits, so that the angle to the levels is small.
    fn best_of(components: &[f32], bits: QueryBits) -> Self {
        let largest = components
            .iter()
            .fold(0.0_f32, |largest, value| largest.max(value.abs()));
        // With few levels it is worth to cut off the largest components.
        let (top, cuts): (f32, &[f32]) = match bits {
            QueryBits::Four => (7.0, &[0.9, 0.8, 0.7, 0.6]),
            QueryBits::Eight => (127.0, &[]),
        };
        let mut best = Self::of(components, largest / top, top);
        for cut in cuts {
            let other = Self::of(components, cut * largest / top, top);
            if other.tangent_squared < best.tangent_squared {
                best = other;
            }
        }
        best
    }

    fn of(components: &[f32], step: f32, top: f32) -> Self {
        let cut: Vec<f32> = components.iter().map(|value| (value / step).clamp(-top, top)).collect();
        let mut levels = vec![0; cut.len()];
        CodeKernels::detect().quantize_bytes(&cut, 1.0, &mut levels);
        let (mut length_squared, mut on_levels, mut squares) = (0.0, 0.0, 0.0);
        for (component, level) in components.iter().zip(&levels) {
            let (component, level) = (f64::from(*component), f64::from(*level));
            length_squared += component * component;
            on_levels += component * level;
            squares += level * level;
        }
        let step = length_squared / on_levels;
        Self {
            levels,
            step,
            length: length_squared.sqrt(),
            tangent_squared: (step * step * squares / length_squared - 1.0).max(0.0),
        }
    }
}

impl Factors {
    fn in_order(&self) -> [f32; 4] {
        [self.length, self.factor, self.tangent, self.of_center]
    }

    #[inline]
    fn read(bytes: &[u8]) -> Self {
        let bytes: &[u8; FACTOR_BYTES] = bytes.first_chunk().expect("a record ends with its factors");
        let number =
            |i: usize| f32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]);
        let [length, factor, tangent, of_center] = [number(0), number(1), number(2), number(3)];
        Self {
            length,
            factor,
            tangent,
            of_center,
        }
    }
}

/// Inner product without overflow.
fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn check_dim(expected: usize, vector: &[f32]) -> Result<(), CodeError> {
    if vector.len() == expected {
        Ok(())
    } else {
        let got = vector.len();
        Err(CodeError::WrongDim { expected, got })
    }
}

#[cfg(test)]
mod tests;
