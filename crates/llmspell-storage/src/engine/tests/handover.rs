//! A finished index is adopted or dropped, whatever has happened by the time it is handed over.

use std::sync::Arc;
use std::time::Duration;

use llmspell_core::{Filter, StateScope, StorageError, VectorEntry};
use serde_json::json;

use super::workload::{Store, block_on};
use crate::base::ids::ScopeId;
use crate::disk::sim::SimDisk;
use crate::indexes::files::Kind;
use crate::namespace::{Namespace, State};
use crate::spaces::handover::{Answer, Built, CAUGHT_UP_MAX, Door};
use crate::spaces::metadata::Draft;
use crate::spaces::registry::Space;
use crate::truth::FIRST_SPACE;

fn scope() -> StateScope {
    StateScope::Global
}

fn entries(numbers: std::ops::Range<usize>, value: u32) -> Vec<VectorEntry> {
    let entry = |number| {
        let vector = vec![number as f32, 1.0, 2.0];
        VectorEntry::new(format!("id-{number:05}"), vector).with_metadata(json!({"value": value}))
    };
    numbers.map(entry).collect()
}

/// Entries with a graph and an index of their metadata.
fn indexed() -> (Store, Arc<Space>, Arc<Namespace>) {
    let store = Store::open(Arc::new(SimDisk::default())).unwrap();
    block_on(store.vectors().upsert(entries(0..40, 1))).unwrap();
    block_on(store.vectors().build_index()).unwrap();
    let shared = &store.database.inner.shared;
    let space = shared.space(FIRST_SPACE).unwrap();
    let namespace = space.load(&shared.truth, &scope()).unwrap().unwrap();
    let state = namespace.state();
    assert!(state.index.is_some() && state.metadata.is_some());
    (store, space, namespace)
}

fn count(store: &Store, value: u32) -> u64 {
    block_on(store.vectors().count_matching(&scope(), &Filter::eq("value", value))).unwrap()
}

fn hand_over(space: &Space, namespace: &Arc<Namespace>, built: Built) -> Answer {
    space.door.hand_over(namespace, built, None).unwrap().unwrap()
}

#[test]
fn given_many_changes_when_an_index_is_handed_over_then_it_is_adopted_after_a_second_round() {
    // Given: an index that was built before so much was written that the committer does not catch up with it.
    let (store, space, namespace) = indexed();
    let truth = &store.database.inner.shared.truth;
    let mut draft = Draft::begin(truth, &space, &namespace, &|| false).unwrap().unwrap();
    let end = 30 + usize::try_from(CAUGHT_UP_MAX).unwrap() + 1;
    block_on(store.vectors().upsert(entries(30..end, 2))).unwrap();
    let before = namespace.state();

    // When: it is handed over.
    let Answer::Behind(index) = hand_over(&space, &namespace, draft.built()) else {
        panic!("{CAUGHT_UP_MAX} changes are the most that it catches up with");
    };

    // Then: searches see nothing of it; once it was brought up, they do.
    let metadata = |state: &State| state.metadata.clone().unwrap();
    assert!(Arc::ptr_eq(&metadata(&before), &metadata(&namespace.state())));
    draft.give_back(*index);
    assert!(draft.catch_up(truth).unwrap());
    assert!(matches!(hand_over(&space, &namespace, draft.built()), Answer::Adopted));
    let state = namespace.state();
    let index = state.metadata.as_ref().unwrap();
    assert_eq!((index.points(), index.distrusted_count()), (state.living(), 0));
    assert_eq!([count(&store, 1), count(&store, 2)], [30, CAUGHT_UP_MAX + 1]);
    store.assert_sound();
}

#[test]
fn given_a_few_changes_when_an_index_is_handed_over_then_the_committer_catches_up() {
    let (store, space, namespace) = indexed();
    let truth = &store.database.inner.shared.truth;
    let mut draft = Draft::begin(truth, &space, &namespace, &|| false).unwrap().unwrap();
    block_on(store.vectors().upsert(entries(35..45, 2))).unwrap();
    block_on(store.vectors().delete(&scope(), &["id-00000".to_string()])).unwrap();
    assert!(matches!(hand_over(&space, &namespace, draft.built()), Answer::Adopted));
    assert_eq!([count(&store, 1), count(&store, 2)], [34, 10]);
    store.assert_sound();
}

#[test]
fn given_a_scope_that_was_dropped_while_it_was_built_when_handed_over_then_nothing_comes_of_it() {
    let (store, space, namespace) = indexed();
    let truth = &store.database.inner.shared.truth;
    let mut draft = Draft::begin(truth, &space, &namespace, &|| false).unwrap().unwrap();
    let of = namespace.state();
    block_on(store.vectors().delete_scope(&scope())).unwrap();
    block_on(store.vectors().insert(entries(0..1, 3))).unwrap();

    let index = of.index.clone().unwrap();
    for built in [draft.built(), Built::Graph { index, of }, Built::Nothing(Kind::Graph)] {
        assert!(matches!(hand_over(&space, &namespace, built), Answer::Refused));
    }
    assert!(!draft.catch_up(truth).unwrap());
    let state = namespace.state();
    assert!(state.is_dropped && state.index.is_none() && state.metadata.is_none());
    assert_eq!([count(&store, 1), count(&store, 3)], [0, 1]);
    store.assert_sound();
}

#[test]
fn given_another_graph_meanwhile_when_one_is_handed_over_then_it_is_refused() {
    let (store, space, namespace) = indexed();
    let of = namespace.state();
    block_on(store.vectors().optimize_index()).unwrap();
    let now = namespace.state().index.clone().unwrap();
    let index = of.index.clone().unwrap();
    assert!(matches!(
        hand_over(&space, &namespace, Built::Graph { index, of }),
        Answer::Refused
    ));
    assert!(Arc::ptr_eq(&now, namespace.state().index.as_ref().unwrap()));
}

#[test]
fn given_a_closed_database_when_an_index_is_handed_over_then_it_is_told_so() {
    let (store, space, namespace) = indexed();
    let of = namespace.state();
    drop(store);
    let index = of.index.clone().unwrap();
    let built = Built::Graph { index, of };
    let answer = space.door.hand_over(&namespace, built, Some(Duration::from_secs(20)));
    assert!(matches!(answer, Err(StorageError::Closed)), "{answer:?}");
}

/// A reader must not wait for a commit that hangs.
#[test]
fn given_a_committer_that_does_not_answer_when_patience_is_over_then_whoever_built_goes_on() {
    let (door, held) = (Door::default(), Arc::new(parking_lot::Mutex::new(Vec::new())));
    let namespace = Arc::new(Namespace::new(ScopeId(1), State::default()));
    let nothing = || Built::Nothing(Kind::Metadata);
    let closed = door.hand_over(&namespace, nothing(), None);
    assert!(matches!(closed, Err(StorageError::Closed)), "there is no committer yet");
    door.open({
        let held = Arc::clone(&held);
        move |built| {
            held.lock().push(built);
            Ok(())
        }
    });
    let answer = door.hand_over(&namespace, nothing(), Some(Duration::from_millis(1)));
    assert!(answer.unwrap().is_none());
    assert_eq!(held.lock().len(), 1, "it is adopted a little later");
}
