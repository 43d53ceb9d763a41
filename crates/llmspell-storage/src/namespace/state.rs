//! The state of a namespace, and how an `Op` changes it.

use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::expiries::Expiries;
use super::passing::PassingCache;
use super::reuse::End;
use crate::base::ids::{Extent, Lsn, PointId, Slot};
use crate::base::op::Op;
use crate::indexes::changes::Changes;
use crate::indexes::files::Kind;
use crate::indexes::graph::{Counts, Index};
use crate::indexes::named::Files;
use crate::indexes::texts::{Terms, TextIndex, Words};
use llmspell_metadata::MetadataIndex;

/// A namespace as of one `Lsn`. Cheap to clone: the large parts are shared until they change.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The last mutation in it.
    pub(crate) lsn: Lsn,
    /// Points below this have been used.
    pub(crate) next_point: u32,
    /// Points from here on never had a slot and were never used. Those below have one, except dead ones whose slot was given
    /// back, and those without a vector.
    pub(crate) capacity: u32,
    /// The slots of points, ascending by point. Points in a gap are dead or have no vector.
    pub(crate) extents: Arc<Vec<Extent>>,
    /// Points below `next_point` that do not live.
    pub(crate) dead: Arc<RoaringBitmap>,
    /// The living points without a vector: they have no slot, and no search by vector sees them.
    pub(crate) without_vector: Arc<RoaringBitmap>,
    /// The expiry times of points.
    pub(crate) expiries: Arc<Expiries>,
    /// The graph over some of the points.
    pub(crate) index: Option<Arc<Index>>,
    /// The living points with a vector that are not in the graph; empty without a graph.
    pub(crate) tail: Arc<RoaringBitmap>,
    /// The metadata index, once a filter needed it.
    pub(crate) metadata: Option<Arc<MetadataIndex>>,
    /// The index of words, once a search needed it.
    pub(crate) texts: Option<Arc<TextIndex>>,
    /// The index files that the truth names.
    pub(crate) files: Files,
    /// Cached matches of filters.
    pub(crate) known_filters: PassingCache,
    /// Bytes of metadata of all living points.
    pub(crate) metadata_bytes: u64,
    /// Bytes of the texts of all living points that are kept.
    pub(crate) text_bytes: u64,
    /// Number of mutations since the last checkpoint.
    pub(crate) ops_since_checkpoint: u32,
    /// Tells when this state is dropped.
    pub(crate) end: End,
    /// The scope was dropped: holders of the namespace find nothing.
    pub(crate) is_dropped: bool,
}

impl State {
    /// The last state of a namespace.
    pub(crate) fn dropped() -> Self {
        Self {
            is_dropped: true,
            ..Self::default()
        }
    }

    /// Number of living points, including those that have expired and are not purged yet.
    pub(crate) fn live_count(&self) -> u64 {
        u64::from(self.next_point) - self.dead.len()
    }

    /// Number of living points that have a vector.
    pub(crate) fn vector_count(&self) -> u64 {
        self.live_count() - self.without_vector.len()
    }

    /// The living points that have a vector.
    pub(crate) fn living_vectors(&self) -> RoaringBitmap {
        self.living() - &*self.without_vector
    }

    /// Number of points with a vector that are visible at `now`, in milliseconds since 1970.
    pub(crate) fn visible_vectors(&self, now: i64) -> u64 {
        let expired = self.expiries.expired(now);
        self.vector_count() - (expired.len() - expired.intersection_len(&self.without_vector))
    }

    /// The living points.
    pub(crate) fn living(&self) -> RoaringBitmap {
        let mut living = RoaringBitmap::new();
        living.insert_range(0..self.next_point);
        living - &*self.dead
    }

    /// The same state with another index.
    pub(crate) fn with_index(&self, index: Option<Arc<Index>>) -> Self {
        let tail = index
            .as_ref()
            .map_or_else(RoaringBitmap::new, |index| self.living_vectors() - &index.points);
        Self {
            index,
            tail: Arc::new(tail),
            ..self.clone()
        }
    }

