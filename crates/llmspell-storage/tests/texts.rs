//! A space with texts keeps the contract: in memory, on disk, with graphs.

use std::cell::Cell;
use std::sync::Arc;

use llmspell_conformance::vectors;
use llmspell_storage::{Database, DatabaseOptions, HNSWConfig, HNSWVectorStorage, Memory, TextConfig};

#[tokio::test]
async fn texts_in_memory_keep_the_contract() {
    vectors::texts::check_texts(async |dim, config| Arc::new(HNSWVectorStorage::new(dim, config)) as _).await;
}

#[tokio::test]
async fn texts_on_disk_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Cell::new(0);
    vectors::texts::check_texts(async |dim, config| {
        opened.set(opened.get() + 1);
        let path = directory.path().join(opened.get().to_string());
        Arc::new(HNSWVectorStorage::open(path, dim, config).await.unwrap()) as _
    })
    .await;
}

/// Scopes have graphs and indexes of the metadata from the first entries on, and the beam sees all of them.
#[tokio::test]
async fn texts_keep_the_contract_with_graphs_in_every_tier() {
    for memory in [Memory::Speed, Memory::Balanced] {
        let directory = tempfile::tempdir().unwrap();
        let opened = Cell::new(0);
        vectors::texts::check_texts(async |dim, config: HNSWConfig| {
            opened.set(opened.get() + 1);
            let path = directory.path().join(opened.get().to_string());
            let options = DatabaseOptions::new().graph_points_min(2).metadata_points_min(1).text_rows_max(3);
            let database = options.open(path).await.unwrap();
            let config = config.with_memory(memory).with_ef_search(10_000);
            Arc::new(database.vectors("s", dim, config).await.unwrap()) as _
        })
        .await;
    }
}

#[tokio::test]
async fn texts_are_there_after_reopening() {
    for (graph_points_min, text_rows_max) in [(2, 3), (10_000, 16_384), (10_000, 25)] {
        let directory = tempfile::tempdir().unwrap();
        let texts = TextConfig::default().with_fields(["title"]);
        let config = HNSWConfig::fast().with_metric(vectors::METRIC).with_texts(texts);
        let config = config.with_ef_search(10_000);
        vectors::texts::texts_are_there_after_reopening(async || {
            let options = DatabaseOptions::new().graph_points_min(graph_points_min);
            let options = options.text_rows_max(text_rows_max);
            let database = options.open(directory.path()).await.unwrap();
            Arc::new(database.vectors("s", vectors::DIM, config.clone()).await.unwrap()) as _
        })
        .await;
        let database = Database::open(directory.path()).await.unwrap();
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:?}");
    }
}
