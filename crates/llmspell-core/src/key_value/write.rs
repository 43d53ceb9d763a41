//! Changes of a batch ([`KeyValueWrite`]) and stored pairs ([`KeyValueEntry`]).

use crate::error::Result;
use crate::expiry::Expiry;
use crate::timestamp::Timestamp;

/// One change of a batch; see [`StorageBackend::write`](crate::StorageBackend::write).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValueWrite {
    /// Stores the value. Replaces any old value and its expiry.
    Set {
        /// Key.
        key: String,
        /// New value.
        value: Vec<u8>,
    },
    /// Stores the value until it expires. Replaces any old value.
    SetExpiring {
        /// Key.
        key: String,
        /// New value.
        value: Vec<u8>,
        /// When it expires; a lifetime begins with the call.
        expiry: Expiry,
    },
    /// Removes the key, if it exists.
    Delete {
        /// Key.
        key: String,
    },
    /// Removes every key that starts with the prefix; the empty prefix matches all of them.
    DeletePrefix {
        /// Prefix, compared byte by byte.
        prefix: String,
    },
}

impl KeyValueWrite {
    /// Stores a value until it expires: after a lifetime, at a moment, or never.
    #[must_use]
    pub fn set_expiring(key: impl Into<String>, value: Vec<u8>, expiry: impl Into<Expiry>) -> Self {
        Self::SetExpiring {
            key: key.into(),
            value,
            expiry: expiry.into(),
        }
    }

    /// Whether it stores a value; other changes only remove.
    #[must_use]
    pub fn stores(&self) -> bool {
        match self {
            Self::Set { .. } | Self::SetExpiring { .. } => true,
            Self::Delete { .. } | Self::DeletePrefix { .. } => false,
        }
    }

    /// The same change with its lifetime counted from `now`. For implementers: lifetimes begin with the call, not when
    /// the batch is applied.
    ///
    /// # Errors
    ///
    /// As [`Expiry::moment`].
    pub fn at(self, now: Timestamp) -> Result<Self> {
        Ok(match self {
            Self::SetExpiring { key, value, expiry } => Self::SetExpiring {
                key,
                value,
                expiry: expiry.moment(now)?.into(),
            },
            other => other,
        })
    }

    /// Bytes of this change: of key and value, or of the prefix.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Set { key, value } | Self::SetExpiring { key, value, .. } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
            Self::DeletePrefix { prefix } => prefix.len(),
        }
    }
}

/// A key, its value, and when it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyValueEntry {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Vec<u8>,
    /// From this moment on the key does not exist any more; none: it does not expire.
    pub expires_at: Option<Timestamp>,
}

impl KeyValueEntry {
    /// For implementers.
    #[must_use]
    pub fn new(key: String, value: Vec<u8>, expires_at: Option<Timestamp>) -> Self {
        Self { key, value, expires_at }
    }
}

/// The effect of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteSummary {
    /// Number of removed keys that existed and had not expired.
    pub deleted: u64,
}
