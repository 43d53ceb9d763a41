//! Why a tool could not do what it was asked, in words for the agent.

use std::fmt;

use llmspell_storage::{ErrorKind, StorageError};

/// Why a tool could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(String);

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// Something is longer than the server allows.
    pub(crate) fn too_long(what: &str, got: usize, limit: usize, unit: &str) -> Self {
        Self(format!("{what} has {got} {unit}; at most {limit} are allowed"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<StorageError> for Refusal {
    fn from(error: StorageError) -> Self {
        // Names of other scopes' spaces and models are not for an agent.
        let error = error.without_names();
        let hint = match &error {
            StorageError::IdExists { .. } => "; forget the old entry first, or use another id",
            StorageError::WritesRefused { .. } => {
                "; the server that has the database open was started with --read-only: restart it without"
            }
            StorageError::Dimension { .. } => "; this space was filled by another embedding model: use another --space",
            _ => match error.kind() {
                ErrorKind::Busy | ErrorKind::Closed => "; try again",
                ErrorKind::Data => "; the user should run `llmspell-storage check`",
                _ => "",
            },
        };
        Self(format!("{error}{hint}"))
    }
}
