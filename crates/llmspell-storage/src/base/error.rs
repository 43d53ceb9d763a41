//! Turns errors of the system and of redb into [`StorageError`]s.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llmspell_core::StorageError;

/// An operation on a file failed.
pub(crate) fn io_error(op: &'static str, path: &Path, source: io::Error) -> StorageError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StorageError::NoSpace {
                path,
                available_bytes: None,
                needed_bytes: None,
            }
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StorageError::ReadOnly {
            path,
            source: Arc::new(source),
        },
        _ => StorageError::Io {
            op,
            path,
            source: Arc::new(source),
        },
    }
}

/// The process that has a directory open, for an error text; `text` is the content of its lock file, `process` and a
/// number.
pub(crate) fn holder_of(text: &str) -> String {
    match text.strip_prefix("process ") {
        Some(id) if id == std::process::id().to_string() => "by another handle in this process".to_string(),
        _ => text.to_string(),
    }
}

/// There is not enough memory for the content of the file at `path`.
pub(crate) fn out_of_memory(path: &Path, source: io::Error) -> StorageError {
    io_error("get memory for", path, source)
}

/// The system starts no further thread.
pub(crate) fn no_thread(source: io::Error) -> StorageError {
    StorageError::Io {
        op: "start a thread of",
        path: PathBuf::from("this process"),
        source: Arc::new(source),
    }
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &StorageError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Bytes differ from those that were written.
pub(crate) fn corrupted(path: impl Into<PathBuf>, detail: impl Into<String>) -> StorageError {
    StorageError::Corrupted {
        path: path.into(),
        detail: detail.into(),
    }
}

/// redb's error, about the file at `path`.
pub(crate) fn redb_error(path: &Path, error: impl Into<redb::Error>) -> StorageError {
    match error.into() {
        redb::Error::Io(source)
            if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            corrupted(path, source.to_string())
        }
        redb::Error::Io(source) => io_error("access", path, source),
        redb::Error::Corrupted(detail) => corrupted(path, detail),
        redb::Error::DatabaseClosed => StorageError::Closed,
        redb::Error::PreviousIo => StorageError::Poisoned {
            first_error: format!("an earlier access to {} failed", path.display()),
        },
        redb::Error::DatabaseAlreadyOpen => StorageError::AlreadyOpen {
            path: path.to_path_buf(),
            holder: "another user of the file".to_string(),
        },
        redb::Error::UpgradeRequired(found) => StorageError::UnsupportedVersion {
            path: path.to_path_buf(),
            found: found.into(),
            min: 3,
            max: 4,
        },
        // The remaining errors are damaged or foreign files, and misuse of redb that its types cannot rule out.
        other => corrupted(path, other.to_string()),
    }
}
