//! The signs of the vertices of each group, which rule out most vertices that are not near a query.
//!
//! All vertices of a group lie together here, 32 to a batch, each as the signs of its components seen from the centroid of the
//! group: a fifth of the bytes of a code. Comparing one takes a nanosecond or two. Vertices that their signs cannot rule out
//! are compared by their codes. The signs are taken from the codes, group by group, as scans come to them.

use std::sync::OnceLock;

use crate::graph::Graph;
use crate::graph::walk::{Memory, Nodes};
use crate::kernels::BATCH;
use crate::quantize::Signs;

/// Standard deviations of an estimate of signs that a vertex is given the benefit of.
const DEVIATIONS: f32 = 1.5;
/// Where fewer members of a batch pass, on average, their codes are compared at once.
const MEMBERS_PER_BATCH_MIN: usize = 2;

/// The vertices of a graph that were there when it was made, in order of their groups.
#[derive(Debug)]
pub(crate) struct Sketches {
    /// Ascending within each group.
    vertices: Vec<u32>,
    /// Where the vertices of each group begin, and where the last ones end.
    starts: Vec<u32>,
    /// Of each group its batches, once a scan came to it.
    batches: Vec<OnceLock<Box<[u8]>>>,
}

/// Which members of the groups pass: a bit for each, 32 to a word, every group from a new word on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Masks {
    words: Vec<u32>,
    /// Where the words of each group begin, and where the last ones end.
    starts: Vec<u32>,
    /// Members of each group that pass.
    counts: Vec<u32>,
}

impl Sketches {
    /// `of` says the group of each vertex, below `count`.
    pub(crate) fn new(of: &[u8], count: usize) -> Self {
        let mut starts = vec![0_u32; count + 1];
        of.iter().for_each(|group| starts[usize::from(*group) + 1] += 1);
        for group in 0..count {
            starts[group + 1] += starts[group];
        }
        let mut places = starts.clone();
        let mut vertices = vec![0; of.len()];
        for (vertex, group) in (0..).zip(of) {
            let place = &mut places[usize::from(*group)];
            vertices[*place as usize] = vertex;
            *place += 1;
        }
        Self {
            vertices,
            starts,
            batches: (0..count).map(|_| OnceLock::new()).collect(),
        }
    }

    /// How many vertices there are.
    pub(crate) fn len(&self) -> usize {
        self.vertices.len()
    }

    /// Bytes of RAM.
    pub(crate) fn bytes(&self) -> u64 {
        let batches: usize = self
            .batches
            .iter()
            .filter_map(OnceLock::get)
            .map(|bytes| bytes.len())
            .sum();
        (4 * (self.vertices.capacity() + self.starts.capacity()) + batches) as u64
    }

    fn group(&self, number: usize) -> &[u32] {
        &self.vertices[self.starts[number] as usize..self.starts[number + 1] as usize]
    }

    /// The vertices that pass a filter, one bit for each vertex.
    pub(crate) fn masks(&self, passing: &[u64]) -> Masks {
        let mut masks = Masks::default();
        for number in 0..self.batches.len() {
            masks.starts.push(masks.words.len() as u32);
            let before = masks.words.len();
            masks.words.extend(self.group(number).chunks(BATCH).map(|vertices| {
                let bits = vertices.iter().enumerate();
                bits.fold(0, |word, (i, vertex)| {
                    word | ((passing[*vertex as usize / 64] >> (vertex % 64) & 1) as u32) << i
                })
            }));
            masks
                .counts
                .push(masks.words[before..].iter().map(|word| word.count_ones()).sum());
        }
        masks.starts.push(masks.words.len() as u32);
        masks
    }

    /// The signs of all members of a group.
    fn batches(&self, graph: &Graph, number: usize) -> &[u8] {
        self.batches[number].get_or_init(|| {
            let encoder = &graph.base.head.encoder;
            let centroid = encoder.codec.centroids.get(number);
            let batch_bytes = Signs::batch_bytes(encoder.padded());
            let vertices = self.group(number);
            let mut batches = vec![0; vertices.len().div_ceil(BATCH) * batch_bytes];
            let mut there = vec![0.0; encoder.padded()];
            for (vertices, batch) in vertices.chunks(BATCH).zip(batches.chunks_exact_mut(batch_bytes)) {
                for i in 0..BATCH {
                    match vertices.get(i) {
                        Some(vertex) => {
                            encoder.codec.decode(graph.record(*vertex), &mut there);
                            encoder.signs.encode(centroid, &there, i, batch);
                        }
                        None => encoder.signs.clear(i, batch),
                    }
                }
            }
            batches.into_boxed_slice()
        })
    }

