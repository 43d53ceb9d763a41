//! The bundled passages and questions, and which passages answer which question.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::arrays::{ArrayRows, Vectors};
use llmspell_cli_base::input::jsonl::{Lines, RowRules};
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::input::{RowSource, Source, Step};
use llmspell_storage::VectorEntry;
use serde::Deserialize;
use serde::de::DeserializeOwned;

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
                        hint: TAKE_AGAIN.into(),
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
    let lines: Vec<Line> = read_lines(&folder.join("questions.jsonl"))?;
    let mut vectors = NpyReader::open(&folder.join("questions.npy"))?;
    let mut questions = Vec::new();
    for line in lines {
        let Some(vector) = vectors.next_row()? else { break };
        questions.push(Question {
            text: line.question,
            vector,
        });
    }
    if questions.is_empty() {
        return Err(CliError::usage("there are no questions", TAKE_AGAIN));
    }
    Ok(questions)
}

/// A question that some passages answer, by the judgment of a reader.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    /// Its place among the questions.
    pub(crate) question: usize,
    /// Ids of all passages that answer it.
    pub(crate) answers: Vec<String>,
}

/// The grade of a passage after which a reader could stop.
const ANSWERS: u8 = 2;

/// The questions with an embedding that any passage answers, in the order of the file.
pub(crate) fn judgments(folder: &Path, questions: &[Question]) -> Result<Vec<Judged>, CliError> {
    let path = folder.join("judgments.jsonl");
    let mut judged = Vec::new();
    for line in read_lines::<JudgedLine>(&path)? {
        let Some(question) = line.embedded else { continue };
        if questions.get(question).is_none_or(|asked| asked.text != line.question) {
            return Err(unreadable(
                &path,
                format!("row {question} of questions.npy is not “{}”", line.question),
            ));
        }
        let answers: Vec<String> = line.ids_graded(ANSWERS).map(str::to_string).collect();
        if !answers.is_empty() {
            judged.push(Judged { question, answers });
        }
    }
    Ok(judged)
}

#[derive(Deserialize)]
struct JudgedLine {
    question: String,
    embedded: Option<usize>,
    grades: BTreeMap<String, u8>,
}

impl JudgedLine {
    fn ids_graded(&self, at_least: u8) -> impl Iterator<Item = &str> {
        let graded = self.grades.iter().filter(move |(_, grade)| **grade >= at_least);
        graded.map(|(id, _)| id.as_str())
    }
}

const TAKE_AGAIN: &str = "take data/demo from the repository again";

fn unreadable(path: &Path, reason: String) -> CliError {
    CliError::Input {
        source_name: path.display().to_string(),
        place: None,
        reason,
        hint: TAKE_AGAIN.into(),
    }
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, CliError> {
    let mut lines = Lines::new(Source::open(path)?);
    let mut read = Vec::new();
    while let Some((_, line)) = lines.next_line()? {
        read.push(serde_json::from_slice(&line).map_err(|error| unreadable(path, error.to_string()))?);
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn judgments_name_only_passages_and_questions_that_there_are() {
        let folder = find(None).unwrap();
        let mut passages = Passages::open(&folder).unwrap();
        let count = usize::try_from(passages.count).unwrap();
        let passages = passages.next_batch(count).unwrap();
        let ids: BTreeSet<&str> = passages.iter().map(|passage| passage.id.as_str()).collect();
        assert_eq!(ids.len(), 6_200, "each id once");

        let lines: Vec<JudgedLine> = read_lines(&folder.join("judgments.jsonl")).unwrap();
        assert_eq!(lines.len(), 200);
        for line in &lines {
            assert!(
                line.grades.values().all(|grade| (1..=2).contains(grade)),
                "{}",
                line.question
            );
            for id in line.ids_graded(1) {
                assert!(ids.contains(id), "{}: there is no passage {id}", line.question);
            }
        }
        let embedded: BTreeSet<usize> = lines.iter().filter_map(|line| line.embedded).collect();
        assert!(embedded.iter().copied().eq(0..40), "each embedding is of one question");

        let questions = questions(&folder).unwrap();
        let judged = judgments(&folder, &questions).unwrap();
        assert_eq!(
            judged.len(),
            28,
            "of 40 embedded questions 12 have no passage that answers"
        );
    }
}
