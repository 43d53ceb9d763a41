//! Which vectors are compared by a scan?
//!
//! Without a graph all of them; with one the newest points, which it does not hold yet, and all if a query asks for it.

use std::sync::Arc;

use llmspell_vector::{ExactDistance, PointId, TopK, collect_ties, scan};
use roaring::RoaringBitmap;

use crate::namespace::State;
use crate::slots::SlotView;

/// Points of one state that a search compares, and where their vectors are.
pub(crate) struct Tail<'a> {
    pub(crate) state: &'a State,
    pub(crate) view: &'a Arc<SlotView>,
    /// Points that must not be found.
    pub(crate) hidden: &'a RoaringBitmap,
    /// The only points that may be found, if a filter has chosen.
    pub(crate) candidates: Option<&'a RoaringBitmap>,
}

impl Tail<'_> {
    /// Offers every point to `top`.
    pub(crate) fn scan(&self, distance: &ExactDistance, top: &mut TopK) {
        match self.candidates {
            Some(candidates) => scan(distance, self.chosen_rows(candidates), None, top),
            None => scan(distance, self.rows(), None, top),
        }
    }

    /// Every point exactly `at` away.
    pub(crate) fn ties(&self, distance: &ExactDistance, at: f32) -> Vec<PointId> {
        let points_max = usize::MAX;
        match self.candidates {
            Some(candidates) => collect_ties(distance, self.chosen_rows(candidates), at, points_max).0,
            None => collect_ties(distance, self.rows(), at, points_max).0,
        }
    }

    fn rows(&self) -> impl Iterator<Item = (PointId, &[f32])> {
        self.state
            .runs(0..u32::MAX, self.hidden)
            .flat_map(|run| (run.first_point.0..).map(PointId).zip(self.view.vectors(run)))
    }

    fn chosen_rows<'b>(&'b self, candidates: &'b RoaringBitmap) -> impl Iterator<Item = (PointId, &'b [f32])> {
        candidates.iter().map(|point| {
            let slot = self.state.slot(PointId(point)).expect("candidates are living points");
            (PointId(point), self.view.vector(slot))
        })
    }
}
