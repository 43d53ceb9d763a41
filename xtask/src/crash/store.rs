//! Operations, done through the public API.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use llmspell_storage::{
    Database, DatabaseOptions, DimensionRouter, DistanceMetric, Expiry, Filter, HNSWConfig, KeyValueWrite, OnExisting,
    Quota, RedbBackend, SledBackend, StateScope, StorageBackend, StorageError, Timestamp, VectorEntry, VectorStorage,
};
use std::time::Duration;

use super::content::{Value, metadata, tag, vector};
use super::operation::{EntriesKind, KeyChange, Life, NewEntry, Operation, Outcome};
use super::router;
use super::workload::{SPACES, Subject};

/// An open store.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) keys: Arc<dyn StorageBackend>,
    spaces: Mutex<Vec<Arc<dyn VectorStorage>>>,
    /// The router whose spaces are in `spaces`, if there is one.
    pub(super) router: Option<DimensionRouter>,
    pub(super) engine: Engine,
}

/// The engine, which can check itself.
#[derive(Debug)]
pub(super) enum Engine {
    Database(Database),
    Sled(Arc<SledBackend>),
}

impl Store {
    pub(super) async fn open(subject: Subject, dir: &Path) -> Result<Self> {
        Ok(match subject {
            Subject::Sled => {
                let sled = Arc::new(SledBackend::open(dir).await?);
                Self {
                    keys: Arc::clone(&sled) as _,
                    spaces: Mutex::default(),
                    router: None,
                    engine: Engine::Sled(sled),
                }
            }
            Subject::Redb => {
                let redb = RedbBackend::open(dir).await?;
                let database = redb.database().clone();
                Self {
                    keys: Arc::new(redb),
                    spaces: Mutex::default(),
                    router: None,
                    engine: Engine::Database(database),
                }
            }
            Subject::Router => {
                let database = options().open(dir).await?;
                let router = router::open(&database).await?;
                Self {
                    keys: Arc::new(database.kv()),
                    spaces: Mutex::new(vec![Arc::new(router.clone())]),
                    router: Some(router),
                    engine: Engine::Database(database),
                }
            }
            Subject::Vectors => {
                let database = options().open(dir).await?;
                let mut spaces: Vec<Arc<dyn VectorStorage>> = Vec::new();
                for number in 0..SPACES.len() {
                    spaces.push(open_space(&database, number).await?);
                }
                Self {
                    keys: Arc::new(database.kv()),
                    spaces: Mutex::new(spaces),
                    router: None,
                    engine: Engine::Database(database),
                }
            }
        })
    }

    /// Closes the files; all other handles of the store must be dropped.
    pub(super) async fn close(self) -> Result<()> {
        let Self {
            keys,
            spaces,
            router,
            engine,
        } = self;
        drop((keys, spaces, router));
        match engine {
            Engine::Database(database) => database.close().await?,
            Engine::Sled(sled) => drop(sled),
        }
        Ok(())
    }

    /// All spaces.
    pub(super) fn spaces(&self) -> Vec<Arc<dyn VectorStorage>> {
        self.spaces.lock().expect("nobody panics with it").clone()
    }

    pub(super) fn space(&self, number: usize) -> Arc<dyn VectorStorage> {
        Arc::clone(&self.spaces()[number])
    }

    async fn drop_space(&self, number: usize) -> llmspell_storage::Result<Outcome> {
        let Engine::Database(database) = &self.engine else {
            unreachable!("sled has no spaces")
        };
        database.drop_space(SPACES[number].0).await?;
        let new = open_space(database, number).await?;
        self.spaces.lock().expect("nobody panics with it")[number] = new;
        Ok(Outcome::Done)
    }

    pub(super) async fn value(&self, key: &str) -> Result<Option<Value>> {
        Ok(self.keys.get(key).await?.map(|bytes| Value::of(&bytes)))
    }

