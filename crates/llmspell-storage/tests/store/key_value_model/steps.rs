//! Random steps on a backend and on a sorted map, which must always agree.

#![expect(clippy::unwrap_used, reason = "an error is a failed test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use llmspell_storage::{Expiry, KeyValueEntry, KeyValueWrite, ScopedBackend, StateScope, StorageBackend, Timestamp};
use proptest::prelude::*;

/// Values, and when they end; without those that have.
type Model = BTreeMap<String, (Vec<u8>, Option<Timestamp>)>;

/// One thing that a user does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Set(String, Vec<u8>),
    Delete(String),
    Batch(Vec<KeyValueWrite>),
    /// With the value that is there, or with another one.
    Swap {
        key: String,
        is_expected: bool,
        new: Option<Vec<u8>>,
        expiry: Expiry,
    },
    Page {
        prefix: String,
        after: Option<String>,
        limit: usize,
    },
    /// Writes and clears a scope, which must not be felt outside of it.
    Scope(String),
    Reopen,
}

/// Few keys, so that steps meet; prefixes of each other, and one that an inexact prefix would reach.
fn key() -> impl Strategy<Value = String> {
    "(a|b|\u{10ffff}){1,3}"
}

/// Sizes around those at which engines change how they keep a value.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![10 => 0..40_usize, 3 => 1_000..5_000_usize, 1 => 60_000..70_000_usize, 1 => Just(600_000)];
    (len, any::<u8>()).prop_map(|(len, byte)| vec![byte; len])
}

/// In some far year, or long ago, or never.
fn expiry() -> impl Strategy<Value = Expiry> {
    let far = (0..3_i64).prop_map(|number| 9_000_000_000_000 + number);
    let moment = prop_oneof![3 => far, 1 => Just(1)].prop_map(|millis| Expiry::At(Timestamp::from_millis(millis)));
    prop_oneof![3 => moment, 1 => Just(Expiry::Never)]
}

fn change() -> impl Strategy<Value = KeyValueWrite> {
    prop_oneof![
        3 => (key(), value(), expiry()).prop_map(|(key, value, expiry)| KeyValueWrite::set_expiring(key, value, expiry)),
        4 => (key(), value()).prop_map(|(key, value)| KeyValueWrite::Set { key, value }),
        2 => key().prop_map(|key| KeyValueWrite::Delete { key }),
        1 => "(a|b|\u{10ffff}){0,2}".prop_map(|prefix| KeyValueWrite::DeletePrefix { prefix }),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| Step::Set(key, value)),
        2 => key().prop_map(Step::Delete),
        3 => prop::collection::vec(change(), 0..8).prop_map(Step::Batch),
        3 => (key(), any::<bool>(), prop::option::of(value()), expiry())
            .prop_map(|(key, is_expected, new, expiry)| Step::Swap { key, is_expected, new, expiry }),
        2 => ("(a|b){0,1}", prop::option::of(key()), 1..6_usize)
            .prop_map(|(prefix, after, limit)| Step::Page { prefix, after, limit }),
        1 => key().prop_map(Step::Scope),
        1 => Just(Step::Reopen),
    ]
}

/// Does the steps on both and compares after each.
pub(crate) async fn check(open: impl AsyncFn() -> Arc<dyn StorageBackend>, steps: Vec<Step>) {
    let mut model = Model::new();
    let mut backend = Some(open().await);
    for step in steps {
        if matches!(step, Step::Reopen) {
            drop(backend.take());
            backend = Some(open().await);
        }
        let backend = backend.as_ref().expect("it was opened again");
        do_step(backend, &mut model, step).await;
        let found = backend.scan_entries("", None, 1000).await.unwrap();
        let entry = |(key, (value, end)): (&String, &(Vec<u8>, Option<Timestamp>))| {
            KeyValueEntry::new(key.clone(), value.clone(), *end)
        };
        assert!(found == model.iter().map(entry).collect::<Vec<_>>(), "scan");
        assert_eq!(backend.count("").await.unwrap(), model.len() as u64, "count");
        assert_eq!(
            backend.count("a").await.unwrap(),
            starting_with(&model, "a").len() as u64,
            "count of a prefix"
        );
    }
    let backend = backend.expect("it was opened again");
    for (key, (value, end)) in &model {
        assert!(backend.get(key).await.unwrap().as_ref() == Some(value), "get {key:?}");
        assert_eq!(backend.expires_at(key).await.unwrap(), *end, "the end of {key:?}");
    }
}

