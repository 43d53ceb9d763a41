//! Verification of the slots of living points.
//!
//! A flipped bit could hide a near neighbor as well as show a wrong one. So a slot is verified before its vector is
//! used for the first time since the namespace was loaded: by a scan all of them, by a walk of the graph those that it
//! meets. Later uses trust the memory.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use llmspell_core::{Result, StorageError};
use parking_lot::RwLock;
use roaring::RoaringBitmap;

use super::Namespace;
use super::state::State;
use super::weight::bitmap_bytes;
use crate::base::error::corrupted;
use crate::base::ids::{PointId, Slot};
use crate::slots::{SlotStore, SlotView};

/// Points whose slots a scan verifies together.
const CHUNK_POINTS: u32 = 256;

/// The slots that were found undamaged since the namespace was loaded.
#[derive(Debug, Default)]
pub(super) struct Verified {
    points: PointSet,
    /// Chunks of points that a scan need not verify again.
    chunks: RwLock<RoaringBitmap>,
}

impl Verified {
    /// Approximate bytes of RAM.
    pub(super) fn bytes(&self) -> u64 {
        self.points.bytes() as u64 + bitmap_bytes(&self.chunks.read())
    }
}

impl Namespace {
    /// Verifies the slots of living points that were not verified since the namespace was loaded.
    ///
    /// # Errors
    ///
    /// `Corrupted` with the file, the slot and the point.
    pub(crate) fn verify(&self, state: &State, slots: &SlotStore, view: &SlotView) -> Result<()> {
        if self.is_verified(state) {
            return Ok(());
        }
        let chunks = state.next_point.div_ceil(CHUNK_POINTS);
        let unverified: Vec<u32> = {
            let verified = self.verified.chunks.read();
            (0..chunks).filter(|chunk| !verified.contains(*chunk)).collect()
        };
        for chunk in unverified {
            let points = chunk * CHUNK_POINTS..(chunk + 1).saturating_mul(CHUNK_POINTS);
            for run in state.runs(points, &state.dead) {
                for offset in 0..run.len {
                    let point = PointId(run.first_point.0 + offset);
                    self.verify_slot(point, Slot(run.first_slot.0 + u64::from(offset)), slots, view)?;
                }
            }
            self.verified.chunks.write().insert(chunk);
        }
        Ok(())
    }

    /// The same for some points.
    ///
    /// # Errors
    ///
    /// `Corrupted` with the file, the slot and the point.
    pub(crate) fn verify_points(
        &self,
        points: impl IntoIterator<Item = u32>,
        state: &State,
        slots: &SlotStore,
        view: &SlotView,
    ) -> Result<()> {
        for point in points.into_iter().map(PointId) {
            let slot = state.slot(point).expect("living points have slots");
            self.verify_slot(point, slot, slots, view)?;
        }
        Ok(())
    }

    fn verify_slot(&self, point: PointId, slot: Slot, slots: &SlotStore, view: &SlotView) -> Result<()> {
        if self.is_point_verified(point) {
            return Ok(());
        }
        view.verify(slot, self.scope_id)
            .map_err(|problem| damaged_slot(slots, point, slot, problem))?;
        self.set_point_verified(point);
        Ok(())
    }

    /// Whether the slot of a point was verified since the namespace was loaded, and so was in memory at least once.
    pub(crate) fn is_point_verified(&self, point: PointId) -> bool {
        self.verified.points.contains(point)
    }

    /// The slot of a point has just been verified.
    pub(crate) fn set_point_verified(&self, point: PointId) {
        self.verified.points.insert(point);
    }

    /// Whether every slot was verified since the namespace was loaded, and so was in memory at least once.
    pub(crate) fn is_verified(&self, state: &State) -> bool {
        self.verified.chunks.read().len() >= u64::from(state.next_point.div_ceil(CHUNK_POINTS))
    }

