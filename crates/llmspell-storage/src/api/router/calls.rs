//! The calls of the trait [`VectorStorage`], done by several spaces.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use llmspell_core::{
    Expiry, FacetValue, FieldPath, Filter, ListPage, ListQuery, Metadata, OnExisting, OwnTime, Result, SampleQuery,
    ScopeKind, ScopedStats, SearchPlan, StateScope, StorageError, StorageStats, Timestamp, VectorEntry, VectorQuery,
    VectorResult, VectorStorage, validate_key_value, validate_vectors as validate,
};

use super::routes::Routes;
use super::writes::Unknown;
use super::{DimensionRouter, listing, merge, words};
use crate::api::vectors::{
    Asked, DELETE_IDS_MAX, HNSWVectorStorage, Handle, Member, checked_fields, checked_query, living_scopes, of_scope,
    of_spaces, of_unknown, read_together,
};
#[cfg(feature = "tracing")]
use crate::base::observe::Seen;
use crate::engine::calls::{ChangeMetadata, DeleteEntries, DropScopes, Flush, TouchEntries};
use crate::engine::{NewMetadata, Scopes, Shared, Spaces, WriteCall, quota_status};
use crate::spaces::registry::Space;

/// So often a call is sent again because its space was replaced meanwhile.
pub(super) const SENT_MAX: u32 = 4;

llmspell_core::inherent_vectors!(DimensionRouter);

