//! Texts are scored by the formula, with the statistics of the searched scopes alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::user;
use super::formula::bm25;
use super::{entries, near, search};
use llmspell_core::{Filter, StateScope, VectorEntry, VectorQuery, VectorResult, VectorStorage};

type Key = (usize, String);

/// Whether results are the best `k` by the formula: each has its score, and the scores are the best ones.
fn assert_best(
    results: &[VectorResult],
    expected: &BTreeMap<Key, f64>,
    place: impl Fn(&VectorResult) -> usize,
    k: usize,
) {
    let mut best: Vec<f64> = expected.values().copied().collect();
    best.sort_by(|a, b| b.total_cmp(a));
    best.truncate(k);
    assert_eq!(results.len(), best.len(), "k means k");
    for (result, best) in results.iter().zip(best) {
        let own = expected.get(&(place(result), result.id.clone()));
        let own = *own.unwrap_or_else(|| panic!("{} has none of the words", result.id));
        let score = f64::from(result.score);
        assert!(near(score, own), "{}: {score}, by the formula {own}", result.id);
        assert!(near(score, best), "{}: {score} where {best} is best", result.id);
        assert_eq!(result.text_score, Some(result.score));
        assert_eq!(
            (result.vector_score, result.distance.to_bits()),
            (None, (-result.score).to_bits())
        );
    }
}

/// Scores are those of BM25 over all texts of the searched scopes together, whether they are in an index or not; what is
/// deleted does not count, and a filter does not change them.
pub async fn texts_are_scored_by_the_formula(store: &Arc<dyn VectorStorage>) {
    let scopes = [user("ada"), StateScope::Global, user("nobody")];
    let mut held: Vec<(Key, VectorEntry)> = Vec::new();
    for (place, (scope, (skipped, count))) in scopes.iter().zip([(0, 70), (50, 40)]).enumerate() {
        let batch = entries(scope, skipped, count);
        held.extend(batch.iter().map(|entry| ((place, entry.id.clone()), entry.clone())));
        store.insert(batch).await.unwrap();
    }
    // In a scope that is not searched.
    store.insert(entries(&user("bob"), 0, 100)).await.unwrap();
    for round in 0..3 {
        match round {
            1 => store.build_index().await.unwrap(),
            2 => {
                let gone = |(key, _): &(Key, VectorEntry)| key.0 == 0 && key.1.as_str() < "t025";
                let ids: Vec<String> = held
                    .iter()
                    .filter(|held| gone(held))
                    .map(|(key, _)| key.1.clone())
                    .collect();
                store.delete(&scopes[0], &ids).await.unwrap();
                held.retain(|held| !gone(held));
            }
            _ => {}
        }
        for words in [&["wb"][..], &["wl", "wa"], &["wd", "wh", "absent"], &["absent"]] {
            let of = |places: &[usize], matches: &dyn Fn(&VectorEntry) -> bool| {
                let there = held.iter().filter(|(key, _)| places.contains(&key.0));
                let texts: Vec<(Key, &str)> = there
                    .map(|(key, entry)| (key.clone(), entry.text.as_deref().unwrap()))
                    .collect();
                let mut scores = bm25(&texts, words);
                scores.retain(|key, _| held.iter().any(|(own, entry)| own == key && matches(entry)));
                scores
            };
            for k in [1, 7, 200] {
                let query = VectorQuery::text(words.join(" "), k);
                let alone = search(&**store, &query.clone().with_scope(scopes[0].clone())).await;
                assert_best(&alone, &of(&[0], &|_| true), |_| 0, k);
                let even = query
                    .clone()
                    .with_scope(scopes[1].clone())
                    .with_filter(Filter::eq("parity", 0));
                let is_even = |entry: &VectorEntry| entry.metadata["parity"] == 0;
                assert_best(&search(&**store, &even).await, &of(&[1], &is_even), |_| 1, k);
                let together = search(&**store, &query.with_scopes(scopes.clone())).await;
                let place = |result: &VectorResult| {
                    let scope = result.scope.as_ref().expect("several scopes are named");
                    scopes
                        .iter()
                        .position(|named| named == scope)
                        .expect("it is one of them")
                };
                assert_best(&together, &of(&[0, 1], &|_| true), place, k);
            }
        }
    }
}

/// Equal scores are ordered by the order of the scopes, then by id, and the first of them are returned if not all fit.
pub async fn equal_texts_are_ordered_by_scope_and_id(store: &Arc<dyn VectorStorage>) {
    let scopes = [user("ada"), StateScope::Global, user("bob")];
    for id in ["b", "c", "a"] {
        let batch = scopes
            .iter()
            .map(|scope| VectorEntry::text_only(id, "same words").with_scope(scope.clone()));
        store.insert(batch.collect()).await.unwrap();
    }
    for order in [[2, 0, 1], [1, 2, 0]] {
        let named = order.map(|place: usize| scopes[place].clone());
        let expected: Vec<_> = named
            .iter()
            .flat_map(|scope| ["a", "b", "c"].map(|id| (Some(scope), id)))
            .collect();
        for k in 1..=9 {
            let query = VectorQuery::text("same", k).with_scopes(named.clone());
            let found = search(&**store, &query).await;
            let found: Vec<_> = found
                .iter()
                .map(|result| (result.scope.as_ref(), result.id.as_str()))
                .collect();
            assert_eq!(found, expected[..k], "the first {k} of equals");
        }
    }
}

/// A search answers the same, score for score, in a store with nothing but its scope and in one whose other scopes hold the
/// same words.
pub async fn scores_of_words_reveal_nothing_of_other_scopes(
    alone: &Arc<dyn VectorStorage>,
    among: &Arc<dyn VectorStorage>,
) {
    let scope = user("ada");
    for (number, other) in [user("ad"), StateScope::Global, user("bob")].into_iter().enumerate() {
        among.insert(entries(&other, 10 * number, 60)).await.unwrap();
        let secret = VectorEntry::text_only("secret", "wb secret").with_scope(other);
        among.insert(vec![secret]).await.unwrap();
    }
    for store in [alone, among] {
        store.insert(entries(&scope, 0, 50)).await.unwrap();
    }
    among.insert(entries(&user("late"), 0, 80)).await.unwrap();
    for is_indexed in [false, true] {
        for words in ["wb", "wa wl secret", "secret", "w*", "\"wb wc\"", "wd -wb"] {
            for query in [
                VectorQuery::text(words, 20),
                VectorQuery::new([1.0; super::DIM], 20)
                    .with_text(words)
                    .with_exact(true),
            ] {
                let query = query.with_scope(scope.clone());
                let (own, with_others) = (search(&**alone, &query).await, search(&**among, &query).await);
                assert_eq!(own, with_others, "{words}, in an index: {is_indexed}");
            }
        }
        alone.build_index().await.unwrap();
        among.build_index().await.unwrap();
    }
    let stats = async |store: &dyn VectorStorage| {
        let stats = store.stats_for_scope(&scope).await.unwrap();
        (stats.texts, stats.text_bytes)
    };
    assert_eq!(stats(&**alone).await, stats(&**among).await);
}
