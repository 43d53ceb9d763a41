//! Is a large batch all or nothing, and does nobody wait for it who need not?

use std::sync::Arc;

use llmspell_core::{HNSWConfig, OnExisting, Result, StateScope, StorageError, Timestamp};
use tokio::sync::oneshot::{self, Receiver};

use crate::base::ids::SpaceId;
use crate::base::options::DatabaseOptions;
use crate::engine::calls::{DeleteEntries, Flush};
use crate::engine::committer::CommitEngine;
use crate::engine::request::{Entries, Part, PreparedEntry, Request, Spaces};
use crate::engine::shared::Shared;
use crate::engine::writer::Writer;
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;
use crate::truth::{FIRST_SPACE, SpaceRecord, Truth};

/// More than three steps take that are over at once.
const COUNT: usize = 100;

/// A database in RAM whose committer the test itself drives.
struct Driven {
    shared: Arc<Shared>,
    space: Arc<Space>,
    writer: Writer,
}

fn ada() -> StateScope {
    StateScope::User("ada".to_string())
}

fn bob() -> StateScope {
    StateScope::User("bob".to_string())
}

fn entry(scope: &StateScope, id: &str, x: f32) -> PreparedEntry {
    PreparedEntry {
        scope: scope.clone(),
        id: id.to_string(),
        vector: vec![x, 1.0],
        metadata: b"{}".to_vec(),
        created_at: None,
        updated_at: Timestamp::from_millis(1),
        event_time: None,
        expires_at: None,
    }
}

/// Entries of one scope, the last id first.
fn entries(scope: &StateScope) -> Vec<PreparedEntry> {
    let numbers = (0..COUNT).rev();
    numbers
        .map(|number| entry(scope, &format!("id-{number:03}"), number as f32))
        .collect()
}

impl Driven {
    fn new() -> Self {
        let record = SpaceRecord::plain("s", 2, HNSWConfig::fast());
        let truth = Truth::in_memory(Some(&record)).unwrap();
        Self::of(Arc::new(
            Shared::new(truth, None, None, &DatabaseOptions::new()).unwrap(),
        ))
    }

    fn of(shared: Arc<Shared>) -> Self {
        let writer = Writer::new(Arc::clone(&shared)).unwrap();
        let space = shared.space(FIRST_SPACE).unwrap();
        Self { shared, space, writer }
    }

    /// As after a crash: what is in RAM is lost, what was committed is not.
    fn crash(self) -> Self {
        Self::of(self.shared)
    }

    fn ask<T>(&mut self, request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request) -> Receiver<Result<T>> {
        let (reply, answer) = oneshot::channel();
        self.writer.commit(vec![request(reply)]);
        answer
    }

    fn part(&self, entries: Vec<PreparedEntry>) -> Vec<Part> {
        vec![Part {
            space: Arc::clone(&self.space),
            entries,
        }]
    }

    fn write_many(&mut self, entries: Vec<PreparedEntry>, on_existing: OnExisting) -> Receiver<Result<()>> {
        let entries = Entries::many(self.part(entries));
        self.ask(|reply| entries.request(on_existing, 0, reply))
    }

    fn write(&mut self, entry: PreparedEntry) -> Receiver<Result<()>> {
        let entries = Entries::Few(self.part(vec![entry]));
        self.ask(|reply| entries.request(OnExisting::Replace, 0, reply))
    }

    fn delete(&mut self, scope: &StateScope, id: &str) -> Receiver<Result<u64>> {
        let (spaces, scope, ids) = (
            Spaces::One(Arc::clone(&self.space)),
            scope.clone(),
            vec![id.to_string()],
        );
        let call = DeleteEntries {
            spaces,
            scope,
            ids,
            only: None,
            now: 0,
        };
        self.ask(|reply| Request::new(call, reply))
    }

    /// Small steps of what is under way, to its end.
    fn finish(&mut self) {
        while self.writer.is_under_way() {
            self.writer.advance(&|| true);
        }
    }

    fn ids(&self, scope: &StateScope) -> Vec<String> {
        let Some(namespace) = self.space.load(&self.shared.truth, scope).unwrap() else {
            return Vec::new();
        };
        let snapshot = Snapshot::take(&self.shared.truth, &self.space.slots, &namespace).unwrap();
        let entries = snapshot.unwrap().list(scope, None, 1_000, 0).unwrap();
        entries.into_iter().map(|entry| entry.id).collect()
    }

    /// That all rows agree, and that each slot is free or somebody's; nothing is staged.
    fn assert_sound(&self) {
        let report = crate::engine::check::check(&self.shared).unwrap();
        assert!(report.is_ok(), "{report:#?}");
        assert_eq!(self.shared.truth.read().unwrap().staged().unwrap(), []);
    }

    fn slot_end(&self) -> u64 {
        self.shared.truth.read().unwrap().slot_end(FIRST_SPACE).unwrap()
    }

