//! Numbers and checksummed bytes in the form that llmspell-storage writes to its files.
//!
//! Little-endian, no padding. Bytes that are read may be damaged, so every read can fail, and none can panic or
//! allocate more than the length of the bytes.

use std::io;

/// The bytes end too early, or contain an impossible value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(
    /// The fault in the bytes.
    pub &'static str,
);

/// Appends numbers and bytes to a buffer.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {
        impl Writer {
            $(
            #[doc = concat!("Appends a `", stringify!($type), "`.")]
            pub fn $name(&mut self, number: $type) -> &mut Self {
                self.0.extend_from_slice(&number.to_le_bytes());
                self
            })*
        }

        impl Reader<'_> {
            $(
            #[doc = concat!("Reads a `", stringify!($type), "`.")]
            ///
            /// # Errors
            ///
            /// [`Malformed`] if the bytes end early.
            pub fn $name(&mut self) -> Result<$type, Malformed> {
                let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed("it ends early"))?;
                self.0 = rest;
                Ok(<$type>::from_le_bytes(*bytes))
            })*
        }
    };
}

/// Reads numbers and bytes from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

numbers!(u8: u8, u16: u16, u32: u32, u64: u64, i64: i64);

impl Writer {
    /// An empty writer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Appends bytes as they are, without a length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The bytes written so far.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if there are fewer.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Malformed("it ends early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// All bytes that were not read yet.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Checks that all bytes were read.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if some were not.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("bytes are left over"))
        }
    }
}

/// A copy of bytes of any length.
///
/// # Errors
///
/// `OutOfMemory`.
pub fn try_copy(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut copy = try_reserve(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// `len` zeros.
///
/// # Errors
///
/// `OutOfMemory`.
pub fn try_zeros(len: usize) -> io::Result<Vec<u8>> {
    let mut zeros = try_reserve(len)?;
    zeros.resize(len, 0);
    Ok(zeros)
}

/// An empty buffer with room for `len` bytes.
///
/// # Errors
///
/// `OutOfMemory`.
pub fn try_reserve(len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len)?;
    Ok(bytes)
}

/// The CRC-32C of `place` and `body`, followed by `body`.
///
/// The place is where the bytes are stored (table and key): bytes found elsewhere fail the check too.
#[must_use]
pub fn seal(place: &[u8], body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(CHECKSUM_BYTES + body.len());
    sealed.extend_from_slice(&checksum(place, body).to_le_bytes());
    sealed.extend_from_slice(body);
    sealed
}

/// The body of bytes that [`seal`] made for this place.
///
/// # Errors
///
/// [`Malformed`] if the bytes are too short or their checksum is wrong.
pub fn unseal<'a>(place: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Malformed> {
    let (stored, body) = sealed
        .split_first_chunk::<CHECKSUM_BYTES>()
        .ok_or(Malformed("it ends early"))?;
    if u32::from_le_bytes(*stored) == checksum(place, body) {
        Ok(body)
    } else {
        Err(Malformed("its checksum is wrong"))
    }
}

/// Bytes of a checksum.
pub const CHECKSUM_BYTES: usize = 4;

/// CRC-32C of `place` followed by `body`.
#[must_use]
pub fn checksum(place: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(place), body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_a_sealed_body_never_change() {
        // CRC-32C of "123456789" is the check value of the standard.
        assert_eq!(
            seal(b"1234", b"56789"),
            [0x83, 0x92, 0x06, 0xe3, b'5', b'6', b'7', b'8', b'9']
        );
    }

    proptest! {
        #[test]
        fn a_flipped_bit_or_another_place_never_passes(
            place in prop::collection::vec(any::<u8>(), 0..8),
            body in prop::collection::vec(any::<u8>(), 0..40),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut sealed = seal(&place, &body);
            prop_assert_eq!(unseal(&place, &sealed), Ok(body.as_slice()));
            let mut elsewhere = place.clone();
            elsewhere.push(1);
            prop_assert!(unseal(&elsewhere, &sealed).is_err());
            let bit = bit.index(8 * sealed.len());
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(unseal(&place, &sealed).is_err());
        }

        #[test]
        fn what_may_lack_memory_makes_the_same_bytes(body in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(try_copy(&body).unwrap(), body.clone());
            prop_assert_eq!(try_zeros(body.len()).unwrap(), vec![0; body.len()]);
            prop_assert_eq!(try_zeros(usize::MAX / 2 + 1).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        }

        #[test]
        fn numbers_read_back(a in any::<u8>(), b in any::<u16>(), c in any::<u32>(), d in any::<u64>(), e in any::<i64>()) {
            let mut writer = Writer::default();
            writer.u8(a).u16(b).u32(c).u64(d).i64(e);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.u8(), Ok(a));
            prop_assert_eq!(reader.u16(), Ok(b));
            prop_assert_eq!(reader.u32(), Ok(c));
            prop_assert_eq!(reader.u64(), Ok(d));
            prop_assert_eq!(reader.i64(), Ok(e));
            prop_assert_eq!(reader.end(), Ok(()));
            prop_assert_eq!(reader.u8(), Err(Malformed("it ends early")));
        }
    }
}
