//! The derived indexes of a namespace, and their life: building, changing, filing, dropping.
//!
//! A namespace has a graph and an index of its metadata, each a [`Kind`](files::Kind). Both live the same life:
//!
//! ```text
//!             begin: a snapshot, and a note of        hand over, by a request
//!             all that changes after it               to the committer
//!  ┌─────────┐             ┌──────────┐             ┌───────────┐  refused: the scope was dropped,
//!  │ nothing │────────────▶│ building │────────────▶│ handed    │─────▶ or another came before it
//!  └─────────┘             └──────────┘             │ over      │
//!       ▲                        ▲                  └───────────┘
//!       │                        │ behind: too much       │ adopted, between two commits: caught up
//!       │                        │ has changed since      │ with what has changed since
//!       │                        └────────────────────────┤
//!       │                                                 ▼
//!       │ any doubt: a damaged file,        ┌────────────────────────────┐  each commit changes it,
//!       │ other settings, too few points    │ shown: part of the `State` │◀─┐ or leaves points beside it
//!       ├───────────────────────────────────│                            │──┘
//!       │                                   └────────────────────────────┘
//!       │                                         │ save: written    ▲ load: opened when the namespace
//!       │                                         ▼ as of an Lsn     │ is, or when a filter asks first
//!       │                                   ┌────────────────────────────┐
//!       └───────────────────────────────────│ named in the truth         │ what has changed since is noted
//!                                           └────────────────────────────┘
//! ```
//!
//! Only the committer shows a state, so nothing changes behind a batch; only it names files, so a row and a state never
//! contradict each other. A builder that fails leaves nothing behind but time.
//!
//! | file           | question                                                              |
//! |----------------|-----------------------------------------------------------------------|
//! | `files/`       | how are indexes laid out in files?                                    |
//! | `queue.rs`     | which namespaces wait for the indexer, and who waits for it?          |
//! | `graph.rs`     | what is the graph of a namespace, and when does it change?            |
//! | `changes.rs`   | what became of points, for an index that was made meanwhile?          |
//! | `builds.rs`    | who builds right now, and what has changed since it began?            |
//! | `named.rs`     | which file does the truth name for an index, and what is known of it? |
//!
//! What builds them stands above the namespaces: `spaces/handover.rs` and `spaces/metadata.rs`, and the indexer's thread in
//! `engine/indexer.rs` and `engine/indexing/`.
//!
//! # What another kind adds
//!
//! An index of text, for example:
//!
//! * a variant of [`Kind`](files::Kind), which says how its files end, its number in the truth and whether it notes changes, and their format in `files/`;
//! * a field of `State`, which commits change where they change the metadata index (`engine/batch/entries.rs`);
//! * a variant of `Built`, and its arm in `spaces/handover.rs`: how the committer catches up with changes that were
//!   noted, or says that there are too many;
//! * how it is built of a snapshot, as in `spaces/metadata.rs`, and when, in `engine/indexing/`.
//!
//! Turns, notes, the hand-over, rounds, naming a file, and what happens to a dropped scope or a closed database are the same for it.

pub(crate) mod builds;
pub(crate) mod changes;
pub(crate) mod files;
pub(crate) mod graph;
pub(crate) mod named;
pub(crate) mod queue;