async fn do_step(backend: &Arc<dyn StorageBackend>, model: &mut Model, step: Step) {
    match step {
        Step::Set(key, value) => {
            backend.set(&key, value.clone()).await.unwrap();
            model.insert(key, (value, None));
        }
        Step::Delete(key) => assert_eq!(
            backend.delete(&key).await.unwrap(),
            model.remove(&key).is_some(),
            "delete"
        ),
        Step::Batch(batch) => {
            let deleted = batch.iter().map(|write| apply(model, write)).sum::<u64>();
            assert_eq!(
                backend.write(batch).await.unwrap().deleted,
                deleted,
                "deleted by a batch"
            );
        }
        Step::Swap {
            key,
            is_expected,
            new,
            expiry,
        } => {
            let current = model.get(&key).map(|(value, _)| value.clone());
            let expected = if is_expected {
                current
            } else {
                Some(b"something else".to_vec())
            };
            let swapped = backend
                .swap(&key, expected.as_deref(), new.clone(), expiry)
                .await
                .unwrap();
            assert_eq!(swapped, is_expected, "swap");
            match new {
                Some(new) if swapped => put(model, key, new, expiry),
                None if swapped => drop(model.remove(&key)),
                Some(_) | None => {}
            }
        }
        Step::Page { prefix, after, limit } => {
            let page = backend.scan(&prefix, after.as_deref(), limit).await.unwrap();
            let keys = starting_with(model, &prefix).into_iter();
            let expected: Vec<_> = keys
                .filter(|key| after.as_ref().is_none_or(|after| key > after))
                .take(limit)
                .collect();
            assert_eq!(
                page.into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
                expected,
                "page"
            );
        }
        Step::Scope(id) => clear_a_scope(backend, &id).await,
        Step::Reopen => {}
    }
}

fn put(model: &mut Model, key: String, value: Vec<u8>, expiry: Expiry) {
    let long_ago = Timestamp::from_millis(1_000);
    match expiry {
        Expiry::At(end) if end <= long_ago => drop(model.remove(&key)),
        Expiry::At(end) => drop(model.insert(key, (value, Some(end)))),
        Expiry::Never | Expiry::After(_) => drop(model.insert(key, (value, None))),
    }
}

fn apply(model: &mut Model, write: &KeyValueWrite) -> u64 {
    let before = model.len();
    match write {
        KeyValueWrite::Set { key, value } => {
            model.insert(key.clone(), (value.clone(), None));
            return 0;
        }
        KeyValueWrite::SetExpiring { key, value, expiry } => {
            put(model, key.clone(), value.clone(), *expiry);
            return 0;
        }
        KeyValueWrite::Delete { key } => drop(model.remove(key)),
        KeyValueWrite::DeletePrefix { prefix } => model.retain(|key, _| !key.starts_with(prefix)),
    }
    (before - model.len()) as u64
}

fn starting_with(model: &Model, prefix: &str) -> Vec<String> {
    model.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
}

/// The view's keys begin with a digit, unlike the model's, and are gone when the step ends.
async fn clear_a_scope(backend: &Arc<dyn StorageBackend>, id: &str) {
    let view = ScopedBackend::new(Arc::clone(backend), StateScope::User(id.to_string())).unwrap();
    view.set("a", b"scoped".to_vec()).await.unwrap();
    assert_eq!(view.count("").await.unwrap(), 1, "the view finds its own key");
    assert_eq!(view.clear().await.unwrap(), 1, "and clears nothing else");
}
