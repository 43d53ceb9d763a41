//! Reuse of dead points: which numbers may be given out again.
//!
//! A dead point may still be seen by a search that holds an older state; writing another vector into its slot would
//! change that search's answer. So dead points wait behind the [`End`] of the last state in which they lived, until
//! that state and all before it are dropped.
//!
//! A point that is a vertex of an index, or of the index file that a restart would open, waits longer: until there is
//! an index without it, and the manifest names the file of that index.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roaring::RoaringBitmap;

use super::state::State;
use super::weight::bitmap_bytes;
use crate::base::ids::PointId;

/// A part of a state that tells when the state is dropped. All reads through the state happen before that is seen. The
/// count of a weak reference does not guarantee this order: slots could be written while they are read.
#[derive(Debug, Default)]
pub(crate) struct End(Arc<AtomicBool>);

impl End {
    fn watched(&self) -> Watched {
        Watched(Arc::clone(&self.0))
    }
}

/// A clone of a state is another state.
impl Clone for End {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The end of a state, seen from outside.
#[derive(Debug)]
struct Watched(Arc<AtomicBool>);

impl Watched {
    fn is_reached(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The dead points of one namespace, by whether a reader may still see them.
#[derive(Debug, Default)]
pub(crate) struct Reuse {
    waiting: VecDeque<(Watched, RoaringBitmap)>,
    free: RoaringBitmap,
    /// Dead, and held by an index or a file.
    held: RoaringBitmap,
    in_index: RoaringBitmap,
    /// The points of the index file that the truth names.
    in_file: Arc<RoaringBitmap>,
}

impl Reuse {
    /// For a namespace that was just loaded, so it has no readers; with the dead points that have a slot.
    pub(crate) fn new(dead: &RoaringBitmap, in_file: Arc<RoaringBitmap>) -> Self {
        let mut reuse = Self {
            in_file,
            ..Self::default()
        };
        reuse.held = reuse.among_held(dead);
        reuse.free = dead - &reuse.held;
        reuse
    }

    /// `state` is no longer current; `freed` lived in it and are dead now.
    pub(crate) fn retire(&mut self, state: &Arc<State>, freed: RoaringBitmap) {
        self.free_unseen();
        let held = self.among_held(&freed);
        self.waiting.push_back((state.end.watched(), freed - &held));
        self.held |= held;
    }

    /// Takes dead points that nothing holds any more: they are free once every older state, which may show them, is
    /// dropped.
    #[cfg(test)]
    fn release(&mut self, released: RoaringBitmap) {
        match self.waiting.back_mut() {
            Some((_, waiting)) => *waiting |= released,
            None => self.free |= released,
        }
    }

    /// For another index that is about to be published. Returns the dead points that nothing holds any more.
    pub(crate) fn set_in_index(&mut self, points: RoaringBitmap) -> RoaringBitmap {
        self.in_index = points;
        self.hold_and_release()
    }

    /// The manifest names another file. Returns the dead points that nothing holds any more.
    pub(crate) fn set_in_file(&mut self, points: Arc<RoaringBitmap>) -> RoaringBitmap {
        self.in_file = points;
        self.hold_and_release()
    }

    /// Takes up to `count` points that no reader can see.
    pub(crate) fn take(&mut self, count: usize) -> Vec<PointId> {
        self.free_unseen();
        let points: Vec<PointId> = self.free.iter().take(count).map(PointId).collect();
        for point in &points {
            self.free.remove(point.0);
        }
        points
    }

    /// The points with a slot that no reader can see.
    pub(crate) fn free(&mut self) -> &RoaringBitmap {
        self.free_unseen();
        &self.free
    }

    /// Takes points that no reader can see: their slots are given back.
    pub(crate) fn take_all(&mut self, points: &RoaringBitmap) {
        debug_assert!(points.is_subset(&self.free), "nobody can see them");
        self.free -= points;
    }

    /// Returns points that were taken for a write that did not happen.
    pub(crate) fn give_back(&mut self, points: impl IntoIterator<Item = PointId>) {
        self.free.extend(points.into_iter().map(|point| point.0));
    }

    /// Approximate bytes of RAM.
    pub(super) fn bytes(&self) -> u64 {
        let waiting = self.waiting.iter().map(|(_, points)| bitmap_bytes(points)).sum::<u64>();
        let room = self.waiting.capacity() * size_of::<(Watched, RoaringBitmap)>();
        let in_file = bitmap_bytes(&self.in_file);
        let bitmaps = [&self.free, &self.held, &self.in_index].map(bitmap_bytes);
        waiting + room as u64 + bitmaps.iter().sum::<u64>() + in_file
    }

    /// Whether no state that was published before the current one is held.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.free_unseen();
        self.waiting.is_empty()
    }

    fn hold_and_release(&mut self) -> RoaringBitmap {
        for place in 0..self.waiting.len() {
            let held = self.among_held(&self.waiting[place].1);
            self.waiting[place].1 -= &held;
            self.held |= held;
        }
        debug_assert!(
            self.among_held(&self.free).is_empty(),
            "points of an index did not die before it"
        );
        let still = self.among_held(&self.held);
        let released = &self.held - &still;
        self.held = still;
        released
    }

    fn among_held(&self, points: &RoaringBitmap) -> RoaringBitmap {
        (points & &self.in_index) | (points & &*self.in_file)
    }

    fn free_unseen(&mut self) {
        while let Some((end, _)) = self.waiting.front()
            && end.is_reached()
        {
            let (_, freed) = self.waiting.pop_front().expect("it was just seen");
            self.free |= freed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(points: impl IntoIterator<Item = u32>) -> RoaringBitmap {
        points.into_iter().collect()
    }

    #[test]
    fn a_point_waits_until_every_state_in_which_it_lived_is_gone() {
        let mut reuse = Reuse::default();
        let (oldest, newer) = (Arc::new(State::default()), Arc::new(State::default()));
        reuse.retire(&oldest, RoaringBitmap::new());
        reuse.retire(&newer, RoaringBitmap::from([7]));
        drop(newer);
        assert_eq!(
            reuse.take(1),
            [],
            "point 7 lives in the oldest state too, and that is still held"
        );
        drop(oldest);
        assert_eq!(reuse.take(2), [PointId(7)]);
        assert_eq!(reuse.take(1), [], "no point is given out twice");
        reuse.give_back([PointId(7)]);
        assert_eq!(reuse.take(1), [PointId(7)]);
    }

    #[test]
    fn a_point_of_an_index_waits_for_one_without_it_and_for_the_file_of_that() {
        let state = Arc::new(State::default());
        let mut reuse = Reuse::default();
        assert!(reuse.set_in_index(points(0..4)).is_empty());
        assert!(reuse.set_in_file(Arc::new(points(0..4))).is_empty());
        reuse.retire(&state, points([2, 5]));
        drop(state);
        assert_eq!(reuse.take(9), [PointId(5)], "2 is a vertex");

        // A new index without 2; but a restart would open the old file.
        let released = reuse.set_in_index(points([0, 1, 3]));
        reuse.release(released);
        assert_eq!(reuse.take(9), []);
        let released = reuse.set_in_file(Arc::new(points([0, 1, 3])));
        reuse.release(released);
        assert_eq!(reuse.take(9), [PointId(2)]);
    }

    #[test]
    fn points_that_died_while_a_graph_was_built_are_held_once_it_is_there() {
        let built_of = Arc::new(State::default());
        let mut reuse = Reuse::default();
        reuse.retire(&built_of, points([1]));
        assert!(reuse.set_in_index(points([0, 1])).is_empty());
        drop(built_of);
        assert_eq!(reuse.take(9), [], "1 is a vertex");
    }

    #[test]
    fn after_a_restart_the_points_of_the_file_are_held_and_all_of_them_if_it_cannot_be_read() {
        let dead = points([1, 2]);
        assert_eq!(Reuse::new(&dead, Arc::new(points([2, 3]))).take(9), [PointId(1)]);
        let mut reuse = Reuse::new(&dead, Arc::new(points(0..3)));
        assert_eq!(reuse.take(9), []);
        let released = reuse.set_in_file(Arc::default());
        reuse.release(released);
        assert_eq!(reuse.take(9), [PointId(1), PointId(2)]);
    }
}
