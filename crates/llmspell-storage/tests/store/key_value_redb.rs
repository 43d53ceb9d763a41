//! The redb backend keeps the contract.

use std::cell::Cell;
use std::sync::Arc;

use llmspell_conformance::key_value;
use llmspell_storage::RedbBackend;

#[tokio::test]
async fn redb_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Cell::new(0);
    key_value::check_all(async || {
        opened.set(opened.get() + 1);
        let path = directory.path().join(opened.get().to_string());
        Arc::new(RedbBackend::open(path).await.unwrap()) as _
    })
    .await;
}

#[tokio::test]
async fn redb_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    key_value::what_is_acknowledged_is_there_after_reopening(async || {
        Arc::new(RedbBackend::open(directory.path()).await.unwrap()) as _
    })
    .await;
}
