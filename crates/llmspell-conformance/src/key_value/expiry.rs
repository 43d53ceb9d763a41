//! Expired keys do not exist any more, and each write decides when its key expires.

use std::time::{Duration, Instant, SystemTime};

use super::{assert_invalid, keys};
use llmspell_core::{Expiry, KeyValueEntry, KeyValueWrite, StorageBackend, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// A change after which the key does not exist, whatever it was before.
fn ended(key: &str) -> KeyValueWrite {
    KeyValueWrite::set_expiring(key, b"ended".to_vec(), Timestamp::from_millis(1))
}

fn lasting(key: &str) -> KeyValueWrite {
    KeyValueWrite::set_expiring(key, b"lasting".to_vec(), HOUR)
}

async fn delete_prefix(backend: &dyn StorageBackend, prefix: &str) -> u64 {
    let prefix = prefix.to_string();
    let summary = backend.write(vec![KeyValueWrite::DeletePrefix { prefix }]).await;
    summary.unwrap().deleted
}

/// Of `a/1` to `a/4`, the first and the last have expired, for every call.
async fn assert_ends_are_over(backend: &dyn StorageBackend) {
    assert_eq!(backend.get("a/1").await.unwrap(), None, "get");
    assert!(!backend.exists("a/4").await.unwrap(), "exists");
    assert_eq!(backend.expires_at("a/1").await.unwrap(), None, "expires_at");
    let all = ["a/1", "a/2", "a/3", "a/4"].map(String::from);
    let mut batch: Vec<String> = backend.get_batch(&all).await.unwrap().into_keys().collect();
    batch.sort_unstable();
    assert_eq!(batch, ["a/2", "a/3"], "get_batch");
    assert_eq!(keys(backend, "").await, ["a/2", "a/3"], "list_keys");
    assert_eq!(backend.count("").await.unwrap(), 2, "count");
    assert_eq!(backend.count("a/").await.unwrap(), 2, "count of a prefix");
    assert_eq!(backend.count("a/4").await.unwrap(), 0, "count of a prefix");
    let pairs = backend.scan("a/", None, 10).await.unwrap();
    let found: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(found, ["a/2", "a/3"], "scan");
    let page = backend.scan_entries("", None, 2).await.unwrap();
    let found: Vec<&str> = page.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(found, ["a/2", "a/3"], "a page is filled with what is there");
    assert!(!backend.delete("a/1").await.unwrap(), "delete");
    assert_eq!(backend.delete_batch(&all[2..]).await.unwrap(), 1, "delete_batch");
    assert_eq!(delete_prefix(backend, "a/").await, 1, "deleting a prefix");
    assert_eq!(keys(backend, "").await, [""; 0]);
}

/// An expired key does not exist for any call, does not count, and can be set again.
pub async fn an_expired_key_is_not_there(backend: &dyn StorageBackend) {
    for turn in 0..2 {
        // Some keys existed before, with and without an expiry.
        let before = match turn {
            0 => Vec::new(),
            _ => vec![lasting("a/1"), ended("a/3"), lasting("a/4")],
        };
        backend.write(before).await.unwrap();
        let batch = vec![ended("a/1"), lasting("a/2"), lasting("a/3"), ended("a/4")];
        assert_eq!(backend.write(batch).await.unwrap().deleted, 0, "nothing was deleted");
        assert_ends_are_over(backend).await;
    }
    backend.write(vec![ended("a"), lasting("b")]).await.unwrap();
    assert_eq!(backend.clear().await.unwrap(), 1, "clear counts what is there");
    backend.write(vec![ended("a")]).await.unwrap();
    backend.set("a", b"again".to_vec()).await.unwrap();
    assert_eq!(backend.get("a").await.unwrap().as_deref(), Some(&b"again"[..]));
}

/// A lifetime becomes an expiry time when the key is set, and the key expires then.
pub async fn a_key_lives_as_long_as_it_was_told(backend: &dyn StorageBackend) {
    let before = now().checked_add(HOUR);
    backend.set_with_ttl("rest", b"rest".to_vec(), HOUR).await.unwrap();
    let after = now().checked_add(HOUR);
    let end = backend.expires_at("rest").await.unwrap();
    assert!(
        before <= end && end <= after,
        "an hour from when it was stored, not {end:?}"
    );
    let page = backend.scan_entries("", None, 10).await.unwrap();
    assert_eq!(
        page,
        [KeyValueEntry::new("rest".into(), b"rest".to_vec(), end)],
        "a page tells it"
    );

    let lifetime = Duration::from_millis(100);
    let start = Instant::now();
    backend.set_with_ttl("gone", b"gone".to_vec(), lifetime).await.unwrap();
    let set = Instant::now();
    let found = backend.get("gone").await.unwrap();
    if start.elapsed() < lifetime {
        assert_eq!(found.as_deref(), Some(&b"gone"[..]), "it lives");
    }
    std::thread::sleep((lifetime + Duration::from_millis(20)).saturating_sub(set.elapsed()));
    // Also if the value was read before, and may be in a cache.
    assert_eq!(backend.get("gone").await.unwrap(), None, "it has ended");
    assert_eq!(keys(backend, "").await, ["rest"]);
    assert_eq!(backend.count("").await.unwrap(), 1);
    assert_eq!(backend.get("rest").await.unwrap().as_deref(), Some(&b"rest"[..]));
}

/// The last write of a key decides when it expires: a plain write clears its expiry.
pub async fn the_last_write_of_a_key_says_when_it_expires(backend: &dyn StorageBackend) {
    let (early, late) = (now().checked_add(HOUR), now().checked_add(2 * HOUR));
    let until = |moment: Option<Timestamp>| KeyValueWrite::set_expiring("key", b"1".to_vec(), Expiry::from(moment));
    let plain = || KeyValueWrite::Set {
        key: "key".into(),
        value: b"1".to_vec(),
    };
    for (batch, expected) in [
        (vec![until(early)], early),
        (vec![until(late)], late),
        (vec![plain()], None),
        (vec![until(early), plain()], None),
        (vec![plain(), until(early)], early),
        (vec![until(late), until(early)], early),
        (vec![until(None)], None),
        (vec![ended("key"), until(late)], late),
    ] {
        let case = format!("{batch:?}");
        backend.write(batch).await.unwrap();
        assert_eq!(backend.expires_at("key").await.unwrap(), expected, "{case}");
        assert_eq!(backend.get("key").await.unwrap().as_deref(), Some(&b"1"[..]), "{case}");
        backend.write(vec![until(early)]).await.unwrap();
    }
    backend.set("key", b"2".to_vec()).await.unwrap();
    assert_eq!(backend.expires_at("key").await.unwrap(), None, "set clears it");

    backend.write(vec![until(early)]).await.unwrap();
    let lost = backend
        .swap("key", Some(b"0"), Some(b"2".to_vec()), Expiry::from(late))
        .await;
    assert!(!lost.unwrap());
    assert_eq!(
        backend.expires_at("key").await.unwrap(),
        early,
        "a swap that lost changes nothing"
    );
    let swapped = backend.compare_and_swap("key", Some(b"1"), Some(b"2".to_vec())).await;
    assert!(swapped.unwrap());
    assert_eq!(
        backend.expires_at("key").await.unwrap(),
        None,
        "compare-and-swap clears it"
    );
    let swapped = backend
        .swap("key", Some(b"2"), Some(b"3".to_vec()), Expiry::from(late))
        .await;
    assert!(swapped.unwrap());
    assert_eq!(backend.expires_at("key").await.unwrap(), late, "a swap may say it");
    assert!(backend.swap("key", Some(b"3"), None, Expiry::from(late)).await.unwrap());
    assert_eq!(backend.get("key").await.unwrap(), None, "a swap to nothing removes");
    assert_eq!(backend.expires_at("nothing").await.unwrap(), None);
}

/// For compare-and-swap an expired key is absent, and no other.
pub async fn an_expired_key_is_absent_for_compare_and_swap(backend: &dyn StorageBackend) {
    backend.write(vec![ended("key"), lasting("lives")]).await.unwrap();
    let old = backend
        .compare_and_swap("key", Some(b"ended"), Some(b"new".to_vec()))
        .await;
    assert!(!old.unwrap(), "the value that has ended is not there");
    assert_eq!(backend.get("key").await.unwrap(), None);
    let lives = backend.compare_and_swap("lives", None, Some(b"new".to_vec())).await;
    assert!(!lives.unwrap(), "a key that lives is not absent");
    let absent = backend
        .swap("key", None, Some(b"new".to_vec()), Expiry::from(HOUR))
        .await;
    assert!(absent.unwrap(), "the key is absent");
    assert_eq!(backend.get("key").await.unwrap().as_deref(), Some(&b"new"[..]));
    backend.write(vec![ended("key")]).await.unwrap();
    assert!(
        backend.compare_and_swap("key", None, None).await.unwrap(),
        "nothing is as expected"
    );
    assert_eq!(keys(backend, "").await, ["lives"]);
}

/// A lifetime below a millisecond, or too large, is refused with its whole batch.
pub async fn a_lifetime_out_of_range_is_refused(backend: &dyn StorageBackend) {
    backend.set("key", b"old".to_vec()).await.unwrap();
    for ttl in [Duration::ZERO, Duration::from_nanos(999_999), Duration::MAX] {
        let what = format!("a lifetime of {ttl:?}");
        assert_invalid(backend.set_with_ttl("key", b"new".to_vec(), ttl).await, &what);
        let batch = vec![
            KeyValueWrite::Delete { key: "key".into() },
            KeyValueWrite::set_expiring("other", b"new".to_vec(), ttl),
        ];
        assert_invalid(backend.write(batch).await, &what);
        let swap = backend.swap("key", Some(b"old"), Some(b"new".to_vec()), Expiry::After(ttl));
        assert_invalid(swap.await, &what);
    }
    assert_eq!(backend.get("key").await.unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(keys(backend, "").await, ["key"]);
}
