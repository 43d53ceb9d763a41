//! Blocks of 128 numbers of the same count of bits.
//!
//! Number `i` lies in lane `i % 4`; each lane is a string of `32 * bits` bits, the lowest first, cut into words of 32 bits,
//! and word `w` of lane `l` is word `4 * w + l` of the block, little-endian. So four numbers are unpacked at a time on any
//! processor with registers of 128 bits ("Decoding billions of integers per second through vectorization", Lemire and
//! Boytsov, 2015).

/// Numbers in a block.
pub(crate) const BLOCK: usize = 128;

/// Bytes of a block of numbers of `bits` bits.
pub(crate) fn packed_bytes(bits: u8) -> usize {
    usize::from(bits) * BLOCK / 8
}

/// How many bits the largest of the numbers has.
pub(crate) fn bits_of(numbers: &[u32; BLOCK]) -> u8 {
    let all = numbers.iter().fold(0, |all, number| all | number);
    (u32::BITS - all.leading_zeros()) as u8
}

/// Appends the lowest `bits` bits of each number.
pub(crate) fn pack(numbers: &[u32; BLOCK], bits: u8, out: &mut Vec<u8>) {
    let bits = usize::from(bits);
    let mut words = [0_u32; BLOCK];
    for (place, number) in numbers.iter().enumerate() {
        let (lane, bit) = (place % 4, place / 4 * bits);
        let (word, shift) = (bit / 32, bit % 32);
        if bits == 0 {
            break;
        }
        words[4 * word + lane] |= number << shift;
        if shift + bits > 32 {
            words[4 * (word + 1) + lane] |= number >> (32 - shift);
        }
    }
    out.extend(words[..4 * bits].iter().flat_map(|word| word.to_le_bytes()));
}

/// Reads a block of numbers of at most 32 bits; of bytes that end early zeros.
pub(crate) fn unpack(bytes: &[u8], bits: u8, out: &mut [u32; BLOCK]) {
    macro_rules! by_bits {
        ($($bits:literal)*) => {
            match bits {
                $($bits => unpack_bits::<$bits>(bytes, out),)*
                _ => out.fill(0),
            }
        };
    }
    by_bits!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

/// The count of bits is known to the compiler, which unrolls the rows and takes the lanes at once.
fn unpack_bits<const BITS: usize>(bytes: &[u8], out: &mut [u32; BLOCK]) {
    let Some(bytes) = bytes.get(..BITS * BLOCK / 8) else {
        out.fill(0);
        return;
    };
    let words = bytes.as_chunks::<16>().0;
    let load = |word: usize, lane: usize| {
        let bytes = &words[word];
        u32::from_le_bytes([
            bytes[4 * lane],
            bytes[4 * lane + 1],
            bytes[4 * lane + 2],
            bytes[4 * lane + 3],
        ])
    };
    let mask = u32::MAX >> (32 - BITS);
    for (row, numbers) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let (word, shift) = (row * BITS / 32, row * BITS % 32);
        for (lane, number) in numbers.iter_mut().enumerate() {
            let mut bits = load(word, lane) >> shift;
            if shift + BITS > 32 {
                bits |= load(word + 1, lane) << (32 - shift);
            }
            *number = bits & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use llmspell_testkit::Random;

    use super::*;

    #[test]
    fn numbers_of_each_count_of_bits_read_back() {
        let mut random = Random::new(&[18]);
        for bits in 0..=32 {
            let numbers = std::array::from_fn(|_| random.u32().checked_shr(32 - u32::from(bits)).unwrap_or(0));
            let mut bytes = Vec::new();
            pack(&numbers, bits, &mut bytes);
            assert_eq!(bytes.len(), packed_bytes(bits));
            assert!(bits_of(&numbers) <= bits);
            let mut read = [1; BLOCK];
            unpack(&bytes, bits, &mut read);
            assert_eq!(read, numbers, "{bits} bits");
            unpack(&bytes[..bytes.len().saturating_sub(1)], bits, &mut read);
            assert_eq!(read, [0; BLOCK]);
        }
    }

    #[test]
    fn the_bytes_of_a_block_never_change() {
        let mut bytes = Vec::new();
        pack(&std::array::from_fn(|place| place as u32 % 8), 3, &mut bytes);
        let rows = [0o4040404040_u32, 0o5151515151, 0o6262626262, 0o7373737373];
        let first: Vec<u8> = rows.iter().flat_map(|lane| (lane | lane << 30).to_le_bytes()).collect();
        assert_eq!(bytes.len(), 48);
        assert_eq!(bytes[..16], first);
    }
}
