//! Verification that every row is found by its key: all tables, a few rows at a time.
//!
//! A damaged key in a page of redb can lead past rows that are there, and then nothing is read whose checksum could tell.
//! Going from row to row along the pages meets those rows; then each must be found by its key, too, and follow the one
//! before it.

use llmspell_core::Result;

use super::{Truth, tables};

/// How far the tables were looked at. Writes may happen between two steps.
#[derive(Debug, Default)]
pub(crate) struct Verification {
    table: usize,
    /// Bytes of the last key that was found.
    after: Option<Vec<u8>>,
}

impl Verification {
    /// Looks at a few more rows. Says whether that was the last step.
    ///
    /// # Errors
    ///
    /// `Corrupted` if a row is not where its key leads, `Io` if one cannot be read.
    pub(crate) fn step(&mut self, truth: &Truth) -> Result<bool> {
        let Some(table) = tables::ALL.get(self.table) else {
            return Ok(true);
        };
        self.after = truth.guard(|| table.verify(&truth.read()?, self.after.as_deref()))?;
        if self.after.is_none() {
            self.table += 1;
        }
        Ok(self.table == tables::ALL.len())
    }
}
