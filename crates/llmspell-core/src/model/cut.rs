//! [`cut`]: the leading components of a vector.

use crate::error::{Result, StorageError};
use crate::metric::DistanceMetric;
use crate::text::shortened;

/// Below this norm the squares of an `f32` vector vanish, and with them its direction.
const NORM_MIN: f64 = 1.0e-15;

/// Cuts a vector to its leading `dim` components; a vector that is not longer is not changed. Under cosine the cut
/// vector is normalized, because only the whole vector had length 1. `id` is for the error text.
///
/// Cut Matryoshka vectors are to be normalized again: Kusupati et al., arXiv 2205.13147, section 3; the guides of
/// the makers of such models say the same of theirs.
///
/// ```
/// # use llmspell_core::{DistanceMetric, cut};
/// let mut vector = vec![3.0, 4.0, 12.0];
/// cut("doc-1", &mut vector, 2, DistanceMetric::Cosine)?;
/// assert_eq!(vector, [0.6, 0.8]);
/// # Ok::<(), llmspell_core::StorageError>(())
/// ```
///
/// # Errors
///
/// [`ZeroVector`](StorageError::ZeroVector) if the leading components have no direction, under cosine.
pub fn cut(id: &str, vector: &mut Vec<f32>, dim: usize, metric: DistanceMetric) -> Result<()> {
    if vector.len() <= dim {
        return Ok(());
    }
    if metric == DistanceMetric::Cosine {
        let squares = vector[..dim].iter().map(|component| f64::from(*component).powi(2));
        let norm = squares.sum::<f64>().sqrt();
        if norm < NORM_MIN {
            return Err(StorageError::ZeroVector { id: shortened(id) });
        }
        for component in &mut vector[..dim] {
            *component = (f64::from(*component) / norm) as f32;
        }
    }
    vector.truncate(dim);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_part_without_direction_is_refused() {
        let mut vector = vec![0.0, 0.0, 1.0];
        let error = cut("doc-1", &mut vector, 2, DistanceMetric::Cosine).unwrap_err();
        assert!(matches!(error, StorageError::ZeroVector { id } if id == "doc-1"));
        assert_eq!(vector.len(), 3);
        cut("doc-1", &mut vector, 2, DistanceMetric::Euclidean).unwrap();
        assert_eq!(vector, [0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn what_is_left_points_where_it_pointed_and_has_norm_one(
            whole in prop::collection::vec(-1.0_f32..1.0, 2..64),
            dim in 1_usize..64,
        ) {
            prop_assume!(dim < whole.len() && whole[..dim].iter().any(|component| component.abs() > 1e-3));
            let mut left = whole.clone();
            cut("v", &mut left, dim, DistanceMetric::Cosine).unwrap();
            let norm = left.iter().map(|component| component * component).sum::<f32>().sqrt();
            prop_assert_eq!(left.len(), dim);
            prop_assert!((norm - 1.0).abs() < 1e-5);
            let scale = whole[..dim].iter().map(|component| component * component).sum::<f32>().sqrt();
            for (component, before) in left.iter().zip(&whole) {
                prop_assert!((component * scale - before).abs() < 1e-5);
            }
        }
    }
}
