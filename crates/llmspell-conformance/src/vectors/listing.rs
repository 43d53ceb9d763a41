//! Lists, scopes and statistics are right.

use serde_json::json;

use super::{DIM, METRIC, entry, exact, listed, scattered, user};
use llmspell_core::{Filter, StateScope, Timestamp, VectorStorage};

/// Pages of a list join to all entries of the scope in byte order of their ids, each as `get` returns it.
pub async fn pages_of_a_list_join_to_the_scope(store: &dyn VectorStorage) {
    let scope = user("ada");
    let mut expected: Vec<String> = ["A", "a", "a\0", "a/", "aa", "b", "\u{ffff}", "\u{10ffff}"]
        .map(String::from)
        .into();
    let batch = expected.iter().rev().zip(scattered(8)).map(|(id, vector)| {
        entry(id, vector)
            .with_scope(scope.clone())
            .with_metadata(json!({"id": id}))
    });
    store
        .insert(batch.chain([entry("aaa", [1.0; 3])]).collect())
        .await
        .unwrap();
    assert_eq!(store.delete(&scope, &["b".into()]).await.unwrap(), 1);
    expected.retain(|id| id != "b");

    for limit in [1, 2, 3, 6, 7, 8, llmspell_core::limits::PAGE_MAX] {
        let mut joined: Vec<String> = Vec::new();
        loop {
            let page = store
                .list(&scope, joined.last().map(String::as_str), limit)
                .await
                .unwrap();
            assert!(page.len() <= limit);
            let is_last = page.len() < limit;
            for entry in page {
                assert_eq!(store.get(&scope, &entry.id).await.unwrap().as_ref(), Some(&entry));
                joined.push(entry.id);
            }
            assert!(
                joined.len() <= expected.len(),
                "pages of {limit} repeat entries: {joined:?}"
            );
            if is_last {
                break;
            }
        }
        assert_eq!(joined, expected, "pages of {limit}");
    }
    for (after, rest) in [
        ("", 7),
        ("a", 5),
        ("a/0", 3),
        ("b", 2),
        ("\u{10ffff}", 0),
        ("\u{10ffff}x", 0),
    ] {
        let page = store.list(&scope, Some(after), 100).await.unwrap();
        let found: Vec<_> = page.into_iter().map(|entry| entry.id).collect();
        assert_eq!(
            found,
            expected[expected.len() - rest..],
            "after {after:?}, which may be there or not"
        );
    }
}

/// `scopes` lists, in order, the scopes with entries, and none that was only read or was dropped.
pub async fn scopes_are_those_that_hold_entries(store: &dyn VectorStorage) {
    assert!(store.scopes().await.unwrap().is_empty());
    let mut expected = vec![
        StateScope::Global,
        user("a"),
        user("a/b"),
        user("é"),
        StateScope::Session("a".into()),
        StateScope::Custom("user:a".into()),
    ];
    let batch = expected
        .iter()
        .rev()
        .map(|scope| entry("doc", [1.0; 3]).with_scope(scope.clone()));
    store.insert(batch.collect()).await.unwrap();
    store
        .search(&exact([1.0; 3], 1).with_scope(user("asked")))
        .await
        .unwrap();
    store.delete(&user("asked"), &["doc".into()]).await.unwrap();
    expected.sort();
    assert_eq!(store.scopes().await.unwrap(), expected);
    assert_eq!(store.stats().await.unwrap().scopes, 6);

    let dropped = expected.remove(2);
    store.delete_scope(&dropped).await.unwrap();
    assert_eq!(store.scopes().await.unwrap(), expected);
    assert_eq!(store.stats().await.unwrap().scopes, 5);
}

