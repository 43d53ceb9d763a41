//! [`DimensionRouter`], a store for vectors of several models.
//!
//! | file         | question                                                  |
//! |--------------|-----------------------------------------------------------|
//! | `config.rs`  | which settings does a router have, and which part of a vector is stored? |
//! | `routes.rs`  | which space does an entry or a query go to?               |
//! | `models.rs`  | how is a model registered?                                |
//! | `calls.rs`   | how is a call of the trait done by several spaces?        |
//! | `writes.rs`  | how are entries written to the spaces of their models?     |
//! | `listing.rs` | how are entries listed in an order, and sampled?           |
//! | `words.rs`   | how are words searched for in all spaces?                  |
//! | `merge.rs`   | how do answers of several spaces become one?              |
//! | `migrate.rs` | how do the entries of one model become those of another?  |
//! | `usage.rs`   | how much is each space used?                              |

mod calls;
mod config;
mod listing;
mod merge;
mod migrate;
mod models;
mod routes;
mod usage;
mod words;
mod writes;

use std::path::Path;
use std::sync::Arc;

use llmspell_core::Result;
use parking_lot::RwLock;

pub use config::{ModelSpace, RouterConfig};
pub use migrate::{MigrationProgress, MigrationReport};
pub use usage::SpaceUsage;

use crate::engine::Database;
use routes::Routes;

/// Vectors of several embedding models in one database: a [`VectorStorage`](crate::VectorStorage) that sends each entry
/// and each query to the space of its model.
///
/// # Which space
///
/// 1. The space of the named model; see [`VectorEntry::with_model`](crate::VectorEntry::with_model) and
///    [`VectorQuery::with_model`](crate::VectorQuery::with_model).
/// 2. Without a model, the space of that dimension without a model; else that of the only model with that dimension. If
///    several models have it, the call is refused with [`AmbiguousDimension`](crate::StorageError::AmbiguousDimension).
///
/// A query of words alone, without a model, searches all spaces that index words. An entry with a text and without a vector
/// needs a model if there are several spaces.
///
/// Two models never share a space, whatever their dimensions. A model is known once it is
/// [registered](Self::register_model), or once an entry names it by an [`EmbeddingModel`](crate::EmbeddingModel) or by
/// the name of a [preset](crate::EmbeddingModel::preset). Other models are refused with an error that lists the known
/// ones, or get a space of their own [if that is allowed](RouterConfig::with_new_spaces).
///
/// # Several spaces as one
///
/// An id exists in only one space of its scope: an insert is refused if another space has it, an upsert moves the
/// entry. So `get`, `delete`, `update_metadata`, `list`, `count`, filters, statistics and scopes cover all spaces
/// together; a search covers one of them, which its results [name](crate::VectorResult::space), unless it is for words alone and
/// names no model: then its statistics are of all spaces with the same rules for texts, and its results of one commit. A batch is atomic,
/// whatever spaces it touches. Each space is read as of one of its mutations; no entry is missed or seen twice because
/// it moves meanwhile.
///
/// Spaces of [`Database::vectors`] do not belong to the router until they are [adopted](Self::adopt_space).
///
/// ```
/// # use llmspell_storage::{DimensionRouter, EmbeddingModel, HNSWConfig, Result, VectorEntry, VectorQuery};
/// # async fn example() -> Result<()> {
/// let storage = DimensionRouter::new(HNSWConfig::balanced());
/// storage.register_model(EmbeddingModel::new("small", 2)).await?;
/// storage.register_model(EmbeddingModel::new("large", 4).with_matryoshka([2])).await?;
/// storage
///     .insert(vec![
///         VectorEntry::new("doc-1", vec![0.6, 0.8]).with_model("small"),
///         VectorEntry::new("doc-2", vec![0.1, 0.2, 0.3, 0.4]).with_model("large"),
///     ])
///     .await?;
/// let hits = storage.search(&VectorQuery::new(vec![0.1, 0.2, 0.3, 0.4], 10).with_model("large")).await?;
/// assert_eq!((hits[0].id.as_str(), hits[0].space.as_deref()), ("doc-2", Some("large")));
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
///
/// Cheap to clone; all clones share their models.
#[derive(Debug, Clone)]
pub struct DimensionRouter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    config: RouterConfig,
    routes: RwLock<Arc<Routes>>,
}

impl DimensionRouter {
    /// A router of a database in RAM; gone with the last clone of it.
    ///
    /// Cannot fail: where the configuration is out of range, registering a model says so.
    ///
    /// # Panics
    ///
    /// When the system has no memory or threads left.
    #[must_use]
    pub fn new(config: impl Into<RouterConfig>) -> Self {
        Self::of(Database::in_memory(), config.into())
    }

    /// The router of the [`Database`] in `dir`, which is created if it does not exist. It knows the models that were
    /// known when it was closed.
    ///
    /// # Errors
    ///
    /// As [`Database::open`].
    pub async fn open(dir: impl AsRef<Path>, config: impl Into<RouterConfig>) -> Result<Self> {
        Database::open(dir).await?.router(config).await
    }

    fn of(database: Database, config: RouterConfig) -> Self {
        let routes = RwLock::new(Arc::new(Routes::of(&database, &Routes::default())));
        let inner = Inner {
            database,
            config,
            routes,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The database whose spaces these are.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &RouterConfig {
        &self.inner.config
    }

    /// Closes the database; see [`Database::close`].
    ///
    /// # Errors
    ///
    /// As [`Database::close`].
    pub async fn close(self) -> Result<()> {
        let database = self.inner.database.clone();
        drop(self);
        database.close().await
    }
}

impl Database {
    /// The router of this database.
    ///
    /// Where a [migration](DimensionRouter::migrate_space) was cut short after its switch, it is tidied up first.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](crate::StorageError::OutOfRange) for a bad configuration; as a write of vectors if there was something
    /// to tidy up.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "database.router", level = "info", skip_all)
    )]
    pub async fn router(&self, config: impl Into<RouterConfig>) -> Result<DimensionRouter> {
        let config = config.into();
        config.index().validate()?;
        let router = DimensionRouter::of(self.clone(), config);
        router.remove_replaced().await?;
        Ok(router)
    }
}
