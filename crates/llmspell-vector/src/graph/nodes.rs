//! The layout of a vertex: where its code, its links and their codes lie.
//!
//! A node is all that a walk reads of one vertex, in one piece:
//!
//! ```text
//! byte 0       record_bytes              + links                   (blocks only, at a multiple of 16)
//!      │ record │ links                   │ batches of 32 sign codes, in the order of the links …
//!      │        │ u32 × degree_max; in a lean graph fewer bits, the lowest first │
//! ```
//!
//! All bits of free places of the links are ones; they come after all others.

use std::sync::Arc;

use crate::graph::{GraphConfig, GraphLayout};
use crate::kernels::{BATCH, prefetch};
use crate::quantize::{CodeShape, Signs};

/// No vertex.
pub(crate) const NONE: u32 = u32::MAX;
/// Bits of a link that is not packed.
pub(crate) const LINK_BITS: u32 = 32;
/// The same of a lean graph, at least: a small one may grow.
const LINK_BITS_MIN: u32 = 16;
/// A lean graph has room for more vertices: one for each of this many.
const SPARE_SHARE: usize = 24;
/// Nodes of one page of changes.
const PAGE: usize = 64;

/// Sizes and places of the parts of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeLayout {
    record_bytes: usize,
    degree_max: usize,
    link_bits: u32,
    batches_at: usize,
    batch_bytes: usize,
    batches: usize,
    stride: usize,
}

impl NodeLayout {
    pub(crate) fn new(config: &GraphConfig, shape: CodeShape, link_bits: u32) -> Self {
        let record_bytes = shape.record_bytes();
        let degree_max = config.degree_max();
        let links_end = record_bytes + (link_bits as usize * degree_max).div_ceil(8);
        let (batches_at, batches) = match config.layout {
            GraphLayout::Compact | GraphLayout::Lean => (links_end, 0),
            GraphLayout::Blocks => (links_end.next_multiple_of(16), degree_max.div_ceil(BATCH)),
        };
        let batch_bytes = Signs::batch_bytes(shape.padded);
        let end = batches_at + batches * batch_bytes;
        let alignment = match config.layout {
            GraphLayout::Lean => 1,
            GraphLayout::Compact => 16,
            GraphLayout::Blocks => 64,
        };
        Self {
            record_bytes,
            degree_max,
            link_bits,
            batches_at,
            batch_bytes,
            batches,
            stride: end.next_multiple_of(alignment),
        }
    }

    /// Bits of a link in a graph that is built with this many vertices.
    pub(crate) fn link_bits(layout: GraphLayout, vertices: usize) -> u32 {
        match layout {
            GraphLayout::Compact | GraphLayout::Blocks => LINK_BITS,
            GraphLayout::Lean => LINK_BITS_MIN.max((vertices + vertices / SPARE_SHARE + 1).ilog2() + 1),
        }
    }

