//! Approximate search: a graph over many vectors, walked on compact codes.
//!
//! | file         | question                                                                        |
//! |--------------|---------------------------------------------------------------------------------|
//! | `mod.rs`     | what is a graph, and what is near to a query? [`Graph`]                          |
//! | `config.rs`  | how is a graph built and laid out? [`GraphConfig`], [`Rows`]                     |
//! | `space.rs`   | in which space does a walk measure?                                              |
//! | `encoder.rs` | how does a vector become a point of the walk, with its codes?                    |
//! | `walk.rs`    | which vertices does a walk meet?                                                 |
//! | `shortlist.rs`| which of them need an exact distance? [`Shortlist`]                             |
//! | `among.rs`   | which points are near among those that a filter lets through? [`Among`]          |
//! | `places.rs`  | which vertex is a point?                                                         |
//! | `groups.rs`  | which points that pass a filter lie together?                                    |
//! | `sketches.rs`| which of them may be near, by their signs alone?                                 |
//! | `pool.rs`    | which does it look at next, and which are the nearest so far?                    |
//! | `nodes.rs`   | where is what of a vertex?                                                       |
//! | `prune.rs`   | which of the candidates become neighbors?                                        |
//! | `build.rs`   | how are many points linked at once, by several threads?                          |
//! | `lists.rs`   | how do several threads write lists of links that others read?                    |
//! | `extend.rs`  | how do a few more points come in?                                                |
//! | `repair.rs`  | how do links around deleted points lead on to living ones?                       |
//! | `image.rs`   | what are the bytes of a graph?                                                   |
//! | `cover.rs`   | which vertices do walks not find, so that they must be entry points?            |
//! | `reach.rs`   | which vertices can be reached?                                                   |
//! | `check.rs`   | are its promises kept?                                                           |
//!
//! It is an HNSW graph (Malkov and Yashunin, arXiv 1603.09320) whose levels above the bottom are one flat level of
//! sampled entry points, scanned by their codes: at the dimensions of embeddings the hierarchy saves no steps, and the
//! scan reads memory in order.
//!
//! # Promises
//!
//! 1. A graph never changes. [`extended`](Graph::extended) and [`repaired`](Graph::repaired) give another one that shares
//!    what is the same.
//! 2. Every link leads to a vertex, none to itself, none twice.
//! 3. As it is built, every vertex can be reached from the entry points. Extending keeps at least one link to each new
//!    vertex. Once it is repaired, every living vertex can be reached through living ones.

mod among;
mod build;
mod check;
mod config;
mod cover;
mod encoder;
mod extend;
mod groups;
mod image;
mod lists;
mod nodes;
mod places;
mod pool;
mod prune;
mod reach;
mod repair;
mod shortlist;
mod sketches;
mod space;
mod walk;

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

pub use among::{Among, WalkReport};
pub use config::{
    BuildWatch, Candidate, GraphConfig, GraphDamage, GraphLayout, GraphStats, IndexBytes, ReadOrder, Rows,
};

pub use groups::Grouped;
pub use shortlist::Shortlist;

use crate::distance::Metric;
use crate::neighbor::PointId;
use encoder::Encoder;
use groups::Memberships;
use image::{AlignedBytes, Head, Sections};
use nodes::{Changes, NONE, NodeLayout};
use places::Places;
use pool::VERTICES_MAX;
use shortlist::Yardstick;
use walk::{Blocks, Entries, Memory, Nodes, walk_blocks, walk_codes};

/// Components at which a walk over blocks is twice as wide as was asked for, so that one width means about one recall
/// in both layouts: signs lead astray more often than half bytes, the more the fewer components there are.
const BLOCK_DOUBLE_DIM: usize = 96;
/// The same under inner product, where neighbors are far from each other, and the error of a sign code grows with that.
const BLOCK_DOUBLE_DIM_INNER_PRODUCT: usize = 480;

/// A walk over lean codes is wider than was asked for, by one place in this many, for the same reason.
const LEAN_WIDER_SHARE: usize = 3;

