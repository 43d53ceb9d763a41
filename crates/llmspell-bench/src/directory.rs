//! The directory that a benchmark writes to.

use std::path::{Path, PathBuf};

use llmspell_cli_base::errors::CliError;
use tempfile::TempDir;

/// The directory named, or a temporary one that goes away in the end.
pub(crate) enum BenchDirectory {
    Named(PathBuf),
    Temporary(TempDir),
}

impl BenchDirectory {
    pub(crate) fn new(named: Option<PathBuf>) -> Result<Self, CliError> {
        match named {
            Some(directory) => {
                std::fs::create_dir_all(&directory).map_err(|source| CliError::file("create", &directory, source))?;
                Ok(Self::Named(directory))
            }
            None => tempfile::tempdir()
                .map(Self::Temporary)
                .map_err(|source| CliError::system("cannot make a directory", source)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Named(directory) => directory,
            Self::Temporary(directory) => directory.path(),
        }
    }
}
