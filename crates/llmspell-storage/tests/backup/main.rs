//! Backups: consistent while everything is written, whole, refused if anything in them is wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod damage;
mod live;
mod refusals;

use std::collections::BTreeMap;
use std::path::Path;

use llmspell_storage::{BackupOptions, Database, HNSWConfig, HNSWVectorStorage, StateScope, VectorEntry};

const DIM: usize = 64;

/// Everything that can be seen: key → value; scope and id → vector and metadata.
#[derive(Debug, Clone, Default, PartialEq)]
struct Content {
    values: BTreeMap<String, Vec<u8>>,
    entries: BTreeMap<(String, String), (Vec<f32>, String)>,
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

fn scope(number: u32) -> StateScope {
    StateScope::Session(format!("s-{number}"))
}

fn vector(seed: u32) -> Vec<f32> {
    (0..DIM as u32)
        .map(|place| ((seed.wrapping_mul(31) + place * place) % 997) as f32 + 1.0)
        .collect()
}

fn entry(scope_number: u32, id: u32, seed: u32) -> VectorEntry {
    VectorEntry::new(format!("id-{id}"), vector(seed))
        .with_scope(scope(scope_number))
        .with_metadata(serde_json::json!({ "seed": seed }))
}

async fn space(database: &Database) -> HNSWVectorStorage {
    database.vectors("s", DIM, HNSWConfig::fast()).await.unwrap()
}

async fn content(database: &Database) -> Content {
    let mut content = Content::default();
    for (key, value) in database.kv().scan("", None, 1000).await.unwrap() {
        content.values.insert(key, value);
    }
    let vectors = space(database).await;
    for scope in vectors.scopes().await.unwrap() {
        let mut after: Option<String> = None;
        loop {
            let page = vectors.list(&scope, after.as_deref(), 1000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for entry in page {
                let place = (scope.to_string(), entry.id);
                content
                    .entries
                    .insert(place, (entry.embedding, serde_json::json!(entry.metadata).to_string()));
            }
        }
    }
    content
}

/// The content of a database that is made of a backup; it is sound.
async fn restored(backup: &Path) -> Content {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("restored");
    Database::verify_backup(backup, BackupOptions::new()).await.unwrap();
    Database::restore(backup, &target, BackupOptions::new()).await.unwrap();
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left beside it: {left:?}");
    let database = Database::open(&target).await.unwrap();
    let report = database.check().await.unwrap();
    assert!(report.is_ok(), "{report:#?}");
    let found = content(&database).await;
    assert_eq!(database.stats().await.unwrap().background_failures, []);
    database.close().await.unwrap();
    found
}
