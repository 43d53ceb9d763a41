//! `import`: makes the rows of a file entries, and reports rows that cannot be.
//!
//! Rows are written in batches, each of them whole or not at all, in the order of the file. So what is stored after an
//! interruption is the beginning of the file, and `--resume` is simply: pass over rows that are stored already, with
//! the same vector and the same metadata. No position is kept anywhere, so there is none that could be wrong.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use llmspell_storage::{
    Database, DistanceMetric, EmbeddingModel, HNSWConfig, HNSWVectorStorage, OnExisting, StateScope, StorageError,
    VectorEntry, VectorStorage,
};
use serde::Serialize;
use serde_json::Value;

use crate::errors::{CliError, Place};
use crate::input::arrays::{ArrayRows, Vectors};
use crate::input::fits::Fits;
use crate::input::fvecs::FvecsReader;
use crate::input::jsonl::{FieldArg, JsonLines, OtherFields, RowRules};
use crate::input::npy::NpyReader;
use crate::input::{BadRow, InputRow, RowSource, Source, Step};
use crate::memory_arg::MemoryArg;
use crate::output::{Output, counted, grouped};
use crate::progress::Progress;
use crate::session::{Session, find_space_of, router, unknown_model};

const AFTER_HELP: &str = r#"A JSONL row:
  {"id": "note-1", "vector": [0.1, 0.2], "metadata": {"lang": "en"}, "scope": "user:ada",
   "created_at": "2026-11-22T10:00:00Z", "expires_at": "2027-01-01T00:00:00Z"}
Only the vector must be there. A row without id gets its number, counted from 0.

Examples:
  llmspell-storage --db memory.db import notes.jsonl
  llmspell-storage --db memory.db import dump.jsonl --field vector=emb --field metadata=payload
  llmspell-storage --db memory.db import vectors.npy --metadata rows.jsonl --metric euclidean
  llmspell-storage --db memory.db import notes.jsonl --model text-embedding-3-small
  llmspell-storage --db memory.db import big.jsonl --skip-invalid rejected.jsonl
  llmspell-storage --db memory.db import mails.jsonl --date-field sent --date-field meta.read
  llmspell-storage --db memory.db import big.jsonl --resume"#;

/// Load vectors from JSONL, .npy or .fvecs
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ImportArgs {
    /// File to read; - for JSON lines on stdin
    file: PathBuf,

    /// What the file is [default: by its ending, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// JSON lines that belong to the rows of an array: metadata objects, or objects with id, scope, metadata, times
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,

    /// Which field of the file means what: NAME is id, vector, metadata, scope, or one of the times `created_at`,
    /// `updated_at`, `event_time`, `expires_at`
    #[arg(long = "field", value_name = "NAME=FIELD")]
    fields: Vec<FieldArg>,

    /// What happens to fields that no option names
    #[arg(long, value_enum, default_value_t)]
    other_fields: OtherFields,

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jsonl,
    Npy,
    Fvecs,
}

/// Settings of the index, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    Fast,
    Balanced,
    Accurate,
}

impl Preset {
    pub(crate) fn config(self) -> HNSWConfig {
        match self {
            Self::Fast => HNSWConfig::fast(),
            Self::Balanced => HNSWConfig::balanced(),
            Self::Accurate => HNSWConfig::accurate(),
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
    let mut rows = open_rows(&args, session)?;
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

fn open_rows(args: &ImportArgs, session: &Session<'_>) -> Result<Box<dyn RowSource>, CliError> {
    let rules = RowRules {
        fields: args.fields.clone(),
        other_fields: args.other_fields,
        id_prefix: args.id_prefix.clone(),
        default_scope: session.scope(),
    };
    let format = args
        .format
        .unwrap_or_else(|| match args.file.extension().and_then(|ending| ending.to_str()) {
            Some("npy") => Format::Npy,
            Some("fvecs") => Format::Fvecs,
            _ => Format::Jsonl,
        });
    let source = Source::open(&args.file)?;
    let vectors = match format {
        Format::Jsonl if args.metadata.is_some() => {
            return Err(CliError::usage(
                "--metadata belongs to .npy and .fvecs; JSON lines carry their own",
                "leave it out, or name the array file",
            ));
        }
        Format::Jsonl => return Ok(Box::new(JsonLines::new(source, rules))),
        Format::Npy => Vectors::Npy(NpyReader::new(source)?),
        Format::Fvecs => Vectors::Fvecs(FvecsReader::new(source)?),
    };
    Ok(Box::new(ArrayRows::open(vectors, args.metadata.as_deref(), rules)?))
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
    entries: Vec<VectorEntry>,
    ids: HashSet<(StateScope, String)>,
}

struct Import<'a> {
    args: &'a ImportArgs,
    session: &'a Session<'a>,
    database: Database,
    model: Option<EmbeddingModel>,
    /// Opened when the first row has told the dimension.
    target: Option<Target>,
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
                Step::Row(row) => self.take(*row).await?,
                Step::Bad(row) => self.reject(&row)?,
                Step::End => return self.write_batch().await,
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

    async fn take(&mut self, mut row: InputRow) -> Result<(), CliError> {
        let target = match self.target.take() {
            Some(target) => target,
            None => self.open_target(row.entry.embedding.len()).await?,
        };
        let target = self.target.insert(target);

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
        self.batch.entries.push(row.entry);
        if self.batch.entries.len() >= self.args.batch as usize {
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
        // A first row of another dimension than the space has is a bad row, not a reason to give up.
        let dim = existing.map_or(dim, |store| store.dim());
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
        let Batch { entries, ids: _ } = std::mem::take(&mut self.batch);
        let Some(target) = self.target.as_ref().filter(|_| !entries.is_empty()) else {
            return Ok(());
        };
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

/// Where rejected rows go: JSON lines of place, reason and the row itself.
struct RejectedFile {
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
    fn create(path: &Path) -> Result<Self, CliError> {
        let file = File::create(path).map_err(|source| CliError::file("create", path, source))?;
        Ok(Self {
            writer: BufWriter::new(file),
            path: path.to_path_buf(),
        })
    }

    fn write(&mut self, row: &BadRow) -> Result<(), CliError> {
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

    fn finish(mut self) -> Result<(), CliError> {
        self.writer
            .flush()
            .map_err(|source| CliError::file("write", &self.path, source))
    }
}
