//! The calls of the trait [`VectorStorage`], done by a space of a database.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use llmspell_core::{
    Expiry, FacetValue, FieldPath, Filter, ListPage, ListQuery, Metadata, ModelRef, OnExisting, Result, SampleQuery,
    ScopeKind, ScopedStats, SearchPlan, StateScope, StorageStats, Timestamp, VectorEntry, VectorQuery, VectorResult,
    VectorStorage, validate_key_value, validate_vectors as validate,
};

use super::handle::{Handle, cheap_namespace, search_in_place, search_loaded};
use super::prepare::{by_size, effort, prepare};
use super::shape::{Shape, checked_query};
use super::traced::traced;
use super::{HNSWVectorStorage, listing, scopes, selected, stats, words};
use crate::base::observe::SearchSpan;
#[cfg(feature = "tracing")]
use crate::base::observe::Seen;
use crate::engine::calls::{ChangeMetadata, DropScopes, Flush, TouchEntries};
use crate::engine::{NewMetadata, Part, PreparedEntry, Scopes, quota_status};
use crate::indexes::queue::Goal;
use crate::indexes::texts::Words;
use crate::search::{Condition, Question, Selection, Trace};
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;

/// Entries that a deletion by filter removes in one batch.
pub(crate) const DELETE_IDS_MAX: usize = 10_000;

llmspell_core::inherent_vectors!(HNSWVectorStorage);

impl HNSWVectorStorage {
    /// Stores entries as another database of ours had them, texts that are not kept too: nothing is checked again.
    pub(crate) async fn write_stored(&self, mut entries: Vec<PreparedEntry>) -> Result<()> {
        let Handle { database, space } = self.handle()?;
        if space.texts().is_none() {
            entries.iter_mut().for_each(|entry| entry.words = Words::None);
        }
        let part = Part {
            space: Arc::clone(space),
            entries,
        };
        let entries = database.inner.in_order(vec![part]).await?;
        let now = self.handle()?.now();
        let existing = (OnExisting::Replace, now);
        database.inner.write_entries([space], entries, existing).await.map(drop)
    }
}

