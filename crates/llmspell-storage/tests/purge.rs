//! Is the space of a dropped scope given back, once, wherever the purge is interrupted?

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::time::{Duration, Instant};

use llmspell_storage::{Database, HNSWConfig, HNSWVectorStorage, StateScope, VectorEntry, VectorStorage};

const DIM: usize = 32;
/// Many steps of the purge.
const COUNT: u32 = 3_000;
const PATIENCE: Duration = Duration::from_secs(30);

async fn open(dir: &Path) -> (Database, HNSWVectorStorage) {
    let database = Database::open(dir).await.unwrap();
    let vectors = database.vectors("s", DIM, HNSWConfig::fast()).await.unwrap();
    (database, vectors)
}

fn scope(number: u32) -> StateScope {
    StateScope::Session(format!("session-{number}"))
}

fn entries(owner: u32) -> Vec<VectorEntry> {
    let entry = |number: u32| {
        let vector = (0..DIM as u32)
            .map(|place| (number * 31 + place * place + owner) as f32 % 97.0 + 1.0)
            .collect();
        VectorEntry::new(format!("id-{number}"), vector).with_scope(scope(owner))
    };
    (0..COUNT).map(entry).collect()
}

async fn assert_sound(database: &Database, place: &str) {
    let report = database.check().await.unwrap();
    assert!(report.is_ok(), "{place}: {report:#?}");
}

async fn wait_for_purge(vectors: &HNSWVectorStorage) {
    let begun = Instant::now();
    while vectors.stats().await.unwrap().scopes_to_purge > 0 {
        assert!(begun.elapsed() < PATIENCE, "the purge takes too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn given_a_purge_that_is_interrupted_again_and_again_then_every_slot_is_given_back_once() {
    let dir = tempfile::tempdir().unwrap();
    let slots = dir.path().join("spaces/00000001/slots-0");
    let (database, vectors) = open(dir.path()).await;
    vectors.insert(entries(0)).await.unwrap();
    vectors.insert(entries(1)).await.unwrap();
    vectors.delete_scope(&scope(0)).await.unwrap();
    let mut handles = (database, vectors);
    let mut interrupted = 0;
    for pause_ms in [0, 1, 2, 4, 8, 16] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let (database, vectors) = handles;
        interrupted += vectors.stats().await.unwrap().scopes_to_purge;
        drop(vectors);
        database.close().await.unwrap();
        handles = open(dir.path()).await;
        assert_sound(&handles.0, &format!("after {pause_ms} ms")).await;
    }
    let (database, vectors) = handles;
    assert!(interrupted > 0, "the purge was over before it could be interrupted");
    wait_for_purge(&vectors).await;
    assert_sound(&database, "purged").await;
    assert_eq!(vectors.count(&scope(1)).await.unwrap(), u64::from(COUNT));

    // What comes next fits where the dropped scope was.
    vectors.insert(entries(2)).await.unwrap();
    assert_sound(&database, "written again").await;
    drop(vectors);
    database.close().await.unwrap();
    let stride = 16 + 4 * DIM as u64;
    let used = std::fs::metadata(&slots).unwrap().len() / stride;
    assert!(
        used < u64::from(2 * COUNT) + 2_000,
        "{used} slots for {} vectors",
        2 * COUNT
    );
}

#[tokio::test]
async fn given_a_dropped_scope_when_its_rows_are_not_gone_yet_then_its_slots_are_free() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await;
    vectors.insert(entries(0)).await.unwrap();
    let before = database.stats().await.unwrap().slot_bytes;
    vectors.delete_scope(&scope(0)).await.unwrap();
    let begun = Instant::now();
    // Free runs are given back to the file system too, where it takes holes.
    while database.stats().await.unwrap().slot_bytes > before / 2 {
        if vectors.stats().await.unwrap().scopes_to_purge == 0 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the slots are not given back");
    }
    vectors.insert(entries(1)).await.unwrap();
    wait_for_purge(&vectors).await;
    assert_sound(&database, "written again").await;
    assert_eq!(vectors.count(&scope(1)).await.unwrap(), u64::from(COUNT));
    assert_eq!(vectors.count(&scope(0)).await.unwrap(), 0);
}
