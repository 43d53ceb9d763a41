//! What is asked, and what is answered?

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use llmspell_state_traits::StateScope;
use serde::{Deserialize, Serialize};

use super::entry::Metadata;
use crate::filter::{FieldPath, Filter, Scalar};

/// The `k` entries that are nearest to a vector: of one scope, or of several together.
///
/// ```
/// # use llmspell_core::{Filter, StateScope, VectorQuery};
/// let query = VectorQuery::new(vec![0.1, 0.2, 0.3], 10)
///     .with_scope(StateScope::User("ada".to_string()))
///     .with_filter(Filter::eq("lang", "en"))
///     .with_threshold(0.8);
///
/// // What the session, its user and everybody know: the best of all of it.
/// let session = StateScope::Session("s-17".to_string());
/// let query = query.with_scopes([session, StateScope::User("ada".to_string()), StateScope::Global]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VectorQuery {
    /// As many finite components as the space has dimensions.
    pub vector: Vec<f32>,
    /// Most results wanted, 1 to [`K_MAX`](crate::limits::K_MAX). Fewer come back only if fewer match.
    pub k: usize,
    /// Whose entries are searched; [`StateScope::Global`] unless said otherwise.
    #[serde(default)]
    pub scope: StateScope,
    /// Several scopes to search instead, and `scope` is not looked at; see [`with_scopes`](Self::with_scopes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<StateScope>>,
    /// Lowest score of a result, none by default; see [`DistanceMetric`](super::DistanceMetric) for its range.
    #[serde(default)]
    pub threshold: Option<f32>,
    /// Which entries count; it decides before the best `k` are taken.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// Width of the beam for this search, `k` to [`EF_SEARCH_MAX`](crate::limits::EF_SEARCH_MAX); that of the
    /// [`HNSWConfig`](super::HNSWConfig) by default. Wider finds more of the true neighbors and takes longer.
    /// An exact search does not need it.
    #[serde(default)]
    pub ef_search: Option<usize>,
    /// Compare with every entry: slow in large scopes, and never misses.
    #[serde(default)]
    pub exact: bool,
    /// Whether results carry their metadata; true by default.
    pub include_metadata: bool,
    /// Whether results carry their vector; false by default.
    #[serde(default)]
    pub include_vectors: bool,
}

impl VectorQuery {
    /// The `k` nearest in [`StateScope::Global`], with metadata and without vectors.
    #[must_use]
    pub fn new(vector: Vec<f32>, k: usize) -> Self {
        Self {
            vector,
            k,
            scope: StateScope::Global,
            scopes: None,
            threshold: None,
            filter: None,
            ef_search: None,
            exact: false,
            include_metadata: true,
            include_vectors: false,
        }
    }

    /// Whose entries are searched: this scope's alone.
    #[must_use]
    pub fn with_scope(mut self, scope: StateScope) -> Self {
        self.scope = scope;
        self.scopes = None;
        self
    }

    /// Searches several scopes, and takes the best `k` of all of them together.
    ///
    /// Results say their [scope](VectorResult::scope). Equal distances are ordered by the scopes as they are given, then
    /// by id, so name the scope first that is to win. A scope that is named twice counts once, in its first place; one
    /// that does not exist is empty. Each scope is searched as of one of its mutations, all after the call began.
    ///
    /// From 1 to [`QUERY_SCOPES_MAX`](crate::limits::QUERY_SCOPES_MAX) of them; without any, the query is refused: no
    /// scope never means all of them. Costs about a search in each.
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = StateScope>) -> Self {
        self.scopes = Some(scopes.into_iter().collect());
        self
    }

    /// The scopes that are searched, each once, in the order in which they were given.
    #[must_use]
    pub fn searched_scopes(&self) -> Vec<&StateScope> {
        let Some(scopes) = &self.scopes else {
            return vec![&self.scope];
        };
        let mut seen = HashSet::with_capacity(scopes.len());
        scopes.iter().filter(|scope| seen.insert(*scope)).collect()
    }

    /// Lowest score of a result.
    #[must_use]
    pub fn with_threshold(mut self, score: f32) -> Self {
        self.threshold = Some(score);
        self
    }

    /// Which entries count.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Width of the beam for this search.
    #[must_use]
    pub fn with_ef_search(mut self, ef_search: usize) -> Self {
        self.ef_search = Some(ef_search);
        self
    }

    /// Whether every entry is compared.
    #[must_use]
    pub fn with_exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// Whether results carry their metadata.
    #[must_use]
    pub fn with_metadata(mut self, include: bool) -> Self {
        self.include_metadata = include;
        self
    }

    /// Whether results carry their vector.
    #[must_use]
    pub fn with_vectors(mut self, include: bool) -> Self {
        self.include_vectors = include;
        self
    }
}

/// A value that a field has, and how often.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FacetValue {
    /// Null, a boolean, a number or a string.
    pub value: Scalar,
    /// Entries that have it, as their value or as an element of their array.
    pub count: u64,
}

impl FacetValue {
    /// Counts one entry for each value that it has of a field: an array for each of its different elements. Objects, and
    /// arrays within arrays, are no values. For implementers.
    pub fn count(field: &FieldPath, metadata: &Metadata, counts: &mut HashMap<Scalar, u64>) {
        let Some(value) = field.find(metadata) else { return };
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let scalars: HashSet<Scalar> = values.iter().filter_map(|value| Scalar::try_from(value).ok()).collect();
        for scalar in scalars {
            *counts.entry(scalar).or_default() += 1;
        }
    }

    /// The most frequent of these values. For implementers.
    #[must_use]
    pub fn most_frequent(counts: HashMap<Scalar, u64>, limit: usize) -> Vec<Self> {
        let mut values: Vec<Self> = counts.into_iter().map(|(value, count)| Self { value, count }).collect();
        values.sort_by_cached_key(|facet| (Reverse(facet.count), facet.value.to_string()));
        values.truncate(limit);
        values
    }
}

/// One entry found. Results come best first; equal distances are ordered by id, with several scopes by scope first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VectorResult {
    /// Id of the entry in its scope.
    pub id: String,
    /// Its scope, if the query named several by [`with_scopes`](VectorQuery::with_scopes); else it is that of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<StateScope>,
    /// Larger is better; see [`DistanceMetric`](super::DistanceMetric) for the range.
    pub score: f32,
    /// Smaller is nearer; see [`DistanceMetric`](super::DistanceMetric) for the range.
    pub distance: f32,
    /// The fields of the entry, unless the query did without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The vector as it was stored, if the query asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
}

impl VectorResult {
    /// A result without scope, metadata and vector. For implementers.
    #[must_use]
    pub fn new(id: String, score: f32, distance: f32) -> Self {
        Self {
            id,
            scope: None,
            score,
            distance,
            metadata: None,
            vector: None,
        }
    }
}
