//! Both sides of a search become one ranking.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::{DIM, METRIC, exact, user};
use super::{entries, letter, search};
use llmspell_core::{Filter, Fusion, StateScope, VectorEntry, VectorQuery, VectorResult, VectorStorage, fuse};

const FUSIONS: [Fusion; 6] = [
    Fusion::Rrf { k: 10.0 },
    Fusion::Rrf { k: 60.0 },
    Fusion::Dbsf,
    Fusion::Linear { alpha: 0.0 },
    Fusion::Linear { alpha: 0.3 },
    Fusion::Linear { alpha: 1.0 },
];

/// The place of the scope, and the id.
pub(super) type Key = (usize, String);

fn scopes() -> [StateScope; 3] {
    [user("ada"), StateScope::Global, user("bob")]
}

/// Entries with both, with a text alone, and with a vector alone.
async fn fill(store: &dyn VectorStorage) {
    for (scope, (skipped, count)) in scopes().iter().zip([(0, 150), (60, 50), (10, 20)]) {
        let mut batch = entries(scope, skipped, count);
        for entry in &mut batch {
            match entry.id.as_bytes()[3] {
                b'3' => entry.embedding.clear(),
                b'4' | b'5' => entry.text = None,
                _ => {}
            }
        }
        store.insert(batch).await.unwrap();
    }
}

/// Where a result stands among those of equal scores.
pub(super) fn key(result: &VectorResult, query: &VectorQuery) -> Key {
    let scopes = query.searched_scopes();
    let place = result
        .scope
        .as_ref()
        .map(|scope| scopes.iter().position(|named| *named == scope).unwrap());
    (place.unwrap_or(0), result.id.clone())
}

/// What `query` should find: the fused answers to its sides, each searched on its own.
async fn fused(store: &dyn VectorStorage, query: &VectorQuery) -> Vec<(Key, f32)> {
    let mut sides = Vec::new();
    for side in [
        query.vector_side(query.candidates()),
        query.text_side(query.candidates()),
    ] {
        let results = search(store, &side).await;
        sides.push(
            results
                .iter()
                .map(|result| (key(result, query), result.score))
                .collect::<Vec<_>>(),
        );
    }
    let mut fused = fuse(query.fusion(), &sides).unwrap();
    fused.truncate(query.k);
    fused
}

/// A hybrid search fuses the best candidates of its sides, for every fusion, in one scope and in several.
pub async fn both_sides_become_one_ranking(store: &Arc<dyn VectorStorage>) {
    fill(&**store).await;
    let [ada, global, _] = scopes();
    for is_indexed in [false, true] {
        for words in ["wf wj", "wl -we", "absent"] {
            let plain = exact([2.0, -3.0, 1.0], 10).with_text(words);
            for query in [
                plain.clone().with_scope(ada.clone()),
                plain.clone().with_scope(ada.clone()).with_k(400),
                plain.clone().with_k(3),
                plain.clone().with_scopes([global.clone(), ada.clone(), user("nobody")]),
            ] {
                assert_eq!(query.fusion(), Fusion::default());
                for fusion in FUSIONS.map(Some).into_iter().chain([None]) {
                    let mut query = query.clone();
                    query.fusion = fusion;
                    let results = search(&**store, &query).await;
                    let found: Vec<_> = results
                        .iter()
                        .map(|result| (key(result, &query), result.score))
                        .collect();
                    let expected = fused(&**store, &query).await;
                    assert_eq!(found, expected, "{words}, {fusion:?}, in an index: {is_indexed}");
                    for result in &results {
                        assert_eq!(result.distance.to_bits(), (-result.score).to_bits());
                        assert_eq!(result.scope.is_some(), query.scopes.is_some());
                    }
                }
            }
        }
        store.build_index().await.unwrap();
    }
    let by_meaning = search(&**store, &exact([2.0, -3.0, 1.0], 10).with_text("")).await;
    let alone = search(&**store, &exact([2.0, -3.0, 1.0], 10)).await;
    let ids = |results: &[VectorResult]| results.iter().map(|result| result.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&by_meaning), ids(&alone), "no words leave the order of the vectors");
}

/// A word for a number below 676.
fn letters(number: usize) -> String {
    let number = number as u32;
    [letter(number / 26), letter(number % 26)].iter().collect()
}

