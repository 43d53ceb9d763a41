//! Keys that were collected but not put into pages yet.
//!
//! A bulk insertion of many points first gathers their keys. Once sorted, all keys of a page are put in together, and
//! each key with all its points.

use std::cmp::Ordering;

use super::key::KEY_BYTES_MAX;

/// Number of a key's bytes that are part of its `order`.
const ORDER_BYTES: usize = 7;

/// Keys with points, in any order and with repetitions.
#[derive(Debug, Clone, Default)]
pub(super) struct Gathered {
    /// The keys one after the other, each preceded by its length.
    keys: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    /// The first bytes of the key and their number, or one more than that if the key is longer. So most keys are
    /// compared without reading them.
    order: u64,
    /// Offset of its length.
    start: u32,
    point: u32,
}

impl Gathered {
    /// Number of pairs of key and point.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn push(&mut self, key: &[u8], point: u32) {
        let mut order = [0; 8];
        let first = key.len().min(ORDER_BYTES);
        order[..first].copy_from_slice(&key[..first]);
        order[ORDER_BYTES] = key.len().min(ORDER_BYTES + 1) as u8;
        let start = u32::try_from(self.keys.len()).expect("as many as one call gathers");
        self.keys.push(u8::try_from(key.len()).expect("keys are short"));
        self.keys.extend_from_slice(key);
        self.items.push(Item {
            order: u64::from_be_bytes(order),
            start,
            point,
        });
    }

    /// Whether there is room for only one more key.
    pub(super) fn is_full(&self) -> bool {
        self.keys.len() + KEY_BYTES_MAX >= u32::MAX as usize
    }

    /// Sorted by key, with the points of each key ascending.
    pub(super) fn sorted(mut self) -> Sorted {
        let Self { keys, items } = &mut self;
        let by_key = |a: &Item, b: &Item| match a.order.cmp(&b.order) {
            Ordering::Equal if a.order as u8 > ORDER_BYTES as u8 => key_at(keys, a.start).cmp(key_at(keys, b.start)),
            order => order,
        };
        items.sort_unstable_by(|a, b| by_key(a, b).then(a.point.cmp(&b.point)));
        Sorted {
            gathered: self,
            next: 0,
        }
    }
}

fn key_at(keys: &[u8], start: u32) -> &[u8] {
    let start = start as usize;
    &keys[start + 1..start + 1 + usize::from(keys[start])]
}

/// Iterates over the gathered keys.
#[derive(Debug)]
pub(super) struct Sorted {
    gathered: Gathered,
    next: usize,
}

impl Sorted {
    /// The next key.
    pub(super) fn key(&self) -> Option<&[u8]> {
        let item = self.gathered.items.get(self.next)?;
        Some(key_at(&self.gathered.keys, item.start))
    }

    /// The next key. Replaces the content of `points` by its points, ascending and each once.
    pub(super) fn take(&mut self, points: &mut Vec<u32>) -> &[u8] {
        points.clear();
        let keys = &self.gathered.keys;
        let items = &self.gathered.items[self.next..];
        let Some(first) = items.first() else { return &[] };
        let key = key_at(keys, first.start);
        let is_long = key.len() > ORDER_BYTES;
        let is_same = |item: &&Item| item.order == first.order && (!is_long || key_at(keys, item.start) == key);
        points.extend(items.iter().take_while(is_same).map(|item| item.point));
        self.next += points.len();
        points.dedup();
        key
    }
}