    /// Whether the graph is that of the other state, or neither has one.
    pub(crate) fn has_graph_of(&self, other: &Self) -> bool {
        match (&self.index, &other.index) {
            (None, None) => true,
            (Some(own), Some(others)) => Arc::ptr_eq(own, others),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether the truth names a graph file that is useless.
    pub(crate) fn has_stale_graph_file(&self) -> bool {
        let file = self.files.get(Kind::Graph);
        file.is_some_and(|file| file.is_bad || self.index.is_none())
    }

    /// The numbers that decide what the index needs.
    pub(crate) fn counts(&self) -> Counts {
        let live = self.vector_count();
        match &self.index {
            None => Counts {
                live,
                tail: live,
                ..Counts::default()
            },
            Some(index) => {
                // A living point that is no vertex is in the tail.
                let tombstones = index.points.len() - (live - self.tail.len());
                Counts {
                    live,
                    tail: self.tail.len(),
                    vertices: Some(index.points.len()),
                    tombstones,
                    unrepaired: index.unrepaired(tombstones),
                    has_broken_links: index.has_broken_links(),
                    spare: index.graph.spare(),
                }
            }
        }
    }

    /// Number of points that are visible at `now`, in milliseconds since 1970.
    pub(crate) fn visible_count(&self, now: i64) -> u64 {
        self.live_count() - self.expiries.expired(now).len()
    }

    /// Applies one mutation: in the same way when it happens and when the log is replayed.
    pub(crate) fn apply(&mut self, lsn: Lsn, op: &Op) {
        debug_assert!(self.lsn < lsn, "mutations are applied in order, once");
        self.lsn = lsn;
        self.ops_since_checkpoint += 1;
        if !op.extents.is_empty() {
            let extents = Arc::make_mut(&mut self.extents);
            for extent in &op.extents {
                self.capacity = self.capacity.max(extent.first_point.0 + extent.len);
                add_extent(extents, *extent);
            }
        }
        if !op.returned.is_empty() {
            let returned: RoaringBitmap = op.returned.iter().map(|point| point.0).collect();
            self.extents = Arc::new(without(&self.extents, &returned));
        }
        let op_without_vector: RoaringBitmap = op.without_vector.iter().map(|point| point.0).collect();
        for change in &op.put {
            let PointId(point) = change.point;
            if point < self.next_point {
                Arc::make_mut(&mut self.dead).remove(point);
            } else {
                if point > self.next_point {
                    Arc::make_mut(&mut self.dead).insert_range(self.next_point..point);
                }
                self.next_point = point + 1;
                self.capacity = self.capacity.max(self.next_point);
            }
            if op_without_vector.contains(point) {
                Arc::make_mut(&mut self.without_vector).insert(point);
            } else if self.index.is_some() {
                Arc::make_mut(&mut self.tail).insert(point);
            }
            if let Some(moment) = change.expires_at {
                Arc::make_mut(&mut self.expiries).insert(moment, change.point);
            }
        }
        for change in &op.removed {
            Arc::make_mut(&mut self.dead).insert(change.point.0);
            if self.without_vector.contains(change.point.0) {
                Arc::make_mut(&mut self.without_vector).remove(change.point.0);
            }
            if self.tail.contains(change.point.0) {
                Arc::make_mut(&mut self.tail).remove(change.point.0);
            }
            if let Some(moment) = change.expires_at {
                Arc::make_mut(&mut self.expiries).remove(moment, change.point);
            }
        }
        for touched in &op.touched {
            let expiries = Arc::make_mut(&mut self.expiries);
            if let Some(moment) = touched.before {
                expiries.remove(moment, touched.point);
            }
            if let Some(moment) = touched.after {
                expiries.insert(moment, touched.point);
            }
        }
        for file in self.files.noting() {
            let replaced = op.put.iter().chain(&op.removed).map(|change| change.point);
            let changed = replaced.chain(op.updated.iter().copied());
            Arc::make_mut(&mut file.changed).extend(changed.map(|point| point.0));
        }
        self.metadata_bytes += u64::from(op.metadata_bytes_added);
        self.metadata_bytes = self.metadata_bytes.saturating_sub(u64::from(op.metadata_bytes_removed));
        self.text_bytes += u64::from(op.text_bytes_added);
        self.text_bytes = self.text_bytes.saturating_sub(u64::from(op.text_bytes_removed));
    }

    /// The metadata index of an earlier state. Filters read the metadata of points that have changed since.
    pub(crate) fn with_metadata(mut self, mut index: MetadataIndex, changes: &Changes) -> Self {
        self.bring_up(&mut index, changes);
        self.metadata = Some(Arc::new(index));
        self
    }

    /// With words that were read of an earlier state. They go into the index that there is, as far as it still lacks them;
    /// else the index is adopted, and words of points that have changed since are read when they are searched for.
    pub(crate) fn with_texts(
        mut self,
        mut index: TextIndex,
        read: impl IntoIterator<Item = (PointId, Terms)>,
        changed: &RoaringBitmap,
    ) -> Self {
        if let Some(known) = self.texts.as_mut().filter(|known| known.agrees_with(&index)) {
            let known = Arc::make_mut(known);
            for (point, terms) in read {
                if known.unread.contains(point.0) && !changed.contains(point.0) {
                    known.read(point, &terms);
                }
            }
            return self;
        }
        for point in changed.iter().map(PointId) {
            match self.lives(point) {
                true => index.put(point, &Words::Later),
                false => index.remove(point),
            }
        }
        self.texts = Some(Arc::new(index));
        self
    }

    /// Takes changed points out of an index: filters read the metadata of those that live.
    pub(crate) fn bring_up(&self, index: &mut MetadataIndex, changes: &Changes) {
        changes.take_out_of(index);
        let mut living = &changes.points - &*self.dead;
        living.remove_range(self.next_point..);
        (&changes.points - &living)
            .iter()
            .for_each(|point| index.remove_unknown(point));
        index.distrust(&living);
    }

    /// Whether too little of the metadata index is in a file: the file is useless, or, in a scope with a graph, one in
    /// `share` entries has changed since it was written.
    pub(crate) fn is_metadata_file_due(&self, share: u64) -> bool {
        let file = self.files.get(Kind::Metadata);
        let changed = file.map(|file| file.changed.len());
        let is_behind = changed.is_none_or(|changed| changed * share > self.live_count());
        let is_bad = file.is_some_and(|file| file.is_bad);
        self.metadata.is_some() && (is_bad || self.index.is_some() && is_behind)
    }

    /// Number of points with a slot, living or not.
    pub(crate) fn slot_count(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.len)).sum()
    }

