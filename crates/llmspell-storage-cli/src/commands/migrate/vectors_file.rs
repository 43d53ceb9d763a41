//! New vectors from a file, by id and scope; the file is read once to learn where each of them stands.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use llmspell_storage::{StateScope, VectorEntry};

use llmspell_cli_base::errors::{CliError, Place};
use llmspell_cli_base::input::Source;
use llmspell_cli_base::input::fits::Fits;
use llmspell_cli_base::input::jsonl::{Lines, OtherFields, RowRules};

/// JSON lines with id, scope and vector; other fields do not count.
pub(super) struct VectorsFile {
    file: File,
    path: PathBuf,
    rules: RowRules,
    fits: Fits,
    rows: HashMap<(StateScope, String), Row>,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy)]
struct Row {
    start: u64,
    bytes: usize,
    line: u64,
    /// Number of the row, from 0: the id of one that has none.
    number: u64,
}

impl VectorsFile {
    /// Reads all of it. A row that names no scope is in `default_scope`.
    pub(super) fn open(path: &Path, default_scope: StateScope, fits: Fits) -> Result<Self, CliError> {
        if path == Path::new("-") {
            return Err(CliError::usage(
                "new vectors are looked up in their file, which stdin is not",
                "write them to a file, or let --with make them",
            ));
        }
        let mut lines = Lines::new(Source::open(path)?);
        let file = File::open(path).map_err(|source| CliError::file("open", path, source))?;
        let mut vectors = Self {
            file,
            path: path.to_path_buf(),
            rules: RowRules {
                other_fields: OtherFields::Drop,
                default_scope,
                ..RowRules::default()
            },
            fits,
            rows: HashMap::new(),
        };
        let mut number = 0;
        while let Some((line, bytes)) = lines.next_line()? {
            let row = Row {
                start: lines.bytes_read - bytes.len() as u64,
                bytes: bytes.len(),
                line,
                number,
            };
            let entry = vectors.entry(&bytes, row)?;
            if vectors.rows.insert((entry.scope, entry.id.clone()), row).is_some() {
                let reason = format!("id `{}` stands twice in its scope", entry.id);
                return Err(vectors.bad(row, reason));
            }
            number += 1;
        }
        Ok(vectors)
    }

    /// The vectors of these entries, each of which fits.
    pub(super) fn embed(&mut self, entries: &[VectorEntry]) -> Result<Vec<Vec<f32>>, CliError> {
        entries.iter().map(|entry| self.vector(entry)).collect()
    }

    fn vector(&mut self, entry: &VectorEntry) -> Result<Vec<f32>, CliError> {
        let Some(row) = self.rows.get(&(entry.scope.clone(), entry.id.clone())).copied() else {
            return Err(CliError::NotFound {
                message: format!(
                    "{} has no vector for `{}` of {}",
                    self.path.display(),
                    entry.id,
                    entry.scope
                ),
                hint: "add it, and run the same migration again: what was copied stays copied".into(),
            });
        };
        let mut bytes = vec![0; row.bytes];
        let read = self
            .file
            .seek(SeekFrom::Start(row.start))
            .and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|source| CliError::file("read", &self.path, source))?;
        Ok(self.entry(&bytes, row)?.embedding)
    }

    fn entry(&self, bytes: &[u8], row: Row) -> Result<VectorEntry, CliError> {
        let text = std::str::from_utf8(bytes).map_err(|error| self.bad(row, error.to_string()))?;
        let entry = self
            .rules
            .entry(text, row.number, None)
            .map_err(|reason| self.bad(row, reason))?;
        self.fits
            .check(&entry)
            .map_err(|error| self.bad(row, error.to_string()))?;
        Ok(entry)
    }

    fn bad(&self, row: Row, reason: String) -> CliError {
        CliError::Input {
            source_name: self.path.display().to_string(),
            place: Some(Place::Line(row.line)),
            reason,
            hint:
                "write a line {\"id\": …, \"scope\": …, \"vector\": […]} for each entry, of the length of the new model"
                    .into(),
        }
    }
}
