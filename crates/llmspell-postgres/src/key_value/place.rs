//! Places of keys: the columns by which a key is found, and the range of a prefix.
//!
//! ```text
//! key     = head ++ tail        head: the first 1,024 bytes at most
//! digest  = SHA-256 of the tail, or empty with it
//! scope   = bytes of the scope whose ScopedBackend wrote the key, or empty
//! ```
//!
//! The scope follows from the key, so head and digest are unique alone. Order by head, then by tail, is the order of keys.

use llmspell_core::{Result, ScopedBackend};
use sha2::Digest as _;

use crate::error::corrupted;
use crate::session::Reach;

/// An index of PostgreSQL has room for some 2,700 bytes: for this, a digest and the longest scope.
pub(super) const HEAD_BYTES_MAX: usize = 1_024;

/// Where a key stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) head: Vec<u8>,
    pub(super) digest: Vec<u8>,
    pub(super) scope: Vec<u8>,
    pub(super) tail: Vec<u8>,
}

impl Place {
    pub(super) fn of(key: &str) -> Self {
        let (head, tail) = split(key.as_bytes());
        Self {
            head: head.to_vec(),
            digest: if tail.is_empty() {
                Vec::new()
            } else {
                sha2::Sha256::digest(tail).to_vec()
            },
            scope: scope_of(key).unwrap_or_default(),
            tail: tail.to_vec(),
        }
    }

    pub(super) fn reach(&self) -> Reach {
        Reach::Scope(self.scope.clone())
    }
}

/// Head and tail.
pub(super) fn split(key: &[u8]) -> (&[u8], &[u8]) {
    key.split_at(key.len().min(HEAD_BYTES_MAX))
}

fn scope_of(key: &str) -> Option<Vec<u8>> {
    ScopedBackend::split_key(key).map(|(scope, _)| scope.to_bytes())
}

/// The key of a row.
pub(super) fn key_of(mut head: Vec<u8>, tail: &[u8], table: &str) -> Result<String> {
    head.extend_from_slice(tail);
    String::from_utf8(head).map_err(|_| corrupted(table, "a key is not UTF-8"))
}

/// What a prefix covers: the bounds of heads, and of tails where the prefix reaches into them. Upper bounds are excluded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) reach: Reach,
    pub(super) head_from: Vec<u8>,
    pub(super) head_to: Option<Vec<u8>>,
    pub(super) tail_from: Vec<u8>,
    pub(super) tail_to: Option<Vec<u8>>,
}

impl Range {
    pub(super) fn of(prefix: &str) -> Self {
        let reach = scope_of(prefix).map_or(Reach::All, Reach::Scope);
        let bytes = prefix.as_bytes();
        if bytes.len() <= HEAD_BYTES_MAX {
            return Self {
                reach,
                head_from: bytes.to_vec(),
                head_to: beyond(bytes),
                tail_from: Vec::new(),
                tail_to: None,
            };
        }
        let (head, tail) = split(bytes);
        Self {
            reach,
            head_from: head.to_vec(),
            // The next byte string after `head`: no other has this head.
            head_to: Some([head, &[0]].concat()),
            tail_from: tail.to_vec(),
            tail_to: beyond(tail),
        }
    }
}

/// The least byte string greater than all that begin with `prefix`; none if there is none.
fn beyond(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut bytes = prefix[..=last].to_vec();
    bytes[last] += 1;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use llmspell_core::StateScope;

    use super::*;

    #[test]
    fn a_long_key_is_split_and_put_together_again() {
        for key in ["a".to_string(), "b".repeat(1_024), "é".repeat(2_000)] {
            let place = Place::of(&key);
            assert!(place.head.len() <= HEAD_BYTES_MAX);
            assert_eq!(place.digest.is_empty(), place.tail.is_empty());
            assert_eq!(key_of(place.head, &place.tail, "t").unwrap(), key);
        }
    }

    #[test]
    fn a_prefix_ends_where_its_last_byte_can_grow() {
        assert_eq!(beyond(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(beyond(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(beyond(&[0xff]), None);
        assert_eq!(beyond(b""), None);
    }

    #[test]
    fn the_scope_of_a_key_and_of_a_prefix_is_that_of_its_view() {
        let scope = StateScope::User("ada".to_string());
        let prefix = ScopedBackend::prefix(&scope);
        let reach = Reach::of(&scope);
        assert_eq!(Place::of(&format!("{prefix}theme")).reach(), reach);
        assert_eq!(Range::of(&prefix).reach, reach);
        assert_eq!(Range::of("").reach, Reach::All);
        assert_eq!(Range::of(&prefix[..prefix.len() - 1]).reach, Reach::All);
        assert_eq!(Place::of("theme").reach(), Reach::Scope(Vec::new()));
    }
}
