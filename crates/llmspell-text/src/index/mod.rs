//! An index of texts or sparse vectors that never changes: which points have a term, how often, and where.
//!
//! ```text
//! index      header: "LSTX" │ version u8 │ kind u8, as in rows │ 0 u16
//!            postings, see `postings.rs` │ columns, see `columns.rs` │ dictionary │ starts, see `dictionary.rs`
//!            footer: bytes of postings u64 │ of columns u64 │ of the dictionary u64 │ of starts u64 │ terms u64
//!                    checksums of the four sections u32 │ checksum of the header and the footer before it u32
//! ```
//!
//! The checksum of a section is that of its last piece of 64 KiB, each piece put behind the checksum of the one before it,
//! the first behind 0: CRC-32C, little-endian. All is checked when an index is opened: checksums, and that what it holds can be what
//! was written. Damaged bytes are refused whole. v1 (0.1.0): as above.
//!
//! | file            | question                                                  |
//! |-----------------|-----------------------------------------------------------|
//! | `mod.rs`        | what is in an index, and is it what was written?          |
//! | `bitpack.rs`    | how are 128 numbers packed?                               |
//! | `postings.rs`   | how are the points of a term written?                     |
//! | `cursor.rs`     | … and read?                                               |
//! | `dictionary.rs` | where are the postings of a term?                         |
//! | `columns.rs`    | how long are texts?                                       |
//! | `writer.rs`     | how is an index written, term by term?                    |
//! | `draft.rs`      | which postings do rows have?                              |
//! | `merge.rs`      | how do indexes and rows become one index?                 |

mod bitpack;
mod columns;
mod cursor;
mod dictionary;
mod draft;
mod merge;
mod postings;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use llmspell_codec::{Malformed, Reader, checksum};
use roaring::RoaringBitmap;

pub use columns::FieldStatistics;
use columns::StoredColumn;
pub(crate) use cursor::Cursor;
use dictionary::Dictionary;
pub(crate) use dictionary::Term;
pub(crate) use merge::{Source, merge};
pub(crate) use postings::{Bound, Payload};
pub(crate) use writer::Output;

use crate::row::{Positions, RowKind};

const MAGIC: [u8; 4] = *b"LSTX";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;
const FOOTER_BYTES: usize = 5 * 8 + 4 * 4 + 4;
/// Bytes that are checked at once, so that a writer need not keep a section.
const PIECE_BYTES: usize = 1 << 16;

/// Bytes that an index reads: a vector, a map of a file.
pub type IndexBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// An index of texts or sparse vectors by their points. Never changes, so copies share it.
#[derive(Clone)]
pub struct Index {
    bytes: IndexBytes,
    layout: Arc<Layout>,
}

#[derive(Debug)]
struct Layout {
    kind: RowKind,
    postings: Range<usize>,
    columns: Vec<StoredColumn>,
    dictionary: Range<usize>,
    starts: Range<usize>,
    term_count: u64,
}

fn header(kind: RowKind) -> [u8; HEADER_BYTES] {
    let kind = match kind {
        RowKind::Text(Positions::Dropped) => 0,
        RowKind::Text(Positions::Kept) => 1,
        RowKind::Sparse => 2,
    };
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, VERSION, kind, 0, 0]
}

/// The checksum of a section.
fn sum_of(section: &[u8]) -> u32 {
    section
        .chunks(PIECE_BYTES)
        .fold(0, |sum: u32, piece| checksum(&sum.to_le_bytes(), piece))
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("kind", &self.layout.kind)
            .field("bytes", &self.byte_count())
            .field("terms", &self.layout.term_count)
            .finish_non_exhaustive()
    }
}

impl Index {
    /// Opens an index whose bytes are there, and checks all of them: about a second per gigabyte.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes.
    pub fn open(bytes: IndexBytes) -> Result<Self, Malformed> {
        let layout = read_layout((*bytes).as_ref())?;
        let index = Self {
            bytes,
            layout: Arc::new(layout),
        };
        index.check_terms()?;
        Ok(index)
    }

