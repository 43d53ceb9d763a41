//! [`VectorStorage`] for references, `Box` and `Arc`: they forward every call.

use std::sync::Arc;

use async_trait::async_trait;
use llmspell_state_traits::{ScopeKind, StateScope};

use super::entry::VectorEntry;
use super::list::{ListPage, ListQuery};
use super::plan::SearchPlan;
use super::query::{FacetValue, VectorQuery, VectorResult};
use super::recommend::RecommendQuery;
use super::sample::SampleQuery;
use super::stats::{ScopedStats, StorageStats};
use super::storage::{OnExisting, VectorStorage};
use crate::error::Result;
use crate::expiry::Expiry;
use crate::fields::Metadata;
use crate::filter::{FieldPath, Filter};

/// Every call is forwarded to the pointee, including those with a default, which the pointee may override.
/// `tests/forwarding.rs` compares the list with that of the trait.
macro_rules! vector_storage_through {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<T: VectorStorage + ?Sized> VectorStorage for $pointer {
            async fn write(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
                (**self).write(entries, on_existing).await
            }

            async fn write_known(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
                (**self).write_known(entries, on_existing).await
            }

            async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
                (**self).search(query).await
            }

            async fn get(&self, scope: &StateScope, id: &str) -> Result<Option<VectorEntry>> {
                (**self).get(scope, id).await
            }

            async fn get_many(&self, scope: &StateScope, ids: &[String]) -> Result<Vec<Option<VectorEntry>>> {
                (**self).get_many(scope, ids).await
            }

            async fn update_metadata(&self, scope: &StateScope, id: &str, metadata: Metadata) -> Result<()> {
                (**self).update_metadata(scope, id, metadata).await
            }

            async fn patch_metadata(&self, scope: &StateScope, id: &str, patch: Metadata) -> Result<()> {
                (**self).patch_metadata(scope, id, patch).await
            }

            async fn recommend(&self, query: &RecommendQuery) -> Result<Vec<VectorResult>> {
                (**self).recommend(query).await
            }

            async fn count_in(&self, scopes: &[StateScope]) -> Result<u64> {
                (**self).count_in(scopes).await
            }

            async fn touch(&self, scope: &StateScope, ids: &[String], expiry: Expiry) -> Result<Vec<String>> {
                (**self).touch(scope, ids, expiry).await
            }

            async fn delete(&self, scope: &StateScope, ids: &[String]) -> Result<u64> {
                (**self).delete(scope, ids).await
            }

            async fn delete_scopes(&self, scopes: &[StateScope]) -> Result<u64> {
                (**self).delete_scopes(scopes).await
            }

            async fn delete_scopes_of_kind(&self, kind: ScopeKind) -> Result<u64> {
                (**self).delete_scopes_of_kind(kind).await
            }

            async fn list(&self, scope: &StateScope, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>> {
                (**self).list(scope, after, limit).await
            }

            async fn scopes(&self) -> Result<Vec<StateScope>> {
                (**self).scopes().await
            }

            async fn stats(&self) -> Result<StorageStats> {
                (**self).stats().await
            }

            async fn stats_for_scope(&self, scope: &StateScope) -> Result<ScopedStats> {
                (**self).stats_for_scope(scope).await
            }

            async fn flush(&self) -> Result<()> {
                (**self).flush().await
            }

            async fn build_index(&self) -> Result<()> {
                (**self).build_index().await
            }

            async fn optimize_index(&self) -> Result<()> {
                (**self).optimize_index().await
            }

            async fn insert(&self, entries: Vec<VectorEntry>) -> Result<Vec<String>> {
                (**self).insert(entries).await
            }

            async fn upsert(&self, entries: Vec<VectorEntry>) -> Result<Vec<String>> {
                (**self).upsert(entries).await
            }

            async fn delete_scope(&self, scope: &StateScope) -> Result<u64> {
                (**self).delete_scope(scope).await
            }

            async fn search_scoped(&self, query: &VectorQuery, scope: &StateScope) -> Result<Vec<VectorResult>> {
                (**self).search_scoped(query, scope).await
            }

            async fn search_batch(&self, queries: &[VectorQuery]) -> Result<Vec<Vec<VectorResult>>> {
                (**self).search_batch(queries).await
            }

            async fn count_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
                (**self).count_matching(scope, filter).await
            }

            async fn list_matching(
                &self,
                scope: &StateScope,
                filter: &Filter,
                after: Option<&str>,
                limit: usize,
            ) -> Result<Vec<VectorEntry>> {
                (**self).list_matching(scope, filter, after, limit).await
            }

            async fn list_page(&self, query: &ListQuery) -> Result<ListPage> {
                (**self).list_page(query).await
            }

            async fn sample(&self, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
                (**self).sample(query).await
            }

            async fn delete_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
                (**self).delete_matching(scope, filter).await
            }

            async fn facet(
                &self,
                scope: &StateScope,
                field: &FieldPath,
                filter: &Filter,
                limit: usize,
            ) -> Result<Vec<FacetValue>> {
                (**self).facet(scope, field, filter, limit).await
            }

            async fn explain(&self, query: &VectorQuery) -> Result<SearchPlan> {
                (**self).explain(query).await
            }

            async fn count(&self, scope: &StateScope) -> Result<u64> {
                (**self).count(scope).await
            }
        }
    )*};
}

vector_storage_through!(&T, Box<T>, Arc<T>);
