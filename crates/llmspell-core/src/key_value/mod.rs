//! Key-value state: the contract of a backend.
//!
//! | file          | question                                            |
//! |---------------|-----------------------------------------------------|
//! | `backend.rs`  | what does a backend promise? [`StorageBackend`]     |
//! | `write.rs`    | what can a batch do, and what is stored? [`KeyValueWrite`], [`KeyValueEntry`] |
//! | `scoped.rs`   | how is a backend confined to one scope? [`ScopedBackend`] |
//! | `pointers.rs` | how is a backend used through a reference, a `Box` or an `Arc`? |
//! | `inherent.rs` | how are its calls made without importing the trait? |
//! | `typed.rs`    | how is any serde type stored? [`StorageBackendExt`] |
//! | `validate.rs` | which keys and values are allowed?                  |

mod backend;
mod inherent;
mod pointers;
mod scoped;
mod typed;
pub mod validate;
mod write;

pub use backend::{BackendCharacteristics, BackendType, Durability, StorageBackend};
pub use scoped::ScopedBackend;
pub use typed::StorageBackendExt;
pub use write::{KeyValueEntry, KeyValueWrite, WriteSummary};
