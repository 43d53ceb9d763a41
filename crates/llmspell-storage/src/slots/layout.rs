//! The layout of one vector in its slot.
//!
//! ```text
//! byte 0        4          8          16
//!      │checksum│generation│ scope_id │ components …       little-endian, no padding
//!      │ u32    │ u32      │ u64      │ dim × f32
//! ```
//!
//! * `checksum`: CRC-32C of the slot number (u64) and every byte after the checksum. A slot that turns up in another
//!   place fails it.
//! * `generation`: how often the slot was used, wrapping; the record that names the slot repeats it.
//! * `scope_id`: whose vector it is. A slot found under another scope is never handed out.
//!
//! The stride of a file is the size of a slot, so every slot begins at a multiple of four bytes. v1 (0.1.0): as above.

use crate::base::ids::{Generation, ScopeId, Slot};
use llmspell_codec::checksum;

/// Bytes before the components.
pub(crate) const HEADER_BYTES: usize = 16;

/// Bytes of a slot.
pub(crate) fn stride(dim: usize) -> usize {
    HEADER_BYTES + 4 * dim
}

/// Appends the bytes of a slot.
pub(crate) fn encode(slot: Slot, generation: Generation, scope: ScopeId, vector: &[f32], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&generation.0.to_le_bytes());
    bytes.extend_from_slice(&scope.0.to_le_bytes());
    bytes.resize(start + stride(vector.len()), 0);
    let words = bytes[start + HEADER_BYTES..].as_chunks_mut::<4>().0;
    for (word, component) in words.iter_mut().zip(vector) {
        *word = component.to_le_bytes();
    }
    let checksum = checksum(&slot.0.to_le_bytes(), &bytes[start + 4..]);
    bytes[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// The generation of an undamaged slot of `scope`; the problem, otherwise.
pub(crate) fn verify(slot: Slot, scope: ScopeId, bytes: &[u8]) -> Result<Generation, &'static str> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    if word(0) != checksum(&slot.0.to_le_bytes(), &bytes[4..]) {
        return Err("its checksum is wrong");
    }
    if bytes[8..16] != scope.0.to_le_bytes() {
        return Err("it belongs to another scope");
    }
    Ok(Generation(word(4)))
}

/// Appends the components of a slot.
pub(crate) fn components(bytes: &[u8], components: &mut Vec<f32>) {
    let words = bytes[HEADER_BYTES..].as_chunks::<4>().0;
    components.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
}

/// The generation a slot states, damaged or not.
pub(crate) fn stated_generation(bytes: &[u8]) -> Generation {
    Generation(u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_slot_never_change() {
        let mut bytes = Vec::new();
        encode(Slot(5), Generation(2), ScopeId(7), &[1.0, -2.0], &mut bytes);
        #[rustfmt::skip]
        let body = [
            2, 0, 0, 0,
            7, 0, 0, 0, 0, 0, 0, 0,
            0x00, 0x00, 0x80, 0x3f,
            0x00, 0x00, 0x00, 0xc0,
        ];
        assert_eq!(bytes[4..], body);
        let mut placed = 5_u64.to_le_bytes().to_vec();
        placed.extend_from_slice(&body);
        assert_eq!(bytes[..4], crc32c::crc32c(&placed).to_le_bytes());
        assert_eq!(bytes.len(), stride(2));
    }

    #[test]
    fn a_slot_is_good_only_whole_in_its_place_and_for_its_scope() {
        let mut bytes = Vec::new();
        encode(Slot(5), Generation(2), ScopeId(7), &[1.0, -2.0], &mut bytes);
        assert_eq!(verify(Slot(5), ScopeId(7), &bytes), Ok(Generation(2)));
        assert!(verify(Slot(6), ScopeId(7), &bytes).is_err());
        assert_eq!(verify(Slot(5), ScopeId(8), &bytes), Err("it belongs to another scope"));
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(Slot(5), ScopeId(7), &damaged).is_err(), "bit {bit}");
        }
    }
}
