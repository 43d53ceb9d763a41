//! One scope of one space in memory: which points live, and where their vectors are.
//!
//! | file         | question                                                        |
//! |--------------|-----------------------------------------------------------------|
//! | `state.rs`   | what is the state of a namespace, and how does an `Op` change it? |
//! | `expiries.rs`| which points have expired?                                      |
//! | `passing.rs` | which matches of filters are cached?                            |
//! | `checkpoint.rs` | how is a state stored, so that the log need not be kept?     |
//! | `reuse.rs`   | which points may be given out again?                            |
//! | `verify.rs`  | are the slots of the living points undamaged?                   |
//! | `names.rs`   | which ids of a small namespace are kept in memory?              |
//! | `tuning.rs`  | how wide is the beam of searches, and with which queries is it measured? |
//! | `weight.rs`  | how much RAM does a namespace take, and may it be unloaded?     |
//!
//! # Promises
//!
//! 1. A published [`State`] never changes. Its holder sees one committed state of the namespace.
//! 2. A point is reused only when its removal is durable, no state in which it lived is held any more, and no index
//!    that holds it can be used any more, not after a restart either. So a vertex never means two vectors.
//! 3. Every living point is a vertex of the index or in the tail; without an index all are scanned.

mod checkpoint;
mod expiries;
mod names;
mod passing;
mod reuse;
mod state;
mod tuning;
mod verify;
mod weight;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

pub(crate) use checkpoint::{decode as decode_checkpoint, encode as encode_checkpoint};
use names::KnownNames;
pub(crate) use names::{NAMED_POINTS_MAX, Names};
pub(crate) use passing::Passing;
pub(crate) use reuse::Reuse;
pub(crate) use state::State;
use tuning::Tuning;
pub(crate) use tuning::{QUERIES_MAX, mixed};
use verify::Verified;
pub(crate) use verify::damaged_slot;

use llmspell_core::OwnTime;

use crate::base::ids::{Lsn, ScopeId};
use crate::base::memory_budget::Usage;
use crate::indexes::builds::{Builds, Noted};
use crate::indexes::changes::Changes;

/// The right to publish states of namespaces. The committer has the only one, so no other code can publish.
#[derive(Debug)]
pub(crate) struct Publisher {
    _private: (),
}

impl Publisher {
    /// For the committer, and for its tests.
    pub(crate) fn new() -> Self {
        Self { _private: () }
    }
}

/// A loaded namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) scope_id: ScopeId,
    current: RwLock<Arc<State>>,
    /// The points that may be reused. Used by the committer only.
    pub(crate) reuse: Mutex<Reuse>,
    /// Builds of indexes under way.
    pub(crate) builds: Builds,
    /// The times of entries that filters have named: bits, in the order of [`OwnTime::ALL`].
    wanted_times: AtomicU8,
    verified: Verified,
    names: KnownNames,
    tuning: Tuning,
    /// Its last use, and the bytes counted for it.
    pub(crate) usage: Usage,
    must_save_index: AtomicBool,
}

impl Namespace {
    /// A namespace as read from the truth, with the graph of the file that the truth names; or a new one.
    pub(crate) fn new(scope_id: ScopeId, state: State) -> Self {
        let reuse = Reuse::new(&state.dead_with_slot(), state.files.held().cloned().unwrap_or_default());
        Self {
            scope_id,
            current: RwLock::new(Arc::new(state)),
            reuse: Mutex::new(reuse),
            builds: Builds::default(),
            wanted_times: AtomicU8::new(0),
            verified: Verified::default(),
            names: KnownNames::default(),
            tuning: Tuning::default(),
            usage: Usage::default(),
            must_save_index: AtomicBool::new(false),
        }
    }

    /// The committed state.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.current.read())
    }

    /// The committed state, with a note of all later changes.
    pub(crate) fn look(&self) -> (Arc<State>, Arc<Noted>) {
        self.builds.note_after(|| self.state())
    }

    /// Publishes a committed state. `freed` are the points that died since the one before.
    pub(crate) fn show(&self, publisher: &mut Publisher, state: State, freed: RoaringBitmap, changes: &Changes) {
        self.tuning.note_died(freed.len());
        if state.is_dropped {
            self.tuning.end();
        }
        self.builds.note(changes, || self.replace(publisher, state, freed));
        self.names.set(None);
    }

    /// Publishes other indexes, or none, in a state of the same mutation. The builder must still hold the state that it
    /// built from, so that none of its points was reused meanwhile.
    pub(crate) fn show_indexes(&self, publisher: &mut Publisher, state: State) {
        debug_assert_eq!(state.lsn, self.state().lsn, "nothing was committed meanwhile");
        self.replace(publisher, state, RoaringBitmap::new());
    }

    /// The one place that changes the state that searches see.
    fn replace(&self, _: &mut Publisher, state: State, freed: RoaringBitmap) {
        let before = self.state();
        let other_file = (!state.files.holds_as(&before.files)).then(|| state.files.held().cloned());
        let other_graph = (!state.has_graph_of(&before)).then(|| state.index.clone());
        let mut reuse = self.reuse.lock();
        *self.current.write() = Arc::new(state);
        let mut released = freed;
        if let Some(graph) = other_graph {
            released |= reuse.set_in_index(graph.map_or_else(RoaringBitmap::new, |graph| graph.points.clone()));
            self.tuning.note_index();
        }
        if let Some(held) = other_file {
            released |= reuse.set_in_file(held.unwrap_or_default());
        }
        reuse.retire(&before, released);
    }

    /// The ids of the living points as of a mutation, if they are kept.
    pub(crate) fn names(&self, lsn: Lsn) -> Option<Arc<Names>> {
        self.names.get(lsn)
    }

    /// Notes that ids are read from the truth as of a mutation. Returns whether that happened before.
    pub(crate) fn ask_names(&self, lsn: Lsn) -> bool {
        self.names.ask(lsn)
    }

    /// Keeps the ids of the living points.
    pub(crate) fn set_names(&self, names: Names) {
        self.names.set(Some(names));
    }

    /// Notes that filters name these times of the entries.
    pub(crate) fn want_times(&self, times: &[OwnTime]) {
        for (bit, time) in OwnTime::ALL.iter().enumerate() {
            if times.contains(time) {
                self.wanted_times.fetch_or(1 << bit, Ordering::Relaxed);
            }
        }
    }

    /// The times of the entries that filters have named.
    pub(crate) fn wanted_times(&self) -> Vec<OwnTime> {
        let wanted = self.wanted_times.load(Ordering::Relaxed);
        let times = OwnTime::ALL.iter().enumerate();
        times
            .filter(|(bit, _)| wanted & (1 << bit) != 0)
            .map(|(_, time)| *time)
            .collect()
    }

    /// Whether points wait to be read into the metadata index.
    pub(crate) fn is_metadata_behind(&self) -> bool {
        let state = self.state();
        let index = state.metadata.as_ref().filter(|_| !state.is_dropped);
        index.is_some_and(|index| index.distrusted_count() > 0)
    }
}

