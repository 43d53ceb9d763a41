//! Patches, recommendations and counts of several scopes, done naively.

use std::collections::BTreeSet;

use llmspell_core::limits::K_MAX;
use llmspell_core::{
    Example, Metadata, RecommendQuery, Result, StateScope, StorageError, VectorResult, VectorStorage as _, merge_patch,
    validate_vectors as validate,
};

use super::faults::Fault;
use super::vectors::NaiveStore;
use super::word_faults::WordFault;

impl NaiveStore {
    pub(super) async fn patch(&self, scope: &StateScope, id: &str, mut patch: Metadata) -> Result<()> {
        validate::metadata_fields(id, &patch)?;
        let Some(entry) = self.get(scope, id).await? else {
            return Err(StorageError::NotFound { id: id.to_string() });
        };
        if self.has(Fault::PatchKeepsNulls) {
            patch.retain(|_, value| !value.is_null());
        }
        let mut metadata = entry.metadata.as_object().cloned().unwrap_or_default();
        if self.has(Fault::PatchReplacesAll) {
            metadata.clear();
        }
        merge_patch(&mut metadata, patch);
        self.update_metadata(scope, id, metadata).await
    }

    pub(super) async fn recommended(&self, asked: &RecommendQuery) -> Result<Vec<VectorResult>> {
        if asked.positive.is_empty() || asked.query.group_by.is_some() || asked.query.mmr.is_some() {
            return Err(StorageError::InvalidName {
                what: "recommendation",
                name: String::new(),
                reason: "it has no positive examples, or is diverse or grouped",
            });
        }
        let mut query = asked.query.clone().with_k(K_MAX).with_offset(0);
        query.vector = self.average(asked, &asked.positive).await?;
        if !asked.negative.is_empty() {
            let negative = self.average(asked, &asked.negative).await?;
            if !self.has(Fault::NegativeExamplesAreIgnored) {
                let pairs = query.vector.iter_mut().zip(&negative);
                pairs.for_each(|(own, other)| *own = *own + *own - other);
            }
        }
        let mut found = self.search(&query).await?;
        let is_example = |id: &String| {
            let mut examples = asked.positive.iter().chain(&asked.negative);
            examples.any(|example| matches!(example, Example::Id(named) if named == id))
        };
        found.retain(|result| self.has(Fault::ExamplesAreRecommended) || !is_example(&result.id));
        found.drain(..asked.query.offset.min(found.len()));
        found.truncate(asked.query.k);
        Ok(found)
    }

    async fn average(&self, asked: &RecommendQuery, examples: &[Example]) -> Result<Vec<f32>> {
        let mut sum = Vec::new();
        for example in examples {
            let vector = match example {
                Example::Vector(vector) => vector.clone(),
                Example::Id(id) => self.example(asked, id).await?,
            };
            validate::vector("example", &vector, self.dim, self.metric)?;
            sum.resize(self.dim, 0.0);
            sum.iter_mut()
                .zip(&vector)
                .for_each(|(sum, component)| *sum += component);
        }
        Ok(sum.into_iter().map(|sum: f32| sum / examples.len() as f32).collect())
    }

    async fn example(&self, asked: &RecommendQuery, id: &str) -> Result<Vec<f32>> {
        for scope in asked.query.searched_scopes() {
            if let Some(entry) = self.get(scope, id).await? {
                if entry.embedding.is_empty() && self.errs(WordFault::ExamplesWithoutVectorAreZero) {
                    return Ok(vec![0.0; self.dim]);
                }
                return Ok(entry.embedding);
            }
        }
        Err(StorageError::NotFound { id: id.to_string() })
    }

    pub(super) async fn counted_in(&self, scopes: &[StateScope]) -> Result<u64> {
        validate::scopes(scopes)?;
        let once: BTreeSet<&StateScope> = scopes.iter().collect();
        let mut counted: Vec<&StateScope> = once.into_iter().collect();
        if self.has(Fault::RepeatedScopesAreSummed) {
            counted = scopes.iter().collect();
        }
        let mut count = 0;
        for scope in counted {
            count += self.count(scope).await?;
        }
        Ok(count)
    }
}
