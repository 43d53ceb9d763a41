//! How a graph is built and laid out, and what its callers provide.

use std::sync::Arc;

use crate::distance::Metric;
use crate::neighbor::PointId;

/// How a graph is built and laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphConfig {
    /// How vectors are compared; not [`Metric::Manhattan`], for which there are no codes.
    pub metric: Metric,
    /// Components per vector, 1 to 65,535.
    pub dim: usize,
    /// Links per point, 2 to 256; twice as many are kept, as at the bottom level of the HNSW paper, in a lean graph half
    /// as many again.
    pub m: usize,
    /// Width of the beam while building, at least `m`. Building slows down in proportion.
    pub ef_construction: usize,
    /// Where random choices start from. With one thread, the same seed and the same points in the same order give the
    /// same graph.
    pub seed: u64,
    /// What lies beside a point.
    pub layout: GraphLayout,
}

impl GraphConfig {
    /// Links per vertex, at most.
    pub(crate) fn degree_max(&self) -> usize {
        match self.layout {
            GraphLayout::Compact | GraphLayout::Blocks => 2 * self.m,
            GraphLayout::Lean => (3 * self.m).div_ceil(2),
        }
    }
}

/// What lies beside a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphLayout {
    /// Its code and its links: half a byte per component, 12 bytes, and `8 * m` bytes. A step of a search reads the
    /// code of every neighbor where that is.
    Compact,
    /// The same, and a code of one bit per component of every neighbor: a step of a search reads one place. With `m`
    /// at 16 that is 4 bytes more per component.
    Blocks,
    /// As little as possible: a code of 1, 2 or 4 bits for each of the main directions of the vectors, 9 bytes, and links
    /// of as many bits as their number needs. Codes of 128 components take 32 bytes, of 512 at most 80, of 1,536 at most
    /// 112, of more in proportion; of fewer than 8,192 vectors, one, two or four bits per component. Which bits and how many
    /// directions is chosen by a sample of the vectors. Searches compare more exact vectors.
    Lean,
}

/// The exact vectors, by point.
pub trait Rows: Sync {
    /// The vector of a point that the graph holds or shall hold; `dim` components.
    fn row(&self, point: PointId) -> &[f32];

    /// Announces in which order most of the next vectors are asked for, so that an implementation that reads them from a disk
    /// can prepare for it.
    fn will_read(&self, _order: ReadOrder) {}
}

/// In which order vectors are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOrder {
    /// As the points were given, by several threads, each a part.
    Given,
    /// Here and there.
    Random,
}

/// Observes a long build, and may cancel it.
pub trait BuildWatch: Sync {
    /// `points` more points are linked.
    fn advance(&self, points: u64);
    /// Whether to give up.
    fn is_cancelled(&self) -> bool;
}

/// A point worth an exact distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// About how far it is: comparable within one search only.
    pub estimate: f32,
    /// Place in the graph: 0 to the number of vertices.
    pub vertex: u32,
    /// The point.
    pub point: PointId,
}

/// Bytes of an index that stay where they are: a mapped file, or memory.
pub type IndexBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Why bytes are no graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphDamage(pub String);

/// How much there is in a graph.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GraphStats {
    /// Points, deleted ones included.
    pub vertices: u64,
    /// Links between them.
    pub links: u64,
    /// Living points that no walk from the entry points reaches.
    pub unreachable: u64,
    /// Bytes of the codes of the points.
    pub code_bytes: u64,
    /// Bytes of the links.
    pub link_bytes: u64,
    /// Bytes of the codes of the neighbors.
    pub block_bytes: u64,
    /// Bytes of everything else: points, entry points, centroids, and what changed since the graph was opened.
    pub other_bytes: u64,
}
