//! [`ScopedVectors`]: a vector store confined to one scope.

use std::fmt;
use std::sync::Arc;

use llmspell_state_traits::StateScope;
use serde::Serialize;

use super::entry::VectorEntry;
use super::list::{ListPage, ListQuery};
use super::metadata::fields;
use super::plan::SearchPlan;
use super::query::{FacetValue, VectorQuery, VectorResult};
use super::recommend::RecommendQuery;
use super::sample::SampleQuery;
use super::stats::ScopedStats;
use super::storage::{OnExisting, VectorStorage};
use crate::error::{Result, StorageError};
use crate::expiry::Expiry;
use crate::filter::{FieldPath, Filter};
use crate::model::ModelRef;
use crate::text::names;

/// A handle that can only touch one scope of a vector store, for code that the application does not trust.
///
/// Its own methods take no scope, and none returns the store. Entries and queries have a scope field: the default
/// ([`StateScope::Global`]) means this scope, and another one is refused with
/// [`OutsideScope`](StorageError::OutsideScope) before the store is called. Answers, errors, statistics and `{:?}`
/// reveal nothing about other scopes; an entry of another scope is reported as missing.
///
/// A handle uses models of the store by name: its writes never register a model or create a space. The owner of the
/// store registers models. Errors list no models or spaces.
///
/// It is a [`VectorStorage`] too, for code that takes one. Calls of the trait with a scope argument accept this scope
/// only, and refuse another with [`OutsideScope`](StorageError::OutsideScope); calls about all scopes cover this one.
/// Indexes are managed by the store's owner: `build_index` and `optimize_index` return at once.
///
/// The key-value counterpart is [`ScopedBackend`](crate::ScopedBackend).
///
/// ```
/// # use std::sync::Arc;
/// # use llmspell_core::{Result, ScopedVectors, StateScope, VectorEntry, VectorQuery, VectorStorage, VectorStorageExt};
/// async fn plugin(memories: ScopedVectors) -> Result<()> {
///     memories.insert(vec![VectorEntry::new("note-1", vec![0.1, 0.2, 0.3])]).await?;
///     memories.search(&VectorQuery::new(vec![0.1, 0.2, 0.3], 10)).await?;
///     Ok(())
/// }
///
/// # async fn example(storage: Arc<dyn VectorStorage>) -> Result<()> {
/// plugin(storage.scoped(StateScope::User("ada".to_string()))?).await
/// # }
/// ```
///
/// The isolation is that of safe Rust: code with `unsafe`, or with access to the files, can break it. Nor does it hide
/// how busy the machine is.
#[derive(Clone)]
pub struct ScopedVectors {
    pub(super) storage: Arc<dyn VectorStorage>,
    scope: StateScope,
}