    /// The runs of dead points that have no slot: no reader needs one of them.
    pub(crate) fn vacant(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.gaps().flat_map(|gap| {
            let mut left = RoaringBitmap::new();
            left.insert_range(gap);
            left -= &*self.without_vector;
            left.remove_range(self.next_point..);
            runs_of_points(&left)
        })
    }

    /// The runs of points that have no slot, or none any more: each is dead or has no vector.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        let begins = self.extents.iter().map(|extent| extent.first_point.0);
        let ends = self.extents.iter().map(|extent| extent.first_point.0 + extent.len);
        let gaps = std::iter::once(0).chain(ends).zip(begins.chain([self.capacity]));
        gaps.filter(|(end, begin)| end < begin).map(|(end, begin)| end..begin)
    }

    /// The dead points that have a slot.
    pub(crate) fn dead_with_slot(&self) -> RoaringBitmap {
        let mut dead = (*self.dead).clone();
        for gap in self.gaps() {
            dead.remove_range(gap);
        }
        dead
    }

    /// The slot of a point; none if it has none.
    pub(crate) fn slot(&self, point: PointId) -> Option<Slot> {
        let after = self.extents.partition_point(|extent| extent.first_point <= point);
        let extent = self.extents[..after].last()?;
        let offset = point.0 - extent.first_point.0;
        (offset < extent.len).then(|| Slot(extent.first_slot.0 + u64::from(offset)))
    }

    /// Whether the point exists, and was not removed. It may have expired.
    pub(crate) fn lives(&self, point: PointId) -> bool {
        point.0 < self.next_point && !self.dead.contains(point.0)
    }

    /// The points that are dead or have expired at `now`.
    pub(crate) fn hidden(&self, now: i64) -> RoaringBitmap {
        let expired = self.expiries.expired(now);
        if expired.is_empty() {
            (*self.dead).clone()
        } else {
            &*self.dead | expired
        }
    }

    /// The runs of points within `points` that are not in `hidden`, each with the slots that hold it.
    pub(crate) fn runs<'a>(
        &'a self,
        points: Range<u32>,
        hidden: &'a RoaringBitmap,
    ) -> impl Iterator<Item = Extent> + 'a {
        let end = points.end.min(self.next_point);
        let points = points.start.min(end)..end;
        let mut gaps = hidden.range(points.clone()).peekable();
        let mut next = points.start;
        let visible = std::iter::from_fn(move || {
            while gaps.next_if_eq(&next).is_some() {
                next += 1;
            }
            if next >= points.end {
                return None;
            }
            let end = gaps.peek().copied().unwrap_or(points.end);
            Some(std::mem::replace(&mut next, end)..end)
        });
        visible.flat_map(move |run| self.pieces(run))
    }

    /// A run of points, cut into pieces with consecutive slots.
    fn pieces(&self, points: Range<u32>) -> impl Iterator<Item = Extent> + '_ {
        let first = self
            .extents
            .partition_point(|extent| extent.first_point.0 + extent.len <= points.start);
        self.extents[first..].iter().map_while(move |extent| {
            let start = points.start.max(extent.first_point.0);
            let end = points.end.min(extent.first_point.0 + extent.len);
            (start < end).then(|| Extent {
                first_point: PointId(start),
                first_slot: Slot(extent.first_slot.0 + u64::from(start - extent.first_point.0)),
                len: end - start,
            })
        })
    }

    /// Checks the promises of the type; returns the violation, if there is one.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut next: u32 = 0;
        for extent in self.extents.iter() {
            if extent.first_point.0 < next || extent.len == 0 {
                return Err(format!(
                    "an extent starts at point {} before {next}",
                    extent.first_point.0
                ));
            }
            next = extent.first_point.0.saturating_add(extent.len);
        }
        if next.max(self.next_point) != self.capacity {
            return Err(format!(
                "{} points, slots for {next}, capacity {}",
                self.next_point, self.capacity
            ));
        }
        let is_all_dead = |gap: &Range<u32>| {
            let dead = self.dead.range_cardinality(gap.clone());
            let without_vector = self.without_vector.range_cardinality(gap.clone());
            gap.end <= self.next_point && dead + without_vector == u64::from(gap.end - gap.start)
        };
        if let Some(gap) = self.gaps().find(|gap| !is_all_dead(gap)) {
            return Err(format!("points {} to {} have no slot", gap.start, gap.end - 1));
        }
        if let Some(index) = &self.index
            && *self.tail != self.living_vectors() - &index.points
        {
            return Err("the tail is not what the graph leaves".to_string());
        }
        let has_slot = |point: &u32| self.slot(PointId(*point)).is_some();
        if let Some(point) = self.without_vector.iter().find(has_slot) {
            return Err(format!("point {point} has a slot and no vector"));
        }
        if !self.without_vector.is_disjoint(&self.dead) {
            return Err("a dead point has no vector".to_string());
        }
        match self.dead.max() {
            Some(last) if last >= self.next_point => Err(format!("point {last} is dead and was never given out")),
            _ => Ok(()),
        }
    }
}

