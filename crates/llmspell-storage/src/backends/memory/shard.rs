//! What is in one shard? The values by hash, and the keys in order.
//!
//! Reading and overwriting touch only the hash table; the order is for scans and changes only with the keys.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use super::key::Key;

/// Some of the keys. The two collections always hold the same ones.
#[derive(Default)]
pub(super) struct Shard {
    values: HashMap<Key, Box<[u8]>>,
    keys: BTreeSet<Key>,
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key.as_bytes()).map(|value| &**value)
    }

    /// Returns what was there, so that the caller frees it when the lock is gone.
    pub(super) fn set(&mut self, key: &str, value: Box<[u8]>) -> Option<Box<[u8]>> {
        if let Some(current) = self.values.get_mut(key.as_bytes()) {
            return Some(std::mem::replace(current, value));
        }
        let key = Key::from(key);
        self.keys.insert(key.clone());
        self.values.insert(key, value)
    }

    /// Returns what was there, so that the caller frees it when the lock is gone.
    pub(super) fn delete(&mut self, key: &str) -> Option<Box<[u8]>> {
        let removed = self.values.remove(key.as_bytes())?;
        self.keys.remove(key.as_bytes());
        Some(removed)
    }

    /// Returns how many there were.
    pub(super) fn delete_prefix(&mut self, prefix: &str) -> u64 {
        let count = if prefix.is_empty() {
            let all = std::mem::take(self);
            all.len()
        } else {
            let keys: Vec<Key> = self.keys_from(prefix, None).cloned().collect();
            for key in &keys {
                self.values.remove(key);
                self.keys.remove(key);
            }
            keys.len()
        };
        count as u64
    }

    pub(super) fn count(&self, prefix: &str) -> u64 {
        let count = if prefix.is_empty() {
            self.len()
        } else {
            self.keys_from(prefix, None).count()
        };
        count as u64
    }

    /// The keys with the prefix that are greater than `after`, in order.
    pub(super) fn keys_from<'a>(&'a self, prefix: &'a str, after: Option<&str>) -> impl Iterator<Item = &'a Key> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.as_bytes()),
            Some(_) | None => Bound::Included(prefix.as_bytes()),
        };
        self.keys
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(move |key| key.as_bytes().starts_with(prefix.as_bytes()))
    }

    pub(super) fn value(&self, key: &Key) -> &[u8] {
        self.values.get(key).expect("every key in order has a value")
    }
}
