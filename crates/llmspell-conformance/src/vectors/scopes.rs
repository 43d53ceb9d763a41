//! Scopes are isolated.

use serde_json::json;

use super::{DIM, assert_kind, entry, exact, ids, listed, scattered, user};
use llmspell_core::{ErrorKind, Expiry, Filter, StateScope, Timestamp, VectorEntry, VectorQuery, VectorStorage};

/// Scopes whose texts share prefixes, look like the inside of each other, or mean something to a file system.
fn hostile_scopes() -> Vec<StateScope> {
    let long = "x".repeat(llmspell_core::limits::SCOPE_ID_BYTES_MAX);
    let hostile = [
        "a", "ab", "a:", "a/", "a\0", "\0", "..", "../a", "/", "user:a", "*", "%", "\u{e9}", "e\u{301}", "A", &long,
    ];
    let mut scopes = vec![StateScope::Global];
    for id in hostile {
        scopes.extend([StateScope::User(id.into()), StateScope::Custom(id.into())]);
    }
    scopes
}

/// A vector that only this scope has.
fn own_vector(number: usize) -> [f32; DIM] {
    [number as f32 + 1.0, 1.0, -1.0]
}

async fn fill(store: &dyn VectorStorage, scopes: &[StateScope]) {
    let batch = scopes.iter().enumerate().flat_map(|(number, scope)| {
        ["doc", "other"].map(|id| {
            entry(id, own_vector(number))
                .with_scope(scope.clone())
                .with_metadata(json!({"owner": scope.to_string()}))
        })
    });
    store.insert(batch.collect()).await.unwrap();
}

/// A query without scope means `Global`, and so does an entry; `search_scoped` searches the scope it is given.
pub async fn no_scope_means_global(store: &dyn VectorStorage) {
    store
        .insert(vec![
            entry("doc", [1.0; 3]),
            entry("hers", [1.0; 3]).with_scope(user("ada")),
        ])
        .await
        .unwrap();
    let query = exact([1.0; 3], 10);
    assert_eq!(ids(&store.search(&query).await.unwrap()), ["doc"]);
    assert_eq!(ids(&store.search_scoped(&query, &user("ada")).await.unwrap()), ["hers"]);
    let elsewhere = query.with_scope(user("ada"));
    assert_eq!(
        ids(&store.search_scoped(&elsewhere, &StateScope::Global).await.unwrap()),
        ["doc"]
    );
    assert_eq!(listed(store, &StateScope::Global).await, ["doc"]);
}

/// The same id exists in every scope, each with its own vector and metadata, for every call that reads.
pub async fn the_same_id_lives_in_every_scope(store: &dyn VectorStorage) {
    let scopes = hostile_scopes();
    fill(store, &scopes).await;
    for (number, scope) in scopes.iter().enumerate() {
        let found = store.get(scope, "doc").await.unwrap().expect("every scope has its own");
        assert_eq!(
            (&found.scope, found.embedding.as_slice()),
            (scope, &own_vector(number)[..]),
            "get in {scope}"
        );
        assert_eq!(listed(store, scope).await, ["doc", "other"], "list in {scope}");
        assert_eq!(store.count(scope).await.unwrap(), 2, "count in {scope}");
        let query = VectorQuery::new(own_vector(0).to_vec(), 100)
            .with_scope(scope.clone())
            .with_vectors(true);
        let filtered = query.clone().with_filter(Filter::eq("owner", scope.to_string()));
        for query in [&query, &query.clone().with_exact(true), &filtered] {
            let results = store.search(query).await.unwrap();
            assert_eq!(ids(&results), ["doc", "other"], "search in {scope}");
            assert!(
                results
                    .iter()
                    .all(|result| result.vector.as_deref() == Some(&own_vector(number)))
            );
        }
    }
    let theirs = exact(own_vector(0), 100).with_filter(Filter::eq("owner", user("a").to_string()));
    assert!(
        store.search(&theirs).await.unwrap().is_empty(),
        "a filter does not reach over the wall"
    );
}

