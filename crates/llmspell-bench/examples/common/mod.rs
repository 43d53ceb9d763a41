//! What the examples read, and how they build.

#![allow(dead_code, reason = "no example needs all of it")]

use std::fs;
use std::sync::Arc;

use llmspell_vector::{BuildWatch, Candidate, ExactDistance, Graph, GraphConfig, PointId, Rows, Shortlist, TopK};

/// Rows of `dim` floats, one after the other.
pub(crate) struct Floats {
    pub(crate) dim: usize,
    pub(crate) values: Vec<f32>,
}

impl Floats {
    /// Those of a file of plain little-endian numbers.
    pub(crate) fn read(path: &str, dim: usize) -> Self {
        let values = words(path).into_iter().map(f32::from_le_bytes).collect();
        Self { dim, values }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    pub(crate) fn points(&self) -> Vec<PointId> {
        (0..self.len() as u32).map(PointId).collect()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (PointId, &[f32])> {
        (0..).map(PointId).zip(self.values.chunks_exact(self.dim))
    }
}

impl Rows for Floats {
    fn row(&self, point: PointId) -> &[f32] {
        &self.values[point.0 as usize * self.dim..][..self.dim]
    }
}

/// A build that is neither observed nor cancelled.
pub(crate) struct Quiet;

impl BuildWatch for Quiet {
    fn advance(&self, _: u64) {}
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// The words of four bytes of a file.
pub(crate) fn words(path: &str) -> Vec<[u8; 4]> {
    fs::read(path).expect("the file is there").as_chunks().0.to_vec()
}

/// A number of the environment.
pub(crate) fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The graph of all rows; that of the file `KEEP.name` if the environment says `KEEP`, which is written if it is not there.
pub(crate) fn kept_graph(config: &GraphConfig, rows: &Floats, name: &str) -> Graph {
    let kept = std::env::var("KEEP").ok().map(|prefix| format!("{prefix}.{name}"));
    if let Some(bytes) = kept.as_ref().and_then(|path| fs::read(path).ok()) {
        return Graph::open(Arc::new(bytes)).expect("it was written by this program");
    }
    let graph = Graph::build(config, &rows.points(), rows, 2, &Quiet).expect("nobody cancels");
    if let Some(path) = kept {
        let mut file = fs::File::create(path).expect("a place to keep it");
        graph.write_to(&mut file).expect("room to keep it");
    }
    graph
}

/// Numbers that look random, the same in every run.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn bits(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() as usize * bound) >> 31
    }

    /// About normally distributed.
    pub(crate) fn next(&mut self) -> f32 {
        let sum: f32 = (0..6).map(|_| self.bits() as f32 / (1_u32 << 31) as f32).sum();
        (sum - 3.0) * std::f32::consts::SQRT_2
    }
}

/// Compares the candidates of a shortlist exactly, as a search for the `k` nearest does: the best, and those that were
/// compared.
pub(crate) fn rescored(
    rows: &Floats,
    exact: &ExactDistance,
    k: usize,
    mut shortlist: Shortlist<'_>,
) -> (TopK, Vec<Candidate>) {
    let (mut best, mut compared) = (TopK::new(k), Vec::new());
    while let Some(candidate) = shortlist.next(best.bound()) {
        best.offer(exact.distance(rows.row(candidate.point)), candidate.point);
        compared.push(candidate);
    }
    (best, compared)
}
