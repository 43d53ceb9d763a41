//! Expired entries do not exist any more.

use std::time::{Duration, Instant, SystemTime};

use super::{assert_kind, entry, exact, ids, listed, user};
use llmspell_core::{ErrorKind, Expiry, StateScope, Timestamp, VectorStorage};

const SCOPE: StateScope = StateScope::Global;

async fn assert_only_rest_exists(store: &dyn VectorStorage) {
    assert_eq!(store.get(&SCOPE, "gone").await.unwrap(), None, "get");
    assert_eq!(
        ids(&store.search(&exact([1.0; 3], 5)).await.unwrap()),
        ["rest"],
        "search"
    );
    assert_eq!(listed(store, &SCOPE).await, ["rest"], "list");
    assert_eq!(
        store.list(&SCOPE, None, 1).await.unwrap().len(),
        1,
        "a page is filled with what exists"
    );
    assert_eq!(store.count(&SCOPE).await.unwrap(), 1, "count");
    assert_eq!(store.stats().await.unwrap().vectors, 1, "statistics");
    assert_eq!(store.delete(&SCOPE, &["gone".into()]).await.unwrap(), 0, "delete");
    let updated = store.update_metadata(&SCOPE, "gone", Default::default()).await;
    assert_kind(ErrorKind::NotFound, updated, "an update of an expired entry");
}

/// An expired entry does not exist for any call, and its id can be inserted again.
pub async fn an_expired_entry_does_not_exist(store: &dyn VectorStorage) {
    store.insert(vec![entry("rest", [2.0; 3])]).await.unwrap();
    let expired = entry("gone", [1.0; 3]).with_expires_at(Timestamp::from_millis(1));
    assert_eq!(
        store.insert(vec![expired.clone()]).await.unwrap(),
        ["gone"],
        "it may be inserted"
    );
    assert_only_rest_exists(store).await;
    store.insert(vec![expired]).await.unwrap();
    store.insert(vec![entry("gone", [1.0; 3])]).await.unwrap();
    assert_eq!(
        listed(store, &SCOPE).await,
        ["gone", "rest"],
        "its id can be inserted again"
    );

    let ended = entry("gone", [1.0; 3]).with_expires_at(Timestamp::from_millis(1));
    store.upsert(vec![ended]).await.unwrap();
    assert_only_rest_exists(store).await;
    assert_eq!(
        store.delete_scope(&SCOPE).await.unwrap(),
        1,
        "a dropped scope counts what exists"
    );
}

/// A lifetime becomes an expiry time when the entry is stored, and the entry expires then.
pub async fn a_lifetime_ends_by_itself(store: &dyn VectorStorage) {
    let hour = Duration::from_secs(3600);
    let before = Timestamp::from(SystemTime::now()).checked_add(hour);
    store
        .insert(vec![entry("rest", [2.0; 3]).with_ttl(hour)])
        .await
        .unwrap();
    let after = Timestamp::from(SystemTime::now()).checked_add(hour);
    let found = store.get(&SCOPE, "rest").await.unwrap().expect("it lives for an hour");
    assert!(
        before <= found.expires_at && found.expires_at <= after,
        "an hour from when it was stored"
    );
    assert_eq!(found.ttl, None, "the lifetime has become a moment");

    let lifetime = Duration::from_millis(400);
    let start = Instant::now();
    store
        .insert(vec![entry("gone", [1.0; 3]).with_ttl(lifetime)])
        .await
        .unwrap();
    let found = ids(&store.search(&exact([1.0; 3], 5)).await.unwrap()).len();
    if start.elapsed() < lifetime {
        assert_eq!(found, 2, "it lives");
    }
    std::thread::sleep((lifetime + Duration::from_millis(20)).saturating_sub(start.elapsed()));
    // The lifetime began after `start`, and at the latest when the insert returned.
    std::thread::sleep(lifetime);
    assert_only_rest_exists(store).await;
}

