//! Dropping of scopes and spaces.

use llmspell_core::{Result, ScopeKind, StateScope, validate_vectors as validate};

use super::Database;
use super::calls::{DropScopes, DropSpace};
use super::request::{Removed, Scopes, Spaces};

impl Database {
    /// Removes all data of some scopes atomically: their vectors in every space and their key-value data. Their quotas
    /// stay.
    ///
    /// Key-value data count as a scope's if they were written through a
    /// [`ScopedBackend`](llmspell_core::ScopedBackend). An unknown scope is empty, one that is named twice counts once.
    /// At most [`BATCH_ITEMS_MAX`](llmspell_core::limits::BATCH_ITEMS_MAX) scopes. The data are invisible when this
    /// returns; their disk space is freed in the background. It works on a full disk too.
    ///
    /// # Errors
    ///
    /// `Invalid` for a bad scope or too many of them; `Data`, `Io` or `Closed` if it cannot be done.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "database.delete_scopes", level = "info", skip_all, fields(scopes = scopes.len())))]
    pub async fn delete_scopes(&self, scopes: &[StateScope]) -> Result<Removed> {
        validate::scopes(scopes)?;
        if scopes.is_empty() {
            return self.inner.check_open().map(|()| Removed::default());
        }
        self.drop_scopes(Scopes::Named(scopes.to_vec())).await
    }

    /// [`delete_scopes`](Self::delete_scopes) for all existing scopes of a kind: all sessions, for example.
    ///
    /// # Errors
    ///
    /// `Data`, `Io` or `Closed` if it cannot be done.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "database.delete_scopes_of_kind", level = "info", skip_all, fields(kind = kind.name())))]
    pub async fn delete_scopes_of_kind(&self, kind: ScopeKind) -> Result<Removed> {
        self.drop_scopes(Scopes::OfKind(kind)).await
    }

    /// Removes a vector space with all its data, atomically, and the space to which its entries are being copied, if
    /// there is one.
    ///
    /// Its name is free when this returns, for any dimension and metric. Its data no longer count in quotas; its files
    /// and rows are removed in the background, after a crash too. Handles to it get
    /// [`UnknownSpace`](llmspell_core::StorageError::UnknownSpace), and a [`DimensionRouter`](crate::DimensionRouter)
    /// no longer knows its model. Its disk space is free when the last handle to it is dropped. It works on a full disk
    /// too.
    ///
    /// # Errors
    ///
    /// [`UnknownSpace`](llmspell_core::StorageError::UnknownSpace) if there is none of this name; `Data`, `Io` or `Closed` when it cannot
    /// be done.
    #[cfg_attr(feature = "tracing", tracing::instrument(name = "database.drop_space", level = "info", skip_all, fields(space = name)))]
    pub async fn drop_space(&self, name: &str) -> Result<()> {
        self.inner.check_open()?;
        let (name, now) = (name.to_string(), self.inner.shared.clock.now());
        self.inner.request(DropSpace { name, now }).await
    }

    async fn drop_scopes(&self, scopes: Scopes) -> Result<Removed> {
        self.inner.check_open()?;
        let now = self.inner.shared.clock.now();
        let call = DropScopes {
            spaces: Spaces::All,
            scopes,
            with_keys: true,
            now,
        };
        self.inner.write(&self.inner.shared.open_spaces(), call).await
    }
}