    /// All slots of a new namespace were just written by this process.
    pub(crate) fn trust(&self, state: &State) {
        (0..state.next_point).for_each(|point| self.set_point_verified(PointId(point)));
        self.verified
            .chunks
            .write()
            .insert_range(0..state.next_point.div_ceil(CHUNK_POINTS));
    }
}

/// The error for a vector that differs from the written one.
pub(crate) fn damaged_slot(slots: &SlotStore, point: PointId, slot: Slot, problem: &str) -> StorageError {
    corrupted(
        slots.path(slot),
        format!("vector of point {} in slot {}: {problem}", point.0, slot.0),
    )
}

/// Points of the first part.
const FIRST_POINTS: u32 = u64::BITS;
/// The first part, and one for each further power of two.
const PARTS: usize = 1 + (u32::BITS - FIRST_POINTS.ilog2()) as usize;

/// A set of points that only grows, without locks. Parts double in size, so that few points take few bytes.
#[derive(Debug, Default)]
struct PointSet {
    first: AtomicU64,
    others: OnceLock<Box<[Part; PARTS - 1]>>,
}

type Part = OnceLock<Box<[AtomicU64]>>;

impl PointSet {
    /// The part of a point, the word in it, and the bit.
    fn place(PointId(point): PointId) -> (usize, usize, u64) {
        let part = (u32::BITS - (point / FIRST_POINTS).leading_zeros()) as usize;
        let first = if part == 0 { 0 } else { FIRST_POINTS << (part - 1) };
        let word = (point - first) / u64::BITS;
        (part, word as usize, 1 << (point % u64::BITS))
    }

    fn contains(&self, point: PointId) -> bool {
        let (part, word, bit) = Self::place(point);
        let word = match part {
            0 => Some(&self.first),
            _ => {
                let words = self.others.get().and_then(|others| others[part - 1].get());
                words.map(|words| &words[word])
            }
        };
        word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn insert(&self, point: PointId) {
        let (part, word, bit) = Self::place(point);
        let word = match part {
            0 => &self.first,
            _ => {
                let others = self
                    .others
                    .get_or_init(|| Box::new(std::array::from_fn(|_| Part::new())));
                let words = || (0..1_usize << (part - 1)).map(|_| AtomicU64::new(0)).collect();
                &others[part - 1].get_or_init(words)[word]
            }
        };
        word.fetch_or(bit, Ordering::Relaxed);
    }

    /// Bytes of RAM beside its own.
    fn bytes(&self) -> usize {
        let others = self.others.get().map_or(&[][..], |others| &others[..]);
        let words: usize = others
            .iter()
            .filter_map(|part| part.get())
            .map(|words| words.len())
            .sum();
        size_of_val(others) + words * size_of::<AtomicU64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_point_is_in_the_set_if_it_was_put_there(
            inserted in prop::collection::btree_set(0..5_000_u32, 0..40),
            probes in prop::collection::vec(0..10_000_u32, 40),
        ) {
            let set = PointSet::default();
            inserted.iter().for_each(|point| set.insert(PointId(*point)));
            let found: BTreeSet<u32> = (0..5_000).filter(|point| set.contains(PointId(*point))).collect();
            prop_assert_eq!(&found, &inserted);
            for probe in probes {
                prop_assert_eq!(set.contains(PointId(probe)), inserted.contains(&probe));
            }
        }
    }

    #[test]
    fn the_ends_of_the_parts_have_a_place_of_their_own() {
        let set = PointSet::default();
        let edges = (6..24).flat_map(|shift| [(1_u32 << shift) - 1, 1 << shift]);
        for edge in edges {
            assert!(!set.contains(PointId(edge)));
            set.insert(PointId(edge));
            assert!(set.contains(PointId(edge)));
        }
        assert!(!set.contains(PointId(u32::MAX)));
        assert_eq!(PointSet::place(PointId(u32::MAX)).0, PARTS - 1);
    }
}
