//! Failing disks, clocks that go back or jump ahead (`clock.rs`), and data of older versions.

mod clock;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use llmspell_core::{ErrorKind, StorageError, Timestamp};

use super::open::Clocks;
use super::record::{self, HEAD_KEY};
use super::{Pool, SledBackend, open};
use crate::base::options::TimeSource;

const CACHE_BYTES: u64 = 1 << 20;

/// A file that cannot be synced: the end of a pipe.
#[cfg(unix)]
fn unsyncable() -> File {
    let (reader, _) = std::io::pipe().unwrap();
    File::from(std::os::fd::OwnedFd::from(reader))
}

#[cfg(unix)]
#[tokio::test]
async fn a_failed_sync_ends_writing_but_not_reading() {
    let directory = tempfile::tempdir().unwrap();
    let before = SledBackend::open(directory.path()).await.unwrap();
    before.set("key", b"durable".to_vec()).await.unwrap();
    drop(before);

    let mut opened = open::open(directory.path(), CACHE_BYTES, Clocks::default()).unwrap();
    opened.disk.db = unsyncable();
    let backend = SledBackend::start(opened, Pool::new(), Duration::from_secs(60)).unwrap();
    for attempt in 0..3 {
        let error = backend.set("other", b"lost".to_vec()).await.unwrap_err();
        assert!(
            matches!(error, StorageError::Poisoned { .. }),
            "attempt {attempt}: {error}"
        );
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(error.to_string().contains("sync"), "the first error is named: {error}");
    }
    assert_eq!(
        backend.get("key").await.unwrap().as_deref(),
        Some(&b"durable"[..]),
        "reads go on"
    );
    drop(backend);

    let reopened = SledBackend::open(directory.path()).await.unwrap();
    reopened.set("other", b"written".to_vec()).await.unwrap();
    assert_eq!(reopened.get("key").await.unwrap().as_deref(), Some(&b"durable"[..]));
}

#[test]
fn more_than_the_disk_has_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open::open(directory.path(), CACHE_BYTES, Clocks::default()).unwrap();
    opened.disk.check_space(1).unwrap();
    if cfg!(unix) {
        let error = opened.disk.check_space(u64::MAX).unwrap_err();
        assert!(
            matches!(
                error,
                StorageError::NoSpace {
                    needed_bytes: Some(u64::MAX),
                    ..
                }
            ),
            "{error}"
        );
    }
}

/// A log that lost its end is a shorter log to sled. Only the watermark knows better.
#[test]
fn a_log_that_lost_acknowledged_commits_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open::open(directory.path(), CACHE_BYTES, Clocks::default()).unwrap());
    super::directory::write_watermark(directory.path(), 7).unwrap();
    let Err(error) = open::open(directory.path(), CACHE_BYTES, Clocks::default()) else {
        panic!("a log without commits is not one of seven");
    };
    assert!(matches!(error, StorageError::Corrupted { .. }), "{error}");
    assert!(error.to_string().contains("commit 0 of at least 7"), "{error}");
}

/// A directory as the first version left it.
#[tokio::test]
async fn what_the_first_version_wrote_is_read_and_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open::open(directory.path(), CACHE_BYTES, Clocks::default()).unwrap();
    let tree = opened.reader.db();
    tree.insert(b"ka", record::encode(b"ka", b"value", None)).unwrap();
    let head = [3_u64.to_le_bytes(), 1_u64.to_le_bytes()];
    tree.insert(HEAD_KEY, record::encode(HEAD_KEY, head.as_flattened(), None))
        .unwrap();
    drop(opened);
    let format = directory.path().join("FORMAT");
    fs::write(&format, "llmspell-storage sled\nversion 1\n").unwrap();

    let backend = SledBackend::open(directory.path()).await.unwrap();
    assert_eq!(
        fs::read_to_string(format).unwrap(),
        "llmspell-storage sled\nversion 2\n"
    );
    assert_eq!(backend.get("a").await.unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(backend.expires_at("a").await.unwrap(), None);
    let hour = Duration::from_secs(3600);
    backend.set_with_ttl("b", b"mortal".to_vec(), hour).await.unwrap();
    let report = backend.verify().await.unwrap();
    assert_eq!((report.keys, report.commits), (2, 4));
}

