//! An index file is only used if the truth names it, whichever version wrote the name.

use std::sync::Arc;

use llmspell_core::{StateScope, VectorEntry};
use serde_json::json;

use super::workload::{Store, block_on};
use crate::base::ids::ScopeId;
use crate::disk::Disk;
use crate::disk::sim::{Luck, SimDisk};
use crate::indexes::files::{self, IndexRow, Kind};
use crate::namespace::Namespace;
use crate::truth::FIRST_SPACE;

/// A scope has one file of each of these; of words it may have several.
const KINDS: [Kind; 2] = [Kind::Graph, Kind::Metadata];

fn entries(numbers: std::ops::Range<u32>) -> Vec<VectorEntry> {
    let entry = |number| {
        let vector = vec![number as f32, 1.0, 2.0];
        VectorEntry::new(format!("id-{number:02}"), vector).with_metadata(json!({"value": number % 3}))
    };
    numbers.map(entry).collect()
}

fn namespace(store: &Store) -> Arc<Namespace> {
    let shared = &store.database.inner.shared;
    let space = shared.space(FIRST_SPACE).unwrap();
    space.load(&shared.truth, &StateScope::Global).unwrap().unwrap()
}

fn row(store: &Store, scope: ScopeId, kind: Kind) -> Option<IndexRow> {
    let read = store.database.inner.shared.truth.read().unwrap();
    read.index_file(scope, kind).unwrap()?.row
}

/// Names of whole files.
fn written(disk: &SimDisk) -> Vec<String> {
    let mut names = disk.list(&files::dir(FIRST_SPACE)).unwrap_or_default();
    names.retain(|name| name.ends_with(".idx") || name.ends_with(".meta"));
    names
}

#[test]
fn given_power_lost_between_a_file_and_its_name_when_reopened_then_the_file_goes() {
    // Given: files of both kinds, and newer ones.
    let disk = SimDisk::default();
    let store = Store::open(Arc::new(disk.clone())).unwrap();
    block_on(store.vectors().upsert(entries(0..40))).unwrap();
    block_on(store.vectors().build_index()).unwrap();
    let scope = namespace(&store).scope_id;
    assert!(KINDS.iter().all(|kind| row(&store, scope, *kind).is_some()));
    let begun = disk.now();
    block_on(store.vectors().upsert(entries(10..60))).unwrap();
    block_on(store.vectors().build_index()).unwrap();
    let end = disk.now();

    let mut was_unnamed = [false; KINDS.len()];
    for time in disk.sync_boundaries() {
        if !(begun..=end).contains(&time) {
            continue;
        }
        // When: power is lost, anywhere in between.
        let image = SimDisk::from_image(&disk.image_at(time, Luck::Everything));
        let before = written(&image);
        let later = Store::open(Arc::new(image.clone())).unwrap();

        // Then: what nothing names is gone, and everything is found.
        let named = KINDS.map(|kind| row(&later, scope, kind).map(|row| row.name(scope, kind)));
        for name in before.iter().filter(|name| !named.contains(&Some((*name).clone()))) {
            was_unnamed[usize::from(name.ends_with(".meta"))] = true;
            assert!(!written(&image).contains(name), "{name} at {time}");
        }
        later.assert_sound();
    }
    assert_eq!(was_unnamed, [true; KINDS.len()], "some were written and not named yet");
}

#[test]
fn given_a_graph_that_an_earlier_build_named_when_opened_then_it_is_used_until_another_is_named() {
    let disk = SimDisk::default();
    let store = Store::open(Arc::new(disk.clone())).unwrap();
    block_on(store.vectors().upsert(entries(0..40))).unwrap();
    block_on(store.vectors().build_index()).unwrap();
    let scope = namespace(&store).scope_id;
    let named = row(&store, scope, Kind::Graph).unwrap();
    let txn = store.database.inner.shared.truth.write().unwrap();
    txn.rows().name_graph_as_before(scope, &named).unwrap();
    txn.commit().unwrap();
    drop(store);

    let store = Store::open(Arc::new(disk.clone())).unwrap();
    let state = namespace(&store).state();
    assert_eq!(state.files.row(Kind::Graph), Some(named));
    assert!(state.index.is_some() && !state.has_stale_graph_file());
    assert!(written(&disk).contains(&named.name(scope, Kind::Graph)));
    block_on(store.vectors().upsert(entries(30..70))).unwrap();
    block_on(store.vectors().optimize_index()).unwrap();
    let newer = row(&store, scope, Kind::Graph).unwrap();
    assert!(newer.lsn > named.lsn);
    store.assert_sound();

    // Nothing leads to the older one any more.
    let txn = store.database.inner.shared.truth.write().unwrap();
    assert!(txn.rows().name_of_before(scope).unwrap().is_none());
    drop(txn);
    drop(store);
    let store = Store::open(Arc::new(disk)).unwrap();
    assert_eq!(namespace(&store).state().files.row(Kind::Graph), Some(newer));
    store.assert_sound();
}
