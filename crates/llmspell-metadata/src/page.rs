//! A page: a run of neighboring keys, each with its points.
//!
//! ```text
//! per key: how many bytes it shares with the key before (4 bits), how many others it has (4 bits); bytes of its list (1);
//!          a byte more for each of the first two that is 15 or greater; its other bytes; its list: see `packed.rs`
//! ```
//!
//! A key is found by scanning the page from its start. Two neighboring bytes tell where the next key begins.

use std::cmp::Ordering;
use std::mem::size_of;
use std::ops::{Bound, Range};
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::draft::Kept;
use super::packed;
use super::point_set::PointSet;
use super::union::Union;

/// A page with more keys is cut in two.
pub(super) const PAGE_KEYS_MAX: usize = 128;
/// A page with more bytes is cut in two.
pub(super) const PAGE_BYTES_MAX: usize = 2_048;
/// A key whose list takes more bytes has a set of its own: its fixed cost pays only for long lists.
pub(super) const LIST_BYTES_MAX: usize = 255;
/// A set with fewer points becomes a list again.
pub(super) const SET_POINTS_MIN: u64 = 32;
/// Lengths from here on are written in a byte of their own.
const LONG: usize = 15;

/// Sorted keys without repetition, each with at least one point.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    len: u16,
    /// Sets of the keys with many points, by the number of the key; the lists of these keys are empty.
    heavy: Vec<(u16, Arc<PointSet>)>,
    heavy_bytes: usize,
}

/// The points of one key.
#[derive(Debug)]
pub(super) enum Points<'a> {
    /// A packed list.
    Few(&'a [u8]),
    Many(&'a PointSet),
}

impl Points<'_> {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Few(list) => packed::count(list) as u64,
            Self::Many(points) => points.len(),
        }
    }

    pub(super) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::Few(list) => packed::points(list).collect(),
            Self::Many(points) => points.to_bitmap(),
        }
    }

    /// Adds all points to a union.
    pub(super) fn add_to(&self, union: &mut Union) {
        match self {
            Self::Few(list) => union.add_list(list, 0..list.len()),
            Self::Many(points) => points.add_to(union),
        }
    }

    /// Number of points that are in `within`.
    pub(super) fn intersection_len(&self, within: &RoaringBitmap) -> u64 {
        match self {
            Self::Few(list) => packed::points(list).filter(|point| within.contains(*point)).count() as u64,
            Self::Many(points) => points.intersection_len(within),
        }
    }

    /// The points, ascending.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Few(list) => Box::new(packed::points(list)),
            Self::Many(points) => Box::new(points.iter()),
        }
    }
}

/// One key in its written form.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    start: usize,
    shared: usize,
    rest: &'a [u8],
    list: &'a [u8],
    list_start: usize,
}

impl Entry<'_> {
    fn end(&self) -> usize {
        self.list_start + self.list.len()
    }
}

/// The position of a key, or where it would be inserted.
#[derive(Debug, Clone, Copy)]
struct Place {
    number: usize,
    start: usize,
    /// Number of bytes that the key shares with the one before it.
    shared: usize,
    /// Number of bytes that the key shares with the one at this position.
    shared_by_next: usize,
    is_there: bool,
}

/// Neighboring keys of a page.
#[derive(Debug, Clone, Default)]
pub(super) struct Span {
    numbers: Range<usize>,
    start: usize,
}

impl Span {
    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

impl Page {
    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether it must be cut in two.
    pub(super) fn is_too_large(&self) -> bool {
        self.len() > PAGE_KEYS_MAX || self.bytes.len() > PAGE_BYTES_MAX && self.len() > 1
    }

    /// Whether there is little room for more.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= PAGE_KEYS_MAX * 3 / 4 || self.bytes.len() >= PAGE_BYTES_MAX * 3 / 4
    }