/// The width of a walk over lean codes for a search of width `ef`.
fn lean_width(ef: usize) -> usize {
    ef + ef.div_ceil(LEAN_WIDER_SHARE)
}

/// Memory of a search, kept for the next one: about one bit per vertex of the largest graph searched with it.
#[derive(Debug, Default)]
pub struct Scratch {
    memory: Memory,
    found: Vec<Candidate>,
}

/// Points with their links and codes. Never changes; a clone shares everything.
#[derive(Clone)]
pub struct Graph {
    base: Arc<Base>,
    /// Those of the base, unless a repair replaced deleted ones.
    entries: Arc<Entries>,
    /// Points of the vertices that came after those of the base.
    appended: Arc<Vec<PointId>>,
    changes: Arc<Changes>,
    /// The largest error of a record.
    error_max: f32,
    /// Made when a filter first asks.
    places: OnceLock<Arc<Places>>,
    /// Made when a filter first asks.
    memberships: OnceLock<Arc<Memberships>>,
}

/// What a graph was built or opened as.
struct Base {
    head: Head,
    entries: Arc<Entries>,
    layout: NodeLayout,
    sections: Sections,
    vertices: u32,
    bytes: IndexBytes,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph")
            .field("config", &self.base.head.config)
            .field("vertices", &self.len())
            .finish_non_exhaustive()
    }
}

impl Graph {
    /// A graph of `points`, at least one and none twice, built by `threads` threads; none if `watch` cancelled.
    ///
    /// Every insertion costs about `ef_construction * 2m` comparisons of codes and `6m` of vectors. Beside what the
    /// graph itself takes, `12 * m` bytes per point are needed meanwhile.
    ///
    /// # Panics
    ///
    /// If there are no points, or more than 2³⁰, or a row has not `dim` components.
    #[must_use]
    pub fn build(
        config: &GraphConfig,
        points: &[PointId],
        rows: &dyn Rows,
        threads: usize,
        watch: &dyn BuildWatch,
    ) -> Option<Self> {
        assert!(
            !points.is_empty() && points.len() < VERTICES_MAX,
            "a graph has at least one point"
        );
        let built = build::build(config, points, rows, threads, watch)?;
        let head = Head {
            config: config.clone(),
            encoder: built.encoder,
            link_bits: built.link_bits,
            error_max: built.error_max,
            error_scale: built.error_scale,
        };
        let sections = head.sections(points.len(), &built.entries);
        let mut bytes = AlignedBytes::zeros(sections.end);
        head.write(points.iter().copied(), &built.entries, head.error_max, bytes.as_mut());
        bytes.as_mut()[sections.nodes..].copy_from_slice(&built.nodes);
        Some(Self::of(head, built.entries, points.len(), Arc::new(bytes)))
    }

    fn of(head: Head, entries: Entries, vertices: usize, bytes: IndexBytes) -> Self {
        let layout = head.node_layout();
        let sections = head.sections(vertices, &entries);
        let entries = Arc::new(entries);
        Self {
            entries: Arc::clone(&entries),
            error_max: head.error_max,
            base: Arc::new(Base {
                head,
                entries,
                layout,
                sections,
                vertices: vertices as u32,
                bytes,
            }),
            appended: Arc::default(),
            changes: Arc::default(),
            places: OnceLock::new(),
            memberships: OnceLock::new(),
        }
    }

