//! Diverse results and groups follow their definitions.

use std::collections::HashMap;

use super::{entry, exact, ids, scattered, user};
use llmspell_core::limits::K_MAX;
use llmspell_core::{DistanceMetric, Filter, VectorEntry, VectorQuery, VectorResult, VectorStorage};
use serde_json::{Value, json};

/// A grouped search returns the best of each group, over all scopes and for every filter, in pages that join; an entry
/// without a value of the field is a group of its own.
pub async fn groups_take_the_best_of_each(store: &dyn VectorStorage) {
    let scopes = [user("ada"), user("bob")];
    let docs = [
        json!("a"),
        json!("a"),
        json!(1),
        json!("a"),
        json!(1.0),
        json!(null),
        json!(["a"]),
        json!(true),
    ];
    let batch = scattered(64).enumerate().map(|(number, vector)| {
        let metadata = json!({ "doc": docs[number * 7 % docs.len()], "even": number % 2 == 0 });
        let metadata = metadata.as_object().cloned().unwrap_or_default();
        entry(&format!("e-{number:02}"), vector)
            .with_metadata(metadata)
            .with_scope(scopes[number / 8 % 2].clone())
    });
    let alone = entry("alone", [7.0; 3]).with_scope(scopes[1].clone());
    store.insert(batch.chain([alone]).collect()).await.unwrap();
    let one = exact([1.0, 2.0, 3.0], K_MAX).with_scope(scopes[0].clone());
    let both = one.clone().with_scopes(scopes.clone());
    let even = both.clone().with_filter(Filter::eq("even", true));
    for query in [one, both, even] {
        let whole = store.search(&query).await.unwrap();
        for (k, per_group) in [(1, 1), (5, 1), (5, 2), (100, 3)] {
            let query = query.clone().with_k(k).with_group_by("doc", per_group);
            let found = store.search(&query).await.unwrap();
            let expected = best_of_groups(&whole, per_group);
            assert_eq!(ids(&found), expected[..k.min(expected.len())], "{k}, {per_group} each");
            let next = store.search(&query.clone().with_offset(k)).await.unwrap();
            let rest = &expected[k.min(expected.len())..];
            assert_eq!(
                ids(&next),
                rest[..k.min(rest.len())],
                "the second page of {k}, {per_group} each"
            );
            let bare = store.search(&query.with_metadata(false)).await.unwrap();
            assert_eq!(ids(&bare), ids(&found));
            assert!(bare.iter().all(|result| result.metadata.is_none()));
        }
    }
}

/// The first results of each group, in order.
fn best_of_groups(whole: &[VectorResult], per_group: usize) -> Vec<&str> {
    let mut taken: HashMap<String, usize> = HashMap::new();
    let mut best = Vec::new();
    for result in whole {
        let metadata = result.metadata.as_ref().unwrap();
        let group = match metadata.get("doc") {
            Some(Value::Number(number)) => number.as_f64().unwrap().to_string(),
            Some(value @ (Value::String(_) | Value::Bool(_))) => value.to_string(),
            _ => format!("alone {}", result.id),
        };
        let count = taken.entry(group).or_default();
        *count += 1;
        if *count <= per_group {
            best.push(result.id.as_str());
        }
    }
    best
}

/// A grouped search finds `k` if enough groups match, even if most of the nearest are of one group.
pub async fn a_large_group_hides_no_other(store: &dyn VectorStorage) {
    let of = |group: &str, number: usize, far: f32| {
        let place = [far, number as f32 / 1000.0, 0.0];
        entry(&format!("{group}-{number:03}"), place)
            .with_metadata(json!({ "doc": group }).as_object().cloned().unwrap_or_default())
    };
    let near = (0..300).map(|number| of("large", number, 1.0));
    let second = (0..300).map(|number| of("second", number, 2.0));
    let far = (0..3).map(|number| of(&format!("small{number}"), number, 9.0));
    store.insert(near.chain(second).chain(far).collect()).await.unwrap();
    let query = VectorQuery::new([1.0, 0.0, 0.0], 5)
        .with_exact(true)
        .with_group_by("doc", 1);
    let found = store.search(&query).await.unwrap();
    let expected = ["large-000", "second-000", "small0-000", "small1-001", "small2-002"];
    assert_eq!(ids(&found), expected);
    let found = store
        .search(&query.clone().with_k(20).with_group_by("doc", 2))
        .await
        .unwrap();
    assert_eq!(found.len(), 7);
    let plan = store.explain(&query.with_group_by("doc", 2)).await.unwrap();
    assert_eq!(plan.results, 5);
}

/// A diverse search takes one result after the other by maximal marginal relevance.
pub async fn diverse_results_follow_their_definition(store: &dyn VectorStorage, metric: DistanceMetric) {
    let batch: Vec<VectorEntry> = (0..)
        .zip(scattered(40))
        .map(|(number, vector)| entry(&format!("e-{number:02}"), vector))
        .collect();
    store.insert(batch.clone()).await.unwrap();
    let query = exact([1.0, 2.0, 3.0], 8);
    let whole = store.search(&query.clone().with_k(100)).await.unwrap();
    let mut alike: HashMap<(String, String), f32> = HashMap::new();
    for own in &batch {
        let query = VectorQuery::new(own.embedding.clone(), 100).with_exact(true);
        for result in store.search(&query).await.unwrap() {
            alike.insert((own.id.clone(), result.id), result.score);
        }
    }
    for lambda in [0.0, 0.3, 0.7, 1.0] {
        let found = store.search(&query.clone().with_mmr(lambda)).await.unwrap();
        assert_eq!(
            ids(&found),
            marginal(&whole, &alike, lambda, 8),
            "{metric}, lambda {lambda}"
        );
        assert!(found.iter().all(|result| result.vector.is_none()));
    }
    let few = query.with_threshold(whole[4].score).with_mmr(0.5);
    let found = store.search(&few).await.unwrap();
    assert_eq!(found.len(), 5, "{metric}: the threshold decides first");
    assert!(store.search(&few.clone().with_mmr(-0.1)).await.is_err());
    assert!(store.search(&few.with_group_by("", 1)).await.is_err());
}

fn marginal<'r>(
    whole: &'r [VectorResult],
    alike: &HashMap<(String, String), f32>,
    lambda: f32,
    k: usize,
) -> Vec<&'r str> {
    let mut taken: Vec<&VectorResult> = Vec::new();
    while taken.len() < k {
        let marginal = |result: &VectorResult| {
            let scores = taken.iter().map(|other| alike[&(other.id.clone(), result.id.clone())]);
            let most = scores.reduce(f32::max).map_or(0.0, f64::from);
            f64::from(lambda) * f64::from(result.score) - (1.0 - f64::from(lambda)) * most
        };
        let left = whole
            .iter()
            .filter(|result| !taken.iter().any(|other| other.id == result.id));
        let best = left.reduce(|best, other| if marginal(other) > marginal(best) { other } else { best });
        taken.push(best.unwrap());
    }
    taken.into_iter().map(|result| result.id.as_str()).collect()
}
