//! The cost, recall and path of one filter.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use llmspell_storage::{HNSWVectorStorage, SearchPlan, VectorQuery, VectorResult};
use serde::Serialize;

use super::Case;
use super::truth::Nearest;
use crate::measure::latency::{Latencies, median, rounded};
use llmspell_cli_base::errors::CliError;

/// One line of phase `filter`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FilterReport {
    pub(super) phase: &'static str,
    pub(super) filter: &'static str,
    /// Of the rows, those that should pass.
    pub(super) share: f64,
    /// Those that passed, on average.
    pub(super) matching: f64,
    pub(super) recall: f64,
    /// Results, as a share of those that there must be.
    pub(super) found: f64,
    /// Of the best repetition.
    pub(super) qps: f64,
    /// Of the middle repetition, as the next one.
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// The first call of all with this filter, or the median of those with one of them.
    pub(super) first_us: f64,
    /// p99 as a multiple of that without a filter, in the same run.
    pub(super) p99_ratio: f64,
    /// Which ways were gone, and how often.
    pub(super) paths: BTreeMap<String, usize>,
    /// Codes compared, on average.
    pub(super) codes: f64,
    /// Exact distances, on average.
    pub(super) distances: f64,
    /// Parts of a search that is explained, in µs, at the median.
    pub(super) stages: BTreeMap<String, f64>,
    pub(super) queries: usize,
}

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) k: usize,
    pub(super) ef: Option<usize>,
    pub(super) reps: usize,
    pub(super) time_min: Duration,
}

/// One filter and the queries that ask with it.
pub(super) struct Asked<'a> {
    pub(super) case: &'a Case,
    pub(super) queries: &'a [(Vec<f32>, usize)],
    pub(super) truth: &'a [&'a Nearest],
    /// Whether a row passes, seen from a pivot.
    pub(super) passes: &'a dyn Fn(usize, usize) -> bool,
}

impl Asked<'_> {
    /// Asks one query after the other. What is timed is the call and nothing else.
    pub(super) async fn measure(
        &self,
        store: &HNSWVectorStorage,
        settings: Settings,
        unfiltered_p99_us: Option<f64>,
    ) -> Result<FilterReport, CliError> {
        let prepared: Vec<VectorQuery> = self
            .queries
            .iter()
            .map(|query| self.prepared(query, settings))
            .collect();
        let mut answers = Vec::with_capacity(prepared.len());
        let mut firsts = Vec::new();
        for (number, query) in prepared.iter().enumerate() {
            let started = Instant::now();
            answers.push(store.search(query).await?);
            if number < self.case.filters.len() {
                firsts.push(started.elapsed().as_secs_f64() * 1e6);
            }
        }
        let (mut qps, mut p50, mut p99): (Vec<f64>, Vec<f64>, Vec<f64>) = Default::default();
        for _ in 0..settings.reps {
            let mut latencies = Latencies::with_capacity(prepared.len());
            let started = Instant::now();
            let mut before = started;
            while latencies.calls() < prepared.len() || before - started < settings.time_min {
                store.search(&prepared[latencies.calls() % prepared.len()]).await?;
                let now = Instant::now();
                latencies.record(now - before);
                before = now;
            }
            qps.push(latencies.calls() as f64 / (before - started).as_secs_f64());
            p50.push(latencies.p50_us());
            p99.push(latencies.p99_us());
        }
        let mut plans = Vec::with_capacity(prepared.len());
        for query in &prepared {
            plans.push(store.explain(query).await?);
        }
        let p99_us = median(p99);
        let (recall, found) = self.recall(&answers)?;
        let mean =
            |of: fn(&SearchPlan) -> u64| rounded(plans.iter().map(of).sum::<u64>() as f64 / plans.len().max(1) as f64);
        Ok(FilterReport {
            phase: "filter",
            filter: self.case.name,
            share: self.case.share,
            matching: mean(|plan| plan.matching),
            recall,
            found,
            qps: rounded(qps.into_iter().fold(0.0, f64::max)),
            p50_us: rounded(median(p50)),
            p99_us: rounded(p99_us),
            first_us: rounded(median(firsts)),
            p99_ratio: rounded(p99_us / unfiltered_p99_us.unwrap_or(p99_us)),
            paths: paths(&plans),
            codes: mean(|plan| plan.codes),
            distances: mean(|plan| plan.distances),
            stages: stages(&plans),
            queries: prepared.len(),
        })
    }

    fn prepared(&self, (vector, pivot): &(Vec<f32>, usize), settings: Settings) -> VectorQuery {
        let mut query = VectorQuery::new(vector.clone(), settings.k).with_metadata(false);
        query.ef_search = settings.ef;
        query.filter = match &self.case.filters[..] {
            [] => None,
            filters => Some(filters[pivot % filters.len()].clone()),
        };
        query
    }

    /// The share of the true neighbors that were found, and of the results that there must be. A result that does not
    /// pass is none that may ever come.
    fn recall(&self, answers: &[Vec<VectorResult>]) -> Result<(f64, f64), CliError> {
        let (mut near, mut there, mut wanted) = (0, 0, 0);
        for ((results, truth), (_, pivot)) in answers.iter().zip(self.truth).zip(self.queries) {
            for result in results {
                let row = result.id.parse().unwrap_or(usize::MAX);
                if !(self.passes)(row, *pivot) {
                    let expected = format!("only what passes `{}`, and not entry {}", self.case.name, result.id);
                    return Err(CliError::PromiseBroken { expected });
                }
                // At the same distance it is as good.
                near += usize::from(result.distance <= truth.farthest);
            }
            there += results.len();
            wanted += truth.rows.len();
        }
        let share = |count: usize| if wanted == 0 { 1.0 } else { count as f64 / wanted as f64 };
        Ok((share(near), share(there)))
    }
}

fn paths(plans: &[SearchPlan]) -> BTreeMap<String, usize> {
    let mut paths = BTreeMap::new();
    for plan in plans {
        let names: Vec<&str> = plan.paths.iter().map(|path| path.name()).collect();
        *paths.entry(names.join(" > ")).or_default() += 1;
    }
    paths
}

fn stages(plans: &[SearchPlan]) -> BTreeMap<String, f64> {
    let mut stages: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for stage in plans.iter().flat_map(|plan| &plan.stages) {
        stages.entry(stage.name.clone()).or_default().push(stage.micros);
    }
    stages
        .into_iter()
        .map(|(name, micros)| (name, rounded(median(micros))))
        .collect()
}
