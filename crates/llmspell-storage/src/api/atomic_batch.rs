//! [`AtomicBatch`]: entries and keys of one database that are written atomically.

use std::sync::Arc;

use llmspell_core::{
    Expiry, KeyValueWrite, OnExisting, Result, ScopedBackend, StateScope, StorageError, Timestamp, VectorEntry,
    validate_key_value, validate_vectors as validate,
};

use super::vectors::{HNSWVectorStorage, Shape, by_size, prepare};
use crate::engine::calls::{DeleteEntries, PutEntries, TogetherWrite, WriteTogether, WriteValues};
use crate::engine::{Database, Part, Spaces, WriteCall};
use crate::spaces::registry::Space;

/// Most writes of one [`AtomicBatch`]: entries, ids and changes of keys together.
pub const ATOMIC_BATCH_ITEMS_MAX: usize = 1_024;

/// Largest [`AtomicBatch`], in bytes: vectors as `f32`, metadata as compact JSON, and ids of entries, keys and values together.
pub const ATOMIC_BATCH_BYTES_MAX: usize = 16 << 20;

/// Writes of entries and keys, in any spaces and scopes of one [`Database`], that are done atomically: all of them are durable
/// and visible when [`commit`](Self::commit) returns `Ok`, otherwise none, also after a loss of power. See
/// [`Database::batch`].
///
/// A memory and the keys that point to it never disagree:
///
/// ```
/// # async fn example() -> llmspell_storage::Result<()> {
/// use llmspell_storage::{Database, HNSWConfig, StateScope, VectorEntry};
///
/// let database = Database::in_memory();
/// let memories = database.vectors("memories", 3, HNSWConfig::balanced()).await?;
/// let ada = StateScope::user("ada");
/// let message = VectorEntry::new("message-7", [0.1, 0.2, 0.3]).with_scope(ada.clone());
///
/// let done = database
///     .batch()
///     .insert(&memories, [message])
///     .delete(&memories, &ada, ["draft-7"])
///     .set(&ada, "last-message", "message-7")
///     .delete_key(&ada, "draft")
///     .commit()
///     .await?;
/// assert_eq!(done.ids, ["message-7"]);
/// assert_eq!((done.entries_deleted, done.keys_deleted), (0, 0));
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
///
/// # Order
///
/// The writes are done in the order of the calls, and each sees what those before it have done: a batch may delete an entry
/// and insert another one with its id. A quota holds after each write, so deletions should come first.
///
/// # Limits
///
/// A batch is one transaction, and other writers wait for it, so it may have at most [`ATOMIC_BATCH_ITEMS_MAX`] writes and
/// [`ATOMIC_BATCH_BYTES_MAX`] bytes. A larger batch is refused; it is not written in steps, as large batches of entries alone
/// are. A commit costs one sync of the disk, as a single write does, and shares it with other writers.
#[derive(Debug, Clone)]
#[must_use = "nothing is written before `commit`"]
pub struct AtomicBatch {
    database: Database,
    writes: Vec<Write>,
}

/// What an [`AtomicBatch`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AtomicBatchSummary {
    /// Ids of all inserted and upserted entries, in the order of the batch. Entries without an id got one.
    pub ids: Vec<String>,
    /// Entries that [`delete`](AtomicBatch::delete) found and removed.
    pub entries_deleted: u64,
    /// Keys that existed and were removed.
    pub keys_deleted: u64,
}

/// A vector space that an [`AtomicBatch`] writes to: a handle to it, or its name.
///
/// ```
/// # use llmspell_storage::{BatchSpace, Database, HNSWVectorStorage, HNSWConfig};
/// # let memories = HNSWVectorStorage::new(3, HNSWConfig::balanced());
/// let by_handle: BatchSpace = (&memories).into();
/// let by_name: BatchSpace = "memories".into();
/// ```
#[derive(Debug, Clone)]
pub struct BatchSpace(Target);

#[derive(Debug, Clone)]
enum Target {
    Handle(HNSWVectorStorage),
    Name(String),
}

impl From<&HNSWVectorStorage> for BatchSpace {
    fn from(storage: &HNSWVectorStorage) -> Self {
        Self(Target::Handle(storage.clone()))
    }
}

impl From<&str> for BatchSpace {
    fn from(name: &str) -> Self {
        Self(Target::Name(name.to_string()))
    }
}

impl From<&String> for BatchSpace {
    fn from(name: &String) -> Self {
        Self(Target::Name(name.clone()))
    }
}

#[derive(Debug, Clone)]
enum Write {
    Put {
        space: BatchSpace,
        entries: Vec<VectorEntry>,
        on_existing: OnExisting,
    },
    Delete {
        space: BatchSpace,
        scope: StateScope,
        ids: Vec<String>,
    },
    Values(Vec<ValueWrite>),
}

