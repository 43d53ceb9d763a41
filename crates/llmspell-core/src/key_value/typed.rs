//! [`StorageBackendExt`]: values of any serde type, stored as JSON.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::backend::StorageBackend;
use crate::error::{Result, StorageError};
use crate::text::shortened;

/// Values as JSON, for every [`StorageBackend`], boxed or not.
///
/// ```
/// # use llmspell_core::{Result, StorageBackend};
/// use llmspell_core::StorageBackendExt;
///
/// # async fn example(backend: &dyn StorageBackend) -> Result<()> {
/// backend.store("limits", &vec![1, 2, 3]).await?;
/// let limits: Option<Vec<u32>> = backend.load("limits").await?;
/// # Ok(())
/// # }
/// ```
pub trait StorageBackendExt: StorageBackend {
    /// Stores `value` as JSON.
    ///
    /// # Errors
    ///
    /// [`StorageError::Json`] if serde refuses the value; else as [`StorageBackend::set`].
    fn store<T: Serialize + Sync + ?Sized>(&self, key: &str, value: &T) -> impl Future<Output = Result<()>> + Send {
        let bytes = serde_json::to_vec(value);
        async move { self.set(key, bytes?).await }
    }

    /// Stores `value` as JSON; it expires after `ttl`, counted from the call.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store); `Invalid` for a lifetime below a millisecond.
    fn store_with_ttl<T: Serialize + Sync + ?Sized>(
        &self,
        key: &str,
        value: &T,
        ttl: Duration,
    ) -> impl Future<Output = Result<()>> + Send {
        let bytes = serde_json::to_vec(value);
        async move { self.set_with_ttl(key, bytes?, ttl).await }
    }

    /// Loads a value stored by [`store`](Self::store).
    ///
    /// # Errors
    ///
    /// [`StorageError::Undecodable`] if the stored value has another type; else as [`StorageBackend::get`].
    fn load<T: DeserializeOwned>(&self, key: &str) -> impl Future<Output = Result<Option<T>>> + Send {
        async move {
            let Some(bytes) = self.get(key).await? else {
                return Ok(None);
            };
            serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StorageError::Undecodable {
                    key: shortened(key),
                    source: Arc::new(source),
                })
        }
    }
}

impl<B: StorageBackend + ?Sized> StorageBackendExt for B {}
