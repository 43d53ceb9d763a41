//! Does a transaction that fails leave everything as it was, wherever it fails?

use std::io;
use std::sync::Arc;

use llmspell_core::{KeyValueWrite, OnExisting, Quota, QuotaStatus, StorageError};
use roaring::RoaringBitmap;

use super::driven::{Driven, ada, bob, entry};
use crate::base::ids::PointId;
use crate::base::stored_text::StoredText;
use crate::disk::sim::{Lasts, SimDisk};
use crate::engine::batch::{Batch, Fail, allocator_of};
use crate::engine::calls::{PutEntries, SetQuota};
use crate::engine::request::{LargeGroup, Request};
use crate::slots::SlotAllocator;
use crate::truth::{Head, Staged};

/// What a transaction may take.
#[derive(Debug, PartialEq)]
struct Footprint {
    /// Dead points of the scope that may be used again.
    free_points: RoaringBitmap,
    allocator: SlotAllocator,
    quota: Option<QuotaStatus>,
    staged: Vec<Staged>,
    head: Head,
    ids: Vec<String>,
    texts: Vec<(PointId, StoredText)>,
}

fn free_points(database: &Driven) -> RoaringBitmap {
    let namespace = database.space.loaded(&ada()).unwrap();
    let mut reuse = namespace.reuse.lock();
    reuse.free().clone()
}

fn footprint(database: &mut Driven) -> Footprint {
    let (shared, space) = (Arc::clone(&database.shared), database.space.id);
    let read = shared.truth.read().unwrap();
    let mut texts = Vec::new();
    for scope in read.scopes(space).unwrap().into_iter().map(|(_, scope)| scope) {
        if let Some(stored) = read.texts(scope).unwrap() {
            let each = |point, text: llmspell_core::Result<_>| {
                texts.push((point, text.unwrap()));
                Ok(())
            };
            stored.visit_each(each).unwrap();
        }
    }
    let allocators = &mut database.writer.allocators;
    Footprint {
        allocator: allocator_of(&shared.truth, allocators, space).unwrap().clone(),
        free_points: free_points(database),
        quota: read.quota(&ada()).unwrap().map(|stored| stored.status),
        staged: read.staged().unwrap(),
        head: database.writer.head,
        ids: database.ids(&ada()),
        texts,
    }
}

/// A scope with a quota, two entries, and four dead points.
fn database(disk: &SimDisk) -> Driven {
    let mut database = Driven::on(Arc::new(disk.clone()));
    for number in 0..6 {
        let written = database.write(entry(&ada(), &format!("id-{number}"), 1.0));
        written.blocking_recv().unwrap().unwrap();
    }
    for number in 0..4 {
        let deleted = database.delete(&ada(), &format!("id-{number}"));
        assert_eq!(deleted.blocking_recv().unwrap().unwrap(), 1);
    }
    let quota = SetQuota {
        scope: ada(),
        quota: Some(Quota::new().with_vectors(1_000).with_kv_bytes(1_000)),
    };
    let set = database.ask(|reply| Request::new(quota, reply));
    set.blocking_recv().unwrap().unwrap();
    assert_eq!(footprint(&mut database).free_points.len(), 4);
    database
}

/// Entries of one scope: more than it has dead points.
fn put(database: &Driven) -> PutEntries {
    let entries = (0..9).map(|number| entry(&ada(), &format!("new-{number}"), 2.0));
    PutEntries {
        parts: database.part(entries.collect()),
        on_existing: OnExisting::Refuse,
        now: 0,
    }
}

/// What a transaction does before it fails.
#[derive(Debug, Clone, Copy)]
enum Work {
    Entries,
    NewScope,
    EntriesAndDrop,
    Keys,
    Slots,
    Staged,
}

const WORKS: [Work; 6] = [
    Work::Entries,
    Work::NewScope,
    Work::EntriesAndDrop,
    Work::Keys,
    Work::Slots,
    Work::Staged,
];

