//! Keys on PostgreSQL: [`PostgresBackend`].
//!
//! | file         | question                                                       |
//! |--------------|----------------------------------------------------------------|
//! | `place.rs`   | where does a key stand, and which range does a prefix cover?   |
//! | `batch.rs`   | which statements does a batch become?                          |
//! | `backend.rs` | how is each call of the trait answered?                        |

mod backend;
mod batch;
mod place;

pub use backend::PostgresBackend;
