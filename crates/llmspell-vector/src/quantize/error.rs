//! Why a vector or a query has no code.

use std::fmt;

/// What a codec cannot take. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodeError {
    /// Bits per component outside [`BITS_RANGE`](crate::BITS_RANGE).
    Bits {
        /// As asked for.
        bits: u8,
    },
    /// Components outside [`CODE_DIM_RANGE`](crate::CODE_DIM_RANGE).
    Dim {
        /// As asked for.
        dim: usize,
    },
    /// A vector of another dimension.
    WrongDim {
        /// Components of the vectors that are coded.
        expected: usize,
        /// Components of this one.
        got: usize,
    },
    /// Bytes that are not what a record, or a whole number of records, takes.
    WrongBytes {
        /// Bytes of one record.
        record: usize,
        /// Bytes that were given.
        got: usize,
    },
    /// A component that stands for all others is infinite or not a number.
    NotFinite,
    /// Straight lines are all that codes estimate: there are none for Manhattan.
    Metric,
    /// A store holds at most `u32::MAX` records.
    Full,
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits { bits } => write!(f, "codes have 1 to 8 bits per component, not {bits}"),
            Self::Dim { dim } => write!(f, "codes are made of 1 to 4096 components, not {dim}"),
            Self::WrongDim { expected, got } => write!(f, "dimension mismatch: expected {expected}, got {got}"),
            Self::WrongBytes { record, got } => write!(f, "records have {record} bytes each; got {got}"),
            Self::NotFinite => write!(f, "a component is not finite"),
            Self::Metric => write!(f, "there are no codes for the Manhattan distance"),
            Self::Full => write!(f, "a store of codes holds at most {} records", u32::MAX),
        }
    }
}

impl std::error::Error for CodeError {}
