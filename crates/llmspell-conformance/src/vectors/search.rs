//! The nearest entries are found, in order, with the right scores.

use std::collections::HashMap;

use serde_json::json;

use super::{DIM, assert_invalid, entry, exact, ids, scattered, user};
use llmspell_core::{DistanceMetric, VectorEntry, VectorQuery, VectorStorage};

/// Rounding of a few `f32` operations, relative to the size of the numbers.
const TOLERANCE: f64 = 1.0e-5;

/// The definition of a distance, in `f64`.
fn distance(metric: DistanceMetric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let norm = |v: &[f32]| v.iter().map(|c| f64::from(*c) * f64::from(*c)).sum::<f64>().sqrt();
    match metric {
        DistanceMetric::Cosine => 1.0 - dot / (norm(a) * norm(b)),
        DistanceMetric::Euclidean => pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
        DistanceMetric::InnerProduct => -dot,
        DistanceMetric::Manhattan => pairs().map(|(a, b)| (a - b).abs()).sum(),
    }
}

/// An exact search returns the `k` least distances, in order; each distance agrees with arithmetic in `f64`.
pub async fn an_exact_search_agrees_with_arithmetic(store: &dyn VectorStorage, metric: DistanceMetric) {
    let vectors: HashMap<String, [f32; DIM]> = scattered(200)
        .enumerate()
        .map(|(number, vector)| (format!("v{number}"), vector))
        .collect();
    let entries = vectors.iter().map(|(id, vector)| entry(id, *vector));
    store.insert(entries.collect()).await.unwrap();

    for (query, k) in scattered(220)
        .skip(190)
        .zip([1, 2, 10, 199, 200, 1000].into_iter().cycle())
    {
        let mut expected: Vec<f64> = vectors
            .values()
            .map(|vector| distance(metric, vector, &query))
            .collect();
        expected.sort_by(f64::total_cmp);
        expected.truncate(k);
        let results = store.search(&exact(query, k)).await.unwrap();
        assert_eq!(results.len(), expected.len(), "{metric}: k = {k} of 200");
        for (place, (result, expected)) in results.iter().zip(&expected).enumerate() {
            let allowed = TOLERANCE * expected.abs().max(1.0);
            let own = distance(metric, &vectors[&result.id], &query);
            let got = f64::from(result.distance);
            assert!(
                (got - own).abs() <= allowed,
                "{metric}: distance of {} is {own}, not {got}",
                result.id
            );
            assert!(
                (got - expected).abs() <= allowed,
                "{metric}: place {place} has {expected}, not {got}"
            );
        }
        assert!(
            results.is_sorted_by(|a, b| a.distance <= b.distance),
            "{metric}: best first"
        );
        let mut found = ids(&results);
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), results.len(), "{metric}: no entry twice");
    }
}

/// A score follows from the distance by the metric's formula, and rounding moves neither out of its range.
pub async fn scores_follow_from_distances_and_stay_in_range(store: &dyn VectorStorage, metric: DistanceMetric) {
    let mut batch = Vec::new();
    for (number, vector) in scattered(60).enumerate() {
        batch.push(entry(&format!("same {number}"), vector));
        // The same and the opposite direction: rounding could leave the range of a cosine.
        batch.push(entry(
            &format!("longer {number}"),
            vector.map(|component| component * 3.3),
        ));
        batch.push(entry(
            &format!("opposite {number}"),
            vector.map(|component| component * -0.7),
        ));
    }
    store.insert(batch).await.unwrap();
    for query in scattered(60) {
        let results = store.search(&exact(query, 1000)).await.unwrap();
        assert_eq!(results.len(), 180);
        for result in &results {
            assert_eq!(
                result.score,
                metric.score(result.distance),
                "{metric}: the score of {}",
                result.distance
            );
            let (distances, scores) = match metric {
                DistanceMetric::Cosine => (0.0..=2.0, -1.0..=1.0),
                DistanceMetric::Euclidean | DistanceMetric::Manhattan => (0.0..=f32::MAX, 0.0..=1.0),
                DistanceMetric::InnerProduct => (f32::MIN..=f32::MAX, f32::MIN..=f32::MAX),
            };
            assert!(
                distances.contains(&result.distance),
                "{metric}: distance {} in range",
                result.distance
            );
            assert!(
                scores.contains(&result.score),
                "{metric}: score {} in range",
                result.score
            );
        }
        assert!(
            results.is_sorted_by(|a, b| a.score >= b.score),
            "{metric}: larger is better"
        );
    }
}

/// A vector without direction is refused by cosine, as entry and as query; other metrics take it.
pub async fn only_cosine_refuses_a_zero_vector(store: &dyn VectorStorage, metric: DistanceMetric) {
    store.insert(vec![entry("some", [1.0, 2.0, 3.0])]).await.unwrap();
    for zero in [[0.0; DIM], [-0.0, 0.0, -0.0]] {
        let inserted = store.upsert(vec![entry("zero", zero)]).await;
        let searched = store.search(&exact(zero, 5)).await;
        if metric == DistanceMetric::Cosine {
            assert_invalid(inserted, "a zero vector");
            assert_invalid(searched, "a zero query");
            assert_eq!(store.search(&exact([1.0; 3], 5)).await.unwrap().len(), 1);
        } else {
            inserted.unwrap();
            assert_eq!(searched.unwrap().len(), 2);
        }
    }
}

