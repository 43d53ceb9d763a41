//! [`VectorQuery`] and [`VectorResult`]: what a search asks for, and what it returns.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use llmspell_state_traits::StateScope;
use llmspell_text::Fusion;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::components::IntoVector;
use super::scopes;
use super::selection::GroupBy;
use super::sparse::SparseVector;
use super::texts::Snippet;
use super::time_range::TimeRange;
use crate::error::Result;
use crate::fields::Metadata;
use crate::filter::{FieldPath, Filter, OwnTime, Scalar};

/// Asks for the `k` entries nearest to a vector, or that answer words best, or both, in one scope or in several together.
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
///
/// # JSON
///
/// Only `vector` and `k` are required; in a space with texts `text` may take the place of `vector`.
///
/// ```
/// # use llmspell_core::{Filter, StateScope, VectorQuery};
/// let query: VectorQuery = serde_json::from_str(r#"{"vector": [0.1, 0.2], "k": 5}"#)?;
/// assert_eq!(query, VectorQuery::new([0.1, 0.2], 5));
/// # let json =
/// r#"{"vector": [0.25, 0.5], "k": 5, "scope": "user:ada", "filter": {"eq": {"field": "lang", "value": "en"}},
///     "recency": "7d", "threshold": 0.5}"#
/// # ;
/// # let query: VectorQuery = serde_json::from_str(json)?;
/// # assert_eq!(serde_json::to_value(&query)?, serde_json::from_str::<serde_json::Value>(json)?);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VectorQuery {
    /// One finite component for each dimension of the space. Empty in a query of words alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vector: Vec<f32>,
    /// The words that are searched for; see [`with_text`](Self::with_text).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The sparse vectors that are searched for, by their names; see [`with_sparse`](Self::with_sparse).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sparse: BTreeMap<String, SparseVector>,
    /// How the rankings by vector, words and sparse vectors become one; see [`with_fusion`](Self::with_fusion).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
    /// Most results, 1 to [`K_MAX`](crate::limits::K_MAX). Fewer are returned only if fewer match.
    pub k: usize,
    /// Number of best results to skip, 0 by default; see [`with_offset`](Self::with_offset).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: usize,
    /// The scope that is searched; [`StateScope::Global`] by default.
    #[serde(default)]
    pub scope: StateScope,
    /// Several scopes that are searched instead of `scope`; see [`with_scopes`](Self::with_scopes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<StateScope>>,
    /// Name of the model that made the vector; see [`with_model`](Self::with_model).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Lowest score of a result, none by default; see [`DistanceMetric`](super::DistanceMetric) for its range, and
    /// [above](#words) for queries with words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// Which entries may be found; applied before the best `k` are chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Only entries whose event time lies within; see [`with_event_time_range`](Self::with_event_time_range).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<TimeRange>,
    /// Only entries that were created within; see [`with_ingested_range`](Self::with_ingested_range).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingested: Option<TimeRange>,
    /// The half-life of scores; see [`with_recency`](Self::with_recency).
    #[serde(default, with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub recency: Option<Duration>,
    /// Weight of relevance against diversity, 0 to 1; see [`with_mmr`](Self::with_mmr).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mmr: Option<f32>,
    /// Most results for each value of a field; see [`with_group_by`](Self::with_group_by).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<GroupBy>,
    /// Width of the beam for this search, `k` to [`EF_SEARCH_MAX`](crate::limits::EF_SEARCH_MAX); by default that of
    /// the [`HNSWConfig`](super::HNSWConfig), or the one that the store has chosen for its [recall
    /// target](super::HNSWConfig::with_recall_target). A wider beam finds more of the true neighbors, on any data, and
    /// takes longer; if it is as wide as the scope, all entries are compared and none is missed. An exact search does
    /// not use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef_search: Option<usize>,
    /// Compare with every entry: slow in large scopes, and never misses one.
    #[serde(default, skip_serializing_if = "is_no")]
    pub exact: bool,
    /// Whether results include their metadata; true by default.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub include_metadata: bool,
    /// Whether results include their vector; false by default.
    #[serde(default, skip_serializing_if = "is_no")]
    pub include_vectors: bool,
    /// Whether results include the entry's own text; false by default.
    #[serde(default, skip_serializing_if = "is_no")]
    pub include_texts: bool,
    /// Most bytes of a snippet of each result; none by default. See [`with_snippets`](Self::with_snippets).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippets: Option<usize>,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn is_yes(flag: &bool) -> bool {
    *flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn is_no(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl VectorQuery {
    /// The `k` nearest in [`StateScope::Global`], with metadata and without vectors. The vector may be a `Vec`, an array or a
    /// slice, of `f32` or `f64`; see [`IntoVector`].
    #[must_use]
    pub fn new(vector: impl IntoVector, k: usize) -> Self {
        Self {
            vector: vector.into_vector(),
            text: None,
            sparse: BTreeMap::new(),
            fusion: None,
            k,
            offset: 0,
            scope: StateScope::Global,
            scopes: None,
            model: None,
            threshold: None,
            filter: None,
            event_time: None,
            ingested: None,
            recency: None,
            mmr: None,
            group_by: None,
            ef_search: None,
            exact: false,
            include_metadata: true,
            include_vectors: false,
            include_texts: false,
            snippets: None,
        }
    }

    /// Most results.
    #[must_use]
    pub fn with_k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Skips the best `offset` results: a second page of ten is `with_k(10).with_offset(10)`.
    ///
    /// `k` and offset together may be at most [`K_MAX`](crate::limits::K_MAX); the search costs as much as one for
    /// both. Each page is a separate search: an entry written between two pages may be on both, or on none.
    #[must_use]
    pub fn with_offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// The query for the skipped results too, from whose answer the first [`offset`](Self::offset) must be removed. For
    /// implementers.
    #[must_use]
    pub fn with_passed_over(&self) -> Self {
        let mut wide = self.clone();
        wide.offset = 0;
        wide.k = self.k.saturating_add(self.offset);
        wide.ef_search = self.ef_search.map(|ef_search| ef_search.max(wide.k));
        wide
    }

    /// Searches this scope alone.
    #[must_use]
    pub fn with_scope(mut self, scope: StateScope) -> Self {
        self.scope = scope;
        self.scopes = None;
        self
    }

    /// Searches several scopes, and returns the best `k` of all of them together.
    ///
    /// Results have their [scope](VectorResult::scope). Equal distances are ordered by the order of the scopes, then by
    /// id. A scope that is named twice counts once, at its first position; one that does not exist is empty. Each scope
    /// is searched as of one of its mutations, all after the call began.
    ///
    /// From 1 to [`QUERY_SCOPES_MAX`](crate::limits::QUERY_SCOPES_MAX) scopes. An empty list is refused: it never means
    /// all scopes. Costs about one search per scope.
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = StateScope>) -> Self {
        self.scopes = Some(scopes.into_iter().collect());
        self
    }

    /// The scopes that are searched, each once, in the given order.
    #[must_use]
    pub fn searched_scopes(&self) -> Vec<&StateScope> {
        scopes::named(&self.scope, self.scopes.as_ref())
    }

    /// The model that made the vector, for a store of several models: the entries of that model are searched. A store
    /// of one vector space refuses any model but its own.
    #[must_use]
    pub fn with_model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Lowest score of a result. Under cosine, exact duplicates and their multiples have a score of 1; so does a vector
    /// whose difference is too small for `f32`, about a five-thousandth of the length.
    #[must_use]
    pub fn with_threshold(mut self, score: f32) -> Self {
        self.threshold = Some(score);
        self
    }

    /// Which entries may be found.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Only entries whose [event time](super::VectorEntry::event_time) lies within `range`, its end excluded; an entry
    /// without one does not match. A filter and both ranges must all hold: they are one filter with `and`, and the
    /// limits of filters apply to it as a whole.
    ///
    /// ```
    /// # use llmspell_core::{Timestamp, VectorQuery};
    /// let since: Timestamp = "2026-11-01T00:00:00Z".parse()?;
    /// let query = VectorQuery::new(vec![0.1, 0.2, 0.3], 10).with_event_time_range(since..);
    /// # Ok::<(), llmspell_core::StorageError>(())
    /// ```
    ///
    /// An empty range finds nothing; a range that ends before it begins is refused with
    /// [`ReversedTimes`](crate::StorageError::ReversedTimes). A full range, `..`, matches all entries with an event
    /// time.
    #[must_use]
    pub fn with_event_time_range(mut self, range: impl Into<TimeRange>) -> Self {
        self.event_time = Some(range.into());
        self
    }

    /// Only entries that were [created](super::VectorEntry::created_at), which means first stored, within `range`; as
    /// [`with_event_time_range`](Self::with_event_time_range).
    #[must_use]
    pub fn with_ingested_range(mut self, range: impl Into<TimeRange>) -> Self {
        self.ingested = Some(range.into());
        self
    }

    /// Ranks by score and age: by the [`recency_score`](super::recency_score), which halves with each half-life within
    /// [`HALF_LIFE_MS_RANGE`](crate::limits::HALF_LIFE_MS_RANGE).
    ///
    /// The age is the time since the [event](super::VectorEntry::event_time) or, without an event time, since the entry
    /// was created; a time in the future gives age 0. Equal recency scores are ordered by distance, then as usual. The
    /// threshold applies to the plain score. Several scopes share one top `k` by the recency score.
    ///
    /// If everything is compared, as in small scopes and with `exact`, the results are the best `k` of all matches. If
    /// a graph is walked or codes are scanned, they are the best of a shortlist of the nearest, several times `k`: an
    /// entry farther away is not found, however recent.
    #[must_use]
    pub fn with_recency(mut self, half_life: Duration) -> Self {
        self.recency = Some(half_life);
        self
    }

    /// Selects results that differ from each other: by maximal marginal relevance (Carbonell and Goldstein, SIGIR
    /// 1998).
    ///
    /// Each step takes the candidate with the largest `lambda · score − (1 − lambda) · (largest score between it and a
    /// result taken before)`; of equal ones, the nearer. With `lambda` 1 this is the plain order; with 0 the first
    /// result is the nearest and each further one is as unlike the others as possible. 0.5 to 0.7 is usual. Under an
    /// inner product the scores depend on lengths, so diversity works better with the other metrics. With
    /// [recency](Self::with_recency) the recency score replaces the plain one.
    ///
    /// Candidates are the nearest matches: four times `k` and at least 100, or all of them if there are fewer. Scores
    /// between candidates are exact. `k` is at most [`MMR_K_MAX`](crate::limits::MMR_K_MAX), and an
    /// [offset](Self::with_offset) is refused. Results are in the order in which they were taken.
    #[must_use]
    pub fn with_mmr(mut self, lambda: f32) -> Self {
        self.mmr = Some(lambda);
        self
    }

    /// At most `per_group` results for each value of a field of the metadata: two passages of each document, for example.
    ///
    /// ```
    /// # use llmspell_core::VectorQuery;
    /// let query = VectorQuery::new([0.1, 0.2, 0.3], 10).with_group_by("document", 2);
    /// ```
    ///
    /// A string, a number or a boolean is a group; 1 and 1.0 are the same. An entry whose field is missing, null, an
    /// array or an object is a group of its own. The best of each group are returned, and there are `k` results if
    /// enough groups match. Groups span all scopes of the query. Costs a longer search and, if a few groups hold most
    /// of the nearest entries, further searches that leave the full groups out.
    #[must_use]
    pub fn with_group_by(mut self, field: impl Into<FieldPath>, per_group: usize) -> Self {
        self.group_by = Some(GroupBy::new(field, per_group));
        self
    }

    /// The filter of the query and its time ranges as one filter. None if there are none.
    #[must_use]
    pub fn whole_filter(&self) -> Option<Cow<'_, Filter>> {
        let event_time = self.event_time.map(|range| range.condition(OwnTime::Event));
        let ingested = self.ingested.map(|range| range.condition(OwnTime::Created));
        let ranges: Vec<Filter> = event_time.into_iter().chain(ingested).collect();
        match &self.filter {
            Some(filter) if ranges.is_empty() => Some(Cow::Borrowed(filter)),
            None if ranges.is_empty() => None,
            filter => Some(Cow::Owned(Filter::all_of(filter.iter().cloned().chain(ranges)))),
        }
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

    /// Whether results include their metadata.
    #[must_use]
    pub fn with_metadata(mut self, include: bool) -> Self {
        self.include_metadata = include;
        self
    }

    /// Whether results include their vector.
    #[must_use]
    pub fn with_vectors(mut self, include: bool) -> Self {
        self.include_vectors = include;
        self
    }
}

