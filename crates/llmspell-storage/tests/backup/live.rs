//! Backups while everything goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use llmspell_storage::{BackupOptions, Database, HNSWVectorStorage};
use llmspell_testkit::Random;
use parking_lot::Mutex;

use super::{Content, block_on, content, entry, restored, scope, space};

/// One write of a random program: in the database, and in what the database should be.
async fn write(
    random: &mut Random,
    number: u32,
    database: &Database,
    vectors: &HNSWVectorStorage,
    content: &mut Content,
) {
    let of = u32::try_from(random.below(6)).unwrap();
    match random.below(10) {
        // Replaced vectors leave dead points, whose slots would be used again at once.
        0..=5 => {
            let ids: Vec<u32> = (0..random.between(1, 40))
                .map(|_| u32::try_from(random.below(60)).unwrap())
                .collect();
            let mut entries: Vec<_> = Vec::new();
            for id in ids {
                if !entries
                    .iter()
                    .any(|known: &llmspell_storage::VectorEntry| known.id == format!("id-{id}"))
                {
                    entries.push(entry(of, id, number * 100 + id));
                }
            }
            for entry in &entries {
                let place = (entry.scope.to_string(), entry.id.clone());
                let metadata = serde_json::json!(entry.metadata).to_string();
                content.entries.insert(place, (entry.embedding.clone(), metadata));
            }
            vectors.upsert(entries).await.unwrap();
        }
        6 => {
            let ids: Vec<String> = (0..30).map(|_| format!("id-{}", random.below(60))).collect();
            vectors.delete(&scope(of), &ids).await.unwrap();
            let of = scope(of).to_string();
            content
                .entries
                .retain(|(scope, id), _| *scope != of || !ids.contains(id));
        }
        // Dropped scopes give all of their slots back.
        7 => {
            vectors.delete_scope(&scope(of)).await.unwrap();
            let of = scope(of).to_string();
            content.entries.retain(|(scope, _), _| *scope != of);
        }
        _ => {
            let key = format!("key-{}", random.below(20));
            let value = number.to_le_bytes().repeat(random.between(1, 200));
            database.kv().set(&key, value.clone()).await.unwrap();
            content.values.insert(key, value);
        }
    }
}

#[test]
fn given_random_writes_under_way_when_a_backup_is_taken_then_it_is_the_state_after_one_of_them() {
    let mut changed_meanwhile = 0;
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let database = block_on(Database::open(dir.path().join("db"))).unwrap();
        let vectors = block_on(space(&database));
        let history = Arc::new(Mutex::new(vec![Content::default()]));
        let begun = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let writer = std::thread::spawn({
            let (database, vectors, history) = (database.clone(), vectors.clone(), Arc::clone(&history));
            let (begun, is_over) = (Arc::clone(&begun), Arc::clone(&is_over));
            move || {
                let mut random = Random::new(&[seed]);
                let mut number = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let mut content = history.lock().last().unwrap().clone();
                    number += 1;
                    begun.fetch_add(1, Ordering::SeqCst);
                    block_on(write(&mut random, number, &database, &vectors, &mut content));
                    history.lock().push(content);
                }
            }
        });
        // Twice: the second one finds the first.
        let target = dir.path().join("backup");
        for round in 0..2 {
            while history.lock().len() < 40 * (round + 1) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let first = history.lock().len() - 1;
            // So slow that many writes come in between.
            let options = BackupOptions::new().bytes_per_second_max(600_000);
            let receipt = block_on(database.backup_with(&target, options)).unwrap();
            let last = begun.load(Ordering::SeqCst);
            while history.lock().len() <= last {
                std::thread::sleep(Duration::from_millis(1));
            }
            let found = block_on(restored(&target));
            let history = history.lock();
            let place = history[first..=last].iter().position(|content| *content == found);
            assert!(
                place.is_some(),
                "seed {seed}, round {round}: none of {first}..={last}: {} entries, {} values",
                found.entries.len(),
                found.values.len()
            );
            changed_meanwhile += last - first - place.unwrap();
            assert_eq!(receipt.is_incremental, round == 1);
        }
        is_over.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        // The database has lost nothing, and frees what it could not free meanwhile.
        let expected = history.lock().last().unwrap().clone();
        assert_eq!(block_on(content(&database)), expected, "seed {seed}");
        let report = block_on(database.check()).unwrap();
        assert!(report.is_ok(), "seed {seed}: {report:#?}");
        block_on(async {
            let begun = std::time::Instant::now();
            while vectors.stats().await.unwrap().scopes_to_purge > 0 {
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "seed {seed}: the purge does not go on"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    assert!(changed_meanwhile > 100, "{changed_meanwhile} writes came in between");
}

#[test]
fn given_a_backup_when_little_has_changed_then_little_is_written_and_nothing_if_nothing_has() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("db")).await.unwrap();
        let vectors = space(&database).await;
        let target = dir.path().join("backup");
        vectors
            .insert((0..20_000).map(|id| entry(id % 50, id, id)).collect())
            .await
            .unwrap();
        let first = database.backup(&target).await.unwrap();
        assert_eq!((first.reused_bytes, first.is_incremental), (0, false));
        let same = database.backup(&target).await.unwrap();
        assert_eq!((same.written_bytes, same.is_incremental), (0, true), "{same:?}");
        vectors.upsert(vec![entry(7, 7, 999)]).await.unwrap();
        let next = database.backup(&target).await.unwrap();
        assert!(
            next.written_bytes > 0 && next.written_bytes < first.content_bytes / 3,
            "{next:?}"
        );
        assert_eq!(restored(&target).await, content(&database).await);

        // Blocks that are not needed any more do not pile up.
        for round in 0..12 {
            vectors
                .upsert(
                    (0..20_000)
                        .step_by(3)
                        .map(|id| entry(id % 50, id, id + round))
                        .collect(),
                )
                .await
                .unwrap();
            let receipt = database.backup(&target).await.unwrap();
            let size: u64 = std::fs::read_dir(&target)
                .unwrap()
                .map(|file| file.unwrap().metadata().unwrap().len())
                .sum();
            assert!(
                size < 3 * receipt.content_bytes,
                "round {round}: {size} bytes for {receipt:?}"
            );
        }
        assert_eq!(restored(&target).await, content(&database).await);
    });
}

