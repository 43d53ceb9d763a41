//! NumPy arrays: what do header and numbers say?
//!
//! ```text
//! byte 0        6       8           8 + 2 or 4
//!      │ \x93NUMPY │ version │ length │ {'descr': '<f4', 'fortran_order': False, 'shape': (6200, 384), } │ numbers …
//! ```
//!
//! Versions 1 (length u16), 2 and 3 (length u32), little-endian. Read are one- and two-dimensional arrays in C order
//! of `f2`, `f4`, `f8`, `i4` and `i8`, little-endian; one dimension means a single row. The format is described in
//! `numpy.lib.format`.

use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;
use llmspell_storage::limits::DIM_RANGE;

use super::{Source, read_up_to};
use crate::errors::{CliError, Place};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy writes 128 bytes for plain arrays; more than this is no header.
const HEADER_BYTES_MAX: usize = 1 << 16;

/// Why bytes are not an array that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NpyError {
    #[error("this is no .npy file: it does not start with the bytes of one")]
    NotNpy,
    #[error("the file ends inside its header")]
    HeaderTruncated,
    #[error("format version {0} is unknown; 1, 2 and 3 are known")]
    UnknownVersion(u8),
    #[error("the header has {0} bytes; at most {HEADER_BYTES_MAX} make sense")]
    HeaderTooLong(usize),
    #[error("the header cannot be understood at byte {0}")]
    BadHeader(usize),
    #[error("the header does not name {0}")]
    MissingKey(&'static str),
    #[error("the numbers are big-endian ({0})")]
    BigEndian(String),
    #[error("numbers of type {0} cannot be used here; f2, f4, f8, i4 and i8 can")]
    UnknownType(String),
    #[error("the array is in Fortran order (column by column)")]
    FortranOrder,
    #[error("the array has {0} dimensions; one or two can be read")]
    BadRank(usize),
    #[error("a row has {0} numbers; {min} to {max} can be read", min = DIM_RANGE.start(), max = DIM_RANGE.end())]
    BadColumns(u64),
    #[error("the shape describes more bytes than there are")]
    TooLarge,
    #[error("the file has {got} bytes where its header describes {expected}")]
    WrongLength { expected: u64, got: u64 },
}

impl NpyError {
    fn hint(&self) -> &'static str {
        match self {
            Self::FortranOrder => "numpy.save(file, numpy.ascontiguousarray(array))",
            Self::BigEndian(_) | Self::UnknownType(_) => "numpy.save(file, array.astype('<f4'))",
            Self::BadRank(_) => "numpy.save(file, array.reshape(len(array), -1))",
            Self::WrongLength { .. } | Self::HeaderTruncated => "the file seems incomplete; write or copy it again",
            _ => "write the file with numpy.save(file, array.astype('<f4'))",
        }
    }
}

/// Type of the numbers, all little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElementType {
    F16,
    F32,
    F64,
    I32,
    I64,
}

impl ElementType {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    fn from_descr(descr: &str) -> Result<Self, NpyError> {
        match descr {
            "<f2" => Ok(Self::F16),
            "<f4" => Ok(Self::F32),
            "<f8" => Ok(Self::F64),
            "<i4" => Ok(Self::I32),
            "<i8" => Ok(Self::I64),
            _ if descr.starts_with('>') => Err(NpyError::BigEndian(descr.to_string())),
            _ => Err(NpyError::UnknownType(descr.chars().take(32).collect())),
        }
    }

    fn is_integer(self) -> bool {
        matches!(self, Self::I32 | Self::I64)
    }
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) element: ElementType,
    pub(crate) rows: u64,
    /// Within [`DIM_RANGE`].
    pub(crate) columns: usize,
}

impl Header {
    fn data_bytes(self) -> Result<u64, NpyError> {
        let row_bytes = (self.columns * self.element.bytes()) as u64;
        self.rows.checked_mul(row_bytes).ok_or(NpyError::TooLarge)
    }
}

/// Number of bytes before the header's text, and of the text, from the first 12 bytes of a file.
fn header_span(start: &[u8]) -> Result<(usize, usize), NpyError> {
    let rest = start.strip_prefix(MAGIC).ok_or(NpyError::NotNpy)?;
    let (&major, rest) = rest.split_first().ok_or(NpyError::HeaderTruncated)?;
    let rest = rest.get(1..).ok_or(NpyError::HeaderTruncated)?;
    let (before, length) = match major {
        1 => {
            let length = rest.first_chunk().ok_or(NpyError::HeaderTruncated)?;
            (10, usize::from(u16::from_le_bytes(*length)))
        }
        2 | 3 => {
            let length = rest.first_chunk().ok_or(NpyError::HeaderTruncated)?;
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            (12, length)
        }
        other => return Err(NpyError::UnknownVersion(other)),
    };
    if length > HEADER_BYTES_MAX {
        return Err(NpyError::HeaderTooLong(length));
    }
    Ok((before, length))
}