    /// How many vertices links can name.
    pub(crate) fn vertices_max(link_bits: u32) -> u32 {
        if link_bits == LINK_BITS {
            NONE
        } else {
            (1 << link_bits) - 1
        }
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    pub(crate) fn link_bytes(&self) -> usize {
        (self.link_bits as usize * self.degree_max).div_ceil(8)
    }

    /// Places of the links.
    pub(crate) fn degree_max(&self) -> usize {
        self.degree_max
    }

    pub(crate) fn block_bytes(&self) -> usize {
        self.stride - self.record_bytes - self.link_bytes()
    }

    #[inline]
    pub(crate) fn record<'a>(&self, node: &'a [u8]) -> &'a [u8] {
        &node[..self.record_bytes]
    }

    pub(crate) fn record_mut<'a>(&self, node: &'a mut [u8]) -> &'a mut [u8] {
        &mut node[..self.record_bytes]
    }

    /// All places of the links, free ones included; not those of a lean graph.
    #[inline]
    pub(crate) fn link_places<'a>(&self, node: &'a [u8]) -> &'a [[u8; 4]] {
        debug_assert_eq!(self.link_bits, LINK_BITS, "packed links have no places");
        node[self.record_bytes..self.record_bytes + 4 * self.degree_max]
            .as_chunks()
            .0
    }

    /// What each place of the links holds.
    #[inline]
    pub(crate) fn places_of<'a>(&self, node: &'a [u8]) -> impl Iterator<Item = u32> + use<'a> {
        let bits = self.link_bits;
        let bytes = &node[self.record_bytes..self.record_bytes + self.link_bytes()];
        let none = Self::vertices_max(bits);
        // Bits that were read and not used yet.
        let (mut bytes, mut ready, mut count) = (bytes, 0_u64, 0_u32);
        (0..self.degree_max).map(move |_| {
            if count < bits {
                if let Some((word, others)) = bytes.split_first_chunk::<4>() {
                    ready |= u64::from(u32::from_le_bytes(*word)) << count;
                    (bytes, count) = (others, count + 32);
                } else {
                    for byte in bytes {
                        ready |= u64::from(*byte) << count;
                        count += 8;
                    }
                    bytes = &[];
                }
            }
            let link = (ready & ((1_u64 << bits) - 1)) as u32;
            ready >>= bits;
            count -= bits;
            if link == none { NONE } else { link }
        })
    }

    /// The vertices that are linked.
    #[inline]
    pub(crate) fn links<'a>(&self, node: &'a [u8]) -> impl Iterator<Item = u32> + use<'a> {
        self.places_of(node).take_while(|link| *link != NONE)
    }

    /// Appends the vertices that are linked and are below `count`.
    #[inline]
    pub(crate) fn append_links(&self, node: &[u8], count: u32, out: &mut Vec<u32>) {
        // A link that is not there is damage; see `Graph::open`.
        if self.link_bits == LINK_BITS {
            let links = self.link_places(node).iter().map(|bytes| u32::from_le_bytes(*bytes));
            out.extend(links.take_while(|link| *link != NONE).filter(|link| *link < count));
        } else {
            out.extend(self.links(node).filter(|link| *link < count));
        }
    }

    /// Writes one link; `place` is that of a link, or the first free one.
    pub(crate) fn write_link(&self, node: &mut [u8], place: usize, link: u32) {
        let bits = self.link_bits as usize;
        let links = &mut node[self.record_bytes..];
        let (first, shift) = (place * bits / 8, place * bits % 8);
        let mask = ((1_u64 << bits) - 1) << shift;
        let value = u64::from(link) << shift & mask;
        for (i, byte) in links[first..].iter_mut().take((shift + bits).div_ceil(8)).enumerate() {
            *byte = *byte & !(mask >> (8 * i)) as u8 | (value >> (8 * i)) as u8;
        }
    }

    pub(crate) fn write_links(&self, node: &mut [u8], links: &[u32]) {
        let padded = links.iter().copied().chain(std::iter::repeat(NONE));
        for (place, link) in (0..self.degree_max).zip(padded) {
            self.write_link(node, place, link);
        }
    }

    /// The batches of sign codes; none without blocks.
    #[inline]
    pub(crate) fn batches<'a>(&self, node: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let end = self.batches_at + self.batches * self.batch_bytes;
        node[self.batches_at..end].chunks_exact(self.batch_bytes)
    }

    /// The batch that holds a place of the links, and which of its places that is.
    pub(crate) fn batch_mut<'a>(&self, node: &'a mut [u8], place: usize) -> (&'a mut [u8], usize) {
        let start = self.batches_at + place / BATCH * self.batch_bytes;
        (&mut node[start..start + self.batch_bytes], place % BATCH)
    }

    /// Whether nodes hold the sign codes of their neighbors.
    pub(crate) fn has_blocks(&self) -> bool {
        self.batches > 0
    }

    /// Places of the batches, those beyond the links included.
    pub(crate) fn places(&self) -> usize {
        self.batches * BATCH
    }

    /// Asks for the part of a node that a step reads first.
    #[inline]
    pub(crate) fn prefetch(&self, node: &[u8]) {
        prefetch(node, if self.batches == 0 { 8 } else { 24 });
    }

    /// Asks for the links of a node.
    #[inline]
    pub(crate) fn prefetch_list(&self, node: &[u8]) {
        let list = &node[self.record_bytes..self.record_bytes + self.link_bytes()];
        prefetch(list, 1 + self.link_bytes().div_ceil(64));
    }

    #[inline]
    pub(crate) fn prefetch_record(&self, node: &[u8]) {
        prefetch(self.record(node), 16);
    }
}

