//! [`PostgresBackend`]: the calls of [`StorageBackend`].

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use llmspell_core::{
    BackendCharacteristics, BackendType, Durability, Expiry, KeyValueEntry, KeyValueWrite, Result, StorageBackend,
    Timestamp, WriteSummary, validate_key_value as validate,
};
use uuid::Uuid;

use super::batch::{self, Run, columns};
use super::place::{Place, Range, key_of, split};
use crate::error::Failure;
use crate::session::{Attempts, Inner, Reach};
use crate::sql::{LIVE, NOW, one_count};

/// Keys and values in a table of PostgreSQL.
///
/// Keys that a [`ScopedBackend`](llmspell_core::ScopedBackend) wrote are rows of its scope, which row-level security guards;
/// other keys are rows of no scope. The clock of the server decides what has expired.
#[derive(Debug, Clone)]
pub struct PostgresBackend {
    inner: Arc<Inner>,
}

llmspell_core::inherent_key_value!(PostgresBackend);

impl PostgresBackend {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// [`write`](StorageBackend::write), done once for each request id, however often it is called: a repetition changes nothing
    /// and returns what the first one did. For calls whose outcome is unknown, because the connection was lost.
    ///
    /// The id is remembered for a day at least, for the scope of the batch; see [`PostgresDatabase::purge`].
    ///
    /// [`PostgresDatabase::purge`]: crate::PostgresDatabase::purge
    ///
    /// # Errors
    ///
    /// As [`write`](StorageBackend::write).
    pub async fn write_once(&self, request: Uuid, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        validate::batch(&batch)?;
        self.apply(&batch::runs(batch), Some(request)).await
    }

    async fn apply(&self, runs: &[Run], request: Option<Uuid>) -> Result<WriteSummary> {
        let reach = batch::reach(runs);
        if let ([run], None) = (runs, request) {
            let prepared = run.prepare(&self.inner.names.keys);
            let rows = self.inner.change(&reach, &prepared.sql, &prepared.refs()).await?;
            return Ok(summary(one_count(&rows)));
        }
        let mut attempts = self.inner.attempts();
        loop {
            match self.try_apply(runs, &reach, request, &attempts).await {
                Ok(deleted) => return Ok(summary(deleted)),
                Err(failure) => attempts.again(failure).await?,
            }
        }
    }

    async fn try_apply(
        &self,
        runs: &[Run],
        reach: &Reach,
        request: Option<Uuid>,
        attempts: &Attempts,
    ) -> Result<u64, Failure> {
        let mut client = self.inner.client().await?;
        let transaction = self.inner.begin(&mut client, reach, attempts).await?;
        if let Some(id) = request
            && let Some(answer) = self.inner.begin_request(&transaction, id, reach).await?
        {
            return Ok(answer.parse().unwrap_or(0));
        }
        let mut deleted = 0;
        for run in runs {
            let prepared = run.prepare(&self.inner.names.keys);
            let statement = transaction.prepare_cached(&prepared.sql).await?;
            let rows = transaction.query(&statement, &prepared.refs()).await;
            deleted += one_count(&rows.map_err(|error| self.inner.failure(error))?);
        }
        if let Some(id) = request {
            self.inner
                .end_request(&transaction, id, reach, &deleted.to_string())
                .await?;
        }
        transaction.commit().await?;
        Ok(deleted)
    }

