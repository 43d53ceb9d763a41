//! [`DistanceMetric`]: distances and scores of vectors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Result, StorageError};
use crate::text::shortened;

/// How two vectors are compared.
///
/// The engine works with a *distance*: smaller is nearer. Results also have a *score*: larger is better.
///
/// | metric         | distance            | range of distance | score            | range of score |
/// |----------------|---------------------|-------------------|------------------|----------------|
/// | `Cosine`       | 1 − cosine          | 0 to 2            | cosine           | −1 to 1        |
/// | `Euclidean`    | √Σ(aᵢ−bᵢ)²          | 0 to ∞            | 1 / (1+distance) | 0 to 1         |
/// | `InnerProduct` | −Σaᵢbᵢ              | −∞ to ∞           | Σaᵢbᵢ            | −∞ to ∞        |
/// | `Manhattan`    | Σ&#124;aᵢ−bᵢ&#124;  | 0 to ∞            | 1 / (1+distance) | 0 to 1         |
///
/// Vectors need not be normalized for `Cosine`; a zero vector, which has no direction, is refused there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistanceMetric {
    /// Angle only. Suits most embedding models.
    #[default]
    Cosine,
    /// Straight-line distance.
    Euclidean,
    /// Dot product; longer vectors score higher.
    InnerProduct,
    /// Sum of the absolute differences.
    Manhattan,
}

impl DistanceMetric {
    /// All metrics.
    pub const ALL: [Self; 4] = [Self::Cosine, Self::Euclidean, Self::InnerProduct, Self::Manhattan];

    /// The score of a distance; see the table above.
    #[must_use]
    pub fn score(self, distance: f32) -> f32 {
        match self {
            Self::Cosine => 1.0 - distance,
            // Not `-distance`: an inner product of zero should not read as "-0".
            Self::InnerProduct => 0.0 - distance,
            Self::Euclidean | Self::Manhattan => 1.0 / (1.0 + distance),
        }
    }

    /// Name as in configuration files and commands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Euclidean => "euclidean",
            Self::InnerProduct => "inner_product",
            Self::Manhattan => "manhattan",
        }
    }
}

impl fmt::Display for DistanceMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DistanceMetric {
    type Err = StorageError;

    /// Reads a [`name`](Self::name), or one of the customary short forms `l2`, `dot`, `ip` and `l1`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "cosine" => Ok(Self::Cosine),
            "euclidean" | "l2" => Ok(Self::Euclidean),
            "inner_product" | "dot" | "ip" => Ok(Self::InnerProduct),
            "manhattan" | "l1" => Ok(Self::Manhattan),
            _ => Err(StorageError::InvalidName {
                what: "metric",
                name: shortened(text),
                reason: "write cosine, euclidean (l2), inner_product (dot) or manhattan (l1)",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nearer_vector_never_has_a_smaller_score() {
        for metric in DistanceMetric::ALL {
            let scores: Vec<f32> = [0.0, 0.1, 0.5, 1.0, 2.0]
                .map(|distance| metric.score(distance))
                .to_vec();
            assert!(scores.is_sorted_by(|near, far| near > far), "{metric}: {scores:?}");
        }
    }

    #[test]
    fn names_read_back() {
        for metric in DistanceMetric::ALL {
            assert_eq!(metric.name().parse::<DistanceMetric>().unwrap(), metric);
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
        assert!("hamming".parse::<DistanceMetric>().is_err());
    }

    #[test]
    fn no_inner_product_reads_as_minus_zero() {
        assert!(DistanceMetric::InnerProduct.score(0.0).is_sign_positive());
    }
}
