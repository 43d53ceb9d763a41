//! One scope of one space in memory: which points live, and where their vectors are.
//!
//! | file         | question                                                        |
//! |--------------|-----------------------------------------------------------------|
//! | `state.rs`   | what does a namespace know, and how does an `Op` change it?     |
//! | `expiries.rs`| which points have expired by now?                               |
//! | `passing.rs` | who passes a filter, and is it known already?                   |
//! | `checkpoint.rs` | how is a state stored, so that the log need not be kept?     |
//! | `reuse.rs`   | which points may be given out again?                            |
//! | `verify.rs`  | are the slots of the living points undamaged?                   |
//! | `names.rs`   | which ids have the entries of a small namespace?                |
//! | `tuning.rs`  | how wide is the beam of searches, and which queries is that measured with? |
//! | `weight.rs`  | how much RAM does a namespace take, and may it go?              |
//!
//! # Promises
//!
//! 1. A published [`State`] never changes. Whoever holds one sees one committed state of the namespace.
//! 2. A point is given out again only when its removal is durable and no state in which it lived is held any more,
//!    and no index that holds it can be used any more, not after a restart either. So a vertex never means two vectors.
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
pub(crate) use reuse::{Filed, Reuse};
pub(crate) use state::{MetadataFile, State};
use tuning::Tuning;
pub(crate) use tuning::{QUERIES_MAX, mixed};
use verify::Verified;
pub(crate) use verify::damaged_slot;

use llmspell_core::OwnTime;

use crate::ids::{Lsn, ScopeId};
use crate::indexes::changes::Changes;
use crate::indexes::files::IndexRow;
use crate::indexes::graph::Index;
use crate::memory_budget::Usage;
use crate::metadata_index::MetadataIndex;

/// A loaded namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) scope_id: ScopeId,
    current: RwLock<Arc<State>>,
    /// Held by whoever makes the next state: the committer or the indexer.
    publishing: Mutex<()>,
    /// Which points may be given out again. Only the committer asks.
    pub(crate) reuse: Mutex<Reuse>,
    /// The index file that the manifest names. Only the indexer changes it, and whoever drops the scope.
    pub(crate) named_file: Mutex<Option<IndexRow>>,
    /// Held by whoever builds the metadata index.
    pub(crate) building_metadata: Mutex<()>,
    /// What has changed since somebody began to watch.
    watched: Mutex<Option<Changes>>,
    /// Points that were changed since the state whose metadata index is being written to a file.
    unsaved: Mutex<Option<RoaringBitmap>>,
    /// The file of the metadata index that the state names is of no use.
    is_metadata_file_bad: AtomicBool,
    /// Which times of the entries filters have named: bits, in the order of [`OwnTime::ALL`].
    wanted_times: AtomicU8,
    verified: Verified,
    names: KnownNames,
    tuning: Tuning,
    /// When it was used last, and what was counted of it.
    pub(crate) usage: Usage,
    is_to_be_put_away: AtomicBool,
}

impl Namespace {
    /// A namespace as it was read from the truth, or a new one; with the index of the file that the manifest names.
    pub(crate) fn new(scope_id: ScopeId, state: State, (named_file, filed): (Option<IndexRow>, Filed)) -> Self {
        let reuse = Reuse::new(&state.dead_with_slot(), filed);
        Self {
            scope_id,
            current: RwLock::new(Arc::new(state)),
            publishing: Mutex::new(()),
            reuse: Mutex::new(reuse),
            named_file: Mutex::new(named_file),
            building_metadata: Mutex::new(()),
            watched: Mutex::new(None),
            unsaved: Mutex::new(None),
            is_metadata_file_bad: AtomicBool::new(false),
            wanted_times: AtomicU8::new(0),
            verified: Verified::default(),
            names: KnownNames::default(),
            tuning: Tuning::default(),
            usage: Usage::default(),
            is_to_be_put_away: AtomicBool::new(false),
        }
    }

