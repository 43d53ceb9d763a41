//! Reads from sled.
//!
//! sled's iterators move while batches are applied. Readers hold a gate shared that the writer holds alone while it
//! applies a batch, so that they see it whole or not at all, and sled's paths for concurrent writers are not taken.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use llmspell_core::{KeyValueEntry, Result, StorageError, Timestamp};

use super::record::{self, Head, Stored};
use super::{catch_panic, sled_error};
use crate::engine::{Boot, Clock};
use crate::truth::ClockRow;

/// sled's tree, with the lock on its directory.
pub(super) struct Reader {
    /// Taken out when it ends, because sled may panic then.
    db: Option<::sled::Db>,
    gate: RwLock<()>,
    clock: Clock,
    path: PathBuf,
    /// Released when everything else is closed.
    _lock: File,
}

/// What [`SledBackend::verify`](super::SledBackend::verify) found, all of it in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SledReport {
    /// Keys that are there, those included that have expired and are not removed yet.
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
            clock: Clock::new(None, Boot::beside(None), i64::MIN, None),
            path,
            _lock: lock,
        }
    }

    /// By another clock.
    pub(super) fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.clock.now()
    }

    /// The latest confirmed moment: keys that expired by then may be removed, and it may be stored.
    pub(super) fn confirmed(&self) -> i64 {
        self.clock.confirmed()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn db(&self) -> &::sled::Db {
        self.db.as_ref().expect("sled is open as long as its reader lives")
    }

    /// No reader runs while this is held.
    pub(super) fn exclude_readers(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write()
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.get_at(key, self.now())
    }

    /// The value of a key that is not over at `now`.
    pub(super) fn get_at(&self, key: &str, now: i64) -> Result<Option<Vec<u8>>> {
        self.reading(|_| self.value(key, now))
    }

    pub(super) fn expires_at(&self, key: &str) -> Result<Option<Timestamp>> {
        let stored = self.reading(|_| self.stored(key))?;
        let now = self.now();
        Ok(stored
            .filter(|stored| stored.is_there(now))
            .and_then(|stored| stored.expires_at))
    }

    /// The expiry of the stored value of a key, if there is one, even if it has passed. A damaged value has none: it
    /// can be overwritten and removed.
    pub(super) fn end_in_tree(&self, key: &str) -> Result<Option<Option<Timestamp>>> {
        self.reading(|_| {
            let tree_key = record::tree_key(key);
            let bytes = self.db().get(&tree_key).map_err(|error| self.read_error(error))?;
            Ok(bytes.map(|bytes| record::decode(&tree_key, &bytes).and_then(|stored| stored.expires_at)))
        })
    }

    pub(super) fn get_batch(&self, keys: Vec<String>) -> Result<HashMap<String, Vec<u8>>> {
        self.reading(|_| {
            let now = self.now();
            let values = keys.into_iter().map(|key| Ok((self.value(&key, now)?, key)));
            values
                .filter_map(|found: Result<_>| match found {
                    Ok((value, key)) => value.map(|value| Ok((key, value))),
                    Err(error) => Some(Err(error)),
                })
                .collect()
        })
    }

    pub(super) fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<KeyValueEntry>> {
        self.reading(|_| {
            let now = self.now();
            let mut page = Vec::new();
            for pair in self.pairs(prefix, after) {
                let (tree_key, bytes) = pair?;
                let stored = self.decoded(&tree_key, &bytes)?;
                if stored.is_there(now) {
                    let key = self.user_key(&tree_key)?;
                    page.push(KeyValueEntry::new(key, stored.value, stored.expires_at));
                }
                if page.len() == limit {
                    break;
                }
            }
            Ok(page)
        })
    }

    pub(super) fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        self.reading(|_| {
            let mut keys = Vec::new();
            self.visit_keys(prefix, |tree_key| {
                keys.push(self.user_key(tree_key)?);
                Ok(())
            })?;
            Ok(keys)
        })
    }

    /// Also those that are over.
    pub(super) fn keys_in_tree(&self, prefix: &str) -> Result<Vec<String>> {
        self.reading(|_| self.pairs(prefix, None).map(|pair| self.user_key(&pair?.0)).collect())
    }

    pub(super) fn count(&self, prefix: &str) -> Result<u64> {
        self.reading(|_| {
            if prefix.is_empty() {
                let over = self.ends(self.now()).try_fold(0, |count, end| end.map(|_| count + 1))?;
                return Ok(self.head()?.keys.saturating_sub(over));
            }
            let mut count = 0;
            self.visit_keys(prefix, |_| {
                count += 1;
                Ok(())
            })?;
            Ok(count)
        })
    }

    /// The first moment at which a key expires.
    pub(super) fn first_end(&self) -> Result<Option<i64>> {
        self.reading(|_| Ok(self.ends(i64::MAX).next().transpose()?.map(|(moment, _)| moment)))
    }

    /// Keys that are over at `now`, at most `limit`, in the order of time.
    pub(super) fn over(&self, now: i64, limit: usize) -> Result<Vec<(i64, String)>> {
        self.reading(|_| self.ends(now).take(limit).collect())
    }

    pub(super) fn verify(&self) -> Result<SledReport> {
        self.reading(|_| {
            let head = self.head()?;
            self.clock_row()?;
            let mut expiring = 0;
            let mut report = SledReport {
                keys: 0,
                value_bytes: 0,
                commits: head.commits,
            };
            for pair in self.pairs("", None) {
                let (tree_key, bytes) = pair?;
                self.user_key(&tree_key)?;
                report.keys += 1;
                let stored = self.decoded(&tree_key, &bytes)?;
                report.value_bytes += stored.value.len() as u64;
                if let Some(moment) = stored.expires_at {
                    expiring += 1;
                    let end_key = record::end_key(moment.as_millis(), &self.user_key(&tree_key)?);
                    if !self
                        .db()
                        .contains_key(end_key)
                        .map_err(|error| self.read_error(error))?
                    {
                        return Err(self.damaged("a key that expires would never be purged".into()));
                    }
                }
            }
            let noted = self
                .ends(i64::MAX)
                .try_fold(0, |count: u64, end| end.map(|_| count + 1))?;
            if noted != expiring {
                return Err(self.damaged(format!("{expiring} keys expire, {noted} are noted")));
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

    /// How the clocks went together when that was last stored.
    pub(super) fn clock_row(&self) -> Result<Option<ClockRow>> {
        let bytes = self
            .db()
            .get(record::CLOCK_KEY)
            .map_err(|error| self.read_error(error))?;
        bytes
            .map(|bytes| ClockRow::decode(record::CLOCK_KEY, &bytes))
            .transpose()
            .map_err(|_| self.damaged("the record of the clocks".into()))
    }

    fn reading<T>(&self, job: impl FnOnce(&RwLockReadGuard<'_, ()>) -> Result<T>) -> Result<T> {
        let gate = self.gate.read();
        catch_panic(&self.path, || job(&gate))
    }

    fn stored(&self, key: &str) -> Result<Option<Stored>> {
        let tree_key = record::tree_key(key);
        let bytes = self.db().get(&tree_key).map_err(|error| self.read_error(error))?;
        bytes.map(|bytes| self.decoded(&tree_key, &bytes)).transpose()
    }

    fn value(&self, key: &str, now: i64) -> Result<Option<Vec<u8>>> {
        let stored = self.stored(key)?.filter(|stored| stored.is_there(now));
        Ok(stored.map(|stored| stored.value))
    }

    /// Keys with a prefix that are not over, as in the tree.
    fn visit_keys(&self, prefix: &str, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let now = self.now();
        // Where none is over, values need not be looked at.
        let some_are_over = self.ends(now).next().transpose()?.is_some();
        for pair in self.pairs(prefix, None) {
            let (tree_key, bytes) = pair?;
            if !some_are_over || self.decoded(&tree_key, &bytes)?.is_there(now) {
                visit(&tree_key)?;
            }
        }
        Ok(())
    }

    /// Moments until `now` at which keys expire, and those keys, in the order of time.
    fn ends(&self, now: i64) -> impl Iterator<Item = Result<(i64, String)>> {
        let first = record::end_key(i64::MIN, "");
        let rows = self.db().range(first..).map(|row| {
            let (end_key, _) = row.map_err(|error| self.read_error(error))?;
            let (moment, key) =
                record::end_of(&end_key).ok_or_else(|| self.damaged("the note of a key that expires".into()))?;
            Ok((moment, key.to_string()))
        });
        rows.take_while(move |end: &Result<(i64, String)>| end.as_ref().map_or(true, |(moment, _)| *moment <= now))
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

    fn decoded(&self, tree_key: &[u8], bytes: &[u8]) -> Result<Stored> {
        let stored = record::decode(tree_key, bytes);
        stored.map(|stored| stored.map(<[u8]>::to_vec)).ok_or_else(|| {
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
        // The hook has reported the panic; acknowledged writes are durable, so nothing is lost here.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(db)));
    }
}
