//! Ranges are complete, in order and paged.

use super::{assert_invalid, keys, set_all};
use llmspell_core::StorageBackend;
use llmspell_core::limits::PAGE_MAX;

/// In byte order. Byte order is not the order of letters, of numbers or of UTF-16.
const SORTED: [&str; 14] = [
    "",
    "A",
    "a",
    "a\0",
    "a\0b",
    "a/",
    "a/1",
    "a/10",
    "a/2",
    "aa",
    "ab",
    "b",
    "\u{ffff}",
    "\u{10ffff}",
];

/// A prefix scan returns every pair with the prefix, and no other, in byte order of the keys.
pub async fn a_prefix_scan_is_complete_and_in_byte_order(backend: &dyn StorageBackend) {
    let stored = &SORTED[1..];
    // Inserted out of order, so that the backend must sort.
    for step in [5, 11, 3, 8, 0, 12, 7, 2, 10, 4, 9, 1, 6] {
        set_all(backend, &[stored[step]]).await;
    }
    for prefix in SORTED {
        let expected: Vec<_> = stored
            .iter()
            .filter(|key| key.starts_with(prefix))
            .map(|key| (key.to_string(), key.as_bytes().to_vec()))
            .collect();
        let found = backend.scan(prefix, None, 100).await.unwrap();
        assert_eq!(found, expected, "scan of prefix {prefix:?}");
    }
    assert!(backend.scan("no such", None, 100).await.unwrap().is_empty());
}

/// Pages of any size join to the whole range, without gap or repetition.
pub async fn pages_join_without_gap_or_repetition(backend: &dyn StorageBackend) {
    let all: Vec<String> = (0..25).map(|number| format!("p/{number:02}")).collect();
    for key in &all {
        backend.set(key, key.as_bytes().to_vec()).await.unwrap();
    }
    set_all(backend, &["o", "p", "p0", "q"]).await;
    for limit in [1, 2, 5, 24, 25, 26] {
        let mut joined: Vec<String> = Vec::new();
        loop {
            let page = backend
                .scan("p/", joined.last().map(String::as_str), limit)
                .await
                .unwrap();
            assert!(page.len() <= limit, "a page of {limit} holds {}", page.len());
            let is_last = page.len() < limit;
            joined.extend(page.into_iter().map(|(key, _)| key));
            assert!(joined.len() <= all.len(), "pages of {limit} repeat keys: {joined:?}");
            if is_last {
                break;
            }
        }
        assert_eq!(joined, all, "pages of {limit} join to the range");
    }
}

/// `after` excludes itself and all before it, whether such a key exists or not, inside of the prefix or not.
pub async fn a_page_starts_after_a_key_whether_it_is_there_or_not(backend: &dyn StorageBackend) {
    set_all(backend, &["a", "p", "p/1", "p/3", "p/5", "q"]).await;
    let table: [(&str, &str, &[&str]); 10] = [
        ("p/", "p/1", &["p/3", "p/5"]),
        ("p/", "p/2", &["p/3", "p/5"]),
        ("p/", "p/5", &[]),
        ("p/", "p/9", &[]),
        ("p/", "p/", &["p/1", "p/3", "p/5"]),
        ("p/", "a", &["p/1", "p/3", "p/5"]),
        ("p/", "", &["p/1", "p/3", "p/5"]),
        ("p/", "z", &[]),
        ("p", "p", &["p/1", "p/3", "p/5"]),
        ("", "p/4", &["p/5", "q"]),
    ];
    for (prefix, after, expected) in table {
        let page = backend.scan(prefix, Some(after), 100).await.unwrap();
        let found: Vec<_> = page.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(found, expected, "prefix {prefix:?} after {after:?}");
    }
}

/// A prefix is compared byte by byte: its range ends exactly where the bytes differ, at the last character as well.
pub async fn a_prefix_ends_where_the_bytes_end(backend: &dyn StorageBackend) {
    let stored = [
        "p",
        "p\u{7f}",
        "p\u{80}",
        "p\u{7ff}",
        "p\u{10ffff}",
        "p\u{10ffff}\u{10ffff}x",
        "q",
        "\u{10ffff}",
        "\u{10ffff}a",
    ];
    set_all(backend, &stored).await;
    assert_eq!(keys(backend, "p").await, stored[..6]);
    assert_eq!(keys(backend, "p\u{10ffff}").await, stored[4..6]);
    assert_eq!(keys(backend, "p\u{10ffff}\u{10ffff}").await, stored[5..6]);
    assert_eq!(keys(backend, "\u{10ffff}").await, stored[7..]);
    assert_eq!(backend.count("\u{10ffff}").await.unwrap(), 2);
}

/// A page limit of 0, or above the maximum, is refused; the maximum is allowed.
pub async fn a_page_of_nothing_or_too_much_is_refused(backend: &dyn StorageBackend) {
    set_all(backend, &["a", "b"]).await;
    assert_invalid(backend.scan("", None, 0).await, "a page of 0");
    assert_invalid(backend.scan("", None, PAGE_MAX + 1).await, "a page beyond the limit");
    assert_eq!(backend.scan("", None, PAGE_MAX).await.unwrap().len(), 2);
}

/// `count` and `list_keys` agree with `scan`, in ranges longer than a page too.
pub async fn count_and_list_agree_with_scan(backend: &dyn StorageBackend) {
    let count = PAGE_MAX + 5;
    let pairs = (0..count)
        .map(|number| (format!("n/{number:06}"), Vec::new()))
        .collect();
    backend.set_batch(pairs).await.unwrap();
    set_all(backend, &["m", "n", "o"]).await;

    assert_eq!(backend.count("n/").await.unwrap(), count as u64);
    assert_eq!(backend.count("").await.unwrap(), count as u64 + 3);
    assert_eq!(backend.count("x").await.unwrap(), 0);
    let listed = keys(backend, "n/").await;
    assert_eq!(listed.len(), count, "list_keys does not end with the first page");
    assert!(listed.is_sorted(), "list_keys is in byte order");
    let page = backend.scan("n/", None, PAGE_MAX).await.unwrap();
    assert!(
        page.iter().map(|(key, _)| key).eq(&listed[..PAGE_MAX]),
        "list_keys and scan agree"
    );
}
