//! `import`: makes the rows of a file entries, and reports rows that cannot be.
//!
//! Rows are written in batches, each of them whole or not at all, in the order of the file. So what is stored after an
//! interruption is the beginning of the file, and `--resume` is simply: pass over rows that are stored already, with
//! the same vector and the same metadata. No position is kept anywhere, so there is none that could be wrong.
//!
//! | file         | question                                          |
//! |--------------|---------------------------------------------------|
//! | `mod.rs`     | what can be asked, and which file is it?          |
//! | `target.rs`  | which space do rows go to, and what does it take? |
//! | `texts.rs`   | which rows wait for vectors of a command?         |
//! | `intake.rs`  | what happens to a row until it is stored?         |

mod intake;
mod target;
mod texts;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use llmspell_storage::{DistanceMetric, FieldPath};
use serde::Serialize;

use self::intake::{Import, LeftOver};
use self::target::{Opening, open_database};
use super::embedder::{self, TEXT_FIELD, parse_text_field};
use super::export::HEADER_BEGIN;
use super::rejected::RejectedFile;
use super::restore::{self, Manner};
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::arrays::{ArrayRows, Vectors};
use llmspell_cli_base::input::csv_rows::CsvRows;
use llmspell_cli_base::input::format::Format;
use llmspell_cli_base::input::fvecs::FvecsReader;
use llmspell_cli_base::input::jsonl::{FieldArg, JsonLines, Lines, OtherFields, RowRules};
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::input::{BadRow, InputRow, RowSource, Source};
use llmspell_cli_base::memory_arg::MemoryArg;
use llmspell_cli_base::output::{Output, counted};
use llmspell_cli_base::preset_arg::Preset;
use llmspell_cli_base::progress::Progress;
use llmspell_cli_base::text_args::TextArgs;

/// Rows per batch, unless the call says otherwise. Where a command makes the vectors it is that of its questions: what was
/// embedded is stored soon.
const BATCH_ROWS: usize = 1000;

const MORE_HELP: &str = r#"A JSONL row:
  {"id": "note-1", "vector": [0.1, 0.2], "metadata": {"lang": "en"}, "scope": "user:ada",
   "created_at": "2026-11-22T10:00:00Z", "expires_at": "2027-01-01T00:00:00Z"}
Only the vector must be there. A row without id gets its number, counted from 0. Rows may have a `text` whose words are
found by `search --text`, and one without a vector goes where words are indexed.

Examples:
  llmspell-storage --db memory.db import notes.jsonl
  llmspell-storage --db memory.db import dump.jsonl --field vector=emb --field metadata=payload
  llmspell-storage --db memory.db import table.csv.gz --vector-field embedding
  llmspell-storage --db memory.db import vectors.npy --metadata rows.jsonl --metric euclidean
  llmspell-storage --db memory.db import notes.jsonl --model text-embedding-3-small
  llmspell-storage --db memory.db import texts.csv --embed-field body --with 'python embed.py'
  llmspell-storage --db memory.db import pages.csv --text-field body --words-of title --stemmer english
  llmspell-storage --db memory.db import big.jsonl --skip-invalid rejected.jsonl
  llmspell-storage --db memory.db import mails.jsonl --date-field sent --date-field meta.read
  llmspell-storage --db memory.db import big.jsonl --resume"#;

fn after_help() -> String {
    format!(
        "{MORE_HELP}\n\nWith --with, rows have a text in place of the vector. {}",
        embedder::PROTOCOL
    )
}

