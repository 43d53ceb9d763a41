//! Pages, recency, diversity and groups of searches for words follow their definitions.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::super::{DIM, METRIC, exact, ids};
use super::{entries, near, search};
use llmspell_core::{StateScope, Timestamp, VectorEntry, VectorQuery, VectorResult, VectorStorage, recency_score};

/// Pages of a search join to one answer.
pub async fn pages_of_words_join(store: &Arc<dyn VectorStorage>) {
    store.insert(entries(&StateScope::Global, 0, 90)).await.unwrap();
    for query in [VectorQuery::text("wc wh", 20), exact([1.0; DIM], 20).with_text("wc wh")] {
        let whole = search(&**store, &query).await;
        assert_eq!(whole.len(), 20);
        for size in [1, 7, 20] {
            let mut joined = Vec::new();
            while joined.len() < 20 {
                let page = query
                    .clone()
                    .with_k(size.min(20 - joined.len()))
                    .with_offset(joined.len());
                joined.extend(search(&**store, &page).await);
            }
            assert_eq!(joined, whole, "pages of {size}");
        }
    }
}

/// Recency ages the BM25 score, or the fused one, of the candidates.
pub async fn recency_ages_the_score_of_words(store: &Arc<dyn VectorStorage>) {
    let now: Timestamp = SystemTime::now().into();
    let day_ms = 86_400_000_i64;
    let mut batch = entries(&StateScope::Global, 0, 60);
    for (number, entry) in (0..).zip(&mut batch) {
        let days = (number * 37) % 60;
        entry.event_time = Some(Timestamp::from_millis(now.as_millis() - days * day_ms));
    }
    store.insert(batch).await.unwrap();
    let half_life = Duration::from_secs(20 * 86_400);
    for query in [VectorQuery::text("wc wh", 12), exact([1.0; DIM], 12).with_text("wc wh")] {
        let all = search(&**store, &query.clone().with_k(query.candidates())).await;
        let aged = |result: &VectorResult| {
            let number: i64 = result.id[1..].parse().unwrap();
            let age = (number * 37) % 60 * day_ms;
            recency_score(result.score, u64::try_from(age).unwrap(), half_life)
        };
        let mut expected: Vec<f32> = all.iter().map(&aged).collect();
        expected.sort_by(|a, b| b.total_cmp(a));
        let found = search(&**store, &query.clone().with_recency(half_life)).await;
        assert_eq!(found.len(), 12);
        assert_ne!(ids(&found), ids(&all[..12]), "age changes the order");
        for (result, expected) in found.iter().zip(expected) {
            let same = all.iter().find(|other| other.id == result.id).unwrap();
            assert_eq!(result.score, same.score, "the score itself does not age");
            let score = f64::from(result.recency_score.expect("the query asks for it"));
            assert!(near(score, f64::from(aged(result))) && near(score, f64::from(expected)));
        }
    }
}

/// A diverse search takes one candidate after the other by maximal marginal relevance: the score as a share of the best,
/// against the vector score between candidates; an entry without a vector is like no other.
pub async fn diverse_results_of_words_follow_their_definition(store: &Arc<dyn VectorStorage>) {
    let mut batch = entries(&StateScope::Global, 0, 40);
    for entry in batch.iter_mut().step_by(7) {
        entry.embedding.clear();
    }
    store.insert(batch.clone()).await.unwrap();
    let vector = |id: &str| batch.iter().find(|entry| entry.id == id).unwrap().embedding.clone();
    let alike = |a: &str, b: &str| {
        let (a, b) = (vector(a), vector(b));
        let squares = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2));
        let distance = squares.sum::<f64>().sqrt() as f32;
        (!a.is_empty() && !b.is_empty()).then(|| f64::from(METRIC.score(distance)))
    };
    for query in [VectorQuery::text("wb we", 8), exact([1.0; DIM], 8).with_text("wb we")] {
        let all = search(&**store, &query.clone().with_k(100)).await;
        let best = f64::from(all[0].score);
        for lambda in [0.0, 0.4, 1.0] {
            let mut expected: Vec<&str> = Vec::new();
            while expected.len() < 8 {
                let marginal = |result: &VectorResult| {
                    let most = expected
                        .iter()
                        .filter_map(|taken| alike(taken, &result.id))
                        .reduce(f64::max);
                    let relevance = f64::from(result.score) / best;
                    f64::from(lambda) * relevance - (1.0 - f64::from(lambda)) * most.unwrap_or(0.0)
                };
                let left = all.iter().filter(|result| !expected.contains(&result.id.as_str()));
                let next = left.reduce(|best, other| {
                    if marginal(other) > marginal(best) + 1e-9 {
                        other
                    } else {
                        best
                    }
                });
                expected.push(&next.unwrap().id);
            }
            let found = search(&**store, &query.clone().with_mmr(lambda)).await;
            assert_eq!(ids(&found), expected, "lambda {lambda}");
            assert!(found.iter().all(|result| result.vector.is_none()));
        }
    }
}

/// A grouped search finds `k` if enough groups match, even if most of the best are of one group.
pub async fn a_large_group_of_words_hides_no_other(store: &Arc<dyn VectorStorage>) {
    let of = |group: &str, number: usize, far: f32, times: usize| {
        VectorEntry::new(format!("{group}-{number:03}"), [far, number as f32 / 1000.0, 0.0])
            .with_text("word ".repeat(times))
            .with_metadata(json!({"doc": group}))
    };
    let large = (0..450).map(|number| of("large", number, 1.0, 4));
    let second = (0..30).map(|number| of("second", number, 2.0, 2));
    let small = (0..3).map(|number| of(&format!("small{number}"), number, 9.0, 1));
    store.insert(large.chain(second).chain(small).collect()).await.unwrap();
    for is_indexed in [false, true] {
        for query in [
            VectorQuery::text("word", 5),
            exact([1.0, 0.0, 0.0], 5).with_text("word"),
        ] {
            let found = search(&**store, &query.clone().with_group_by("doc", 1)).await;
            let groups: Vec<&str> = found
                .iter()
                .map(|result| result.id.split('-').next().unwrap())
                .collect();
            assert_eq!(groups[..2], ["large", "second"], "in an index: {is_indexed}");
            assert_eq!(groups.len(), 5, "in an index: {is_indexed}");
            let more = search(&**store, &query.clone().with_k(20).with_group_by("doc", 2)).await;
            assert_eq!(more.len(), 7);
        }
        store.build_index().await.unwrap();
    }
}