/// Reads the header's text: a Python dictionary of three keys.
fn parse_header(text: &[u8]) -> Result<Header, NpyError> {
    let mut parser = Parser { text, at: 0 };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    parser.expect(b'{')?;
    while !parser.accept(b'}') {
        let key = parser.quoted()?;
        parser.expect(b':')?;
        match key {
            "descr" if parser.peek() == Some(b'[') => return Err(NpyError::UnknownType("record".into())),
            "descr" => descr = Some(parser.quoted()?),
            "fortran_order" => fortran_order = Some(parser.boolean()?),
            "shape" => shape = Some(parser.tuple()?),
            _ => return Err(NpyError::BadHeader(parser.at)),
        }
        if !parser.accept(b',') && parser.peek() != Some(b'}') {
            return Err(NpyError::BadHeader(parser.at));
        }
    }
    let element = ElementType::from_descr(descr.ok_or(NpyError::MissingKey("the type of the numbers"))?)?;
    let shape = shape.ok_or(NpyError::MissingKey("the shape"))?;
    let (rows, columns) = match shape[..] {
        [columns] => (1, columns),
        [rows, columns] => (rows, columns),
        _ => return Err(NpyError::BadRank(shape.len())),
    };
    // For a single row or column both orders are the same.
    if fortran_order.ok_or(NpyError::MissingKey("the order"))? && rows > 1 && columns > 1 {
        return Err(NpyError::FortranOrder);
    }
    let columns = usize::try_from(columns)
        .ok()
        .filter(|columns| DIM_RANGE.contains(columns))
        .ok_or(NpyError::BadColumns(columns))?;
    let header = Header { element, rows, columns };
    header.data_bytes()?;
    Ok(header)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn accept(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, byte: u8) -> Result<(), NpyError> {
        if self.accept(byte) { Ok(()) } else { Err(self.bad()) }
    }

    fn bad(&self) -> NpyError {
        NpyError::BadHeader(self.at)
    }

    /// The bytes as long as they satisfy the test.
    fn take_while(&mut self, test: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| !test(*byte)).unwrap_or(rest.len());
        self.at += length;
        // Bytes that are not UTF-8 match no name and no number.
        std::str::from_utf8(&rest[..length]).unwrap_or("")
    }

    fn quoted(&mut self) -> Result<&'a str, NpyError> {
        let quote = self
            .peek()
            .filter(|byte| matches!(byte, b'\'' | b'"'))
            .ok_or_else(|| self.bad())?;
        self.at += 1;
        let content = self.take_while(|byte| byte != quote);
        self.expect(quote)?;
        Ok(content)
    }

    fn boolean(&mut self) -> Result<bool, NpyError> {
        self.peek();
        match self.take_while(|byte| byte.is_ascii_alphabetic()) {
            "True" => Ok(true),
            "False" => Ok(false),
            _ => Err(self.bad()),
        }
    }

    fn tuple(&mut self) -> Result<Vec<u64>, NpyError> {
        let mut numbers = Vec::new();
        self.expect(b'(')?;
        while !self.accept(b')') {
            self.peek();
            let number = self
                .take_while(|byte| byte.is_ascii_digit())
                .parse()
                .map_err(|_| self.bad())?;
            // Python 2 wrote long numbers so.
            self.accept(b'L');
            numbers.push(number);
            if !self.accept(b',') && self.peek() != Some(b')') {
                return Err(self.bad());
            }
        }
        Ok(numbers)
    }
}

/// An array, read row by row.
pub(crate) struct NpyReader {
    source: Source,
    header: Header,
    rows_read: u64,
    row_bytes: Vec<u8>,
}

