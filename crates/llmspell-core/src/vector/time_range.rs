//! [`TimeRange`]: the times that a query allows.

use std::ops::{Range, RangeFrom, RangeFull, RangeTo};

use serde::{Deserialize, Serialize};

use crate::error::{Result, StorageError};
use crate::filter::{FieldPath, Filter, OwnTime};
use crate::timestamp::Timestamp;

/// A half-open range of moments: from `from`, included, to `to`, excluded; either may be open.
///
/// Converts from a range of [`Timestamp`]s. A range that ends where it begins is empty; one that ends before it begins
/// is refused when the query is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// The first moment; none if there is no lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// The first moment after the range; none if there is no upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

impl TimeRange {
    /// The condition that a time of the entry lies within the range. An entry without that time does not match.
    pub(super) fn condition(self, time: OwnTime) -> Filter {
        let time = || FieldPath::from(time);
        let from = self.from.map(|moment| Filter::ge(time(), moment.as_millis()));
        let to = self.to.map(|moment| Filter::lt(time(), moment.as_millis()));
        match (from, to) {
            (None, None) => Filter::exists(time()),
            (from, to) => Filter::all_of(from.into_iter().chain(to)),
        }
    }

    /// Checks that it does not end before it begins.
    pub(super) fn check(self, what: &'static str) -> Result<()> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if to < from => Err(StorageError::ReversedTimes { what, from, to }),
            _ => Ok(()),
        }
    }
}

impl From<Range<Timestamp>> for TimeRange {
    fn from(range: Range<Timestamp>) -> Self {
        Self {
            from: Some(range.start),
            to: Some(range.end),
        }
    }
}

impl From<RangeFrom<Timestamp>> for TimeRange {
    fn from(range: RangeFrom<Timestamp>) -> Self {
        Self {
            from: Some(range.start),
            to: None,
        }
    }
}

impl From<RangeTo<Timestamp>> for TimeRange {
    fn from(range: RangeTo<Timestamp>) -> Self {
        Self {
            from: None,
            to: Some(range.end),
        }
    }
}

impl From<RangeFull> for TimeRange {
    fn from(_: RangeFull) -> Self {
        Self::default()
    }
}
