//! Slots that a batch takes, writes and gives back.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use llmspell_core::Result;

use super::{Fail, changing, looking};
use crate::base::ids::{Extent, Generation, PointId, ScopeId, Slot, SpaceId};
use crate::namespace::State;
use crate::slots::{FreeChanges, SlotAllocator, layout};
use crate::spaces::registry::Space;
use crate::truth::{Rows, Truth};

/// Slots are written in pieces of about this size, in bytes.
const WRITE_BYTES: usize = 4 << 20;

/// The free slots of each space that was written to since the last failure. After one the rows know better.
pub(in crate::engine) type Allocators = HashMap<SpaceId, SlotAllocator>;

/// What a batch changes of slots.
pub(super) struct SlotChanges<'a> {
    truth: &'a Truth,
    allocators: &'a mut Allocators,
    /// Spaces whose slot files are synced with the transaction, or let go.
    pub(super) written: Vec<Arc<Space>>,
    /// One past the last slot, of spaces where that changed.
    ends: BTreeMap<SpaceId, u64>,
}

impl<'a> SlotChanges<'a> {
    pub(super) fn new(truth: &'a Truth, allocators: &'a mut Allocators) -> Self {
        Self {
            truth,
            allocators,
            written: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    /// Slots for runs of points.
    pub(super) fn take(
        &mut self,
        rows: &mut Rows<'_>,
        space: &Arc<Space>,
        runs: Vec<Range<u32>>,
    ) -> Result<Vec<Extent>, Fail> {
        let mut extents = Vec::with_capacity(runs.len());
        for run in runs {
            self.note_written(space);
            let allocator = allocator_of(self.truth, self.allocators, space.id).map_err(changing)?;
            let (pieces, changes) = allocator.take(run.end - run.start, space.slots.slots_per_file());
            let slot_end = allocator.end();
            space.slots.extend(slot_end).map_err(changing)?;
            rows.change_free_slots(space.id, &changes).map_err(changing)?;
            self.ends.insert(space.id, slot_end);
            let mut next = run.start;
            extents.extend(pieces.into_iter().map(|(first_slot, len)| {
                let extent = Extent {
                    first_point: PointId(next),
                    first_slot,
                    len,
                };
                next += len;
                extent
            }));
        }
        Ok(extents)
    }

    /// Gives back runs of slots that no reader uses.
    pub(super) fn give_back(&mut self, rows: &mut Rows<'_>, space: &Space, runs: &[(Slot, u32)]) -> Result<(), Fail> {
        let allocator = allocator_of(self.truth, self.allocators, space.id).map_err(looking)?;
        let give = |(first, len): &(Slot, u32)| allocator.give(*first, *len, space.slots.slots_per_file());
        let changes: Vec<FreeChanges> = runs.iter().map(give).collect();
        for change in changes {
            rows.change_free_slots(space.id, &change).map_err(changing)?;
        }
        Ok(())
    }

    /// Writes vectors into the slots that a state has for their points. Returns the generation of each slot; none for a point
    /// without a vector, which has no slot.
    pub(super) fn write<'v>(
        &mut self,
        space: &Arc<Space>,
        (scope_id, state): (ScopeId, &State),
        vectors: impl Iterator<Item = (PointId, &'v [f32])>,
    ) -> Result<Vec<Option<Generation>>, Fail> {
        self.note_written(space);
        let mut generations = Vec::with_capacity(vectors.size_hint().0);
        let mut first: Option<Slot> = None;
        let mut bytes = Vec::new();
        let mut next = None;
        for (point, vector) in vectors {
            if vector.is_empty() {
                generations.push(None);
                continue;
            }
            let slot = state.slot(point).expect("a point that was given out has a slot");
            let is_next = next == Some(slot) && !slot.0.is_multiple_of(space.slots.slots_per_file());
            if let Some(start) = first
                && (!is_next || bytes.len() >= WRITE_BYTES)
            {
                space.slots.write(start, &bytes).map_err(changing)?;
                bytes.clear();
                first = None;
            }
            first.get_or_insert(slot);
            next = Some(Slot(slot.0 + 1));
            let generation = space.slots.next_generation(slot).map_err(changing)?;
            layout::encode(slot, generation, scope_id, vector, &mut bytes);
            generations.push(Some(generation));
        }
        if let Some(start) = first {
            space.slots.write(start, &bytes).map_err(changing)?;
        }
        Ok(generations)
    }

    /// A space is dropped, and its slots with it.
    pub(super) fn forget(&mut self, space: SpaceId) {
        self.ends.remove(&space);
    }

    /// Writes the rows that are left.
    pub(super) fn finish(&self, rows: &mut Rows<'_>) -> Result<()> {
        self.ends
            .iter()
            .try_for_each(|(space, end)| rows.set_slot_end(*space, *end))
    }

    fn note_written(&mut self, space: &Arc<Space>) {
        if !self.written.iter().any(|written| written.id == space.id) {
            self.written.push(Arc::clone(space));
        }
    }
}

/// The allocator of a space, from the rows if it is not in memory.
pub(in crate::engine) fn allocator_of<'a>(
    truth: &Truth,
    allocators: &'a mut Allocators,
    space: SpaceId,
) -> Result<&'a mut SlotAllocator> {
    match allocators.entry(space) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => {
            let read = truth.read()?;
            Ok(entry.insert(SlotAllocator::new(read.slot_end(space)?, read.free_slots(space)?)))
        }
    }
}

/// Slots one after the other, as runs.
pub(in crate::engine) fn runs_of(slots: impl IntoIterator<Item = Slot>) -> Vec<(Slot, u32)> {
    let mut runs: Vec<(Slot, u32)> = Vec::new();
    for slot in slots {
        match runs.last_mut() {
            Some((first, len)) if first.0 + u64::from(*len) == slot.0 => *len += 1,
            _ => runs.push((slot, 1)),
        }
    }
    runs
}