impl NpyReader {
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        Self::new(Source::open(path)?)
    }

    pub(crate) fn new(mut source: Source) -> Result<Self, CliError> {
        let header = read_header(&mut source)?;
        let row_bytes = vec![0; header.columns * header.element.bytes()];
        Ok(Self {
            source,
            header,
            rows_read: 0,
            row_bytes,
        })
    }

    pub(crate) fn header(&self) -> Header {
        self.header
    }

    pub(crate) fn name(&self) -> &str {
        &self.source.name
    }

    pub(crate) fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// The next row as `f32`; none at the end.
    pub(crate) fn next_row(&mut self) -> Result<Option<Vec<f32>>, CliError> {
        if !self.fill_row()? {
            return Ok(None);
        }
        let bytes = &self.row_bytes;
        Ok(Some(match self.header.element {
            ElementType::F16 => {
                let halves: Vec<f16> = bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|chunk| f16::from_le_bytes(*chunk))
                    .collect();
                let mut row = vec![0.0; halves.len()];
                halves.convert_to_f32_slice(&mut row);
                row
            }
            ElementType::F32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|chunk| f32::from_le_bytes(*chunk))
                .collect(),
            ElementType::F64 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|chunk| f64::from_le_bytes(*chunk) as f32)
                .collect(),
            ElementType::I32 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|chunk| i32::from_le_bytes(*chunk) as f32)
                .collect(),
            ElementType::I64 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|chunk| i64::from_le_bytes(*chunk) as f32)
                .collect(),
        }))
    }

    /// The next row of an array of whole numbers; none at the end.
    pub(crate) fn next_integers(&mut self) -> Result<Option<Vec<i64>>, CliError> {
        if !self.header.element.is_integer() {
            return Err(self.error(
                None,
                "whole numbers are needed here",
                "numpy.save(file, array.astype('<i4'))",
            ));
        }
        if !self.fill_row()? {
            return Ok(None);
        }
        let bytes = &self.row_bytes;
        Ok(Some(if self.header.element == ElementType::I32 {
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|chunk| i64::from(i32::from_le_bytes(*chunk)))
                .collect()
        } else {
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|chunk| i64::from_le_bytes(*chunk))
                .collect()
        }))
    }

    fn fill_row(&mut self) -> Result<bool, CliError> {
        if self.rows_read == self.header.rows {
            return Ok(false);
        }
        let filled = read_up_to(&mut *self.source.reader, &mut self.row_bytes)
            .map_err(|source| CliError::file("read", self.source.name.as_ref(), source))?;
        if filled < self.row_bytes.len() {
            let reason = format!("the array ends here, before its {} rows", self.header.rows);
            return Err(self.error(
                Some(Place::Row(self.rows_read)),
                &reason,
                "the file seems incomplete; write or copy it again",
            ));
        }
        self.rows_read += 1;
        Ok(true)
    }

    fn error(&self, place: Option<Place>, reason: &str, hint: &str) -> CliError {
        CliError::Input {
            source_name: self.source.name.clone(),
            place,
            reason: reason.to_string(),
            hint: hint.to_string(),
        }
    }
}

