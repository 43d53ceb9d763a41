//! The vector store keeps the contract, in memory and on disk.

use std::cell::Cell;
use std::sync::Arc;

use llmspell_conformance::vectors;
use llmspell_storage::{DatabaseOptions, HNSWConfig, HNSWVectorStorage, Memory};

#[tokio::test]
async fn the_vector_store_in_memory_keeps_the_contract() {
    vectors::check_all(async |dim, metric| {
        Arc::new(HNSWVectorStorage::new(dim, HNSWConfig::balanced().with_metric(metric))) as _
    })
    .await;
}

#[tokio::test]
async fn the_vector_store_on_disk_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Cell::new(0);
    vectors::check_all(async |dim, metric| {
        opened.set(opened.get() + 1);
        let path = directory.path().join(opened.get().to_string());
        let config = HNSWConfig::balanced().with_metric(metric);
        Arc::new(HNSWVectorStorage::open(path, dim, config).await.unwrap()) as _
    })
    .await;
}

#[tokio::test]
async fn the_vector_store_on_disk_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let config = HNSWConfig::balanced().with_metric(vectors::METRIC);
    vectors::entries_and_deletes_are_there_after_reopening(async || {
        let store = HNSWVectorStorage::open(directory.path(), vectors::DIM, config.clone()).await;
        Arc::new(store.unwrap()) as _
    })
    .await;
}

/// Scopes have graphs and indexes of the metadata from the first entries on, and the beam sees all of them.
#[tokio::test]
async fn the_vector_store_keeps_the_contract_with_graphs_in_every_tier() {
    for memory in [Memory::Speed, Memory::Balanced, Memory::Lean] {
        let directory = tempfile::tempdir().unwrap();
        let opened = Cell::new(0);
        vectors::check_all(async |dim, metric| {
            opened.set(opened.get() + 1);
            let path = directory.path().join(opened.get().to_string());
            let config = HNSWConfig::fast()
                .with_metric(metric)
                .with_memory(memory)
                .with_ef_search(10_000);
            let options = DatabaseOptions::new().graph_points_min(2).metadata_points_min(1);
            let database = options.open(path).await.unwrap();
            Arc::new(database.vectors("s", dim, config).await.unwrap()) as _
        })
        .await;
    }
}

#[tokio::test]
async fn the_vector_store_with_graphs_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let config = HNSWConfig::fast().with_metric(vectors::METRIC).with_ef_search(10_000);
    vectors::entries_and_deletes_are_there_after_reopening(async || {
        let options = DatabaseOptions::new().graph_points_min(2);
        let database = options.open(directory.path()).await.unwrap();
        let store = database.vectors("s", vectors::DIM, config.clone()).await;
        Arc::new(store.unwrap()) as _
    })
    .await;
}
