//! What does each verb answer, to people and to programs?
//!
//! | file | verbs |
//! |---|---|
//! | `search.rs` | `search` |
//! | `entries.rs` | `get`, `list`, `count`, `facet`, `delete`, `touch` |
//! | `scopes.rs` | `scope`, `space`, and quotas |
//! | `store.rs` | `kv`, `stats`, `check`, `clock`, completions |

#[path = "../common/mod.rs"]
mod common;
mod entries;
mod scopes;
mod search;
mod store;
