//! Input files, row by row.
//!
//! | file        | question                                                              |
//! |-------------|-----------------------------------------------------------------------|
//! | `compressed.rs` | what do gzip, Zstandard and a byte-order mark hide?               |
//! | `times.rs`  | which moment is meant?                                                |
//! | `shapes.rs` | which other store wrote the rows?                                     |
//! | `elements.rs` | which bytes are the elements of a JSON array?                       |
//! | `lines.rs`  | which line is next, and where does it stand?                          |
//! | `format.rs` | what kind of file is it?                                              |
//! | `jsonl.rs`  | one JSON object a line: which fields mean what?                       |
//! | `csv_rows.rs` | comma- or tab-separated values                                      |
//! | `npy.rs`    | NumPy arrays: what do their numbers say, row by row?                  |
//! | `npy_header.rs` | … and what does the header say?                                   |
//! | `fvecs.rs`  | `.fvecs`: a count and that many floats for each vector                |
//! | `dims.rs`   | how long are most vectors?                                            |
//! | `fits.rs`   | does an entry fit the space that it is for?                           |
//! | `arrays.rs` | a row of numbers and a line of metadata: which entry are they together? |
//!
//! Readers are total: whatever the bytes are, the answer is a row, a row that is bad for a stated reason, or an error
//! that names the file and the place. Nothing is read ahead by more than a row.

pub(crate) mod arrays;
pub(crate) mod compressed;
pub(crate) mod csv_rows;
pub(crate) mod dims;
mod elements;
pub(crate) mod fits;
pub(crate) mod format;
pub(crate) mod fvecs;
pub(crate) mod jsonl;
mod lines;
pub(crate) mod npy;
pub(crate) mod npy_header;
mod shapes;
mod times;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use llmspell_storage::VectorEntry;

use crate::errors::{CliError, Place};

/// One step through an input.
#[derive(Debug)]
pub(crate) enum Step {
    /// An entry.
    Row(Box<InputRow>),
    /// Something that is no entry; the next row can still be read.
    Bad(BadRow),
    /// There is no more.
    End,
}

/// An entry and where it stood.
#[derive(Debug)]
pub(crate) struct InputRow {
    pub(crate) place: Place,
    pub(crate) entry: VectorEntry,
    /// The line itself, where the input is text.
    pub(crate) line: Option<String>,
}

/// A row that is no entry, and why.
#[derive(Debug)]
pub(crate) struct BadRow {
    pub(crate) place: Place,
    pub(crate) reason: String,
    /// The line itself, where the input is text.
    pub(crate) line: Option<String>,
}

/// Something that yields entries.
pub(crate) trait RowSource {
    /// The next row.
    ///
    /// # Errors
    ///
    /// When nothing can be read from here on.
    fn next_row(&mut self) -> Result<Step, CliError>;

    /// How far we are, in [`unit`](Self::unit)s.
    fn position(&self) -> u64;

    /// Where it ends, if that is known.
    fn total(&self) -> Option<u64>;

    /// `rows` or `bytes`.
    fn unit(&self) -> &'static str;
}

/// A file, or stdin for `-`, its name for messages, and its length if it has one.
pub(crate) struct Source {
    pub(crate) reader: Box<dyn Read>,
    pub(crate) name: String,
    pub(crate) len_bytes: Option<u64>,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        if path == Path::new("-") {
            return Ok(Self {
                reader: plain(Box::new(io::stdin().lock()), "stdin".as_ref())?.0,
                name: "stdin".into(),
                len_bytes: None,
            });
        }
        let file = File::open(path).map_err(|source| CliError::file("open", path, source))?;
        let metadata = file.metadata().map_err(|source| CliError::file("read", path, source))?;
        if metadata.is_dir() {
            return Err(CliError::usage(
                format!("{} is a directory", path.display()),
                "name a .jsonl, .json, .csv, .npy or .fvecs file",
            ));
        }
        let (reader, is_packed) = plain(Box::new(BufReader::with_capacity(1 << 18, file)), path)?;
        Ok(Self {
            reader,
            name: path.display().to_string(),
            len_bytes: (metadata.is_file() && !is_packed).then_some(metadata.len()),
        })
    }
}

fn plain(reader: Box<dyn Read>, path: &Path) -> Result<(Box<dyn Read>, bool), CliError> {
    compressed::plain(reader).map_err(|source| CliError::file("read", path, source))
}

/// Fills as much of `bytes` as there is; fewer bytes than asked for mean the end.
pub(crate) fn read_up_to(reader: &mut dyn Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
