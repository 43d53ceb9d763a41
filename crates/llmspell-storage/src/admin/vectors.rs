//! The vectors of a database that another process has open.

use async_trait::async_trait;
use llmspell_core::{
    Expiry, FacetValue, FieldPath, Filter, ListPage, ListQuery, Metadata, OnExisting, Result, SampleQuery, Scalar,
    ScopeKind, ScopedStats, SearchPlan, StateScope, StorageError, StorageStats, VectorEntry, VectorQuery, VectorResult,
    VectorStorage,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::AdminClient;
use super::protocol::{Call, Store, VectorCall};

/// A vector space of a database that another process has open, or the spaces of its models together.
///
/// Made by [`AdminClient::vectors`] and [`AdminClient::router`].
#[derive(Debug, Clone)]
pub struct RemoteVectors {
    client: AdminClient,
    store: Store,
}

llmspell_core::inherent_vectors!(RemoteVectors);

impl RemoteVectors {
    pub(super) fn new(client: AdminClient, store: Store) -> Self {
        Self { client, store }
    }

    async fn call<T: DeserializeOwned + Send + 'static>(&self, call: VectorCall) -> Result<T> {
        let store = self.store.clone();
        self.client.call(Call::Vectors { store, call }).await
    }
}

/// A [`FacetValue`], whose value is checked when it is read.
#[derive(Deserialize)]
struct Facet {
    value: serde_json::Value,
    count: u64,
}

#[async_trait]
impl VectorStorage for RemoteVectors {
    async fn write(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        let call = VectorCall::Write {
            entries,
            on_existing: on_existing.into(),
            known: false,
        };
        self.call(call).await
    }

    async fn write_known(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        let call = VectorCall::Write {
            entries,
            on_existing: on_existing.into(),
            known: true,
        };
        self.call(call).await
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        self.call(VectorCall::Search(Box::new(query.clone()))).await
    }

    async fn get(&self, scope: &StateScope, id: &str) -> Result<Option<VectorEntry>> {
        let (scope, id) = (scope.clone(), id.to_string());
        self.call(VectorCall::Get { scope, id }).await
    }

    async fn get_many(&self, scope: &StateScope, ids: &[String]) -> Result<Vec<Option<VectorEntry>>> {
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.call(VectorCall::GetMany { scope, ids }).await
    }

    async fn update_metadata(&self, scope: &StateScope, id: &str, metadata: Metadata) -> Result<()> {
        let (scope, id) = (scope.clone(), id.to_string());
        self.call(VectorCall::UpdateMetadata { scope, id, metadata }).await
    }

    async fn patch_metadata(&self, scope: &StateScope, id: &str, patch: Metadata) -> Result<()> {
        let (scope, id) = (scope.clone(), id.to_string());
        self.call(VectorCall::PatchMetadata { scope, id, patch }).await
    }

    async fn touch(&self, scope: &StateScope, ids: &[String], expiry: Expiry) -> Result<Vec<String>> {
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.call(VectorCall::Touch { scope, ids, expiry }).await
    }

    async fn delete(&self, scope: &StateScope, ids: &[String]) -> Result<u64> {
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.call(VectorCall::Delete { scope, ids }).await
    }

    async fn delete_scopes(&self, scopes: &[StateScope]) -> Result<u64> {
        let scopes = scopes.to_vec();
        self.call(VectorCall::DeleteScopes { scopes }).await
    }

    async fn delete_scopes_of_kind(&self, kind: ScopeKind) -> Result<u64> {
        self.call(VectorCall::DeleteScopesOfKind {
            kind: kind.name().to_string(),
        })
        .await
    }

    async fn list(&self, scope: &StateScope, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>> {
        let call = VectorCall::List {
            scope: scope.clone(),
            filter: None,
            after: after.map(str::to_string),
            limit,
        };
        self.call(call).await
    }

    async fn list_matching(
        &self,
        scope: &StateScope,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<VectorEntry>> {
        let call = VectorCall::List {
            scope: scope.clone(),
            filter: Some(filter.clone()),
            after: after.map(str::to_string),
            limit,
        };
        self.call(call).await
    }

    async fn list_page(&self, query: &ListQuery) -> Result<ListPage> {
        self.call(VectorCall::ListPage(Box::new(query.clone()))).await
    }

    async fn sample(&self, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
        self.call(VectorCall::Sample(Box::new(query.clone()))).await
    }

    async fn scopes(&self) -> Result<Vec<StateScope>> {
        self.call(VectorCall::Scopes).await
    }

    async fn stats(&self) -> Result<StorageStats> {
        self.call(VectorCall::Stats).await
    }

    async fn stats_for_scope(&self, scope: &StateScope) -> Result<ScopedStats> {
        let scope = scope.clone();
        self.call(VectorCall::ScopeStats { scope }).await
    }

    async fn flush(&self) -> Result<()> {
        self.call(VectorCall::Flush).await
    }

    async fn build_index(&self) -> Result<()> {
        self.call(VectorCall::BuildIndex).await
    }

    async fn optimize_index(&self) -> Result<()> {
        self.call(VectorCall::OptimizeIndex).await
    }

    async fn count_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        let (scope, filter) = (scope.clone(), Some(filter.clone()));
        self.call(VectorCall::Count { scope, filter }).await
    }

    async fn delete_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        let (scope, filter) = (scope.clone(), filter.clone());
        self.call(VectorCall::DeleteMatching { scope, filter }).await
    }

    async fn facet(
        &self,
        scope: &StateScope,
        field: &FieldPath,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<FacetValue>> {
        let call = VectorCall::Facet {
            scope: scope.clone(),
            field: field.to_string(),
            filter: filter.clone(),
            limit,
        };
        let values: Vec<Facet> = self.call(call).await?;
        let value_of = |facet: Facet| {
            let value = Scalar::try_from(&facet.value).map_err(|_| StorageError::ConnectionLost {
                server: "the process that has the database open",
                reason: "a value of its answer is no scalar".to_string(),
            })?;
            Ok(FacetValue {
                value,
                count: facet.count,
            })
        };
        values.into_iter().map(value_of).collect()
    }

    async fn explain(&self, query: &VectorQuery) -> Result<SearchPlan> {
        self.call(VectorCall::Explain(Box::new(query.clone()))).await
    }

    async fn count(&self, scope: &StateScope) -> Result<u64> {
        let scope = scope.clone();
        self.call(VectorCall::Count { scope, filter: None }).await
    }
}
