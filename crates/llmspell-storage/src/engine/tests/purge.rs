//! Nothing remains of a dropped scope, whatever its size, and its slots are written again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use llmspell_core::{DistanceMetric, HNSWConfig, StateScope, Timestamp, VectorEntry, VectorStorage};
use serde_json::json;

use super::workload::block_on;
use crate::base::ids::{ScopeId, SpaceId};
use crate::base::options::DatabaseOptions;
use crate::disk::Disk;
use crate::disk::sim::{Image, Luck, SimDisk};
use crate::engine::Database;
use crate::truth::Truth;

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

/// What cannot be purged must not keep anything else.
#[test]
fn given_dropped_scopes_of_a_space_whose_file_is_lost_then_those_of_another_are_purged_all_the_same() {
    // Given: power is lost when scopes of a space were dropped, and nothing was purged yet.
    let disk = SimDisk::default();
    let config = || HNSWConfig::fast().with_metric(DistanceMetric::Euclidean);
    let database = Database::open_on(Arc::new(disk.clone()), &DatabaseOptions::new()).unwrap();
    let [damaged, sound] = ["damaged", "sound"].map(|name| block_on(database.vectors(name, 2, config())).unwrap());
    let owners = [1, 2, 3].map(|number| StateScope::Session(number.to_string()));
    let of = |scope: &StateScope| {
        let mut entries = entries(scope);
        entries.truncate(20);
        entries
    };
    for space in [&damaged, &sound] {
        block_on(space.insert(owners.iter().flat_map(of).collect())).unwrap();
        block_on(space.insert(of(&StateScope::Global))).unwrap();
    }
    let begun = disk.now();
    block_on(damaged.delete_scopes(&owners)).unwrap();
    let to_purge = |database: &Database| database.inner.shared.truth.read().unwrap().dropped_scopes().unwrap();
    let later = disk.sync_boundaries().into_iter().filter(|time| *time >= begun);
    let mut images = later.map(|time| disk.image_at(time, Luck::Everything));
    let is_dropped = |image: &Image| {
        let disk = Arc::new(SimDisk::from_image(image));
        let truth = Truth::open(&(disk as Arc<dyn Disk>), 1 << 20, u64::MAX).unwrap();
        truth.read().unwrap().dropped_scopes().unwrap().len() == owners.len()
    };
    let image = images.find(is_dropped).expect("after the commit and before the purge");
    let disk = SimDisk::from_image(&image);
    disk.remove("spaces/00000001/slots-0").unwrap();

    // When: it is opened without the file of that space, and scopes of the other one are dropped.
    let database = Database::open_on(Arc::new(disk), &DatabaseOptions::new()).unwrap();
    let sound = block_on(database.existing_vectors("sound")).unwrap().unwrap();
    block_on(sound.delete_scopes(&owners)).unwrap();

    // Then: the second one is purged, the first one is still to be.
    let start = Instant::now();
    while to_purge(&database).iter().any(|(_, space)| space.0 == 2) {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "they wait for the damaged ones"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(to_purge(&database).len(), owners.len());
    assert_eq!(block_on(sound.scopes()).unwrap(), [StateScope::Global]);
    assert!(block_on(database.existing_vectors("damaged")).is_err());
}

#[test]
fn given_entries_that_all_expire_when_they_are_purged_then_their_scope_goes_in_few_commits() {
    let now = Arc::new(AtomicI64::new(1_000));
    let (source, boot) = (Arc::clone(&now), Arc::clone(&now));
    let disk = SimDisk::default();
    let options = DatabaseOptions::new()
        .clock(move || Timestamp::from_millis(source.load(Ordering::SeqCst)))
        // The machine's own clock agrees.
        .boot_clock(move || Duration::from_millis(boot.load(Ordering::SeqCst).unsigned_abs()));
    let database = Database::open_on(Arc::new(disk.clone()), &options).unwrap();
    let vectors = block_on(database.vectors("s", 2, HNSWConfig::fast())).unwrap();
    let sessions = (0..100).map(|number| StateScope::Session(number.to_string()));
    let mortal = |scope: StateScope| {
        let entry = |number: u16| VectorEntry::new(number.to_string(), vec![1.0, f32::from(number)]);
        let end = Timestamp::from_millis(2_000);
        (0..5).map(move |number| entry(number).with_scope(scope.clone()).with_expires_at(end))
    };
    block_on(vectors.insert(sessions.flat_map(mortal).collect())).unwrap();
    let before = disk.sync_boundaries().len();
    now.store(100_000, Ordering::SeqCst);
    block_on(vectors.flush()).unwrap();
    let start = Instant::now();
    let read = || database.inner.shared.truth.read().unwrap();
    while read().first_expiry(&HashSet::new()).unwrap().is_some() || !read().dropped_scopes().unwrap().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "they are not purged");
        std::thread::sleep(Duration::from_millis(2));
    }
    // Five hundred rows and a hundred scopes: two points of the history for each sync.
    let syncs = (disk.sync_boundaries().len() - before) / 2;
    assert!(syncs <= 40, "{syncs} syncs");
    assert!(read().scopes(SpaceId(1)).unwrap().is_empty());
    assert!(block_on(database.check()).unwrap().is_ok());
}