    /// The points probably nearest to `query`, best first, without those hidden, which lead a walk on but take no place of
    /// its beam: at most `ef` of them, or `k` if that is
    /// more, to find the `k` nearest among them by exact distances. Fewer than `k` if the walk met no more, because many
    /// are hidden or there are no more: a larger `ef` finds more.
    ///
    /// # Panics
    ///
    /// If `query` has not `dim` components.
    pub fn shortlist<'s>(
        &'s self,
        query: &[f32],
        k: usize,
        ef: usize,
        is_hidden: Option<&dyn Fn(PointId) -> bool>,
        scratch: &'s mut Scratch,
    ) -> Shortlist<'s> {
        let Scratch { memory, found } = scratch;
        self.prepare(query, memory);
        let count = self.len() as usize;
        let ef = ef.max(k).clamp(1, count);
        self.walk(k, ef, is_hidden, memory, found);
        let hidden = memory.pool.hidden();
        self.shortlist_of(query, found, memory, (k, ef)).past_hidden(hidden)
    }

    /// What was found by a walk for the query that stands in `memory`.
    fn shortlist_of<'s>(
        &'s self,
        query: &[f32],
        found: &'s mut Vec<Candidate>,
        memory: &Memory,
        (k, ef): (usize, usize),
    ) -> Shortlist<'s> {
        let yardstick = Yardstick::new(&self.base.head.encoder, query, memory.query.code.step());
        Shortlist::new(self, found, yardstick, (k, ef))
    }

    /// The largest error of a record.
    fn error_max(&self) -> f32 {
        self.error_max * self.base.head.error_scale
    }

    /// How far the estimate of a vertex may be off, as a multiple of the deviations of its [`Yardstick`].
    #[inline]
    fn error_of(&self, vertex: u32) -> f32 {
        self.base.head.encoder.codec.error(self.record(vertex)) * self.base.head.error_scale
    }

    /// How many points [`extended`](Self::extended) can still add: links of a lean graph have no bits for more.
    #[must_use]
    pub fn spare(&self) -> u64 {
        u64::from(NodeLayout::vertices_max(self.base.head.link_bits).saturating_sub(self.len()))
    }

    /// Makes `memory` that of a walk for `query`.
    fn prepare(&self, query: &[f32], memory: &mut Memory) {
        self.encoder_for(query).prepare(query, &mut memory.query);
    }

    /// Makes `memory` that of a scan of codes.
    fn prepare_codes(&self, query: &[f32], memory: &mut Memory) {
        self.encoder_for(query).prepare_codes(query, &mut memory.query);
    }

    fn encoder_for(&self, query: &[f32]) -> &Encoder {
        let head = &self.base.head;
        assert_eq!(query.len(), head.config.dim, "vectors of one space have one dimension");
        &head.encoder
    }

    /// The vertices of the points.
    fn places(&self) -> &Places {
        let places = || Arc::new(Places::of((0..self.len()).map(|vertex| self.point(vertex))));
        self.places.get_or_init(places)
    }

    /// Walks for the query that stands in `memory`; what was met and is not hidden is in `found`.
    fn walk(
        &self,
        k: usize,
        ef: usize,
        is_hidden: Option<&dyn Fn(PointId) -> bool>,
        memory: &mut Memory,
        found: &mut Vec<Candidate>,
    ) {
        let head = &self.base.head;
        let equals_max = if ef < self.len() as usize { k.max(1) } else { usize::MAX };
        let is_hidden = |vertex: u32| is_hidden.is_some_and(|is_hidden| is_hidden(self.point(vertex)));
        let candidate = |(estimate, vertex): (f32, u32)| Candidate {
            estimate,
            vertex,
            point: self.point(vertex),
        };
        found.clear();
        match head.config.layout {
            GraphLayout::Compact | GraphLayout::Lean => {
                let entries = &*self.entries;
                let ef = match head.config.layout {
                    GraphLayout::Lean => lean_width(ef),
                    GraphLayout::Compact | GraphLayout::Blocks => ef,
                };
                walk_codes(
                    self,
                    &head.encoder,
                    entries,
                    entries.vertices.len(),
                    ef,
                    equals_max,
                    is_hidden,
                    memory,
                );
                found.extend(memory.pool.held().map(candidate));
            }
            GraphLayout::Blocks => {
                let double_dim = match head.config.metric {
                    Metric::InnerProduct => BLOCK_DOUBLE_DIM_INNER_PRODUCT,
                    Metric::Cosine | Metric::Euclidean | Metric::Manhattan => BLOCK_DOUBLE_DIM,
                };
                let ef = ef + (ef * double_dim).div_ceil(head.encoder.padded());
                walk_blocks(self, &head.encoder, &self.entries, ef, is_hidden, memory);
                found.extend(memory.expanded.iter().copied().map(candidate));
            }
        }
    }

    /// How it was built.
    #[must_use]
    pub fn config(&self) -> &GraphConfig {
        &self.base.head.config
    }

    /// Bits of the code of a point per component, and of how many components there are codes: in a lean graph these are
    /// chosen when it is built.
    #[must_use]
    pub fn code(&self) -> (u8, usize) {
        let shape = self.base.head.encoder.codec.shape();
        (shape.bits, shape.padded.min(self.base.head.config.dim))
    }

    /// Number of vertices.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.base.vertices + self.appended.len() as u32
    }

    /// Whether there are none. There always are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The point at a vertex.
    ///
    /// # Panics
    ///
    /// If there is no such vertex.
    #[inline]
    #[must_use]
    pub fn point(&self, vertex: u32) -> PointId {
        match vertex.checked_sub(self.base.vertices) {
            Some(place) => self.appended[place as usize],
            None => {
                let start = self.base.sections.points + 4 * vertex as usize;
                let bytes = (*self.base.bytes).as_ref()[start..].first_chunk();
                PointId(u32::from_le_bytes(*bytes.expect("points lie before the nodes")))
            }
        }
    }

    /// Vertices whose bytes differ from those that the graph was built or opened with, new ones included; one more if
    /// the entry points differ.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.changes.count() + u64::from(!Arc::ptr_eq(&self.entries, &self.base.entries))
    }

    /// How many bytes [`write_to`](Self::write_to) writes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.base.head.sections(self.len() as usize, &self.entries).end
    }

    /// Writes everything: [`open`](Self::open) makes the same graph of it. Says how many bytes.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<u64> {
        let base = (*self.base.bytes).as_ref();
        if self.changed() == 0 {
            out.write_all(base)?;
            return Ok(base.len() as u64);
        }
        let sections = self.base.head.sections(self.len() as usize, &self.entries);
        let mut head = vec![0; sections.nodes];
        let points: Vec<PointId> = (0..self.len()).map(|vertex| self.point(vertex)).collect();
        self.base
            .head
            .write(points.into_iter(), &self.entries, self.error_max, &mut head);
        out.write_all(&head)?;
        for vertex in 0..self.len() {
            out.write_all(self.node(vertex))?;
        }
        Ok(sections.end as u64)
    }

    /// A graph that was written; it reads `bytes` in place for as long as it lives. Does not read all of them, so
    /// checksums are the caller's: but no damage makes a search panic, or name a vertex that is not there.
    ///
    /// # Errors
    ///
    /// [`GraphDamage`] if they are no graph, or of another version.
    pub fn open(bytes: IndexBytes) -> Result<Self, GraphDamage> {
        let (head, entries, vertices) = Head::read((*bytes).as_ref())?;
        Ok(Self::of(head, entries, vertices, bytes))
    }
}

