//! A handle for one scope touches that scope, and no other.

use std::sync::Arc;

use serde_json::json;

use super::{DIM, assert_invalid, assert_kind, entry, exact, ids, listed, user};
use llmspell_core::{
    ErrorKind, Expiry, Filter, Metadata, Result, ScopeKind, ScopedVectors, StateScope, StorageError, Timestamp,
    VectorStorage,
};

#[track_caller]
fn assert_outside<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    match result {
        Err(StorageError::OutsideScope { .. }) => {}
        other => panic!("{what} must be refused, and was answered by {other:?}"),
    }
}

/// A handle for one scope does what the store does in that scope, whether entries and queries name it or no scope; a
/// call that names another scope is refused as a whole, and entries of other scopes do not exist for it.
pub async fn a_handle_for_one_scope_touches_no_other(store: &Arc<dyn VectorStorage>) {
    let (mine, theirs) = (user("ada"), user("bob"));
    let theirs_entry = || entry("doc", [9.0; DIM]).with_scope(theirs.clone());
    store
        .insert(vec![theirs_entry(), entry("shared", [9.0; DIM])])
        .await
        .unwrap();
    assert_invalid(ScopedVectors::new(Arc::clone(store), user("")), "a bad scope");
    let handle = ScopedVectors::new(Arc::clone(store), mine.clone()).unwrap();

    for others in [vec![theirs_entry()], vec![entry("a", [1.0; DIM]), theirs_entry()]] {
        assert_outside(handle.insert(others.clone()).await, "an entry of another scope");
        assert_outside(handle.upsert(others).await, "an entry of another scope");
    }
    assert_eq!(handle.count().await.unwrap(), 0, "nothing of such a batch is stored");
    let batch = vec![
        entry("doc", [1.0; DIM]),
        entry("own", [2.0; DIM]).with_scope(mine.clone()),
    ];
    assert_eq!(handle.insert(batch).await.unwrap(), ["doc", "own"]);
    assert_eq!(listed(&**store, &mine).await, ["doc", "own"]);
    assert_eq!(listed(&**store, &StateScope::Global).await, ["shared"]);

    let query = exact([1.0; DIM], 10);
    for named in [query.clone(), query.clone().with_scope(mine.clone())] {
        assert_eq!(ids(&handle.search(&named).await.unwrap()), ["doc", "own"]);
    }
    let own = query.clone().with_scopes([mine.clone()]);
    assert_eq!(ids(&handle.search(&own).await.unwrap()), ["doc", "own"]);
    let other = query.clone().with_scope(theirs.clone());
    assert_outside(handle.search(&other).await, "a query of another scope");
    assert_outside(handle.search_batch(&[query.clone(), other]).await, "one among others");
    for scopes in [
        vec![theirs.clone()],
        vec![mine.clone(), theirs.clone()],
        vec![mine.clone(), StateScope::Global],
    ] {
        assert_outside(
            handle.search(&query.clone().with_scopes(scopes)).await,
            "another among its scopes",
        );
    }
    assert_invalid(handle.search(&query.with_scopes([])).await, "no scope at all");

    assert_eq!(handle.get("doc").await.unwrap().unwrap().scope, mine);
    assert_eq!(handle.get("shared").await.unwrap(), None);
    let fields = || json!({"color": "red"}).as_object().cloned().unwrap_or_default();
    handle.update_metadata("doc", fields()).await.unwrap();
    assert_kind(
        ErrorKind::NotFound,
        handle.update_metadata("shared", fields()).await,
        "an id of another",
    );
    let both = ["doc".to_string(), "shared".to_string()];
    let ended = Expiry::At(Timestamp::from_millis(i64::MAX));
    assert_eq!(
        handle.touch(&both, ended).await.unwrap(),
        ["shared"],
        "not yours is not there"
    );
    let page = handle.list(Some("a"), 1).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["doc"]);
    let stats = handle.stats().await.unwrap();
    assert_eq!((&stats.scope, stats.vectors), (&mine, 2));
    assert_eq!(handle.delete(["doc", "shared"]).await.unwrap(), 1);
    assert_eq!(handle.clear().await.unwrap(), 1);

    let left = store.get(&theirs, "doc").await.unwrap().unwrap();
    assert_eq!((left.embedding, left.metadata), (vec![9.0; DIM], json!({})));
    assert_eq!(left.expires_at, None);
    assert_eq!(store.stats().await.unwrap().vectors, 2, "what others have is as it was");
    let text = format!("{handle:?}");
    assert!(text.contains("ada") && !text.contains("bob"), "{text}");
}

/// A handle passed on as a store is limited to its scope: calls with a scope argument accept its own, and calls about
/// all scopes cover that one.
pub async fn a_handle_passed_on_as_a_store_is_its_scope(store: &Arc<dyn VectorStorage>) {
    let (mine, theirs) = (user("ada"), user("bob"));
    let doc = |id: &str, scope: &StateScope| entry(id, [1.0; DIM]).with_scope(scope.clone());
    store.insert(vec![doc("a", &theirs), doc("b", &theirs)]).await.unwrap();
    let handle: &dyn VectorStorage = &ScopedVectors::new(Arc::clone(store), mine.clone()).unwrap();
    assert!(handle.scopes().await.unwrap().is_empty(), "nothing is there yet");
    handle
        .insert(vec![entry("a", [2.0; DIM]), doc("c", &mine)])
        .await
        .unwrap();

    let every = Filter::all();
    let query = exact([1.0; DIM], 5);
    let ids_of_two = ["a".to_string(), "b".to_string()];
    for other in [&theirs, &StateScope::Global] {
        assert_outside(handle.get(other, "a").await, "get");
        assert_outside(handle.list(other, None, 5).await, "list");
        assert_outside(handle.list_matching(other, &every, None, 5).await, "list_matching");
        assert_outside(handle.count(other).await, "count");
        assert_outside(handle.count_matching(other, &every).await, "count_matching");
        assert_outside(handle.facet(other, &"a".into(), &every, 5).await, "facet");
        assert_outside(handle.stats_for_scope(other).await, "stats_for_scope");
        assert_outside(handle.search_scoped(&query, other).await, "search_scoped");
        assert_outside(handle.delete(other, &ids_of_two).await, "delete");
        assert_outside(handle.delete_matching(other, &every).await, "delete_matching");
        assert_outside(handle.delete_scope(other).await, "delete_scope");
        assert_outside(
            handle.delete_scopes(&[mine.clone(), other.clone()]).await,
            "delete_scopes",
        );
        assert_outside(handle.touch(other, &ids_of_two, Expiry::Never).await, "touch");
        let update = handle.update_metadata(other, "a", Metadata::new()).await;
        assert_outside(update, "update_metadata");
    }

    assert_eq!(handle.scopes().await.unwrap(), std::slice::from_ref(&mine));
    let stats = handle.stats().await.unwrap();
    assert_eq!(
        (stats.scopes, stats.vectors, stats.vector_bytes),
        (1, 2, 2 * 4 * DIM as u64)
    );
    assert_eq!(ids(&handle.search_scoped(&query, &mine).await.unwrap()), ["c", "a"]);
    assert_eq!(listed(handle, &mine).await, ["a", "c"]);
    assert_eq!(handle.delete_scopes_of_kind(ScopeKind::Session).await.unwrap(), 0);
    assert_eq!(handle.delete(&mine, &ids_of_two).await.unwrap(), 1);
    assert_eq!(handle.delete_scopes_of_kind(mine.kind()).await.unwrap(), 1);
    assert_eq!(
        listed(&**store, &theirs).await,
        ["a", "b"],
        "what others have is as it was"
    );
}
