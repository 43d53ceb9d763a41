//! One shard: values by hash, keys in order, and expiring keys by their expiry.
//!
//! Reading and overwriting touch only the hash table; the order is for scans and changes only with the keys. An expired
//! key stays until a write to the shard removes it: no reader sees it, and as each write removes more than it adds,
//! expired keys never take more memory than living keys once did.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use llmspell_core::Timestamp;

use super::key::Key;
use crate::base::stored_value::StoredValue;

/// Expired keys that each write to a shard removes.
const PURGED_PER_WRITE: usize = 4;

/// A value, and when it ends.
pub(super) type Stored = StoredValue<Box<[u8]>>;

/// Some of the keys. The first two collections always hold the same ones, the third those that expire.
#[derive(Default)]
pub(super) struct Shard {
    values: HashMap<Key, Stored>,
    keys: BTreeSet<Key>,
    /// By milliseconds since 1970.
    expiring: BTreeSet<(i64, Key)>,
}

impl Shard {
    /// The stored value, even if it has expired.
    pub(super) fn get(&self, key: &str) -> Option<&Stored> {
        self.values.get(key.as_bytes())
    }

    /// Returns the old value, so that the caller frees it after the lock is released.
    pub(super) fn set(&mut self, key: &str, new: Stored) -> Option<Stored> {
        let expires_at = new.expires_at;
        let replaced = match self.values.get_mut(key.as_bytes()) {
            Some(current) => Some(std::mem::replace(current, new)),
            None => {
                let key = Key::from(key);
                self.keys.insert(key.clone());
                self.values.insert(key, new)
            }
        };
        let before = replaced.as_ref().and_then(|stored| stored.expires_at);
        if before != expires_at {
            self.forget_end(key, before);
            self.expiring
                .extend(expires_at.map(|moment| (moment.as_millis(), Key::from(key))));
        }
        replaced
    }

    /// Returns the old value, even if it has expired, so that the caller frees it after the lock is released.
    pub(super) fn delete(&mut self, key: &str) -> Option<Stored> {
        let removed = self.values.remove(key.as_bytes())?;
        self.keys.remove(key.as_bytes());
        self.forget_end(key, removed.expires_at);
        Some(removed)
    }

    fn forget_end(&mut self, key: &str, expires_at: Option<Timestamp>) {
        if let Some(moment) = expires_at {
            self.expiring.remove(&(moment.as_millis(), Key::from(key)));
        }
    }

    /// Removes the keys with a prefix. Returns how many there were that are not over at `now`.
    pub(super) fn delete_prefix(&mut self, prefix: &str, now: i64) -> u64 {
        let count = self.count(prefix, now);
        if prefix.is_empty() {
            *self = Self::default();
        } else {
            let keys: Vec<Key> = self.keys_from(prefix, None).cloned().collect();
            for key in &keys {
                self.delete(&key.to_text());
            }
        }
        count
    }

    pub(super) fn count(&self, prefix: &str, now: i64) -> u64 {
        let over = self
            .over(now)
            .filter(|(_, key)| key.as_bytes().starts_with(prefix.as_bytes()));
        let all = match prefix {
            "" => self.values.len(),
            _ => self.keys_from(prefix, None).count(),
        };
        (all - over.count()) as u64
    }

    /// Keys that are over at `now`, in the order of time.
    fn over(&self, now: i64) -> impl Iterator<Item = &(i64, Key)> {
        self.expiring.iter().take_while(move |(moment, _)| *moment <= now)
    }

    /// Whether any key expires.
    pub(super) fn has_expiring(&self) -> bool {
        !self.expiring.is_empty()
    }

    /// Removes some of the keys that are over at `now`.
    pub(super) fn purge(&mut self, now: i64) {
        for _ in 0..PURGED_PER_WRITE {
            match self.expiring.first() {
                Some((moment, _)) if *moment <= now => {}
                _ => return,
            }
            if let Some((_, key)) = self.expiring.pop_first() {
                self.values.remove(key.as_bytes());
                self.keys.remove(key.as_bytes());
            }
        }
    }

    /// The keys with the prefix that are greater than `after`, in order, also those that are over.
    pub(super) fn keys_from<'a>(&'a self, prefix: &'a str, after: Option<&str>) -> impl Iterator<Item = &'a Key> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.as_bytes()),
            Some(_) | None => Bound::Included(prefix.as_bytes()),
        };
        self.keys
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(move |key| key.as_bytes().starts_with(prefix.as_bytes()))
    }

    pub(super) fn stored(&self, key: &Key) -> &Stored {
        self.values.get(key).expect("every key in order has a value")
    }

    /// How many keys there are, also those that are over.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}
