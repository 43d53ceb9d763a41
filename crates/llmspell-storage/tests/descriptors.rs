//! Calls without a free file descriptor fail alone, and the store works afterwards.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use llmspell_storage::{
    Database, DatabaseOptions, ErrorKind, HNSWConfig, HNSWVectorStorage, Metadata, Result, StateScope, VectorEntry,
    VectorQuery,
};

/// Set in the process that a test starts with few descriptors.
const IN_CHILD: &str = "LLMSPELL_TEST_FEW_DESCRIPTORS";
const DIM: usize = 8;
const SCOPE: StateScope = StateScope::Global;

fn in_child() -> bool {
    std::env::var_os(IN_CHILD).is_some()
}

/// Runs one test of this file in a process that may have `limit` descriptors.
fn run_with_descriptors(limit: u32, test: &str) {
    let program = std::env::current_exe().unwrap();
    let child = Command::new("sh")
        .args([
            "-c",
            &format!("ulimit -n {limit}; exec \"$0\" --exact {test} --nocapture"),
        ])
        .arg(program)
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr),
    );
    assert!(child.status.success(), "{out}\n{err}");
    assert!(out.contains("1 passed"), "the test ran: {out}");
}

/// In RAM where there is such a file system: what is tested here is no disk.
fn temp_dir() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        tempfile::tempdir_in(shm).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn entry(id: &str) -> VectorEntry {
    VectorEntry::new(id, vec![1.0; DIM])
}

fn entries(name: &str, count: usize) -> Vec<VectorEntry> {
    (0..count)
        .map(|number| VectorEntry::new(format!("{name}-{number}"), vec![1.0 + number as f32; DIM]))
        .collect()
}

/// Takes all descriptors that the process may have but `spare`.
fn take_all_but(spare: usize) -> Vec<File> {
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    taken.truncate(taken.len() - spare);
    taken
}

/// A database with a space that has vectors, one that has none yet, and one that is not open.
struct Store {
    path: PathBuf,
    database: Database,
    old: HNSWVectorStorage,
    new: HNSWVectorStorage,
}

fn options() -> DatabaseOptions {
    DatabaseOptions::new().graph_points_min(20)
}

impl Store {
    async fn make(path: &Path) -> Self {
        let database = options().open(path).await.unwrap();
        for name in ["old", "closed"] {
            let vectors = database.vectors(name, DIM, HNSWConfig::fast()).await.unwrap();
            vectors.insert(entries(name, 40)).await.unwrap();
        }
        database.kv().set("before", vec![7; 5_000]).await.unwrap();
        database.close().await.unwrap();
        Self::open(path).await
    }

    async fn open(path: &Path) -> Self {
        let database = options().open(path).await.unwrap();
        let old = database.vectors("old", DIM, HNSWConfig::fast()).await.unwrap();
        let new = database.vectors("new", DIM, HNSWConfig::fast()).await.unwrap();
        Self {
            path: path.to_path_buf(),
            database,
            old,
            new,
        }
    }

    async fn close(self) -> Result<()> {
        drop((self.old, self.new));
        self.database.close().await
    }
}

const CALLS: [&str; 17] = [
    "insert",
    "first insert of a space",
    "upsert of much",
    "set",
    "compare and swap",
    "search",
    "exact search",
    "get",
    "list",
    "update metadata",
    "delete",
    "delete scope",
    "new space",
    "space that is not open",
    "build index",
    "stats",
    "check",
];

