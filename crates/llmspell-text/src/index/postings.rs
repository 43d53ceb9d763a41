//! Which points a term has, how often, and where: its postings.
//!
//! ```text
//! of fewer than 128 points    per point: distance × 2 + whether it occurs once: number │ occurrences, unless once: number
//!                             per component: distance: number │ weight f32
//! of 128 and more             bound [u8; 6] │ per block of 128, the last may be shorter:
//!                             last point u32 │ start of the block u32 │ bits of a distance u8 │ of a count u8 │ bound [u8; 6]
//!                             blocks
//!   a full block              distances - 1, packed │ occurrences - 1, packed; or weights, f32 each
//!   the last, if shorter      as of fewer than 128 points
//! behind both, in an index with positions:
//!                             of 128 and more, per block: start of its positions u32
//!                             per point, as in a row: distances of positions: numbers
//! ```
//!
//! Distances are to the point before; those of the first point of a list from -1, of the first of a block from the last of
//! the block before. Starts are from the first block, and from the first position. A last block that is shorter has 255
//! bits. Packed blocks are drawn in `bitpack.rs`.
//!
//! A *bound* is three pairs of `occurrences u8 │ code of a length u8`: each point of a block has at most as many occurrences
//! and at least the length of one of them, 255 stands for any number of occurrences, 0 for no pair. Of weights it is the
//! largest, f32, and two zeros. Scores depend on statistics that change, bounds do not.

use super::bitpack::{self, BLOCK};
use crate::varint;

/// Bytes of a bound.
pub(crate) const BOUND_BYTES: usize = 6;
/// Bytes of what the table says of a block.
pub(crate) const TABLE_ROW_BYTES: usize = 16;
/// Bits of a last block that is not packed.
pub(crate) const NOT_PACKED: u8 = 255;

/// What limits the scores of some points.
pub(crate) type Bound = [u8; BOUND_BYTES];

/// What the numbers beside points mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// How often a term occurs.
    Counts,
    /// Bits of a weight.
    Weights,
}

/// The postings of one term, in the order of the points.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Postings {
    pub(crate) points: Vec<u32>,
    /// Occurrences, or bits of weights.
    pub(crate) payloads: Vec<u32>,
    /// Positions as in rows, one point's behind the other's.
    pub(crate) positions: Vec<u8>,
    /// Where those of each point end.
    pub(crate) position_ends: Vec<usize>,
}

impl Postings {
    pub(crate) fn clear(&mut self) {
        self.points.clear();
        self.payloads.clear();
        self.positions.clear();
        self.position_ends.clear();
    }

    pub(crate) fn push(&mut self, point: u32, payload: u32, positions: &[u8]) {
        self.points.push(point);
        self.payloads.push(payload);
        self.positions.extend_from_slice(positions);
        self.position_ends.push(self.positions.len());
    }

    /// Appends the bytes without positions. `length` tells the code of a point's length.
    pub(crate) fn encode(&self, payload: Payload, length: impl Fn(u32) -> u8, out: &mut Vec<u8>) {
        let count = self.points.len();
        if count < BLOCK {
            put_short(&self.points, &self.payloads, None, payload, out);
            return;
        }
        let blocks = count.div_ceil(BLOCK);
        let start = out.len();
        out.resize(start + BOUND_BYTES + blocks * TABLE_ROW_BYTES, 0);
        let data = out.len();
        let (mut last, mut whole) = (None, BoundMaker::new(payload));
        for (number, points) in self.points.chunks(BLOCK).enumerate() {
            let payloads = &self.payloads[number * BLOCK..][..points.len()];
            let mut bound = BoundMaker::new(payload);
            for (point, payload) in points.iter().zip(payloads) {
                bound.add(*payload, length(*point));
                whole.add(*payload, length(*point));
            }
            let place = u32::try_from(out.len() - data).expect("the postings of a term are shorter than 4 GiB");
            let bits = put_block(points, payloads, last, payload, out);
            last = points.last().copied();
            let row = &mut out[start + BOUND_BYTES + number * TABLE_ROW_BYTES..][..TABLE_ROW_BYTES];
            row[..4].copy_from_slice(&last.unwrap_or(0).to_le_bytes());
            row[4..8].copy_from_slice(&place.to_le_bytes());
            row[8..10].copy_from_slice(&bits);
            row[10..].copy_from_slice(&bound.finish());
        }
        out[start..start + BOUND_BYTES].copy_from_slice(&whole.finish());
    }

    /// Appends the bytes of the positions.
    pub(crate) fn encode_positions(&self, out: &mut Vec<u8>) {
        if self.points.len() >= BLOCK {
            for first in (0..self.points.len()).step_by(BLOCK) {
                let start = first.checked_sub(1).map_or(0, |last| self.position_ends[last]);
                let start = u32::try_from(start).expect("the positions of a term are shorter than 4 GiB");
                out.extend_from_slice(&start.to_le_bytes());
            }
        }
        out.extend_from_slice(&self.positions);
    }
}

/// Appends a block, and says the bits of its numbers.
fn put_block(points: &[u32], payloads: &[u32], last: Option<u32>, payload: Payload, out: &mut Vec<u8>) -> [u8; 2] {
    if points.len() < BLOCK {
        put_short(points, payloads, last, payload, out);
        return [NOT_PACKED, NOT_PACKED];
    }
    let mut numbers = [0; BLOCK];
    let mut before = last;
    for (number, point) in numbers.iter_mut().zip(points) {
        *number = before.map_or(*point, |before| point - before - 1);
        before = Some(*point);
    }
    let point_bits = bitpack::bits_of(&numbers);
    bitpack::pack(&numbers, point_bits, out);
    if payload == Payload::Weights {
        out.extend(payloads.iter().flat_map(|weight| weight.to_le_bytes()));
        return [point_bits, 32];
    }
    for (number, count) in numbers.iter_mut().zip(payloads) {
        *number = count - 1;
    }
    let count_bits = bitpack::bits_of(&numbers);
    bitpack::pack(&numbers, count_bits, out);
    [point_bits, count_bits]
}

