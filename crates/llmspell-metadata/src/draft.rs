//! Drafts: keys and their points on their way into new pages.

use std::ops::Range;
use std::sync::Arc;

use super::packed;
use super::page::{LIST_BYTES_MAX, PAGE_BYTES_MAX, PAGE_KEYS_MAX, Page, SET_POINTS_MIN, common_len, entry_bytes};
use super::point_set::PointSet;
use roaring::RoaringBitmap;

/// If more than one page is filled, each is filled to this share, so that a quarter more has room.
const FILLED: (usize, usize) = (4, 5);

/// Keys in order, each with its points, before they are divided into pages.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Keys and lists.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Bytes that the entries take in one page.
    size: usize,
}

#[derive(Debug)]
struct Entry {
    key: Range<usize>,
    /// Number of bytes that the key shares with the one before it.
    shared: usize,
    points: Points,
}

#[derive(Debug)]
enum Points {
    List(Range<usize>),
    Set(Arc<PointSet>),
}

/// The points of a key as a page holds them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept<'a> {
    List(&'a [u8]),
    Set(&'a Arc<PointSet>),
}

impl Draft {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it would leave most of a page empty.
    pub(super) fn is_small(&self) -> bool {
        self.size < PAGE_BYTES_MAX / 4 && self.entries.len() < PAGE_KEYS_MAX / 4
    }

    /// Adds a key with its current points.
    pub(super) fn push(&mut self, key: &[u8], points: Kept<'_>) {
        match points {
            Kept::List(list) => self.push_list(key, |bytes| bytes.extend_from_slice(list)),
            Kept::Set(set) => self.push_entry(key, Points::Set(Arc::clone(set))),
        }
    }

    /// Adds a key with ascending points, at least one.
    pub(super) fn push_points(&mut self, key: &[u8], points: &[u32]) {
        self.push_list(key, |bytes| pack_onto(bytes, 0, points));
    }

    /// Adds a key with its current points and additional ascending ones.
    pub(super) fn push_joined(&mut self, key: &[u8], before: Kept<'_>, points: &[u32]) {
        match before {
            Kept::List(list) => {
                let last = packed::points(list).last().unwrap_or_default();
                if points.first().is_some_and(|first| *first > last) {
                    self.push_list(key, |bytes| {
                        bytes.extend_from_slice(list);
                        pack_onto(bytes, last, points);
                    });
                    return;
                }
                let mut all: Vec<u32> = packed::points(list).chain(points.iter().copied()).collect();
                all.sort_unstable();
                all.dedup();
                self.push_points(key, &all);
            }
            Kept::Set(set) => {
                let mut set = Arc::clone(set);
                let joined = Arc::make_mut(&mut set);
                for point in points {
                    joined.insert(*point);
                }
                self.push_entry(key, Points::Set(set));
            }
        }
    }

    /// Adds a key without some of its points, if others remain.
    pub(super) fn push_without(&mut self, key: &[u8], before: Kept<'_>, gone: &RoaringBitmap) {
        match before {
            Kept::List(list) => {
                let left: Vec<u32> = packed::points(list).filter(|point| !gone.contains(*point)).collect();
                if !left.is_empty() {
                    self.push_points(key, &left);
                }
            }
            Kept::Set(set) => {
                let left = set.to_bitmap() - gone;
                match left.len() {
                    len if len == set.len() => self.push(key, before),
                    0 => {}
                    1..=SET_POINTS_MIN => self.push_points(key, &left.iter().collect::<Vec<_>>()),
                    _ => self.push_entry(key, Points::Set(Arc::new(PointSet::from(&left)))),
                }
            }
        }
    }

    fn push_list(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let list = start..self.bytes.len();
        if list.len() <= LIST_BYTES_MAX {
            self.push_entry(key, Points::List(list));
            return;
        }
        let set = PointSet::of_sorted(packed::points(&self.bytes[list]));
        self.bytes.truncate(start);
        self.push_entry(key, Points::Set(Arc::new(set)));
    }

    fn push_entry(&mut self, key: &[u8], points: Points) {
        let last = self
            .entries
            .last()
            .map_or(&[][..], |last| &self.bytes[last.key.clone()]);
        let shared = common_len(last, key);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.size += entry_bytes(shared, key.len() - shared, points.list_len());
        self.entries.push(Entry {
            key: start..self.bytes.len(),
            shared,
            points,
        });
    }

    /// Divides it into pages of about the same size, which are appended to `pages`. Leaves it empty.
    pub(super) fn finish(&mut self, pages: &mut Vec<Arc<Page>>) {
        let fits = self.entries.len() <= PAGE_KEYS_MAX && self.size <= PAGE_BYTES_MAX;
        let filled = |max: usize| max * FILLED.0 / FILLED.1;
        let parts = match fits {
            true => 1,
            false => {
                let by_keys = self.entries.len().div_ceil(filled(PAGE_KEYS_MAX));
                by_keys.max(self.size.div_ceil(filled(PAGE_BYTES_MAX)))
            }
        };
        let (keys_max, bytes_max) = (self.entries.len().div_ceil(parts), self.size.div_ceil(parts));
        let mut page = Page::default();
        let mut last: &[u8] = &[];
        for entry in self.entries.drain(..) {
            let (key, list_len) = (&self.bytes[entry.key.clone()], entry.points.list_len());
            let size = entry_bytes(entry.shared, key.len() - entry.shared, list_len);
            let is_full = page.len() >= keys_max || page.written() >= bytes_max;
            if page.len() > 0 && !fits && (is_full || page.written() + size > PAGE_BYTES_MAX) {
                page.shrink();
                pages.push(Arc::new(std::mem::take(&mut page)));
            }
            match entry.points {
                Points::List(list) => page.push(last, key, &self.bytes[list]),
                Points::Set(set) => page.push_key_of_set(last, key, set),
            }
            last = key;
        }
        if page.len() > 0 {
            page.shrink();
            pages.push(Arc::new(page));
        }
        self.bytes.clear();
        self.size = 0;
    }
}

impl Points {
    fn list_len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Set(_) => 0,
        }
    }
}

/// Appends points, all greater than `last`.
fn pack_onto(bytes: &mut Vec<u8>, mut last: u32, points: &[u32]) {
    for point in points {
        packed::push(bytes, point - last);
        last = *point;
    }
}
