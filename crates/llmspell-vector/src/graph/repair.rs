//! Repair of the links around deleted points, so that walks reach every living point.
//!
//! As in `FreshDiskANN` (Singh et al., arXiv 2105.09613, algorithm 4), a vertex that is linked to a deleted vertex is linked
//! to some of that vertex's neighbors instead. Unlike there, links between living vertices stay: only links to deleted
//! vertices are replaced, so no vertex is cut off. A vertex that could be reached only through deleted vertices gets a new link.
//!
//! Deleted vertices keep their own links and lose all links that lead to them.

use std::sync::Arc;

use crate::graph::build::{BlockRoom, clear_links};
use crate::graph::encoder::WalkQuery;
use crate::graph::pool::Visited;
use crate::graph::reach::Reached;
use crate::graph::walk::{Blocks, Entries, Nodes};
use crate::graph::{BuildWatch, Graph, Rows};
use crate::neighbor::PointId;

/// Candidates per place whose exact distance is computed.
const CANDIDATES_PER_PLACE: usize = 4;
/// Dead vertices whose links are followed beyond those that are linked directly, where all neighbors of these are dead.
const THROUGH_MAX: usize = 64;

/// A vertex that is linked or may be, seen from the one that is repaired.
#[derive(Clone, Copy)]
struct Near<'a> {
    distance: f32,
    vertex: u32,
    row: &'a [f32],
    row_norm: f32,
}

/// A graph under repair.
struct Repair<'a> {
    before: &'a Graph,
    graph: Graph,
    is_dead: Vec<bool>,
    rows: &'a dyn Rows,
    room: BlockRoom,
    query: WalkQuery,
    seen: Visited,
}

impl Graph {
    /// This graph, where no living vertex is linked to one whose point `is_dead`, and living entry points stand in for
    /// dead ones; none if `watch` cancelled. The dead stay vertices, but walks do not meet them.
    ///
    /// Vectors of dead points are never asked for. One thread; reads all links twice, and for each living vertex that is
    /// linked to dead ones compares up to `2m` codes and four vectors per dead link. What does not change is shared with
    /// this graph. The same graph and the same dead give the same graph.
    #[must_use]
    pub fn repaired(&self, is_dead: &dyn Fn(PointId) -> bool, rows: &dyn Rows, watch: &dyn BuildWatch) -> Option<Self> {
        let mut repair = Repair {
            before: self,
            graph: self.clone(),
            is_dead: (0..self.len()).map(|vertex| is_dead(self.point(vertex))).collect(),
            rows,
            room: BlockRoom::new(self.base.head.encoder.padded()),
            query: WalkQuery::default(),
            seen: Visited::default(),
        };
        let mut links = Vec::new();
        for vertex in 0..self.len() {
            if repair.is_dead(vertex) {
                continue;
            }
            links.clear();
            self.links(vertex, &mut links);
            if links.iter().any(|link| repair.is_dead(*link)) {
                if watch.is_cancelled() {
                    return None;
                }
                repair.relink(vertex, &links);
                watch.advance(1);
            }
        }
        repair.replace_entries();
        repair.connect();
        Some(repair.graph)
    }
}

impl<'a> Repair<'a> {
    fn is_dead(&self, vertex: u32) -> bool {
        self.is_dead[vertex as usize]
    }

