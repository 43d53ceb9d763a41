//! Words and sparse vectors in a [`VectorQuery`], alone or beside a vector.

use std::collections::HashSet;

use llmspell_text::Fusion;

use super::plan::TextPlan;
use super::query::VectorQuery;
use super::sparse::SparseVector;
use super::storage::VectorStorage;
use super::validate::explained_scope;
use crate::error::Result;
use crate::limits::{HYBRID_CANDIDATES_MIN, K_MAX};

/// # Words
///
/// A query of words finds the entries whose texts have them and orders them by BM25. A query of words and a vector is a
/// *hybrid* search: the best of both sides become one ranking by a [`Fusion`]. All of it is one search, as of one moment
/// in each scope.
///
/// ```
/// # use llmspell_core::{Fusion, VectorQuery};
/// let words = VectorQuery::text("HNSWConfig preset", 10);
/// let both = VectorQuery::new([0.1, 0.2, 0.3], 10)
///     .with_text(r#"title:graph "block max" wand* -lucene"#)
///     .with_fusion(Fusion::Rrf { k: 60.0 })
///     .with_snippets(200);
/// ```
///
/// | typed                              | finds                                                        |
/// |------------------------------------|--------------------------------------------------------------|
/// | `graph index`                      | entries that have one of the words; both count more          |
/// | `"graph index"`                    | only entries that have the words one behind the other        |
/// | `-graph`, `-"graph index"`         | only entries that have them not                              |
/// | `gra*`                             | words that begin so                                          |
/// | `title:graph`, `-title:"a b"`      | the same in one declared field of the metadata               |
/// | `@text:graph`                      | the same in the entry's own text                             |
///
/// Whatever is typed is a query: what has none of these forms is words. A query without words finds nothing by them.
///
/// **Statistics** of BM25 (how many texts there are, how long, how many have a word) are of the searched scopes, of all of
/// them together, and never of others. A deletion counts at once; what has expired may count until it is purged, and is
/// never found. Filter and time ranges do not change the statistics.
///
/// **Hybrid**: each side gives its best [candidates](VectorQuery::candidates) among the entries that match filter and time
/// ranges; entries without a vector, or without the words, are on one side only. The fused score decides, ties go to the
/// scope that is named first, then to the smaller id. Scores of both sides in the [results](super::VectorResult) are exact,
/// also where an entry was a candidate of one side only.
///
/// Equal BM25 scores are ordered likewise.
///
/// **Sparse vectors** are further sides, each by the name of those that the space [indexes](super::HNSWConfig::with_sparse):
/// their scores are exact inner products, an entry that has no index in common with the query is not found by it, and equal
/// scores are ordered as those of words. All sides become one ranking.
///
/// **Threshold**: of a query of words the lowest BM25 score, of one sparse vector the lowest inner product; of a hybrid search
/// the lowest vector score of a candidate of the vector side, so that words may still find an entry below it. A hybrid search
/// without a vector is refused a threshold. **Recency** ages the BM25 or fused score of the
/// candidates. **Diversity** weighs that score, divided by the best candidate's, against the vector scores between
/// candidates, where an entry without a vector is like no other; **groups** and diversity select among the candidates. If too
/// few groups are among them, the search is repeated with four times as many.
impl VectorQuery {
    /// The `k` entries of [`StateScope::Global`](crate::StateScope::Global) whose texts answer the words best; see
    /// [above](#words).
    #[must_use]
    pub fn text(words: impl Into<String>, k: usize) -> Self {
        Self::new(Vec::<f32>::new(), k).with_text(words)
    }

    /// Searches for words too, up to [`QUERY_TEXT_BYTES_MAX`](crate::limits::QUERY_TEXT_BYTES_MAX) bytes; see
    /// [above](#words).
    #[must_use]
    pub fn with_text(mut self, words: impl Into<String>) -> Self {
        self.text = Some(words.into());
        self
    }

    /// The `k` entries of [`StateScope::Global`](crate::StateScope::Global) whose sparse vectors of this name have the largest
    /// inner products with the given one; see [`with_sparse`](Self::with_sparse).
    #[must_use]
    pub fn sparse(
        name: impl Into<String>,
        indices: impl IntoIterator<Item = u32>,
        values: impl IntoIterator<Item = f32>,
        k: usize,
    ) -> Self {
        Self::new(Vec::<f32>::new(), k).with_sparse(name, indices, values)
    }

