//! Does the vector store keep the contract, in memory and on disk?

use std::cell::Cell;
use std::sync::Arc;

use llmspell_core::conformance::vectors;
use llmspell_storage::{HNSWConfig, HNSWVectorStorage};

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
