//! The contract of llmspell-storage: what a store of key-value state and of vectors promises, without any engine.
//!
//! Applications use the two traits; engines implement them; the crate `llmspell-conformance` checks that every engine
//! keeps the same promises. This crate does no I/O, starts no thread and reads no clock.
//!
//! | folder or file    | question                                                             |
//! |-------------------|----------------------------------------------------------------------|
//! | `key_value/`      | what does a key-value backend do? [`StorageBackend`], [`ScopedBackend`] |
//! | `vector/`         | what does a store of vectors and texts do? [`VectorStorage`], [`ScopedVectors`] |
//! | `model/`          | which model made a vector, and how may it be cut? [`EmbeddingModel`] |
//! | `filter/`         | how are filters written, checked and compiled? [`Filter`]             |
//! | `quota.rs`        | how much may a scope hold? [`Quota`]                                  |
//! | `error.rs`        | what can go wrong, and what should the caller do? [`StorageError`]    |
//! | `limits.rs`       | how large may things be? [`limits`]                                   |
//! | `expiry.rs`       | when does an entry or a key expire? [`Expiry`]                        |
//! | `check.rs`        | which checks do calls on vectors and on keys share?                   |
//! | `fields.rs`, `metric.rs`, `text.rs` | metadata, distance metrics, users' strings in error texts |
//! | `timestamp.rs`    | how are moments written? [`Timestamp`]                                |
//! | `duration.rs`     | how are lengths of time written in JSON?                             |
//! | `inherent.rs`     | what do macros for types that implement the traits need?              |

#![forbid(unsafe_code)]

mod check;
mod duration;
mod error;
mod expiry;
mod fields;
#[doc(hidden)]
pub mod inherent;
mod key_value;
mod metric;
mod model;
mod quota;
mod text;
mod timestamp;
mod vector;

pub mod filter;
pub mod limits;

pub use error::{ErrorKind, Result, StorageError};
pub use expiry::Expiry;
pub use filter::{CompiledFilter, DateFields, EntryTimes, FieldPath, Filter, FilterError, OwnTime, Scalar};
pub use key_value::validate as validate_key_value;
pub use key_value::{
    BackendCharacteristics, BackendType, Durability, KeyValueEntry, KeyValueWrite, ScopedBackend, StorageBackend,
    StorageBackendExt, WriteSummary,
};
pub use llmspell_state_traits::{SCOPE_ID_BYTES_MAX, ScopeError, ScopeKind, StateScope};
/// How texts become words, and how rankings become one: of the crate `llmspell-text`, which indexes words.
pub use llmspell_text::{AnalyzerConfig, DEFAULT_RRF_K, Fusion, FusionError, Language, fuse};
pub use model::{EmbeddingModel, ModelRef, cut};
pub use quota::{Quota, QuotaStatus, QuotaUsage};
pub use timestamp::{Timestamp, TimestampError};
pub use vector::validate as validate_vectors;
pub use vector::{
    Component, DistanceMetric, DistancesFrom, Draw, EfChoice, EfSource, Entries, Example, FacetValue, GroupBy,
    HNSWConfig, IndexStats, IntoVector, ListBegin, ListCursor, ListOrder, ListPage, ListQuery, MeasuredRecall,
    MeasuredWith, Memory, Metadata, OWN_TEXT, OnExisting, Pages, PathCost, RecencyPlan, RecommendQuery, SampleQuery,
    Sampling, ScopedStats, ScopedVectors, SearchPath, SearchPlan, SearchStage, Selection, SelectionPlan, Snippet,
    SparseVector, StorageStats, TextConfig, TextPlan, TimeRange, VectorEntry, VectorQuery, VectorResult, VectorStorage,
    VectorStorageExt, merge_patch, recency_score,
};
