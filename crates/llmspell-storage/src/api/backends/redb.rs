//! Key-value data on redb: the recommended durable backend, the key-value half of a [`Database`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use llmspell_core::{
    BackendCharacteristics, BackendType, Durability, Expiry, KeyValueEntry, KeyValueWrite, Result, StorageBackend,
    Timestamp, WriteSummary, validate_key_value as validate,
};

use crate::base::error::out_of_memory;
use crate::base::stored_value::StoredValue;
use crate::engine::calls::{SwapValue, WriteValues};
use crate::engine::value_cache::Cached;
use crate::engine::{Database, KV_SCOPE, Shared};
use llmspell_codec::try_copy;

/// Key-value data in a [`Database`], durable when a call returns.
///
/// Concurrent writers share a sync (group commit). A value that is in RAM is returned at once; one that is not is read
/// on a thread of the database, so the caller's executor never waits for the disk.
///
/// | | |
/// |---|---|
/// | survives | the death of the process, and loss of power |
/// | a write takes | one sync of the disk, shared with the writers that wait at the same time |
/// | a read takes | a lookup in RAM, or `O(log n)` pages |
///
/// ```no_run
/// # async fn example() -> llmspell_storage::Result<()> {
/// use llmspell_storage::RedbBackend;
///
/// let backend = RedbBackend::open("agent.db").await?;
/// backend.set("user:123", b"Ada".to_vec()).await?;
/// assert_eq!(backend.get("user:123").await?, Some(b"Ada".to_vec()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RedbBackend {
    database: Database,
}

impl RedbBackend {
    /// Opens the [`Database`] in `dir`, creating it if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`Database::open`].
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Ok(Database::open(dir).await?.kv())
    }

    /// The database whose key-value data this is.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Closes the database; see [`Database::close`].
    ///
    /// # Errors
    ///
    /// As [`Database::close`].
    pub async fn close(self) -> Result<()> {
        self.database.close().await
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.database.inner.shared)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.database.inner.shared.clock.now())
    }

    /// The stored value of a key, in place if it is in the cache.
    async fn stored(&self, key: &str) -> Result<Cached> {
        let shared = &self.database.inner.shared;
        let found = match shared.values.get(key.as_bytes()) {
            Ok(cached) => cached,
            Err(_) => {
                let (shared, key) = (self.shared(), key.as_bytes().to_vec());
                self.database.inner.run(move || read_through(&shared, &key)).await?
            }
        };
        Ok(visible(shared, found))
    }
}

impl Database {
    /// The key-value half.
    #[must_use]
    pub fn kv(&self) -> RedbBackend {
        RedbBackend { database: self.clone() }
    }
}

/// Reads a value from the disk and leaves it in the cache. It may be over.
fn read_through(shared: &Shared, key: &[u8]) -> Result<Cached> {
    shared.values.get(key).or_else(|ticket| {
        let stored = shared.truth.read()?.value(KV_SCOPE, key)?;
        let cached = stored.map(|stored| stored.map(Arc::from));
        shared.values.fill(key, cached.clone(), ticket);
        Ok(cached)
    })
}

/// A value, if it is not over.
fn visible<V>(shared: &Shared, found: Option<StoredValue<V>>) -> Option<StoredValue<V>> {
    // Most values have no end, and need no clock.
    found.filter(|stored| stored.expires_at.is_none() || stored.is_there(shared.clock.now()))
}

/// Keys with a prefix that are not over, in order, until `visit` says to stop.
fn visit_keys(shared: &Shared, prefix: &str, mut visit: impl FnMut(&[u8]) -> Result<bool>) -> Result<()> {
    let read = shared.truth.read()?;
    let now = shared.clock.now();
    // Where none is over, values need not be looked at.
    let some_are_over = read.first_key_expiry()?.is_some_and(|moment| moment <= now);
    read.visit_values(KV_SCOPE, prefix.as_bytes(), None, |key, value| {
        if some_are_over && !value()?.is_there(now) {
            return Ok(true);
        }
        visit(key)
    })
}

llmspell_core::inherent_key_value!(RedbBackend);

