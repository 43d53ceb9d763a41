//! The graph of a namespace, and what it needs.
//!
//! A graph whose vertices are points, with their ids. It never changes: a change makes a new one. A point of an index
//! keeps its vector and its id for as long as the index can be used, now or after a restart: dead points stay as
//! tombstones, and their numbers are not reused (see [`Reuse`](crate::namespace::Reuse)).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use llmspell_core::{DistanceMetric, HNSWConfig, Memory};
use llmspell_vector::{Graph, GraphConfig, GraphLayout, GraphStats, Metric};
use roaring::RoaringBitmap;

use crate::base::ids::Lsn;
use crate::indexes::files::{IdList, Ids, IndexFile, Opened};

/// A graph is rebuilt once this share of it are tombstones: one fifth.
const TOMBSTONES_SHARE: u64 = 5;
/// Links around tombstones are repaired once there are this many new ones: one twentieth of the vertices.
const REPAIR_SHARE: u64 = 20;
/// If searches meet more tombstones than candidates, this many are enough for a repair.
const BROKEN_MIN: u64 = 64;
/// This many new points are linked without waiting for more.
const TAIL_POINTS: u64 = 256;

/// The index of one namespace.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) graph: Graph,
    pub(crate) ids: Ids,
    /// The points that are vertices.
    pub(crate) points: RoaringBitmap,
    /// Every point that lived at this mutation is a vertex.
    pub(crate) lsn: Lsn,
    /// The file it was read from, or written to; without later changes.
    pub(crate) file: Option<Arc<IndexFile>>,
    place: Place,
    /// Number of tombstones at the last repair. Not stored: after a restart one more repair finds nothing to do.
    repaired: u64,
    stats: OnceLock<GraphStats>,
    /// Whether a search met a contradiction.
    is_damaged: AtomicBool,
    /// Whether a search met more tombstones than it has room for candidates.
    has_broken_links: AtomicBool,
}

/// Where the bytes of the graph are, without changes since it was built or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In memory of our own, until there is a file, or because the tier requires it.
    Memory,
    /// In the file.
    Mapped,
    /// In the file although the tier requires memory, because there is not enough.
    MappedOnly,
}

/// What an index needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// A few new points, which may wait for more.
    Soon,
    Now,
}

/// The numbers that decide what an index needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Living points.
    pub(crate) live: u64,
    /// Living points that are not in the graph.
    pub(crate) tail: u64,
    /// Points in the graph; none if there is no graph.
    pub(crate) vertices: Option<u64>,
    /// Dead points in the graph.
    pub(crate) tombstones: u64,
    /// Tombstones added since the last repair.
    pub(crate) unrepaired: u64,
    /// Whether searches met more tombstones than candidates.
    pub(crate) has_broken_links: bool,
    /// Points that the graph can still take.
    pub(crate) spare: u64,
}

/// The next step for a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// Removes the graph: there are too few points.
    Forget,
    /// Builds a graph of all living points.
    Build,
    /// Links the points of the tail.
    Extend,
    /// Links the points of the tail, if any, and repairs links around tombstones.
    Repair,
}

impl Index {
    /// An index that is not in a file.
    pub(crate) fn new(graph: Graph, ids: Ids, points: RoaringBitmap, lsn: Lsn) -> Self {
        debug_assert_eq!(u64::from(graph.len()), points.len(), "a vertex is one point");
        debug_assert_eq!(graph.len(), ids.len(), "every vertex has an id");
        Self {
            graph,
            ids,
            points,
            lsn,
            file: None,
            place: Place::Memory,
            repaired: 0,
            stats: OnceLock::new(),
            is_damaged: AtomicBool::new(false),
            has_broken_links: AtomicBool::new(false),
        }
    }

    /// The index of a file.
    pub(crate) fn opened(opened: Opened) -> Self {
        let Opened {
            file,
            graph,
            ids,
            points,
            lsn,
        } = opened;
        Self {
            place: if file.is_mapped() { Place::Mapped } else { Place::Memory },
            file: Some(file),
            ..Self::new(graph, ids, points, lsn)
        }
    }

    /// This index with an equal graph in memory; none if there was not enough memory.
    pub(crate) fn held(&self, graph: Option<Graph>) -> Self {
        let (graph, place) = match graph {
            Some(graph) => (graph, Place::Memory),
            None => (self.graph.clone(), Place::MappedOnly),
        };
        Self {
            place,
            file: self.file.clone(),
            repaired: self.repaired,
            stats: self.stats.clone(),
            ..Self::new(graph, self.ids.clone(), self.points.clone(), self.lsn)
        }
    }

    /// This index with further points, whose ids follow in the order of their vertices.
    pub(crate) fn extended(&self, graph: Graph, ids: IdList, points: &RoaringBitmap, lsn: Lsn) -> Self {
        let ids = self.ids.extended(ids);
        Self {
            place: self.place,
            file: self.file.clone(),
            repaired: self.repaired,
            ..Self::new(graph, ids, &self.points | points, lsn)
        }
    }

