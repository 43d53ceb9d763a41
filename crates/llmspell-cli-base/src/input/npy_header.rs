//! NumPy arrays: the header.
//!
//! ```text
//! byte 0        6       8           8 + 2 or 4
//!      │ \x93NUMPY │ version │ length │ {'descr': '<f4', 'fortran_order': False, 'shape': (6200, 384), } │ numbers …
//! ```
//!
//! Versions 1 (length u16), 2 and 3 (length u32), little-endian. Read are one- and two-dimensional arrays in C order
//! of `f2`, `f4`, `f8`, `i4` and `i8`, little-endian; one dimension means a single row. The format is described in
//! `numpy.lib.format`.

use llmspell_storage::limits::DIM_RANGE;

pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy writes 128 bytes for plain arrays; more than this is no header.
const HEADER_BYTES_MAX: usize = 1 << 16;

/// Why bytes are not an array that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
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
    pub fn hint(&self) -> &'static str {
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
pub enum ElementType {
    F16,
    F32,
    F64,
    I32,
    I64,
}

impl ElementType {
    pub fn bytes(self) -> usize {
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

    pub fn is_integer(self) -> bool {
        matches!(self, Self::I32 | Self::I64)
    }
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub element: ElementType,
    pub rows: u64,
    /// Within [`DIM_RANGE`].
    pub columns: usize,
}

impl Header {
    pub fn data_bytes(self) -> Result<u64, NpyError> {
        let row_bytes = (self.columns * self.element.bytes()) as u64;
        self.rows.checked_mul(row_bytes).ok_or(NpyError::TooLarge)
    }
}

/// Number of bytes before the header's text, and of the text, from the first 12 bytes of a file.
pub(super) fn header_span(start: &[u8]) -> Result<(usize, usize), NpyError> {
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
pub(super) fn parse_header(text: &[u8]) -> Result<Header, NpyError> {
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

/// The header of a version 1 file: 128 bytes, as NumPy writes them, so that the numbers begin at a multiple of 64.
#[must_use]
pub fn header_bytes(descr: &str, rows: u64, columns: usize) -> Vec<u8> {
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{dictionary:<117}\n").into_bytes());
    bytes
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_header_has_the_length_it_names_whatever_the_shape() {
        for (rows, columns) in [(1, 1), (u64::MAX, 65_535)] {
            assert_eq!(header_bytes("<f4", rows, columns).len(), 128);
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(text in "[{}():, '\"a-zA-Z<>0-9L\\[|_]{0,80}") {
            let _ = parse_header(text.as_bytes());
        }
    }
}
