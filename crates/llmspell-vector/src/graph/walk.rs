//! The walk: from the entry points, the nearest vertex first, until no vertex of the beam is left to expand.

use crate::graph::encoder::{Encoder, WalkQuery};
use crate::graph::pool::{Pool, Visited};
use crate::kernels::BATCH;
use crate::quantize::Signs;

/// Sampled vertices whose sign codes are scanned for where to begin, at most. They take the place of the upper levels.
const ENTRIES_MAX: usize = 2_048;
/// Vertices per entry point, at least.
const VERTICES_PER_ENTRY: usize = 192;
/// Entry points that a walk begins at, at least and at most. The estimates of signs are coarse: in a set of many clusters
/// the nearest few may all lie in the wrong one, and a walk does not always find the way out.
pub(crate) const BEGINNINGS_MIN: usize = 8;
const BEGINNINGS_MAX: usize = 64;
/// Places of the beam per entry point that a walk begins at.
const EF_PER_BEGINNING: usize = 8;

/// What a walk reads.
pub(crate) trait Nodes {
    /// Number of vertices.
    fn len(&self) -> u32;
    /// The record of the code of a vertex.
    fn record(&self, vertex: u32) -> &[u8];
    /// Appends the vertices that one is linked to, each below [`len`](Self::len).
    fn links(&self, vertex: u32, out: &mut Vec<u32>);
    /// Asks for what [`record`](Self::record) will read.
    fn prefetch_record(&self, vertex: u32);
    /// Asks for what [`links`](Self::links) will read.
    fn prefetch_links(&self, vertex: u32);
}

/// Memory of walks.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) query: WalkQuery,
    pub(crate) pool: Pool,
    pub(crate) visited: Visited,
    /// Vertices and their distances: those that a walk over blocks expanded.
    pub(crate) expanded: Vec<(f32, u32)>,
    pub(crate) links: Vec<u32>,
    /// Of a walk with a filter: vertices that nothing is left to do for, those to be compared, those to go through.
    pub(crate) done: Visited,
    pub(crate) fresh: Vec<u32>,
    pub(crate) through: Vec<u32>,
    /// Of a scan of groups: the vertices to be compared, and what their distances are at least.
    pub(crate) sifted: Vec<(f32, u32)>,
}

/// Where walks begin: sampled vertices, with the sign codes of them all, seen from the origin.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Entries {
    pub(crate) vertices: Vec<u32>,
    pub(crate) batches: Vec<u8>,
}

impl Entries {
    /// Number of entry points of a graph with this many vertices.
    pub(crate) fn count_for(vertices: usize) -> usize {
        (vertices / VERTICES_PER_ENTRY)
            .clamp(1, ENTRIES_MAX)
            .next_multiple_of(BATCH)
            .min(vertices)
    }

    /// `place` writes where a vertex is in the walk.
    pub(crate) fn encode(encoder: &Encoder, vertices: Vec<u32>, place: impl Fn(u32, &mut [f32])) -> Self {
        let padded = encoder.padded();
        let batch_bytes = Signs::batch_bytes(padded);
        let mut batches = vec![0; vertices.len().div_ceil(BATCH) * batch_bytes];
        let (origin, mut there) = (vec![0.0; padded], vec![0.0; padded]);
        for (vertices, batch) in vertices.chunks(BATCH).zip(batches.chunks_exact_mut(batch_bytes)) {
            for i in 0..BATCH {
                match vertices.get(i) {
                    Some(vertex) => {
                        place(*vertex, &mut there);
                        encoder.signs.encode(&origin, &there, i, batch);
                    }
                    None => encoder.signs.clear(i, batch),
                }
            }
        }
        Self { vertices, batches }
    }

