//! Rows of text that wait for their vectors, which a command of the user makes.

use std::mem;

use llmspell_storage::FieldPath;

use super::bad_row;
use super::intake::Row;
use crate::commands::embedder::{Embedder, Expected, GROUP, Job, Question, text_of};

const JOB: Job = Job {
    hint: "mend the command and run the same import again with --resume: what was stored is not embedded again; \
           `import --help` says what it reads and writes",
    doubt: "the rows are stored, but vectors may be those of other rows",
};
use llmspell_cli_base::errors::CliError;

/// Rows in the order of the file, good and bad.
pub(super) struct Texts {
    embedder: Embedder,
    text_field: FieldPath,
    rows: Vec<Row>,
    group: usize,
}

impl Texts {
    /// At most `batch` rows wait together.
    pub(super) fn new(command: &str, text_field: FieldPath, expected: Expected, batch: usize) -> Self {
        Self {
            embedder: Embedder::new(command, expected, JOB),
            text_field,
            rows: Vec::new(),
            group: batch.min(GROUP),
        }
    }

    /// A row that may be embedded; one without text is a bad one.
    pub(super) fn checked(&self, row: Row) -> Row {
        row.and_then(|row| match text_of(&row.entry, &self.text_field) {
            Some(_) => Ok(row),
            None => {
                let reason = format!("field `{}` holds no text to embed", self.text_field);
                Err(bad_row(row, reason))
            }
        })
    }

    /// Lets a row wait. Says whether it is time to embed.
    pub(super) fn add(&mut self, row: Row) -> bool {
        self.rows.push(row);
        self.rows.len() >= self.group
    }

    /// The rows that waited, the good ones with their vectors. After a failure of the command they are gone.
    pub(super) fn embed(&mut self) -> Result<Vec<Row>, CliError> {
        let mut rows = mem::take(&mut self.rows);
        let entries = rows.iter().flatten().map(|row| row.entry.clone());
        let questions: Vec<_> = entries
            .map(|entry| Question::about(entry, &self.text_field, false))
            .collect();
        if !questions.is_empty() {
            let vectors = self.embedder.embed(&questions)?;
            for (row, vector) in rows.iter_mut().flatten().zip(vectors) {
                row.entry.embedding = vector;
            }
        }
        Ok(rows)
    }

    /// Lets the command end.
    pub(super) fn finish(self) -> Result<(), CliError> {
        self.embedder.finish()
    }
}
