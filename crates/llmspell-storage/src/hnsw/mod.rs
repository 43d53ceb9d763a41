//! What does an application search? [`HNSWVectorStorage`], a space of a [`Database`].
//!
//! | file        | question                                         |
//! |-------------|--------------------------------------------------|
//! | `mod.rs`    | how is a call of the trait done by the database? |
//! | `spaces.rs` | how is a space of a database opened, or made?    |
//! | `scopes.rs` | how are several scopes searched at once?         |
//! | `stats.rs`  | how much is there?                               |

mod scopes;
mod spaces;
mod stats;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::oneshot;
use uuid::Uuid;

use llmspell_core::{
    DateFields, DistanceMetric, FacetValue, FieldPath, Filter, HNSWConfig, Metadata, OnExisting, Result, ScopedStats,
    SearchPlan, StateScope, StorageError, StorageStats, Timestamp, VectorEntry, VectorQuery, VectorResult,
    VectorStorage, validate_key_value, validate_vectors as validate,
};

use crate::database::{Database, PreparedEntry, Request, Shared, quota_status};
use crate::index_queue::{Goal, IndexJob};
use crate::namespace::{Namespace, graph_config};
use crate::registry::Space;
use crate::search::{self, Answer, Snapshot, Trace};
use crate::slots::Waiting;
use crate::truth::{SpaceRecord, Truth};

/// Name of the space that [`HNSWVectorStorage::open`] opens.
pub const DEFAULT_SPACE: &str = "default";

/// A batch of at most this many components is checked and encoded where it is called: about 100 µs, less than a change of
/// threads is worth. Longer ones on the threads of the database.
const PREPARE_IN_PLACE_COMPONENTS: usize = 64 << 10;
/// Entries that a deletion by filter removes in one batch.
const DELETE_IDS_MAX: usize = 10_000;

/// Vectors of one dimension and metric, each in the scope of its owner.
///
/// [`new`](Self::new) keeps them in RAM, [`open`](Self::open) in a directory, by the same code. Every scope is a
/// namespace of its own: nothing is shared between two of them, so no filter can be forgotten.
///
/// Scopes with fewer entries than [`DEFAULT_GRAPH_POINTS_MIN`](crate::DEFAULT_GRAPH_POINTS_MIN) are searched exactly:
/// [`VectorQuery::exact`] and [`VectorQuery::ef_search`] make no difference to the answer then. Larger ones get a graph
/// in the background; entries that it does not hold yet are compared one by one.
///
/// ```
/// # use llmspell_storage::{HNSWConfig, HNSWVectorStorage, Result, StateScope, VectorEntry, VectorQuery, VectorStorage};
/// # async fn example() -> Result<()> {
/// let storage = HNSWVectorStorage::new(3, HNSWConfig::balanced());
/// storage.insert(vec![VectorEntry::new("doc-1", vec![0.1, 0.2, 0.3])]).await?;
/// let hits = storage.search(&VectorQuery::new(vec![0.1, 0.2, 0.3], 10)).await?;
/// assert_eq!(hits[0].id, "doc-1");
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct HNSWVectorStorage {
    dim: usize,
    config: HNSWConfig,
    /// None if dimension or configuration are out of range: every call says so.
    handle: Option<Handle>,
}

#[derive(Debug, Clone)]
struct Handle {
    database: Database,
    space: Arc<Space>,
}

impl HNSWVectorStorage {
    /// Vectors of `dim` components in RAM; gone with the last clone of the storage.
    ///
    /// Cannot fail: where `dim` or `config` are out of range, every call of the storage says so.
    ///
    /// # Panics
    ///
    /// When the system has no memory or threads left.
    #[must_use]
    pub fn new(dim: usize, config: HNSWConfig) -> Self {
        let is_valid = validate::dim(dim).and_then(|()| config.validate()).is_ok();
        let handle = is_valid.then(|| {
            let record = SpaceRecord {
                name: DEFAULT_SPACE.to_string(),
                dim,
                config: config.clone(),
            };
            let (database, space) = Database::in_memory(&record);
            Handle { database, space }
        });
        Self { dim, config, handle }
    }

