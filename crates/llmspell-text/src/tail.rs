//! Rows that no index has yet, by their points.

use std::sync::Arc;

use crate::index::FieldStatistics;
use crate::length;
use crate::row::Row;

/// Rows of a chunk before it is cut in two.
const CHUNK_ROWS_MAX: usize = 128;

/// Neighboring rows, by their points.
type Chunk = Vec<Slot>;

/// A row in its place.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) point: u32,
    /// A bit for each term, by its hash. Most rows lack the terms of a query, and need not be looked at.
    mask: [u64; MASK_WORDS],
    pub(crate) row: Arc<Row>,
}

const MASK_WORDS: usize = 4;

impl Slot {
    fn new(point: u32, row: Arc<Row>) -> Self {
        let mut mask = [0; MASK_WORDS];
        for entry in &row.entries {
            let (word, bit) = place_of(entry.hash);
            mask[word] |= bit;
        }
        Self { point, mask, row }
    }

    /// Whether the row may have a term with this hash.
    pub(crate) fn may_have(&self, hash: u32) -> bool {
        let (word, bit) = place_of(hash);
        self.mask[word] & bit != 0
    }
}

fn place_of(hash: u32) -> (usize, u64) {
    ((hash >> 6) as usize % MASK_WORDS, 1 << (hash % 64))
}

/// Rows in the order of their points. A copy shares all chunks with it until one of both changes, and then all but the one
/// that changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    /// None is empty.
    chunks: Vec<Arc<Chunk>>,
    count: usize,
    bytes: usize,
    /// By the number of the field.
    fields: Vec<(u8, FieldStatistics)>,
}

impl Tail {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Fields that rows have, with their statistics.
    pub(crate) fn fields(&self) -> &[(u8, FieldStatistics)] {
        &self.fields
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The chunk that a point is in or belongs into.
    fn chunk(&self, point: u32) -> usize {
        let after = self
            .chunks
            .partition_point(|chunk| chunk.first().is_some_and(|first| first.point <= point));
        after.saturating_sub(1)
    }

    pub(crate) fn get(&self, point: u32) -> Option<&Arc<Row>> {
        let chunk = self.chunks.get(self.chunk(point))?;
        let place = chunk.binary_search_by_key(&point, |slot| slot.point).ok()?;
        Some(&chunk[place].row)
    }

    /// Puts a row in, in place of the one that the point has.
    pub(crate) fn insert(&mut self, point: u32, row: Arc<Row>) {
        self.remove(point);
        self.bytes += row.memory_bytes();
        self.count += 1;
        for (field, length) in &row.lengths {
            let place = self.fields.iter().position(|(number, _)| number == field);
            let place = place.unwrap_or_else(|| {
                self.fields.push((*field, FieldStatistics::default()));
                self.fields.len() - 1
            });
            self.fields[place].1.add(length::encode(*length));
        }
        let place = self.chunk(point);
        let Some(chunk) = self.chunks.get_mut(place) else {
            self.chunks.push(Arc::new(vec![Slot::new(point, row)]));
            return;
        };
        let chunk = Arc::make_mut(chunk);
        let at = chunk.partition_point(|slot| slot.point < point);
        chunk.insert(at, Slot::new(point, row));
        if chunk.len() > CHUNK_ROWS_MAX {
            // Points that come in order fill their chunks.
            let is_last = chunk.last().is_some_and(|last| last.point == point);
            let cut = if is_last { CHUNK_ROWS_MAX } else { CHUNK_ROWS_MAX / 2 };
            let behind = chunk.split_off(cut);
            self.chunks.insert(place + 1, Arc::new(behind));
        }
    }

    /// Takes a row out.
    pub(crate) fn remove(&mut self, point: u32) -> Option<Arc<Row>> {
        let place = self.chunk(point);
        let chunk = self.chunks.get_mut(place)?;
        let at = chunk.binary_search_by_key(&point, |slot| slot.point).ok()?;
        let chunk = Arc::make_mut(chunk);
        let row = chunk.remove(at).row;
        if chunk.is_empty() {
            self.chunks.remove(place);
        }
        self.count -= 1;
        self.bytes -= row.memory_bytes();
        for (field, statistics) in &mut self.fields {
            if let Some((_, length)) = row.lengths.iter().find(|(number, _)| number == field) {
                statistics.remove(length::encode(*length));
            }
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tail_is_a_sorted_map(steps in prop::collection::vec((0..400u32, any::<bool>(), 1..9u32), 0..700), from in 0..400u32) {
            let (mut tail, mut model) = (Tail::default(), BTreeMap::new());
            // Points in order, as most come, and then any.
            let steps = (from..400).step_by(2).map(|point| (point, false, 1)).chain(steps);
            let mut copy = tail.clone();
            let mut expected_of_copy = Vec::new();
            for (number, (point, is_removal, weight)) in steps.enumerate() {
                if is_removal {
                    prop_assert_eq!(tail.remove(point).is_some(), model.remove(&point).is_some());
                } else {
                    let row = Arc::new(Row::of_sparse((0..weight).map(|index| (index, 1.0))).unwrap());
                    tail.insert(point, Arc::clone(&row));
                    model.insert(point, row);
                }
                if number == 300 {
                    copy = tail.clone();
                    expected_of_copy = model.keys().copied().collect();
                }
            }
            prop_assert_eq!(tail.len(), model.len());
            prop_assert!(tail.iter().map(|slot| (&slot.point, &slot.row)).eq(&model));
            prop_assert_eq!(tail.memory_bytes(), model.values().map(|row| row.memory_bytes()).sum::<usize>());
            prop_assert!(model.iter().all(|(point, row)| tail.get(*point) == Some(row)));
            prop_assert!(copy.iter().map(|slot| slot.point).eq(expected_of_copy));
        }
    }
}
