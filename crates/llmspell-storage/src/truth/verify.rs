//! Verification that every row is found by its key: all tables, a few rows at a time.
//!
//! A damaged key in a page of redb can lead past rows that are there, and then nothing is read whose checksum could tell.
//! Going from row to row along the pages meets those rows; then each must be found by its key, too, and follow the one
//! before it.

use std::cmp::Ordering;
use std::ops::Bound;

use llmspell_core::Result;
use redb::{Key, ReadOnlyTable, ReadableTable, TableDefinition, TableHandle, Value};

use super::{Read, Truth, tables};
use crate::base::error::corrupted;

/// Rows of a step: about a millisecond.
const STEP_ROWS: usize = 512;

/// How far the tables were looked at. Writes may happen between two steps.
#[derive(Debug, Default)]
pub(crate) struct Verification {
    table: usize,
    /// Bytes of the last key that was found.
    after: Option<Vec<u8>>,
}

/// The next step of a table: from a key on to the last one that was looked at; none at the end of the table.
type Step = fn(&Read, Option<&[u8]>) -> Result<Option<Vec<u8>>>;

const TABLES: [Step; 18] = [
    |read, after| step(read, tables::META, after),
    |read, after| step(read, tables::SPACES, after),
    |read, after| step(read, tables::SLOT_ENDS, after),
    |read, after| step(read, tables::FREE_SLOTS, after),
    |read, after| step(read, tables::SCOPES, after),
    |read, after| step(read, tables::SCOPE_NAMES, after),
    |read, after| step(read, tables::DROPPED, after),
    |read, after| step(read, tables::IDS, after),
    |read, after| step(read, tables::ENTRIES, after),
    // Databases of earlier builds get it with their first text.
    |read, after| match read.optional_table(tables::TEXTS)? {
        Some(table) => step_of(read, &table, tables::TEXTS.name(), after),
        None => Ok(None),
    },
    |read, after| step(read, tables::EXPIRING, after),
    |read, after| step(read, tables::LOG, after),
    |read, after| step(read, tables::CHECKPOINTS, after),
    |read, after| step(read, tables::INDEXES, after),
    // Databases of earlier builds get it with the first file that is named.
    |read, after| match read.optional_table(tables::INDEX_FILES)? {
        Some(table) => step_of(read, &table, tables::INDEX_FILES.name(), after),
        None => Ok(None),
    },
    |read, after| step(read, tables::KV, after),
    // Databases that were made before keys could expire get it with the first that does.
    |read, after| match read.optional_table(tables::EXPIRING_KEYS)? {
        Some(table) => step_of(read, &table, tables::EXPIRING_KEYS.name(), after),
        None => Ok(None),
    },
    // And this one with their first large batch.
    |read, after| match read.optional_table(tables::STAGED)? {
        Some(table) => step_of(read, &table, tables::STAGED.name(), after),
        None => Ok(None),
    },
];

impl Verification {
    /// Looks at a few more rows. Says whether that was the last step.
    ///
    /// # Errors
    ///
    /// `Corrupted` if a row is not where its key leads, `Io` if one cannot be read.
    pub(crate) fn step(&mut self, truth: &Truth) -> Result<bool> {
        let Some(step) = TABLES.get(self.table) else {
            return Ok(true);
        };
        self.after = truth.guard(|| step(&truth.read()?, self.after.as_deref()))?;
        if self.after.is_none() {
            self.table += 1;
        }
        Ok(self.table == TABLES.len())
    }
}

fn step<K: Key + 'static, V: Value + 'static>(
    read: &Read,
    definition: TableDefinition<'static, K, V>,
    after: Option<&[u8]>,
) -> Result<Option<Vec<u8>>> {
    step_of(read, &read.table(definition)?, definition.name(), after)
}

fn step_of<K: Key + 'static, V: Value + 'static>(
    read: &Read,
    table: &ReadOnlyTable<K, V>,
    name: &str,
    after: Option<&[u8]>,
) -> Result<Option<Vec<u8>>> {
    let rows = match after {
        None => table.iter(),
        Some(after) => table.range::<K::SelfType<'_>>((Bound::Excluded(K::from_bytes(after)), Bound::Unbounded)),
    };
    let mut last: Option<Vec<u8>> = after.map(<[u8]>::to_vec);
    let mut count = 0;
    for row in rows.map_err(read.failed())? {
        let (key, _) = row.map_err(read.failed())?;
        let bytes = K::as_bytes(&key.value()).as_ref().to_vec();
        let follows = last
            .as_ref()
            .is_none_or(|last| K::compare(last, &bytes) == Ordering::Less);
        if !follows || table.get(key.value()).map_err(read.failed())?.is_none() {
            let detail = format!("table `{name}`: a row is not where its key leads");
            return Err(corrupted(read.path(), detail));
        }
        last = Some(bytes);
        count += 1;
        if count == STEP_ROWS {
            return Ok(last);
        }
    }
    Ok(None)
}
