//! Does a check read slots while others write them? `cargo xtask tsan` runs this for longer, by `LLMSPELL_CHECKS`, in a build
//! that sees races.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llmspell_storage::{Database, HNSWConfig, HNSWVectorStorage, StateScope, VectorEntry};

/// Large vectors: nothing but a copy of many bytes shows a race, as both sides often take the same locks.
const DIM: usize = 4_096;
const WRITERS: u16 = 2;
const COUNT: usize = 128;
/// Entries of a batch.
const BATCH: usize = 32;

fn scope(writer: u16) -> StateScope {
    StateScope::User(writer.to_string())
}

/// Some of the entries of a writer, anew: each upsert lets points die, and a later one writes their slots.
fn entries(writer: u16, round: usize) -> Vec<VectorEntry> {
    let vector = vec![(round % 100) as f32 + 1.0; DIM];
    let entry = |place: usize| {
        let id = ((BATCH * round + place) % COUNT).to_string();
        VectorEntry::new(id, vector.clone()).with_scope(scope(writer))
    };
    (0..BATCH).map(entry).collect()
}

async fn write(storage: HNSWVectorStorage, writer: u16, is_over: Arc<AtomicBool>) {
    for round in 0.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        storage.upsert(entries(writer, round)).await.unwrap();
        if round % 50 == 49 {
            storage.delete_scope(&scope(writer)).await.unwrap();
        }
    }
}

async fn check(database: Database, storage: HNSWVectorStorage) {
    let is_over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(storage.clone(), writer, Arc::clone(&is_over))))
        .collect();
    let mut checked = 0;
    let checks = std::env::var("LLMSPELL_CHECKS").map_or(30, |number| number.parse().unwrap());
    for _ in 0..checks {
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
        checked += report.sections.iter().map(|section| section.checked).sum::<u64>();
    }
    is_over.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(checked > 0, "no check met an entry");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_writers_in_ram_when_it_is_checked_then_no_slot_is_read_while_it_is_written() {
    let storage = HNSWVectorStorage::new(DIM, HNSWConfig::fast());
    check(storage.database().unwrap().clone(), storage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn given_writers_on_a_disk_when_it_is_checked_then_all_is_well_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path().join("db")).await.unwrap();
    let storage = database.vectors("s", DIM, HNSWConfig::fast()).await.unwrap();
    check(database, storage).await;
}
