//! Which rows does key-value data change?

use llmspell_core::KeyValueWrite;

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
