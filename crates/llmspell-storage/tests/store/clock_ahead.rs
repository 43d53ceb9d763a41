//! A clock that is wrong for a moment has no lasting effect.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::time::Duration;

use llmspell_storage::{
    Database, DatabaseOptions, DistanceMetric, HNSWConfig, HNSWVectorStorage, StateScope, VectorEntry, VectorQuery,
};
use llmspell_testkit::Machine;

const BEGIN: i64 = 1_795_000_000_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
const SCOPE: StateScope = StateScope::Global;

fn options(machine: &Machine) -> DatabaseOptions {
    DatabaseOptions::new()
        .clock(machine.wall_clock())
        .boot_clock(machine.boot_clock())
}

async fn open(machine: &Machine, path: &Path) -> (Database, HNSWVectorStorage) {
    let database = options(machine).open(path).await.unwrap();
    let config = HNSWConfig::balanced().with_metric(DistanceMetric::Euclidean);
    let vectors = database.vectors("s", 1, config).await.unwrap();
    (database, vectors)
}

fn entry(id: &str, lifetime_ms: i64) -> VectorEntry {
    VectorEntry::new(id, vec![1.0]).with_ttl(Duration::from_millis(lifetime_ms.unsigned_abs()))
}

async fn ids(vectors: &HNSWVectorStorage) -> Vec<String> {
    let listed = vectors.list(&SCOPE, None, 100).await.unwrap();
    let listed: Vec<String> = listed.into_iter().map(|entry| entry.id).collect();
    let hits = vectors.search(&VectorQuery::new(vec![1.0], 100)).await.unwrap();
    let mut found: Vec<String> = hits.into_iter().map(|hit| hit.id).collect();
    found.sort();
    assert_eq!(listed, found);
    listed
}

/// Until the purge has had a chance.
async fn wait_for_purge(vectors: &HNSWVectorStorage) {
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        vectors.flush().await.unwrap();
    }
}