/// `k` results are returned if `k` entries exist, else all of them, by any kind of search.
pub async fn fewer_than_k_come_back_only_if_there_are_fewer(store: &dyn VectorStorage) {
    assert!(
        store.search(&exact([1.0; 3], 5)).await.unwrap().is_empty(),
        "nothing is there"
    );
    let entries = scattered(50)
        .enumerate()
        .map(|(number, vector)| entry(&format!("v{number}"), vector));
    store.insert(entries.collect()).await.unwrap();
    for k in [1, 49, 50, 51, llmspell_core::limits::K_MAX] {
        for query in [
            exact([0.5; 3], k),
            VectorQuery::new(vec![0.5; DIM], k),
            exact([0.5; 3], k).with_ef_search(k),
        ] {
            assert_eq!(store.search(&query).await.unwrap().len(), k.min(50), "k = {k} of 50");
        }
    }
}

/// Equal distances are ordered by id, also if `k` cuts through them.
pub async fn equal_distances_are_ordered_by_id(store: &dyn VectorStorage) {
    let mut names: Vec<String> = (0..60)
        .map(|number| format!("{}{number}", if number % 2 == 0 { "a" } else { "B" }))
        .collect();
    let twins = names.iter().map(|id| entry(id, [1.0, 2.0, 3.0]));
    // Inserted in another order than that of the ids, in several batches.
    let twins: Vec<VectorEntry> = twins.rev().collect();
    for batch in twins.chunks(17) {
        store.insert(batch.to_vec()).await.unwrap();
    }
    store
        .insert(vec![entry("nearer", [0.0; 3]), entry("aa further", [9.0; 3])])
        .await
        .unwrap();
    names.sort();
    for k in [1, 2, 7, 30, 59] {
        let results = store.search(&exact([0.0; 3], k + 1)).await.unwrap();
        assert_eq!(results[0].id, "nearer");
        assert_eq!(ids(&results[1..]), names[..k], "the first {k} of 60 equals");
    }
    let twice = store.search(&exact([0.0; 3], 62)).await.unwrap();
    assert_eq!(
        twice,
        store.search(&exact([0.0; 3], 62)).await.unwrap(),
        "the same question has the same answer"
    );
}

/// Results include the vector bit for bit, and the metadata, if and only if the query asks for them.
pub async fn results_carry_what_the_query_asks_for(store: &dyn VectorStorage) {
    let vector = [-0.0, 1.0e-42, 16_777_217.0];
    let batch = vec![
        entry("doc", vector).with_metadata(json!({"a": [1]})),
        entry("plain", [0.0; 3]),
    ];
    store.insert(batch).await.unwrap();

    let results = store.search(&exact(vector, 2)).await.unwrap();
    assert_eq!(
        results[0].metadata.as_ref(),
        json!({"a": [1]}).as_object(),
        "metadata unless the query does without"
    );
    assert_eq!(
        results[1].metadata,
        Some(Default::default()),
        "no fields are an empty object"
    );
    assert_eq!(results[0].vector, None, "no vector unless the query asks");

    let results = store
        .search(&exact(vector, 2).with_metadata(false).with_vectors(true))
        .await
        .unwrap();
    assert_eq!(results[0].metadata, None);
    let found = results[0].vector.as_ref().expect("the query asks for vectors");
    assert!(
        found.iter().map(|c| c.to_bits()).eq(vector.map(f32::to_bits)),
        "{found:?} is {vector:?}, bit for bit"
    );
}

/// `search_batch` answers each query like `search`, in their order; one bad query fails the call.
pub async fn a_search_of_a_batch_answers_like_single_searches(store: &dyn VectorStorage) {
    let entries = scattered(40).enumerate().map(|(number, vector)| {
        let scope = user(if number % 2 == 0 { "even" } else { "odd" });
        entry(&format!("v{number}"), vector).with_scope(scope)
    });
    store.insert(entries.collect()).await.unwrap();
    let mut queries = vec![
        exact([1.0; 3], 3).with_scope(user("even")),
        exact([2.0; 3], 5).with_scope(user("odd")),
        exact([1.0; 3], 5),
    ];
    let mut expected = Vec::new();
    for query in &queries {
        expected.push(store.search(query).await.unwrap());
    }
    assert_eq!(store.search_batch(&queries).await.unwrap(), expected);
    assert!(store.search_batch(&[]).await.unwrap().is_empty());
    queries.push(exact([1.0; 3], 0));
    assert_invalid(store.search_batch(&queries).await, "a batch with a bad query");
}

/// A search that starts after an insert returned finds the entry, each single time.
pub async fn an_acknowledged_entry_is_found_at_once(store: &dyn VectorStorage) {
    for (number, vector) in scattered(40).enumerate() {
        let id = format!("v{number}");
        store.insert(vec![entry(&id, vector)]).await.unwrap();
        for query in [exact(vector, 1), VectorQuery::new(vector.to_vec(), 1)] {
            assert_eq!(
                ids(&store.search(&query).await.unwrap()),
                [id.as_str()],
                "just inserted, at distance zero"
            );
        }
    }
}
