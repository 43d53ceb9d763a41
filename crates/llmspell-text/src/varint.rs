//! Numbers in as few bytes as they need: seven bits a byte, the lowest first, the eighth bit says that more follow.

/// Appends a number.
pub(crate) fn put(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads a number at `at` and moves behind it; none where the bytes end early or the number has more than 64 bits.
#[inline]
pub(crate) fn get(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let mut number = u64::from(first & 0x7f);
    for shift in (7..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            return None;
        }
        number |= low << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Reads a number of at most 32 bits.
#[inline]
pub(crate) fn get_u32(bytes: &[u8], at: &mut usize) -> Option<u32> {
    get(bytes, at)?.try_into().ok()
}

/// Moves behind `count` numbers; none where the bytes end early.
pub(crate) fn skip(bytes: &[u8], at: &mut usize, count: usize) -> Option<()> {
    let mut left = count;
    while left > 0 {
        left -= usize::from(*bytes.get(*at)? < 0x80);
        *at += 1;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_numbers_never_change() {
        let mut out = Vec::new();
        for number in [0, 127, 128, 300, u64::MAX] {
            put(&mut out, number);
        }
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(out, [&[0, 127, 0x80, 1, 0xac, 2][..], &largest].concat());
        let mut at = 0;
        skip(&out, &mut at, 3).unwrap();
        assert_eq!(get(&out, &mut at), Some(300));
        assert_eq!(get_u32(&out, &mut at), None, "it has more than 32 bits");
        for bad in [&[0xff; 10][..], &[0x80], &[]] {
            assert_eq!(get(bad, &mut 0), None);
            assert_eq!(skip(&bad[..bad.len().min(9)], &mut 0, 1), None);
        }
    }

    proptest! {
        #[test]
        fn numbers_read_back(numbers in prop::collection::vec(prop_oneof![any::<u64>(), 0..300u64], 0..20)) {
            let mut out = Vec::new();
            numbers.iter().for_each(|number| put(&mut out, *number));
            let mut at = 0;
            let read: Vec<u64> = std::iter::from_fn(|| get(&out, &mut at)).collect();
            prop_assert_eq!(read, numbers);
        }
    }
}