    /// Vectors of `dim` components in the [`Database`] in `dir`, which is created if it is not there: its space
    /// [`DEFAULT_SPACE`].
    ///
    /// # Errors
    ///
    /// As [`Database::open`] and [`Database::vectors`].
    pub async fn open(dir: impl AsRef<Path>, dim: usize, config: HNSWConfig) -> Result<Self> {
        validate::dim(dim)?;
        config.validate()?;
        Database::open(dir).await?.vectors(DEFAULT_SPACE, dim, config).await
    }

    fn of(database: Database, space: Arc<Space>) -> Self {
        let config = space.config.read().clone();
        Self {
            dim: space.dim,
            config,
            handle: Some(Handle { database, space }),
        }
    }

    /// Components per vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How vectors are compared.
    #[must_use]
    pub fn metric(&self) -> DistanceMetric {
        self.config.metric()
    }

    /// How the index is built.
    #[must_use]
    pub fn config(&self) -> &HNSWConfig {
        &self.config
    }

    /// Name of the space in its database.
    #[must_use]
    pub fn space_name(&self) -> &str {
        self.handle.as_ref().map_or(DEFAULT_SPACE, |handle| &handle.space.name)
    }

    /// The database whose space this is.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](StorageError::OutOfRange) if the storage was made with a bad dimension or configuration.
    pub fn database(&self) -> Result<&Database> {
        self.handle().map(|handle| &handle.database)
    }

    /// Closes the database; see [`Database::close`].
    ///
    /// # Errors
    ///
    /// As [`Database::close`].
    pub async fn close(self) -> Result<()> {
        match self.handle {
            Some(handle) => {
                let Handle { database, space } = handle;
                drop(space);
                database.close().await
            }
            None => Ok(()),
        }
    }

    fn handle(&self) -> Result<&Handle> {
        match &self.handle {
            Some(handle) => Ok(handle),
            None => {
                validate::dim(self.dim)?;
                self.config.validate()?;
                unreachable!("a storage without a handle has a bad dimension or configuration")
            }
        }
    }
}

impl Handle {
    fn shared(&self) -> &Arc<Shared> {
        &self.database.inner.shared
    }

    fn now(&self) -> i64 {
        self.shared().clock.now()
    }

    /// The namespace of a scope; none if there is no such scope.
    async fn namespace(&self, scope: &StateScope) -> Result<Option<Arc<Namespace>>> {
        self.database.inner.check_open()?;
        if let Some(namespace) = self.space.loaded(scope) {
            return Ok(Some(namespace));
        }
        let (shared, space, scope) = (Arc::clone(self.shared()), Arc::clone(&self.space), scope.clone());
        self.database.inner.run(move || space.load(&shared.truth, &scope)).await
    }

    /// Runs `read` on a snapshot of a scope, on a thread of the database; none if there is no such scope.
    async fn read<T, F>(&self, scope: &StateScope, read: F) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, &Space) -> Result<T> + Send + 'static,
    {
        self.read_after(scope, |_, _, _| Ok(()), read).await
    }

    /// [`read`](Self::read) for what asks a filter.
    async fn read_filtered<T, F>(&self, scope: &StateScope, read: F) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>) -> Result<T> + Send + 'static,
    {
        self.read_after(scope, search::index_metadata, move |snapshot, _| read(snapshot))
            .await
    }

    /// [`read`](Self::read) on a snapshot that is taken after `prepare`.
    async fn read_after<T, F>(
        &self,
        scope: &StateScope,
        prepare: fn(&Truth, &Space, &Namespace) -> Result<()>,
        read: F,
    ) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>, &Space) -> Result<T> + Send + 'static,
    {
        let (shared, space, scope) = (Arc::clone(self.shared()), Arc::clone(&self.space), scope.clone());
        self.database
            .inner
            .run(move || {
                let Some(namespace) = space.load(&shared.truth, &scope)? else {
                    return Ok(None);
                };
                prepare(&shared.truth, &space, &namespace)?;
                let snapshot = Snapshot::take(&shared.truth, &space.slots, &namespace)?;
                snapshot.map(|snapshot| read(&snapshot, &space)).transpose()
            })
            .await
    }

    /// Brings the indexes of all scopes that are large enough to a goal, and waits for it.
    async fn index(&self, goal: Goal) -> Result<()> {
        let (shared, space) = (Arc::clone(self.shared()), Arc::clone(&self.space));
        let answer = self
            .database
            .inner
            .run(move || {
                let (reply, answer) = oneshot::channel();
                let job = IndexJob {
                    space: space.id,
                    scopes: large_scopes(&shared, &space)?,
                    goal,
                    reply,
                };
                shared.queue.submit(job).map_err(|_| StorageError::Closed)?;
                Ok(answer)
            })
            .await?;
        answer.await.unwrap_or(Err(StorageError::Closed))
    }
}