/// Load vectors from JSON lines, a JSON array, CSV, .npy or .fvecs
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct ImportArgs {
    /// File to read, also if it is compressed by gzip or Zstandard; - for stdin
    file: PathBuf,

    /// What the file is; `jsonl` takes one JSON array too [default: by its ending, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// JSON lines that belong to the rows of an array: metadata objects, or objects with id, scope, metadata, times
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,

    /// Which field of the file means what: NAME is id, vector, text, metadata, scope, or one of the times `created_at`,
    /// `updated_at`, `event_time`, `expires_at`
    #[arg(long = "field", value_name = "NAME=FIELD")]
    fields: Vec<FieldArg>,

    /// The field or column that holds the vector: short for --field vector=FIELD
    #[arg(long, value_name = "FIELD")]
    vector_field: Option<String>,

    /// The field or column that holds the text of the entry, whose words are found by `search --text`: short for --field
    /// text=FIELD; the space indexes words from then on
    #[arg(long, value_name = "FIELD")]
    text_field: Option<String>,

    #[command(flatten)]
    texts: TextArgs,

    /// Command that makes the vector of each row of its text, with its arguments; it is asked as below
    #[arg(long, value_name = "COMMAND", conflicts_with = "vector_field")]
    with: Option<String>,

    /// The field or column that holds the text for --with, which becomes metadata; without one, it is that of --text-field
    #[arg(long, value_name = "FIELD", requires = "with", default_value = TEXT_FIELD, value_parser = parse_text_field)]
    embed_field: FieldPath,

    /// What happens to fields that no option names [default: refuse; of CSV, with --with, and of rows that another store
    /// wrote: metadata]
    #[arg(long, value_enum)]
    other_fields: Option<OtherFields>,

    /// Components of a vector in a new space [default: of most of the first batch]
    #[arg(long, value_name = "COUNT")]
    dim: Option<usize>,

    /// Put this before the number that a row without id gets
    #[arg(long, value_name = "TEXT", default_value = "")]
    id_prefix: String,

    /// Rows per batch; a batch is stored whole or not at all [default: 1000, with --with 64]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: Option<u32>,

    /// Replace entries whose id exists, instead of refusing
    #[arg(long)]
    upsert: bool,

    /// Pass over rows that are stored already, for example by an import that was interrupted
    #[arg(long)]
    resume: bool,

    /// Write rows that cannot be stored to this file, with the reason, and go on
    #[arg(long, value_name = "FILE")]
    skip_invalid: Option<PathBuf>,

    /// How vectors are compared: cosine, euclidean, dot, manhattan [default: that of the space, else cosine]
    #[arg(long)]
    metric: Option<DistanceMetric>,

    /// Settings of the index [default: those of the space, else balanced]
    #[arg(long, value_enum)]
    preset: Option<Preset>,

    /// This field of the metadata holds RFC 3339 dates, and filters compare moments; may be given several times, and
    /// replaces those that the space had [default: those of the space, else none]
    #[arg(long = "date-field", value_name = "FIELD")]
    date_fields: Vec<String>,

    /// What of the index is kept in RAM [default: that of the space, else balanced]
    #[arg(long, value_enum)]
    memory: Option<MemoryArg>,

    /// Share of the ten nearest that searches are to find; each scope gets the beam that it needs [default: that of the
    /// space]
    #[arg(long, value_name = "RECALL")]
    recall_target: Option<f64>,
}

impl ImportArgs {
    /// Whether a field is named that holds the texts of entries.
    fn names_text(&self) -> bool {
        self.text_field.is_some() || self.fields.iter().any(FieldArg::is_text)
    }

    fn batch(&self) -> usize {
        match (self.batch, &self.with) {
            (Some(rows), _) => rows as usize,
            (None, Some(_)) => embedder::GROUP,
            (None, None) => BATCH_ROWS,
        }
    }
}

/// What an import did.
#[derive(Debug, Default, Serialize)]
struct Summary {
    stored: u64,
    already_there: u64,
    rejected: u64,
    seconds: f64,
    rows_per_second: f64,
}

