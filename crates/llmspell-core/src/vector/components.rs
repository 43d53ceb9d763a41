//! [`IntoVector`]: the types that can become a vector.

use std::borrow::Cow;

/// A component type of vectors: `f32`, or `f64`, which is rounded to the nearest `f32`.
///
/// A component too large for an `f32` becomes infinite, and is refused when the vector is used.
pub trait Component: Copy + sealed::Sealed {
    /// The components as `f32`; a vector of `f32` is not copied.
    #[doc(hidden)]
    fn vector(components: Vec<Self>) -> Vec<f32>;
}

/// A type that can become a vector: a `Vec`, an array, a slice, or a reference to one, of `f32` or `f64`.
///
/// ```
/// # use llmspell_core::{VectorEntry, VectorQuery};
/// let embedding: Vec<f64> = vec![0.1, 0.2, 0.3]; // as most clients of models return it
/// let entry = VectorEntry::new("a", embedding);
/// assert_eq!(entry, VectorEntry::new("a", [0.1, 0.2, 0.3]));
/// assert_eq!(entry, VectorEntry::new("a", vec![0.1_f32, 0.2, 0.3]));
/// let query = VectorQuery::new(&entry.embedding, 10);
/// ```
pub trait IntoVector {
    /// Its components as `f32`.
    fn into_vector(self) -> Vec<f32>;
}

impl Component for f32 {
    fn vector(components: Vec<Self>) -> Vec<f32> {
        components
    }
}

impl Component for f64 {
    fn vector(components: Vec<Self>) -> Vec<f32> {
        // Rounds to the nearest.
        components.into_iter().map(|component| component as f32).collect()
    }
}

impl<C: Component> IntoVector for Vec<C> {
    fn into_vector(self) -> Vec<f32> {
        C::vector(self)
    }
}

impl<C: Component> IntoVector for &Vec<C> {
    fn into_vector(self) -> Vec<f32> {
        C::vector(self.clone())
    }
}

impl<C: Component> IntoVector for &[C] {
    fn into_vector(self) -> Vec<f32> {
        C::vector(self.to_vec())
    }
}

impl<C: Component, const DIM: usize> IntoVector for [C; DIM] {
    fn into_vector(self) -> Vec<f32> {
        C::vector(self.to_vec())
    }
}

impl<C: Component, const DIM: usize> IntoVector for &[C; DIM] {
    fn into_vector(self) -> Vec<f32> {
        C::vector(self.to_vec())
    }
}

impl<C: Component> IntoVector for Box<[C]> {
    fn into_vector(self) -> Vec<f32> {
        C::vector(self.into_vec())
    }
}

impl<C: Component> IntoVector for Cow<'_, [C]> {
    fn into_vector(self) -> Vec<f32> {
        C::vector(self.into_owned())
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::IntoVector;
    use crate::vector::{DistanceMetric, VectorEntry, VectorQuery, validate};

    #[test]
    fn every_form_of_a_vector_is_that_vector() {
        let whole: Vec<f32> = vec![0.1, 0.25];
        let wide: Vec<f64> = vec![0.1, 0.25];
        let forms = [
            whole.clone().into_vector(),
            (&whole).into_vector(),
            whole.as_slice().into_vector(),
            whole.clone().into_boxed_slice().into_vector(),
            Cow::Borrowed(whole.as_slice()).into_vector(),
            [0.1_f32, 0.25].into_vector(),
            (&[0.1_f32, 0.25]).into_vector(),
            wide.clone().into_vector(),
            (&wide).into_vector(),
            wide.as_slice().into_vector(),
            // Literals without a type.
            vec![0.1, 0.25].into_vector(),
            [0.1, 0.25].into_vector(),
        ];
        for form in forms {
            assert_eq!(form, whole);
        }
        assert_eq!(VectorEntry::new("a", vec![0.1, 0.25]).embedding, whole);
        assert_eq!(VectorQuery::new(vec![0.1, 0.25], 1).vector, whole);
    }

    #[test]
    fn a_component_too_large_for_f32_is_refused_with_its_place_and_one_between_is_rounded() {
        let entry = VectorEntry::new("wide", [0.5, 1.0e39]);
        let refused = validate::entry(&entry, 2, DistanceMetric::Euclidean, None).unwrap_err();
        assert!(
            refused.to_string().contains("vector `wide`: component 1 is inf"),
            "{refused}"
        );
        let between = f64::from(1.0_f32) + f64::from(f32::EPSILON) * 0.6;
        assert_eq!([between].into_vector(), [1.0 + f32::EPSILON]);
    }
}
