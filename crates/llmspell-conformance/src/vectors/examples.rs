//! Recommendations, patches and counts of several scopes follow their definitions.

use super::{assert_invalid, assert_kind, entry, exact, ids, scattered, user};
use llmspell_core::limits::METADATA_BYTES_MAX;
use llmspell_core::{
    ErrorKind, Example, Filter, Metadata, RecommendQuery, StateScope, StorageError, VectorEntry, VectorStorage,
};
use serde_json::{Value, json};

fn object(value: &Value) -> Metadata {
    value.as_object().cloned().unwrap_or_default()
}

/// A recommendation is a search for the average of the positive examples, moved away from that of the negative ones,
/// without the examples, in one scope and in several.
pub async fn a_recommendation_is_a_search_without_its_examples(store: &dyn VectorStorage) {
    let scopes = [user("ada"), user("bob")];
    let vectors: Vec<_> = scattered(24).collect();
    let batch = vectors
        .iter()
        .enumerate()
        .map(|(number, vector)| entry(&format!("e-{number:02}"), *vector).with_scope(scopes[number % 2].clone()));
    let same_name = entry("e-00", [0.5; 3]).with_scope(scopes[1].clone());
    store.insert(batch.chain([same_name]).collect()).await.unwrap();
    let like = RecommendQuery::like("e-00", 6)
        .and_like("e-04")
        .and_like(Example::vector([1.0, 2.0, 3.0]));
    let like = like.with_query(|query| query.with_exact(true).with_scope(scopes[0].clone()));
    let average = |axis: usize| (vectors[0][axis] + vectors[4][axis] + [1.0, 2.0, 3.0][axis]) / 3.0;
    let positive = [average(0), average(1), average(2)];
    let beyond = [0, 1, 2].map(|axis| 2.0 * positive[axis] - vectors[8][axis]);
    let both = like
        .clone()
        .unlike("e-08")
        .with_query(|query| query.with_scopes(scopes.clone()));
    let shares = [
        (like, positive, vec!["e-00", "e-04"]),
        (both, beyond, vec!["e-00", "e-04", "e-08"]),
    ];
    for (asked, target, examples) in shares {
        let mut plain = exact(target, 100).with_scope(scopes[0].clone());
        plain.scopes.clone_from(&asked.query.scopes);
        let whole = store.search(&plain).await.unwrap();
        let expected: Vec<&str> = ids(&whole).into_iter().filter(|id| !examples.contains(id)).collect();
        let found = store.recommend(&asked).await.unwrap();
        assert_eq!(ids(&found), expected[..6]);
        let next = asked.with_query(|query| query.with_offset(6));
        let found = store.recommend(&next).await.unwrap();
        assert_eq!(ids(&found), expected[6..expected.len().min(12)], "the second page");
    }
}

/// A recommendation without examples, or by an id that does not exist, is refused.
pub async fn a_recommendation_needs_examples_that_are_there(store: &dyn VectorStorage) {
    let elsewhere = entry("elsewhere", [1.0; 3]).with_scope(user("ada"));
    store.insert(vec![entry("here", [1.0; 3]), elsewhere]).await.unwrap();
    let by = |id: &str| RecommendQuery::like(id, 5);
    assert!(store.recommend(&by("here")).await.unwrap().is_empty());
    assert_kind(
        ErrorKind::NotFound,
        store.recommend(&by("elsewhere")).await,
        "an example of another scope",
    );
    assert_kind(
        ErrorKind::NotFound,
        store.recommend(&by("here").unlike("nowhere")).await,
        "a missing example",
    );
    let mut without = by("here").unlike("here");
    without.positive.clear();
    assert_invalid(store.recommend(&without).await, "a recommendation without examples");
    assert_invalid(store.recommend(&by("")).await, "an empty id");
    let long = by("here").and_like(Example::vector([1.0; 4]));
    assert_invalid(store.recommend(&long).await, "examples of two dimensions");
    let grouped = by("here").with_query(|query| query.with_group_by("doc", 1));
    assert_invalid(store.recommend(&grouped).await, "a grouped recommendation");
}

/// A patch changes the fields that it names and no others, with the same effect as writing the whole: the entry is
/// found by it, and limits apply.
pub async fn a_patch_changes_the_fields_that_it_names(store: &dyn VectorStorage) {
    let scope = StateScope::Global;
    let given = json!({"lang": "en", "by": {"name": "Ada", "age": 36}, "tags": ["a", "b"], "old": 1});
    store
        .insert(vec![entry("doc", [1.0; 3]).with_metadata(given)])
        .await
        .unwrap();
    let patch =
        json!({"lang": "de", "by": {"age": 37, "name": null}, "tags": ["c"], "old": null, "new": {"x": null, "y": 1}});
    store.patch_metadata(&scope, "doc", object(&patch)).await.unwrap();
    let expected = json!({"lang": "de", "by": {"age": 37}, "tags": ["c"], "new": {"y": 1}});
    let read = async || store.get(&scope, "doc").await.unwrap().unwrap();
    assert_eq!(read().await.metadata, expected);
    let found = store
        .search(&exact([1.0; 3], 5).with_filter(Filter::eq("by.age", 37)))
        .await
        .unwrap();
    assert_eq!(ids(&found), ["doc"], "the new fields are found");
    let found = store
        .search(&exact([1.0; 3], 5).with_filter(Filter::eq("lang", "en")))
        .await
        .unwrap();
    assert!(found.is_empty(), "the old ones are not");

    let half = json!({ "a": "x".repeat(METADATA_BYTES_MAX / 2) });
    store.patch_metadata(&scope, "doc", object(&half)).await.unwrap();
    let before = read().await;
    let too_much = json!({ "b": "x".repeat(METADATA_BYTES_MAX / 2) });
    assert_invalid(
        store.patch_metadata(&scope, "doc", object(&too_much)).await,
        "a patch whose result is too large",
    );
    let deep = (0..40).fold(json!(1), |inner, _| json!({ "a": inner }));
    assert_invalid(
        store.patch_metadata(&scope, "doc", object(&deep)).await,
        "a patch that is too deep",
    );
    assert_eq!(read().await, before, "what was refused changed nothing");
    let missing: Result<(), StorageError> = store.patch_metadata(&scope, "nowhere", Metadata::new()).await;
    assert_kind(ErrorKind::NotFound, missing, "a patch of what is not there");
}

/// Scopes are counted together, each once.
pub async fn scopes_are_counted_together_each_once(store: &dyn VectorStorage) {
    let entries = ["a", "b", "c"].map(|id| entry(id, [1.0; 3]).with_scope(user("ada")));
    let others: Vec<VectorEntry> = ["a", "b"].map(|id| entry(id, [1.0; 3]).with_scope(user("bob"))).into();
    store.insert(entries.into_iter().chain(others).collect()).await.unwrap();
    let count = async |names: &[&str]| {
        let scopes: Vec<StateScope> = names.iter().map(|name| user(name)).collect();
        store.count_in(&scopes).await
    };
    assert_eq!(count(&[]).await.unwrap(), 0);
    assert_eq!(count(&["ada", "bob", "nobody"]).await.unwrap(), 5);
    assert_eq!(count(&["ada", "ada"]).await.unwrap(), 3);
    assert_invalid(count(&["ada", ""]).await, "a bad scope");
}
