//! Which points are in any of some lists and sets?
//!
//! Few points are sorted. Many are marked in blocks of bits, one store each.

use roaring::RoaringBitmap;

use super::packed;
use super::point_set::{BLOCK_BYTES, BLOCK_POINTS, set_bit};

/// So many points, and more, are marked in blocks.
const BLOCKS_POINTS_MIN: usize = 4_096;

/// A union that is being made.
#[derive(Debug, Default)]
pub(super) struct Union {
    few: Vec<u32>,
    /// By their numbers; empty while there are few points.
    blocks: Vec<Option<Box<[u8]>>>,
}

impl Union {
    /// Adds a packed list.
    #[inline]
    pub(super) fn add_list(&mut self, list: &[u8]) {
        for point in packed::points(list) {
            if self.blocks.is_empty() {
                self.add_few(point);
            } else {
                set_bit(self.block(point / BLOCK_POINTS), point);
            }
        }
    }

    fn add_few(&mut self, point: u32) {
        self.few.push(point);
        if self.few.len() == BLOCKS_POINTS_MIN {
            for point in std::mem::take(&mut self.few) {
                set_bit(self.block(point / BLOCK_POINTS), point);
            }
        }
    }

    /// Adds the bits of a block.
    pub(super) fn add_block(&mut self, number: u32, bits: &[u8]) {
        for (sum, bits) in self.block(number).iter_mut().zip(bits) {
            *sum |= bits;
        }
    }

    #[inline]
    fn block(&mut self, number: u32) -> &mut [u8] {
        let number = number as usize;
        if self.blocks.len() <= number {
            self.blocks.resize(number + 1, None);
        }
        self.blocks[number].get_or_insert_with(|| vec![0; BLOCK_BYTES].into_boxed_slice())
    }

    pub(super) fn finish(mut self) -> RoaringBitmap {
        let mut sum = RoaringBitmap::new();
        for (number, bits) in (0..).zip(&self.blocks) {
            if let Some(bits) = bits {
                sum |= RoaringBitmap::from_lsb0_bytes(number * BLOCK_POINTS, bits);
            }
        }
        self.few.sort_unstable();
        if sum.is_empty() {
            self.few.dedup();
            return RoaringBitmap::from_sorted_iter(self.few).expect("they were just sorted");
        }
        sum.extend(self.few);
        sum
    }
}
