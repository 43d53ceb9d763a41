//! All entries are there after closing and opening.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{assert_kind, entry, exact, ids, scattered, user};
use llmspell_core::{ErrorKind, Expiry, Filter, StateScope, Timestamp, VectorEntry, VectorResult, VectorStorage};

/// For durable stores: acknowledged writes are there after closing and opening, bit for bit, and nothing else is.
///
/// `open` opens the same store with each call, empty at first, with [`DIM`](super::DIM) and [`METRIC`](super::METRIC).
/// The suite drops the store before it opens the next.
///
/// # Panics
///
/// If the promise is broken.
pub async fn entries_and_deletes_are_there_after_reopening(open: impl AsyncFn() -> Arc<dyn VectorStorage>) {
    let scopes = [StateScope::Global, user("ada"), user("../bob\0"), user("dropped")];
    let store = open().await;
    for (number, scope) in scopes.iter().enumerate() {
        let batch = scattered(40).enumerate().map(|(place, vector)| {
            entry(&format!("v{place:02}"), vector)
                .with_scope(scope.clone())
                .with_metadata(json!({"scope": number, "parity": place % 2}))
                .with_event_time(Timestamp::from_millis(place as i64))
        });
        store.insert(batch.collect()).await.unwrap();
    }
    let mut before = snapshot(&*store, &scopes).await;
    drop(store);
    for round in 0..4 {
        drop(store_change(&open, &mut before, &scopes, round).await);
    }
    let store = open().await;
    assert!(snapshot(&*store, &scopes).await == before, "after the last opening");
    let again = store.insert(vec![entry("v00", [1.0; 3])]).await;
    assert_kind(
        ErrorKind::Conflict,
        again,
        "an id that exists since before the store was closed",
    );
}

/// Opens, compares with the content before closing, makes a change of every kind, and checks the result.
async fn store_change(
    open: &impl AsyncFn() -> Arc<dyn VectorStorage>,
    before: &mut Vec<Snapshot>,
    scopes: &[StateScope],
    round: u8,
) -> Arc<dyn VectorStorage> {
    let store = open().await;
    for (found, expected) in snapshot(&*store, scopes).await.iter().zip(before.iter()) {
        assert_eq!(found, expected, "after opening {round} times before");
    }
    let (ada, dropped) = (&scopes[1], &scopes[3]);
    match round {
        0 => {
            let gone = ["v03", "v04", "v39"].map(String::from);
            assert_eq!(store.delete(ada, &gone).await.unwrap(), 3);
            assert_eq!(store.delete_scope(dropped).await.unwrap(), 40);
        }
        1 => {
            let fields = json!({"updated": true}).as_object().cloned().unwrap();
            store.update_metadata(ada, "v05", fields).await.unwrap();
            store
                .upsert(vec![entry("v06", [50.0; 3]).with_scope(ada.clone())])
                .await
                .unwrap();
            store
                .insert(vec![entry("v03", [60.0; 3]).with_scope(ada.clone())])
                .await
                .unwrap();
        }
        2 => {
            store
                .insert(vec![entry("v01", [7.0; 3]).with_scope(dropped.clone())])
                .await
                .unwrap();
            let short = entry("short", [1.0; 3]).with_ttl(Duration::from_millis(1));
            let long = entry("long", [1.0; 3]).with_ttl(Duration::from_secs(3600));
            store.insert(vec![short, long]).await.unwrap();
            let touch = async |id: &str, expiry| {
                let missing = store.touch(ada, &[id.to_string()], expiry).await;
                assert!(missing.unwrap().is_empty());
            };
            touch("v07", Expiry::After(Duration::from_millis(1))).await;
            touch("v08", Expiry::At(Timestamp::from_millis(9_000_000_000_000))).await;
            touch("v09", Expiry::At(Timestamp::from_millis(9_000_000_000_000))).await;
            touch("v09", Expiry::Never).await;
            std::thread::sleep(Duration::from_millis(10));
        }
        _ => {
            assert_eq!(store.delete(dropped, &["v01".into()]).await.unwrap(), 1);
            store.flush().await.unwrap();
        }
    }
    *before = snapshot(&*store, scopes).await;
    if round == 1 {
        let nearest = store
            .search(&exact([60.0; 3], 2).with_scope(ada.clone()))
            .await
            .unwrap();
        assert_eq!(ids(&nearest), ["v03", "v06"]);
    }
    store
}

/// Everything that a store tells about a scope.
#[derive(Debug, PartialEq)]
struct Snapshot {
    scope: StateScope,
    entries: Vec<VectorEntry>,
    count: u64,
    bytes: (u64, u64),
    nearest: Vec<VectorResult>,
    filtered: Vec<VectorResult>,
}

async fn snapshot(store: &dyn VectorStorage, scopes: &[StateScope]) -> Vec<Snapshot> {
    let mut snapshots = Vec::new();
    for scope in scopes {
        let query = exact([0.5; 3], 100).with_scope(scope.clone()).with_vectors(true);
        let stats = store.stats_for_scope(scope).await.unwrap();
        snapshots.push(Snapshot {
            scope: scope.clone(),
            entries: store.list(scope, None, 10_000).await.unwrap(),
            count: stats.vectors,
            bytes: (stats.vector_bytes, stats.metadata_bytes),
            nearest: store.search(&query).await.unwrap(),
            filtered: store.search(&query.with_filter(Filter::eq("parity", 1))).await.unwrap(),
        });
    }
    snapshots
}