/// A touch changes when entries expire, to earlier, later or never, and nothing else of them.
pub async fn a_touch_gives_entries_another_end_and_nothing_else(store: &dyn VectorStorage) {
    let moment = |millis: i64| Timestamp::from_millis(9_000_000_000_000 + millis);
    let batch = ["a", "b", "c"].map(|id| entry(id, [1.0, 2.0, 3.0]).with_event_time(Timestamp::from_millis(7)));
    let elsewhere = entry("a", [1.0; 3]).with_scope(user("ada"));
    store.insert(Vec::from(batch)).await.unwrap();
    store.insert(vec![elsewhere]).await.unwrap();
    let before = store.list(&SCOPE, None, 10).await.unwrap();
    let touched = ["c", "nothing", "a", "c", "nothing"].map(String::from);
    for (expiry, expected) in [
        (Expiry::At(moment(5)), Some(moment(5))),
        (Expiry::At(moment(9)), Some(moment(9))),
        (Expiry::At(moment(1)), Some(moment(1))),
        (Expiry::Never, None),
        (Expiry::Never, None),
        (Expiry::At(moment(2)), Some(moment(2))),
    ] {
        let missing = store.touch(&SCOPE, &touched, expiry).await.unwrap();
        assert_eq!(missing, ["nothing"], "what is not there is named once");
        let after = store.list(&SCOPE, None, 10).await.unwrap();
        for (before, after) in before.iter().zip(&after) {
            let mut expected_entry = before.clone();
            expected_entry.expires_at = expected.filter(|_| before.id != "b");
            assert_eq!(*after, expected_entry, "{expiry:?}");
        }
        assert_eq!(after.len(), 3);
    }
    let elsewhere = store.get(&user("ada"), "a").await.unwrap().unwrap();
    assert_eq!(elsewhere.expires_at, None, "that of another scope");

    let hour = Duration::from_secs(3600);
    let begun = Timestamp::from(SystemTime::now()).checked_add(hour);
    assert!(
        store
            .touch(&SCOPE, &["a".into()], Expiry::After(hour))
            .await
            .unwrap()
            .is_empty()
    );
    let end = store.get(&SCOPE, "a").await.unwrap().unwrap().expires_at;
    assert!(
        begun <= end && end <= Timestamp::from(SystemTime::now()).checked_add(hour),
        "a lifetime begins with the call"
    );
    assert!(store.touch(&SCOPE, &[], Expiry::Never).await.unwrap().is_empty());
    assert_eq!(
        store
            .touch(&user("nobody"), &touched[..1], Expiry::Never)
            .await
            .unwrap(),
        ["c"]
    );
}

/// A touch may end entries at once, and does not revive expired ones.
pub async fn a_touch_ends_entries_and_revives_none(store: &dyn VectorStorage) {
    store
        .insert(vec![entry("rest", [2.0; 3]), entry("gone", [1.0; 3])])
        .await
        .unwrap();
    let gone = ["gone".to_string()];
    let ended = Expiry::At(Timestamp::from_millis(1));
    assert!(store.touch(&SCOPE, &gone, ended).await.unwrap().is_empty());
    assert_only_rest_exists(store).await;
    for expiry in [Expiry::Never, Expiry::After(Duration::from_secs(60)), ended] {
        let both = ["rest".to_string(), "gone".to_string()];
        store.insert(vec![entry("gone", [1.0; 3])]).await.unwrap();
        store.touch(&SCOPE, &gone, ended).await.unwrap();
        assert_eq!(
            store.touch(&SCOPE, &both[1..], expiry).await.unwrap(),
            ["gone"],
            "{expiry:?}"
        );
        let rest = store.touch(&SCOPE, &both, Expiry::Never).await.unwrap();
        assert_eq!(rest, ["gone"], "{expiry:?}");
        assert_only_rest_exists(store).await;
    }
}
