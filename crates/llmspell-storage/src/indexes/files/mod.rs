//! The graphs and the indexes of metadata and of words of large namespaces on the disk: derived, checksummed, dropped at any doubt.
//!
//! | file          | question                                              |
//! |---------------|-------------------------------------------------------|
//! | `layout.rs`   | how is an index file laid out, and what names it?     |
//! | `write.rs`    | how is an index file written?                         |
//! | `open.rs`     | how is an index file opened, and checked?             |
//! | `ids.rs`      | which user's id does a vertex have?                   |
//! | `measured.rs` | how is the measured recall of searches stored?        |
//! | `metadata.rs` | how is a metadata index kept in a file?               |
//! | `texts.rs`    | how is an index of words kept in a file?              |
//!
//! # Promises
//!
//! 1. A file never changes once it has its name, and only files that the manifest names are used: the table
//!    `index_files` of the truth.
//! 2. Content of a file that is part of an answer (the id of a vertex) is checked each time; the whole file in the
//!    background.
//! 3. A file that is missing, damaged, foreign or of another version costs time, never an answer.

mod ids;
mod layout;
mod measured;
mod metadata;
mod open;
mod texts;
mod write;

pub(crate) use ids::{IdList, Ids};
pub(crate) use layout::{IndexRow, Kind, dir};
pub(crate) use measured::{Measured, millionths};
pub(crate) use metadata::{read as read_metadata, write as write_metadata};
pub(crate) use open::{IndexFile, Opened, Unusable, open, remove_unnamed};
pub(crate) use texts::{Trust, open as open_texts, write as write_texts};
pub(crate) use write::{Content, remove, write};