async fn call(store: &Store, what: &str) -> Result<()> {
    let query = VectorQuery::new(vec![1.0; DIM], 3);
    match what {
        "insert" => store.old.insert(vec![entry("x")]).await.map(drop),
        "first insert of a space" => store.new.insert(vec![entry("x")]).await.map(drop),
        "upsert of much" => store.old.upsert(entries("old", 5_000)).await.map(drop),
        "set" => store.database.kv().set("x", vec![1; 100_000]).await,
        "compare and swap" => {
            let swapped = store.database.kv().compare_and_swap("x", None, Some(vec![1])).await;
            swapped.map(drop)
        }
        "search" => store.old.search(&query).await.map(drop),
        "exact search" => store.old.search(&query.with_exact(true)).await.map(drop),
        "get" => store.old.get(&SCOPE, "old-3").await.map(drop),
        "list" => store.old.list(&SCOPE, None, 100).await.map(drop),
        "update metadata" => store.old.update_metadata(&SCOPE, "old-3", Metadata::new()).await,
        "delete" => store.old.delete(&SCOPE, &["old-3".to_string()]).await.map(drop),
        "delete scope" => store.old.delete_scope(&SCOPE).await.map(drop),
        "new space" => store
            .database
            .vectors("another", DIM, HNSWConfig::fast())
            .await
            .map(drop),
        "space that is not open" => match store.database.existing_vectors("closed").await? {
            Some(closed) => closed.insert(vec![entry("x")]).await.map(drop),
            None => panic!("there is such a space"),
        },
        "build index" => store.old.build_index().await,
        "stats" => store.database.stats().await.map(drop),
        "check" => store.database.check().await.map(drop),
        other => panic!("no such call: {other}"),
    }
}

#[tokio::test]
async fn given_few_descriptors_then_each_call_fails_alone_and_nothing_is_closed_for_the_others() {
    if !in_child() {
        return run_with_descriptors(
            100,
            "given_few_descriptors_then_each_call_fails_alone_and_nothing_is_closed_for_the_others",
        );
    }
    let mut failed = 0;
    for what in CALLS {
        for spare in 0..6 {
            let place = format!("{what} with {spare} descriptors");
            let dir = temp_dir();
            let store = Store::make(&dir.path().join("db")).await;

            // When: the process has only so many descriptors left.
            let taken = take_all_but(spare);
            let done = call(&store, what).await;
            let value = store.database.kv().get("before").await;
            drop(taken);

            // Then: the call is done, or has failed for that reason.
            if let Err(error) = &done {
                assert_eq!(error.kind(), ErrorKind::Io, "{place}: {error}");
                failed += 1;
            }
            assert_eq!(value.unwrap().map(|value| value.len()), Some(5_000), "{place}");

            // And: as soon as there are descriptors again, all calls are done.
            for what in ["insert", "first insert of a space", "set"] {
                let again = call(&store, what).await;
                assert!(
                    again
                        .as_ref()
                        .err()
                        .is_none_or(|error| error.kind() == ErrorKind::Conflict),
                    "{place}, then {what}: {again:?}"
                );
            }
            let report = store.database.check().await.unwrap();
            assert!(report.is_ok(), "{place}: {report:#?}");
            let path = store.path.clone();
            store.close().await.unwrap();
            let store = Store::open(&path).await;
            assert_eq!(store.new.count(&SCOPE).await.unwrap(), 1, "{place}");
            store.close().await.unwrap();
        }
    }
    assert!(failed > 3, "some calls need a descriptor");
}

