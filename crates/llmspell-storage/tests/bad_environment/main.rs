//! Bad directories give typed errors; no data are lost, and nothing panics.
//!
//! | file | question |
//! |---|---|
//! | `refused.rs` | what is refused, and left untouched? |
//! | `damage.rs` | what of files that are missing, cut, altered, or links? |
//! | `full_disk.rs` | what of a file system that is full, or read-only? |

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod damage;
mod full_disk;
mod refused;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use llmspell_storage::{Database, HNSWConfig, HNSWVectorStorage, Result, StateScope, VectorEntry, VectorQuery};
use serde_json::json;

const DIM: usize = 8;

fn tenant() -> StateScope {
    StateScope::Custom("tenant:1".to_string())
}

async fn open(path: &Path) -> Result<(Database, HNSWVectorStorage)> {
    let database = Database::open(path).await?;
    let vectors = database.vectors("v", DIM, HNSWConfig::fast()).await?;
    Ok((database, vectors))
}

fn entries(count: usize) -> Vec<VectorEntry> {
    let vector = |number: usize| {
        (0..DIM)
            .map(|i| ((number * 31 + i * 7) % 17) as f32 - 8.5)
            .collect::<Vec<f32>>()
    };
    (0..count)
        .map(|number| {
            VectorEntry::new(format!("e{number}"), vector(number))
                .with_scope(tenant())
                .with_metadata(json!({ "number": number }))
        })
        .collect()
}

/// A closed database with a few keys and vectors.
async fn make(path: &Path) {
    let (database, vectors) = open(path).await.unwrap();
    for number in 0..20 {
        database
            .kv()
            .set(&format!("key {number}"), vec![number; 100])
            .await
            .unwrap();
    }
    vectors.insert(entries(300)).await.unwrap();
    drop(vectors);
    database.close().await.unwrap();
}

/// Everything that can be seen.
async fn look(path: &Path) -> Result<(Vec<(String, Vec<u8>)>, Vec<VectorEntry>, Vec<String>)> {
    let (database, vectors) = open(path).await?;
    let values = database.kv().scan("", None, 1000).await?;
    let entries = vectors.list(&tenant(), None, 1000).await?;
    let query = VectorQuery::new(vec![1.0; DIM], 20).with_scope(tenant());
    let hits = vectors.search(&query).await?.into_iter().map(|hit| hit.id).collect();
    drop(vectors);
    database.close().await?;
    Ok((values, entries, hits))
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn restore(files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
}
