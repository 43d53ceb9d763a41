//! What happens when the disk refuses?

use std::fs::File;
use std::time::Duration;

use llmspell_core::{ErrorKind, StorageBackend, StorageError};

use super::{Pool, SledBackend, open};

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

    let mut opened = open::open(directory.path(), CACHE_BYTES).unwrap();
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
    let opened = open::open(directory.path(), CACHE_BYTES).unwrap();
    opened.disk.check_space(1).unwrap();
    if cfg!(unix) {
        let error = opened.disk.check_space(u64::MAX).unwrap_err();
        assert!(
            matches!(
                error,
                StorageError::NoSpace {
                    needed_bytes: u64::MAX,
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
    drop(open::open(directory.path(), CACHE_BYTES).unwrap());
    super::directory::write_watermark(directory.path(), 7).unwrap();
    let Err(error) = open::open(directory.path(), CACHE_BYTES) else {
        panic!("a log without commits is not one of seven");
    };
    assert!(matches!(error, StorageError::Corrupted { .. }), "{error}");
    assert!(error.to_string().contains("commit 0 of at least 7"), "{error}");
}
