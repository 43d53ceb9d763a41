//! Is a quota kept exactly, whoever writes, and is what is counted what is there?

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use llmspell_storage::{
    Database, HNSWConfig, HNSWVectorStorage, KeyValueWrite, Quota, ScopedBackend, StateScope, StorageError, Timestamp,
    VectorEntry,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn user(number: u8) -> StateScope {
    StateScope::User(format!("u{number}"))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
        .block_on(future)
}

fn keys_of(database: &Database, scope: StateScope) -> ScopedBackend {
    ScopedBackend::new(Arc::new(database.kv()), scope).unwrap()
}

// ---- key-value data: random programs against a map ----

/// A change of one batch. Scope 2 is no scope: the backend itself, whose keys belong to nobody.
#[derive(Debug, Clone)]
enum Change {
    Set {
        key: u8,
        len: usize,
    },
    /// To a value that is over at once.
    Ended {
        key: u8,
    },
    Delete {
        key: u8,
    },
    DeletePrefix {
        key: Option<u8>,
    },
}

#[derive(Debug, Clone)]
enum Step {
    Write {
        scope: u8,
        batch: Vec<Change>,
    },
    /// Of the backend itself, over all scopes.
    WriteAll {
        batch: Vec<(u8, Change)>,
    },
    Swap {
        scope: u8,
        key: u8,
        expected: bool,
        new: Option<usize>,
    },
    Quota {
        scope: u8,
        bytes: Option<u64>,
    },
    Reopen,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..5_u8, 0..40_usize).prop_map(|(key, len)| Change::Set { key, len }),
        2 => (0..5_u8).prop_map(|key| Change::Delete { key }),
        1 => (0..5_u8).prop_map(|key| Change::Ended { key }),
        1 => prop::option::of(0..5_u8).prop_map(|key| Change::DeletePrefix { key }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u8, vec(change(), 1..5)).prop_map(|(scope, batch)| Step::Write { scope, batch }),
        3 => vec((0..3_u8, change()), 1..6).prop_map(|batch| Step::WriteAll { batch }),
        2 => (0..3_u8, 0..5_u8, any::<bool>(), prop::option::of(0..40_usize))
            .prop_map(|(scope, key, expected, new)| Step::Swap { scope, key, expected, new }),
        3 => (0..2_u8, prop::option::of(0..90_u64)).prop_map(|(scope, bytes)| Step::Quota { scope, bytes }),
        1 => Just(Step::Reopen),
    ]
}

/// Keys that begin like each other.
fn key(number: u8) -> &'static str {
    ["a", "ab", "abc", "b", "6:user:u0/x"][usize::from(number)]
}

fn prefix(scope: u8) -> String {
    if scope == 2 {
        String::new()
    } else {
        ScopedBackend::prefix(&user(scope))
    }
}

/// Key in the backend, and value.
type Values = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Default)]
struct Model {
    values: Values,
    quotas: BTreeMap<u8, u64>,
}

impl Model {
    fn used(values: &Values, scope: u8) -> u64 {
        let prefix = prefix(scope);
        let own = values.iter().filter(|(key, _)| key.starts_with(&prefix));
        own.map(|(key, value)| (key.len() - prefix.len() + value.len()) as u64)
            .sum()
    }

    /// What the values are after all changes; the text of the refusal if a scope would then hold too much.
    fn write(&mut self, writes: &[KeyValueWrite]) -> Result<(), String> {
        let mut after = self.values.clone();
        for write in writes {
            match write {
                KeyValueWrite::Set { key, value } => drop(after.insert(key.clone(), value.clone())),
                // All of them have ended.
                KeyValueWrite::SetExpiring { key, .. } | KeyValueWrite::Delete { key } => drop(after.remove(key)),
                KeyValueWrite::DeletePrefix { prefix } => after.retain(|key, _| !key.starts_with(prefix)),
            }
        }
        for (scope, limit) in &self.quotas {
            let (used, wanted) = (Self::used(&self.values, *scope), Self::used(&after, *scope));
            if wanted > *limit && wanted > used {
                let refused = StorageError::QuotaExceeded {
                    scope: user(*scope),
                    what: "bytes of key-value data",
                    limit: *limit,
                    used,
                    asked: wanted - used,
                };
                return Err(refused.to_string());
            }
        }
        self.values = after;
        Ok(())
    }
}