    /// Searches for a sparse vector too, besides those of other names: by the inner product with the entries' of the same
    /// name. It is a side of its own, as words are.
    ///
    /// ```
    /// # use llmspell_core::VectorQuery;
    /// let learned_words = VectorQuery::sparse("splade", [1_012, 2_054], [1.5, 0.5], 10);
    /// let all_three = VectorQuery::new([0.1, 0.2, 0.3], 10)
    ///     .with_text("block max")
    ///     .with_sparse("splade", [1_012, 2_054], [1.5, 0.5]);
    /// ```
    #[must_use]
    pub fn with_sparse(
        mut self,
        name: impl Into<String>,
        indices: impl IntoIterator<Item = u32>,
        values: impl IntoIterator<Item = f32>,
    ) -> Self {
        self.sparse.insert(name.into(), SparseVector::new(indices, values));
        self
    }

    /// How the rankings of a hybrid search become one; [`Fusion::default`] by default. The lists are those of the vector, the
    /// words, and the sparse vectors in the order of their names, as far as the query has them. [`Fusion::Linear`] is of two:
    /// with `alpha` 1 it counts the first only. Refused in a query with one side.
    #[must_use]
    pub fn with_fusion(mut self, fusion: Fusion) -> Self {
        self.fusion = Some(fusion);
        self
    }

    /// Whether results include the entry's own text; false by default, because it may be large. Refused in a space that does
    /// not [keep](super::TextConfig::with_keep) texts.
    #[must_use]
    pub fn with_texts(mut self, include: bool) -> Self {
        self.include_texts = include;
        self
    }

    /// Results include the part of their texts that answers the words best, of at most `bytes_max` bytes, within
    /// [`SNIPPET_BYTES_RANGE`](crate::limits::SNIPPET_BYTES_RANGE), or one word if that is longer; see
    /// [`Snippet`](super::Snippet). None by default. Refused in a query without words, and in a space that neither keeps
    /// texts nor declares fields of the metadata.
    #[must_use]
    pub fn with_snippets(mut self, bytes_max: usize) -> Self {
        self.snippets = Some(bytes_max);
        self
    }

    /// How many sides it has: its vector, its words, and each of its sparse vectors.
    #[must_use]
    pub fn sides(&self) -> usize {
        usize::from(!self.vector.is_empty()) + usize::from(self.text.is_some()) + self.sparse.len()
    }

    /// Whether the query has several sides: their rankings become one.
    #[must_use]
    pub fn is_hybrid(&self) -> bool {
        self.sides() > 1
    }

    /// Whether it searches for words or sparse vectors, with a vector or without. For implementers.
    #[must_use]
    pub fn is_by_terms(&self) -> bool {
        self.text.is_some() || !self.sparse.is_empty()
    }

    /// How the rankings of a hybrid search become one.
    #[must_use]
    pub fn fusion(&self) -> Fusion {
        self.fusion.unwrap_or_default()
    }

    /// Candidates of each side of a hybrid search, and those of a query of words that are ranked anew by recency or
    /// diversity: four times [`k`](Self::k) and [`offset`](Self::offset) together, at least [`HYBRID_CANDIDATES_MIN`] and
    /// at most [`K_MAX`], or all that match if there are fewer.
    #[must_use]
    pub fn candidates(&self) -> usize {
        let wanted = self.k.saturating_add(self.offset);
        wanted.saturating_mul(4).clamp(HYBRID_CANDIDATES_MIN, K_MAX)
    }

    /// The vector side of a hybrid search with this many candidates, as a query of its own: without words, recency,
    /// diversity, groups and what results include. For implementers.
    #[must_use]
    pub fn vector_side(&self, candidates: usize) -> Self {
        let mut side = self.plain_side(candidates);
        side.text = None;
        side.sparse.clear();
        side.ef_search = self.ef_search.map(|ef_search| ef_search.max(candidates));
        side
    }

    /// The side of the words, as [`vector_side`](Self::vector_side); without threshold in a hybrid search. For implementers.
    #[must_use]
    pub fn text_side(&self, candidates: usize) -> Self {
        let mut side = self.plain_side(candidates);
        if self.is_hybrid() {
            side.threshold = None;
        }
        side.vector.clear();
        side.sparse.clear();
        (side.ef_search, side.exact) = (None, false);
        side
    }

