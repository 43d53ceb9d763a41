//! Sessions: how a transaction is confined to a scope, and when it is repeated.

use std::time::Duration;

use deadpool_postgres::{Client, Pool, Transaction};
use futures_util::future::join3;
use llmspell_core::{Result, StateScope, StorageError};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use crate::config::PostgresConfig;
use crate::error::{Failure, of_pool, of_server};
use crate::schema::Names;
use crate::sql::{NOW, hex};

/// Which rows a transaction may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of one scope, by its bytes; keys of no scope have no bytes.
    Scope(Vec<u8>),
    /// Those of all scopes: for administration, and for batches that span scopes.
    All,
}

impl Reach {
    pub(crate) fn of(scope: &StateScope) -> Self {
        Self::Scope(scope.to_bytes())
    }

    /// The one scope of all of these, or all scopes.
    pub(crate) fn of_all<'a>(mut scopes: impl Iterator<Item = &'a [u8]>) -> Self {
        let Some(first) = scopes.next() else { return Self::All };
        match scopes.all(|scope| scope == first) {
            true => Self::Scope(first.to_vec()),
            false => Self::All,
        }
    }

    /// The value of the setting `llmspell.scope`: letters and digits, or a star.
    pub(crate) fn setting(&self) -> String {
        match self {
            Self::All => "*".to_string(),
            Self::Scope(bytes) => format!("x{}", hex(bytes)),
        }
    }
}

/// Whether a transaction may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A pool of connections, and what its sessions need to know.
pub(crate) struct Inner {
    pub(crate) pool: Pool,
    pub(crate) config: PostgresConfig,
    pub(crate) names: Names,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Inner {
    pub(crate) async fn client(&self) -> Result<Client> {
        self.pool.get().await.map_err(|error| of_pool(error, self.config.wait))
    }

    /// The statement that begins a transaction, with its settings.
    fn begin_sql(&self, reach: &Reach, access: Access, settings: &str) -> String {
        let mode = match access {
            Access::Read => " READ ONLY",
            Access::Write => "",
        };
        format!(
            "BEGIN{mode}; SET LOCAL llmspell.scope = '{}';{settings}",
            reach.setting(),
        )
    }

    /// One statement in a transaction of its own, by one round trip. If the statement fails, the server turns the `COMMIT` into
    /// a rollback.
    ///
    /// All three messages are sent when the future is first polled, so a dropped future leaves no transaction open.
    pub(crate) async fn once(
        &self,
        client: &Client,
        reach: &Reach,
        access: Access,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let begin = self.begin_sql(reach, access, "");
        let (begun, rows, ended) = join3(
            client.batch_execute(&begin),
            client.query(statement, params),
            client.batch_execute("COMMIT"),
        )
        .await;
        begun?;
        let rows = rows.map_err(|error| self.failure(error))?;
        ended?;
        Ok(rows)
    }

    /// Reads by a statement that is prepared once for each connection.
    pub(crate) async fn read(&self, reach: &Reach, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        self.once_prepared(reach, Access::Read, sql, params).await
    }

    /// Writes by one statement. Repeats it if others were in the way.
    pub(crate) async fn change(&self, reach: &Reach, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        self.once_prepared(reach, Access::Write, sql, params).await
    }

    async fn once_prepared(&self, reach: &Reach, access: Access, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let mut attempts = self.attempts();
        loop {
            match self.try_once(reach, access, sql, params).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => attempts.again(failure).await?,
            }
        }
    }

    pub(crate) async fn try_once(
        &self,
        reach: &Reach,
        access: Access,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await.map_err(|error| self.failure(error))?;
        self.once(&client, reach, access, &statement, params).await
    }

