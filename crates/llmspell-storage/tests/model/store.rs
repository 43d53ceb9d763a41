//! How is a call done, through the public API, by a database on the disk?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use llmspell_storage::{
    Database, DatabaseOptions, DistanceMetric, EmbeddingModel, FacetValue, HNSWConfig, HNSWVectorStorage,
    KeyValueEntry, KeyValueWrite, ListPage, OnExisting, Result, SampleQuery, ScopeKind, ScopedBackend, ScopedVectors,
    SearchPlan, StorageError, Timestamp, VectorEntry, VectorQuery, VectorStorage, VectorStorageExt,
};
use tempfile::TempDir;

use crate::program::{
    ALONE_DIM, Call, Content, DIM, Damage, KeyCall, Life, MODEL_NAMES, ModelCall, Search, Seen, Step, Value, Write, id,
    key, scope, value,
};

/// When every program begins, in milliseconds since 1970.
pub(crate) const BEGIN: i64 = 1_900_000_000_000;

/// Nobody holds a dropped scope for longer.
const PURGED_WITHIN: Duration = Duration::from_secs(20);

/// A database on the disk, and the time that it is told.
pub(crate) struct Store {
    path: PathBuf,
    database: Database,
    vectors: Arc<dyn VectorStorage>,
    time: Arc<AtomicI64>,
    graphs: Graphs,
    spaces: Spaces,
}

/// Where vectors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spaces {
    One,
    /// Two models of one dimension, by a router. Which of them an entry is of, its vector says: another may move it.
    Routed,
}

/// Models that are routed.
const MODELS: [&str; 2] = ["even", "odd"];
/// One more, which handles find by its dimension.
const ALONE: &str = "alone";

/// A space that no answer is about.
const BESIDE: &str = "beside";

/// Which scopes have a graph. The points of one are given out again only when it is built anew; without, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Graphs {
    FromTheFirstEntries,
    None,
}

fn config() -> HNSWConfig {
    HNSWConfig::fast().with_metric(DistanceMetric::Euclidean)
}

/// Where syncing costs nothing, if there is such a place: what survives a loss of power is tested elsewhere.
pub(crate) fn directory() -> TempDir {
    let in_memory = Path::new("/dev/shm");
    match in_memory.is_dir() {
        true => tempfile::tempdir_in(in_memory),
        false => tempfile::tempdir(),
    }
    .unwrap()
}

impl Store {
    pub(crate) async fn open(path: &Path, graphs: Graphs, spaces: Spaces) -> Self {
        Self::open_at(path, Arc::new(AtomicI64::new(BEGIN)), graphs, spaces).await
    }

    async fn open_at(path: &Path, time: Arc<AtomicI64>, graphs: Graphs, spaces: Spaces) -> Self {
        let (source, boot) = (Arc::clone(&time), Arc::clone(&time));
        let graph_points_min = match graphs {
            Graphs::FromTheFirstEntries => 3,
            Graphs::None => u64::MAX,
        };
        let options = DatabaseOptions::new()
            .graph_points_min(graph_points_min)
            .metadata_points_min(2)
            // So that the metadata of some batches comes into its index later.
            .metadata_at_once_max(3)
            // So that some batches are written in steps.
            .large_batch_entries(3)
            .clock(move || Timestamp::from_millis(source.load(Ordering::SeqCst)))
            .boot_clock(move || Duration::from_millis(boot.load(Ordering::SeqCst).unsigned_abs()));
        let database = options.open(path).await.unwrap();
        let vectors: Arc<dyn VectorStorage> = match spaces {
            Spaces::One => Arc::new(database.vectors("model", DIM, config()).await.unwrap()),
            Spaces::Routed => {
                let router = database.router(config()).await.unwrap();
                for model in MODELS {
                    let model = EmbeddingModel::new(model, DIM).with_metric(DistanceMetric::Euclidean);
                    router.register_model(model).await.unwrap();
                }
                router
                    .register_model(EmbeddingModel::new(ALONE, ALONE_DIM))
                    .await
                    .unwrap();
                Arc::new(router)
            }
        };
        Self {
            path: path.to_path_buf(),
            database,
            vectors,
            time,
            graphs,
            spaces,
        }
    }

