//! Entries of a row of numbers and a line of metadata.
//!
//! Arrays carry no ids. With a metadata file, line `n` belongs to row `n`: either the metadata object itself, or an
//! object whose fields are those of a JSONL row without the vector (`id`, `scope`, `metadata`, times). It is taken for
//! the latter if `metadata` is an object in it, or if it has no other fields than those.

use std::path::Path;

use llmspell_storage::VectorEntry;
use serde_json::{Map, Value};

use super::fvecs::FvecsReader;
use super::jsonl::{Lines, RowRules};
use super::npy::NpyReader;
use super::{BadRow, InputRow, RowSource, Source, Step};
use crate::errors::{CliError, Place};

/// Where the numbers come from.
pub(crate) enum Vectors {
    Npy(NpyReader),
    Fvecs(FvecsReader),
}

impl Vectors {
    fn next_row(&mut self) -> Result<Option<Vec<f32>>, CliError> {
        match self {
            Self::Npy(reader) => reader.next_row(),
            Self::Fvecs(reader) => reader.next_row(),
        }
    }

    fn rows_read(&self) -> u64 {
        match self {
            Self::Npy(reader) => reader.rows_read(),
            Self::Fvecs(reader) => reader.rows_read(),
        }
    }

    fn rows(&self) -> Option<u64> {
        match self {
            Self::Npy(reader) => Some(reader.header().rows),
            Self::Fvecs(reader) => reader.rows(),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Npy(reader) => reader.name(),
            Self::Fvecs(reader) => reader.name(),
        }
    }
}

/// Entries from an array and an optional file of metadata.
pub(crate) struct ArrayRows {
    vectors: Vectors,
    metadata: Option<Lines>,
    rules: RowRules,
}

impl ArrayRows {
    /// Refuses a metadata file whose number of lines is not that of the rows: what follows a gap would get the
    /// metadata of its neighbor.
    pub(crate) fn open(vectors: Vectors, metadata: Option<&Path>, rules: RowRules) -> Result<Self, CliError> {
        if let (Some(path), Some(rows)) = (metadata, vectors.rows()) {
            let lines = count_lines(path)?;
            if lines != rows {
                return Err(CliError::Input {
                    source_name: path.display().to_string(),
                    place: None,
                    reason: format!("it has {lines} lines for the {rows} rows of {}", vectors.name()),
                    hint: "write one line for each row, {} where there is nothing to say".into(),
                });
            }
        }
        let metadata = metadata.map(|path| Source::open(path).map(Lines::new)).transpose()?;
        Ok(Self {
            vectors,
            metadata,
            rules,
        })
    }

    fn entry(&self, vector: Vec<f32>, row: u64, line: &[u8]) -> Result<VectorEntry, String> {
        let line = std::str::from_utf8(line).map_err(|error| format!("metadata: {error}"))?;
        let fields: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| format!("metadata is not a JSON object: {error}"))?;
        if self.rules.is_envelope(&fields) {
            return self.rules.entry(line, row, Some(vector));
        }
        Ok(self.bare_entry(vector, row).with_metadata(fields))
    }

    fn bare_entry(&self, vector: Vec<f32>, row: u64) -> VectorEntry {
        VectorEntry::new(self.rules.numbered_id(row), vector).with_scope(self.rules.default_scope.clone())
    }
}

impl RowSource for ArrayRows {
    fn next_row(&mut self) -> Result<Step, CliError> {
        let row = self.vectors.rows_read();
        let place = Place::Row(row);
        let vector = self.vectors.next_row()?;
        let line = match &mut self.metadata {
            None => None,
            Some(lines) => {
                let line = lines.next_line()?;
                if line.is_none() != vector.is_none() {
                    return Err(CliError::Input {
                        source_name: lines.name.clone(),
                        place: None,
                        reason: format!("it does not have as many lines as {} has rows", self.vectors.name()),
                        hint: "write one line for each row, {} where there is nothing to say".into(),
                    });
                }
                line.map(|(_, bytes)| bytes)
            }
        };
        let Some(vector) = vector else { return Ok(Step::End) };
        let Some(line) = line else {
            return Ok(Step::Row(Box::new(InputRow {
                place,
                entry: self.bare_entry(vector, row),
                line: None,
            })));
        };
        let text = || Some(String::from_utf8_lossy(&line).trim().to_string());
        Ok(match self.entry(vector, row, &line) {
            Ok(entry) => Step::Row(Box::new(InputRow {
                place,
                entry,
                line: text(),
            })),
            Err(reason) => Step::Bad(BadRow {
                place,
                reason,
                line: text(),
            }),
        })
    }

    fn position(&self) -> u64 {
        self.vectors.rows_read()
    }

    fn total(&self) -> Option<u64> {
        self.vectors.rows()
    }

    fn unit(&self) -> &'static str {
        "rows"
    }
}

fn count_lines(path: &Path) -> Result<u64, CliError> {
    let mut lines = Lines::new(Source::open(path)?);
    let mut count = 0;
    while lines.next_line()?.is_some() {
        count += 1;
    }
    Ok(count)
}