    fn row(&self, vertex: u32) -> &'a [f32] {
        self.rows.row(self.before.point(vertex))
    }

    /// Leads the links of `vertex` to dead ones on to living ones.
    fn relink(&mut self, vertex: u32, links: &[u32]) {
        let (dead, living): (Vec<u32>, Vec<u32>) = links.iter().partition(|link| self.is_dead(**link));
        let chosen = self.choose(vertex, &living, &dead);
        let base = Arc::clone(&self.before.base);
        let (encoder, layout) = (&base.head.encoder, base.layout);
        let mut node = self.graph.node(vertex).to_vec();
        let row = self.row(vertex);
        let mut chosen = chosen.into_iter();
        let mut list = links.to_vec();
        let mut place = 0;
        while place < list.len() {
            if !self.is_dead(list[place]) {
                place += 1;
                continue;
            }
            let moved = || list.iter().rposition(|link| !self.is_dead[*link as usize]);
            match chosen.next() {
                Some(link) => list[place] = link,
                // The last living one, if it is behind this place, moves here.
                None => match moved().filter(|last| *last > place) {
                    Some(last) => {
                        list[place] = list[last];
                        list.truncate(last);
                    }
                    None => {
                        list.truncate(place);
                        continue;
                    }
                },
            }
            let rows = [row, self.row(list[place])];
            self.room
                .write_link(encoder, layout, &mut node, place, list[place], rows);
            place += 1;
        }
        clear_links(encoder, layout, &mut node, list.len());
        Arc::make_mut(&mut self.graph.changes).set(vertex, node.into());
    }

    /// Which vertices `vertex` is linked to in place of the `dead`.
    fn choose(&mut self, vertex: u32, living: &[u32], dead: &[u32]) -> Vec<u32> {
        let base = Arc::clone(&self.before.base);
        let encoder = &base.head.encoder;
        let found = self.beyond(vertex, living, dead);
        if found.is_empty() {
            return found;
        }
        let row = self.row(vertex);
        encoder.prepare(row, &mut self.query);
        let mut estimated: Vec<(f32, u32)> = found
            .into_iter()
            .map(|found| {
                let record = self.before.record(found);
                (encoder.codec.distance(&mut self.query.code, record), found)
            })
            .collect();
        estimated.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        estimated.truncate(CANDIDATES_PER_PLACE * dead.len());

        let row_norm = encoder.space.norm_term(row);
        let near = |vertex: u32| {
            let other = self.row(vertex);
            let other_norm = encoder.space.norm_term(other);
            Near {
                distance: encoder.space.distance(row, row_norm, other, other_norm),
                vertex,
                row: other,
                row_norm: other_norm,
            }
        };
        let mut kept: Vec<Near<'a>> = living.iter().map(|link| near(*link)).collect();
        let mut candidates: Vec<Near<'a>> = estimated.iter().map(|(_, vertex)| near(*vertex)).collect();
        candidates.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then(a.vertex.cmp(&b.vertex)));
        let (mut chosen, mut left) = (Vec::new(), Vec::new());
        for candidate in candidates {
            if chosen.len() == dead.len() {
                break;
            }
            // As in `prune`: only those that are nearer count.
            let is_covered = kept.iter().any(|other| {
                let between = || {
                    encoder
                        .space
                        .distance(candidate.row, candidate.row_norm, other.row, other.row_norm)
                };
                other.distance <= candidate.distance && encoder.space.is_covered(between(), candidate.distance)
            });
            if is_covered {
                left.push(candidate.vertex);
            } else {
                chosen.push(candidate.vertex);
                kept.push(candidate);
            }
        }
        let room = dead.len() - chosen.len();
        chosen.extend(left.into_iter().take(room));
        chosen
    }

    /// The living vertices behind the `dead`, without `vertex` and the `living`: neighbors of each of the dead, and of
    /// the dead beyond them until there is one.
    fn beyond(&mut self, vertex: u32, living: &[u32], dead: &[u32]) -> Vec<u32> {
        self.seen.reset(self.before.len());
        self.seen.insert(vertex);
        for link in living.iter().chain(dead) {
            self.seen.insert(*link);
        }
        let mut to_follow = dead.to_vec();
        let (mut found, mut links) = (Vec::new(), Vec::new());
        let mut next = 0;
        while next < to_follow.len() && (next < dead.len() || found.is_empty()) {
            links.clear();
            self.before.links(to_follow[next], &mut links);
            next += 1;
            for link in &links {
                if !self.seen.insert(*link) {
                    continue;
                }
                if !self.is_dead(*link) {
                    found.push(*link);
                } else if to_follow.len() < dead.len() + THROUGH_MAX {
                    to_follow.push(*link);
                }
            }
        }
        found
    }

    /// Living vertices become entry points in place of dead ones.
    fn replace_entries(&mut self) {
        let before = Arc::clone(&self.graph.entries);
        if !before.vertices.iter().any(|entry| self.is_dead(*entry)) {
            return;
        }
        let (dead, mut vertices): (Vec<u32>, Vec<u32>) =
            before.vertices.iter().partition(|entry| self.is_dead(**entry));
        for entry in dead {
            let near = self.beyond(entry, &[], &[entry]);
            vertices.extend(near.into_iter().find(|near| !vertices.contains(near)));
        }
        if vertices.is_empty() {
            // No vertex near them lives, so any living vertex will do.
            vertices.extend((0..self.before.len()).find(|vertex| !self.is_dead(*vertex)));
        }
        if !vertices.is_empty() {
            self.set_entries(vertices);
        }
    }

    /// All of `vertices` live.
    fn set_entries(&mut self, vertices: Vec<u32>) {
        let encoder = &self.before.base.head.encoder;
        let entries = Entries::encode(encoder, vertices, |vertex, place| {
            encoder.place(self.row(vertex), place);
        });
        self.graph.entries = Arc::new(entries);
    }

    /// Makes every living vertex reachable that is not any more: by a link from a neighbor, in a free place, or in that
    /// of a vertex that another neighbor is linked to as well, so that this one stays reachable. Where there is no such
    /// place it becomes an entry point.
    fn connect(&mut self) {
        let mut reached = Reached::new(self.graph.len() as usize);
        for entry in &self.graph.entries.vertices {
            spread(&self.graph, &mut reached, *entry);
        }
        let mut entries = Vec::new();
        for vertex in 0..self.graph.len() {
            if self.is_dead(vertex) || reached.contains(vertex) {
                continue;
            }
            let mut links = Vec::new();
            self.graph.links(vertex, &mut links);
            links.retain(|link| !self.is_dead(*link) && reached.contains(*link));
            if !links.into_iter().any(|from| self.link_in(from, vertex)) {
                entries.push(vertex);
            }
            spread(&self.graph, &mut reached, vertex);
        }
        if entries.is_empty() {
            return;
        }
        let mut vertices = self.graph.entries.vertices.clone();
        vertices.extend(entries);
        self.set_entries(vertices);
    }

    /// Puts `vertex` among the links of `from`, if there is a place; says whether.
    fn link_in(&mut self, from: u32, vertex: u32) -> bool {
        let base = Arc::clone(&self.before.base);
        let mut links = Vec::new();
        self.graph.links(from, &mut links);
        let free = (links.len() < base.head.config.degree_max()).then_some(links.len());
        let Some(place) = free.or_else(|| self.spare_place(&links)) else {
            return false;
        };
        let mut node = self.graph.node(from).to_vec();
        let rows = [from, vertex].map(|vertex| self.row(vertex));
        self.room
            .write_link(&base.head.encoder, base.layout, &mut node, place, vertex, rows);
        Arc::make_mut(&mut self.graph.changes).set(from, node.into());
        true
    }

    /// The last of `links` that one of the others is linked to.
    fn spare_place(&self, links: &[u32]) -> Option<usize> {
        let mut further = Vec::new();
        let is_spare = |place: &usize| {
            links.iter().any(|other| {
                further.clear();
                self.graph.links(*other, &mut further);
                *other != links[*place] && further.contains(&links[*place])
            })
        };
        (0..links.len()).rev().find(is_spare)
    }
}

