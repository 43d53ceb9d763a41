//! Vectors of texts, without a model: words and their parts, counted at places that hashes choose.
//!
//! Texts with the same words are near, and that is all that it knows: `car` and `automobile` are strangers. It stands here
//! so that the example needs no network and gives the same answers everywhere; call your embedding model in [`embed`], and
//! let [`DIM`] be its dimension.

/// Components of a vector.
pub const DIM: usize = 512;

/// Parts of words weigh less than whole words.
const PART_WEIGHT: f32 = 0.4;

/// The vector of a text, of length 1.
#[must_use]
pub fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; DIM];
    let words = text.split(|character: char| !character.is_alphanumeric());
    for word in words.filter(|word| !word.is_empty()) {
        let word = word.to_lowercase();
        add(&mut vector, word.as_bytes(), 1.0);
        // Parts of three letters let `search` be near `searches`.
        for part in word.as_bytes().windows(3) {
            add(&mut vector, part, PART_WEIGHT);
        }
    }
    let norm = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if norm == 0.0 {
        // A vector without direction is near to nothing, and the cosine refuses it.
        vector[0] = 1.0;
        return vector;
    }
    vector.iter().map(|number| number / norm).collect()
}

fn add(vector: &mut [f32], bytes: &[u8], weight: f32) {
    let hash = fnv1a(bytes);
    let place = (hash >> 1) as usize % DIM;
    vector[place] += if hash & 1 == 0 { weight } else { -weight };
}

/// FNV-1a of 64 bits: the same on every machine and in every version.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &str, b: &str) -> f32 {
        embed(a).iter().zip(embed(b)).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn texts_with_common_words_are_near() {
        let question = "How do I reset my password?";
        assert!(cosine(question, "Resetting a password needs the old password.") > 0.3);
        assert!(cosine(question, "The canteen has soup on Mondays.") < 0.2);
        assert!((cosine("!", "?") - 1.0).abs() < 1e-6, "every text has a vector");
    }
}
