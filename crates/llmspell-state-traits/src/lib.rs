//! Whose data is it? [`StateScope`] names the owner of a piece of state or of a vector.
//!
//! A scope is the only isolation boundary of the storage engine: ids are unique within a scope, not across, and no
//! call about one scope sees another. Three forms of it exist, and each of them tells any two scopes apart:
//!
//! | form                                            | for                    | reversible |
//! |-------------------------------------------------|------------------------|------------|
//! | text, [`Display`](std::fmt::Display) / `FromStr` | people, logs, commands | yes        |
//! | bytes, [`StateScope::to_bytes`]                 | keys on disk           | yes        |
//! | JSON: the text; `{"User": "ada"}` is read too   | programs               | yes        |
//!
//! Whether something may be seen is decided by equality of scopes, never by comparing prefixes of strings.
//!
//! | file       | question                                    |
//! |------------|---------------------------------------------|
//! | `scope.rs` | which scopes are there, which are valid?    |
//! | `text.rs`  | how is a scope written for people?          |
//! | `json.rs`  | how is a scope written for programs?        |
//! | `bytes.rs` | how is a scope written as bytes, injectively? |

#![forbid(unsafe_code)]

mod bytes;
mod json;
mod scope;
mod text;

pub use scope::{SCOPE_ID_BYTES_MAX, ScopeError, ScopeKind, StateScope};
