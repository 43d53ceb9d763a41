//! A run of neighboring keys, each with its points.

use std::cmp::Ordering;
use std::mem::size_of;
use std::ops::{Bound, Range};
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::point_set::PointSet;

/// A page of more keys is cut in two.
pub(super) const PAGE_KEYS_MAX: usize = 128;
/// Keys of more points have a set of their own: beside fewer, its fixed cost outweighs what it saves.
const LIGHT_POINTS_MAX: usize = 64;

/// Sorted keys without repetition, packed: what all keys begin with is held once, and so are the small lists of points.
///
/// Each key has a point at least. Lengths fit 16 bits: 129 keys of up to 65 bytes and 64 points.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    prefix: Vec<u8>,
    /// What comes after the prefix, key after key.
    rests: Vec<u8>,
    rest_ends: Vec<u16>,
    /// Lists of the keys that have few points, key after key, each ascending.
    points: Vec<u32>,
    point_ends: Vec<u16>,
    /// Sets of the keys that have many, by the number of the key; their lists above are empty.
    heavy: Vec<(u16, Arc<PointSet>)>,
    heavy_bytes: usize,
}

/// The points of one key.
pub(super) enum Points<'a> {
    Few(&'a [u32]),
    Many(&'a PointSet),
}

impl Points<'_> {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Few(points) => points.len() as u64,
            Self::Many(points) => points.len(),
        }
    }

    pub(super) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::Few(points) => points.iter().copied().collect(),
            Self::Many(points) => points.to_bitmap(),
        }
    }

    /// How many of `within` they are.
    pub(super) fn intersection_len(&self, within: &RoaringBitmap) -> u64 {
        match self {
            Self::Few(points) => points.iter().filter(|point| within.contains(**point)).count() as u64,
            Self::Many(points) => points.intersection_len(within),
        }
    }
}

impl Page {
    /// How many keys.
    pub(super) fn len(&self) -> usize {
        self.rest_ends.len()
    }

