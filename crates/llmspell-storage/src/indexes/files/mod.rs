//! The graphs and the indexes of metadata of large namespaces on the disk: derived, checksummed, dropped at any doubt.
//!
//! | file          | question                                              |
//! |---------------|-------------------------------------------------------|
//! | `layout.rs`   | how is an index file laid out, and what names it?     |
//! | `write.rs`    | how is one written?                                   |
//! | `open.rs`     | how is one opened, and checked?                       |
//! | `base/ids.rs`      | which user's id has a vertex?                         |
//! | `measured.rs` | what was measured of searches with an index?          |
//! | `metadata.rs` | how is an index of metadata kept in a file?           |
//!
//! # Promises
//!
//! 1. A file is never written again once it has its name, and nothing counts that the manifest does not name: the table
//!    `index_files` of the truth.
//! 2. What an answer shows of a file (the id of a vertex) is checked each time; the whole file in the background.
//! 3. A file that is missing, damaged, foreign or of another version costs time, never an answer.

mod ids;
mod layout;
mod measured;
mod metadata;
mod open;
mod write;

pub(crate) use ids::{IdList, Ids};
pub(crate) use layout::{IndexRow, Kind, dir};
pub(crate) use measured::{Measured, millionths};
pub(crate) use metadata::{read as read_metadata, write as write_metadata};
pub(crate) use open::{IndexFile, Opened, Unusable, open, remove_unnamed};
pub(crate) use write::{Content, remove, write};