#[tokio::test]
async fn given_a_write_while_the_clock_is_years_ahead_when_it_is_right_again_then_nothing_is_lost_and_time_goes_on() {
    for is_reopened in [false, true] {
        let (dir, machine) = (tempfile::tempdir().unwrap(), Machine::new(BEGIN));
        let (mut database, mut vectors) = open(&machine, dir.path()).await;
        vectors
            .insert(vec![entry("day", 24 * HOUR_MS), entry("minute", MINUTE_MS)])
            .await
            .unwrap();

        // When: a bad time server, for a moment, and a write meanwhile.
        machine.jump(10 * YEAR_MS);
        assert_eq!(
            ids(&vectors).await,
            [""; 0],
            "what has expired by the clock is hidden at once"
        );
        vectors
            .upsert(vec![VectorEntry::new("plain", vec![1.0])])
            .await
            .unwrap();
        machine.pass(10_000);
        wait_for_purge(&vectors).await;
        assert!(database.stats().await.unwrap().is_time_unconfirmed);
        if is_reopened {
            drop(vectors);
            database.close().await.unwrap();
            (database, vectors) = open(&machine, dir.path()).await;
            assert_eq!(ids(&vectors).await, ["plain"]);
            wait_for_purge(&vectors).await;
        }
        machine.jump(-10 * YEAR_MS);

        // Then: what was hidden is there, and ends when it is to end.
        assert_eq!(ids(&vectors).await, ["day", "minute", "plain"]);
        assert!(!database.stats().await.unwrap().is_time_unconfirmed);
        drop(vectors);
        database.close().await.unwrap();
        let (database, vectors) = open(&machine, dir.path()).await;
        machine.pass(MINUTE_MS);
        assert_eq!(ids(&vectors).await, ["day", "plain"]);
        vectors.insert(vec![entry("new", MINUTE_MS)]).await.unwrap();
        let new = vectors.get(&SCOPE, "new").await.unwrap().unwrap();
        assert_eq!(new.created_at, Some(machine.now()));
        let stats = database.stats().await.unwrap();
        assert_eq!(
            (stats.stored_time, stats.system_time),
            (Some(machine.now()), Some(machine.now()))
        );
        machine.pass(2 * MINUTE_MS);
        assert_eq!(ids(&vectors).await, ["day", "plain"]);
        assert!(database.check().await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn given_keys_that_are_over_by_a_clock_that_is_years_ahead_when_it_is_right_again_then_none_is_lost() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Machine::new(BEGIN));
    let (database, vectors) = open(&machine, dir.path()).await;
    let keys = database.kv();
    let day = Duration::from_secs(24 * 3600);
    keys.set_with_ttl("day", vec![1], day).await.unwrap();

    // When: a bad time server, for a moment, and a write meanwhile that takes what is over along.
    machine.jump(10 * YEAR_MS);
    assert_eq!(keys.get("day").await.unwrap(), None, "it is hidden at once");
    keys.set_with_ttl("late", vec![2], day).await.unwrap();
    machine.pass(10_000);
    wait_for_purge(&vectors).await;
    machine.jump(-10 * YEAR_MS);

    // Then: what was hidden is there, and ends when it is to end.
    assert_eq!(keys.get("day").await.unwrap(), Some(vec![1]));
    drop((keys, vectors));
    database.close().await.unwrap();
    let (database, _vectors) = open(&machine, dir.path()).await;
    assert_eq!(database.kv().list_keys("").await.unwrap(), ["day", "late"]);
    machine.pass(24 * HOUR_MS);
    assert_eq!(database.kv().list_keys("").await.unwrap(), ["late"]);
    assert!(database.check().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_clock_that_stays_ahead_is_believed_after_an_hour_and_another_opening() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Machine::new(BEGIN));
    let (database, vectors) = open(&machine, dir.path()).await;
    vectors.insert(vec![entry("day", 24 * HOUR_MS)]).await.unwrap();
    machine.jump(YEAR_MS);
    assert_eq!(ids(&vectors).await, [""; 0]);
    drop(vectors);
    database.close().await.unwrap();
    machine.pass(HOUR_MS);
    let (database, vectors) = open(&machine, dir.path()).await;
    assert!(!database.stats().await.unwrap().is_time_unconfirmed);
    vectors.insert(vec![VectorEntry::new("x", vec![1.0])]).await.unwrap();
    assert_eq!(database.stats().await.unwrap().stored_time, Some(machine.now()));
    machine.jump(-YEAR_MS);
    assert_eq!(ids(&vectors).await, ["x"], "what has expired for good does not return");
}

#[tokio::test]
async fn a_stored_time_that_is_ahead_is_shown_and_can_be_reset() {
    let (dir, machine) = (tempfile::tempdir().unwrap(), Machine::new(BEGIN));
    // Given: a database that was made while the clock was ten years ahead.
    machine.jump(10 * YEAR_MS);
    let ahead = machine.now();
    let (database, vectors) = open(&machine, dir.path()).await;
    vectors.insert(vec![VectorEntry::new("x", vec![1.0])]).await.unwrap();
    drop(vectors);
    database.close().await.unwrap();
    machine.jump(-10 * YEAR_MS);

    // Then: time stands still, and one is told.
    let (database, vectors) = open(&machine, dir.path()).await;
    let stats = database.stats().await.unwrap();
    assert_eq!(
        (stats.stored_time, stats.system_time),
        (Some(ahead), Some(machine.now()))
    );
    let report = database.check().await.unwrap();
    let section = report
        .sections
        .iter()
        .find(|section| section.name.starts_with("clock"))
        .unwrap();
    let text = format!("{}: {}", section.name, section.notes.join("; "));
    assert!(
        text.contains(&ahead.to_string()) && text.contains(&machine.now().to_string()),
        "{text}"
    );
    assert!(text.contains("reset_clock") && report.is_ok(), "{text}");
    vectors.insert(vec![entry("late", MINUTE_MS)]).await.unwrap();
    machine.pass(HOUR_MS);
    assert_eq!(ids(&vectors).await, ["late", "x"]);
    drop(vectors);
    database.close().await.unwrap();

    // When it is reset, then time goes on from what the system says, after opening again too.
    let database = options(&machine).reset_clock(true).open(dir.path()).await.unwrap();
    assert_eq!(database.stats().await.unwrap().stored_time, Some(machine.now()));
    database.close().await.unwrap();
    let (_database, vectors) = open(&machine, dir.path()).await;
    vectors.insert(vec![entry("minute", MINUTE_MS)]).await.unwrap();
    assert_eq!(
        vectors.get(&SCOPE, "minute").await.unwrap().unwrap().created_at,
        Some(machine.now())
    );
    machine.pass(MINUTE_MS);
    assert!(!ids(&vectors).await.contains(&"minute".to_string()));
}
