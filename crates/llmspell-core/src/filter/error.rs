//! [`FilterError`]: what is wrong with a filter, and where.

use std::fmt;

use super::path::FieldPath;
use super::scalar::Scalar;
use crate::text::shortened;

/// Why a filter was refused: one problem, and its place.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct FilterError {
    place: FilterPlace,
    problem: FilterProblem,
}

impl FilterError {
    pub(super) fn new(place: FilterPlace, problem: FilterProblem) -> Self {
        Self { place, problem }
    }

    /// The place of the problem.
    #[must_use]
    pub fn place(&self) -> &FilterPlace {
        &self.place
    }

    /// The problem.
    #[must_use]
    pub fn problem(&self) -> &FilterProblem {
        &self.problem
    }
}

/// A place in a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterPlace {
    /// A column of the text form: characters from 1, line breaks counted as one.
    Column(usize),
    /// A JSON Pointer (RFC 6901) into the JSON form, such as `/and/1/eq/value`; empty for the whole. Filters built in
    /// code are located in their JSON form too.
    Json(String),
}

impl fmt::Display for FilterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(column) => write!(f, "column {column}"),
            Self::Json(pointer) if pointer.is_empty() => f.write_str("at the top"),
            Self::Json(pointer) => write!(f, "at {pointer}"),
        }
    }
}

/// The problems of a filter. Texts of the user are shortened.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterProblem {
    /// The text form ends too early, or continues with an unexpected word.
    #[error("expected {expected}, found {found}{}{help}", if help.is_empty() { "" } else { "; " })]
    Syntax {
        /// What may stand here.
        expected: &'static str,
        /// What stands here.
        found: String,
        /// What to write instead; may be empty.
        help: String,
    },

    /// A quoted string cannot be read.
    #[error("bad string: {reason}")]
    BadString {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The JSON form has the wrong shape.
    #[error("expected {expected}, got {got}")]
    Shape {
        /// The shape expected here.
        expected: &'static str,
        /// The shape found.
        got: String,
    },

    /// No operator has this name.
    #[error(
        "unknown operator `{name}`; there are eq, ne, in, lt, le, gt, ge, between, exists, is_null, contains, \
         starts_with, matches_text, and, or, not, all"
    )]
    UnknownOperator {
        /// The name given.
        name: String,
    },

    /// An operator lacks one of its members, or has an unknown one.
    #[error("`{operator}` {trouble} `{member}`; it takes {takes}")]
    Member {
        /// The operator.
        operator: &'static str,
        /// `lacks` or `does not know`.
        trouble: &'static str,
        /// The member.
        member: String,
        /// All members of the operator.
        takes: String,
    },

    /// Something is larger or deeper than [`limits`](crate::limits) allow.
    #[error("{what} has {got} {unit}; at most {limit} are allowed")]
    LimitExceeded {
        /// What is too large.
        what: &'static str,
        /// The size; if reading stops at the limit, the size up to there.
        got: usize,
        /// Largest size allowed.
        limit: usize,
        /// Unit of both.
        unit: &'static str,
    },

    /// The text names no field.
    #[error("`{path}` is not a field: {reason}")]
    BadPath {
        /// The text.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// An array or an object stands where a scalar is needed.
    #[error("{got} is not a single value; compare with null, a boolean, a number or a string")]
    NotScalar {
        /// `an array` or `an object`.
        got: &'static str,
    },

    /// The number is NaN or infinite.
    #[error("the number is {value}; it must be finite")]
    NotFinite {
        /// The number.
        value: String,
    },

    /// Null and booleans have no order.
    #[error("{value} has no order; numbers and strings have one")]
    NotOrdered {
        /// The value.
        value: String,
    },

    /// The bounds of a range have different types, so no value lies between them.
    #[error("the bounds are a {low} and a {high}; both must be numbers, or both strings")]
    MixedBounds {
        /// Type of the lower bound.
        low: &'static str,
        /// Type of the upper bound.
        high: &'static str,
    },

    /// The lower bound lies above the upper one.
    #[error("the lower bound {low} lies above the upper bound {high}; swap them")]
    ReversedBounds {
        /// The lower bound.
        low: String,
        /// The upper bound.
        high: String,
    },

    /// The field holds dates, and the value is not a date.
    #[error(
        "{value} is not a date, and `{field}` holds dates; write one such as \"2026-11-22T10:00:00Z\" or \"2026-11-22\""
    )]
    InvalidDate {
        /// The field.
        field: String,
        /// The value.
        value: String,
    },

    /// A time of the entry is compared with a value that is not a moment.
    #[error(
        "{value} is not a moment, and `{time}` is one; write a date such as \"2026-11-22T10:00:00Z\", or milliseconds \
         since 1970"
    )]
    NoMoment {
        /// Name of the time.
        time: &'static str,
        /// The value.
        value: String,
    },

    /// No time of an entry can match such a condition.
    #[error("`{time}` is a moment or missing, so `{operator}` does not apply to it; compare it, or use `exists`")]
    NotOfTimes {
        /// Name of the time.
        time: &'static str,
        /// The operator.
        operator: &'static str,
    },

    /// A time of the entry stands where only a field of the metadata can.
    #[error("`{time}` is a time of the entry; name a field of its metadata")]
    NotAField {
        /// Name of the time.
        time: &'static str,
    },

    /// The text to match has no letter and no digit.
    #[error("{text} has no term, neither a letter nor a digit; leave the condition out")]
    NoTerms {
        /// The text.
        text: String,
    },

    /// `and` or `or` without conditions.
    #[error("`{operator}` has no conditions; to match every entry write `true`, in JSON {{\"all\": {{}}}}")]
    NoConditions {
        /// The operator.
        operator: &'static str,
    },
}

impl FilterProblem {
    pub(super) fn bad_path(path: &FieldPath, reason: &'static str) -> Self {
        Self::BadPath {
            path: shortened(&path.to_string()),
            reason,
        }
    }

    pub(super) fn at_most(what: &'static str, got: usize, limit: usize, unit: &'static str) -> Result<(), Self> {
        if got <= limit {
            return Ok(());
        }
        Err(Self::LimitExceeded { what, got, limit, unit })
    }
}

/// A value for an error text.
pub(super) fn shown(value: &Scalar) -> String {
    shortened(&value.to_string())
}
