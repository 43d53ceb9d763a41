//! A large batch is atomic, and delays no request that is independent of it.

use llmspell_core::{OnExisting, StateScope, StorageError};

use super::driven::{Driven, ada, bob, entry};
use crate::engine::calls::Flush;
use crate::engine::committer::CommitEngine;
use crate::engine::request::{PreparedEntry, Request};

/// More than three steps take that are over at once.
const COUNT: usize = 100;

/// Entries of one scope, the last id first.
fn entries(scope: &StateScope) -> Vec<PreparedEntry> {
    let numbers = (0..COUNT).rev();
    numbers
        .map(|number| entry(scope, &format!("id-{number:03}"), number as f32))
        .collect()
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
