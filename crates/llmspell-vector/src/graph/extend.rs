//! Adding a few points to a finished graph.

use std::sync::{Arc, OnceLock};

use crate::graph::build::BlockRoom;
use crate::graph::cover::cover;
use crate::graph::nodes::NONE;
use crate::graph::prune::{Exact, prune};
use crate::graph::walk::{Blocks, Memory, walk_codes};
use crate::graph::{BuildWatch, Graph, Rows};
use crate::neighbor::PointId;

/// Candidates per link whose exact distance is computed.
const CANDIDATES_PER_LINK: usize = 2;

impl Graph {
    /// This graph and `points` more, which it does not hold yet; none if `watch` cancelled.
    ///
    /// # Panics
    ///
    /// If these are more than it has [room](Self::spare) for.
    ///
    /// One thread; every point costs a walk of `ef_construction` and the pruning of those that it is linked with. What
    /// does not change is shared with this graph.
    #[must_use]
    pub fn extended(&self, points: &[PointId], rows: &dyn Rows, watch: &dyn BuildWatch) -> Option<Self> {
        assert!(
            points.len() as u64 <= self.spare(),
            "links have bits for the vertices there are"
        );
        let mut graph = self.clone();
        let all: Vec<PointId> = (0..self.len())
            .map(|vertex| self.point(vertex))
            .chain(points.iter().copied())
            .collect();
        let mut work = Work {
            memory: Memory::default(),
            candidates: Vec::new(),
            room: BlockRoom::new(self.base.head.encoder.padded()),
        };
        for point in points {
            if watch.is_cancelled() {
                return None;
            }
            graph.insert(*point, &all, rows, &mut work);
            watch.advance(1);
        }
        let head = &self.base.head;
        let covered = cover(
            &graph,
            (&head.encoder, head.config.layout),
            &graph.entries,
            self.len(),
            head.config.seed,
            &|vertex| rows.row(all[vertex as usize]).to_vec(),
            &|| watch.is_cancelled(),
        );
        if let Some(entries) = covered {
            graph.entries = Arc::new(entries);
        }
        let places = self.places.get();
        graph.places = places.map_or_else(OnceLock::new, |places| {
            OnceLock::from(Arc::new(places.and(self.len(), points.iter().copied())))
        });
        if let Some(known) = self.memberships.get() {
            let count = self.base.head.encoder.codec.centroids.len();
            let all = known.and(&graph.centroids_from(self.len()), count);
            graph.memberships = OnceLock::from(Arc::new(all));
        }
        Some(graph)
    }

    fn insert(&mut self, point: PointId, points: &[PointId], rows: &dyn Rows, work: &mut Work) {
        let base = Arc::clone(&self.base);
        let (head, layout) = (&base.head, base.layout);
        let exact = Exact {
            space: &head.encoder.space,
            rows,
            points,
            norm_terms: None,
            bytes: None,
        };
        let vertex = self.len();
        let (row, _) = exact.row(vertex);
        head.encoder.prepare(row, &mut work.memory.query);
        let entries = Arc::clone(&self.entries);
        let ef = head.config.ef_construction.min(self.len() as usize);
        walk_codes(
            self,
            &head.encoder,
            &entries,
            entries.vertices.len(),
            ef,
            1,
            |_| false,
            &mut work.memory,
        );
        let degree_max = head.config.degree_max();
        let mut found: Vec<(f32, u32)> = work
            .memory
            .pool
            .held()
            .take(CANDIDATES_PER_LINK * degree_max)
            .map(|(_, other)| (exact.distance(vertex, other), other))
            .collect();
        prune(exact, &mut found, degree_max);

        let mut node = vec![0; layout.stride()];
        work.room
            .encode_record(&head.encoder, row, layout.record_mut(&mut node));
        self.error_max = self.error_max.max(head.encoder.codec.error(layout.record(&node)));
        self.write_list(&mut node, row, &found, exact, work);
        Arc::make_mut(&mut self.appended).push(point);
        Arc::make_mut(&mut self.changes).set(vertex, node.into());

        let mut is_linked = false;
        for (distance, other) in &found {
            is_linked |= self.link_back(*other, vertex, *distance, exact, work);
        }
        if let (false, Some((_, nearest))) = (is_linked, found.first()) {
            // All vertices near it have better neighbors; but a vertex without a link to it is never found.
            self.replace_last(*nearest, vertex, exact, work);
        }
    }

    /// Puts `vertex` in the place of the last link of `from`.
    fn replace_last(&mut self, from: u32, vertex: u32, exact: Exact<'_>, work: &mut Work) {
        let layout = self.base.layout;
        let mut node = self.node(from).to_vec();
        let place = layout.links(&node).count() - 1;
        let rows = [from, vertex].map(|vertex| exact.row(vertex).0);
        work.room
            .write_link(&self.base.head.encoder, layout, &mut node, place, vertex, rows);
        Arc::make_mut(&mut self.changes).set(from, node.into());
    }

    /// Adds `vertex` to the links of `from`, if it is near enough; says whether.
    fn link_back(&mut self, from: u32, vertex: u32, distance: f32, exact: Exact<'_>, work: &mut Work) -> bool {
        let layout = self.base.layout;
        let mut node = self.node(from).to_vec();
        let links: Vec<u32> = layout.links(&node).collect();
        let (row, _) = exact.row(from);
        if links.len() < self.base.head.config.degree_max() {
            let rows = [row, exact.row(vertex).0];
            work.room
                .write_link(&self.base.head.encoder, layout, &mut node, links.len(), vertex, rows);
        } else {
            work.candidates.clear();
            work.candidates.push((distance, vertex));
            for link in links {
                let distance = exact.distance(from, link);
                work.candidates.push((distance, link));
            }
            let mut kept = std::mem::take(&mut work.candidates);
            prune(exact, &mut kept, self.base.head.config.degree_max());
            let is_kept = kept.iter().any(|(_, link)| *link == vertex);
            if is_kept {
                self.write_list(&mut node, row, &kept, exact, work);
            }
            work.candidates = kept;
            if !is_kept {
                return false;
            }
        }
        Arc::make_mut(&mut self.changes).set(from, node.into());
        true
    }

    fn write_list(&self, node: &mut [u8], row: &[f32], list: &[(f32, u32)], exact: Exact<'_>, work: &mut Work) {
        let layout = self.base.layout;
        let links: Vec<u32> = list.iter().map(|(_, link)| *link).collect();
        debug_assert!(!links.contains(&NONE), "links lead to vertices");
        layout.write_links(node, &links);
        if layout.has_blocks() {
            let rows = links.iter().map(|link| exact.row(*link).0);
            work.room.write_block(&self.base.head.encoder, layout, node, row, rows);
        }
    }
}

/// Memory for inserting.
struct Work {
    memory: Memory,
    candidates: Vec<(f32, u32)>,
    room: BlockRoom,
}
