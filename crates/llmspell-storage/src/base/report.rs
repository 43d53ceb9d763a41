//! The report of a check.

use llmspell_core::{ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// What [`Database::check`](crate::Database::check) found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// One part of the database each.
    pub sections: Vec<CheckSection>,
}

/// One part of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckSection {
    /// Which part.
    pub name: String,
    /// Rows or slots that were read.
    pub checked: u64,
    /// The problems, each with its place; empty if there are none.
    pub problems: Vec<String>,
    /// Problems that repair themselves: derived files that are dropped and made again.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.sections.iter().all(|section| section.problems.is_empty())
    }
}

impl CheckSection {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Counts an item that was read; notes a problem with it. A failure of the disk is an error, not a problem.
    pub(crate) fn note<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        self.checked += 1;
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind() == ErrorKind::Data => {
                self.problems.push(error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
