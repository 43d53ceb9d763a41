//! Scans: exact comparison of the points that no graph holds, or of all.
//!
//! Without a graph these are all points; with one the newest points, which it does not hold yet, or all if a query is
//! exact.

use std::cmp::Ordering;
use std::sync::Arc;

use llmspell_vector::{ExactDistance, Neighbor, PointId, TiesDropped, TopK, collect_ties, scan};
use roaring::RoaringBitmap;

use crate::namespace::State;
use crate::slots::SlotView;

/// Points of one state that a search compares, and their slots.
pub(crate) struct Tail<'a> {
    pub(crate) state: &'a State,
    pub(crate) view: &'a Arc<SlotView>,
    /// Number of leading components that are compared.
    pub(crate) dim: usize,
    /// Points that must not be found.
    pub(crate) hidden: &'a RoaringBitmap,
    /// The only points that may be found, if there is a filter.
    pub(crate) candidates: Option<&'a RoaringBitmap>,
}

impl Tail<'_> {
    /// The nearest `k`, and all that tie with the last of them: among these, the ids decide.
    pub(crate) fn nearest(&self, distance: &ExactDistance, k: usize) -> Vec<Neighbor> {
        let mut top = TopK::new(k);
        match self.candidates {
            Some(candidates) => scan(distance, self.chosen_rows(candidates), None, &mut top),
            None => scan(distance, self.rows(), None, &mut top),
        }
        let (mut neighbors, ties) = top.into_sorted();
        if let TiesDropped::At(at) = ties {
            neighbors.retain(|neighbor| neighbor.distance.total_cmp(&at) != Ordering::Equal);
            let tied = self.ties(distance, at);
            neighbors.extend(tied.into_iter().map(|point| Neighbor { distance: at, point }));
        }
        neighbors
    }

    /// Every point exactly `at` away.
    fn ties(&self, distance: &ExactDistance, at: f32) -> Vec<PointId> {
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
            .map(|(point, vector)| (point, &vector[..self.dim]))
    }

    fn chosen_rows<'b>(&'b self, candidates: &'b RoaringBitmap) -> impl Iterator<Item = (PointId, &'b [f32])> {
        candidates.iter().map(|point| {
            let slot = self.state.slot(PointId(point)).expect("candidates are living points");
            (PointId(point), &self.view.vector(slot)[..self.dim])
        })
    }
}
