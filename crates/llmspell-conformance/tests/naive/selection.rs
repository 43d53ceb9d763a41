//! Diverse and grouped results, chosen from all matching entries.

use std::collections::HashMap;

use llmspell_core::filter::Scalar;
use llmspell_core::limits::K_MAX;
use llmspell_core::{Result, VectorQuery, VectorResult, VectorStorage as _};

use super::faults::Fault;
use super::vectors::NaiveStore;

impl NaiveStore {
    /// The answer to such a query, selected from the plain answer for all entries.
    pub(super) async fn select(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        let mut plain = query
            .clone()
            .with_k(K_MAX)
            .with_offset(0)
            .with_vectors(true)
            .with_metadata(true);
        (plain.mmr, plain.group_by) = (None, None);
        if self.has(Fault::GroupsAreOfTheTopK) {
            plain.k = query.k + query.offset;
        }
        if self.has(Fault::LargeGroupsHideOthers) {
            plain.k = plain.k.min(100);
        }
        let mut left = self.search(&plain).await?;
        if query.mmr.is_some() {
            left.truncate(100.max(4 * query.k));
        }
        let mut taken = self.selected(query, left);
        taken.drain(..query.offset.min(taken.len()));
        for result in &mut taken {
            result.metadata = result.metadata.take().filter(|_| query.include_metadata);
            result.vector = result.vector.take().filter(|_| query.include_vectors);
        }
        Ok(taken)
    }

    /// Those of candidates, which have their vectors and metadata, that the query takes, the skipped ones too.
    pub(super) fn selected(&self, query: &VectorQuery, mut left: Vec<VectorResult>) -> Vec<VectorResult> {
        let of_best = left.first().map_or(1.0, relevance);
        let scale = match query.text {
            Some(_) if of_best > 0.0 => 1.0 / of_best,
            _ => 1.0,
        };
        let mut taken: Vec<VectorResult> = Vec::new();
        let mut groups: HashMap<Scalar, usize> = HashMap::new();
        while taken.len() < query.k + query.offset && !left.is_empty() {
            let next = left.remove(self.most_marginal(query, scale, &taken, &left));
            let group = query.group_by.as_ref().filter(|_| !self.has(Fault::GroupsAreIgnored));
            let alone = self.has(Fault::AloneAreOneGroup).then_some(Scalar::Null);
            let value = group.and_then(|by| by.group_of(next.metadata.as_ref()?).or(alone));
            if let (Some(by), Some(value)) = (group, value) {
                let count = groups.entry(value).or_default();
                *count += 1;
                if *count > by.per_group {
                    continue;
                }
            }
            taken.push(next);
        }
        taken
    }

    fn most_marginal(&self, query: &VectorQuery, scale: f64, taken: &[VectorResult], left: &[VectorResult]) -> usize {
        let Some(lambda) = query.mmr.filter(|_| !self.has(Fault::DiversityIsIgnored)) else {
            return 0;
        };
        let lambda = f64::from(lambda);
        // None of an entry without a vector.
        let of = |result: &VectorResult| result.vector.clone().filter(|vector| !vector.is_empty());
        let marginal = |result: &VectorResult| {
            let scores = taken
                .iter()
                .filter_map(|other| Some(self.metric.score(self.distance(&of(other)?, &of(result)?))));
            let most = match self.fault {
                Some(Fault::DiversityIsOfTheLast) => scores.last(),
                _ => scores.reduce(f32::max),
            };
            lambda * scale * relevance(result) - (1.0 - lambda) * most.map_or(0.0, f64::from)
        };
        let mut best = 0;
        for place in 1..left.len() {
            if marginal(&left[place]) > marginal(&left[best]) {
                best = place;
            }
        }
        best
    }
}

/// By what a candidate competes.
fn relevance(result: &VectorResult) -> f64 {
    f64::from(result.recency_score.unwrap_or(result.score))
}