    /// This index with repaired links, at this number of tombstones.
    pub(crate) fn repaired(&self, graph: Graph, tombstones: u64) -> Self {
        Self {
            place: self.place,
            file: self.file.clone(),
            repaired: tombstones,
            ..Self::new(graph, self.ids.clone(), self.points.clone(), self.lsn)
        }
    }

    /// This index, which replaces `other` with the same content in other bytes.
    pub(crate) fn in_place_of(self, other: &Self) -> Self {
        Self {
            repaired: other.repaired,
            ..self
        }
    }

    /// Tombstones added since the last repair.
    pub(crate) fn unrepaired(&self, tombstones: u64) -> u64 {
        tombstones.saturating_sub(self.repaired)
    }

    /// Statistics; counted once, with these points `dead`.
    pub(crate) fn stats(&self, dead: &RoaringBitmap) -> GraphStats {
        *self
            .stats
            .get_or_init(|| self.graph.stats(&|point| dead.contains(point.0)))
    }

    /// Bytes of RAM of all its parts, mapped ones included.
    pub(crate) fn bytes(&self, dead: &RoaringBitmap) -> u64 {
        let stats = self.stats(dead);
        stats.code_bytes + stats.link_bytes + stats.block_bytes + stats.other_bytes + self.small_bytes()
    }

    /// Bytes that only this process uses, as far as known: none for a graph that was read from a file.
    pub(crate) fn own_bytes(&self, dead: &RoaringBitmap) -> u64 {
        match self.place {
            Place::Memory => self.bytes(dead),
            Place::Mapped | Place::MappedOnly => self.small_bytes(),
        }
    }

    /// As [`own_bytes`](Self::own_bytes), plus changes since the graph was read; without a walk through it.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let graph = self.graph.bytes() as u64;
        let vertices = u64::from(self.graph.len()).max(1);
        let changed = graph / vertices * self.graph.changed().min(vertices);
        match self.place {
            Place::Memory => graph + changed + self.small_bytes(),
            Place::Mapped | Place::MappedOnly => changed + self.small_bytes(),
        }
    }

    fn small_bytes(&self) -> u64 {
        self.ids.memory_bytes() + self.points.serialized_size() as u64
    }

    /// Whether the tier requires in memory what lies in the file.
    pub(crate) fn is_to_be_held(&self, memory: Memory) -> bool {
        memory != Memory::Balanced && self.place == Place::Mapped && self.graph.changed() == 0
    }

    /// Whether searches may run in place: nothing must be read from the disk.
    pub(crate) fn is_in_ram(&self) -> bool {
        self.file.as_ref().is_none_or(|file| file.is_verified())
    }

    /// Whether searches must not use it.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Whether searches met more tombstones than candidates.
    pub(crate) fn has_broken_links(&self) -> bool {
        self.has_broken_links.load(Ordering::Relaxed)
    }

    /// Notes that a search met more tombstones than candidates; returns whether it is the first.
    pub(crate) fn note_broken_links(&self) -> bool {
        !self.has_broken_links() && !self.has_broken_links.swap(true, Ordering::Relaxed)
    }

    /// Stops searches from using it.
    pub(crate) fn set_damaged(&self) {
        self.is_damaged.store(true, Ordering::Relaxed);
    }

    /// Whether the file is out of date.
    pub(crate) fn is_changed(&self) -> bool {
        self.file.is_none() || self.graph.changed() > 0
    }

    /// Whether it was built with these settings, as far as its bytes show.
    pub(crate) fn matches(&self, config: &GraphConfig) -> bool {
        let own = self.graph.config();
        self.answers(config) && (own.m, own.layout) == (config.m, config.layout)
    }

    /// Whether its answers are right under these settings.
    pub(crate) fn answers(&self, config: &GraphConfig) -> bool {
        let own = self.graph.config();
        (own.metric, own.dim) == (config.metric, config.dim)
    }
}

impl Counts {
    /// Whether so many vertices are dead that the graph should be rebuilt.
    fn has_too_many_tombstones(&self) -> bool {
        self.vertices
            .is_some_and(|vertices| self.tombstones * TOMBSTONES_SHARE > vertices)
    }

    /// Whether so many vertices died lately that walks lose time among them: of all, or where searches go.
    fn has_too_many_unrepaired(&self) -> bool {
        if self.has_broken_links && self.unrepaired >= BROKEN_MIN {
            return true;
        }
        self.vertices
            .is_some_and(|vertices| self.unrepaired * REPAIR_SHARE > vertices)
    }

    /// How soon something should be done.
    pub(crate) fn need(&self, points_min: u64) -> Need {
        match self.vertices {
            None if self.live >= points_min => Need::Now,
            None => Need::Nothing,
            Some(_) if self.has_too_many_tombstones() || self.has_too_many_unrepaired() => Need::Now,
            Some(_) if self.tail >= TAIL_POINTS => Need::Now,
            Some(_) if self.tail > 0 => Need::Soon,
            Some(_) => Need::Nothing,
        }
    }