/// Inserts an extent, merged with the one before if both slots and points continue it.
fn add_extent(extents: &mut Vec<Extent>, extent: Extent) {
    let place = extents.partition_point(|other| other.first_point < extent.first_point);
    let goes_on = |before: &Extent| {
        before.first_point.0 + before.len == extent.first_point.0
            && before.first_slot.0 + u64::from(before.len) == extent.first_slot.0
    };
    match extents[..place].last_mut() {
        Some(before) if goes_on(before) => before.len += extent.len,
        _ => extents.insert(place, extent),
    }
}

/// Points as runs.
fn runs_of_points(points: &RoaringBitmap) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for point in points {
        match runs.last_mut() {
            Some(run) if run.end == point => run.end += 1,
            _ => runs.push(point..point + 1),
        }
    }
    runs
}

/// The extents without some points.
fn without(extents: &[Extent], points: &RoaringBitmap) -> Vec<Extent> {
    let mut left = Vec::with_capacity(extents.len());
    for extent in extents {
        let begin = extent.first_point.0;
        let end = begin + extent.len;
        let mut next = begin;
        let piece = |from: u32, to: u32| Extent {
            first_point: PointId(from),
            first_slot: Slot(extent.first_slot.0 + u64::from(from - begin)),
            len: to - from,
        };
        for point in points.range(begin..end) {
            if next < point {
                left.push(piece(next, point));
            }
            next = point + 1;
        }
        if next < end {
            left.push(piece(next, end));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::base::op::PointChange;
    use crate::indexes::named::NamedFile;

    fn put(points: &[u32]) -> Vec<PointChange> {
        points
            .iter()
            .map(|point| PointChange {
                point: PointId(*point),
                expires_at: None,
            })
            .collect()
    }

    fn extent(first_point: u32, first_slot: u64, len: u32) -> Extent {
        Extent {
            first_point: PointId(first_point),
            first_slot: Slot(first_slot),
            len,
        }
    }

    #[test]
    fn neighboring_extents_become_one() {
        let mut state = State::default();
        state.apply(
            Lsn(1),
            &Op {
                extents: vec![extent(0, 10, 4)],
                ..Op::default()
            },
        );
        state.apply(
            Lsn(2),
            &Op {
                extents: vec![extent(4, 14, 4), extent(8, 50, 2)],
                ..Op::default()
            },
        );
        assert_eq!(*state.extents, [extent(0, 10, 8), extent(8, 50, 2)]);
        assert_eq!(state.slot(PointId(5)), Some(Slot(15)));
        assert_eq!(state.slot(PointId(9)), Some(Slot(51)));
        assert_eq!(state.slot(PointId(10)), None);
        state.check().unwrap();
    }

    #[test]
    fn points_whose_slots_were_given_back_get_others_and_keep_their_neighbors() {
        let mut state = State::default();
        let points: Vec<u32> = (0..10).collect();
        state.apply(
            Lsn(1),
            &Op {
                extents: vec![extent(0, 100, 12)],
                put: put(&points),
                ..Op::default()
            },
        );
        let gone = || [2, 3, 4, 8, 9].map(PointId).to_vec();
        state.apply(
            Lsn(2),
            &Op {
                removed: put(&[2, 3, 4, 8, 9]),
                ..Op::default()
            },
        );
        state.apply(
            Lsn(3),
            &Op {
                returned: gone(),
                ..Op::default()
            },
        );
        state.check().unwrap();
        assert_eq!(
            *state.extents,
            [extent(0, 100, 2), extent(5, 105, 3), extent(10, 110, 2)]
        );
        assert_eq!(state.gaps().collect::<Vec<_>>(), [2..5, 8..10]);
        assert_eq!((state.slot_count(), state.capacity), (7, 12));
        assert!(state.dead_with_slot().is_empty());
        assert_eq!(state.slot(PointId(3)), None);
        assert_eq!(state.slot(PointId(7)), Some(Slot(107)));

        // New slots for one of the gaps, and a vector in it.
        state.apply(
            Lsn(4),
            &Op {
                extents: vec![extent(2, 50, 2)],
                put: put(&[2]),
                ..Op::default()
            },
        );
        state.check().unwrap();
        assert_eq!(state.gaps().collect::<Vec<_>>(), [4..5, 8..10]);
        assert_eq!(state.slot(PointId(3)), Some(Slot(51)));
        assert_eq!(state.dead_with_slot(), RoaringBitmap::from([3]));
        let hidden = state.hidden(0);
        let runs: Vec<_> = state.runs(0..12, &hidden).collect();
        assert_eq!(runs, [extent(0, 100, 2), extent(2, 50, 1), extent(5, 105, 3)]);

        // A living point without a slot is a contradiction.
        state.apply(
            Lsn(5),
            &Op {
                returned: vec![PointId(5)],
                ..Op::default()
            },
        );
        assert_eq!(state.check(), Err("points 4 to 5 have no slot".to_string()));
    }

    #[test]
    fn what_changes_after_files_were_named_is_noted_of_the_kinds_that_need_it() {
        let mut state = State::default();
        state.apply(
            Lsn(1),
            &Op {
                extents: vec![extent(0, 0, 8)],
                put: put(&[0, 1, 2, 3, 4, 5]),
                ..Op::default()
            },
        );
        for kind in Kind::ALL {
            state.files.set(kind, Some(NamedFile::default()));
        }
        state.apply(
            Lsn(2),
            &Op {
                put: put(&[6]),
                removed: put(&[2]),
                updated: vec![PointId(5)],
                ..Op::default()
            },
        );
        let changed = |kind| (*state.files.get(kind).unwrap().changed).clone();
        assert_eq!(changed(Kind::Metadata), RoaringBitmap::from([2, 5, 6]));
        assert_eq!(changed(Kind::Graph), RoaringBitmap::new());
    }

    #[test]
    fn a_held_state_does_not_change() {
        let mut state = State::default();
        state.apply(
            Lsn(1),
            &Op {
                extents: vec![extent(0, 0, 4)],
                put: put(&[0, 1]),
                ..Op::default()
            },
        );
        let held = state.clone();
        state.apply(
            Lsn(2),
            &Op {
                removed: put(&[0]),
                ..Op::default()
            },
        );
        assert_eq!((held.live_count(), state.live_count()), (2, 1));
    }

    proptest! {
        /// The runs are exactly the visible points in order, each with its slot.
        #[test]
        fn runs_are_the_visible_points_in_order(
            lens in prop::collection::vec(1..6_u32, 1..5),
            dead in prop::collection::btree_set(0..20_u32, 0..12),
            bounds in (0..25_u32, 0..25_u32),
        ) {
            let mut state = State::default();
            let mut slot = 100;
            let mut extents = Vec::new();
            for (place, len) in lens.iter().enumerate() {
                slot += u64::from(*len) + (place as u64 % 2) * 7;
                extents.push(extent(extents.iter().map(|e: &Extent| e.len).sum(), slot, *len));
            }
            let points: u32 = lens.iter().sum();
            state.apply(Lsn(1), &Op { extents, put: put(&(0..points).collect::<Vec<_>>()), ..Op::default() });
            let dead: BTreeSet<u32> = dead.into_iter().filter(|point| *point < points).collect();
            let removed = put(&dead.iter().copied().collect::<Vec<_>>());
            state.apply(Lsn(2), &Op { removed, ..Op::default() });

            let (start, end) = (bounds.0.min(bounds.1), bounds.0.max(bounds.1));
            let hidden = state.hidden(0);
            let got: Vec<(u32, u64)> = state.runs(start..end, &hidden)
                .flat_map(|run| (0..run.len).map(move |i| (run.first_point.0 + i, run.first_slot.0 + u64::from(i))))
                .collect();
            let expected: Vec<(u32, u64)> = (start..end.min(points))
                .filter(|point| !dead.contains(point))
                .map(|point| (point, state.slot(PointId(point)).unwrap().0))
                .collect();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(state.live_count(), u64::from(points) - dead.len() as u64);
            state.check().map_err(TestCaseError::fail)?;
        }
    }
}
