//! The macro `inherent_vectors!`: the calls of a store without importing a trait.

/// Gives a type that implements [`VectorStorage`](crate::VectorStorage) the calls of the trait as inherent methods, so
/// that users import no trait. Ids may be any iterator of strings, fields anything that converts to a path.
///
/// `tests/forwarding.rs` compares its list with that of the trait.
#[macro_export]
#[doc(hidden)]
macro_rules! inherent_vectors {
    ($store:ty) => {
        /// The calls of [`VectorStorage`](crate::VectorStorage), without importing it.
        impl $store {
            /// Stores entries atomically; see [`VectorStorage::write`](crate::VectorStorage::write).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn write(
                &self,
                entries: Vec<$crate::VectorEntry>,
                on_existing: $crate::OnExisting,
            ) -> $crate::Result<Vec<String>> {
                $crate::VectorStorage::write(self, entries, on_existing).await
            }

            /// Stores entries of models and dimensions that the store knows; see
            /// [`VectorStorage::write_known`](crate::VectorStorage::write_known).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn write_known(
                &self,
                entries: Vec<$crate::VectorEntry>,
                on_existing: $crate::OnExisting,
            ) -> $crate::Result<Vec<String>> {
                $crate::VectorStorage::write_known(self, entries, on_existing).await
            }

            /// Stores new entries and returns their ids; refuses an id that exists in its scope. See
            /// [`VectorStorage::insert`](crate::VectorStorage::insert).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn insert(&self, entries: Vec<$crate::VectorEntry>) -> $crate::Result<Vec<String>> {
                $crate::VectorStorage::insert(self, entries).await
            }

            /// Stores entries and returns their ids; replaces those whose id exists in its scope. See
            /// [`VectorStorage::upsert`](crate::VectorStorage::upsert).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn upsert(&self, entries: Vec<$crate::VectorEntry>) -> $crate::Result<Vec<String>> {
                $crate::VectorStorage::upsert(self, entries).await
            }

            /// The entries nearest to the vector of a query, best first; see
            /// [`VectorStorage::search`](crate::VectorStorage::search).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn search(&self, query: &$crate::VectorQuery) -> $crate::Result<Vec<$crate::VectorResult>> {
                $crate::VectorStorage::search(self, query).await
            }

            /// [`search`](Self::search) in one scope, whatever scopes the query names; see
            /// [`VectorStorage::search_scoped`](crate::VectorStorage::search_scoped).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn search_scoped(
                &self,
                query: &$crate::VectorQuery,
                scope: &$crate::StateScope,
            ) -> $crate::Result<Vec<$crate::VectorResult>> {
                $crate::VectorStorage::search_scoped(self, query, scope).await
            }

            /// One answer for each query; see [`VectorStorage::search_batch`](crate::VectorStorage::search_batch).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn search_batch(
                &self,
                queries: &[$crate::VectorQuery],
            ) -> $crate::Result<Vec<Vec<$crate::VectorResult>>> {
                $crate::VectorStorage::search_batch(self, queries).await
            }

            /// How [`search`](Self::search) answers a query; see
            /// [`VectorStorage::explain`](crate::VectorStorage::explain).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn explain(&self, query: &$crate::VectorQuery) -> $crate::Result<$crate::SearchPlan> {
                $crate::VectorStorage::explain(self, query).await
            }

            /// One entry, with its times filled in; see [`VectorStorage::get`](crate::VectorStorage::get).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn get(
                &self,
                scope: &$crate::StateScope,
                id: &str,
            ) -> $crate::Result<Option<$crate::VectorEntry>> {
                $crate::VectorStorage::get(self, scope, id).await
            }

            /// Several entries in the order of their ids, none for an id that does not exist; see
            /// [`VectorStorage::get_many`](crate::VectorStorage::get_many).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn get_many(
                &self,
                scope: &$crate::StateScope,
                ids: impl IntoIterator<Item = impl AsRef<str>>,
            ) -> $crate::Result<Vec<Option<$crate::VectorEntry>>> {
                let ids = $crate::inherent::names(ids);
                $crate::VectorStorage::get_many(self, scope, &ids).await
            }

            /// Replaces the metadata of an entry by `json!({…})`, a map, or any type that serde writes as an object; see
            /// [`VectorStorage::update_metadata`](crate::VectorStorage::update_metadata).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn update_metadata(
                &self,
                scope: &$crate::StateScope,
                id: &str,
                metadata: impl $crate::inherent::Serialize,
            ) -> $crate::Result<()> {
                let metadata = $crate::inherent::fields(id, &metadata)?;
                $crate::VectorStorage::update_metadata(self, scope, id, metadata).await
            }

            /// Merges `json!({…})`, a map, or any type that serde writes as an object into the metadata of an entry; null
            /// removes a field. See [`VectorStorage::patch_metadata`](crate::VectorStorage::patch_metadata).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn patch_metadata(
                &self,
                scope: &$crate::StateScope,
                id: &str,
                patch: impl $crate::inherent::Serialize,
            ) -> $crate::Result<()> {
                let patch = $crate::inherent::fields(id, &patch)?;
                $crate::VectorStorage::patch_metadata(self, scope, id, patch).await
            }

            /// The entries that are most like some examples and unlike others; see
            /// [`VectorStorage::recommend`](crate::VectorStorage::recommend).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn recommend(&self, query: &$crate::RecommendQuery) -> $crate::Result<Vec<$crate::VectorResult>> {
                $crate::VectorStorage::recommend(self, query).await
            }

            /// Number of entries in some scopes together; see
            /// [`VectorStorage::count_in`](crate::VectorStorage::count_in).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn count_in(&self, scopes: &[$crate::StateScope]) -> $crate::Result<u64> {
                $crate::VectorStorage::count_in(self, scopes).await
            }

            /// Changes when entries expire, and returns the ids that do not exist; see
            /// [`VectorStorage::touch`](crate::VectorStorage::touch).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn touch(
                &self,
                scope: &$crate::StateScope,
                ids: impl IntoIterator<Item = impl AsRef<str>>,
                expiry: $crate::Expiry,
            ) -> $crate::Result<Vec<String>> {
                let ids = $crate::inherent::names(ids);
                $crate::VectorStorage::touch(self, scope, &ids, expiry).await
            }

            /// Removes entries by id, and returns how many existed; see
            /// [`VectorStorage::delete`](crate::VectorStorage::delete).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn delete(
                &self,
                scope: &$crate::StateScope,
                ids: impl IntoIterator<Item = impl AsRef<str>>,
            ) -> $crate::Result<u64> {
                let ids = $crate::inherent::names(ids);
                $crate::VectorStorage::delete(self, scope, &ids).await
            }

            /// Removes the entries that match a filter; see
            /// [`VectorStorage::delete_matching`](crate::VectorStorage::delete_matching).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn delete_matching(
                &self,
                scope: &$crate::StateScope,
                filter: &$crate::Filter,
            ) -> $crate::Result<u64> {
                $crate::VectorStorage::delete_matching(self, scope, filter).await
            }

            /// Removes all entries of a scope; see [`VectorStorage::delete_scope`](crate::VectorStorage::delete_scope).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn delete_scope(&self, scope: &$crate::StateScope) -> $crate::Result<u64> {
                $crate::VectorStorage::delete_scope(self, scope).await
            }

            /// Removes all entries of some scopes atomically; see
            /// [`VectorStorage::delete_scopes`](crate::VectorStorage::delete_scopes).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn delete_scopes(&self, scopes: &[$crate::StateScope]) -> $crate::Result<u64> {
                $crate::VectorStorage::delete_scopes(self, scopes).await
            }

            /// Removes all entries of all scopes of a kind; see
            /// [`VectorStorage::delete_scopes_of_kind`](crate::VectorStorage::delete_scopes_of_kind).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn delete_scopes_of_kind(&self, kind: $crate::ScopeKind) -> $crate::Result<u64> {
                $crate::VectorStorage::delete_scopes_of_kind(self, kind).await
            }

            /// A page of the entries of a scope, in byte order of their ids; see
            /// [`VectorStorage::list`](crate::VectorStorage::list).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn list(
                &self,
                scope: &$crate::StateScope,
                after: Option<&str>,
                limit: usize,
            ) -> $crate::Result<Vec<$crate::VectorEntry>> {
                $crate::VectorStorage::list(self, scope, after, limit).await
            }

            /// [`list`](Self::list) of the entries that match a filter; see
            /// [`VectorStorage::list_matching`](crate::VectorStorage::list_matching).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn list_matching(
                &self,
                scope: &$crate::StateScope,
                filter: &$crate::Filter,
                after: Option<&str>,
                limit: usize,
            ) -> $crate::Result<Vec<$crate::VectorEntry>> {
                $crate::VectorStorage::list_matching(self, scope, filter, after, limit).await
            }

            /// Lists a page of the entries of a scope, or of several, in the order of their ids or of a time; see
            /// [`VectorStorage::list_page`](crate::VectorStorage::list_page).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn list_page(&self, query: &$crate::ListQuery) -> $crate::Result<$crate::ListPage> {
                $crate::VectorStorage::list_page(self, query).await
            }

            /// Takes a random sample of the entries of a scope, or of several; see
            /// [`VectorStorage::sample`](crate::VectorStorage::sample).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn sample(&self, query: &$crate::SampleQuery) -> $crate::Result<Vec<$crate::VectorEntry>> {
                $crate::VectorStorage::sample(self, query).await
            }

            /// Number of entries in a scope; see [`VectorStorage::count`](crate::VectorStorage::count).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn count(&self, scope: &$crate::StateScope) -> $crate::Result<u64> {
                $crate::VectorStorage::count(self, scope).await
            }

            /// Number of entries in a scope that match a filter; see
            /// [`VectorStorage::count_matching`](crate::VectorStorage::count_matching).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn count_matching(
                &self,
                scope: &$crate::StateScope,
                filter: &$crate::Filter,
            ) -> $crate::Result<u64> {
                $crate::VectorStorage::count_matching(self, scope, filter).await
            }

            /// The most frequent values of a field among the entries that match a filter; see
            /// [`VectorStorage::facet`](crate::VectorStorage::facet).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn facet(
                &self,
                scope: &$crate::StateScope,
                field: impl Into<$crate::FieldPath>,
                filter: &$crate::Filter,
                limit: usize,
            ) -> $crate::Result<Vec<$crate::FacetValue>> {
                let field = field.into();
                $crate::VectorStorage::facet(self, scope, &field, filter, limit).await
            }

            /// Every scope that has an entry, in order; see [`VectorStorage::scopes`](crate::VectorStorage::scopes).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn scopes(&self) -> $crate::Result<Vec<$crate::StateScope>> {
                $crate::VectorStorage::scopes(self).await
            }

            /// Counts and bytes of all scopes together; see [`VectorStorage::stats`](crate::VectorStorage::stats).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn stats(&self) -> $crate::Result<$crate::StorageStats> {
                $crate::VectorStorage::stats(self).await
            }

            /// Counts and bytes of one scope; see
            /// [`VectorStorage::stats_for_scope`](crate::VectorStorage::stats_for_scope).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn stats_for_scope(&self, scope: &$crate::StateScope) -> $crate::Result<$crate::ScopedStats> {
                $crate::VectorStorage::stats_for_scope(self, scope).await
            }

            /// Returns once everything written before is durable; see
            /// [`VectorStorage::flush`](crate::VectorStorage::flush).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn flush(&self) -> $crate::Result<()> {
                $crate::VectorStorage::flush(self).await
            }

            /// Returns once every entry that was written before is in an index; see
            /// [`VectorStorage::build_index`](crate::VectorStorage::build_index).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn build_index(&self) -> $crate::Result<()> {
                $crate::VectorStorage::build_index(self).await
            }

            /// Rebuilds the indexes of all scopes; see
            /// [`VectorStorage::optimize_index`](crate::VectorStorage::optimize_index).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn optimize_index(&self) -> $crate::Result<()> {
                $crate::VectorStorage::optimize_index(self).await
            }

            /// The part of the store that belongs to a scope; see [`ScopedVectors`](crate::ScopedVectors).
            ///
            /// # Errors
            ///
            /// [`Scope`](crate::StorageError::Scope) if the scope is not valid.
            pub fn scoped(&self, scope: $crate::StateScope) -> $crate::Result<$crate::ScopedVectors> {
                $crate::VectorStorageExt::scoped(self, scope)
            }
        }
    };
}
