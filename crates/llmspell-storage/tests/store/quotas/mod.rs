//! Quotas are enforced exactly, for every way of writing, and usage is counted right.
//!
//! | file | question |
//! |---|---|
//! | `key_values.rs` | does a quota of keys count like a map, whatever happened before? |
//! | `entries.rs` | … and of entries and metadata, of many writers and spaces? |
//! | `space_on_disk.rs` | how much does a full scope take on the disk? |

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod entries;
mod key_values;
mod space_on_disk;

use std::sync::Arc;

use llmspell_storage::{Database, HNSWConfig, HNSWVectorStorage, ScopedBackend, StateScope, VectorEntry};

fn user(number: u8) -> StateScope {
    StateScope::User(format!("u{number}"))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
        .block_on(future)
}

fn keys_of(database: &Database, scope: StateScope) -> ScopedBackend {
    ScopedBackend::new(Arc::new(database.kv()), scope).unwrap()
}

const DIM: usize = 3;

async fn space(database: &Database, name: &str, dim: usize) -> HNSWVectorStorage {
    database.vectors(name, dim, HNSWConfig::fast()).await.unwrap()
}

fn entries(ids: impl IntoIterator<Item = String>, dim: usize) -> Vec<VectorEntry> {
    ids.into_iter()
        .map(|id| VectorEntry::new(id, vec![1.0; dim]).with_scope(user(0)))
        .collect()
}

/// `{"note":"…"}` of so many bytes.
fn note(bytes: usize) -> serde_json::Value {
    serde_json::json!({ "note": "x".repeat(bytes - r#"{"note":""}"#.len()) })
}
