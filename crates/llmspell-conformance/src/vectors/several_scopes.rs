//! A search of several scopes gives the merged results of the searches of each.

use serde_json::json;

use super::{DIM, assert_invalid, entry, exact, ids, scattered, user};
use llmspell_core::limits::QUERY_SCOPES_MAX;
use llmspell_core::{Filter, StateScope, VectorQuery, VectorResult, VectorStorage};

fn session(id: &str) -> StateScope {
    StateScope::Session(id.to_string())
}

/// Scopes of different sizes, and one that does not exist.
fn scopes() -> [StateScope; 4] {
    [session("s"), user("ada"), StateScope::Global, user("nobody")]
}

async fn fill(store: &dyn VectorStorage) {
    for (scope, (skipped, count)) in scopes().into_iter().zip([(0, 5), (20, 40), (100, 90)]) {
        let entries = scattered(skipped + count)
            .skip(skipped)
            .enumerate()
            .map(|(number, vector)| {
                entry(&format!("v{number}"), vector)
                    .with_scope(scope.clone())
                    .with_metadata(json!({"parity": number % 2}))
            });
        store.insert(entries.collect()).await.unwrap();
    }
    // Nearer than all others, in a scope that is not searched.
    let near = scattered(130).skip(120).enumerate().map(|(number, vector)| {
        entry(&format!("v{number}"), vector)
            .with_scope(user("bob"))
            .with_metadata(json!({"parity": 1}))
    });
    store.insert(near.collect()).await.unwrap();
}

/// The merged answers to `query` in each of `scopes`.
async fn put_together(store: &dyn VectorStorage, query: &VectorQuery, scopes: &[StateScope]) -> Vec<VectorResult> {
    let mut all = Vec::new();
    for (place, scope) in scopes.iter().enumerate() {
        for mut result in store.search_scoped(query, scope).await.unwrap() {
            assert_eq!(result.scope, None, "a query in one scope knows which");
            result.scope = Some(scope.clone());
            all.push((place, result));
        }
    }
    all.sort_by(|(a_place, a), (b_place, b)| {
        let tie = || a_place.cmp(b_place).then_with(|| a.id.cmp(&b.id));
        a.distance.total_cmp(&b.distance).then_with(tie)
    });
    all.truncate(query.k);
    all.into_iter().map(|(_, result)| result).collect()
}

/// The best `k` of all scopes are returned, each with its scope, for all settings of a query. Scopes that are named
/// twice count once, and unknown ones are empty.
pub async fn several_scopes_share_one_top_k(store: &dyn VectorStorage) {
    fill(store).await;
    let scopes = scopes();
    let twice: Vec<StateScope> = scopes.iter().chain(&scopes[1..]).cloned().collect();
    for (vector, k) in scattered(124).skip(118).zip([1, 4, 10, 60, 135, 1000]) {
        let plain = exact(vector, k);
        let queries = [
            plain.clone().with_exact(false),
            plain.clone().with_vectors(true),
            plain.clone().with_metadata(false),
            plain.clone().with_filter(Filter::eq("parity", 1)),
            plain.clone().with_threshold(0.2),
            plain,
        ];
        for query in queries {
            let expected = put_together(store, &query, &scopes).await;
            let found = store.search(&query.clone().with_scopes(scopes.clone())).await.unwrap();
            assert_eq!(found, expected, "the best {k} of all scopes");
            let found = store.search(&query.clone().with_scopes(twice.clone())).await.unwrap();
            assert_eq!(found, expected, "a scope that is named twice counts once");
        }
    }
    let one = exact([1.0; DIM], 3).with_scopes([user("ada")]);
    let found = store.search(&one).await.unwrap();
    assert!(found.len() == 3 && found.iter().all(|result| result.scope == Some(user("ada"))));
    let nobody = exact([1.0; DIM], 3).with_scopes([user("nobody"), user("nobody else")]);
    assert_eq!(store.search(&nobody).await.unwrap(), []);
    let most = (0..QUERY_SCOPES_MAX).map(|number| session(&number.to_string()));
    assert_eq!(store.search(&exact([1.0; DIM], 3).with_scopes(most)).await.unwrap(), []);
}

/// Equally near entries are ordered by the order of the scopes, and by id within a scope.
pub async fn ties_between_scopes_go_to_the_one_named_first(store: &dyn VectorStorage) {
    let entries = ["b", "a"].into_iter().flat_map(|id| {
        [user("ada"), StateScope::Global, session("s")].map(|scope| entry(id, [1.0; DIM]).with_scope(scope))
    });
    store.insert(entries.collect()).await.unwrap();
    let orders = [
        [session("s"), user("ada"), StateScope::Global],
        [StateScope::Global, session("s"), user("ada")],
        [user("ada"), StateScope::Global, session("s")],
    ];
    for scopes in orders {
        for k in 1..=6 {
            let query = exact([1.0; DIM], k).with_scopes(scopes.clone());
            let found = store.search(&query).await.unwrap();
            let found: Vec<_> = found
                .iter()
                .map(|result| (result.scope.as_ref(), result.id.as_str()))
                .collect();
            let expected: Vec<_> = scopes
                .iter()
                .flat_map(|scope| [(Some(scope), "a"), (Some(scope), "b")])
                .take(k)
                .collect();
            assert_eq!(found, expected, "the first {k} of equals");
        }
    }
}

/// A scope that is not named is not searched, and an empty list of scopes finds nothing.
pub async fn a_search_of_several_scopes_reaches_no_other(store: &dyn VectorStorage) {
    fill(store).await;
    let hers = scattered(121).nth(120).expect("there are so many");
    let query = exact(hers, 1000);
    for named in [
        vec![user("ada")],
        vec![user("ad"), session("s")],
        vec![StateScope::Global, user("ada")],
    ] {
        let found = store.search(&query.clone().with_scopes(named.clone())).await.unwrap();
        let is_named = |result: &VectorResult| result.scope.as_ref().is_some_and(|scope| named.contains(scope));
        assert!(found.iter().all(is_named), "only {named:?}");
    }
    let alone = query
        .clone()
        .with_scopes([user("ada"), session("s")])
        .with_scope(user("bob"));
    assert_eq!(
        store.search(&alone).await.unwrap().len(),
        10,
        "the scope named last is the one that counts"
    );
    let too_many = vec![StateScope::Global; QUERY_SCOPES_MAX + 1];
    for (what, scopes) in [
        ("no scope at all", vec![]),
        ("too many scopes", too_many),
        ("a bad scope among good ones", vec![StateScope::Global, user("")]),
    ] {
        assert_invalid(store.search(&query.clone().with_scopes(scopes)).await, what);
    }
    let ignored = query.with_scope(user("bob")).with_scopes([session("s")]);
    assert_eq!(ids(&store.search(&ignored).await.unwrap()).len(), 5);
}
