//! Time passes, and is set back: expired entries are seen by no call, and do not return.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use llmspell_core::{Expiry, Filter, HNSWConfig, StateScope, Timestamp, VectorEntry, VectorQuery};
use serde_json::json;

use crate::api::vectors::HNSWVectorStorage;
use crate::base::options::DatabaseOptions;
use crate::disk::sim::{Luck, SimDisk};
use crate::engine::Database;

const SCOPE: StateScope = StateScope::Global;
const HOUR_MS: i64 = 3_600_000;
const BEGIN: i64 = 1_750_000_000_000;
const COUNT: u32 = 60;

/// What the clock of the system says.
#[derive(Default, Clone)]
struct Wall(Arc<AtomicI64>);

impl Wall {
    /// So many milliseconds after the beginning.
    fn set(&self, millis: i64) {
        self.0.store(BEGIN + millis, Ordering::SeqCst);
    }
}

/// Large enough for a graph and an index of the metadata, if it is to be.
async fn open(disk: &SimDisk, wall: &Wall, is_large: bool) -> (Database, HNSWVectorStorage) {
    let (Wall(now), Wall(boot)) = (wall.clone(), wall.clone());
    let points_min = if is_large { 2 } else { 10_000 };
    let options = DatabaseOptions::new()
        .graph_points_min(points_min)
        .metadata_points_min(points_min)
        .clock(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
        // The machine's own clock agrees.
        .boot_clock(move || Duration::from_millis(boot.load(Ordering::SeqCst).unsigned_abs()));
    let database = Database::open_on(Arc::new(disk.clone()), &options).unwrap();
    let config = HNSWConfig::fast().with_ef_search(1_000);
    let vectors = database.vectors("s", 2, config).await.unwrap();
    (database, vectors)
}

/// Two thirds live for half an hour.
async fn fill(vectors: &HNSWVectorStorage) {
    let lifetime = Duration::from_millis(HOUR_MS as u64 / 2);
    let batch = (0..COUNT).map(|number| {
        let entry = VectorEntry::new(format!("e{number:02}"), vec![1.0, number as f32])
            .with_event_time(Timestamp::from_millis(number.into()))
            .with_metadata(json!({"third": number % 3, "stays": number.is_multiple_of(3)}));
        match number % 3 {
            0 => entry,
            _ => entry.with_ttl(lifetime),
        }
    });
    vectors.insert(batch.collect()).await.unwrap();
    vectors.build_index().await.unwrap();
    // Indexed with all of them, times included.
    let all: Filter = "@event_time >= 0 and @created_at > 0 and exists third".parse().unwrap();
    assert_eq!(vectors.count_matching(&SCOPE, &all).await.unwrap(), u64::from(COUNT));
}

async fn assert_only_a_third_exists(vectors: &HNSWVectorStorage, what: &str) {
    let stays = |id: &str| id[1..].parse::<u32>().unwrap().is_multiple_of(3);
    let left = usize::try_from(COUNT / 3).unwrap();
    let query = VectorQuery::new(vec![1.0, 1.0], 100);
    let gone = Filter::eq("stays", false);
    let queries = [
        query.clone(),
        query.clone().with_metadata(false),
        query.clone().with_exact(true),
        query.clone().with_filter(Filter::not(gone.clone())),
        query.clone().with_filter(Filter::all()),
        query.clone().with_event_time_range(..),
        query.clone().with_recency(Duration::from_secs(60)),
        query
            .clone()
            .with_recency(Duration::from_secs(60))
            .with_filter(Filter::all()),
        query
            .clone()
            .with_scopes([SCOPE, StateScope::User("nobody".to_string())]),
    ];
    for query in queries {
        let found = vectors.search(&query).await.unwrap();
        assert!(
            found.len() == left && found.iter().all(|hit| stays(&hit.id)),
            "{what}: {query:?}"
        );
        let plan = vectors.explain(&query.with_scope(SCOPE)).await.unwrap();
        assert_eq!((plan.live, plan.matching), (left as u64, left as u64), "{what}: {plan}");
    }
    let nothing = query.with_filter(gone.clone());
    assert_eq!(vectors.search(&nothing).await.unwrap(), [], "{what}");
    assert_eq!(vectors.get(&SCOPE, "e01").await.unwrap(), None, "{what}");
    assert!(vectors.get(&SCOPE, "e00").await.unwrap().is_some(), "{what}");
    assert_eq!(vectors.list(&SCOPE, None, 100).await.unwrap().len(), left, "{what}");
    let listed = vectors.list_matching(&SCOPE, &Filter::all(), None, 100).await.unwrap();
    assert_eq!(listed.len(), left, "{what}");
    assert_eq!(vectors.count(&SCOPE).await.unwrap(), left as u64, "{what}");
    assert_eq!(
        vectors.count_matching(&SCOPE, &Filter::all()).await.unwrap(),
        left as u64,
        "{what}"
    );
    assert_eq!(vectors.count_matching(&SCOPE, &gone).await.unwrap(), 0, "{what}");
    let facet = vectors.facet(&SCOPE, "third", &Filter::all(), 9).await.unwrap();
    assert!(facet.len() == 1 && facet[0].count == left as u64, "{what}: {facet:?}");
    assert_eq!(vectors.delete_matching(&SCOPE, &gone).await.unwrap(), 0, "{what}");
    let bytes = left as u64 * r#"{"stays":true,"third":0}"#.len() as u64;
    let of_scope = vectors.stats_for_scope(&SCOPE).await.unwrap();
    assert_eq!(
        (of_scope.vectors, of_scope.metadata_bytes),
        (left as u64, bytes),
        "{what}"
    );
    let of_all = vectors.stats().await.unwrap();
    assert_eq!((of_all.vectors, of_all.metadata_bytes), (left as u64, bytes), "{what}");
}

async fn assert_purged(database: &Database, what: &str) {
    let first_expiry = || {
        let read = database.inner.shared.truth.read().unwrap();
        read.first_expiry(&HashSet::new()).unwrap()
    };
    let begun = Instant::now();
    while first_expiry().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: it is not purged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn given_lifetimes_when_they_end_then_no_call_sees_them_and_a_clock_that_goes_back_does_not_either() {
    for is_large in [false, true] {
        // Given: nothing wakes the purge, whose next turn is in half an hour.
        let (disk, wall) = (SimDisk::default(), Wall::default());
        wall.set(0);
        let (database, vectors) = open(&disk, &wall, is_large).await;
        fill(&vectors).await;

        // When time passes, and when it is set back: so soon after the expiry that nothing is purged yet.
        wall.set(HOUR_MS / 2);
        assert_only_a_third_exists(&vectors, "when they end").await;
        wall.set(-HOUR_MS);
        assert_only_a_third_exists(&vectors, "when the clock went back").await;

        // Then: nothing returns, not after opening again with the clock an hour behind either.
        drop(vectors);
        database.close().await.unwrap();
        let (database, vectors) = open(&disk, &wall, is_large).await;
        assert_only_a_third_exists(&vectors, "opened with the clock behind").await;
        assert_purged(&database, "opened").await;
        assert_only_a_third_exists(&vectors, "purged").await;
        assert!(database.check().await.unwrap().is_ok());
    }
}

/// Until the purge has been there, a loss of power and a clock that is set back together may return what expired last;
/// once it has, nothing does.
#[tokio::test]
async fn given_a_purge_when_the_power_fails_and_the_clock_goes_back_then_nothing_returns() {
    let (disk, wall) = (SimDisk::default(), Wall::default());
    wall.set(0);
    let (database, vectors) = open(&disk, &wall, true).await;
    fill(&vectors).await;
    wall.set(HOUR_MS);
    // A write wakes the committer, which then purges.
    vectors.delete(&SCOPE, &["none".to_string()]).await.unwrap();
    assert_purged(&database, "an hour later").await;
    let image = disk.image_at(disk.now(), Luck::Nothing);
    wall.set(0);
    let (_lost, vectors) = open(&SimDisk::from_image(&image), &wall, true).await;
    assert_only_a_third_exists(&vectors, "after the loss").await;
}

/// The rows of the old ends are gone: neither does the purge take what lives on, nor does anything stay for ever.
#[tokio::test]
async fn given_entries_that_are_touched_when_their_old_and_their_new_ends_pass_then_only_the_new_ones_count() {
    for is_large in [false, true] {
        let (disk, wall) = (SimDisk::default(), Wall::default());
        wall.set(0);
        let (database, vectors) = open(&disk, &wall, is_large).await;
        fill(&vectors).await;
        let ids = |rest: u32| -> Vec<String> {
            let numbers = (0..COUNT).filter(|number| number % 3 == rest);
            numbers.map(|number| format!("e{number:02}")).collect()
        };
        // Given: one third had no end and gets one, one has another, one keeps its own.
        let later = Expiry::At(Timestamp::from_millis(BEGIN + 2 * HOUR_MS));
        assert_eq!(vectors.touch(&SCOPE, &ids(0), later).await.unwrap(), [""; 0]);
        assert_eq!(vectors.touch(&SCOPE, &ids(1), later).await.unwrap(), [""; 0]);
        assert_eq!(vectors.touch(&SCOPE, &ids(1), Expiry::Never).await.unwrap(), [""; 0]);
        let live = async || {
            let query = VectorQuery::new(vec![1.0, 1.0], 100);
            let found = vectors.search(&query).await.unwrap().len();
            assert_eq!(vectors.count(&SCOPE).await.unwrap(), found as u64);
            assert!(database.check().await.unwrap().is_ok());
            found
        };
        let third = usize::try_from(COUNT / 3).unwrap();
        assert_eq!(live().await, 3 * third);

        // When the first end passes, then the second.
        wall.set(HOUR_MS);
        assert_eq!(live().await, 2 * third);
        let missing = vectors.touch(&SCOPE, &ids(2), Expiry::Never).await.unwrap();
        assert_eq!(missing, ids(2), "what has ended does not come back");
        wall.set(3 * HOUR_MS);
        assert_eq!(live().await, third);
        vectors.delete(&SCOPE, &["none".to_string()]).await.unwrap();
        assert_purged(&database, "touched").await;

        // Then
        assert_eq!(live().await, third);
        let left = vectors.list(&SCOPE, None, 100).await.unwrap();
        assert!(left.iter().map(|entry| &entry.id).eq(&ids(1)) && left.iter().all(|entry| entry.expires_at.is_none()));
    }
}
