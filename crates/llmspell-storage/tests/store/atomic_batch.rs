//! Are entries and keys of one batch written together or not at all, in their order, whatever refuses one of them?

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use llmspell_storage::{
    ATOMIC_BATCH_BYTES_MAX, ATOMIC_BATCH_ITEMS_MAX, AtomicBatch, Database, DatabaseOptions, HNSWConfig,
    HNSWVectorStorage, KeyValueWrite, Quota, Result, ScopedBackend, StateScope, StorageError, Timestamp, VectorEntry,
};
use proptest::prelude::*;

fn ada() -> StateScope {
    StateScope::user("ada")
}

fn bob() -> StateScope {
    StateScope::user("bob")
}

fn entry(scope: &StateScope, id: &str, x: f32) -> VectorEntry {
    VectorEntry::new(id, vec![x, 1.0]).with_scope(scope.clone())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

async fn space(database: &Database, name: &str) -> HNSWVectorStorage {
    database.vectors(name, 2, HNSWConfig::fast()).await.unwrap()
}

fn keys(database: &Database, scope: StateScope) -> ScopedBackend {
    ScopedBackend::new(Arc::new(database.kv()), scope).unwrap()
}

/// Ids with their first components.
async fn content(space: &HNSWVectorStorage, scope: &StateScope) -> BTreeMap<String, f32> {
    let entries = space.list(scope, None, 100).await.unwrap();
    entries
        .into_iter()
        .map(|entry| (entry.id.clone(), entry.embedding[0]))
        .collect()
}

async fn assert_sound(database: &Database) {
    let report = database.check().await.unwrap();
    assert!(report.is_ok(), "{report:#?}");
}

#[test]
fn a_batch_of_spaces_scopes_and_keys_is_there_as_a_whole_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let database = Database::open(dir.path()).await.unwrap();
        let (memories, facts) = (space(&database, "memories").await, space(&database, "facts").await);
        memories.insert(vec![entry(&ada(), "draft", 9.0)]).await.unwrap();
        keys(&database, ada()).set("draft", b"1".to_vec()).await.unwrap();
        let done = database
            .batch()
            .insert(&memories, [entry(&ada(), "m-1", 1.0), entry(&bob(), "m-1", 2.0)])
            .upsert("facts", [entry(&ada(), "", 3.0)])
            .delete(&memories, &ada(), ["draft", "nothing"])
            .set(&ada(), "last", "m-1")
            .set(&bob(), "last", "m-1")
            .delete_key(&ada(), "draft")
            .write_keys([KeyValueWrite::Set {
                key: "of-all".to_string(),
                value: vec![7],
            }])
            .commit()
            .await
            .unwrap();
        assert_eq!((done.entries_deleted, done.keys_deleted), (1, 1));
        assert_eq!(done.ids[..2], ["m-1", "m-1"]);
        let made = done.ids[2].clone();
        assert!(!made.is_empty());
        drop(facts);
        memories.close().await.unwrap();
        drop(database);

        let database = Database::open(dir.path()).await.unwrap();
        let (memories, facts) = (space(&database, "memories").await, space(&database, "facts").await);
        assert_eq!(
            content(&memories, &ada()).await,
            BTreeMap::from([("m-1".to_string(), 1.0)])
        );
        assert_eq!(
            content(&memories, &bob()).await,
            BTreeMap::from([("m-1".to_string(), 2.0)])
        );
        assert_eq!(content(&facts, &ada()).await, BTreeMap::from([(made, 3.0)]));
        for scope in [ada(), bob()] {
            assert_eq!(keys(&database, scope).get("last").await.unwrap(), Some(b"m-1".to_vec()));
        }
        assert_eq!(keys(&database, ada()).get("draft").await.unwrap(), None);
        assert_eq!(database.kv().get("of-all").await.unwrap(), Some(vec![7]));
        assert_sound(&database).await;
    });
}

