//! Entry points for what walks do not find.
//!
//! A group of near-duplicates with more members than a vertex has links keeps its links to itself: nothing else is as
//! near. From outside it can be reached, but a walk has no reason to go there unless it begins there. So a sample of the
//! vertices is searched for, each by its own vector with a narrow beam; where the walk ends farther from it than its
//! neighbors are, the vertex becomes an entry point, and the next ones of the same group are found by it.

use crate::graph::GraphLayout;
use crate::graph::encoder::Encoder;
use crate::graph::walk::{Blocks, Entries, Memory, walk_blocks, walk_codes};

/// One of this many vertices is searched for.
const VERTICES_PER_SAMPLED: usize = 24;
/// Width of the beam that must find it.
const EF: usize = 24;
/// A walk has found the neighborhood of a vertex if the nearest that it met is at most this much farther than the nearest
/// neighbor, in squared distance.
const SLACK: f32 = 2.0;
/// Entry points that are added, at most, for each that there was: each costs every later walk about 3 ns.
const ADDED_PER_ENTRY_MAX: usize = 7;
/// Entry points of any graph, at most.
const ENTRIES_MAX: usize = 8_192;

/// Entry points with those added that the sampled vertices from `first` on need. `prepare` prepares a vertex as a query,
/// `place` writes where it is in the walk. Gives nothing if none is needed, or `is_cancelled` says so.
pub(crate) fn cover<N: Blocks>(
    nodes: &N,
    (encoder, layout): (&Encoder, GraphLayout),
    before: &Entries,
    first: u32,
    seed: u64,
    row: &dyn Fn(u32) -> Vec<f32>,
    is_cancelled: &dyn Fn() -> bool,
) -> Option<Entries> {
    let most = (before.vertices.len() * (1 + ADDED_PER_ENTRY_MAX)).min(ENTRIES_MAX);
    let mut memory = Memory::default();
    let mut entries = before.clone();
    let mut random = crate::random::Random::new(seed ^ 0x636f_7665_7200_0001);
    let mut links = Vec::new();
    let mut start = first as usize;
    while start < nodes.len() as usize && entries.vertices.len() < most && !is_cancelled() {
        let end = (start + VERTICES_PER_SAMPLED).min(nodes.len() as usize);
        let vertex = (start + random.below(end - start)) as u32;
        start = end;
        let vector = row(vertex);
        encoder.prepare(&vector, &mut memory.query);
        let nearest = nearest_found(nodes, (encoder, layout), &entries, &mut memory);
        links.clear();
        nodes.links(vertex, &mut links);
        let query = &mut memory.query.code;
        let own = encoder.codec.distance(query, nodes.record(vertex));
        let neighbors = links
            .iter()
            .map(|link| encoder.codec.distance(query, nodes.record(*link)));
        let neighbor = neighbors.fold(f32::INFINITY, f32::min);
        let enough = own.max(if neighbor < f32::INFINITY { neighbor } else { own });
        if nearest > enough * SLACK && !entries.vertices.contains(&vertex) {
            entries.push(encoder, vertex, |place| encoder.place(&vector, place));
        }
    }
    (entries.vertices.len() > before.vertices.len()).then_some(entries)
}

/// The estimate of the nearest vertex that a narrow walk for the query in `memory` meets.
fn nearest_found<N: Blocks>(
    nodes: &N,
    (encoder, layout): (&Encoder, GraphLayout),
    entries: &Entries,
    memory: &mut Memory,
) -> f32 {
    match layout {
        GraphLayout::Compact | GraphLayout::Lean => {
            walk_codes(
                nodes,
                encoder,
                entries,
                entries.vertices.len(),
                EF,
                1,
                |_| false,
                memory,
            );
            memory
                .pool
                .held()
                .next()
                .map_or(f32::INFINITY, |(estimate, _)| estimate)
        }
        GraphLayout::Blocks => {
            walk_blocks(nodes, encoder, entries, EF, |_| false, memory);
            let estimates = memory.expanded.iter().map(|(estimate, _)| *estimate);
            estimates.fold(f32::INFINITY, f32::min)
        }
    }
}
