//! A backend in one sorted map.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use llmspell_core::{
    BackendCharacteristics, BackendType, Durability, Expiry, KeyValueEntry, KeyValueWrite, Result, StorageBackend,
    Timestamp, WriteSummary, validate_key_value as validate,
};

/// One promise to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    EmptyValueIsMissing,
    ValuesAreCut,
    KeysAreTrimmed,
    KeysIgnoreCase,
    EmptyKeyIsTaken,
    LongKeyIsTaken,
    LargeValueIsTaken,
    LargeBatchIsTaken,
    ScanIsNotSorted,
    ScanIncludesAfter,
    ScanIgnoresPrefix,
    ScanStopsShort,
    ZeroLimitIsTaken,
    BatchIsNotInOrder,
    BatchStopsAtBadWrite,
    BatchIsNotAtomicForReaders,
    DeletesAreNotCounted,
    PrefixDeletesOneByteMore,
    SwapIgnoresExpected,
    SwapIsNotAtomic,
    SwapTakesMissingForEmpty,
    GetBatchInventsMissing,
    SetForgetsNow,
    DroppedWriteIsHalf,
    ExpiredIsFound,
    ExpiredIsListed,
    ExpiredCountsAsDeleted,
    ExpiredIsSwapped,
    ExpiryIsForgotten,
    SetKeepsExpiry,
    SwapKeepsExpiry,
    AnyLifetimeIsTaken,
}

impl Fault {
    pub(crate) const ALL: [Self; 32] = [
        Self::EmptyValueIsMissing,
        Self::ValuesAreCut,
        Self::KeysAreTrimmed,
        Self::KeysIgnoreCase,
        Self::EmptyKeyIsTaken,
        Self::LongKeyIsTaken,
        Self::LargeValueIsTaken,
        Self::LargeBatchIsTaken,
        Self::ScanIsNotSorted,
        Self::ScanIncludesAfter,
        Self::ScanIgnoresPrefix,
        Self::ScanStopsShort,
        Self::ZeroLimitIsTaken,
        Self::BatchIsNotInOrder,
        Self::BatchStopsAtBadWrite,
        Self::BatchIsNotAtomicForReaders,
        Self::DeletesAreNotCounted,
        Self::PrefixDeletesOneByteMore,
        Self::SwapIgnoresExpected,
        Self::SwapIsNotAtomic,
        Self::SwapTakesMissingForEmpty,
        Self::GetBatchInventsMissing,
        Self::SetForgetsNow,
        Self::DroppedWriteIsHalf,
        Self::ExpiredIsFound,
        Self::ExpiredIsListed,
        Self::ExpiredCountsAsDeleted,
        Self::ExpiredIsSwapped,
        Self::ExpiryIsForgotten,
        Self::SetKeepsExpiry,
        Self::SwapKeepsExpiry,
        Self::AnyLifetimeIsTaken,
    ];
}

/// A value, and when it expires.
#[derive(Debug, Clone)]
struct Stored {
    value: Vec<u8>,
    expires_at: Option<Timestamp>,
}

