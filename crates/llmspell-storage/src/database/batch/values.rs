//! Which rows does key-value data change?

use llmspell_core::{KeyValueWrite, SCOPE_ID_BYTES_MAX, ScopeKind, ScopedBackend};

use super::quotas::KeyChange;
use super::{Batch, Fail, KV_SCOPE, changing, looking};

impl Batch<'_> {
    pub(super) fn write_values(&mut self, writes: &[KeyValueWrite]) -> Result<u64, Fail> {
        self.admit_keys(writes.iter().map(KeyChange::of))?;
        let mut deleted = 0;
        for write in writes {
            match write {
                KeyValueWrite::Set { key, value } => self.put_value(key.as_bytes(), value)?,
                KeyValueWrite::Delete { key } => deleted += u64::from(self.remove_value(key.as_bytes())?),
                KeyValueWrite::DeletePrefix { prefix } => {
                    for key in self.rows.keys(KV_SCOPE, prefix.as_bytes()).map_err(changing)? {
                        deleted += u64::from(self.remove_value(&key)?);
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

    pub(super) fn swap_value(&mut self, key: &str, expected: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool, Fail> {
        let current = self.rows.value(KV_SCOPE, key.as_bytes()).map_err(looking)?;
        if current.as_deref() != expected {
            return Ok(false);
        }
        self.admit_keys([new.map_or(KeyChange::Remove(key), |value| KeyChange::Put(key, value.len()))])?;
        match new {
            Some(value) => self.put_value(key.as_bytes(), value)?,
            None => drop(self.remove_value(key.as_bytes())?),
        }
        Ok(true)
    }

    fn put_value(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fail> {
        self.rows.put_value(KV_SCOPE, key, value).map_err(changing)?;
        self.values.insert(key.to_vec(), Some(value.into()));
        self.is_changed = true;
        Ok(())
    }

    fn remove_value(&mut self, key: &[u8]) -> Result<bool, Fail> {
        let was_there = self.rows.remove_value(KV_SCOPE, key).map_err(changing)?;
        if was_there {
            self.values.insert(key.to_vec(), None);
            self.is_changed = true;
        }
        Ok(was_there)
    }
}
