//! [`VectorStorage`] for [`ScopedVectors`], so that a handle for one scope can be passed on as a store.

use async_trait::async_trait;
use llmspell_state_traits::{ScopeKind, StateScope};

use super::entry::VectorEntry;
use super::list::{ListPage, ListQuery};
use super::plan::SearchPlan;
use super::query::{FacetValue, VectorQuery, VectorResult};
use super::recommend::RecommendQuery;
use super::sample::SampleQuery;
use super::scoped::{ScopedVectors, own};
use super::stats::{ScopedStats, StorageStats};
use super::storage::{OnExisting, VectorStorage};
use super::validate;
use crate::error::Result;
use crate::expiry::Expiry;
use crate::fields::Metadata;
use crate::filter::{FieldPath, Filter};

impl ScopedVectors {
    /// Checks that the scope argument of a call is this one. `Global` is not a default here: a caller that passes it
    /// means it.
    fn check_own(&self, named: &StateScope) -> Result<()> {
        named.validate()?;
        match named == self.scope() {
            true => Ok(()),
            false => Err(self.outside(named)),
        }
    }
}

#[async_trait]
impl VectorStorage for ScopedVectors {
    async fn write(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        Self::write(self, entries, on_existing).await
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        Self::search(self, query).await
    }

    async fn search_scoped(&self, query: &VectorQuery, scope: &StateScope) -> Result<Vec<VectorResult>> {
        self.check_own(scope)?;
        own(self.storage.search_scoped(query, scope).await)
    }

    async fn explain(&self, query: &VectorQuery) -> Result<SearchPlan> {
        Self::explain(self, query).await
    }

    async fn get(&self, scope: &StateScope, id: &str) -> Result<Option<VectorEntry>> {
        self.check_own(scope)?;
        Self::get(self, id).await
    }

    async fn get_many(&self, scope: &StateScope, ids: &[String]) -> Result<Vec<Option<VectorEntry>>> {
        self.check_own(scope)?;
        own(self.storage.get_many(scope, ids).await)
    }

    async fn update_metadata(&self, scope: &StateScope, id: &str, metadata: Metadata) -> Result<()> {
        self.check_own(scope)?;
        Self::update_metadata(self, id, metadata).await
    }

    async fn patch_metadata(&self, scope: &StateScope, id: &str, patch: Metadata) -> Result<()> {
        self.check_own(scope)?;
        Self::patch_metadata(self, id, patch).await
    }

    async fn recommend(&self, query: &RecommendQuery) -> Result<Vec<VectorResult>> {
        Self::recommend(self, query).await
    }

    async fn count_in(&self, scopes: &[StateScope]) -> Result<u64> {
        validate::scopes(scopes)?;
        scopes.iter().try_for_each(|scope| self.check_own(scope))?;
        own(self.storage.count_in(scopes).await)
    }

    async fn touch(&self, scope: &StateScope, ids: &[String], expiry: Expiry) -> Result<Vec<String>> {
        self.check_own(scope)?;
        own(self.storage.touch(scope, ids, expiry).await)
    }

    async fn delete(&self, scope: &StateScope, ids: &[String]) -> Result<u64> {
        self.check_own(scope)?;
        own(self.storage.delete(scope, ids).await)
    }

    async fn delete_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        self.check_own(scope)?;
        Self::delete_matching(self, filter).await
    }

    async fn delete_scopes(&self, scopes: &[StateScope]) -> Result<u64> {
        validate::scopes(scopes)?;
        scopes.iter().try_for_each(|scope| self.check_own(scope))?;
        own(self.storage.delete_scopes(scopes).await)
    }

    async fn delete_scopes_of_kind(&self, kind: ScopeKind) -> Result<u64> {
        match kind == self.scope().kind() {
            true => self.clear().await,
            false => Ok(0),
        }
    }

    async fn list(&self, scope: &StateScope, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>> {
        self.check_own(scope)?;
        Self::list(self, after, limit).await
    }

    async fn list_matching(
        &self,
        scope: &StateScope,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<VectorEntry>> {
        self.check_own(scope)?;
        Self::list_matching(self, filter, after, limit).await
    }

    async fn list_page(&self, query: &ListQuery) -> Result<ListPage> {
        Self::list_page(self, query).await
    }

    async fn sample(&self, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
        Self::sample(self, query).await
    }

    async fn count(&self, scope: &StateScope) -> Result<u64> {
        self.check_own(scope)?;
        Self::count(self).await
    }

    async fn count_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        self.check_own(scope)?;
        Self::count_matching(self, filter).await
    }

    async fn facet(
        &self,
        scope: &StateScope,
        field: &FieldPath,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<FacetValue>> {
        self.check_own(scope)?;
        Self::facet(self, field, filter, limit).await
    }

    async fn scopes(&self) -> Result<Vec<StateScope>> {
        let is_there = Self::count(self).await? > 0;
        Ok(is_there.then(|| self.scope().clone()).into_iter().collect())
    }

    /// Counts and bytes are those of the scope; dimension, metric and durability those of the store. Omits what all
    /// scopes share.
    async fn stats(&self) -> Result<StorageStats> {
        let of_scope = Self::stats(self).await?;
        let of_store = own(self.storage.stats().await)?;
        Ok(StorageStats {
            dim: of_store.dim,
            metric: of_store.metric,
            durable: of_store.durable,
            scopes: u64::from(of_scope.vectors > 0),
            vectors: of_scope.vectors,
            vector_bytes: of_scope.vector_bytes,
            metadata_bytes: of_scope.metadata_bytes,
            text_bytes: of_scope.text_bytes,
            reusable_bytes: of_scope.reusable_bytes,
            indexed_vectors: of_scope.vectors.saturating_sub(of_scope.tail_vectors),
            metadata_index_bytes: of_scope.metadata_index_bytes,
            text_index_bytes: of_scope.text_index_bytes,
            ..StorageStats::default()
        })
    }

    async fn stats_for_scope(&self, scope: &StateScope) -> Result<ScopedStats> {
        self.check_own(scope)?;
        Self::stats(self).await
    }

    async fn flush(&self) -> Result<()> {
        own(self.storage.flush().await)
    }
}
