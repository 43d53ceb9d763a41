//! Does a check read slots while others write them? `cargo xtask tsan` runs this in a build that sees every race.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llmspell_storage::{Database, HNSWConfig, HNSWVectorStorage, StateScope, VectorEntry, VectorStorage};

const DIM: usize = 32;
const WRITERS: u16 = 2;

/// All entries of a writer, in vectors of this round: each upsert lets points die, and the next one writes their slots.
fn entries(writer: u16, round: u16) -> Vec<VectorEntry> {
    let entry = |number: u16| {
        let vector = vec![f32::from(round % 100) + 1.0; DIM];
        VectorEntry::new(format!("{number}"), vector).with_scope(StateScope::User(writer.to_string()))
    };
    (0..16).map(entry).collect()
}

async fn write(storage: HNSWVectorStorage, writer: u16, is_over: Arc<AtomicBool>) {
    for round in 0.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        storage.upsert(entries(writer, round % 1_000)).await.unwrap();
        if round % 10 == 9 {
            storage
                .delete_scope(&StateScope::User(writer.to_string()))
                .await
                .unwrap();
        }
    }
}

async fn check(database: Database, storage: HNSWVectorStorage) {
    let is_over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(storage.clone(), writer, Arc::clone(&is_over))))
        .collect();
    let mut checked = 0;
    for _ in 0..50 {
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
