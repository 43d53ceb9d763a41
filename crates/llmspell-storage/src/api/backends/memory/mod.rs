//! [`MemoryBackend`]: key-value state in RAM, in hash tables with sorted keys beside them, behind a few locks.
//!
//! A key lives in a shard chosen by the hash of its bytes, so that writers of different keys seldom meet. A call that
//! needs several shards locks them in the order of their numbers and holds them all until the work is done: so batches
//! are atomic, pages and `get_batch` are as of one moment, and there is no deadlock.
//!
//! | file       | question                                                    |
//! |------------|-------------------------------------------------------------|
//! | `shard.rs` | what is in one shard?                                       |
//! | `key.rs`   | how is a key stored, so that comparing it needs no second memory access? |

mod key;
mod shard;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::fmt;

use async_trait::async_trait;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use llmspell_core::{
    BackendCharacteristics, BackendType, Durability, Expiry, KeyValueEntry, KeyValueWrite, Result, StorageBackend,
    Timestamp, WriteSummary, validate_key_value as validate,
};

use crate::base::options::TimeSource;
use crate::engine::{Boot, Clock};
use key::Key;
use shard::{Shard, Stored};

const SHARDS: usize = 32;

/// Key-value state in RAM: lost when the value is dropped.
///
/// Reading or overwriting a key takes `O(1)`, a new or deleted key `O(log n)`, all in place, without another thread.
/// Scans read every shard; deleting by prefix takes time in proportion to the deleted keys, while readers wait. A key
/// takes about 120 bytes beside its value, and 40 more if it expires. Expired keys are removed by later writes, some by
/// each.
///
/// ```
/// # use llmspell_storage::StorageBackend;
/// # use llmspell_storage::backends::MemoryBackend;
/// # async fn example() -> llmspell_storage::Result<()> {
/// let backend = MemoryBackend::new();
/// backend.set("theme", b"dark".to_vec()).await?;
/// assert_eq!(backend.get("theme").await?.as_deref(), Some(&b"dark"[..]));
/// # Ok(())
/// # }
/// ```
pub struct MemoryBackend {
    shards: [Locked; SHARDS],
    clock: Clock,
}

/// Alone on its cache lines: two neighbors would slow each other down.
#[derive(Default)]
#[repr(align(128))]
struct Locked(RwLock<Shard>);

impl MemoryBackend {
    /// An empty backend, by the clock of the system.
    #[must_use]
    pub fn new() -> Self {
        Self::on(Clock::new(None, Boot::beside(None), i64::MIN, None))
    }

    /// An empty backend that reads the time from `now` instead of the system clock: for tests of expiry. Time never
    /// goes back: while `now` returns an earlier time than before, time stands still.
    #[must_use]
    pub fn with_clock(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let time = TimeSource::new(now);
        let boot = Boot::beside(Some(&time));
        Self::on(Clock::new(Some(time), boot, i64::MIN, None))
    }

    fn on(clock: Clock) -> Self {
        Self {
            shards: std::array::from_fn(|_| Locked::default()),
            clock,
        }
    }

    /// Milliseconds since 1970.
    fn now(&self) -> i64 {
        self.clock.now()
    }

    /// The stored value, if it has not expired. Most values do not expire, and need no clock.
    fn visible<'s>(&self, found: Option<&'s Stored>) -> Option<&'s Stored> {
        found.filter(|stored| stored.expires_at.is_none() || stored.is_there(self.now()))
    }

    fn write_shard(&self, key: &str) -> RwLockWriteGuard<'_, Shard> {
        let mut shard = self.shard(key).write();
        self.purge(&mut shard);
        shard
    }

    fn purge(&self, shard: &mut Shard) {
        if shard.has_expiring() {
            // A clock that is ahead without being confirmed hides keys, but takes none.
            shard.purge(self.clock.confirmed());
        }
    }

    /// Stores a value unless it has expired already; then the key is removed. Returns the old value.
    fn put(&self, shard: &mut Shard, key: &str, value: Vec<u8>, expires_at: Option<Timestamp>) -> Option<Stored> {
        let new = Stored {
            value: value.into(),
            expires_at,
        };
        match self.visible(Some(&new)) {
            Some(_) => shard.set(key, new),
            None => shard.delete(key),
        }
    }

    fn shard(&self, key: &str) -> &RwLock<Shard> {
        &self.shards[shard_number(key)].0
    }

    fn read_all(&self) -> Vec<RwLockReadGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.0.read()).collect()
    }

    fn apply(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        let now = Timestamp::from_millis(self.now());
        let batch = batch
            .into_iter()
            .map(|write| write.at(now))
            .collect::<Result<Vec<_>>>()?;
        let mut shards = self.lock_for(&batch);
        // The clock may have gone on while we waited.
        let now = self.now();
        let mut deleted = 0;
        for write in batch {
            match write {
                KeyValueWrite::Set { key, value } => drop(self.put(shards.of(&key), &key, value, None)),
                KeyValueWrite::SetExpiring { key, value, expiry } => {
                    drop(self.put(
                        shards.of(&key),
                        &key,
                        value,
                        expiry.moment(Timestamp::from_millis(now))?,
                    ));
                }
                KeyValueWrite::Delete { key } => {
                    let removed = shards.of(&key).delete(&key);
                    deleted += u64::from(removed.is_some_and(|stored| stored.is_there(now)));
                }
                KeyValueWrite::DeletePrefix { prefix } => {
                    deleted += shards.all().map(|shard| shard.delete_prefix(&prefix, now)).sum::<u64>();
                }
            }
        }
        Ok(WriteSummary { deleted })
    }

    /// Locks the shards that a batch touches, lowest number first.
    fn lock_for<'s>(&'s self, batch: &[KeyValueWrite]) -> LockedShards<'s> {
        let mut is_touched = [false; SHARDS];
        for write in batch {
            match write {
                KeyValueWrite::Set { key, .. }
                | KeyValueWrite::SetExpiring { key, .. }
                | KeyValueWrite::Delete { key } => is_touched[shard_number(key)] = true,
                KeyValueWrite::DeletePrefix { .. } => is_touched = [true; SHARDS],
            }
        }
        let locks = self.shards.iter().zip(is_touched);
        let locked = |shard: &'s Locked| {
            let mut shard = shard.0.write();
            self.purge(&mut shard);
            shard
        };
        LockedShards(
            locks
                .map(|(shard, is_touched)| is_touched.then(|| locked(shard)))
                .collect(),
        )
    }
}