/// Omits the store, which would show other scopes.
impl fmt::Debug for ScopedVectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedVectors")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl ScopedVectors {
    /// The part of `storage` that belongs to `scope`.
    ///
    /// # Errors
    ///
    /// [`StorageError::Scope`] if the scope is not valid.
    pub fn new(storage: Arc<dyn VectorStorage>, scope: StateScope) -> Result<Self> {
        scope.validate()?;
        Ok(Self { storage, scope })
    }

    /// The scope of this handle.
    #[must_use]
    pub fn scope(&self) -> &StateScope {
        &self.scope
    }

    /// See [`VectorStorage::write`]. Entries may name models that the store knows; of a model that they describe only
    /// the name is used.
    ///
    /// # Errors
    ///
    /// As [`VectorStorage::write_known`]; [`OutsideScope`](StorageError::OutsideScope) if an entry names another scope.
    /// Nothing is stored then.
    pub async fn write(&self, mut entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        for entry in &mut entries {
            self.check(&entry.scope)?;
            entry.scope = self.scope.clone();
            if let Some(ModelRef::Model(described)) = &entry.model {
                entry.model = Some(described.name.as_str().into());
            }
        }
        own(self.storage.write_known(entries, on_existing).await)
    }

    /// See [`VectorStorage::insert`].
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub async fn insert(&self, entries: Vec<VectorEntry>) -> Result<Vec<String>> {
        self.write(entries, OnExisting::Refuse).await
    }

    /// See [`VectorStorage::upsert`].
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub async fn upsert(&self, entries: Vec<VectorEntry>) -> Result<Vec<String>> {
        self.write(entries, OnExisting::Replace).await
    }

    /// See [`VectorStorage::search`].
    ///
    /// # Errors
    ///
    /// As there; [`OutsideScope`](StorageError::OutsideScope) if the query names another scope.
    pub async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        match &query.scopes {
            None => {
                self.check(&query.scope)?;
                own(self.storage.search_scoped(query, &self.scope).await)
            }
            Some(scopes) => {
                // No default here: a query with several scopes that names `Global` means it.
                if let Some(other) = scopes.iter().find(|scope| **scope != self.scope) {
                    return Err(self.outside(other));
                }
                own(self.storage.search(query).await)
            }
        }
    }

    /// One answer for each query, in their order. One bad query fails the call.
    ///
    /// # Errors
    ///
    /// As [`search`](Self::search).
    pub async fn search_batch(&self, queries: &[VectorQuery]) -> Result<Vec<Vec<VectorResult>>> {
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            answers.push(self.search(query).await?);
        }
        Ok(answers)
    }

    /// See [`VectorStorage::get`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get(&self, id: &str) -> Result<Option<VectorEntry>> {
        own(self.storage.get(&self.scope, id).await)
    }

    /// See [`VectorStorage::get_many`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn get_many(&self, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<Option<VectorEntry>>> {
        let ids = names(ids);
        own(self.storage.get_many(&self.scope, &ids).await)
    }

    /// See [`VectorStorage::update_metadata`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn update_metadata(&self, id: &str, metadata: impl Serialize) -> Result<()> {
        let metadata = fields(id, &metadata)?;
        own(self.storage.update_metadata(&self.scope, id, metadata).await)
    }

    /// See [`VectorStorage::patch_metadata`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn patch_metadata(&self, id: &str, patch: impl Serialize) -> Result<()> {
        let patch = fields(id, &patch)?;
        own(self.storage.patch_metadata(&self.scope, id, patch).await)
    }

    /// See [`VectorStorage::recommend`].
    ///
    /// # Errors
    ///
    /// As there; [`OutsideScope`](StorageError::OutsideScope) if the query names another scope.
    pub async fn recommend(&self, query: &RecommendQuery) -> Result<Vec<VectorResult>> {
        let mut query = query.clone();
        match &query.query.scopes {
            None => {
                self.check(&query.query.scope)?;
                query.query.scope = self.scope.clone();
            }
            Some(scopes) => {
                if let Some(other) = scopes.iter().find(|scope| **scope != self.scope) {
                    return Err(self.outside(other));
                }
            }
        }
        own(self.storage.recommend(&query).await)
    }

    /// See [`VectorStorage::touch`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn touch(&self, ids: impl IntoIterator<Item = impl AsRef<str>>, expiry: Expiry) -> Result<Vec<String>> {
        let ids = names(ids);
        own(self.storage.touch(&self.scope, &ids, expiry).await)
    }

    /// See [`VectorStorage::delete`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn delete(&self, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Result<u64> {
        let ids = names(ids);
        own(self.storage.delete(&self.scope, &ids).await)
    }

    /// Removes every entry; see [`VectorStorage::delete_scope`]. The handle can still be used.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn clear(&self) -> Result<u64> {
        own(self.storage.delete_scope(&self.scope).await)
    }

    /// See [`VectorStorage::list`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>> {
        own(self.storage.list(&self.scope, after, limit).await)
    }

    /// See [`VectorStorage::list_page`].
    ///
    /// # Errors
    ///
    /// As there; [`OutsideScope`](StorageError::OutsideScope) if the query names another scope.
    pub async fn list_page(&self, query: &ListQuery) -> Result<ListPage> {
        let mut query = query.clone();
        query.scopes = self.own_scopes(&query.scope, query.scopes)?;
        query.scope = self.scope.clone();
        own(self.storage.list_page(&query).await)
    }

    /// See [`VectorStorage::sample`].
    ///
    /// # Errors
    ///
    /// As there; [`OutsideScope`](StorageError::OutsideScope) if the query names another scope.
    pub async fn sample(&self, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
        let mut query = query.clone();
        query.scopes = self.own_scopes(&query.scope, query.scopes)?;
        query.scope = self.scope.clone();
        own(self.storage.sample(&query).await)
    }

    /// See [`VectorStorage::count`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn count(&self) -> Result<u64> {
        own(self.storage.count(&self.scope).await)
    }

    /// See [`VectorStorage::explain`].
    ///
    /// # Errors
    ///
    /// As [`search`](Self::search).
    pub async fn explain(&self, query: &VectorQuery) -> Result<SearchPlan> {
        let mut query = query.clone();
        match query.scopes.take() {
            None => self.check(&query.scope)?,
            Some(scopes) => {
                if let Some(other) = scopes.iter().find(|scope| **scope != self.scope) {
                    return Err(self.outside(other));
                }
            }
        }
        own(self.storage.explain(&query.with_scope(self.scope.clone())).await)
    }

    /// See [`VectorStorage::count_matching`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn count_matching(&self, filter: &Filter) -> Result<u64> {
        own(self.storage.count_matching(&self.scope, filter).await)
    }

    /// See [`VectorStorage::list_matching`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn list_matching(&self, filter: &Filter, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>> {
        own(self.storage.list_matching(&self.scope, filter, after, limit).await)
    }

    /// See [`VectorStorage::delete_matching`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn delete_matching(&self, filter: &Filter) -> Result<u64> {
        own(self.storage.delete_matching(&self.scope, filter).await)
    }

    /// See [`VectorStorage::facet`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn facet(&self, field: impl Into<FieldPath>, filter: &Filter, limit: usize) -> Result<Vec<FacetValue>> {
        let field = field.into();
        own(self.storage.facet(&self.scope, &field, filter, limit).await)
    }

    /// See [`VectorStorage::stats_for_scope`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn stats(&self) -> Result<ScopedStats> {
        own(self.storage.stats_for_scope(&self.scope).await)
    }

    /// Checks that the scope of an entry or a query is this one, or the default.
    fn check(&self, named: &StateScope) -> Result<()> {
        if *named == self.scope || *named == StateScope::Global {
            Ok(())
        } else {
            Err(self.outside(named))
        }
    }

    /// The several scopes of a query, if all of them are this one; without them, its one scope must be.
    fn own_scopes(&self, scope: &StateScope, scopes: Option<Vec<StateScope>>) -> Result<Option<Vec<StateScope>>> {
        match &scopes {
            None => self.check(scope)?,
            Some(scopes) => {
                if let Some(other) = scopes.iter().find(|scope| **scope != self.scope) {
                    return Err(self.outside(other));
                }
            }
        }
        Ok(scopes)
    }

    pub(super) fn outside(&self, named: &StateScope) -> StorageError {
        StorageError::OutsideScope {
            scope: self.scope.clone(),
            named: named.clone(),
        }
    }
}

/// The store's answer as the holder of a handle may see it.
pub(super) fn own<T>(answer: Result<T>) -> Result<T> {
    answer.map_err(StorageError::without_names)
}

/// `storage.scoped(scope)` for every store that can be shared: those that are `Clone`, and `Arc<dyn VectorStorage>`.
pub trait VectorStorageExt {
    /// The part of the store that belongs to `scope`; see [`ScopedVectors`].
    ///
    /// # Errors
    ///
    /// [`StorageError::Scope`] if the scope is not valid.
    fn scoped(&self, scope: StateScope) -> Result<ScopedVectors>;
}

impl<S: VectorStorage + Clone + 'static> VectorStorageExt for S {
    fn scoped(&self, scope: StateScope) -> Result<ScopedVectors> {
        ScopedVectors::new(Arc::new(self.clone()), scope)
    }
}
