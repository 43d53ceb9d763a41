//! `import`: makes the rows of a file entries, and reports rows that cannot be.
//!
//! Rows are written in batches, each of them whole or not at all, in the order of the file. So what is stored after an
//! interruption is the beginning of the file, and `--resume` is simply: pass over rows that are stored already, with
//! the same vector and the same metadata. No position is kept anywhere, so there is none that could be wrong.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use llmspell_storage::limits::DIM_RANGE;
use llmspell_storage::{
    Database, DistanceMetric, EmbeddingModel, ErrorKind, HNSWConfig, HNSWVectorStorage, OnExisting, StateScope,
    StorageError, VectorEntry, VectorStorage,
};
use serde::Serialize;
use serde_json::Value;

use super::export::HEADER_BEGIN;
use super::rejected::RejectedFile;
use super::restore::{self, Manner};
use crate::session::{Session, find_space_of, router, unknown_model};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::arrays::{ArrayRows, Vectors};
use llmspell_cli_base::input::csv_rows::CsvRows;
use llmspell_cli_base::input::dims::Dims;
use llmspell_cli_base::input::fits::Fits;
use llmspell_cli_base::input::format::Format;
use llmspell_cli_base::input::fvecs::FvecsReader;
use llmspell_cli_base::input::jsonl::{FieldArg, JsonLines, Lines, OtherFields, RowRules};
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::input::{BadRow, InputRow, RowSource, Source, Step};
use llmspell_cli_base::memory_arg::MemoryArg;
use llmspell_cli_base::output::{Output, counted, grouped};
use llmspell_cli_base::preset_arg::Preset;
use llmspell_cli_base::progress::Progress;

const AFTER_HELP: &str = r#"A JSONL row:
  {"id": "note-1", "vector": [0.1, 0.2], "metadata": {"lang": "en"}, "scope": "user:ada",
   "created_at": "2026-11-22T10:00:00Z", "expires_at": "2027-01-01T00:00:00Z"}
Only the vector must be there. A row without id gets its number, counted from 0.

Examples:
  llmspell-storage --db memory.db import notes.jsonl
  llmspell-storage --db memory.db import dump.jsonl --field vector=emb --field metadata=payload
  llmspell-storage --db memory.db import table.csv.gz --vector-field embedding
  llmspell-storage --db memory.db import vectors.npy --metadata rows.jsonl --metric euclidean
  llmspell-storage --db memory.db import notes.jsonl --model text-embedding-3-small
  llmspell-storage --db memory.db import big.jsonl --skip-invalid rejected.jsonl
  llmspell-storage --db memory.db import mails.jsonl --date-field sent --date-field meta.read
  llmspell-storage --db memory.db import big.jsonl --resume"#;

