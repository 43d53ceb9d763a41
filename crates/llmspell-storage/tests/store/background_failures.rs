//! An application sees failures in the background, and only as long as they last.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use llmspell_storage::{
    BackgroundFailure, Database, DatabaseOptions, HNSWConfig, HNSWVectorStorage, StateScope, Timestamp, VectorEntry,
};

const DIM: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);
/// What the clock of the database says.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn tenant() -> StateScope {
    StateScope::User("ada".to_string())
}

fn entries(count: u32) -> Vec<VectorEntry> {
    let vector = |number: u32| {
        (0..DIM as u32)
            .map(|i| ((number * 31 + i * 7) % 17) as f32 - 8.5)
            .collect::<Vec<f32>>()
    };
    (0..count)
        .map(|number| VectorEntry::new(format!("e{number}"), vector(number)).with_scope(tenant()))
        .collect()
}

async fn open(dir: &Path) -> (Database, HNSWVectorStorage) {
    let options = DatabaseOptions::new().graph_points_min(16).clock(|| NOW);
    let database = options.open(dir).await.unwrap();
    let vectors = database.vectors("memories", DIM, HNSWConfig::fast()).await.unwrap();
    (database, vectors)
}

/// A file where the folder of the index files is to be: no index can be written.
fn obstruct(dir: &Path) -> PathBuf {
    let space = fs::read_dir(dir.join("spaces")).unwrap().next().unwrap().unwrap();
    let index = space.path().join("index");
    fs::write(&index, b"in the way").unwrap();
    index
}

/// The failures, once they are as expected.
async fn failures(database: &Database, expected: impl Fn(&[BackgroundFailure]) -> bool) -> Vec<BackgroundFailure> {
    let begun = Instant::now();
    loop {
        let failures = database.stats().await.unwrap().background_failures;
        if expected(&failures) {
            return failures;
        }
        assert!(begun.elapsed() < PATIENCE, "{failures:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn given_an_index_that_cannot_be_written_then_stats_say_so_until_it_is() {
    // Given: a database in which all is well, and then not.
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await;
    assert_eq!(database.stats().await.unwrap().background_failures, []);
    let obstacle = obstruct(dir.path());

    // When: enough is inserted for an index. Then: what failed is told, and for whom.
    vectors.insert(entries(200)).await.unwrap();
    let seen = failures(&database, |failures| !failures.is_empty()).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].task, "build the index");
    assert_eq!(seen[0].place, "scope user:ada of space `memories`");
    assert!(seen[0].error.contains("index"), "{}", seen[0].error);
    assert_eq!((seen[0].first_at, seen[0].last_at), (NOW, NOW));

    // It is tried again, and counted.
    let again = failures(&database, |failures| failures.iter().any(|failure| failure.times > 1)).await;
    assert_eq!(again.len(), 1, "{again:?}");

    // When: it can be written. Then: nothing is left to tell.
    fs::remove_file(&obstacle).unwrap();
    vectors.build_index().await.unwrap();
    failures(&database, <[_]>::is_empty).await;
    drop(vectors);
    database.close().await.unwrap();
}

#[tokio::test]
async fn given_a_failure_when_its_scope_is_dropped_then_it_is_told_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await;
    obstruct(dir.path());
    vectors.insert(entries(200)).await.unwrap();
    failures(&database, |failures| !failures.is_empty()).await;

    vectors.delete_scope(&tenant()).await.unwrap();
    failures(&database, <[_]>::is_empty).await;
    drop(vectors);
    database.close().await.unwrap();
}
