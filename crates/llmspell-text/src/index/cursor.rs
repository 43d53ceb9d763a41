//! The postings of a term, read in the order of the points, with jumps over blocks that are not asked for.

use super::bitpack::{self, BLOCK, packed_bytes};
use super::dictionary::Term;
use super::postings::{BOUND_BYTES, Bound, BoundMaker, NOT_PACKED, Payload, TABLE_ROW_BYTES, get_short};
use crate::varint;

/// A place in the postings of a term. Starts before the first point.
pub(crate) struct Cursor<'a> {
    payload: Payload,
    count: usize,
    bound: Bound,
    /// What is known of each block; of a list that is not packed nothing.
    table: &'a [[u8; TABLE_ROW_BYTES]],
    blocks: &'a [u8],
    positions: &'a [u8],
    /// The block that may have the next point asked for.
    block: usize,
    /// The block whose points are read.
    loaded: Option<usize>,
    has_payloads: bool,
    points: [u32; BLOCK],
    payloads: [u32; BLOCK],
    len: usize,
    at: usize,
    /// The block, the place in it and the start of the positions that were found last.
    found: (usize, usize, usize),
}

impl<'a> Cursor<'a> {
    /// Reads a term whose postings and positions are in `section`. `length` tells the code of a point's length.
    ///
    /// None if the bytes are damaged.
    pub(crate) fn new(section: &'a [u8], term: &Term, payload: Payload, length: impl Fn(u32) -> u8) -> Option<Self> {
        let bytes = section.get(term.postings.clone())?;
        let count = term.count as usize;
        let mut cursor = Self {
            payload,
            count,
            bound: [0; BOUND_BYTES],
            table: &[],
            blocks: bytes,
            positions: section.get(term.positions.clone())?,
            block: 0,
            loaded: None,
            has_payloads: false,
            points: [0; BLOCK],
            payloads: [0; BLOCK],
            len: 0,
            at: 0,
            found: (usize::MAX, 0, 0),
        };
        if count < BLOCK {
            get_short(bytes, count, None, payload, &mut cursor.points, &mut cursor.payloads)?;
            (cursor.loaded, cursor.has_payloads, cursor.len) = (Some(0), true, count);
            let mut bound = BoundMaker::new(payload);
            for (point, number) in cursor.points.iter().zip(&cursor.payloads).take(count) {
                bound.add(*number, length(*point));
            }
            cursor.bound = bound.finish();
        } else {
            let (bound, rest) = bytes.split_first_chunk()?;
            let (table, blocks) = rest.split_at_checked(count.div_ceil(BLOCK) * TABLE_ROW_BYTES)?;
            (cursor.bound, cursor.table, cursor.blocks) = (*bound, table.as_chunks().0, blocks);
        }
        Some(cursor)
    }

    /// How many points it has.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// What limits the scores of all points.
    pub(crate) fn bound(&self) -> &Bound {
        &self.bound
    }

    fn block_count(&self) -> usize {
        self.table.len().max(1)
    }

    /// Whether no block is left for the points that were asked for.
    pub(crate) fn is_done(&self) -> bool {
        self.block >= self.block_count()
    }

    fn last_of(&self, block: usize) -> u32 {
        match self.table.get(block) {
            Some([a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]),
            None if self.table.is_empty() && block == 0 && self.len > 0 => self.points[self.len - 1],
            None => u32::MAX,
        }
    }

    /// The last point of the block that it stands in.
    pub(crate) fn block_last(&self) -> u32 {
        self.last_of(self.block)
    }

    /// What limits the scores of the points of block `number` behind the one that it stands in, and the last of them.
    pub(crate) fn block_ahead(&self, number: usize) -> Option<(&Bound, u32)> {
        let block = self.block + number;
        if self.table.is_empty() {
            return (block == 0).then(|| (&self.bound, self.last_of(0)));
        }
        let row = self.table.get(block)?;
        Some((row[10..].first_chunk()?, self.last_of(block)))
    }

