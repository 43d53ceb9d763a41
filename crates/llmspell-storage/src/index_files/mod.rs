//! The graphs of large namespaces on the disk: derived, checksummed, dropped at any doubt.
//!
//! | file        | question                                              |
//! |-------------|-------------------------------------------------------|
//! | `layout.rs` | how is an index file laid out, and what names it?     |
//! | `write.rs`  | how is one written?                                   |
//! | `open.rs`   | how is one opened, and checked?                       |
//! | `ids.rs`    | which user's id has a vertex?                         |
//!
//! # Promises
//!
//! 1. A file is never written again once it has its name, and nothing counts that the manifest (the table `indexes` of
//!    the truth) does not name.
//! 2. What an answer shows of a file (the id of a vertex) is checked each time; the whole file in the background.
//! 3. A file that is missing, damaged, foreign or of another version costs time, never an answer.

mod ids;
mod layout;
mod open;
mod write;

pub(crate) use ids::{IdList, Ids};
pub(crate) use layout::{IndexRow, dir};
pub(crate) use open::{IndexFile, Opened, open, remove_unnamed};
pub(crate) use write::{Content, remove, write};
