//! The store of vectors keeps the contract.

use std::cell::Cell;
use std::sync::Arc;

use super::common::{drop_schema, new_schema, open, with_server};
use llmspell_conformance::vectors;
use llmspell_core::HNSWConfig;
use llmspell_postgres::{PostgresConfig, PostgresDatabase};

#[test]
fn the_store_of_vectors_keeps_the_contract() {
    with_server("the contract of vectors", async |url| {
        let (database, schema) = open(&url).await;
        let runtime = tokio::runtime::Handle::current();
        let opened = Cell::new(0);
        let fresh = async |dim, metric| {
            opened.set(opened.get() + 1);
            let config = HNSWConfig::balanced().with_metric(metric);
            let space = format!("space {}", opened.get());
            Arc::new(database.vectors(&space, dim, config).await.unwrap()) as _
        };
        vectors::check_all_with(&fresh, &|future| runtime.block_on(future)).await;
        drop_schema(&url, &schema).await;
    });
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
