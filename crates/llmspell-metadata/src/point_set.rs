//! Large sets of points that are cheap to copy and to change a little.

use std::mem::size_of;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::packed::{self, NUMBER_BYTES_MAX};
use super::union::Union;

/// A packed chunk with more bytes is cut in two, or becomes bits.
const PACKED_BYTES_MAX: usize = 4_096;
/// Points of a chunk of bits: those with the same upper 16 bits.
pub(super) const BLOCK_POINTS: u32 = 1 << 16;
/// Bytes of such a chunk.
pub(super) const BLOCK_BYTES: usize = BLOCK_POINTS as usize / 8;
/// If fewer than one in this many points is in the set, its points are packed: one to two bytes each.
const BITS_SHARE: usize = 12;
/// A chunk of bits with fewer points is packed again.
const BITS_POINTS_MIN: u32 = 1_024;

/// Points in chunks, each packed or as bits. Copies share the chunks until one of them changes.
#[derive(Debug, Clone, Default)]
pub(super) struct PointSet {
    /// Each chunk with its first point, ascending; none is empty. A point is in the last chunk that does not begin
    /// after it.
    chunks: Vec<(u32, Arc<Chunk>)>,
    len: u64,
    bytes: usize,
}

#[derive(Debug, Clone)]
enum Chunk {
    Packed(Packed),
    /// All points of one block.
    Bits(Bits),
}

#[derive(Debug, Clone, Default)]
struct Packed {
    list: Vec<u8>,
    len: u32,
    last: u32,
}

/// The first bit of the first byte is the first point of the block.
#[derive(Debug, Clone)]
struct Bits {
    bits: Box<[u8]>,
    len: u32,
}

impl PointSet {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of RAM, shared or not.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes + self.chunks.capacity() * size_of::<(u32, Arc<Chunk>)>()
    }

    pub(super) fn contains(&self, point: u32) -> bool {
        self.holder(point).is_some()
    }

    /// The chunk that holds a point, if the set has it.
    fn place(&self, point: u32) -> Option<usize> {
        self.chunks.partition_point(|(first, _)| *first <= point).checked_sub(1)
    }

    /// The chunk with a point.
    fn holder(&self, point: u32) -> Option<usize> {
        let place = self.place(point)?;
        let (first, chunk) = &self.chunks[place];
        chunk.contains(*first, point).then_some(place)
    }

    /// Returns whether it was missing.
    pub(super) fn insert(&mut self, point: u32) -> bool {
        let Some(place) = self.place(point) else {
            self.insert_chunk(0, point, Chunk::of_one(point));
            return true;
        };
        let (first, chunk) = &self.chunks[place];
        if !chunk.takes(*first, point) {
            self.insert_chunk(place + 1, point, Chunk::of_one(point));
            return true;
        }
        if !self.change(place, |chunk| chunk.insert(point)) {
            return false;
        }
        if let Chunk::Packed(packed) = &*self.chunks[place].1
            && packed.list.len() > PACKED_BYTES_MAX - NUMBER_BYTES_MAX
        {
            let parts = packed.parts();
            let (_, whole) = self.chunks.remove(place);
            self.count_out(&whole);
            for (number, (first, part)) in parts.into_iter().enumerate() {
                self.insert_chunk(place + number, first, part);
            }
        }
        true
    }

    /// Returns whether it was there.
    pub(super) fn remove(&mut self, point: u32) -> bool {
        let Some(place) = self.holder(point) else {
            return false;
        };
        self.change(place, |chunk| chunk.remove(point));
        if self.chunks[place].1.len() == 0 {
            let (_, empty) = self.chunks.remove(place);
            self.count_out(&empty);
        }
        true
    }

    fn change(&mut self, place: usize, change: impl FnOnce(&mut Chunk) -> bool) -> bool {
        let (first, chunk) = &mut self.chunks[place];
        self.len -= u64::from(chunk.len());
        // Before it is copied: a copy has no room to spare.
        self.bytes -= chunk.bytes();
        let (first, chunk) = (*first, Arc::make_mut(chunk));
        let is_changed = change(chunk);
        chunk.thin_out(first);
        self.len += u64::from(chunk.len());
        self.bytes += chunk.bytes();
        is_changed
    }

    fn insert_chunk(&mut self, place: usize, first: u32, chunk: Chunk) {
        self.len += u64::from(chunk.len());
        self.bytes += chunk.bytes();
        if self.chunks.len() == self.chunks.capacity() {
            self.chunks.reserve_exact(1 + self.chunks.len() / 8);
        }
        self.chunks.insert(place, (first, Arc::new(chunk)));
    }

    fn count_out(&mut self, chunk: &Chunk) {
        self.len -= u64::from(chunk.len());
        self.bytes -= chunk.bytes();
    }

    /// Adds all points to a union.
    pub(super) fn add_to(&self, union: &mut Union) {
        for (first, chunk) in &self.chunks {
            match &**chunk {
                Chunk::Packed(packed) => union.add_list(&packed.list, 0..packed.list.len()),
                Chunk::Bits(bits) => union.add_block(first / BLOCK_POINTS, &bits.bits),
            }
        }
    }

    pub(super) fn to_bitmap(&self) -> RoaringBitmap {
        let mut union = Union::default();
        self.add_to(&mut union);
        union.finish()
    }

    /// The points, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.chunks.iter().flat_map(|(first, chunk)| chunk.points(*first))
    }

    /// Number of the `points` that are in it.
    pub(super) fn intersection_len(&self, points: &RoaringBitmap) -> u64 {
        self.to_bitmap().intersection_len(points)
    }

    /// A set of ascending points.
    pub(super) fn of_sorted(points: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::default();
        for point in points {
            set.insert(point);
        }
        set
    }
}

