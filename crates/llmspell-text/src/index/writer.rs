//! Writes an index, term by term, in the order of the keys.

use std::io;

use llmspell_codec::{Writer, checksum};

use super::columns::Columns;
use super::dictionary::{DictionaryWriter, Term};
use super::postings::{Payload, Postings};
use super::{HEADER_BYTES, PIECE_BYTES, header};
use crate::row::{Positions, RowKind};

/// Takes bytes as they come.
pub(crate) type Output<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

pub(crate) struct IndexWriter<'o> {
    output: Output<'o>,
    kind: RowKind,
    columns: Columns,
    dictionary: DictionaryWriter,
    /// Bytes of postings that were not given away yet.
    pending: Vec<u8>,
    /// Bytes of postings that were.
    written: usize,
    sum: u32,
}

impl<'o> IndexWriter<'o> {
    /// Begins an index of points whose lengths are known.
    pub(crate) fn new(kind: RowKind, columns: Columns, output: Output<'o>) -> io::Result<Self> {
        output(&header(kind))?;
        Ok(Self {
            output,
            kind,
            columns,
            dictionary: DictionaryWriter::default(),
            pending: Vec::with_capacity(2 * PIECE_BYTES),
            written: 0,
            sum: 0,
        })
    }

    /// Adds a term; keys come in order, points too.
    pub(crate) fn push(&mut self, key: &[u8], postings: &Postings) -> io::Result<()> {
        let start = self.pending.len();
        let (payload, column) = match self.kind {
            RowKind::Text(_) => (
                Payload::Counts,
                self.columns.of_field(key.first().copied().unwrap_or(0)),
            ),
            RowKind::Sparse => (Payload::Weights, self.columns.of_field(0)),
        };
        let length = |point| column.map_or(0, |column| column.code(point));
        postings.encode(payload, length, &mut self.pending);
        let middle = self.pending.len();
        if self.kind == RowKind::Text(Positions::Kept) {
            postings.encode_positions(&mut self.pending);
        }
        let count = u32::try_from(postings.points.len()).expect("points are 32 bits");
        self.note(key, count, start, middle)
    }

    /// Adds a term whose bytes are those of another index.
    pub(crate) fn copy(&mut self, key: &[u8], count: u32, postings: &[u8], positions: &[u8]) -> io::Result<()> {
        let start = self.pending.len();
        self.pending.extend_from_slice(postings);
        let middle = self.pending.len();
        self.pending.extend_from_slice(positions);
        self.note(key, count, start, middle)
    }

    /// Notes where the bytes of a term lie that were added last.
    fn note(&mut self, key: &[u8], count: u32, start: usize, middle: usize) -> io::Result<()> {
        let term = Term {
            count,
            postings: self.written + start..self.written + middle,
            positions: self.written + middle..self.written + self.pending.len(),
        };
        let has_positions = self.kind == RowKind::Text(Positions::Kept);
        self.dictionary.push(key, &term, has_positions);
        let mut at = 0;
        while self.pending.len() - at >= PIECE_BYTES {
            self.give(at, PIECE_BYTES)?;
            at += PIECE_BYTES;
        }
        self.pending.drain(..at);
        Ok(())
    }

    fn give(&mut self, at: usize, len: usize) -> io::Result<()> {
        let piece = &self.pending[at..at + len];
        self.sum = checksum(&self.sum.to_le_bytes(), piece);
        self.written += len;
        (self.output)(piece)
    }

    /// Writes what comes behind the postings. Says how many bytes the index has.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        if !self.pending.is_empty() {
            self.give(0, self.pending.len())?;
        }
        let columns = self.columns.to_bytes();
        let sections = [&columns, &self.dictionary.dictionary, &self.dictionary.starts];
        let mut footer = Writer::default();
        footer.u64(self.written as u64);
        for section in sections {
            footer.u64(section.len() as u64);
        }
        footer.u64(self.dictionary.count).u32(self.sum);
        for section in sections {
            (self.output)(section)?;
            footer.u32(super::sum_of(section));
        }
        let body = footer.finish();
        (self.output)(&body)?;
        (self.output)(&checksum(&header(self.kind), &body).to_le_bytes())?;
        let sections: usize = sections.iter().map(|section| section.len()).sum();
        Ok((HEADER_BYTES + self.written + sections + body.len() + 4) as u64)
    }
}
