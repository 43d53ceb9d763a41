//! How do errors of the system and of redb become ours?

use std::io;
use std::path::{Path, PathBuf};

use llmspell_core::StorageError;

/// An operation on a file failed.
pub(crate) fn io_error(op: &'static str, path: &Path, source: io::Error) -> StorageError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StorageError::NoSpace {
                path,
                available_bytes: 0,
                needed_bytes: 1,
            }
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StorageError::ReadOnly { path, source },
        _ => StorageError::Io { op, path, source },
    }
}

/// There is no memory for what is in the file at `path`, or is to be.
pub(crate) fn out_of_memory(path: &Path, source: io::Error) -> StorageError {
    io_error("get memory for", path, source)
}

/// The system starts no further thread.
pub(crate) fn no_thread(source: io::Error) -> StorageError {
    StorageError::Io {
        op: "start a thread of",
        path: PathBuf::from("this process"),
        source,
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

/// Bytes are not what was written.
pub(crate) fn corrupted(path: impl Into<PathBuf>, detail: impl Into<String>) -> StorageError {
    StorageError::Corrupted {
        path: path.into(),
        detail: detail.into(),
    }
}

/// The same error once more: all waiters of a commit are told why it failed.
pub(crate) fn repeat(error: &StorageError) -> StorageError {
    let io_again = |source: &io::Error| {
        source.raw_os_error().map_or_else(
            || io::Error::new(source.kind(), source.to_string()),
            io::Error::from_raw_os_error,
        )
    };
    match error {
        StorageError::NoSpace {
            path,
            available_bytes,
            needed_bytes,
        } => StorageError::NoSpace {
            path: path.clone(),
            available_bytes: *available_bytes,
            needed_bytes: *needed_bytes,
        },
        StorageError::ReadOnly { path, source } => StorageError::ReadOnly {
            path: path.clone(),
            source: io_again(source),
        },
        StorageError::Io { op, path, source } => StorageError::Io {
            op,
            path: path.clone(),
            source: io_again(source),
        },
        StorageError::Corrupted { path, detail } => corrupted(path, detail),
        StorageError::Closed => StorageError::Closed,
        StorageError::Poisoned { first_error } => StorageError::Poisoned {
            first_error: first_error.clone(),
        },
        other => StorageError::Poisoned {
            first_error: with_causes(other),
        },
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
        // What is left are damaged or foreign files, and misuse of redb that its types cannot rule out.
        other => corrupted(path, other.to_string()),
    }
}
