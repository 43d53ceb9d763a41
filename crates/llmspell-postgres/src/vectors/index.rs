//! Indexes: which scopes have one, and how one is built.
//!
//! Each large scope has a partial index of its own, so that a search walks a graph of that scope alone. An index is in the table
//! `indexes` once it is ready; what is known of that table is read again from time to time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use llmspell_core::Result;

use super::space::PostgresVectors;
use crate::error::of_server;
use crate::schema::{IndexKind, create_index, index_name};
use crate::session::Reach;
use crate::sql::{LIVE, NOW, one_count, purge};

/// How long a server may not know of an index that another one built.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// The indexes that are ready, by the bytes of their scopes.
#[derive(Default)]
pub(super) struct KnownIndexes {
    read_at: Option<Instant>,
    kinds: HashMap<Vec<u8>, IndexKind>,
}

impl PostgresVectors {
    /// The index of a scope.
    pub(super) async fn index_of(&self, scope: &[u8]) -> Result<Option<IndexKind>> {
        {
            let known = self.known();
            if known.read_at.is_some_and(|moment| moment.elapsed() < KNOWN_FOR) {
                return Ok(known.kinds.get(scope).copied());
            }
        }
        self.read_indexes().await?;
        Ok(self.known().kinds.get(scope).copied())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, KnownIndexes> {
        // Nothing panics while it is held.
        self.space
            .indexes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn read_indexes(&self) -> Result<()> {
        let sql = format!(
            "SELECT scope, kind FROM {} WHERE space = $1 AND is_ready",
            self.inner.names.indexes
        );
        let rows = self.inner.read(&Reach::All, &sql, &[&self.space.number]).await?;
        let kinds = rows
            .iter()
            .filter_map(|row| Some((row.get(0), IndexKind::named(row.get(1))?)));
        let kinds = kinds.collect();
        *self.known() = KnownIndexes {
            read_at: Some(Instant::now()),
            kinds,
        };
        Ok(())
    }

    /// Builds the index of each large scope that has none; all of them again, if `anew`.
    pub(super) async fn build_indexes(&self, anew: bool) -> Result<()> {
        let (table, indexes) = (&self.space.table, &self.inner.names.indexes);
        let sql = format!(
            "SELECT scope FROM {table} WHERE {LIVE} GROUP BY scope HAVING count(*) > $1 \
             AND ($3 OR NOT EXISTS (SELECT FROM {indexes} AS i WHERE i.space = $2 AND i.scope = {table}.scope AND i.is_ready))"
        );
        let most = i64::try_from(self.inner.config.exact_scan_max).unwrap_or(i64::MAX);
        let rows = self
            .inner
            .read(&Reach::All, &sql, &[&most, &self.space.number, &anew])
            .await?;
        for row in rows {
            let built = self.build_index_of(row.get(0), anew).await;
            built.map_err(|error| self.inner.for_administrator(error))?;
        }
        self.read_indexes().await
    }

    /// Builds one index while searches and writes go on. Only one server at a time does so.
    async fn build_index_of(&self, scope: Vec<u8>, anew: bool) -> Result<()> {
        let (names, space) = (&self.inner.names, &self.space);
        let indexes = &names.indexes;
        let name = index_name(names, space.number, &scope);
        let quoted = format!("\"{}\".\"{name}\"", names.schema);
        // A lock of the session, because an index cannot be built in a transaction. It ends with the connection at the latest.
        let client = deadpool_postgres::Object::take(self.inner.client().await?);
        let lock = format!("SELECT pg_advisory_lock(hashtextextended('llmspell {quoted}', 0))");
        client.batch_execute(&lock).await.map_err(of_server)?;
        let sql = format!("SELECT is_ready FROM {indexes} WHERE space = $1 AND scope = $2");
        let is_ready = self.inner.read(&Reach::All, &sql, &[&space.number, &scope]).await?;
        let is_ready = is_ready.first().is_some_and(|row| row.get(0));
        if is_ready && anew {
            let reindexed = client
                .batch_execute(&format!("REINDEX INDEX CONCURRENTLY {quoted}"))
                .await;
            return reindexed.map_err(of_server);
        }
        if is_ready {
            return Ok(());
        }
        let kind = IndexKind::of(space.dim, space.config.index_dim());
        // An index that was begun and not finished is in the way.
        client
            .batch_execute(&format!("DROP INDEX IF EXISTS {quoted}"))
            .await
            .map_err(of_server)?;
        // pgvector has limits of its own.
        let (m, ef) = (space.config.m().clamp(2, 100), space.config.ef_construction());
        let ef = ef.clamp(2 * m, 1_000);
        let sql = create_index(names, space.number, &scope, kind, (space.dim, space.metric), (m, ef));
        client
            .batch_execute("SET statement_timeout = 0")
            .await
            .map_err(of_server)?;
        client.batch_execute(&sql).await.map_err(of_server)?;
        let sql = format!(
            "INSERT INTO {indexes} (space, scope, kind, is_ready) VALUES ($1, $2, $3, true) \
             ON CONFLICT (space, scope) DO UPDATE SET kind = excluded.kind, is_ready = true"
        );
        self.inner
            .change(&Reach::All, &sql, &[&space.number, &scope, &kind.name()])
            .await
            .map(drop)
    }

    /// Removes rows of entries that have expired, `limit` at most. Returns how many went.
    ///
    /// Any number of servers may call it at a time: each takes rows that no other is removing. Expired entries are invisible at once;
    /// this frees their space.
    ///
    /// # Errors
    ///
    /// As [`PostgresDatabase::open`](crate::PostgresDatabase::open).
    pub async fn purge(&self, limit: u32) -> Result<u64> {
        let sql = purge(&self.space.table, &format!("expires_at <= {NOW}"));
        Ok(one_count(
            &self.inner.change(&Reach::All, &sql, &[&i64::from(limit)]).await?,
        ))
    }
}
