//! Does a quota of keys count like a map, whatever happened before? Random programs.

use std::collections::BTreeMap;
use std::path::Path;

use llmspell_storage::{Database, KeyValueWrite, Quota, ScopedBackend, StorageError, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{block_on, keys_of, user};

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
