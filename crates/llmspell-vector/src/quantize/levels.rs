//! The levels of a code in memory, laid out so that a product with a query is fast.
//!
//! A code of `bits` bits per component is `bits / 4` layers of half bytes, then `bits % 4` planes of single bits:
//!
//! ```text
//! byte 0              padded/2 × (bits/4)      + padded/8 × (bits%4)
//!      │ half bytes …  │ planes …               │
//! ```
//!
//! * The lowest `bits % 4` bits of a level are in the planes, the lowest first: component `i` is bit `i % 8` of byte
//!   `i / 8` of a plane.
//! * The bits above are in the layers, the lowest first. Of each 64 components, the first 32 are the low halves of 32
//!   bytes and the last 32 the high halves.
//!
//! So every width takes exactly its bits. One to three bits are compared by counting common bits, four and eight by
//! products of bytes, and the widths between by both. With a query of eight bits a plane costs more than half of what a
//! layer costs: from three bits on, planes save memory and no time.

use crate::kernels::{CodeKernels, PADDING, PLANE_BLOCK, PlaneBlock};

/// Components whose half bytes are packed together.
const BLOCK: usize = PADDING;

/// Where the levels of a code of one width and length are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Levels {
    padded: usize,
    bits: u8,
}

/// A query of whole numbers, in the forms that layers and planes are compared with.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueryLevels {
    /// For layers; empty if there are none.
    bytes: Vec<i8>,
    /// For planes: two's complement, in blocks as [`CodeKernels::plane_dot`] wants them.
    planes: Vec<PlaneBlock>,
}

impl Levels {
    /// Levels of `padded` components, a multiple of 64, of 1 to 8 bits.
    pub(crate) fn new(padded: usize, bits: u8) -> Self {
        Self { padded, bits }
    }

    /// The largest level.
    pub(crate) fn top(self) -> u8 {
        (0xff_u16 >> (8 - self.bits)) as u8
    }

    /// Bytes of a code.
    pub(crate) fn code_bytes(self) -> usize {
        self.padded / 8 * usize::from(self.bits)
    }

    fn planes(self) -> u8 {
        self.bits % 4
    }

    /// Writes all levels of a code.
    pub(crate) fn pack(self, levels: &[u8], code: &mut [u8]) {
        let (layers, planes) = code.split_at_mut(self.padded / 2 * usize::from(self.bits / 4));
        for (layer, bytes) in layers.chunks_exact_mut(self.padded / 2).enumerate() {
            let shift = self.planes() + 4 * layer as u8;
            let blocks = levels.as_chunks::<BLOCK>().0.iter();
            for (levels, bytes) in blocks.zip(bytes.as_chunks_mut::<{ BLOCK / 2 }>().0) {
                let (low, high) = levels.split_at(BLOCK / 2);
                for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
                    *byte = low >> shift & 15 | (high >> shift & 15) << 4;
                }
            }
        }
        for (plane, bytes) in planes.chunks_exact_mut(self.padded / 8).enumerate() {
            pack_plane(levels, plane, bytes);
        }
    }

    /// The levels of a code, in blocks of 64 components.
    pub(crate) fn blocks(self, code: &[u8]) -> impl Iterator<Item = [u8; BLOCK]> {
        let (layers, planes) = code.split_at(self.padded / 2 * usize::from(self.bits / 4));
        let shift = self.planes();
        (0..self.padded / BLOCK).map(move |block| {
            let mut levels = [0; BLOCK];
            for (plane, bytes) in planes.chunks_exact(self.padded / 8).enumerate() {
                let bytes = &bytes[block * BLOCK / 8..][..BLOCK / 8];
                for (i, level) in levels.iter_mut().enumerate() {
                    *level |= (bytes[i / 8] >> (i % 8) & 1) << plane;
                }
            }
            for (layer, bytes) in layers.chunks_exact(self.padded / 2).enumerate() {
                let bytes = &bytes[block * BLOCK / 2..][..BLOCK / 2];
                let (low, high) = levels.split_at_mut(BLOCK / 2);
                for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
                    *low |= (byte & 15) << (shift + 4 * layer as u8);
                    *high |= (byte >> 4) << (shift + 4 * layer as u8);
                }
            }
            levels
        })
    }

    /// Sum of `level[i] * query[i]`.
    #[inline]
    pub(crate) fn dot(self, kernels: CodeKernels, code: &[u8], query: &QueryLevels) -> i32 {
        if self.bits == 4 {
            return kernels.nibble_dot(code, &query.bytes);
        }
        let (mut layers, mut planes) = code.split_at(self.padded / 2 * usize::from(self.bits / 4));
        // Not `chunks_exact`, which divides: that would take as long as the product.
        let (mut sum, mut shift) = (0, self.planes());
        while let Some((layer, others)) = layers.split_at_checked(self.padded / 2) {
            sum += kernels.nibble_dot(layer, &query.bytes) << shift;
            (layers, shift) = (others, shift + 4);
        }
        shift = 0;
        while let Some((plane, others)) = planes.split_at_checked(self.padded / 8) {
            sum += kernels.plane_dot(plane, &query.planes) << shift;
            (planes, shift) = (others, shift + 1);
        }
        sum
    }
}