fn write_of(scope: u8, change: &Change) -> KeyValueWrite {
    let full = |number: u8| format!("{}{}", prefix(scope), key(number));
    match change {
        Change::Set { key, len } => KeyValueWrite::Set {
            key: full(*key),
            value: vec![7; *len],
        },
        Change::Ended { key } => KeyValueWrite::set_expiring(full(*key), vec![7; 1_000], Timestamp::from_millis(1)),
        Change::Delete { key } => KeyValueWrite::Delete { key: full(*key) },
        Change::DeletePrefix { key } => {
            let prefix = key.map_or_else(|| prefix(scope), full);
            KeyValueWrite::DeletePrefix { prefix }
        }
    }
}

/// The same through the handle of the scope, as applications do it.
fn inside(scope: u8, write: KeyValueWrite) -> KeyValueWrite {
    let strip = |text: String| text[prefix(scope).len()..].to_string();
    match write {
        KeyValueWrite::Set { key, value } => KeyValueWrite::Set { key: strip(key), value },
        KeyValueWrite::SetExpiring { key, value, expiry } => KeyValueWrite::set_expiring(strip(key), value, expiry),
        KeyValueWrite::Delete { key } => KeyValueWrite::Delete { key: strip(key) },
        KeyValueWrite::DeletePrefix { prefix } => KeyValueWrite::DeletePrefix { prefix: strip(prefix) },
    }
}

async fn run(dir: &Path, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut database = Database::open(dir).await.unwrap();
    let mut model = Model::default();
    for step in steps {
        let text = |result: llmspell_storage::Result<()>| result.map_err(|error| error.to_string());
        match step {
            Step::Write { scope, batch } => {
                let writes: Vec<_> = batch.iter().map(|change| write_of(*scope, change)).collect();
                let expected = model.write(&writes);
                let done = if *scope == 2 {
                    database.kv().write(writes).await
                } else {
                    let own = writes.into_iter().map(|write| inside(*scope, write)).collect();
                    keys_of(&database, user(*scope)).write(own).await
                };
                prop_assert_eq!(text(done.map(drop)), expected, "{:?}", step);
            }
            Step::WriteAll { batch } => {
                let writes: Vec<_> = batch.iter().map(|(scope, change)| write_of(*scope, change)).collect();
                let expected = model.write(&writes);
                prop_assert_eq!(
                    text(database.kv().write(writes).await.map(drop)),
                    expected,
                    "{:?}",
                    step
                );
            }
            Step::Swap {
                scope,
                key: number,
                expected,
                new,
            } => {
                let full = format!("{}{}", prefix(*scope), key(*number));
                let current = model.values.get(&full).cloned();
                // The right value, or one that nothing has.
                let wanted = if *expected { current.clone() } else { Some(vec![9; 50]) };
                let change = match new {
                    Some(len) => Change::Set {
                        key: *number,
                        len: *len,
                    },
                    None => Change::Delete { key: *number },
                };
                let outcome = if wanted == current {
                    model.write(&[write_of(*scope, &change)])
                } else {
                    Ok(())
                };
                let new = new.map(|len| vec![7; len]);
                let done = database.kv().compare_and_swap(&full, wanted.as_deref(), new).await;
                prop_assert_eq!(text(done.map(drop)), outcome, "{:?}", step);
            }
            Step::Quota { scope, bytes } => {
                let had_one = match bytes {
                    Some(bytes) => {
                        database
                            .set_quota(&user(*scope), Quota::new().with_kv_bytes(*bytes))
                            .await
                            .unwrap();
                        model.quotas.insert(*scope, *bytes);
                        continue;
                    }
                    None => database.remove_quota(&user(*scope)).await.unwrap(),
                };
                prop_assert_eq!(had_one, model.quotas.remove(scope).is_some());
            }
            Step::Reopen => {
                database.close().await.unwrap();
                database = Database::open(dir).await.unwrap();
            }
        }
        for scope in 0..2 {
            let status = database.quota(&user(scope)).await.unwrap();
            let seen = status.map(|status| (status.quota.kv_bytes.unwrap(), status.used.kv_bytes));
            let expected = model
                .quotas
                .get(&scope)
                .map(|limit| (*limit, Model::used(&model.values, scope)));
            prop_assert_eq!(seen, expected, "after {:?}", step);
        }
    }
    let stored: Values = database
        .kv()
        .scan("", None, 10_000)
        .await
        .unwrap()
        .into_iter()
        .collect();
    prop_assert_eq!(stored, model.values);
    let report = database.check().await.unwrap();
    prop_assert!(report.is_ok(), "{:#?}", report);
    Ok(())
}

