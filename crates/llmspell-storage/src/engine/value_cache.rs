//! The value cache: values in RAM, so that reading them cannot block.
//!
//! A cache of values by key, in front of a backend whose reads may touch the disk. It only holds committed values: a
//! writer removes its keys before it commits and adds the new values afterwards, and a reader that was at the disk
//! meanwhile may not add the value it found.
//!
//! Each shard keeps two generations: values enter the young one, and when that is full it becomes the old one and the
//! old one is dropped. A value that is read in the old generation moves to the young one, so used values stay, at the
//! cost of an occasional map insert.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::stored_value::StoredValue;

const SHARDS: usize = 64;
/// Bytes of an entry beyond key and value.
const ENTRY_BYTES: usize = 96;

/// A value and its expiry, or the fact that the key does not exist. The caller checks the expiry.
pub(crate) type Cached = Option<StoredValue<Arc<[u8]>>>;

/// The cache.
pub(crate) struct ValueCache {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    generation_bytes_max: usize,
}

#[derive(Default)]
struct Shard {
    young: HashMap<Box<[u8]>, Cached>,
    old: HashMap<Box<[u8]>, Cached>,
    young_bytes: usize,
    old_bytes: usize,
    /// Incremented with each write of a key of the shard.
    version: u64,
    /// Number of writes of keys of the shard that are under way.
    writes: u32,
}

/// The version that a reader saw before it went to the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    version: u64,
}

impl ValueCache {
    /// A cache of about `bytes`; with 0 bytes it holds nothing.
    pub(crate) fn new(bytes: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            hasher: RandomState::new(),
            shards,
            generation_bytes_max: bytes / (2 * SHARDS),
        }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key);
        // The upper bits: the map of the shard uses the lower ones of its own hash.
        &self.shards[(hash >> 58) as usize % SHARDS]
    }

    /// The value of a key if it is cached, else a ticket for [`fill`](Self::fill).
    pub(crate) fn get(&self, key: &[u8]) -> Result<Cached, Ticket> {
        let mut shard = self.shard(key).lock();
        if let Some(value) = shard.young.get(key) {
            return Ok(value.clone());
        }
        if let Some((key, value)) = shard.old.remove_entry(key) {
            shard.old_bytes = shard.old_bytes.saturating_sub(entry_bytes(&key, &value));
            let found = value.clone();
            shard.insert(key, value, self.generation_bytes_max);
            return Ok(found);
        }
        Err(Ticket { version: shard.version })
    }

    /// Adds a value that a reader found on the disk, unless the key was written since it got its ticket.
    pub(crate) fn fill(&self, key: &[u8], value: Cached, ticket: Ticket) {
        let mut shard = self.shard(key).lock();
        if shard.version == ticket.version && shard.writes == 0 {
            shard.insert(key.into(), value, self.generation_bytes_max);
        }
    }

    /// Begins a write of these keys: until [`end_write`](Self::end_write), readers go to the disk for them.
    pub(crate) fn begin_write<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) {
        for key in keys {
            let mut shard = self.shard(key).lock();
            shard.writes += 1;
            shard.version += 1;
            shard.remove(key);
        }
    }

    /// Ends the write of one of these keys. `value` is the committed one; none if it is not known.
    pub(crate) fn end_write(&self, key: &[u8], value: Option<Cached>) {
        let mut shard = self.shard(key).lock();
        shard.writes -= 1;
        // A reader that came during the write may have seen the old value.
        shard.version += 1;
        if let Some(value) = value {
            shard.insert(key.into(), value, self.generation_bytes_max);
        }
    }

    /// Approximate bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().bytes() as u64).sum()
    }
}