/// A value of a field, and the number of entries with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FacetValue {
    /// Null, a boolean, a number or a string.
    pub value: Scalar,
    /// Entries that have it, as their value or as an element of their array.
    pub count: u64,
}

impl FacetValue {
    /// Counts one entry for each value of a field: for an array, each of its different elements. Objects, and arrays
    /// within arrays, do not count. For implementers.
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

/// One entry found. Results are ordered best first; equal distances by scope, if there are several, then by id. If more
/// entries tie than fit, those with the smallest ids are returned if everything is compared
/// ([`exact`](VectorQuery::with_exact)), and of those that words find; a graph may return any of them. With [recency](VectorQuery::with_recency)
/// results are ordered by its score, and equal ones by distance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VectorResult {
    /// Id of the entry in its scope.
    pub id: String,
    /// Its scope, if the query named several by [`with_scopes`](VectorQuery::with_scopes); else it is that of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<StateScope>,
    /// The space that holds it, if the store has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// Larger is better; see [`DistanceMetric`](super::DistanceMetric) for the range. Of a query of words the BM25 score,
    /// which is above 0; of one sparse vector the inner product; of a hybrid search the fused score.
    pub score: f32,
    /// Smaller is nearer; see [`DistanceMetric`](super::DistanceMetric) for the range. Of a query with words or sparse vectors
    /// the score below zero, so that smaller is better there too.
    pub distance: f32,
    /// Of a hybrid search: the score of the entry's vector, exact; none for an entry without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector_score: Option<f32>,
    /// Of a query with words: the BM25 score of the entry's texts, exact; none for an entry that the words do not find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_score: Option<f32>,
    /// Of a query with sparse vectors: the inner product with the entry's of each name, exact; none for those with which it has
    /// no index in common.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sparse_scores: BTreeMap<String, f32>,
    /// The score lowered by age, if the query asked for [recency](VectorQuery::with_recency).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recency_score: Option<f32>,
    /// The metadata of the entry, unless the query left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The vector as it was stored, if the query asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
    /// The entry's own text, if the query asked for texts and it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The part of its texts that answers the words best, if the query asked for snippets; none for an entry that has
    /// none of the words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippet: Option<Snippet>,
}

