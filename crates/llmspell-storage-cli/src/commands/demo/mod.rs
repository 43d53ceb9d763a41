//! `demo`: the Rust documentation, one scope per book, searched in natural language, by words, and by both.
//!
//! Everything that is printed is checked too: a promise that does not hold ends the demo with an error.
//!
//! | file         | question                                        |
//! |--------------|-------------------------------------------------|
//! | `mod.rs`     | what is shown, in which order?                  |
//! | `walls.rs`   | does a scope keep to itself?                    |
//! | `summary.rs` | what did it cost?                               |
//! | `data.rs`    | where are the passages and the questions?       |
//! | `answers.rs` | what do the books answer, and how quickly?      |
//! | `ways.rs`    | what do words, meaning and both answer?         |

mod answers;
mod data;
mod summary;
mod walls;
mod ways;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use llmspell_storage::{DEFAULT_SPACE, Database, HNSWConfig, HNSWVectorStorage, StateScope};
use serde_json::json;

use self::answers::{Answer, Timing, ask};
use self::data::{Passages, Question};
use llmspell_bench::measure::latency::rounded;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, grouped, one_line};
use llmspell_cli_base::progress::Progress;

const BATCH: usize = 1000;
/// The field of the metadata that holds a passage, whose words are indexed.
const TEXT_FIELD: &str = "text";
/// Rounds over all questions for the latencies; with 40 questions and 11 scopes about 9,000 searches.
const ROUNDS: usize = 20;
/// Together with score and gaps, 100 columns.
const QUESTION_WIDTH: usize = 66;
const SOURCE_WIDTH: usize = 25;
const TEXT_WIDTH: usize = 97;

/// Search the Rust documentation in natural language: the whole engine in a few seconds
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  llmspell-storage demo
  llmspell-storage demo --dir rust-docs.db
  llmspell-storage --db rust-docs.db --scope std search --like 'std/struct.Rc#9' -k 5
  llmspell-storage --db rust-docs.db --scope std search --text 'elapsed SystemTime' --snippet 80")]
pub(crate) struct DemoArgs {
    /// Keep the database in this new directory [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Folder with passages.npy, passages.jsonl, questions.npy, questions.jsonl and judgments.jsonl [default: data/demo]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(crate) async fn run(args: DemoArgs, output: &mut Output) -> Result<(), CliError> {
    let folder = data::find(args.data)?;
    let questions = data::questions(&folder)?;
    let judged = data::judgments(&folder, &questions)?;
    // Removed when it goes out of scope, on errors too.
    let temporary;
    let directory = match &args.dir {
        Some(directory) => {
            refuse_a_used_directory(directory)?;
            directory.as_path()
        }
        None => {
            temporary = tempfile::tempdir().map_err(|source| CliError::system("cannot make a directory", source))?;
            temporary.path()
        }
    };

    let (demo, load_seconds) = Demo::load(directory, questions, Passages::open(&folder)?, output).await?;
    let answers = demo.answer(output).await?;
    let (demo, reopen_seconds) = demo.reopen(&answers, output).await?;
    let timing = demo.measure().await?;
    let costs = demo.costs(load_seconds, reopen_seconds, timing).await?;
    ways::show(&demo, &judged, output).await?;
    walls::show(&demo, &answers, output).await?;
    costs.show(output)?;
    demo.close().await?;

    if let Some(directory) = &args.dir {
        let directory = directory.display();
        output.text(format!("\nKept in {directory}. Go on with"))?;
        output.text(format!("  llmspell-storage --db {directory} scope ls"))?;
        output.text(format!(
            "  llmspell-storage --db {directory} --scope std search --like 'std/struct.Rc#9' -k 5"
        ))?;
        output.text(format!(
            "  llmspell-storage --db {directory} --scope std search --text 'elapsed SystemTime' --snippet 80"
        ))?;
    }
    Ok(())
}

fn refuse_a_used_directory(directory: &Path) -> Result<(), CliError> {
    let is_used = std::fs::read_dir(directory).is_ok_and(|mut items| items.next().is_some());
    if is_used {
        return Err(CliError::usage(
            format!("{} is not empty", directory.display()),
            "name a new directory; the demo makes it",
        ));
    }
    Ok(())
}

/// An open database with the passages in it.
struct Demo<'a> {
    directory: &'a Path,
    questions: Vec<Question>,
    database: Database,
    store: HNSWVectorStorage,
    scopes: Vec<StateScope>,
}

