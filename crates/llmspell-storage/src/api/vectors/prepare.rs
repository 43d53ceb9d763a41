//! Preparation of a batch: checks, ids, times, and the bytes that are stored.

use uuid::Uuid;

use llmspell_core::{Result, StorageError, Timestamp, VectorEntry, validate_vectors as validate};

use super::shape::Shape;
use crate::engine::PreparedEntry;

/// Checks a batch of one space and makes of it what will be stored.
pub(super) fn prepare(entries: Vec<VectorEntry>, shape: &Shape, now: i64) -> Result<Vec<PreparedEntry>> {
    validate::batch_by(&entries, |entry| shape.check_named(entry))?;
    prepared(entries, |_| shape, now)
}

/// Checks a batch and makes of it what will be stored. `shape_of` says whose shape an entry must have, by its place in the
/// batch.
pub(crate) fn prepare_routed<'s>(
    entries: Vec<VectorEntry>,
    shape_of: impl Fn(usize) -> &'s Shape,
    now: i64,
) -> Result<Vec<PreparedEntry>> {
    let mut place = 0;
    validate::batch_by(&entries, |entry| {
        place += 1;
        shape_of(place - 1).check(entry)
    })?;
    prepared(entries, shape_of, now)
}

fn prepared<'s>(
    entries: Vec<VectorEntry>,
    shape_of: impl Fn(usize) -> &'s Shape,
    now: i64,
) -> Result<Vec<PreparedEntry>> {
    let now = Timestamp::from_millis(now);
    let mut bytes = 0_usize;
    entries
        .into_iter()
        .enumerate()
        .map(|(place, entry)| {
            let shape = shape_of(place);
            let metadata = if entry.metadata.is_null() {
                b"{}".to_vec()
            } else {
                serde_json::to_vec(&entry.metadata)?
            };
            validate::metadata_bytes(&entry.id, metadata.len())?;
            bytes = bytes.saturating_add(metadata.len()).saturating_add(4 * shape.dim);
            validate::batch_bytes(bytes)?;
            let vector = shape.kept(&entry.id, entry.embedding)?;
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
                vector,
                metadata,
                created_at: entry.created_at,
                updated_at: entry.updated_at.unwrap_or(now),
                event_time: entry.event_time,
                expires_at,
            })
        })
        .collect()
}