impl VectorResult {
    /// A result without scope, metadata and vector. For implementers.
    #[must_use]
    pub fn new(id: String, score: f32, distance: f32) -> Self {
        Self {
            id,
            scope: None,
            space: None,
            score,
            distance,
            vector_score: None,
            text_score: None,
            sparse_scores: BTreeMap::new(),
            recency_score: None,
            metadata: None,
            vector: None,
            text: None,
            snippet: None,
        }
    }

    /// A result of a query with words, with its BM25 or fused score. For implementers.
    #[must_use]
    pub fn of_words(id: String, score: f32) -> Self {
        Self::new(id, score, -score)
    }

    /// The metadata as a type of the application; none if the query left it out.
    ///
    /// # Errors
    ///
    /// [`Json`](crate::StorageError::Json) if it does not fit the type.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.metadata.as_ref().map(super::metadata::of_fields).transpose()
    }

    /// The order of two results, as far as scores and distances decide it. For implementers.
    #[must_use]
    pub fn rank(&self, other: &Self) -> Ordering {
        let by_recency = match (self.recency_score, other.recency_score) {
            (Some(own), Some(others)) => others.total_cmp(&own),
            _ => Ordering::Equal,
        };
        by_recency.then_with(|| self.distance.total_cmp(&other.distance))
    }
}