#[async_trait]
impl StorageBackend for RedbBackend {
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.get", level = "debug", skip_all, fields(backend = "redb"))
    )]
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        validate::key(key)?;
        self.database.inner.check_open()?;
        let found = self.stored(key).await?;
        let copy = found.map(|stored| try_copy(&stored.value)).transpose();
        copy.map_err(|source| out_of_memory(self.database.inner.shared.truth.path(), source))
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.expires_at", level = "debug", skip_all, fields(backend = "redb"))
    )]
    async fn expires_at(&self, key: &str) -> Result<Option<Timestamp>> {
        validate::key(key)?;
        self.database.inner.check_open()?;
        let found = self.stored(key).await?;
        Ok(found.and_then(|stored| stored.expires_at))
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "kv.get_batch", level = "debug", skip_all, fields(backend = "redb", keys = keys.len())))]
    async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>> {
        keys.iter().try_for_each(|key| validate::key(key))?;
        let (shared, keys) = (self.shared(), keys.to_vec());
        self.database
            .inner
            .run(move || {
                // From one snapshot, so not from the cache: it may be ahead of the snapshot.
                let read = shared.truth.read()?;
                let now = shared.clock.now();
                let mut values = HashMap::with_capacity(keys.len());
                for key in keys {
                    let found = read.value(KV_SCOPE, key.as_bytes())?;
                    if let Some(stored) = found.filter(|stored| stored.is_there(now)) {
                        values.insert(key, stored.value);
                    }
                }
                Ok(values)
            })
            .await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "kv.write", level = "debug", skip_all, fields(backend = "redb", batch = batch.len())))]
    async fn write(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        validate::batch(&batch)?;
        if batch.is_empty() {
            self.database.inner.check_open()?;
            return Ok(WriteSummary::default());
        }
        let writes = batch
            .into_iter()
            .map(|write| write.at(self.now()))
            .collect::<Result<_>>()?;
        self.database.inner.request(WriteValues { writes }).await
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.scan_entries", level = "debug", skip_all, fields(backend = "redb", limit))
    )]
    async fn scan_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<KeyValueEntry>> {
        validate::page(limit)?;
        let (shared, prefix, after) = (self.shared(), prefix.to_string(), after.map(str::to_string));
        self.database
            .inner
            .run(move || {
                let mut page = Vec::new();
                let after = after.as_deref().map(str::as_bytes);
                let read = shared.truth.read()?;
                let now = shared.clock.now();
                read.visit_values(KV_SCOPE, prefix.as_bytes(), after, |key, value| {
                    let stored = value()?;
                    if stored.is_there(now) {
                        page.push(KeyValueEntry::new(utf8(&shared, key)?, stored.value, stored.expires_at));
                    }
                    Ok(page.len() < limit)
                })?;
                Ok(page)
            })
            .await
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.swap", level = "debug", skip_all, fields(backend = "redb"))
    )]
    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>, expiry: Expiry) -> Result<bool> {
        validate::swap(key, new.as_deref(), expiry)?;
        let expiry = expiry.moment(self.now())?.into();
        let (key, expected) = (key.to_string(), expected.map(<[u8]>::to_vec));
        let call = SwapValue {
            key,
            expected,
            new,
            expiry,
        };
        self.database.inner.request(call).await
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.list_keys", level = "debug", skip_all, fields(backend = "redb"))
    )]
    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>> {
        let (shared, prefix) = (self.shared(), prefix.to_string());
        self.database
            .inner
            .run(move || {
                let mut keys = Vec::new();
                visit_keys(&shared, &prefix, |key| {
                    keys.push(utf8(&shared, key)?);
                    Ok(true)
                })?;
                Ok(keys)
            })
            .await
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.count", level = "debug", skip_all, fields(backend = "redb"))
    )]
    async fn count(&self, prefix: &str) -> Result<u64> {
        let (shared, prefix) = (self.shared(), prefix.to_string());
        self.database
            .inner
            .run(move || {
                let mut count = 0;
                visit_keys(&shared, &prefix, |_| {
                    count += 1;
                    Ok(true)
                })?;
                Ok(count)
            })
            .await
    }

    fn backend_type(&self) -> BackendType {
        BackendType::Redb
    }

    fn characteristics(&self) -> BackendCharacteristics {
        BackendCharacteristics::new(Durability::Power, true, true)
    }
}

fn utf8(shared: &Shared, key: &[u8]) -> Result<String> {
    String::from_utf8(key.to_vec())
        .map_err(|_| crate::base::error::corrupted(shared.truth.path(), "a key of table `kv` is not UTF-8"))
}
