//! [`EmbeddingModel`]: which model made a vector, and how the vector may be cut.
//!
//! | file         | question                                       |
//! |--------------|------------------------------------------------|
//! | `mod.rs`     | what does a store need to know of a model?     |
//! | `cut.rs`     | how is a vector cut to its leading components? |
//! | `named.rs`   | how does an entry name its model?              |
//! | `presets.rs` | which common models are known by name?         |

mod cut;
mod named;
mod presets;

use serde::{Deserialize, Serialize};

use crate::check;
use crate::error::{Result, StorageError};
use crate::limits::{CUT_POINTS_MAX, SPACE_NAME_BYTES_MAX};
use crate::metric::DistanceMetric;
use crate::text::shortened;

pub use cut::cut;
pub use named::ModelRef;

/// An embedding model. Its vectors are compared with each other, and never with those of another model.
///
/// ```
/// # use llmspell_core::{DistanceMetric, EmbeddingModel};
/// let known = EmbeddingModel::preset("text-embedding-3-large").expect("a preset");
/// assert_eq!((known.dim, known.cut_points()), (3072, &[256, 1024][..]));
///
/// let ours = EmbeddingModel::new("support-tickets-2", 768)
///     .with_metric(DistanceMetric::InnerProduct)
///     .with_matryoshka([128, 256]);
/// ours.validate()?;
/// assert!(ours.accepts(256) && !ours.accepts(512));
/// # Ok::<(), llmspell_core::StorageError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EmbeddingModel {
    /// The name that entries and queries use; 1 to 256 bytes of UTF-8 without control characters.
    pub name: String,
    /// Components of a whole vector.
    pub dim: usize,
    /// How its vectors are compared; [`DistanceMetric::Cosine`] by default.
    #[serde(default)]
    pub metric: DistanceMetric,
    /// The lengths to which a vector may be cut, because the model was trained so that the leading components of a
    /// vector are a vector as well (Matryoshka representation learning, Kusupati et al., arXiv 2205.13147): ascending,
    /// each shorter than `dim`. None for other models, whose vectors are not cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matryoshka: Option<Vec<usize>>,
}

impl EmbeddingModel {
    /// A model whose vectors are compared by cosine and not cut.
    pub fn new(name: impl Into<String>, dim: usize) -> Self {
        Self {
            name: name.into(),
            dim,
            metric: DistanceMetric::Cosine,
            matryoshka: None,
        }
    }

    /// How its vectors are compared.
    #[must_use]
    pub fn with_metric(mut self, metric: DistanceMetric) -> Self {
        self.metric = metric;
        self
    }

    /// The lengths to which its vectors may be cut, ascending, each shorter than a whole vector.
    #[must_use]
    pub fn with_matryoshka(mut self, cut_points: impl IntoIterator<Item = usize>) -> Self {
        self.matryoshka = Some(cut_points.into_iter().collect());
        self
    }

    /// The lengths to which its vectors may be cut; none for a model that is not Matryoshka.
    #[must_use]
    pub fn cut_points(&self) -> &[usize] {
        self.matryoshka.as_deref().unwrap_or_default()
    }

    /// Whether a vector with `dim` components is one of this model, whole or cut.
    #[must_use]
    pub fn accepts(&self, dim: usize) -> bool {
        dim == self.dim || self.cut_points().contains(&dim)
    }

    /// Checks that a vector with `got` components is one of this model, whole or cut; `id` is for the error text.
    ///
    /// # Errors
    ///
    /// [`ModelDimension`](StorageError::ModelDimension).
    pub fn check_dim(&self, id: &str, got: usize) -> Result<()> {
        if self.accepts(got) {
            return Ok(());
        }
        Err(StorageError::ModelDimension {
            id: shortened(id),
            model: shortened(&self.name),
            dim: self.dim,
            cut_points: self.cut_points().to_vec(),
            got,
        })
    }