#[tokio::test]
async fn given_few_descriptors_when_a_database_is_opened_then_it_is_or_is_not_and_is_later() {
    if !in_child() {
        return run_with_descriptors(
            100,
            "given_few_descriptors_when_a_database_is_opened_then_it_is_or_is_not_and_is_later",
        );
    }
    for is_new in [true, false] {
        for spare in 0..10 {
            let dir = temp_dir();
            let path = dir.path().join("a").join("db");
            if !is_new {
                Store::make(&path).await.close().await.unwrap();
            }
            let taken = take_all_but(spare);
            let opened = options().open(&path).await;
            drop(taken);
            match opened {
                Ok(database) => database.close().await.unwrap(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{spare}: {error}"),
            }
            let store = Store::open(&path).await;
            assert_eq!(store.old.count(&SCOPE).await.unwrap(), if is_new { 0 } else { 40 });
            store.close().await.unwrap();
        }
    }
}

/// How many files below a folder this process has open.
#[cfg(target_os = "linux")]
fn open_below(dir: &Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    let targets = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
    targets.filter(|target| target.starts_with(dir)).count()
}

#[tokio::test]
async fn many_spaces_need_few_descriptors() {
    if !in_child() {
        return run_with_descriptors(100, "many_spaces_need_few_descriptors");
    }
    let dir = temp_dir();
    let database = options().open(dir.path().join("db")).await.unwrap();
    let mut spaces = Vec::new();
    for number in 0..150 {
        let space = database
            .vectors(&format!("s{number}"), DIM, HNSWConfig::fast())
            .await
            .unwrap();
        space.insert(entries("e", 20)).await.unwrap();
        spaces.push(space);
    }
    for space in spaces.iter().step_by(10) {
        space.build_index().await.unwrap();
    }
    for (number, space) in spaces.iter().enumerate() {
        space.insert(vec![entry("x")]).await.unwrap();
        let query = VectorQuery::new(vec![1.0; DIM], 30);
        let found = space.search(&query.with_exact(number % 2 == 0)).await.unwrap();
        assert_eq!(found.len(), 21, "space {number}");
    }
    #[cfg(target_os = "linux")]
    {
        let open = open_below(dir.path());
        assert!(open <= 40, "{open} descriptors for 150 spaces");
    }
    drop(spaces);
    database.close().await.unwrap();
}

/// Writes of several callers share a commit; what one of them lacks is not the fault of the others.
#[tokio::test]
async fn given_few_descriptors_when_writes_share_a_commit_then_only_those_fail_that_need_one() {
    if !in_child() {
        return run_with_descriptors(
            100,
            "given_few_descriptors_when_writes_share_a_commit_then_only_those_fail_that_need_one",
        );
    }
    let dir = temp_dir();
    // Nothing of it is open that could be closed to make room.
    let database = options().open(dir.path().join("db")).await.unwrap();
    let kv = database.kv();
    for round in 0..10 {
        let taken = take_all_but(0);
        let space = format!("space {round}");
        let (one, other, made) = tokio::join!(
            kv.set("a", vec![1]),
            kv.set("b", vec![2]),
            database.vectors(&space, DIM, HNSWConfig::fast()),
        );
        drop(taken);
        one.unwrap();
        other.unwrap();
        assert_eq!(made.map(drop).unwrap_err().kind(), ErrorKind::Io);
    }
    database.vectors("space", DIM, HNSWConfig::fast()).await.unwrap();
    database.close().await.unwrap();
}

/// sled opens a file for a large value in the midst of a batch. Where that failed, nobody would know what is written.
#[cfg(feature = "sled")]
#[tokio::test]
async fn given_few_descriptors_when_sled_needs_files_for_large_values_then_it_has_them() {
    use llmspell_storage::SledBackend;
    if !in_child() {
        return run_with_descriptors(
            100,
            "given_few_descriptors_when_sled_needs_files_for_large_values_then_it_has_them",
        );
    }
    const LEN: usize = 3 << 20;
    let large = |byte: u8| vec![byte; LEN];
    for spare in 0..5 {
        let place = format!("{spare} descriptors");
        let dir = temp_dir();
        let backend = SledBackend::open(dir.path()).await.unwrap();
        backend.set("old", large(1)).await.unwrap();

        // When: the process has only this many descriptors left.
        let taken = take_all_but(spare);
        backend.set("new", large(2)).await.expect(&place);
        backend.set("old", large(3)).await.expect(&place);
        let batch = (4..8).map(|byte| (format!("batch {byte}"), large(byte))).collect();
        backend.set_batch(batch).await.expect(&place);
        drop(taken);

        // Then: all of it is there, also after opening again.
        backend.verify().await.expect(&place);
        drop(backend);
        let backend = SledBackend::open(dir.path()).await.unwrap();
        assert_eq!(backend.verify().await.unwrap().keys, 6, "{place}");
        assert_eq!(backend.get("old").await.unwrap(), Some(large(3)), "{place}");
    }
}
