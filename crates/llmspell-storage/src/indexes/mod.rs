//! The derived indexes of a namespace, and their life: building, changing, filing, dropping.
//!
//! A namespace has a graph, an index of its metadata and indexes of its words, each a [`Kind`](files::Kind). All live the same life:
//!
//! ```text
//!             begin: a snapshot, and a note of        hand over, by a request
//!             all later changes                       to the committer
//!  ┌─────────┐             ┌──────────┐             ┌───────────┐  refused: the scope was dropped,
//!  │ nothing │────────────▶│ building │────────────▶│ handed    │─────▶ or has another index by now
//!  └─────────┘             └──────────┘             │ over      │
//!       ▲                        ▲                  └───────────┘
//!       │                        │ behind: too much       │ adopted, between two commits, with the
//!       │                        │ has changed since      │ changes since
//!       │                        └────────────────────────┤
//!       │                                                 ▼
//!       │ any doubt: a damaged file,        ┌────────────────────────────┐  each commit changes it,
//!       │ other settings, too few points    │ in the published `State`   │◀─┐ or leaves points beside it
//!       ├───────────────────────────────────│                            │──┘
//!       │                                   └────────────────────────────┘
//!       │                                         │ save: written    ▲ load: opened when the namespace
//!       │                                         ▼ as of an Lsn     │ is, or when a filter asks first
//!       │                                   ┌────────────────────────────┐
//!       └───────────────────────────────────│ named in the truth         │ later changes are noted
//!                                           └────────────────────────────┘
//! ```
//!
//! Only the committer publishes states, so a state never changes during a batch; only it names files, so a row and a
//! state never contradict each other. A builder that fails leaves nothing behind.
//!
//! | file           | question                                                              |
//! |----------------|-----------------------------------------------------------------------|
//! | `files/`       | how are indexes laid out in files?                                    |
//! | `queue.rs`     | which namespaces wait for the indexer, and which callers wait for it? |
//! | `graph.rs`     | what is the graph of a namespace, and when does it change?            |
//! | `changes.rs`   | which points changed during the build of a metadata index?           |
//! | `texts.rs`     | how are the words of a namespace found?                               |
//! | `builds.rs`    | which builds are under way, and what has changed since each began?    |
//! | `named.rs`     | which file does the truth name for an index, and what is known of it? |
//!
//! The code that builds them is above the namespaces: `spaces/handover.rs` and `spaces/metadata.rs`, and the indexer's
//! thread in `engine/indexer.rs` and `engine/indexing/`.
//!
//! # What another kind adds
//!
//! * A variant of [`Kind`](files::Kind), which says how its files end, its number in the truth and whether it notes changes, and their format in `files/`;
//! * a field of `State`, which commits change where they change the metadata index (`engine/batch/entries.rs`);
//! * a variant of `Built`, and its arm in `spaces/handover.rs`: how the committer catches up with noted changes, or
//!   reports that there are too many;
//! * how it is built from a snapshot, as in `spaces/metadata.rs`, and when, in `engine/indexing/`.
//!
//! Turns, notes, the hand-over, rounds, naming of files, and the handling of dropped scopes and closed databases are
//! shared.

pub(crate) mod builds;
pub(crate) mod changes;
pub(crate) mod files;
pub(crate) mod graph;
pub(crate) mod named;
pub(crate) mod queue;
pub(crate) mod texts;