    pub(crate) async fn run(&mut self, step: &Step) -> Seen {
        match step {
            Step::Reopen => {
                self.reopen(|_| ()).await.unwrap();
                Seen::Done(true)
            }
            Step::DamageIndexes(damage) => {
                self.reopen(|path| damage.happen(path)).await.unwrap();
                Seen::Done(true)
            }
            Step::DropSpace => {
                self.drop_space().await;
                Seen::Done(true)
            }
            step => self.call(step).await,
        }
    }

    /// The only one, whose handle does not know it any more.
    async fn drop_space(&mut self) {
        assert_eq!(self.spaces, Spaces::One, "a router has two");
        self.database.drop_space("model").await.unwrap();
        let gone = self.vectors.count(&scope(0)).await;
        assert!(matches!(gone, Err(StorageError::UnknownSpace { .. })), "{gone:?}");
        self.vectors = Arc::new(self.database.vectors("model", DIM, config()).await.unwrap());
    }

    /// Two steps at once: they are asked for in this order, before either is answered.
    pub(crate) async fn run_both(&mut self, first: &Step, second: &Step) -> (Seen, Seen) {
        // A reopening needs all handles, and time passes between calls.
        let is_alone = |step: &Step| {
            matches!(
                step,
                Step::Reopen | Step::DamageIndexes(_) | Step::Pass(_) | Step::DropSpace
            )
        };
        if is_alone(first) || is_alone(second) {
            return (self.run(first).await, self.run(second).await);
        }
        tokio::join!(self.call(first), self.call(second))
    }

    async fn call(&self, step: &Step) -> Seen {
        match self.try_call(step).await {
            Ok(seen) => seen,
            Err(error) => Seen::Refused(error.to_string()),
        }
    }

    async fn try_call(&self, step: &Step) -> Result<Seen> {
        Ok(match step {
            Step::Write(write) => Seen::Ids(self.write(write).await?),
            Step::Models { scope: of, call } => {
                let seen = self.models(&self.vectors.scoped(scope(*of))?, *call).await;
                let seen = seen.unwrap_or_else(|error| Seen::Refused(format!("{error} {error:?}")));
                let router = self.database.router(HNSWConfig::fast()).await?;
                Seen::Models(router.models().len(), Box::new(seen))
            }
            Step::Beside(write) => {
                let beside = self.database.vectors(BESIDE, DIM, config()).await?;
                let now = self.now();
                let entries = write.entries.iter().map(|entry| entry.build(now)).collect();
                Seen::Ids(beside.upsert(entries).await?)
            }
            Step::DropBeside => {
                self.database.drop_space(BESIDE).await?;
                Seen::Done(true)
            }
            Step::Of {
                scope: of,
                by_handle,
                call,
            } => match by_handle {
                true => self.by_handle(&self.vectors.scoped(scope(*of))?, call).await?,
                false => self.by_store(*of, call).await?,
            },
            Step::Rewrite { scope: of, write } => {
                let owner = scope(*of);
                let (dropped, written) = tokio::join!(self.vectors.delete_scope(&owner), self.write(write));
                let written = match written {
                    Ok(ids) => Seen::Ids(ids),
                    Err(error) => Seen::Refused(error.to_string()),
                };
                Seen::Both(Box::new((Seen::Count(dropped?), written)))
            }
            Step::SearchScopes { scopes, search } => {
                let query = self.query(search).with_scopes(scopes.iter().map(|of| scope(*of)));
                Seen::Hits(self.vectors.search(&query).await?)
            }
            Step::ListScopes { scopes, listing } => {
                let query = listing.build(scope(0)).with_scopes(scopes.iter().map(|of| scope(*of)));
                page(self.vectors.list_page(&query).await?)
            }
            Step::DropScopes(scopes) => {
                let scopes: Vec<_> = scopes.iter().map(|of| scope(*of)).collect();
                Seen::Count(self.vectors.delete_scopes(&scopes).await?)
            }
            Step::DropUsers => Seen::Count(self.vectors.delete_scopes_of_kind(ScopeKind::User).await?),
            Step::Keys { scope: of, call } => self.keys(*of, call).await?,
            Step::SetQuota { scope: of, quota } => match quota {
                Some(quota) => {
                    self.database.set_quota(&scope(*of), *quota).await?;
                    Seen::Done(true)
                }
                None => Seen::Done(self.database.remove_quota(&scope(*of)).await?),
            },
            Step::Pass(millis) => {
                self.time.fetch_add((*millis).into(), Ordering::SeqCst);
                Seen::Done(true)
            }
            Step::BuildIndex => {
                self.vectors.build_index().await?;
                Seen::Done(true)
            }
            Step::OptimizeIndex => {
                self.vectors.optimize_index().await?;
                Seen::Done(true)
            }
            Step::Reopen | Step::DamageIndexes(_) | Step::DropSpace => unreachable!("`run` does them"),
        })
    }