/// Results have the exact scores of both sides, also where an entry was a candidate of one of them only.
pub async fn scores_of_both_sides_are_exact(store: &Arc<dyn VectorStorage>) {
    fill(&**store).await;
    let vector = [2.0, -3.0, 1.0];
    let query = exact(vector, 200).with_text("wg wb").with_scope(user("ada"));
    let text_scores: BTreeMap<String, f32> = search(&**store, &query.text_side(1_000))
        .await
        .into_iter()
        .map(|result| (result.id, result.score))
        .collect();
    let vector_scores: BTreeMap<String, f32> = search(&**store, &query.vector_side(1_000))
        .await
        .into_iter()
        .map(|result| (result.id, result.score))
        .collect();
    assert!(
        text_scores.len() > 60 && vector_scores.len() == 135,
        "{}",
        text_scores.len()
    );
    let mut seen = BTreeSet::new();
    for k in [5, 20] {
        for result in search(&**store, &query.clone().with_k(k).with_fusion(Fusion::Rrf { k: 60.0 })).await {
            assert_eq!(result.text_score, text_scores.get(&result.id).copied(), "{}", result.id);
            assert_eq!(
                result.vector_score,
                vector_scores.get(&result.id).copied(),
                "{}",
                result.id
            );
            seen.insert((result.text_score.is_some(), result.vector_score.is_some()));
        }
    }
    assert!(seen.contains(&(true, true)));
    // Each side has 100 candidates of these 120, the words in one order, the vectors in another.
    let scope = user("carl");
    let batch = (0..120).map(|number| {
        let repeated = vec!["word"; 1 + number % 30].join(" ");
        VectorEntry::new(format!("e{number:03}"), [number as f32, 0.0, 0.0])
            .with_scope(scope.clone())
            .with_text(format!("{repeated} rest{}", letters(number)))
    });
    store.insert(batch.collect()).await.unwrap();
    let query = exact([0.0; DIM], 200).with_text("word").with_scope(scope.clone());
    let wide = search(&**store, &query).await;
    for result in search(&**store, &query.with_k(20)).await {
        let same = wide.iter().find(|other| other.id == result.id).expect("all are found");
        let scores = (result.text_score, result.vector_score);
        assert_eq!(scores, (same.text_score, same.vector_score));
        assert!(scores.0.is_some() && scores.1.is_some(), "{}", result.id);
    }
    let far = exact([119.0, 0.0, 0.0], 5).with_text("restaa").with_scope(scope);
    let found = search(&**store, &far).await;
    let of_words = found
        .iter()
        .find(|result| result.id == "e000")
        .expect("it is first by words");
    assert_eq!(of_words.vector_score, Some(METRIC.score(119.0)));
    assert!(of_words.text_score.is_some_and(|score| score > 0.0));
}

/// Filter and time ranges hold on both sides, and decide before candidates are taken.
pub async fn a_filter_holds_on_both_sides(store: &Arc<dyn VectorStorage>) {
    let batch = (0..300).map(|number| {
        VectorEntry::new(format!("e{number:03}"), [number as f32, 0.0, 0.0])
            .with_text("word ".repeat(1 + number % 7))
            .with_metadata(serde_json::json!({"rare": number >= 297}))
            .with_event_time(llmspell_core::Timestamp::from_millis(number as i64))
    });
    store.insert(batch.collect()).await.unwrap();
    let late = llmspell_core::Timestamp::from_millis(298);
    for is_indexed in [false, true] {
        for query in [
            VectorQuery::text("word", 3),
            exact([0.0; DIM], 3).with_text("word"),
            VectorQuery::new([0.0; DIM], 3).with_text("word"),
        ] {
            let of = |query: &VectorQuery| {
                let query = query.clone();
                async move {
                    let results = search(&**store, &query).await;
                    let ids: BTreeSet<String> = results.into_iter().map(|result| result.id).collect();
                    ids.into_iter().collect::<Vec<_>>()
                }
            };
            let rare = query.clone().with_filter(Filter::eq("rare", true));
            assert_eq!(of(&rare).await, ["e297", "e298", "e299"], "in an index: {is_indexed}");
            assert_eq!(of(&query.clone().with_event_time_range(late..)).await, ["e298", "e299"]);
            assert_eq!(of(&rare.with_event_time_range(late..)).await, ["e298", "e299"]);
        }
        store.build_index().await.unwrap();
    }
}

/// In a hybrid search a threshold is of the vector side alone; in one for words it is of their score.
pub async fn a_threshold_is_of_one_side(store: &Arc<dyn VectorStorage>) {
    let entry = |id: &str, far: f32, text: &str| VectorEntry::new(id, [far, 0.0, 0.0]).with_text(text);
    let batch = vec![
        entry("near", 0.0, "other"),
        entry("far", 50.0, "other"),
        entry("found", 60.0, "word"),
        entry("often", 70.0, "word word word"),
    ];
    store.insert(batch).await.unwrap();
    let hybrid = exact([0.0; DIM], 10).with_text("word").with_threshold(0.9);
    let results = search(&**store, &hybrid).await;
    let mut ids: Vec<&str> = results.iter().map(|result| result.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["found", "near", "often"]);
    for result in &results {
        let is_near = result.vector_score.is_some_and(|score| score >= 0.9);
        assert!(is_near || result.text_score.is_some());
    }
    let words = search(&**store, &VectorQuery::text("word", 10)).await;
    let (best, worst) = (words[0].score, words[1].score);
    assert!(words.len() == 2 && best > worst);
    let over = async |threshold: f32| search(&**store, &VectorQuery::text("word", 10).with_threshold(threshold)).await;
    assert_eq!(over(worst).await.len(), 2, "the threshold is inclusive");
    assert_eq!(over(worst.next_up()).await.len(), 1);
    assert_eq!(over(best.next_up()).await.len(), 0);
}
