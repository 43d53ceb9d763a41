//! The JSON form: an object with one member, named like the operator; the [module](crate::filter) shows each.
//!
//! | file       | question                           |
//! |------------|------------------------------------|
//! | `read.rs`  | which filter is it, and if none: where and why not? |
//! | `write.rs` | how is a filter written?           |

mod read;
mod write;

use super::condition::Filter;

impl Filter {
    /// Its name in the JSON form.
    pub(in crate::filter) fn operator(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Eq { .. } => "eq",
            Self::Ne { .. } => "ne",
            Self::In { .. } => "in",
            Self::Lt { .. } => "lt",
            Self::Le { .. } => "le",
            Self::Gt { .. } => "gt",
            Self::Ge { .. } => "ge",
            Self::Between { .. } => "between",
            Self::Exists { .. } => "exists",
            Self::IsNull { .. } => "is_null",
            Self::Contains { .. } => "contains",
            Self::StartsWith { .. } => "starts_with",
            Self::MatchesText { .. } => "matches_text",
            Self::And(_) => "and",
            Self::Or(_) => "or",
            Self::Not(_) => "not",
        }
    }
}
