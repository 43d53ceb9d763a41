//! What is refused, and left untouched? A directory that is open elsewhere, that holds something else, that a newer version
//! made; names and dimensions that cannot be.

use std::fs;
use std::process::Command;

use llmspell_storage::{
    Database, DatabaseOptions, ErrorKind, HNSWConfig, HNSWVectorStorage, RedbBackend, StorageError, VectorQuery,
};

use super::{DIM, entries, files, make, open, tenant};

const OPEN_IN_CHILD: &str = "LLMSPELL_TEST_OPEN_IN_CHILD";

/// Not a test by itself: the process that the next one starts.
#[tokio::test]
async fn the_other_process() {
    if let Ok(path) = std::env::var(OPEN_IN_CHILD) {
        let error = Database::open(path).await.unwrap_err();
        println!("refused: {error}");
    }
}

#[tokio::test]
async fn given_an_open_database_when_another_process_opens_it_then_it_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).await.unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "refused::the_other_process", "--nocapture"])
        .env(OPEN_IN_CHILD, dir.path())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(
        output.contains(&format!("is open elsewhere (process {})", std::process::id())),
        "{output}"
    );
    database.close().await.unwrap();
}

#[tokio::test]
async fn given_an_open_database_when_the_same_process_opens_it_again_then_it_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let first = RedbBackend::open(dir.path()).await.unwrap();
    let error = HNSWVectorStorage::open(dir.path(), DIM, HNSWConfig::fast())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    first.close().await.unwrap();
    HNSWVectorStorage::open(dir.path(), DIM, HNSWConfig::fast())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_closed_database_refuses_every_handle() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await.unwrap();
    let kv = database.kv();
    database.close().await.unwrap();
    assert!(matches!(kv.get("a").await, Err(StorageError::Closed)));
    assert!(matches!(kv.set("a", vec![]).await, Err(StorageError::Closed)));
    assert!(matches!(vectors.insert(entries(1)).await, Err(StorageError::Closed)));
    let query = VectorQuery::new(vec![1.0; DIM], 1).with_scope(tenant());
    assert!(matches!(vectors.search(&query).await, Err(StorageError::Closed)));
}

#[tokio::test]
async fn a_directory_that_holds_something_else_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "precious").unwrap();
    let before = files(dir.path());
    let error = Database::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StorageError::ForeignDirectory { .. }), "{error}");
    assert!(error.to_string().contains("thesis.tex"));
    assert_eq!(files(dir.path()), before);

    let error = Database::open(dir.path().join("thesis.tex")).await.unwrap_err();
    assert!(matches!(error, StorageError::ForeignDirectory { .. }), "{error}");
}

#[tokio::test]
async fn a_database_that_must_exist_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("missing"), dir.path().to_path_buf()] {
        let error = DatabaseOptions::new().must_exist(true).open(&path).await.unwrap_err();
        assert!(matches!(error, StorageError::ForeignDirectory { .. }), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_newer_format_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    fs::write(dir.path().join("FORMAT"), "llmspell-storage format 2\n").unwrap();
    let mut before = files(dir.path());
    let error = Database::open(dir.path()).await.unwrap_err();
    assert!(
        matches!(
            error,
            StorageError::UnsupportedVersion {
                found: 2,
                min: 1,
                max: 1,
                ..
            }
        ),
        "{error}"
    );
    let mut after = files(dir.path());
    for files in [&mut before, &mut after] {
        files.retain(|path, _| !path.ends_with("LOCK"));
    }
    assert_eq!(after, before);
}

#[tokio::test]
async fn another_dimension_or_metric_than_stored_is_refused_with_both() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let database = Database::open(dir.path()).await.unwrap();
    let error = database.vectors("v", DIM + 1, HNSWConfig::fast()).await.unwrap_err();
    assert_eq!(error.to_string(), "space `v` was created with dimension 8, not 9");
    let config = HNSWConfig::fast().with_metric(llmspell_storage::DistanceMetric::Manhattan);
    let error = database.vectors("v", DIM, config).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "space `v` was created with metric cosine, not manhattan"
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let reconfigured = HNSWConfig::accurate();
    let vectors = database.vectors("v", DIM, reconfigured.clone()).await.unwrap();
    assert_eq!(vectors.config(), &reconfigured, "the rest may change");
    assert_eq!(database.spaces().await.unwrap()[0].config, reconfigured);
}

#[tokio::test]
async fn bad_names_of_spaces_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).await.unwrap();
    for name in ["", "a\0b", &"x".repeat(257)] {
        let error = database.vectors(name, DIM, HNSWConfig::fast()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    // Names are never part of a path.
    database
        .vectors("../../etc/passwd", DIM, HNSWConfig::fast())
        .await
        .unwrap();
    assert!(
        files(dir.path())
            .keys()
            .all(|path| !path.to_string_lossy().contains("passwd"))
    );
}

#[tokio::test]
async fn a_storage_made_with_a_bad_dimension_says_so_on_every_call() {
    for (dim, config) in [
        (0, HNSWConfig::fast()),
        (65_536, HNSWConfig::fast()),
        (3, HNSWConfig::fast().with_m(0)),
    ] {
        let storage = HNSWVectorStorage::new(dim, config);
        assert!(matches!(storage.stats().await, Err(StorageError::OutOfRange { .. })));
        assert!(matches!(
            storage.insert(vec![]).await,
            Err(StorageError::OutOfRange { .. })
        ));
    }
}
