//! What does a batch come to?
//!
//! A batch is a list of changes, each on what those before it left. Worked out on a sorted map over the tree, it comes
//! to one last value for each key, which sled can apply at once.

use std::collections::BTreeMap;

use llmspell_core::{KeyValueWrite, Result};

use super::engine::Outcome;
use super::reader::Reader;
use llmspell_core::WriteSummary;

/// What a caller wants changed.
pub(super) enum Change {
    /// All of it, in order.
    Batch(Vec<KeyValueWrite>),
    /// If the value is the expected one.
    Swap {
        key: String,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
    },
}

impl Change {
    /// About how many bytes it brings.
    pub(super) fn len_bytes(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.iter().map(KeyValueWrite::len_bytes).sum(),
            Self::Swap { key, new, .. } => key.len() + new.as_ref().map_or(0, Vec::len),
        }
    }

    /// Whether it stores anything; what only deletes may use the reserve of a full disk.
    pub(super) fn stores(&self) -> bool {
        match self {
            Self::Batch(batch) => batch.iter().any(|write| matches!(write, KeyValueWrite::Set { .. })),
            Self::Swap { new, .. } => new.is_some(),
        }
    }
}

/// The last value of each key that changes, and how many keys come and go.
#[derive(Default)]
pub(super) struct Effect {
    /// `None` deletes. A key that was not there and is not there now may be in it.
    pub(super) values: BTreeMap<String, Option<Vec<u8>>>,
    pub(super) added: u64,
    pub(super) deleted: u64,
}

/// Works out what `change` does to what is in the tree, and what its caller is told. Reads only.
pub(super) fn work_out(reader: &Reader, change: Change) -> Result<(Effect, Outcome)> {
    let mut effect = Effect::default();
    match change {
        Change::Batch(batch) => {
            for write in batch {
                match write {
                    KeyValueWrite::Set { key, value } => effect.set(reader, key, value)?,
                    KeyValueWrite::Delete { key } => effect.delete(reader, key)?,
                    KeyValueWrite::DeletePrefix { prefix } => effect.delete_prefix(reader, &prefix)?,
                }
            }
            let summary = WriteSummary {
                deleted: effect.deleted,
            };
            Ok((effect, Outcome::Written(summary)))
        }
        Change::Swap { key, expected, new } => {
            let is_expected = reader.get(&key)? == expected;
            match new {
                Some(new) if is_expected => effect.set(reader, key, new)?,
                None if is_expected => effect.delete(reader, key)?,
                Some(_) | None => {}
            }
            Ok((effect, Outcome::Swapped(is_expected)))
        }
    }
}

impl Effect {
    fn set(&mut self, reader: &Reader, key: String, value: Vec<u8>) -> Result<()> {
        if !self.is_there(reader, &key)? {
            self.added += 1;
        }
        self.values.insert(key, Some(value));
        Ok(())
    }

    fn delete(&mut self, reader: &Reader, key: String) -> Result<()> {
        if self.is_there(reader, &key)? {
            self.deleted += 1;
            self.values.insert(key, None);
        }
        Ok(())
    }

    fn delete_prefix(&mut self, reader: &Reader, prefix: &str) -> Result<()> {
        let mut keys = reader.keys(prefix)?;
        let from_prefix = self
            .values
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        keys.extend(
            from_prefix
                .map(|(key, _)| key.clone())
                .take_while(|key| key.starts_with(prefix)),
        );
        for key in keys {
            self.delete(reader, key)?;
        }
        Ok(())
    }

    fn is_there(&self, reader: &Reader, key: &str) -> Result<bool> {
        match self.values.get(key) {
            Some(value) => Ok(value.is_some()),
            None => reader.contains(key),
        }
    }
}