pub(crate) async fn run(args: ImportArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    session.directory()?;
    // The input comes first: a wrong file name must not leave an empty database behind.
    let mut rows = match open_rows(&args, session)? {
        Rows::Of(rows) => rows,
        Rows::Export(lines) => {
            let manner = Manner {
                replaces: args.upsert || args.resume,
                batch: args.batch(),
                folder: args.file.parent().map(PathBuf::from).unwrap_or_default(),
            };
            return restore::run(*lines, manner, session, output).await;
        }
    };
    let rejected = args.skip_invalid.as_deref().map(RejectedFile::create).transpose()?;
    let left_over = LeftOver::of(session.directory()?);
    let (database, model) = open_database(session).await?;
    let progress = Progress::new(rows.total(), rows.unit(), output.is_json());
    let opening = Opening {
        args: &args,
        session,
        database,
        model,
    };
    let mut import = Import::new(opening, rejected).await?;
    let started = Instant::now();
    let read = import.read(&mut *rows, &progress).await;
    drop(progress);
    if let Err(error) = read {
        import.give_up(left_over).await;
        return Err(error);
    }
    let summary = import.finish(started).await?;

    output.object(&summary)?;
    let seconds = summary.seconds;
    let stored = counted(summary.stored, "entry", "entries");
    output.text(format!(
        "{stored} stored in {seconds:.2} s, {:.0} a second",
        summary.rows_per_second
    ))?;
    if summary.already_there > 0 {
        output.text(format!(
            "{} there already",
            counted(summary.already_there, "row was", "rows were")
        ))?;
    }
    if let (Some(path), 1..) = (&args.skip_invalid, summary.rejected) {
        output.text(format!(
            "{} rejected, see {}",
            counted(summary.rejected, "row", "rows"),
            path.display()
        ))?;
    }
    Ok(())
}

/// What a file holds.
enum Rows {
    Of(Box<dyn RowSource>),
    /// What `export` wrote.
    Export(Box<Lines>),
}

fn open_rows(args: &ImportArgs, session: &Session<'_>) -> Result<Rows, CliError> {
    let format = args.format.unwrap_or_else(|| Format::of(&args.file));
    let named_vector = args.vector_field.as_deref().map(FieldArg::vector);
    let named_text = args.text_field.as_deref().map(FieldArg::text);
    let others = match format {
        _ if args.with.is_some() => OtherFields::Metadata,
        Format::Csv | Format::Tsv => OtherFields::Metadata,
        Format::Jsonl | Format::Npy | Format::Fvecs => OtherFields::default(),
    };
    let rules = RowRules {
        may_recognize: args.with.is_none()
            && args.fields.is_empty()
            && named_vector.is_none()
            && named_text.is_none()
            && args.other_fields.is_none(),
        fields: args
            .fields
            .iter()
            .cloned()
            .chain(named_vector)
            .chain(named_text)
            .collect(),
        may_lack_vector: args.names_text() || args.texts.names_fields(),
        other_fields: args.other_fields.unwrap_or(others),
        text_field: args.with.as_ref().and(args.embed_field.keys().first().cloned()),
        id_prefix: args.id_prefix.clone(),
        default_scope: session.scope(),
        ..RowRules::default()
    };
    let source = Source::open(&args.file)?;
    let has_vectors = |what: &str| {
        CliError::usage(
            format!("{what} has vectors already, and --with would make others"),
            "leave out --with, or name a file of rows with text; `migrate --with` gives stored entries other vectors",
        )
    };
    let vectors = match format {
        Format::Npy | Format::Fvecs if args.with.is_some() => return Err(has_vectors("an array")),
        Format::Jsonl | Format::Csv | Format::Tsv if args.metadata.is_some() => {
            return Err(CliError::usage(
                "--metadata belongs to .npy and .fvecs; JSON lines and tables carry their own",
                "leave it out, or name the array file",
            ));
        }
        Format::Jsonl => {
            let mut lines = Lines::new(source);
            return Ok(match lines.begins_with(HEADER_BEGIN)? {
                true if args.with.is_some() => return Err(has_vectors("an export")),
                true => Rows::Export(Box::new(lines)),
                false => Rows::Of(Box::new(JsonLines::new(lines, rules))),
            });
        }
        Format::Csv => return Ok(Rows::Of(Box::new(CsvRows::open(source, b',', rules)?))),
        Format::Tsv => return Ok(Rows::Of(Box::new(CsvRows::open(source, b'\t', rules)?))),
        Format::Npy => Vectors::Npy(NpyReader::new(source)?),
        Format::Fvecs => Vectors::Fvecs(FvecsReader::new(source)?),
    };
    let rows = ArrayRows::open(vectors, args.metadata.as_deref(), rules)?;
    Ok(Rows::Of(Box::new(rows)))
}

fn bad_row(row: InputRow, reason: String) -> BadRow {
    BadRow {
        place: row.place,
        reason,
        line: row.line,
    }
}