async fn open_at(path: &Path, time: &Arc<AtomicI64>) -> SledBackend {
    let source = Arc::clone(time);
    let now = move || Timestamp::from_millis(source.load(Ordering::SeqCst));
    SledBackend::options().clock(now).open(path).await.unwrap()
}

/// Keys that the tree holds, those that are over included.
fn stored_count(backend: &SledBackend) -> (usize, u64) {
    let head = backend.reader.head().unwrap();
    (backend.reader.keys_in_tree("").unwrap().len(), head.keys)
}

#[tokio::test]
async fn given_keys_that_end_when_the_clock_goes_back_over_a_restart_then_none_returns_and_all_are_purged() {
    let directory = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicI64::new(1_000_000));
    let backend = open_at(directory.path(), &time).await;
    let (short, long) = (Duration::from_millis(10), Duration::from_secs(3600));
    for number in 0..700 {
        let ttl = if number % 7 == 0 { long } else { short };
        backend.set_with_ttl(&format!("k{number}"), vec![1], ttl).await.unwrap();
    }
    // Given: so shortly after the end that nothing is purged yet.
    time.store(1_000_010, Ordering::SeqCst);
    assert_eq!(backend.count("").await.unwrap(), 100);
    assert_eq!(stored_count(&backend), (700, 700));

    // When: opened again with a clock that is behind.
    drop(backend);
    time.store(0, Ordering::SeqCst);
    let backend = open_at(directory.path(), &time).await;

    // Then
    assert_eq!(backend.get("k1").await.unwrap(), None);
    assert_eq!(backend.list_keys("k").await.unwrap().len(), 100);
    let begun = Instant::now();
    while stored_count(&backend) != (100, 100) {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?} are kept",
            stored_count(&backend)
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(backend.verify().await.unwrap().keys, 100);
    assert_eq!(backend.count("").await.unwrap(), 100);
}

/// Set in the process that the next test starts with few descriptors.
#[cfg(unix)]
const FEW_DESCRIPTORS: &str = "LLMSPELL_TEST_SLED_FEW_DESCRIPTORS";

#[cfg(unix)]
#[tokio::test]
async fn without_the_descriptors_that_a_commit_may_need_it_fails_alone_and_nothing_was_written() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        // In a process of its own: the others need their descriptors.
        let test = "without_the_descriptors_that_a_commit_may_need_it_fails_alone_and_nothing_was_written";
        let child = std::process::Command::new("sh")
            .args(["-c", &format!("ulimit -n 100; exec \"$0\" --nocapture {test}")])
            .arg(std::env::current_exe().unwrap())
            .env(FEW_DESCRIPTORS, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && told.contains("1 passed"), "{child:?}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicI64::new(1_000_000));
    let source = Arc::clone(&time);
    let clocks = Clocks {
        time: Some(TimeSource::new(move || {
            Timestamp::from_millis(source.load(Ordering::SeqCst))
        })),
        boot: None,
    };
    let mut opened = open::open(directory.path(), CACHE_BYTES, clocks).unwrap();
    // Given: another part of the program took the descriptors that were lent to the last commit.
    opened.disk.lend_descriptors();
    let backend = SledBackend::start(opened, Pool::new(), Duration::from_secs(60)).unwrap();
    assert_eq!(
        backend.get("key").await.unwrap(),
        None,
        "the thread that reads is there"
    );
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();

    for spare in 0..2 {
        let error = backend.set("key", b"value".to_vec()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{spare} are left: {error}");
        assert_eq!(backend.get("key").await.unwrap(), None, "{spare} are left");
        taken.pop();
    }
    backend
        .set_with_ttl("key", b"value".to_vec(), Duration::from_millis(10))
        .await
        .unwrap();
    drop(taken);
    time.store(1_100_000, Ordering::SeqCst);
    backend.set("other", b"value".to_vec()).await.unwrap();
    assert_eq!(backend.get("key").await.unwrap(), None);
    drop(backend);
    let reopened = SledBackend::open(directory.path()).await.unwrap();
    assert_eq!(reopened.get("other").await.unwrap().as_deref(), Some(&b"value"[..]));
}
