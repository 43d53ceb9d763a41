//! [`SparseVector`]: the few components of a vector that are not 0, such as the weights that SPLADE or BGE-M3 give to the
//! words of their vocabulary.

use std::collections::BTreeMap;

use llmspell_text::{Query, Row};
use serde::{Deserialize, Serialize};

use super::texts::TextConfig;
use crate::check::at_most;
use crate::error::{Result, StorageError};
use crate::limits::{SPARSE_COMPONENTS_MAX, SPARSE_INDEX_MAX, SPARSE_NAME_BYTES_MAX};
use crate::text::shortened;

/// The components of a sparse vector: each an index and a value above 0, up to
/// [`SPARSE_COMPONENTS_MAX`](crate::limits::SPARSE_COMPONENTS_MAX) of them. All others are 0.
///
/// Two sparse vectors are compared by their inner product: the sum of the products of the values that they have at the same
/// index.
///
/// ```
/// # use llmspell_core::SparseVector;
/// let passage = SparseVector::new([2_054, 1_012], [0.5, 1.5]);
/// assert_eq!((passage.indices(), passage.values()), (&[1_012, 2_054][..], &[1.5, 0.5][..]));
/// assert_eq!(passage.dot(&SparseVector::new([7, 1_012], [1.0, 2.0])), Some(3.0));
/// assert_eq!(passage.dot(&SparseVector::new([7], [1.0])), None);
/// # let json =
/// r#"{"indices": [1012, 2054], "values": [1.5, 0.5]}"#
/// # ;
/// # assert_eq!(serde_json::from_str::<SparseVector>(json)?, passage);
/// # assert_eq!(serde_json::to_value(&passage)?, serde_json::from_str::<serde_json::Value>(json)?);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Given")]
pub struct SparseVector {
    indices: Vec<u32>,
    values: Vec<f32>,
}

/// A vector as it is read, in any order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl From<Given> for SparseVector {
    fn from(given: Given) -> Self {
        Self::new(given.indices, given.values)
    }
}

impl SparseVector {
    /// The vector of these components, in any order; they are kept in the order of their indices. Lists of different
    /// lengths, and components that are not allowed, are refused when the vector is stored or searched for.
    #[must_use]
    pub fn new(indices: impl IntoIterator<Item = u32>, values: impl IntoIterator<Item = f32>) -> Self {
        let (mut indices, mut values): (Vec<u32>, Vec<f32>) =
            (indices.into_iter().collect(), values.into_iter().collect());
        if indices.len() == values.len() && !indices.is_sorted() {
            let mut components: Vec<(u32, f32)> = indices.into_iter().zip(values).collect();
            components.sort_by_key(|(index, _)| *index);
            (indices, values) = components.into_iter().unzip();
        }
        Self { indices, values }
    }

    /// The indices of its components, rising.
    #[must_use]
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The values of its components, in the order of their indices.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Whether it has no component, and so no inner product with any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Its components.
    pub fn components(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.indices.iter().copied().zip(self.values.iter().copied())
    }

    /// Bytes that count in quotas and statistics: eight for each component.
    #[must_use]
    pub fn counted_bytes(&self) -> usize {
        8 * self.indices.len()
    }

    /// The inner product with another; none if they have no index in common. Each product is rounded to `f32`, and their
    /// sum, in `f64`, once more: so it does not depend on any order, and is the score of searches bit by bit.
    #[must_use]
    pub fn dot(&self, other: &Self) -> Option<f32> {
        let (mut sum, mut is_any) = (0.0, false);
        for (index, value) in self.components() {
            if let Ok(place) = other.indices.binary_search(&index) {
                sum += f64::from(value * other.values[place]);
                is_any = true;
            }
        }
        is_any.then_some(sum as f32)
    }

    /// Checks the components; `owner` and `name` are for the error text.
    ///
    /// # Errors
    ///
    /// [`Sparse`](StorageError::Sparse) for the first thing wrong, [`LimitExceeded`](StorageError::LimitExceeded) for too
    /// many components.
    pub(super) fn check(&self, owner: &str, name: &str) -> Result<()> {
        let refused = |reason: String| {
            Err(StorageError::Sparse {
                id: shortened(owner),
                name: shortened(name),
                reason,
            })
        };
        if self.indices.len() != self.values.len() {
            let (indices, values) = (self.indices.len(), self.values.len());
            return refused(format!(
                "it has {indices} indices and {values} values; give one value for each index"
            ));
        }
        at_most(
            "sparse vector",
            name,
            self.indices.len(),
            SPARSE_COMPONENTS_MAX,
            "components",
        )?;
        for (index, value) in self.components() {
            if index > SPARSE_INDEX_MAX {
                return refused(format!("its index {index} is above {SPARSE_INDEX_MAX}, the largest"));
            }
            if !(value > 0.0 && value.is_finite()) {
                return refused(format!(
                    "its value at index {index} is {value}; it must be above 0 and finite"
                ));
            }
        }
        match self.indices.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => refused(format!("its index {} stands twice", pair[0])),
            None => Ok(()),
        }
    }
}

