//! How is key-value data kept on redb? The recommended durable backend: the key-value half of a [`Database`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use llmspell_core::{
    BackendCharacteristics, BackendType, Durability, KeyValueWrite, Result, StorageBackend, WriteSummary,
    validate_key_value as validate,
};

use crate::codec::try_copy;
use crate::database::{Database, KV_SCOPE, Request, Shared};
use crate::error::out_of_memory;

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
/// use llmspell_storage::{RedbBackend, StorageBackend};
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
    /// Opens the [`Database`] in `dir`, creating it if it is not there.
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
}

impl Database {
    /// The key-value half.
    #[must_use]
    pub fn kv(&self) -> RedbBackend {
        RedbBackend { database: self.clone() }
    }
}

/// A value of the cache, for the caller to keep.
fn copied(shared: &Shared, value: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
    let copy = value.map(try_copy).transpose();
    copy.map_err(|source| out_of_memory(shared.truth.path(), source))
}

/// Reads a value from the disk and leaves it in the cache.
fn read_through(shared: &Shared, key: &[u8]) -> Result<Option<Vec<u8>>> {
    match shared.values.get(key) {
        Ok(cached) => copied(shared, cached.as_deref()),
        Err(ticket) => {
            let value = shared.truth.read()?.value(KV_SCOPE, key)?;
            shared.values.fill(key, value.as_deref().map(Into::into), ticket);
            Ok(value)
        }
    }
}

#[async_trait]
impl StorageBackend for RedbBackend {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        validate::key(key)?;
        self.database.inner.check_open()?;
        if let Ok(cached) = self.database.inner.shared.values.get(key.as_bytes()) {
            return copied(&self.database.inner.shared, cached.as_deref());
        }
        let (shared, key) = (self.shared(), key.as_bytes().to_vec());
        self.database.inner.run(move || read_through(&shared, &key)).await
    }

    async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>> {
        keys.iter().try_for_each(|key| validate::key(key))?;
        let (shared, keys) = (self.shared(), keys.to_vec());
        self.database
            .inner
            .run(move || {
                // From one snapshot, so not from the cache: it may be ahead of the snapshot.
                let read = shared.truth.read()?;
                let mut values = HashMap::with_capacity(keys.len());
                for key in keys {
                    if let Some(value) = read.value(KV_SCOPE, key.as_bytes())? {
                        values.insert(key, value);
                    }
                }
                Ok(values)
            })
            .await
    }

    async fn write(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        validate::batch(&batch)?;
        if batch.is_empty() {
            self.database.inner.check_open()?;
            return Ok(WriteSummary::default());
        }
        self.database
            .inner
            .request(|reply| Request::Values { writes: batch, reply })
            .await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        validate::page(limit)?;
        let (shared, prefix, after) = (self.shared(), prefix.to_string(), after.map(str::to_string));
        self.database
            .inner
            .run(move || {
                let mut page = Vec::new();
                let after = after.as_deref().map(str::as_bytes);
                shared
                    .truth
                    .read()?
                    .visit_values(KV_SCOPE, prefix.as_bytes(), after, |key, value| {
                        page.push((utf8(&shared, key)?, value()?));
                        Ok(page.len() < limit)
                    })?;
                Ok(page)
            })
            .await
    }

    async fn compare_and_swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>) -> Result<bool> {
        validate::key(key)?;
        if let Some(value) = &new {
            validate::value(key, value)?;
        }
        let (key, expected) = (key.to_string(), expected.map(<[u8]>::to_vec));
        self.database
            .inner
            .request(|reply| Request::Swap {
                key,
                expected,
                new,
                reply,
            })
            .await
    }

    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>> {
        let (shared, prefix) = (self.shared(), prefix.to_string());
        self.database
            .inner
            .run(move || {
                let mut keys = Vec::new();
                shared
                    .truth
                    .read()?
                    .visit_values(KV_SCOPE, prefix.as_bytes(), None, |key, _| {
                        keys.push(utf8(&shared, key)?);
                        Ok(true)
                    })?;
                Ok(keys)
            })
            .await
    }

    async fn count(&self, prefix: &str) -> Result<u64> {
        let (shared, prefix) = (self.shared(), prefix.to_string());
        self.database
            .inner
            .run(move || {
                let mut count = 0;
                shared
                    .truth
                    .read()?
                    .visit_values(KV_SCOPE, prefix.as_bytes(), None, |_, _| {
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
        .map_err(|_| crate::error::corrupted(shared.truth.path(), "a key of table `kv` is not UTF-8"))
}