impl<'a> Demo<'a> {
    /// Stores the passages, and says how many seconds that took.
    async fn load(
        directory: &'a Path,
        questions: Vec<Question>,
        mut passages: Passages,
        output: &mut Output,
    ) -> Result<(Self, f64), CliError> {
        let dim = passages.dim;
        let count = grouped(passages.count);
        output.text(output.bold(&format!(
            "{count} passages of the Rust documentation, one scope per book"
        )))?;
        let progress = Progress::new(Some(passages.count), "rows", output.is_json());

        let started = Instant::now();
        let database = Database::open(directory).await?;
        let config = HNSWConfig::balanced().with_text_fields([TEXT_FIELD]);
        let store = database.vectors(DEFAULT_SPACE, dim, config).await?;
        let mut vectors = 0;
        loop {
            let batch = passages.next_batch(BATCH)?;
            if batch.is_empty() {
                break;
            }
            vectors += store.insert(batch).await?.len() as u64;
            progress.set(vectors);
        }
        let seconds = started.elapsed().as_secs_f64();
        drop(progress);

        let scopes = store.scopes().await?;
        output.object(&json!({
            "step": "load", "vectors": vectors, "dim": dim, "scopes": scopes.len(), "seconds": rounded(seconds),
            "vectors_per_second": (vectors as f64 / seconds).round(),
        }))?;
        output.text(format!(
            "Loaded in {seconds:.2} s into {} scopes; each batch was on the disk when its insert returned.",
            scopes.len()
        ))?;
        let demo = Self {
            directory,
            questions,
            database,
            store,
            scopes,
        };
        Ok((demo, seconds))
    }

    /// Answers every question from all books.
    async fn answer(&self, output: &mut Output) -> Result<Vec<Answer>, CliError> {
        let answers = self.ask(&mut Timing::default()).await?;
        output.text("")?;
        for (question, answer) in self.questions.iter().zip(&answers) {
            output.object(&json!({
                "step": "answer", "question": question.text, "score": answer.score,
                "scope": answer.scope.to_string(), "id": answer.id, "page": answer.page(), "text": answer.text(),
            }))?;
            let asked = output.bold(&format!("{:QUESTION_WIDTH$}", one_line(&question.text, QUESTION_WIDTH)));
            let source = one_line(&answer.source(), SOURCE_WIDTH);
            output.text(format!("{asked}  {:.3}  {source}", answer.score))?;
            output.text(output.dim(&format!("  {}", one_line(answer.text(), TEXT_WIDTH))))?;
        }
        Ok(answers)
    }

    async fn ask(&self, timing: &mut Timing) -> Result<Vec<Answer>, CliError> {
        ask(&self.store, &self.scopes, &self.questions, timing).await
    }

    /// Closes, opens again, and finds the same; says how many seconds the opening took.
    async fn reopen(self, answers: &[Answer], output: &mut Output) -> Result<(Self, f64), CliError> {
        let (directory, questions, scopes) = (self.directory, self.questions.clone(), self.scopes.clone());
        self.close().await?;
        let started = Instant::now();
        let database = Database::open(directory).await?;
        let store = database.existing_vectors(DEFAULT_SPACE).await?;
        let seconds = started.elapsed().as_secs_f64();
        let demo = Self {
            directory,
            questions,
            database,
            store: store.ok_or_else(|| broken("the space to be there after reopening"))?,
            scopes,
        };

        // Bit for bit: a score is compared as the number it is.
        if demo.store.scopes().await? != demo.scopes || demo.ask(&mut Timing::default()).await? != answers {
            return Err(broken("the same answers after reopening"));
        }
        output.object(&json!({
            "step": "reopen", "seconds": rounded(seconds), "answers": answers.len(), "identical": true,
        }))?;
        output.text("")?;
        output.text(format!(
            "{} Closed, opened again in {:.1} ms: all {} answers are the same, bit for bit.",
            output.bold("Durable."),
            seconds * 1000.0,
            answers.len()
        ))?;
        Ok((demo, seconds))
    }

    /// Returns when the lock is free: the store is a handle too.
    async fn close(self) -> Result<(), CliError> {
        drop(self.store);
        Ok(self.database.close().await?)
    }

    async fn measure(&self) -> Result<Timing, CliError> {
        let mut timing = Timing::default();
        for _ in 0..ROUNDS {
            self.ask(&mut timing).await?;
        }
        Ok(timing)
    }
}

fn broken(expected: &str) -> CliError {
    CliError::PromiseBroken {
        expected: expected.to_string(),
    }
}
