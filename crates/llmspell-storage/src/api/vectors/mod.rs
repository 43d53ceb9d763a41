//! [`HNSWVectorStorage`], a vector space of a [`Database`].
//!
//! | file         | question                                         |
//! |--------------|--------------------------------------------------|
//! | `calls.rs`   | how is a call of the trait done by the database? |
//! | `handle.rs`  | how does a call reach the entries of a scope?    |
//! | `listing.rs` | how are entries listed in an order, and sampled? |
//! | `prepare.rs` | how is a batch checked and prepared?             |
//! | `spaces.rs`  | how is a space of a database opened, or created? |
//! | `shape.rs`   | which vectors does a space take, and which components does it store? |
//! | `scopes.rs`  | how are several scopes searched at once?         |
//! | `words.rs`   | how are words searched for?                      |
//! | `selected.rs` | … for diverse or grouped results?               |
//! | `several.rs` | how is one scope read in several spaces at once? |
//! | `stats.rs`   | what is stored, and how large is it?             |
//! | `traced.rs`  | how does the span of a search get its fields?    |

mod calls;
mod handle;
mod listing;
mod prepare;
mod scopes;
mod selected;
mod several;
mod shape;
mod spaces;
mod stats;
mod traced;
mod words;

use std::path::Path;
use std::sync::Arc;

use llmspell_core::{DistanceMetric, HNSWConfig, Result, validate_vectors as validate};

pub(crate) use self::calls::{DELETE_IDS_MAX, checked_fields};
pub(crate) use self::handle::Handle;
pub(crate) use self::prepare::{by_size, effort, prepare, prepare_routed};
pub(crate) use self::several::{Asked, Member, read_together};
pub(crate) use self::shape::{Shape, checked_query};
pub(crate) use self::stats::{living_scopes, of_scope, of_spaces, of_unknown, visible_counts};
pub(crate) use self::traced::traced;
use crate::engine::Database;
use crate::spaces::registry::Space;
use crate::truth::SpaceRecord;

/// Name of the space that [`HNSWVectorStorage::open`] opens.
pub const DEFAULT_SPACE: &str = "default";

/// Vectors of one dimension and metric, each in the scope of its owner.
///
/// [`new`](Self::new) keeps them in RAM, [`open`](Self::open) in a directory, by the same code. Every scope is a
/// namespace of its own: nothing is shared between two of them, so no filter can be forgotten.
///
/// Scopes with fewer entries than [`DEFAULT_GRAPH_POINTS_MIN`](crate::DEFAULT_GRAPH_POINTS_MIN) are searched exactly:
/// [`VectorQuery::exact`](crate::VectorQuery::exact) and [`VectorQuery::ef_search`](crate::VectorQuery::ef_search) make no
/// difference to the answer then. Larger ones get a graph in the background; entries that it does not hold yet are compared
/// one by one.
///
/// ```
/// # use llmspell_storage::{HNSWConfig, HNSWVectorStorage, Result, VectorEntry, VectorQuery};
/// # async fn example() -> Result<()> {
/// let storage = HNSWVectorStorage::new(3, HNSWConfig::balanced());
/// storage.insert(vec![VectorEntry::new("doc-1", vec![0.1, 0.2, 0.3])]).await?;
/// let hits = storage.search(&VectorQuery::new(vec![0.1, 0.2, 0.3], 10)).await?;
/// assert_eq!(hits[0].id, "doc-1");
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct HNSWVectorStorage {
    dim: usize,
    config: HNSWConfig,
    /// None if dimension or configuration are out of range: every call says so.
    handle: Option<Handle>,
}

impl HNSWVectorStorage {
    /// Vectors of `dim` components in RAM; gone with the last clone of the storage.
    ///
    /// Cannot fail: where `dim` or `config` are out of range, every call of the storage says so.
    ///
    /// # Panics
    ///
    /// When the system has no memory or threads left.
    #[must_use]
    pub fn new(dim: usize, config: HNSWConfig) -> Self {
        let is_valid = check_shape(dim, &config).is_ok();
        let handle = is_valid.then(|| {
            let record = SpaceRecord::plain(DEFAULT_SPACE, dim, config.clone());
            let (database, space) = Database::in_memory_with(&record);
            Handle { database, space }
        });
        Self { dim, config, handle }
    }

    /// Vectors of `dim` components in the [`Database`] in `dir`, which is created if it does not exist: its space
    /// [`DEFAULT_SPACE`].
    ///
    /// # Errors
    ///
    /// As [`Database::open`] and [`Database::vectors`].
    pub async fn open(dir: impl AsRef<Path>, dim: usize, config: HNSWConfig) -> Result<Self> {
        check_shape(dim, &config)?;
        Database::open(dir).await?.vectors(DEFAULT_SPACE, dim, config).await
    }

    pub(crate) fn of(database: Database, space: Arc<Space>) -> Self {
        let config = space.config.read().clone();
        Self {
            dim: space.dim,
            config,
            handle: Some(Handle { database, space }),
        }
    }

    pub(crate) fn of_handle(handle: &Handle) -> Self {
        Self::of(handle.database.clone(), Arc::clone(&handle.space))
    }

    /// An open space of a database.
    pub(crate) fn into_handle(self) -> Handle {
        self.handle.expect("a space of a database has a valid configuration")
    }

    /// Components per vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How vectors are compared.
    #[must_use]
    pub fn metric(&self) -> DistanceMetric {
        self.config.metric()
    }

    /// How the index is built.
    #[must_use]
    pub fn config(&self) -> &HNSWConfig {
        &self.config
    }

    /// Name of the space in its database.
    #[must_use]
    pub fn space_name(&self) -> &str {
        self.handle.as_ref().map_or(DEFAULT_SPACE, |handle| &handle.space.name)
    }

    /// The database whose space this is.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::StorageError::OutOfRange) if the storage was made with a bad dimension or configuration.
    pub fn database(&self) -> Result<&Database> {
        self.handle().map(|handle| &handle.database)
    }

    /// Closes the database; see [`Database::close`].
    ///
    /// # Errors
    ///
    /// As [`Database::close`].
    pub async fn close(self) -> Result<()> {
        match self.handle {
            Some(handle) => {
                let Handle { database, space } = handle;
                drop(space);
                database.close().await
            }
            None => Ok(()),
        }
    }

    pub(crate) fn handle(&self) -> Result<&Handle> {
        match &self.handle {
            // The remains of a replaced space must not pass for all entries.
            Some(handle) if handle.space.is_retired() => {
                Err(handle.database.inner.shared.unknown_space(&handle.space.name))
            }
            Some(handle) => Ok(handle),
            None => {
                check_shape(self.dim, &self.config)?;
                unreachable!("a storage without a handle has a bad dimension or configuration")
            }
        }
    }
}

/// Checks the dimension and the configuration of a space.
///
/// # Errors
///
/// As [`Database::vectors`].
pub(super) fn check_shape(dim: usize, config: &HNSWConfig) -> Result<()> {
    validate::space_dim(dim, config)?;
    config.validate()
}