/// The answer to a valid query of its one scope, which is loaded if it must be. May wait for the disk.
fn search_loaded(
    shared: &Shared,
    space: &Space,
    query: &VectorQuery,
    now: i64,
    trace: &mut Trace<'_>,
) -> Result<Vec<VectorResult>> {
    let Some(namespace) = space.load(&shared.truth, &query.scope)? else {
        return Ok(Vec::new());
    };
    match search::search(&shared.truth, space, &namespace, query, (now, Waiting::Allowed), trace)? {
        Answer::Found(found) => Ok(found),
        Answer::WouldWait => unreachable!("this search may wait"),
    }
}

#[async_trait]
impl VectorStorage for HNSWVectorStorage {
    async fn write(&self, entries: Vec<VectorEntry>, on_existing: OnExisting) -> Result<Vec<String>> {
        let Handle { database, space } = self.handle()?;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.handle()?.now();
        let (dim, metric) = (space.dim, space.metric);
        let prepared = if entries.len().saturating_mul(dim) <= PREPARE_IN_PLACE_COMPONENTS {
            prepare(entries, dim, metric, now)?
        } else {
            database.inner.run(move || prepare(entries, dim, metric, now)).await?
        };
        let ids = prepared.iter().map(|entry| entry.id.clone()).collect();
        let space = Arc::clone(space);
        database
            .inner
            .request(|reply| Request::Entries {
                space,
                entries: prepared,
                on_existing,
                now,
                reply,
            })
            .await?;
        Ok(ids)
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        let handle = self.handle()?;
        validate::query(query, self.dim, self.metric())?;
        let now = handle.now();
        handle.database.inner.check_open()?;
        if query.scopes.is_some() {
            return scopes::search(handle, query, now).await;
        }
        let truth = &handle.shared().truth;
        if let Some(namespace) = handle.space.loaded(&query.scope)
            && search::is_cheap(query, &handle.space, &namespace, handle.shared().is_durable())
        {
            let space = &handle.space;
            let at = (now, Waiting::Never);
            let search = || search::search(truth, space, &namespace, query, at, &mut Trace::quiet());
            if let Answer::Found(found) = truth.guard(search)? {
                return Ok(found);
            }
        }
        let (shared, space, query) = (Arc::clone(handle.shared()), Arc::clone(&handle.space), query.clone());
        handle
            .database
            .inner
            .run(move || search_loaded(&shared, &space, &query, now, &mut Trace::quiet()))
            .await
    }

    async fn explain(&self, query: &VectorQuery) -> Result<SearchPlan> {
        let handle = self.handle()?;
        validate::query(query, self.dim, self.metric())?;
        let query = query.clone().with_scope(validate::explained_scope(query)?.clone());
        let now = handle.now();
        let (shared, space) = (Arc::clone(handle.shared()), Arc::clone(&handle.space));
        handle
            .database
            .inner
            .run(move || {
                let start = Instant::now();
                let clock = || start.elapsed();
                let mut trace = Trace::timed(&clock);
                trace.plan.results = search_loaded(&shared, &space, &query, now, &mut trace)?.len();
                Ok(trace.plan)
            })
            .await
    }

    async fn get(&self, scope: &StateScope, id: &str) -> Result<Option<VectorEntry>> {
        let handle = self.handle()?;
        scope.validate()?;
        validate::id(id)?;
        let (owner, id, now) = (scope.clone(), id.to_string(), handle.now());
        let found = handle
            .read(scope, move |snapshot, _| snapshot.get(&owner, &id, now))
            .await?;
        Ok(found.flatten())
    }

    async fn update_metadata(&self, scope: &StateScope, id: &str, metadata: Metadata) -> Result<()> {
        let handle = self.handle()?;
        scope.validate()?;
        validate::id(id)?;
        validate::metadata_fields(id, &metadata)?;
        let metadata = serde_json::to_vec(&metadata)?;
        validate::metadata_bytes(id, metadata.len())?;
        let (space, scope, id) = (Arc::clone(&handle.space), scope.clone(), id.to_string());
        let now = handle.now();
        handle
            .database
            .inner
            .request(|reply| Request::Metadata {
                space,
                scope,
                id,
                metadata,
                now,
                reply,
            })
            .await
    }

