//! How is a call of the trait done by several spaces?

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use llmspell_core::{
    Expiry, FacetValue, FieldPath, Filter, Metadata, ModelRef, OnExisting, Result, ScopeKind, ScopedStats, SearchPlan,
    StateScope, StorageError, StorageStats, Timestamp, VectorEntry, VectorQuery, VectorResult, VectorStorage,
    validate_key_value, validate_vectors as validate,
};

use super::routes::{Route, Routes};
use super::{DimensionRouter, merge};
use crate::api::vectors::{
    Asked, DELETE_IDS_MAX, HNSWVectorStorage, Handle, Member, Shape, checked_fields, checked_query, of_scope,
    of_spaces, of_unknown, prepare_routed, read_together,
};
#[cfg(feature = "tracing")]
use crate::base::observe::Seen;
use crate::engine::{NewMetadata, Opening, Part, PreparedEntry, Request, Scopes, Shared, Spaces, quota_status};
use crate::spaces::registry::Space;
use crate::truth::SpaceRecord;

/// A batch of at most this many components is checked where it is called: about 100 µs.
const PREPARE_IN_PLACE_COMPONENTS: usize = 64 << 10;
/// So often a call is sent again because its space was replaced meanwhile.
const SENT_MAX: u32 = 4;

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
        self.change(|reply| Request::Touch {
            spaces: Spaces::Routed,
            scope,
            ids,
            expires_at,
            now,
            reply,
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
        let mut scopes = Vec::new();
        for space in self.storages().await? {
            scopes.extend(space.scopes().await?);
        }
        scopes.sort_unstable();
        scopes.dedup();
        Ok(scopes)
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
            space.build_index().await?;
        }
        Ok(())
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.optimize_index", level = "debug", skip_all)
    )]
    async fn optimize_index(&self) -> Result<()> {
        for space in self.storages().await? {
            space.optimize_index().await?;
        }
        Ok(())
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "router.flush", level = "debug", skip_all)
    )]
    async fn flush(&self) -> Result<()> {
        self.request(|reply| Request::Flush { reply }).await
    }
}

impl DimensionRouter {
    /// Other metadata of an entry, made of these fields, in whichever space it is.
    async fn change_metadata(
        &self,
        scope: &StateScope,
        id: &str,
        fields: Metadata,
        metadata: impl FnOnce(Vec<u8>) -> NewMetadata,
    ) -> Result<()> {
        let fields = checked_fields(scope, id, &fields)?;
        let (scope, id) = (scope.clone(), id.to_string());
        let (metadata, now) = (metadata(fields), self.now());
        self.change(|reply| Request::Metadata {
            spaces: Spaces::Routed,
            scope,
            id,
            metadata,
            now,
            reply,
        })
        .await
    }

    /// Removes everything of some scopes. Says how many entries could be seen.
    async fn drop_scopes(&self, scopes: Scopes) -> Result<u64> {
        let now = self.now();
        let request = |reply| Request::DropScopes {
            spaces: Spaces::Routed,
            scopes,
            with_keys: false,
            now,
            reply,
        };
        Ok(self.change(request).await?.vectors)
    }

    pub(super) fn now(&self) -> i64 {
        self.inner.database.inner.shared.clock.now()
    }

    pub(super) async fn request<T>(
        &self,
        request: impl FnOnce(tokio::sync::oneshot::Sender<Result<T>>) -> Request,
    ) -> Result<T> {
        self.inner.database.inner.request(request).await
    }

    /// A write of an application, which may concern any of the spaces.
    async fn change<T>(&self, request: impl FnOnce(tokio::sync::oneshot::Sender<Result<T>>) -> Request) -> Result<T> {
        let routes = self.routes();
        let open = routes.all.iter().filter_map(|route| route.opened());
        let spaces: Vec<Arc<Space>> = open.map(|handle| Arc::clone(&handle.space)).collect();
        self.inner.database.inner.write(&spaces, request).await
    }

    /// Removes entries from whichever spaces they are in; of those that match, where `only` says so.
    async fn delete_all(&self, scope: &StateScope, ids: &[String], only: Option<Filter>) -> Result<u64> {
        let (scope, ids, now) = (scope.clone(), ids.to_vec(), self.now());
        self.change(|reply| Request::Delete {
            spaces: Spaces::Routed,
            scope,
            ids,
            only,
            now,
            reply,
        })
        .await
    }

