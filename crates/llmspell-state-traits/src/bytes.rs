//! The byte form of a scope: injective, and part of the on-disk format.
//!
//! ```text
//! byte 0     1        3
//!      │ tag │ length │ id …      tag alone for Global; length u16 little-endian, in bytes of UTF-8
//! ```
//!
//! Tags: 0 Global, 1 User, 2 Session, 3 Agent, 4 Tool, 5 Workflow, 6 Hook, 7 Custom. The length makes the encoding
//! prefix-free: no encoded scope is a prefix of another, so it can precede other bytes in a key.
//! The bytes are part of the on-disk format and never change.

use crate::scope::{ScopeError, ScopeKind, StateScope};

const LENGTH_BYTES: usize = 2;

impl StateScope {
    /// The scope as bytes: different for different scopes, and never a prefix of another scope's bytes.
    ///
    /// # Panics
    ///
    /// If the id is longer than 65,535 bytes; [`validate`](Self::validate) refuses it long before.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let tag = self.kind() as u8;
        let Some(id) = self.id() else { return vec![tag] };
        let length = u16::try_from(id.len()).expect("validate bounds the id");
        let mut bytes = Vec::with_capacity(1 + LENGTH_BYTES + id.len());
        bytes.push(tag);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(id.as_bytes());
        bytes
    }

    /// Reads the bytes of [`to_bytes`](Self::to_bytes); no byte may be left over.
    ///
    /// # Errors
    ///
    /// [`ScopeError::BadBytes`], or the error of [`validate`](Self::validate) for the id.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ScopeError> {
        let bad = || ScopeError::BadBytes { len: bytes.len() };
        let (&tag, rest) = bytes.split_first().ok_or_else(bad)?;
        let kind = *ScopeKind::ALL.get(usize::from(tag)).ok_or_else(bad)?;
        if kind == ScopeKind::Global {
            return if rest.is_empty() { Ok(Self::Global) } else { Err(bad()) };
        }
        let (length, id) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or_else(bad)?;
        if usize::from(u16::from_le_bytes(*length)) != id.len() {
            return Err(bad());
        }
        let id = std::str::from_utf8(id).map_err(|_| bad())?;
        let scope = kind.with_id(id.to_string());
        scope.validate()?;
        Ok(scope)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope() -> impl Strategy<Value = StateScope> {
        (0..ScopeKind::ALL.len(), "[ab:\\x00]{1,4}").prop_map(|(kind, id)| ScopeKind::ALL[kind].with_id(id))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Few letters and short ids, so that equal and nearly equal pairs are common.
        #[test]
        fn bytes_are_equal_exactly_if_scopes_are(a in scope(), b in scope()) {
            prop_assert_eq!(a.to_bytes() == b.to_bytes(), a == b);
        }

        #[test]
        fn no_scope_is_the_beginning_of_another(a in scope(), b in scope()) {
            prop_assert!(a == b || !b.to_bytes().starts_with(&a.to_bytes()));
        }

        #[test]
        fn bytes_read_back(scope in scope()) {
            prop_assert_eq!(StateScope::from_bytes(&scope.to_bytes()), Ok(scope));
        }

        #[test]
        fn reading_any_bytes_never_panics_and_is_canonical(bytes in prop::collection::vec(0..12u8, 0..12)) {
            if let Ok(scope) = StateScope::from_bytes(&bytes) {
                prop_assert_eq!(scope.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn the_bytes_of_a_scope_never_change() {
        assert_eq!(StateScope::Global.to_bytes(), [0]);
        assert_eq!(StateScope::User("é".into()).to_bytes(), [1, 2, 0, 0xc3, 0xa9]);
        assert_eq!(StateScope::Custom("t:1".into()).to_bytes(), [7, 3, 0, b't', b':', b'1']);
    }
}
