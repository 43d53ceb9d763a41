//! Checks of all input. For implementers of [`VectorStorage`](crate::VectorStorage): call them before anything is
//! touched.

use std::collections::HashMap;

use llmspell_state_traits::StateScope;
use llmspell_text::{Fusion, FusionError};
use serde_json::Value;

use super::config::HNSWConfig;
use super::entry::VectorEntry;
use super::list::ListQuery;
use super::query::VectorQuery;
use super::sample::SampleQuery;
use super::sparse::{self, SparseVector};
use super::texts::TextConfig;
pub use crate::check::dim;
use crate::check::{at_most, in_range, page};
use crate::error::{Result, StorageError};
use crate::expiry::Expiry;
use crate::fields::Metadata;
use crate::filter::{DateFields, FieldPath, Filter};
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_ITEMS_MAX, EF_SEARCH_MAX, ID_BYTES_MAX, K_MAX, METADATA_BYTES_MAX, METADATA_DEPTH_MAX,
    PAGE_MAX, QUERY_SCOPES_MAX, QUERY_TEXT_BYTES_MAX, SNIPPET_BYTES_RANGE, TEXT_BYTES_MAX,
};
use crate::metric::DistanceMetric;
use crate::text::shortened;

/// Below this norm the squares of an `f32` vector vanish, and with them its direction.
const NORM_MIN: f64 = 1.0e-15;

/// Checks an id that names an entry.
///
/// # Errors
///
/// [`StorageError::InvalidName`] if it is empty, [`StorageError::LimitExceeded`] if it is too long.
pub fn id(id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(StorageError::InvalidName {
            what: "id",
            name: String::new(),
            reason: "it is empty",
        });
    }
    at_most("id", id, id.len(), ID_BYTES_MAX, "bytes")
}

/// Checks a vector; `id` is for the error text.
///
/// # Errors
///
/// [`StorageError::Dimension`], [`StorageError::NonFinite`] (also if the norm is not finite), and under cosine
/// [`StorageError::ZeroVector`].
pub fn vector(id: &str, vector: &[f32], dim: usize, metric: DistanceMetric) -> Result<()> {
    if vector.len() != dim {
        return Err(StorageError::Dimension {
            id: shortened(id),
            expected: dim,
            got: vector.len(),
        });
    }
    let norm_squared = norm_squared(vector);
    // The sum of finite squares is finite in f64, so one test finds NaN and infinity, the other a norm too large for
    // f32.
    let too_long = norm_squared.sqrt() > f64::from(f32::MAX).sqrt();
    if !norm_squared.is_finite() || too_long {
        let index = vector
            .iter()
            .position(|component| !component.is_finite())
            .or_else(|| (0..dim).max_by(|a, b| vector[*a].abs().total_cmp(&vector[*b].abs())))
            .unwrap_or(0);
        return Err(StorageError::NonFinite {
            id: shortened(id),
            index,
            value: vector[index],
        });
    }
    if metric == DistanceMetric::Cosine && norm_squared.sqrt() < NORM_MIN {
        return Err(StorageError::ZeroVector { id: shortened(id) });
    }
    Ok(())
}

/// Checks the scopes of a call.
///
/// # Errors
///
/// [`StorageError::Scope`] for the first bad one, [`StorageError::LimitExceeded`] if there are more than
/// [`BATCH_ITEMS_MAX`].
pub fn scopes(scopes: &[StateScope]) -> Result<()> {
    at_most("batch", "", scopes.len(), BATCH_ITEMS_MAX, "scopes")?;
    scopes.iter().try_for_each(|scope| Ok(scope.validate()?))
}

/// The scope of a query that is to be explained.
///
/// # Errors
///
/// [`StorageError::OutOfRange`] if it names several: each of them is searched in its own way.
pub fn explained_scope(query: &VectorQuery) -> Result<&StateScope> {
    let scopes = query.searched_scopes();
    in_range("number of scopes of an explained query", scopes.len(), 1..=1)?;
    Ok(scopes[0])
}

/// Eight independent sums, so that additions need not wait for each other: every search runs this.
fn norm_squared(vector: &[f32]) -> f64 {
    let square = |component: f32| f64::from(component) * f64::from(component);
    let (lanes, rest) = vector.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for components in lanes {
        for (sum, component) in sums.iter_mut().zip(components) {
            *sum += square(*component);
        }
    }
    sums.into_iter()
        .chain(rest.iter().map(|component| square(*component)))
        .sum()
}

