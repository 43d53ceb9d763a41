//! [`PostgresConfig`]: which server, which schema, how many connections.

use std::fmt;
use std::time::Duration;

use llmspell_core::{Result, StorageError};

/// PostgreSQL cuts longer names without a word.
const NAME_BYTES_MAX: usize = 63;
/// Room for what follows a prefix: `space_` and ten digits, and the ends of the names of indexes.
const PREFIX_BYTES_MAX: usize = 24;

/// How a PostgreSQL server is reached, and where its tables are.
///
/// | setting                                        | default                | range                     |
/// |------------------------------------------------|------------------------|---------------------------|
/// | [`schema`](Self::with_schema)                  | `llmspell`             | a name of a-z, 0-9 and `_` |
/// | [`prefix`](Self::with_prefix)                  | none                   | up to 24 such characters  |
/// | [`service_role`](Self::with_service_role)      | none                   | a name as above           |
/// | [`pool_size`](Self::with_pool_size)            | 16 connections         | 1 to 10,000               |
/// | [`wait`](Self::with_wait)                      | 10 seconds             | 1 ms to a day             |
/// | [`statement_timeout`](Self::with_statement_timeout) | 5 minutes         | 1 ms to a day             |
/// | [`attempts`](Self::with_attempts)              | 8                      | 1 to 100                  |
/// | [`exact_scan_max`](Self::with_exact_scan_max)  | 20,000 entries         | any                       |
#[derive(Clone)]
pub struct PostgresConfig {
    pub(crate) url: String,
    pub(crate) schema: String,
    pub(crate) prefix: String,
    pub(crate) service_role: Option<String>,
    pub(crate) pool_size: usize,
    pub(crate) wait: Duration,
    pub(crate) statement_timeout: Duration,
    pub(crate) attempts: usize,
    pub(crate) exact_scan_max: u64,
}

/// Without the URL, which may hold a password.
impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("schema", &self.schema)
            .field("prefix", &self.prefix)
            .field("service_role", &self.service_role)
            .field("pool_size", &self.pool_size)
            .finish_non_exhaustive()
    }
}

impl PostgresConfig {
    /// A server by its URL, `postgres://user:password@host:port/database`, or by a text of `key=value` pairs.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "llmspell".to_string(),
            prefix: String::new(),
            service_role: None,
            pool_size: 16,
            wait: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(300),
            attempts: 8,
            exact_scan_max: 20_000,
        }
    }

    /// The schema of all tables. It is created if the role may do so.
    #[must_use]
    pub fn with_schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// What all names of tables begin with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// An existing role that may read and write all tables and owns none: the one that applications log in as. It gets its
    /// rights when tables are created by their owner.
    #[must_use]
    pub fn with_service_role(mut self, role: impl Into<String>) -> Self {
        self.service_role = Some(role.into());
        self
    }

    /// Most connections at a time.
    #[must_use]
    pub fn with_pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections;
        self
    }

    /// How long a call waits for a connection, free or new, before it fails with
    /// [`ServerBusy`](StorageError::ServerBusy).
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How long one statement may take before the server ends it, and the call fails with
    /// [`Timeout`](StorageError::Timeout). Nothing of the call is then done.
    #[must_use]
    pub fn with_statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// How often a transaction is tried that the server ends because of others: for a deadlock, for example.
    #[must_use]
    pub fn with_attempts(mut self, attempts: usize) -> Self {
        self.attempts = attempts;
        self
    }

    /// Scopes of at most this many entries are searched by comparing all of them; larger ones get an index with
    /// [`build_index`](llmspell_core::VectorStorage::build_index).
    #[must_use]
    pub fn with_exact_scan_max(mut self, entries: u64) -> Self {
        self.exact_scan_max = entries;
        self
    }

    /// Checks every setting but the URL.
    ///
    /// # Errors
    ///
    /// [`InvalidName`](StorageError::InvalidName) or [`OutOfRange`](StorageError::OutOfRange).
    pub fn validate(&self) -> Result<()> {
        check_name("schema", &self.schema, NAME_BYTES_MAX)?;
        if !self.prefix.is_empty() {
            check_name("prefix of tables", &self.prefix, PREFIX_BYTES_MAX)?;
        }
        if let Some(role) = &self.service_role {
            check_name("role", role, NAME_BYTES_MAX)?;
        }
        in_range("number of connections", self.pool_size as f64, 10_000.0)?;
        in_range("number of attempts", self.attempts as f64, 100.0)?;
        let day_ms = 86_400_000.0;
        in_range("wait for a connection in ms", self.wait.as_millis() as f64, day_ms)?;
        in_range(
            "statement timeout in ms",
            self.statement_timeout.as_millis() as f64,
            day_ms,
        )
    }
}

fn in_range(what: &'static str, got: f64, max: f64) -> Result<()> {
    match (1.0..=max).contains(&got) {
        true => Ok(()),
        false => Err(StorageError::OutOfRange {
            what,
            got,
            min: 1.0,
            max,
        }),
    }
}

/// Names that need no quotes, so that no case is folded and nothing in them is SQL.
pub(crate) fn check_name(what: &'static str, name: &str, bytes_max: usize) -> Result<()> {
    let refused = |reason| {
        Err(StorageError::InvalidName {
            what,
            name: name.chars().take(64).collect(),
            reason,
        })
    };
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        return refused("it must begin with a letter or `_`");
    }
    if !name
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    {
        return refused("it may hold a-z, 0-9 and `_` only");
    }
    if name.len() > bytes_max {
        return refused("it is too long");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_more_than_a_name_are_refused() {
        let config = || PostgresConfig::new("postgres://localhost");
        config().validate().unwrap();
        for bad in ["", "a b", "A", "1a", "a\"", "a;b", "é", "a.b"] {
            assert!(config().with_schema(bad).validate().is_err(), "{bad}");
            assert!(config().with_service_role(bad).validate().is_err(), "{bad}");
            assert!(bad.is_empty() || config().with_prefix(bad).validate().is_err(), "{bad}");
        }
        assert!(config().with_prefix("x".repeat(25)).validate().is_err());
        let error = config().with_pool_size(0).validate().unwrap_err().to_string();
        assert_eq!(error, "number of connections is 0; it must be within 1..=10000");
        assert!(config().with_wait(Duration::ZERO).validate().is_err());
        assert!(config().with_attempts(101).validate().is_err());
    }

    #[test]
    fn a_password_is_not_shown() {
        let config = PostgresConfig::new("postgres://ada:secret@localhost/x");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
