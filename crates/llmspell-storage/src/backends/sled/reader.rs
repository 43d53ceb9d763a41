//! How is sled read?
//!
//! sled's iterators move while batches are applied. Readers hold a gate shared that the writer holds alone while it
//! applies a batch, so that they see it whole or not at all, and sled's paths for concurrent writers are not taken.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use llmspell_core::{Result, StorageError};

use super::record::{self, Head};
use super::{catch_panic, sled_error};

/// sled's tree, with the lock on its directory.
pub(super) struct Reader {
    /// Taken out when it ends, because sled may panic then.
    db: Option<::sled::Db>,
    gate: RwLock<()>,
    path: PathBuf,
    /// Released when everything else is closed.
    _lock: File,
}

/// What [`SledBackend::verify`](super::SledBackend::verify) found, all of it in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SledReport {
    /// Keys that are there.
    pub keys: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Commits since the directory was made.
    pub commits: u64,
}

impl Reader {
    pub(super) fn new(db: ::sled::Db, path: PathBuf, lock: File) -> Self {
        Self {
            db: Some(db),
            gate: RwLock::new(()),
            path,
            _lock: lock,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn db(&self) -> &::sled::Db {
        self.db.as_ref().expect("sled is open as long as its reader lives")
    }

    /// Nobody reads while this is held.
    pub(super) fn exclude_readers(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write()
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.reading(|_| self.value(key))
    }

    pub(super) fn contains(&self, key: &str) -> Result<bool> {
        self.reading(|_| {
            self.db()
                .contains_key(record::tree_key(key))
                .map_err(|error| self.read_error(error))
        })
    }

    pub(super) fn get_batch(&self, keys: Vec<String>) -> Result<HashMap<String, Vec<u8>>> {
        self.reading(|_| {
            let values = keys.into_iter().map(|key| Ok((self.value(&key)?, key)));
            values
                .filter_map(|found: Result<_>| match found {
                    Ok((value, key)) => value.map(|value| Ok((key, value))),
                    Err(error) => Some(Err(error)),
                })
                .collect()
        })
    }

    pub(super) fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
        self.reading(|_| {
            let pairs = self.pairs(prefix, after).take(limit);
            pairs
                .map(|pair| {
                    let (tree_key, bytes) = pair?;
                    Ok((self.user_key(&tree_key)?, self.decoded(&tree_key, &bytes)?))
                })
                .collect()
        })
    }

    pub(super) fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        self.reading(|_| self.pairs(prefix, None).map(|pair| self.user_key(&pair?.0)).collect())
    }

    pub(super) fn count(&self, prefix: &str) -> Result<u64> {
        self.reading(|_| {
            if prefix.is_empty() {
                return Ok(self.head()?.keys);
            }
            self.pairs(prefix, None)
                .try_fold(0, |count, pair| pair.map(|_| count + 1))
        })
    }

    pub(super) fn verify(&self) -> Result<SledReport> {
        self.reading(|_| {
            let head = self.head()?;
            let mut report = SledReport {
                keys: 0,
                value_bytes: 0,
                commits: head.commits,
            };
            for pair in self.pairs("", None) {
                let (tree_key, bytes) = pair?;
                self.user_key(&tree_key)?;
                report.keys += 1;
                report.value_bytes += self.decoded(&tree_key, &bytes)?.len() as u64;
            }
            if report.keys != head.keys {
                return Err(self.damaged(format!("{} keys are there, {} were stored", report.keys, head.keys)));
            }
            Ok(report)
        })
    }

    /// The tree's own record of itself; zeros if nothing was ever stored.
    pub(super) fn head(&self) -> Result<Head> {
        let bytes = self
            .db()
            .get(record::HEAD_KEY)
            .map_err(|error| self.read_error(error))?;
        match bytes {
            Some(bytes) => Head::from_bytes(&bytes).ok_or_else(|| self.damaged("the record of the last commit".into())),
            None if self.db().iter().next().is_none() => Ok(Head::default()),
            None => Err(self.damaged("there are values, but no record of a commit".into())),
        }
    }

    fn reading<T>(&self, job: impl FnOnce(&RwLockReadGuard<'_, ()>) -> Result<T>) -> Result<T> {
        let gate = self.gate.read();
        catch_panic(&self.path, || job(&gate))
    }

    fn value(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let tree_key = record::tree_key(key);
        let bytes = self.db().get(&tree_key).map_err(|error| self.read_error(error))?;
        bytes.map(|bytes| self.decoded(&tree_key, &bytes)).transpose()
    }

    fn pairs(&self, prefix: &str, after: Option<&str>) -> impl Iterator<Item = Result<(::sled::IVec, ::sled::IVec)>> {
        let tree_prefix = record::tree_key(prefix);
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(record::tree_key(after)),
            Some(_) | None => Bound::Included(tree_prefix.clone()),
        };
        let pairs = self.db().range((start, Bound::Unbounded));
        pairs
            .map(|pair| pair.map_err(|error| self.read_error(error)))
            .take_while(move |pair| pair.as_ref().map_or(true, |(key, _)| key.starts_with(&tree_prefix)))
    }

    fn user_key(&self, tree_key: &[u8]) -> Result<String> {
        record::user_key(tree_key)
            .map(String::from)
            .ok_or_else(|| self.damaged("a key that was never stored".into()))
    }

    fn decoded(&self, tree_key: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
        record::decode(tree_key, bytes).map(<[u8]>::to_vec).ok_or_else(|| {
            let key = String::from_utf8_lossy(&tree_key[1..]);
            let key: String = key.chars().take(64).collect();
            self.damaged(format!("the value of key `{key}` does not match its checksum"))
        })
    }

    fn read_error(&self, error: ::sled::Error) -> StorageError {
        sled_error("read from", &self.path, error)
    }

    fn damaged(&self, detail: String) -> StorageError {
        StorageError::Corrupted {
            path: self.path.clone(),
            detail,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let db = self.db.take();
        // The hook has reported the panic; what is acknowledged is durable, so there is nothing to lose here.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(db)));
    }
}
