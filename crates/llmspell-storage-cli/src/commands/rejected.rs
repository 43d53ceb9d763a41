//! The file of the rows that an import set aside.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use llmspell_cli_base::errors::{CliError, Place};
use llmspell_cli_base::input::BadRow;

/// Where rejected rows go: JSON lines of place, reason and the row itself.
pub(super) struct RejectedFile {
    writer: BufWriter<File>,
    path: PathBuf,
}

#[derive(Serialize)]
struct RejectedRow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
}

impl RejectedFile {
    pub(super) fn create(path: &Path) -> Result<Self, CliError> {
        let file = File::create(path).map_err(|source| CliError::file("create", path, source))?;
        Ok(Self {
            writer: BufWriter::new(file),
            path: path.to_path_buf(),
        })
    }

    pub(super) fn write(&mut self, row: &BadRow) -> Result<(), CliError> {
        let (line, number) = match row.place {
            Place::Line(line) => (Some(line), None),
            Place::Row(row) => (None, Some(row)),
        };
        let rejected = RejectedRow {
            line,
            row: number,
            reason: &row.reason,
            input: row.line.as_deref(),
        };
        let mut text = serde_json::to_string(&rejected).expect("strings and numbers are JSON");
        text.push('\n');
        self.writer
            .write_all(text.as_bytes())
            .map_err(|source| CliError::file("write", &self.path, source))
    }

    pub(super) fn finish(mut self) -> Result<(), CliError> {
        self.writer
            .flush()
            .map_err(|source| CliError::file("write", &self.path, source))
    }
}
