//! NumPy arrays: their numbers, row by row.
//!
//! Numbers follow the header, row after row, little-endian. `f2`, `f4` and `f8` are read as `f32`; `i4` and `i8` as
//! `f32`, or as the whole numbers they are.

use std::path::Path;

pub use super::npy_header::header_bytes;
use super::npy_header::{ElementType, Header, NpyError, header_span, parse_header};
use super::{Source, read_up_to};
use crate::errors::{CliError, Place};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// An array, read row by row.
#[derive(Debug)]
pub struct NpyReader {
    source: Source,
    header: Header,
    rows_read: u64,
    row_bytes: Vec<u8>,
}

impl NpyReader {
    /// Opens the file and reads its header.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        Self::new(Source::open(path)?)
    }

    /// Reads the header.
    pub fn new(mut source: Source) -> Result<Self, CliError> {
        let header = read_header(&mut source)?;
        let row_bytes = vec![0; header.columns * header.element.bytes()];
        Ok(Self {
            source,
            header,
            rows_read: 0,
            row_bytes,
        })
    }

    /// The kind of the elements and the shape.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// The name of the file, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Number of rows that were read.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// The next row as `f32`; none at the end.
    pub fn next_row(&mut self) -> Result<Option<Vec<f32>>, CliError> {
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
    pub fn next_integers(&mut self) -> Result<Option<Vec<i64>>, CliError> {
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

    use super::super::npy_header::MAGIC;
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
        fn any_bytes_are_an_array_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
            let mut all = if magic { MAGIC.to_vec() } else { Vec::new() };
            all.extend(bytes);
            let _ = rows(all);
        }

        /// A good file with some bytes changed, which is closer to the interesting cases than random bytes.
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
