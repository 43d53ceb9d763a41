//! [`PostgresDatabase`]: opens a server, prepares its schema, and gives out stores.

use std::fmt::Write as _;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use llmspell_core::{DistanceMetric, HNSWConfig, Result, StateScope, StorageError};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::config::{PostgresConfig, check_name};
use crate::error::{SERVER, of_server};
use crate::key_value::PostgresBackend;
use crate::schema::{LATEST, MIGRATIONS, Names, create_space};
use crate::session::{Inner, Reach};
use crate::sql::{NOW, hex, one_count, purge};
use crate::vectors::{PostgresVectors, check_space};

/// The oldest server, as `server_version_num` counts.
const SERVER_MIN: i32 = 150_000;
/// Older versions of pgvector can damage an index.
const VECTOR_MIN: [u32; 3] = [0, 8, 4];

/// A database of a PostgreSQL server: it gives out stores of keys and of vectors, and has the calls of their administration.
///
/// Clones share one pool of connections. Calls need a tokio runtime, with its I/O and time drivers.
#[derive(Clone)]
pub struct PostgresDatabase {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for PostgresDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresDatabase")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl PostgresDatabase {
    /// Connects, checks the versions of the server and of pgvector, and creates or updates the tables.
    ///
    /// A role that may not create them can open a database whose tables are there and up to date.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad configuration or URL; [`UnsupportedVersion`](StorageError::UnsupportedVersion) for tables of a
    /// later version; [`Server`](StorageError::Server) for a server or pgvector that is too old, and if the role lacks rights,
    /// with what an administrator has to do; [`ConnectionLost`](StorageError::ConnectionLost) or
    /// [`ServerBusy`](StorageError::ServerBusy).
    pub async fn open(config: PostgresConfig) -> Result<Self> {
        config.validate()?;
        let inner = Inner {
            pool: pool(&config)?,
            names: Names::of(&config),
            config,
        };
        inner.check_server().await?;
        inner.migrate().await?;
        inner.check_vector().await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The statements that create all tables in an empty schema, for an administrator to run.
    ///
    /// With them vector spaces, each by its name, its dimension and its metric. A space that is not named here is created when it
    /// is first opened, if the role may do so.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad configuration, name or dimension.
    pub fn schema_sql(config: &PostgresConfig, spaces: &[(&str, usize, DistanceMetric)]) -> Result<String> {
        config.validate()?;
        spaces.iter().try_for_each(|(name, dim, _)| check_space(name, *dim))?;
        let names = Names::of(config);
        let mut sql = String::from("BEGIN;\nCREATE EXTENSION IF NOT EXISTS vector;\n");
        let _ = writeln!(sql, "{}", bootstrap(&names));
        for migration in MIGRATIONS {
            let (number, title) = (migration.number, migration.title);
            let _ = writeln!(sql, "-- Version {number}: {title}.{}", (migration.sql)(&names));
            let _ = writeln!(sql, "INSERT INTO {} (number) VALUES ({number});", names.migrations);
        }
        // The tables are new, so spaces are numbered from 1.
        for (number, (name, dim, metric)) in (1..).zip(spaces) {
            let name = hex(name.as_bytes());
            let _ = writeln!(
                sql,
                "INSERT INTO {} (name, dim, metric) VALUES ('\\x{name}', {dim}, '{metric}');\n{}",
                names.spaces,
                create_space(&names, number, *dim)
            );
        }
        sql.push_str("COMMIT;\n");
        Ok(sql)
    }

    /// The store of keys.
    #[must_use]
    pub fn key_value(&self) -> PostgresBackend {
        PostgresBackend::new(Arc::clone(&self.inner))
    }

    /// The store of a vector space, which is created if it is not there.
    ///
    /// Metric and dimension are those it was created with; the other settings are of this handle.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad name, dimension or configuration: pgvector stores up to 16,000 components;
    /// [`SpaceMismatch`](StorageError::SpaceMismatch) if it was created with another dimension or metric; else as
    /// [`open`](Self::open).
    pub async fn vectors(&self, space: &str, dim: usize, config: HNSWConfig) -> Result<PostgresVectors> {
        PostgresVectors::open(Arc::clone(&self.inner), space, dim, config).await
    }

    /// Binds a role to a scope: whoever logs in as this role reaches that scope alone, whatever SQL it sends. The role needs
    /// the rights of the [service role](PostgresConfig::with_service_role), for example by `GRANT service TO tenant`.
    ///
    /// For the owner of the tables.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope or name; [`Server`](StorageError::Server) if the own role may not.
    pub async fn bind_role(&self, role: &str, scope: &StateScope) -> Result<()> {
        check_name("role", role, 63)?;
        scope.validate()?;
        let sql = format!(
            "INSERT INTO {} (role, scope) VALUES ($1::text::name, $2) ON CONFLICT (role) DO UPDATE SET scope = excluded.scope",
            self.inner.names.role_scopes
        );
        self.inner
            .change(&Reach::All, &sql, &[&role, &scope.to_bytes()])
            .await
            .map(drop)
    }

    /// Ends the binding of a role. Returns whether it was bound.
    ///
    /// # Errors
    ///
    /// As [`bind_role`](Self::bind_role).
    pub async fn unbind_role(&self, role: &str) -> Result<bool> {
        check_name("role", role, 63)?;
        let sql = format!(
            "DELETE FROM {} WHERE role = $1::text::name RETURNING 1",
            self.inner.names.role_scopes
        );
        Ok(!self.inner.change(&Reach::All, &sql, &[&role]).await?.is_empty())
    }

    /// Removes keys that have expired and answers to requests older than a day, `limit` of each at most. Returns how many
    /// rows went. Entries: [`PostgresVectors::purge`].
    ///
    /// Any number of servers may call it at a time: each takes rows that no other is removing.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn purge(&self, limit: u32) -> Result<u64> {
        let names = &self.inner.names;
        let limit = i64::from(limit);
        let expired = purge(&names.keys, &format!("expires_at <= {NOW}"));
        let answered = purge(&names.requests, &format!("done_at <= {NOW} - 86400000"));
        let mut removed = 0;
        for sql in [expired, answered] {
            removed += one_count(&self.inner.change(&Reach::All, &sql, &[&limit]).await?);
        }
        Ok(removed)
    }

