//! Checks of keys, values, batches and pages. For implementers of [`StorageBackend`](crate::StorageBackend).

use super::write::KeyValueWrite;
use crate::check::at_most;
pub use crate::check::page;
use crate::error::{Result, StorageError};
use crate::expiry::Expiry;
use crate::limits::{BATCH_BYTES_MAX, BATCH_ITEMS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Checks a key.
///
/// # Errors
///
/// [`StorageError::EmptyKey`] or [`StorageError::LimitExceeded`].
pub fn key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(StorageError::EmptyKey);
    }
    at_most("key", key, key.len(), KEY_BYTES_MAX, "bytes")
}

/// Checks a value.
///
/// # Errors
///
/// [`StorageError::LimitExceeded`] with the key.
pub fn value(key: &str, value: &[u8]) -> Result<()> {
    at_most("value of", key, value.len(), VALUE_BYTES_MAX, "bytes")
}

/// Checks every key and value of a batch, and its size.
///
/// # Errors
///
/// The first problem.
pub fn batch(batch: &[KeyValueWrite]) -> Result<()> {
    at_most("batch", "write", batch.len(), BATCH_ITEMS_MAX, "items")?;
    for write in batch {
        match write {
            KeyValueWrite::Set { key, value } => {
                self::key(key)?;
                self::value(key, value)?;
            }
            KeyValueWrite::SetExpiring { key, value, expiry } => {
                self::key(key)?;
                self::value(key, value)?;
                expiry.validate()?;
            }
            KeyValueWrite::Delete { key } => self::key(key)?,
            KeyValueWrite::DeletePrefix { .. } => {}
        }
    }
    let bytes = batch.iter().map(KeyValueWrite::len_bytes).sum();
    at_most("batch", "write", bytes, BATCH_BYTES_MAX, "bytes")
}

/// Checks the arguments of [`swap`](crate::StorageBackend::swap).
///
/// # Errors
///
/// The first problem.
pub fn swap(key: &str, new: Option<&[u8]>, expiry: Expiry) -> Result<()> {
    self::key(key)?;
    if let Some(value) = new {
        self::value(key, value)?;
    }
    expiry.validate()
}
