//! Keys in memory, short ones inline, so that comparing them needs no second memory access.
//!
//! Most keys are short. A key of up to 30 bytes lies where it is stored, in the hash table and in the sorted set; a
//! longer one is behind a pointer. In a store that exceeds the CPU's caches, each pointer followed costs as much as
//! everything else in a lookup.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// Makes a [`Key`] 32 bytes.
const INLINE_BYTES_MAX: usize = 30;

/// A key: UTF-8, compared byte by byte.
#[derive(Clone)]
pub(super) enum Key {
    Inline { len: u8, bytes: [u8; INLINE_BYTES_MAX] },
    Boxed(Box<[u8]>),
}

impl Key {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Boxed(bytes) => bytes,
        }
    }

    pub(super) fn to_text(&self) -> String {
        String::from_utf8(self.as_bytes().to_vec()).expect("a key was a string")
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        match u8::try_from(key.len()) {
            Ok(len) if key.len() <= INLINE_BYTES_MAX => {
                let mut bytes = [0; INLINE_BYTES_MAX];
                bytes[..key.len()].copy_from_slice(key.as_bytes());
                Self::Inline { len, bytes }
            }
            Ok(_) | Err(_) => Self::Boxed(key.as_bytes().into()),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_keys_order_and_read_back_like_their_strings() {
        let texts: Vec<String> = [0, 1, 29, 30, 31, 32, 300]
            .map(|len| "é".repeat(len / 2) + &"k".repeat(len % 2))
            .into();
        for a in &texts {
            assert_eq!(Key::from(a.as_str()).to_text(), *a);
            for b in &texts {
                assert_eq!(
                    Key::from(a.as_str()).cmp(&Key::from(b.as_str())),
                    a.cmp(b),
                    "{a} and {b}"
                );
            }
        }
        assert_eq!(size_of::<Key>(), 32);
    }
}