    /// One more entry; `place` writes where it is in the walk.
    pub(crate) fn push(&mut self, encoder: &Encoder, vertex: u32, place: impl Fn(&mut [f32])) {
        let batch_bytes = Signs::batch_bytes(encoder.padded());
        let count = self.vertices.len();
        if count.is_multiple_of(BATCH) {
            self.batches.resize(self.batches.len() + batch_bytes, 0);
            let batch = &mut self.batches[count / BATCH * batch_bytes..];
            (0..BATCH).for_each(|i| encoder.signs.clear(i, batch));
        }
        let (origin, mut there) = (vec![0.0; encoder.padded()], vec![0.0; encoder.padded()]);
        place(&mut there);
        let batch = &mut self.batches[count / BATCH * batch_bytes..];
        encoder.signs.encode(&origin, &there, count % BATCH, batch);
        self.vertices.push(vertex);
    }

    /// The entries probably nearest to a query, among the first `count`.
    #[inline]
    pub(crate) fn nearest(&self, encoder: &Encoder, query: &WalkQuery, count: usize, ef: usize) -> Beginnings {
        let wanted = (ef / EF_PER_BEGINNING).clamp(BEGINNINGS_MIN, BEGINNINGS_MAX);
        let mut found = Beginnings {
            wanted,
            nearest: [(f32::INFINITY, u32::MAX); BEGINNINGS_MAX],
        };
        let best = &mut found.nearest[..wanted];
        let batch_bytes = Signs::batch_bytes(encoder.padded());
        let mut estimates = [0.0; BATCH];
        for (vertices, batch) in self.vertices[..count]
            .chunks(BATCH)
            .zip(self.batches.chunks_exact(batch_bytes))
        {
            encoder
                .signs
                .estimates(&query.signs, query.to_origin, batch, &mut estimates);
            let mut below = encoder.signs.below(&estimates, best[wanted - 1].0);
            while below != 0 {
                let i = below.trailing_zeros() as usize;
                below &= below - 1;
                let (Some(vertex), estimate) = (vertices.get(i), estimates[i]) else {
                    continue;
                };
                let place = best.partition_point(|(other, _)| *other <= estimate);
                if place < wanted {
                    best.copy_within(place..wanted - 1, place + 1);
                    best[place] = (estimate, *vertex);
                }
            }
        }
        found
    }
}

/// Where a walk begins, nearest first.
pub(crate) struct Beginnings {
    wanted: usize,
    nearest: [(f32, u32); BEGINNINGS_MAX],
}

impl Beginnings {
    /// Estimates and vertices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (f32, u32)> + '_ {
        let found = self.nearest[..self.wanted].iter().copied();
        found.take_while(|(_, vertex)| *vertex != u32::MAX)
    }
}

/// Walks over the codes of the vertices: what was met and is nearest is in `memory.pool`, at most `ef` of them. Begins
/// at the first `entry_count` entries. At most `equals_max` of those at exactly the same distance are held: for an
/// insertion one, for a search as many as are wanted. Vertices that are hidden take none of the `ef` places. The query
/// stands in `memory.query`.
#[expect(
    clippy::too_many_arguments,
    reason = "a walk has as many settings, and no two callers share them"
)]
pub(crate) fn walk_codes(
    nodes: &impl Nodes,
    encoder: &Encoder,
    entries: &Entries,
    entry_count: usize,
    ef: usize,
    equals_max: usize,
    is_hidden: impl Fn(u32) -> bool,
    memory: &mut Memory,
) {
    let Memory {
        query,
        pool,
        visited,
        links,
        ..
    } = memory;
    pool.reset(ef);
    visited.reset(nodes.len());
    for (_, vertex) in entries.nearest(encoder, query, entry_count, ef).iter() {
        if visited.insert(vertex) {
            let distance = encoder.codec.distance(&mut query.code, nodes.record(vertex));
            pool.offer(distance, vertex, &is_hidden);
        }
    }
    if pool.peek().is_none()
        && let Some(first) = entries.vertices.first()
    {
        // No entry has a distance: the query is beyond what floats can measure. Anything will do.
        visited.insert(*first);
        pool.offer(f32::MAX, *first, &is_hidden);
    }
    while let Some((vertex, _)) = pool.expand() {
        links.clear();
        nodes.links(vertex, links);
        visited.keep_new(links);
        for link in links.iter() {
            nodes.prefetch_record(*link);
        }
        if let Some(next) = pool.peek() {
            nodes.prefetch_links(next);
        }
        for link in links.iter() {
            let distance = encoder.codec.distance(&mut query.code, nodes.record(*link));
            pool.offer_among_equals(distance, *link, equals_max, &is_hidden);
        }
        if let Some(next) = pool.peek() {
            nodes.prefetch_links(next);
        }
    }
}