#[test]
fn writes_are_done_in_their_order() {
    block_on(async {
        let database = Database::in_memory();
        let memories = space(&database, "memories").await;
        database.set_quota(&ada(), Quota::new().with_vectors(1)).await.unwrap();
        memories.insert(vec![entry(&ada(), "a", 1.0)]).await.unwrap();
        // What is deleted makes room for what comes after it, under the same id too.
        let done = database
            .batch()
            .delete(&memories, &ada(), ["a"])
            .insert(&memories, [entry(&ada(), "a", 2.0)])
            .set(&ada(), "k", "1")
            .set(&ada(), "k", "2")
            .delete_key(&ada(), "k")
            .set(&ada(), "k", "3");
        assert_eq!(done.commit().await.unwrap().entries_deleted, 1);
        assert_eq!(
            content(&memories, &ada()).await,
            BTreeMap::from([("a".to_string(), 2.0)])
        );
        assert_eq!(keys(&database, ada()).get("k").await.unwrap(), Some(b"3".to_vec()));
        // The other way round there is none.
        let refused = database
            .batch()
            .insert(&memories, [entry(&ada(), "b", 2.0)])
            .delete(&memories, &ada(), ["a"]);
        let refused = refused.commit().await;
        assert!(
            matches!(refused, Err(StorageError::QuotaExceeded { .. })),
            "{refused:?}"
        );
        assert_sound(&database).await;
    });
}

/// What is refused: a write that is added to a batch, and how its error is told.
struct Spoil {
    what: &'static str,
    add: fn(AtomicBatch, &HNSWVectorStorage) -> AtomicBatch,
    is_expected: fn(&StorageError) -> bool,
}

const SPOILS: [Spoil; 9] = [
    Spoil {
        what: "an id that exists",
        add: |batch, space| batch.insert(space, [entry(&ada(), "old", 5.0)]),
        is_expected: |error| matches!(error, StorageError::IdExists { .. }),
    },
    Spoil {
        what: "another dimension",
        add: |batch, space| batch.upsert(space, [VectorEntry::new("x", vec![1.0; 3])]),
        is_expected: |error| matches!(error, StorageError::Dimension { .. }),
    },
    Spoil {
        what: "an id twice",
        add: |batch, space| batch.upsert(space, [entry(&ada(), "x", 1.0), entry(&ada(), "x", 2.0)]),
        is_expected: |error| matches!(error, StorageError::DuplicateId { .. }),
    },
    Spoil {
        what: "more than the quota",
        add: |batch, space| batch.upsert(space, [entry(&ada(), "q-1", 1.0), entry(&ada(), "q-2", 2.0)]),
        is_expected: |error| matches!(error, StorageError::QuotaExceeded { .. }),
    },
    Spoil {
        what: "more than the quota of keys",
        add: |batch, _| batch.set(&ada(), "k", vec![0; 100]),
        is_expected: |error| matches!(error, StorageError::QuotaExceeded { .. }),
    },
    Spoil {
        what: "an empty key",
        add: |batch, _| batch.set(&ada(), "", "1"),
        is_expected: |error| matches!(error, StorageError::EmptyKey),
    },
    Spoil {
        what: "no space of that name",
        add: |batch, _| batch.upsert("nowhere", [entry(&ada(), "x", 1.0)]),
        is_expected: |error| matches!(error, StorageError::UnknownSpace { name, .. } if name == "nowhere"),
    },
    Spoil {
        what: "a bad scope",
        add: |batch, space| batch.delete(space, &StateScope::Custom(String::new()), ["a"]),
        is_expected: |error| matches!(error, StorageError::Scope(_)),
    },
    Spoil {
        what: "a space of another database",
        add: |batch, _| {
            let other = HNSWVectorStorage::new(2, HNSWConfig::fast());
            batch.upsert(&other, [entry(&bob(), "x", 1.0)])
        },
        is_expected: |error| matches!(error, StorageError::UnknownSpace { .. }),
    },
];

