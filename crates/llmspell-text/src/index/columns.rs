//! The length of each point's text in each field, in one byte.
//!
//! ```text
//! columns   per field, in order: field u8 │ first point u32 │ points u32 │ code of the length per point u8, 0 for none
//! ```
//!
//! Codes as in `length.rs`. A sparse vector has one field, 0, and its length is how many components it has.

use std::ops::Range;

use llmspell_codec::{Malformed, Reader, Writer};

use crate::length;

/// How many texts a field has, and how many words: what a score depends on besides the terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FieldStatistics {
    /// Texts that have a word.
    pub texts: u64,
    /// Words of all of them, each length rounded as it counts in scores: to the next lower of 256 steps of 6 % at most.
    pub words: u64,
}

impl FieldStatistics {
    /// Counts a text with this code of its length.
    pub(crate) fn add(&mut self, code: u8) {
        self.texts += u64::from(code > 0);
        self.words += u64::from(length::decode(code));
    }

    /// Takes a text away.
    pub(crate) fn remove(&mut self, code: u8) {
        self.texts = self.texts.saturating_sub(u64::from(code > 0));
        self.words = self.words.saturating_sub(u64::from(length::decode(code)));
    }
}

/// The codes of one field, as a writer has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) field: u8,
    pub(crate) first: u32,
    pub(crate) codes: Vec<u8>,
}

impl Column {
    /// A column with room for points.
    pub(crate) fn with_room(field: u8, points: Range<u32>) -> Self {
        Self {
            field,
            first: points.start,
            codes: vec![0; points.len()],
        }
    }

    pub(crate) fn code(&self, point: u32) -> u8 {
        let place = point.wrapping_sub(self.first) as usize;
        self.codes.get(place).copied().unwrap_or(0)
    }

    /// Sets the code of a point that there is room for.
    pub(crate) fn set(&mut self, point: u32, code: u8) {
        self.codes[(point - self.first) as usize] = code;
    }
}

/// The columns of all fields, in the order of their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Columns(pub(crate) Vec<Column>);

impl Columns {
    pub(crate) fn of_field(&self, field: u8) -> Option<&Column> {
        self.0.iter().find(|column| column.field == field)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        for column in &self.0 {
            let count = u32::try_from(column.codes.len()).expect("points are 32 bits");
            writer
                .u8(column.field)
                .u32(column.first)
                .u32(count)
                .bytes(&column.codes);
        }
        writer.finish()
    }
}

/// Where a column lies in the bytes of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredColumn {
    pub(crate) field: u8,
    pub(crate) first: u32,
    /// The codes, in the bytes of the index.
    pub(crate) codes: Range<usize>,
    pub(crate) statistics: FieldStatistics,
}

/// Reads the columns of a section that starts at `start`.
pub(crate) fn read(section: &[u8], start: usize) -> Result<Vec<StoredColumn>, Malformed> {
    let mut reader = Reader::new(section);
    let mut columns: Vec<StoredColumn> = Vec::new();
    while reader.end().is_err() {
        let (field, first, count) = (reader.u8()?, reader.u32()?, reader.u32()?);
        let codes = reader.bytes(count as usize)?;
        if first.checked_add(count).is_none() || columns.last().is_some_and(|last| last.field >= field) {
            return Err(Malformed("its columns are not in order"));
        }
        let mut statistics = FieldStatistics::default();
        codes.iter().for_each(|code| statistics.add(*code));
        let mut behind = reader;
        let end = start + section.len() - behind.rest().len();
        columns.push(StoredColumn {
            field,
            first,
            codes: end - codes.len()..end,
            statistics,
        });
    }
    Ok(columns)
}
