//! Vectors rounded to one byte per component, and distances between them.

use crate::kernels::CodeKernels;
use crate::quantize::{CODE_DIM_RANGE, CodeError, padded};

/// The largest level of a component.
const TOP: f32 = 127.0;
/// Below it, the inverse of a step leaves the range of `f32`; squares of what is smaller vanish there anyway.
const LARGEST_MIN: f32 = 1.0e-36;

/// A vector whose components are whole numbers from -127 to 127, times one step of its own: a quarter of the memory.
///
/// A component is off by at most half a step, which is the largest component divided by 254. Needs no rotation, no
/// center and no training. Products and distances are those of the rounded vectors, without any further error but that
/// of one `f32`.
///
/// ```
/// use llmspell_vector::ByteVector;
///
/// let a = ByteVector::new(&[3.0, 0.0])?;
/// let b = ByteVector::new(&[0.0, -4.0])?;
/// assert!((a.squared_distance(&b)? - 25.0).abs() < 1.0e-4);
/// assert_eq!(a.dot(&b)?, 0.0);
/// assert_eq!(a.squared_distance(&a)?, 0.0);
/// # Ok::<(), llmspell_vector::CodeError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ByteVector {
    dim: usize,
    /// Padded with zeros.
    levels: Vec<i8>,
    step: f32,
    /// Sum of the squares of the levels.
    squares: i32,
}

impl ByteVector {
    /// Rounds a vector.
    ///
    /// # Errors
    ///
    /// [`CodeError::Dim`] outside [`CODE_DIM_RANGE`], [`CodeError::NotFinite`].
    pub fn new(vector: &[f32]) -> Result<Self, CodeError> {
        let dim = vector.len();
        if !CODE_DIM_RANGE.contains(&dim) {
            return Err(CodeError::Dim { dim });
        }
        if !vector.iter().all(|component| component.is_finite()) {
            return Err(CodeError::NotFinite);
        }
        let kernels = CodeKernels::detect();
        let mut values = vec![0.0; padded(dim)];
        values[..dim].copy_from_slice(vector);
        let mut levels = vec![0; values.len()];
        let largest = vector.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let mut step = 0.0;
        if largest >= LARGEST_MIN {
            step = largest / TOP;
            kernels.quantize_bytes(&values, 1.0 / step, &mut levels);
        }
        let squares = kernels.byte_dot(&levels, &levels);
        Ok(Self {
            dim,
            levels,
            step,
            squares,
        })
    }

    /// Number of components.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The components in steps, each from -127 to 127.
    #[must_use]
    pub fn levels(&self) -> &[i8] {
        &self.levels[..self.dim]
    }

    /// What one level is worth: a component is about `level * step`. Zero if no component is larger than 10⁻³⁶.
    #[must_use]
    pub fn step(&self) -> f32 {
        self.step
    }

    /// Inner product of the rounded vectors; infinite where it leaves the range of `f32`.
    ///
    /// # Errors
    ///
    /// [`CodeError::WrongDim`].
    #[inline]
    pub fn dot(&self, other: &Self) -> Result<f32, CodeError> {
        Ok(self.wide_dot(other)? as f32)
    }

    /// Squared distance of the rounded vectors, never negative; infinite where it leaves the range of `f32`.
    ///
    /// # Errors
    ///
    /// [`CodeError::WrongDim`].
    #[inline]
    pub fn squared_distance(&self, other: &Self) -> Result<f32, CodeError> {
        let distance = self.norm_squared() + other.norm_squared() - 2.0 * self.wide_dot(other)?;
        Ok(distance.max(0.0) as f32)
    }

    fn norm_squared(&self) -> f64 {
        f64::from(self.step) * f64::from(self.step) * f64::from(self.squares)
    }

    /// In double precision, where no product of steps leaves the range.
    #[inline]
    fn wide_dot(&self, other: &Self) -> Result<f64, CodeError> {
        if self.dim != other.dim {
            let (expected, got) = (self.dim, other.dim);
            return Err(CodeError::WrongDim { expected, got });
        }
        let dot = CodeKernels::detect().byte_dot(&self.levels, &other.levels);
        Ok(f64::from(self.step) * f64::from(other.step) * f64::from(dot))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the size of the components: no component is off by more than half a step.
        #[test]
        fn products_and_distances_are_those_of_vectors_rounded_by_half_a_step(
            (a, b) in (1..200_usize).prop_flat_map(|dim| (vec(-1.0_f32..1.0, dim), vec(-1.0_f32..1.0, dim))),
            exponent in -30..16,
        ) {
            let scaled = |vector: &[f32]| vector.iter().map(|value| value * 10.0_f32.powi(exponent)).collect::<Vec<_>>();
            let (a, b) = (scaled(&a), scaled(&b));
            let (x, y) = (ByteVector::new(&a).unwrap(), ByteVector::new(&b).unwrap());

            let meant = |vector: &ByteVector| -> Vec<f64> {
                vector.levels().iter().map(|level| f64::from(*level) * f64::from(vector.step())).collect()
            };
            for (vector, bytes) in [(&a, &x), (&b, &y)] {
                for (component, meant) in vector.iter().zip(meant(bytes)) {
                    prop_assert!((f64::from(*component) - meant).abs() <= 0.501 * f64::from(bytes.step()));
                }
            }
            let pairs = || meant(&x).into_iter().zip(meant(&y));
            let dot: f64 = pairs().map(|(x, y)| x * y).sum();
            let distance: f64 = pairs().map(|(x, y)| (x - y) * (x - y)).sum();
            let allowed = 1.0e-6 * pairs().map(|(x, y)| x * x + y * y).sum::<f64>() + 1.0e-44;
            prop_assert!((f64::from(x.dot(&y).unwrap()) - dot).abs() <= allowed);
            prop_assert!((f64::from(x.squared_distance(&y).unwrap()) - distance).abs() <= allowed);
            prop_assert_eq!(x.squared_distance(&x), Ok(0.0));
        }
    }

    #[test]
    fn what_cannot_be_rounded_is_refused() {
        assert_eq!(ByteVector::new(&[]), Err(CodeError::Dim { dim: 0 }));
        assert_eq!(ByteVector::new(&[0.0; 4097]), Err(CodeError::Dim { dim: 4097 }));
        assert_eq!(ByteVector::new(&[1.0, f32::NAN]), Err(CodeError::NotFinite));
        assert_eq!(ByteVector::new(&[f32::INFINITY]), Err(CodeError::NotFinite));
        let [one, two] = [&[1.0][..], &[1.0, 2.0]].map(|vector| ByteVector::new(vector).unwrap());
        assert_eq!(one.dot(&two), Err(CodeError::WrongDim { expected: 1, got: 2 }));
    }

    #[test]
    fn the_largest_and_the_smallest_components_do_not_make_a_nan() {
        for extreme in [f32::MAX, f32::MIN_POSITIVE, 1.0e-45, 0.0] {
            let [a, b] = [[extreme, -extreme], [extreme, extreme]].map(|vector| ByteVector::new(&vector).unwrap());
            assert_eq!(a.dot(&b), Ok(0.0), "{extreme}");
            let distance = a.squared_distance(&b).unwrap();
            assert!(
                distance == if extreme == f32::MAX { f32::INFINITY } else { 0.0 },
                "{extreme}: {distance}"
            );
        }
    }
}
