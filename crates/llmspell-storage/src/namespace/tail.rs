//! Which vectors are compared by a scan?
//!
//! The newest points, which no graph holds yet. There is no graph so far, so all of them.

use std::sync::Arc;

use llmspell_core::Result;
use llmspell_vector::{ExactDistance, PointId, TopK, collect_ties, scan};
use roaring::RoaringBitmap;

use super::Namespace;
use super::state::State;
use crate::error::corrupted;
use crate::slots::{SlotStore, SlotView};

/// Points whose slots are verified together.
const CHUNK_POINTS: u32 = 256;

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

impl Namespace {
    /// Checks the slots of the living points that were not checked since the namespace was loaded.
    ///
    /// A flipped bit could hide a near neighbor as well as show a wrong one, so all slots are checked before the first
    /// scan, not only those found. Later scans trust the memory; what they return is checked again.
    ///
    /// # Errors
    ///
    /// `Corrupted` with the file, the slot and the point.
    pub(crate) fn verify(&self, state: &State, slots: &SlotStore, view: &SlotView) -> Result<()> {
        let chunks = state.next_point.div_ceil(CHUNK_POINTS);
        if self.is_verified(state) {
            return Ok(());
        }
        let unverified: Vec<u32> = {
            let verified = self.verified_chunks.read();
            (0..chunks).filter(|chunk| !verified.contains(*chunk)).collect()
        };
        for chunk in unverified {
            let points = chunk * CHUNK_POINTS..(chunk + 1).saturating_mul(CHUNK_POINTS);
            for run in state.runs(points, &state.dead) {
                for offset in 0..run.len {
                    let slot = crate::ids::Slot(run.first_slot.0 + u64::from(offset));
                    view.verify(slot, self.scope_id).map_err(|problem| {
                        let point = run.first_point.0 + offset;
                        corrupted(
                            slots.path(slot),
                            format!("vector of point {point} in slot {}: {problem}", slot.0),
                        )
                    })?;
                }
            }
            self.verified_chunks.write().insert(chunk);
        }
        Ok(())
    }

    /// Whether every slot was checked since the namespace was loaded, and so was in memory at least once.
    pub(crate) fn is_verified(&self, state: &State) -> bool {
        self.verified_chunks.read().len() >= u64::from(state.next_point.div_ceil(CHUNK_POINTS))
    }

    /// Points from `first` on were just written by this process.
    pub(crate) fn trust(&self, state: &State) {
        self.verified_chunks
            .write()
            .insert_range(0..state.next_point.div_ceil(CHUNK_POINTS));
    }
}