    /// Whether a group can be sifted without putting its signs in order before.
    pub(crate) fn is_ready(&self, masks: &Masks, number: usize) -> bool {
        self.is_by_codes(masks, number) || self.batches[number].get().is_some()
    }

    /// Whether so few members of a group pass that signs do not help.
    fn is_by_codes(&self, masks: &Masks, number: usize) -> bool {
        masks.count(number) <= MEMBERS_PER_BATCH_MIN * masks.group(number).len()
    }

    /// Appends those members of a group that pass and are perhaps nearer than `bound` to the query that stands in `memory`.
    pub(crate) fn sift(&self, graph: &Graph, (masks, number): (&Masks, usize), bound: f32, memory: &mut Memory) {
        let vertices = self.group(number);
        let words = masks.group(number);
        let sifted = &mut memory.sifted;
        let mut take = |mut bits: u32, bounds: &[f32; BATCH], vertices: &[u32]| {
            while bits != 0 {
                let place = bits.trailing_zeros() as usize;
                if let Some(vertex) = vertices.get(place) {
                    sifted.push((bounds[place], *vertex));
                }
                bits &= bits - 1;
            }
        };
        if self.is_by_codes(masks, number) {
            let unknown = [f32::NEG_INFINITY; BATCH];
            let batches = words.iter().zip(vertices.chunks(BATCH));
            batches.for_each(|(word, vertices)| take(*word, &unknown, vertices));
            return;
        }
        let encoder = &graph.base.head.encoder;
        let to_centroid = encoder.codec.to_centroid(&mut memory.query.code, number);
        let batches = self
            .batches(graph, number)
            .chunks_exact(Signs::batch_bytes(encoder.padded()));
        let mut bounds = [0.0; BATCH];
        for ((word, vertices), batch) in words.iter().zip(vertices.chunks(BATCH)).zip(batches) {
            if *word != 0 {
                let query = &memory.query.signs;
                encoder
                    .signs
                    .lower_bounds(query, (to_centroid, DEVIATIONS), batch, &mut bounds);
                // Vertices whose signs say nothing are kept too, as long as no distance is too large.
                let perhaps = if bound < f32::INFINITY {
                    encoder.signs.below(&bounds, bound)
                } else {
                    u32::MAX
                };
                take(word & perhaps, &bounds, vertices);
            }
        }
    }
}

impl Masks {
    fn group(&self, number: usize) -> &[u32] {
        &self.words[self.starts[number] as usize..self.starts[number + 1] as usize]
    }

    /// Members of a group that pass.
    pub(crate) fn count(&self, number: usize) -> usize {
        self.counts[number] as usize
    }

    /// Bytes of RAM.
    pub(crate) fn bytes(&self) -> usize {
        4 * (self.words.capacity() + self.starts.capacity() + self.counts.capacity())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every vertex is in its group once, and marked if it passes.
        #[test]
        fn masks_mark_who_passes(of in vec((0..5_u8, any::<bool>()), 0..300)) {
            let groups: Vec<u8> = of.iter().map(|(group, _)| *group).collect();
            let sketches = Sketches::new(&groups, 5);
            let mut passing = vec![0_u64; of.len().div_ceil(64)];
            let mut expected = vec![Vec::new(); 5];
            for (vertex, (group, passes)) in (0_u32..).zip(&of) {
                if *passes {
                    passing[vertex as usize / 64] |= 1 << (vertex % 64);
                    expected[usize::from(*group)].push(vertex);
                }
            }
            let masks = sketches.masks(&passing);
            for (number, expected) in expected.iter().enumerate() {
                let members = sketches.group(number).iter().enumerate();
                let marked = members.filter(|(i, _)| masks.group(number)[i / BATCH] >> (i % BATCH) & 1 == 1);
                let marked: Vec<u32> = marked.map(|(_, vertex)| *vertex).collect();
                prop_assert_eq!(&marked, expected);
                prop_assert_eq!(masks.count(number), expected.len());
                prop_assert_eq!(masks.group(number).len(), sketches.group(number).len().div_ceil(BATCH));
            }
        }
    }
}
