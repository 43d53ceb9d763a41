//! Packed lists of points: ascending numbers, stored as differences of variable length.
//!
//! ```text
//! first point, then the difference of each to the one before: 7 bits a byte, lowest first; the top bit: more bytes follow
//! ```

use std::ops::Range;

/// Bytes of the longest number.
pub(super) const NUMBER_BYTES_MAX: usize = 5;

/// A change of a packed list: a range of its bytes is replaced.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) place: Range<usize>,
    bytes: [u8; 2 * NUMBER_BYTES_MAX],
    len: usize,
}

impl Edit {
    fn new(place: Range<usize>) -> Self {
        Self {
            place,
            bytes: [0; 2 * NUMBER_BYTES_MAX],
            len: 0,
        }
    }

    fn with(mut self, mut number: u32) -> Self {
        while number >= 0x80 {
            self.bytes[self.len] = (number as u8) | 0x80;
            self.len += 1;
            number >>= 7;
        }
        self.bytes[self.len] = number as u8;
        self.len += 1;
        self
    }

    /// The new bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Appends a number.
pub(super) fn push(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push((number as u8) | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The number that begins at `start`, and where it ends; none if the bytes are no number of 32 bits.
#[inline]
pub(super) fn number(bytes: &[u8], start: usize) -> Option<(u32, usize)> {
    let first = *bytes.get(start)?;
    if first < 0x80 {
        return Some((u32::from(first), start + 1));
    }
    let mut number = u64::from(first & 0x7f);
    for place in 1..NUMBER_BYTES_MAX {
        let byte = *bytes.get(start + place)?;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some((u32::try_from(number).ok()?, start + place + 1));
        }
    }
    None
}

/// Number of points in a list.
pub(super) fn count(list: &[u8]) -> usize {
    list.iter().filter(|byte| **byte < 0x80).count()
}

/// The top bits of eight bytes.
const TOP_BITS: u64 = 0x8080_8080_8080_8080;

/// Visits the points of a list, ascending; the list is a part of `bytes`. Faster than [`points`]: it reads eight bytes
/// at a time, also beyond the end of the list.
#[inline]
pub(super) fn visit(bytes: &[u8], list: Range<usize>, mut visit: impl FnMut(u32)) {
    let (mut start, mut last) = (list.start, 0_u32);
    while start < list.end {
        let Some(eight) = bytes.get(start..).and_then(|rest| rest.first_chunk::<8>()) else {
            let Some((gap, end)) = number(&bytes[..list.end], start) else {
                return;
            };
            last = last.wrapping_add(gap);
            start = end;
            visit(last);
            continue;
        };
        let word = u64::from_le_bytes(*eight);
        if word & TOP_BITS == 0 && start + 8 <= list.end {
            for gap in eight {
                last = last.wrapping_add(u32::from(*gap));
                visit(last);
            }
            start += 8;
            continue;
        }
        // The length of a number is random, so a branch on it would often be mispredicted. A number has at most five
        // bytes.
        let bits = (!word & TOP_BITS | 1 << 39).trailing_zeros() + 1;
        let word = word & (u64::MAX >> (64 - bits));
        let low = word & 0x7f | word >> 1 & 0x3f80 | word >> 2 & 0x1f_c000;
        let gap = low | word >> 3 & 0xfe0_0000 | word >> 4 & 0xf000_0000;
        last = last.wrapping_add(gap as u32);
        start += bits as usize / 8;
        visit(last);
    }
}

/// The points of a list, ascending.
pub(super) fn points(list: &[u8]) -> PackedPoints<'_> {
    PackedPoints { list, next: 0, last: 0 }
}

/// Iterates over a list.
#[derive(Debug, Clone)]
pub(super) struct PackedPoints<'a> {
    list: &'a [u8],
    next: usize,
    last: u32,
}

impl Iterator for PackedPoints<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let (gap, end) = number(self.list, self.next)?;
        self.next = end;
        self.last = self.last.wrapping_add(gap);
        Some(self.last)
    }
}

/// Packs points in ascending order.
pub(super) fn pack(points: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let (mut bytes, mut last) = (Vec::new(), 0);
    for point in points {
        push(&mut bytes, point - last);
        last = point;
    }
    bytes
}

/// Adds a point; none if it is already there.
pub(super) fn insert(list: &[u8], point: u32) -> Option<Edit> {
    let (mut start, mut last) = (0, 0);
    while let Some((gap, end)) = number(list, start) {
        let next = last + gap;
        if next == point {
            return None;
        }
        if next > point {
            return Some(Edit::new(start..end).with(point - last).with(next - point));
        }
        (start, last) = (end, next);
    }
    Some(Edit::new(start..start).with(point - last))
}

/// Removes a point; none if it is not there.
pub(super) fn remove(list: &[u8], point: u32) -> Option<Edit> {
    let (mut start, mut last) = (0, 0);
    while let Some((gap, end)) = number(list, start) {
        let next = last + gap;
        if next == point {
            return Some(match number(list, end) {
                Some((after, after_end)) => Edit::new(start..after_end).with(gap + after),
                None => Edit::new(start..end),
            });
        }
        if next > point {
            return None;
        }
        (start, last) = (end, next);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn point() -> impl Strategy<Value = u32> {
        prop_oneof![0..40_u32, 100..40_000_u32, u32::MAX - 3..=u32::MAX, any::<u32>()]
    }

    proptest! {
        #[test]
        fn a_packed_list_is_a_set(steps in prop::collection::vec((any::<bool>(), point()), 0..60)) {
            let (mut list, mut model) = (Vec::new(), BTreeSet::new());
            for (is_added, point) in steps {
                let edit = if is_added { insert(&list, point) } else { remove(&list, point) };
                let is_changed = if is_added { model.insert(point) } else { model.remove(&point) };
                prop_assert_eq!(edit.is_some(), is_changed);
                if let Some(edit) = edit {
                    list.splice(edit.place.clone(), edit.bytes().iter().copied());
                }
                prop_assert_eq!(count(&list), model.len());
                prop_assert!(points(&list).eq(model.iter().copied()));
            }
            prop_assert_eq!(&pack(model.iter().copied()), &list, "one list has one form");
            let around = [&[0x80, 0x01][..], &list, &[0xff; 3]].concat();
            let mut visited = Vec::new();
            visit(&around, 2..2 + list.len(), |point| visited.push(point));
            prop_assert!(model.iter().eq(&visited), "{:?} {:?}", model, visited);
        }

        #[test]
        fn bytes_that_are_no_list_end_it(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            prop_assert!(points(&bytes).count() <= bytes.len());
            let mut visited = 0;
            visit(&bytes, 0..bytes.len(), |_| visited += 1);
            prop_assert!(visited <= bytes.len());
        }
    }
}
