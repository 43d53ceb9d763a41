//! What do requests change? The part of a commit before anything is durable.
//!
//! | file         | question                                                |
//! |--------------|---------------------------------------------------------|
//! | `mod.rs`     | what does a batch collect, and who does which request?  |
//! | `values.rs`  | which rows does key-value data change?                  |
//! | `quotas.rs`  | what does a quota refuse?                               |
//! | `entries.rs` | which rows and slots do entries change?                 |
//! | `stored.rs`  | which do changes of entries that are stored?            |
//! | `large.rs`   | which, when they are written before anybody sees them?  |
//! | `scopes.rs`  | what is known of a scope, and how does it come and go?  |
//! | `files.rs`   | how does the truth name the file of an index?           |
//! | `spaces.rs`  | what does a space become, and whose place does it take? |

mod entries;
mod files;
mod large;
mod quotas;
mod scopes;
mod spaces;
mod stored;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use llmspell_core::{ErrorKind, Result, StateScope, StorageError};

pub(super) use large::{Conflict, Growing};
use quotas::ScopeQuota;
pub(super) use scopes::runs_of;

use super::routing::Routing;
use super::shared::Shared;
use super::writer::{Dropped, Pending};
use crate::base::ids::{ScopeId, SpaceId};
use crate::engine::value_cache::Cached;
use crate::slots::SlotAllocator;
use crate::spaces::registry::Space;
use crate::truth::{Head, Rows, SpaceRecord, Write};

/// Key-value data that belongs to everybody.
pub(crate) const KV_SCOPE: ScopeId = ScopeId(0);
/// A namespace is checkpointed after so many mutations: what a reader has to replay at most, about.
const CHECKPOINT_OPS: u32 = 256;

/// Why a request did not happen.
pub(crate) enum Fail {
    /// It is refused; nothing of it was changed.
    Request(StorageError),
    /// It failed half-way: the transaction must not go on.
    Batch(StorageError),
}

impl Fail {
    pub(crate) fn into_error(self) -> StorageError {
        match self {
            Self::Request(error) | Self::Batch(error) => error,
        }
    }

    /// Found while rows were being changed.
    fn of_batch(self) -> Self {
        Self::Batch(self.into_error())
    }
}

/// While a request only looks: what it finds wrong concerns it alone, unless the disk itself fails.
fn looking(error: StorageError) -> Fail {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Closed => Fail::Batch(error),
        _ => Fail::Request(error),
    }
}

/// Once a request changes rows, there is no way back but for the whole transaction.
fn changing(error: StorageError) -> Fail {
    Fail::Batch(error)
}

/// A transaction, and what it will change in memory.
pub(crate) struct Batch<'a> {
    shared: &'a Shared,
    pub(super) rows: Rows<'a>,
    head: Head,
    head_before: Head,
    allocators: &'a mut HashMap<SpaceId, SlotAllocator>,
    pending: HashMap<(SpaceId, StateScope), Pending>,
    dropped: Vec<Dropped>,
    values: HashMap<Vec<u8>, Cached>,
    written_spaces: Vec<Arc<Space>>,
    /// One past the last slot, of spaces where that changed.
    slot_ends: BTreeMap<SpaceId, u64>,
    spaces: Vec<(SpaceId, SpaceRecord)>,
    routing: Routing,
    /// Whether any scope has a quota.
    has_quotas: bool,
    quotas: HashMap<StateScope, ScopeQuota>,
    first_expiry: Option<i64>,
    first_key_expiry: Option<i64>,
    /// Values with an end that were put.
    expiring_puts: usize,
    is_changed: bool,
    /// What is stored of the clock.
    clock_version: u64,
    /// What a request that needs room is refused with; none while there is room.
    pub(super) no_room: Option<StorageError>,
}

/// What to do once the transaction is durable.
pub(super) struct Changes {
    pub(super) head: Head,
    pub(super) pending: Vec<(StateScope, Pending)>,
    pub(super) dropped: Vec<Dropped>,
    pub(super) values: HashMap<Vec<u8>, Cached>,
    pub(super) written_spaces: Vec<Arc<Space>>,
    pub(super) spaces: Vec<(SpaceId, SpaceRecord)>,
    pub(super) has_quotas: bool,
    pub(super) first_expiry: Option<i64>,
    /// What is stored of the clock.
    pub(super) clock_version: u64,
    pub(super) first_key_expiry: Option<i64>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        txn: &'a Write,
        head: Head,
        allocators: &'a mut HashMap<SpaceId, SlotAllocator>,
    ) -> Self {
        Self {
            shared,
            rows: txn.rows(),
            head,
            head_before: head,
            allocators,
            pending: HashMap::new(),
            dropped: Vec::new(),
            values: HashMap::new(),
            written_spaces: Vec::new(),
            slot_ends: BTreeMap::new(),
            spaces: Vec::new(),
            routing: shared.routing(),
            has_quotas: shared.has_quotas.load(Ordering::SeqCst),
            quotas: HashMap::new(),
            first_expiry: None,
            first_key_expiry: None,
            expiring_puts: 0,
            is_changed: false,
            clock_version: 0,
            no_room: None,
        }
    }

    /// That there is room on the disk for more.
    fn check_room(&self) -> Result<(), Fail> {
        self.no_room
            .as_ref()
            .map_or(Ok(()), |error| Err(Fail::Request(error.clone())))
    }

    /// That there is room for what takes no more than before, once its pages are written anew.
    fn check_room_for_changes(&self) -> Result<(), Fail> {
        if self.shared.is_all_but_full() {
            self.check_room()
        } else {
            Ok(())
        }
    }

    /// The last rows. False if nothing changed.
    pub(super) fn finish(&mut self) -> Result<bool> {
        if !self.is_changed {
            return Ok(false);
        }
        self.drop_ended().map_err(Fail::into_error)?;
        for pending in self.pending.values_mut() {
            if self.routing.has(pending.space.id) && pending.state.ops_since_checkpoint >= CHECKPOINT_OPS {
                pending.state.ops_since_checkpoint = 0;
                self.rows.checkpoint(pending.namespace.scope_id, &pending.state)?;
            }
        }
        for (space, end) in &self.slot_ends {
            self.rows.set_slot_end(*space, *end)?;
        }
        if self.head != self.head_before {
            self.rows.set_head(&self.head)?;
        }
        if let Some((version, row)) = self.shared.clock.unsaved() {
            self.rows.set_clock(Some(&row))?;
            self.clock_version = version;
        }
        self.has_quotas = self.finish_quotas()?;
        Ok(true)
    }

    /// What to do once the transaction is durable, or to undo if it will not be.
    pub(super) fn into_changes(self) -> Changes {
        Changes {
            head: self.head,
            pending: self
                .pending
                .into_iter()
                .map(|((_, scope), pending)| (scope, pending))
                .collect(),
            dropped: self.dropped,
            values: self.values,
            written_spaces: self.written_spaces,
            spaces: self.spaces,
            has_quotas: self.has_quotas,
            first_expiry: self.first_expiry,
            first_key_expiry: self.first_key_expiry,
            clock_version: self.clock_version,
        }
    }

    /// Records that it is `now`, as far as that is confirmed: after a restart it is no earlier.
    pub(super) fn set_clock(&mut self, now: i64) {
        // A clock that is ahead for a moment must not stop time for good.
        let confirmed = now.min(self.shared.clock.latest());
        self.head.clock_ms = self.head.clock_ms.max(confirmed);
        self.is_changed = true;
    }

    /// Records that the transaction has something to make durable.
    pub(super) fn set_changed(&mut self) {
        self.is_changed = true;
    }
}
