//! How are the quota of a scope and what it holds stored?
//!
//! ```text
//! byte 0        4       5     6                     30
//!      │checksum│version│flags│ vectors, vector bytes, key-value bytes │ the same three │
//!      │ u32    │ u8 = 1│ u8  │ limits, u64 each                       │ in use, u64 each
//! ```
//!
//! Flags: bit 0, 1 and 2 say that there is the limit; one that is not there is zero, and so are the other bits. The
//! checksum covers the key of the row too, the bytes of the scope. In use is what lives, entries that have expired and
//! are not purged yet included. v1 (0.1.0): as above.

use llmspell_core::{Quota, QuotaStatus, QuotaUsage, StateScope};

use crate::codec::{Malformed, Reader, Writer, seal, unseal};

const VERSION: u8 = 1;

/// The bytes of the row of `scope`.
pub(super) fn encode(scope: &StateScope, status: &QuotaStatus) -> Vec<u8> {
    let QuotaStatus { quota, used, .. } = status;
    let limits = [quota.vectors, quota.vector_bytes, quota.kv_bytes];
    let flags = (0..3).filter(|bit| limits[*bit].is_some()).map(|bit| 1 << bit).sum();
    let mut body = Writer::with_capacity(50);
    body.u8(VERSION).u8(flags);
    for limit in limits {
        body.u64(limit.unwrap_or(0));
    }
    body.u64(used.vectors).u64(used.vector_bytes).u64(used.kv_bytes);
    seal(&scope.to_bytes(), &body.finish())
}

/// Reads what [`encode`] wrote for the same scope.
pub(super) fn decode(scope: &StateScope, bytes: &[u8]) -> Result<QuotaStatus, Malformed> {
    let mut body = Reader::new(unseal(&scope.to_bytes(), bytes)?);
    if body.u8()? != VERSION {
        return Err(Malformed("its version is unknown"));
    }
    let flags = body.u8()?;
    if flags > 0b111 {
        return Err(Malformed("it has unknown flags"));
    }
    let mut limit = |bit: u8| {
        let limit = body.u64()?;
        Ok((flags & (1 << bit) != 0).then_some(limit))
    };
    let mut quota = Quota::new();
    (quota.vectors, quota.vector_bytes, quota.kv_bytes) = (limit(0)?, limit(1)?, limit(2)?);
    let mut used = QuotaUsage::default();
    (used.vectors, used.vector_bytes, used.kv_bytes) = (body.u64()?, body.u64()?, body.u64()?);
    body.end()?;
    Ok(QuotaStatus::new(quota, used))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(limits: [Option<u64>; 3], in_use: [u64; 3]) -> QuotaStatus {
        let mut quota = Quota::new();
        [quota.vectors, quota.vector_bytes, quota.kv_bytes] = limits;
        let mut used = QuotaUsage::default();
        [used.vectors, used.vector_bytes, used.kv_bytes] = in_use;
        QuotaStatus::new(quota, used)
    }

    proptest! {
        #[test]
        fn a_quota_reads_back_for_its_scope_and_for_no_other(limits: [Option<u64>; 3], in_use: [u64; 3]) {
            let scope = StateScope::User("ada".to_string());
            let bytes = encode(&scope, &status(limits, in_use));
            prop_assert_eq!(decode(&scope, &bytes), Ok(status(limits, in_use)));
            prop_assert!(decode(&StateScope::Global, &bytes).is_err());
        }
    }

    #[test]
    fn the_bytes_of_a_quota_never_change() {
        let bytes = encode(&StateScope::Global, &status([Some(2), None, Some(3)], [4, 5, 6]));
        #[rustfmt::skip]
        assert_eq!(bytes[4..], [
            1, 0b101,                           // version, flags
            2, 0, 0, 0, 0, 0, 0, 0,             // limits
            0, 0, 0, 0, 0, 0, 0, 0,
            3, 0, 0, 0, 0, 0, 0, 0,
            4, 0, 0, 0, 0, 0, 0, 0,             // in use
            5, 0, 0, 0, 0, 0, 0, 0,
            6, 0, 0, 0, 0, 0, 0, 0,
        ]);
    }
}
