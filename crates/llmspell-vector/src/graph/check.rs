//! Checks of a graph's promises, and its statistics.

use crate::graph::reach::Reached;
use crate::graph::walk::Blocks;
use crate::graph::{Graph, GraphStats};
use crate::neighbor::PointId;

impl Graph {
    /// That its promises are kept; what is wrong, if they are not. `O(links)`.
    ///
    /// # Errors
    ///
    /// The first broken promise.
    pub fn check(&self) -> Result<(), String> {
        let mut seen = vec![u32::MAX; self.len() as usize];
        for vertex in 0..self.len() {
            let node = self.node(vertex);
            let places = self.base.layout.places_of(node);
            let mut has_ended = false;
            for link in places {
                if link == super::NONE {
                    has_ended = true;
                    continue;
                }
                if has_ended {
                    return Err(format!("vertex {vertex} has a link after a free place"));
                }
                if link == vertex {
                    return Err(format!("vertex {vertex} is linked to itself"));
                }
                match seen.get_mut(link as usize) {
                    None => return Err(format!("vertex {vertex} is linked to {link}, which is not there")),
                    Some(last) if *last == vertex => {
                        return Err(format!("vertex {vertex} is linked to {link} twice"));
                    }
                    Some(last) => *last = vertex,
                }
            }
        }
        Ok(())
    }

    /// Counts; `O(links)`. `is_dead` says which points are deleted: those need not be reached.
    #[must_use]
    pub fn stats(&self, is_dead: &dyn Fn(PointId) -> bool) -> GraphStats {
        let layout = self.base.layout;
        let vertices = u64::from(self.len());
        let links: usize = (0..self.len())
            .map(|vertex| layout.links(self.node(vertex)).count())
            .sum();
        let appended = self.appended.len() as u64;
        let changed = (self.changes.count() - appended) * layout.stride() as u64;
        GraphStats {
            vertices,
            links: links as u64,
            unreachable: self.unreachable(is_dead),
            code_bytes: vertices * layout.record_bytes() as u64,
            link_bytes: vertices * layout.link_bytes() as u64,
            block_bytes: vertices * layout.block_bytes() as u64,
            other_bytes: self.base.sections.nodes as u64
                + 4 * appended
                + changed
                + self.changes.own_bytes()
                + self.places.get().map_or(0, |places| places.bytes())
                + self.memberships.get().map_or(0, |centroids| centroids.bytes()),
        }
    }

    /// Living vertices that no walk reaches.
    fn unreachable(&self, is_dead: &dyn Fn(PointId) -> bool) -> u64 {
        let count = self.len();
        let mut reached = Reached::new(count as usize);
        for entry in &self.entries.vertices {
            reached.spread(*entry, |vertex| {
                // A link that is not there is damage; see `Graph::open`.
                self.base
                    .layout
                    .links(self.node(vertex))
                    .filter(move |link| *link < count)
            });
        }
        (0..count)
            .filter(|vertex| !reached.contains(*vertex) && !is_dead(self.point(*vertex)))
            .count() as u64
    }
}
