//! Keys expire: no call sees them, none returns, and their space is used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use llmspell_core::{Expiry, KeyValueWrite, Quota, ScopedBackend, StateScope, StorageError, Timestamp};

use crate::api::backends::RedbBackend;
use crate::base::options::DatabaseOptions;
use crate::disk::Disk;
use crate::disk::sim::{Luck, SimDisk};
use crate::engine::Database;
use crate::engine::batch::KV_SCOPE;
use crate::engine::calls::Flush;

const BEGIN: i64 = 1_750_000_000_000;

/// What the clock of the system says, in milliseconds after the beginning.
#[derive(Default, Clone)]
struct Wall(Arc<AtomicI64>);

impl Wall {
    fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

fn open(disk: &SimDisk, wall: &Wall) -> (Database, RedbBackend) {
    let Wall(millis) = wall.clone();
    let now = move || Timestamp::from_millis(BEGIN + millis.load(Ordering::SeqCst));
    let Wall(boot) = wall.clone();
    let options = DatabaseOptions::new()
        .clock(now)
        // The machine's own clock agrees.
        .boot_clock(move || Duration::from_millis(boot.load(Ordering::SeqCst).unsigned_abs()));
    let database = Database::open_on(Arc::new(disk.clone()), &options).unwrap();
    let keys = database.kv();
    (database, keys)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Rows of keys, those that are over included, and the first moment that is noted.
fn rows(database: &Database) -> (usize, Option<i64>) {
    let read = database.inner.shared.truth.read().unwrap();
    let mut count = 0;
    read.visit_values(KV_SCOPE, b"", None, |_, _| {
        count += 1;
        Ok(true)
    })
    .unwrap();
    (count, read.first_key_expiry().unwrap())
}

/// Waits for the committer, which then looks whether there is something to purge.
async fn wake(database: &Database) {
    database.inner.request(Flush).await.unwrap();
}

async fn assert_purged_to(database: &Database, count: usize) {
    let begun = Instant::now();
    while rows(database).0 != count {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?} are kept",
            rows(database)
        );
        wake(database).await;
        tokio::time::sleep(millis(5)).await;
    }
    let report = database.check().await.unwrap();
    assert!(report.is_ok(), "{report:#?}");
}

async fn assert_only_the_immortal_is_there(keys: &RedbBackend, what: &str) {
    for key in ["a", "b"] {
        assert_eq!(keys.get(key).await.unwrap(), None, "{what}");
        assert_eq!(keys.expires_at(key).await.unwrap(), None, "{what}");
    }
    let all = ["a", "b", "immortal"].map(String::from);
    assert_eq!(keys.get_batch(&all).await.unwrap().len(), 1, "{what}");
    assert_eq!(keys.list_keys("").await.unwrap(), ["immortal"], "{what}");
    assert_eq!(keys.count("").await.unwrap(), 1, "{what}");
    assert_eq!(keys.scan("", None, 2).await.unwrap().len(), 1, "{what}");
    assert_eq!(keys.database().stats().await.unwrap().keys, 1, "{what}");
}

#[tokio::test]
async fn given_keys_that_end_when_the_clock_goes_back_over_a_restart_then_none_returns() {
    let (disk, wall) = (SimDisk::default(), Wall::default());
    let (database, keys) = open(&disk, &wall);
    // Given: one in the cache of values, one only on the disk after opening again, one that was mortal once.
    for key in ["a", "b", "immortal"] {
        keys.set_with_ttl(key, b"value".to_vec(), millis(1_000)).await.unwrap();
    }
    keys.set("immortal", b"value".to_vec()).await.unwrap();
    drop(keys);
    database.close().await.unwrap();
    let (database, keys) = open(&disk, &wall);
    assert_eq!(keys.get("a").await.unwrap().as_deref(), Some(&b"value"[..]));
    let end = Some(Timestamp::from_millis(BEGIN + 1_000));
    assert_eq!(keys.expires_at("b").await.unwrap(), end, "the moment is kept");

    // When: so shortly after the end that nothing is purged yet.
    wall.set(999);
    assert_eq!(keys.count("").await.unwrap(), 3);
    wall.set(1_000);
    assert_only_the_immortal_is_there(&keys, "at the end").await;
    wall.set(0);
    assert_only_the_immortal_is_there(&keys, "when the clock went back").await;
    assert_eq!(rows(&database), (3, Some(BEGIN + 1_000)));
    drop(keys);
    database.close().await.unwrap();

    // Then
    let (database, keys) = open(&disk, &wall);
    assert_only_the_immortal_is_there(&keys, "opened with the clock behind").await;
    assert_purged_to(&database, 1).await;
    assert_only_the_immortal_is_there(&keys, "purged").await;
}

