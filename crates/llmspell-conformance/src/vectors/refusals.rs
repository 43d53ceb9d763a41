//! Bad input is refused, and changes nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::{DIM, assert_invalid, assert_kind, entry, exact, listed, user};
use llmspell_core::limits::{EF_SEARCH_MAX, ID_BYTES_MAX, K_MAX, METADATA_BYTES_MAX, METADATA_DEPTH_MAX, PAGE_MAX};
use llmspell_core::{
    ErrorKind, Expiry, Filter, StateScope, StorageError, Timestamp, VectorEntry, VectorQuery, VectorStorage,
};

fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }))
}

/// Metadata whose compact JSON has this many bytes.
fn sized(bytes: usize) -> Value {
    let metadata = json!({"t": "x".repeat(bytes - r#"{"t":""}"#.len())});
    assert_eq!(metadata.to_string().len(), bytes);
    metadata
}

fn bad_entries() -> Vec<(&'static str, VectorEntry)> {
    let with = |vector: Vec<f32>| VectorEntry::new("bad", vector);
    let fine = || entry("bad", [1.0; 3]);
    let mut two_ends = fine().with_ttl(Duration::from_secs(3600));
    two_ends.expires_at = Some(Timestamp::from_millis(i64::MAX));
    vec![
        ("NaN", with(vec![1.0, f32::NAN, 1.0])),
        ("infinity", with(vec![f32::INFINITY, 1.0, 1.0])),
        ("minus infinity", with(vec![1.0, 1.0, f32::NEG_INFINITY])),
        ("a vector without finite norm", with(vec![f32::MAX, f32::MAX, f32::MAX])),
        ("no component", with(vec![])),
        ("a component too few", with(vec![1.0; DIM - 1])),
        ("a component too many", with(vec![1.0; DIM + 1])),
        (
            "an id beyond the limit",
            VectorEntry::new("é".repeat(ID_BYTES_MAX / 2) + "x", vec![1.0; DIM]),
        ),
        ("metadata that is a list", fine().with_metadata(json!([1]))),
        ("metadata that is a text", fine().with_metadata(json!("text"))),
        (
            "metadata too deep",
            fine().with_metadata(nested(METADATA_DEPTH_MAX + 1)),
        ),
        ("metadata deeper than a stack", fine().with_metadata(nested(2_000))),
        (
            "metadata too large",
            fine().with_metadata(sized(METADATA_BYTES_MAX + 1)),
        ),
        ("a scope without id", fine().with_scope(user(""))),
        ("a scope of 10 KiB", fine().with_scope(user(&"x".repeat(10 << 10)))),
        ("no lifetime", fine().with_ttl(Duration::ZERO)),
        ("a lifetime beyond time", fine().with_ttl(Duration::MAX)),
        ("two ends", two_ends),
    ]
}

/// A bad entry is refused by insert and upsert with its whole batch, at any position.
pub async fn a_bad_entry_is_refused_with_its_whole_batch(store: &dyn VectorStorage) {
    store.insert(vec![entry("old", [1.0; 3])]).await.unwrap();
    let before = store.list(&StateScope::Global, None, 10).await.unwrap();
    for (what, bad) in bad_entries() {
        for place in 0..3 {
            let mut batch = vec![
                entry("good", [2.0; 3]),
                entry("elsewhere", [2.0; 3]).with_scope(user("ada")),
            ];
            batch.insert(place, bad.clone());
            assert_invalid(store.insert(batch.clone()).await, what);
            batch.push(entry("old", [9.0; 3]));
            assert_invalid(store.upsert(batch).await, what);
        }
        assert_eq!(
            store.list(&StateScope::Global, None, 10).await.unwrap(),
            before,
            "{what} changed something"
        );
        assert_eq!(store.stats().await.unwrap().vectors, 1, "{what} changed something");
    }
    assert_eq!(store.search(&exact([1.0; 3], 10)).await.unwrap().len(), 1);
}

/// A query out of range is refused.
pub async fn a_bad_query_is_refused(store: &dyn VectorStorage) {
    store.insert(vec![entry("doc", [1.0; 3])]).await.unwrap();
    let with = |vector: Vec<f32>| VectorQuery::new(vector, 1);
    let fine = |k| exact([1.0; 3], k);
    let deep = (0..40).fold(Filter::eq("a", 1), |inner, _| Filter::not(inner));
    let at = Timestamp::from_millis;
    let bad = [
        ("k = 0", fine(0)),
        ("k beyond the limit", fine(K_MAX + 1)),
        ("k = usize::MAX", fine(usize::MAX)),
        ("NaN", with(vec![f32::NAN, 1.0, 1.0])),
        ("infinity", with(vec![1.0, 1.0, f32::INFINITY])),
        ("no component", with(vec![])),
        ("a component too few", with(vec![1.0; DIM - 1])),
        ("a component too many", with(vec![1.0; DIM + 1])),
        ("ef_search below k", fine(10).with_ef_search(9)),
        ("ef_search beyond the limit", fine(10).with_ef_search(EF_SEARCH_MAX + 1)),
        ("a threshold that is NaN", fine(10).with_threshold(f32::NAN)),
        ("a filter too deep", fine(10).with_filter(deep)),
        (
            "a time that is no moment",
            fine(10).with_filter(Filter::gt("@event_time", "soon")),
        ),
        (
            "a time that nobody has",
            fine(10).with_filter(Filter::exists("@deleted_at")),
        ),
        (
            "a range of event times that ends before it begins",
            fine(10).with_event_time_range(at(2)..at(1)),
        ),
        (
            "a range of creations that ends before it begins",
            fine(10).with_ingested_range(at(2)..at(1)),
        ),
        ("no half-life", fine(10).with_recency(Duration::ZERO)),
        (
            "a half-life of less than a millisecond",
            fine(10).with_recency(Duration::from_micros(999)),
        ),
        (
            "a half-life beyond a century",
            fine(10).with_recency(Duration::from_secs(101 * 366 * 86_400)),
        ),
        ("a filter too wide", fine(10).with_filter(Filter::is_in("a", 0..70_000))),
        ("a filter without a field", fine(10).with_filter(Filter::eq("", 1))),
        ("a filter without conditions", fine(10).with_filter(Filter::all_of([]))),
        ("a filter with NaN", fine(10).with_filter(Filter::gt("a", f64::NAN))),
    ];
    for (what, query) in bad {
        assert_invalid(store.search(&query).await, what);
        assert_invalid(store.search_scoped(&query, &user("nobody")).await, what);
    }
    let error = store.search(&with(vec![1.0; 5])).await.unwrap_err();
    // A store of several spaces lists its spaces.
    let are_named = match &error {
        StorageError::Dimension { expected, got, .. } => (*expected, *got) == (DIM, 5),
        StorageError::UnknownDimension { dim, known } => {
            *dim == 5 && known.iter().any(|space| space.contains("3 comp"))
        }
        _ => false,
    };
    assert!(are_named, "{error}: both are named");
    assert_eq!(
        store
            .search(&fine(K_MAX).with_ef_search(EF_SEARCH_MAX))
            .await
            .unwrap()
            .len(),
        1,
        "the limits are fine"
    );
}

/// A scope without id or with one too long is refused by every call: no owner never means every owner.
pub async fn a_bad_scope_is_refused_everywhere(store: &dyn VectorStorage) {
    store.insert(vec![entry("doc", [1.0; 3])]).await.unwrap();
    let ids = ["doc".to_string()];
    for bad in [user(""), StateScope::Custom(String::new()), user(&"x".repeat(10 << 10))] {
        assert_invalid(
            store.insert(vec![entry("new", [1.0; 3]).with_scope(bad.clone())]).await,
            "insert",
        );
        assert_invalid(
            store.search(&exact([1.0; 3], 1).with_scope(bad.clone())).await,
            "search",
        );
        assert_invalid(store.search_scoped(&exact([1.0; 3], 1), &bad).await, "search_scoped");
        assert_invalid(store.get(&bad, "doc").await, "get");
        assert_invalid(
            store.update_metadata(&bad, "doc", Default::default()).await,
            "update_metadata",
        );
        assert_invalid(store.touch(&bad, &ids, Expiry::Never).await, "touch");
        assert_invalid(store.delete(&bad, &ids).await, "delete");
        assert_invalid(store.delete_scope(&bad).await, "delete_scope");
        let among_good = [StateScope::Global, bad.clone()];
        assert_invalid(store.delete_scopes(&among_good).await, "delete_scopes");
        assert_invalid(store.list(&bad, None, 1).await, "list");
        assert_invalid(store.count(&bad).await, "count");
        assert_invalid(store.stats_for_scope(&bad).await, "stats_for_scope");
    }
    assert_eq!(store.stats().await.unwrap().vectors, 1);
    assert_eq!(store.scopes().await.unwrap(), [StateScope::Global]);
}

/// The empty id and one too long are refused by every call that names an entry.
pub async fn a_bad_id_is_refused_everywhere(store: &dyn VectorStorage) {
    let scope = StateScope::Global;
    store.insert(vec![entry("doc", [1.0; 3])]).await.unwrap();
    for bad in [String::new(), "x".repeat(ID_BYTES_MAX + 1)] {
        assert_invalid(store.get(&scope, &bad).await, "get");
        assert_invalid(
            store.update_metadata(&scope, &bad, Default::default()).await,
            "update_metadata",
        );
        let ids = ["doc".into(), bad];
        let ended = Expiry::At(Timestamp::from_millis(1));
        assert_invalid(store.touch(&scope, &ids, ended).await, "touch");
        assert_invalid(store.delete(&scope, &ids).await, "delete");
    }
    for ttl in [Duration::ZERO, Duration::from_nanos(999_999), Duration::MAX] {
        let touched = store.touch(&scope, &["doc".into()], Expiry::After(ttl)).await;
        assert_invalid(touched, "a lifetime out of range");
    }
    assert_eq!(listed(store, &scope).await, ["doc"], "and nothing changed");
}

/// A page limit of 0, or above the maximum, is refused.
pub async fn a_page_out_of_range_is_refused(store: &dyn VectorStorage) {
    for limit in [0, PAGE_MAX + 1, usize::MAX] {
        assert_invalid(
            store.list(&StateScope::Global, None, limit).await,
            "a page out of range",
        );
        assert_invalid(store.list(&user("nobody"), None, limit).await, "a page out of range");
    }
}

/// Metadata up to the limits of depth and size is kept; beyond, `update_metadata` refuses it and changes nothing.
pub async fn metadata_up_to_the_limits_is_kept_and_more_is_refused(store: &dyn VectorStorage) {
    let scope = StateScope::Global;
    for (id, metadata) in [
        ("deep", nested(METADATA_DEPTH_MAX)),
        ("large", sized(METADATA_BYTES_MAX)),
    ] {
        store
            .insert(vec![entry(id, [1.0; 3]).with_metadata(metadata.clone())])
            .await
            .unwrap();
        let found = store.get(&scope, id).await.unwrap().unwrap();
        assert!(found.metadata == metadata, "{id} metadata at the limit is kept");
        for bad in [nested(METADATA_DEPTH_MAX + 1), sized(METADATA_BYTES_MAX + 1)] {
            let fields = bad.as_object().cloned().unwrap();
            assert_invalid(
                store.update_metadata(&scope, id, fields).await,
                "metadata beyond a limit",
            );
        }
        assert_eq!(store.get(&scope, id).await.unwrap(), Some(found), "and nothing changed");
    }
    store
        .insert(vec![entry("none", [1.0; 3]).with_metadata(Value::Null)])
        .await
        .unwrap();
    let found = store.get(&scope, "none").await.unwrap().unwrap();
    assert!(
        found.metadata == json!({}) || found.metadata.is_null(),
        "null is no metadata"
    );
}

/// An entry that does not exist cannot be updated.
pub async fn what_is_not_there_cannot_be_updated(store: &dyn VectorStorage) {
    store
        .insert(vec![entry("doc", [1.0; 3]).with_scope(user("ada"))])
        .await
        .unwrap();
    for (scope, id) in [
        (user("ada"), "missing"),
        (user("bob"), "doc"),
        (StateScope::Global, "doc"),
    ] {
        let updated = store.update_metadata(&scope, id, Default::default()).await;
        assert_kind(ErrorKind::NotFound, updated, "an update of what is not there");
        assert_eq!(store.get(&scope, id).await.unwrap(), None, "an update makes nothing");
    }
}
