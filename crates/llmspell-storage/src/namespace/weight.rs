//! The weight of a namespace: its bytes of RAM, and whether it may be unloaded.
//!
//! Information that only RAM has must not be lost: whether older states are still held, and with them which points must
//! not be reused; and the part of an index that is in no file. Everything else is in the truth and in the files. See
//! decision 18.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use llmspell_core::StateScope;
use roaring::RoaringBitmap;

use super::{Namespace, State};
use crate::base::ids::Extent;

/// Overhead of the allocator for an allocation, and of an `Arc` for its content.
const ALLOCATION_BYTES: usize = 16;
const ARC_BYTES: usize = 16 + ALLOCATION_BYTES;
/// Bytes of a bitmap's container beside its content.
const CONTAINER_BYTES: u64 = 48;
/// Its entry among the loaded ones, half as many of which are empty, and a name of usual length.
const PLACE_BYTES: usize = size_of::<(StateScope, Arc<Namespace>)>() * 3 / 2 + 32 + ALLOCATION_BYTES;

impl Namespace {
    /// Bytes of RAM of all its parts and of its entry among the loaded ones, as far as known. Takes about a
    /// microsecond, however large it is.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let state = self.state();
        let own = size_of::<Self>() + size_of::<State>() + 2 * ARC_BYTES + PLACE_BYTES;
        (own + self.names.bytes()) as u64
            + self.tuning.bytes()
            + state.resident_bytes()
            + self.verified.bytes()
            + self.reuse.lock().bytes()
    }

    /// Whether none of its older states is held: then loading it again gives the same. Only for a caller that has the
    /// last reference and prevents new ones. For the current state this is a guess.
    pub(crate) fn is_quiet(&self) -> bool {
        let is_held = Arc::strong_count(&*self.current.read()) > 1;
        !is_held && self.builds.is_idle() && self.reuse.lock().is_quiet()
    }

    /// Whether its last state is held by nothing else. With [`Arc::get_mut`] for the namespace itself this guarantees
    /// an order that the counts in [`is_quiet`](Self::is_quiet) do not: all reads through dropped references happened
    /// before. Once it is unloaded, the next load takes every dead point as free, and writes slots that were read here.
    pub(crate) fn is_alone(&mut self) -> bool {
        Arc::get_mut(self.current.get_mut()).is_some()
    }

    /// Sets whether the index must be written to a file, so that the namespace can be unloaded.
    pub(crate) fn set_must_save_index(&self, is_to_be: bool) {
        self.must_save_index.store(is_to_be, Ordering::Relaxed);
    }

    /// Whether the index must be written to a file.
    pub(crate) fn must_save_index(&self) -> bool {
        self.must_save_index.load(Ordering::Relaxed)
    }
}

impl State {
    /// Bytes of RAM of its parts.
    fn resident_bytes(&self) -> u64 {
        let extents = ARC_BYTES + size_of::<Vec<Extent>>() + self.extents.capacity() * size_of::<Extent>();
        let bitmaps = [&self.dead, &self.tail, &self.without_vector];
        let bitmaps: u64 = bitmaps
            .map(|bitmap| ARC_BYTES as u64 + bitmap_bytes(bitmap))
            .iter()
            .sum();
        let index = self.index.as_ref().map_or(0, |index| index.resident_bytes());
        let metadata = self.metadata.as_ref().map_or(0, |index| index.memory_bytes());
        let texts = self.texts.as_ref().map_or(0, |index| index.memory_bytes());
        (extents + ARC_BYTES + self.expiries.bytes() + metadata + texts) as u64
            + bitmaps
            + index
            + self.known_filters.bytes()
    }
}

/// Approximate bytes of RAM of a bitmap.
pub(super) fn bitmap_bytes(bitmap: &RoaringBitmap) -> u64 {
    let Some(last) = bitmap.max() else {
        return size_of::<RoaringBitmap>() as u64;
    };
    let containers = bitmap.len().min(u64::from(last >> 16) + 1);
    size_of::<RoaringBitmap>() as u64 + bitmap.serialized_size() as u64 + containers * CONTAINER_BYTES
}
