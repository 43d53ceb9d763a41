//! Ranking: the order of results, and the length of the shortlist.
//!
//! By distance; or, with recency, by score and age. No recency score exceeds the plain score, so once `k` entries are
//! found whose recency scores no farther entry can reach, the search is complete.

use std::time::Duration;

use llmspell_core::limits::K_MAX;
use llmspell_core::{EntryTimes, RecencyPlan, Timestamp, VectorQuery, VectorResult, recency_score};

use super::trace::Trace;

/// With recency the shortlist has this many entries per result,
const SHORTLIST_PER_K: usize = 8;
/// and at least this many.
const SHORTLIST_MIN: usize = 200;

/// The ranking of a query's results, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranking {
    /// Number of results.
    pub(super) k: usize,
    recency: Option<Duration>,
    now: Timestamp,
}

impl Ranking {
    /// At `now`, in milliseconds since 1970.
    pub(super) fn new(query: &VectorQuery, now: i64) -> Self {
        Self {
            k: query.k,
            recency: query.recency,
            now: Timestamp::from_millis(now),
        }
    }

    /// Length of the shortlist.
    pub(super) fn shortlist(&self) -> usize {
        match self.recency {
            Some(_) => (SHORTLIST_PER_K * self.k).clamp(SHORTLIST_MIN, K_MAX),
            None => self.k,
        }
    }

    /// Whether the times of the hits are needed.
    pub(super) fn needs_times(&self) -> bool {
        self.recency.is_some()
    }

    /// Computes the recency score of a result.
    pub(super) fn age(&self, result: &mut VectorResult, times: &EntryTimes) {
        let ranked = |half_life| recency_score(result.score, times.age_ms(self.now), half_life);
        result.recency_score = self.recency.map(ranked);
    }

    /// Orders the results and keeps the best.
    pub(super) fn keep_best<T>(&self, found: &mut Vec<(VectorResult, T)>) {
        found.sort_unstable_by(|(a, _), (b, _)| a.rank(b).then_with(|| a.id.cmp(&b.id)));
        found.truncate(self.k);
    }

    /// Whether no farther entry, with a score up to this one, can be among the best; `best` are those found so far.
    pub(super) fn is_settled<T>(&self, best: &[(VectorResult, T)], score: f32) -> bool {
        let last = best.get(self.k - 1).and_then(|(last, _)| last.recency_score);
        self.recency.is_none() || last.is_some_and(|last| last >= score)
    }

    /// Notes how many entries of the shortlist were ranked.
    pub(super) fn note(&self, trace: &mut Trace<'_>, shortlist: usize, ranked: usize) {
        trace.plan.k = self.k;
        let plan = |half_life| RecencyPlan::new(half_life, shortlist as u64, ranked as u64);
        trace.plan.recency = self.recency.map(plan);
    }
}
