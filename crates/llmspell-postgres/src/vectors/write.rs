//! Writes: how entries are stored, changed and removed.

use std::collections::HashSet;

use llmspell_core::{
    DistanceMetric, Expiry, Metadata, OnExisting, Result, StateScope, StorageError, Timestamp, VectorEntry,
    merge_patch, validate_vectors as validate,
};
use serde_json::Value;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::fields::StoredFields;
use super::space::{PostgresVectors, Space};
use crate::error::Failure;
use crate::session::{Access, Attempts, Params, Reach};
use crate::sql::{LIVE, NOW, one_count};

/// Longer batches become several statements of one transaction.
const CHUNK_BYTES_MAX: usize = 16 << 20;
const CHUNK_ENTRIES_MAX: usize = 5_000;

/// Entries as columns, sorted by scope and id: transactions that lock rows in one order do not wait for each other in a circle.
pub(super) struct Batch {
    /// In input order.
    ids: Vec<String>,
    chunks: Vec<Chunk>,
    reach: Reach,
    /// Scope and id of each entry, in input order.
    keys: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What one statement stores.
#[derive(Default)]
struct Chunk {
    /// Whether the entries say when they were created: an upsert then does not keep the old time.
    are_dated: bool,
    bytes: usize,
    scopes: Vec<Vec<u8>>,
    ids: Vec<Vec<u8>>,
    vectors: Vec<pgvector::Vector>,
    fields: Vec<String>,
    raw: Vec<Option<Vec<u8>>>,
    metadata_bytes: Vec<i32>,
    created: Vec<Option<i64>>,
    updated: Vec<Option<i64>>,
    event: Vec<Option<i64>>,
    ttl: Vec<Option<i64>>,
    expires: Vec<Option<i64>>,
}

impl Chunk {
    fn params(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.scopes,
            &self.ids,
            &self.vectors,
            &self.fields,
            &self.raw,
            &self.metadata_bytes,
            &self.created,
            &self.updated,
            &self.event,
            &self.ttl,
            &self.expires,
        ]
    }
}