    /// How many bytes it has.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.bytes().len()
    }

    /// How many different terms it has, counted once per field.
    #[must_use]
    pub fn term_count(&self) -> u64 {
        self.layout.term_count
    }

    /// Whether it is one of sparse vectors.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.kind() == RowKind::Sparse
    }

    /// The points that have a term.
    #[must_use]
    pub fn points(&self) -> RoaringBitmap {
        let mut points = RoaringBitmap::new();
        for column in &self.layout.columns {
            let codes = (column.first..).zip(self.codes(column));
            let there = codes.filter(|(_, code)| **code > 0).map(|(point, _)| point);
            points.extend(there);
        }
        points
    }

    /// Whether a point has a term.
    #[must_use]
    pub fn has(&self, point: u32) -> bool {
        self.layout
            .columns
            .iter()
            .any(|column| code_of(column, self.codes(column), point) > 0)
    }

    /// Whether both are copies of one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.layout, &other.layout)
    }

    /// The first point that there is room for; in order of them indexes lie mostly one behind the other.
    pub(crate) fn first_point(&self) -> u32 {
        self.layout.columns.iter().map(|column| column.first).min().unwrap_or(0)
    }

    pub(crate) fn kind(&self) -> RowKind {
        self.layout.kind
    }

    pub(crate) fn payload(&self) -> Payload {
        match self.layout.kind {
            RowKind::Text(_) => Payload::Counts,
            RowKind::Sparse => Payload::Weights,
        }
    }

    fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    fn section(&self, range: &Range<usize>) -> &[u8] {
        self.bytes().get(range.clone()).unwrap_or_default()
    }

    fn codes(&self, column: &StoredColumn) -> &[u8] {
        self.section(&column.codes)
    }

    /// Fields that have texts, with their statistics, deleted texts included.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (u8, FieldStatistics)> {
        self.layout
            .columns
            .iter()
            .map(|column| (column.field, column.statistics))
    }

    /// The lengths of a field.
    pub(crate) fn lengths(&self, field: u8) -> Lengths<'_> {
        let column = self.layout.columns.iter().find(|column| column.field == field);
        column.map_or(Lengths::default(), |column| Lengths {
            first: column.first,
            codes: self.codes(column),
        })
    }

    /// The lengths that count for a key.
    pub(crate) fn lengths_of_key(&self, key: &[u8]) -> Lengths<'_> {
        match self.layout.kind {
            RowKind::Text(_) => self.lengths(key.first().copied().unwrap_or(0)),
            RowKind::Sparse => self.lengths(0),
        }
    }

    fn dictionary(&self) -> Dictionary<'_> {
        Dictionary {
            dictionary: self.section(&self.layout.dictionary),
            starts: self.section(&self.layout.starts),
            has_positions: self.layout.kind == RowKind::Text(Positions::Kept),
        }
    }

    /// The postings of a key. Takes about a microsecond.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Term> {
        self.dictionary().find(key)
    }

    /// Shows terms whose keys begin so, in order, until `see` says to stop.
    pub(crate) fn with_prefix(&self, prefix: &[u8], mut see: impl FnMut(&[u8], Term) -> bool) {
        let mut entries = self.dictionary().from(prefix);
        while let Some(term) = entries.next() {
            if entries.key.starts_with(prefix) {
                if !see(&entries.key, term) {
                    return;
                }
            } else if entries.key.as_slice() > prefix {
                return;
            }
        }
    }

    /// Reads the postings of a term that this index has.
    pub(crate) fn cursor(&self, key: &[u8], term: &Term) -> Option<Cursor<'_>> {
        let lengths = self.lengths_of_key(key);
        Cursor::new(self.section(&self.layout.postings), term, self.payload(), |point| {
            lengths.code(point)
        })
    }

    /// Checks that terms are in order, that postings are theirs and nothing else is there.
    fn check_terms(&self) -> Result<(), Malformed> {
        let dictionary = self.dictionary();
        let (mut entries, mut last) = (dictionary.all(), Vec::new());
        let (mut place, mut count) = (0, 0_u64);
        let mut starts = dictionary.starts.as_chunks::<4>().0.iter();
        loop {
            if entries.is_between_blocks()
                && !entries.is_at_end()
                && starts
                    .next()
                    .is_none_or(|start| u32::from_le_bytes(*start) as usize != entries.place())
            {
                return Err(Malformed("its dictionary has no such block"));
            }
            let Some(term) = entries.next() else {
                break;
            };
            if (count > 0 && entries.key <= last) || term.postings.start != place || term.count == 0 {
                return Err(Malformed("its terms are not in order"));
            }
            place = term.positions.end;
            let end = self.lengths_of_key(&entries.key).end();
            let cursor = self.cursor(&entries.key, &term);
            if !cursor.is_some_and(|mut cursor| cursor.check(end)) {
                return Err(Malformed("the postings of a term are bad"));
            }
            last.clone_from(&entries.key);
            count += 1;
        }
        let is_whole = entries.is_at_end() && starts.next().is_none() && dictionary.starts.len().is_multiple_of(4);
        if !is_whole || count != self.layout.term_count || place != self.layout.postings.len() {
            return Err(Malformed("its dictionary is not whole"));
        }
        Ok(())
    }
}

