//! Batches keep their order, and are atomic.

use std::collections::HashMap;

use super::{assert_invalid, keys, set_all};
use llmspell_core::limits::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use llmspell_core::{KeyValueWrite, StorageBackend};

fn set(key: &str, value: &str) -> KeyValueWrite {
    KeyValueWrite::Set {
        key: key.into(),
        value: value.into(),
    }
}

fn delete(key: &str) -> KeyValueWrite {
    KeyValueWrite::Delete { key: key.into() }
}

fn delete_prefix(prefix: &str) -> KeyValueWrite {
    KeyValueWrite::DeletePrefix { prefix: prefix.into() }
}

async fn pairs(backend: &dyn StorageBackend) -> Vec<(String, String)> {
    let pairs = backend.scan("", None, 1000).await.unwrap();
    pairs
        .into_iter()
        .map(|(key, value)| (key, String::from_utf8(value).unwrap()))
        .collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

/// `get_batch` returns the keys that exist: nothing for a missing key, one pair for a repeated key.
pub async fn get_batch_returns_what_is_there(backend: &dyn StorageBackend) {
    set_all(backend, &["a", "b", "c"]).await;
    let asked = ["b", "missing", "a", "b"].map(String::from);
    let found = backend.get_batch(&asked).await.unwrap();
    let expected: HashMap<String, Vec<u8>> = [("a".into(), b"a".to_vec()), ("b".into(), b"b".to_vec())].into();
    assert_eq!(found, expected);
    assert!(backend.get_batch(&[]).await.unwrap().is_empty());
}

/// The changes of a batch are applied in order, each to the result of those before it.
pub async fn a_batch_is_done_in_order(backend: &dyn StorageBackend) {
    set_all(backend, &["p/old", "q"]).await;
    let batch = vec![
        set("a", "1"),
        set("a", "2"),
        set("b", "1"),
        delete("b"),
        delete("c"),
        set("c", "1"),
        set("p/lost", "1"),
        delete_prefix("p/"),
        set("p/new", "1"),
        delete("q"),
        set("q", "2"),
    ];
    backend.write(batch).await.unwrap();
    assert_eq!(
        pairs(backend).await,
        owned(&[("a", "2"), ("c", "1"), ("p/new", "1"), ("q", "2")])
    );
}

/// A batch counts the existing keys that it removes, including those it made itself, each time one is removed.
pub async fn a_batch_counts_what_it_deletes(backend: &dyn StorageBackend) {
    set_all(backend, &["a", "p/1", "p/2", "q"]).await;
    let deleted = async |batch| backend.write(batch).await.unwrap().deleted;
    assert_eq!(
        deleted(vec![set("a", "2"), set("b", "1")]).await,
        0,
        "a set deletes nothing"
    );
    assert_eq!(deleted(vec![delete("a"), delete("a"), delete("missing")]).await, 1);
    assert_eq!(
        deleted(vec![set("x", "1"), delete("x")]).await,
        1,
        "the batch made it and took it away"
    );
    assert_eq!(
        deleted(vec![
            set("p/3", "1"),
            delete("p/1"),
            delete_prefix("p/"),
            delete_prefix("p/")
        ])
        .await,
        3,
        "a prefix counts what is there when its turn comes"
    );
    assert_eq!(keys(backend, "").await, ["b", "q"]);
}

/// Deleting a prefix leaves the keys before, after and shorter than it.
pub async fn deleting_a_prefix_leaves_its_neighbors(backend: &dyn StorageBackend) {
    set_all(
        backend,
        &["o\u{10ffff}", "p", "p.", "p/", "p/\0", "p/1", "p/\u{10ffff}", "p0", "q"],
    )
    .await;
    let summary = backend.write(vec![delete_prefix("p/")]).await.unwrap();
    assert_eq!(summary.deleted, 4);
    assert_eq!(keys(backend, "").await, ["o\u{10ffff}", "p", "p.", "p0", "q"]);
    assert_eq!(backend.write(vec![delete_prefix("p/")]).await.unwrap().deleted, 0);
}

/// `set_batch` and `delete_batch` do what their single calls do.
pub async fn batches_of_pairs_and_keys_work_like_single_calls(backend: &dyn StorageBackend) {
    let pairs: HashMap<_, _> = (0..100_u8)
        .map(|number| (format!("k{number:02}"), vec![number]))
        .collect();
    backend.set_batch(pairs).await.unwrap();
    assert_eq!(backend.count("").await.unwrap(), 100);
    assert_eq!(backend.get("k42").await.unwrap(), Some(vec![42]));

    let gone = ["k42", "k07", "k42", "missing"].map(String::from);
    assert_eq!(backend.delete_batch(&gone).await.unwrap(), 2);
    assert_eq!(backend.count("").await.unwrap(), 98);
    assert!(!backend.exists("k42").await.unwrap());
}

/// An empty batch does nothing and succeeds.
pub async fn an_empty_batch_does_nothing(backend: &dyn StorageBackend) {
    set_all(backend, &["a"]).await;
    assert_eq!(backend.write(Vec::new()).await.unwrap().deleted, 0);
    backend.set_batch(HashMap::new()).await.unwrap();
    assert_eq!(backend.delete_batch(&[]).await.unwrap(), 0);
    assert_eq!(keys(backend, "").await, ["a"]);
}

/// `clear` returns how many keys there were and leaves none; the backend can still be used.
pub async fn clear_leaves_nothing(backend: &dyn StorageBackend) {
    assert_eq!(backend.clear().await.unwrap(), 0);
    set_all(backend, &["a", "b/c", "\0", "\u{10ffff}"]).await;
    assert_eq!(backend.clear().await.unwrap(), 4);
    assert_eq!(backend.count("").await.unwrap(), 0);
    assert_eq!(backend.get("a").await.unwrap(), None);
    set_all(backend, &["a"]).await;
    assert_eq!(keys(backend, "").await, ["a"]);
}

/// A batch with anything bad in it changes nothing, at whatever position.
pub async fn a_batch_with_anything_bad_changes_nothing(backend: &dyn StorageBackend) {
    set_all(backend, &["a", "p/1"]).await;
    let bad = [
        ("the empty key", set("", "1")),
        ("a key beyond the limit", delete(&"k".repeat(KEY_BYTES_MAX + 1))),
        (
            "a value beyond the limit",
            KeyValueWrite::Set {
                key: "v".into(),
                value: vec![0; VALUE_BYTES_MAX + 1],
            },
        ),
    ];
    for (what, bad) in bad {
        for place in 0..4 {
            let mut batch = vec![set("b", "new"), delete("a"), delete_prefix("p/")];
            batch.insert(place, bad.clone());
            assert_invalid(backend.write(batch).await, what);
            assert_eq!(
                pairs(backend).await,
                owned(&[("a", "a"), ("p/1", "p/1")]),
                "{what} at place {place}"
            );
        }
    }
}

/// A batch of too many changes or too many bytes is refused as a whole.
pub async fn a_batch_beyond_the_limits_is_refused(backend: &dyn StorageBackend) {
    set_all(backend, &["a"]).await;
    let mut many = vec![set("b", "1"); BATCH_ITEMS_MAX];
    many.push(delete("a"));
    assert_invalid(backend.write(many).await, "a batch of one change too many");

    let value_bytes = BATCH_BYTES_MAX / 4;
    let large = (0..5).map(|number| KeyValueWrite::Set {
        key: format!("large {number}"),
        value: vec![0; value_bytes],
    });
    assert_invalid(backend.write(large.collect()).await, "a batch of too many bytes");
    assert_eq!(keys(backend, "").await, ["a"]);
}
