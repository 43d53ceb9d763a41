//! Makes one index of several and of rows, without what was removed, one term at a time.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::Index;
use super::columns::{Column, Columns};
use super::dictionary::{Entries, Term};
use super::draft::Draft;
use super::postings::Postings;
use super::writer::{IndexWriter, Output};
use crate::length;
use crate::row::{Row, RowKind};

/// An index that is merged, and what it has no more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) index: &'a Index,
    pub(crate) removed: &'a RoaringBitmap,
}

/// Writes the index of all points of some indexes and rows; no point is in two of them. Rows come in the order of their
/// points. Keeps the dictionary in memory, and the rows' terms. Says how many bytes the index has.
pub(crate) fn merge(
    kind: RowKind,
    sources: &[Source<'_>],
    rows: &[(u32, Arc<Row>)],
    output: Output<'_>,
) -> io::Result<u64> {
    let columns = columns_of(sources, rows);
    let mut writer = IndexWriter::new(kind, columns, output)?;
    let draft = Draft::new(rows);
    let mut drafted = 0;
    let mut inputs: Vec<Input<'_>> = sources.iter().map(Input::new).collect();
    let mut postings = Postings::default();
    loop {
        let of_inputs = inputs.iter().filter(|input| input.term.is_some());
        let keys = of_inputs
            .map(|input| input.entries.key.as_slice())
            .chain(draft.key(drafted));
        let Some(key) = keys.min().map(<[u8]>::to_vec) else {
            break;
        };
        let is_drafted = draft.key(drafted) == Some(key.as_slice());
        let has_key = |input: &Input<'_>| input.term.is_some() && input.entries.key == key;
        let mut having = inputs.iter_mut().filter(|input| has_key(input));
        let (first, second) = (having.next(), having.next());
        if let (Some(only), None, false) = (&first, &second, is_drafted)
            && only.source.removed.is_empty()
            && let Some(term) = &only.term
        {
            let section = only.source.index.section(&only.source.index.layout.postings);
            let bytes = |range: &Range<usize>| section.get(range.clone()).unwrap_or_default();
            writer.copy(&key, term.count, bytes(&term.postings), bytes(&term.positions))?;
        } else {
            postings.clear();
            for input in first.into_iter().chain(second).chain(having) {
                input.collect(&mut postings)?;
            }
            if is_drafted {
                draft.collect(drafted, &mut postings);
            }
            if !postings.points.is_empty() {
                sort(&mut postings);
                writer.push(&key, &postings)?;
            }
        }
        drafted += usize::from(is_drafted);
        for input in inputs
            .iter_mut()
            .filter(|input| input.term.is_some() && input.entries.key == key)
        {
            input.term = input.entries.next();
        }
    }
    writer.finish()
}

/// An index, and its next term.
struct Input<'a> {
    source: &'a Source<'a>,
    entries: Entries<'a>,
    term: Option<Term>,
}

impl<'a> Input<'a> {
    fn new(source: &'a Source<'a>) -> Self {
        let mut entries = source.index.dictionary().all();
        let term = entries.next();
        Self { source, entries, term }
    }

    /// Adds the postings of its term without what was removed.
    fn collect(&self, postings: &mut Postings) -> io::Result<()> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "an index changed after it was opened");
        let term = self.term.as_ref().ok_or_else(damaged)?;
        let cursor = self.source.index.cursor(&self.entries.key, term);
        let mut cursor = cursor.ok_or_else(damaged)?;
        let has_positions = !term.positions.is_empty();
        let mut next = cursor.seek(0);
        while let Some(point) = next {
            if !self.source.removed.contains(point) {
                let positions = if has_positions {
                    cursor.position_bytes().ok_or_else(damaged)?
                } else {
                    &[]
                };
                postings.push(point, cursor.payload(), positions);
            }
            next = point.checked_add(1).and_then(|target| cursor.seek(target));
        }
        Ok(())
    }
}

/// Brings postings of several sources into the order of their points.
fn sort(postings: &mut Postings) {
    if postings.points.is_sorted() {
        return;
    }
    let mut order: Vec<usize> = (0..postings.points.len()).collect();
    order.sort_unstable_by_key(|place| postings.points[*place]);
    let mut sorted = Postings::default();
    for place in order {
        let start = place.checked_sub(1).map_or(0, |before| postings.position_ends[before]);
        let positions = &postings.positions[start..postings.position_ends[place]];
        sorted.push(postings.points[place], postings.payloads[place], positions);
    }
    *postings = sorted;
}

fn columns_of(sources: &[Source<'_>], rows: &[(u32, Arc<Row>)]) -> Columns {
    let mut ranges: BTreeMap<u8, Range<u32>> = BTreeMap::new();
    let mut widen = |field: u8, points: Range<u32>| {
        let range = ranges.entry(field).or_insert_with(|| points.clone());
        *range = range.start.min(points.start)..range.end.max(points.end);
    };
    for source in sources {
        for column in &source.index.layout.columns {
            widen(column.field, column.first..source.index.lengths(column.field).end());
        }
    }
    for (point, row) in rows {
        row.lengths
            .iter()
            .for_each(|(field, _)| widen(*field, *point..point.saturating_add(1)));
    }
    let mut columns: Vec<_> = ranges
        .into_iter()
        .map(|(field, points)| Column::with_room(field, points))
        .collect();
    for column in &mut columns {
        for source in sources {
            let lengths = source.index.lengths(column.field);
            for (point, code) in (lengths.first..).zip(lengths.codes) {
                if *code > 0 && !source.removed.contains(point) {
                    column.set(point, *code);
                }
            }
        }
    }
    for (point, row) in rows {
        for (field, length) in &row.lengths {
            if let Some(column) = columns.iter_mut().find(|column| column.field == *field) {
                column.set(*point, length::encode(*length));
            }
        }
    }
    columns.retain(|column| column.codes.iter().any(|code| *code > 0));
    Columns(columns)
}