    fn built(&self, write: &Write) -> (Vec<VectorEntry>, OnExisting) {
        let now = self.time.load(Ordering::SeqCst);
        let of_model = |entry: VectorEntry| match self.spaces {
            Spaces::One => entry,
            Spaces::Routed => {
                let model = MODELS[entry.embedding[0].abs() as usize % MODELS.len()];
                entry.with_model(model)
            }
        };
        let entries = write.entries.iter().map(|entry| of_model(entry.build(now))).collect();
        let on_existing = match write.refuses {
            true => OnExisting::Refuse,
            false => OnExisting::Replace,
        };
        (entries, on_existing)
    }

    /// Asks one of the models.
    fn query(&self, search: &Search) -> VectorQuery {
        match self.spaces {
            Spaces::One => search.build(),
            Spaces::Routed => search.build().with_model(MODELS[0]),
        }
    }

    fn now(&self) -> i64 {
        self.time.load(Ordering::SeqCst)
    }

    async fn write(&self, write: &Write) -> Result<Vec<String>> {
        let (entries, on_existing) = self.built(write);
        self.vectors.write(entries, on_existing).await
    }

    async fn by_store(&self, of: u8, call: &Call) -> Result<Seen> {
        let (store, owner) = (&self.vectors, &scope(of));
        Ok(match call {
            Call::Write(write) => Seen::Ids(self.write(write).await?),
            Call::Get(number) => Seen::Entries(store.get(owner, &id(*number)).await?.into_iter().collect()),
            Call::Delete(numbers) => Seen::Count(store.delete(owner, &ids(numbers)).await?),
            Call::Touch { ids: numbers, life } => {
                Seen::Ids(store.touch(owner, &ids(numbers), life.expiry(self.now())).await?)
            }
            Call::UpdateMetadata { id: number, fields } => {
                store.update_metadata(owner, &id(*number), fields.clone()).await?;
                Seen::Done(true)
            }
            Call::Clear => Seen::Count(store.delete_scope(owner).await?),
            Call::Search(search) => Seen::Hits(store.search_scoped(&self.query(search), owner).await?),
            Call::Explain(search) => plan(&store.explain(&self.query(search).with_scope(owner.clone())).await?),
            Call::Page { after, limit } => Seen::Entries(store.list(owner, after.map(id).as_deref(), *limit).await?),
            Call::PageBy(listing) => page(store.list_page(&listing.build(owner.clone())).await?),
            Call::Sample { filter, seed } => {
                let mut query = SampleQuery::new(owner.clone(), 1_000, *seed);
                query.filter.clone_from(filter);
                whole_sample(store.sample(&query).await?)
            }
            Call::Count(filter) => Seen::Count(store.count_matching(owner, filter).await?),
            Call::PageMatching { filter, after, limit } => {
                let after = after.map(id);
                let page = store.list_matching(owner, filter, after.as_deref(), *limit);
                Seen::Entries(page.await?)
            }
            Call::DeleteMatching(filter) => Seen::Count(store.delete_matching(owner, filter).await?),
            Call::Facet { field, filter } => counts(store.facet(owner, &(*field).into(), filter, 100).await?),
            Call::Stats => {
                let stats = store.stats_for_scope(owner).await?;
                assert_eq!(store.count(owner).await?, stats.vectors);
                Seen::Held(stats.vectors, stats.vector_bytes, stats.quota)
            }
        })
    }

