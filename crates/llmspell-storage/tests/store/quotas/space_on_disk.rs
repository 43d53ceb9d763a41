//! How much does a full scope take on the disk? At most twice its quota and a constant, whatever came and went.

use std::time::Duration;

use llmspell_storage::{Database, Quota};

use super::{block_on, entries, keys_of, note, space, user};

/// Entries and keys of ordinary sizes. What is purged leaves room that is used again.
#[test]
fn what_a_full_scope_takes_on_the_disk_is_at_most_twice_its_quota_and_a_constant_whatever_came_and_went() {
    const LIMIT: u64 = 500 << 10;
    const KEYS_LIMIT: u64 = 10_000;
    const CONSTANT: u64 = 4 << 20;
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("db")).await.unwrap();
        let store = space(&database, "notes", 256).await;
        let quota = Quota::new().with_vector_bytes(LIMIT).with_metadata_bytes(LIMIT);
        database
            .set_quota(&user(0), quota.with_kv_bytes(KEYS_LIMIT))
            .await
            .unwrap();
        let keys = keys_of(&database, user(0));
        for round in 0..12 {
            let batch = entries((0..500).map(|number| format!("{round}-{number}")), 256);
            let batch = batch.into_iter().map(|entry| entry.with_metadata(note(1 << 10)));
            store.insert(batch.collect()).await.unwrap();
            for number in 0..95 {
                keys.set(&number.to_string(), vec![round; 100]).await.unwrap();
            }
            assert!(keys.set("more", vec![0; 500]).await.is_err(), "it is full");
            assert!(store.insert(entries(["more".into()], 256)).await.is_err(), "it is full");
            if round < 11 {
                store.delete_scope(&user(0)).await.unwrap();
            }
        }
        let begun = std::time::Instant::now();
        while store.stats().await.unwrap().scopes_to_purge > 0 {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "dropped scopes are not purged"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let disk_bytes = database.stats().await.unwrap().disk_bytes;
        let bound = 2 * (2 * LIMIT + KEYS_LIMIT) + CONSTANT;
        assert!(disk_bytes <= bound, "{disk_bytes} bytes on the disk, more than {bound}");
    });
}

/// The same where a scope never holds more than its quota and never rests: what it wrote ends at once, or is dropped at once.
#[test]
fn what_a_restless_scope_takes_on_the_disk_is_at_most_twice_its_quota_and_a_constant() {
    const COUNT: u32 = 50;
    const LIMIT: u64 = 50 << 10;
    const CONSTANT: u64 = 4 << 20;
    const ROUNDS: u32 = 200;
    for ends in [true, false] {
        block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let database = Database::open(dir.path().join("db")).await.unwrap();
            let store = space(&database, "notes", 256).await;
            let quota = Quota::new().with_vector_bytes(LIMIT).with_metadata_bytes(LIMIT);
            database.set_quota(&user(0), quota).await.unwrap();
            let (mut written, mut most) = (0, 0);
            for round in 0..ROUNDS {
                let batch = entries((0..COUNT).map(|number| format!("{round}-{number}")), 256);
                let batch = batch.into_iter().map(|entry| {
                    let entry = entry.with_metadata(note(1 << 10));
                    if ends {
                        entry.with_ttl(Duration::from_millis(1))
                    } else {
                        entry
                    }
                });
                // Where the batch before has not ended yet, this one is refused.
                written += u32::from(store.insert(batch.collect()).await.is_ok());
                if ends {
                    std::thread::sleep(Duration::from_millis(1));
                } else {
                    store.delete_scope(&user(0)).await.unwrap();
                }
                most = most.max(database.stats().await.unwrap().disk_bytes);
            }
            assert!(written >= ROUNDS / 2, "{written} of {ROUNDS} batches were taken");
            let begun = std::time::Instant::now();
            let mut disk_bytes = most;
            let bound = 2 * 2 * LIMIT + CONSTANT;
            while disk_bytes > bound || store.stats().await.unwrap().scopes_to_purge > 0 {
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "{disk_bytes} bytes on the disk, more than {bound}; {most} at most; they end: {ends}"
                );
                std::thread::sleep(Duration::from_millis(50));
                disk_bytes = database.stats().await.unwrap().disk_bytes;
            }
            println!("they end: {ends}: {written} batches, {most} bytes at most, {disk_bytes} once purged");
            assert!(most <= 4 * bound, "{most} bytes meanwhile");
        });
    }
}