    async fn delete(&self, scope: &StateScope, ids: &[String]) -> Result<u64> {
        let handle = self.handle()?;
        scope.validate()?;
        validate::ids(ids)?;
        if ids.is_empty() {
            return Ok(0);
        }
        let (space, scope, ids, now) = (Arc::clone(&handle.space), scope.clone(), ids.to_vec(), handle.now());
        handle
            .database
            .inner
            .request(|reply| Request::Delete {
                space,
                scope,
                ids,
                only: None,
                now,
                reply,
            })
            .await
    }

    async fn delete_scope(&self, scope: &StateScope) -> Result<u64> {
        let handle = self.handle()?;
        scope.validate()?;
        let (space, scope, now) = (Arc::clone(&handle.space), scope.clone(), handle.now());
        handle
            .database
            .inner
            .request(|reply| Request::DropScope {
                space,
                scope,
                now,
                reply,
            })
            .await
    }

    async fn list(&self, scope: &StateScope, after: Option<&str>, limit: usize) -> Result<Vec<VectorEntry>> {
        let handle = self.handle()?;
        scope.validate()?;
        validate_key_value::page(limit)?;
        let (owner, after, now) = (scope.clone(), after.map(str::to_string), handle.now());
        let page = handle
            .read(scope, move |snapshot, _| {
                snapshot.list(&owner, after.as_deref(), limit, now)
            })
            .await?;
        Ok(page.unwrap_or_default())
    }

