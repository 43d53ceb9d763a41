//! Compare-and-swap compares, and swaps only on equality.

use super::{assert_invalid, keys};
use llmspell_core::StorageBackend;
use llmspell_core::limits::VALUE_BYTES_MAX;

/// Every combination of existing, expected and new value.
pub async fn compare_and_swap_follows_its_truth_table(backend: &dyn StorageBackend) {
    let values = [None, Some(&b""[..]), Some(&b"a"[..]), Some(&b"ab"[..])];
    for current in values {
        for expected in values {
            for new in values {
                match current {
                    Some(value) => backend.set("key", value.to_vec()).await.unwrap(),
                    None => drop(backend.delete("key").await.unwrap()),
                }
                let swapped = backend
                    .compare_and_swap("key", expected, new.map(<[u8]>::to_vec))
                    .await
                    .unwrap();
                let case = format!("there is {current:?}, expected {expected:?}, new {new:?}");
                assert_eq!(swapped, current == expected, "{case}");
                let left = if swapped { new } else { current };
                assert_eq!(backend.get("key").await.unwrap().as_deref(), left, "{case}");
                assert_eq!(backend.count("").await.unwrap(), u64::from(left.is_some()), "{case}");
            }
        }
    }
}

/// Compare-and-swap refuses what `set` refuses, and changes nothing.
pub async fn compare_and_swap_refuses_what_set_refuses(backend: &dyn StorageBackend) {
    backend.set("key", b"old".to_vec()).await.unwrap();
    let too_large = vec![0; VALUE_BYTES_MAX + 1];
    let result = backend.compare_and_swap("key", Some(b"old"), Some(too_large)).await;
    assert_invalid(result, "a value beyond the limit");
    assert_invalid(backend.compare_and_swap("", None, None).await, "the empty key");
    assert_eq!(backend.get("key").await.unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(keys(backend, "").await, ["key"]);
}