    /// Closes all connections; later calls fail with [`Closed`](StorageError::Closed).
    pub fn close(&self) {
        self.inner.pool.close();
    }
}

fn pool(config: &PostgresConfig) -> Result<Pool> {
    let mut server = tokio_postgres::Config::from_str(&config.url).map_err(|error| StorageError::InvalidName {
        what: "URL of a PostgreSQL server",
        // It may hold a password.
        name: error.to_string(),
        reason: "write postgres://user@host:port/database",
    })?;
    server.application_name("llmspell");
    // For every statement of the session: preparing one waits for locks too.
    let timeout = format!("-c statement_timeout={}", config.statement_timeout.as_millis());
    let options = match server.get_options() {
        Some(given) => format!("{timeout} {given}"),
        None => timeout,
    };
    server.options(options);
    server.connect_timeout(config.wait);
    server.tcp_user_timeout(Duration::from_secs(60));
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_config(server, NoTls, recycling);
    Pool::builder(manager)
        .max_size(config.pool_size)
        .wait_timeout(Some(config.wait))
        .create_timeout(Some(config.wait))
        .recycle_timeout(Some(config.wait))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| StorageError::ConnectionLost {
            server: SERVER,
            reason: error.to_string(),
        })
}

/// The schema, and the table of versions.
fn bootstrap(names: &Names) -> String {
    names.fill(
        "CREATE SCHEMA IF NOT EXISTS {schema};\n\
         CREATE TABLE IF NOT EXISTS {schema}.\"{prefix}migrations\" (\n    \
             number integer PRIMARY KEY,\n    \
             applied_at timestamptz NOT NULL DEFAULT now()\n\
         );",
    )
}

impl Inner {
    async fn check_server(&self) -> Result<()> {
        let client = self.client().await?;
        let sql = "SELECT current_setting('server_version_num')::integer, current_setting('server_version')";
        let row = client.query_one(sql, &[]).await.map_err(of_server)?;
        if row.get::<_, i32>(0) >= SERVER_MIN {
            return Ok(());
        }
        Err(too_old(format!(
            "the server is version {}; at least 15 is needed",
            row.get::<_, &str>(1)
        )))
    }