fn read_header(source: &mut Source) -> Result<Header, CliError> {
    let mut start = [0; 12];
    let read = |source: &mut Source, bytes: &mut [u8]| {
        read_up_to(&mut *source.reader, bytes).map_err(|error| CliError::file("read", source.name.as_ref(), error))
    };
    // Ten bytes say how long the header of version 1 is; the others need two more.
    let mut filled = read(source, &mut start[..10])?;
    let is_longer = start.get(6).is_some_and(|major| *major > 1);
    if filled == 10 && is_longer {
        filled += read(source, &mut start[10..])?;
    }
    let refuse = |source: &Source, error: &NpyError| CliError::Input {
        source_name: source.name.clone(),
        place: None,
        reason: error.to_string(),
        hint: error.hint().into(),
    };
    let (before, length) = header_span(&start[..filled]).map_err(|error| refuse(source, &error))?;
    let mut text = vec![0; length];
    let header = if read(source, &mut text)? < length {
        Err(NpyError::HeaderTruncated)
    } else {
        parse_header(&text)
    };
    let checked = header.and_then(|header| {
        let expected = header
            .data_bytes()?
            .checked_add((before + length) as u64)
            .ok_or(NpyError::TooLarge)?;
        match source.len_bytes {
            Some(got) if got != expected => Err(NpyError::WrongLength { expected, got }),
            _ => Ok(header),
        }
    });
    checked.map_err(|error| refuse(source, &error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(major: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([major, 0]);
        if major == 1 {
            bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        } else {
            bytes.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn open(bytes: Vec<u8>) -> Result<NpyReader, CliError> {
        let len_bytes = Some(bytes.len() as u64);
        let reader = Box::new(std::io::Cursor::new(bytes));
        NpyReader::new(Source {
            reader,
            name: "test.npy".into(),
            len_bytes,
        })
    }

    fn rows(bytes: Vec<u8>) -> Result<Vec<Vec<f32>>, CliError> {
        let mut reader = open(bytes)?;
        std::iter::from_fn(|| reader.next_row().transpose()).collect()
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")
    }

    #[test]
    fn every_version_and_every_type_is_read() {
        let expected = [[1.0, -2.0], [0.5, 4.0]];
        let numbers = expected.as_flattened();
        let f2: Vec<u8> = numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        let f4: Vec<u8> = numbers.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
        let f8: Vec<u8> = numbers.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
        for (major, descr, data) in [(1, "<f2", &f2), (2, "<f4", &f4), (3, "<f8", &f8)] {
            assert_eq!(
                rows(file(major, &header(descr, "(2, 2)"), data)).unwrap(),
                expected,
                "{descr}"
            );
        }
        assert_eq!(rows(file(1, &header("<f4", "(4,)"), &f4)).unwrap(), [numbers]);
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let data: Vec<u8> = [7_i32, -1].iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut reader = open(file(1, &header("<i4", "(1, 2)"), &data)).unwrap();
        assert_eq!(reader.next_integers().unwrap(), Some(vec![7, -1]));
        assert_eq!(reader.next_integers().unwrap(), None);
        assert!(
            open(file(1, &header("<f4", "(1, 2)"), &data))
                .unwrap()
                .next_integers()
                .is_err()
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let reason = |bytes: Vec<u8>| rows(bytes).unwrap_err().to_string();
        let fortran = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }";
        for (bytes, part) in [
            (b"PK\x03\x04 and so on".to_vec(), "no .npy file"),
            (b"".to_vec(), "no .npy file"),
            (b"\x93NUMPY\x01".to_vec(), "ends inside its header"),
            (file(9, "", b""), "version 9"),
            (file(1, fortran, &[0; 16]), "Fortran"),
            (file(1, &header(">f4", "(1, 1)"), &[0; 4]), "big-endian"),
            (file(1, &header("|S4", "(1, 1)"), &[0; 4]), "|S4"),
            (file(1, &header("<f4", "(1, 1, 1)"), &[0; 4]), "3 dimensions"),
            (file(1, &header("<f4", "()"), &[0; 4]), "0 dimensions"),
            (file(1, &header("<f4", "(1, 0)"), b""), "a row has 0 numbers"),
            (file(1, &header("<f4", "(1, 70000)"), b""), "a row has 70000 numbers"),
            (
                file(1, &header("<f4", "(18446744073709551615, 384)"), b""),
                "more bytes than there are",
            ),
            (
                file(1, &header("<f4", "(2, 2)"), &[0; 12]),
                "where its header describes",
            ),
            (file(1, "{'descr': '<f4', }", b""), "does not name the shape"),
            (file(1, "{'shape': (1, -1)}", b""), "cannot be understood at byte"),
        ] {
            let reason = reason(bytes);
            assert!(reason.contains(part), "{part}: {reason}");
        }
    }

    #[test]
    fn a_pipe_that_ends_early_names_the_row() {
        let bytes = file(1, &header("<f4", "(2, 1)"), &[0; 6]);
        let source = Source {
            reader: Box::new(std::io::Cursor::new(bytes)),
            name: "stdin".into(),
            len_bytes: None,
        };
        let mut reader = NpyReader::new(source).unwrap();
        assert!(reader.next_row().unwrap().is_some());
        assert!(reader.next_row().unwrap_err().to_string().starts_with("stdin: row 1:"));
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(text in "[{}():, '\"a-zA-Z<>0-9L\\[|_]{0,80}") {
            let _ = parse_header(text.as_bytes());
        }

        #[test]
        fn any_bytes_are_an_array_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
            let mut all = if magic { MAGIC.to_vec() } else { Vec::new() };
            all.extend(bytes);
            let _ = rows(all);
        }

        /// A good file of which some bytes were changed: closer to the interesting places than random bytes are.
        #[test]
        fn any_damage_is_an_array_or_an_error(at in 0..90_usize, byte in any::<u8>(), cut in 0..90_usize) {
            let mut bytes = file(1, &header("<f4", "(2, 2)"), &[0; 16]);
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut));
            let _ = rows(bytes);
        }
    }
}