/// Checks the metadata of an entry: an object (or null), not too deep. Its size is checked by [`metadata_bytes`], once
/// it is serialized.
///
/// # Errors
///
/// [`StorageError::MetadataNotObject`] or [`StorageError::LimitExceeded`].
pub fn metadata(id: &str, value: &Value) -> Result<()> {
    let got = match value {
        Value::Object(fields) => return metadata_fields(id, fields),
        Value::Null => return Ok(()),
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    Err(StorageError::MetadataNotObject { id: shortened(id), got })
}

/// Checks the nesting of the fields of an entry.
///
/// # Errors
///
/// [`StorageError::LimitExceeded`].
pub fn metadata_fields(id: &str, fields: &Metadata) -> Result<()> {
    // A loop, not a recursion: the depth is not bounded yet.
    let mut rest: Vec<(&Value, usize)> = fields.values().map(|value| (value, 1)).collect();
    while let Some((value, depth)) = rest.pop() {
        let inner_depth = depth + 1;
        match value {
            Value::Object(inner) => rest.extend(inner.values().map(|value| (value, inner_depth))),
            Value::Array(inner) => rest.extend(inner.iter().map(|value| (value, inner_depth))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => continue,
        }
        at_most("metadata of", id, inner_depth, METADATA_DEPTH_MAX, "levels")?;
    }
    Ok(())
}

/// Checks the size of metadata as compact JSON.
///
/// # Errors
///
/// [`StorageError::LimitExceeded`].
pub fn metadata_bytes(id: &str, len: usize) -> Result<()> {
    at_most("metadata of", id, len, METADATA_BYTES_MAX, "bytes")
}

/// Checks the dimension of a space with these settings: 0 is for a space of texts alone.
///
/// # Errors
///
/// [`StorageError::OutOfRange`].
pub fn space_dim(dim: usize, config: &HNSWConfig) -> Result<()> {
    match (dim, config.texts()) {
        (0, Some(_)) => Ok(()),
        _ => self::dim(dim),
    }
}

/// Checks the size of an entry's own text.
///
/// # Errors
///
/// [`StorageError::LimitExceeded`].
pub fn text(id: &str, text: &str) -> Result<()> {
    at_most("text of", id, text.len(), TEXT_BYTES_MAX, "bytes")
}

/// Checks a sparse vector; `id` and `name` are for the error text.
///
/// # Errors
///
/// [`StorageError::Sparse`] for the first thing wrong, [`StorageError::LimitExceeded`] for too many components.
pub fn sparse_vector(id: &str, name: &str, vector: &SparseVector) -> Result<()> {
    vector.check(id, name)
}

/// Checks one entry of a space that indexes these texts, or none; its id may be empty.
///
/// # Errors
///
/// The first problem.
pub fn entry(entry: &VectorEntry, dim: usize, metric: DistanceMetric, texts: Option<&TextConfig>) -> Result<()> {
    if !entry.id.is_empty() {
        id(&entry.id)?;
    }
    entry.scope.validate()?;
    match texts {
        Some(_) if entry.embedding.is_empty() => {}
        _ => vector(&entry.id, &entry.embedding, dim, metric)?,
    }
    if let Some(own) = &entry.text {
        if texts.is_none() {
            return Err(StorageError::NoTexts {
                what: "entry",
                name: shortened(&entry.id),
            });
        }
        text(&entry.id, own)?;
    }
    sparse::check_all("entry", &entry.id, &entry.sparse, texts)?;
    if let Some(unwritable) = &entry.unwritable {
        return Err(unwritable.error(&entry.id));
    }
    metadata(&entry.id, &entry.metadata)?;
    let has_sparse = entry.sparse.values().any(|vector| !vector.is_empty());
    if entry.embedding.is_empty() && !has_sparse && texts.is_some_and(|texts| !texts.has_text(entry)) {
        return Err(StorageError::NoContent {
            id: shortened(&entry.id),
        });
    }
    if let Some(ttl) = entry.ttl {
        if entry.expires_at.is_some() {
            return Err(StorageError::InvalidName {
                what: "lifetime of",
                name: shortened(&entry.id),
                reason: "give ttl or expires_at, not both",
            });
        }
        Expiry::After(ttl).validate()?;
    }
    Ok(())
}

/// Checks all entries of a batch, and that no id occurs twice in one scope.
///
/// # Errors
///
/// The first problem.
pub fn batch(entries: &[VectorEntry], dim: usize, metric: DistanceMetric, texts: Option<&TextConfig>) -> Result<()> {
    batch_by(entries, |entry| self::entry(entry, dim, metric, texts))
}

/// Checks a batch, its entries by `check_entry`: the number of entries, and that no id occurs twice in one scope.
///
/// # Errors
///
/// The first problem.
pub fn batch_by(entries: &[VectorEntry], mut check_entry: impl FnMut(&VectorEntry) -> Result<()>) -> Result<()> {
    at_most("batch", "write", entries.len(), BATCH_ITEMS_MAX, "items")?;
    entries.iter().try_for_each(&mut check_entry)?;
    let mut seen = HashMap::with_capacity(entries.len());
    for (second, entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.id.is_empty()) {
        if let Some(first) = seen.insert((&entry.scope, entry.id.as_str()), second) {
            return Err(StorageError::DuplicateId {
                id: shortened(&entry.id),
                first,
                second,
            });
        }
    }
    Ok(())
}

/// Checks ids of a batch.
///
/// # Errors
///
/// The first problem.
pub fn ids(ids: &[String]) -> Result<()> {
    at_most("batch", "ids", ids.len(), BATCH_ITEMS_MAX, "items")?;
    ids.iter().try_for_each(|name| id(name))
}

/// Checks the size of a batch: vectors as `f32`, texts, and metadata as compact JSON.
///
/// # Errors
///
/// [`StorageError::LimitExceeded`].
pub fn batch_bytes(len: usize) -> Result<()> {
    at_most("batch", "write", len, BATCH_BYTES_MAX, "bytes")
}

/// Checks a query of a space that indexes these texts, or none.
///
/// # Errors
///
/// The first problem.
pub fn query(query: &VectorQuery, dim: usize, metric: DistanceMetric, texts: Option<&TextConfig>) -> Result<()> {
    asked_scopes(&query.scope, query.scopes.as_deref())?;
    in_range("k", query.k, 1..=K_MAX)?;
    in_range("offset", query.offset, 0..=K_MAX - query.k)?;
    if !query.is_by_terms() || !query.vector.is_empty() {
        vector("query", &query.vector, dim, metric)?;
    }
    words(query, texts)?;
    if let Some(ef_search) = query.ef_search {
        in_range("ef_search", ef_search, query.k..=EF_SEARCH_MAX)?;
    }
    if let Some(threshold) = query.threshold
        && threshold.is_nan()
    {
        return Err(StorageError::OutOfRange {
            what: "threshold",
            got: f64::NAN,
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
        });
    }
    if let Some(range) = query.event_time {
        range.check("event time range")?;
    }
    if let Some(range) = query.ingested {
        range.check("ingested range")?;
    }
    if let Some(half_life) = query.recency {
        super::recency::check(half_life)?;
    }
    super::selection::check(query)?;
    // The filter is also checked alone, so that an error gives the place in the user's own filter.
    query.filter.as_ref().map_or(Ok(()), filter)?;
    match query.event_time.or(query.ingested) {
        Some(_) => query.whole_filter().map_or(Ok(()), |whole| filter(&whole)),
        None => Ok(()),
    }
}

/// Checks the words of a query, and what it asks of texts.
fn words(query: &VectorQuery, texts: Option<&TextConfig>) -> Result<()> {
    let refused = |what, name: String, reason| Err(StorageError::InvalidName { what, name, reason });
    if let Some(words) = &query.text {
        if texts.is_none() {
            return Err(StorageError::NoTexts {
                what: "query",
                name: shortened(words),
            });
        }
        at_most("query", words, words.len(), QUERY_TEXT_BYTES_MAX, "bytes")?;
    }
    sparse::check_all("query", "query", &query.sparse, texts)?;
    if let Some(fusion) = query.fusion {
        if !query.is_hybrid() {
            return refused(
                "fusion",
                fusion.to_string(),
                "it needs two of words, a vector and sparse vectors",
            );
        }
        if matches!(fusion, Fusion::Linear { .. }) && query.sides() > 2 {
            return refused(
                "fusion",
                fusion.to_string(),
                "it is of two sides, and the query has more",
            );
        }
        fusion.validate().map_err(|error| fusion_error(&error))?;
    }
    if let Some(threshold) = query.threshold
        && query.is_hybrid()
        && query.vector.is_empty()
    {
        return refused(
            "threshold",
            threshold.to_string(),
            "of a hybrid search it is of the vector side, and the query has no vector",
        );
    }
    if let Some(bytes) = query.snippets {
        if query.text.is_none() {
            return refused("snippets", bytes.to_string(), "they need a query of words");
        }
        in_range("size of snippets in bytes", bytes, SNIPPET_BYTES_RANGE)?;
        if texts.is_some_and(|texts| !texts.keep() && texts.fields().is_empty()) {
            return Err(StorageError::TextsNotKept { what: "snippets" });
        }
    }
    match texts {
        Some(texts) if query.include_texts && !texts.keep() => Err(StorageError::TextsNotKept {
            what: "texts in results",
        }),
        None if query.include_texts => Err(StorageError::NoTexts {
            what: "query",
            name: "texts in results".to_string(),
        }),
        _ => Ok(()),
    }
}

fn fusion_error(error: &FusionError) -> StorageError {
    let (what, got, min, max) = match *error {
        FusionError::Alpha(alpha) => ("alpha of linear fusion", alpha, 0.0, 1.0),
        FusionError::K(k) => ("k of reciprocal rank fusion", k, f32::MIN_POSITIVE, f32::MAX),
        _ => ("fusion", f32::NAN, 0.0, 0.0),
    };
    StorageError::OutOfRange {
        what,
        got: f64::from(got),
        min: f64::from(min),
        max: f64::from(max),
    }
}

/// Checks the scopes that a query names: one, or several instead.
fn asked_scopes(scope: &StateScope, scopes: Option<&[StateScope]>) -> Result<()> {
    let Some(scopes) = scopes else {
        return Ok(scope.validate()?);
    };
    in_range("number of scopes", scopes.len(), 1..=QUERY_SCOPES_MAX)?;
    Ok(scopes.iter().try_for_each(StateScope::validate)?)
}

/// Checks the query of a listing.
///
/// # Errors
///
/// The first thing wrong; [`StorageError::CursorOrder`] if its cursor is of another order.
pub fn list_query(query: &ListQuery) -> Result<()> {
    asked_scopes(&query.scope, query.scopes.as_deref())?;
    page(query.limit)?;
    query.check()?;
    query.filter.as_ref().map_or(Ok(()), filter)
}

/// Checks the query of a sample.
///
/// # Errors
///
/// The first thing wrong.
pub fn sample_query(query: &SampleQuery) -> Result<()> {
    asked_scopes(&query.scope, query.scopes.as_deref())?;
    in_range("size of the sample", query.size, 1..=PAGE_MAX)?;
    query.filter.as_ref().map_or(Ok(()), filter)
}

/// Checks a field whose values are counted.
///
/// # Errors
///
/// [`StorageError::Filter`] if it is no path, or a time of entries.
pub fn facet_field(field: &FieldPath) -> Result<()> {
    Filter::exists(field.clone()).validate()?;
    DateFields::of([field.clone()])?;
    Ok(())
}

/// Checks a filter; checks that depend on the date fields are left to [`Filter::compile`].
///
/// # Errors
///
/// [`StorageError::Filter`] with the first problem.
pub fn filter(filter: &Filter) -> Result<()> {
    Ok(filter.validate()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::timestamp::Timestamp;

    fn text(result: Result<()>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn nan_infinity_and_overflow_are_refused_with_the_place() {
        let check = |components: &[f32]| vector("v", components, components.len(), DistanceMetric::Euclidean);
        assert!(text(check(&[0.0, f32::NAN])).contains("component 1 is NaN"));
        assert!(text(check(&[f32::NEG_INFINITY, 0.0])).contains("component 0 is -inf"));
        assert!(text(check(&[1.0, 3.0e38])).contains("component 1 is 3"));
        check(&[1.0e-40, 0.0]).unwrap();
        check(&[0.0, 0.0]).unwrap();
    }

    #[test]
    fn a_vector_without_direction_is_refused_under_cosine_only() {
        for components in [[0.0, -0.0], [1.0e-40, 0.0]] {
            assert!(text(vector("v", &components, 2, DistanceMetric::Cosine)).contains("undefined"));
            vector("v", &components, 2, DistanceMetric::InnerProduct).unwrap();
        }
    }

    #[test]
    fn a_wrong_dimension_names_both() {
        assert_eq!(
            text(vector("v", &[1.0], 3, DistanceMetric::Cosine)),
            "vector `v`: dimension mismatch: expected 3, got 1"
        );
        assert!(text(dim(0)).contains("dimension is 0"));
        assert!(text(dim(65_536)).contains("1..=65535"));
    }

    #[test]
    fn metadata_bombs_are_refused() {
        let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
        metadata("e", &nested(METADATA_DEPTH_MAX)).unwrap();
        assert!(text(metadata("e", &nested(METADATA_DEPTH_MAX + 1))).contains("33 levels; at most 32"));
        let arrays = (0..100).fold(json!([]), |inner, _| json!([inner]));
        assert!(text(metadata("e", &json!({ "a": arrays }))).contains("levels"));
        assert!(text(metadata("e", &json!([1]))).contains("is a JSON array"));
        assert!(text(metadata_bytes("e", METADATA_BYTES_MAX + 1)).contains("65537 bytes"));
        metadata("e", &Value::Null).unwrap();
    }

    #[test]
    fn an_id_twice_in_one_scope_is_refused_but_not_in_two_scopes_and_not_the_empty_one() {
        use llmspell_state_traits::StateScope::User;
        let entry = |id: &str, user: &str| VectorEntry::new(id, vec![1.0]).with_scope(User(user.into()));
        let check = |entries: &[VectorEntry]| batch(entries, 1, DistanceMetric::Cosine, None);
        check(&[entry("a", "x"), entry("a", "y"), entry("", "x"), entry("", "x")]).unwrap();
        assert!(text(check(&[entry("a", "x"), entry("b", "x"), entry("a", "x")])).contains("(entries 0 and 2)"));
    }

    #[test]
    fn a_query_out_of_range_is_refused() {
        let check = |query: VectorQuery| super::query(&query, 1, DistanceMetric::Cosine, None);
        let ok = || VectorQuery::new(vec![1.0], 10);
        check(ok()).unwrap();
        assert!(text(check(VectorQuery::new(vec![1.0], 0))).contains("k is 0; it must be within 1..=10000"));
        assert!(text(check(VectorQuery::new(vec![1.0], 10_001))).contains("k is 10001"));
        check(ok().with_offset(K_MAX - 10)).unwrap();
        assert!(text(check(ok().with_offset(K_MAX))).contains("offset is 10000; it must be within 0..=9990"));
        assert!(text(check(ok().with_ef_search(9))).contains("ef_search is 9; it must be within 10..="));
        assert!(text(check(ok().with_threshold(f32::NAN))).contains("threshold is NaN"));
        check(ok().with_threshold(f32::NEG_INFINITY)).unwrap();
        let deep = (0..40).fold(Filter::eq("a", 1), |inner, _| Filter::not(inner));
        assert!(text(check(ok().with_filter(deep))).contains("33 levels"));
        let wide = Filter::is_in("a", 0..70_000);
        assert!(text(check(ok().with_filter(wide))).contains("70000 values"));
    }

    #[test]
    fn an_entry_has_a_vector_or_a_text_and_a_text_only_where_words_are_indexed() {
        let texts = TextConfig::default().with_fields(["title"]);
        let check =
            |entry: &VectorEntry, texts: Option<&TextConfig>| self::entry(entry, 1, DistanceMetric::Cosine, texts);
        let bare = || VectorEntry::new("e", Vec::<f32>::new());
        let with_text = VectorEntry::new("e", [1.0]).with_text("");
        check(&with_text, Some(&texts)).unwrap();
        let refused = text(check(&with_text, None));
        assert!(
            refused.starts_with("entry `e` has words, and this space does not index words"),
            "{refused}"
        );
        for alone in [bare().with_text("a"), bare().with_metadata(json!({"title": ["", "a"]}))] {
            check(&alone, Some(&texts)).unwrap();
            super::entry(&alone, 0, DistanceMetric::Cosine, Some(&texts)).unwrap();
            assert!(text(check(&VectorEntry { text: None, ..alone }, None)).contains("expected 1, got 0"));
        }
        for nothing in [
            bare(),
            bare().with_text(""),
            bare().with_metadata(json!({"title": 1, "other": "a"})),
        ] {
            assert!(text(check(&nothing, Some(&texts))).contains("neither a vector nor a text"));
        }
        let dims = text(super::entry(&with_text, 0, DistanceMetric::Cosine, Some(&texts)));
        assert!(dims.contains("expected 0, got 1"), "{dims}");
        check(&bare().with_text("a".repeat(TEXT_BYTES_MAX)), Some(&texts)).unwrap();
        let long = text(check(&bare().with_text("a".repeat(TEXT_BYTES_MAX + 1)), Some(&texts)));
        assert!(
            long.contains("text of `e` has 1048577 bytes; at most 1048576"),
            "{long}"
        );
    }

    #[test]
    fn a_dimension_of_0_is_for_texts_alone() {
        space_dim(0, &HNSWConfig::fast().with_text_fields(["a"])).unwrap();
        space_dim(1, &HNSWConfig::fast().with_text_fields(["a"])).unwrap();
        assert!(text(space_dim(0, &HNSWConfig::fast())).contains("dimension is 0"));
    }

    #[test]
    fn words_are_searched_only_where_they_are_indexed() {
        use llmspell_text::Fusion;
        let (kept, unkept) = (TextConfig::default(), TextConfig::default().with_keep(false));
        let check = |query: &VectorQuery, texts| super::query(query, 1, DistanceMetric::Cosine, texts);
        let words = || VectorQuery::text("graph", 5);
        let hybrid = || VectorQuery::new([1.0], 5).with_text("graph");
        for query in [
            words(),
            hybrid(),
            hybrid().with_fusion(Fusion::Dbsf),
            words().with_snippets(16),
        ] {
            check(&query, Some(&kept)).unwrap();
            assert!(text(check(&query, None)).starts_with("query `graph` has words, and this space does not"));
        }
        check(&VectorQuery::text("", 5), Some(&kept)).unwrap();
        assert!(
            text(check(&VectorQuery::new([1.0, 2.0], 5).with_text("a"), Some(&kept))).contains("expected 1, got 2")
        );
        assert!(text(check(&VectorQuery::new([0.0; 0], 5), Some(&kept))).contains("expected 1, got 0"));
        let refused = |query: VectorQuery| text(check(&query, Some(&kept)));
        let only_one = "fusion `dbsf` is not allowed: it needs two of words, a vector and sparse vectors";
        assert_eq!(refused(words().with_fusion(Fusion::Dbsf)), only_one);
        assert_eq!(refused(VectorQuery::new([1.0], 5).with_fusion(Fusion::Dbsf)), only_one);
        assert!(refused(hybrid().with_fusion(Fusion::Rrf { k: 0.0 })).contains("k of reciprocal rank fusion is 0;"));
        assert!(
            refused(hybrid().with_fusion(Fusion::Linear { alpha: 1.5 })).contains("is 1.5; it must be within 0..=1")
        );
        assert!(
            refused(words().with_snippets(15))
                .contains("size of snippets in bytes is 15; it must be within 16..=65536")
        );
        assert!(refused(VectorQuery::new([1.0], 5).with_snippets(100)).contains("they need a query of words"));
        assert!(
            refused(VectorQuery::text("a".repeat(QUERY_TEXT_BYTES_MAX + 1), 5)).contains("65537 bytes; at most 65536")
        );
        assert!(text(check(&words().with_snippets(100), Some(&unkept))).starts_with("snippets: this space"));
        let of_field = unkept.clone().with_fields(["a"]);
        super::query(&words().with_snippets(100), 1, DistanceMetric::Cosine, Some(&of_field)).unwrap();
        let with_texts = VectorQuery::new([1.0], 5).with_texts(true);
        check(&with_texts, Some(&kept)).unwrap();
        assert!(text(check(&with_texts, Some(&unkept))).starts_with("texts in results: this space"));
        assert!(text(check(&with_texts, None)).contains("does not index words"));
    }

    #[test]
    fn a_lifetime_must_be_positive_and_given_once() {
        let check = |ttl: Duration| {
            entry(
                &VectorEntry::new("e", vec![1.0]).with_ttl(ttl),
                1,
                DistanceMetric::Cosine,
                None,
            )
        };
        check(Duration::from_secs(1)).unwrap();
        assert!(text(check(Duration::ZERO)).contains("ttl in milliseconds is 0"));
        assert!(text(check(Duration::MAX)).contains("ttl in milliseconds is"));
        let mut both = VectorEntry::new("e", vec![1.0]).with_ttl(Duration::from_secs(1));
        both.expires_at = Some(Timestamp::from_millis(1));
        assert!(text(entry(&both, 1, DistanceMetric::Cosine, None)).contains("not both"));
    }

    #[test]
    fn an_id_must_be_named_and_short() {
        assert!(text(id("")).contains("it is empty"));
        id(&"x".repeat(ID_BYTES_MAX)).unwrap();
        assert!(text(id(&"x".repeat(ID_BYTES_MAX + 1))).contains("1025 bytes"));
    }
}
