//! Locks keep other processes out, and links are never followed.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use llmspell_storage::{Database, DatabaseOptions, HNSWConfig, Result, StateScope, StorageError, VectorEntry};

const DIM: usize = 4;

fn entries() -> Vec<VectorEntry> {
    (0..50)
        .map(|number| VectorEntry::new(number.to_string(), vec![number as f32, 1.0, 2.0, 3.0]))
        .collect()
}

async fn open(path: &Path) -> Result<Database> {
    DatabaseOptions::new().graph_points_min(10).open(path).await
}

/// Writes everything there is: slots, an index, keys.
async fn write(path: &Path) -> Result<()> {
    let database = open(path).await?;
    let vectors = database.vectors("a", DIM, HNSWConfig::fast()).await?;
    vectors.upsert(entries()).await?;
    vectors.build_index().await?;
    database.kv().set("key", vec![1]).await?;
    drop(vectors);
    database.close().await
}

#[tokio::test]
async fn given_a_removed_lock_file_when_the_directory_is_opened_again_then_it_is_refused_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let database = open(&path).await.unwrap();
    let vectors = database.vectors("a", DIM, HNSWConfig::fast()).await.unwrap();
    vectors.insert(entries()).await.unwrap();
    fs::remove_file(path.join("LOCK")).unwrap();

    let second = open(&path).await;
    assert!(matches!(second, Err(StorageError::AlreadyOpen { .. })), "{second:?}");

    vectors
        .insert(vec![VectorEntry::new("x", vec![1.0; DIM])])
        .await
        .unwrap();
    drop(vectors);
    database.close().await.unwrap();
    let database = open(&path).await.unwrap();
    let vectors = database.vectors("a", DIM, HNSWConfig::fast()).await.unwrap();
    assert_eq!(vectors.count(&StateScope::Global).await.unwrap(), 51);
    assert!(database.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn given_an_own_handle_then_a_second_opening_is_told_that_it_is_in_this_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await.unwrap();
    let error = open(dir.path()).await.unwrap_err().to_string();
    let expected = "is open elsewhere (by another handle in this process); close it there first";
    assert!(error.ends_with(expected), "{error}");
    drop(first);
}

#[cfg(feature = "sled")]
#[tokio::test]
async fn given_a_removed_lock_file_then_a_sled_directory_is_refused_too() {
    use llmspell_storage::SledBackend;
    let dir = tempfile::tempdir().unwrap();
    let first = SledBackend::open(dir.path()).await.unwrap();
    first.set("a", vec![1]).await.unwrap();
    fs::remove_file(dir.path().join("LOCK")).unwrap();
    let second = SledBackend::open(dir.path()).await;
    assert!(matches!(second, Err(StorageError::AlreadyOpen { .. })), "{second:?}");
}

/// Every name that a database makes or opens.
const NAMES: [(&str, bool); 10] = [
    ("LOCK", false),
    ("FORMAT", false),
    ("FORMAT.new", false),
    ("truth.redb", false),
    ("truth.redb.new", false),
    ("spaces", true),
    ("spaces/00000001", true),
    ("spaces/00000001/slots-0", false),
    ("spaces/00000001/index", true),
    ("spaces/00000001/index/1-1-0.idx.new", false),
];

#[tokio::test]
async fn given_links_under_the_names_of_a_database_when_it_is_written_then_nothing_outside_is_touched() {
    for (name, is_folder) in NAMES {
        for exists in [false, true] {
            // Given: what belongs to somebody else, and a link to it.
            let dir = tempfile::tempdir().unwrap();
            let victim = dir.path().join("victim");
            let victims = dir.path().join("victims");
            fs::write(&victim, b"precious").unwrap();
            fs::create_dir(&victims).unwrap();
            fs::write(victims.join("a.new"), b"precious").unwrap();
            let path = dir.path().join("db");
            if exists {
                let database = open(&path).await.unwrap();
                let vectors = database.vectors("a", DIM, HNSWConfig::fast()).await.unwrap();
                if !name.contains("slots") && !is_folder {
                    vectors.insert(entries()).await.unwrap();
                }
                drop(vectors);
                database.close().await.unwrap();
            }
            let link = path.join(name);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            if link.is_dir() {
                fs::remove_dir_all(&link).unwrap();
            } else if link.exists() {
                fs::remove_file(&link).unwrap();
            }
            symlink(if is_folder { &victims } else { &victim }, &link).unwrap();

            // When: the database is opened and written.
            let done = write(&path).await;

            // Then:
            let place = format!("{name}, existing: {exists}: {done:?}");
            assert_eq!(fs::read(&victim).unwrap(), b"precious", "{place}");
            assert_eq!(fs::read_dir(&victims).unwrap().count(), 1, "{place}");
            assert_eq!(fs::read(victims.join("a.new")).unwrap(), b"precious", "{place}");
        }
    }
}

