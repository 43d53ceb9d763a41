//! One scope of one space in memory: which points live, and where their vectors are.
//!
//! | file         | question                                                        |
//! |--------------|-----------------------------------------------------------------|
//! | `state.rs`   | what does a namespace know, and how does an `Op` change it?     |
//! | `expiries.rs`| which points have expired by now?                               |
//! | `checkpoint.rs` | how is a state stored, so that the log need not be kept?     |
//! | `reuse.rs`   | which points may be given out again?                            |
//! | `tail.rs`    | which vectors are compared by a scan?                           |
//! | `search.rs`  | which entries are nearest?                                      |
//!
//! # Promises
//!
//! 1. A published [`State`] never changes. Whoever holds one sees one committed state of the namespace.
//! 2. A point is given out again only when its removal is durable and no state in which it lived is held any more.

mod checkpoint;
mod expiries;
mod reuse;
pub(crate) mod search;
mod state;
mod tail;

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

pub(crate) use checkpoint::{decode as decode_checkpoint, encode as encode_checkpoint};
pub(crate) use reuse::Reuse;
pub(crate) use state::State;

use crate::ids::ScopeId;

/// A loaded namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) scope_id: ScopeId,
    current: RwLock<Arc<State>>,
    /// Which points may be given out again. Only the committer asks.
    pub(crate) reuse: Mutex<Reuse>,
    /// Chunks of points whose slots have been found undamaged since the namespace was loaded.
    verified_chunks: RwLock<RoaringBitmap>,
}

impl Namespace {
    /// A namespace as it was read from the truth, or a new one.
    pub(crate) fn new(scope_id: ScopeId, state: State) -> Self {
        let reuse = Reuse::new(&state.dead);
        Self {
            scope_id,
            current: RwLock::new(Arc::new(state)),
            reuse: Mutex::new(reuse),
            verified_chunks: RwLock::default(),
        }
    }

    /// What is committed now.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.current.read())
    }

    /// Makes a committed state visible. `freed` are the points that died since the one before.
    pub(crate) fn publish(&self, state: State, freed: RoaringBitmap) {
        let before = std::mem::replace(&mut *self.current.write(), Arc::new(state));
        self.reuse.lock().retire(&before, freed);
    }
}
