//! The router keeps the contract of a vector store, in memory and on disk.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::cell::Cell;
use std::sync::Arc;

use llmspell_conformance::vectors;
use llmspell_storage::{DatabaseOptions, DimensionRouter, DistanceMetric, EmbeddingModel, HNSWConfig, ModelSpace};

/// The space that answers stands between two others, so that nothing is right by chance.
async fn among_others(router: DimensionRouter, dim: usize, metric: DistanceMetric) -> DimensionRouter {
    for other in [dim + 7, dim + 9] {
        router.register_dimension(other).await.unwrap();
    }
    let model = EmbeddingModel::new("another of this dimension", dim + 7).with_metric(metric);
    router.register_model(model).await.unwrap();
    router
}

#[tokio::test]
async fn the_router_in_memory_keeps_the_contract() {
    vectors::check_all(async |dim, metric| {
        let router = DimensionRouter::new(HNSWConfig::balanced().with_metric(metric));
        router.register_dimension(dim).await.unwrap();
        Arc::new(among_others(router, dim, metric).await) as _
    })
    .await;
}

#[tokio::test]
async fn the_router_on_disk_keeps_the_contract_with_a_model_and_with_graphs() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Cell::new(0);
    vectors::check_all(async |dim, metric| {
        opened.set(opened.get() + 1);
        let path = directory.path().join(opened.get().to_string());
        let options = DatabaseOptions::new().graph_points_min(2).metadata_points_min(1);
        let database = options.open(path).await.unwrap();
        let config = HNSWConfig::fast().with_ef_search(10_000).with_metric(metric);
        let router = database.router(config).await.unwrap();
        router.register_dimension(dim).await.unwrap();
        Arc::new(among_others(router, dim, metric).await) as _
    })
    .await;
}

#[tokio::test]
async fn the_router_on_disk_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    vectors::entries_and_deletes_are_there_after_reopening(async || {
        let config = HNSWConfig::balanced().with_metric(vectors::METRIC);
        let router = DimensionRouter::open(directory.path(), config).await.unwrap();
        router.register_dimension(vectors::DIM).await.unwrap();
        Arc::new(router) as _
    })
    .await;
}

/// Entries come back with the model of their space, which the contract does not ask for; the rest is as it asks.
#[tokio::test]
async fn a_model_that_is_the_only_one_of_its_dimension_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    vectors::entries_and_deletes_are_there_after_reopening(async || {
        let router = DimensionRouter::open(directory.path(), HNSWConfig::balanced())
            .await
            .unwrap();
        let model = EmbeddingModel::new("ours", vectors::DIM).with_metric(vectors::METRIC);
        router.register_model(ModelSpace::new(model)).await.unwrap();
        Arc::new(router) as _
    })
    .await;
}
