//! Calls about all spaces while one of the spaces comes and goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llmspell_storage::{DimensionRouter, EmbeddingModel, HNSWConfig};

use super::{SCOPE, entry, three_models};

/// Makes a model known, writes an entry of it and drops its space, until it is over.
async fn come_and_go(router: DimensionRouter, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::SeqCst) {
        router.register_model(EmbeddingModel::new("passing", 4)).await.unwrap();
        router.insert(vec![entry("p", "passing", 4)]).await.unwrap();
        router.drop_space("passing").await.unwrap();
    }
}

/// Each of the calls that look at every space. None is about the one that passes.
async fn look(router: &DimensionRouter) {
    assert_eq!(router.get(&SCOPE, "a").await.unwrap().unwrap().id, "a");
    assert!(router.scopes().await.unwrap().contains(&SCOPE));
    assert!(router.count(&SCOPE).await.unwrap() >= 1);
    assert!(!router.list(&SCOPE, None, 10).await.unwrap().is_empty());
    assert!(router.stats().await.unwrap().vectors >= 1);
    router.build_index().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_a_space_that_comes_and_goes_when_all_spaces_are_asked_then_no_call_fails() {
    for is_alone in [false, true] {
        let router = match is_alone {
            false => three_models().await,
            true => {
                let router = DimensionRouter::new(HNSWConfig::balanced());
                router.register_model(EmbeddingModel::new("a", 4)).await.unwrap();
                router
            }
        };
        router.insert(vec![entry("a", "a", 4)]).await.unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let passing = tokio::spawn(come_and_go(router.clone(), Arc::clone(&is_over)));
        for _ in 0..400 {
            look(&router).await;
        }
        is_over.store(true, Ordering::SeqCst);
        passing.await.unwrap();
    }
}