/// A change of a key; of a scope, or of the database itself.
#[derive(Debug, Clone)]
struct ValueWrite {
    scope: Option<StateScope>,
    write: KeyValueWrite,
}

impl Database {
    /// A batch of entries and keys that are written together, or not at all.
    pub fn batch(&self) -> AtomicBatch {
        AtomicBatch {
            database: self.clone(),
            writes: Vec::new(),
        }
    }

    /// [`batch`](Self::batch) that can only touch entries and keys of one scope, for code that must not reach others.
    ///
    /// # Errors
    ///
    /// [`Scope`](StorageError::Scope) if the scope is not valid.
    pub fn batch_in(&self, scope: StateScope) -> Result<ScopedBatch> {
        scope.validate()?;
        let batch = self.batch();
        Ok(ScopedBatch { batch, scope })
    }
}

impl AtomicBatch {
    /// Adds entries that must not be there yet, as [`VectorStorage::insert`](crate::VectorStorage::insert) does.
    pub fn insert(self, space: impl Into<BatchSpace>, entries: impl IntoIterator<Item = VectorEntry>) -> Self {
        self.put(space.into(), entries, OnExisting::Refuse)
    }

    /// Adds entries, and replaces those with the same ids, as [`VectorStorage::upsert`](crate::VectorStorage::upsert) does.
    pub fn upsert(self, space: impl Into<BatchSpace>, entries: impl IntoIterator<Item = VectorEntry>) -> Self {
        self.put(space.into(), entries, OnExisting::Replace)
    }

    fn put(
        mut self,
        space: BatchSpace,
        entries: impl IntoIterator<Item = VectorEntry>,
        on_existing: OnExisting,
    ) -> Self {
        self.writes.push(Write::Put {
            space,
            entries: entries.into_iter().collect(),
            on_existing,
        });
        self
    }

