//! What do requests change? The part of a commit before anything is durable.
//!
//! | file         | question                                                |
//! |--------------|---------------------------------------------------------|
//! | `mod.rs`     | what does a batch collect?                              |
//! | `head.rs`    | which numbers does it give out, and what time is it?    |
//! | `pending.rs` | which scopes has it looked at, and how has it changed them? |
//! | `slots.rs`   | which slots does it take, write and give back?          |
//! | `values.rs`  | which rows does key-value data change?                  |
//! | `quotas.rs`  | what does a quota refuse?                               |
//! | `entries.rs` | which rows and slots do entries change?                 |
//! | `stored.rs`  | which do changes of entries that are stored?            |
//! | `large.rs`   | which, when they are written before anybody sees them?  |
//! | `scopes.rs`  | how do scopes come and go?                              |
//! | `files.rs`   | how does the truth name the file of an index?           |
//! | `spaces.rs`  | what does a space become, and whose place does it take? |

mod entries;
mod files;
mod head;
mod large;
mod pending;
mod quotas;
mod scopes;
mod slots;
mod spaces;
mod stored;
mod values;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use llmspell_core::{ErrorKind, Result, StorageError};

use head::HeadChanges;
pub(super) use large::{Conflict, Growing};
pub(super) use pending::Pending;
use pending::PendingScopes;
use quotas::Quotas;
use slots::SlotChanges;
pub(super) use slots::{Allocators, allocator_of, runs_of};
use spaces::SpaceChanges;
use values::ValueChanges;

use super::shared::Shared;
use crate::base::ids::{ScopeId, SpaceId};
use crate::engine::value_cache::Cached;
use crate::spaces::registry::Space;
use crate::truth::{Head, Rows, SpaceRecord, Write};

/// Key-value data that belongs to everybody.
pub(crate) const KV_SCOPE: ScopeId = ScopeId(0);
/// A namespace is checkpointed after this many mutations: about the most that a reader has to replay.
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
    pub(super) fn of_batch(self) -> Self {
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
    head: HeadChanges<'a>,
    scopes: PendingScopes,
    slots: SlotChanges<'a>,
    values: ValueChanges,
    spaces: SpaceChanges<'a>,
    quotas: Quotas,
    /// The earliest end of an entry that was written, in milliseconds since 1970.
    first_expiry: Option<i64>,
    is_changed: bool,
    /// What a request that needs room is refused with; none while there is room.
    pub(super) no_room: Option<StorageError>,
}

/// What to do once the transaction is durable. Points that it took are given back when it is dropped instead.
pub(super) struct Changes {
    pub(super) head: Head,
    pub(super) scopes: Vec<Pending>,
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
    pub(super) fn new(shared: &'a Shared, txn: &'a Write, head: Head, allocators: &'a mut Allocators) -> Self {
        Self {
            shared,
            rows: txn.rows(),
            head: HeadChanges::new(head, &shared.clock),
            scopes: PendingScopes::default(),
            slots: SlotChanges::new(&shared.truth, allocators),
            values: ValueChanges::default(),
            spaces: SpaceChanges::new(shared),
            quotas: Quotas::new(shared.has_quotas.load(Ordering::SeqCst)),
            first_expiry: None,
            is_changed: false,
            no_room: None,
        }
    }

    /// That there is room on the disk for more.
    fn check_room(&self) -> Result<(), Fail> {
        self.no_room
            .as_ref()
            .map_or(Ok(()), |error| Err(Fail::Request(error.clone())))
    }

    /// That there is room for what takes no more than before, once its pages are rewritten.
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
        for pending in self.scopes.there_mut() {
            if self.spaces.routing.has(pending.space.id) && pending.state.ops_since_checkpoint >= CHECKPOINT_OPS {
                pending.state.ops_since_checkpoint = 0;
                self.rows.checkpoint(pending.namespace.scope_id, &pending.state)?;
            }
        }
        self.slots.finish(&mut self.rows)?;
        self.head.finish(&mut self.rows)?;
        self.quotas.finish(&mut self.rows)?;
        Ok(true)
    }

    /// What to do once the transaction is durable, or to undo if it will not be.
    pub(super) fn into_changes(self) -> Changes {
        Changes {
            head: self.head.now,
            scopes: self.scopes.into_all(),
            values: self.values.cached,
            written_spaces: self.slots.written,
            spaces: self.spaces.changed,
            has_quotas: self.quotas.is_any,
            first_expiry: self.first_expiry,
            first_key_expiry: self.values.first_expiry,
            clock_version: self.head.clock_version,
        }
    }

    /// Records that it is `now`, as far as that is confirmed: after a restart it is no earlier.
    pub(super) fn set_clock(&mut self, now: i64) {
        self.head.set_clock(now);
        self.is_changed = true;
    }

    /// Gives the database a number, if it has none. Returns its number.
    pub(super) fn identify(&mut self, id: [u8; 16]) -> Result<[u8; 16], Fail> {
        if let Some(known) = self.rows.database_id().map_err(looking)? {
            return Ok(known);
        }
        self.rows.set_database_id(&id).map_err(changing)?;
        self.is_changed = true;
        Ok(id)
    }

    /// Records that the transaction has something to make durable.
    pub(super) fn set_changed(&mut self) {
        self.is_changed = true;
    }

    /// An entry ends at `moment`, if at all.
    fn note_expiry(&mut self, moment: Option<i64>) {
        self.first_expiry = self.first_expiry.into_iter().chain(moment).min();
    }
}
