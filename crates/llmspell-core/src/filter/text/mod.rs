//! The text form, for people. The [module](crate::filter) has the grammar.
//!
//! | file         | question                                                               |
//! |--------------|------------------------------------------------------------------------|
//! | `read.rs`    | which conditions does the text hold?                                   |
//! | `words.rs`   | which word, field or value stands next, and what if it is another?     |
//! | `write.rs`   | how is a filter written?                                               |
//! | `strings.rs` | how are strings quoted and unquoted?                                   |

mod read;
pub(super) mod strings;
mod words;
mod write;
