//! What does each verb answer, to people and to programs?
//!
//! | file | verbs |
//! |---|---|
//! | `search.rs` | `search` |
//! | `entries.rs` | `get`, `list`, `count`, `facet`, `delete`, `touch` |
//! | `scopes.rs` | `scope`, `space`, and quotas |
//! | `first_hour.rs` | what a newcomer meets: errors that help, tables, a forgotten scope |
//! | `store.rs` | `kv`, `stats`, `check`, `clock`, completions |
//! | `backup.rs` | `backup`, `verify`, `restore`, `check --deep` |
//! | `terminal.rs` | what is shown on a terminal, of any width |

mod backup;
mod entries;
mod first_hour;
mod scopes;
mod search;
mod store;
#[cfg(unix)]
mod terminal;
