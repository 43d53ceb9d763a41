//! A key holds the value that was stored.

use super::assert_invalid;
use llmspell_core::StorageBackend;
use llmspell_core::limits::VALUE_BYTES_MAX;

/// A key has the value that was set last.
pub async fn a_key_holds_what_was_set_last(backend: &dyn StorageBackend) {
    for value in ["first", "second, and longer", "3"] {
        backend.set("key", value.into()).await.unwrap();
        let found = backend.get("key").await.unwrap();
        assert_eq!(found.as_deref(), Some(value.as_bytes()), "get returns what set stored");
    }
    assert!(backend.exists("key").await.unwrap(), "a key that was set exists");
    assert_eq!(
        backend.count("").await.unwrap(),
        1,
        "three sets of one key make one key"
    );
}

/// A missing key has no value, and deleting it returns false.
pub async fn a_key_that_is_not_there_has_no_value(backend: &dyn StorageBackend) {
    assert_eq!(backend.get("missing").await.unwrap(), None);
    assert!(!backend.exists("missing").await.unwrap());
    assert!(!backend.delete("missing").await.unwrap(), "there was nothing to delete");
    assert_eq!(backend.count("").await.unwrap(), 0, "asking for a key does not make it");
}

/// A deleted key is gone until it is set again.
pub async fn a_deleted_key_is_gone_until_it_is_set_again(backend: &dyn StorageBackend) {
    backend.set("key", b"old".to_vec()).await.unwrap();
    assert!(backend.delete("key").await.unwrap(), "the key was there");
    assert_eq!(backend.get("key").await.unwrap(), None, "a deleted key has no value");
    assert!(!backend.exists("key").await.unwrap());
    assert!(!backend.delete("key").await.unwrap(), "the second delete finds nothing");
    assert!(
        backend.scan("", None, 10).await.unwrap().is_empty(),
        "a scan does not find it either"
    );

    backend.set("key", b"new".to_vec()).await.unwrap();
    assert_eq!(backend.get("key").await.unwrap().as_deref(), Some(&b"new"[..]));
}

/// An empty value is a value, not a missing key.
pub async fn an_empty_value_is_a_value(backend: &dyn StorageBackend) {
    backend.set("key", Vec::new()).await.unwrap();
    assert_eq!(backend.get("key").await.unwrap(), Some(Vec::new()));
    assert!(backend.exists("key").await.unwrap());
    assert_eq!(
        backend.scan("", None, 10).await.unwrap(),
        [("key".to_string(), Vec::new())]
    );
    assert!(backend.delete("key").await.unwrap(), "an empty value can be deleted");
}

/// A value may hold every byte.
pub async fn a_value_may_hold_every_byte(backend: &dyn StorageBackend) {
    let value: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    backend.set("key", value.clone()).await.unwrap();
    assert_eq!(backend.get("key").await.unwrap(), Some(value));
}

/// A value of three megabytes comes back whole.
pub async fn a_large_value_comes_back_whole(backend: &dyn StorageBackend) {
    let value: Vec<u8> = (0..3_000_000_u32)
        .map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    backend.set("large", value.clone()).await.unwrap();
    backend.set("small", b"neighbor".to_vec()).await.unwrap();
    let found = backend.get("large").await.unwrap();
    assert!(found == Some(value), "a large value comes back byte for byte");
    assert_eq!(backend.get("small").await.unwrap().as_deref(), Some(&b"neighbor"[..]));
}

/// A value beyond the limit is refused, and the old one stays.
pub async fn a_value_beyond_the_limit_is_refused(backend: &dyn StorageBackend) {
    backend.set("key", b"old".to_vec()).await.unwrap();
    assert_invalid(
        backend.set("key", vec![0; VALUE_BYTES_MAX + 1]).await,
        "a value one byte beyond the limit",
    );
    assert_eq!(backend.get("key").await.unwrap().as_deref(), Some(&b"old"[..]));
}
