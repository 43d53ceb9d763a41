//! Values, vectors and metadata from which the number that they were made from can be read.
//!
//! So a message about a value need not repeat its bytes, and comparing two numbers compares every bit: a value that
//! differs from the one made from its number is foreign.

use llmspell_storage::Metadata;
use serde::{Deserialize, Serialize};

use llmspell_testkit::Random;

const SEED_BYTES: usize = 8;

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Value {
    /// Made from a number.
    Made { seed: u64, len: usize },
    /// Not a value of a writer.
    Foreign { len: usize, start: Vec<u8> },
}

impl Value {
    /// `len` is 0, or enough to hold the number.
    pub(super) fn made(seed: u64, len: usize) -> Self {
        match len {
            0 => Self::Made { seed: 0, len },
            _ => Self::Made {
                seed,
                len: len.max(SEED_BYTES),
            },
        }
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        let len = bytes.len();
        let seed = bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        let made = Self::Made { seed, len };
        if made.bytes() == bytes {
            made
        } else {
            let start = bytes.iter().copied().take(16).collect();
            Self::Foreign { len, start }
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Made { seed, len } => {
                let mut bytes = seed.to_le_bytes().to_vec();
                let mut random = Random::new(&[*seed]);
                while bytes.len() < *len {
                    bytes.extend_from_slice(&random.number().to_le_bytes());
                }
                bytes.truncate(*len);
                bytes
            }
            Self::Foreign { start, .. } => start.clone(),
        }
    }
}

/// A vector of `dim` components, at least three, made from a number.
pub(super) fn vector(seed: u32, dim: usize) -> Vec<f32> {
    let [a, b, c, d] = seed.to_le_bytes();
    let half = |low, high| (f32::from(u16::from_le_bytes([low, high])) - 32768.0) / 32768.0;
    let mut random = Random::new(&[seed.into()]);
    let mut vector = vec![half(a, b), half(c, d)];
    vector.resize_with(dim, || match random.below(16) {
        // Bits that a careless copy does not keep.
        0 => -0.0,
        1 => f32::from_bits(1),
        _ => random.component(),
    });
    vector
}

/// The number that a vector was made from; none if it differs in any bit.
pub(super) fn vector_seed(found: &[f32]) -> Option<u32> {
    let half = |component: f32| {
        let number = component * 32768.0 + 32768.0;
        let is_half = (0.0..65536.0).contains(&number) && number.fract() == 0.0;
        is_half.then_some(number as u32)
    };
    let seed = half(*found.first()?)? | half(*found.get(1)?)? << 16;
    let made = vector(seed, found.len());
    let is_same = made.iter().map(|c| c.to_bits()).eq(found.iter().map(|c| c.to_bits()));
    is_same.then_some(seed)
}

/// Number of different tags in metadata.
pub(super) const TAGS: u32 = 7;

/// The tag of metadata made from a number, by its own.
pub(super) fn tag_number(seed: u32) -> u32 {
    seed % TAGS
}

/// The tag of a number.
pub(super) fn tag(number: u32) -> String {
    format!("tag-{number}")
}

/// Metadata made from a number.
pub(super) fn metadata(seed: u32) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("seed".to_string(), seed.into());
    metadata.insert("tag".to_string(), tag(tag_number(seed)).into());
    metadata.insert("text".to_string(), "é".repeat(seed as usize % 150).into());
    metadata
}

/// The number that metadata were made from.
pub(super) fn metadata_seed(found: &serde_json::Value) -> Option<u32> {
    let seed = u32::try_from(found.get("seed")?.as_u64()?).ok()?;
    (found.as_object() == Some(&metadata(seed))).then_some(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_bytes_and_a_flipped_bit_makes_it_foreign() {
        for (seed, len) in [(0, 0), (7, 8), (9, 9), (11, 5000)] {
            let value = Value::made(seed, len);
            let mut bytes = value.bytes();
            assert_eq!((Value::of(&bytes), bytes.len()), (value, len));
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
                assert_ne!(Value::of(&bytes), Value::made(seed, len));
            }
        }
    }

    #[test]
    fn a_vector_is_known_by_its_bits_and_a_flipped_bit_makes_it_foreign() {
        for seed in [0, 1, 0xffff_ffff, 0x1234_5678] {
            let mut vector = vector(seed, 96);
            assert_eq!(vector_seed(&vector), Some(seed));
            let zero = vector.iter().position(|component| *component == 0.0);
            let place = zero.unwrap_or(50);
            vector[place] = f32::from_bits(vector[place].to_bits() ^ 1 << 31);
            assert_eq!(vector_seed(&vector), None, "the sign of component {place}");
        }
    }

    #[test]
    fn metadata_are_known_by_all_of_their_fields() {
        let mut fields = metadata(149);
        assert_eq!(metadata_seed(&fields.clone().into()), Some(149));
        fields.insert("more".to_string(), 1.into());
        assert_eq!(metadata_seed(&fields.into()), None);
    }
}