struct LockedShards<'a>(Vec<Option<RwLockWriteGuard<'a, Shard>>>);

impl LockedShards<'_> {
    fn of(&mut self, key: &str) -> &mut Shard {
        self.0[shard_number(key)]
            .as_mut()
            .expect("every shard of the batch is locked")
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Shard> {
        self.0
            .iter_mut()
            .map(|shard| &mut **shard.as_mut().expect("a prefix locks every shard"))
    }
}

/// By the last bytes, which differ most between keys. Keys that agree in them only share a lock.
fn shard_number(key: &str) -> usize {
    let mixed = key.bytes().rev().take(8).fold(key.len() as u64, |mixed, byte| {
        (mixed ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    (mixed >> 32) as usize % SHARDS
}

/// The pairs of all shards with the prefix and greater than `after`, in byte order, without those that are over at `now`.
fn merged<'a>(
    shards: &'a [RwLockReadGuard<'_, Shard>],
    prefix: &'a str,
    after: Option<&str>,
    now: i64,
) -> impl Iterator<Item = (&'a Key, &'a Stored)> {
    let mut ranges: Vec<_> = shards.iter().map(|shard| shard.keys_from(prefix, after)).collect();
    // No two shards hold one key, so keys alone decide the order.
    let mut heads: BinaryHeap<_> = ranges
        .iter_mut()
        .enumerate()
        .filter_map(|(number, range)| range.next().map(|key| Reverse((key, number))))
        .collect();
    let pairs = std::iter::from_fn(move || {
        let mut head = heads.peek_mut()?;
        let Reverse((key, number)) = *head;
        match ranges[number].next() {
            Some(next) => *head = Reverse((next, number)),
            None => drop(PeekMut::pop(head)),
        }
        Some((key, shards[number].stored(key)))
    });
    pairs.filter(move |(_, stored)| stored.is_there(now))
}

llmspell_core::inherent_key_value!(MemoryBackend);

#[async_trait]
impl StorageBackend for MemoryBackend {
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.get", level = "debug", skip_all, fields(backend = "memory"))
    )]
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        validate::key(key)?;
        let shard = self.shard(key).read();
        Ok(self.visible(shard.get(key)).map(|stored| stored.value.to_vec()))
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "kv.get_batch", level = "debug", skip_all, fields(backend = "memory", keys = keys.len())))]
    async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>> {
        keys.iter().try_for_each(|key| validate::key(key))?;
        let shards = self.read_all();
        let now = self.now();
        let found = keys
            .iter()
            .filter_map(|key| Some((key, shards[shard_number(key)].get(key)?)))
            .filter(|(_, stored)| stored.is_there(now));
        Ok(found
            .map(|(key, stored)| (key.clone(), stored.value.to_vec()))
            .collect())
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "kv.write", level = "debug", skip_all, fields(backend = "memory", batch = batch.len())))]
    async fn write(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        validate::batch(&batch)?;
        self.apply(batch)
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(
            name = "kv.scan_entries",
            level = "debug",
            skip_all,
            fields(backend = "memory", limit)
        )
    )]
    async fn scan_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<KeyValueEntry>> {
        validate::page(limit)?;
        let shards = self.read_all();
        let page = merged(&shards, prefix, after, self.now()).take(limit);
        Ok(page
            .map(|(key, stored)| KeyValueEntry::new(key.to_text(), stored.value.to_vec(), stored.expires_at))
            .collect())
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.expires_at", level = "debug", skip_all, fields(backend = "memory"))
    )]
    async fn expires_at(&self, key: &str) -> Result<Option<Timestamp>> {
        validate::key(key)?;
        let shard = self.shard(key).read();
        Ok(self.visible(shard.get(key)).and_then(|stored| stored.expires_at))
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.swap", level = "debug", skip_all, fields(backend = "memory"))
    )]
    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>, expiry: Expiry) -> Result<bool> {
        validate::swap(key, new.as_deref(), expiry)?;
        let expires_at = expiry.moment(Timestamp::from_millis(self.now()))?;
        let mut shard = self.write_shard(key);
        if self.visible(shard.get(key)).map(|stored| &*stored.value) != expected {
            return Ok(false);
        }
        match new {
            Some(new) => drop(self.put(&mut shard, key, new, expires_at)),
            None => drop(shard.delete(key)),
        }
        Ok(true)
    }

    fn backend_type(&self) -> BackendType {
        BackendType::Memory
    }

    fn characteristics(&self) -> BackendCharacteristics {
        BackendCharacteristics::new(Durability::Volatile, false, false)
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.set", level = "debug", skip_all, fields(backend = "memory"))
    )]
    async fn set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        validate::key(key)?;
        validate::value(key, &value)?;
        let new = Stored {
            value: value.into_boxed_slice(),
            expires_at: None,
        };
        // The lock is gone at the end of the line; then the old value is freed.
        let replaced = self.write_shard(key).set(key, new);
        drop(replaced);
        Ok(())
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.delete", level = "debug", skip_all, fields(backend = "memory"))
    )]
    async fn delete(&self, key: &str) -> Result<bool> {
        validate::key(key)?;
        let removed = self.write_shard(key).delete(key);
        Ok(self.visible(removed.as_ref()).is_some())
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.exists", level = "debug", skip_all, fields(backend = "memory"))
    )]
    async fn exists(&self, key: &str) -> Result<bool> {
        validate::key(key)?;
        Ok(self.visible(self.shard(key).read().get(key)).is_some())
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.list_keys", level = "debug", skip_all, fields(backend = "memory"))
    )]
    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>> {
        let shards = self.read_all();
        let keys = merged(&shards, prefix, None, self.now());
        Ok(keys.map(|(key, _)| key.to_text()).collect())
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.count", level = "debug", skip_all, fields(backend = "memory"))
    )]
    async fn count(&self, prefix: &str) -> Result<u64> {
        let shards = self.read_all();
        let now = self.now();
        Ok(shards.iter().map(|shard| shard.count(prefix, now)).sum())
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use super::*;

    impl MemoryBackend {
        fn stored_count(&self) -> usize {
            self.read_all().iter().map(|shard| shard.len()).sum()
        }
    }

    fn clocked() -> (Arc<AtomicI64>, MemoryBackend) {
        let time = Arc::new(AtomicI64::new(1_000));
        let source = Arc::clone(&time);
        let now = move || Timestamp::from_millis(source.load(Ordering::SeqCst));
        (time, MemoryBackend::with_clock(now))
    }

    #[tokio::test]
    async fn a_key_ends_at_its_moment_and_does_not_return_when_the_clock_goes_back() {
        let (time, backend) = clocked();
        backend
            .set_with_ttl("key", b"1".to_vec(), Duration::from_millis(5))
            .await
            .unwrap();
        for (now, is_there) in [(1_004, true), (1_005, false), (1_000, false)] {
            time.store(now, Ordering::SeqCst);
            assert_eq!(backend.exists("key").await.unwrap(), is_there, "at {now}");
            assert_eq!(backend.count("").await.unwrap(), u64::from(is_there), "at {now}");
        }
    }

    /// Sessions come and go for ever, and nobody deletes them.
    #[tokio::test]
    async fn what_has_expired_takes_no_more_than_what_lived_at_once() {
        let (time, backend) = clocked();
        let alive = 1_000;
        for number in 0..20 * alive {
            time.fetch_add(1, Ordering::SeqCst);
            let ttl = Duration::from_millis(alive);
            backend
                .set_with_ttl(&format!("session/{number}"), vec![1], ttl)
                .await
                .unwrap();
        }
        let alive = usize::try_from(alive).unwrap();
        assert_eq!(backend.count("session/").await.unwrap(), alive as u64);
        assert!(
            backend.stored_count() < 2 * alive,
            "{} keys are kept",
            backend.stored_count()
        );
        // They are in no index once later writes have removed them.
        time.fetch_add(1_000_000, Ordering::SeqCst);
        for number in 0..2 * alive {
            backend.set(&format!("key/{number}"), Vec::new()).await.unwrap();
        }
        assert_eq!(backend.stored_count(), 2 * alive);
        assert!(backend.read_all().iter().all(|shard| !shard.has_expiring()));
    }
}
