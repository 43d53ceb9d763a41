//! A database that a command works on: opened here, or open in another process that serves it.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use llmspell_storage::{
    BackupOptions, BackupReceipt, CheckReport, Database, DatabaseStats, DistanceMetric, EmbeddingModel, HNSWConfig,
    HNSWVectorStorage, SpaceInfo, StorageBackend, StorageError, VectorStorage,
};

type Result<T> = std::result::Result<T, StorageError>;

/// A database, with the calls that are answered alike wherever it is open.
#[derive(Debug, Clone)]
pub enum Opened {
    /// In this process.
    Here(Database),
    /// In another process, which is asked over its admin socket.
    #[cfg(unix)]
    Elsewhere(llmspell_storage::AdminClient),
}

impl From<&Database> for Opened {
    fn from(database: &Database) -> Self {
        Self::Here(database.clone())
    }
}

impl Opened {
    /// Finds the process that has the directory open and serves it; none if there is none.
    #[cfg(unix)]
    pub async fn elsewhere(dir: &Path) -> Result<Option<Self>> {
        let client = llmspell_storage::AdminClient::connect(dir).await?;
        Ok(client.map(Self::Elsewhere))
    }

    /// Finds the process that has the directory open and serves it: none on this system.
    #[cfg(not(unix))]
    pub async fn elsewhere(_: &Path) -> Result<Option<Self>> {
        Ok(None)
    }

    /// Whether another process has it open.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        !matches!(self, Self::Here(_))
    }

    /// All spaces, in the order of their creation.
    pub async fn spaces(&self) -> Result<Vec<SpaceInfo>> {
        match self {
            Self::Here(database) => database.spaces().await,
            #[cfg(unix)]
            Self::Elsewhere(client) => client.spaces().await,
        }
    }

    /// Counts and bytes of the whole database.
    pub async fn stats(&self) -> Result<DatabaseStats> {
        match self {
            Self::Here(database) => database.stats().await,
            #[cfg(unix)]
            Self::Elsewhere(client) => client.stats().await,
        }
    }

    /// Reads everything and reports problems.
    pub async fn check(&self) -> Result<CheckReport> {
        match self {
            Self::Here(database) => database.check().await,
            #[cfg(unix)]
            Self::Elsewhere(client) => client.check().await,
        }
    }

    /// The same, with each row of each table, and the names of files.
    pub async fn check_deep(&self) -> Result<CheckReport> {
        match self {
            Self::Here(database) => database.check_deep().await,
            #[cfg(unix)]
            Self::Elsewhere(client) => client.check_deep().await,
        }
    }

    /// Writes a backup to a directory.
    pub async fn backup_with(&self, dir: &Path, options: BackupOptions) -> Result<BackupReceipt> {
        match self {
            Self::Here(database) => database.backup_with(dir, options).await,
            #[cfg(unix)]
            Self::Elsewhere(client) => client.backup_with(dir, options).await,
        }
    }

    /// The key-value half.
    #[must_use]
    pub fn kv(&self) -> Arc<dyn StorageBackend> {
        match self {
            Self::Here(database) => Arc::new(database.kv()),
            #[cfg(unix)]
            Self::Elsewhere(client) => Arc::new(client.kv()),
        }
    }

    /// A space, if there is one of this name.
    pub async fn existing_vectors(&self, name: &str) -> Result<Option<Space>> {
        match self {
            Self::Here(database) => Ok(database.existing_vectors(name).await?.map(Space::here)),
            #[cfg(unix)]
            Self::Elsewhere(client) => {
                let spaces = client.spaces().await?;
                let Some(space) = spaces.into_iter().find(|space| space.name == name) else {
                    return Ok(None);
                };
                let vectors = client.existing_vectors(name).await?;
                Ok(vectors.map(|vectors| Space {
                    name: space.name,
                    dim: space.dim,
                    config: space.config,
                    storage: Arc::new(vectors),
                }))
            }
        }
    }

    /// A space, which is made if it does not exist.
    pub async fn vectors(&self, name: &str, dim: usize, config: HNSWConfig) -> Result<Space> {
        match self {
            Self::Here(database) => Ok(Space::here(database.vectors(name, dim, config).await?)),
            #[cfg(unix)]
            Self::Elsewhere(client) => {
                client.vectors(name, dim, config).await?;
                let space = self.existing_vectors(name).await?;
                space.ok_or_else(|| StorageError::UnknownSpace {
                    name: name.chars().take(64).collect(),
                    known: Vec::new(),
                })
            }
        }
    }

    /// The spaces of models together. What it makes itself has the default index; each space keeps its own.
    pub async fn router(&self) -> Result<Arc<dyn VectorStorage>> {
        match self {
            Self::Here(database) => Ok(Arc::new(database.router(HNSWConfig::default()).await?)),
            #[cfg(unix)]
            Self::Elsewhere(client) => Ok(Arc::new(client.router())),
        }
    }

    /// Makes a model known.
    pub async fn register_model(&self, model: EmbeddingModel) -> Result<()> {
        match self {
            Self::Here(database) => {
                let router = database.router(HNSWConfig::default()).await?;
                router.register_model(model).await
            }
            #[cfg(unix)]
            Self::Elsewhere(client) => client.register_model(model).await,
        }
    }

    /// Closes it, if it is open here.
    pub async fn close(self) -> Result<()> {
        match self {
            Self::Here(database) => database.close().await,
            #[cfg(unix)]
            Self::Elsewhere(_) => Ok(()),
        }
    }
}

/// A space of a database. It has the calls of [`VectorStorage`].
#[derive(Debug, Clone)]
pub struct Space {
    name: String,
    dim: usize,
    config: HNSWConfig,
    storage: Arc<dyn VectorStorage>,
}

impl Space {
    fn here(store: HNSWVectorStorage) -> Self {
        Self {
            name: store.space_name().to_string(),
            dim: store.dim(),
            config: store.config().clone(),
            storage: Arc::new(store),
        }
    }

    /// Its name.
    #[must_use]
    pub fn space_name(&self) -> &str {
        &self.name
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

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &HNSWConfig {
        &self.config
    }

    /// The store.
    #[must_use]
    pub fn storage(&self) -> Arc<dyn VectorStorage> {
        Arc::clone(&self.storage)
    }
}

impl Deref for Space {
    type Target = dyn VectorStorage;

    fn deref(&self) -> &Self::Target {
        &*self.storage
    }
}