impl Shard {
    fn insert(&mut self, key: Box<[u8]>, value: Cached, generation_bytes_max: usize) {
        let bytes = entry_bytes(&key, &value);
        if bytes > generation_bytes_max {
            self.remove(&key);
            return;
        }
        if self.young_bytes + bytes > generation_bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        // The value in the old generation is out of date.
        if let Some((key, value)) = self.old.remove_entry(&key) {
            self.old_bytes = self.old_bytes.saturating_sub(entry_bytes(&key, &value));
        }
        let key_bytes = key.len();
        self.young_bytes += bytes;
        if let Some(before) = self.young.insert(key, value) {
            self.young_bytes -= ENTRY_BYTES + key_bytes + before.map_or(0, |stored| stored.value.len());
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((key, value)) = self.young.remove_entry(key) {
            self.young_bytes -= entry_bytes(&key, &value);
        }
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.old_bytes = self.old_bytes.saturating_sub(entry_bytes(&key, &value));
        }
    }

    fn bytes(&self) -> usize {
        self.young_bytes + self.old_bytes
    }
}

fn entry_bytes(key: &[u8], value: &Cached) -> usize {
    ENTRY_BYTES + key.len() + value.as_ref().map_or(0, |stored| stored.value.len())
}

impl std::fmt::Debug for ValueCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueCache")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Cached {
        Some(StoredValue {
            value: text.as_bytes().into(),
            expires_at: None,
        })
    }

    fn cached(cache: &ValueCache, key: &str) -> Option<Cached> {
        cache.get(key.as_bytes()).ok()
    }

    #[test]
    fn a_reader_that_was_at_the_disk_during_a_write_puts_nothing_in() {
        let cache = ValueCache::new(1 << 20);
        let before = cache.get(b"a").unwrap_err();
        cache.begin_write([b"a".as_slice()]);
        let during = cache.get(b"a").unwrap_err();
        cache.fill(b"a", value("old"), before);
        cache.fill(b"a", value("old"), during);
        assert_eq!(cached(&cache, "a"), None);
        cache.end_write(b"a", Some(value("new")));
        cache.fill(b"a", value("old"), before);
        cache.fill(b"a", value("old"), during);
        assert_eq!(cached(&cache, "a"), Some(value("new")));
    }

    #[test]
    fn a_write_that_failed_leaves_the_key_to_the_disk() {
        let cache = ValueCache::new(1 << 20);
        let ticket = cache.get(b"a").unwrap_err();
        cache.fill(b"a", value("old"), ticket);
        cache.begin_write([b"a".as_slice()]);
        cache.end_write(b"a", None);
        let ticket = cache.get(b"a").unwrap_err();
        cache.fill(b"a", None, ticket);
        assert_eq!(cached(&cache, "a"), Some(None), "that a key is missing is known too");
    }

    #[test]
    fn the_cache_stays_within_its_bytes_and_keeps_what_is_used() {
        let bytes = 256 << 10;
        let cache = ValueCache::new(bytes);
        let put = |key: &str| {
            if let Err(ticket) = cache.get(key.as_bytes()) {
                cache.fill(key.as_bytes(), value(&"x".repeat(500)), ticket);
            }
        };
        put("hot");
        for turn in 0..5_000 {
            put(&format!("key {turn}"));
            assert!(cached(&cache, "hot").is_some(), "turn {turn}");
        }
        assert!(cache.bytes() <= bytes as u64, "{}", cache.bytes());
        put("huge");
        let ticket = cache.get(b"too large").unwrap_err();
        cache.fill(b"too large", value(&"x".repeat(bytes)), ticket);
        assert_eq!(cached(&cache, "too large"), None);
    }

    #[test]
    fn counted_bytes_return_to_zero() {
        let cache = ValueCache::new(1 << 20);
        for key in ["a", "b", "a"] {
            cache.begin_write([key.as_bytes()]);
            cache.end_write(key.as_bytes(), Some(value(key)));
        }
        for key in ["a", "b"] {
            cache.begin_write([key.as_bytes()]);
            cache.end_write(key.as_bytes(), None);
        }
        assert_eq!(cache.bytes(), 0);
    }
}