/// A write that found a key to be over was right, whatever happens to the clock and the power afterwards.
#[tokio::test]
async fn given_a_swap_that_found_a_key_over_when_power_and_time_are_lost_then_the_key_is_what_it_became() {
    let (disk, wall) = (SimDisk::default(), Wall::default());
    let (_database, keys) = open(&disk, &wall);
    let lease = |holder: &str| Some(holder.as_bytes().to_vec());
    let ttl = Expiry::After(millis(1_000));
    assert!(keys.swap("lease", None, lease("one"), ttl).await.unwrap());
    assert!(!keys.swap("lease", None, lease("two"), ttl).await.unwrap());
    wall.set(1_000);
    assert!(keys.swap("lease", None, lease("two"), ttl).await.unwrap());

    let image = disk.image_at(disk.now(), Luck::Nothing);
    wall.set(0);
    let (database, keys) = open(&SimDisk::from_image(&image), &wall);
    assert_eq!(keys.get("lease").await.unwrap(), lease("two"));
    let end = Some(Timestamp::from_millis(BEGIN + 2_000));
    assert_eq!(keys.expires_at("lease").await.unwrap(), end);
    let later = keys.swap("lease", Some(b"two"), lease("three"), ttl).await.unwrap();
    assert!(later, "by the time that was stored it lives");
    assert_eq!(keys.expires_at("lease").await.unwrap(), end, "time stood still");
    assert!(database.check().await.unwrap().is_ok());
}

/// More than one step of the purge, and expired entries and dropped scopes beside it.
#[tokio::test]
async fn given_keys_that_come_and_end_for_ever_then_the_file_does_not_grow() {
    let (disk, wall) = (SimDisk::default(), Wall::default());
    let (database, keys) = open(&disk, &wall);
    keys.set("stays", b"here".to_vec()).await.unwrap();
    let mut lens = Vec::new();
    for round in 0..12_i64 {
        wall.set(round * 10_000);
        let batch = (0..1_200).map(|number| {
            let ttl = millis(1 + number % 3);
            KeyValueWrite::set_expiring(format!("session/{round}/{number}"), vec![7; 100], ttl)
        });
        keys.write(batch.collect()).await.unwrap();
        assert_eq!(keys.count("").await.unwrap(), 1_201);
        wall.set(round * 10_000 + 5_000);
        assert_purged_to(&database, 1).await;
        lens.push(disk.open("truth.redb").unwrap().len().unwrap());
    }
    assert_eq!(rows(&database), (1, None));
    assert_eq!(lens[11], lens[3], "{lens:?}");
}

/// Several writers never leave the committer a pause, and what they write is over at once.
#[tokio::test]
async fn given_writers_that_never_pause_then_keys_that_are_over_do_not_pile_up() {
    let (disk, wall) = (SimDisk::default(), Wall::default());
    let (database, keys) = open(&disk, &wall);
    let writer = async |number: usize| {
        for turn in 0..25 {
            wall.0.fetch_add(2_000, Ordering::SeqCst);
            let batch = (0..300)
                .map(|place| KeyValueWrite::set_expiring(format!("{number}/{turn}/{place}"), vec![7], millis(1)));
            keys.write(batch.collect()).await.unwrap();
        }
    };
    tokio::join!(writer(0), writer(1), writer(2));
    let (left, _) = rows(&database);
    assert!(left < 4_000, "of 22,500 keys {left} are left");
    wall.0.fetch_add(10_000, Ordering::SeqCst);
    assert_purged_to(&database, 0).await;
}

