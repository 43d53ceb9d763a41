//! What of a batch is stored?

use uuid::Uuid;

use llmspell_core::{DistanceMetric, Result, StorageError, Timestamp, VectorEntry, validate_vectors as validate};

use crate::database::PreparedEntry;

/// Checks a batch and makes of it what will be stored.
pub(super) fn prepare(
    entries: Vec<VectorEntry>,
    dim: usize,
    metric: DistanceMetric,
    now: i64,
) -> Result<Vec<PreparedEntry>> {
    validate::batch(&entries, dim, metric)?;
    let now = Timestamp::from_millis(now);
    let mut bytes = 0_usize;
    entries
        .into_iter()
        .map(|entry| {
            let metadata = if entry.metadata.is_null() {
                b"{}".to_vec()
            } else {
                serde_json::to_vec(&entry.metadata)?
            };
            validate::metadata_bytes(&entry.id, metadata.len())?;
            bytes = bytes.saturating_add(metadata.len()).saturating_add(4 * dim);
            validate::batch_bytes(bytes)?;
            let expires_at = match entry.ttl {
                Some(ttl) => Some(now.checked_add(ttl).ok_or(StorageError::OutOfRange {
                    what: "ttl in milliseconds",
                    got: ttl.as_millis() as f64,
                    min: 1.0,
                    max: (i64::MAX / 2) as f64,
                })?),
                None => entry.expires_at,
            };
            Ok(PreparedEntry {
                scope: entry.scope,
                id: if entry.id.is_empty() {
                    Uuid::now_v7().to_string()
                } else {
                    entry.id
                },
                vector: entry.embedding,
                metadata,
                created_at: entry.created_at,
                updated_at: entry.updated_at.unwrap_or(now),
                event_time: entry.event_time,
                expires_at,
            })
        })
        .collect()
}
