//! The recall, by distance, and the latency of one database with one set.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use llmspell_storage::{HNSWConfig, HNSWVectorStorage, Memory, VectorQuery, VectorResult};
use llmspell_vector::ExactDistance;
use serde::Serialize;

use super::grid::{K, Set, Width};
use crate::ann::next_batch;
use crate::generate::kernel_metric;
use crate::load::load;
use crate::measure::latency::rounded;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::memory_arg::MemoryArg;
use llmspell_cli_base::progress::Progress;

const BATCH_ROWS: usize = 1_000;
/// Asked before the clock starts.
const WARM_UP: usize = 20;
/// Queries where everything is compared: each takes as long as hundreds of others.
const ALL_QUERIES: usize = 25;

/// One line of phase `set`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SetReport {
    phase: &'static str,
    pub(super) set: String,
    pub(super) n: u64,
    pub(super) dim: usize,
    pub(super) metric: String,
    pub(super) memory: MemoryArg,
    /// `default`, `wide`, `all`.
    pub(super) width: &'static str,
    /// Width of the beam that was used.
    pub(super) ef: usize,
    pub(super) k: usize,
    /// Results no farther than the last of the exact answer, as a share of those there must be.
    pub(super) recall: f64,
    /// The least that it may be.
    pub(super) floor: f64,
    pub(super) meets_floor: bool,
    /// Queries a second, one at a time.
    pub(super) qps: f64,
    pub(super) queries: usize,
    /// Until everything was in the index.
    build_seconds: f64,
}

/// A set, read from its files, and what must be found.
pub(super) struct Data {
    set: Set,
    metric: llmspell_storage::DistanceMetric,
    base: Vec<f32>,
    queries: Vec<Asked>,
}

/// A query, and the distance of the last of its true neighbors.
struct Asked {
    vector: Vec<f32>,
    distance: ExactDistance,
    last: f32,
}

impl Data {
    /// Reads what `bench generate` wrote into `directory`.
    pub(super) fn read(set: Set, metric: llmspell_storage::DistanceMetric, directory: &Path) -> Result<Self, CliError> {
        let mut rows = NpyReader::open(&directory.join("base.npy"))?;
        let mut base = Vec::with_capacity(set.n as usize * set.dim);
        while let Some(row) = rows.next_row()? {
            base.extend(row);
        }
        let mut queries = NpyReader::open(&directory.join("queries.npy"))?;
        let mut truth = NpyReader::open(&directory.join("truth.npy"))?;
        let mut data = Self {
            set,
            metric,
            base,
            queries: Vec::new(),
        };
        while let (Some(vector), Some(nearest)) = (queries.next_row()?, truth.next_integers()?) {
            let distance = ExactDistance::new(kernel_metric(metric), &vector);
            let row = |row: &i64| data.row(*row as usize).expect("the truth names rows of the base");
            let last = nearest
                .last()
                .map_or(f32::INFINITY, |last| distance.distance(row(last)));
            data.queries.push(Asked { vector, distance, last });
        }
        Ok(data)
    }

    fn row(&self, number: usize) -> Option<&[f32]> {
        self.base.chunks_exact(self.set.dim).nth(number)
    }

    /// Loads it into a database in `directory`, which must be empty, and asks with each width of the beam.
    pub(super) async fn measure(
        &self,
        (files, directory): (&Path, &Path),
        memory: MemoryArg,
        progress: Progress,
    ) -> Result<Vec<SetReport>, CliError> {
        let config = HNSWConfig::balanced()
            .with_metric(self.metric)
            .with_memory(Memory::from(memory));
        let store = HNSWVectorStorage::open(directory, self.set.dim, config).await?;
        let mut base = NpyReader::open(&files.join("base.npy"))?;
        let built = load(&store, directory, || next_batch(&mut base, BATCH_ROWS), progress).await?;
        let mut reports = Vec::new();
        for width in Width::EACH {
            let (recall, qps, queries, ef) = self.ask(&store, width).await?;
            let floor = self.set.floor(width);
            reports.push(SetReport {
                phase: "set",
                set: self.set.name(),
                n: self.set.n,
                dim: self.set.dim,
                metric: self.metric.to_string(),
                memory,
                width: width.name(),
                ef,
                k: K,
                recall,
                floor,
                meets_floor: recall >= floor,
                qps: rounded(qps),
                queries,
                build_seconds: rounded(built.seconds),
            });
        }
        store.close().await?;
        Ok(reports)
    }

    /// Recall, queries a second, how many were asked, and how wide the beam was.
    async fn ask(&self, store: &HNSWVectorStorage, width: Width) -> Result<(f64, f64, usize, usize), CliError> {
        let count = if width == Width::All { ALL_QUERIES } else { usize::MAX };
        let asked = &self.queries[..self.queries.len().min(count)];
        let query = |asked: &Asked| {
            let mut query = VectorQuery::new(asked.vector.clone(), K).with_metadata(false);
            query.ef_search = self.set.ef(width);
            query
        };
        let ef = store.explain(&query(&asked[0])).await?.ef;
        if width != Width::All {
            for asked in asked.iter().take(WARM_UP) {
                store.search(&query(asked)).await?;
            }
        }
        let (mut found, mut taken) = (0, Duration::ZERO);
        for asked in asked {
            let query = query(asked);
            let started = Instant::now();
            let results = store.search(&query).await?;
            taken += started.elapsed();
            found += self.found(asked, &results)?;
        }
        let due = asked.len() * K.min(self.set.n as usize);
        Ok((
            found as f64 / due as f64,
            asked.len() as f64 / taken.as_secs_f64(),
            asked.len(),
            ef,
        ))
    }

    /// How many results are no farther than the last true neighbor. A distance that is not that of its row, or a row that
    /// comes twice, ends the run.
    fn found(&self, asked: &Asked, results: &[VectorResult]) -> Result<usize, CliError> {
        let ids: HashSet<&str> = results.iter().map(|result| result.id.as_str()).collect();
        if ids.len() < results.len() {
            return Err(CliError::PromiseBroken {
                expected: format!("{} different results, not {ids:?}", results.len()),
            });
        }
        let mut found = 0;
        for result in results {
            let row = result.id.parse().ok().and_then(|number| self.row(number));
            let distance = row.map(|row| asked.distance.distance(row));
            if distance != Some(result.distance) {
                return Err(CliError::PromiseBroken {
                    expected: format!("row {} at {distance:?}, not at {}", result.id, result.distance),
                });
            }
            found += usize::from(result.distance <= asked.last);
        }
        Ok(found)
    }
}