    fn check_filter(&self, scope: &StateScope, filter: &Filter) -> Result<()> {
        scope.validate()?;
        self.inner.database.inner.check_open()?;
        Ok(filter.validate_with(self.inner.config.index().date_fields())?)
    }

    /// All spaces, opened.
    async fn storages(&self) -> Result<Vec<HNSWVectorStorage>> {
        let handles = self.handles(&self.routes()).await?;
        Ok(handles.iter().map(HNSWVectorStorage::of_handle).collect())
    }

    /// The spaces of some routes, opened.
    async fn handles(&self, routes: &Routes) -> Result<Vec<Handle>> {
        self.inner.database.inner.check_open()?;
        let mut handles = Vec::with_capacity(routes.all.len());
        for route in &routes.all {
            handles.push(route.handle(&self.inner.database).await?.clone());
        }
        Ok(handles)
    }

    /// Runs `read` on a scope in all spaces that have it, as of one commit.
    async fn read_all<T, F>(&self, scope: &StateScope, filter: Option<&Filter>, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&[Member<'_>]) -> Result<T> + Send + Sync + 'static,
    {
        let (scope, filter) = (scope.clone(), filter.cloned());
        self.read_spaces(move |shared, spaces, spaces_version| {
            let asked = Asked {
                scope: &scope,
                filter: filter.as_ref(),
                spaces_version,
            };
            read_together(shared, spaces, &asked, |members| read(members))
        })
        .await
    }

    /// Runs `read` on all spaces, on a thread of the database, until it finds them as they were listed: it is told the version
    /// of the list, and answers none where that has changed.
    async fn read_spaces<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Shared, &[Arc<Space>], u64) -> Result<Option<T>> + Send + Sync + 'static,
    {
        let read = Arc::new(read);
        loop {
            let routes = self.routes();
            let handles = self.handles(&routes).await?.into_iter();
            let spaces: Vec<Arc<Space>> = handles.map(|handle| handle.space).collect();
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
        let handle = route.handle(&self.inner.database).await?;
        let count = HNSWVectorStorage::of_handle(handle).count(scope).await?;
        let is_still = self.inner.database.inner.shared.spaces_version() == routes.version;
        Ok(is_still.then_some(count))
    }

    async fn write_with(
        &self,
        entries: Vec<VectorEntry>,
        on_existing: OnExisting,
        unknown: Unknown,
    ) -> Result<Vec<String>> {
        if entries.is_empty() {
            self.inner.database.inner.check_open()?;
            return Ok(Vec::new());
        }
        for _ in 1..SENT_MAX {
            let routes = self.routes();
            if !routes.is_migrating {
                return self.write_by(&routes, entries, on_existing, unknown).await;
            }
            match self.write_by(&routes, entries.clone(), on_existing, unknown).await {
                // It was replaced between two looks.
                Err(StorageError::UnknownSpace { .. }) => {}
                done => return done,
            }
        }
        let routes = self.routes();
        self.write_by(&routes, entries, on_existing, unknown).await
    }

    async fn write_by(
        &self,
        routes: &Routes,
        entries: Vec<VectorEntry>,
        on_existing: OnExisting,
        unknown: Unknown,
    ) -> Result<Vec<String>> {
        let now = self.now();
        let batch = self.sorted(routes, &entries, unknown)?;
        let Sorted { routes, new, space_of } = batch;
        let known = routes.iter().map(|route| route.shape());
        let shapes: Vec<Shape> = known.chain(new.iter().map(Shape::of_record)).collect();
        let components: usize = entries.iter().map(|entry| entry.embedding.len()).sum();
        let prepare = move || {
            let prepared = prepare_routed(entries, |place| &shapes[space_of[place]], now)?;
            Ok((prepared, space_of))
        };
        let (prepared, space_of) = if components <= PREPARE_IN_PLACE_COMPONENTS {
            prepare()?
        } else {
            self.inner.database.inner.run(prepare).await?
        };
        // All of it is fine: now there may be new spaces.
        let mut spaces = Vec::with_capacity(routes.len() + new.len());
        for route in &routes {
            spaces.push(Arc::clone(&route.handle(&self.inner.database).await?.space));
        }
        for record in new {
            let storage = self.inner.database.open_space_as(record, Opening::Routed).await?;
            spaces.push(storage.into_handle().space);
        }
        let ids = prepared.iter().map(|entry| entry.id.clone()).collect();
        let mut of_space: BTreeMap<usize, Vec<PreparedEntry>> = BTreeMap::new();
        for (entry, place) in prepared.into_iter().zip(space_of) {
            of_space.entry(place).or_default().push(entry);
        }
        let parts = of_space
            .into_iter()
            .map(|(place, entries)| Part {
                space: Arc::clone(&spaces[place]),
                entries,
            })
            .collect();
        let entries = self.inner.database.inner.in_order(parts).await?;
        self.change(|reply| entries.request(on_existing, now, reply)).await?;
        Ok(ids)
    }

    /// Which space each entry of a batch goes to.
    fn sorted(&self, routes: &Routes, entries: &[VectorEntry], unknown: Unknown) -> Result<Sorted> {
        let mut sorted = Sorted {
            routes: Vec::new(),
            new: Vec::new(),
            space_of: Vec::with_capacity(entries.len()),
        };
        let mut known: Vec<Arc<Route>> = Vec::new();
        let mut new: HashMap<String, usize> = HashMap::new();
        // Places of known spaces count from the front, of new ones as they come; the new ones follow the known ones.
        let mut places: Vec<Result<usize, usize>> = Vec::with_capacity(entries.len());
        for entry in entries {
            let dim = entry.embedding.len();
            let route = match &entry.model {
                Some(model) => routes.of_model(model.name()),
                None => routes.of_dim(dim)?,
            };
            if let Some(route) = route {
                check_same(route, entry.model.as_ref())?;
                let place = known.iter().position(|other| other.id == route.id);
                places.push(Ok(place.unwrap_or_else(|| {
                    known.push(Arc::clone(route));
                    known.len() - 1
                })));
                continue;
            }
            let record = match unknown {
                Unknown::GetsASpace => self.new_space(routes, entry.model.as_ref(), dim)?,
                Unknown::IsRefused => return Err(routes.unknown(entry.model.as_ref(), dim)),
            };
            let place = match new.get(&record.name) {
                Some(place) => {
                    sorted.new[*place].check_matches(&record)?;
                    *place
                }
                None => {
                    new.insert(record.name.clone(), sorted.new.len());
                    sorted.new.push(record);
                    sorted.new.len() - 1
                }
            };
            places.push(Err(place));
        }
        sorted.routes = known;
        let first_new = sorted.routes.len();
        let place = |place: Result<usize, usize>| place.unwrap_or_else(|new| first_new + new);
        sorted.space_of = places.into_iter().map(place).collect();
        Ok(sorted)
    }
}

/// What becomes of entries of a model, or of a dimension, that the router does not know.
#[derive(Debug, Clone, Copy)]
enum Unknown {
    /// They get a space, where they say enough of it and the configuration allows it.
    GetsASpace,
    /// They come from a handle for one scope, whose holder must not make spaces.
    IsRefused,
}

/// A batch by its spaces.
struct Sorted {
    routes: Vec<Arc<Route>>,
    /// Spaces that are not there yet.
    new: Vec<SpaceRecord>,
    /// For each entry, a place in `routes` and then in `new`.
    space_of: Vec<usize>,
}

/// That a model that is given whole is the one that is known.
fn check_same(route: &Route, given: Option<&ModelRef>) -> Result<()> {
    let (Some(ModelRef::Model(given)), Some(known)) = (given, route.model()) else {
        return Ok(());
    };
    let mismatch = |what, stored: String, requested: String| {
        Err(StorageError::SpaceMismatch {
            space: route.name().to_string(),
            what,
            stored,
            requested,
        })
    };
    if given.dim != known.dim {
        return mismatch("dimension", known.dim.to_string(), given.dim.to_string());
    }
    if given.metric != known.metric {
        return mismatch("metric", known.metric.to_string(), given.metric.to_string());
    }
    Ok(())
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