#[async_trait]
impl VectorStorage for HNSWVectorStorage {
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.write", level = "debug", skip_all, fields(space = self.space_name(), entries = entries.len())))]
    async fn write(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        let Handle { database, space } = self.handle()?;
        database.inner.check_open()?;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.handle()?.now();
        let shape = Shape::of(space);
        let components = effort(&entries, entries.len().saturating_mul(shape.dim));
        let prepared = by_size(&database.inner, components, move || prepare(entries, &shape, now)).await?;
        let ids = prepared.iter().map(|entry| entry.id.clone()).collect();
        let part = Part {
            space: Arc::clone(space),
            entries: prepared,
        };
        let entries = database.inner.in_order(vec![part]).await?;
        database
            .inner
            .write_entries([space], entries, (on_existing, now))
            .await?;
        Ok(ids)
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.search", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen_of(query), k = query.k, path = tracing::field::Empty, codes = tracing::field::Empty, distances = tracing::field::Empty, results = tracing::field::Empty, us = tracing::field::Empty)))]
    async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        let handle = self.handle()?;
        handle.search(&*checked_query(&handle.space, query, false)?).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.explain", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen_of(query), k = query.k)))]
    async fn explain(&self, query: &VectorQuery) -> Result<SearchPlan> {
        let handle = self.handle()?;
        handle.explain(&*checked_query(&handle.space, query, false)?).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.get", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope))))]
    async fn get(&self, scope: &StateScope, id: &str) -> Result<Option<VectorEntry>> {
        let handle = self.handle()?;
        scope.validate()?;
        validate::id(id)?;
        let (owner, id, now) = (scope.clone(), id.to_string(), handle.now());
        let found = handle
            .read(scope, move |snapshot, space| {
                Ok(snapshot.get(&owner, &id, now)?.map(|entry| of_model(space, [entry])))
            })
            .await?;
        Ok(found.flatten().and_then(|mut entry| entry.pop()))
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.get_many", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope), ids = ids.len())))]
    async fn get_many(&self, scope: &StateScope, ids: &[String]) -> Result<Vec<Option<VectorEntry>>> {
        let handle = self.handle()?;
        scope.validate()?;
        validate::ids(ids)?;
        let (owner, asked, now) = (scope.clone(), ids.to_vec(), handle.now());
        let found = handle
            .read(scope, move |snapshot, space| {
                let get = |id: &String| Ok(of_model(space, snapshot.get(&owner, id, now)?).pop());
                asked.iter().map(get).collect::<Result<Vec<_>>>()
            })
            .await?;
        Ok(found.unwrap_or_else(|| vec![None; ids.len()]))
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.update_metadata", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope))))]
    async fn update_metadata(&self, scope: &StateScope, id: &str, metadata: Metadata) -> Result<()> {
        self.handle()?
            .change_metadata(scope, id, metadata, NewMetadata::Whole)
            .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.patch_metadata", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope))))]
    async fn patch_metadata(&self, scope: &StateScope, id: &str, patch: Metadata) -> Result<()> {
        self.handle()?
            .change_metadata(scope, id, patch, NewMetadata::Patch)
            .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.touch", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope), ids = ids.len())))]
    async fn touch(&self, scope: &StateScope, ids: &[String], expiry: Expiry) -> Result<Vec<String>> {
        let handle = self.handle()?;
        scope.validate()?;
        validate::ids(ids)?;
        let now = handle.now();
        let expires_at = expiry.moment(Timestamp::from_millis(now))?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (spaces, scope, ids) = (handle.spaces(), scope.clone(), ids.to_vec());
        let call = TouchEntries {
            spaces,
            scope,
            ids,
            expires_at,
            now,
        };
        handle.database.inner.write([&handle.space], call).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.delete", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope), ids = ids.len())))]
    async fn delete(&self, scope: &StateScope, ids: &[String]) -> Result<u64> {
        let handle = self.handle()?;
        scope.validate()?;
        validate::ids(ids)?;
        if ids.is_empty() {
            handle.database.inner.check_open()?;
            return Ok(0);
        }
        handle.delete(scope, ids, None, handle.now()).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.delete_scopes", level = "debug", skip_all, fields(space = self.space_name(), scopes = scopes.len())))]
    async fn delete_scopes(&self, scopes: &[StateScope]) -> Result<u64> {
        let handle = self.handle()?;
        validate::scopes(scopes)?;
        if scopes.is_empty() {
            return Ok(0);
        }
        handle.drop_scopes(Scopes::Named(scopes.to_vec())).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.delete_scopes_of_kind", level = "debug", skip_all, fields(space = self.space_name(), kind = kind.name())))]
    async fn delete_scopes_of_kind(&self, kind: ScopeKind) -> Result<u64> {
        self.handle()?.drop_scopes(Scopes::OfKind(kind)).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.list", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope), limit)))]
    async fn list(&self, scope: &StateScope, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>> {
        let handle = self.handle()?;
        scope.validate()?;
        validate_key_value::page(limit)?;
        let (owner, after, now) = (scope.clone(), after.map(str::to_string), handle.now());
        let page = handle
            .read(scope, move |snapshot, space| {
                let page = snapshot.list(&owner, after.as_deref(), limit, now)?;
                Ok(of_model(space, page))
            })
            .await?;
        Ok(page.unwrap_or_default())
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.count_matching", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope))))]
    async fn count_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        let handle = self.handle()?;
        let (condition, now) = (checked(handle, scope, filter)?, handle.now());
        let count = handle
            .read_filtered(scope, condition, move |snapshot, condition| {
                snapshot.count_matching(condition, now)
            })
            .await?;
        Ok(count.unwrap_or(0))
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.list_matching", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope), limit)))]
    async fn list_matching(
        &self,
        scope: &StateScope,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<VectorEntry>> {
        let handle = self.handle()?;
        validate_key_value::page(limit)?;
        let (condition, now) = (checked(handle, scope, filter)?, handle.now());
        let (owner, after) = (scope.clone(), after.map(str::to_string));
        let page = handle
            .read_filtered(scope, condition, move |snapshot, condition| {
                snapshot.list_matching(&owner, condition, after.as_deref(), limit, now)
            })
            .await?;
        Ok(of_model(&handle.space, page.unwrap_or_default()))
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.list_page", level = "debug", skip_all, fields(space = self.space_name(), order = query.order.name(), limit = query.limit)))]
    async fn list_page(&self, query: &ListQuery) -> Result<ListPage> {
        validate::list_query(query)?;
        listing::list_page(self.handle()?, query).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.sample", level = "debug", skip_all, fields(space = self.space_name(), size = query.size)))]
    async fn sample(&self, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
        validate::sample_query(query)?;
        listing::sample(self.handle()?, query).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.facet", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope), limit)))]
    async fn facet(
        &self,
        scope: &StateScope,
        field: &FieldPath,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<FacetValue>> {
        validate::facet_field(field)?;
        validate_key_value::page(limit)?;
        self.handle()?.facet(scope, field, filter, limit).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.delete_matching", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope))))]
    async fn delete_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        let handle = self.handle()?;
        let (condition, now) = (checked(handle, scope, filter)?, handle.now());
        let ids = handle.ids_matching(scope, condition, now).await?;
        let mut count = 0;
        for ids in ids.chunks(DELETE_IDS_MAX) {
            count += handle.delete(scope, ids, Some(filter.clone()), now).await?;
        }
        Ok(count)
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.scopes", level = "debug", skip_all, fields(space = self.space_name())))]
    async fn scopes(&self) -> Result<Vec<StateScope>> {
        let handle = self.handle()?;
        let (shared, space, now) = (Arc::clone(handle.shared()), Arc::clone(&handle.space), handle.now());
        handle
            .database
            .inner
            .run(move || {
                let mut scopes = stats::living_scopes(&shared, &space, now)?;
                scopes.sort_unstable();
                Ok(scopes)
            })
            .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.stats", level = "debug", skip_all, fields(space = self.space_name())))]
    async fn stats(&self) -> Result<StorageStats> {
        let handle = self.handle()?;
        let (shared, space, now) = (Arc::clone(handle.shared()), Arc::clone(&handle.space), handle.now());
        handle
            .database
            .inner
            .run(move || stats::of_spaces(&shared, &[space], now))
            .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.stats_for_scope", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope))))]
    async fn stats_for_scope(&self, scope: &StateScope) -> Result<ScopedStats> {
        let handle = self.handle()?;
        scope.validate()?;
        let namespace = handle.namespace(scope).await?;
        let (shared, space) = (Arc::clone(handle.shared()), Arc::clone(&handle.space));
        let (scope, now) = (scope.clone(), handle.now());
        // Counting visits the whole graph the first time.
        handle
            .database
            .inner
            .run(move || {
                let mut stats = stats::of_unknown(&scope);
                if let Some(namespace) = &namespace
                    && let Some(snapshot) = Snapshot::take(&shared.truth, &space.slots, namespace)?
                {
                    stats = stats::of_scope((&space, namespace), &scope, &snapshot, now)?;
                }
                stats.quota = quota_status(&shared, &scope, now)?;
                Ok(stats)
            })
            .await
    }

    /// Without looking at the index, as the statistics do.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.count", level = "debug", skip_all, fields(space = self.space_name(), scope = %self.seen(scope))))]
    async fn count(&self, scope: &StateScope) -> Result<u64> {
        let handle = self.handle()?;
        scope.validate()?;
        let namespace = handle.namespace(scope).await?;
        Ok(namespace.map_or(0, |namespace| namespace.state().visible_count(handle.now())))
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.build_index", level = "debug", skip_all, fields(space = self.space_name())))]
    async fn build_index(&self) -> Result<()> {
        self.handle()?.index(Goal::Complete).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.optimize_index", level = "debug", skip_all, fields(space = self.space_name())))]
    async fn optimize_index(&self) -> Result<()> {
        self.handle()?.index(Goal::Rebuilt).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "vectors.flush", level = "debug", skip_all, fields(space = self.space_name())))]
    async fn flush(&self) -> Result<()> {
        self.handle()?.database.inner.request(Flush).await
    }
}

impl Handle {
    /// Other metadata of an entry, made of these fields.
    async fn change_metadata(
        &self,
        scope: &StateScope,
        id: &str,
        fields: Metadata,
        metadata: impl FnOnce(Metadata, Vec<u8>) -> NewMetadata,
    ) -> Result<()> {
        let bytes = checked_fields(scope, id, &fields)?;
        let (spaces, scope, id) = (self.spaces(), scope.clone(), id.to_string());
        let (metadata, now) = (metadata(fields, bytes), self.now());
        let call = ChangeMetadata {
            spaces,
            scope,
            id,
            metadata,
            now,
        };
        self.database.inner.write([&self.space], call).await
    }

    /// Removes everything of some scopes. Says how many entries could be seen.
    async fn drop_scopes(&self, scopes: Scopes) -> Result<u64> {
        let (spaces, now) = (self.spaces(), self.now());
        let call = DropScopes {
            spaces,
            scopes,
            with_keys: false,
            now,
        };
        let removed = self.database.inner.write([&self.space], call).await?;
        Ok(removed.vectors)
    }

    /// The answer to a valid query of this space.
    pub(crate) async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        let span = SearchSpan::current();
        let found = self.find(query, &span).await?;
        span.answered(found.len());
        Ok(found)
    }

    async fn find(&self, query: &VectorQuery, span: &SearchSpan) -> Result<Vec<VectorResult>> {
        if query.is_by_terms() {
            return words::search(self, query, span).await;
        }
        if let Some(selection) = Selection::of(query, &self.space) {
            return selected::search(self, query, selection).await;
        }
        if query.offset > 0 {
            let mut found = Box::pin(self.find(&query.with_passed_over(), span)).await?;
            found.drain(..query.offset.min(found.len()));
            return Ok(found);
        }
        self.database.inner.check_open()?;
        let question = Question::new(query, &self.space, self.now())?;
        if query.scopes.is_some() {
            return scopes::search(self, question.into_owned()).await;
        }
        if let Some(namespace) = cheap_namespace(self.shared(), &self.space, &query.scope, &question)
            && let Some(found) = search_in_place(self.shared(), &self.space, &namespace, &question, span)?
        {
            return Ok(found);
        }
        let (shared, space) = (Arc::clone(self.shared()), Arc::clone(&self.space));
        let (question, span) = (question.into_owned(), span.clone());
        self.database
            .inner
            .run(move || traced(&span, |trace| search_loaded(&shared, &space, &question, trace)))
            .await
    }

    /// How a valid query of this space is answered.
    pub(crate) async fn explain(&self, query: &VectorQuery) -> Result<SearchPlan> {
        let offset = query.offset;
        if query.is_by_terms() {
            let scope = validate::explained_scope(query)?.clone();
            return words::explain(self, query.clone().with_scope(scope)).await;
        }
        let query = query
            .with_passed_over()
            .with_scope(validate::explained_scope(query)?.clone());
        let now = self.now();
        let question = Question::new(&query, &self.space, now)?.into_owned();
        let selection = Selection::of(&query, &self.space);
        let (shared, space) = (Arc::clone(self.shared()), Arc::clone(&self.space));
        self.database
            .inner
            .run(move || {
                let start = Instant::now();
                let clock = || start.elapsed();
                let mut trace = Trace::timed(&clock);
                let found = match selection {
                    None => search_loaded(&shared, &space, &question, &mut trace)?.len(),
                    Some(selection) => {
                        let new_trace = || Trace::timed(&clock);
                        let chosen = selected::explain(&shared, &space, selection, now, &mut trace, new_trace)?;
                        trace.plan.k = query.k;
                        trace.plan.selection = Some(chosen.1);
                        chosen.0
                    }
                };
                trace.plan.results = found.saturating_sub(offset);
                Ok(trace.plan)
            })
            .await
    }

    async fn ids_matching(&self, scope: &StateScope, condition: Condition, now: i64) -> Result<Vec<String>> {
        let ids = self.read_filtered(scope, condition, move |snapshot, condition| {
            snapshot.ids_matching(condition, now)
        });
        Ok(ids.await?.unwrap_or_default())
    }

    /// The most frequent values of a valid field.
    async fn facet(
        &self,
        scope: &StateScope,
        field: &FieldPath,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<FacetValue>> {
        let (condition, now, field) = (checked(self, scope, filter)?, self.now(), field.clone());
        let values = self
            .read_filtered(scope, condition, move |snapshot, condition| {
                snapshot.facet(&field, condition, limit, now)
            })
            .await?;
        Ok(values.unwrap_or_default())
    }
}

/// Fields of an entry as JSON, within their limits.
pub(crate) fn checked_fields(scope: &StateScope, id: &str, fields: &Metadata) -> Result<Vec<u8>> {
    scope.validate()?;
    validate::id(id)?;
    validate::metadata_fields(id, fields)?;
    let fields = serde_json::to_vec(fields)?;
    validate::metadata_bytes(id, fields.len())?;
    Ok(fields)
}

/// A filter on a scope, both of which are valid.
fn checked(handle: &Handle, scope: &StateScope, filter: &Filter) -> Result<Condition> {
    scope.validate()?;
    Condition::new(filter, handle.space.dates())
}

/// Entries that name the model of their space, if it has one.
pub(super) fn of_model(space: &Space, entries: impl IntoIterator<Item = VectorEntry>) -> Vec<VectorEntry> {
    let model = space.model();
    let named = |mut entry: VectorEntry| {
        entry.model = model.as_ref().map(|model| ModelRef::from(model.name.as_str()));
        entry
    };
    entries.into_iter().map(named).collect()
}

#[cfg(feature = "tracing")]
impl HNSWVectorStorage {
    /// A scope, as spans show it.
    fn seen<'a>(&self, scope: &'a StateScope) -> Seen<'a> {
        Seen::new(scope, self.shows_ids())
    }

    /// The scope of a query, as spans show it.
    fn seen_of<'a>(&self, query: &'a VectorQuery) -> Seen<'a> {
        Seen::of(query, self.shows_ids())
    }

    fn shows_ids(&self) -> bool {
        self.handle().is_ok_and(|handle| handle.shared().shows_ids)
    }
}
