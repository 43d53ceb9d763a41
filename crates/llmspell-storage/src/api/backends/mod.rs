//! Key-value backends.
//!
//! | file or folder | question                                                       |
//! |----------------|----------------------------------------------------------------|
//! | `memory/`      | how is state kept in RAM? [`MemoryBackend`]                    |
//! | `redb.rs`      | how is state kept in a database? [`RedbBackend`]               |
//! | `sled/`        | how is state kept safe on sled 0.34? `SledBackend` (feature `sled`) |

mod memory;
mod redb;
#[cfg(feature = "sled")]
mod sled;

pub use self::redb::RedbBackend;
pub use memory::MemoryBackend;
#[cfg(feature = "sled")]
#[cfg_attr(docsrs, doc(cfg(feature = "sled")))]
pub use sled::{SledBackend, SledOptions, SledReport};