    /// What is committed now.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.current.read())
    }

    /// Makes a committed state visible. `freed` are the points that died since the one before.
    pub(crate) fn publish(&self, mut state: State, freed: RoaringBitmap, changes: &Changes) {
        let _turn = self.publishing.lock();
        let before = self.state();
        let is_other_index = match (&before.index, &state.index) {
            (None, None) => false,
            (Some(current), Some(known)) => !Arc::ptr_eq(current, known),
            (Some(_), None) | (None, Some(_)) => true,
        };
        if is_other_index && !state.is_dropped {
            // The indexer published while the state was made.
            state = state.with_index(before.index.clone());
        }
        if let (Some(index), false) = (&before.metadata, state.is_dropped)
            && changes.index.as_ref().is_none_or(|known| !Arc::ptr_eq(known, index))
        {
            // Whoever built the index published while the state was made.
            state = state.with_metadata((**index).clone(), changes);
        }
        if let Some(watched) = &mut *self.watched.lock() {
            watched.extend(changes);
        }
        if let Some(points) = &mut *self.unsaved.lock() {
            *points |= &changes.points;
        }
        self.tuning.note_died(freed.len());
        if state.is_dropped {
            self.tuning.end();
        }
        *self.current.write() = Arc::new(state);
        self.names.set(None);
        self.reuse.lock().retire(&before, freed);
    }

    /// Makes another index visible, or none: a change of the state at the same mutation. Whoever built it must still
    /// hold the state that it was built of, so that none of its points was given out again meanwhile. Nothing happens,
    /// and the answer is false, if the scope was dropped.
    pub(crate) fn publish_index(&self, index: Option<Arc<Index>>) -> bool {
        let _turn = self.publishing.lock();
        let before = self.state();
        if before.is_dropped {
            return false;
        }
        let points = index
            .as_ref()
            .map_or_else(RoaringBitmap::new, |index| index.points.clone());
        let state = Arc::new(before.with_index(index));
        let mut reuse = self.reuse.lock();
        *self.current.write() = state;
        let released = reuse.set_in_index(points);
        reuse.retire(&before, released);
        self.tuning.note_index();
        true
    }

    /// The ids of the living points as of a mutation, if they are kept.
    pub(crate) fn names(&self, lsn: Lsn) -> Option<Arc<Names>> {
        self.names.get(lsn)
    }

    /// Somebody reads ids from the truth as of a mutation. Whether somebody did so before.
    pub(crate) fn ask_names(&self, lsn: Lsn) -> bool {
        self.names.ask(lsn)
    }

    /// Keeps the ids of the living points.
    pub(crate) fn set_names(&self, names: Names) {
        self.names.set(Some(names));
    }

    /// From now on, changed points are noted.
    pub(crate) fn watch_points(&self) {
        *self.watched.lock() = Some(Changes::default());
    }

    /// Changed points are not noted any more.
    pub(crate) fn unwatch_points(&self) {
        *self.watched.lock() = None;
    }

    /// The points that were changed since the last call, and the last mutation by then.
    pub(crate) fn take_watched(&self) -> (Lsn, RoaringBitmap) {
        let _turn = self.publishing.lock();
        let changes = self.watched.lock().as_mut().map(std::mem::take);
        (self.state().lsn, changes.unwrap_or_default().points)
    }

    /// Makes the metadata index visible that was built of what was committed the last time that changed points were
    /// taken. Those that have changed since are looked at by filters.
    pub(crate) fn publish_metadata(&self, index: MetadataIndex) {
        let _turn = self.publishing.lock();
        let changes = self.watched.lock().take().unwrap_or_default();
        let before = self.state();
        if !before.is_dropped {
            *self.current.write() = Arc::new((*before).clone().with_metadata(index, &changes));
            self.reuse.lock().retire(&before, RoaringBitmap::new());
        }
    }

    /// The next filter makes the metadata index again.
    #[cfg(test)]
    pub(crate) fn forget_metadata(&self) {
        let _turn = self.publishing.lock();
        let mut state = (*self.state()).clone();
        state.metadata = None;
        let before = self.state();
        *self.current.write() = Arc::new(state);
        self.reuse.lock().retire(&before, RoaringBitmap::new());
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

    /// What is committed now, for writing its metadata index to a file; points that change from now on are noted.
    pub(crate) fn begin_saving(&self) -> Arc<State> {
        let _turn = self.publishing.lock();
        *self.unsaved.lock() = Some(RoaringBitmap::new());
        self.state()
    }

    /// The points that were changed in what is committed since [`begin_saving`](Self::begin_saving); none after
    /// [`end_saving`](Self::end_saving). Only the committer can ask, between whose commits nothing changes.
    pub(crate) fn unsaved(&self) -> Option<RoaringBitmap> {
        self.unsaved.lock().clone()
    }

    /// Nothing is noted any more.
    pub(crate) fn end_saving(&self) {
        *self.unsaved.lock() = None;
    }

    /// Whether points wait to be read into the metadata index.
    pub(crate) fn is_metadata_behind(&self) -> bool {
        let state = self.state();
        let index = state.metadata.as_ref().filter(|_| !state.is_dropped);
        index.is_some_and(|index| index.distrusted_count() > 0)
    }

    /// Whether the metadata index belongs into a file anew.
    pub(crate) fn is_metadata_file_due(&self, share: u64) -> bool {
        let state = self.state();
        let is_bad = state.metadata.is_some() && self.is_metadata_file_bad();
        is_bad || state.is_metadata_file_due(share)
    }

    /// Whether the file of the metadata index was found to be of no use.
    pub(crate) fn is_metadata_file_bad(&self) -> bool {
        self.is_metadata_file_bad.load(Ordering::Relaxed)
    }

    /// Says whether the file of the metadata index is of any use.
    pub(crate) fn set_metadata_file_bad(&self, is_bad: bool) {
        self.is_metadata_file_bad.store(is_bad, Ordering::Relaxed);
    }

    /// Whether the manifest names a file that is of no use.
    pub(crate) fn has_stale_file(&self) -> bool {
        let is_named = self.named_file.lock().is_some();
        (is_named && self.state().index.is_none()) || self.reuse.lock().is_file_unknown()
    }

    /// The manifest names another file now, or none.
    pub(crate) fn set_filed(&self, filed: Filed) {
        let _turn = self.publishing.lock();
        let mut reuse = self.reuse.lock();
        let released = reuse.set_in_file(filed);
        reuse.release(released);
    }
}

