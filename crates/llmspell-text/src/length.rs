//! Lengths of texts in one byte, as they count in scores.
//!
//! Lengths up to 32 words are exact; above, the step is a sixteenth to a thirty-second of the length. What is longer
//! than 507,904 words counts as that.

/// Lengths below it have a code each.
const EXACT: u32 = 32;

/// The code of a length. Longer texts have no smaller code; only 0 has the code 0.
pub(crate) fn encode(length: u32) -> u8 {
    if length < EXACT {
        return length as u8;
    }
    // The four bits below the highest, of the lengths from 2^n to 2^(n+1).
    let octave = length.ilog2() - EXACT.ilog2();
    let step = (length >> (octave + 1)) & 15;
    u8::try_from(EXACT + 16 * octave + step).unwrap_or(u8::MAX)
}

/// The length that a code stands for: the smallest that has it.
pub(crate) fn decode(code: u8) -> u32 {
    let code = u32::from(code);
    if code < EXACT {
        return code;
    }
    let (octave, step) = ((code - EXACT) / 16, (code - EXACT) % 16);
    (16 + step) << (octave + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_stand_for_their_smallest_length() {
        for code in 0..=u8::MAX {
            assert_eq!(encode(decode(code)), code);
            if let Some(next) = code.checked_add(1) {
                assert_eq!(encode(decode(next) - 1), code);
            }
        }
        assert_eq!((decode(32), decode(33), decode(255)), (32, 34, 507_904));
        assert_eq!(encode(u32::MAX), 255);
        for length in [40, 50, 100, 1_000, 99_999] {
            let rounded = decode(encode(length));
            assert!(
                rounded <= length && length - rounded <= length / 16,
                "{length}: {rounded}"
            );
        }
    }
}