impl From<&RoaringBitmap> for PointSet {
    fn from(points: &RoaringBitmap) -> Self {
        Self::of_sorted(points)
    }
}

impl Chunk {
    fn of_one(point: u32) -> Self {
        let mut packed = Packed::default();
        packed.insert(point);
        Self::Packed(packed)
    }

    fn of_sorted(points: &[u32]) -> Self {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return Self::Packed(Packed::default());
        };
        let is_block = first / BLOCK_POINTS == last / BLOCK_POINTS;
        if is_block && points.len() >= BITS_POINTS_MIN as usize && is_dense(points) {
            let mut bits = vec![0; BLOCK_BYTES];
            for point in points {
                set_bit(&mut bits, *point);
            }
            return Self::Bits(Bits {
                bits: bits.into_boxed_slice(),
                len: points.len() as u32,
            });
        }
        Self::Packed(Packed {
            list: packed::pack(points.iter().copied()),
            len: points.len() as u32,
            last: *last,
        })
    }

    /// Whether a point after `first`, the chunk's beginning, belongs to this chunk.
    fn takes(&self, first: u32, point: u32) -> bool {
        match self {
            // A chunk that only grows at its end is not halved.
            Self::Packed(packed) => {
                let has_room = packed.list.len() < PACKED_BYTES_MAX - 2 * NUMBER_BYTES_MAX;
                point < packed.last || has_room || packed.is_dense()
            }
            Self::Bits(_) => first / BLOCK_POINTS == point / BLOCK_POINTS,
        }
    }

    fn len(&self) -> u32 {
        match self {
            Self::Packed(packed) => packed.len,
            Self::Bits(bits) => bits.len,
        }
    }

    /// Bytes of RAM with its reference counts.
    fn bytes(&self) -> usize {
        let contents = match self {
            Self::Packed(packed) => packed.list.capacity(),
            Self::Bits(_) => BLOCK_BYTES,
        };
        size_of::<Self>() + 2 * size_of::<usize>() + contents
    }

    fn contains(&self, first: u32, point: u32) -> bool {
        match self {
            Self::Packed(packed) => point <= packed.last && packed::insert(&packed.list, point).is_none(),
            Self::Bits(bits) => first / BLOCK_POINTS == point / BLOCK_POINTS && bits.contains(point),
        }
    }

    fn insert(&mut self, point: u32) -> bool {
        match self {
            Self::Packed(packed) => packed.insert(point),
            Self::Bits(bits) => bits.insert(point),
        }
    }

    fn remove(&mut self, point: u32) -> bool {
        match self {
            Self::Packed(packed) => packed.remove(point),
            Self::Bits(bits) => bits.remove(point),
        }
    }

    /// Packs bits if they have become few.
    fn thin_out(&mut self, first: u32) {
        if let Self::Bits(bits) = self
            && bits.len < BITS_POINTS_MIN / 2
        {
            let points: Vec<u32> = self.points(first).collect();
            *self = Self::of_sorted(&points);
        }
    }

    fn points(&self, first: u32) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Packed(packed) => Box::new(packed::points(&packed.list)),
            Self::Bits(bits) => Box::new(bits.points(first / BLOCK_POINTS)),
        }
    }
}

impl Packed {
    fn insert(&mut self, point: u32) -> bool {
        if self.len > 0 && point <= self.last {
            let Some(edit) = packed::insert(&self.list, point) else {
                return false;
            };
            self.reserve();
            self.list.splice(edit.place.clone(), edit.bytes().iter().copied());
        } else {
            self.reserve();
            packed::push(&mut self.list, point - self.last);
            self.last = point;
        }
        self.len += 1;
        true
    }

    fn remove(&mut self, point: u32) -> bool {
        let Some(edit) = packed::remove(&self.list, point) else {
            return false;
        };
        self.list.splice(edit.place.clone(), edit.bytes().iter().copied());
        self.len -= 1;
        if point == self.last {
            self.last = packed::points(&self.list).last().unwrap_or_default();
        }
        true
    }

    /// Makes room for one more, and an eighth ahead instead of doubling.
    fn reserve(&mut self) {
        if self.list.capacity() - self.list.len() < 2 * NUMBER_BYTES_MAX {
            self.list.reserve_exact(2 * NUMBER_BYTES_MAX + self.list.len() / 8);
        }
    }

    fn is_dense(&self) -> bool {
        let first = packed::points(&self.list).next().unwrap_or_default();
        ((self.last - first) as usize) < BITS_SHARE * self.len as usize
    }

