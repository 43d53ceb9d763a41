//! Errors of the server and the driver as errors of the store.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use deadpool_postgres::PoolError;
use llmspell_core::StorageError;
use tokio_postgres::error::SqlState;

/// The name of the server in errors.
pub(crate) const SERVER: &str = "PostgreSQL";

/// Why an attempt failed, and whether another one may succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server undid the transaction because of others: try it again.
    Collided(String),
    /// A row of that key exists.
    Exists,
    /// What the caller is told.
    Final(StorageError),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Final(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(code) = error.code() else {
            return Self::Final(lost(&error));
        };
        if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED {
            return Self::Collided(text(&error));
        }
        if *code == SqlState::UNIQUE_VIOLATION {
            return Self::Exists;
        }
        Self::Final(of_code(code, &error))
    }
}

impl Failure {
    /// As the caller sees it.
    pub(crate) fn into_error(self) -> StorageError {
        match self {
            Self::Collided(reason) => StorageError::ServerBusy { server: SERVER, reason },
            Self::Exists => StorageError::Server {
                server: SERVER,
                code: SqlState::UNIQUE_VIOLATION.code().to_string(),
                reason: "a row exists".to_string(),
            },
            Self::Final(error) => error,
        }
    }
}

/// An error outside of a transaction that could be tried again.
pub(crate) fn of_server(error: tokio_postgres::Error) -> StorageError {
    Failure::from(error).into_error()
}

pub(crate) fn of_pool(error: PoolError, wait: Duration) -> StorageError {
    match error {
        PoolError::Timeout(_) => StorageError::ServerBusy {
            server: SERVER,
            reason: format!("no connection was free within {} ms", wait.as_millis()),
        },
        PoolError::Backend(error) => of_server(error),
        PoolError::Closed => StorageError::Closed,
        other @ (PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => StorageError::ConnectionLost {
            server: SERVER,
            reason: other.to_string(),
        },
    }
}

fn of_code(code: &SqlState, error: &tokio_postgres::Error) -> StorageError {
    let busy = [
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::OUT_OF_MEMORY,
    ];
    let reason = text(error);
    if busy.contains(code) {
        return StorageError::ServerBusy { server: SERVER, reason };
    }
    let gone = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    if gone.contains(code) {
        return StorageError::ConnectionLost { server: SERVER, reason };
    }
    if *code == SqlState::DISK_FULL {
        return StorageError::NoSpace {
            path: PathBuf::from(SERVER),
            available_bytes: None,
            needed_bytes: None,
        };
    }
    StorageError::Server {
        server: SERVER,
        code: code.code().to_string(),
        reason,
    }
}

fn lost(error: &tokio_postgres::Error) -> StorageError {
    StorageError::ConnectionLost {
        server: SERVER,
        reason: text(error),
    }
}

/// The message of the server, or the chain of causes.
pub(crate) fn text(error: &tokio_postgres::Error) -> String {
    if let Some(of_server) = error.as_db_error() {
        let detail = of_server
            .detail()
            .map(|detail| format!(" ({detail})"))
            .unwrap_or_default();
        return format!("{}{detail}", of_server.message());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Rows that are not as they were written.
pub(crate) fn corrupted(table: &str, detail: impl Into<String>) -> StorageError {
    StorageError::Corrupted {
        path: PathBuf::from(table),
        detail: detail.into(),
    }
}