    /// A page of rows, each with the columns `columns`, head and tail first.
    async fn page(
        &self,
        columns: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<tokio_postgres::Row>> {
        let range = Range::of(prefix);
        let (mut condition, mut params) = range.condition();
        if let Some(after) = after {
            let (head, tail) = split(after.as_bytes());
            let (one, two) = (params.len() + 1, params.len() + 2);
            condition.push_str(&format!(" AND head >= ${one} AND (head > ${one} OR tail > ${two})"));
            params.push(Box::new(head));
            params.push(Box::new(tail));
        }
        let limit_place = params.len() + 1;
        params.push(Box::new(limit as i64));
        let sql = format!(
            "SELECT head, tail{columns} FROM {} WHERE {condition} AND {LIVE} ORDER BY head, tail LIMIT ${limit_place}",
            self.inner.names.keys
        );
        let params: Vec<_> = params
            .iter()
            .map(|param| &**param as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        self.inner.read(&range.reach, &sql, &params).await
    }

    fn key(&self, row: &tokio_postgres::Row) -> Result<String> {
        key_of(row.get(0), row.get(1), &self.inner.names.keys)
    }

    async fn one(&self, columns: &str, key: &str) -> Result<Option<tokio_postgres::Row>> {
        validate::key(key)?;
        let place = Place::of(key);
        let sql = format!(
            "SELECT {columns} FROM {} WHERE head = $1 AND tail_digest = $2 AND scope = $3 AND {LIVE}",
            self.inner.names.keys
        );
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&place.head, &place.digest, &place.scope];
        Ok(self.inner.read(&place.reach(), &sql, &params).await?.pop())
    }
}

fn summary(deleted: u64) -> WriteSummary {
    WriteSummary { deleted }
}

#[async_trait]
impl StorageBackend for PostgresBackend {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.one("value", key).await?.map(|row| row.get(0)))
    }

    async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>> {
        keys.iter().try_for_each(|key| validate::key(key))?;
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let places: Vec<Place> = keys.iter().map(|key| Place::of(key)).collect();
        let reach = Reach::of_all(places.iter().map(|place| place.scope.as_slice()));
        let sql = format!(
            "SELECT asked.place, k.value FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) WITH ORDINALITY \
             AS asked (head, digest, scope, place) \
             JOIN {} AS k ON k.head = asked.head AND k.tail_digest = asked.digest AND k.scope = asked.scope WHERE {LIVE}",
            self.inner.names.keys
        );
        let column = |of: fn(&Place) -> &[u8]| places.iter().map(of).collect::<Vec<_>>();
        let (heads, digests) = (column(|place| &place.head), column(|place| &place.digest));
        let scopes = column(|place| &place.scope);
        let rows = self.inner.read(&reach, &sql, &[&heads, &digests, &scopes]).await?;
        let found = rows.iter().map(|row| {
            // Ordinality counts from 1.
            let place = usize::try_from(row.get::<_, i64>(0)).unwrap_or(1) - 1;
            (keys[place].clone(), row.get(1))
        });
        Ok(found.collect())
    }

    async fn write(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        validate::batch(&batch)?;
        let runs = batch::runs(batch);
        if runs.is_empty() {
            return Ok(WriteSummary::default());
        }
        self.apply(&runs, None).await
    }

    async fn scan_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<KeyValueEntry>> {
        validate::page(limit)?;
        let rows = self.page(", value, expires_at", prefix, after, limit).await?;
        let entry = |row: &tokio_postgres::Row| {
            let expires_at = row.get::<_, Option<i64>>(3).map(Timestamp::from_millis);
            Ok(KeyValueEntry::new(self.key(row)?, row.get(2), expires_at))
        };
        rows.iter().map(entry).collect()
    }

    async fn expires_at(&self, key: &str) -> Result<Option<Timestamp>> {
        let row = self.one("expires_at", key).await?;
        Ok(row
            .and_then(|row| row.get::<_, Option<i64>>(0))
            .map(Timestamp::from_millis))
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>, expiry: Expiry) -> Result<bool> {
        validate::swap(key, new.as_deref(), expiry)?;
        let place = Place::of(key);
        let (ttl, moment) = columns(expiry);
        let table = &self.inner.names.keys;
        let at_place = "k.head = $1 AND k.tail_digest = $2 AND k.scope = $3";
        let reach = place.reach();
        let rows = match (expected, &new) {
            (None, None) => {
                let sql = format!("SELECT 1 FROM {table} AS k WHERE {at_place} AND {LIVE}");
                let rows = self
                    .inner
                    .read(&reach, &sql, &[&place.head, &place.digest, &place.scope])
                    .await?;
                return Ok(rows.is_empty());
            }
            (None, Some(new)) => {
                let sql = format!(
                    "INSERT INTO {table} AS k (head, tail_digest, scope, tail, value, expires_at) \
                     VALUES ($1, $2, $3, $4, $5, coalesce({NOW} + $6::bigint, $7::bigint)) \
                     ON CONFLICT (head, tail_digest, scope) DO UPDATE \
                     SET value = excluded.value, expires_at = excluded.expires_at WHERE k.expires_at <= {NOW} RETURNING 1"
                );
                let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] = [
                    &place.head,
                    &place.digest,
                    &place.scope,
                    &place.tail,
                    new,
                    &ttl,
                    &moment,
                ];
                self.inner.change(&reach, &sql, &params).await?
            }
            (Some(expected), Some(new)) => {
                let sql = format!(
                    "UPDATE {table} AS k SET value = $5, expires_at = coalesce({NOW} + $6::bigint, $7::bigint) \
                     WHERE {at_place} AND k.value = $4 AND {LIVE} RETURNING 1"
                );
                let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
                    [&place.head, &place.digest, &place.scope, &expected, new, &ttl, &moment];
                self.inner.change(&reach, &sql, &params).await?
            }
            (Some(expected), None) => {
                let sql = format!("DELETE FROM {table} AS k WHERE {at_place} AND k.value = $4 AND {LIVE} RETURNING 1");
                let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                    [&place.head, &place.digest, &place.scope, &expected];
                self.inner.change(&reach, &sql, &params).await?
            }
        };
        Ok(!rows.is_empty())
    }

    fn backend_type(&self) -> BackendType {
        BackendType::Other("postgresql")
    }

    /// Durability is that of the server with `synchronous_commit = on` and `fsync = on`, its defaults.
    fn characteristics(&self) -> BackendCharacteristics {
        BackendCharacteristics::new(Durability::Power, true, false)
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.one("1", key).await?.is_some())
    }

    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>> {
        const KEYS_AT_ONCE: usize = 10_000;
        let mut keys: Vec<String> = Vec::new();
        loop {
            let rows = self
                .page("", prefix, keys.last().map(String::as_str), KEYS_AT_ONCE)
                .await?;
            for row in &rows {
                keys.push(self.key(row)?);
            }
            if rows.len() < KEYS_AT_ONCE {
                return Ok(keys);
            }
        }
    }

    async fn count(&self, prefix: &str) -> Result<u64> {
        let range = Range::of(prefix);
        let (condition, params) = range.condition();
        let sql = format!(
            "SELECT count(*) FROM {} WHERE {condition} AND {LIVE}",
            self.inner.names.keys
        );
        let params: Vec<_> = params
            .iter()
            .map(|param| &**param as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        Ok(one_count(&self.inner.read(&range.reach, &sql, &params).await?))
    }
}
