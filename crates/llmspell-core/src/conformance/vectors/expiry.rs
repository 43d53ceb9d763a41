//! Does what has expired exist no more?

use std::time::{Duration, Instant, SystemTime};

use llmspell_state_traits::StateScope;

use super::{assert_kind, entry, exact, ids, listed};
use crate::error::ErrorKind;
use crate::timestamp::Timestamp;
use crate::vector::VectorStorage;

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

/// An entry whose time is over does not exist for any call, and its id can be inserted again.
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

/// A lifetime becomes a moment when the entry is stored, and ends by itself.
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
    // The lifetime began after `start`, at the latest when the insert returned.
    std::thread::sleep(lifetime);
    assert_only_rest_exists(store).await;
}