    async fn count_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        let handle = self.handle()?;
        let (filter, now) = (checked(scope, filter)?, handle.now());
        let count = handle
            .read_filtered(scope, move |snapshot| snapshot.count_matching(&filter, now))
            .await?;
        Ok(count.unwrap_or(0))
    }

    async fn list_matching(
        &self,
        scope: &StateScope,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<VectorEntry>> {
        let handle = self.handle()?;
        validate_key_value::page(limit)?;
        let (filter, now) = (checked(scope, filter)?, handle.now());
        let (owner, after) = (scope.clone(), after.map(str::to_string));
        let page = handle
            .read_filtered(scope, move |snapshot| {
                snapshot.list_matching(&owner, &filter, after.as_deref(), limit, now)
            })
            .await?;
        Ok(page.unwrap_or_default())
    }

    async fn facet(
        &self,
        scope: &StateScope,
        field: &FieldPath,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<FacetValue>> {
        let handle = self.handle()?;
        Filter::exists(field.clone()).validate()?;
        validate_key_value::page(limit)?;
        let (filter, now, field) = (checked(scope, filter)?, handle.now(), field.clone());
        let values = handle
            .read_filtered(scope, move |snapshot| snapshot.facet(&field, &filter, limit, now))
            .await?;
        Ok(values.unwrap_or_default())
    }

    async fn delete_matching(&self, scope: &StateScope, filter: &Filter) -> Result<u64> {
        let handle = self.handle()?;
        let (filter, now) = (checked(scope, filter)?, handle.now());
        let only = filter.compile(&DateFields::none())?;
        let ids = handle
            .read_filtered(scope, move |snapshot| snapshot.ids_matching(&filter, now))
            .await?;
        let mut count = 0;
        for ids in ids.unwrap_or_default().chunks(DELETE_IDS_MAX) {
            let (space, scope, ids) = (Arc::clone(&handle.space), scope.clone(), ids.to_vec());
            count += handle
                .database
                .inner
                .request(|reply| Request::Delete {
                    space,
                    scope,
                    ids,
                    only: Some(only.clone()),
                    now,
                    reply,
                })
                .await?;
        }
        Ok(count)
    }

    async fn scopes(&self) -> Result<Vec<StateScope>> {
        let handle = self.handle()?;
        let (shared, space) = (Arc::clone(handle.shared()), Arc::clone(&handle.space));
        handle
            .database
            .inner
            .run(move || {
                let mut scopes: Vec<StateScope> = shared
                    .truth
                    .read()?
                    .scopes(space.id)?
                    .into_iter()
                    .map(|(scope, _)| scope)
                    .collect();
                scopes.sort_unstable();
                Ok(scopes)
            })
            .await
    }

    async fn stats(&self) -> Result<StorageStats> {
        let handle = self.handle()?;
        let (shared, space, now) = (Arc::clone(handle.shared()), Arc::clone(&handle.space), handle.now());
        handle
            .database
            .inner
            .run(move || stats::of_space(&shared, &space, now))
            .await
    }

    async fn stats_for_scope(&self, scope: &StateScope) -> Result<ScopedStats> {
        let handle = self.handle()?;
        scope.validate()?;
        let namespace = handle.namespace(scope).await?;
        let (shared, space) = (Arc::clone(handle.shared()), Arc::clone(&handle.space));
        let (scope, now) = (scope.clone(), handle.now());
        // Counting goes through the whole graph the first time.
        handle
            .database
            .inner
            .run(move || {
                let mut stats = match namespace {
                    Some(namespace) => stats::of_scope(&space, &scope, &namespace.state(), now),
                    None => stats::of_unknown(&scope),
                };
                stats.quota = quota_status(&shared, &scope, now)?;
                Ok(stats)
            })
            .await
    }

    /// Without looking at the index, as the statistics do.
    async fn count(&self, scope: &StateScope) -> Result<u64> {
        let handle = self.handle()?;
        scope.validate()?;
        let namespace = handle.namespace(scope).await?;
        Ok(namespace.map_or(0, |namespace| namespace.state().visible_count(handle.now())))
    }

    async fn build_index(&self) -> Result<()> {
        self.handle()?.index(Goal::Complete).await
    }

    async fn optimize_index(&self) -> Result<()> {
        self.handle()?.index(Goal::Rebuilt).await
    }

    async fn flush(&self) -> Result<()> {
        self.handle()?
            .database
            .inner
            .request(|reply| Request::Flush { reply })
            .await
    }
}

/// A filter on a scope, both of which are valid.
fn checked(scope: &StateScope, filter: &Filter) -> Result<Filter> {
    scope.validate()?;
    filter.validate_with(&DateFields::none())?;
    Ok(filter.clone())
}

/// Checks a batch and makes of it what will be stored.
fn prepare(entries: Vec<VectorEntry>, dim: usize, metric: DistanceMetric, now: i64) -> Result<Vec<PreparedEntry>> {
    validate::batch(&entries, dim, metric)?;
    let now = Timestamp::from_millis(now);
    let mut bytes = 0_usize;
    entries
        .into_iter()
        .map(|entry| {
            let metadata = if entry.metadata.is_null() {
                b"{}".to_vec()
            } else {
                serde_json::to_vec(&entry.metadata)?
            };
            validate::metadata_bytes(&entry.id, metadata.len())?;
            bytes = bytes.saturating_add(metadata.len()).saturating_add(4 * dim);
            validate::batch_bytes(bytes)?;
            let expires_at = match entry.ttl {
                Some(ttl) => Some(now.checked_add(ttl).ok_or(StorageError::OutOfRange {
                    what: "ttl in milliseconds",
                    got: ttl.as_millis() as f64,
                    min: 1.0,
                    max: (i64::MAX / 2) as f64,
                })?),
                None => entry.expires_at,
            };
            Ok(PreparedEntry {
                scope: entry.scope,
                id: if entry.id.is_empty() {
                    Uuid::now_v7().to_string()
                } else {
                    entry.id
                },
                vector: entry.embedding,
                metadata,
                created_at: entry.created_at,
                updated_at: entry.updated_at.unwrap_or(now),
                event_time: entry.event_time,
                expires_at,
            })
        })
        .collect()
}

/// The scopes whose entries are worth a graph, or were.
fn large_scopes(shared: &Shared, space: &Space) -> Result<Vec<StateScope>> {
    if graph_config(space.dim, &space.config.read()).is_none() {
        return Ok(Vec::new());
    }
    let read = shared.truth.read()?;
    let mut large = Vec::new();
    for (scope, scope_id) in read.scopes(space.id)? {
        let is_large = match space.loaded(&scope) {
            Some(namespace) => {
                let state = namespace.state();
                state.index.is_some() || state.live_count() >= space.graph_points_min()
            }
            None => read.state(scope_id)?.live_count() >= space.graph_points_min() || read.index(scope_id)?.is_some(),
        };
        if is_large {
            large.push(scope);
        }
    }
    Ok(large)
}
