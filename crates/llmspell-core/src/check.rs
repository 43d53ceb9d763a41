//! Checks that calls on vectors and on keys share.

use std::ops::RangeInclusive;

use crate::error::{Result, StorageError};
use crate::limits::{DIM_RANGE, PAGE_MAX};
use crate::text::shortened;

/// Checks the dimension of a space.
///
/// # Errors
///
/// [`StorageError::OutOfRange`].
pub fn dim(dim: usize) -> Result<()> {
    in_range("dimension", dim, DIM_RANGE)
}

/// Checks the number of pairs or entries of a page.
///
/// # Errors
///
/// [`StorageError::OutOfRange`] unless within `1..=`[`PAGE_MAX`].
pub fn page(limit: usize) -> Result<()> {
    if (1..=PAGE_MAX).contains(&limit) {
        return Ok(());
    }
    Err(StorageError::OutOfRange {
        what: "limit",
        got: limit as f64,
        min: 1.0,
        max: PAGE_MAX as f64,
    })
}

/// Checks a number against a range.
pub(crate) fn in_range(what: &'static str, got: usize, range: RangeInclusive<usize>) -> Result<()> {
    if range.contains(&got) {
        return Ok(());
    }
    Err(StorageError::OutOfRange {
        what,
        got: got as f64,
        min: *range.start() as f64,
        max: *range.end() as f64,
    })
}

/// Checks a length against a limit.
pub(crate) fn at_most(what: &'static str, name: &str, got: usize, limit: usize, unit: &'static str) -> Result<()> {
    if got <= limit {
        return Ok(());
    }
    Err(StorageError::LimitExceeded {
        what,
        name: shortened(name),
        got: got as u64,
        limit: limit as u64,
        unit,
    })
}
