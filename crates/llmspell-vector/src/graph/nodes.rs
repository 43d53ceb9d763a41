//! The layout of a vertex: where its code, its links and their codes lie.
//!
//! A node is all that a walk reads of one vertex, in one piece:
//!
//! ```text
//! byte 0       record_bytes        + 4 * degree_max             (blocks only, at a multiple of 16)
//!      │ record │ links             │ batches of 32 sign codes, in the order of the links …
//!      │        │ u32 × degree_max  │
//! ```
//!
//! Free places of the links hold `u32::MAX`, after all others.

use std::sync::Arc;

use crate::graph::{GraphConfig, GraphLayout};
use crate::kernels::{BATCH, prefetch};
use crate::quantize::{Codec, Signs};

/// No vertex.
pub(crate) const NONE: u32 = u32::MAX;
/// Nodes of one page of changes.
const PAGE: usize = 64;

/// Sizes and places of the parts of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeLayout {
    record_bytes: usize,
    degree_max: usize,
    batches_at: usize,
    batch_bytes: usize,
    batches: usize,
    stride: usize,
}

impl NodeLayout {
    pub(crate) fn new(config: &GraphConfig, padded: usize) -> Self {
        let record_bytes = Codec::record_bytes(padded);
        let degree_max = config.degree_max();
        let links_end = record_bytes + 4 * degree_max;
        let (batches_at, batches) = match config.layout {
            GraphLayout::Compact => (links_end, 0),
            GraphLayout::Blocks => (links_end.next_multiple_of(16), degree_max.div_ceil(BATCH)),
        };
        let batch_bytes = Signs::batch_bytes(padded);
        let end = batches_at + batches * batch_bytes;
        let alignment = match config.layout {
            GraphLayout::Compact => 16,
            GraphLayout::Blocks => 64,
        };
        Self {
            record_bytes,
            degree_max,
            batches_at,
            batch_bytes,
            batches,
            stride: end.next_multiple_of(alignment),
        }
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    pub(crate) fn link_bytes(&self) -> usize {
        4 * self.degree_max
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

    /// All places of the links, free ones included.
    #[inline]
    pub(crate) fn link_places<'a>(&self, node: &'a [u8]) -> &'a [[u8; 4]] {
        node[self.record_bytes..self.record_bytes + 4 * self.degree_max]
            .as_chunks()
            .0
    }

    /// The vertices that are linked.
    #[inline]
    pub(crate) fn links<'a>(&self, node: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
        let links = self.link_places(node).iter().map(|bytes| u32::from_le_bytes(*bytes));
        links.take_while(|link| *link != NONE)
    }

    /// Writes one link; `place` is that of a link, or the first free one.
    pub(crate) fn write_link(&self, node: &mut [u8], place: usize, link: u32) {
        let start = self.record_bytes + 4 * place;
        node[start..start + 4].copy_from_slice(&link.to_le_bytes());
    }

    pub(crate) fn write_links(&self, node: &mut [u8], links: &[u32]) {
        let places = node[self.record_bytes..self.record_bytes + 4 * self.degree_max]
            .as_chunks_mut()
            .0;
        let padded = links.iter().copied().chain(std::iter::repeat(NONE));
        for (place, link) in places.iter_mut().zip(padded) {
            *place = u32::to_le_bytes(link);
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