/// Codes of lengths by point.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lengths<'a> {
    pub(crate) first: u32,
    pub(crate) codes: &'a [u8],
}

impl Lengths<'_> {
    #[inline]
    pub(crate) fn code(&self, point: u32) -> u8 {
        let place = point.wrapping_sub(self.first) as usize;
        self.codes.get(place).copied().unwrap_or(0)
    }

    /// The first point after all.
    fn end(&self) -> u32 {
        self.first + u32::try_from(self.codes.len()).unwrap_or(0)
    }
}

fn code_of(column: &StoredColumn, codes: &[u8], point: u32) -> u8 {
    let first = column.first;
    Lengths { first, codes }.code(point)
}

/// Finds the sections, and checks their checksums.
fn read_layout(bytes: &[u8]) -> Result<Layout, Malformed> {
    let early = Malformed("it ends early");
    let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(early)?;
    let (sections, footer) = rest.split_last_chunk::<FOOTER_BYTES>().ok_or(early)?;
    let kinds = [
        RowKind::Text(Positions::Dropped),
        RowKind::Text(Positions::Kept),
        RowKind::Sparse,
    ];
    let kind = kinds.into_iter().find(|kind| header(*kind) == *head);
    let kind = kind.ok_or(Malformed("it is no index of text of version 1"))?;
    let (body, sum) = footer.split_at(FOOTER_BYTES - 4);
    if checksum(head, body).to_le_bytes() != sum {
        return Err(Malformed("the checksum of its footer is wrong"));
    }
    let mut reader = Reader::new(body);
    let mut lens = [0; 4];
    for len in &mut lens {
        *len = usize::try_from(reader.u64()?).map_err(|_| early)?;
    }
    let term_count = reader.u64()?;
    let (mut start, mut ranges) = (HEADER_BYTES, Vec::new());
    for len in lens {
        let end = start
            .checked_add(len)
            .filter(|end| *end <= HEADER_BYTES + sections.len())
            .ok_or(early)?;
        if sum_of(&bytes[start..end]) != reader.u32()? {
            return Err(Malformed("the checksum of a section is wrong"));
        }
        ranges.push(start..end);
        start = end;
    }
    if start != HEADER_BYTES + sections.len() {
        return Err(Malformed("bytes are left over"));
    }
    let [postings, columns, dictionary, starts] = ranges.try_into().map_err(|_| early)?;
    Ok(Layout {
        kind,
        postings,
        columns: columns::read(&bytes[columns.clone()], columns.start)?,
        dictionary,
        starts,
        term_count,
    })
}

#[cfg(test)]
mod tests;
