//! Damaged backups, and backups of damaged databases.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use llmspell_storage::{BackupOptions, Database, ErrorKind, StorageError};
use llmspell_testkit::Random;

use super::{block_on, content, entry, restored, scope, space};

async fn filled(dir: &Path) -> Database {
    let database = Database::open(dir).await.unwrap();
    let vectors = space(&database).await;
    vectors
        .insert((0..400).map(|id| entry(id % 5, id, id)).collect())
        .await
        .unwrap();
    for number in 0..50 {
        let value = vec![number; 300];
        database.kv().set(&format!("key-{number}"), value).await.unwrap();
    }
    database
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap() != "LOCK");
    files.sort();
    files
}

#[test]
fn given_any_damage_of_a_backup_then_it_is_neither_verified_nor_restored() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = filled(&dir.path().join("db")).await;
        let good = dir.path().join("good");
        database.backup(&good).await.unwrap();
        let mut random = Random::new(&[17]);
        let names = files(&good);
        assert!(names.len() >= 2, "{names:?}");
        for number in 0..200 {
            let bad = dir.path().join("bad");
            let _ = fs::remove_dir_all(&bad);
            fs::create_dir(&bad).unwrap();
            for name in &names {
                fs::copy(name, bad.join(name.file_name().unwrap())).unwrap();
            }
            let victim = bad.join(names[number % names.len()].file_name().unwrap());
            let len = fs::metadata(&victim).unwrap().len();
            let file = fs::File::options().read(true).write(true).open(&victim).unwrap();
            let at = random.below(len);
            let what = match number % 5 {
                0 | 1 => {
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, at).unwrap();
                    file.write_all_at(&[byte[0] ^ (1 << random.below(8))], at).unwrap();
                    "a bit flipped"
                }
                2 => {
                    file.set_len(at).unwrap();
                    "truncated"
                }
                3 => {
                    file.write_all_at(&[0xa5; 512], at).unwrap();
                    "overwritten"
                }
                _ => {
                    fs::remove_file(&victim).unwrap();
                    "removed"
                }
            };
            let place = format!("{number}: {} {what} at {at}", victim.display());
            let target = dir.path().join("target");
            for done in [
                Database::verify_backup(&bad, BackupOptions::new()).await,
                Database::restore(&bad, &target, BackupOptions::new()).await,
            ] {
                let error = done.expect_err(&place);
                assert_eq!(error.kind(), ErrorKind::Data, "{place}: {error}");
            }
            assert!(!target.exists(), "{place}");
            assert!(!dir.path().join(".target.restoring").exists(), "{place}");
        }
        assert_eq!(restored(&good).await, content(&database).await);
    });
}

#[test]
fn given_a_damaged_database_then_a_backup_says_what_is_damaged_and_goes_on_only_if_asked_to() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (db, target) = (dir.path().join("db"), dir.path().join("b"));
        let database = filled(&db).await;
        let before = content(&database).await;
        database.backup(&target).await.unwrap();
        database.close().await.unwrap();

        // Given: a bit of a vector flipped, and one of a value.
        let slots = db.join("spaces/00000001/slots-0");
        let mut bytes = fs::read(&slots).unwrap();
        let stride = 16 + 4 * super::DIM;
        bytes[7 * stride + 40] ^= 1;
        fs::write(&slots, bytes).unwrap();
        let database = Database::open(&db).await.unwrap();

        // When: it is backed up.
        let error = database.backup(&target).await.unwrap_err();

        // Then: it is an error that names the place, and the backup before is there.
        assert!(matches!(error, StorageError::Corrupted { .. }), "{error}");
        assert!(error.to_string().contains("slot 7: its checksum is wrong"), "{error}");
        assert_eq!(restored(&target).await, before);

        // And with `keep_going` the rest is there.
        let options = BackupOptions::new().keep_going(true);
        let receipt = database.backup_with(dir.path().join("rest"), options).await.unwrap();
        assert_eq!(receipt.damage.len(), 1, "{:?}", receipt.damage);
        assert!(receipt.damage[0].contains("slot 7"), "{:?}", receipt.damage);
        let verified = Database::verify_backup(dir.path().join("rest"), BackupOptions::new())
            .await
            .unwrap();
        assert_eq!(verified.damage, receipt.damage);
        let copy = dir.path().join("copy");
        Database::restore(dir.path().join("rest"), &copy, BackupOptions::new())
            .await
            .unwrap();
        let copy = Database::open(&copy).await.unwrap();
        let vectors = space(&copy).await;
        let (mut good, mut bad) = (0, 0);
        for id in 0..400 {
            match vectors.get(&scope(id % 5), &format!("id-{id}")).await {
                Ok(Some(found)) => {
                    assert_eq!(found.embedding, super::vector(id));
                    good += 1;
                }
                Ok(None) => panic!("id-{id} is missing"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Data);
                    bad += 1;
                }
            }
        }
        assert_eq!((good, bad), (399, 1));

        // And a file that is missing is damage, too.
        drop((vectors, copy));
        database.close().await.unwrap();
        fs::remove_file(&slots).unwrap();
        let database = Database::open(&db).await.unwrap();
        let error = database.backup(dir.path().join("c")).await.unwrap_err();
        assert!(error.to_string().contains("the file is missing"), "{error}");
        let options = BackupOptions::new().keep_going(true);
        let receipt = database.backup_with(dir.path().join("c"), options).await.unwrap();
        assert_eq!(receipt.damage.len(), 401, "the file and each vector in it");
    });
}
