//! The store of vectors keeps the contract.

use std::cell::Cell;
use std::sync::Arc;

use super::common::{drop_schema, new_schema, open, with_server};
use llmspell_conformance::vectors;
use llmspell_core::{HNSWConfig, VectorStorage};
use llmspell_postgres::{PostgresConfig, PostgresDatabase};

#[test]
fn the_store_of_vectors_keeps_the_contract() {
    with_server("the contract of vectors", async |url| {
        let (database, schema) = open(&url).await;
        check_contract(&database, false).await;
        drop_schema(&url, &schema).await;
    });
}

async fn check_contract(database: &PostgresDatabase, is_indexed: bool) {
    let runtime = tokio::runtime::Handle::current();
    let opened = Cell::new(0);
    let fresh = async |dim, metric| {
        opened.set(opened.get() + 1);
        let config = HNSWConfig::balanced().with_metric(metric);
        let store = database
            .vectors(&format!("space {}", opened.get()), dim, config)
            .await
            .unwrap();
        if is_indexed {
            store.build_index().await.unwrap();
        }
        Arc::new(store) as Arc<dyn VectorStorage>
    };
    vectors::check_all_with(&fresh, &|future| runtime.block_on(future)).await;
}

#[test]
fn the_store_of_vectors_keeps_what_it_acknowledged() {
    with_server("vectors after reopening", async |url| {
        let schema = new_schema();
        let config = PostgresConfig::new(&url).with_schema(&schema);
        let index = HNSWConfig::balanced().with_metric(vectors::METRIC);
        vectors::entries_and_deletes_are_there_after_reopening(async || {
            let database = PostgresDatabase::open(config.clone()).await.unwrap();
            Arc::new(database.vectors("s", vectors::DIM, index.clone()).await.unwrap()) as _
        })
        .await;
        drop_schema(&url, &schema).await;
    });
}
