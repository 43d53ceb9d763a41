//! Everything is copied from one backend to another.
#![expect(clippy::unwrap_used, reason = "an error is a failed test")]

use llmspell_storage::{
    ErrorKind, MemoryBackend, RedbBackend, SledBackend, StorageBackend, StorageError, export, export_with,
};

/// Keys of every kind, more than a page of them, with values from nothing to more than a page.
async fn fill(backend: &dyn StorageBackend) {
    let pairs = (0..3_000_u32).map(|number| {
        (
            format!("k/{number:05}"),
            number.to_le_bytes().repeat(number as usize % 40),
        )
    });
    backend.set_batch(pairs.collect()).await.unwrap();
    backend.set("\0", Vec::new()).await.unwrap();
    backend.set("\u{10ffff}", vec![7; 1_000_000]).await.unwrap();
    for number in 0..4 {
        backend
            .set(&format!("large/{number}"), vec![number; 5 << 20])
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn everything_moves_from_sled_to_redb() {
    let directories = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let old = SledBackend::open(directories.0.path()).await.unwrap();
    fill(&old).await;

    let new = RedbBackend::open(directories.1.path()).await.unwrap();
    let mut progress = Vec::new();
    assert_eq!(
        export_with(&old, &new, |copied| progress.push(copied)).await.unwrap(),
        3_006
    );
    assert!(
        progress.is_sorted() && progress.len() > 3,
        "told page by page: {progress:?}"
    );
    assert_eq!(progress.last(), Some(&3_006));
    drop(new);

    let new = RedbBackend::open(directories.1.path()).await.unwrap();
    let (expected, found) = (
        old.scan("", None, 10_000).await.unwrap(),
        new.scan("", None, 10_000).await.unwrap(),
    );
    assert_eq!(found.len(), 3_006);
    assert!(found == expected, "byte for byte, after reopening");
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_refused_and_left_alone() {
    let (from, to) = (MemoryBackend::new(), MemoryBackend::new());
    fill(&from).await;
    to.set("mine", b"value".to_vec()).await.unwrap();
    let error = export(&from, &to).await.unwrap_err();
    assert!(
        matches!(&error, StorageError::NotEmpty { key } if key == "mine"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(to.count("").await.unwrap(), 1);
}

#[tokio::test]
async fn nothing_is_copied_from_nothing() {
    assert_eq!(export(&MemoryBackend::new(), &MemoryBackend::new()).await.unwrap(), 0);
}