    fn free_slots(&self) -> u64 {
        let read = self.shared.truth.read().unwrap();
        let free = read.free_slots(SpaceId(FIRST_SPACE.0)).unwrap();
        free.into_iter().map(|(_, len)| u64::from(len)).sum()
    }
}

#[test]
fn a_write_of_another_scope_is_answered_while_a_large_batch_is_under_way_of_which_nothing_is_seen() {
    let mut database = Driven::new();
    let mut batch = database.write_many(entries(&ada()), OnExisting::Refuse);
    for step in 0..3 {
        database.writer.advance(&|| true);
        let single = database.write(entry(&bob(), &format!("b-{step}"), 1.0));
        single.blocking_recv().unwrap().unwrap();
        assert!(batch.try_recv().is_err(), "it is under way");
        assert_eq!(database.ids(&ada()), Vec::<String>::new());
        let report = crate::engine::check::check(&database.shared).unwrap();
        assert!(report.is_ok(), "{report:#?}");
    }
    database.finish();
    batch.blocking_recv().unwrap().unwrap();
    assert_eq!((database.ids(&ada()).len(), database.ids(&bob()).len()), (COUNT, 3));
    database.assert_sound();
}

#[test]
fn requests_of_the_same_scope_come_after_the_batch_and_in_their_order() {
    let mut database = Driven::new();
    database
        .write(entry(&ada(), "old", 0.0))
        .blocking_recv()
        .unwrap()
        .unwrap();
    let batch = database.write_many(entries(&ada()), OnExisting::Refuse);
    database.writer.advance(&|| true);
    let deleted = database.delete(&ada(), "id-007");
    let mut written = database.write(entry(&ada(), "id-007", 0.5));
    let second = database.write_many(entries(&bob()), OnExisting::Refuse);
    let mut flushed = database.ask(|reply| Request::new(Flush, reply));
    assert!(written.try_recv().is_err() && flushed.try_recv().is_err(), "they wait");
    assert_eq!(database.ids(&ada()), ["old"]);
    database.finish();
    batch.blocking_recv().unwrap().unwrap();
    second.blocking_recv().unwrap().unwrap();
    flushed.blocking_recv().unwrap().unwrap();
    assert_eq!(deleted.blocking_recv().unwrap().unwrap(), 1, "the batch came first");
    written.blocking_recv().unwrap().unwrap();
    assert_eq!(
        (database.ids(&ada()).len(), database.ids(&bob()).len()),
        (COUNT + 1, COUNT)
    );
    database.assert_sound();
}

#[test]
fn a_refused_batch_names_its_first_id_that_exists_and_leaves_nothing() {
    let mut database = Driven::new();
    for id in ["id-090", "id-003"] {
        database.write(entry(&ada(), id, 0.0)).blocking_recv().unwrap().unwrap();
    }
    let before = database.slot_end() - database.free_slots();
    let batch = database.write_many(entries(&ada()), OnExisting::Refuse);
    database.finish();
    // The last id is the first of the batch.
    match batch.blocking_recv().unwrap() {
        Err(StorageError::IdExists { id }) => assert_eq!(id, "id-090"),
        other => panic!("{other:?}"),
    }
    assert_eq!(database.ids(&ada()), ["id-003", "id-090"]);
    database.assert_sound();
    assert_eq!(database.slot_end() - database.free_slots(), before, "slots in use");
}

#[test]
fn what_a_crash_leaves_of_a_batch_is_never_seen_and_goes() {
    // A scope that was there, and one that was not.
    for scope in [ada(), bob()] {
        for steps in 2..8 {
            let mut database = Driven::new();
            database
                .write(entry(&ada(), "id-050", 0.0))
                .blocking_recv()
                .unwrap()
                .unwrap();
            let before = database.ids(&scope);
            let batch = database.write_many(entries(&scope), OnExisting::Replace);
            (0..steps).for_each(|_| database.writer.advance(&|| true));
            if !database.writer.is_under_way() {
                batch.blocking_recv().unwrap().unwrap();
                assert_eq!(database.ids(&scope).len(), COUNT);
                database.assert_sound();
                continue;
            }

            let mut database = database.crash();
            assert_eq!(database.ids(&scope), before, "after {steps} steps");
            let again = database.write(entry(&scope, "id-060", 1.0));
            database.finish();
            database.assert_sound();
            let mut after = before;
            after.push("id-060".to_string());
            // A scope without a name has nothing to wait for.
            assert_eq!(
                (database.ids(&scope), again.blocking_recv().unwrap().is_ok()),
                (after, true)
            );
            let batch = database.write_many(entries(&scope), OnExisting::Replace);
            database.finish();
            batch.blocking_recv().unwrap().unwrap();
            assert_eq!(database.ids(&scope).len(), COUNT);
            database.assert_sound();
        }
    }
}