/// Nodes that differ from those a graph was opened with, or came after them. Cheap to clone; a clone does not change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    pages: Vec<Option<Arc<Page>>>,
    count: u64,
}

type Page = [Option<Arc<[u8]>>; PAGE];

impl Changes {
    #[inline]
    pub(crate) fn get(&self, vertex: u32) -> Option<&[u8]> {
        let page = self.pages.get(vertex as usize / PAGE)?.as_ref()?;
        page[vertex as usize % PAGE].as_deref()
    }

    pub(crate) fn set(&mut self, vertex: u32, node: Arc<[u8]>) {
        let place = vertex as usize / PAGE;
        if self.pages.len() <= place {
            self.pages.resize(place + 1, None);
        }
        let page = self.pages[place].get_or_insert_with(|| Arc::new([const { None }; PAGE]));
        let before = Arc::make_mut(page)[vertex as usize % PAGE].replace(node);
        self.count += u64::from(before.is_none());
    }

    /// How many nodes there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of the places, without those of the nodes.
    pub(crate) fn own_bytes(&self) -> u64 {
        let pages = self.pages.iter().flatten().count();
        (self.pages.len() * size_of::<Option<Arc<Page>>>() + pages * size_of::<Page>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::distance::Metric;

    proptest! {
        /// Links of any number of bits are read as they were written, list by list and one by one, and nothing beside them
        /// changes.
        #[test]
        fn packed_links_are_those_that_were_written(
            vertices in 1..(1_usize << 29),
            m in 2..40_usize,
            numbers in vec(any::<u32>(), 0..60),
            replaced in any::<proptest::sample::Index>(),
        ) {
            let config = GraphConfig { metric: Metric::Cosine, dim: 64, m, ef_construction: 10, seed: 0, layout: GraphLayout::Lean };
            let shape = CodeShape { padded: 64, bits: 2, is_packed: true };
            let layout = NodeLayout::new(&config, shape, NodeLayout::link_bits(GraphLayout::Lean, vertices));
            let mut node = vec![0x5a; layout.stride()];
            let mut links: Vec<u32> = numbers.into_iter().map(|number| number % vertices as u32).collect();
            links.truncate(layout.degree_max());
            layout.write_links(&mut node, &links);
            prop_assert_eq!(layout.links(&node).collect::<Vec<u32>>(), links.clone());
            if !links.is_empty() {
                let place = replaced.index(links.len());
                links[place] = vertices as u32 - 1;
                layout.write_link(&mut node, place, links[place]);
            }
            let mut read = Vec::new();
            layout.append_links(&node, vertices as u32, &mut read);
            prop_assert_eq!(read, links);
            prop_assert!(layout.record(&node).iter().all(|byte| *byte == 0x5a));
        }
    }

    #[test]
    fn a_lean_graph_of_a_million_has_twenty_bits_for_a_link_and_room_for_some_more() {
        let bits = NodeLayout::link_bits(GraphLayout::Lean, 1_000_000);
        assert_eq!(bits, 20);
        assert!(NodeLayout::vertices_max(bits) > 1_040_000);
        assert_eq!(NodeLayout::link_bits(GraphLayout::Lean, 1_048_575), 21);
    }
}