/// No write in one scope changes another: not update, not upsert, not delete, not dropping it.
pub async fn no_write_crosses_the_wall_of_a_scope(store: &dyn VectorStorage) {
    let scopes = hostile_scopes();
    fill(store, &scopes).await;
    for (turn, scope) in scopes.iter().enumerate() {
        let fields = json!({"owner": "updated"}).as_object().cloned().unwrap();
        store.update_metadata(scope, "doc", fields).await.unwrap();
        store
            .upsert(vec![entry("other", [500.0; 3]).with_scope(scope.clone())])
            .await
            .unwrap();
        let both = ["doc".to_string(), "nothing".to_string()];
        let ended = Expiry::At(Timestamp::from_millis(i64::MAX));
        assert_eq!(store.touch(scope, &both, ended).await.unwrap(), ["nothing"]);
        assert_eq!(store.delete(scope, &both).await.unwrap(), 1);
        assert_eq!(store.delete_scope(scope).await.unwrap(), 1, "its own last entry");
        for (number, other) in scopes.iter().enumerate().skip(turn + 1) {
            let left = store.list(other, None, 10).await.unwrap();
            let is_whole = |entry: &VectorEntry| {
                entry.embedding == own_vector(number)
                    && entry.metadata == json!({"owner": other.to_string()})
                    && entry.expires_at.is_none()
            };
            assert!(
                left.len() == 2 && left.iter().all(is_whole),
                "a write in {scope} reached {other}: {left:?}"
            );
        }
        for gone in &scopes[..=turn] {
            assert_eq!(
                store.count(gone).await.unwrap(),
                0,
                "a write in {scope} brought {gone} back"
            );
        }
    }
    assert_eq!(store.stats().await.unwrap().vectors, 0);
}

/// A missing entry and an entry of another scope give the same error, and answers in a scope are the same bit for bit
/// whatever other scopes hold. Takes two empty stores.
pub async fn answers_in_a_scope_are_the_same_whatever_others_hold(
    alone: &dyn VectorStorage,
    among: &dyn VectorStorage,
) {
    let scope = user("ada");
    let batch = || {
        let entries = scattered(100).enumerate().map(|(number, vector)| {
            let metadata = json!({"parity": number % 2});
            entry(&format!("v{number}"), vector)
                .with_scope(scope.clone())
                .with_metadata(metadata)
        });
        entries.collect::<Vec<_>>()
    };
    for (number, other) in ["bob", "ad", "adam", "z"].into_iter().enumerate() {
        let theirs = scattered(80).enumerate().map(|(place, vector)| {
            entry(&format!("v{}", place + number), vector)
                .with_scope(user(other))
                .with_metadata(json!({"parity": 1}))
        });
        among.insert(theirs.collect()).await.unwrap();
    }
    let mine = batch();
    for part in mine.chunks(30) {
        alone.insert(part.to_vec()).await.unwrap();
        among.insert(part.to_vec()).await.unwrap();
        among
            .upsert(vec![entry("more", [1.0, 2.0, 3.0]).with_scope(user("bob"))])
            .await
            .unwrap();
    }
    among.delete_scope(&user("adam")).await.unwrap();
    for (query, k) in scattered(130).skip(95).zip([1, 5, 30, 100].into_iter().cycle()) {
        let plain = exact(query, k).with_scope(scope.clone()).with_vectors(true);
        let filtered = plain.clone().with_filter(Filter::eq("parity", 1));
        for query in [plain, filtered] {
            let (expected, found) = (alone.search(&query).await.unwrap(), among.search(&query).await.unwrap());
            assert_eq!(found, expected, "bit for bit, whatever others hold");
        }
    }
    assert_eq!(listed(among, &scope).await, listed(alone, &scope).await);
    let not_there = among.update_metadata(&scope, "nowhere", Default::default()).await;
    let not_yours = among.update_metadata(&scope, "more", Default::default()).await;
    let text = |result: &llmspell_core::Result<()>| result.as_ref().unwrap_err().to_string();
    assert_eq!(
        text(&not_there).replace("nowhere", "more"),
        text(&not_yours),
        "nothing tells what others hold"
    );
    assert_kind(ErrorKind::NotFound, not_yours, "an id of another scope");
}
