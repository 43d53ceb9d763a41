//! Which points may be given out again?
//!
//! A point that died may still be seen by a search that holds an older state; writing another vector into its slot
//! would change that search's answer. So dead points wait in line, behind a weak reference to the last state in which
//! they lived, until that state and all before it are gone.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use roaring::RoaringBitmap;

use super::state::State;
use crate::ids::PointId;

/// The dead points of one namespace, by whether somebody may still look at them.
#[derive(Debug, Default)]
pub(crate) struct Reuse {
    waiting: VecDeque<(Weak<State>, RoaringBitmap)>,
    free: RoaringBitmap,
}

impl Reuse {
    /// For a namespace that was just loaded, so nobody looks at anything.
    pub(crate) fn new(dead: &RoaringBitmap) -> Self {
        Self {
            waiting: VecDeque::new(),
            free: dead.clone(),
        }
    }

    /// `state` is not the current one any more; `freed` lived in it and are dead now.
    pub(crate) fn retire(&mut self, state: &Arc<State>, freed: RoaringBitmap) {
        self.waiting.push_back((Arc::downgrade(state), freed));
    }

    /// Takes up to `count` points that nobody can see.
    pub(crate) fn take(&mut self, count: usize) -> Vec<PointId> {
        self.let_go();
        let points: Vec<PointId> = self.free.iter().take(count).map(PointId).collect();
        for point in &points {
            self.free.remove(point.0);
        }
        points
    }

    /// Gives back points that were taken for a write that did not happen.
    pub(crate) fn give_back(&mut self, points: impl IntoIterator<Item = PointId>) {
        self.free.extend(points.into_iter().map(|point| point.0));
    }

    /// Whether nobody holds a state that was published before the current one.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.let_go();
        self.waiting.is_empty()
    }

    fn let_go(&mut self) {
        while let Some((state, _)) = self.waiting.front()
            && state.strong_count() == 0
        {
            let (_, freed) = self.waiting.pop_front().expect("it was just seen");
            self.free |= freed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