    async fn check_vector(&self) -> Result<()> {
        let client = self.client().await?;
        let sql = "SELECT extversion FROM pg_extension WHERE extname = 'vector'";
        let row = client.query_opt(sql, &[]).await.map_err(of_server)?;
        let Some(row) = row else {
            return Err(too_old(
                "the extension pgvector is missing: CREATE EXTENSION vector".to_string(),
            ));
        };
        let version: &str = row.get(0);
        let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
        if parts >= VECTOR_MIN.to_vec() {
            return Ok(());
        }
        Err(too_old(format!(
            "pgvector is version {version}; at least 0.8.4 is needed, because older ones can damage an index"
        )))
    }

    /// The version of the tables; 0 if there are none.
    async fn version(&self) -> Result<i32> {
        let client = self.client().await?;
        let sql = "SELECT to_regclass($1) IS NOT NULL";
        let is_there: bool = client
            .query_one(sql, &[&self.names.migrations])
            .await
            .map_err(of_server)?
            .get(0);
        if !is_there {
            return Ok(0);
        }
        let sql = format!("SELECT coalesce(max(number), 0) FROM {}", self.names.migrations);
        Ok(client.query_one(&sql, &[]).await.map_err(of_server)?.get(0))
    }

    async fn migrate(&self) -> Result<()> {
        match self.version().await? {
            LATEST => Ok(()),
            later if later > LATEST => Err(StorageError::UnsupportedVersion {
                path: self.names.schema.clone().into(),
                found: u32::try_from(later).unwrap_or(u32::MAX),
                min: 1,
                max: LATEST as u32,
            }),
            _ => self
                .apply_migrations()
                .await
                .map_err(|error| self.for_administrator(error)),
        }
    }

    /// All missing steps in one transaction, while others wait for the lock.
    async fn apply_migrations(&self) -> Result<()> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(of_server)?;
        self.lock(&transaction, "migrations").await?;
        // The extension is that of all schemas, and two sessions that create it at once are not told apart by the server.
        transaction
            .batch_execute("SELECT pg_advisory_xact_lock(hashtextextended('llmspell extension', 0))")
            .await
            .map_err(of_server)?;
        let has_vector = "SELECT FROM pg_extension WHERE extname = 'vector'";
        if transaction
            .query_opt(has_vector, &[])
            .await
            .map_err(of_server)?
            .is_none()
        {
            transaction
                .batch_execute("CREATE EXTENSION IF NOT EXISTS vector")
                .await
                .map_err(of_server)?;
        }
        // `IF NOT EXISTS` needs the right to create even where there is nothing to do.
        let sql = "SELECT FROM pg_namespace WHERE nspname = $1";
        if transaction
            .query_opt(sql, &[&self.names.schema])
            .await
            .map_err(of_server)?
            .is_none()
        {
            let sql = self.names.fill("CREATE SCHEMA {schema}");
            transaction.batch_execute(&sql).await.map_err(of_server)?;
        }
        let table = bootstrap(&self.names);
        let (_, table) = table.split_once('\n').unwrap_or_default();
        transaction.batch_execute(table).await.map_err(of_server)?;
        let sql = format!("SELECT coalesce(max(number), 0) FROM {}", self.names.migrations);
        let version: i32 = transaction.query_one(&sql, &[]).await.map_err(of_server)?.get(0);
        for migration in MIGRATIONS.iter().filter(|migration| migration.number > version) {
            transaction
                .batch_execute(&(migration.sql)(&self.names))
                .await
                .map_err(of_server)?;
            let sql = format!("INSERT INTO {} (number) VALUES ($1)", self.names.migrations);
            transaction
                .execute(&sql, &[&migration.number])
                .await
                .map_err(of_server)?;
        }
        transaction.commit().await.map_err(of_server)
    }
}

fn too_old(reason: String) -> StorageError {
    StorageError::Server {
        server: SERVER,
        code: SqlState::FEATURE_NOT_SUPPORTED.code().to_string(),
        reason,
    }
}
