//! The vectors of the tests, and observers of a build.

use std::sync::atomic::{AtomicU64, Ordering};

use llmspell_vector::{
    BuildWatch, Candidate, ExactDistance, GraphConfig, GraphLayout, Metric, PointId, Rows, Shortlist, TopK,
};

#[derive(Clone)]
pub(crate) struct Set {
    pub(crate) dim: usize,
    pub(crate) values: Vec<f32>,
}

impl Rows for Set {
    fn row(&self, point: PointId) -> &[f32] {
        &self.values[point.0 as usize * self.dim..][..self.dim]
    }
}

impl Set {
    pub(crate) fn new(dim: usize, rows: impl Iterator<Item = Vec<f32>>) -> Self {
        let values: Vec<f32> = rows.flatten().collect();
        assert!(values.len().is_multiple_of(dim));
        Self { dim, values }
    }

    pub(crate) fn points(&self) -> Vec<PointId> {
        (0..(self.values.len() / self.dim) as u32).map(PointId).collect()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (PointId, &[f32])> {
        (0..).map(PointId).zip(self.values.chunks_exact(self.dim))
    }
}

/// Counts linked points, and cancels the build after this many.
pub(crate) struct Watch {
    pub(crate) linked: AtomicU64,
    cancel_at: u64,
}

impl Watch {
    pub(crate) fn patient() -> Self {
        Self::until(u64::MAX)
    }

    pub(crate) fn until(cancel_at: u64) -> Self {
        Self {
            linked: AtomicU64::new(0),
            cancel_at,
        }
    }
}

impl BuildWatch for Watch {
    fn advance(&self, points: u64) {
        self.linked.fetch_add(points, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.linked.load(Ordering::Relaxed) >= self.cancel_at
    }
}

/// Numbers that look random, the same in every run; about normally distributed.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..6 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 40) as f32 / (1_u64 << 24) as f32;
        }
        (sum - 3.0) * std::f32::consts::SQRT_2
    }

    pub(crate) fn vector(&mut self, dim: usize, size: f32) -> Vec<f32> {
        (0..dim).map(|_| self.next() * size).collect()
    }
}

/// Vectors around centers, within a few directions: like embeddings.
pub(crate) fn clustered(count: usize, dim: usize, seed: u64) -> Set {
    let mut noise = Noise(seed);
    let directions: Vec<Vec<f32>> = (0..12).map(|_| noise.vector(dim, 0.3)).collect();
    let centers: Vec<Vec<f32>> = (0..20).map(|_| noise.vector(dim, 0.5)).collect();
    Set::new(
        dim,
        (0..count).map(|row| {
            let mut vector = centers[row * 7 % centers.len()].clone();
            for direction in &directions {
                let amount = noise.next();
                vector.iter_mut().zip(direction).for_each(|(x, d)| *x += amount * d);
            }
            vector.iter_mut().for_each(|x| *x += noise.next() * 0.05);
            vector
        }),
    )
}

pub(crate) fn config(metric: Metric, dim: usize, layout: GraphLayout) -> GraphConfig {
    GraphConfig {
        metric,
        dim,
        m: 16,
        ef_construction: 200,
        seed: 1,
        layout,
    }
}

/// The candidates that a search for the `k` nearest compares exactly, in that order.
pub(crate) fn compared(set: &Set, exact: &ExactDistance, k: usize, mut shortlist: Shortlist<'_>) -> Vec<Candidate> {
    let (mut best, mut compared) = (TopK::new(k), Vec::new());
    while let Some(candidate) = shortlist.next(best.bound()) {
        best.offer(exact.distance(set.row(candidate.point)), candidate.point);
        compared.push(candidate);
    }
    compared
}