    /// RAM of it, shared or not.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.prefix.capacity()
            + self.rests.capacity()
            + size_of::<u16>() * (self.rest_ends.capacity() + self.point_ends.capacity())
            + size_of::<u32>() * self.points.capacity()
            + size_of::<(u16, Arc<PointSet>)>() * self.heavy.capacity()
            + self.heavy_bytes
    }

    /// How the first key compares with `key`.
    pub(super) fn cmp_first(&self, key: &[u8]) -> Ordering {
        self.prefix.iter().chain(self.rest(0)).cmp(key)
    }

    pub(super) fn key(&self, number: usize) -> Vec<u8> {
        [self.prefix.as_slice(), self.rest(number)].concat()
    }

    fn rest(&self, number: usize) -> &[u8] {
        &self.rests[span(&self.rest_ends, number)]
    }

    /// The number of a key, or of the first one after it.
    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let Some(rest) = key.strip_prefix(self.prefix.as_slice()) else {
            // All keys begin with the prefix, so they all lie on one side.
            return Err(if key < self.prefix.as_slice() { 0 } else { self.len() });
        };
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.rest(middle).cmp(rest) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The numbers of the keys within the bounds.
    pub(super) fn within(&self, low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> Range<usize> {
        let start = match low {
            Bound::Unbounded => 0,
            Bound::Included(key) => self.find(key).unwrap_or_else(|next| next),
            Bound::Excluded(key) => self.find(key).map_or_else(|next| next, |number| number + 1),
        };
        let end = match high {
            Bound::Unbounded => self.len(),
            Bound::Included(key) => self.find(key).map_or_else(|next| next, |number| number + 1),
            Bound::Excluded(key) => self.find(key).unwrap_or_else(|next| next),
        };
        start..end.max(start)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Points<'_>> {
        self.find(key).ok().map(|number| self.points(number))
    }

    pub(super) fn points(&self, number: usize) -> Points<'_> {
        match self.heavy_place(number) {
            Ok(place) => Points::Many(&self.heavy[place].1),
            Err(_) => Points::Few(&self.points[span(&self.point_ends, number)]),
        }
    }

    /// The lists of the keys with these numbers, as one.
    pub(super) fn lists(&self, numbers: Range<usize>) -> &[u32] {
        let end = |number: usize| {
            number
                .checked_sub(1)
                .map_or(0, |last| usize::from(self.point_ends[last]))
        };
        &self.points[end(numbers.start)..end(numbers.end)]
    }

    /// The sets of the keys with these numbers.
    pub(super) fn sets(&self, numbers: &Range<usize>) -> impl Iterator<Item = &PointSet> {
        let place = |number: usize| self.heavy.partition_point(|(key, _)| usize::from(*key) < number);
        self.heavy[place(numbers.start)..place(numbers.end)]
            .iter()
            .map(|(_, set)| &**set)
    }

    fn heavy_place(&self, number: usize) -> Result<usize, usize> {
        self.heavy.binary_search_by_key(&number, |(key, _)| usize::from(*key))
    }

    pub(super) fn insert(&mut self, key: &[u8], point: u32) {
        let number = match self.find(key) {
            Ok(number) => number,
            Err(number) => self.insert_key(number, key),
        };
        if let Ok(place) = self.heavy_place(number) {
            self.change_set(place, |set| set.insert(point));
            return;
        }
        let list = span(&self.point_ends, number);
        let Err(offset) = self.points[list.clone()].binary_search(&point) else {
            return;
        };
        if list.len() == LIGHT_POINTS_MAX {
            let mut all: RoaringBitmap = self.points[list.clone()].iter().copied().collect();
            all.insert(point);
            self.replace_list(number, &[]);
            self.push_set(number, PointSet::from(&all));
            return;
        }
        reserve(&mut self.points, 1);
        self.points.insert(list.start + offset, point);
        shift(&mut self.point_ends[number..], 1);
    }

    /// Removes a point of a key, and the key with its last point.
    pub(super) fn remove(&mut self, key: &[u8], point: u32) {
        let Ok(number) = self.find(key) else {
            return;
        };
        if let Ok(place) = self.heavy_place(number) {
            self.change_set(place, |set| set.remove(point));
            let set = &self.heavy[place].1;
            if set.len() <= LIGHT_POINTS_MAX as u64 / 2 {
                let list: Vec<u32> = set.to_bitmap().iter().collect();
                self.heavy_bytes -= set.bytes();
                self.heavy.remove(place);
                self.replace_list(number, &list);
            }
            return;
        }
        let list = span(&self.point_ends, number);
        let Ok(offset) = self.points[list.clone()].binary_search(&point) else {
            return;
        };
        self.points.remove(list.start + offset);
        shift(&mut self.point_ends[number..], -1);
        if list.len() == 1 {
            self.remove_key(number);
        }
    }

    fn change_set(&mut self, place: usize, change: impl FnOnce(&mut PointSet) -> bool) {
        let set = &mut self.heavy[place].1;
        self.heavy_bytes -= set.bytes();
        change(Arc::make_mut(set));
        self.heavy_bytes += set.bytes();
    }

    fn push_set(&mut self, number: usize, set: PointSet) {
        let place = self.heavy_place(number).unwrap_or_else(|place| place);
        self.heavy_bytes += set.bytes();
        reserve(&mut self.heavy, 1);
        self.heavy.insert(place, (short(number), Arc::new(set)));
    }

    fn replace_list(&mut self, number: usize, list: &[u32]) {
        let span = span(&self.point_ends, number);
        let grown = list.len() as i32 - span.len() as i32;
        reserve(&mut self.points, list.len());
        self.points.splice(span, list.iter().copied());
        shift(&mut self.point_ends[number..], grown);
    }

    /// Adds a key without points, which the caller gives it at once.
    fn insert_key(&mut self, number: usize, key: &[u8]) -> usize {
        if self.len() == 0 {
            self.prefix = key.to_vec();
        }
        let common = common_len(&self.prefix, key);
        if common < self.prefix.len() {
            self.shorten_prefix(common);
        }
        let rest = &key[common..];
        let start = number
            .checked_sub(1)
            .map_or(0, |last| usize::from(self.rest_ends[last]));
        reserve(&mut self.rests, rest.len());
        self.rests.splice(start..start, rest.iter().copied());
        reserve(&mut self.rest_ends, 1);
        self.rest_ends.insert(number, short(start));
        shift(&mut self.rest_ends[number..], rest.len() as i32);
        let point_end = number.checked_sub(1).map_or(0, |last| self.point_ends[last]);
        reserve(&mut self.point_ends, 1);
        self.point_ends.insert(number, point_end);
        for (heavy, _) in &mut self.heavy {
            *heavy += u16::from(usize::from(*heavy) >= number);
        }
        number
    }

    fn remove_key(&mut self, number: usize) {
        let rest = span(&self.rest_ends, number);
        shift(&mut self.rest_ends[number..], -(rest.len() as i32));
        self.rests.drain(rest);
        self.rest_ends.remove(number);
        self.point_ends.remove(number);
        for (heavy, _) in &mut self.heavy {
            *heavy -= u16::from(usize::from(*heavy) > number);
        }
    }

    fn shorten_prefix(&mut self, len: usize) {
        let moved = self.prefix.split_off(len);
        let mut rests = Vec::with_capacity(self.rests.len() + self.len() * moved.len());
        for number in 0..self.len() {
            rests.extend_from_slice(&moved);
            rests.extend_from_slice(self.rest(number));
        }
        for (number, end) in self.rest_ends.iter_mut().enumerate() {
            *end += short((number + 1) * moved.len());
        }
        self.rests = rests;
        self.prefix.shrink_to_fit();
    }

    /// Keeps the first half; the other is returned.
    pub(super) fn split(&mut self) -> Self {
        let middle = self.len() / 2;
        let second = self.part(middle..self.len());
        *self = self.part(0..middle);
        second
    }

    /// The keys with these numbers, at least one, in the least space.
    pub(super) fn part(&self, numbers: Range<usize>) -> Self {
        let common = common_len(self.rest(numbers.start), self.rest(numbers.end - 1));
        let mut part = Self {
            prefix: [self.prefix.as_slice(), &self.rest(numbers.start)[..common]].concat(),
            points: self.lists(numbers.clone()).to_vec(),
            rest_ends: Vec::with_capacity(numbers.len()),
            point_ends: Vec::with_capacity(numbers.len()),
            ..Self::default()
        };
        let mut point_end = 0;
        for number in numbers.clone() {
            part.rests.extend_from_slice(&self.rest(number)[common..]);
            part.rest_ends.push(short(part.rests.len()));
            point_end += span(&self.point_ends, number).len();
            part.point_ends.push(short(point_end));
            if let Ok(place) = self.heavy_place(number) {
                let set = &self.heavy[place].1;
                part.heavy_bytes += set.bytes();
                part.heavy.push((short(number - numbers.start), Arc::clone(set)));
            }
        }
        part.rests.shrink_to_fit();
        part.heavy.shrink_to_fit();
        part
    }
}

fn span(ends: &[u16], number: usize) -> Range<usize> {
    let start = number.checked_sub(1).map_or(0, |last| ends[last]);
    usize::from(start)..usize::from(ends[number])
}

fn shift(ends: &mut [u16], by: i32) {
    for end in ends {
        *end = short((i32::from(*end) + by) as usize);
    }
}

fn short(len: usize) -> u16 {
    u16::try_from(len).expect("a page holds at most 129 short keys and lists")
}

/// Room for `more`, and an eighth ahead instead of as much again.
fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more + vec.len() / 8);
    }
}

fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
