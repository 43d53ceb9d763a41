//! The layout of keys and values in sled's tree.
//!
//! ```text
//! key in the tree               value in the tree
//! "k" + the key                 │checksum u32│ value …                as `base/stored_value.rs` draws it, also with an end
//! "x" + expires_at + the key    │checksum u32│                        one for each key that expires
//! "m"                           │checksum u32│commits u64│keys u64│clock_ms i64│
//! "c"                           how the clocks go together, as `truth/tables.rs` draws it; may be missing
//! ```
//!
//! Numbers are little-endian, but for `expires_at` in a key: an i64 plus 2⁶³, big-endian, so that keys order by it. The
//! checksum is the CRC-32C of the key in the tree and of what follows, so that a value found under another key is damage
//! too. The record under "m" changes with every commit, in the same batch. A record with a wrong checksum is never handed
//! out. `clock_ms` is the latest moment at which something with an end was written or removed: time does not go back
//! behind it. The record under "c" is written with the first commit after it has changed.
//!
//! v1 (0.1.0): no key expires, and "m" has no `clock_ms`. v2: as above; it reads what v1 wrote.

use llmspell_core::Timestamp;

use crate::base::stored_value::StoredValue;

/// Under which key the [`Head`] lies.
pub(super) const HEAD_KEY: &[u8] = b"m";
/// Under which key the [`ClockRow`](crate::truth::ClockRow) lies, if there is one.
pub(super) const CLOCK_KEY: &[u8] = b"c";
const KEY_TAG: u8 = b'k';
const END_TAG: u8 = b'x';
/// Makes moments before 1970 order before those after it.
const SIGN: u64 = 1 << 63;

/// A value and when it ends.
pub(super) type Stored = StoredValue<Vec<u8>>;

/// What the tree says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Commits so far. Only grows.
    pub(super) commits: u64,
    /// Keys that are there, those included that are over and not purged yet.
    pub(super) keys: u64,
    /// Time does not go back behind this, in milliseconds since 1970.
    pub(super) clock_ms: i64,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            commits: 0,
            keys: 0,
            clock_ms: i64::MIN,
        }
    }
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

/// The note that a key expires, as a key of the tree.
pub(super) fn end_key(moment: i64, key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + key.len());
    bytes.push(END_TAG);
    bytes.extend_from_slice(&(moment.cast_unsigned() ^ SIGN).to_be_bytes());
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// The moment and the key that an [`end_key`] was made of; none if it was not.
pub(super) fn end_of(end_key: &[u8]) -> Option<(i64, &str)> {
    let (moment, key) = end_key.strip_prefix(&[END_TAG])?.split_first_chunk::<8>()?;
    let moment = (u64::from_be_bytes(*moment) ^ SIGN).cast_signed();
    Some((moment, std::str::from_utf8(key).ok()?))
}

/// A value as in the tree.
pub(super) fn encode(tree_key: &[u8], value: &[u8], expires_at: Option<Timestamp>) -> Vec<u8> {
    StoredValue { value, expires_at }.encode(tree_key)
}

/// The value behind a value of the tree; none if it is damaged.
pub(super) fn decode<'a>(tree_key: &[u8], bytes: &'a [u8]) -> Option<StoredValue<&'a [u8]>> {
    StoredValue::decode(tree_key, bytes).ok()
}

impl Head {
    /// As a value of the tree.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let numbers = [
            self.commits.to_le_bytes(),
            self.keys.to_le_bytes(),
            self.clock_ms.to_le_bytes(),
        ];
        encode(HEAD_KEY, numbers.as_flattened(), None)
    }

    /// From a value of the tree; none if it is damaged.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored = decode(HEAD_KEY, bytes)?;
        let (commits, rest) = stored.value.split_first_chunk()?;
        let (keys, rest) = rest.split_first_chunk()?;
        let clock_ms = match rest {
            // As v1 wrote it.
            [] => i64::MIN,
            rest => i64::from_le_bytes(rest.try_into().ok()?),
        };
        Some(Self {
            commits: u64::from_le_bytes(*commits),
            keys: u64::from_le_bytes(*keys),
            clock_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forever(tree_key: &[u8], value: &[u8]) -> Vec<u8> {
        encode(tree_key, value, None)
    }

    #[test]
    fn the_bytes_of_a_record_never_change() {
        assert_eq!(tree_key("é"), [b'k', 0xc3, 0xa9]);
        #[rustfmt::skip]
        assert_eq!(forever(b"ka", b"value"), [
            0x88, 0x35, 0xa8, 0xca,           // checksum
            b'v', b'a', b'l', b'u', b'e',
        ]);
        #[rustfmt::skip]
        assert_eq!(encode(b"ka", b"value", Some(Timestamp::from_millis(258)))[4..], [
            2, 1, 0, 0, 0, 0, 0, 0,           // expires_at
            b'v', b'a', b'l', b'u', b'e',
        ]);
        #[rustfmt::skip]
        assert_eq!(end_key(258, "a"), [
            b'x',
            0x80, 0, 0, 0, 0, 0, 1, 2,        // expires_at, big-endian
            b'a',
        ]);
        let head = Head {
            commits: 258,
            keys: 7,
            clock_ms: 259,
        };
        #[rustfmt::skip]
        assert_eq!(head.to_bytes()[4..], [
            2, 1, 0, 0, 0, 0, 0, 0,           // commits
            7, 0, 0, 0, 0, 0, 0, 0,           // keys
            3, 1, 0, 0, 0, 0, 0, 0,           // clock_ms
        ]);
    }

    #[test]
    fn what_the_first_version_wrote_is_read() {
        #[rustfmt::skip]
        let head = [
            0x55, 0x7d, 0x12, 0x14,           // checksum
            2, 1, 0, 0, 0, 0, 0, 0,           // commits
            7, 0, 0, 0, 0, 0, 0, 0,           // keys
        ];
        let expected = Head {
            commits: 258,
            keys: 7,
            clock_ms: i64::MIN,
        };
        assert_eq!(Head::from_bytes(&head), Some(expected));
        let value = [0x88, 0x35, 0xa8, 0xca, b'v', b'a', b'l', b'u', b'e'];
        let stored = StoredValue {
            value: &b"value"[..],
            expires_at: None,
        };
        assert_eq!(decode(b"ka", &value), Some(stored));
    }

    #[test]
    fn ends_order_by_time_and_read_back() {
        let moments = [i64::MIN, -1, 0, 1, 255, 256, i64::MAX];
        let keys = moments.map(|moment| end_key(moment, "é"));
        assert!(keys.is_sorted(), "{keys:?}");
        for (moment, key) in moments.into_iter().zip(&keys) {
            assert_eq!(end_of(key), Some((moment, "é")));
        }
        assert_eq!(end_of(b"x1234567"), None);
        assert_eq!(end_of(&tree_key("a")), None);
    }

    #[test]
    fn a_flipped_bit_a_lost_byte_and_another_key_are_damage() {
        let bytes = forever(b"ka", b"value");
        assert_eq!(decode(b"ka", &bytes).map(|stored| stored.value), Some(&b"value"[..]));
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
            clock_ms: -1,
        };
        assert_eq!(Head::from_bytes(&head.to_bytes()), Some(head));
        assert_eq!(Head::from_bytes(&head.to_bytes()[1..]), None);
    }
}