impl QueryLevels {
    /// Rounds `components * scale`, which must fit into `bits` bits with their sign; returns the sum of what they became.
    pub(crate) fn prepare(
        &mut self,
        levels: Levels,
        (components, scale): (&[f32], f32),
        bits: usize,
        kernels: CodeKernels,
    ) -> i32 {
        self.bytes.resize(components.len(), 0);
        let sum = kernels.quantize_bytes(components, scale, &mut self.bytes);
        self.planes.clear();
        if levels.planes() > 0 {
            for levels in self.bytes.chunks(8 * PLANE_BLOCK) {
                for plane in 0..bits {
                    let mut block = [0; PLANE_BLOCK];
                    pack_plane(levels, plane, &mut block[..levels.len() / 8]);
                    self.planes.push(block);
                }
            }
        }
        sum
    }
}

/// Bit `plane` of each level.
fn pack_plane<T: Copy + Into<i16>>(levels: &[T], plane: usize, bytes: &mut [u8]) {
    for (levels, byte) in levels.as_chunks::<8>().0.iter().zip(bytes) {
        let bits = levels.map(|level| (level.into() >> plane & 1) as u8);
        *byte = (0..8).fold(0, |byte, i| byte | bits[i] << i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn products_are_those_of_the_levels_for_every_width() {
        let mut random = Random::new(1);
        for padded in [64, 384, 4096] {
            for bits in 1..=8 {
                let layout = Levels::new(padded, bits);
                let all = |level: u8| vec![level; padded];
                let mixed = (0..padded).map(|_| random.next() as u8 & layout.top()).collect();
                let query: Vec<i8> = (0..padded).map(|_| (random.below(255) as i32 - 127) as i8).collect();
                let small: Vec<i8> = query.iter().map(|level| level >> 4).collect();
                for levels in [mixed, all(layout.top()), all(0)] {
                    let mut code = vec![0xaa; layout.code_bytes()];
                    layout.pack(&levels, &mut code);
                    assert!(layout.blocks(&code).flatten().eq(levels.iter().copied()));
                    for (query, query_bits) in [(&query, 8), (&small, 4), (&vec![-127; padded], 8)] {
                        let exact: i32 = levels
                            .iter()
                            .zip(query)
                            .map(|(level, query)| i32::from(*level) * i32::from(*query))
                            .sum();
                        let mut prepared = QueryLevels::default();
                        let components: Vec<f32> = query.iter().map(|level| f32::from(*level)).collect();
                        let sum = prepared.prepare(layout, (&components, 1.0), query_bits, CodeKernels::detect());
                        assert_eq!(sum, query.iter().map(|level| i32::from(*level)).sum::<i32>());
                        let dot = layout.dot(CodeKernels::detect(), &code, &prepared);
                        assert_eq!(dot, exact, "{padded} components of {bits} bits");
                    }
                }
            }
        }
    }

    #[test]
    fn the_bytes_of_a_code_never_change() {
        let mut levels = [0; 64];
        (levels[0], levels[9], levels[32], levels[63]) = (0b101_1101, 0b000_0010, 0b111_1000, 0b011_0111);
        let mut code = [0; 56];
        Levels::new(64, 7).pack(&levels, &mut code);

        // The upper four bits as half bytes, then a plane for each of the lower three.
        let mut expected = [0; 56];
        (expected[0], expected[31]) = (0xfb, 0x60);
        (expected[32], expected[39]) = (0b1, 0x80);
        (expected[41], expected[47]) = (0b10, 0x80);
        (expected[48], expected[55]) = (0b1, 0x80);
        assert_eq!(code, expected);
    }
}
