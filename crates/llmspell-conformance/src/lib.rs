//! The promises of both storage traits as public test functions, for any implementation.
//!
//! Each promise is an async function named by a sentence. It takes a fresh, empty store and panics when the promise is
//! broken. `check_all` of each suite runs them all, each on a store of its own, and prints the name of a broken one.
//!
//! ```no_run
//! # async fn test<B: llmspell_core::StorageBackend + 'static>(new_backend: impl Fn() -> B) {
//! use std::sync::Arc;
//! use llmspell_conformance::key_value;
//!
//! key_value::check_all(async || Arc::new(new_backend()) as _).await;
//! # }
//! ```
//!
//! Some promises need several threads. They start them and drive futures there with [`block_on`]; a store that only
//! works inside its own async runtime passes that runtime's `block_on` to `check_all_with`.
//!
//! | folder or file | question                                                    |
//! |----------------|-------------------------------------------------------------|
//! | `key_value/`   | does a [`StorageBackend`](llmspell_core::StorageBackend) keep its promises? |
//! | `vectors/`     | does a [`VectorStorage`](llmspell_core::VectorStorage) keep its promises? |
//! | `drive.rs`     | how are futures driven without a runtime?                   |

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "every function here panics if its promise is broken, and for nothing else"
)]

mod drive;
pub mod key_value;
pub mod vectors;

pub use drive::{BlockOn, BoxFuture, block_on};
