//! The stored form of quotas and their usage.
//!
//! ```text
//! byte 0        4       5     6                                             38
//!      │checksum│version│flags│ vectors, vector, key-value and metadata bytes │ the same four │
//!      │ u32    │ u8 = 2│ u8  │ limits, u64 each                              │ in use, u64 each
//! ```
//!
//! Flags: bits 0 to 3 say which limits exist; a missing limit is zero, and so are the other bits. The checksum covers
//! the key of the row too, the bytes of the scope. In use counts living entries, including those that have expired and
//! are not purged yet.
//!
//! v2: as above. v1: without metadata. Such a row is read, and its metadata is counted when it is needed; the next
//! change of the row writes v2.

use llmspell_core::{Quota, QuotaStatus, QuotaUsage, StateScope};

use llmspell_codec::{Malformed, Reader, Writer, seal, unseal};

const VERSION: u8 = 2;
/// The version without metadata.
const VERSION_WITHOUT_METADATA: u8 = 1;

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredQuota {
    pub(crate) status: QuotaStatus,
    /// Whether the metadata of the scope was counted; not by earlier versions.
    pub(crate) counts_metadata: bool,
}

/// The bytes of the row of `scope`.
pub(super) fn encode(scope: &StateScope, status: &QuotaStatus) -> Vec<u8> {
    let QuotaStatus { quota, used, .. } = status;
    let limits = [quota.vectors, quota.vector_bytes, quota.kv_bytes, quota.metadata_bytes];
    let flags = (0..4).filter(|bit| limits[*bit].is_some()).map(|bit| 1 << bit).sum();
    let mut body = Writer::with_capacity(66);
    body.u8(VERSION).u8(flags);
    for limit in limits {
        body.u64(limit.unwrap_or(0));
    }
    body.u64(used.vectors)
        .u64(used.vector_bytes)
        .u64(used.kv_bytes)
        .u64(used.metadata_bytes);
    seal(&scope.to_bytes(), &body.finish())
}

/// Reads what [`encode`] wrote for the same scope, now or in version 1.
pub(super) fn decode(scope: &StateScope, bytes: &[u8]) -> Result<StoredQuota, Malformed> {
    let mut body = Reader::new(unseal(&scope.to_bytes(), bytes)?);
    let counts_metadata = match body.u8()? {
        VERSION => true,
        VERSION_WITHOUT_METADATA => false,
        _ => return Err(Malformed("its version is unknown")),
    };
    let flags = body.u8()?;
    if flags > if counts_metadata { 0b1111 } else { 0b111 } {
        return Err(Malformed("it has unknown flags"));
    }
    let mut limit = |bit: u8| {
        let limit = body.u64()?;
        Ok((flags & (1 << bit) != 0).then_some(limit))
    };
    let mut quota = Quota::new();
    (quota.vectors, quota.vector_bytes, quota.kv_bytes) = (limit(0)?, limit(1)?, limit(2)?);
    if counts_metadata {
        quota.metadata_bytes = limit(3)?;
    }
    let mut used = QuotaUsage::default();
    (used.vectors, used.vector_bytes, used.kv_bytes) = (body.u64()?, body.u64()?, body.u64()?);
    if counts_metadata {
        used.metadata_bytes = body.u64()?;
    }
    body.end()?;
    Ok(StoredQuota {
        status: QuotaStatus::new(quota, used),
        counts_metadata,
    })
}

/// As version 1 wrote it.
#[cfg(test)]
pub(super) fn encode_version_1(scope: &StateScope, status: &QuotaStatus) -> Vec<u8> {
    let QuotaStatus { quota, used, .. } = status;
    let limits = [quota.vectors, quota.vector_bytes, quota.kv_bytes];
    let mut body = Writer::default();
    body.u8(VERSION_WITHOUT_METADATA)
        .u8((0..3).filter(|bit| limits[*bit].is_some()).map(|bit| 1 << bit).sum());
    for number in limits.map(|limit| limit.unwrap_or(0)) {
        body.u64(number);
    }
    body.u64(used.vectors).u64(used.vector_bytes).u64(used.kv_bytes);
    seal(&scope.to_bytes(), &body.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(limits: [Option<u64>; 4], in_use: [u64; 4]) -> QuotaStatus {
        let mut quota = Quota::new();
        [quota.vectors, quota.vector_bytes, quota.kv_bytes, quota.metadata_bytes] = limits;
        let mut used = QuotaUsage::default();
        [used.vectors, used.vector_bytes, used.kv_bytes, used.metadata_bytes] = in_use;
        QuotaStatus::new(quota, used)
    }

    proptest! {
        #[test]
        fn a_quota_reads_back_for_its_scope_and_for_no_other(limits: [Option<u64>; 4], in_use: [u64; 4]) {
            let scope = StateScope::User("ada".to_string());
            let bytes = encode(&scope, &status(limits, in_use));
            let stored = StoredQuota { status: status(limits, in_use), counts_metadata: true };
            prop_assert_eq!(decode(&scope, &bytes), Ok(stored));
            prop_assert!(decode(&StateScope::Global, &bytes).is_err());
        }
    }

    #[test]
    fn the_bytes_of_a_quota_never_change() {
        let bytes = encode(
            &StateScope::Global,
            &status([Some(2), None, Some(3), Some(7)], [4, 5, 6, 8]),
        );
        #[rustfmt::skip]
        assert_eq!(bytes[4..], [
            2, 0b1101,                          // version, flags
            2, 0, 0, 0, 0, 0, 0, 0,             // limits
            0, 0, 0, 0, 0, 0, 0, 0,
            3, 0, 0, 0, 0, 0, 0, 0,
            7, 0, 0, 0, 0, 0, 0, 0,
            4, 0, 0, 0, 0, 0, 0, 0,             // in use
            5, 0, 0, 0, 0, 0, 0, 0,
            6, 0, 0, 0, 0, 0, 0, 0,
            8, 0, 0, 0, 0, 0, 0, 0,
        ]);
    }

    #[test]
    fn a_row_of_version_1_is_read_and_says_nothing_of_metadata() {
        #[rustfmt::skip]
        let body = [
            1, 0b101,                           // version, flags
            2, 0, 0, 0, 0, 0, 0, 0,             // limits
            0, 0, 0, 0, 0, 0, 0, 0,
            3, 0, 0, 0, 0, 0, 0, 0,
            4, 0, 0, 0, 0, 0, 0, 0,             // in use
            5, 0, 0, 0, 0, 0, 0, 0,
            6, 0, 0, 0, 0, 0, 0, 0,
        ];
        let row = seal(&StateScope::Global.to_bytes(), &body);
        let stored = StoredQuota {
            status: status([Some(2), None, Some(3), None], [4, 5, 6, 0]),
            counts_metadata: false,
        };
        assert_eq!(encode_version_1(&StateScope::Global, &stored.status), row);
        assert_eq!(decode(&StateScope::Global, &row), Ok(stored));
    }
}