/// A scope whose last entry was deleted or has expired is no longer listed; a write creates it again.
pub async fn a_scope_ends_with_its_last_entry_and_begins_anew(store: &dyn VectorStorage) {
    let (deleted, expired, replaced) = (user("deleted"), user("expired"), user("replaced"));
    let ended = || Timestamp::from_millis(1);
    let mut others = vec![StateScope::Global, replaced.clone()];
    let doc = |scope: &StateScope| entry("doc", [1.0; 3]).with_scope(scope.clone());
    store
        .insert(vec![doc(&StateScope::Global), doc(&replaced), doc(&deleted)])
        .await
        .unwrap();
    store
        .insert(vec![doc(&expired).with_expires_at(ended())])
        .await
        .unwrap();
    store.delete(&deleted, &["doc".into()]).await.unwrap();
    others.sort();
    assert_eq!(store.scopes().await.unwrap(), others);
    assert_eq!(store.stats().await.unwrap().scopes, 2);

    // A scope that is emptied and written again in one call is listed.
    store.upsert(vec![doc(&replaced)]).await.unwrap();
    store.insert(vec![doc(&expired), doc(&deleted)]).await.unwrap();
    let all = [StateScope::Global, deleted.clone(), expired.clone(), replaced.clone()];
    assert_eq!(store.scopes().await.unwrap(), all);
    for scope in &all {
        assert_eq!(listed(store, scope).await, ["doc"], "in {scope}");
    }
    store
        .upsert(vec![doc(&replaced).with_expires_at(ended())])
        .await
        .unwrap();
    assert_eq!(store.scopes().await.unwrap(), all[..3]);
    assert_eq!(
        store.delete_scope(&replaced).await.unwrap(),
        0,
        "what has expired does not count"
    );
}

/// Statistics are right, in total and for each scope, after inserts, replacements, updates and deletes.
pub async fn statistics_count_what_is_there(store: &dyn VectorStorage) {
    let (ada, bob) = (user("ada"), user("bob"));
    let doc = |id: &str, scope: &StateScope, text: &str| {
        entry(id, [1.0, 2.0, 3.0])
            .with_scope(scope.clone())
            .with_metadata(json!({"text": text}))
    };
    let bytes = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| json!({"text": text}).to_string().len() as u64)
            .sum::<u64>()
    };
    store
        .insert(vec![
            doc("a", &ada, "é"),
            doc("b", &ada, "longer text"),
            doc("a", &bob, "x"),
        ])
        .await
        .unwrap();
    store
        .upsert(vec![doc("a", &ada, "replaced"), doc("c", &ada, "")])
        .await
        .unwrap();
    let fields = json!({"text": "updated"}).as_object().cloned().unwrap();
    store.update_metadata(&ada, "b", fields).await.unwrap();
    store.insert(vec![doc("d", &bob, "deleted")]).await.unwrap();
    store.delete(&bob, &["d".into()]).await.unwrap();

    let of_ada = store.stats_for_scope(&ada).await.unwrap();
    assert_eq!((of_ada.scope, of_ada.vectors), (ada.clone(), 3));
    assert_eq!(of_ada.vector_bytes, 3 * DIM as u64 * 4);
    assert_eq!(of_ada.metadata_bytes, bytes(&["replaced", "updated", ""]));
    let of_bob = store.stats_for_scope(&bob).await.unwrap();
    assert_eq!((of_bob.vectors, of_bob.metadata_bytes), (1, bytes(&["x"])));

    let all = store.stats().await.unwrap();
    assert_eq!((all.dim, all.metric, all.scopes, all.vectors), (DIM, METRIC, 2, 4));
    assert_eq!(all.vector_bytes, 4 * DIM as u64 * 4);
    assert_eq!(all.metadata_bytes, of_ada.metadata_bytes + of_bob.metadata_bytes);
    assert_eq!(store.count(&ada).await.unwrap(), 3);
    store.flush().await.unwrap();
    store.delete_scope(&ada).await.unwrap();
    assert_eq!(store.stats().await.unwrap().vectors, 1);
}

/// An unknown scope is empty for every call, not an error.
pub async fn an_unknown_scope_is_empty(store: &dyn VectorStorage) {
    store.insert(vec![entry("doc", [1.0; 3])]).await.unwrap();
    let unknown = user("nobody");
    let query = exact([1.0; 3], 5).with_scope(unknown.clone());
    assert!(store.search(&query).await.unwrap().is_empty());
    assert!(
        store
            .search(&query.with_filter(Filter::eq("a", 1)))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.get(&unknown, "doc").await.unwrap(), None);
    assert!(store.list(&unknown, None, 5).await.unwrap().is_empty());
    assert_eq!(store.delete(&unknown, &["doc".into()]).await.unwrap(), 0);
    assert_eq!(store.delete_scope(&unknown).await.unwrap(), 0);
    assert_eq!(store.count(&unknown).await.unwrap(), 0);
    let stats = store.stats_for_scope(&unknown).await.unwrap();
    assert_eq!(
        (stats.scope, stats.vectors, stats.vector_bytes, stats.metadata_bytes),
        (unknown, 0, 0, 0)
    );
    assert_eq!(store.count(&StateScope::Global).await.unwrap(), 1);
}
