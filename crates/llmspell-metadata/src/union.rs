//! Unions of lists and sets of points.
//!
//! Few points are sorted. Many are marked in bitmap blocks, one store per point.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::packed;
use super::point_set::{BLOCK_BYTES, BLOCK_POINTS, set_bit};

/// From this many points on blocks are used: that takes less time than sorting.
const BLOCKS_POINTS_MIN: usize = 512;

/// The points of one block.
type Block = Box<[u8; BLOCK_BYTES]>;

/// A union under construction.
#[derive(Debug, Default)]
pub(super) struct Union {
    few: Vec<u32>,
    /// Indexed by block number; empty while there are few points.
    blocks: Vec<Option<Block>>,
}

impl Union {
    /// Adds a packed list, which is a part of `bytes`.
    #[inline]
    pub(super) fn add_list(&mut self, bytes: &[u8], list: Range<usize>) {
        if self.blocks.is_empty() && self.few.len() + list.len() < BLOCKS_POINTS_MIN {
            packed::visit(bytes, list, |point| self.few.push(point));
            return;
        }
        if !self.few.is_empty() {
            self.mark_few();
        }
        packed::visit(bytes, list, |point| self.mark(point));
    }

    #[cold]
    fn mark_few(&mut self) {
        std::mem::take(&mut self.few)
            .into_iter()
            .for_each(|point| self.mark(point));
    }

    #[inline]
    fn mark(&mut self, point: u32) {
        let number = point / BLOCK_POINTS;
        match self.blocks.get_mut(number as usize) {
            Some(Some(block)) => set_bit(&mut block[..], point),
            _ => set_bit(&mut self.new_block(number)[..], point),
        }
    }

    /// Adds the bits of a block.
    pub(super) fn add_block(&mut self, number: u32, bits: &[u8]) {
        for (sum, bits) in self.new_block(number).iter_mut().zip(bits) {
            *sum |= bits;
        }
    }

    /// The block with this number, created if necessary.
    #[cold]
    fn new_block(&mut self, number: u32) -> &mut Block {
        let number = number as usize;
        if self.blocks.len() <= number {
            self.blocks.resize(number + 1, None);
        }
        self.blocks[number].get_or_insert_with(|| Box::new([0; BLOCK_BYTES]))
    }

    pub(super) fn finish(mut self) -> RoaringBitmap {
        if self.blocks.is_empty() {
            self.few.sort_unstable();
            self.few.dedup();
            return RoaringBitmap::from_sorted_iter(self.few).expect("they were just sorted");
        }
        self.mark_few();
        let mut sum = RoaringBitmap::new();
        for (number, bits) in (0..).zip(&self.blocks) {
            if let Some(bits) = bits {
                sum |= RoaringBitmap::from_lsb0_bytes(number * BLOCK_POINTS, &bits[..]);
            }
        }
        sum
    }
}