fn put_short(points: &[u32], payloads: &[u32], last: Option<u32>, payload: Payload, out: &mut Vec<u8>) {
    let mut before = last.map_or(0, |last| u64::from(last) + 1);
    for (point, number) in points.iter().zip(payloads) {
        let distance = u64::from(*point) - before;
        before = u64::from(*point) + 1;
        match payload {
            Payload::Counts => {
                varint::put(out, distance << 1 | u64::from(*number == 1));
                if *number != 1 {
                    varint::put(out, u64::from(*number));
                }
            }
            Payload::Weights => {
                varint::put(out, distance);
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }
}

/// Reads `count` points of a list that is not packed, fewer than 128, and says where it ends.
///
/// None if the bytes are not what [`Postings::encode`] makes: they end early, or a number is out of range.
pub(crate) fn get_short(
    bytes: &[u8],
    count: usize,
    last: Option<u32>,
    payload: Payload,
    points: &mut [u32; BLOCK],
    payloads: &mut [u32; BLOCK],
) -> Option<usize> {
    let mut at = 0;
    let mut before = last.map_or(0, |last| u64::from(last) + 1);
    for (point, number) in points.iter_mut().zip(payloads).take(count) {
        let head = varint::get(bytes, &mut at)?;
        let distance = match payload {
            Payload::Counts => {
                *number = if head & 1 == 1 {
                    1
                } else {
                    varint::get_u32(bytes, &mut at)?
                };
                head >> 1
            }
            Payload::Weights => {
                *number = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
                at += 4;
                head
            }
        };
        let place = before.checked_add(distance)?;
        *point = u32::try_from(place).ok()?;
        before = place + 1;
    }
    Some(at)
}

/// Finds the bound of some points.
pub(crate) struct BoundMaker {
    payload: Payload,
    /// The largest weight.
    weight: f32,
    /// Pairs of which none has more occurrences and a smaller length than another: occurrences fall, lengths fall.
    pairs: Vec<(u8, u8)>,
}

impl BoundMaker {
    pub(crate) fn new(payload: Payload) -> Self {
        Self {
            payload,
            weight: 0.0,
            pairs: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, payload: u32, length: u8) {
        if self.payload == Payload::Weights {
            self.weight = self.weight.max(f32::from_bits(payload));
            return;
        }
        let pair = (u8::try_from(payload).unwrap_or(u8::MAX), length);
        let covers = |a: &(u8, u8), b: &(u8, u8)| a.0 >= b.0 && a.1 <= b.1;
        if self.pairs.iter().any(|there| covers(there, &pair)) {
            return;
        }
        self.pairs.retain(|there| !covers(&pair, there));
        let place = self.pairs.partition_point(|there| there.0 > pair.0);
        self.pairs.insert(place, pair);
    }

    pub(crate) fn finish(mut self) -> Bound {
        let mut bound = [0; BOUND_BYTES];
        if self.payload == Payload::Weights {
            bound[..4].copy_from_slice(&self.weight.to_le_bytes());
            return bound;
        }
        // Of many occurrences one more says least, so pairs of the most are joined.
        while self.pairs.len() > BOUND_BYTES / 2 {
            let (occurrences, _) = self.pairs.remove(0);
            self.pairs[0].0 = occurrences;
        }
        for (place, (occurrences, length)) in bound.as_chunks_mut::<2>().0.iter_mut().zip(self.pairs) {
            *place = [occurrences, length];
        }
        bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_postings_never_change() {
        let mut short = Postings::default();
        short.push(0, 1, &[5]);
        short.push(3, 2, &[1, 1]);
        let mut out = Vec::new();
        short.encode(Payload::Counts, |_| 7, &mut out);
        short.encode_positions(&mut out);
        assert_eq!(out, [1, 4, 2, 5, 1, 1]);
        out.clear();
        short.encode(Payload::Weights, |_| 0, &mut out);
        assert_eq!(out, [0, 1, 0, 0, 0, 2, 2, 0, 0, 0]);

        let mut long = Postings::default();
        for point in 0..130 {
            long.push(2 * point, if point == 9 { 3 } else { 1 }, &[1]);
        }
        out.clear();
        long.encode(Payload::Counts, |point| if point == 18 { 40 } else { 20 }, &mut out);
        #[rustfmt::skip]
        let head = [
            3, 40, 1, 20, 0, 0,
            254, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 40, 1, 20, 0, 0,
            2, 1, 0, 0, 48, 0, 0, 0, 255, 255, 1, 20, 0, 0, 0, 0,
        ];
        assert_eq!(out[..38], head);
        assert_eq!(out[38 + 48..], [3, 3]);
        out.clear();
        long.encode_positions(&mut out);
        assert_eq!((out.len(), &out[..8]), (8 + 130, &[0, 0, 0, 0, 128, 0, 0, 0][..]));
    }

    #[test]
    fn a_bound_covers_each_pair() {
        let pairs = [(1, 4), (2, 8), (3, 16), (9, 30), (300, 90), (2, 9), (1, 200)];
        let mut maker = BoundMaker::new(Payload::Counts);
        pairs.iter().for_each(|(count, length)| maker.add(*count, *length));
        let bound = maker.finish();
        assert_eq!(bound, [255, 16, 2, 8, 1, 4]);
    }
}
