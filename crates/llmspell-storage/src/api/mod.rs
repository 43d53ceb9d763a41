//! What users call: stores of vectors, routers, and key-value backends.
//!
//! | folder or file | holds                                                              |
//! |----------------|--------------------------------------------------------------------|
//! | `vectors/`     | a space as a `VectorStorage`                                       |
//! | `router/`      | the spaces of several models as one `VectorStorage`                |
//! | `backends/`    | key-value state in RAM, in the database, and in sled               |
//! | `atomic_batch.rs` | entries and keys that are written together, or not at all       |
//! | `salvage.rs`   | what can be read of a damaged database, in a new one               |
//! | `compact.rs`   | a database without gaps, in place of one with them                 |
//! | `export.rs`    | moving key-value state from one backend to another                 |

pub(crate) mod atomic_batch;
pub mod backends;
pub(crate) mod compact;
pub(crate) mod export;
pub(crate) mod router;
pub(crate) mod salvage;
pub(crate) mod vectors;
