//! Open spaces: their loaded namespaces, snapshots, and the adoption of finished indexes.
//!
//! | file           | holds                                                                |
//! |----------------|----------------------------------------------------------------------|
//! | `registry.rs`  | an open space, and which of its namespaces are loaded                |
//! | `snapshot.rs`  | one committed state of a namespace, with the rows that belong to it  |
//! | `handover.rs`  | how an index that was built becomes the one that searches use        |
//! | `texts.rs`     | how are words read into their index?                                 |
//! | `metadata.rs`  | how an index of metadata is built, for a filter or in the background |

pub(crate) mod handover;
pub(crate) mod metadata;
pub(crate) mod registry;
pub(crate) mod snapshot;
pub(crate) mod texts;
