//! The rows of keys, and which of them have expired.
//!
//! A key that expires has a row in `expiring_keys` too, for as long as it has that expiry. So expired keys are found
//! without reading values, and a new expiry replaces the row of the old one.

use std::ops::RangeInclusive;

use llmspell_core::{Result, Timestamp};
use redb::{ReadOnlyTable, ReadableTable, ReadableTableMetadata};

use super::tables;
use super::write::{Rows, table};
use super::{Read, table_error};
use crate::base::error::out_of_memory;
use crate::base::ids::ScopeId;
use crate::base::stored_value::StoredValue;
use llmspell_codec::try_copy;

/// A row of `expiring_keys`.
#[derive(Debug, Clone)]
pub(crate) struct ExpiredKey {
    pub(crate) moment: i64,
    pub(crate) scope: ScopeId,
    pub(crate) key: Vec<u8>,
}

/// When a key ended, or will.
type End = Option<Timestamp>;

/// Key of a row of `expiring_keys`.
type EndKey = (i64, u64, &'static [u8]);

fn until(now: i64) -> RangeInclusive<EndKey> {
    // Moments before the next one, and its empty key, which cannot exist.
    (i64::MIN, 0, &[][..])..=(now.saturating_add(1), 0, &[][..])
}

impl Read {
    /// None in databases that were made before keys could expire, until the first one does.
    fn expiring_keys(&self) -> Result<Option<ReadOnlyTable<EndKey, ()>>> {
        self.optional_table(tables::EXPIRING_KEYS)
    }

    /// The earliest moment at which a key expires.
    pub(crate) fn first_key_expiry(&self) -> Result<Option<i64>> {
        let Some(table) = self.expiring_keys()? else {
            return Ok(None);
        };
        let first = table.first().map_err(self.failed())?;
        Ok(first.map(|(key, _)| key.value().0))
    }

    /// Keys that are over at `now` and not purged yet, in the order of time.
    pub(crate) fn visit_expired_keys(
        &self,
        now: i64,
        mut visit: impl FnMut(ScopeId, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let Some(table) = self.expiring_keys()? else {
            return Ok(());
        };
        for row in table.range::<(i64, u64, &[u8])>(until(now)).map_err(self.failed())? {
            let (row, _) = row.map_err(self.failed())?;
            let (_, scope, key) = row.value();
            visit(ScopeId(scope), key)?;
        }
        Ok(())
    }

    /// Whether a key is noted to expire at a moment.
    pub(crate) fn is_expiring(&self, scope: ScopeId, key: &[u8], moment: Timestamp) -> Result<bool> {
        let Some(table) = self.expiring_keys()? else {
            return Ok(false);
        };
        let row = table.get((moment.as_millis(), scope.0, key)).map_err(self.failed())?;
        Ok(row.is_some())
    }

    /// How many keys are noted to expire.
    pub(crate) fn expiring_key_count(&self) -> Result<u64> {
        self.expiring_keys()?
            .map_or(Ok(0), |table| table.len().map_err(self.failed()))
    }

    /// Number of keys in all scopes, without those that are over at `now`.
    pub(crate) fn key_count(&self, now: i64) -> Result<u64> {
        let mut count = self.table(tables::KV)?.len().map_err(self.failed())?;
        self.visit_expired_keys(now, |_, _| {
            count = count.saturating_sub(1);
            Ok(())
        })?;
        Ok(count)
    }
}

impl Rows<'_> {
    /// The value of a key, also if it is over.
    pub(crate) fn value(&mut self, scope: ScopeId, key: &[u8]) -> Result<Option<StoredValue<Vec<u8>>>> {
        let path = self.write.path.clone();
        let failed = self.failed();
        let malformed = self.malformed(|| format!("value of key `{}`", String::from_utf8_lossy(key)));
        let Some(row) = table!(self.kv, KV).get((scope.0, key)).map_err(failed)? else {
            return Ok(None);
        };
        let stored = StoredValue::decode(&tables::kv_place(scope.0, key), row.value()).map_err(malformed)?;
        let copy = try_copy(stored.value).map_err(|source| out_of_memory(&path, source))?;
        Ok(Some(stored.map(|_| copy)))
    }

    /// Stores the value of a key, and when it expires. Returns when the one before did, if it was there.
    pub(crate) fn put_value(&mut self, scope: ScopeId, key: &[u8], new: &StoredValue<&[u8]>) -> Result<Option<End>> {
        let before = self.forget_expiry(scope, key)?;
        let failed = self.failed();
        let bytes = new
            .try_encode(&tables::kv_place(scope.0, key))
            .map_err(|source| out_of_memory(&self.write.path, source))?;
        table!(self.kv, KV)
            .insert((scope.0, key), bytes.as_slice())
            .map_err(&failed)?;
        if let Some(moment) = new.expires_at {
            table!(self.expiring_keys, EXPIRING_KEYS)
                .insert((moment.as_millis(), scope.0, key), ())
                .map_err(&failed)?;
        }
        Ok(before)
    }

    /// Removes a key. Returns when it expired, if it was there.
    pub(crate) fn remove_value(&mut self, scope: ScopeId, key: &[u8]) -> Result<Option<End>> {
        let before = self.forget_expiry(scope, key)?;
        let failed = self.failed();
        table!(self.kv, KV).remove((scope.0, key)).map_err(failed)?;
        Ok(before)
    }

    /// Removes the note that a key expires, if it does. Returns when, if it is there.
    fn forget_expiry(&mut self, scope: ScopeId, key: &[u8]) -> Result<Option<End>> {
        let Some((_, end)) = self.value_len_and_end(scope, key)? else {
            return Ok(None);
        };
        if let Some(moment) = end {
            let failed = self.failed();
            table!(self.expiring_keys, EXPIRING_KEYS)
                .remove((moment.as_millis(), scope.0, key))
                .map_err(failed)?;
        }
        Ok(Some(end))
    }

    /// How long the value of a key is and when it expires, if it is there.
    pub(crate) fn value_len_and_end(&mut self, scope: ScopeId, key: &[u8]) -> Result<Option<(u64, End)>> {
        // Only where some key expires is it worth looking at the whole value.
        let can_expire = self.has_expiring_keys()?;
        let failed = self.failed();
        let row = table!(self.kv, KV).get((scope.0, key)).map_err(failed)?;
        Ok(row.map(|row| len_and_end(scope, key, row.value(), can_expire)))
    }

    /// The keys that start with a prefix, also those that are over, and how long their values are.
    pub(crate) fn value_lens(&mut self, scope: ScopeId, prefix: &[u8]) -> Result<Vec<(Vec<u8>, u64)>> {
        let can_expire = self.has_expiring_keys()?;
        let failed = self.failed();
        let mut lens = Vec::new();
        for row in table!(self.kv, KV)
            .range((scope.0, prefix)..(scope.0 + 1, &[][..]))
            .map_err(&failed)?
        {
            let (key, value) = row.map_err(&failed)?;
            let key = key.value().1;
            if !key.starts_with(prefix) {
                break;
            }
            lens.push((key.to_vec(), len_and_end(scope, key, value.value(), can_expire).0));
        }
        Ok(lens)
    }

    /// Whether any key expires.
    fn has_expiring_keys(&mut self) -> Result<bool> {
        let failed = self.failed();
        let is_empty = table!(self.expiring_keys, EXPIRING_KEYS).is_empty().map_err(failed)?;
        Ok(!is_empty)
    }

    /// Keys that are over at `now`, at most `limit`, in the order of time.
    pub(crate) fn expired_keys(&mut self, now: i64, limit: usize) -> Result<Vec<ExpiredKey>> {
        let failed = self.failed();
        let rows = table!(self.expiring_keys, EXPIRING_KEYS)
            .range::<(i64, u64, &[u8])>(until(now))
            .map_err(&failed)?;
        rows.take(limit)
            .map(|row| {
                let (row, _) = row.map_err(&failed)?;
                let (moment, scope, key) = row.value();
                Ok(ExpiredKey {
                    moment,
                    scope: ScopeId(scope),
                    key: key.to_vec(),
                })
            })
            .collect()
    }

    /// Removes the note that a key expires at a moment, whatever the key says.
    pub(crate) fn remove_expired_key(&mut self, row: &ExpiredKey) -> Result<()> {
        let failed = self.failed();
        table!(self.expiring_keys, EXPIRING_KEYS)
            .remove((row.moment, row.scope.0, row.key.as_slice()))
            .map_err(failed)?;
        Ok(())
    }

    /// Notes that a key expires, whatever the key says.
    #[cfg(test)]
    pub(crate) fn note_expiring_key(&mut self, row: &ExpiredKey) -> Result<()> {
        let failed = self.failed();
        table!(self.expiring_keys, EXPIRING_KEYS)
            .insert((row.moment, row.scope.0, row.key.as_slice()), ())
            .map_err(failed)?;
        Ok(())
    }
}

/// Of a stored value. A damaged one can be overwritten and removed: it counts with all of its bytes, and does not expire.
fn len_and_end(scope: ScopeId, key: &[u8], bytes: &[u8], can_expire: bool) -> (u64, End) {
    let whole = (llmspell_codec::CHECKSUM_BYTES, None);
    let (head, end) = match can_expire {
        false => whole,
        true => match StoredValue::decode(&tables::kv_place(scope.0, key), bytes) {
            Ok(stored) => (bytes.len() - stored.value.len(), stored.expires_at),
            Err(_) => whole,
        },
    };
    (bytes.len().saturating_sub(head) as u64, end)
}
