//! Are the slots of the living points undamaged?

use llmspell_core::Result;

use super::Namespace;
use super::state::State;
use crate::error::corrupted;
use crate::slots::{SlotStore, SlotView};

/// Points whose slots are verified together.
const CHUNK_POINTS: u32 = 256;

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

    /// All slots of a new namespace were just written by this process.
    pub(crate) fn trust(&self, state: &State) {
        self.verified_chunks
            .write()
            .insert_range(0..state.next_point.div_ceil(CHUNK_POINTS));
    }
}
