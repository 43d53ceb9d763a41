//! What is known of one entry: its terms, or the components of its sparse vector.
//!
//! ```text
//! row        version u8 │ kind u8: 0 text, 1 text with positions, 2 sparse vector
//!   text     fields: number, per field, in order of their numbers: field u8 │ length in words: number │ terms: number
//!            per term, in order of its bytes: shared with the one before: number │ length of the rest u8 │ rest
//!            │ occurrences: number │ with positions, for each occurrence: distance to the one before: number
//!   sparse   components: number, per component, in order: distance to the index before: number │ weight f32
//! ```
//!
//! A *number* is of variable length, see `varint.rs`. Distances of the first of a list are from 0. Bytes that are no row
//! are refused whole. v1 (0.1.0): as above.

use std::fmt;

use llmspell_codec::Malformed;

use crate::analyzer::Analyzer;
use crate::varint;

const VERSION: u8 = 1;
const TEXT: u8 = 0;
const POSITIONS: u8 = 1;
const SPARSE: u8 = 2;

/// Bytes of a key: the field and a term.
pub(crate) const KEY_BYTES_MAX: usize = 256;

/// What an entry is found by: the terms of its fields, or a sparse vector. Made before the entry is written, stored
/// with it, and kept in memory while no index has it.
///
/// ```
/// # use llmspell_text::{Analyzer, AnalyzerConfig, Positions, Row};
/// let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
/// let row = Row::of_texts(&analyzer, Positions::Kept, [(0, "a title"), (1, "and a body")]);
/// assert_eq!(Row::from_bytes(&row.to_bytes()), Ok(row));
/// ```
#[derive(Clone, PartialEq)]
pub struct Row {
    pub(crate) kind: RowKind,
    /// Fields that have words, in order, and how many.
    pub(crate) lengths: Vec<(u8, u32)>,
    /// In the order of their keys.
    pub(crate) entries: Vec<RowEntry>,
    /// Keys, one behind the other.
    keys: Vec<u8>,
    /// Positions of each entry, as in the bytes of the row.
    positions: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKind {
    Text(Positions),
    Sparse,
}

/// Whether places of words are kept, which phrases need. They take about a fifth of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Positions {
    /// Phrases are found. The default.
    #[default]
    Kept,
    /// A phrase means that all its words are there.
    Dropped,
}

/// A term of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowEntry {
    /// A hash of its key: terms that differ in it differ.
    pub(crate) hash: u32,
    key_start: u32,
    key_end: u32,
    /// How often it occurs, or the bits of a weight.
    pub(crate) payload: u32,
    positions_start: u32,
    positions_end: u32,
}

