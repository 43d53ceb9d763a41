//! Deleted entries are gone, and no others.

use serde_json::json;

use super::{assert_invalid, entry, exact, ids, listed, scattered, user};
use llmspell_core::{Filter, ScopeKind, StateScope, VectorStorage};

/// A deleted entry is gone for every call, and its id can be inserted again.
pub async fn a_deleted_entry_is_gone_and_its_id_free(store: &dyn VectorStorage) {
    let scope = StateScope::Global;
    let old = entry("doc", [1.0; 3]).with_metadata(json!({"v": "old"}));
    store.insert(vec![old, entry("other", [2.0; 3])]).await.unwrap();
    let created = store.get(&scope, "doc").await.unwrap().unwrap().created_at;
    assert_eq!(store.delete(&scope, &["doc".into()]).await.unwrap(), 1);

    assert_eq!(store.get(&scope, "doc").await.unwrap(), None);
    assert_eq!(ids(&store.search(&exact([1.0; 3], 5)).await.unwrap()), ["other"]);
    assert_eq!(listed(store, &scope).await, ["other"]);
    assert_eq!(store.count(&scope).await.unwrap(), 1);
    assert_eq!(store.stats().await.unwrap().vectors, 1);

    std::thread::sleep(std::time::Duration::from_millis(5));
    store.insert(vec![entry("doc", [9.0; 3])]).await.unwrap();
    let found = store.get(&scope, "doc").await.unwrap().unwrap();
    assert_eq!(
        (found.embedding, found.metadata),
        (vec![9.0; 3], json!({})),
        "nothing of the old one is left"
    );
    assert!(found.created_at > created, "it is another entry");
    let filtered = exact([1.0; 3], 5).with_filter(Filter::eq("v", "old"));
    assert!(store.search(&filtered).await.unwrap().is_empty());
}

/// A delete returns how many of the ids existed, however often and in which scope they are named.
pub async fn a_delete_counts_what_was_there(store: &dyn VectorStorage) {
    let scope = user("ada");
    let batch = scattered(20)
        .enumerate()
        .map(|(number, vector)| entry(&format!("v{number:02}"), vector).with_scope(scope.clone()));
    store.insert(batch.collect()).await.unwrap();
    let named = ["v03", "v07", "v03", "missing"].map(String::from);
    assert_eq!(
        store.delete(&user("bob"), &named).await.unwrap(),
        0,
        "not of this scope"
    );
    assert_eq!(store.delete(&scope, &[]).await.unwrap(), 0);
    assert_eq!(store.delete(&scope, &named).await.unwrap(), 2);
    assert_eq!(store.delete(&scope, &named).await.unwrap(), 0, "they are gone");
    assert_eq!(store.count(&scope).await.unwrap(), 18);
    assert_eq!(
        store
            .search(&exact([0.0; 3], 100).with_scope(scope))
            .await
            .unwrap()
            .len(),
        18
    );
}

/// A dropped scope is empty at once, others are not, and later it holds only what is inserted later.
pub async fn a_dropped_scope_is_empty_and_holds_only_what_comes_after(store: &dyn VectorStorage) {
    let scope = user("ada");
    for round in 0..3_u8 {
        let batch = scattered(30).enumerate().map(|(number, vector)| {
            let metadata = json!({"round": round});
            entry(&format!("v{number}"), vector)
                .with_scope(scope.clone())
                .with_metadata(metadata)
        });
        store
            .insert(batch.chain([entry(&format!("{round}"), [1.0; 3])]).collect())
            .await
            .unwrap();
        let results = store
            .search(&exact([0.0; 3], 100).with_scope(scope.clone()))
            .await
            .unwrap();
        assert_eq!(results.len(), 30);
        for result in results {
            let found = result.metadata.unwrap();
            assert_eq!(found["round"], round, "only what came after the scope was dropped");
        }
        assert_eq!(store.delete_scope(&scope).await.unwrap(), 30);

        assert!(
            store
                .search(&exact([0.0; 3], 100).with_scope(scope.clone()))
                .await
                .unwrap()
                .is_empty()
        );
        assert!(listed(store, &scope).await.is_empty());
        assert_eq!(store.count(&scope).await.unwrap(), 0);
        assert_eq!(store.get(&scope, "v1").await.unwrap(), None);
        assert!(
            !store.scopes().await.unwrap().contains(&scope),
            "a dropped scope is not named"
        );
        assert_eq!(store.delete_scope(&scope).await.unwrap(), 0, "there is nothing more");
        assert_eq!(
            store.count(&StateScope::Global).await.unwrap(),
            u64::from(round) + 1,
            "others are untouched"
        );
    }
}

/// Several scopes are dropped at once, each counted once; others stay, and an unknown one is empty.
pub async fn dropped_scopes_go_together_and_others_stay(store: &dyn VectorStorage) {
    let names = ["a", "ab", "b", "c"].map(user);
    let batch = names
        .iter()
        .flat_map(|scope| ["x", "y"].map(|id| entry(id, [1.0, 2.0, 3.0]).with_scope(scope.clone())));
    store.insert(batch.collect()).await.unwrap();
    assert_eq!(store.delete_scopes(&[]).await.unwrap(), 0);
    let named = [&names[0], &user("nobody"), &names[2], &names[0]].map(Clone::clone);
    assert_eq!(store.delete_scopes(&named).await.unwrap(), 4);
    assert_eq!(store.scopes().await.unwrap(), [names[1].clone(), names[3].clone()]);
    for (scope, left) in names.iter().zip([0, 2, 0, 2]) {
        assert_eq!(store.count(scope).await.unwrap(), left, "in {scope}");
        assert_eq!(listed(store, scope).await.len() as u64, left, "in {scope}");
    }
    assert_eq!(store.delete_scopes(&named).await.unwrap(), 0, "there is nothing more");

    // With one bad scope all of them stay.
    let bad = [names[1].clone(), user("")];
    assert_invalid(store.delete_scopes(&bad).await, "delete_scopes");
    assert_eq!(store.count(&names[1]).await.unwrap(), 2);
}

/// All scopes of a kind are dropped at once, and no other.
pub async fn scopes_of_a_kind_go_together_and_others_stay(store: &dyn VectorStorage) {
    let session = |id: &str| StateScope::Session(id.to_string());
    let others = [
        StateScope::Global,
        user("session"),
        StateScope::Tool("session:1".into()),
        StateScope::Custom("session:1".into()),
    ];
    let sessions = [session("1"), session("2"), session("user:a")];
    let batch = others.iter().chain(&sessions);
    let batch = batch.map(|scope| entry("doc", [1.0, 2.0, 3.0]).with_scope(scope.clone()));
    store.insert(batch.collect()).await.unwrap();
    assert_eq!(store.delete_scopes_of_kind(ScopeKind::Agent).await.unwrap(), 0);
    assert_eq!(store.delete_scopes_of_kind(ScopeKind::Session).await.unwrap(), 3);
    let mut expected = others.to_vec();
    expected.sort();
    assert_eq!(store.scopes().await.unwrap(), expected);
    assert_eq!(store.count(&sessions[1]).await.unwrap(), 0);
    assert_eq!(store.delete_scopes_of_kind(ScopeKind::Global).await.unwrap(), 1);
    assert_eq!(store.stats().await.unwrap().vectors, 3);
}