/// Checks a name of sparse vectors.
pub(super) fn check_name(name: &str) -> Result<()> {
    let refused = |reason| {
        Err(StorageError::InvalidName {
            what: "name of sparse vectors",
            name: shortened(name),
            reason,
        })
    };
    if name.is_empty() {
        return refused("it is empty");
    }
    if name.chars().any(char::is_control) {
        return refused("it has a control character");
    }
    at_most(
        "name of sparse vectors",
        name,
        name.len(),
        SPARSE_NAME_BYTES_MAX,
        "bytes",
    )
}

/// The vectors of an entry or of a query, by their names.
pub(super) type SparseVectors = BTreeMap<String, SparseVector>;

/// Checks the sparse vectors of an entry or of a query of a space with these texts, or none.
pub(super) fn check_all(
    what: &'static str,
    owner: &str,
    vectors: &SparseVectors,
    texts: Option<&TextConfig>,
) -> Result<()> {
    for (name, vector) in vectors {
        let declared = texts.map_or(&[][..], TextConfig::sparse);
        if !declared.contains(name) {
            return Err(StorageError::NoSparse {
                what,
                name: shortened(owner),
                sparse: shortened(name),
                known: declared.to_vec(),
            });
        }
        vector.check(owner, name)?;
    }
    Ok(())
}

/// All sparse vectors of a space are in one index, each name with indices of its own.
const NAME_SHIFT: u32 = 28;
const _: () = assert!(SPARSE_INDEX_MAX < 1 << NAME_SHIFT && crate::limits::SPARSE_NAMES_MAX <= 1 << (32 - NAME_SHIFT));

impl TextConfig {
    /// The row of an entry's sparse vectors; those of names that are not declared are left out. For implementers.
    ///
    /// # Panics
    ///
    /// If they are not valid.
    #[must_use]
    pub fn sparse_row<'v>(&self, vectors: impl IntoIterator<Item = (&'v str, &'v SparseVector)>) -> Row {
        let mut components = Vec::new();
        for (name, vector) in vectors {
            components.extend(self.numbered(name, vector).into_iter().flatten());
        }
        Row::of_sparse(components).expect("sparse vectors were checked")
    }

    /// The query for a sparse vector of a declared name; of another name one that finds nothing. For implementers.
    ///
    /// # Panics
    ///
    /// If the vector is not valid.
    #[must_use]
    pub fn sparse_query(&self, name: &str, vector: &SparseVector) -> Query {
        let components = self.numbered(name, vector).into_iter().flatten();
        Query::of_sparse(components).expect("sparse vectors were checked")
    }

    fn numbered<'v>(&self, name: &str, vector: &'v SparseVector) -> Option<impl Iterator<Item = (u32, f32)> + 'v> {
        let place = self.sparse().iter().position(|declared| declared == name)?;
        let number = u32::try_from(place).expect("there are few names") << NAME_SHIFT;
        Some(vector.components().map(move |(index, value)| (number | index, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_components_are_refused_each_by_what_is_wrong() {
        let refused = |vector: SparseVector| vector.check("a", "splade").unwrap_err().to_string();
        for (vector, part) in [
            (SparseVector::new([1, 2], [1.0]), "2 indices and 1 values"),
            (SparseVector::new([2, 1, 2], [1.0; 3]), "index 2 stands twice"),
            (
                SparseVector::new([1], [0.0]),
                "value at index 1 is 0; it must be above 0",
            ),
            (SparseVector::new([1, 7], [1.0, -2.5]), "value at index 7 is -2.5"),
            (SparseVector::new([1], [f32::NAN]), "is NaN"),
            (
                SparseVector::new([1 << 28], [1.0]),
                "index 268435456 is above 268435455",
            ),
            (
                SparseVector::new(0..4_097, vec![1.0; 4_097]),
                "4097 components; at most 4096",
            ),
        ] {
            let error = refused(vector);
            assert!(error.contains(part) && error.contains("splade"), "{error}");
        }
        SparseVector::new(0..4_096, vec![1.0; 4_096]).check("a", "n").unwrap();
        SparseVector::default().check("a", "n").unwrap();
    }

    #[test]
    fn names_of_one_space_have_indices_of_their_own() {
        let config = TextConfig::default().with_sparse(["a", "b"]);
        let vector = SparseVector::new([5], [2.0]);
        let row = |names: &[&'static str]| config.sparse_row(names.iter().map(|name| (*name, &vector)));
        assert_eq!(row(&["a", "b"]).term_count(), 2);
        assert_ne!(row(&["a"]), row(&["b"]));
        assert!(row(&["c"]).is_empty());
        assert!(config.sparse_query("c", &vector).is_empty());
        assert_ne!(config.sparse_query("a", &vector), config.sparse_query("b", &vector));
    }

    #[test]
    fn names_are_short_and_visible() {
        for (name, part) in [
            ("", "empty"),
            ("a\nb", "control"),
            (&*"n".repeat(65), "65 bytes; at most 64"),
        ] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        check_name(&"n".repeat(64)).unwrap();
    }
}
