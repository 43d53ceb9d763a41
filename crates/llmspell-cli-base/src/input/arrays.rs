//! Entries of a row of numbers and a line of metadata.
//!
//! Arrays carry no ids. With a metadata file, line `n` belongs to row `n`: either the metadata object itself, or an
//! object whose fields are those of a JSONL row without the vector (`id`, `scope`, `metadata`, times). All lines of a file
//! are of one kind: the latter if `metadata` is an object in one of them, or if none has other fields than those.

use std::path::Path;

use llmspell_storage::VectorEntry;
use serde_json::{Map, Value};

use super::fvecs::FvecsReader;
use super::jsonl::{Lines, RowRules};
use super::npy::NpyReader;
use super::{BadRow, InputRow, RowSource, Source, Step};
use crate::errors::{CliError, Place};
use crate::output::counted;

/// Where the numbers come from.
#[derive(Debug)]
pub enum Vectors {
    /// A `.npy` file
    Npy(NpyReader),
    /// A `.fvecs` file
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
#[derive(Debug)]
pub struct ArrayRows {
    vectors: Vectors,
    metadata: Option<Lines>,
    /// Whether lines say more than metadata.
    are_envelopes: bool,
    rules: RowRules,
}

impl ArrayRows {
    /// Refuses a metadata file whose number of lines is not that of the rows: what follows a gap would get the
    /// metadata of its neighbor.
    pub fn open(vectors: Vectors, metadata: Option<&Path>, rules: RowRules) -> Result<Self, CliError> {
        let survey = metadata.map(|path| Survey::of(path, &rules)).transpose()?;
        if let (Some(path), Some(survey), Some(rows)) = (metadata, &survey, vectors.rows()) {
            let lines = survey.lines;
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
            are_envelopes: survey.is_some_and(|survey| survey.are_envelopes()),
            rules,
        })
    }

    fn entry(&self, vector: Vec<f32>, row: u64, line: &[u8]) -> Result<VectorEntry, String> {
        let line = std::str::from_utf8(line).map_err(|error| format!("metadata: {error}"))?;
        let fields: Map<String, Value> =
            serde_json::from_str(line).map_err(|error| format!("metadata is not a JSON object: {error}"))?;
        if self.are_envelopes {
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

/// What the lines of a metadata file have in common.
#[derive(Debug, Default)]
struct Survey {
    lines: u64,
    /// Lines with an object `metadata`.
    with_metadata: u64,
    /// Lines that have fields, and some that only metadata can have.
    with_others: u64,
    /// Lines that have fields, and none but those of a row.
    known_only: u64,
}

impl Survey {
    fn of(path: &Path, rules: &RowRules) -> Result<Self, CliError> {
        let mut lines = Lines::new(Source::open(path)?);
        let mut survey = Self::default();
        while let Some((_, line)) = lines.next_line()? {
            survey.lines += 1;
            let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(&line) else {
                continue;
            };
            survey.with_metadata += u64::from(rules.has_metadata(&fields));
            survey.with_others += u64::from(!rules.are_known(&fields));
            survey.known_only += u64::from(!fields.is_empty() && rules.are_known(&fields));
        }
        if survey.with_metadata == 0 && survey.with_others > 0 && survey.known_only > 0 {
            eprintln!(
                "note: each line of {} is read as metadata; {} could be an id, a scope or times, were they all like that",
                path.display(),
                counted(survey.known_only, "line", "lines")
            );
        }
        Ok(survey)
    }

    fn are_envelopes(&self) -> bool {
        self.with_metadata > 0 || (self.with_others == 0 && self.known_only > 0)
    }
}