/// Why a sparse vector is refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SparseError {
    /// A weight that is not above 0 and finite.
    #[error("the weight of component {index} is {weight}; it must be above 0 and finite")]
    Weight {
        /// The index of the component.
        index: u32,
        /// Its weight.
        weight: f32,
    },
    /// An index that stands twice.
    #[error("component {index} stands twice")]
    Twice {
        /// The index of the component.
        index: u32,
    },
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row")
            .field("kind", &self.kind)
            .field("lengths", &self.lengths)
            .field("terms", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// The key of a term.
pub(crate) fn key_of(field: u8, term: &str) -> Vec<u8> {
    [&[field], term.as_bytes()].concat()
}

/// The key of a component.
pub(crate) fn sparse_key(index: u32) -> [u8; 4] {
    index.to_be_bytes()
}

/// A hash of a key, the same in each run (FNV-1a).
pub(crate) fn hash_of(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

impl Row {
    /// The row of texts, each with the number of its field. Texts of one field are one text.
    ///
    /// Takes some microseconds per kilobyte, and is to be called on the caller's thread.
    #[must_use]
    pub fn of_texts<'t>(
        analyzer: &Analyzer,
        positions: Positions,
        texts: impl IntoIterator<Item = (u8, &'t str)>,
    ) -> Self {
        let mut texts: Vec<_> = texts.into_iter().collect();
        texts.sort_by_key(|(field, _)| *field);
        let mut row = Self::empty(RowKind::Text(positions));
        let mut found = Found::default();
        for of_field in texts.chunk_by(|(a, _), (b, _)| a == b) {
            let field = of_field[0].0;
            found.clear();
            for (_, text) in of_field {
                found.add(analyzer, text);
            }
            if found.length > 0 {
                row.lengths.push((field, found.length));
                found.put_into(&mut row, field, positions);
            }
        }
        row
    }

    /// The row of a sparse vector: pairs of an index and its weight, in any order.
    ///
    /// # Errors
    ///
    /// [`SparseError`] for the first weight that is not above 0 and finite, or index that stands twice.
    pub fn of_sparse(components: impl IntoIterator<Item = (u32, f32)>) -> Result<Self, SparseError> {
        let mut components: Vec<_> = components.into_iter().collect();
        for (index, weight) in components.iter().copied() {
            if !(weight > 0.0 && weight.is_finite()) {
                return Err(SparseError::Weight { index, weight });
            }
        }
        components.sort_by_key(|(index, _)| *index);
        if let Some(pair) = components.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SparseError::Twice { index: pair[0].0 });
        }
        let mut row = Self::empty(RowKind::Sparse);
        for (index, weight) in &components {
            row.push(&sparse_key(*index), weight.to_bits(), 0);
        }
        row.count_components();
        Ok(row)
    }

    /// One row of two that have no field in common; of a field that both have, that of this one counts.
    ///
    /// # Panics
    ///
    /// If they are of different kinds.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        assert_eq!(self.kind, other.kind, "rows of one entry are of one kind");
        let has = |field: u8| self.lengths.iter().any(|(number, _)| *number == field);
        let mut row = Self::empty(self.kind);
        row.lengths.clone_from(&self.lengths);
        row.lengths
            .extend(other.lengths.iter().filter(|(field, _)| !has(*field)));
        row.lengths.sort_unstable_by_key(|(field, _)| *field);
        let mut entries: Vec<(&Self, RowEntry)> = self.entries.iter().map(|entry| (self, *entry)).collect();
        let others = other.entries.iter().filter(|entry| !has(other.key(entry)[0]));
        entries.extend(others.map(|entry| (other, *entry)));
        entries.sort_by(|(a, one), (b, two)| a.key(one).cmp(b.key(two)));
        for (from, entry) in entries {
            let start = row.positions.len();
            row.positions.extend_from_slice(from.positions(&entry));
            row.push(from.key(&entry), entry.payload, start);
        }
        row
    }

    /// Whether the entry cannot be found by it: it has no term.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many different terms or components it has.
    #[must_use]
    pub fn term_count(&self) -> usize {
        self.entries.len()
    }

    /// RAM of the row.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.entries.len() * size_of::<RowEntry>()
            + self.lengths.len() * size_of::<(u8, u32)>()
            + self.keys.len()
            + self.positions.len()
    }

    fn empty(kind: RowKind) -> Self {
        Self {
            kind,
            lengths: Vec::new(),
            entries: Vec::new(),
            keys: Vec::new(),
            positions: Vec::new(),
        }
    }

    /// Adds an entry whose positions, from `positions_start` on, are there already.
    fn push(&mut self, key: &[u8], payload: u32, positions_start: usize) {
        let place = |len: usize| u32::try_from(len).expect("a row is shorter than 4 GiB");
        let key_start = place(self.keys.len());
        self.keys.extend_from_slice(key);
        self.entries.push(RowEntry {
            hash: hash_of(key),
            key_start,
            key_end: place(self.keys.len()),
            payload,
            positions_start: place(positions_start),
            positions_end: place(self.positions.len()),
        });
    }

    /// A sparse vector has one field, and its length is how many components it has.
    fn count_components(&mut self) {
        if !self.entries.is_empty() {
            let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
            self.lengths.push((0, count));
        }
    }

    pub(crate) fn key(&self, entry: &RowEntry) -> &[u8] {
        &self.keys[entry.key_start as usize..entry.key_end as usize]
    }

    /// Positions of an entry as distances, each a number of variable length.
    pub(crate) fn positions(&self, entry: &RowEntry) -> &[u8] {
        &self.positions[entry.positions_start as usize..entry.positions_end as usize]
    }

    /// The entry of a key with this hash.
    pub(crate) fn find(&self, hash: u32, key: &[u8]) -> Option<&RowEntry> {
        /// Up to here looking at each hash is faster.
        const FEW: usize = 64;
        if self.entries.len() <= FEW {
            return self
                .entries
                .iter()
                .find(|entry| entry.hash == hash && self.key(entry) == key);
        }
        let place = self.entries.binary_search_by(|entry| self.key(entry).cmp(key));
        place.ok().map(|place| &self.entries[place])
    }

    /// The entries whose keys begin so.
    pub(crate) fn with_prefix<'r>(&'r self, prefix: &'r [u8]) -> impl Iterator<Item = &'r RowEntry> {
        let start = self.entries.partition_point(|entry| self.key(entry) < prefix);
        self.entries[start..]
            .iter()
            .take_while(move |entry| self.key(entry).starts_with(prefix))
    }

    /// The bytes of the row.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.keys.len() + 4 * self.entries.len() + self.positions.len());
        out.push(VERSION);
        match self.kind {
            RowKind::Text(positions) => {
                out.push(if positions == Positions::Kept { POSITIONS } else { TEXT });
                varint::put(&mut out, self.lengths.len() as u64);
                let mut rest = &self.entries[..];
                for (field, length) in &self.lengths {
                    let count = rest.partition_point(|entry| self.key(entry)[0] <= *field);
                    out.push(*field);
                    varint::put(&mut out, u64::from(*length));
                    varint::put(&mut out, count as u64);
                    self.put_terms(&rest[..count], &mut out);
                    rest = &rest[count..];
                }
            }
            RowKind::Sparse => {
                out.push(SPARSE);
                varint::put(&mut out, self.entries.len() as u64);
                let mut last = 0;
                for entry in &self.entries {
                    let index = self.key(entry).try_into().map_or(0, u32::from_be_bytes);
                    varint::put(&mut out, u64::from(index - last));
                    out.extend_from_slice(&entry.payload.to_le_bytes());
                    last = index;
                }
            }
        }
        out
    }

    /// The terms of one field.
    fn put_terms(&self, entries: &[RowEntry], out: &mut Vec<u8>) {
        let mut last: &[u8] = &[];
        for entry in entries {
            let term = &self.key(entry)[1..];
            let shared = last.iter().zip(term).take_while(|(a, b)| a == b).count();
            let rest = &term[shared..];
            varint::put(out, shared as u64);
            out.push(u8::try_from(rest.len()).expect("terms have at most 255 bytes"));
            out.extend_from_slice(rest);
            varint::put(out, u64::from(entry.payload));
            out.extend_from_slice(self.positions(entry));
            last = term;
        }
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let short = Malformed("it ends early");
        let [VERSION, kind, body @ ..] = bytes else {
            return Err(Malformed("it is no row of version 1"));
        };
        let mut at = 0;
        let row = match *kind {
            SPARSE => Self::sparse_from(body, &mut at),
            TEXT => Self::text_from(body, &mut at, Positions::Dropped),
            POSITIONS => Self::text_from(body, &mut at, Positions::Kept),
            _ => return Err(Malformed("its kind is unknown")),
        };
        let row = row.ok_or(short)?;
        if at != body.len() {
            return Err(Malformed("bytes are left over"));
        }
        if !row.entries.is_sorted_by(|a, b| row.key(a) < row.key(b)) || !row.lengths.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Malformed("its terms are not in order"));
        }
        let is_number = |entry: &RowEntry| match row.kind {
            RowKind::Text(_) => entry.payload > 0,
            RowKind::Sparse => f32::from_bits(entry.payload).is_finite() && f32::from_bits(entry.payload) > 0.0,
        };
        if !row.entries.iter().all(is_number) || row.lengths.iter().any(|(_, length)| *length == 0) {
            return Err(Malformed("a number in it is bad"));
        }
        Ok(row)
    }

    fn text_from(body: &[u8], at: &mut usize, positions: Positions) -> Option<Self> {
        let mut row = Self::empty(RowKind::Text(positions));
        for _ in 0..varint::get(body, at)? {
            let field = *body.get(*at)?;
            *at += 1;
            row.lengths.push((field, varint::get_u32(body, at)?));
            let mut key = vec![field];
            for _ in 0..varint::get(body, at)? {
                let shared = usize::try_from(varint::get(body, at)?).ok()?;
                let rest_len = usize::from(*body.get(*at)?);
                *at += 1;
                let rest = body.get(*at..*at + rest_len)?;
                *at += rest_len;
                if shared + 1 > key.len() || shared + rest_len + 1 > KEY_BYTES_MAX {
                    return None;
                }
                key.truncate(shared + 1);
                key.extend_from_slice(rest);
                let count = varint::get_u32(body, at)?;
                let start = row.positions.len();
                if positions == Positions::Kept {
                    let from = *at;
                    let mut position = 0_u32;
                    for _ in 0..count {
                        position = position.checked_add(varint::get_u32(body, at)?)?;
                    }
                    row.positions.extend_from_slice(&body[from..*at]);
                }
                row.push(&key, count, start);
            }
        }
        Some(row)
    }

    fn sparse_from(body: &[u8], at: &mut usize) -> Option<Self> {
        let mut row = Self::empty(RowKind::Sparse);
        let mut index = 0_u32;
        for _ in 0..varint::get(body, at)? {
            index = index.checked_add(varint::get_u32(body, at)?)?;
            let weight = body.get(*at..*at + 4)?.try_into().ok()?;
            *at += 4;
            row.push(&sparse_key(index), u32::from_le_bytes(weight), 0);
        }
        row.count_components();
        Some(row)
    }
}

