//! The trait [`StorageBackend`]: what a key-value backend promises.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use super::write::{KeyValueEntry, KeyValueWrite, WriteSummary};
use crate::error::Result;
use crate::expiry::Expiry;
use crate::limits::PAGE_MAX;
use crate::timestamp::Timestamp;

/// Key-value state: strings to bytes, in byte order of the keys.
///
/// # Promises
///
/// * When a write returns `Ok`, it has the [durability](BackendCharacteristics::durability) that the backend states.
/// * A batch is atomic; no reader and no crash ever shows part of one.
/// * A read that starts after a write returned sees it. Each key is linearizable.
/// * A call that returns an [`Invalid`](crate::ErrorKind::Invalid) error changed nothing.
/// * An expired key is absent for any call that begins after its expiry, and does not return when the clock is set
///   back. A call that is under way at that moment may still find it.
/// * If a future is dropped, its write happens completely or not at all.
///
/// Each write of a key decides when the key expires. [`set`](Self::set) and
/// [`compare_and_swap`](Self::compare_and_swap) clear its expiry; [`set_with_ttl`](Self::set_with_ttl) and
/// [`swap`](Self::swap) set a new one.
///
/// Keys are 1 to [`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX) bytes, values up to
/// [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX).
///
/// # For implementers
///
/// Eight methods are required; the others have default implementations, which may be overridden by faster ones. Check
/// input with [`validate_key_value`](crate::validate_key_value) first, and run `llmspell_conformance::key_value` on the
/// result.
#[async_trait]
pub trait StorageBackend: fmt::Debug + Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad key; `Data` or `Io` if the value cannot be read.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// The values of the keys that exist, all as of one moment.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); one bad key fails the call.
    async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>>;

    /// Applies all changes, in order and atomically. An empty batch does nothing.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad key, value or batch size; `Io` or `Closed` if it cannot be made durable.
    async fn write(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary>;

    /// At most `limit` keys that start with `prefix` and are greater than `after`, in byte order, with their values and
    /// expiry times.
    ///
    /// Page through a range with the last key of each page as the next `after`. `limit` is 1 to
    /// [`PAGE_MAX`]; fewer keys than that mean the end. Each page is as of one moment.
    ///
    /// # Errors
    ///
    /// `Invalid` for a limit out of range; `Data` or `Io` if a value cannot be read.
    async fn scan_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<KeyValueEntry>>;

    /// When a key expires; none if it does not, or does not exist.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    async fn expires_at(&self, key: &str) -> Result<Option<Timestamp>>;

    /// Stores `new` (`None` deletes the key) if the current value is `expected` (`None`: if the key does not exist),
    /// and returns whether it did. The new value expires as `expiry` says, whatever the old one's expiry; a lifetime
    /// begins with the call. An expired key does not exist.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>, expiry: Expiry) -> Result<bool>;

    /// The engine of this backend.
    fn backend_type(&self) -> BackendType;

    /// The properties of this engine.
    fn characteristics(&self) -> BackendCharacteristics;

    /// [`swap`](Self::swap) to a value that does not expire, even if the old one did.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn compare_and_swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>) -> Result<bool> {
        self.swap(key, expected, new, Expiry::Never).await
    }

    /// The keys and values of [`scan_entries`](Self::scan_entries).
    ///
    /// # Errors
    ///
    /// As [`scan_entries`](Self::scan_entries).
    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        let page = self.scan_entries(prefix, after, limit).await?;
        Ok(page.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }

    /// Stores a value that expires after `ttl`, counted from the call: at least a millisecond. Replaces any old value.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write); `Invalid` for a lifetime out of range.
    async fn set_with_ttl(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<()> {
        self.write(vec![KeyValueWrite::set_expiring(key, value, ttl)])
            .await
            .map(drop)
    }

    /// Stores a value that does not expire. Replaces any old value and its expiry.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        self.write(vec![KeyValueWrite::Set {
            key: key.to_string(),
            value,
        }])
        .await
        .map(drop)
    }

    /// Removes a key. Returns whether it existed and had not expired.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn delete(&self, key: &str) -> Result<bool> {
        let summary = self.write(vec![KeyValueWrite::Delete { key: key.to_string() }]).await?;
        Ok(summary.deleted > 0)
    }

    /// Whether a key exists.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.get(key).await?.is_some())
    }

    /// Stores all pairs atomically.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn set_batch(&self, items: HashMap<String, Vec<u8>>) -> Result<()> {
        let writes = items
            .into_iter()
            .map(|(key, value)| KeyValueWrite::Set { key, value })
            .collect();
        self.write(writes).await.map(drop)
    }

    /// Removes all keys atomically. Returns how many existed.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn delete_batch(&self, keys: &[String]) -> Result<u64> {
        let writes = keys
            .iter()
            .map(|key| KeyValueWrite::Delete { key: key.clone() })
            .collect();
        Ok(self.write(writes).await?.deleted)
    }

    /// Removes every key. Returns how many existed.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    async fn clear(&self) -> Result<u64> {
        Ok(self
            .write(vec![KeyValueWrite::DeletePrefix { prefix: String::new() }])
            .await?
            .deleted)
    }

    /// Every key with the prefix, in byte order. Each thousand of them is as of one moment; for large ranges prefer
    /// [`scan`](Self::scan).
    ///
    /// # Errors
    ///
    /// As [`scan`](Self::scan).
    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>> {
        let mut keys: Vec<String> = Vec::new();
        loop {
            let page = self.scan(prefix, keys.last().map(String::as_str), PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX;
            keys.extend(page.into_iter().map(|(key, _)| key));
            if is_last {
                return Ok(keys);
            }
        }
    }

    /// Number of keys with the prefix. Reads all of them.
    ///
    /// # Errors
    ///
    /// As [`scan`](Self::scan).
    async fn count(&self, prefix: &str) -> Result<u64> {
        Ok(self.list_keys(prefix).await?.len() as u64)
    }
}

/// The engine of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BackendType {
    /// In RAM; lost when the process ends.
    Memory,
    /// On sled 0.34.
    Sled,
    /// On redb: recommended for durable data.
    Redb,
    /// Another engine, by its name.
    Other(&'static str),
}

/// Which failures a write survives once it has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Durability {
    /// Writes do not survive the process.
    Volatile,
    /// Writes survive a crash of the process; loss of power may lose them.
    Process,
    /// Writes survive loss of power, on a disk that keeps synced bytes.
    Power,
}

/// The properties of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackendCharacteristics {
    /// Which failures a write survives once it has returned.
    pub durability: Durability,
    /// Whether concurrent writers share a sync.
    pub group_commit: bool,
    /// Whether each stored value has a checksum that is verified when it is read.
    pub checksums: bool,
}

impl BackendCharacteristics {
    /// For implementers.
    #[must_use]
    pub fn new(durability: Durability, group_commit: bool, checksums: bool) -> Self {
        Self {
            durability,
            group_commit,
            checksums,
        }
    }
}
