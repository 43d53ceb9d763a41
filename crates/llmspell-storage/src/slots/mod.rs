//! The vectors: fixed-stride slots in files, seen as memory.
//!
//! | file        | question                                  |
//! |-------------|-------------------------------------------|
//! | `layout.rs` | how is one vector laid out?               |
//! | `alloc.rs`  | which slots are free?                     |
//! | `store.rs`  | how are slots written and made durable?   |
//! | `view.rs`   | how are slots read?                       |
//! | `map.rs`    | memory of slots, and frozen bytes of index files (`unsafe`) |
//!
//! # Promises
//!
//! 1. A slot is written only while it is free and no reader can name it.
//! 2. A transaction that names a slot commits only after the slot is synced.
//! 3. Bytes of a slot that no row names have no meaning: a crash may leave them in any state.

mod alloc;
pub(crate) mod layout;
mod map;
mod store;
mod view;

pub(crate) use alloc::{FreeChanges, SlotAllocator};
pub(crate) use map::{ForkMark, FrozenBytes};
pub(crate) use store::SlotStore;
pub(crate) use view::{SlotView, Waiting};
