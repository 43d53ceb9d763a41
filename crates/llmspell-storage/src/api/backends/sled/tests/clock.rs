//! A clock that is years ahead for a moment has no lasting effect.

use std::path::Path;
use std::time::{Duration, Instant};

use llmspell_core::{ErrorKind, Timestamp};
use llmspell_testkit::Machine;

use super::super::record::CLOCK_KEY;
use super::{SledBackend, stored_count};
use crate::base::options::BootSource;

const BEGIN: i64 = 1_795_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const YEAR_MS: i64 = 365 * DAY_MS;
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn open(machine: &Machine, path: &Path) -> SledBackend {
    let mut options = SledBackend::options().clock(machine.wall_clock());
    options.clocks.boot = Some(BootSource::new(machine.boot_clock()));
    options.open(path).await.unwrap()
}

async fn wait_until_stored(backend: &SledBackend, keys: usize) {
    let begun = Instant::now();
    while stored_count(backend) != (keys, keys as u64) {
        let count = stored_count(backend);
        assert!(begun.elapsed() < Duration::from_secs(20), "{count:?} are kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn given_writes_while_the_clock_is_years_ahead_when_it_is_right_again_then_values_are_back_and_time_goes_on() {
    for is_reopened in [false, true] {
        let (directory, machine) = (tempfile::tempdir().unwrap(), Machine::new(BEGIN));
        let mut backend = open(&machine, directory.path()).await;
        backend.set_with_ttl("day", vec![1], DAY).await.unwrap();

        // When: a bad time server, for a moment, and writes meanwhile that remove expired keys.
        machine.jump(10 * YEAR_MS);
        assert_eq!(backend.get("day").await.unwrap(), None, "it is hidden at once");
        backend.set_with_ttl("late", vec![2], DAY).await.unwrap();
        machine.pass(10_000);
        backend.set("plain", vec![3]).await.unwrap();
        if is_reopened {
            drop(backend);
            backend = open(&machine, directory.path()).await;
            assert_eq!(backend.list_keys("").await.unwrap(), ["late", "plain"]);
            backend.set("plain", vec![4]).await.unwrap();
        }
        assert_eq!(stored_count(&backend), (3, 3), "nothing is purged");
        machine.jump(-10 * YEAR_MS);

        // Then: the hidden keys are there, and expire at their time.
        assert_eq!(backend.list_keys("").await.unwrap(), ["day", "late", "plain"]);
        machine.pass(DAY_MS);
        assert_eq!(backend.get("day").await.unwrap(), None);
        drop(backend);
        let backend = open(&machine, directory.path()).await;
        wait_until_stored(&backend, 2).await;
        assert_eq!(backend.verify().await.unwrap().keys, 2);
    }
}

#[tokio::test]
async fn given_only_plain_keys_when_the_clock_jumps_then_no_opening_stores_the_jump() {
    let (directory, machine) = (tempfile::tempdir().unwrap(), Machine::new(BEGIN));
    let backend = open(&machine, directory.path()).await;
    backend.set("plain", vec![1]).await.unwrap();
    machine.jump(10 * YEAR_MS);
    drop(backend);

    let backend = open(&machine, directory.path()).await;
    backend.set_with_ttl("late", vec![2], DAY).await.unwrap();
    assert_eq!(backend.reader.head().unwrap().clock_ms, BEGIN);
    machine.jump(-10 * YEAR_MS);
    backend.set_with_ttl("day", vec![3], DAY).await.unwrap();
    let end = backend.expires_at("day").await.unwrap();
    assert_eq!(end, Some(Timestamp::from_millis(BEGIN + DAY_MS)));
}

#[tokio::test]
async fn a_clock_that_stays_ahead_is_believed_after_an_hour_and_another_opening_and_what_is_over_is_purged() {
    let (directory, machine) = (tempfile::tempdir().unwrap(), Machine::new(BEGIN));
    let backend = open(&machine, directory.path()).await;
    backend.set_with_ttl("day", vec![1], DAY).await.unwrap();
    backend.set("plain", vec![2]).await.unwrap();
    machine.jump(YEAR_MS);
    assert_eq!(backend.count("").await.unwrap(), 1);
    drop(backend);
    machine.pass(HOUR_MS);

    let backend = open(&machine, directory.path()).await;
    wait_until_stored(&backend, 1).await;
    machine.jump(-YEAR_MS);
    assert_eq!(
        backend.list_keys("").await.unwrap(),
        ["plain"],
        "what has expired for good does not return"
    );
}

#[tokio::test]
async fn a_record_of_the_clocks_may_be_missing_but_not_damaged() {
    let (directory, machine) = (tempfile::tempdir().unwrap(), Machine::new(BEGIN));
    let backend = open(&machine, directory.path()).await;
    backend.set_with_ttl("day", vec![1], DAY).await.unwrap();
    let row = backend.reader.db().remove(CLOCK_KEY).unwrap();
    drop(backend);

    let backend = open(&machine, directory.path()).await;
    assert_eq!(backend.get("day").await.unwrap(), Some(vec![1]));
    let mut row = row.expect("the first commit writes it").to_vec();
    row[0] ^= 1;
    backend.reader.db().insert(CLOCK_KEY, row).unwrap();
    let error = backend.verify().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    drop(backend);
    let error = SledBackend::open(directory.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
}