    /// Checks that its vectors may be cut to a length. With `is_forced`, any shorter length is allowed.
    ///
    /// # Errors
    ///
    /// [`NotMatryoshka`](StorageError::NotMatryoshka); [`CutPoint`](StorageError::CutPoint) for a length that cannot be
    /// cut to.
    pub fn check_cut(&self, dim: usize, is_forced: bool) -> Result<()> {
        if dim == 0 || dim > self.dim {
            return Err(StorageError::CutPoint {
                model: shortened(&self.name),
                got: dim,
                min: 1,
                dim: self.dim + 1,
            });
        }
        if is_forced || self.accepts(dim) {
            return Ok(());
        }
        Err(StorageError::NotMatryoshka {
            model: shortened(&self.name),
            got: dim,
            cut_points: self.cut_points().to_vec(),
        })
    }

    /// Checks name, dimension and cut points.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](StorageError::InvalidName) for the name, [`OutOfRange`](StorageError::OutOfRange) for the
    /// dimension, [`LimitExceeded`](StorageError::LimitExceeded) for too many cut points,
    /// [`CutPoint`](StorageError::CutPoint) for the first that is out of order or not shorter than a whole vector.
    pub fn validate(&self) -> Result<()> {
        name(&self.name)?;
        check::dim(self.dim)?;
        let cuts = self.cut_points();
        if cuts.len() > CUT_POINTS_MAX {
            return Err(StorageError::LimitExceeded {
                what: "model",
                name: shortened(&self.name),
                got: cuts.len() as u64,
                limit: CUT_POINTS_MAX as u64,
                unit: "cut points",
            });
        }
        let mut shortest = 1;
        for cut in cuts {
            if !(shortest..self.dim).contains(cut) {
                return Err(StorageError::CutPoint {
                    model: shortened(&self.name),
                    got: *cut,
                    min: shortest,
                    dim: self.dim,
                });
            }
            shortest = cut + 1;
        }
        Ok(())
    }
}

/// Checks the name of a model.
///
/// # Errors
///
/// [`StorageError::InvalidName`].
fn name(name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > SPACE_NAME_BYTES_MAX {
        "it is longer than 256 bytes"
    } else if name.chars().any(char::is_control) {
        "it has control characters"
    } else {
        return Ok(());
    };
    Err(StorageError::InvalidName {
        what: "model",
        name: shortened(name).escape_debug().to_string(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(model: &EmbeddingModel) -> String {
        model.validate().unwrap_err().to_string()
    }

    #[test]
    fn cut_points_ascend_and_are_shorter_than_the_whole() {
        let model = |cuts: &[usize]| EmbeddingModel::new("m", 768).with_matryoshka(cuts.iter().copied());
        model(&[64, 128, 767]).validate().unwrap();
        model(&[]).validate().unwrap();
        assert_eq!(
            text(&model(&[128, 64])),
            "model `m`: a cut point is 64; it must be within 129..=767"
        );
        assert!(text(&model(&[128, 128])).contains("128; it must be within 129"));
        assert!(text(&model(&[0])).contains("0; it must be within 1..=767"));
        assert!(text(&model(&[768])).contains("768; it must be within 1..=767"));
        assert!(text(&model(&(1..=65).collect::<Vec<_>>())).contains("65 cut points; at most 64"));
    }

    #[test]
    fn a_model_has_a_name_and_a_dimension() {
        assert!(text(&EmbeddingModel::new("", 3)).contains("it is empty"));
        assert!(text(&EmbeddingModel::new("a\nb", 3)).contains("model `a\\nb` is not allowed"));
        assert!(text(&EmbeddingModel::new("x".repeat(257), 3)).contains("longer than 256 bytes"));
        assert!(text(&EmbeddingModel::new("m", 0)).contains("dimension is 0"));
        let one = EmbeddingModel::new("m", 1).with_matryoshka([1]);
        assert!(text(&one).contains("a cut point is 1"));
    }

    #[test]
    fn it_is_the_same_after_json() {
        for model in [
            EmbeddingModel::new("m", 4),
            EmbeddingModel::new("m", 4).with_matryoshka([2]),
        ] {
            let json = serde_json::to_string(&model).unwrap();
            assert_eq!(serde_json::from_str::<EmbeddingModel>(&json).unwrap(), model);
        }
    }
}
