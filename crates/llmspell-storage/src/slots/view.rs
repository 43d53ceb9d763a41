//! Views: reading of slots.

use std::io;
use std::sync::Arc;

use super::layout::{self, HEADER_BYTES};
use super::map::SlotMemory;
use crate::base::ids::{Extent, Generation, ScopeId, Slot};
use crate::disk::DiskFile;

/// All slots of a space, as far as there was memory for them when the view was taken. Immutable; a view keeps its
/// memory alive.
///
/// Only of slots that a published state names, which the caller holds meanwhile: others may be written at any time. Without
/// one, [`read`](Self::read) copies a slot that lies in a file.
#[derive(Debug, Clone)]
pub(crate) struct SlotView {
    dim: usize,
    stride: usize,
    segments: Vec<Segment>,
}

/// Slots in one piece of memory.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) first_slot: u64,
    pub(super) slots: u64,
    pub(super) memory: Arc<SlotMemory>,
    /// The file behind it, and where in it the first slot begins; none in RAM.
    pub(super) file: Option<(Arc<dyn DiskFile>, u64)>,
}

/// Whether a reader may wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Only slots in RAM.
    Never,
    /// As long as it takes.
    Allowed,
}

impl SlotView {
    /// `segments` ascend and do not overlap.
    pub(super) fn new(dim: usize, segments: Vec<Segment>) -> Self {
        Self {
            dim,
            stride: layout::stride(dim),
            segments,
        }
    }

    /// The vector in a slot.
    ///
    /// # Panics
    ///
    /// If the view does not reach the slot: it must be taken after the state that names it.
    pub(crate) fn vector(&self, slot: Slot) -> &[f32] {
        let (segment, offset) = self.locate(slot);
        segment.memory.components(offset + HEADER_BYTES, self.dim)
    }

    /// All bytes of a slot.
    pub(crate) fn bytes(&self, slot: Slot) -> &[u8] {
        let (segment, offset) = self.locate(slot);
        segment.memory.bytes(offset, self.stride)
    }

    /// Copies all bytes of a slot through its file, so that none of its pages becomes ours, and a write at the same time
    /// does no more harm than torn bytes. In RAM the caller must hold a state that names the slot. False if it would have
    /// to wait for the disk and must not.
    pub(crate) fn read(&self, slot: Slot, bytes: &mut Vec<u8>, waiting: Waiting) -> io::Result<bool> {
        let (segment, offset) = self.locate(slot);
        let Some((file, start)) = &segment.file else {
            bytes.clear();
            bytes.extend_from_slice(segment.memory.bytes(offset, self.stride));
            return Ok(true);
        };
        bytes.resize(self.stride, 0);
        let offset = start + offset as u64;
        match waiting {
            Waiting::Never => file.read_cached(offset, bytes),
            Waiting::Allowed => file.read_at(offset, bytes).map(|()| true),
        }
    }

    /// Says whether the next slots are read in their order through the mapping, or here and there.
    pub(crate) fn will_read_in_order(&self, is_in_order: bool) {
        for segment in &self.segments {
            segment.memory.will_read(is_in_order);
        }
    }

    /// Asks the system to read a slot from the disk meanwhile, if it is in a file.
    pub(crate) fn will_need(&self, slot: Slot) {
        let (segment, offset) = self.locate(slot);
        if let Some((file, start)) = &segment.file {
            file.will_need(start + offset as u64, self.stride as u64);
        }
    }

    /// Copies the bytes before the components through the file of the slot.
    pub(super) fn read_header(&self, slot: Slot, header: &mut [u8; HEADER_BYTES]) -> io::Result<()> {
        let (segment, offset) = self.locate(slot);
        match &segment.file {
            Some((file, start)) => file.read_at(start + offset as u64, header),
            None => {
                header.copy_from_slice(segment.memory.bytes(offset, HEADER_BYTES));
                Ok(())
            }
        }
    }

    /// Whether the slots are in files; otherwise they are in RAM only.
    pub(crate) fn has_files(&self) -> bool {
        self.segments.iter().any(|segment| segment.file.is_some())
    }

    /// The generation a slot states, damaged or not.
    pub(crate) fn stated_generation(&self, slot: Slot) -> Generation {
        let (segment, offset) = self.locate(slot);
        layout::stated_generation(segment.memory.bytes(offset, HEADER_BYTES))
    }

    /// The generation of an undamaged slot of `scope`; the problem, otherwise.
    pub(crate) fn verify(&self, slot: Slot, scope: ScopeId) -> Result<Generation, &'static str> {
        layout::verify(slot, scope, self.bytes(slot))
    }

    /// The vectors of an extent, in order.
    pub(crate) fn vectors(&self, extent: Extent) -> impl Iterator<Item = &[f32]> {
        let mut next = extent.first_slot.0;
        let end = next + u64::from(extent.len);
        let mut current: Option<(&Segment, usize)> = None;
        std::iter::from_fn(move || {
            if next == end {
                return None;
            }
            let (segment, offset) = match current {
                Some((segment, offset)) if next < segment.first_slot + segment.slots => (segment, offset),
                _ => self.locate(Slot(next)),
            };
            next += 1;
            current = Some((segment, offset + self.stride));
            Some(segment.memory.components(offset + HEADER_BYTES, self.dim))
        })
    }

    /// Whether there was memory for a slot when the view was taken.
    pub(crate) fn reaches(&self, slot: Slot) -> bool {
        let after = self.segments.partition_point(|segment| segment.first_slot <= slot.0);
        self.segments[..after]
            .last()
            .is_some_and(|segment| slot.0 - segment.first_slot < segment.slots)
    }

    fn locate(&self, slot: Slot) -> (&Segment, usize) {
        let after = self.segments.partition_point(|segment| segment.first_slot <= slot.0);
        let segment = self.segments[..after]
            .last()
            .expect("a view reaches every slot that a state names");
        let place = slot.0 - segment.first_slot;
        assert!(place < segment.slots, "a view reaches every slot that a state names");
        let place = usize::try_from(place).expect("a segment fits into memory");
        (segment, place * self.stride)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}