    /// The parts of a full chunk: bits by their blocks, or halves.
    fn parts(&self) -> Vec<(u32, Chunk)> {
        let points: Vec<u32> = packed::points(&self.list).collect();
        let part = |points: &[u32]| (points[0], Chunk::of_sorted(points));
        if is_dense(&points) {
            let blocks = points.chunk_by(|a, b| a / BLOCK_POINTS == b / BLOCK_POINTS);
            return blocks.map(part).collect();
        }
        points.chunks(points.len().div_ceil(2)).map(part).collect()
    }
}

fn is_dense(points: &[u32]) -> bool {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return false;
    };
    ((last - first) as usize) < BITS_SHARE * points.len()
}

impl Bits {
    fn contains(&self, point: u32) -> bool {
        let (byte, bit) = bit_of(point);
        self.bits[byte] & bit != 0
    }

    fn insert(&mut self, point: u32) -> bool {
        let is_new = !self.contains(point);
        set_bit(&mut self.bits, point);
        self.len += u32::from(is_new);
        is_new
    }

    fn remove(&mut self, point: u32) -> bool {
        let was_there = self.contains(point);
        let (byte, bit) = bit_of(point);
        self.bits[byte] &= !bit;
        self.len -= u32::from(was_there);
        was_there
    }

    fn points(&self, block: u32) -> impl Iterator<Item = u32> + '_ {
        let start = block * BLOCK_POINTS;
        let bytes = (0..).zip(&self.bits).filter(|(_, byte)| **byte != 0);
        bytes.flat_map(move |(place, byte)| {
            let bits = (0..8).filter(move |bit| byte >> bit & 1 == 1);
            bits.map(move |bit| start + 8 * place + bit)
        })
    }
}

/// The byte of a point in its block, and its bit in that byte.
fn bit_of(point: u32) -> (usize, u8) {
    let place = (point % BLOCK_POINTS) as usize;
    (place / 8, 1 << (place % 8))
}

/// Marks a point in the bits of its block.
pub(super) fn set_bit(bits: &mut [u8], point: u32) {
    let (byte, bit) = bit_of(point);
    bits[byte] |= bit;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Runs of points, dense or not, added and taken out in both directions.
    fn steps() -> impl Strategy<Value = Vec<(bool, bool, u32, u32, u32)>> {
        let start = prop_oneof![
            0..200_000_u32,
            60_000..70_000_u32,
            u32::MAX - 100_000..u32::MAX - 50_000
        ];
        let run = (
            any::<bool>(),
            any::<bool>(),
            start,
            1..6_000_u32,
            prop_oneof![1..4_u32, 5..40_u32, 100..2_000_u32],
        );
        prop::collection::vec(run, 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_set_of_points_is_a_set(steps in steps()) {
            let (mut set, mut model) = (PointSet::default(), BTreeSet::new());
            for (is_added, is_backward, start, count, gap) in steps {
                let held = set.clone();
                let before: Vec<u32> = model.iter().copied().collect();
                for number in 0..count {
                    let number = if is_backward { count - 1 - number } else { number };
                    let point = start.saturating_add(number * gap);
                    if is_added {
                        prop_assert_eq!(set.insert(point), model.insert(point));
                    } else {
                        prop_assert_eq!(set.remove(point), model.remove(&point));
                    }
                }
                prop_assert!(held.iter().eq(before), "a copy does not change");
                prop_assert_eq!(set.len(), model.len() as u64);
                prop_assert!(set.iter().eq(model.iter().copied()));
                prop_assert!(set.to_bitmap().iter().eq(model.iter().copied()));
                for probe in [start, start + 1, start.saturating_add(gap), 65_535, 65_536] {
                    prop_assert_eq!(set.contains(probe), model.contains(&probe), "{}", probe);
                }
                let counted: usize = set.chunks.iter().map(|(_, chunk)| chunk.bytes()).sum();
                prop_assert_eq!(set.bytes, counted);
                let is_small = |chunk: &Chunk| match chunk {
                    Chunk::Packed(packed) => packed.list.len() <= PACKED_BYTES_MAX,
                    Chunk::Bits(bits) => bits.len >= BITS_POINTS_MIN / 2,
                };
                prop_assert!(set.chunks.iter().all(|(_, chunk)| chunk.len() > 0 && is_small(chunk)));
                prop_assert!(set.chunks.is_sorted_by(|a, b| a.0 < b.0));
            }
        }
    }

    #[test]
    fn a_point_takes_one_to_two_bytes_and_an_eighth_of_one_where_all_are_there() {
        let bytes_per_point = |gap: u32| {
            let set = PointSet::of_sorted((0..100_000).map(|number| number * gap));
            set.bytes() as f64 / 100_000.0
        };
        assert!(bytes_per_point(1) < 0.2, "{}", bytes_per_point(1));
        assert!(bytes_per_point(20) < 1.2, "{}", bytes_per_point(20));
        assert!(bytes_per_point(1_000) < 2.4, "{}", bytes_per_point(1_000));
    }
}