#[test]
fn key_value_quotas_hold_and_count_like_a_map_whatever_happened_before() {
    let cases = std::env::var("LLMSPELL_MODEL_CASES").map_or(16, |cases| cases.parse().unwrap());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    println!("PROPTEST_RNG_SEED={}", config.rng_seed);
    let result = TestRunner::new(config).run(&vec(step(), 1..40), |steps| {
        let dir = tempfile::tempdir().unwrap();
        block_on(run(&dir.path().join("db"), &steps))
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

// ---- entries ----

const DIM: usize = 3;

async fn space(database: &Database, name: &str, dim: usize) -> HNSWVectorStorage {
    database.vectors(name, dim, HNSWConfig::fast()).await.unwrap()
}

fn entries(ids: impl IntoIterator<Item = String>, dim: usize) -> Vec<VectorEntry> {
    ids.into_iter()
        .map(|id| VectorEntry::new(id, vec![1.0; dim]).with_scope(user(0)))
        .collect()
}

/// Writers of batches of three race for room for forty: thirteen batches fit, whole, and not one entry more.
#[test]
fn given_many_writers_when_they_race_for_the_last_place_then_no_batch_is_half_and_the_limit_holds() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path().join("db")).await.unwrap();
        let store = space(&database, "notes", DIM).await;
        database
            .set_quota(&user(0), Quota::new().with_vectors(40))
            .await
            .unwrap();

        let writers: Vec<_> = (0..30)
            .map(|writer| {
                let store = store.clone();
                let batch = entries((0..3).map(|n| format!("{writer}-{n}")), DIM);
                tokio::spawn(async move { store.insert(batch).await })
            })
            .collect();
        let mut stored = Vec::new();
        for writer in writers {
            match writer.await.unwrap() {
                Ok(ids) => stored.extend(ids),
                Err(StorageError::QuotaExceeded {
                    limit: 40,
                    used,
                    asked: 3,
                    ..
                }) => assert!(used > 37),
                Err(other) => panic!("{other}"),
            }
        }

        assert_eq!(stored.len(), 39);
        let mut found: Vec<String> = store
            .list(&user(0), None, 100)
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.id)
            .collect();
        stored.sort();
        found.sort();
        assert_eq!(found, stored, "of the others nothing is there");
        assert_eq!(database.quota(&user(0)).await.unwrap().unwrap().used.vectors, 39);
    });
}

#[test]
fn given_two_spaces_when_a_scope_fills_them_then_they_share_its_quota_across_restarts() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let database = Database::open(&path).await.unwrap();
        let (small, large) = (space(&database, "small", 2).await, space(&database, "large", 10).await);
        small.insert(entries(["a".into(), "b".into()], 2)).await.unwrap();
        // Two of 8 bytes are there already; one of 40 more fits, and one of 8 after it.
        database
            .set_quota(&user(0), Quota::new().with_vector_bytes(64))
            .await
            .unwrap();
        large.insert(entries(["a".into()], 10)).await.unwrap();
        drop((small, large));
        database.close().await.unwrap();

        let database = Database::open(&path).await.unwrap();
        let (small, large) = (space(&database, "small", 2).await, space(&database, "large", 10).await);
        let refused = large.upsert(entries(["a".into(), "b".into()], 10)).await.unwrap_err();
        let text = "the scope `user:u0` holds 56 of at most 64 bytes of vectors: no room for 40 more";
        assert_eq!(refused.to_string(), text);
        large.upsert(entries(["a".into()], 10)).await.unwrap();
        small.insert(entries(["c".into()], 2)).await.unwrap();
        assert!(small.insert(entries(["d".into()], 2)).await.is_err());
        assert_eq!(
            small
                .stats_for_scope(&user(0))
                .await
                .unwrap()
                .quota
                .unwrap()
                .used
                .vector_bytes,
            64
        );

        // Dropping the scope in one space frees what it held there, and keeps the quota.
        small.delete_scope(&user(0)).await.unwrap();
        let used = database.quota(&user(0)).await.unwrap().unwrap().used;
        assert_eq!((used.vectors, used.vector_bytes), (1, 40));
        assert!(large.insert(entries(["b".into()], 10)).await.is_err());
        small
            .insert(entries(["a".into(), "b".into(), "c".into()], 2))
            .await
            .unwrap();
        // Others are not concerned.
        let others = entries((0..50).map(|n| n.to_string()), 10)
            .into_iter()
            .map(|entry| entry.with_scope(user(1)));
        large.insert(others.collect()).await.unwrap();
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
    });
}