fn work(work: Work, database: &Driven) -> impl FnOnce(&mut Batch<'_>) -> Result<(), Fail> + use<> {
    let call = put(database);
    let of_bob = database.part(vec![entry(&bob(), "b", 1.0)]);
    let space = Arc::clone(&database.space);
    let truth = Arc::clone(&database.shared);
    move |batch| match work {
        Work::Entries => batch.write_entries(&call.parts, call.on_existing, 0),
        Work::NewScope => batch.write_entries(&of_bob, OnExisting::Refuse, 0),
        Work::EntriesAndDrop => {
            batch.write_entries(&call.parts, call.on_existing, 0)?;
            let ids: Vec<String> = (0..6).map(|number| format!("id-{number}")).collect();
            let ids = [ids, (0..9).map(|number| format!("new-{number}")).collect()].concat();
            let spaces = crate::engine::Spaces::One(space);
            // Nothing is left in the scope, so the end of the transaction drops it.
            batch.delete(&spaces, &ada(), &ids, None, 0).map(drop)
        }
        Work::Keys => {
            let key = format!("{}key", llmspell_core::ScopedBackend::prefix(&ada()));
            let value = vec![1; 100];
            batch.write_values(&[KeyValueWrite::Set { key, value }]).map(drop)
        }
        Work::Slots => {
            let namespace = space.load(&truth.truth, &ada()).unwrap().unwrap();
            let points = RoaringBitmap::from_iter(0..3);
            let is_done = batch.return_slots(&space, &ada(), &namespace, &points)?;
            assert!(is_done);
            Ok(())
        }
        Work::Staged => {
            let entries = (0..9).map(|number| (number, entry(&ada(), &format!("new-{number}"), 2.0)));
            let group = LargeGroup {
                space,
                scope: ada(),
                entries: entries.collect(),
            };
            let mut growing = batch.begin_group(group)?;
            batch.stage(&mut growing, &mut None, (OnExisting::Refuse, 0))
        }
    }
}

#[test]
fn given_a_transaction_that_fails_before_the_disk_is_touched_then_it_gives_back_all_that_it_took() {
    for kind in WORKS {
        for fails_in_finish in [false, true] {
            // Given: a transaction that takes points, slots, a quota or numbers.
            let mut database = database(&SimDisk::default());
            let before = footprint(&mut database);
            let work = work(kind, &database);

            // When: it fails after that, by itself or in its last rows.
            let failed = database.writer.transact(|batch| {
                work(batch)?;
                // So that the head is among the last rows.
                batch.set_clock(1);
                match fails_in_finish {
                    true => batch.rows.fails_at_head = true,
                    false => return Err(Fail::Batch(StorageError::EmptyKey)),
                }
                Ok(())
            });

            // Then: everything is as it was, and the next writes find it so.
            let place = format!("{kind:?}, in the last rows: {fails_in_finish}");
            assert!(failed.is_err(), "{place}");
            database.shared.check_writable().unwrap();
            assert_eq!(footprint(&mut database), before, "{place}");
            let call = put(&database);
            let done = database.ask(|reply| Request::new(call, reply));
            done.blocking_recv().unwrap().unwrap();
            assert_eq!(footprint(&mut database).free_points.len(), 0, "{place}");
            database.assert_sound();
        }
    }
}

#[test]
fn given_an_operation_of_the_disk_that_fails_once_then_a_write_gives_back_all_that_it_took() {
    let write = |database: &mut Driven| {
        let call = put(database);
        let done = database.ask(|reply| Request::new(call, reply));
        done.blocking_recv().unwrap()
    };
    let operations = {
        let disk = SimDisk::default();
        let mut database = database(&disk);
        let before = disk.now();
        write(&mut database).unwrap();
        disk.now() - before
    };
    let (mut undone, mut poisoned) = (0, 0);
    for operation in 0..operations {
        // Given: a disk on which one operation of the next write fails.
        let disk = SimDisk::default();
        let mut database = database(&disk);
        let before = footprint(&mut database);
        disk.fail(disk.now() + operation, io::ErrorKind::Other, Lasts::Once);

        // When: entries are written.
        let Err(error) = write(&mut database) else {
            // The reserve for a full disk is tried again later.
            continue;
        };

        // Then: either nothing has happened, or no further write may happen.
        assert_eq!(
            free_points(&database),
            before.free_points,
            "operation {operation}: {error}"
        );
        match database.shared.check_writable() {
            Ok(()) => {
                assert_eq!(footprint(&mut database), before, "operation {operation}: {error}");
                database.assert_sound();
                undone += 1;
            }
            Err(_) => poisoned += 1,
        }
    }
    assert!(undone > 0 && poisoned > 0, "{undone} undone, {poisoned} poisoned");
}