    /// Moves to the block that has the first point from `target` on, without reading it.
    pub(crate) fn seek_block(&mut self, target: u32) {
        if self.is_done() || self.block_last() >= target {
            return;
        }
        let (mut low, mut step) = (self.block + 1, 1);
        let end = self.block_count();
        // Blocks near by are asked for most.
        while low + step < end && self.last_of(low + step - 1) < target {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(end);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.last_of(middle) < target {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.block = low;
        if self.table.is_empty() {
            // All of the only block was passed.
            self.at = self.len;
        }
    }

    /// Moves to the first point from `target` on. Asked for with points that do not fall.
    pub(crate) fn seek(&mut self, target: u32) -> Option<u32> {
        self.seek_block(target);
        if self.is_done() {
            return None;
        }
        self.load();
        let rest = &self.points[self.at.min(self.len)..self.len];
        self.at += if rest.first().is_some_and(|point| *point >= target) {
            0
        } else {
            rest.partition_point(|point| *point < target)
        };
        self.current()
    }

    /// The point that it stands at, after [`seek`](Self::seek).
    pub(crate) fn current(&self) -> Option<u32> {
        (self.at < self.len && self.loaded == Some(self.block)).then(|| self.points[self.at])
    }

    /// The points of the block that it stands in, from the one on that it stands at, and the number beside each.
    pub(crate) fn rest_of_block(&mut self) -> (&[u32], &[u32]) {
        self.load();
        self.load_payloads();
        (&self.points[self.at..self.len], &self.payloads[self.at..self.len])
    }

    /// Moves over `count` points of the block.
    pub(crate) fn advance_in_block(&mut self, count: usize) {
        self.at += count;
    }

    /// The number beside the point that it stands at.
    pub(crate) fn payload(&mut self) -> u32 {
        self.load_payloads();
        self.payloads[self.at]
    }

    fn block_start(&self, block: usize) -> usize {
        match self.table.get(block) {
            Some([_, _, _, _, a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]) as usize,
            None => self.blocks.len(),
        }
    }

    /// Reads the points of the block that it stands in.
    #[inline]
    fn load(&mut self) {
        if self.loaded != Some(self.block) {
            self.read_block();
        }
    }

    fn read_block(&mut self) {
        let block = self.block;
        (self.loaded, self.at) = (Some(block), 0);
        let before = block.checked_sub(1).map(|before| self.last_of(before));
        let bytes = self.blocks.get(self.block_start(block)..).unwrap_or_default();
        let bits = self.table.get(block).map_or(NOT_PACKED, |row| row[8]);
        if bits == NOT_PACKED {
            let count = self.count - block * BLOCK;
            let read = get_short(bytes, count, before, self.payload, &mut self.points, &mut self.payloads);
            (self.has_payloads, self.len) = (true, read.map_or(0, |_| count));
            return;
        }
        bitpack::unpack(bytes, bits, &mut self.points);
        let mut point = before.unwrap_or(u32::MAX);
        for number in &mut self.points {
            point = point.wrapping_add(*number).wrapping_add(1);
            *number = point;
        }
        (self.has_payloads, self.len) = (false, BLOCK);
    }

    #[inline]
    fn load_payloads(&mut self) {
        if !self.has_payloads {
            self.read_payloads();
        }
    }

    fn read_payloads(&mut self) {
        self.has_payloads = true;
        let Some(row) = self.table.get(self.block) else {
            return;
        };
        let start = self.block_start(self.block) + packed_bytes(row[8]);
        let bytes = self.blocks.get(start..).unwrap_or_default();
        bitpack::unpack(bytes, row[9], &mut self.payloads);
        if self.payload == Payload::Counts {
            self.payloads
                .iter_mut()
                .for_each(|count| *count = count.wrapping_add(1));
        }
    }

    /// The positions of the point that it stands at, as distances of variable length; none where they were not kept.
    pub(crate) fn position_bytes(&mut self) -> Option<&'a [u8]> {
        self.load_payloads();
        let (starts, streams) = self.positions.split_at_checked(4 * self.table.len())?;
        let (block, mut at, mut start) = self.found;
        if block != self.block || at > self.at {
            let of_block = starts.as_chunks().0.get(self.block);
            (at, start) = (0, of_block.map_or(0, |start| u32::from_le_bytes(*start) as usize));
        }
        let between = self.payloads[at..self.at].iter().map(|count| *count as usize).sum();
        varint::skip(streams, &mut start, between)?;
        self.found = (self.block, self.at, start);
        let mut end = start;
        varint::skip(streams, &mut end, self.payloads[self.at] as usize)?;
        streams.get(start..end)
    }

    /// Whether the bytes are what was written: points rise and are below `end`, counts are not 0, blocks end where the
    /// table says, and nothing is left over.
    pub(crate) fn check(&mut self, end: u32) -> bool {
        let (mut before, mut positions) = (None, 0_usize);
        let mut place = 0;
        for block in 0..self.block_count() {
            self.block = block;
            if !self.table.is_empty() && (self.block_start(block) != place || !self.is_well_packed(block, &mut place)) {
                return false;
            }
            self.load();
            self.load_payloads();
            let expected = if block + 1 < self.block_count() {
                BLOCK
            } else {
                self.count - block * BLOCK
            };
            if self.len != expected {
                return false;
            }
            for (point, number) in self.points.iter().zip(&self.payloads).take(self.len) {
                if before.is_some_and(|before| before >= *point) || *point >= end || !self.is_number(*number) {
                    return false;
                }
                before = Some(*point);
                positions = positions.saturating_add(*number as usize);
            }
            if before != Some(self.block_last()) {
                return false;
            }
        }
        let streams = self.positions.get(4 * self.table.len()..);
        match streams {
            _ if self.positions.is_empty() => true,
            Some(streams) => {
                let mut at = 0;
                varint::skip(streams, &mut at, positions).is_some() && at == streams.len()
            }
            None => false,
        }
    }

    /// Whether a block's bits are in range and its bytes are there; moves `place` to its end.
    fn is_well_packed(&mut self, block: usize, place: &mut usize) -> bool {
        let row = self.table[block];
        let bytes = self.blocks.get(*place..).unwrap_or_default();
        let is_last = block + 1 == self.table.len();
        let size = if row[8] == NOT_PACKED {
            let count = self.count - block * BLOCK;
            let before = block.checked_sub(1).map(|before| self.last_of(before));
            let (mut points, mut payloads) = ([0; BLOCK], [0; BLOCK]);
            let read = get_short(bytes, count % BLOCK, before, self.payload, &mut points, &mut payloads);
            read.filter(|_| is_last && count < BLOCK)
        } else {
            let is_whole = self.count - block * BLOCK >= BLOCK && row[8] <= 32 && row[9] <= 32;
            is_whole.then(|| packed_bytes(row[8]) + packed_bytes(row[9]))
        };
        match size {
            Some(size) if size <= bytes.len() => {
                *place += size;
                !is_last || *place == self.blocks.len()
            }
            _ => false,
        }
    }

    fn is_number(&self, number: u32) -> bool {
        match self.payload {
            Payload::Counts => number > 0,
            Payload::Weights => f32::from_bits(number).is_finite() && f32::from_bits(number) > 0.0,
        }
    }
}
