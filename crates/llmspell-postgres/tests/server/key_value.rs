//! The store of keys keeps the contract.

use std::sync::Arc;

use super::common::{drop_schema, new_schema, open, with_server};
use llmspell_conformance::key_value;
use llmspell_postgres::{PostgresConfig, PostgresDatabase};

#[test]
fn the_store_of_keys_keeps_the_contract() {
    with_server("the contract of keys", async |url| {
        let (database, schema) = open(&url).await;
        let backend = database.key_value();
        let runtime = tokio::runtime::Handle::current();
        // One table for all: emptying it is quicker than a schema for each promise.
        let fresh = async || {
            backend.clear().await.unwrap();
            Arc::new(backend.clone()) as _
        };
        key_value::check_all_with(&fresh, &|future| runtime.block_on(future)).await;
        drop_schema(&url, &schema).await;
    });
}

#[test]
fn the_store_of_keys_keeps_what_it_acknowledged() {
    with_server("keys after reopening", async |url| {
        let schema = new_schema();
        let config = PostgresConfig::new(&url).with_schema(&schema);
        key_value::what_is_acknowledged_is_there_after_reopening(async || {
            Arc::new(PostgresDatabase::open(config.clone()).await.unwrap().key_value()) as _
        })
        .await;
        drop_schema(&url, &schema).await;
    });
}
