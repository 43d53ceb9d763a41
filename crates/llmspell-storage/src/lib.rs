//! Embedded storage for AI agents: key-value state and vector memory, for many tenants, in one directory.
//!
//! No server. A write is durable when its call returns; data of one scope are never seen by another; damaged data are
//! reported, never returned.
//!
//! * Key-value state: [`StorageBackend`], as [`MemoryBackend`], [`RedbBackend`] (the recommended durable one) or
//!   `SledBackend` (feature `sled`, on by default).
//! * Vector memory: [`VectorStorage`], as [`HNSWVectorStorage`].
//! * Both in one directory: [`Database`].
//!
//! ```
//! use std::collections::HashMap;
//!
//! use llmspell_state_traits::StateScope;
//! use llmspell_storage::MemoryBackend;
//! use llmspell_storage::{VectorEntry, VectorQuery, HNSWVectorStorage, HNSWConfig};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let storage = HNSWVectorStorage::new(3, HNSWConfig::balanced());
//! let metadata = HashMap::from([("lang".to_string(), serde_json::json!("en"))]);
//! storage.insert(vec![
//!     VectorEntry::new("doc-1".to_string(), vec![0.1, 0.2, 0.3])
//!         .with_scope(StateScope::Custom("tenant:123".to_string()))
//!         .with_metadata(metadata)
//! ]).await?;
//! let query = VectorQuery::new(vec![0.1, 0.2, 0.3], 10)
//!     .with_scope(StateScope::Custom("tenant:123".to_string()))
//!     .with_threshold(0.8);
//! let hits = storage.search(&query).await?;
//! assert_eq!(hits[0].id, "doc-1");
//!
//! let backend = MemoryBackend::new();
//! let value = serde_json::json!({"name": "Ada"});
//! backend.set("user:123", serde_json::to_vec(&value)?).await?;
//! assert_eq!(backend.get("user:123").await?, Some(serde_json::to_vec(&value)?));
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! The example imports no trait: every store has the calls of its trait as inherent methods. Import [`VectorStorage`]
//! or [`StorageBackend`] for generic code: `fn remember(memory: impl VectorStorage)` takes a store, a reference to one,
//! an `Arc<dyn VectorStorage>`, and a handle for one scope.
//!
//! The errors are [`StorageError`]s; an application may use `?` with `anyhow`, as here, or with a type of its own.
//!
//! The futures run on any executor: what may block runs on threads of the database itself.
//!
//! `ARCHITECTURE.md` is the map of the source; modules use only those before them in its list, and `cargo test -p xtask
//! --test layers` checks them.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(unix)]
mod admin;
mod api;
mod backup;
mod base;
mod disk;
mod engine;
mod indexes;
mod namespace;
mod search;
mod slots;
mod spaces;
mod truth;

#[cfg(unix)]
pub use admin::{
    ADMIN_SOCKET, ANSWER_BYTES_MAX as ADMIN_ANSWER_BYTES_MAX, AdminClient, AdminOptions,
    DEFAULT_CONNECTIONS_MAX as DEFAULT_ADMIN_CONNECTIONS_MAX, DEFAULT_FRAME_TIME as DEFAULT_ADMIN_FRAME_TIME,
    REQUEST_BYTES_MAX as ADMIN_REQUEST_BYTES_MAX, RemoteKeys, RemoteVectors, SOCKET_PATH_BYTES_MAX,
};
pub use api::atomic_batch::{
    ATOMIC_BATCH_BYTES_MAX, ATOMIC_BATCH_ITEMS_MAX, AtomicBatch, AtomicBatchSummary, BatchSpace, ScopedBatch,
};
pub use api::backends;
pub use api::backends::{MemoryBackend, RedbBackend};
#[cfg(feature = "sled")]
#[cfg_attr(docsrs, doc(cfg(feature = "sled")))]
pub use api::backends::{SledBackend, SledOptions, SledReport};
pub use api::compact::CompactReport;
pub use api::export::{export, export_with};
pub use api::router::{DimensionRouter, MigrationProgress, MigrationReport, ModelSpace, RouterConfig, SpaceUsage};
pub use api::salvage::{SalvageProgress, SalvageReport};
pub use api::vectors::{DEFAULT_SPACE, HNSWVectorStorage};
pub use base::failures::BackgroundFailure;
pub use base::options::{
    DEFAULT_CACHE_BYTES, DEFAULT_FILE_MODE, DEFAULT_FREE_BYTES_MIN, DEFAULT_GRAPH_POINTS_MIN,
    DEFAULT_LARGE_BATCH_ENTRIES, DEFAULT_METADATA_POINTS_MIN, DEFAULT_SCOPE_CACHE_BYTES, DEFAULT_VERIFY_BYTES_MAX,
    DatabaseOptions,
};
pub use base::report::{CheckReport, CheckSection};
pub use engine::{
    BackupOptions, BackupProgress, BackupReceipt, Database, DatabaseStats, Removed, SpaceInfo, SpaceRole,
};
pub use llmspell_core::*;
pub use llmspell_metadata::{
    Candidates, DEFAULT_INDEX_BYTES, DEFAULT_INDEX_BYTES_PER_POINT, IndexType, LEARNED_FIELDS_MAX, MetadataIndex,
    MetadataIndexConfig,
};

/// The examples of the pages for users compile and run.
#[cfg(all(doctest, feature = "sled"))]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/getting-started.md")]
    struct GettingStarted;
    #[doc = include_str!("../../../docs/concepts.md")]
    struct Concepts;
    #[doc = include_str!("../../../docs/filters.md")]
    struct Filters;
}