/// A key that is given another end every minute has one note, not one for each.
#[tokio::test]
async fn a_key_that_is_refreshed_leaves_nothing_behind() {
    let (disk, wall) = (SimDisk::default(), Wall::default());
    let (database, keys) = open(&disk, &wall);
    for turn in 0..20 {
        wall.set(turn * 60_000);
        keys.set_with_ttl("session", vec![1], millis(100_000_000))
            .await
            .unwrap();
    }
    let read = database.inner.shared.truth.read().unwrap();
    assert_eq!(read.expiring_key_count().unwrap(), 1);
    drop(read);
    assert!(keys.delete("session").await.unwrap());
    assert_eq!(rows(&database), (0, None));
}

#[tokio::test]
async fn a_quota_counts_no_key_that_is_over() {
    let (disk, wall) = (SimDisk::default(), Wall::default());
    let (database, keys) = open(&disk, &wall);
    let ada = StateScope::User("ada".to_string());
    let hers = ScopedBackend::new(Arc::new(keys), ada.clone()).unwrap();
    database.set_quota(&ada, Quota::new().with_kv_bytes(20)).await.unwrap();
    let used = async || database.quota(&ada).await.unwrap().unwrap().used.kv_bytes;
    let full = |error: StorageError| matches!(error, StorageError::QuotaExceeded { used: 20, asked: 1, .. });

    hers.set_with_ttl("a", vec![0; 9], millis(100)).await.unwrap();
    hers.set_with_ttl("b", vec![0; 9], millis(200)).await.unwrap();
    assert_eq!(used().await, 20);
    assert!(full(hers.set("c", Vec::new()).await.unwrap_err()));
    // Over, and not purged yet: there is room at once, as much as they took.
    wall.set(150);
    assert_eq!(used().await, 10);
    hers.set("c", vec![0; 9]).await.unwrap();
    assert!(full(hers.set("d", Vec::new()).await.unwrap_err()));
    hers.set_with_ttl("a", vec![0; 9], millis(100)).await.unwrap_err();
    wall.set(200);
    hers.set_with_ttl("a", vec![0; 9], millis(100)).await.unwrap();
    assert!(
        full(hers.set("d", Vec::new()).await.unwrap_err()),
        "in the place of one that was over"
    );
    assert_eq!(used().await, 20);
    // Purged: the same.
    wall.set(100_000);
    assert_purged_to(&database, 1).await;
    assert_eq!(used().await, 10);
    assert!(hers.clear().await.unwrap() == 1 && used().await == 0);
}

#[tokio::test]
async fn a_note_that_is_missing_is_found_by_check_and_a_stale_one_disturbs_nobody() {
    let (disk, wall) = (SimDisk::default(), Wall::default());
    let (database, keys) = open(&disk, &wall);
    keys.set_with_ttl("key", vec![1], millis(100)).await.unwrap();
    keys.set("other", vec![2]).await.unwrap();
    let alter = |change: &dyn Fn(&mut crate::truth::Rows<'_>)| {
        let txn = database.inner.shared.truth.write().unwrap();
        let mut rows = txn.rows();
        change(&mut rows);
        drop(rows);
        txn.commit().unwrap();
    };
    let row = rows_of(&database, 100);
    alter(&|rows| rows.remove_expired_key(&row).unwrap());
    let report = database.check().await.unwrap();
    assert!(format!("{report:?}").contains("would never be purged"), "{report:#?}");
    alter(&|rows| rows.note_expiring_key(&row).unwrap());
    let stale = crate::truth::ExpiredKey {
        key: b"other".to_vec(),
        ..row.clone()
    };
    alter(&|rows| rows.note_expiring_key(&stale).unwrap());
    assert!(!database.check().await.unwrap().is_ok());
    wall.set(10_000);
    assert_purged_to(&database, 1).await;
    assert_eq!(keys.get("other").await.unwrap(), Some(vec![2]));
}

/// The only row of an expiring key, as it is at this many milliseconds.
fn rows_of(database: &Database, millis: i64) -> crate::truth::ExpiredKey {
    let txn = database.inner.shared.truth.write().unwrap();
    let mut found = txn.rows().expired_keys(BEGIN + millis, 10).unwrap();
    txn.abort().unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}