/// Reaches all that can be reached from a vertex.
fn spread(graph: &Graph, reached: &mut Reached, from: u32) {
    let layout = graph.base.layout;
    let count = graph.len();
    // A link that is not there is damage; see `Graph::open`.
    reached.spread(from, |vertex| {
        layout.links(graph.node(vertex)).filter(move |link| *link < count)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::Metric;
    use crate::graph::{GraphConfig, GraphLayout};
    use crate::random::Random;

    struct Floats(Vec<[f32; 12]>);

    impl Rows for Floats {
        fn row(&self, point: PointId) -> &[f32] {
            &self.0[point.0 as usize]
        }
    }

    struct Patient;

    impl BuildWatch for Patient {
        fn advance(&self, _: u64) {}

        fn is_cancelled(&self) -> bool {
            false
        }
    }

    #[test]
    fn no_link_leads_to_the_dead_and_beside_every_link_stands_its_own_code() {
        let mut random = Random::new(5);
        let mut row = || std::array::from_fn(|_| random.below(1_000) as f32 - 500.0);
        let rows = Floats((0..600).map(|_| row()).collect());
        let points: Vec<PointId> = (0..600).map(PointId).collect();
        // A fifth of them and a run of them; and all but fewer living ones than there are places.
        let dead: [fn(PointId) -> bool; 2] = [
            |point| point.0.is_multiple_of(5) || (100..160).contains(&point.0),
            |point| !point.0.is_multiple_of(40),
        ];
        let layouts = [GraphLayout::Compact, GraphLayout::Blocks];
        for (layout, is_dead) in layouts
            .into_iter()
            .flat_map(|layout| dead.map(|is_dead| (layout, is_dead)))
        {
            let config = GraphConfig {
                metric: Metric::Euclidean,
                dim: 12,
                m: 20,
                ef_construction: 60,
                seed: 1,
                layout,
            };
            let graph = Graph::build(&config, &points, &rows, 1, &Patient).unwrap();
            let repaired = graph.repaired(&is_dead, &rows, &Patient).unwrap();
            let (encoder, layout) = (&repaired.base.head.encoder, repaired.base.layout);
            let mut room = BlockRoom::new(encoder.padded());
            let row = |vertex| rows.row(repaired.point(vertex));
            for vertex in (0..600).filter(|vertex| !is_dead(repaired.point(*vertex))) {
                let (before, node) = (graph.node(vertex), repaired.node(vertex));
                let links: Vec<u32> = layout.links(node).collect();
                assert!(links.iter().all(|link| !is_dead(repaired.point(*link))));
                let mut living = layout.links(before).filter(|link| !is_dead(graph.point(*link)));
                assert!(living.all(|link| links.contains(&link)), "links of the living stay");
                let mut written = before.to_vec();
                layout.write_links(&mut written, &links);
                if layout.has_blocks() {
                    let neighbors = links.iter().map(|link| row(*link));
                    room.write_block(encoder, layout, &mut written, row(vertex), neighbors);
                }
                assert!(node == written, "vertex {vertex}");
            }
            assert!(
                !repaired
                    .entries
                    .vertices
                    .iter()
                    .any(|entry| is_dead(repaired.point(*entry)))
            );
        }
    }
}