/// The terms of one field as they are found.
#[derive(Default)]
struct Found {
    terms: Vec<u8>,
    /// Where each starts in `terms`, its length, and its position.
    tokens: Vec<(u32, u16, u32)>,
    /// The position of the next text.
    position: u32,
    length: u32,
}

impl Found {
    fn clear(&mut self) {
        self.terms.clear();
        self.tokens.clear();
        (self.position, self.length) = (0, 0);
    }

    fn add(&mut self, analyzer: &Analyzer, text: &str) {
        let before = self.position;
        analyzer.each_token(text, |token| {
            let start = u32::try_from(self.terms.len()).expect("a text has less than 4 GiB of terms");
            self.terms.extend_from_slice(token.term.as_bytes());
            let position = before.saturating_add(token.position);
            self.tokens.push((start, token.term.len() as u16, position));
            self.length += u32::from(token.kind.counts());
            self.position = position.saturating_add(1);
        });
    }

    fn put_into(&mut self, row: &mut Row, field: u8, positions: Positions) {
        let terms = &self.terms;
        let term = |token: &(u32, u16, u32)| &terms[token.0 as usize..][..usize::from(token.1)];
        // By position among equal terms: it is where they start, too.
        self.tokens
            .sort_unstable_by(|a, b| term(a).cmp(term(b)).then(a.0.cmp(&b.0)));
        let mut key = vec![field];
        for tokens in self.tokens.chunk_by(|a, b| term(a) == term(b)) {
            let start = row.positions.len();
            if positions == Positions::Kept {
                let mut last = 0;
                for (_, _, position) in tokens {
                    varint::put(&mut row.positions, u64::from(position - last));
                    last = *position;
                }
            }
            key.truncate(1);
            key.extend_from_slice(term(&tokens[0]));
            let count = u32::try_from(tokens.len()).expect("positions are 32 bits");
            row.push(&key, count, start);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analyzer::AnalyzerConfig;

    fn row(texts: &[(u8, &str)]) -> Row {
        let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
        Row::of_texts(&analyzer, Positions::Kept, texts.iter().copied())
    }

    #[test]
    fn the_bytes_of_a_row_never_change() {
        let text = row(&[(3, "ab b"), (0, "abc ab"), (3, "ab"), (9, "…")]);
        #[rustfmt::skip]
        assert_eq!(text.to_bytes(), [
            1, 1, 2,
            0, 2, 2, 0, 2, b'a', b'b', 1, 1, 2, 1, b'c', 1, 0,
            3, 3, 2, 0, 2, b'a', b'b', 2, 0, 2, 0, 1, b'b', 1, 1,
        ]);
        let sparse = Row::of_sparse([(300, 0.5), (2, 1.0)]).unwrap();
        #[rustfmt::skip]
        assert_eq!(sparse.to_bytes(), [1, 2, 2, 2, 0, 0, 0x80, 0x3f, 0xaa, 2, 0, 0, 0, 0x3f]);
    }

    #[test]
    fn weights_that_cannot_be_ranked_are_refused() {
        for weight in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(matches!(
                Row::of_sparse([(7, weight)]),
                Err(SparseError::Weight { index: 7, .. })
            ));
        }
        assert_eq!(
            Row::of_sparse([(7, 1.0), (1, 1.0), (7, 2.0)]),
            Err(SparseError::Twice { index: 7 })
        );
    }

    #[test]
    fn an_entry_is_found_by_its_key() {
        let many: String = (0..200).map(|number| format!("w{number}x ")).collect();
        for text in ["a few", &many] {
            let row = row(&[(1, text)]);
            for entry in &row.entries {
                assert_eq!(row.find(entry.hash, row.key(entry)), Some(entry));
            }
            assert_eq!(row.find(hash_of(b"\x01zz"), b"\x01zz"), None);
        }
        let row = row(&[(0, "ab"), (1, "ab abc b"), (2, "ab")]);
        assert_eq!(
            row.with_prefix(b"\x01ab")
                .map(|entry| row.key(entry))
                .collect::<Vec<_>>(),
            [b"\x01ab", &b"\x01abc"[..]]
        );
    }

    proptest! {
        #[test]
        fn rows_read_back(texts in prop::collection::vec((0..3u8, "[a-c ]{0,20}|\\PC{0,10}"), 0..4), kept in any::<bool>()) {
            let analyzer = Analyzer::new(AnalyzerConfig::default()).unwrap();
            let positions = if kept { Positions::Kept } else { Positions::Dropped };
            let row = Row::of_texts(&analyzer, positions, texts.iter().map(|(field, text)| (*field, text.as_str())));
            prop_assert_eq!(Row::from_bytes(&row.to_bytes()), Ok(row));
        }

        #[test]
        fn rows_of_different_fields_become_one(
            texts in prop::collection::vec((0..4u8, "[a-c ]{0,20}"), 0..6),
            of_first in prop::collection::vec(any::<bool>(), 4),
        ) {
            let part = |is_first: bool| {
                let texts = texts.iter().filter(|(field, _)| of_first[usize::from(*field)] == is_first);
                row(&texts.map(|(field, text)| (*field, text.as_str())).collect::<Vec<_>>())
            };
            let all = row(&texts.iter().map(|(field, text)| (*field, text.as_str())).collect::<Vec<_>>());
            prop_assert_eq!(part(true).joined(&part(false)), all.clone());
            prop_assert_eq!(all.joined(&part(false)), all);
        }

        #[test]
        fn damaged_rows_never_panic(
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<Option<prop::sample::Index>>(),
            sparse in any::<bool>(),
        ) {
            let row = match sparse {
                true => Row::of_sparse([(1, 1.0), (5, 2.0), (900, 0.1)]).unwrap(),
                false => row(&[(0, "some words and some more"), (7, "wordsAndWords")]),
            };
            let mut bytes = row.to_bytes();
            for (place, byte) in places {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(read) = Row::from_bytes(&bytes) {
                let again = Row::from_bytes(&read.to_bytes());
                prop_assert_eq!(again, Ok(read));
            }
        }
    }
}