#[cfg(test)]
mod tests {
    use llmspell_core::HNSWConfig;
    use llmspell_vector::{BuildWatch, Graph, PointId, Rows};

    use super::*;
    use crate::ids::{Extent, Generation, Lsn, Slot};
    use crate::indexes::files::{IdList, Ids};
    use crate::indexes::graph::graph_config;
    use crate::op::{Op, PointChange};

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

    /// A committer that began before the indexer published, and publishes after it.
    #[test]
    fn a_commit_and_an_index_that_overtake_each_other_both_stay() {
        let namespace = Namespace::new(ScopeId(1), State::default(), (None, Filed::Nothing));
        namespace.publish(three_points(), RoaringBitmap::new(), &Changes::default());

        let built_of = namespace.state();
        let mut pending = (*namespace.state()).clone();
        pending.apply(
            Lsn(2),
            &Op {
                put: changes(&[3]),
                removed: changes(&[1]),
                ..Op::default()
            },
        );
        assert!(namespace.publish_index(Some(index_of(&built_of))));
        drop(built_of);
        namespace.publish(pending, RoaringBitmap::from([1]), &Changes::default());

        let state = namespace.state();
        state.check().unwrap();
        assert_eq!(state.lsn, Lsn(2));
        assert_eq!(*state.tail, RoaringBitmap::from([3]));
        assert_eq!(state.counts().tombstones, 1);
        drop(state);
        assert_eq!(namespace.reuse.lock().take(9), [], "1 is a vertex");

        assert!(namespace.publish_index(None));
        assert_eq!(namespace.reuse.lock().take(9), [PointId(1)]);
    }

    #[test]
    fn a_commit_does_not_lose_the_times_that_were_indexed_meanwhile() {
        use llmspell_core::OwnTime;
        let namespace = Namespace::new(ScopeId(1), State::default(), (None, Filed::Nothing));
        namespace.publish(three_points(), RoaringBitmap::new(), &Changes::default());
        let mut index = MetadataIndex::new(crate::MetadataIndexConfig::default());
        (0..3).for_each(|point| index.insert(point, &Default::default()));
        namespace.publish_metadata(index.clone());

        let mut pending = (*namespace.state()).clone();
        let op = Op {
            put: changes(&[3]),
            ..Op::default()
        };
        pending.apply(Lsn(2), &op);
        index.index_time(OwnTime::Event);
        namespace.publish_metadata(index);
        namespace.publish(pending, RoaringBitmap::new(), &Changes::of([3]));

        let state = namespace.state();
        let known = state.metadata.as_ref().unwrap();
        assert!(known.has_time(OwnTime::Event));
        assert_eq!(
            (known.points().len(), known.distrusted_count()),
            (4, 1),
            "3 is looked at"
        );
    }

    #[test]
    fn a_dropped_scope_gets_no_index_any_more() {
        let namespace = Namespace::new(ScopeId(1), State::default(), (None, Filed::Nothing));
        namespace.publish(three_points(), RoaringBitmap::new(), &Changes::default());
        let built_of = namespace.state();
        namespace.publish(State::dropped(), RoaringBitmap::new(), &Changes::default());
        assert!(!namespace.publish_index(Some(index_of(&built_of))));
        assert!(namespace.state().index.is_none());
    }
}
