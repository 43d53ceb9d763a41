//! Key-value backends.
//!
//! | file        | question                                     |
//! |-------------|----------------------------------------------|
//! | `memory.rs` | how is state kept in RAM? [`MemoryBackend`]  |

mod memory;

pub use memory::MemoryBackend;
