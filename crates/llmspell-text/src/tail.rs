//! Rows that no index has yet, by their points.

use std::sync::Arc;

use crate::row::Row;

/// Rows of a chunk before it is cut in two.
const CHUNK_ROWS_MAX: usize = 128;

/// Neighboring rows, by their points.
type Chunk = Vec<(u32, Arc<Row>)>;

/// Rows in the order of their points. A copy shares all chunks with it until one of both changes, and then all but the one
/// that changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    /// None is empty.
    chunks: Vec<Arc<Chunk>>,
    count: usize,
    bytes: usize,
}

impl Tail {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(u32, Arc<Row>)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The chunk that a point is in or belongs into.
    fn chunk(&self, point: u32) -> usize {
        let after = self
            .chunks
            .partition_point(|chunk| chunk.first().is_some_and(|(first, _)| *first <= point));
        after.saturating_sub(1)
    }

    pub(crate) fn get(&self, point: u32) -> Option<&Arc<Row>> {
        let chunk = self.chunks.get(self.chunk(point))?;
        let place = chunk.binary_search_by_key(&point, |(point, _)| *point).ok()?;
        Some(&chunk[place].1)
    }

    /// Puts a row in, in place of the one that the point has.
    pub(crate) fn insert(&mut self, point: u32, row: Arc<Row>) {
        self.bytes += row.memory_bytes();
        let place = self.chunk(point);
        let Some(chunk) = self.chunks.get_mut(place) else {
            self.chunks.push(Arc::new(vec![(point, row)]));
            self.count += 1;
            return;
        };
        let chunk = Arc::make_mut(chunk);
        match chunk.binary_search_by_key(&point, |(point, _)| *point) {
            Ok(at) => {
                self.bytes -= chunk[at].1.memory_bytes();
                chunk[at].1 = row;
            }
            Err(at) => {
                chunk.insert(at, (point, row));
                self.count += 1;
            }
        }
        if chunk.len() > CHUNK_ROWS_MAX {
            // Points that come in order fill their chunks.
            let is_last = chunk.last().is_some_and(|(last, _)| *last == point);
            let cut = if is_last { CHUNK_ROWS_MAX } else { CHUNK_ROWS_MAX / 2 };
            let behind = chunk.split_off(cut);
            self.chunks.insert(place + 1, Arc::new(behind));
        }
    }

    /// Takes a row out.
    pub(crate) fn remove(&mut self, point: u32) -> Option<Arc<Row>> {
        let place = self.chunk(point);
        let chunk = self.chunks.get_mut(place)?;
        let at = chunk.binary_search_by_key(&point, |(point, _)| *point).ok()?;
        let chunk = Arc::make_mut(chunk);
        let (_, row) = chunk.remove(at);
        if chunk.is_empty() {
            self.chunks.remove(place);
        }
        self.count -= 1;
        self.bytes -= row.memory_bytes();
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
            prop_assert!(tail.iter().map(|(point, row)| (point, row)).eq(&model));
            prop_assert_eq!(tail.memory_bytes(), model.values().map(|row| row.memory_bytes()).sum::<usize>());
            prop_assert!(model.iter().all(|(point, row)| tail.get(*point) == Some(row)));
            prop_assert!(copy.iter().map(|(point, _)| *point).eq(expected_of_copy));
        }
    }
}
