//! Which points have a value that many have? A set that is cheap to copy and to change a little.

use std::mem::size_of;
use std::sync::Arc;

use roaring::RoaringBitmap;

/// Points of one chunk: 32 KiB at most are copied when a set that is shared changes.
const CHUNK_BITS: u32 = 18;
/// About what `roaring` needs for a container, without its contents.
const CONTAINER_BYTES: usize = 48;
/// A container of 65,536 bits.
const BIT_SET_BYTES: u64 = 8_192;

/// A roaring bitmap in pieces. Copies share the pieces until one of them changes.
#[derive(Debug, Clone, Default)]
pub(super) struct PointSet {
    /// Ascending by the first bits of their points; none is empty.
    chunks: Vec<(u16, Arc<RoaringBitmap>)>,
    len: u64,
    bytes: usize,
}

impl PointSet {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// RAM of it, shared or not.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes + self.chunks.capacity() * size_of::<(u16, Arc<RoaringBitmap>)>()
    }

    pub(super) fn contains(&self, point: u32) -> bool {
        self.place(point)
            .is_ok_and(|place| self.chunks[place].1.contains(point))
    }

    /// Whether it was missing.
    pub(super) fn insert(&mut self, point: u32) -> bool {
        let place = self.place(point).unwrap_or_else(|place| {
            self.chunks.reserve_exact(1);
            self.chunks.insert(place, (chunk_of(point), Arc::default()));
            self.bytes += chunk_bytes(&self.chunks[place].1);
            place
        });
        self.change(place, |chunk| chunk.insert(point))
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, point: u32) -> bool {
        let Ok(place) = self.place(point) else {
            return false;
        };
        if !self.chunks[place].1.contains(point) {
            return false;
        }
        let is_changed = self.change(place, |chunk| chunk.remove(point));
        if self.chunks[place].1.is_empty() {
            self.bytes -= chunk_bytes(&self.chunks[place].1);
            self.chunks.remove(place);
        }
        is_changed
    }

    fn change(&mut self, place: usize, change: impl FnOnce(&mut RoaringBitmap) -> bool) -> bool {
        let chunk = Arc::make_mut(&mut self.chunks[place].1);
        let (len, bytes) = (chunk.len(), chunk_bytes(chunk));
        let is_changed = change(chunk);
        self.len = self.len - len + chunk.len();
        self.bytes = self.bytes - bytes + chunk_bytes(chunk);
        is_changed
    }

    fn place(&self, point: u32) -> Result<usize, usize> {
        self.chunks
            .binary_search_by_key(&chunk_of(point), |(number, _)| *number)
    }

    /// Adds all points to `sum`.
    pub(super) fn add_to(&self, sum: &mut RoaringBitmap) {
        for (_, chunk) in &self.chunks {
            *sum |= &**chunk;
        }
    }

    pub(super) fn to_bitmap(&self) -> RoaringBitmap {
        let mut sum = RoaringBitmap::new();
        self.add_to(&mut sum);
        sum
    }

    /// How many of `points` are in it.
    pub(super) fn intersection_len(&self, points: &RoaringBitmap) -> u64 {
        self.chunks
            .iter()
            .map(|(_, chunk)| chunk.intersection_len(points))
            .sum()
    }
}

impl From<&RoaringBitmap> for PointSet {
    fn from(points: &RoaringBitmap) -> Self {
        let mut set = Self::default();
        let mut rest = points.iter().peekable();
        while let Some(first) = rest.peek().copied() {
            let number = chunk_of(first);
            let of_chunk = std::iter::from_fn(|| rest.next_if(|point| chunk_of(*point) == number));
            let chunk = RoaringBitmap::from_sorted_iter(of_chunk).expect("a bitmap gives its points in order");
            set.bytes += chunk_bytes(&chunk);
            set.chunks.push((number, Arc::new(chunk)));
        }
        set.len = points.len();
        set
    }
}

fn chunk_of(point: u32) -> u16 {
    u16::try_from(point >> CHUNK_BITS).expect("a chunk number has 14 bits")
}

/// RAM of a chunk. What `roaring` calls bytes are 4 for each of 2 in arrays, with their room ahead, and bits in bit sets.
fn chunk_bytes(chunk: &RoaringBitmap) -> usize {
    let statistics = chunk.statistics();
    let contents = statistics.n_bytes_array_containers / 2
        + statistics.n_bytes_run_containers
        + u64::from(statistics.n_bitset_containers) * BIT_SET_BYTES;
    let containers = statistics.n_containers as usize * CONTAINER_BYTES;
    size_of::<RoaringBitmap>() + 2 * size_of::<usize>() + containers + usize::try_from(contents).unwrap_or(usize::MAX)
}
