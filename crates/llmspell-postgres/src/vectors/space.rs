//! [`PostgresVectors`]: a vector space, whose table is found or made.

use std::sync::{Arc, Mutex};

use llmspell_core::limits::SPACE_NAME_BYTES_MAX;
use llmspell_core::{DistanceMetric, HNSWConfig, Result, StorageError, validate_vectors as validate};

use super::index::KnownIndexes;
use crate::error::of_server;
use crate::schema::create_space;
use crate::session::{Inner, Reach};

/// pgvector stores vectors of up to this many components.
const DIM_MAX: usize = 16_000;

/// A vector space in a table of PostgreSQL.
///
/// Scopes of up to [`exact_scan_max`](crate::PostgresConfig::with_exact_scan_max) entries are searched by comparing all of them. A
/// larger one gets an index of its own by [`build_index`](llmspell_core::VectorStorage::build_index), which only the owner of the
/// table may create. Scores are those of the embedded store: distances are computed here, from the vectors of a shortlist. The clock
/// of the server decides what has expired.
///
/// Clones share the connections.
#[derive(Clone)]
pub struct PostgresVectors {
    pub(super) inner: Arc<Inner>,
    pub(super) space: Arc<Space>,
}

/// What is known of a space.
pub(super) struct Space {
    pub(super) name: String,
    pub(super) number: i32,
    /// The quoted name of its table.
    pub(super) table: String,
    pub(super) dim: usize,
    pub(super) metric: DistanceMetric,
    pub(super) config: HNSWConfig,
    pub(super) indexes: Mutex<KnownIndexes>,
}

impl std::fmt::Debug for PostgresVectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresVectors")
            .field("space", &self.space.name)
            .field("dim", &self.space.dim)
            .field("metric", &self.space.metric)
            .finish_non_exhaustive()
    }
}

impl PostgresVectors {
    pub(crate) async fn open(inner: Arc<Inner>, name: &str, dim: usize, config: HNSWConfig) -> Result<Self> {
        config.validate()?;
        if config.texts().is_some() {
            return Err(StorageError::Unsupported {
                backend: "PostgreSQL",
                feature: "texts: search by words in a store of llmspell-storage",
            });
        }
        check_space(name, dim)?;
        let metric = config.metric();
        let number = match inner.find_space(name, dim, metric).await? {
            Some(number) => number,
            None => {
                let made = inner.make_space(name, dim, metric).await;
                made.map_err(|error| inner.for_administrator(error))?
            }
        };
        let space = Space {
            name: name.to_string(),
            number,
            table: inner.names.space(number),
            dim,
            metric,
            config,
            indexes: Mutex::default(),
        };
        Ok(Self {
            inner,
            space: Arc::new(space),
        })
    }

    /// The name of the space.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.space.name
    }

    /// Components of its vectors.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.space.dim
    }

    /// How its vectors are compared.
    #[must_use]
    pub fn metric(&self) -> DistanceMetric {
        self.space.metric
    }
}

/// Checks the name and the dimension of a space.
pub(crate) fn check_space(name: &str, dim: usize) -> Result<()> {
    if name.is_empty() || name.len() > SPACE_NAME_BYTES_MAX {
        return Err(StorageError::InvalidName {
            what: "space",
            name: name.chars().take(64).collect(),
            reason: "a name has 1 to 256 bytes",
        });
    }
    validate::dim(dim)?;
    if dim <= DIM_MAX {
        return Ok(());
    }
    Err(StorageError::OutOfRange {
        what: "dimension of a space on PostgreSQL",
        got: dim as f64,
        min: 1.0,
        max: DIM_MAX as f64,
    })
}

impl Inner {
    /// The number of a space, if it is there with these settings.
    async fn find_space(&self, name: &str, dim: usize, metric: DistanceMetric) -> Result<Option<i32>> {
        let sql = format!("SELECT number, dim, metric FROM {} WHERE name = $1", self.names.spaces);
        let rows = self.read(&Reach::All, &sql, &[&name.as_bytes()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (stored_dim, stored_metric): (i32, &str) = (row.get(1), row.get(2));
        let mismatch = |what, stored: String, requested: String| {
            let space = name.to_string();
            Err(StorageError::SpaceMismatch {
                space,
                what,
                stored,
                requested,
            })
        };
        if stored_dim as usize != dim {
            return mismatch("dimension", stored_dim.to_string(), dim.to_string());
        }
        if stored_metric != metric.name() {
            return mismatch("metric", stored_metric.to_string(), metric.to_string());
        }
        Ok(Some(row.get(0)))
    }

    /// Makes a space, unless another server has just done so.
    async fn make_space(&self, name: &str, dim: usize, metric: DistanceMetric) -> Result<i32> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(of_server)?;
        self.lock(&transaction, "spaces").await?;
        let sql = format!(
            "INSERT INTO {} (name, dim, metric) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING RETURNING number",
            self.names.spaces
        );
        let dim_column = i32::try_from(dim).unwrap_or(i32::MAX);
        let made = transaction
            .query_opt(&sql, &[&name.as_bytes(), &dim_column, &metric.name()])
            .await
            .map_err(of_server)?;
        let Some(made) = made else {
            drop(transaction);
            drop(client);
            let found = self.find_space(name, dim, metric).await?;
            return found.ok_or(StorageError::UnknownSpace {
                name: name.to_string(),
                known: Vec::new(),
            });
        };
        let number: i32 = made.get(0);
        transaction
            .batch_execute(&create_space(&self.names, number, dim))
            .await
            .map_err(of_server)?;
        transaction.commit().await.map_err(of_server)?;
        Ok(number)
    }
}
