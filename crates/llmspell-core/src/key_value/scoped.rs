//! [`ScopedBackend`]: a backend confined to one scope.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use llmspell_state_traits::StateScope;

use super::backend::{BackendCharacteristics, BackendType, StorageBackend};
use super::validate;
use super::write::{KeyValueEntry, KeyValueWrite, WriteSummary};
use crate::error::Result;
use crate::expiry::Expiry;
use crate::timestamp::Timestamp;

/// A view of a backend that can only touch the keys of one scope.
///
/// Every key that goes in gets the prefix of the scope, and every key that comes out loses it; every call does so. The
/// prefix is `LENGTH:SCOPE/`, where LENGTH is that of the text form of the scope: no such text is a prefix of another,
/// so two scopes can never share a key.
///
/// ```
/// # use std::sync::Arc;
/// # use llmspell_core::{Result, ScopedBackend, StateScope, StorageBackend};
/// # async fn example(shared: Arc<dyn StorageBackend>) -> Result<()> {
/// let mine = ScopedBackend::new(shared, StateScope::User("ada".to_string()))?;
/// mine.set("theme", b"dark".to_vec()).await?;
/// # Ok(())
/// # }
/// ```
///
/// Hand out scoped views only: keys written to the backend itself share its key space. The counterpart for vectors is
/// [`ScopedVectors`](crate::ScopedVectors).
#[derive(Clone)]
pub struct ScopedBackend {
    backend: Arc<dyn StorageBackend>,
    scope: StateScope,
    prefix: String,
}

/// Omits the backend, whose keys may belong to other scopes.
impl fmt::Debug for ScopedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedBackend")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl ScopedBackend {
    /// The part of `backend` that belongs to `scope`.
    ///
    /// # Errors
    ///
    /// [`StorageError::Scope`](crate::StorageError::Scope) if the scope is not valid.
    pub fn new(backend: Arc<dyn StorageBackend>, scope: StateScope) -> Result<Self> {
        scope.validate()?;
        let prefix = Self::prefix(&scope);
        Ok(Self { backend, scope, prefix })
    }

    /// The prefix of a scope's keys in the backend. For implementers.
    #[must_use]
    pub fn prefix(scope: &StateScope) -> String {
        let text = scope.to_string();
        format!("{}:{text}/", text.len())
    }

    /// The scope of a key of the backend, and the key inside that scope; none if it belongs to no scope. For
    /// implementers.
    #[must_use]
    pub fn split_key(key: &str) -> Option<(StateScope, &str)> {
        let (digits, rest) = key.split_once(':')?;
        let text = rest.get(..digits.parse().ok()?)?;
        let scope: StateScope = text.parse().ok()?;
        // Only the exact form of `prefix` counts, not another text that parses to the same scope.
        let inside = key.strip_prefix(&Self::prefix(&scope))?;
        Some((scope, inside))
    }

    /// The scope of the keys.
    #[must_use]
    pub fn scope(&self) -> &StateScope {
        &self.scope
    }

    fn inside(&self, key: &str) -> Result<String> {
        // Checked before the prefix is added: an empty key must not become a valid one.
        validate::key(key)?;
        Ok(self.inside_unchecked(key))
    }

    fn inside_unchecked(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn outside(&self, key: &str) -> String {
        key.strip_prefix(&self.prefix)
            .expect("a backend returns only keys that were asked for")
            .to_string()
    }
}

crate::inherent_key_value!(ScopedBackend);

#[async_trait]
impl StorageBackend for ScopedBackend {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.backend.get(&self.inside(key)?).await
    }

    async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>> {
        let keys = keys.iter().map(|key| self.inside(key)).collect::<Result<Vec<_>>>()?;
        let values = self.backend.get_batch(&keys).await?;
        Ok(values
            .into_iter()
            .map(|(key, value)| (self.outside(&key), value))
            .collect())
    }

    async fn write(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        let inside = batch.into_iter().map(|write| {
            Ok(match write {
                KeyValueWrite::Set { key, value } => KeyValueWrite::Set {
                    key: self.inside(&key)?,
                    value,
                },
                KeyValueWrite::SetExpiring { key, value, expiry } => KeyValueWrite::SetExpiring {
                    key: self.inside(&key)?,
                    value,
                    expiry,
                },
                KeyValueWrite::Delete { key } => KeyValueWrite::Delete {
                    key: self.inside(&key)?,
                },
                KeyValueWrite::DeletePrefix { prefix } => KeyValueWrite::DeletePrefix {
                    prefix: self.inside_unchecked(&prefix),
                },
            })
        });
        let inside = inside.collect::<Result<Vec<_>>>()?;
        self.backend.write(inside).await
    }

    async fn scan_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<KeyValueEntry>> {
        let after = after.map(|key| self.inside_unchecked(key));
        let mut page = self
            .backend
            .scan_entries(&self.inside_unchecked(prefix), after.as_deref(), limit)
            .await?;
        for entry in &mut page {
            entry.key = self.outside(&entry.key);
        }
        Ok(page)
    }

    async fn expires_at(&self, key: &str) -> Result<Option<Timestamp>> {
        self.backend.expires_at(&self.inside(key)?).await
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>, expiry: Expiry) -> Result<bool> {
        self.backend.swap(&self.inside(key)?, expected, new, expiry).await
    }

    async fn count(&self, prefix: &str) -> Result<u64> {
        self.backend.count(&self.inside_unchecked(prefix)).await
    }

    fn backend_type(&self) -> BackendType {
        self.backend.backend_type()
    }

    fn characteristics(&self) -> BackendCharacteristics {
        self.backend.characteristics()
    }
}