#[test]
fn whatever_is_refused_and_wherever_it_stands_nothing_is_written() {
    block_on(async {
        let database = Database::in_memory();
        let memories = space(&database, "memories").await;
        memories.insert(vec![entry(&ada(), "old", 1.0)]).await.unwrap();
        let quota = Quota::new().with_vectors(3).with_kv_bytes(50);
        database.set_quota(&ada(), quota).await.unwrap();
        let before = database.quota(&ada()).await.unwrap();
        let good = |batch: AtomicBatch, number: usize| {
            batch
                .upsert(&memories, [entry(&ada(), "old", 3.0)])
                .upsert(&memories, [entry(&ada(), &format!("new-{number}"), 3.0)])
                .set(&ada(), "key", "value")
        };
        for Spoil { what, add, is_expected } in SPOILS {
            for place in 0..3 {
                let batch = (0..3).fold(database.batch(), |batch, number| match number == place {
                    true => add(batch, &memories),
                    false => good(batch, number),
                });
                // Beside a write that is fine, which may share the transaction.
                let (refused, other) = tokio::join!(batch.commit(), memories.upsert(vec![entry(&bob(), "b", 1.0)]));
                let error = refused.unwrap_err();
                assert!(is_expected(&error), "{what} at {place}: {error:?}");
                other.unwrap();
                assert_eq!(
                    content(&memories, &ada()).await,
                    BTreeMap::from([("old".to_string(), 1.0)]),
                    "{what} at {place}"
                );
                assert_eq!(
                    keys(&database, ada()).get("key").await.unwrap(),
                    None,
                    "{what} at {place}"
                );
                assert_eq!(database.quota(&ada()).await.unwrap(), before, "{what} at {place}");
            }
        }
        assert_sound(&database).await;
    });
}

#[test]
fn a_batch_that_is_too_large_is_refused_with_the_limit() {
    block_on(async {
        let database = Database::in_memory();
        let memories = space(&database, "memories").await;
        let entries = |count: usize| (0..count).map(|number| entry(&ada(), &format!("id-{number}"), 1.0));
        let full = database
            .batch()
            .insert(&memories, entries(ATOMIC_BATCH_ITEMS_MAX - 1))
            .set(&ada(), "k", "v");
        let refused = full.clone().delete_key(&ada(), "l").commit().await;
        let limit = ATOMIC_BATCH_ITEMS_MAX as u64;
        assert!(
            matches!(&refused, Err(StorageError::LimitExceeded { got, limit: of, .. }) if (*got, *of) == (limit + 1, limit)),
            "{refused:?}"
        );
        let value = vec![0; ATOMIC_BATCH_BYTES_MAX];
        let refused = database.batch().set(&ada(), "k", value).commit().await;
        assert!(
            matches!(&refused, Err(StorageError::LimitExceeded { unit: "bytes", .. })),
            "{refused:?}"
        );
        assert_eq!(memories.count(&ada()).await.unwrap(), 0);
        assert_eq!(full.commit().await.unwrap().ids.len(), ATOMIC_BATCH_ITEMS_MAX - 1);
        let nothing = database.batch().insert(&memories, []).commit().await.unwrap();
        assert_eq!(nothing.ids, Vec::<String>::new());
        assert_sound(&database).await;
    });
}

#[test]
fn what_has_a_lifetime_ends_that_long_after_the_commit() {
    block_on(async {
        let begin = Timestamp::from_millis(2_000_000_000_000);
        let dir = tempfile::tempdir().unwrap();
        let options = DatabaseOptions::new().clock(move || begin);
        let database = options.open(dir.path()).await.unwrap();
        let memories = space(&database, "memories").await;
        let ttl = Duration::from_secs(60);
        let batch = database
            .batch()
            .insert(&memories, [entry(&ada(), "a", 1.0).with_ttl(ttl)])
            .set_expiring(&ada(), "k", "1", ttl);
        batch.commit().await.unwrap();
        let end = begin.checked_add(ttl);
        let stored = memories.get(&ada(), "a").await.unwrap().unwrap();
        assert_eq!(stored.expires_at, end);
        assert_eq!(keys(&database, ada()).expires_at("k").await.unwrap(), end);
    });
}

