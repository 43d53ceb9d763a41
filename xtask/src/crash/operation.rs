//! The operations of a writer and the messages between processes, each one line of JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use llmspell_storage::StateScope;
use serde::{Deserialize, Serialize};

use super::content::Value;

/// One call of the public API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Operation {
    /// A batch of key-value changes, in order.
    Write(Vec<KeyChange>),
    /// Compare and swap.
    Swap {
        key: String,
        expected: Option<Value>,
        new: Option<Value>,
    },
    /// Entries of one or several scopes.
    Entries {
        space: usize,
        kind: EntriesKind,
        entries: Vec<NewEntry>,
    },
    /// New metadata for one entry.
    Metadata {
        space: usize,
        scope: StateScope,
        id: String,
        metadata: u32,
    },
    /// Another expiry for entries.
    Touch {
        space: usize,
        scope: StateScope,
        ids: Vec<String>,
        life: Life,
    },
    /// Entries to delete.
    Remove {
        space: usize,
        scope: StateScope,
        ids: Vec<String>,
    },
    /// Entries to delete by their tag.
    RemoveMatching { space: usize, scope: StateScope, tag: u32 },
    /// A scope to delete.
    DropScope { space: usize, scope: StateScope },
    /// Scopes to delete together; some of them may not exist.
    DropScopes { space: usize, scopes: Vec<StateScope> },
    /// A space to delete, whose name is used again at once.
    DropSpace { space: usize },
    /// How many entries a scope may hold; none: no limit.
    Quota { scope: StateScope, vectors: Option<u64> },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum KeyChange {
    Set(String, Value),
    /// For keys that only this change writes.
    SetMortal(String, Value, Life),
    Delete(String),
    DeletePrefix(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EntriesKind {
    Insert,
    Upsert,
}

/// An entry, its vector and metadata by the numbers they are made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NewEntry {
    pub(super) scope: StateScope,
    pub(super) id: String,
    pub(super) vector: u32,
    pub(super) metadata: u32,
    pub(super) event_time: Option<i64>,
    pub(super) life: Life,
}

/// How long an entry or a key lives, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Life {
    Forever,
    For(u32),
    Until(i64),
}

/// What a call returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    Done,
    /// The number of removed items.
    Count(u64),
    Swapped(bool),
    /// The ids that do not exist.
    Missing(Vec<String>),
    /// An insert was refused because an id exists.
    Exists,
    NotFound,
    /// A write was refused by a quota.
    Exceeded,
    /// Any other error, which no operation should return.
    Failed(String),
}

/// A message about the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Line {
    /// The store is open.
    Ready { open_us: u64 },
    /// A writer is about to call.
    Start {
        writer: usize,
        at: i64,
        operation: Operation,
    },
    /// The call has returned.
    Ack { writer: usize, at: i64, outcome: Outcome },
    /// The checker has read the scopes of a space, within `from..=to`.
    Listed { space: usize, from: i64, to: i64 },
    /// The checker read the keys in the following messages within `from..=to`.
    KeysRead { from: i64, to: i64 },
    /// The checker found a key.
    Pair {
        key: String,
        value: Value,
        expires_at: Option<i64>,
    },
    /// The checker found a scope; it read the entries within `from..=to`.
    Scope {
        space: usize,
        scope: StateScope,
        entries: Vec<StoredEntry>,
        from: i64,
        to: i64,
    },
    /// The checker found a quota.
    Quota { scope: StateScope, vectors: u64 },
    /// The number of dropped scopes that were not purged yet.
    Purging(u64),
    /// The checker has reported everything.
    Complete,
    /// A process found a problem.
    Problem(String),
    /// A panic, which may have been caught.
    Panic(String),
}

/// An entry as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredEntry {
    pub(super) id: String,
    /// None if no writer stored it.
    pub(super) vector: Option<u32>,
    /// None if no writer stored them.
    pub(super) metadata: Option<u32>,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) event_time: Option<i64>,
    pub(super) expires_at: Option<i64>,
}

/// Milliseconds since 1970, truncated as the store does.
pub(super) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("it is not that late yet")
}
