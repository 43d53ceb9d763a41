//! The stored form of values, with and without an expiry.
//!
//! ```text
//! byte 0        4
//!      │checksum│ value …                  of a key that does not expire
//!
//! byte 0        4          12
//!      │checksum│expires_at│ value …       of one that does: its checksum is XORed with 0x6c696665
//!      │ u32    │ i64
//! ```
//!
//! The checksum is the CRC-32C of the place of the value, then of all that follows the checksum. So the checksum says
//! which of the two it is: for given bytes it is either the one or the other, or they are damaged. The constant has an
//! even number of ones, and CRC-32C tells any odd number of flipped bits: one that flipped cannot turn one form into the
//! other. `expires_at` is in milliseconds since 1970.
//!
//! v1 (0.1.0): as above. Builds before keys could expire take a value that does for a damaged one.

use std::io;

use llmspell_core::Timestamp;

use llmspell_codec::{CHECKSUM_BYTES, Malformed, Reader, checksum, try_reserve};

/// What makes the checksum of a value that expires another one.
const EXPIRES: u32 = 0x6c69_6665;
const EXPIRES_AT_BYTES: usize = 8;

/// A value, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredValue<V> {
    pub(crate) value: V,
    /// None: it does not.
    pub(crate) expires_at: Option<Timestamp>,
}

impl<V> StoredValue<V> {
    /// Whether it is there at `now`, in milliseconds since 1970.
    pub(crate) fn is_there(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|moment| moment.as_millis() > now)
    }

    /// The same, its value made something else.
    pub(crate) fn map<T>(self, change: impl FnOnce(V) -> T) -> StoredValue<T> {
        StoredValue {
            value: change(self.value),
            expires_at: self.expires_at,
        }
    }
}

impl StoredValue<&[u8]> {
    /// The bytes for a place, or an error if there is no memory for them.
    pub(crate) fn try_encode(&self, place: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = try_reserve(CHECKSUM_BYTES + EXPIRES_AT_BYTES + self.value.len())?;
        self.encode_to(place, &mut bytes);
        Ok(bytes)
    }

    /// The bytes for a place.
    #[cfg(any(test, feature = "sled"))]
    pub(crate) fn encode(&self, place: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CHECKSUM_BYTES + EXPIRES_AT_BYTES + self.value.len());
        self.encode_to(place, &mut bytes);
        bytes
    }

    /// Appends the bytes for a place to an empty buffer.
    fn encode_to(&self, place: &[u8], bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&[0; CHECKSUM_BYTES]);
        if let Some(moment) = self.expires_at {
            bytes.extend_from_slice(&moment.as_millis().to_le_bytes());
        }
        bytes.extend_from_slice(self.value);
        let mut sum = checksum(place, &bytes[CHECKSUM_BYTES..]);
        if self.expires_at.is_some() {
            sum ^= EXPIRES;
        }
        bytes[..CHECKSUM_BYTES].copy_from_slice(&sum.to_le_bytes());
    }
}

impl<'b> StoredValue<&'b [u8]> {
    /// Reads what [`try_encode`](StoredValue::try_encode) wrote for the same place.
    pub(crate) fn decode(place: &[u8], bytes: &'b [u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(bytes);
        let stored = body.u32()?;
        let mut rest = body;
        match stored ^ checksum(place, rest.rest()) {
            0 => Ok(Self {
                value: body.rest(),
                expires_at: None,
            }),
            EXPIRES => Ok(Self {
                expires_at: Some(Timestamp::from_millis(body.i64()?)),
                value: body.rest(),
            }),
            _ => Err(Malformed("its checksum is wrong")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_a_value_never_change() {
        let forever = StoredValue {
            value: &b"56789"[..],
            expires_at: None,
        };
        // CRC-32C of "123456789" is the check value of the standard.
        let bytes = [0x83, 0x92, 0x06, 0xe3, b'5', b'6', b'7', b'8', b'9'];
        assert_eq!(forever.encode(b"1234"), bytes);

        let mortal = StoredValue {
            value: &b"9"[..],
            expires_at: Some(Timestamp::from_millis(i64::from_le_bytes(*b"12345678"))),
        };
        #[rustfmt::skip]
        let bytes = [
            0x83 ^ 0x65, 0x92 ^ 0x66, 0x06 ^ 0x69, 0xe3 ^ 0x6c,
            b'1', b'2', b'3', b'4', b'5', b'6', b'7', b'8',     // expires_at
            b'9',
        ];
        assert_eq!(mortal.encode(b""), bytes);
    }

    proptest! {
        #[test]
        fn a_value_reads_back_in_its_place_and_a_flipped_bit_never_passes(
            place in prop::collection::vec(any::<u8>(), 0..8),
            value in prop::collection::vec(any::<u8>(), 0..40),
            moment in prop::option::of(any::<i64>()),
            bit in any::<prop::sample::Index>(),
        ) {
            let stored = StoredValue { value: value.as_slice(), expires_at: moment.map(Timestamp::from_millis) };
            let mut bytes = stored.encode(&place);
            prop_assert_eq!(stored.try_encode(&place).unwrap(), bytes.clone());
            prop_assert_eq!(StoredValue::decode(&place, &bytes), Ok(stored));
            let mut elsewhere = place.clone();
            elsewhere.push(1);
            prop_assert!(StoredValue::decode(&elsewhere, &bytes).is_err());
            for len in 0..bytes.len() {
                prop_assert!(StoredValue::decode(&place, &bytes[..len]).is_err());
            }
            let bit = bit.index(8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(StoredValue::decode(&place, &bytes).is_err());
        }
    }
}
