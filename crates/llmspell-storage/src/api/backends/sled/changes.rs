//! The net changes of a batch.
//!
//! A batch is a list of changes, each on what those before it left. Worked out on a sorted map over the tree, it comes
//! to one last value for each key, which sled can apply at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use llmspell_core::{Expiry, KeyValueWrite, Result, Timestamp, WriteSummary};

use super::engine::Applied;
use super::reader::Reader;
use super::record::Stored;

/// What a caller wants changed.
pub(super) enum Change {
    /// All of it, in order. Lifetimes have become moments.
    Batch(Vec<KeyValueWrite>),
    /// If the value is the expected one.
    Swap {
        key: String,
        expected: Option<Vec<u8>>,
        new: Option<Vec<u8>>,
        /// A moment, if any.
        expiry: Expiry,
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

    /// How many values with an end it brings.
    pub(super) fn expiring_count(&self) -> usize {
        let is_one = |write: &&KeyValueWrite| matches!(write, KeyValueWrite::SetExpiring { .. });
        match self {
            Self::Batch(batch) => batch.iter().filter(is_one).count(),
            Self::Swap { expiry, .. } => usize::from(*expiry != Expiry::Never),
        }
    }

    /// Whether it stores anything; what only deletes may use the reserve of a full disk.
    pub(super) fn stores(&self) -> bool {
        match self {
            Self::Batch(batch) => batch.iter().any(KeyValueWrite::stores),
            Self::Swap { new, .. } => new.is_some(),
        }
    }
}

/// The net effect on the changed keys.
#[derive(Default)]
pub(super) struct Effect {
    /// It may contain a key that did not exist before and does not exist afterwards.
    pub(super) keys: BTreeMap<String, Changed>,
}

/// A key that changes.
pub(super) struct Changed {
    /// The expiry of the value in the tree, if there is one.
    pub(super) before: Option<Option<Timestamp>>,
    /// What will be there.
    pub(super) after: Option<Stored>,
}

/// Works out the effect of `change` at `now`, and the answer to its caller. Reads only.
pub(super) fn work_out(reader: &Reader, change: Change, now: i64) -> Result<(Effect, Applied)> {
    let mut effect = Effect::default();
    match change {
        Change::Batch(batch) => {
            let mut deleted = 0;
            for write in batch {
                match write {
                    KeyValueWrite::Set { key, value } => effect.set(reader, key, value, None, now)?,
                    KeyValueWrite::SetExpiring { key, value, expiry } => {
                        effect.set(reader, key, value, moment(expiry), now)?;
                    }
                    KeyValueWrite::Delete { key } => deleted += u64::from(effect.delete(reader, key, now)?),
                    KeyValueWrite::DeletePrefix { prefix } => deleted += effect.delete_prefix(reader, &prefix, now)?,
                }
            }
            let applied = Applied {
                was_expected: true,
                summary: WriteSummary { deleted },
            };
            Ok((effect, applied))
        }
        Change::Swap {
            key,
            expected,
            new,
            expiry,
        } => {
            let was_expected = reader.get_at(&key, now)? == expected;
            match new {
                Some(new) if was_expected => effect.set(reader, key, new, moment(expiry), now)?,
                None if was_expected => drop(effect.delete(reader, key, now)?),
                Some(_) | None => {}
            }
            let applied = Applied {
                was_expected,
                summary: WriteSummary::default(),
            };
            Ok((effect, applied))
        }
    }
}

impl Effect {
    /// Removes keys, each if it ends at the moment that is noted of it.
    pub(super) fn purge(reader: &Reader, keys: &[(i64, String)]) -> Result<Self> {
        let mut effect = Self::default();
        for (moment, key) in keys {
            let before = reader.end_in_tree(key)?;
            if before == Some(Some(Timestamp::from_millis(*moment))) {
                effect.keys.insert(key.clone(), Changed { before, after: None });
            }
        }
        Ok(effect)
    }

    /// How many keys come and go in the tree.
    pub(super) fn added_and_removed(&self) -> (u64, u64) {
        let changes = || {
            self.keys
                .values()
                .map(|key| (key.before.is_some(), key.after.is_some()))
        };
        let added = changes().filter(|change| *change == (false, true)).count();
        let removed = changes().filter(|change| *change == (true, false)).count();
        (added as u64, removed as u64)
    }

    /// Whether it has to do with keys that expire.
    pub(super) fn concerns_time(&self) -> bool {
        let ends = |key: &Changed| {
            key.before
                .flatten()
                .or(key.after.as_ref().and_then(|new| new.expires_at))
        };
        self.keys.values().any(|key| ends(key).is_some())
    }

    fn key(&mut self, reader: &Reader, key: String) -> Result<&mut Changed> {
        match self.keys.entry(key) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let before = reader.end_in_tree(new.key())?;
                // Only that it is there and when it ends will be asked, and it is overwritten at once.
                let after = before.map(|expires_at| Stored {
                    value: Vec::new(),
                    expires_at,
                });
                Ok(new.insert(Changed { before, after }))
            }
        }
    }

    /// A value that has expired at `now` is not stored.
    fn set(
        &mut self,
        reader: &Reader,
        key: String,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
        now: i64,
    ) -> Result<()> {
        let new = Stored { value, expires_at };
        self.key(reader, key)?.after = Some(new).filter(|new| new.is_there(now));
        Ok(())
    }

    /// Says whether the key was there and not over.
    fn delete(&mut self, reader: &Reader, key: String, now: i64) -> Result<bool> {
        let removed = self.key(reader, key)?.after.take();
        Ok(removed.is_some_and(|stored| stored.is_there(now)))
    }

    fn delete_prefix(&mut self, reader: &Reader, prefix: &str, now: i64) -> Result<u64> {
        let mut keys = reader.keys_in_tree(prefix)?;
        let from_prefix = self
            .keys
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        keys.extend(
            from_prefix
                .map(|(key, _)| key.clone())
                .take_while(|key| key.starts_with(prefix)),
        );
        let mut deleted = 0;
        for key in keys {
            deleted += u64::from(self.delete(reader, key, now)?);
        }
        Ok(deleted)
    }
}

/// When a value ends; its lifetime became a moment when the call began.
fn moment(expiry: Expiry) -> Option<Timestamp> {
    match expiry {
        Expiry::Never => None,
        Expiry::At(moment) => Some(moment),
        Expiry::After(_) => unreachable!("lifetimes become moments before they are queued"),
    }
}