    /// Bytes of RAM, shared or not.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.bytes.capacity()
            + size_of::<(u16, Arc<PointSet>)>() * self.heavy.capacity()
            + self.heavy_bytes
    }

    #[inline]
    fn entry(&self, start: usize) -> Entry<'_> {
        let bytes = self.bytes.as_slice();
        let (header, list_len) = (bytes[start], usize::from(bytes[start + 1]));
        let mut next = start + 2;
        let mut long = |short: u8| {
            if usize::from(short) < LONG {
                return usize::from(short);
            }
            next += 1;
            usize::from(bytes[next - 1])
        };
        let shared = long(header >> 4);
        let rest_len = long(header & 15);
        let list_start = next + rest_len;
        Entry {
            start,
            shared,
            rest: &bytes[next..list_start],
            list: &bytes[list_start..list_start + list_len],
            list_start,
        }
    }

    fn entries(&self, start: usize) -> impl Iterator<Item = Entry<'_>> {
        let mut next = start;
        std::iter::from_fn(move || {
            let entry = (next < self.bytes.len()).then(|| self.entry(next))?;
            next = entry.end();
            Some(entry)
        })
    }

    /// The first key.
    pub(super) fn first_key(&self) -> &[u8] {
        self.entry(0).rest
    }

    /// How the first key compares with `key`.
    pub(super) fn cmp_first(&self, key: &[u8]) -> Ordering {
        self.entry(0).rest.cmp(key)
    }

    fn find(&self, key: &[u8]) -> Place {
        let mut place = Place {
            number: 0,
            start: 0,
            shared: 0,
            shared_by_next: 0,
            is_there: false,
        };
        for entry in self.entries(0) {
            match entry.shared.cmp(&place.shared) {
                // It shares more with the key before it than the wanted key does, so it is less, too.
                Ordering::Greater => {}
                // It differs from the key before it where that equals the wanted key, so it is greater.
                Ordering::Less => {
                    place.shared_by_next = entry.shared;
                    return place;
                }
                Ordering::Equal => {
                    let common = place.shared + common_len(entry.rest, &key[place.shared..]);
                    let rest = &entry.rest[common - place.shared..];
                    match rest.first().cmp(&key.get(common)) {
                        Ordering::Less => place.shared = common,
                        order => {
                            place.shared_by_next = common;
                            place.is_there = order == Ordering::Equal;
                            return place;
                        }
                    }
                }
            }
            place.number += 1;
            place.start = entry.end();
        }
        place
    }

    /// The keys within the bounds.
    pub(super) fn within(&self, low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> Span {
        let after = |key: &[u8], is_after_equal: bool| {
            let place = self.find(key);
            match place.is_there && is_after_equal {
                true => (place.number + 1, self.entry(place.start).end()),
                false => (place.number, place.start),
            }
        };
        let (first, start) = match low {
            Bound::Unbounded => (0, 0),
            Bound::Included(key) => after(key, false),
            Bound::Excluded(key) => after(key, true),
        };
        let (end, _) = match high {
            Bound::Unbounded => (self.len(), 0),
            Bound::Included(key) => after(key, true),
            Bound::Excluded(key) => after(key, false),
        };
        Span {
            numbers: first..end.max(first),
            start,
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Points<'_>> {
        let place = self.find(key);
        place
            .is_there
            .then(|| self.points_of(place.number, self.entry(place.start).list))
    }

    fn points_of<'a>(&'a self, number: usize, list: &'a [u8]) -> Points<'a> {
        if !list.is_empty() {
            return Points::Few(list);
        }
        let place = self.heavy_place(number).expect("a key without a list has a set");
        Points::Many(&self.heavy[place].1)
    }

    /// The points of neighboring keys.
    pub(super) fn points(&self, span: Span) -> impl Iterator<Item = Points<'_>> {
        let entries = self.entries(span.start);
        span.numbers
            .zip(entries)
            .map(|(number, entry)| self.points_of(number, entry.list))
    }

    /// Adds the points of neighboring keys to a union.
    pub(super) fn add_to(&self, span: Span, union: &mut Union) {
        let mut next = span.start;
        for number in span.numbers {
            // As `entry`, without the key.
            let (header, list_len) = (self.bytes[next], usize::from(self.bytes[next + 1]));
            next += 2 + usize::from(usize::from(header >> 4) >= LONG);
            let mut rest_len = usize::from(header & 15);
            if rest_len >= LONG {
                rest_len = usize::from(self.bytes[next]);
                next += 1;
            }
            next += rest_len;
            if list_len == 0 {
                self.points_of(number, &[]).add_to(union);
            } else {
                union.add_list(&self.bytes, next..next + list_len);
            }
            next += list_len;
        }
    }

    /// Neighboring keys, and their points.
    pub(super) fn keys<'a>(&'a self, span: &Span) -> impl Iterator<Item = (Vec<u8>, Points<'a>)> + use<'a> {
        let mut key = Vec::new();
        let all = self.entries(0).enumerate().map(move |(number, entry)| {
            key.truncate(entry.shared);
            key.extend_from_slice(entry.rest);
            (number, key.clone(), entry.list)
        });
        all.skip(span.numbers.start)
            .take(span.numbers.len())
            .map(|(number, key, list)| (key, self.points_of(number, list)))
    }

    /// Visits all keys in order, with their points.
    pub(super) fn visit(&self, visit: &mut dyn FnMut(&[u8], Kept<'_>)) {
        let mut key = Vec::new();
        let mut sets = self.heavy.iter();
        for entry in self.entries(0) {
            key.truncate(entry.shared);
            key.extend_from_slice(entry.rest);
            let points = match entry.list {
                [] => Kept::Set(&sets.next().expect("a key without a list has a set").1),
                list => Kept::List(list),
            };
            visit(&key, points);
        }
    }

    /// Whether any key has one of these points.
    pub(super) fn has_any(&self, points: &RoaringBitmap) -> bool {
        let in_lists = |entry: Entry<'_>| packed::points(entry.list).any(|point| points.contains(point));
        let in_set = |(_, set): &(u16, Arc<PointSet>)| set.intersection_len(points) > 0;
        self.entries(0).any(in_lists) || self.heavy.iter().any(in_set)
    }

    fn heavy_place(&self, number: usize) -> Result<usize, usize> {
        self.heavy.binary_search_by_key(&number, |(key, _)| usize::from(*key))
    }

    pub(super) fn insert(&mut self, key: &[u8], point: u32) {
        let place = self.find(key);
        if !place.is_there {
            self.insert_key(&place, key, point);
            return;
        }
        let entry = self.entry(place.start);
        if entry.list.is_empty() {
            let set = self.heavy_place(place.number).expect("a key without a list has a set");
            self.change_set(set, |set| set.insert(point));
            return;
        }
        let Some(edit) = packed::insert(entry.list, point) else {
            return;
        };
        let (list_start, grown) = (
            entry.list_start,
            entry.list.len() + edit.bytes().len() - edit.place.len(),
        );
        if grown <= LIST_BYTES_MAX {
            self.set_list_len(place.start, grown);
            let at = list_start + edit.place.start..list_start + edit.place.end;
            self.splice(at, edit.bytes());
            return;
        }
        let mut set = PointSet::of_sorted(packed::points(entry.list));
        set.insert(point);
        let whole = list_start..entry.end();
        self.set_list_len(place.start, 0);
        self.splice(whole, &[]);
        self.push_set(place.number, Arc::new(set));
    }

    /// Removes a point of a key, and the key with its last point.
    pub(super) fn remove(&mut self, key: &[u8], point: u32) {
        let place = self.find(key);
        if !place.is_there {
            return;
        }
        let entry = self.entry(place.start);
        if entry.list.is_empty() {
            let list_start = entry.list_start;
            let set_place = self.heavy_place(place.number).expect("a key without a list has a set");
            self.change_set(set_place, |set| set.remove(point));
            if self.heavy[set_place].1.len() <= SET_POINTS_MIN {
                let (_, set) = self.heavy.remove(set_place);
                self.heavy_bytes -= set.bytes() + 2 * size_of::<usize>();
                let list = packed::pack(set.iter());
                self.set_list_len(place.start, list.len());
                self.splice(list_start..list_start, &list);
            }
            return;
        }
        let Some(edit) = packed::remove(entry.list, point) else {
            return;
        };
        let (list_start, left) = (
            entry.list_start,
            entry.list.len() + edit.bytes().len() - edit.place.len(),
        );
        if left == 0 {
            self.remove_key(&place);
            return;
        }
        self.set_list_len(place.start, left);
        let at = list_start + edit.place.start..list_start + edit.place.end;
        self.splice(at, edit.bytes());
    }

    /// Adds a key after all others, with points that ascend.
    pub(super) fn push(&mut self, last_key: &[u8], key: &[u8], list: &[u8]) {
        if list.len() > LIST_BYTES_MAX {
            let set = PointSet::of_sorted(packed::points(list));
            self.push_key_of_set(last_key, key, Arc::new(set));
            return;
        }
        let shared = if self.len == 0 { 0 } else { common_len(last_key, key) };
        push_entry(&mut self.bytes, shared, &key[shared..], list);
        self.len += 1;
    }

    /// Adds a key after all others, with a set of points.
    pub(super) fn push_key_of_set(&mut self, last_key: &[u8], key: &[u8], set: Arc<PointSet>) {
        let shared = if self.len == 0 { 0 } else { common_len(last_key, key) };
        push_entry(&mut self.bytes, shared, &key[shared..], &[]);
        let number = self.len();
        self.len += 1;
        self.push_set(number, set);
    }

    /// Bytes of its keys and lists.
    pub(super) fn written(&self) -> usize {
        self.bytes.len()
    }

    /// Gives back room that is not used.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.heavy.shrink_to_fit();
    }

    fn set_list_len(&mut self, start: usize, len: usize) {
        self.bytes[start + 1] = u8::try_from(len).expect("a list of more bytes is a set");
    }

    /// Puts `new` in the place of some bytes. Room is made for an eighth ahead instead of as much again.
    fn splice(&mut self, place: Range<usize>, new: &[u8]) {
        let more = new.len().saturating_sub(place.len());
        if self.bytes.capacity() - self.bytes.len() < more {
            self.bytes.reserve_exact(more + self.bytes.len() / 8);
        }
        self.bytes.splice(place, new.iter().copied());
    }

    fn change_set(&mut self, place: usize, change: impl FnOnce(&mut PointSet) -> bool) {
        let set = &mut self.heavy[place].1;
        // Before it is copied: a copy has no room to spare.
        self.heavy_bytes -= set.bytes();
        change(Arc::make_mut(set));
        self.heavy_bytes += set.bytes();
    }

    fn push_set(&mut self, number: usize, set: Arc<PointSet>) {
        let place = self.heavy_place(number).unwrap_or_else(|place| place);
        self.heavy_bytes += set.bytes() + 2 * size_of::<usize>();
        self.heavy.reserve_exact(1);
        let number = u16::try_from(number).expect("a page has few keys");
        self.heavy.insert(place, (number, set));
    }

    fn insert_key(&mut self, place: &Place, key: &[u8], point: u32) {
        let mut bytes = Vec::with_capacity(key.len() + 24);
        let list = packed::pack([point]);
        push_entry(&mut bytes, place.shared, &key[place.shared..], &list);
        let mut end = place.start;
        if place.start < self.bytes.len() {
            let next = self.entry(place.start);
            let more = place.shared_by_next - next.shared;
            push_header(
                &mut bytes,
                place.shared_by_next,
                next.rest.len() - more,
                next.list.len(),
            );
            bytes.extend_from_slice(&next.rest[more..]);
            end = next.list_start;
        }
        self.splice(place.start..end, &bytes);
        self.len += 1;
        for (heavy, _) in &mut self.heavy {
            *heavy += u16::from(usize::from(*heavy) >= place.number);
        }
    }

    fn remove_key(&mut self, place: &Place) {
        let gone = self.entry(place.start);
        let mut bytes = Vec::new();
        let mut end = gone.end();
        if end < self.bytes.len() {
            let next = self.entry(end);
            if next.shared > gone.shared {
                let kept = &gone.rest[..next.shared - gone.shared];
                push_header(&mut bytes, gone.shared, kept.len() + next.rest.len(), next.list.len());
                bytes.extend_from_slice(kept);
                bytes.extend_from_slice(next.rest);
                end = next.list_start;
            }
        }
        self.splice(place.start..end, &bytes);
        self.len -= 1;
        for (heavy, _) in &mut self.heavy {
            *heavy -= u16::from(usize::from(*heavy) > place.number);
        }
    }

    /// Keeps the first half; the other is returned. It has two keys at least.
    pub(super) fn split(&mut self) -> Self {
        let half = self.bytes.len() / 2;
        let before = self.entries(0).take_while(|entry| entry.end() <= half).count();
        let middle = before.clamp(1, self.len() - 1);
        let second = self.part(middle..self.len());
        *self = self.part(0..middle);
        second
    }

    /// The keys with these numbers, at least one, in the least space.
    pub(super) fn part(&self, numbers: Range<usize>) -> Self {
        let mut part = Self::default();
        let mut key = Vec::new();
        for (number, entry) in self.entries(0).enumerate().take(numbers.end) {
            key.truncate(entry.shared);
            key.extend_from_slice(entry.rest);
            if number == numbers.start {
                push_entry(&mut part.bytes, 0, &key, entry.list);
            } else if number > numbers.start {
                part.bytes.extend_from_slice(&self.bytes[entry.start..entry.end()]);
            }
            if number >= numbers.start
                && let Ok(place) = self.heavy_place(number)
            {
                let set = &self.heavy[place].1;
                part.heavy_bytes += set.bytes() + 2 * size_of::<usize>();
                let number = u16::try_from(number - numbers.start).expect("a page has few keys");
                part.heavy.push((number, Arc::clone(set)));
            }
        }
        part.len = u16::try_from(numbers.len()).expect("a page has few keys");
        part.shrink();
        part
    }

    /// The keys before some, and those after them; none where there are none.
    pub(super) fn without(&self, gone: &Span) -> [Option<Self>; 2] {
        [0..gone.numbers.start, gone.numbers.end..self.len()]
            .map(|numbers| (!numbers.is_empty()).then(|| self.part(numbers)))
    }
}

/// Bytes of an entry by what its key shares, how many others it has, and its list.
pub(super) fn entry_bytes(shared: usize, rest_len: usize, list_len: usize) -> usize {
    let long = |len: usize| usize::from(len >= LONG);
    2 + long(shared) + long(rest_len) + rest_len + list_len
}

fn push_header(bytes: &mut Vec<u8>, shared: usize, rest_len: usize, list_len: usize) {
    let short = |len: usize| u8::try_from(len).expect("keys and lists are short");
    bytes.push(short(shared.min(LONG)) << 4 | short(rest_len.min(LONG)));
    bytes.push(short(list_len));
    for len in [shared, rest_len] {
        if len >= LONG {
            bytes.push(short(len));
        }
    }
}

fn push_entry(bytes: &mut Vec<u8>, shared: usize, rest: &[u8], list: &[u8]) {
    push_header(bytes, shared, rest.len(), list.len());
    bytes.extend_from_slice(rest);
    bytes.extend_from_slice(list);
}

pub(super) fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
