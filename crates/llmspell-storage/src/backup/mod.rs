//! A backup: a directory with the content of a database as of one commit.
//!
//! | file          | question                                                       |
//! |---------------|----------------------------------------------------------------|
//! | `manifest.rs` | which parts has a backup, and where do their bytes lie?        |
//! | `packs.rs`    | how are blocks of bytes written to a backup, and read from it? |
//! | `rows.rs`     | how do rows of the truth become blocks?                        |
//! | `slots.rs`    | which slots does a snapshot name, and are they undamaged?      |
//! | `take.rs`     | how is a snapshot copied into a backup?                        |
//! | `restore.rs`  | how is a backup verified, and a database made of it?           |
//!
//! ```text
//! <backup>/MANIFEST           which parts there are, and which blocks of which packs they consist of; written last
//! <backup>/pack-<n>-<m>       blocks that the n-th backup to this directory has written; never changed
//! <backup>/LOCK               held while a backup is written
//! ```
//!
//! # Promises
//!
//! 1. A directory without `MANIFEST` is no backup. `MANIFEST` is renamed into place when everything that it names is
//!    durable, so the backup before stays valid until then.
//! 2. Every byte that a manifest names has a checksum, and so has the manifest.
//! 3. A block of an earlier backup is used again only after it was read and found to have the same bytes.

mod files;
mod manifest;
mod packs;
mod restore;
mod rows;
mod slots;
mod take;

use llmspell_core::Result;

pub(crate) use manifest::{LOCK_FILE, Manifest};
pub(crate) use restore::{restore, verify};
pub(crate) use take::{Source, Wanted, prepare, take};

/// Told after each block how many bytes were done; an error ends the work.
pub(crate) type Pace<'p> = &'p mut dyn FnMut(u64) -> Result<()>;
