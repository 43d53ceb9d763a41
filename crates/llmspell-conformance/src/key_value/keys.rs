//! All valid keys work alike, and bad ones are refused.

use super::{assert_invalid, keys};
use llmspell_core::limits::KEY_BYTES_MAX;
use llmspell_core::{KeyValueWrite, StorageBackend};

/// Texts that have confused stores: path pieces, separators, control and Unicode characters, equal-looking forms.
const HOSTILE_KEYS: [&str; 20] = [
    " ",
    ".",
    "..",
    "/",
    "../../etc/passwd",
    "a/b",
    "a//b",
    "a:b",
    "a\\b",
    "\0",
    "a\0b",
    "a\0",
    "%00",
    "\n",
    "\u{1b}[2J",
    "\u{e9}",
    "e\u{301}",
    "日本語",
    "🦀",
    "\u{10ffff}",
];

/// Any text is a key of its own: nothing in it is interpreted, folded or normalized.
pub async fn any_text_is_a_key_of_its_own(backend: &dyn StorageBackend) {
    for key in HOSTILE_KEYS {
        backend.set(key, key.as_bytes().to_vec()).await.unwrap();
    }
    for key in HOSTILE_KEYS {
        let found = backend.get(key).await.unwrap();
        assert_eq!(found.as_deref(), Some(key.as_bytes()), "key {key:?} has its own value");
    }
    let mut sorted = HOSTILE_KEYS.map(String::from);
    sorted.sort();
    assert_eq!(
        keys(backend, "").await,
        sorted,
        "a scan finds every key as it was written"
    );
    assert!(backend.delete("e\u{301}").await.unwrap());
    assert!(
        backend.exists("\u{e9}").await.unwrap(),
        "two Unicode forms are two keys"
    );
}

/// The empty key is refused by every call that names a key.
pub async fn the_empty_key_is_refused_everywhere(backend: &dyn StorageBackend) {
    backend.set("key", b"value".to_vec()).await.unwrap();
    let empty = String::new;
    assert_invalid(backend.get("").await, "get of the empty key");
    assert_invalid(backend.exists("").await, "exists of the empty key");
    assert_invalid(
        backend.get_batch(&["key".into(), empty()]).await,
        "get_batch with the empty key",
    );
    assert_invalid(backend.set("", b"value".to_vec()).await, "set of the empty key");
    assert_invalid(backend.delete("").await, "delete of the empty key");
    assert_invalid(
        backend.delete_batch(&["key".into(), empty()]).await,
        "delete_batch with the empty key",
    );
    assert_invalid(
        backend.compare_and_swap("", None, Some(Vec::new())).await,
        "compare_and_swap of the empty key",
    );
    assert_invalid(
        backend.set_batch([(empty(), Vec::new())].into()).await,
        "set_batch with the empty key",
    );
    let delete = KeyValueWrite::Delete { key: empty() };
    assert_invalid(backend.write(vec![delete]).await, "a batch with the empty key");
    assert_eq!(keys(backend, "").await, ["key"], "and nothing changed");
}

/// Keys up to the limit are kept, and longer ones are refused by every call. (Not for scoped views: the scope counts.)
pub async fn keys_up_to_the_limit_are_kept_and_longer_ones_are_refused(backend: &dyn StorageBackend) {
    let longest = "k".repeat(KEY_BYTES_MAX);
    let neighbor = format!("{}j", &longest[1..]);
    backend.set(&longest, b"longest".to_vec()).await.unwrap();
    backend.set(&neighbor, b"neighbor".to_vec()).await.unwrap();
    assert_eq!(backend.get(&longest).await.unwrap().as_deref(), Some(&b"longest"[..]));
    assert_eq!(keys(backend, &longest[1..]).await, [neighbor, longest.clone()]);

    // The limit is in bytes: this one has far fewer characters.
    for too_long in [format!("{longest}k"), "é".repeat(KEY_BYTES_MAX / 2) + "k"] {
        assert_invalid(backend.get(&too_long).await, "get of a key beyond the limit");
        assert_invalid(
            backend.set(&too_long, Vec::new()).await,
            "set of a key beyond the limit",
        );
        assert_invalid(backend.delete(&too_long).await, "delete of a key beyond the limit");
        assert_invalid(
            backend.compare_and_swap(&too_long, None, Some(Vec::new())).await,
            "compare_and_swap of a key beyond the limit",
        );
    }
    assert_eq!(backend.count("").await.unwrap(), 2, "and nothing changed");
}