    async fn by_handle(&self, handle: &ScopedVectors, call: &Call) -> Result<Seen> {
        Ok(match call {
            Call::Write(write) => {
                let (entries, on_existing) = self.built(write);
                Seen::Ids(handle.write(entries, on_existing).await?)
            }
            Call::Get(number) => Seen::Entries(handle.get(&id(*number)).await?.into_iter().collect()),
            Call::Delete(numbers) => Seen::Count(handle.delete(&ids(numbers)).await?),
            Call::Touch { ids: numbers, life } => {
                Seen::Ids(handle.touch(&ids(numbers), life.expiry(self.now())).await?)
            }
            Call::UpdateMetadata { id: number, fields } => {
                handle.update_metadata(&id(*number), fields.clone()).await?;
                Seen::Done(true)
            }
            Call::Clear => Seen::Count(handle.clear().await?),
            Call::Search(search) => Seen::Hits(handle.search(&self.query(search)).await?),
            Call::Explain(search) => plan(&handle.explain(&self.query(search)).await?),
            Call::Page { after, limit } => Seen::Entries(handle.list(after.map(id).as_deref(), *limit).await?),
            Call::PageBy(listing) => page(handle.list_page(&listing.build(handle.scope().clone())).await?),
            Call::Sample { filter, seed } => {
                let mut query = SampleQuery::new(handle.scope().clone(), 1_000, *seed);
                query.filter.clone_from(filter);
                whole_sample(handle.sample(&query).await?)
            }
            Call::Count(filter) => Seen::Count(handle.count_matching(filter).await?),
            Call::PageMatching { filter, after, limit } => {
                let after = after.map(id);
                Seen::Entries(handle.list_matching(filter, after.as_deref(), *limit).await?)
            }
            Call::DeleteMatching(filter) => Seen::Count(handle.delete_matching(filter).await?),
            Call::Facet { field, filter } => counts(handle.facet(*field, filter, 100).await?),
            Call::Stats => {
                let stats = handle.stats().await?;
                assert_eq!((handle.count().await?, &stats.scope), (stats.vectors, handle.scope()));
                Seen::Held(stats.vectors, stats.vector_bytes, stats.quota)
            }
        })
    }

    async fn models(&self, handle: &ScopedVectors, call: ModelCall) -> Result<Seen> {
        let entry = |dim| VectorEntry::new(id(0), vec![1.0; dim]);
        let query = |dim| VectorQuery::new(vec![1.0; dim], 5);
        Ok(match call {
            ModelCall::Describe { name, dim } => {
                let model = EmbeddingModel::new(MODEL_NAMES[usize::from(name)], dim);
                Seen::Ids(handle.upsert(vec![entry(dim).with_model(model)]).await?)
            }
            ModelCall::Name { name, dim } => {
                let entry = entry(dim).with_model(MODEL_NAMES[usize::from(name)]);
                Seen::Ids(handle.upsert(vec![entry]).await?)
            }
            ModelCall::Insert { dim } => Seen::Ids(handle.insert(vec![entry(dim)]).await?),
            ModelCall::Search { dim } => Seen::Hits(handle.search(&query(dim)).await?),
            ModelCall::Explain { dim } => plan(&handle.explain(&query(dim)).await?),
        })
    }

    async fn keys(&self, of: u8, call: &KeyCall) -> Result<Seen> {
        let keys = ScopedBackend::new(Arc::new(self.database.kv()), scope(of))?;
        Ok(match call {
            KeyCall::Set { key: number, len, life } => {
                let (key, value) = (key(*number), value(*len));
                match life {
                    Life::Forever => keys.set(key, value).await?,
                    Life::For(millis) => {
                        let ttl = Duration::from_millis((*millis).into());
                        keys.set_with_ttl(key, value, ttl).await?;
                    }
                    life => {
                        let write = KeyValueWrite::set_expiring(key, value, life.expiry(self.now()));
                        keys.write(vec![write]).await?;
                    }
                }
                Seen::Done(true)
            }
            KeyCall::Get(number) => {
                let key = key(*number);
                let (found, end) = (keys.get(key).await?, keys.expires_at(key).await?);
                Seen::Pairs(found.map(|found| (key.to_string(), (found, end))).into_iter().collect())
            }
            KeyCall::Remove(number) => Seen::Done(keys.delete(key(*number)).await?),
            KeyCall::Swap {
                key: number,
                expected,
                len,
                life,
            } => {
                let (expected, new) = (expected.map(value), len.map(value));
                let expiry = life.expiry(self.now());
                let swapped = keys.swap(key(*number), expected.as_deref(), new, expiry);
                Seen::Done(swapped.await?)
            }
            KeyCall::Scan => {
                let page = keys.scan_entries("", None, 100).await?;
                assert_eq!(keys.count("").await?, page.len() as u64);
                Seen::Pairs(page.into_iter().map(pair).collect())
            }
        })
    }

