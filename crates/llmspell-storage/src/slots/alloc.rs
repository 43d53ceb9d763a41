//! The allocator of slots: which are free.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::Slot;

/// Shorter free runs are kept for requests of that size: a scope stores each of its pieces. Shorter in tests.
const PIECE_SLOTS_MIN: u32 = if cfg!(test) { 5 } else { 64 };

/// The free slots of one space: runs that were given back, and everything from `end` on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct SlotAllocator {
    end: u64,
    by_place: BTreeMap<u64, u32>,
    by_len: BTreeSet<(u32, u64)>,
}

/// What a call changed, for the rows on disk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FreeChanges {
    /// Runs that are no runs of their own any more, by their first slot.
    pub(crate) removed: Vec<u64>,
    /// New runs: first slot, length.
    pub(crate) added: Vec<(u64, u32)>,
}

impl SlotAllocator {
    /// From the rows on disk.
    pub(crate) fn new(end: u64, free: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let mut allocator = Self { end, ..Self::default() };
        for (first, len) in free {
            allocator.add(first, len);
        }
        allocator
    }

    /// One past the last slot that was ever used.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Takes `count` slots: the smallest run that holds them, else the largest ones, as long as they are not too small, and
    /// new ones at the end. No piece crosses a multiple of `slots_per_file`.
    pub(crate) fn take(&mut self, count: u32, slots_per_file: u64) -> (Vec<(Slot, u32)>, FreeChanges) {
        let mut changes = FreeChanges::default();
        let mut pieces = Vec::new();
        let mut rest = count;
        while rest > 0 {
            let fitting = self.by_len.range((rest, 0)..).next().copied();
            let largest = || self.by_len.last().copied().filter(|(len, _)| *len >= PIECE_SLOTS_MIN);
            let Some((len, first)) = fitting.or_else(largest) else {
                break;
            };
            let taken = len.min(rest);
            self.remove(first, len);
            changes.removed.push(first);
            if len > taken {
                self.add(first + u64::from(taken), len - taken);
                changes.added.push((first + u64::from(taken), len - taken));
            }
            pieces.push((Slot(first), taken));
            rest -= taken;
        }
        while rest > 0 {
            let room = slots_per_file - self.end % slots_per_file;
            let len = rest.min(u32::try_from(room).unwrap_or(u32::MAX));
            pieces.push((Slot(self.end), len));
            self.end += u64::from(len);
            rest -= len;
        }
        (pieces, changes)
    }

    /// Gives a run back. It grows together with its neighbors within one file.
    pub(crate) fn give(&mut self, first: Slot, len: u32, slots_per_file: u64) -> FreeChanges {
        let mut changes = FreeChanges::default();
        let (mut first, mut len) = (first.0, len);
        let joins = |left_end: u64| !left_end.is_multiple_of(slots_per_file);
        if let Some((&before, &before_len)) = self.by_place.range(..first).next_back()
            && before + u64::from(before_len) == first
            && joins(first)
            && let Some(sum) = before_len.checked_add(len)
        {
            self.remove(before, before_len);
            changes.removed.push(before);
            (first, len) = (before, sum);
        }
        let end = first + u64::from(len);
        if let Some(&after_len) = self.by_place.get(&end)
            && joins(end)
            && let Some(sum) = len.checked_add(after_len)
        {
            self.remove(end, after_len);
            changes.removed.push(end);
            len = sum;
        }
        self.add(first, len);
        changes.added.push((first, len));
        changes
    }

    /// The whole free run that a free slot is part of.
    pub(crate) fn free_run(&self, slot: Slot) -> Option<(Slot, u32)> {
        let (first, len) = self.by_place.range(..=slot.0).next_back()?;
        (slot.0 - first < u64::from(*len)).then_some((Slot(*first), *len))
    }

    fn add(&mut self, first: u64, len: u32) {
        self.by_place.insert(first, len);
        self.by_len.insert((len, first));
    }

    fn remove(&mut self, first: u64, len: u32) {
        self.by_place.remove(&first);
        self.by_len.remove(&(len, first));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_run_that_fits_is_taken_and_the_rest_stays_free() {
        let mut allocator = SlotAllocator::new(100, [(0, 10), (20, 4)]);
        let (pieces, changes) = allocator.take(3, 1000);
        assert_eq!(pieces, [(Slot(20), 3)]);
        assert_eq!(
            changes,
            FreeChanges {
                removed: vec![20],
                added: vec![(23, 1)]
            }
        );
        // No run holds all of these: the largest, and the rest where it fits.
        let (pieces, changes) = allocator.take(11, 1000);
        assert_eq!(pieces, [(Slot(0), 10), (Slot(23), 1)]);
        assert_eq!(changes.removed, [0, 23]);
        assert_eq!(changes.added, []);
        assert_eq!(allocator.take(11, 1000).0, [(Slot(100), 11)]);
    }

    #[test]
    fn runs_that_are_too_small_are_not_put_together() {
        let mut allocator = SlotAllocator::new(100, [(0, 4), (20, 4), (40, 6)]);
        assert_eq!(allocator.take(12, 1000).0, [(Slot(40), 6), (Slot(100), 6)]);
        assert_eq!(allocator.free_run(Slot(22)), Some((Slot(20), 4)));
        assert_eq!(allocator.free_run(Slot(24)), None);
        assert_eq!(allocator.free_run(Slot(41)), None);
    }

    #[test]
    fn new_slots_do_not_cross_the_end_of_a_file() {
        let mut allocator = SlotAllocator::new(6, []);
        assert_eq!(allocator.take(10, 8).0, [(Slot(6), 2), (Slot(8), 8)]);
    }

    proptest! {
        /// Slots are taken by one holder at a time, never twice; the rows follow the memory.
        #[test]
        fn no_slot_has_two_holders(steps in prop::collection::vec((1..9_u32, any::<bool>()), 1..60)) {
            const SLOTS_PER_FILE: u64 = 16;
            let mut allocator = SlotAllocator::default();
            let mut rows: BTreeMap<u64, u32> = BTreeMap::new();
            let mut held: Vec<(Slot, u32)> = Vec::new();
            for (count, give) in steps {
                let changes = if give && !held.is_empty() {
                    let (slot, len) = held.swap_remove(count as usize % held.len());
                    allocator.give(slot, len, SLOTS_PER_FILE)
                } else {
                    let (pieces, changes) = allocator.take(count, SLOTS_PER_FILE);
                    prop_assert_eq!(pieces.iter().map(|(_, len)| len).sum::<u32>(), count);
                    held.extend(pieces);
                    changes
                };
                for first in changes.removed {
                    prop_assert!(rows.remove(&first).is_some());
                }
                rows.extend(changes.added);

                let mut seen = BTreeSet::new();
                let free = rows.iter().map(|(first, len)| (Slot(*first), *len));
                for (slot, len) in held.iter().copied().chain(free) {
                    prop_assert_eq!(slot.0 / SLOTS_PER_FILE, (slot.0 + u64::from(len) - 1) / SLOTS_PER_FILE);
                    for slot in slot.0..slot.0 + u64::from(len) {
                        prop_assert!(seen.insert(slot), "slot {} has two holders", slot);
                    }
                }
                prop_assert_eq!(seen.len() as u64, allocator.end());
            }
        }
    }
}