    /// Runs an operation, and returns its result.
    pub(super) async fn perform(&self, operation: &Operation) -> Outcome {
        let result = match operation {
            Operation::Write(changes) => self.write(changes).await,
            Operation::Swap { key, expected, new } => {
                let expected = expected.as_ref().map(Value::bytes);
                let new = new.as_ref().map(Value::bytes);
                let swapped = self.keys.compare_and_swap(key, expected.as_deref(), new).await;
                swapped.map(Outcome::Swapped)
            }
            Operation::Entries { space, kind, entries } => {
                let on_existing = match kind {
                    EntriesKind::Insert => OnExisting::Refuse,
                    EntriesKind::Upsert => OnExisting::Replace,
                };
                let entries = entries
                    .iter()
                    .map(|entry| (entry.vector, made(entry, self.dim(*space, entry.vector))));
                self.write_entries(*space, entries.collect(), on_existing)
                    .await
                    .map(|_| Outcome::Done)
            }
            Operation::Metadata {
                space,
                scope,
                id,
                metadata: seed,
            } => {
                let updated = self.space(*space).update_metadata(scope, id, metadata(*seed)).await;
                updated.map(|()| Outcome::Done)
            }
            Operation::Touch {
                space,
                scope,
                ids,
                life,
            } => {
                let touched = self.space(*space).touch(scope, ids, expiry(*life)).await;
                touched.map(Outcome::Missing)
            }
            Operation::Remove { space, scope, ids } => self.space(*space).delete(scope, ids).await.map(Outcome::Count),
            Operation::RemoveMatching {
                space,
                scope,
                tag: number,
            } => {
                let filter = Filter::eq("tag", tag(*number));
                let removed = self.space(*space).delete_matching(scope, &filter).await;
                removed.map(Outcome::Count)
            }
            Operation::Quota { scope, vectors } => self.set_quota(scope, *vectors).await.map(|()| Outcome::Done),
            Operation::DropScope { space, scope } => self.space(*space).delete_scope(scope).await.map(Outcome::Count),
            Operation::DropScopes { space, scopes } => {
                self.space(*space).delete_scopes(scopes).await.map(Outcome::Count)
            }
            Operation::DropSpace { space } => self.drop_space(*space).await,
        };
        match result {
            Ok(outcome) => outcome,
            Err(StorageError::IdExists { .. }) => Outcome::Exists,
            Err(StorageError::NotFound { .. }) => Outcome::NotFound,
            Err(StorageError::QuotaExceeded { .. }) => Outcome::Exceeded,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// Components of a vector that is made from a number.
    pub(super) fn dim(&self, space: usize, seed: u32) -> usize {
        match &self.router {
            Some(_) => router::dim(seed),
            None => SPACES[space].1,
        }
    }

    /// Writes entries, each with the number that its vector is made from.
    pub(super) async fn write_entries(
        &self,
        space: usize,
        entries: Vec<(u32, VectorEntry)>,
        on_existing: OnExisting,
    ) -> llmspell_storage::Result<Vec<String>> {
        match &self.router {
            Some(router) => router::write(router, entries, on_existing).await,
            None => {
                let entries = entries.into_iter().map(|(_, entry)| entry).collect();
                self.space(space).write(entries, on_existing).await
            }
        }
    }

    async fn set_quota(&self, scope: &StateScope, vectors: Option<u64>) -> llmspell_storage::Result<()> {
        let Engine::Database(database) = &self.engine else {
            unreachable!("sled has no scopes")
        };
        match vectors {
            Some(count) => database.set_quota(scope, Quota::new().with_vectors(count)).await,
            None => database.remove_quota(scope).await.map(drop),
        }
    }

    /// Queries by a filter in the scope that an operation wrote to, so that a metadata index exists and is maintained.
    pub(super) async fn ask_by_filter(&self, operation: &Operation) -> llmspell_storage::Result<()> {
        if let Operation::Metadata { space, scope, .. } | Operation::Remove { space, scope, .. } = operation {
            let filter = Filter::eq("tag", tag(0));
            self.space(*space).count_matching(scope, &filter).await?;
        }
        Ok(())
    }

    async fn write(&self, changes: &[KeyChange]) -> llmspell_storage::Result<Outcome> {
        let deleted = match changes {
            [KeyChange::Set(key, value)] => {
                self.keys.set(key, value.bytes()).await?;
                0
            }
            [KeyChange::SetMortal(key, value, Life::Forever)] => {
                self.keys.set(key, value.bytes()).await?;
                0
            }
            [KeyChange::SetMortal(key, value, Life::For(millis))] => {
                let ttl = Duration::from_millis((*millis).into());
                self.keys.set_with_ttl(key, value.bytes(), ttl).await?;
                0
            }
            [KeyChange::Delete(key)] => u64::from(self.keys.delete(key).await?),
            changes => {
                let batch = changes.iter().map(|change| match change {
                    KeyChange::Set(key, value) => KeyValueWrite::Set {
                        key: key.clone(),
                        value: value.bytes(),
                    },
                    KeyChange::SetMortal(key, value, life) => {
                        KeyValueWrite::set_expiring(key, value.bytes(), expiry(*life))
                    }
                    KeyChange::Delete(key) => KeyValueWrite::Delete { key: key.clone() },
                    KeyChange::DeletePrefix(prefix) => KeyValueWrite::DeletePrefix { prefix: prefix.clone() },
                });
                self.keys.write(batch.collect()).await?.deleted
            }
        };
        Ok(Outcome::Count(deleted))
    }
}

/// Opens a space by its number, or creates it.
async fn open_space(database: &Database, number: usize) -> llmspell_storage::Result<Arc<dyn VectorStorage>> {
    let (name, dim) = SPACES[number];
    let metric = [DistanceMetric::Euclidean, DistanceMetric::Cosine][number];
    let config = HNSWConfig::fast().with_metric(metric);
    Ok(Arc::new(database.vectors(name, dim, config).await?))
}

fn expiry(life: Life) -> Expiry {
    match life {
        Life::Forever => Expiry::Never,
        Life::For(millis) => Expiry::After(Duration::from_millis(millis.into())),
        Life::Until(moment) => Expiry::At(Timestamp::from_millis(moment)),
    }
}

/// Thresholds so low that kills interrupt graphs being built, extended and written.
fn options() -> DatabaseOptions {
    // Batches of any size are killed half-way, because some of them are written in steps.
    DatabaseOptions::new()
        .graph_points_min(8)
        .metadata_points_min(8)
        .large_batch_entries(4)
}

fn made(entry: &NewEntry, dim: usize) -> VectorEntry {
    let mut made = VectorEntry::new(entry.id.as_str(), vector(entry.vector, dim))
        .with_scope(entry.scope.clone())
        .with_metadata(metadata(entry.metadata));
    made.event_time = entry.event_time.map(Timestamp::from_millis);
    match entry.life {
        Life::Forever => {}
        Life::For(millis) => made.ttl = Some(Duration::from_millis(millis.into())),
        Life::Until(moment) => made.expires_at = Some(Timestamp::from_millis(moment)),
    }
    made
}