    /// One statement whose text differs from call to call, and is not kept. `settings` are statements `SET LOCAL`, each
    /// with its semicolon.
    pub(crate) async fn once_typed(
        &self,
        reach: &Reach,
        access: Access,
        settings: &str,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>> {
        let mut attempts = self.attempts();
        loop {
            let client = self.client().await?;
            // The driver must know this type before it reads rows with it: it would ask the server while the rows wait to be
            // read, and a long answer would leave no room for that of the server.
            let known = client.prepare_cached("SELECT NULL::vector").await;
            known.map_err(|error| self.failure(error).into_error())?;
            let begin = self.begin_sql(reach, access, settings);
            let (begun, rows, ended) = join3(
                client.batch_execute(&begin),
                client.query_typed(sql, params),
                client.batch_execute("COMMIT"),
            )
            .await;
            let answer = begun.and(rows).and_then(|rows| ended.map(|()| rows));
            match answer.map_err(|error| self.failure(error)) {
                Ok(rows) => return Ok(rows),
                Err(failure) => attempts.again(failure).await?,
            }
        }
    }

    /// A transaction of several statements. It is rolled back when it is dropped.
    ///
    /// Two such transactions may lock the same rows in opposite order, and the server then ends one of them. Its repetition runs
    /// while no other transaction of several statements does, so that it cannot be ended again for this reason.
    pub(crate) async fn begin<'c>(
        &self,
        client: &'c mut Client,
        reach: &Reach,
        attempts: &Attempts,
    ) -> Result<Transaction<'c>, Failure> {
        let transaction = client.transaction().await?;
        let shared = if attempts.is_first { "_shared" } else { "" };
        let settings = format!(
            "SET LOCAL llmspell.scope = '{}'; SELECT pg_advisory_xact_lock{shared}(hashtextextended('llmspell {}.{} batches', 0))",
            reach.setting(),
            self.names.schema,
            self.names.prefix
        );
        transaction
            .batch_execute(&settings)
            .await
            .map_err(|error| self.failure(error))?;
        Ok(transaction)
    }

    /// With the statement timeout, which the driver does not know.
    pub(crate) fn failure(&self, error: tokio_postgres::Error) -> Failure {
        if error.code() == Some(&SqlState::QUERY_CANCELED) {
            return Failure::Final(StorageError::Timeout {
                what: "a statement of PostgreSQL",
                timeout_ms: u64::try_from(self.config.statement_timeout.as_millis()).unwrap_or(u64::MAX),
            });
        }
        Failure::from(error)
    }

    /// Waits for a lock that lasts until the end of the transaction.
    pub(crate) async fn lock(&self, transaction: &Transaction<'_>, what: &str) -> Result<()> {
        let name = format!("llmspell {}.{} {what}", self.names.schema, self.names.prefix);
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
        transaction.execute(sql, &[&name]).await.map(drop).map_err(of_server)
    }

    /// What to do about a missing right.
    pub(crate) fn for_administrator(&self, error: StorageError) -> StorageError {
        match error {
            StorageError::Server { server, code, reason } if code == SqlState::INSUFFICIENT_PRIVILEGE.code() => {
                let hint = "an administrator has to create it: `PostgresDatabase::schema_sql` gives the statements";
                StorageError::Server {
                    server,
                    code,
                    reason: format!("{reason}; {hint}"),
                }
            }
            other => other,
        }
    }

    /// The moment of the server's clock, in milliseconds since 1970.
    pub(crate) async fn now(&self) -> Result<i64> {
        let sql = format!("SELECT {NOW}");
        let rows = self.try_once(&Reach::All, Access::Read, &sql, &[]).await;
        let rows = rows.map_err(Failure::into_error)?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }

    pub(crate) fn attempts(&self) -> Attempts {
        Attempts {
            is_first: true,
            left: self.config.attempts - 1,
            pause: Duration::from_millis(2),
        }
    }
}

/// How often a transaction is tried again.
pub(crate) struct Attempts {
    is_first: bool,
    left: usize,
    pause: Duration,
}

impl Attempts {
    /// Waits a little and returns, if another attempt may succeed.
    pub(crate) async fn again(&mut self, failure: Failure) -> Result<()> {
        if self.left == 0 || !matches!(failure, Failure::Collided(_)) {
            return Err(failure.into_error());
        }
        self.left -= 1;
        self.is_first = false;
        // Two that collided must not do so again: their pauses differ by the bits of a random id.
        let share = f64::from(uuid::Uuid::now_v7().as_bytes()[15]) / 255.0;
        tokio::time::sleep(self.pause.mul_f64(0.5 + share)).await;
        self.pause = (2 * self.pause).min(Duration::from_millis(250));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reach_is_letters_and_digits_only() {
        let scope = StateScope::Custom("'; DROP TABLE x; --".to_string());
        let setting = Reach::of(&scope).setting();
        assert!(setting.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{setting}");
        assert_eq!(Reach::Scope(Vec::new()).setting(), "x");
        assert_eq!(Reach::All.setting(), "*");
    }

    #[test]
    fn a_batch_reaches_one_scope_if_it_has_one() {
        let of = |scopes: &[&[u8]]| Reach::of_all(scopes.iter().copied());
        assert_eq!(of(&[b"a", b"a"]), Reach::Scope(b"a".to_vec()));
        assert_eq!(of(&[b"a", b"b"]), Reach::All);
    }
}
