//! Lines of text, one after the other, with their numbers.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use llmspell_storage::limits::VALUE_BYTES_MAX;

use super::Source;
use crate::errors::{CliError, Place};

/// Longest line, in bytes; a vector of the highest dimension with its metadata needs a fortieth of it.
pub(super) const LINE_BYTES_MAX: u64 = 64 << 20;

/// Longest line of an export: a value of a key, in hexadecimal, with its key.
const EXPORTED_BYTES_MAX: u64 = 2 * VALUE_BYTES_MAX as u64 + (1 << 20);

/// The line that a row begins in, and its bytes or why there are none.
pub(super) type NumberedBytes = (u64, Result<Vec<u8>, String>);

/// Lines of text, with their numbers.
pub struct Lines {
    pub(super) reader: BufReader<Box<dyn Read>>,
    /// The name of the file, for messages.
    pub name: String,
    /// The length of the file in bytes, if it has one.
    pub len_bytes: Option<u64>,
    /// Number of bytes that were read.
    pub bytes_read: u64,
    number: u64,
    line_bytes_max: u64,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("name", &self.name)
            .field("len_bytes", &self.len_bytes)
            .field("bytes_read", &self.bytes_read)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Lines {
    /// Lines of a file, numbered from 1.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            reader: BufReader::new(source.reader),
            name: source.name,
            len_bytes: source.len_bytes,
            bytes_read: 0,
            number: 0,
            line_bytes_max: LINE_BYTES_MAX,
        }
    }

    /// Lets lines be as long as an export has them.
    pub fn allow_exported_values(&mut self) {
        self.line_bytes_max = EXPORTED_BYTES_MAX;
    }

    /// Whether the input begins so; looks at what one reading gives.
    pub fn begins_with(&mut self, begin: &str) -> Result<bool, CliError> {
        let bytes = self
            .reader
            .fill_buf()
            .map_err(|source| CliError::file("read", self.name.as_ref(), source))?;
        Ok(bytes.starts_with(begin.as_bytes()))
    }

    /// Whether the first byte that is not blank begins an array; looks at what one reading gives.
    pub(super) fn begins_array(&mut self) -> Result<bool, CliError> {
        let begin = self
            .reader
            .fill_buf()
            .map_err(|source| CliError::file("read", self.name.as_ref(), source))?;
        Ok(begin.trim_ascii_start().starts_with(b"["))
    }

    /// The next line as [`next_line`](Self::next_line) has it, or why one that is too long is none.
    pub(super) fn next_row(&mut self) -> Result<Option<NumberedBytes>, CliError> {
        match self.next_line() {
            Ok(line) => Ok(line.map(|(number, bytes)| (number, Ok(bytes)))),
            Err(CliError::Input {
                place: Some(Place::Line(number)),
                reason,
                ..
            }) => {
                self.skip_line()?;
                Ok(Some((number, Err(reason))))
            }
            Err(error) => Err(error),
        }
    }

    /// Passes over what is left of a line.
    fn skip_line(&mut self) -> Result<(), CliError> {
        loop {
            let failed = |source| CliError::file("read", self.name.as_ref(), source);
            let bytes = self.reader.fill_buf().map_err(failed)?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(bytes.len(), |at| at + 1);
            let is_over = end.is_some() || bytes.is_empty();
            self.reader.consume(count);
            self.bytes_read += count as u64;
            if is_over {
                return Ok(());
            }
        }
    }

    /// The next line that is not empty, as bytes, with its number from 1.
    pub fn next_line(&mut self) -> Result<Option<(u64, Vec<u8>)>, CliError> {
        loop {
            let mut line = Vec::new();
            let count = (&mut self.reader)
                .take(self.line_bytes_max)
                .read_until(b'\n', &mut line)
                .map_err(|source| CliError::file("read", self.name.as_ref(), source))?;
            if count == 0 {
                return Ok(None);
            }
            self.bytes_read += count as u64;
            self.number += 1;
            if count as u64 == self.line_bytes_max && line.last() != Some(&b'\n') {
                return Err(CliError::Input {
                    source_name: self.name.clone(),
                    place: Some(Place::Line(self.number)),
                    reason: format!("the line is longer than {} bytes", self.line_bytes_max),
                    hint: "write one JSON object a line; or is this another format? see --format".into(),
                });
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some((self.number, line)));
            }
        }
    }
}