    async fn reopen(&mut self, meanwhile: impl FnOnce(&Path)) -> Result<()> {
        let (path, time) = (self.path.clone(), Arc::clone(&self.time));
        // All handles go before the directory is opened again.
        let parking = HNSWVectorStorage::new(DIM, HNSWConfig::fast());
        let parked = parking.database()?.clone();
        drop(std::mem::replace(&mut self.vectors, Arc::new(parking)));
        std::mem::replace(&mut self.database, parked).close().await?;
        meanwhile(&path);
        *self = Self::open_at(&path, time, self.graphs, self.spaces).await;
        Ok(())
    }

    /// Everything that is there, and that it is sound.
    pub(crate) async fn content(&self) -> Content {
        let (mut entries, mut values) = (BTreeMap::new(), BTreeMap::new());
        for owner in self.vectors.scopes().await.unwrap() {
            let page = self.vectors.list(&owner, None, 10_000).await.unwrap();
            assert!(!page.is_empty(), "a scope without entries is none: {owner}");
            assert_eq!(self.vectors.count(&owner).await.unwrap(), page.len() as u64);
            entries.extend(page.into_iter().map(|entry| ((owner.clone(), entry.id.clone()), entry)));
        }
        for owner in (0..4).map(scope) {
            let keys = ScopedBackend::new(Arc::new(self.database.kv()), owner.clone()).unwrap();
            let page = keys.scan_entries("", None, 10_000).await.unwrap();
            values.extend(
                page.into_iter()
                    .map(pair)
                    .map(|(key, value)| ((owner.clone(), key), value)),
            );
        }
        let begun = Instant::now();
        while self.vectors.stats().await.unwrap().scopes_to_purge > 0 {
            assert!(begun.elapsed() < PURGED_WITHIN, "dropped scopes are not purged");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Says also that every slot belongs to one scope or is free.
        let report = self.database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
        (entries, values)
    }
}

fn pair(entry: KeyValueEntry) -> (String, Value) {
    (entry.key, (entry.value, entry.expires_at))
}

fn ids(numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|number| id(*number)).collect()
}

fn page(page: ListPage) -> Seen {
    Seen::Page(page.entries, page.next.is_some())
}

/// A sample of all there is comes in an order that nobody can tell before.
fn whole_sample(mut entries: Vec<VectorEntry>) -> Seen {
    entries.sort_by(|one, other| one.id.cmp(&other.id));
    Seen::Entries(entries)
}

fn plan(plan: &SearchPlan) -> Seen {
    Seen::Plan(plan.live, plan.matching, plan.results)
}

/// Equal counts come in no particular order.
fn counts(values: Vec<FacetValue>) -> Seen {
    let counts = values.into_iter().map(|facet| (facet.value.to_string(), facet.count));
    Seen::Counts(counts.collect())
}

impl Damage {
    fn happen(self, database: &Path) {
        // Each time the space is dropped its folder has another number.
        let spaces = fs::read_dir(database.join("spaces")).unwrap();
        let folders = spaces.map(|space| space.unwrap().path().join("index"));
        let files = folders.filter_map(|index| fs::read_dir(index).ok()).flatten();
        for path in files.map(|file| file.unwrap().path()) {
            let mut bytes = fs::read(&path).unwrap();
            let place = |share: u16| bytes.len() * usize::from(share) / 1000;
            match self {
                Self::Lost => {
                    fs::remove_file(&path).unwrap();
                    continue;
                }
                Self::Cut(share) => bytes.truncate(place(share)),
                Self::Flipped(share) => {
                    let place = place(share);
                    bytes[place] ^= 1 << (share % 8);
                }
            }
            fs::write(&path, bytes).unwrap();
        }
    }
}