impl Nodes for Graph {
    fn len(&self) -> u32 {
        self.len()
    }

    #[inline]
    fn record(&self, vertex: u32) -> &[u8] {
        self.base.layout.record(self.node(vertex))
    }

    #[inline]
    fn links(&self, vertex: u32, out: &mut Vec<u32>) {
        self.base.layout.append_links(self.node(vertex), self.len(), out);
    }

    #[inline]
    fn prefetch_record(&self, vertex: u32) {
        self.base.layout.prefetch_record(self.node(vertex));
    }

    #[inline]
    fn prefetch_links(&self, vertex: u32) {
        self.base.layout.prefetch(self.node(vertex));
    }
}

impl Blocks for Graph {
    #[inline]
    fn node(&self, vertex: u32) -> &[u8] {
        if let Some(node) = self.changes.get(vertex) {
            return node;
        }
        let stride = self.base.layout.stride();
        &(*self.base.bytes).as_ref()[self.base.sections.nodes + vertex as usize * stride..][..stride]
    }

    #[inline]
    fn prefetch_node(&self, vertex: u32) {
        self.base.layout.prefetch(self.node(vertex));
    }

    #[inline]
    fn neighbors<'a>(&self, node: &'a [u8]) -> (&'a [[u8; 4]], impl Iterator<Item = &'a [u8]>) {
        (self.base.layout.link_places(node), self.base.layout.batches(node))
    }
}