impl Space {
    /// Checks a batch and makes columns of it.
    pub(super) fn batch(&self, mut entries: Vec<VectorEntry>) -> Result<Batch> {
        validate::batch_by(&entries, |entry| self.check_entry(entry))?;
        for entry in entries.iter_mut().filter(|entry| entry.id.is_empty()) {
            entry.id = Uuid::now_v7().to_string();
        }
        let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
        let keys: Vec<_> = entries
            .iter()
            .map(|entry| (entry.scope.to_bytes(), entry.id.clone().into_bytes()))
            .collect();
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|a, b| {
            (entries[*a].created_at.is_some(), &keys[*a]).cmp(&(entries[*b].created_at.is_some(), &keys[*b]))
        });
        let mut entries: Vec<Option<VectorEntry>> = entries.into_iter().map(Some).collect();
        let (mut chunks, mut total) = (Vec::<Chunk>::new(), 0_usize);
        for place in order {
            let Some(entry) = entries[place].take() else { continue };
            let fields = match entry.metadata {
                Value::Object(fields) => fields,
                _ => Metadata::new(),
            };
            let stored = StoredFields::of(&fields)?;
            validate::metadata_bytes(&entry.id, stored.bytes)?;
            let bytes = stored.bytes + 4 * self.dim;
            total = total.saturating_add(bytes);
            validate::batch_bytes(total)?;
            let are_dated = entry.created_at.is_some();
            let is_full = chunks.last().is_none_or(|chunk| {
                chunk.are_dated != are_dated || chunk.bytes > CHUNK_BYTES_MAX || chunk.ids.len() >= CHUNK_ENTRIES_MAX
            });
            if is_full {
                chunks.push(Chunk {
                    are_dated,
                    ..Chunk::default()
                });
            }
            let Some(chunk) = chunks.last_mut() else { continue };
            chunk.bytes += bytes;
            let (scope, id) = keys[place].clone();
            chunk.scopes.push(scope);
            chunk.ids.push(id);
            chunk.vectors.push(entry.embedding.into());
            chunk
                .metadata_bytes
                .push(i32::try_from(stored.bytes).unwrap_or(i32::MAX));
            chunk.fields.push(stored.json);
            chunk.raw.push(stored.raw);
            chunk.created.push(entry.created_at.map(Timestamp::as_millis));
            chunk.updated.push(entry.updated_at.map(Timestamp::as_millis));
            chunk.event.push(entry.event_time.map(Timestamp::as_millis));
            // A checked lifetime fits, added to any moment of the server's clock.
            chunk.ttl.push(
                entry
                    .ttl
                    .map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2)),
            );
            chunk.expires.push(entry.expires_at.map(Timestamp::as_millis));
        }
        let reach = Reach::of_all(keys.iter().map(|(scope, _)| scope.as_slice()));
        Ok(Batch {
            ids,
            chunks,
            reach,
            keys,
        })
    }

    fn check_entry(&self, entry: &VectorEntry) -> Result<()> {
        if let Some(model) = &entry.model {
            return Err(self.no_model(model.name()));
        }
        validate::entry(entry, self.dim, self.metric, None)
    }

    /// Spaces on PostgreSQL belong to no model.
    pub(super) fn no_model(&self, model: &str) -> StorageError {
        StorageError::UnknownModel {
            model: model.chars().take(64).collect(),
            known: vec![format!("{} ({} components)", self.name, self.dim)],
        }
    }

    fn insert_sql(&self, on_conflict: &str) -> String {
        let table = &self.table;
        format!(
            "INSERT INTO {table} AS e (scope, id, v, fields, raw, metadata_bytes, created_at, updated_at, event_time, expires_at) \
             SELECT scope, id, v, fields::jsonb, raw, bytes, coalesce(created, updated, {NOW}), coalesce(updated, {NOW}), event, \
             coalesce({NOW} + ttl, expires) \
             FROM unnest($1::bytea[], $2::bytea[], $3::vector[], $4::text[], $5::bytea[], $6::integer[], $7::bigint[], $8::bigint[], \
             $9::bigint[], $10::bigint[], $11::bigint[]) \
             AS new (scope, id, v, fields, raw, bytes, created, updated, event, ttl, expires){on_conflict}"
        )
    }

    fn upsert_sql(&self, are_dated: bool) -> String {
        let created = match are_dated {
            true => "excluded.created_at".to_string(),
            false => format!("CASE WHEN e.expires_at <= {NOW} THEN excluded.created_at ELSE e.created_at END"),
        };
        self.insert_sql(&format!(
            " ON CONFLICT (scope, id) DO UPDATE SET v = excluded.v, fields = excluded.fields, raw = excluded.raw, \
             metadata_bytes = excluded.metadata_bytes, created_at = {created}, updated_at = excluded.updated_at, \
             event_time = excluded.event_time, expires_at = excluded.expires_at"
        ))
    }

    fn store_sql(&self, chunk: &Chunk, on_existing: OnExisting) -> String {
        match on_existing {
            OnExisting::Refuse => self.insert_sql(""),
            OnExisting::Replace => self.upsert_sql(chunk.are_dated),
        }
    }
}

impl PostgresVectors {
    /// [`write`](llmspell_core::VectorStorage::write), done once for each request id, however often it is called: a repetition
    /// changes nothing and returns the ids of the first one. For calls whose outcome is unknown, because the connection was lost.
    ///
    /// The id is remembered for a day at least, for the scope of the batch; see
    /// [`PostgresDatabase::purge`](crate::PostgresDatabase::purge).
    ///
    /// # Errors
    ///
    /// As [`write`](llmspell_core::VectorStorage::write).
    pub async fn write_once(
        &self,
        request: Uuid,
        entries: Vec<VectorEntry>,
        on_existing: OnExisting,
    ) -> Result<Vec<String>> {
        let batch = self.space.batch(entries)?;
        self.store(batch, on_existing, Some(request)).await
    }

    pub(super) async fn store(
        &self,
        batch: Batch,
        on_existing: OnExisting,
        request: Option<Uuid>,
    ) -> Result<Vec<String>> {
        if batch.ids.is_empty() {
            return Ok(Vec::new());
        }
        if let ([chunk], None) = (batch.chunks.as_slice(), request) {
            let sql = self.space.store_sql(chunk, on_existing);
            let mut attempts = self.inner.attempts();
            loop {
                let stored = self
                    .inner
                    .try_once(&batch.reach, Access::Write, &sql, &chunk.params())
                    .await;
                match stored {
                    Ok(_) => return Ok(batch.ids),
                    // Perhaps it has expired.
                    Err(Failure::Exists) => break,
                    Err(failure) => attempts.again(failure).await?,
                }
            }
        }
        let mut attempts = self.inner.attempts();
        loop {
            match self.try_store(&batch, on_existing, request, &attempts).await {
                Ok(None) => return Ok(batch.ids),
                Ok(Some(ids)) => return Ok(ids),
                Err(Failure::Exists) => {
                    // Another transaction stored it meanwhile.
                    attempts
                        .again(Failure::Collided("an id was stored by several at a time".to_string()))
                        .await?;
                }
                Err(failure) => attempts.again(failure).await?,
            }
        }
    }

