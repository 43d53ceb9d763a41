//! Is nothing left of a dropped scope, whatever its size, and is its space written again?

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llmspell_core::{DistanceMetric, HNSWConfig, StateScope, Timestamp, VectorEntry, VectorStorage};
use serde_json::json;

use super::workload::block_on;
use crate::database::Database;
use crate::disk::sim::SimDisk;
use crate::ids::ScopeId;
use crate::options::DatabaseOptions;

/// More than two steps of a purge take.
const COUNT: u16 = 1_200;

fn entries(scope: &StateScope) -> Vec<VectorEntry> {
    let entry = |number: u16| {
        let entry = VectorEntry::new(format!("id-{number}"), vec![f32::from(number), 1.0])
            .with_scope(scope.clone())
            .with_metadata(json!({ "number": number }));
        match number % 3 {
            0 => entry.with_expires_at(Timestamp::from_millis(i64::MAX / 2)),
            _ => entry,
        }
    };
    (0..COUNT).map(entry).collect()
}

fn wait_until_purged(vectors: &dyn VectorStorage) {
    let start = Instant::now();
    while block_on(vectors.stats()).unwrap().scopes_to_purge > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "the scope is not purged");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Entries, ids and expiring rows that are there for a scope, by its number.
fn rows(database: &Database, scope: ScopeId) -> [usize; 3] {
    let read = database.inner.shared.truth.read().unwrap();
    let (mut entries, mut ids) = (0, 0);
    let records = read.records(scope).unwrap();
    records
        .visit(|_, _| {
            entries += 1;
            Ok(())
        })
        .unwrap();
    read.visit_ids(scope, None, |_, _| {
        ids += 1;
        Ok(true)
    })
    .unwrap();
    [
        entries,
        ids,
        usize::from(read.first_expiry(&HashSet::new()).unwrap().is_some()),
    ]
}

#[test]
fn given_a_large_scope_when_it_is_dropped_then_no_row_of_it_stays_and_its_slots_are_written_again() {
    // Given: more entries than a step removes.
    let database = Database::open_on(Arc::new(SimDisk::default()), &DatabaseOptions::new()).unwrap();
    let config = HNSWConfig::fast().with_metric(DistanceMetric::Euclidean);
    let vectors = block_on(database.vectors("s", 2, config)).unwrap();
    let (first, second) = (StateScope::User("a".to_string()), StateScope::User("b".to_string()));
    block_on(vectors.insert(entries(&first))).unwrap();
    let shared = &database.inner.shared;
    let (space, _) = shared.space_record("s").unwrap();
    let scope = shared.truth.read().unwrap().scope_id(space, &first).unwrap().unwrap();
    let slot_end = || shared.truth.read().unwrap().slot_end(space).unwrap();
    let end = slot_end();
    assert_eq!(rows(&database, scope), [usize::from(COUNT), usize::from(COUNT), 1]);

    // When
    let dropped = block_on(vectors.delete_scope(&first)).unwrap();
    wait_until_purged(&vectors);

    // Then
    assert_eq!(dropped, u64::from(COUNT));
    assert_eq!(rows(&database, scope), [0, 0, 0]);
    assert_eq!(block_on(vectors.stats()).unwrap().scopes_loaded, 0);
    assert_eq!(shared.truth.read().unwrap().scope_name(scope).unwrap(), None);
    block_on(vectors.insert(entries(&second))).unwrap();
    assert_eq!(slot_end(), end, "the slots are those of the dropped scope");
    let report = block_on(database.check()).unwrap();
    assert!(report.is_ok(), "{report:#?}");
}
