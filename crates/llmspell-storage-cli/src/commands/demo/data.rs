//! The bundled passages and questions.

use std::path::{Path, PathBuf};

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::arrays::{ArrayRows, Vectors};
use llmspell_cli_base::input::jsonl::{Lines, RowRules};
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::input::{RowSource, Source, Step};
use llmspell_storage::VectorEntry;
use serde::Deserialize;

const FOLDER: &str = "data/demo";

/// A question in natural language, and its embedding.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) vector: Vec<f32>,
}

/// The folder: the one named, else `data/demo` above the working directory, else in the sources of this program.
pub(crate) fn find(named: Option<PathBuf>) -> Result<PathBuf, CliError> {
    if let Some(folder) = named {
        return Ok(folder);
    }
    let above = std::env::current_dir().ok();
    let above = above.iter().flat_map(|directory| directory.ancestors());
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    above
        .chain(sources)
        .map(|directory| directory.join(FOLDER))
        .find(|folder| folder.join("passages.npy").is_file())
        .ok_or_else(|| {
            CliError::usage(
                "the data of the demo is not here",
                "run it in a clone of the repository, or name its data/demo with --data DIR",
            )
        })
}

/// The passages, to be read one by one.
pub(crate) struct Passages {
    rows: ArrayRows,
    pub(crate) count: u64,
    pub(crate) dim: usize,
}

impl Passages {
    pub(crate) fn open(folder: &Path) -> Result<Self, CliError> {
        let vectors = NpyReader::open(&folder.join("passages.npy"))?;
        let header = vectors.header();
        let metadata = folder.join("passages.jsonl");
        Ok(Self {
            rows: ArrayRows::open(Vectors::Npy(vectors), Some(&metadata), RowRules::default())?,
            count: header.rows,
            dim: header.columns,
        })
    }

    /// At most `limit` more.
    pub(crate) fn next_batch(&mut self, limit: usize) -> Result<Vec<VectorEntry>, CliError> {
        let mut entries = Vec::with_capacity(limit);
        while entries.len() < limit {
            match self.rows.next_row()? {
                Step::Row(row) => entries.push(row.entry),
                Step::Bad(row) => {
                    return Err(CliError::Input {
                        source_name: "passages.jsonl".into(),
                        place: Some(row.place),
                        reason: row.reason,
                        hint: "take data/demo from the repository again".into(),
                    });
                }
                Step::End => break,
            }
        }
        Ok(entries)
    }
}

/// The questions, all at once: they are few.
pub(crate) fn questions(folder: &Path) -> Result<Vec<Question>, CliError> {
    #[derive(Deserialize)]
    struct Line {
        question: String,
    }
    let path = folder.join("questions.jsonl");
    let mut lines = Lines::new(Source::open(&path)?);
    let mut vectors = NpyReader::open(&folder.join("questions.npy"))?;
    let mut questions = Vec::new();
    while let (Some((_, line)), Some(vector)) = (lines.next_line()?, vectors.next_row()?) {
        let line: Line = serde_json::from_slice(&line).map_err(|error| CliError::Input {
            source_name: path.display().to_string(),
            place: None,
            reason: error.to_string(),
            hint: "take data/demo from the repository again".into(),
        })?;
        questions.push(Question {
            text: line.question,
            vector,
        });
    }
    if questions.is_empty() {
        return Err(CliError::usage(
            "there are no questions",
            "take data/demo from the repository again",
        ));
    }
    Ok(questions)
}
