//! [`StateScope`] names the owner of a piece of state or of a vector.
//!
//! A scope is the only isolation boundary of the storage engine: ids are unique within a scope, not across scopes, and
//! no call for one scope sees another. It has three forms, each of which is different for different scopes:
//!
//! | form                                            | for                    | reversible |
//! |-------------------------------------------------|------------------------|------------|
//! | text, [`Display`](std::fmt::Display) / `FromStr` | people, logs, commands | yes        |
//! | bytes, [`StateScope::to_bytes`]                 | keys on disk           | yes        |
//! | JSON: the text; `{"User": "ada"}` is read too   | programs               | yes        |
//!
//! Access is decided by equality of scopes, never by comparing prefixes of strings.
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
