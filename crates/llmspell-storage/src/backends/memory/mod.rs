//! How is key-value state kept in RAM? In hash tables with sorted keys beside them, behind a few locks.
//!
//! A key lives in the shard that its bytes name, so that writers of different keys seldom meet. Whoever needs several
//! shards locks them in the order of their numbers and holds them all until the work is done: so batches are atomic,
//! pages and `get_batch` are as of one moment, and nobody waits in a circle.
//!
//! | file       | question                                                    |
//! |------------|-------------------------------------------------------------|
//! | `shard.rs` | what is in one shard?                                       |
//! | `key.rs`   | how is a key kept, so that comparing it costs no second trip to memory? |

mod key;
mod shard;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::fmt;

use async_trait::async_trait;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use llmspell_core::{
    BackendCharacteristics, BackendType, Durability, KeyValueWrite, Result, StorageBackend, WriteSummary,
    validate_key_value as validate,
};

use key::Key;
use shard::Shard;

const SHARDS: usize = 32;

/// Key-value state in RAM: gone when the value is dropped.
///
/// Reading or overwriting a key takes `O(1)`, a new or deleted key `O(log n)`, all in place, without a hop to another
/// thread. Scans look into every shard; deleting by prefix takes time in proportion to what it deletes, while readers
/// wait. A key costs about 100 bytes beside its value.
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
}

/// Alone on its cache lines: two neighbors would slow each other down.
#[derive(Default)]
#[repr(align(128))]
struct Locked(RwLock<Shard>);

impl MemoryBackend {
    /// An empty backend.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Locked::default()),
        }
    }

    fn shard(&self, key: &str) -> &RwLock<Shard> {
        &self.shards[shard_number(key)].0
    }

    fn read_all(&self) -> Vec<RwLockReadGuard<'_, Shard>> {
        self.shards.iter().map(|shard| shard.0.read()).collect()
    }

    fn apply(&self, batch: Vec<KeyValueWrite>) -> WriteSummary {
        let mut shards = self.lock_for(&batch);
        let mut deleted = 0;
        for write in batch {
            match write {
                KeyValueWrite::Set { key, value } => drop(shards.of(&key).set(&key, value.into())),
                KeyValueWrite::Delete { key } => deleted += u64::from(shards.of(&key).delete(&key).is_some()),
                KeyValueWrite::DeletePrefix { prefix } => {
                    deleted += shards.all().map(|shard| shard.delete_prefix(&prefix)).sum::<u64>();
                }
            }
        }
        WriteSummary { deleted }
    }

    /// Locks the shards that a batch touches, lowest number first.
    fn lock_for(&self, batch: &[KeyValueWrite]) -> LockedShards<'_> {
        let mut is_touched = [false; SHARDS];
        for write in batch {
            match write {
                KeyValueWrite::Set { key, .. } | KeyValueWrite::Delete { key } => is_touched[shard_number(key)] = true,
                KeyValueWrite::DeletePrefix { .. } => is_touched = [true; SHARDS],
            }
        }
        let locks = self.shards.iter().zip(is_touched);
        LockedShards(
            locks
                .map(|(shard, is_touched)| is_touched.then(|| shard.0.write()))
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

/// The pairs of all shards with the prefix and greater than `after`, in byte order.
fn merged<'a>(
    shards: &'a [RwLockReadGuard<'_, Shard>],
    prefix: &'a str,
    after: Option<&str>,
) -> impl Iterator<Item = (&'a Key, &'a Shard)> {
    let mut ranges: Vec<_> = shards.iter().map(|shard| shard.keys_from(prefix, after)).collect();
    // No two shards hold one key, so keys alone decide the order.
    let mut heads: BinaryHeap<_> = ranges
        .iter_mut()
        .enumerate()
        .filter_map(|(number, range)| range.next().map(|key| Reverse((key, number))))
        .collect();
    std::iter::from_fn(move || {
        let mut head = heads.peek_mut()?;
        let Reverse((key, number)) = *head;
        match ranges[number].next() {
            Some(next) => *head = Reverse((next, number)),
            None => drop(PeekMut::pop(head)),
        }
        Some((key, &*shards[number]))
    })
}

#[async_trait]
impl StorageBackend for MemoryBackend {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        validate::key(key)?;
        Ok(self.shard(key).read().get(key).map(<[u8]>::to_vec))
    }

    async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>> {
        keys.iter().try_for_each(|key| validate::key(key))?;
        let shards = self.read_all();
        let found = keys
            .iter()
            .filter_map(|key| Some((key, shards[shard_number(key)].get(key)?)));
        Ok(found.map(|(key, value)| (key.clone(), value.to_vec())).collect())
    }

    async fn write(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        validate::batch(&batch)?;
        Ok(self.apply(batch))
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        validate::page(limit)?;
        let shards = self.read_all();
        let page = merged(&shards, prefix, after).take(limit);
        Ok(page
            .map(|(key, shard)| (key.to_text(), shard.value(key).to_vec()))
            .collect())
    }

    async fn compare_and_swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>) -> Result<bool> {
        validate::key(key)?;
        if let Some(new) = &new {
            validate::value(key, new)?;
        }
        let mut shard = self.shard(key).write();
        if shard.get(key) != expected {
            return Ok(false);
        }
        match new {
            Some(new) => drop(shard.set(key, new.into())),
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

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        validate::key(key)?;
        validate::value(key, &value)?;
        let value = value.into_boxed_slice();
        // The lock is gone at the end of the line; then the old value is freed.
        let replaced = self.shard(key).write().set(key, value);
        drop(replaced);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<bool> {
        validate::key(key)?;
        let removed = self.shard(key).write().delete(key);
        Ok(removed.is_some())
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        validate::key(key)?;
        Ok(self.shard(key).read().get(key).is_some())
    }

    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>> {
        let shards = self.read_all();
        Ok(merged(&shards, prefix, None).map(|(key, _)| key.to_text()).collect())
    }

    async fn count(&self, prefix: &str) -> Result<u64> {
        let shards = self.read_all();
        Ok(shards.iter().map(|shard| shard.count(prefix)).sum())
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
