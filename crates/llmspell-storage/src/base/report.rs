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
    /// What is wrong, each with its place; empty if nothing is.
    pub problems: Vec<String>,
    /// What is wrong and mends itself: derived files that are dropped and made anew.
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

    /// Counts something that was read; notes what is wrong with it. The disk failing is no finding but an error.
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
