//! [`Quota`]: how much a scope may hold.

use llmspell_state_traits::StateScope;
use serde::{Deserialize, Serialize};

use crate::error::{Result, StorageError};

/// How much a scope may hold. A quantity without a limit is only counted.
///
/// ```
/// # use llmspell_core::Quota;
/// let quota = Quota::new().with_vectors(10_000).with_vector_bytes(64 << 20).with_metadata_bytes(8 << 20);
/// assert_eq!(quota.vectors, Some(10_000));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Quota {
    /// Most entries, in all vector spaces together. Expired entries do not count.
    #[serde(default)]
    pub vectors: Option<u64>,
    /// Most bytes of their vectors, 4 for each component.
    #[serde(default)]
    pub vector_bytes: Option<u64>,
    /// Most bytes of their metadata, as compact JSON, of their texts that are kept, and of their sparse vectors.
    #[serde(default)]
    pub metadata_bytes: Option<u64>,
    /// Most bytes of key-value data: of the keys, without the prefix of [`ScopedBackend`](crate::ScopedBackend), and
    /// the values.
    #[serde(default)]
    pub kv_bytes: Option<u64>,
}

/// How much a scope holds of the quantities that a [`Quota`] limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaUsage {
    /// Entries in all vector spaces.
    pub vectors: u64,
    /// Bytes of their vectors.
    pub vector_bytes: u64,
    /// Bytes of their metadata, as compact JSON, of their texts that are kept, and of their sparse vectors.
    #[serde(default)]
    pub metadata_bytes: u64,
    /// Bytes of key-value data, keys and values.
    pub kv_bytes: u64,
}

/// A quota and its usage, which exceeds a limit that was lowered later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaStatus {
    /// How much the scope may hold.
    pub quota: Quota,
    /// How much it holds.
    pub used: QuotaUsage,
}

impl Quota {
    /// Without limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Most entries.
    #[must_use]
    pub fn with_vectors(mut self, count: u64) -> Self {
        self.vectors = Some(count);
        self
    }

    /// Most bytes of vectors.
    #[must_use]
    pub fn with_vector_bytes(mut self, bytes: u64) -> Self {
        self.vector_bytes = Some(bytes);
        self
    }

    /// Most bytes of metadata, as compact JSON: an entry without metadata has two, `{}`.
    #[must_use]
    pub fn with_metadata_bytes(mut self, bytes: u64) -> Self {
        self.metadata_bytes = Some(bytes);
        self
    }

    /// Most bytes of key-value data.
    #[must_use]
    pub fn with_kv_bytes(mut self, bytes: u64) -> Self {
        self.kv_bytes = Some(bytes);
        self
    }

    /// Whether a scope may have this usage.
    #[must_use]
    pub fn allows(&self, usage: &QuotaUsage) -> bool {
        let is_within = |limit: Option<u64>, used: u64| limit.is_none_or(|limit| used <= limit);
        is_within(self.vectors, usage.vectors)
            && is_within(self.vector_bytes, usage.vector_bytes)
            && is_within(self.metadata_bytes, usage.metadata_bytes)
            && is_within(self.kv_bytes, usage.kv_bytes)
    }
}

impl QuotaStatus {
    /// For implementers.
    #[must_use]
    pub fn new(quota: Quota, used: QuotaUsage) -> Self {
        Self { quota, used }
    }

    /// Checks that the usage may become `after`: each limit is kept, or its usage does not grow. So a call that frees
    /// space is never refused.
    ///
    /// # Errors
    ///
    /// [`StorageError::QuotaExceeded`] for the first limit that is exceeded: vectors, their bytes, bytes of metadata,
    /// key-value bytes.
    pub fn admit(&self, scope: &StateScope, after: &QuotaUsage) -> Result<()> {
        let Self { quota, used } = self;
        let limits = [
            ("vectors", quota.vectors, used.vectors, after.vectors),
            (
                "bytes of vectors",
                quota.vector_bytes,
                used.vector_bytes,
                after.vector_bytes,
            ),
            (
                "bytes of metadata",
                quota.metadata_bytes,
                used.metadata_bytes,
                after.metadata_bytes,
            ),
            ("bytes of key-value data", quota.kv_bytes, used.kv_bytes, after.kv_bytes),
        ];
        for (what, limit, used, after) in limits {
            if let Some(limit) = limit.filter(|limit| after > *limit && after > used) {
                return Err(StorageError::QuotaExceeded {
                    scope: scope.clone(),
                    what,
                    limit,
                    used,
                    asked: after - used,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(vectors: u64, kv_bytes: u64) -> QuotaUsage {
        QuotaUsage {
            vectors,
            vector_bytes: 4 * vectors,
            metadata_bytes: 2 * vectors,
            kv_bytes,
        }
    }

    #[test]
    fn a_limit_holds_to_the_last_and_names_what_is_broken() {
        let quota = Quota::new().with_vectors(10).with_kv_bytes(100);
        let status = QuotaStatus::new(quota, usage(8, 100));
        let admit = |after| {
            status
                .admit(&StateScope::Global, &after)
                .map_err(|error| error.to_string())
        };
        assert_eq!(admit(usage(10, 100)), Ok(()));
        let refused = "the scope `global` holds 8 of at most 10 vectors: no room for 3 more";
        assert_eq!(admit(usage(11, 100)), Err(refused.to_string()));
        let refused = "the scope `global` holds 100 of at most 100 bytes of key-value data: no room for 1 more";
        assert_eq!(admit(usage(9, 101)), Err(refused.to_string()));

        let status = QuotaStatus::new(Quota::new().with_metadata_bytes(17), usage(8, 0));
        let refused = "the scope `global` holds 16 of at most 17 bytes of metadata: no room for 2 more";
        let admitted = status.admit(&StateScope::Global, &usage(9, 0));
        assert_eq!(admitted.unwrap_err().to_string(), refused);
    }

    #[test]
    fn what_frees_room_is_never_refused() {
        let status = QuotaStatus::new(Quota::new().with_vectors(5), usage(9, 0));
        for after in [0, 6, 9] {
            status.admit(&StateScope::Global, &usage(after, 1 << 40)).unwrap();
        }
        assert!(status.admit(&StateScope::Global, &usage(10, 0)).is_err());
    }

    #[test]
    fn what_has_no_limit_is_allowed() {
        assert!(Quota::new().allows(&usage(u64::MAX / 4, u64::MAX)));
        assert!(!Quota::new().with_vector_bytes(3).allows(&usage(1, 0)));
        assert!(Quota::new().with_vector_bytes(4).allows(&usage(1, 0)));
    }
}