#[cfg(test)]
mod tests {
    use llmspell_core::HNSWConfig;
    use llmspell_vector::{BuildWatch, Graph, PointId, Rows};

    use super::*;
    use crate::base::ids::{Extent, Generation, Lsn, Slot};
    use crate::base::op::{Op, PointChange};
    use crate::indexes::files::{IdList, Ids};
    use crate::indexes::graph::{Index, graph_config};

    struct Units;

    impl Rows for Units {
        fn row(&self, _: PointId) -> &[f32] {
            &[1.0]
        }
    }

    struct Patient;

    impl BuildWatch for Patient {
        fn advance(&self, _: u64) {}

        fn is_cancelled(&self) -> bool {
            false
        }
    }

    fn changes(points: &[u32]) -> Vec<PointChange> {
        let change = |point: &u32| PointChange {
            point: PointId(*point),
            expires_at: None,
        };
        points.iter().map(change).collect()
    }

    fn index_of(state: &State) -> Arc<Index> {
        let config = graph_config(1, &HNSWConfig::fast()).unwrap();
        let points: Vec<PointId> = state.living().iter().map(PointId).collect();
        let graph = Graph::build(&config, &points, &Units, 1, &Patient).unwrap();
        let mut ids = IdList::default();
        points.iter().for_each(|_| assert!(ids.push(Generation(1), b"id")));
        Arc::new(Index::new(
            graph,
            Ids::default().extended(ids),
            state.living(),
            state.lsn,
        ))
    }

    fn three_points() -> State {
        let mut first = State::default();
        first.apply(
            Lsn(1),
            &Op {
                put: changes(&[0, 1, 2]),
                extents: vec![Extent {
                    first_point: PointId(0),
                    first_slot: Slot(0),
                    len: 8,
                }],
                ..Op::default()
            },
        );
        first
    }

    fn shown(publisher: &mut Publisher) -> Namespace {
        let namespace = Namespace::new(ScopeId(1), State::default());
        namespace.show(publisher, three_points(), RoaringBitmap::new(), &Changes::default());
        namespace
    }

    #[test]
    fn the_points_of_a_graph_are_held_until_another_one_takes_its_place() {
        let publisher = &mut Publisher::new();
        let namespace = shown(publisher);
        let built_of = namespace.state();
        let next = |lsn, op: &Op| {
            let mut next = (*namespace.state()).clone();
            next.apply(Lsn(lsn), op);
            next
        };
        let op = Op {
            put: changes(&[3]),
            removed: changes(&[1]),
            ..Op::default()
        };
        namespace.show(publisher, next(2, &op), RoaringBitmap::from([1]), &Changes::default());
        let state = namespace.state().with_index(Some(index_of(&built_of)));
        namespace.show_indexes(publisher, state);
        drop(built_of);

        let state = namespace.state();
        state.check().unwrap();
        assert_eq!(state.lsn, Lsn(2));
        assert_eq!(*state.tail, RoaringBitmap::from([3]));
        assert_eq!(state.counts().tombstones, 1);
        drop(state);
        assert_eq!(namespace.reuse.lock().take(9), [], "1 is a vertex");

        let state = namespace.state().with_index(None);
        namespace.show_indexes(publisher, state);
        assert_eq!(namespace.reuse.lock().take(9), [PointId(1)]);
    }

    #[test]
    fn a_look_sees_a_change_or_finds_it_noted() {
        let publisher = &mut Publisher::new();
        let namespace = shown(publisher);
        let (seen, noted) = namespace.look();
        let mut next = (*seen).clone();
        let op = Op {
            put: changes(&[3]),
            ..Op::default()
        };
        next.apply(Lsn(2), &op);
        assert!(!namespace.is_quiet(), "somebody waits for changes");
        namespace.show(publisher, next, RoaringBitmap::new(), &Changes::of([3]));
        assert_eq!((seen.next_point, namespace.state().next_point), (3, 4));
        assert!(noted.so_far().points.iter().eq([3]));
        drop((seen, noted));
        assert!(namespace.is_quiet());
    }
}