#[cfg(feature = "sled")]
#[tokio::test]
async fn given_links_under_the_names_of_a_sled_directory_then_nothing_outside_is_touched() {
    use llmspell_storage::SledBackend;
    for (name, is_folder) in [
        ("LOCK", false),
        ("FORMAT.new", false),
        ("WATERMARK.new", false),
        ("data", true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        let victims = dir.path().join("victims");
        fs::write(&victim, b"precious").unwrap();
        fs::create_dir(&victims).unwrap();
        let path = dir.path().join("db");
        drop(SledBackend::open(&path).await.unwrap());
        let _ = fs::remove_dir_all(path.join(name));
        let _ = fs::remove_file(path.join(name));
        symlink(if is_folder { &victims } else { &victim }, path.join(name)).unwrap();
        if let Ok(backend) = SledBackend::open(&path).await {
            let _ = backend.set("a", vec![1]).await;
        }
        assert_eq!(fs::read(&victim).unwrap(), b"precious", "{name}");
        assert_eq!(fs::read_dir(&victims).unwrap().count(), 0, "{name}");
    }
}

fn assert_modes(path: &Path, file_mode: u32, folder_mode: u32) {
    let metadata = fs::metadata(path).unwrap();
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_dir() {
        assert_eq!(mode, folder_mode, "{}", path.display());
        for entry in fs::read_dir(path).unwrap() {
            assert_modes(&entry.unwrap().path(), file_mode, folder_mode);
        }
    } else {
        assert_eq!(mode, file_mode, "{}", path.display());
    }
}

#[tokio::test]
async fn files_are_for_their_owner_only_unless_asked_otherwise() {
    for (options, file_mode, folder_mode) in [
        (DatabaseOptions::new(), 0o600, 0o700),
        (DatabaseOptions::new().file_mode(0o640), 0o640, 0o750),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parent").join("db");
        let database = options.graph_points_min(10).open(&path).await.unwrap();
        let vectors = database.vectors("a", DIM, HNSWConfig::fast()).await.unwrap();
        vectors.insert(entries()).await.unwrap();
        vectors.build_index().await.unwrap();
        assert_modes(&dir.path().join("parent"), file_mode, folder_mode);
        assert!(
            path.join("spaces/00000001/index").is_dir(),
            "all kinds of files are there"
        );
    }
}

// ---- room ----

#[tokio::test]
async fn given_a_nearly_full_disk_when_a_database_is_opened_again_then_its_spaces_open_and_what_frees_room_works() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path()).await.unwrap();

    // Given: less room than a write needs.
    let options = DatabaseOptions::new().graph_points_min(10).free_bytes_min(u64::MAX);
    let database = options.open(dir.path()).await.unwrap();
    let no_space = |error: StorageError| matches!(error, StorageError::NoSpace { .. });

    // Then: what changes nothing needs none.
    let vectors = database.vectors("a", DIM, HNSWConfig::fast()).await.unwrap();
    assert_eq!(vectors.count(&StateScope::Global).await.unwrap(), 50);
    assert_eq!(
        vectors.delete(&StateScope::Global, &["1".to_string()]).await.unwrap(),
        1
    );
    assert_eq!(vectors.delete_scope(&StateScope::Global).await.unwrap(), 49);
    assert!(database.kv().delete("key").await.unwrap());

    // But what makes or changes a record does.
    assert!(no_space(
        database.vectors("b", DIM, HNSWConfig::fast()).await.unwrap_err()
    ));
    assert!(no_space(
        database.vectors("a", DIM, HNSWConfig::accurate()).await.unwrap_err()
    ));
    assert!(no_space(vectors.insert(entries()).await.unwrap_err()));
    assert_eq!(database.spaces().await.unwrap().len(), 1);
}
