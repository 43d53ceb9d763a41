//! A search for words alone, without a model, is a search of all spaces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llmspell_storage::{
    Database, DimensionRouter, EmbeddingModel, ErrorKind, Filter, HNSWConfig, HNSWVectorStorage, StateScope,
    VectorEntry, VectorQuery, VectorResult,
};
use serde_json::json;

use super::text;

const MODELS: [(&str, usize); 3] = [("a", 2), ("b", 2), ("c", 5)];

fn config() -> HNSWConfig {
    HNSWConfig::fast().with_text_fields(["title"])
}

async fn router() -> DimensionRouter {
    let router = DimensionRouter::new(config());
    for (model, dim) in MODELS {
        router.register_model(EmbeddingModel::new(model, dim)).await.unwrap();
    }
    router
}

fn scope(number: usize) -> StateScope {
    StateScope::Custom(format!("s{}", number % 2))
}

/// The entries of which each space of the router has a third, without vectors.
fn entries() -> Vec<VectorEntry> {
    let entry = |number: usize| {
        // Frequent where few others are, so that scores by the statistics of one space alone would be in another order.
        let common = ["graph", "graph", "index"][number % 3];
        let rare = if number.is_multiple_of(7) { "index" } else { "text" };
        VectorEntry::text_only(format!("e{number:02}"), format!("{common} {rare} of number {number}"))
            .with_metadata(json!({"title": format!("a title {}", number % 4), "four": number % 4}))
            .with_scope(scope(number))
    };
    (0..40).map(entry).collect()
}

/// The router, and one space that has the same entries.
async fn filled() -> (DimensionRouter, HNSWVectorStorage) {
    let (router, one) = (router().await, HNSWVectorStorage::new(0, config()));
    one.insert(entries()).await.unwrap();
    let of_model = |(number, entry): (usize, VectorEntry)| entry.with_model(MODELS[number % 3].0);
    router
        .insert(entries().into_iter().enumerate().map(of_model).collect())
        .await
        .unwrap();
    (router, one)
}

fn seen(results: Vec<VectorResult>) -> Vec<(Option<StateScope>, String, f32)> {
    let seen = |result: VectorResult| (result.scope, result.id, result.score);
    results.into_iter().map(seen).collect()
}

#[tokio::test]
async fn words_without_a_model_are_searched_for_in_all_spaces_as_if_they_were_one() {
    let (router, one) = filled().await;
    let both = [scope(1), scope(0)];
    let graph = || VectorQuery::text("graph index", 10).with_scope(scope(0));
    let queries = [
        graph(),
        graph().with_offset(7).with_k(5),
        graph().with_offset(100),
        graph().with_scopes(both.clone()).with_k(40),
        graph().with_scopes(both).with_threshold(0.5),
        graph().with_filter(Filter::eq("four", 2)),
        VectorQuery::text("\"title 2\" -7", 40).with_scope(scope(0)),
        VectorQuery::text("absent", 10).with_scope(scope(0)),
        graph().with_scope(StateScope::Global),
    ];
    for query in queries {
        let found = router.search(&query).await.unwrap();
        for result in &found {
            let number: usize = result.id[1..].parse().unwrap();
            assert_eq!(result.space.as_deref(), Some(MODELS[number % 3].0), "{query:?}");
        }
        assert_eq!(seen(found), seen(one.search(&query).await.unwrap()), "{query:?}");
    }
    let all = router.search(&graph()).await.unwrap();
    let spaces: std::collections::BTreeSet<_> = all.into_iter().filter_map(|result| result.space).collect();
    assert_eq!(spaces.len(), 3, "the best of one query are of all spaces");
}

#[tokio::test]
async fn a_model_makes_it_a_search_of_its_space_and_spaces_without_words_are_passed_over() {
    let (router, _) = filled().await;
    let query = VectorQuery::text("graph", 40).with_scope(scope(0));
    let of_a = router.search(&query.clone().with_model("a")).await.unwrap();
    assert!(!of_a.is_empty());
    assert!(of_a.iter().all(|result| result.space.as_deref() == Some("a")));

    let before = seen(router.search(&query).await.unwrap());
    let plain = router.database().vectors("plain", 3, HNSWConfig::fast()).await.unwrap();
    plain
        .insert(vec![VectorEntry::new("v", [1.0, 0.0, 0.0])])
        .await
        .unwrap();
    router.adopt_space("plain", None).await.unwrap();
    assert_eq!(seen(router.search(&query).await.unwrap()), before);

    let without = Database::in_memory().router(HNSWConfig::fast()).await.unwrap();
    for (model, dim) in MODELS {
        without.register_model(EmbeddingModel::new(model, dim)).await.unwrap();
    }
    let error = without.search(&query).await.unwrap_err();
    assert!(error.to_string().contains("does not index words"), "{error}");
}

#[tokio::test]
async fn what_needs_one_space_is_refused_and_says_to_name_a_model() {
    let (router, _) = filled().await;
    let query = || VectorQuery::text("graph", 5).with_scope(scope(0));
    let refusals = [
        text(router.search(&query().with_mmr(0.5)).await),
        text(router.search(&query().with_group_by("four", 1)).await),
        text(router.explain(&query()).await),
    ];
    for refusal in refusals {
        assert!(refusal.contains("a search for words in several spaces"), "{refusal}");
        assert!(refusal.contains("model"), "{refusal}");
    }
    let grouped = query().with_group_by("four", 1).with_model("b");
    assert!(!router.search(&grouped).await.unwrap().is_empty());

    let error = router
        .insert(vec![VectorEntry::text_only("x", "graph")])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "entries without a vector may belong to several models; name one: a, b, c"
    );
}

/// An entry that moves between spaces is found once in each search, whatever the search sees first.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_entry_that_moves_between_spaces_is_found_once() {
    let router = router().await;
    let entry = |model: &str| VectorEntry::text_only("mover", "graph").with_model(model);
    router.insert(vec![entry("a")]).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let moving = {
        let (router, is_over) = (router.clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut steps = 0;
            while !is_over.load(Ordering::Relaxed) {
                steps += 1;
                router.upsert(vec![entry(MODELS[steps % 3].0)]).await.unwrap();
            }
            steps
        })
    };
    let query = VectorQuery::text("graph", 5);
    for _ in 0..3_000 {
        let found = router.search(&query).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(moving.await.unwrap() > 100, "it moved");
}