/// Load vectors from JSON lines, a JSON array, CSV, .npy or .fvecs
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ImportArgs {
    /// File to read, also if it is compressed by gzip or Zstandard; - for stdin
    file: PathBuf,

    /// What the file is; `jsonl` takes one JSON array too [default: by its ending, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// JSON lines that belong to the rows of an array: metadata objects, or objects with id, scope, metadata, times
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,

    /// Which field of the file means what: NAME is id, vector, metadata, scope, or one of the times `created_at`,
    /// `updated_at`, `event_time`, `expires_at`
    #[arg(long = "field", value_name = "NAME=FIELD")]
    fields: Vec<FieldArg>,

    /// The field or column that holds the vector: short for --field vector=FIELD
    #[arg(long, value_name = "FIELD")]
    vector_field: Option<String>,

    /// What happens to fields that no option names [default: refuse; of CSV and of rows that another store wrote: metadata]
    #[arg(long, value_enum)]
    other_fields: Option<OtherFields>,

    /// Components of a vector in a new space [default: of most of the first batch]
    #[arg(long, value_name = "COUNT")]
    dim: Option<usize>,

    /// Put this before the number that a row without id gets
    #[arg(long, value_name = "TEXT", default_value = "")]
    id_prefix: String,

    /// Rows per batch; a batch is stored whole or not at all
    #[arg(long, value_name = "ROWS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,

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
                batch: args.batch as usize,
            };
            return restore::run(*lines, manner, session, output).await;
        }
    };
    let rejected = args.skip_invalid.as_deref().map(RejectedFile::create).transpose()?;
    let left_over = LeftOver::of(session.directory()?);
    let (database, model) = open_database(session).await?;
    let progress = Progress::new(rows.total(), rows.unit(), output.is_json());

    let mut import = Import {
        args: &args,
        session,
        database,
        model,
        target: None,
        waiting: Vec::new(),
        batch: Batch::default(),
        rejected,
        summary: Summary::default(),
    };
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
    let others = match format {
        Format::Csv | Format::Tsv => OtherFields::Metadata,
        Format::Jsonl | Format::Npy | Format::Fvecs => OtherFields::default(),
    };
    let rules = RowRules {
        may_recognize: args.fields.is_empty() && named_vector.is_none() && args.other_fields.is_none(),
        fields: args.fields.iter().cloned().chain(named_vector).collect(),
        other_fields: args.other_fields.unwrap_or(others),
        id_prefix: args.id_prefix.clone(),
        default_scope: session.scope(),
        ..RowRules::default()
    };
    let source = Source::open(&args.file)?;
    let vectors = match format {
        Format::Jsonl | Format::Csv | Format::Tsv if args.metadata.is_some() => {
            return Err(CliError::usage(
                "--metadata belongs to .npy and .fvecs; JSON lines and tables carry their own",
                "leave it out, or name the array file",
            ));
        }
        Format::Jsonl => {
            let mut lines = Lines::new(source);
            return Ok(match lines.begins_with(HEADER_BEGIN)? {
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

/// The database, and the model that is named: a known one, or a preset that becomes known with the first row.
async fn open_database(session: &Session<'_>) -> Result<(Database, Option<EmbeddingModel>), CliError> {
    let preset = session.model().map(|model| (model, EmbeddingModel::preset(model)));
    if let Some((model, None)) = &preset
        && !session.directory()?.exists()
    {
        return Err(CliError::from(StorageError::UnknownModel {
            model: model.chars().take(64).collect(),
            known: Vec::new(),
        }));
    }
    let database = session.open_or_create().await?;
    let Some((name, preset)) = preset else {
        return Ok((database, None));
    };
    let known = find_space_of(&database, name).await?.and_then(|space| space.model);
    match known.or(preset) {
        Some(model) => Ok((database, Some(model))),
        None => Err(unknown_model(&database, name).await?),
    }
}

/// Rows that wait to be written together; no id stands twice in it.
#[derive(Debug, Default)]
struct Batch {
    rows: Vec<InputRow>,
    ids: HashSet<(StateScope, String)>,
}

struct Import<'a> {
    args: &'a ImportArgs,
    session: &'a Session<'a>,
    database: Database,
    model: Option<EmbeddingModel>,
    /// Opened when the rows that wait have told the dimension.
    target: Option<Target>,
    /// Rows until then, good and bad, in the order of the file.
    waiting: Vec<Result<InputRow, BadRow>>,
    batch: Batch,
    rejected: Option<RejectedFile>,
    summary: Summary,
}

/// Where rows go.
struct Target {
    fits: Fits,
    /// The store that entries are read from and written to.
    storage: Arc<dyn VectorStorage>,
}

/// A database that was not there before this import.
struct LeftOver<'a>(Option<&'a Path>);

impl<'a> LeftOver<'a> {
    /// Of a directory that is looked at before the import opens it.
    fn of(directory: &'a Path) -> Self {
        Self((!directory.exists()).then_some(directory))
    }
}

impl Import<'_> {
    /// Takes every row, and writes what is left in the last batch.
    async fn read(&mut self, rows: &mut dyn RowSource, progress: &Progress) -> Result<(), CliError> {
        loop {
            match rows.next_row()? {
                Step::Row(row) => self.accept(Ok(*row)).await?,
                Step::Bad(row) => self.accept(Err(row)).await?,
                Step::End => {
                    self.settle().await?;
                    return self.write_batch().await;
                }
            }
            progress.set(rows.position());
            progress.say(format!("{} stored", grouped(self.summary.stored)));
        }
    }

    /// Closes the database, and removes it if it was made for rows of which none was stored.
    async fn give_up(self, left_over: LeftOver<'_>) {
        let is_empty = self.summary.stored == 0;
        drop(self.target);
        let is_closed = self.database.close().await.is_ok();
        if let (Some(directory), true, true) = (left_over.0, is_empty, is_closed) {
            // What cannot be removed is an empty database, which the next import fills.
            let _ = std::fs::remove_dir_all(directory);
        }
    }

    /// Takes a row, or lets it wait until the dimension is known.
    async fn accept(&mut self, row: Result<InputRow, BadRow>) -> Result<(), CliError> {
        if self.target.is_some() {
            return self.take(row).await;
        }
        let ends_import = row.is_err() && self.rejected.is_none();
        self.waiting.push(row);
        if ends_import || self.waiting.len() >= self.args.batch as usize {
            self.settle().await?;
        }
        Ok(())
    }

    /// Takes the rows that wait. The dimension is the one that is declared, or that of most of them.
    async fn settle(&mut self) -> Result<(), CliError> {
        let waiting = std::mem::take(&mut self.waiting);
        let dims = Dims::of(waiting.iter().flatten().map(|row| row.entry.embedding.len()));
        if let (None, Some(dim)) = (&self.target, self.args.dim.or(dims.most)) {
            let target = self.open_target(dim).await?;
            if self.args.dim.is_none() && target.fits.model.is_none() && target.fits.stored == dim {
                dims.note_others();
            }
            self.target = Some(target);
        }
        for row in waiting {
            self.take(row).await?;
        }
        Ok(())
    }

    async fn take(&mut self, row: Result<InputRow, BadRow>) -> Result<(), CliError> {
        let mut row = match row {
            Ok(row) => row,
            Err(bad) => return self.reject(&bad),
        };
        let Some(target) = &self.target else {
            let dim = row.entry.embedding.len();
            let (least, most) = (DIM_RANGE.start(), DIM_RANGE.end());
            let reason = format!("the vector has {dim} components; {least} to {most} are allowed");
            return self.reject(&bad_row(row, reason));
        };
        if let Err(error) = target.fits.check(&row.entry) {
            return self.reject(&bad_row(row, error.to_string()));
        }
        row.entry.model = self.model.as_ref().map(|model| model.name.as_str().into());
        let entry = &row.entry;
        let name = (entry.scope.clone(), entry.id.clone());
        if !entry.id.is_empty() && self.batch.ids.contains(&name) {
            if !self.args.upsert {
                let reason = format!(
                    "id `{}` stands twice in this file; --upsert lets the last one win",
                    entry.id
                );
                return self.reject(&bad_row(row, reason));
            }
            self.write_batch().await?;
        }
        // Without these options, the store itself refuses a batch with an id that exists.
        if self.args.resume || (self.rejected.is_some() && !self.args.upsert) {
            match self.find_stored(&row.entry).await? {
                Stored::Same if self.args.resume => {
                    self.summary.already_there += 1;
                    return Ok(());
                }
                Stored::Same | Stored::Different if !self.args.upsert => {
                    let reason = format!("id `{}` exists in its scope; --upsert replaces it", row.entry.id);
                    return self.reject(&bad_row(row, reason));
                }
                Stored::Same | Stored::Different | Stored::Missing => {}
            }
        }
        self.batch.ids.insert(name);
        self.batch.rows.push(row);
        if self.batch.rows.len() >= self.args.batch as usize {
            self.write_batch().await?;
        }
        Ok(())
    }

    async fn open_target(&self, dim: usize) -> Result<Target, CliError> {
        if let Some(model) = &self.model
            && find_space_of(&self.database, &model.name).await?.is_none()
        {
            router(&self.database).await?.register_model(model.clone()).await?;
        }
        let space = self.session.space_name(&self.database).await?;
        let store = self.open_store(&space, dim).await?;
        let spaces = self.database.spaces().await?;
        let info = spaces.into_iter().find(|info| info.name == space);
        Ok(Target {
            fits: Fits {
                model: info.and_then(|info| info.model),
                stored: store.dim(),
                metric: store.metric(),
            },
            storage: self.session.storage(&self.database, &store).await?,
        })
    }

    async fn open_store(&self, space: &str, dim: usize) -> Result<HNSWVectorStorage, CliError> {
        let existing = self.database.existing_vectors(space).await?;
        let config = match (&existing, self.args.preset) {
            (_, Some(preset)) => {
                let metric = existing.as_ref().map(|store| store.config().metric());
                preset.config().with_metric(metric.unwrap_or_default())
            }
            (Some(store), None) => store.config().clone(),
            (None, None) => HNSWConfig::default(),
        };
        let config = match self.args.metric {
            Some(metric) => config.with_metric(metric),
            None => config,
        };
        let memory = match (self.args.memory, &existing) {
            (Some(memory), _) => memory.into(),
            (None, Some(store)) => store.config().memory(),
            (None, None) => config.memory(),
        };
        let config = config.with_memory(memory);
        let config = match (&*self.args.date_fields, &existing) {
            ([], None) => config,
            ([], Some(store)) => config.with_date_fields(store.config().date_fields().iter().cloned()),
            (fields, _) => config.with_date_fields(fields),
        };
        // Rows of another dimension than the space has are bad rows, not a reason to give up.
        let dim = match (self.args.dim, existing) {
            (None, Some(store)) => store.dim(),
            _ => dim,
        };
        Ok(self.database.vectors(space, dim, config).await?)
    }

    async fn find_stored(&self, entry: &VectorEntry) -> Result<Stored, CliError> {
        let Target { fits, storage } = self.target.as_ref().expect("take opens the target first");
        let Some(stored) = storage.get(&entry.scope, &entry.id).await? else {
            return Ok(Stored::Missing);
        };
        let fields = |metadata: &Value| metadata.as_object().cloned().unwrap_or_default();
        let is_same = stored.embedding == fits.kept(entry)? && fields(&stored.metadata) == fields(&entry.metadata);
        Ok(if is_same { Stored::Same } else { Stored::Different })
    }

    async fn write_batch(&mut self) -> Result<(), CliError> {
        let Batch { rows, ids: _ } = std::mem::take(&mut self.batch);
        if rows.is_empty() {
            return Ok(());
        }
        if self.rejected.is_none() {
            let entries = rows.into_iter().map(|row| row.entry).collect();
            return self.write(entries).await;
        }
        let entries = rows.iter().map(|row| row.entry.clone()).collect();
        match self.write(entries).await {
            Err(CliError::Storage(error)) if error.kind() == ErrorKind::Invalid => self.write_singly(rows).await,
            written => written,
        }
    }

    /// Finds the rows that the store refuses, and sets them aside.
    async fn write_singly(&mut self, rows: Vec<InputRow>) -> Result<(), CliError> {
        for row in rows {
            match self.write(vec![row.entry.clone()]).await {
                Err(CliError::Storage(error)) if error.kind() == ErrorKind::Invalid => {
                    self.reject(&bad_row(row, error.to_string()))?;
                }
                written => written?,
            }
        }
        Ok(())
    }

    async fn write(&mut self, entries: Vec<VectorEntry>) -> Result<(), CliError> {
        let target = self.target.as_ref().expect("rows are taken for a target");
        let count = entries.len() as u64;
        let on_existing = if self.args.upsert {
            OnExisting::Replace
        } else {
            OnExisting::Refuse
        };
        target.storage.write(entries, on_existing).await?;
        self.summary.stored += count;
        Ok(())
    }

    fn reject(&mut self, row: &BadRow) -> Result<(), CliError> {
        let Some(rejected) = &mut self.rejected else {
            return Err(CliError::Input {
                source_name: self.args.file.display().to_string(),
                place: Some(row.place),
                reason: format!(
                    "{} ({} stored before)",
                    row.reason,
                    counted(self.summary.stored, "row", "rows")
                ),
                hint: "mend the row and run it again with --resume, or set such rows aside with --skip-invalid FILE; \
                       for unknown fields see --field and --other-fields"
                    .into(),
            });
        };
        self.summary.rejected += 1;
        rejected.write(row)
    }

    async fn finish(mut self, started: Instant) -> Result<Summary, CliError> {
        if let Some(rejected) = self.rejected.take() {
            rejected.finish()?;
        }
        let mut summary = self.summary;
        summary.seconds = started.elapsed().as_secs_f64();
        summary.rows_per_second = summary.stored as f64 / summary.seconds.max(1e-9);
        // The store is a handle too, and the lock is free when the last one goes.
        drop(self.target);
        self.database.close().await?;
        Ok(summary)
    }
}

enum Stored {
    Missing,
    Same,
    Different,
}

fn bad_row(row: InputRow, reason: String) -> BadRow {
    BadRow {
        place: row.place,
        reason,
        line: row.line,
    }
}