#[test]
fn a_batch_of_one_scope_reaches_no_other() {
    block_on(async {
        let database = Database::in_memory();
        let memories = space(&database, "memories").await;
        memories
            .insert(vec![entry(&bob(), "b", 1.0), entry(&ada(), "gone", 1.0)])
            .await
            .unwrap();
        let batch = database.batch_in(ada()).unwrap();
        let done = batch
            .clone()
            .insert("memories", [VectorEntry::new("a", vec![1.0, 2.0])])
            .upsert(&memories, [entry(&ada(), "c", 1.0)])
            .delete("memories", ["b", "gone"])
            .set("k", "1")
            .commit()
            .await
            .unwrap();
        assert_eq!(done.entries_deleted, 1);
        assert_eq!(
            content(&memories, &ada()).await.into_keys().collect::<Vec<_>>(),
            ["a", "c"]
        );
        assert_eq!(memories.count(&bob()).await.unwrap(), 1);
        assert_eq!(keys(&database, ada()).list_keys("").await.unwrap(), ["k"]);

        let refused = batch
            .clone()
            .set("k", "2")
            .upsert("memories", [entry(&bob(), "b", 2.0)])
            .commit()
            .await;
        assert!(matches!(refused, Err(StorageError::OutsideScope { .. })), "{refused:?}");
        let refused = batch
            .clone()
            .set("k", "2")
            .upsert("nowhere", [VectorEntry::new("a", vec![1.0, 2.0])])
            .commit()
            .await;
        match refused {
            Err(StorageError::UnknownSpace { known, .. }) => assert_eq!(known, Vec::<String>::new()),
            other => panic!("{other:?}"),
        }
        assert_eq!(keys(&database, ada()).get("k").await.unwrap(), Some(b"1".to_vec()));
        assert!(!format!("{batch:?}").contains("memories"));
        assert!(database.batch_in(StateScope::Custom(String::new())).is_err());
    });
}

/// One write of a random batch: in one of two spaces, of one of two scopes.
#[derive(Debug, Clone)]
enum Write {
    Insert(bool, bool, Vec<u8>),
    Upsert(bool, bool, Vec<u8>),
    Delete(bool, bool, Vec<u8>),
    Set(bool, u8, u8),
    DeleteKey(bool, u8),
}

fn write() -> impl Strategy<Value = Write> {
    let ids = || prop::collection::btree_set(0..6_u8, 1..4).prop_map(|ids| ids.into_iter().collect::<Vec<u8>>());
    prop_oneof![
        3 => (any::<bool>(), any::<bool>(), ids()).prop_map(|(space, scope, ids)| Write::Insert(space, scope, ids)),
        3 => (any::<bool>(), any::<bool>(), ids()).prop_map(|(space, scope, ids)| Write::Upsert(space, scope, ids)),
        3 => (any::<bool>(), any::<bool>(), ids()).prop_map(|(space, scope, ids)| Write::Delete(space, scope, ids)),
        2 => (any::<bool>(), 0..4_u8, any::<u8>()).prop_map(|(scope, key, value)| Write::Set(scope, key, value)),
        1 => (any::<bool>(), 0..4_u8).prop_map(|(scope, key)| Write::DeleteKey(scope, key)),
    ]
}

/// Entries of the first scope, in both spaces together, at most.
const QUOTA: usize = 5;

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    /// (Space, scope, id) → first component.
    entries: BTreeMap<(bool, bool, String), f32>,
    values: BTreeMap<(bool, String), Vec<u8>>,
}