    /// The side of the sparse vector of this name, as [`text_side`](Self::text_side). For implementers.
    #[must_use]
    pub fn sparse_side(&self, name: &str, candidates: usize) -> Self {
        let mut side = self.text_side(candidates);
        side.text = None;
        side.sparse = self.sparse.clone();
        side.sparse.retain(|other, _| other == name);
        side
    }

    fn plain_side(&self, candidates: usize) -> Self {
        let mut side = self.clone();
        (side.k, side.offset) = (candidates, 0);
        (side.recency, side.mmr, side.group_by) = (None, None, None);
        (side.fusion, side.snippets) = (None, None);
        (side.include_metadata, side.include_vectors, side.include_texts) = (false, false, false);
        side
    }
}

/// The side of the words of a query, as a store sees it that looks at every text.
pub(super) async fn text_plan<S: VectorStorage + ?Sized>(store: &S, query: &VectorQuery) -> Result<Option<TextPlan>> {
    if !query.is_by_terms() {
        return Ok(None);
    }
    let scope = explained_scope(query)?;
    let texts = store.stats_for_scope(scope).await?.texts;
    let mut plan = TextPlan {
        texts,
        rows: texts,
        ..TextPlan::default()
    };
    let candidates = query.candidates();
    let mut found: HashSet<String> = HashSet::new();
    let mut side = async |side: VectorQuery| -> Result<u64> {
        let of_side = store.search(&side).await?;
        let count = of_side.len() as u64;
        found.extend(of_side.into_iter().map(|result| result.id));
        Ok(count)
    };
    if query.text.is_some() {
        plan.candidates = side(query.text_side(candidates)).await?;
    }
    for name in query.sparse.keys() {
        let count = side(query.sparse_side(name, candidates)).await?;
        plan.sparse_candidates.insert(name.clone(), count);
    }
    if query.is_hybrid() {
        if !query.vector.is_empty() {
            plan.vector_candidates = side(query.vector_side(candidates)).await?;
        }
        plan.fused = found.len() as u64;
        plan.fusion = Some(query.fusion());
    }
    Ok(Some(plan))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn each_side_asks_for_its_candidates_and_nothing_else() {
        let query = VectorQuery::new([1.0], 30)
            .with_text("graph")
            .with_fusion(Fusion::Dbsf)
            .with_threshold(0.5)
            .with_ef_search(40)
            .with_exact(true)
            .with_recency(Duration::from_secs(1))
            .with_mmr(0.5)
            .with_group_by("a", 1)
            .with_offset(10)
            .with_snippets(100)
            .with_texts(true);
        assert!(query.is_hybrid());
        assert_eq!(query.candidates(), 160);
        let vectors = VectorQuery::new([1.0], 160)
            .with_metadata(false)
            .with_threshold(0.5)
            .with_ef_search(160)
            .with_exact(true);
        assert_eq!(query.vector_side(160), vectors);
        assert_eq!(
            query.text_side(160),
            VectorQuery::text("graph", 160).with_metadata(false)
        );
        let words = VectorQuery::text("graph", 5).with_threshold(2.0);
        assert_eq!(words.text_side(100).threshold, Some(2.0), "its own score");
        assert_eq!(
            [1, 25, 26, 10_000].map(|k| words.clone().with_k(k).candidates()),
            [100, 100, 104, 10_000]
        );
    }

    #[test]
    fn a_query_of_words_has_a_form_in_json() {
        let json = json!({
            "vector": [1.0], "text": "graph", "k": 5, "scope": "global", "fusion": {"linear": {"alpha": 0.5}},
            "snippets": 80, "include_texts": true,
        });
        let query = VectorQuery::new([1.0], 5)
            .with_text("graph")
            .with_fusion(Fusion::Linear { alpha: 0.5 })
            .with_snippets(80)
            .with_texts(true);
        assert_eq!(serde_json::to_value(&query).unwrap(), json);
        assert_eq!(serde_json::from_value::<VectorQuery>(json).unwrap(), query);
        let words: VectorQuery = serde_json::from_value(json!({"text": "graph", "k": 5})).unwrap();
        assert_eq!(words, VectorQuery::text("graph", 5));
    }
}