#[async_trait]
impl VectorStorage for DimensionRouter {
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.write", level = "debug", skip_all, fields(entries = entries.len())))]
    async fn write(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        self.write_with(entries, on_existing, Unknown::GetsASpace).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.write_known", level = "debug", skip_all, fields(entries = entries.len())))]
    async fn write_known(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        self.write_with(entries, on_existing, Unknown::IsRefused).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.search", level = "debug", skip_all, fields(scope = %self.seen_of(query), k = query.k, path = tracing::field::Empty, codes = tracing::field::Empty, distances = tracing::field::Empty, results = tracing::field::Empty, us = tracing::field::Empty)))]
    async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        if words::is_of_all_spaces(self, query) {
            return words::search(self, query).await;
        }
        for sent in 1.. {
            let routes = self.routes();
            let route = routes.of_query(query.model.as_deref(), query.vector.len())?;
            let handle = route.handle(&self.inner.database).await?;
            let checked = checked_query(&handle.space, query, true)?;
            let start = Instant::now();
            let mut found = handle.search(&checked).await?;
            route.meter.record(start.elapsed());
            if handle.space.is_retired() && sent < SENT_MAX {
                continue;
            }
            for result in &mut found {
                result.space = Some(route.name().to_string());
            }
            return Ok(found);
        }
        unreachable!("the loop has no end")
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.explain", level = "debug", skip_all, fields(scope = %self.seen_of(query), k = query.k)))]
    async fn explain(&self, query: &VectorQuery) -> Result<SearchPlan> {
        if words::is_of_all_spaces(self, query) {
            return Err(words::refused("an explanation"));
        }
        let routes = self.routes();
        let route = routes.of_query(query.model.as_deref(), query.vector.len())?;
        let handle = route.handle(&self.inner.database).await?;
        let mut plan = handle.explain(&*checked_query(&handle.space, query, true)?).await?;
        plan.space = Some(route.name().to_string());
        Ok(plan)
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.get", level = "debug", skip_all, fields(scope = %self.seen(scope))))]
    async fn get(&self, scope: &StateScope, id: &str) -> Result<Option<VectorEntry>> {
        scope.validate()?;
        validate::id(id)?;
        let (owner, id, now) = (scope.clone(), id.to_string(), self.now());
        self.read_all(scope, None, move |members| {
            for member in members {
                if let Some(entry) = member.snapshot.get(&owner, &id, now)? {
                    return Ok(member.named([entry]).pop());
                }
            }
            Ok(None)
        })
        .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.get_many", level = "debug", skip_all, fields(scope = %self.seen(scope), ids = ids.len())))]
    async fn get_many(&self, scope: &StateScope, ids: &[String]) -> Result<Vec<Option<VectorEntry>>> {
        scope.validate()?;
        validate::ids(ids)?;
        let (owner, asked, now) = (scope.clone(), ids.to_vec(), self.now());
        self.read_all(scope, None, move |members| {
            let get = |id: &String| {
                for member in members {
                    if let Some(entry) = member.snapshot.get(&owner, id, now)? {
                        return Ok(member.named([entry]).pop());
                    }
                }
                Ok(None)
            };
            asked.iter().map(get).collect()
        })
        .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.update_metadata", level = "debug", skip_all, fields(scope = %self.seen(scope))))]
    async fn update_metadata(&self, scope: &StateScope, id: &str, metadata: Metadata) -> Result<()> {
        self.change_metadata(scope, id, metadata, NewMetadata::Whole).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.patch_metadata", level = "debug", skip_all, fields(scope = %self.seen(scope))))]
    async fn patch_metadata(&self, scope: &StateScope, id: &str, patch: Metadata) -> Result<()> {
        self.change_metadata(scope, id, patch, NewMetadata::Patch).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.touch", level = "debug", skip_all, fields(scope = %self.seen(scope), ids = ids.len())))]
    async fn touch(&self, scope: &StateScope, ids: &[String], expiry: Expiry) -> Result<Vec<String>> {
        scope.validate()?;
        validate::ids(ids)?;
        let now = self.now();
        let expires_at = expiry.moment(Timestamp::from_millis(now))?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.change(TouchEntries {
            spaces: Spaces::Routed,
            scope,
            ids,
            expires_at,
            now,
        })
        .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.delete", level = "debug", skip_all, fields(scope = %self.seen(scope), ids = ids.len())))]
    async fn delete(&self, scope: &StateScope, ids: &[String]) -> Result<u64> {
        scope.validate()?;
        validate::ids(ids)?;
        if ids.is_empty() {
            self.inner.database.inner.check_open()?;
            return Ok(0);
        }
        self.delete_all(scope, ids, None).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.delete_scopes", level = "debug", skip_all, fields(scopes = scopes.len())))]
    async fn delete_scopes(&self, scopes: &[StateScope]) -> Result<u64> {
        validate::scopes(scopes)?;
        if scopes.is_empty() {
            return self.inner.database.inner.check_open().map(|()| 0);
        }
        self.drop_scopes(Scopes::Named(scopes.to_vec())).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.delete_scopes_of_kind", level = "debug", skip_all, fields(kind = kind.name())))]
    async fn delete_scopes_of_kind(&self, kind: ScopeKind) -> Result<u64> {
        self.drop_scopes(Scopes::OfKind(kind)).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.list", level = "debug", skip_all, fields(scope = %self.seen(scope), limit)))]
    async fn list(&self, scope: &StateScope, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>> {
        scope.validate()?;
        validate_key_value::page(limit)?;
        let (owner, after, now) = (scope.clone(), after.map(str::to_string), self.now());
        self.read_all(scope, None, move |members| {
            let page = |member: &Member<'_>| {
                let page = member.snapshot.list(&owner, after.as_deref(), limit, now)?;
                Ok(member.named(page))
            };
            let pages = members.iter().map(page).collect::<Result<_>>()?;
            Ok(merge::pages(pages, limit))
        })
        .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.count", level = "debug", skip_all, fields(scope = %self.seen(scope))))]
    async fn count(&self, scope: &StateScope) -> Result<u64> {
        scope.validate()?;
        if let Some(count) = self.count_in_one(scope).await? {
            return Ok(count);
        }
        let now = self.now();
        self.read_all(scope, None, move |members| {
            let counts = members.iter().map(|member| member.snapshot.state().visible_count(now));
            Ok(counts.sum())
        })
        .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.count_matching", level = "debug", skip_all, fields(scope = %self.seen(scope))))]
    async fn count_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        self.check_filter(scope, filter)?;
        let now = self.now();
        self.read_all(scope, Some(filter), move |members| {
            let count = |member: &Member<'_>| member.snapshot.count_matching(member.condition(), now);
            members.iter().map(count).sum()
        })
        .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.list_matching", level = "debug", skip_all, fields(scope = %self.seen(scope), limit)))]
    async fn list_matching(
        &self,
        scope: &StateScope,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<VectorEntry>> {
        validate_key_value::page(limit)?;
        self.check_filter(scope, filter)?;
        let (owner, after, now) = (scope.clone(), after.map(str::to_string), self.now());
        self.read_all(scope, Some(filter), move |members| {
            let page = |member: &Member<'_>| {
                let (condition, after) = (member.condition(), after.as_deref());
                let page = member.snapshot.list_matching(&owner, condition, after, limit, now)?;
                Ok(member.named(page))
            };
            let pages = members.iter().map(page).collect::<Result<_>>()?;
            Ok(merge::pages(pages, limit))
        })
        .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.list_page", level = "debug", skip_all, fields(order = query.order.name(), limit = query.limit)))]
    async fn list_page(&self, query: &ListQuery) -> Result<ListPage> {
        validate::list_query(query)?;
        listing::list_page(self, query).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.sample", level = "debug", skip_all, fields(size = query.size)))]
    async fn sample(&self, query: &SampleQuery) -> Result<Vec<VectorEntry>> {
        validate::sample_query(query)?;
        listing::sample(self, query).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.facet", level = "debug", skip_all, fields(scope = %self.seen(scope), limit)))]
    async fn facet(
        &self,
        scope: &StateScope,
        field: &FieldPath,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<FacetValue>> {
        validate::facet_field(field)?;
        validate_key_value::page(limit)?;
        self.check_filter(scope, filter)?;
        let (field, now) = (field.clone(), self.now());
        self.read_all(scope, Some(filter), move |members| {
            let mut all = Vec::new();
            for member in members {
                all.extend(member.snapshot.facet(&field, member.condition(), usize::MAX, now)?);
            }
            Ok(merge::facets(all, limit))
        })
        .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.delete_matching", level = "debug", skip_all, fields(scope = %self.seen(scope))))]
    async fn delete_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        self.check_filter(scope, filter)?;
        let now = self.now();
        let ids = self.read_all(scope, Some(filter), move |members| {
            let mut ids = Vec::new();
            for member in members {
                ids.extend(member.snapshot.ids_matching(member.condition(), now)?);
            }
            Ok(ids)
        });
        let ids = ids.await?;
        let mut count = 0;
        for ids in ids.chunks(DELETE_IDS_MAX) {
            count += self.delete_all(scope, ids, Some(filter.clone())).await?;
        }
        Ok(count)
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.scopes", level = "debug", skip_all)
    )]
    async fn scopes(&self) -> Result<Vec<StateScope>> {
        let now = self.now();
        self.read_spaces(move |shared, spaces, version| {
            let mut scopes = Vec::new();
            for space in spaces {
                scopes.extend(living_scopes(shared, space, now)?);
            }
            scopes.sort_unstable();
            scopes.dedup();
            Ok((shared.spaces_version() == version).then_some(scopes))
        })
        .await
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.stats", level = "debug", skip_all)
    )]
    async fn stats(&self) -> Result<StorageStats> {
        let (now, metric) = (self.now(), self.inner.config.index().metric());
        self.read_spaces(move |shared, spaces, version| {
            let mut stats = of_spaces(shared, spaces, now)?;
            if spaces.is_empty() {
                stats.metric = metric;
            }
            Ok((shared.spaces_version() == version).then_some(stats))
        })
        .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "router.stats_for_scope", level = "debug", skip_all, fields(scope = %self.seen(scope))))]
    async fn stats_for_scope(&self, scope: &StateScope) -> Result<ScopedStats> {
        scope.validate()?;
        let (shared, owner, now) = (Arc::clone(&self.inner.database.inner.shared), scope.clone(), self.now());
        self.read_all(scope, None, move |members| {
            let mut sum = of_unknown(&owner);
            for member in members {
                let of_space = of_scope((member.space, member.namespace), &owner, &member.snapshot, now)?;
                merge::add_stats(&mut sum, of_space);
            }
            sum.quota = quota_status(&shared, &owner, now)?;
            Ok(sum)
        })
        .await
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.build_index", level = "debug", skip_all)
    )]
    async fn build_index(&self) -> Result<()> {
        for space in self.storages().await? {
            there(space.build_index().await)?;
        }
        Ok(())
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.optimize_index", level = "debug", skip_all)
    )]
    async fn optimize_index(&self) -> Result<()> {
        for space in self.storages().await? {
            there(space.optimize_index().await)?;
        }
        Ok(())
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.flush", level = "debug", skip_all)
    )]
    async fn flush(&self) -> Result<()> {
        self.inner.database.inner.request(Flush).await
    }
}

impl DimensionRouter {
    /// Other metadata of an entry, made of these fields, in whichever space it is.
    async fn change_metadata(
        &self,
        scope: &StateScope,
        id: &str,
        fields: Metadata,
        metadata: impl FnOnce(Metadata, Vec<u8>) -> NewMetadata,
    ) -> Result<()> {
        let bytes = checked_fields(scope, id, &fields)?;
        let (scope, id) = (scope.clone(), id.to_string());
        let (metadata, now) = (metadata(fields, bytes), self.now());
        self.change(ChangeMetadata {
            spaces: Spaces::Routed,
            scope,
            id,
            metadata,
            now,
        })
        .await
    }

    /// Removes everything of some scopes. Says how many entries could be seen.
    async fn drop_scopes(&self, scopes: Scopes) -> Result<u64> {
        let now = self.now();
        let call = DropScopes {
            spaces: Spaces::Routed,
            scopes,
            with_keys: false,
            now,
        };
        Ok(self.change(call).await?.vectors)
    }

    pub(super) fn now(&self) -> i64 {
        self.inner.database.inner.shared.clock.now()
    }

    /// A write of an application, which may concern any of the spaces.
    async fn change<C: WriteCall>(&self, call: C) -> Result<C::Answer> {
        self.inner.database.inner.write(&self.open_spaces(), call).await
    }

    /// The spaces that were opened.
    pub(super) fn open_spaces(&self) -> Vec<Arc<Space>> {
        let routes = self.routes();
        let open = routes.all.iter().filter_map(|route| route.opened());
        open.map(|handle| Arc::clone(&handle.space)).collect()
    }

    /// Removes entries from whichever spaces they are in; of those that match, where `only` says so.
    async fn delete_all(&self, scope: &StateScope, ids: &[String], only: Option<Filter>) -> Result<u64> {
        let (scope, ids, now) = (scope.clone(), ids.to_vec(), self.now());
        self.change(DeleteEntries {
            spaces: Spaces::Routed,
            scope,
            ids,
            only,
            now,
        })
        .await
    }

    pub(super) fn check_filter(&self, scope: &StateScope, filter: &Filter) -> Result<()> {
        scope.validate()?;
        self.inner.database.inner.check_open()?;
        Ok(filter.validate_with(self.inner.config.index().date_fields())?)
    }

    /// All spaces, opened.
    async fn storages(&self) -> Result<Vec<HNSWVectorStorage>> {
        let (_, handles) = self.opened().await?;
        Ok(handles.iter().map(HNSWVectorStorage::of_handle).collect())
    }

    /// The spaces as they are listed now, opened.
    async fn opened(&self) -> Result<(Arc<Routes>, Vec<Handle>)> {
        let database = &self.inner.database;
        loop {
            database.inner.check_open()?;
            let routes = self.routes();
            let mut handles = Vec::with_capacity(routes.all.len());
            for route in &routes.all {
                handles.extend(there(route.handle(database).await)?.cloned());
            }
            // Else one of them was dropped since they were listed.
            if handles.len() == routes.all.len() {
                return Ok((routes, handles));
            }
        }
    }

    /// Runs `read` on a scope in all spaces that have it, as of one commit.
    async fn read_all<T, F>(&self, scope: &StateScope, filter: Option<&Filter>, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&[Member<'_>]) -> Result<T> + Send + Sync + 'static,
    {
        self.read_ordered(scope, None, filter, read).await
    }

    /// The same for what goes by a time, if one is given.
    pub(super) async fn read_ordered<T, F>(
        &self,
        scope: &StateScope,
        time: Option<OwnTime>,
        filter: Option<&Filter>,
        read: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&[Member<'_>]) -> Result<T> + Send + Sync + 'static,
    {
        let (scope, filter) = (scope.clone(), filter.cloned());
        self.read_spaces(move |shared, spaces, spaces_version| {
            let asked = Asked {
                scope: &scope,
                filter: filter.as_ref(),
                time,
                spaces_version,
            };
            read_together(shared, spaces, &asked, |members| read(members))
        })
        .await
    }

    /// Runs `read` on all spaces, on a thread of the database, until it finds them as they were listed: it is told the version
    /// of the list, and answers none where that has changed.
    pub(super) async fn read_spaces<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Shared, &[Arc<Space>], u64) -> Result<Option<T>> + Send + Sync + 'static,
    {
        let read = Arc::new(read);
        loop {
            let (routes, handles) = self.opened().await?;
            let spaces: Vec<Arc<Space>> = handles.into_iter().map(|handle| handle.space).collect();
            let (shared, read) = (Arc::clone(&self.inner.database.inner.shared), Arc::clone(&read));
            let job = move || read(&shared, &spaces, routes.version);
            if let Some(found) = self.inner.database.inner.run(job).await? {
                return Ok(found);
            }
        }
    }

    /// The entries of a scope, from RAM, if there is only one space.
    async fn count_in_one(&self, scope: &StateScope) -> Result<Option<u64>> {
        let routes = self.routes();
        let [route] = routes.all.as_slice() else {
            return Ok(None);
        };
        let Some(handle) = there(route.handle(&self.inner.database).await)? else {
            return Ok(None);
        };
        let Some(count) = there(HNSWVectorStorage::of_handle(handle).count(scope).await)? else {
            return Ok(None);
        };
        let is_still = self.inner.database.inner.shared.spaces_version() == routes.version;
        Ok(is_still.then_some(count))
    }
}

/// The answer of one space; none if the space was dropped or replaced since it was listed.
fn there<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(StorageError::UnknownSpace { .. }) => Ok(None),
        answer => answer.map(Some),
    }
}

#[cfg(feature = "tracing")]
impl DimensionRouter {
    /// A scope, as spans show it.
    fn seen<'a>(&self, scope: &'a StateScope) -> Seen<'a> {
        Seen::new(scope, self.inner.database.inner.shared.shows_ids)
    }

    /// The scope of a query, as spans show it.
    fn seen_of<'a>(&self, query: &'a VectorQuery) -> Seen<'a> {
        Seen::of(query, self.inner.database.inner.shared.shows_ids)
    }
}
