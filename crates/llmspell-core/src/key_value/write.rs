//! What can a batch do?

/// One change of a batch; see [`StorageBackend::write`](crate::StorageBackend::write).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyValueWrite {
    /// Stores the value, whatever was there.
    Set {
        /// Key.
        key: String,
        /// New value.
        value: Vec<u8>,
    },
    /// Removes the key, if it is there.
    Delete {
        /// Key.
        key: String,
    },
    /// Removes every key that starts with the prefix; the empty prefix means all of them.
    DeletePrefix {
        /// Prefix, compared byte by byte.
        prefix: String,
    },
}

impl KeyValueWrite {
    /// Bytes this change brings: key and value, or the prefix.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Set { key, value } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
            Self::DeletePrefix { prefix } => prefix.len(),
        }
    }
}

/// What a batch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteSummary {
    /// Keys that were there and are gone.
    pub deleted: u64,
}