/// Expired entries are purged about a second later; their room is free at once.
#[test]
fn what_has_expired_does_not_count_before_it_is_purged_either() {
    block_on(async {
        let store = HNSWVectorStorage::new(DIM, HNSWConfig::fast());
        let admin = store.database().unwrap();
        admin.set_quota(&user(0), Quota::new().with_vectors(1)).await.unwrap();
        let brief = entries(["brief".into()], DIM)
            .remove(0)
            .with_ttl(Duration::from_millis(20));
        store.insert(vec![brief]).await.unwrap();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(admin.quota(&user(0)).await.unwrap().unwrap().used.vectors, 0);
        store.insert(entries(["a".into()], DIM)).await.unwrap();
        assert!(store.insert(entries(["b".into()], DIM)).await.is_err());
        assert_eq!(admin.quota(&user(0)).await.unwrap().unwrap().used.vectors, 1);
    });
}

/// `{"note":"…"}` of so many bytes.
fn note(bytes: usize) -> serde_json::Value {
    serde_json::json!({ "note": "x".repeat(bytes - r#"{"note":""}"#.len()) })
}

#[test]
fn metadata_counts_when_it_comes_when_it_changes_and_when_it_goes() {
    block_on(async {
        let store = HNSWVectorStorage::new(DIM, HNSWConfig::fast());
        let admin = store.database().unwrap();
        let entry = |id: &str, bytes| entries([id.into()], DIM).remove(0).with_metadata(note(bytes));
        let used = async || admin.quota(&user(0)).await.unwrap().unwrap().used.metadata_bytes;
        store.insert(vec![entry("a", 60)]).await.unwrap();
        admin
            .set_quota(&user(0), Quota::new().with_metadata_bytes(100))
            .await
            .unwrap();
        assert_eq!(used().await, 60, "what was there is counted");

        let refused = store.insert(vec![entry("b", 41)]).await.unwrap_err();
        let text = "the scope `user:u0` holds 60 of at most 100 bytes of metadata: no room for 41 more";
        assert_eq!(refused.to_string(), text);
        store.insert(vec![entry("b", 40)]).await.unwrap();
        let update = async |id: &str, bytes| {
            let fields = note(bytes).as_object().cloned().unwrap();
            store.update_metadata(&user(0), id, fields).await
        };
        assert!(matches!(
            update("a", 61).await,
            Err(StorageError::QuotaExceeded {
                used: 100,
                asked: 1,
                ..
            })
        ));
        update("a", 20).await.unwrap();
        assert_eq!(used().await, 60);
        store.upsert(vec![entry("b", 80)]).await.unwrap();
        assert!(store.upsert(vec![entry("b", 81)]).await.is_err());
        store.delete(&user(0), ["a"]).await.unwrap();
        assert_eq!(used().await, 80);

        let brief = entry("c", 20).with_ttl(Duration::from_millis(20));
        store.insert(vec![brief]).await.unwrap();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(used().await, 80, "what has expired does not count");
        store.insert(vec![entry("d", 20)]).await.unwrap();
        assert!(store.insert(vec![entry("e", 12)]).await.is_err());
        store.delete_scope(&user(0)).await.unwrap();
        assert_eq!(used().await, 0);
        let report = admin.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
    });
}

#[test]
fn what_is_there_already_stays_when_a_quota_is_set_below_it() {
    block_on(async {
        let database = HNSWVectorStorage::new(DIM, HNSWConfig::fast());
        database
            .insert(entries((0..5).map(|n| n.to_string()), DIM))
            .await
            .unwrap();
        let admin = database.database().unwrap();
        admin.set_quota(&user(0), Quota::new().with_vectors(3)).await.unwrap();
        assert_eq!(database.count(&user(0)).await.unwrap(), 5);
        assert!(database.insert(entries(["new".into()], DIM)).await.is_err());
        database.upsert(entries(["0".into()], DIM)).await.unwrap();
        database.delete(&user(0), ["1", "2", "3"]).await.unwrap();
        database.insert(entries(["new".into()], DIM)).await.unwrap();
        assert!(admin.remove_quota(&user(0)).await.unwrap());
        assert!(!admin.remove_quota(&user(0)).await.unwrap());
        assert_eq!(admin.quota(&user(0)).await.unwrap(), None);
        database
            .insert(entries((10..20).map(|n| n.to_string()), DIM))
            .await
            .unwrap();
    });
}

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
