//! The derived indexes of a namespace: how do they come, change, get a file, and go?
//!
//! | file           | question                                                              |
//! |----------------|-----------------------------------------------------------------------|
//! | `files/`       | how are indexes laid out in files?                                    |
//! | `queue.rs`     | which namespaces wait for the indexer, and who waits for it?          |
//! | `graph.rs`     | what is the graph of a namespace, and when does it change?            |
//! | `changes.rs`   | what became of points, for an index that was made meanwhile?          |
//! | `metadata.rs`  | how is an index of metadata made, for a filter or in the background?  |
//! | `indexer.rs`   | which thread builds?                                                  |
//! | `work/`        | what does an index need, and how does it get it?                      |
//!
//! The parts stand on several layers: see `tests/layers.rs`.

pub(crate) mod changes;
pub(crate) mod files;
pub(crate) mod graph;
pub(crate) mod indexer;
pub(crate) mod metadata;
pub(crate) mod queue;
pub(crate) mod work;