#[test]
fn given_deleted_vectors_then_a_backup_does_not_have_their_bytes() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("db")).await.unwrap();
        let vectors = space(&database).await;
        let secret: Vec<f32> = (0..super::DIM).map(|place| 1.0 / (place as f32 + 3.0)).collect();
        let needle: Vec<u8> = secret.iter().flat_map(|component| component.to_le_bytes()).collect();
        let mut doomed = entry(1, 1, 1);
        doomed.embedding = secret;
        let mut entries: Vec<_> = (2..50).map(|id| entry(1, id, id)).collect();
        entries.push(doomed);
        vectors.insert(entries).await.unwrap();
        let has_it = |target: &std::path::Path| {
            let mut files = std::fs::read_dir(target).unwrap();
            files.any(|file| {
                let bytes = std::fs::read(file.unwrap().path()).unwrap();
                bytes.windows(needle.len()).any(|window| window == needle)
            })
        };
        database.backup(dir.path().join("before")).await.unwrap();
        assert!(has_it(&dir.path().join("before")));
        vectors.delete(&scope(1), &["id-1".to_string()]).await.unwrap();
        database.backup(dir.path().join("after")).await.unwrap();
        assert!(!has_it(&dir.path().join("after")));
    });
}

#[test]
fn given_indexes_when_they_are_backed_up_then_a_restored_database_uses_them_at_once_and_else_builds_them() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let options = llmspell_storage::DatabaseOptions::new().graph_points_min(100);
        let database = options.clone().open(dir.path().join("db")).await.unwrap();
        let vectors = space(&database).await;
        vectors
            .insert((0..600).map(|id| entry(1, id, id)).collect())
            .await
            .unwrap();
        vectors.build_index().await.unwrap();
        for with_indexes in [true, false] {
            let backup = dir.path().join(format!("backup-{with_indexes}"));
            let restored = dir.path().join(format!("restored-{with_indexes}"));
            let asked = BackupOptions::new().with_indexes(with_indexes);
            let receipt = database.backup_with(&backup, asked).await.unwrap();
            assert_eq!(receipt.has_indexes, with_indexes);
            Database::restore(&backup, &restored, BackupOptions::new())
                .await
                .unwrap();
            let again = options.clone().open(&restored).await.unwrap();
            assert_eq!(again.stats().await.unwrap().index_bytes > 0, with_indexes);
            let vectors = space(&again).await;
            let query = llmspell_storage::VectorQuery::new(super::vector(77), 1).with_scope(scope(1));
            assert_eq!(vectors.search(&query).await.unwrap()[0].id, "id-77");
            vectors.build_index().await.unwrap();
            assert!(again.check().await.unwrap().is_ok());
            assert_eq!(again.stats().await.unwrap().background_failures, []);
        }
    });
}

#[test]
fn given_a_database_in_memory_then_it_can_be_backed_up_too() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::in_memory();
        space(&database)
            .await
            .insert((0..500).map(|id| entry(id % 3, id, id)).collect())
            .await
            .unwrap();
        database.kv().set("a", b"1".to_vec()).await.unwrap();
        database.backup(dir.path().join("b")).await.unwrap();
        assert_eq!(restored(&dir.path().join("b")).await, content(&database).await);
    });
}

#[test]
fn given_a_backup_whose_caller_is_gone_then_it_ends_and_the_database_can_be_closed_and_opened() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("db")).await.unwrap();
        let vectors = space(&database).await;
        vectors
            .insert((0..5_000).map(|id| entry(id % 3, id, id)).collect())
            .await
            .unwrap();
        let slow = BackupOptions::new().bytes_per_second_max(1_000);
        let backup = database.backup_with(dir.path().join("b"), slow.clone());
        let timeout = tokio::time::timeout(Duration::from_millis(100), backup).await;
        assert!(timeout.is_err());
        drop(vectors);
        // With another one that is not over when the database is closed.
        let other = database.clone();
        let target = dir.path().join("c");
        let under_way = std::thread::spawn(move || block_on(other.backup_with(target, slow)));
        tokio::time::sleep(Duration::from_millis(100)).await;
        database.close().await.unwrap();
        let error = under_way.join().unwrap().unwrap_err();
        assert!(matches!(error, llmspell_storage::StorageError::Closed), "{error}");
        let database = Database::open(dir.path().join("db")).await.unwrap();
        let progress = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&progress);
        let options = BackupOptions::new().on_progress(move |progress| seen.lock().push(progress));
        database.backup_with(dir.path().join("b"), options).await.unwrap();
        assert_eq!(restored(&dir.path().join("b")).await, content(&database).await);
        let progress = progress.lock();
        assert!(progress.is_sorted_by_key(|progress| progress.done_bytes) && progress.len() > 3);
        let last = progress.last().unwrap();
        assert!(
            last.done_bytes == last.total_bytes && last.done_bytes > 1_000_000,
            "{last:?}"
        );
    });
}
