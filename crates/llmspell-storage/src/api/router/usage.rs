//! Usage of each space.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use llmspell_core::Result;
use serde::{Deserialize, Serialize};

use super::DimensionRouter;
use crate::api::vectors::HNSWVectorStorage;

/// Latencies are counted in classes whose bounds grow by a fourth root of two, from a quarter of a microsecond on.
const CLASSES: usize = 128;
const CLASSES_PER_OCTAVE: f64 = 4.0;
const FIRST_NANOS: f64 = 250.0;

/// A space of a [`DimensionRouter`], how much it holds, and how it was searched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpaceUsage {
    /// Name of the space: that of its model, if it has one.
    pub space: String,
    /// Name of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Components of a vector, as applications give it.
    pub dim: usize,
    /// Of them, those that are stored.
    pub store_dim: usize,
    /// Live entries in all scopes.
    pub vectors: u64,
    /// Bytes of their vectors as they are stored, as `f32`.
    pub vector_bytes: u64,
    /// Bytes of their metadata, as compact JSON.
    pub metadata_bytes: u64,
    /// Searches that this router sent there since it was made.
    pub queries: u64,
    /// Mean time that they took, in microseconds; 0 if there were none.
    pub mean_us: f64,
    /// Half of them took no longer, within a fifth.
    pub p50_us: f64,
    /// 99 of 100 of them took no longer, within a fifth.
    pub p99_us: f64,
}

/// Counts searches and what they took.
#[derive(Debug)]
pub(super) struct Meter {
    nanos: AtomicU64,
    classes: [AtomicU64; CLASSES],
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            nanos: AtomicU64::new(0),
            classes: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Meter {
    pub(super) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        let class = (nanos as f64 / FIRST_NANOS).log2() * CLASSES_PER_OCTAVE;
        self.classes[(class.max(0.0) as usize).min(CLASSES - 1)].fetch_add(1, Ordering::Relaxed);
    }

    fn add_to(&self, usage: &mut SpaceUsage) {
        let counts: Vec<u64> = self.classes.iter().map(|class| class.load(Ordering::Relaxed)).collect();
        usage.queries = counts.iter().sum();
        if usage.queries == 0 {
            return;
        }
        usage.mean_us = self.nanos.load(Ordering::Relaxed) as f64 / 1e3 / usage.queries as f64;
        usage.p50_us = quantile(&counts, usage.queries, 0.5);
        usage.p99_us = quantile(&counts, usage.queries, 0.99);
    }
}

/// The upper bound of the class in which the share of all ends, in microseconds.
fn quantile(counts: &[u64], all: u64, share: f64) -> f64 {
    let wanted = (all as f64 * share).ceil();
    let mut seen = 0;
    let class = counts.iter().position(|count| {
        seen += count;
        seen as f64 >= wanted
    });
    let class = class.unwrap_or(CLASSES - 1) as f64 + 1.0;
    FIRST_NANOS * (class / CLASSES_PER_OCTAVE).exp2() / 1e3
}

impl DimensionRouter {
    /// What each space holds, and how it was searched, in the order of their creation. Reads the state of every scope.
    ///
    /// # Errors
    ///
    /// `Data` or `Io` when it cannot be read.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.distribution", level = "debug", skip_all)
    )]
    pub async fn distribution(&self) -> Result<Vec<SpaceUsage>> {
        let mut usages = Vec::new();
        for route in &self.routes().all {
            let handle = route.handle(&self.inner.database).await?;
            let stats = HNSWVectorStorage::of_handle(handle).stats().await?;
            let mut usage = SpaceUsage {
                space: route.name().to_string(),
                model: route.model().map(|model| model.name.clone()),
                dim: route.model().map_or(route.record.dim, |model| model.dim),
                store_dim: route.record.dim,
                vectors: stats.vectors,
                vector_bytes: stats.vector_bytes,
                metadata_bytes: stats.metadata_bytes,
                ..SpaceUsage::default()
            };
            route.meter.add_to(&mut usage);
            usages.push(usage);
        }
        Ok(usages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_nearly_all_took_no_longer_than_they_say() {
        let meter = Meter::default();
        for micros in 1..=1_000 {
            meter.record(Duration::from_micros(micros));
        }
        let mut usage = SpaceUsage::default();
        meter.add_to(&mut usage);
        assert_eq!(usage.queries, 1_000);
        assert!((usage.mean_us - 500.5).abs() < 0.1);
        assert!((500.0..=600.0).contains(&usage.p50_us), "{}", usage.p50_us);
        assert!((990.0..=1_190.0).contains(&usage.p99_us), "{}", usage.p99_us);
    }

    #[test]
    fn any_time_has_a_class() {
        let meter = Meter::default();
        meter.record(Duration::ZERO);
        meter.record(Duration::MAX);
        let mut usage = SpaceUsage::default();
        meter.add_to(&mut usage);
        assert_eq!(usage.queries, 2);
    }
}
