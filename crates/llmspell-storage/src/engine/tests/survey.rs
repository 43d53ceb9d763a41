//! A database removes the remains of older versions and crashes in scopes that are not used again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use llmspell_core::{DistanceMetric, HNSWConfig, StateScope, VectorEntry};

use super::workload::block_on;
use crate::api::vectors::HNSWVectorStorage;
use crate::base::ids::{Lsn, PointId};
use crate::base::op::{Op, PointChange};
use crate::base::options::DatabaseOptions;
use crate::disk::Disk;
use crate::disk::sim::{Luck, SimDisk};
use crate::engine::Database;
use crate::engine::survey::Survey;
use crate::truth::{FIRST_SPACE, Truth};

fn open(disk: &SimDisk) -> (Database, HNSWVectorStorage) {
    let database = Database::open_on(Arc::new(disk.clone()), &DatabaseOptions::new()).unwrap();
    let config = HNSWConfig::fast().with_metric(DistanceMetric::Euclidean);
    let vectors = block_on(database.vectors("s", 2, config)).unwrap();
    (database, vectors)
}

fn close(database: Database, vectors: HNSWVectorStorage) {
    drop(vectors);
    block_on(database.close()).unwrap();
}

fn truth(disk: &SimDisk) -> Truth {
    Truth::open(&(Arc::new(disk.clone()) as Arc<dyn Disk>), 1 << 20, u64::MAX).unwrap()
}

fn session(number: u32) -> StateScope {
    StateScope::Session(number.to_string())
}

fn entries(scope: &StateScope, count: u16) -> Vec<VectorEntry> {
    let entry =
        |number: u16| VectorEntry::new(format!("e{number}"), vec![f32::from(number), 1.0]).with_scope(scope.clone());
    (0..count).map(entry).collect()
}

/// Removes the first entries of a scope as a version did that left it at that: no slot is given back, no scope dropped.
fn remove_as_older_versions(disk: &SimDisk, scopes: &[StateScope], count: u32) {
    let truth = truth(disk);
    let read = truth.read().unwrap();
    let mut head = read.head().unwrap();
    let txn = truth.write().unwrap();
    let mut rows = txn.rows();
    for scope in scopes {
        let id = read.scope_id(FIRST_SPACE, scope).unwrap().unwrap();
        let removed = |point| PointChange {
            point: PointId(point),
            expires_at: None,
        };
        let mut op = Op {
            removed: (0..count).map(removed).collect(),
            ..Op::default()
        };
        for change in &op.removed {
            let record = rows.record(id, change.point).unwrap();
            rows.remove_entry(id, change.point, &record).unwrap();
            op.metadata_bytes_removed += u32::try_from(record.metadata.len()).unwrap();
        }
        head.lsn = Lsn(head.lsn.0 + 1);
        rows.log(id, head.lsn, &op).unwrap();
    }
    rows.set_head(&head).unwrap();
    drop(rows);
    txn.commit().unwrap();
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn free_slots(database: &Database) -> u64 {
    let read = database.inner.shared.truth.read().unwrap();
    let runs = read.free_slots(FIRST_SPACE).unwrap();
    runs.iter().map(|(_, len)| u64::from(*len)).sum()
}

#[test]
fn given_scopes_that_an_older_version_left_without_entries_when_it_is_opened_then_they_go_with_their_slots() {
    // Given: more of them than a step looks at, and others between them.
    let disk = SimDisk::default();
    let (database, vectors) = open(&disk);
    let (empty, living): (Vec<_>, Vec<_>) = (0..150).map(session).partition(|scope| scope != &session(70));
    for scope in (0..150).map(session) {
        block_on(vectors.insert(entries(&scope, 2))).unwrap();
    }
    close(database, vectors);
    remove_as_older_versions(&disk, &empty, 2);

    let (database, vectors) = open(&disk);
    wait_until("they are listed for ever", || {
        block_on(vectors.scopes()).unwrap() == living
    });
    wait_until("they are never purged", || {
        block_on(vectors.stats()).unwrap().scopes_to_purge == 0
    });
    let slot_end = || {
        database
            .inner
            .shared
            .truth
            .read()
            .unwrap()
            .slot_end(FIRST_SPACE)
            .unwrap()
    };
    let end = slot_end();
    for scope in &empty {
        block_on(vectors.insert(entries(scope, 2))).unwrap();
    }
    assert_eq!(slot_end(), end, "their slots are used again");
    let report = block_on(database.check()).unwrap();
    assert!(report.is_ok(), "{report:#?}");
}

#[test]
fn given_a_scope_that_a_crash_kept_from_giving_back_slots_when_it_is_opened_then_it_does_though_nobody_names_it() {
    let disk = SimDisk::default();
    let (database, vectors) = open(&disk);
    let large = session(0);
    block_on(vectors.insert(entries(&large, 400))).unwrap();
    block_on(vectors.insert(entries(&session(1), 3))).unwrap();
    close(database, vectors);
    remove_as_older_versions(&disk, std::slice::from_ref(&large), 300);

    let (database, vectors) = open(&disk);
    wait_until("it keeps its slots", || free_slots(&database) >= 300);
    assert_eq!(block_on(vectors.count(&large)).unwrap(), 100);
    let report = block_on(database.check()).unwrap();
    assert!(report.is_ok(), "{report:#?}");
}

#[test]
fn after_a_closing_nothing_is_looked_at_again_and_after_a_crash_everything_is() {
    let survey = |disk: &SimDisk| {
        let truth = truth(disk);
        let read = truth.read().unwrap();
        Survey::new(read.survey().unwrap(), read.head().unwrap().lsn)
    };
    let disk = SimDisk::default();
    let (database, vectors) = open(&disk);
    block_on(vectors.insert(entries(&session(0), 3))).unwrap();
    let crashed = SimDisk::from_image(&disk.image_at(disk.now(), Luck::Everything));
    assert!(!survey(&crashed).is_over());
    close(database, vectors);
    assert!(survey(&disk).is_over());

    let (database, vectors) = open(&disk);
    block_on(vectors.delete(&session(0), &["e0".to_string()])).unwrap();
    let crashed = SimDisk::from_image(&disk.image_at(disk.now(), Luck::Everything));
    assert!(!survey(&crashed).is_over(), "something has happened since");
    close(database, vectors);
    assert!(survey(&disk).is_over());
}