impl Stored {
    fn is_there(&self) -> bool {
        self.expires_at.is_none_or(|end| end > now())
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

#[derive(Debug)]
pub(crate) struct NaiveBackend {
    map: Mutex<BTreeMap<String, Stored>>,
    fault: Option<Fault>,
}

impl NaiveBackend {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self {
            map: Mutex::default(),
            fault,
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn key(&self, key: &str) -> Result<String> {
        match self.fault {
            Some(Fault::EmptyKeyIsTaken) if key.is_empty() => {}
            Some(Fault::LongKeyIsTaken) if !key.is_empty() => {}
            _ => validate::key(key)?,
        }
        Ok(match self.fault {
            Some(Fault::KeysAreTrimmed) => key.trim_matches('\0').to_string(),
            Some(Fault::KeysIgnoreCase) => key.to_ascii_lowercase(),
            _ => key.to_string(),
        })
    }

    fn check(&self, batch: &[KeyValueWrite]) -> Result<()> {
        let takes_key = self.has(Fault::EmptyKeyIsTaken) || self.has(Fault::LongKeyIsTaken);
        for write in batch {
            match write {
                KeyValueWrite::Set { key, value } => {
                    self.key(key)?;
                    if !self.has(Fault::LargeValueIsTaken) {
                        validate::value(key, value)?;
                    }
                }
                KeyValueWrite::SetExpiring { key, expiry, .. } => {
                    self.key(key)?;
                    if !self.has(Fault::AnyLifetimeIsTaken) {
                        expiry.validate()?;
                    }
                }
                KeyValueWrite::Delete { key } => drop(self.key(key)?),
                KeyValueWrite::DeletePrefix { .. } => {}
            }
            if self.has(Fault::BatchStopsAtBadWrite) {
                return Ok(());
            }
        }
        let is_lenient = [
            Fault::LargeValueIsTaken,
            Fault::LargeBatchIsTaken,
            Fault::AnyLifetimeIsTaken,
        ];
        if takes_key || is_lenient.into_iter().any(|fault| self.has(fault)) {
            return Ok(());
        }
        validate::batch(batch)
    }

    fn put(&self, map: &mut BTreeMap<String, Stored>, key: String, value: Vec<u8>, expiry: Option<Expiry>) {
        let before = map.get(&key).and_then(|stored| stored.expires_at);
        let expires_at = match expiry {
            None if self.has(Fault::SetKeepsExpiry) => before,
            None => None,
            Some(_) if self.has(Fault::ExpiryIsForgotten) => None,
            Some(expiry) => expiry.moment(now()).unwrap_or(None),
        };
        map.insert(key, Stored { value, expires_at });
    }

    /// Counts what a deletion removed.
    fn counts(&self, stored: &Stored) -> bool {
        stored.is_there() || self.has(Fault::ExpiredCountsAsDeleted)
    }

    fn apply(&self, map: &mut BTreeMap<String, Stored>, write: KeyValueWrite) -> Result<u64> {
        Ok(match write {
            KeyValueWrite::Set { key, mut value } => {
                if self.has(Fault::ValuesAreCut) {
                    value.truncate(1 << 20);
                }
                self.put(map, self.key(&key)?, value, None);
                0
            }
            KeyValueWrite::SetExpiring { key, value, expiry } => {
                self.put(map, self.key(&key)?, value, Some(expiry));
                0
            }
            KeyValueWrite::Delete { key } => {
                let removed = map.remove(&self.key(&key)?);
                u64::from(removed.is_some_and(|stored| self.counts(&stored)))
            }
            KeyValueWrite::DeletePrefix { mut prefix } => {
                if self.has(Fault::PrefixDeletesOneByteMore) {
                    prefix.pop();
                }
                let removed = map.extract_if(.., |key, _| key.starts_with(&prefix));
                removed.filter(|(_, stored)| self.counts(stored)).count() as u64
            }
        })
    }

    fn found<'s>(&self, stored: Option<&'s Stored>) -> Option<&'s Stored> {
        stored.filter(|stored| stored.is_there() || self.has(Fault::ExpiredIsFound))
    }
}

/// Lets another thread, or another future of this one, have its turn.
async fn pause() {
    let mut is_first = true;
    std::future::poll_fn(|context| {
        if std::mem::take(&mut is_first) {
            context.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(())
    })
    .await;
}

#[async_trait]
impl StorageBackend for NaiveBackend {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let key = self.key(key)?;
        let map = self.map.lock().unwrap();
        let value = self.found(map.get(&key)).map(|stored| stored.value.clone());
        Ok(value.filter(|value| !value.is_empty() || !self.has(Fault::EmptyValueIsMissing)))
    }

    async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>> {
        let keys = keys.iter().map(|key| self.key(key)).collect::<Result<Vec<_>>>()?;
        let map = self.map.lock().unwrap();
        let found = keys.into_iter().filter_map(|key| match self.found(map.get(&key)) {
            Some(stored) => Some((key, stored.value.clone())),
            None => self.has(Fault::GetBatchInventsMissing).then(|| (key, Vec::new())),
        });
        Ok(found.collect())
    }

    async fn write(&self, mut batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        self.check(&batch)?;
        match self.fault {
            Some(Fault::BatchIsNotInOrder) => batch.reverse(),
            Some(Fault::SetForgetsNow) if batch.len() == 1 => pause().await,
            _ => {}
        }
        let mut deleted = 0;
        if self.has(Fault::BatchIsNotAtomicForReaders) || self.has(Fault::DroppedWriteIsHalf) && batch.len() == 2 {
            for write in batch {
                deleted += self.apply(&mut self.map.lock().unwrap(), write)?;
                match self.fault {
                    Some(Fault::DroppedWriteIsHalf) => pause().await,
                    // Long enough for a reader to look, on a busy machine too.
                    _ => std::thread::sleep(std::time::Duration::from_micros(100)),
                }
            }
            return Ok(WriteSummary { deleted });
        }
        let mut map = self.map.lock().unwrap();
        for write in batch {
            if self.has(Fault::BatchStopsAtBadWrite) {
                validate::batch(std::slice::from_ref(&write))?;
            }
            deleted += self.apply(&mut map, write)?;
        }
        if self.has(Fault::SetForgetsNow) && map.len() == 1 {
            map.retain(|_, stored| stored.value.first() != Some(&b's'));
        }
        Ok(WriteSummary {
            deleted: if self.has(Fault::DeletesAreNotCounted) {
                0
            } else {
                deleted
            },
        })
    }

    async fn scan_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<KeyValueEntry>> {
        if !self.has(Fault::ZeroLimitIsTaken) {
            validate::page(limit)?;
        }
        let map = self.map.lock().unwrap();
        let is_in = |key: &str| match after {
            _ if !key.starts_with(prefix) && !self.has(Fault::ScanIgnoresPrefix) => false,
            Some(after) if self.has(Fault::ScanIncludesAfter) => key >= after,
            Some(after) => key > after,
            None => true,
        };
        let is_seen = |stored: &Stored| stored.is_there() || self.has(Fault::ExpiredIsListed);
        let pairs = map.iter().filter(|(key, stored)| is_in(key) && is_seen(stored));
        let mut pairs: Vec<_> = pairs
            .map(|(key, stored)| KeyValueEntry::new(key.clone(), stored.value.clone(), stored.expires_at))
            .collect();
        if self.has(Fault::ScanIsNotSorted) {
            pairs.sort_by_key(|entry| entry.key.chars().rev().collect::<String>());
        }
        pairs.truncate(if self.has(Fault::ScanStopsShort) {
            limit.min(9)
        } else {
            limit
        });
        Ok(pairs)
    }

    async fn expires_at(&self, key: &str) -> Result<Option<Timestamp>> {
        let key = self.key(key)?;
        let map = self.map.lock().unwrap();
        Ok(self.found(map.get(&key)).and_then(|stored| stored.expires_at))
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>, expiry: Expiry) -> Result<bool> {
        let key = self.key(key)?;
        if !self.has(Fault::AnyLifetimeIsTaken) {
            expiry.validate()?;
        }
        if let Some(new) = &new
            && !self.has(Fault::LargeValueIsTaken)
        {
            validate::value(&key, new)?;
        }
        let is_seen = |stored: &&Stored| stored.is_there() || self.has(Fault::ExpiredIsSwapped);
        if self.has(Fault::SwapIsNotAtomic) {
            let is_expected = {
                let map = self.map.lock().unwrap();
                map.get(&key).filter(is_seen).map(|stored| stored.value.as_slice()) == expected
            };
            // Long enough for another thread to come between.
            std::thread::sleep(std::time::Duration::from_micros(50));
            if is_expected {
                match new {
                    Some(new) => self.set(&key, new).await?,
                    None => drop(self.delete(&key).await?),
                }
            }
            return Ok(is_expected);
        }
        let mut map = self.map.lock().unwrap();
        let current = map.get(&key).filter(is_seen).map(|stored| stored.value.as_slice());
        let is_expected = match self.fault {
            Some(Fault::SwapIgnoresExpected) => true,
            Some(Fault::SwapTakesMissingForEmpty) => current.unwrap_or_default() == expected.unwrap_or_default(),
            _ => current == expected,
        };
        if is_expected {
            match new {
                Some(value) if self.has(Fault::SwapKeepsExpiry) => {
                    let expires_at = map.get(&key).and_then(|stored| stored.expires_at);
                    map.insert(key, Stored { value, expires_at });
                }
                Some(new) => self.put(&mut map, key, new, Some(expiry)),
                None => drop(map.remove(&key)),
            }
        }
        Ok(is_expected)
    }

    fn backend_type(&self) -> BackendType {
        BackendType::Other("naive")
    }

    fn characteristics(&self) -> BackendCharacteristics {
        BackendCharacteristics::new(Durability::Volatile, false, false)
    }
}
