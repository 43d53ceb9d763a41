//! How do keys and values lie in the tree?
//!
//! ```text
//! key in the tree            value in the tree
//! "k" + the key              │checksum u32│ value …               checksum: CRC-32C of key and value
//! "m"                        │checksum u32│commits u64│keys u64│   checksum: CRC-32C of "m" and what follows
//! ```
//!
//! Numbers are little-endian. The checksum covers the key, so that a value found under another key is damage too. The
//! record under "m" changes with every commit, in the same batch. A record with a wrong checksum is never handed out.
//!
//! v1 (0.1.0): as above.

use crc32c::{crc32c, crc32c_append};

/// Under which key the [`Head`] lies.
pub(super) const HEAD_KEY: &[u8] = b"m";
const KEY_TAG: u8 = b'k';
const CHECKSUM_BYTES: usize = 4;
const HEAD_BYTES: usize = 16;

/// What the tree says about itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Commits so far. Only grows.
    pub(super) commits: u64,
    /// Keys that are there.
    pub(super) keys: u64,
}

/// A key, or a prefix of keys, as in the tree.
pub(super) fn tree_key(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + key.len());
    bytes.push(KEY_TAG);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// The key behind a key of the tree; none if it is no user's key.
pub(super) fn user_key(tree_key: &[u8]) -> Option<&str> {
    let (&tag, key) = tree_key.split_first()?;
    if tag == KEY_TAG {
        std::str::from_utf8(key).ok()
    } else {
        None
    }
}

/// A value as in the tree.
pub(super) fn encode(tree_key: &[u8], value: &[u8]) -> Vec<u8> {
    let checksum = crc32c_append(crc32c(tree_key), value);
    let mut bytes = Vec::with_capacity(CHECKSUM_BYTES + value.len());
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// The value behind a value of the tree; none if it is damaged.
pub(super) fn decode<'a>(tree_key: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (checksum, value) = bytes.split_first_chunk::<CHECKSUM_BYTES>()?;
    (u32::from_le_bytes(*checksum) == crc32c_append(crc32c(tree_key), value)).then_some(value)
}

impl Head {
    /// As a value of the tree.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut value = [0; HEAD_BYTES];
        value[..8].copy_from_slice(&self.commits.to_le_bytes());
        value[8..].copy_from_slice(&self.keys.to_le_bytes());
        encode(HEAD_KEY, &value)
    }

    /// From a value of the tree; none if it is damaged.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let value: &[u8; HEAD_BYTES] = decode(HEAD_KEY, bytes)?.try_into().ok()?;
        let (commits, keys) = value.split_first_chunk::<8>()?;
        Some(Self {
            commits: u64::from_le_bytes(*commits),
            keys: u64::from_le_bytes(keys.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_record_never_change() {
        assert_eq!(tree_key("é"), [b'k', 0xc3, 0xa9]);
        #[rustfmt::skip]
        assert_eq!(encode(b"ka", b"value"), [
            0x88, 0x35, 0xa8, 0xca,           // checksum
            b'v', b'a', b'l', b'u', b'e',
        ]);
        #[rustfmt::skip]
        assert_eq!(Head { commits: 258, keys: 7 }.to_bytes(), [
            0x55, 0x7d, 0x12, 0x14,           // checksum
            2, 1, 0, 0, 0, 0, 0, 0,           // commits
            7, 0, 0, 0, 0, 0, 0, 0,           // keys
        ]);
    }

    #[test]
    fn a_flipped_bit_a_lost_byte_and_another_key_are_damage() {
        let bytes = encode(b"ka", b"value");
        assert_eq!(decode(b"ka", &bytes), Some(&b"value"[..]));
        assert_eq!(decode(b"kb", &bytes), None);
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(b"ka", &flipped), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(decode(b"ka", &bytes[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_head_reads_back() {
        let head = Head {
            commits: u64::MAX,
            keys: 1 << 40,
        };
        assert_eq!(Head::from_bytes(&head.to_bytes()), Some(head));
        assert_eq!(Head::from_bytes(&head.to_bytes()[1..]), None);
    }
}
