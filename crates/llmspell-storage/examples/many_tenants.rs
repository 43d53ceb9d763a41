//! Thousands of tenants in one database: each with a scope of its own, limits, a handle that reaches nothing else, and
//! no more RAM than you allow.
//!
//! `cargo run --release -p llmspell-storage --example many_tenants`

use llmspell_storage::{
    DatabaseOptions, HNSWConfig, Quota, Result, StateScope, StorageError, VectorEntry, VectorQuery,
};
use serde_json::json;

const TENANTS: u32 = 3_000;
const NOTES: u32 = 5;
const DIM: usize = 64;

fn tenant(number: u32) -> StateScope {
    StateScope::User(format!("tenant-{number:04}"))
}

/// What an embedding model would make of a note.
fn embedding(tenant: u32, note: u32) -> Vec<f32> {
    let mut state = u64::from(tenant * NOTES + note).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    (0..DIM).map(|_| next()).collect()
}

fn note(owner: u32, note: u32) -> VectorEntry {
    VectorEntry::new(format!("note-{note}"), embedding(owner, note))
        .with_scope(tenant(owner))
        .with_metadata(json!({ "owner": owner }))
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .build()
        .expect("the system lets us start threads");
    runtime.block_on(run())
}

async fn run() -> Result<()> {
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    // RAM for a few hundred tenants at a time.
    let database = DatabaseOptions::new()
        .scope_cache_bytes(512 << 10)
        .open(dir.path())
        .await?;
    let notes = database.vectors("notes", DIM, HNSWConfig::balanced()).await?;

    // A batch may hold the entries of many tenants; it is stored whole or not at all.
    for first in (0..TENANTS).step_by(500) {
        let batch = (first..first + 500).flat_map(|owner| (0..NOTES).map(move |number| note(owner, number)));
        notes.insert(batch.collect()).await?;
    }
    assert_eq!(notes.scopes().await?.len(), TENANTS as usize);
    println!("{TENANTS} tenants with {NOTES} notes each");

    // Who searches as a tenant finds its own notes, though others have notes of the same ids.
    for owner in 0..TENANTS {
        let query = VectorQuery::new(embedding(owner, 2), 3).with_scope(tenant(owner));
        let hits = notes.search(&query).await?;
        assert_eq!((hits.len(), hits[0].id.as_str()), (3, "note-2"));
        assert!(
            hits.iter()
                .all(|hit| hit.metadata.as_ref().is_some_and(|metadata| metadata["owner"] == owner))
        );
    }

    // What was used longest ago was unloaded; nothing of it is lost, and it comes back when it is named.
    let stats = database.stats().await?;
    assert!(stats.scope_bytes <= stats.scope_bytes_max && stats.scopes_unloaded > u64::from(TENANTS));
    println!(
        "{} tenants are loaded and take {} KiB of {} KiB; {} times one was unloaded",
        stats.scopes_loaded,
        stats.scope_bytes >> 10,
        stats.scope_bytes_max >> 10,
        stats.scopes_unloaded
    );

    // A tenant has limits.
    database
        .set_quota(&tenant(7), Quota::default().with_vectors(u64::from(NOTES) + 1))
        .await?;
    notes.insert(vec![note(7, NOTES)]).await?;
    let refused = notes.insert(vec![note(7, NOTES + 1)]).await;
    assert!(matches!(refused, Err(StorageError::QuotaExceeded { .. })));
    println!("tenant 7 may hold {} notes, and no more", NOTES + 1);

    // Code that is not trusted gets a handle that can name no other scope.
    let own = notes.scoped(tenant(8))?;
    let hits = own.search(&VectorQuery::new(embedding(9, 0), 10)).await?;
    assert_eq!(hits.len(), NOTES as usize);
    let foreign = VectorQuery::new(embedding(9, 0), 10).with_scope(tenant(9));
    assert!(own.search(&foreign).await.is_err());
    println!("the handle of tenant 8 finds its {NOTES} notes and cannot ask for those of tenant 9");

    // A tenant leaves: gone at once, all of it, and nobody else notices.
    assert_eq!(notes.delete_scope(&tenant(9)).await?, u64::from(NOTES));
    assert!(notes.search(&foreign).await?.is_empty());
    assert_eq!(notes.count(&tenant(10)).await?, u64::from(NOTES));
    assert_eq!(notes.scopes().await?.len(), TENANTS as usize - 1);
    println!("tenant 9 has left");

    drop((own, notes));
    database.close().await
}
