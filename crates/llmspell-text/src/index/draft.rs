//! The postings of rows: which of them has a term.

use std::collections::HashMap;
use std::sync::Arc;

use super::postings::Postings;
use crate::row::{Row, RowEntry, hash_of};

/// Bytes of positions that stand with their posting.
const NEAR_BYTES: usize = 7;

/// The terms of some rows, in order.
pub(crate) struct Draft<'r> {
    rows: &'r [(u32, Arc<Row>)],
    /// Keys in order, each with the number it was met as.
    keys: Vec<(&'r [u8], u32)>,
    /// Where the postings of each term end, by its number.
    ends: Vec<u32>,
    /// By term, then in the order of the points.
    postings: Vec<Posting>,
}

/// What a row has of a term. Copied, because rows lie anywhere in memory.
#[derive(Clone, Copy, Default)]
struct Posting {
    row: u32,
    payload: u32,
    positions: [u8; NEAR_BYTES],
    /// How many bytes of positions there are, if they are here.
    len: Option<u8>,
}

impl<'r> Draft<'r> {
    /// Of rows in the order of their points.
    pub(crate) fn new(rows: &'r [(u32, Arc<Row>)]) -> Self {
        let mut numbers: HashMap<&[u8], u32> = HashMap::new();
        let mut counts: Vec<u32> = Vec::new();
        let total = rows.iter().map(|(_, row)| row.entries.len()).sum();
        let mut found = Vec::with_capacity(total);
        for (_, row) in rows {
            for entry in &row.entries {
                let next = counts.len() as u32;
                let number = *numbers.entry(row.key(entry)).or_insert(next);
                if number == next {
                    counts.push(0);
                }
                counts[number as usize] += 1;
                found.push(number);
            }
        }
        let mut end = 0;
        let mut starts: Vec<u32> = Vec::with_capacity(counts.len());
        for count in &counts {
            starts.push(end);
            end += count;
        }
        let mut postings = vec![Posting::default(); found.len()];
        let mut numbers_of = found.into_iter();
        for (place, (_, row)) in rows.iter().enumerate() {
            for (entry, number) in row.entries.iter().zip(&mut numbers_of) {
                let start = &mut starts[number as usize];
                postings[*start as usize] = Posting::new(place as u32, row, entry);
                *start += 1;
            }
        }
        let mut keys: Vec<_> = numbers.into_iter().collect();
        keys.sort_unstable();
        Self {
            rows,
            keys,
            // Each was moved to the end of its term.
            ends: starts,
            postings,
        }
    }

    pub(crate) fn key(&self, place: usize) -> Option<&'r [u8]> {
        self.keys.get(place).map(|(key, _)| *key)
    }

    /// Adds the postings of the term at `place`.
    pub(crate) fn collect(&self, place: usize, postings: &mut Postings) {
        let (key, number) = self.keys[place];
        let start = (number as usize).checked_sub(1).map_or(0, |before| self.ends[before]);
        for posting in &self.postings[start as usize..self.ends[number as usize] as usize] {
            let (point, row) = &self.rows[posting.row as usize];
            let positions = match posting.len {
                Some(len) => &posting.positions[..usize::from(len)],
                None => row
                    .find(hash_of(key), key)
                    .map_or(&[][..], |entry| row.positions(entry)),
            };
            postings.push(*point, posting.payload, positions);
        }
    }
}

impl Posting {
    fn new(row_place: u32, row: &Row, entry: &RowEntry) -> Self {
        let bytes = row.positions(entry);
        let mut positions = [0; NEAR_BYTES];
        let is_near = bytes.len() <= NEAR_BYTES;
        if is_near {
            positions[..bytes.len()].copy_from_slice(bytes);
        }
        Self {
            row: row_place,
            payload: entry.payload,
            positions,
            len: is_near.then_some(bytes.len() as u8),
        }
    }
}
