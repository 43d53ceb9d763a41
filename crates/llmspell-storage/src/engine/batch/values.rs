//! Which rows does key-value data change?

use std::collections::HashMap;

use llmspell_core::{Expiry, KeyValueWrite, SCOPE_ID_BYTES_MAX, ScopeKind, ScopedBackend, Timestamp};

use super::quotas::KeyChange;
use super::{Batch, Fail, KV_SCOPE, changing, looking};
use crate::base::stored_value::StoredValue;
use crate::engine::value_cache::Cached;
use crate::truth::ExpiredKey;

/// Keys that are over and go with each one that will be.
const PURGED_PER_PUT: usize = 2;

/// What a batch changes of key-value data.
#[derive(Default)]
pub(super) struct ValueChanges {
    /// What the cache holds of each key that was written, once that is durable.
    pub(super) cached: HashMap<Vec<u8>, Cached>,
    /// The earliest end of a value that was put, in milliseconds since 1970.
    pub(super) first_expiry: Option<i64>,
    /// Values with an end that were put.
    expiring_puts: usize,
}

impl Batch<'_> {
    /// Does changes whose lifetimes have become moments. Says how many keys were there and are removed.
    pub(in crate::engine) fn write_values(&mut self, writes: &[KeyValueWrite]) -> Result<u64, Fail> {
        let now = self.shared.clock.now();
        self.admit_keys(writes.iter().map(|write| KeyChange::of(write, now)), now)?;
        let mut deleted = 0;
        for write in writes {
            match write {
                KeyValueWrite::Set { key, value } => self.put_value(key.as_bytes(), value, None, now)?,
                KeyValueWrite::SetExpiring { key, expiry, .. } if is_over(*expiry, now) => {
                    self.remove_value(key.as_bytes(), now)?;
                }
                KeyValueWrite::SetExpiring { key, value, expiry } => {
                    self.put_value(key.as_bytes(), value, moment(*expiry), now)?;
                }
                KeyValueWrite::Delete { key } => deleted += u64::from(self.remove_value(key.as_bytes(), now)?),
                KeyValueWrite::DeletePrefix { prefix } => {
                    for key in self.rows.keys(KV_SCOPE, prefix.as_bytes()).map_err(changing)? {
                        deleted += u64::from(self.remove_value(&key, now)?);
                    }
                }
            }
        }
        Ok(deleted)
    }

    /// The keys of all scopes of a kind. A key begins with the length of its scope's text, so there is one range of keys
    /// for each length.
    pub(super) fn keys_of_kind(&mut self, kind: ScopeKind) -> Result<Vec<String>, Fail> {
        let name = kind.name();
        let shortest = name.len();
        // Each byte of an id may be written as a percent sign and two digits.
        let longest = shortest + 1 + 3 * SCOPE_ID_BYTES_MAX;
        let mut keys = Vec::new();
        for len in shortest..=longest {
            let prefix = format!("{len}:{name}");
            let stored = self.rows.keys(KV_SCOPE, prefix.as_bytes()).map_err(looking)?;
            let stored = stored.into_iter().filter_map(|key| String::from_utf8(key).ok());
            let is_of_kind =
                |key: &String| ScopedBackend::split_key(key).is_some_and(|(scope, _)| scope.kind() == kind);
            keys.extend(stored.filter(is_of_kind));
        }
        Ok(keys)
    }

    pub(in crate::engine) fn swap_value(
        &mut self,
        key: &str,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
        expiry: Expiry,
    ) -> Result<bool, Fail> {
        let now = self.shared.clock.now();
        let current = self.rows.value(KV_SCOPE, key.as_bytes()).map_err(looking)?;
        let current = current.filter(|stored| stored.is_there(now)).map(|stored| stored.value);
        if current.as_deref() != expected {
            return Ok(false);
        }
        let new = new.filter(|_| !is_over(expiry, now));
        self.admit_keys(
            [new.map_or(KeyChange::Remove(key), |value| KeyChange::Put(key, value.len()))],
            now,
        )?;
        match new {
            Some(value) => self.put_value(key.as_bytes(), value, moment(expiry), now)?,
            None => drop(self.remove_value(key.as_bytes(), now)?),
        }
        Ok(true)
    }

    fn put_value(&mut self, key: &[u8], value: &[u8], expires_at: Option<Timestamp>, now: i64) -> Result<(), Fail> {
        let new = StoredValue { value, expires_at };
        let before = self.rows.put_value(KV_SCOPE, key, &new).map_err(changing)?;
        self.values.cached.insert(key.to_vec(), Some(new.map(Into::into)));
        self.is_changed = true;
        if let Some(moment) = expires_at.map(Timestamp::as_millis) {
            self.values.expiring_puts += 1;
            self.values.first_expiry = self.values.first_expiry.into_iter().chain([moment]).min();
        }
        if expires_at.is_some() || before.flatten().is_some() {
            self.set_clock(now);
        }
        Ok(())
    }

    /// Removes a key. Says whether it was there and not over.
    fn remove_value(&mut self, key: &[u8], now: i64) -> Result<bool, Fail> {
        let Some(end) = self.rows.remove_value(KV_SCOPE, key).map_err(changing)? else {
            return Ok(false);
        };
        self.values.cached.insert(key.to_vec(), None);
        self.is_changed = true;
        if end.is_some() {
            self.set_clock(now);
        }
        Ok(end.is_none_or(|moment| moment.as_millis() > now))
    }

    /// Removes some of the keys that are over, more than this batch brings: however fast they come, they do not pile up.
    pub(in crate::engine) fn purge_in_proportion(&mut self, now: i64) -> Result<(), Fail> {
        let limit = PURGED_PER_PUT * self.values.expiring_puts;
        if limit == 0 {
            return Ok(());
        }
        let expired = self.rows.expired_keys(now, limit).map_err(looking)?;
        match expired.is_empty() {
            true => Ok(()),
            false => self.purge_keys(&expired, now),
        }
    }

    /// Removes keys that are over. What is noted of one that has another end now only loses its note.
    pub(in crate::engine) fn purge_keys(&mut self, expired: &[ExpiredKey], now: i64) -> Result<(), Fail> {
        let mut over = Vec::with_capacity(expired.len());
        for row in expired {
            let found = self.rows.value_len_and_end(row.scope, &row.key).map_err(looking)?;
            let is_it = found.is_some_and(|(_, end)| end == Some(Timestamp::from_millis(row.moment)));
            if is_it && row.scope == KV_SCOPE {
                over.push(&row.key);
            }
        }
        let names = over.iter().filter_map(|key| std::str::from_utf8(key).ok());
        self.admit_keys(names.map(KeyChange::Remove), now)?;
        // What was seen to be over stays so.
        self.set_clock(now);
        for row in expired {
            self.rows.remove_expired_key(row).map_err(changing)?;
        }
        for key in over {
            self.remove_value(key, now)?;
        }
        Ok(())
    }
}

/// Whether a value with this end is not there any more at `now`, so that nothing is stored of it.
pub(super) fn is_over(expiry: Expiry, now: i64) -> bool {
    moment(expiry).is_some_and(|moment| moment.as_millis() <= now)
}

/// When a value ends; its lifetime became a moment when the call began.
fn moment(expiry: Expiry) -> Option<Timestamp> {
    match expiry {
        Expiry::Never => None,
        Expiry::At(moment) => Some(moment),
        Expiry::After(_) => unreachable!("lifetimes become moments before they are queued"),
    }
}
