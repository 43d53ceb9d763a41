//! Opening a space of a database, or creating one.

use std::sync::Arc;

use llmspell_core::{HNSWConfig, Result, StorageError, limits};

use super::HNSWVectorStorage;
use crate::base::ids::SpaceId;
use crate::engine::calls::OpenSpace;
use crate::engine::{Database, Opening};
use crate::truth::SpaceRecord;

impl Database {
    /// A vector space by its name: the existing one, or a new one.
    ///
    /// Dimension and metric are fixed when it is created; the other settings of `config` are those of the last opening.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](StorageError::OutOfRange) for a bad dimension or configuration;
    /// [`SpaceMismatch`](StorageError::SpaceMismatch) if the space has another dimension or metric;
    /// [`Corrupted`](StorageError::Corrupted) if its files are damaged.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "database.vectors", level = "info", skip_all, fields(space = name, dim)))]
    pub async fn vectors(&self, name: &str, dim: usize, config: HNSWConfig) -> Result<HNSWVectorStorage> {
        check_space_name(name)?;
        super::check_shape(dim, &config)?;
        self.open_space_as(SpaceRecord::plain(name, dim, config), Opening::Plain)
            .await
    }

    /// A vector space by its name, if there is one.
    ///
    /// # Errors
    ///
    /// [`Corrupted`](StorageError::Corrupted) if its files are damaged.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "database.existing_vectors", level = "info", skip_all, fields(space = name)))]
    pub async fn existing_vectors(&self, name: &str) -> Result<Option<HNSWVectorStorage>> {
        self.inner.check_open()?;
        match self.inner.shared.space_record(name) {
            Some((id, _)) => self.open_space(id).await.map(Some),
            None => Ok(None),
        }
    }

    /// A space that is opened for something.
    pub(crate) async fn open_space_as(&self, record: SpaceRecord, opening: Opening) -> Result<HNSWVectorStorage> {
        let id = self.inner.request(OpenSpace { record, opening }).await?;
        self.open_space(id).await
    }

    pub(crate) async fn open_space(&self, id: SpaceId) -> Result<HNSWVectorStorage> {
        let shared = Arc::clone(&self.inner.shared);
        let space = self.inner.run(move || shared.space(id)).await?;
        Ok(HNSWVectorStorage::of(self.clone(), space))
    }
}

fn check_space_name(name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > limits::SPACE_NAME_BYTES_MAX {
        "it is longer than 256 bytes"
    } else if name.chars().any(char::is_control) {
        "it has control characters"
    } else {
        return Ok(());
    };
    let name = name.chars().take(64).flat_map(char::escape_debug).collect();
    Err(StorageError::InvalidName {
        what: "space",
        name,
        reason,
    })
}