/// What a walk over blocks reads besides.
pub(crate) trait Blocks: Nodes {
    /// The node of a vertex.
    fn node(&self, vertex: u32) -> &[u8];
    /// Asks for what [`node`](Self::node) will read.
    fn prefetch_node(&self, vertex: u32);
    /// Places of the links of a node, and the batches of their sign codes.
    fn neighbors<'a>(&self, node: &'a [u8]) -> (&'a [[u8; 4]], impl Iterator<Item = &'a [u8]>);
}

/// From this width on, what stands in the beam of a walk over blocks once more than needed gives its place to others: in a
/// narrow beam that costs more than it finds; in a wide one, a crowd of near-duplicates would fill it several times over.
const DISTINCT_EF_MIN: usize = 256;
/// Vertices per place of the beam below which a walk over blocks offers each vertex once only.
const ONCE_BELOW: usize = 4;

/// Walks over the sign codes of the neighbors: what was expanded is in `memory.expanded`, with its estimated distance.
///
/// A vertex is offered from every neighbor that is expanded, each time with another estimate: so one that was placed
/// too far is placed better from a nearer neighbor, and is expanded earlier. It may stand in the pool several times, and
/// is expanded once. Where the beam is about as wide as the graph, there is no room for that.
///
/// Vertices that are hidden take none of the `ef` places.
pub(crate) fn walk_blocks(
    nodes: &impl Blocks,
    encoder: &Encoder,
    entries: &Entries,
    ef: usize,
    is_hidden: impl Fn(u32) -> bool,
    memory: &mut Memory,
) {
    let Memory {
        query,
        pool,
        visited,
        expanded,
        ..
    } = memory;
    let offers_once = nodes.len() as usize / ONCE_BELOW < ef;
    pool.reset(ef);
    visited.reset(nodes.len());
    expanded.clear();
    for (estimate, vertex) in entries.nearest(encoder, query, entries.vertices.len(), ef).iter() {
        if !offers_once || visited.insert(vertex) {
            pool.offer(estimate, vertex, &is_hidden);
        }
    }
    if pool.peek().is_none()
        && let Some(first) = entries.vertices.first()
    {
        if offers_once {
            visited.insert(*first);
        }
        pool.offer(f32::MAX, *first, &is_hidden);
    }
    let mut estimates = [0.0; BATCH];
    while let Some((vertex, vertex_is_hidden)) = pool.expand() {
        if !offers_once && !visited.insert(vertex) {
            if ef >= DISTINCT_EF_MIN {
                pool.drop_expanded();
            }
            continue;
        }
        // Probably the next ones: they arrive while this one is looked at.
        let probably_next = pool.peek();
        for next in [probably_next, pool.peek_second()].into_iter().flatten() {
            nodes.prefetch_node(next);
        }
        let node = nodes.node(vertex);
        let distance = encoder.codec.distance(&mut query.code, nodes.record(vertex));
        if !vertex_is_hidden {
            expanded.push((distance, vertex));
        }
        let (places, batches) = nodes.neighbors(node);
        for (places, batch) in places.chunks(BATCH).zip(batches) {
            encoder.signs.estimates(&query.signs, distance, batch, &mut estimates);
            let mut below = encoder.signs.below(&estimates, pool.bound());
            while below != 0 {
                let i = below.trailing_zeros() as usize;
                below &= below - 1;
                let Some(place) = places.get(i) else { continue };
                let link = u32::from_le_bytes(*place);
                // A link that is not there is damage; see `Graph::open`.
                if link >= nodes.len() {
                    continue;
                }
                let is_wanted = if offers_once {
                    visited.insert(link)
                } else {
                    !visited.contains(link)
                };
                if is_wanted {
                    pool.offer(estimates[i], link, &is_hidden);
                }
            }
        }
        if let Some(next) = pool.peek()
            && Some(next) != probably_next
        {
            nodes.prefetch_node(next);
        }
    }
}
