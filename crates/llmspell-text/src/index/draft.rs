//! The postings of rows: which of them has a term.

use std::collections::HashMap;
use std::sync::Arc;

use super::postings::Postings;
use crate::row::Row;

/// The terms of some rows, in order.
pub(crate) struct Draft<'r> {
    rows: &'r [(u32, Arc<Row>)],
    /// Keys in order, each with the number it was met as.
    keys: Vec<(&'r [u8], u32)>,
    /// Where the places of each term end, by its number.
    ends: Vec<u32>,
    /// Rows and entries in them, by term, then in the order of the rows.
    places: Vec<(u32, u32)>,
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
        let mut places = vec![(0, 0); found.len()];
        let mut numbers_of = found.into_iter();
        for (place, (_, row)) in rows.iter().enumerate() {
            for (entry, number) in (0..row.entries.len()).zip(&mut numbers_of) {
                let start = &mut starts[number as usize];
                places[*start as usize] = (place as u32, entry as u32);
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
            places,
        }
    }

    pub(crate) fn key(&self, place: usize) -> Option<&'r [u8]> {
        self.keys.get(place).map(|(key, _)| *key)
    }

    /// Adds the postings of the term at `place`.
    pub(crate) fn collect(&self, place: usize, postings: &mut Postings) {
        let number = self.keys[place].1 as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        for (row, entry) in &self.places[start as usize..self.ends[number] as usize] {
            let (point, row) = &self.rows[*row as usize];
            let entry = &row.entries[*entry as usize];
            postings.push(*point, entry.payload, row.positions(entry));
        }
    }
}