    /// Removes entries of a scope. Missing ids are ignored.
    pub fn delete<I>(mut self, space: impl Into<BatchSpace>, scope: &StateScope, ids: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.writes.push(Write::Delete {
            space: space.into(),
            scope: scope.clone(),
            ids: ids.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// Sets a key of a scope, as a [`ScopedBackend`] of [`Database::kv`] does.
    pub fn set(self, scope: &StateScope, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.value(Some(scope), KeyValueWrite::Set { key, value })
    }

    /// Sets a key of a scope to a value that expires at a moment, or after some time from the commit on.
    pub fn set_expiring(
        self,
        scope: &StateScope,
        key: impl Into<String>,
        value: impl Into<Vec<u8>>,
        expiry: impl Into<Expiry>,
    ) -> Self {
        self.value(Some(scope), KeyValueWrite::set_expiring(key, value.into(), expiry))
    }

    /// Removes a key of a scope. A missing key is ignored.
    pub fn delete_key(self, scope: &StateScope, key: impl Into<String>) -> Self {
        self.value(Some(scope), KeyValueWrite::Delete { key: key.into() })
    }

    /// Changes keys of no scope, as [`Database::kv`] does.
    pub fn write_keys(self, writes: impl IntoIterator<Item = KeyValueWrite>) -> Self {
        writes.into_iter().fold(self, |batch, write| batch.value(None, write))
    }

    fn value(mut self, scope: Option<&StateScope>, write: KeyValueWrite) -> Self {
        let write = ValueWrite {
            scope: scope.cloned(),
            write,
        };
        match self.writes.last_mut() {
            Some(Write::Values(writes)) => writes.push(write),
            _ => self.writes.push(Write::Values(vec![write])),
        }
        self
    }

    /// Does all writes. A batch without writes does nothing.
    ///
    /// Everything is checked before the first write, except conditions that depend on stored data (ids that exist, quotas).
    /// If one of these fails, all writes are undone.
    ///
    /// # Errors
    ///
    /// After an error nothing of the batch is stored:
    /// [`LimitExceeded`](StorageError::LimitExceeded) for a batch that is too large;
    /// [`UnknownSpace`](StorageError::UnknownSpace) for a space that does not exist, or is of another database;
    /// the errors of [`VectorStorage::write`](crate::VectorStorage::write) and
    /// [`StorageBackend::write`](crate::StorageBackend::write), for example [`IdExists`](StorageError::IdExists),
    /// [`Dimension`](StorageError::Dimension) and [`QuotaExceeded`](StorageError::QuotaExceeded); `Io`, `Data` or `Closed`
    /// when the batch cannot be made durable.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "database.batch", level = "debug", skip_all, fields(writes = self.items())))]
    pub async fn commit(self) -> Result<AtomicBatchSummary> {
        let inner = Arc::clone(&self.database.inner);
        inner.check_open()?;
        check_limit(self.items(), ATOMIC_BATCH_ITEMS_MAX, "items")?;
        let components = self.components();
        let mut writes = Vec::with_capacity(self.writes.len());
        for write in self.writes {
            writes.push(match write {
                Write::Put {
                    space,
                    entries,
                    on_existing,
                } => Resolved::Put {
                    space: self.database.space_of(space).await?,
                    entries,
                    on_existing,
                },
                Write::Delete { space, scope, ids } => Resolved::Delete {
                    space: self.database.space_of(space).await?,
                    scope,
                    ids,
                },
                Write::Values(writes) => Resolved::Values(writes),
            });
        }
        let spaces: Vec<Arc<Space>> = writes.iter().filter_map(Resolved::space).cloned().collect();
        let now = inner.shared.clock.now();
        let prepare = move || {
            let mut ids = Vec::new();
            let writes = writes.into_iter().filter(|write| !write.is_empty());
            let prepared = writes.map(|write| write.prepare(now, &mut ids));
            prepared
                .collect::<Result<Vec<TogetherWrite>>>()
                .map(|writes| (writes, ids))
        };
        let (writes, ids) = by_size(&inner, components, prepare).await?;
        if writes.is_empty() {
            return Ok(AtomicBatchSummary::default());
        }
        let call = WriteTogether { writes };
        check_limit(call.bytes(), ATOMIC_BATCH_BYTES_MAX, "bytes")?;
        let removed = inner.write(&spaces, call).await?;
        Ok(AtomicBatchSummary {
            ids,
            entries_deleted: removed.entries,
            keys_deleted: removed.keys,
        })
    }

    fn items(&self) -> usize {
        let items = |write: &Write| match write {
            Write::Put { entries, .. } => entries.len(),
            Write::Delete { ids, .. } => ids.len(),
            Write::Values(writes) => writes.len(),
        };
        self.writes.iter().map(items).sum()
    }

    /// Components of all vectors.
    fn components(&self) -> usize {
        let components = |write: &Write| match write {
            Write::Put { entries, .. } => entries.iter().map(|entry| entry.embedding.len()).sum(),
            Write::Delete { .. } | Write::Values(_) => 0,
        };
        self.writes.iter().map(components).sum()
    }
}

impl Database {
    async fn space_of(&self, space: BatchSpace) -> Result<Arc<Space>> {
        match space.0 {
            Target::Handle(storage) => {
                let handle = storage.handle()?;
                if !Arc::ptr_eq(&handle.database.inner, &self.inner) {
                    return Err(self.inner.shared.unknown_space(&handle.space.name));
                }
                Ok(Arc::clone(&handle.space))
            }
            Target::Name(name) => match self.inner.shared.space_record(&name) {
                Some((id, record)) if record.role.counts() => Ok(self.open_space(id).await?.into_handle().space),
                _ => Err(self.inner.shared.unknown_space(&name)),
            },
        }
    }
}

fn check_limit(got: usize, limit: usize, unit: &'static str) -> Result<()> {
    if got <= limit {
        return Ok(());
    }
    Err(StorageError::LimitExceeded {
        what: "batch",
        name: "commit".to_string(),
        got: got as u64,
        limit: limit as u64,
        unit,
    })
}

/// A write whose space is open.
enum Resolved {
    Put {
        space: Arc<Space>,
        entries: Vec<VectorEntry>,
        on_existing: OnExisting,
    },
    Delete {
        space: Arc<Space>,
        scope: StateScope,
        ids: Vec<String>,
    },
    Values(Vec<ValueWrite>),
}

impl Resolved {
    fn space(&self) -> Option<&Arc<Space>> {
        match self {
            Self::Put { space, .. } | Self::Delete { space, .. } => Some(space),
            Self::Values(_) => None,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Put { entries, .. } => entries.is_empty(),
            Self::Delete { ids, .. } => ids.is_empty(),
            Self::Values(writes) => writes.is_empty(),
        }
    }

    /// Checks it, and makes of it what will be stored. Adds the ids of its entries.
    fn prepare(self, now: i64, ids: &mut Vec<String>) -> Result<TogetherWrite> {
        Ok(match self {
            Self::Put {
                space,
                entries,
                on_existing,
            } => {
                let entries = prepare(entries, &Shape::of(&space), now)?;
                ids.extend(entries.iter().map(|entry| entry.id.clone()));
                TogetherWrite::Put(PutEntries {
                    parts: vec![Part { space, entries }],
                    on_existing,
                    now,
                })
            }
            Self::Delete { space, scope, ids } => {
                scope.validate()?;
                validate::ids(&ids)?;
                TogetherWrite::Delete(DeleteEntries {
                    spaces: Spaces::One(space),
                    scope,
                    ids,
                    only: None,
                    now,
                })
            }
            Self::Values(writes) => {
                let now = Timestamp::from_millis(now);
                let writes = writes.into_iter().map(ValueWrite::in_backend);
                let writes = writes.collect::<Result<Vec<_>>>()?;
                validate_key_value::batch(&writes)?;
                let writes = writes.into_iter().map(|write| write.at(now));
                TogetherWrite::Values(WriteValues {
                    writes: writes.collect::<Result<_>>()?,
                })
            }
        })
    }
}

impl ValueWrite {
    /// The change of the key as it stands in the database.
    fn in_backend(self) -> Result<KeyValueWrite> {
        let Self { scope, mut write } = self;
        let Some(scope) = scope else { return Ok(write) };
        scope.validate()?;
        let prefix = ScopedBackend::prefix(&scope);
        match &mut write {
            KeyValueWrite::Set { key, .. } | KeyValueWrite::SetExpiring { key, .. } | KeyValueWrite::Delete { key } => {
                // Before the prefix is added: an empty key must not become a valid one.
                validate_key_value::key(key)?;
                key.insert_str(0, &prefix);
            }
            KeyValueWrite::DeletePrefix { prefix: beginning } => beginning.insert_str(0, &prefix),
        }
        Ok(write)
    }
}

/// An [`AtomicBatch`] of one scope: see [`Database::batch_in`]. Its calls name no scope, and cannot reach another one.
///
/// ```
/// # async fn example() -> llmspell_storage::Result<()> {
/// use llmspell_storage::{Database, HNSWConfig, Result, ScopedBatch, StateScope, VectorEntry};
///
/// async fn plugin(batch: ScopedBatch) -> Result<()> {
///     let note = VectorEntry::new("note-1", [0.1, 0.2, 0.3]);
///     batch.insert("memories", [note]).set("notes", "1").commit().await?;
///     Ok(())
/// }
///
/// let database = Database::in_memory();
/// database.vectors("memories", 3, HNSWConfig::balanced()).await?;
/// plugin(database.batch_in(StateScope::user("ada"))?).await?;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone)]
#[must_use = "nothing is written before `commit`"]
pub struct ScopedBatch {
    batch: AtomicBatch,
    scope: StateScope,
}

/// Says nothing of the database: that would name other scopes.
impl std::fmt::Debug for ScopedBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScopedBatch")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl ScopedBatch {
    /// The scope of all its writes.
    #[must_use]
    pub fn scope(&self) -> &StateScope {
        &self.scope
    }

    /// See [`AtomicBatch::insert`]. An entry that names no scope ([`StateScope::Global`], the default) is of this one; one
    /// that names another makes [`commit`](Self::commit) refuse the batch.
    pub fn insert(mut self, space: impl Into<BatchSpace>, entries: impl IntoIterator<Item = VectorEntry>) -> Self {
        self.batch = self.batch.insert(space, entries);
        self
    }

    /// See [`AtomicBatch::upsert`], and [`insert`](Self::insert) about scopes.
    pub fn upsert(mut self, space: impl Into<BatchSpace>, entries: impl IntoIterator<Item = VectorEntry>) -> Self {
        self.batch = self.batch.upsert(space, entries);
        self
    }

    /// See [`AtomicBatch::delete`].
    pub fn delete<I>(mut self, space: impl Into<BatchSpace>, ids: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.batch = self.batch.delete(space, &self.scope, ids);
        self
    }

    /// See [`AtomicBatch::set`].
    pub fn set(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.batch = self.batch.set(&self.scope, key, value);
        self
    }

    /// See [`AtomicBatch::set_expiring`].
    pub fn set_expiring(
        mut self,
        key: impl Into<String>,
        value: impl Into<Vec<u8>>,
        expiry: impl Into<Expiry>,
    ) -> Self {
        self.batch = self.batch.set_expiring(&self.scope, key, value, expiry);
        self
    }

    /// See [`AtomicBatch::delete_key`].
    pub fn delete_key(mut self, key: impl Into<String>) -> Self {
        self.batch = self.batch.delete_key(&self.scope, key);
        self
    }

    /// Does all writes.
    ///
    /// # Errors
    ///
    /// [`OutsideScope`](StorageError::OutsideScope) if an entry names another scope, before any other check; else as
    /// [`AtomicBatch::commit`]. Errors list no spaces.
    pub async fn commit(mut self) -> Result<AtomicBatchSummary> {
        for write in &mut self.batch.writes {
            let Write::Put { entries, .. } = write else { continue };
            for entry in entries {
                if entry.scope != StateScope::Global && entry.scope != self.scope {
                    return Err(StorageError::OutsideScope {
                        scope: self.scope,
                        named: entry.scope.clone(),
                    });
                }
                entry.scope = self.scope.clone();
            }
        }
        self.batch.commit().await.map_err(StorageError::without_names)
    }
}