    /// The next step, if it is done by this many threads.
    pub(crate) fn step(&self, points_min: u64, threads: u64) -> Step {
        match self.vertices {
            None if self.live >= points_min && self.live > 0 => Step::Build,
            None => Step::Nothing,
            Some(_) if self.has_too_many_tombstones() && self.live < points_min => Step::Forget,
            Some(_) if self.has_too_many_tombstones() => Step::Build,
            // Points are added one after the other; a new graph is built by all threads.
            Some(_) if self.tail > self.spare => Step::Build,
            Some(vertices) if self.tail > vertices || self.tail * threads > vertices + self.tail => Step::Build,
            Some(_) if self.has_too_many_unrepaired() => Step::Repair,
            Some(_) if self.tail > 0 => Step::Extend,
            Some(_) => Step::Nothing,
        }
    }
}

/// How the graphs of a space are built; none if there are no codes for its metric.
pub(crate) fn graph_config(dim: usize, config: &HNSWConfig) -> Option<GraphConfig> {
    let layout = match config.memory() {
        Memory::Speed => GraphLayout::Blocks,
        Memory::Lean => GraphLayout::Lean,
        _ => GraphLayout::Compact,
    };
    (config.metric() != DistanceMetric::Manhattan && dim > 0).then(|| GraphConfig {
        metric: kernel_metric(config.metric()),
        dim: config.index_dim().map_or(dim, |index_dim| index_dim.min(dim)),
        m: config.m(),
        ef_construction: config.ef_construction(),
        seed: config.seed(),
        layout,
    })
}

/// The metric as the kernels name it.
pub(crate) fn kernel_metric(metric: DistanceMetric) -> Metric {
    match metric {
        DistanceMetric::Cosine => Metric::Cosine,
        DistanceMetric::Euclidean => Metric::Euclidean,
        DistanceMetric::InnerProduct => Metric::InnerProduct,
        DistanceMetric::Manhattan => Metric::Manhattan,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(live: u64, tail: u64, vertices: Option<u64>, tombstones: u64) -> Counts {
        Counts {
            live,
            tail,
            vertices,
            tombstones,
            unrepaired: 0,
            has_broken_links: false,
            spare: u64::MAX,
        }
    }

    fn unrepaired(counts: Counts, unrepaired: u64) -> Counts {
        Counts { unrepaired, ..counts }
    }

    fn broken(counts: Counts, unrepaired: u64) -> Counts {
        Counts {
            unrepaired,
            has_broken_links: true,
            ..counts
        }
    }

    #[test]
    fn what_a_graph_needs_follows_from_its_counts() {
        let min = 1_000;
        let table = [
            (counts(999, 999, None, 0), Need::Nothing, Step::Nothing),
            (counts(1_000, 1_000, None, 0), Need::Now, Step::Build),
            (counts(1_000, 0, Some(1_000), 0), Need::Nothing, Step::Nothing),
            (counts(1_001, 1, Some(1_000), 0), Need::Soon, Step::Extend),
            (counts(1_256, 256, Some(1_000), 0), Need::Now, Step::Extend),
            (counts(2_001, 1_001, Some(1_000), 0), Need::Now, Step::Build),
            (counts(1_600, 0, Some(2_000), 400), Need::Nothing, Step::Nothing),
            (counts(1_599, 0, Some(2_000), 401), Need::Now, Step::Build),
            (counts(700, 0, Some(1_000), 300), Need::Now, Step::Forget),
            (counts(900, 0, Some(1_000), 100), Need::Nothing, Step::Nothing),
            (
                unrepaired(counts(950, 0, Some(1_000), 50), 50),
                Need::Nothing,
                Step::Nothing,
            ),
            (unrepaired(counts(949, 0, Some(1_000), 51), 51), Need::Now, Step::Repair),
            (broken(counts(9_936, 0, Some(10_000), 64), 64), Need::Now, Step::Repair),
            (
                broken(counts(9_937, 0, Some(10_000), 63), 63),
                Need::Nothing,
                Step::Nothing,
            ),
            (unrepaired(counts(950, 1, Some(1_000), 51), 51), Need::Now, Step::Repair),
            (
                unrepaired(counts(900, 0, Some(1_000), 100), 50),
                Need::Nothing,
                Step::Nothing,
            ),
            (
                unrepaired(counts(1_599, 0, Some(2_000), 401), 401),
                Need::Now,
                Step::Build,
            ),
            (
                unrepaired(counts(2_002, 1_053, Some(1_000), 51), 51),
                Need::Now,
                Step::Build,
            ),
        ];
        for (counts, need, step) in table {
            assert_eq!((counts.need(min), counts.step(min, 1)), (need, step), "{counts:?}");
        }
        // With eight threads a new graph of 2,000 points is faster than adding 300 points one by one.
        assert_eq!(counts(2_000, 300, Some(1_700), 0).step(min, 8), Step::Build);
    }
}
