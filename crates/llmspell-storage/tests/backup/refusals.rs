//! Backups and restores that are refused, and what they leave alone.

use std::fs;

use llmspell_storage::{BackupOptions, Database, StorageError};

use super::{block_on, content, entry, restored, space};

async fn small(dir: &std::path::Path) -> Database {
    let database = Database::open(dir).await.unwrap();
    space(&database).await.insert(vec![entry(1, 1, 1)]).await.unwrap();
    database
}

#[test]
fn a_backup_touches_no_directory_that_is_not_its_own() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = small(&dir.path().join("db")).await;
        let foreign = dir.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.txt"), b"precious").unwrap();
        let error = database.backup(&foreign).await.unwrap_err();
        assert!(matches!(&error, StorageError::NotABackup { .. }), "{error}");
        assert!(error.to_string().contains("thesis.txt"), "{error}");
        assert_eq!(fs::read(foreign.join("thesis.txt")).unwrap(), b"precious");

        for inside in ["db", "db/spaces", "db/backup"] {
            let error = database.backup(dir.path().join(inside)).await.unwrap_err();
            assert!(matches!(&error, StorageError::InvalidName { .. }), "{inside}: {error}");
        }
        assert!(!dir.path().join("db/backup").exists());

        let file = dir.path().join("file");
        fs::write(&file, b"x").unwrap();
        assert!(database.backup(&file).await.is_err());

        let other = small(&dir.path().join("other")).await;
        let target = dir.path().join("backup");
        database.backup(&target).await.unwrap();
        let error = other.backup(&target).await.unwrap_err();
        assert!(error.to_string().contains("another database"), "{error}");
        assert_eq!(restored(&target).await, content(&database).await);
    });
}

#[test]
fn two_backups_to_one_directory_do_not_mix() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = small(&dir.path().join("db")).await;
        let entries = (2..4000).map(|id| entry(1, id, id)).collect();
        space(&database).await.insert(entries).await.unwrap();
        let target = dir.path().join("backup");
        let slow = BackupOptions::new().bytes_per_second_max(200_000);
        let first = database.backup_with(&target, slow);
        let second = async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            database.backup(&target).await
        };
        let (first, second) = tokio::join!(first, second);
        let error = second.unwrap_err();
        assert!(matches!(&error, StorageError::AlreadyOpen { .. }), "{error}");
        first.unwrap();
        assert_eq!(restored(&target).await, content(&database).await);
    });
}

#[test]
fn a_restore_goes_into_an_empty_or_absent_directory_only() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = small(&dir.path().join("db")).await;
        let backup = dir.path().join("backup");
        database.backup(&backup).await.unwrap();
        let filled = dir.path().join("filled");
        fs::create_dir(&filled).unwrap();
        fs::write(filled.join("a"), b"1").unwrap();
        for target in [&filled, &filled.join("a"), &dir.path().join("db")] {
            let error = Database::restore(&backup, target, BackupOptions::new())
                .await
                .unwrap_err();
            assert!(matches!(&error, StorageError::DirectoryNotEmpty { .. }), "{error}");
        }
        assert_eq!(fs::read(filled.join("a")).unwrap(), b"1");

        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        Database::restore(&backup, &empty, BackupOptions::new()).await.unwrap();
        Database::restore(&backup, dir.path().join("x/y/z"), BackupOptions::new())
            .await
            .unwrap();
        for place in ["empty", "x/y/z"] {
            let again = Database::open(dir.path().join(place)).await.unwrap();
            assert_eq!(content(&again).await, content(&database).await);
        }
    });
}

#[test]
fn what_an_interrupted_restore_has_left_is_removed_by_the_next_one_and_files_of_others_are_not() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = small(&dir.path().join("db")).await;
        let backup = dir.path().join("backup");
        database.backup(&backup).await.unwrap();
        let remains = dir.path().join(".target.restoring");
        fs::create_dir_all(remains.join("spaces/00000009/index")).unwrap();
        fs::write(remains.join("truth.redb.new"), b"half").unwrap();
        fs::write(remains.join("spaces/00000009/slots-0"), b"half").unwrap();
        fs::write(remains.join("spaces/00000009/index/1-2-0.idx"), b"half").unwrap();
        let target = dir.path().join("target");
        Database::restore(&backup, &target, BackupOptions::new()).await.unwrap();
        assert!(!remains.exists() && !target.join("spaces/00000009").exists());
        let again = Database::open(&target).await.unwrap();
        assert!(again.check().await.unwrap().is_ok());
    });
}

#[test]
fn what_is_no_backup_or_was_cut_short_is_refused_as_one() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = small(&dir.path().join("db")).await;
        let backup = dir.path().join("backup");
        database.backup(&backup).await.unwrap();
        fs::remove_file(backup.join("MANIFEST")).unwrap();
        let error = Database::verify_backup(&backup, BackupOptions::new())
            .await
            .unwrap_err();
        assert!(matches!(&error, StorageError::NotABackup { .. }), "{error}");
        assert!(error.to_string().contains("cut short"), "{error}");
        for (place, text) in [("db", "no backup"), ("nowhere", "no such directory")] {
            let target = dir.path().join("target");
            let error = Database::restore(dir.path().join(place), &target, BackupOptions::new())
                .await
                .unwrap_err();
            assert!(matches!(&error, StorageError::NotABackup { .. }), "{error}");
            assert!(error.to_string().contains(text), "{error}");
            assert!(!target.exists());
        }
        // The next backup begins anew.
        assert!(!database.backup(&backup).await.unwrap().is_incremental);
        assert_eq!(restored(&backup).await, content(&database).await);
    });
}