    /// Stores a batch in a transaction. Returns the ids of an earlier call with this request.
    async fn try_store(
        &self,
        batch: &Batch,
        on_existing: OnExisting,
        request: Option<Uuid>,
        attempts: &Attempts,
    ) -> Result<Option<Vec<String>>, Failure> {
        let table = &self.space.table;
        let mut client = self.inner.client().await?;
        let transaction = self.inner.begin(&mut client, &batch.reach, attempts).await?;
        if let Some(id) = request
            && let Some(answer) = self.inner.begin_request(&transaction, id, &batch.reach).await?
        {
            let ids = serde_json::from_str(&answer).map_err(StorageError::from)?;
            return Ok(Some(ids));
        }
        for chunk in &batch.chunks {
            if on_existing == OnExisting::Refuse {
                let keys: Params<'_> = &[&chunk.scopes, &chunk.ids];
                let expired = format!(
                    "DELETE FROM {table} AS e USING unnest($1::bytea[], $2::bytea[]) AS new (scope, id) \
                     WHERE e.scope = new.scope AND e.id = new.id AND e.expires_at <= {NOW}"
                );
                let expired = transaction.prepare_cached(&expired).await?;
                transaction.execute(&expired, keys).await?;
                let existing = format!(
                    "SELECT e.scope, e.id FROM {table} AS e JOIN unnest($1::bytea[], $2::bytea[]) AS new (scope, id) \
                     ON e.scope = new.scope AND e.id = new.id"
                );
                let existing = transaction.prepare_cached(&existing).await?;
                let rows = transaction.query(&existing, keys).await?;
                let there: HashSet<(Vec<u8>, Vec<u8>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
                if let Some(place) = batch.keys.iter().position(|key| there.contains(key)) {
                    let id = batch.ids[place].clone();
                    return Err(StorageError::IdExists { id }.into());
                }
            }
            let sql = self.space.store_sql(chunk, on_existing);
            let statement = transaction.prepare_cached(&sql).await?;
            let stored = transaction.execute(&statement, &chunk.params()).await;
            stored.map_err(|error| self.inner.failure(error))?;
        }
        if let Some(id) = request {
            let answer = serde_json::to_string(&batch.ids).map_err(StorageError::from)?;
            self.inner.end_request(&transaction, id, &batch.reach, &answer).await?;
        }
        transaction.commit().await?;
        Ok(None)
    }

    pub(super) async fn replace_metadata(&self, scope: &StateScope, id: &str, metadata: &Metadata) -> Result<()> {
        validate::metadata_fields(id, metadata)?;
        let stored = StoredFields::of(metadata)?;
        validate::metadata_bytes(id, stored.bytes)?;
        let sql = self.update_metadata_sql();
        let bytes = i32::try_from(stored.bytes).unwrap_or(i32::MAX);
        let scope_bytes = scope.to_bytes();
        let params: Params<'_> = &[&scope_bytes, &id.as_bytes(), &stored.json, &stored.raw, &bytes];
        let rows = self.inner.change(&Reach::of(scope), &sql, params).await?;
        found(id, !rows.is_empty())
    }

    fn update_metadata_sql(&self) -> String {
        format!(
            "UPDATE {} SET fields = $3::text::jsonb, raw = $4, metadata_bytes = $5, updated_at = {NOW} \
             WHERE scope = $1 AND id = $2 AND {LIVE} RETURNING 1",
            self.space.table
        )
    }

    /// Reads the metadata under a lock and changes it.
    pub(super) async fn merge_metadata(&self, scope: &StateScope, id: &str, patch: &Metadata) -> Result<()> {
        validate::metadata_fields(id, patch)?;
        let mut attempts = self.inner.attempts();
        loop {
            match self.try_merge(scope, id, patch, &attempts).await {
                Ok(()) => return Ok(()),
                Err(failure) => attempts.again(failure).await?,
            }
        }
    }

    async fn try_merge(
        &self,
        scope: &StateScope,
        id: &str,
        patch: &Metadata,
        attempts: &Attempts,
    ) -> Result<(), Failure> {
        let mut client = self.inner.client().await?;
        let transaction = self.inner.begin(&mut client, &Reach::of(scope), attempts).await?;
        let sql = format!(
            "SELECT CASE WHEN raw IS NULL THEN fields::text END, raw FROM {} WHERE scope = $1 AND id = $2 AND {LIVE} FOR UPDATE",
            self.space.table
        );
        let scope_bytes = scope.to_bytes();
        let statement = transaction.prepare_cached(&sql).await?;
        let row = transaction
            .query_opt(&statement, &[&scope_bytes, &id.as_bytes()])
            .await?;
        let Some(row) = row else {
            return Err(StorageError::NotFound { id: id.to_string() }.into());
        };
        let mut metadata = super::fields::read(row.get(0), row.get(1)).map_err(StorageError::from)?;
        merge_patch(&mut metadata, patch.clone());
        validate::metadata_fields(id, &metadata)?;
        let stored = StoredFields::of(&metadata).map_err(StorageError::from)?;
        validate::metadata_bytes(id, stored.bytes)?;
        let bytes = i32::try_from(stored.bytes).unwrap_or(i32::MAX);
        let statement = transaction.prepare_cached(&self.update_metadata_sql()).await?;
        let params: Params<'_> = &[&scope_bytes, &id.as_bytes(), &stored.json, &stored.raw, &bytes];
        transaction.query(&statement, params).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the ids that are not there, each once.
    pub(super) async fn set_expiry(&self, scope: &StateScope, ids: &[String], expiry: Expiry) -> Result<Vec<String>> {
        let (ttl, moment): (Option<i64>, Option<i64>) = match expiry {
            Expiry::Never => (None, None),
            Expiry::After(ttl) => (Some(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2)), None),
            Expiry::At(moment) => (None, Some(moment.as_millis())),
        };
        let sql = format!(
            "UPDATE {} SET expires_at = coalesce({NOW} + $3::bigint, $4::bigint) \
             WHERE scope = $1 AND id = ANY ($2::bytea[]) AND {LIVE} RETURNING id",
            self.space.table
        );
        let bytes: Vec<&[u8]> = ids.iter().map(String::as_bytes).collect();
        let scope_bytes = scope.to_bytes();
        let rows = self
            .inner
            .change(&Reach::of(scope), &sql, &[&scope_bytes, &bytes, &ttl, &moment])
            .await?;
        let mut there: HashSet<Vec<u8>> = rows.iter().map(|row| row.get(0)).collect();
        let missing = ids.iter().filter(|id| there.insert(id.as_bytes().to_vec()));
        Ok(missing.cloned().collect())
    }

    pub(super) async fn remove(&self, scope: &StateScope, ids: &[String]) -> Result<u64> {
        let bytes: Vec<&[u8]> = ids.iter().map(String::as_bytes).collect();
        let scope_bytes = scope.to_bytes();
        let sql = self.remove_sql("scope = $1 AND id = ANY ($2::bytea[])");
        Ok(one_count(
            &self
                .inner
                .change(&Reach::of(scope), &sql, &[&scope_bytes, &bytes])
                .await?,
        ))
    }

    /// Removes the rows that meet a condition, and counts those that lived.
    pub(super) fn remove_sql(&self, condition: &str) -> String {
        format!(
            "WITH gone AS (DELETE FROM {} WHERE {condition} RETURNING expires_at) SELECT count(*) FROM gone WHERE {LIVE}",
            self.space.table
        )
    }
}

fn found(id: &str, is_found: bool) -> Result<()> {
    match is_found {
        true => Ok(()),
        false => Err(StorageError::NotFound { id: id.to_string() }),
    }
}

/// The metric of the kernels.
pub(super) fn kernel_metric(metric: DistanceMetric) -> llmspell_vector::Metric {
    match metric {
        DistanceMetric::Cosine => llmspell_vector::Metric::Cosine,
        DistanceMetric::Euclidean => llmspell_vector::Metric::Euclidean,
        DistanceMetric::InnerProduct => llmspell_vector::Metric::InnerProduct,
        DistanceMetric::Manhattan => llmspell_vector::Metric::Manhattan,
    }
}