impl Model {
    /// What is there after a batch, if all of it can be done.
    fn after(&self, batch: &[Write], x: f32) -> Option<Self> {
        let mut model = self.clone();
        for write in batch {
            match write {
                Write::Insert(space, scope, ids) | Write::Upsert(space, scope, ids) => {
                    for id in ids {
                        let there = model.entries.insert((*space, *scope, format!("id-{id}")), x);
                        if there.is_some() && matches!(write, Write::Insert(..)) {
                            return None;
                        }
                    }
                    let held = model.entries.keys().filter(|(_, scope, _)| !scope).count();
                    if !scope && held > QUOTA {
                        return None;
                    }
                }
                Write::Delete(space, scope, ids) => {
                    for id in ids {
                        model.entries.remove(&(*space, *scope, format!("id-{id}")));
                    }
                }
                Write::Set(scope, key, value) => {
                    drop(model.values.insert((*scope, format!("key-{key}")), vec![*value]));
                }
                Write::DeleteKey(scope, key) => drop(model.values.remove(&(*scope, format!("key-{key}")))),
            }
        }
        Some(model)
    }
}

fn scope_of(scope: bool) -> StateScope {
    if scope { bob() } else { ada() }
}

async fn do_batch(database: &Database, spaces: &[HNSWVectorStorage; 2], batch: &[Write], x: f32) -> Result<()> {
    let done = batch.iter().fold(database.batch(), |done, write| {
        let entries = |scope: bool, ids: &[u8]| {
            let scope = scope_of(scope);
            ids.iter()
                .map(move |id| entry(&scope, &format!("id-{id}"), x))
                .collect::<Vec<_>>()
        };
        match write {
            Write::Insert(space, scope, ids) => done.insert(&spaces[usize::from(*space)], entries(*scope, ids)),
            Write::Upsert(space, scope, ids) => done.upsert(&spaces[usize::from(*space)], entries(*scope, ids)),
            Write::Delete(space, scope, ids) => {
                let ids = ids.iter().map(|id| format!("id-{id}"));
                done.delete(&spaces[usize::from(*space)], &scope_of(*scope), ids)
            }
            Write::Set(scope, key, value) => done.set(&scope_of(*scope), format!("key-{key}"), vec![*value]),
            Write::DeleteKey(scope, key) => done.delete_key(&scope_of(*scope), format!("key-{key}")),
        }
    });
    done.commit().await.map(drop)
}

async fn assert_is(database: &Database, spaces: &[HNSWVectorStorage; 2], model: &Model) {
    let mut found = Model::default();
    for scope in [false, true] {
        for (space, storage) in spaces.iter().enumerate() {
            let content = content(storage, &scope_of(scope)).await;
            let named = content.into_iter().map(|(id, x)| ((space == 1, scope, id), x));
            found.entries.extend(named);
        }
        let keys = keys(database, scope_of(scope)).scan("", None, 100).await.unwrap();
        found
            .values
            .extend(keys.into_iter().map(|(key, value)| ((scope, key), value)));
    }
    assert_eq!(&found, model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Batches do what one write after the other does to two maps, or nothing.
    #[test]
    fn random_batches_are_done_like_those_of_a_model(batches in prop::collection::vec(prop::collection::vec(write(), 1..6), 1..12)) {
        block_on(async {
            let database = Database::in_memory();
            let spaces = [space(&database, "one").await, space(&database, "two").await];
            database.set_quota(&ada(), Quota::new().with_vectors(QUOTA as u64)).await.unwrap();
            let mut model = Model::default();
            for (number, batch) in batches.iter().enumerate() {
                let x = number as f32;
                let done = do_batch(&database, &spaces, batch, x).await;
                let after = model.after(batch, x);
                assert_eq!(done.is_ok(), after.is_some(), "{batch:?}: {done:?}");
                model = after.unwrap_or(model);
                assert_is(&database, &spaces, &model).await;
            }
            assert_sound(&database).await;
        });
    }
}
