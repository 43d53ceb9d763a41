//! An index of words and of sparse vectors: which texts answer a query best, by BM25.
//!
//! Nothing here knows of files, scopes or ids of users. Texts go in as [rows](Row) by dense `u32` points, and come out as [`Hit`]s.
//!
//! | file or folder | question                                                                        |
//! |----------------|---------------------------------------------------------------------------------|
//! | `analyzer/`    | which terms has a text? [`Analyzer`]                                            |
//! | `varint.rs`, `length.rs` | how are numbers, and lengths of texts, made small?                    |
//! | `row.rs`       | what is known of one entry, and how is it stored? [`Row`]                       |
//! | `tail.rs`      | which rows are in no index yet?                                                 |
//! | `index/`       | which points have a term? An index that never changes, and merging [`Index`]    |
//! | `query/`       | what is searched for? [`Query`]                                                 |
//! | `search/`      | which points answer best? [`Bm25`], [`Statistics`]                              |
//! | `texts.rs`     | all of a scope as of one moment: indexes, rows and what was removed [`Texts`]   |
//! | `fuse.rs`      | how do several rankings become one? [`fuse`]                                    |
//! | `snippet.rs`   | which part of a text answers best? [`Snippet`]                                  |
//!
//! # The life of a text
//!
//! [`Row::of_texts`] analyzes it on the caller's thread; the row is stored with the entry and [inserted](Texts::insert). From
//! then on it is found: a search looks at the rows that are in no index yet, one by one. When there are many,
//! [`Texts::plan_merge`] says what to merge, [`Merge::write`] writes the bytes of a new index beside readers and writers,
//! and [`Texts::adopt`] puts it in place. [`Texts::remove`] needs no row: what is removed is subtracted from statistics when they are asked for.

mod analyzer;
mod fuse;
mod index;
mod length;
mod query;
mod row;
mod search;
mod snippet;
mod tail;
mod texts;
mod varint;

pub use analyzer::{
    Analyzer, AnalyzerConfig, ConfigError, DEFAULT_TERM_BYTES_MAX, Language, TERM_BYTES_RANGE, Token, TokenKind,
    UnknownLanguage,
};
pub use fuse::{DEFAULT_RRF_K, Fusion, FusionError, fuse};
pub use index::{FieldStatistics, Index, IndexBytes};
pub use query::{QUERY_BYTES_MAX, QUERY_PREFIXES_MAX, QUERY_TERMS_MAX, Query, QueryFields};
pub use row::{Positions, Row, SparseError};
pub use search::{Bm25, Bm25Error, DEFAULT_B, DEFAULT_K1, Hit, Statistics};
pub use snippet::Snippet;
pub use texts::{Kind, Merge, Search, Texts};
