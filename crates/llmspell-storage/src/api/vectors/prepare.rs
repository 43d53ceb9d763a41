//! Preparation of a batch: checks, ids, times, and the bytes that are stored.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use llmspell_core::{
    Metadata, Result, SparseVector, StorageError, Timestamp, VectorEntry, validate_vectors as validate,
};

use super::shape::Shape;
use crate::base::options::DEFAULT_METADATA_AT_ONCE_MAX;
use crate::engine::{Inner, PreparedEntry};
use crate::indexes::texts::Words;

/// A batch of at most this many components is checked and encoded where it is called: about 100 µs, less than a change of
/// threads is worth. Longer ones on the threads of the database.
const PREPARE_IN_PLACE_COMPONENTS: usize = 64 << 10;

/// Analyzing a byte of a text takes about as long as checking and encoding so many components.
const COMPONENTS_PER_TEXT_BYTE: usize = 4;

/// How much there is to prepare in entries whose vectors have `components` in all, counted in components.
pub(crate) fn effort(entries: &[VectorEntry], components: usize) -> usize {
    let texts = entries.iter().filter_map(|entry| entry.text.as_ref());
    let text_bytes: usize = texts.map(String::len).sum();
    components.saturating_add(text_bytes.saturating_mul(COMPONENTS_PER_TEXT_BYTE))
}

/// Prepares a batch of this many components in place if it is small, else on a thread of the database.
pub(crate) async fn by_size<T, F>(database: &Inner, components: usize, prepare: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    if components <= PREPARE_IN_PLACE_COMPONENTS {
        prepare()
    } else {
        database.run(prepare).await
    }
}

/// Checks a batch of one space and makes of it what will be stored.
pub(crate) fn prepare(entries: Vec<VectorEntry>, shape: &Shape, now: i64) -> Result<Vec<PreparedEntry>> {
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
    // More do not come into the index of metadata with their commit.
    let has_few = entries.len() as u64 <= DEFAULT_METADATA_AT_ONCE_MAX;
    let mut bytes = 0_usize;
    entries
        .into_iter()
        .enumerate()
        .map(|(place, entry)| {
            let shape = shape_of(place);
            let fields = match entry.metadata {
                Value::Object(fields) => fields,
                // Checked: there is none.
                _ => Metadata::new(),
            };
            let metadata = serde_json::to_vec(&fields)?;
            validate::metadata_bytes(&entry.id, metadata.len())?;
            bytes = bytes.saturating_add(metadata.len()).saturating_add(4 * shape.dim);
            validate::batch_bytes(bytes)?;
            bytes = bytes.saturating_add(entry.text.as_ref().map_or(0, String::len));
            let sparse_bytes = entry.sparse.values().map(SparseVector::counted_bytes);
            bytes = bytes.saturating_add(sparse_bytes.sum());
            validate::batch_bytes(bytes)?;
            // Checked: without rules there is neither text nor sparse vector.
            let rules = shape.texts.as_ref();
            let text = rules.and_then(|rules| rules.stored(entry.text, entry.sparse));
            let words = match &shape.texts {
                None => Words::None,
                Some(rules) if has_few => Words::Known(rules.terms(text.as_ref(), &fields), Arc::clone(rules)),
                Some(_) => Words::Later,
            };
            let vector = match entry.embedding.is_empty() {
                true => Vec::new(),
                false => shape.kept(&entry.id, entry.embedding)?,
            };
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
                text,
                words,
                fields: has_few.then_some(fields),
                created_at: entry.created_at,
                updated_at: entry.updated_at.unwrap_or(now),
                event_time: entry.event_time,
                expires_at,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use llmspell_core::HNSWConfig;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::truth::SpaceRecord;

    fn prepared_of(metadata: &[Value]) -> Vec<PreparedEntry> {
        let shape = Shape::of_record(&SpaceRecord::plain("s", 1, HNSWConfig::fast())).unwrap();
        let entry = |metadata: &Value| VectorEntry::new("", vec![1.0]).with_metadata(metadata);
        prepare(metadata.iter().map(entry).collect(), &shape, 0).unwrap()
    }

    proptest! {
        /// The index is made of the fields now, and of the JSON after a restart: both say the same.
        #[test]
        fn fields_are_what_their_json_reads_as(float in any::<f64>(), int in any::<i64>(), uint in any::<u64>(), text in ".*") {
            let metadata = json!({"f": float, "i": int, "u": uint, "t": text, "n": {"a": [null, true, float / 3.0]}});
            for prepared in prepared_of(&[metadata, Value::Null]) {
                let read: Metadata = serde_json::from_slice(&prepared.metadata).unwrap();
                prop_assert_eq!(prepared.fields, Some(read));
            }
        }
    }

    #[test]
    fn many_entries_carry_no_fields_as_their_metadata_is_indexed_later() {
        let most = usize::try_from(DEFAULT_METADATA_AT_ONCE_MAX).unwrap();
        let has_fields = |count: usize| {
            prepared_of(&vec![json!({"a": 1}); count])
                .iter()
                .all(|entry| entry.fields.is_some())
        };
        assert!(has_fields(most));
        assert!(!has_fields(most + 1));
    }
}
