//! `migrate`: gives the entries of one model vectors of another.
//!
//! | file              | question                                              |
//! |-------------------|-------------------------------------------------------|
//! | `mod.rs`          | from where to where, and what is said of it?          |
//! | `vectors_file.rs` | how are the new vectors found in a file?              |
//!
//! The command of a user that makes them is in `commands/embedder.rs`.

mod vectors_file;

use std::future::ready;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use llmspell_storage::{
    Database, DimensionRouter, EmbeddingModel, FieldPath, MigrationReport, ModelSpace, SpaceInfo, SpaceRole,
    StorageError, VectorEntry,
};
use serde_json::json;

use self::vectors_file::VectorsFile;
use super::embedder::{Embedder, Expected, Job, PROTOCOL, Question, TEXT_FIELD, parse_text_field};
use crate::model_args::ModelArgs;
use crate::session::{Session, router};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::fits::Fits;
use llmspell_cli_base::output::{Output, counted, grouped};
use llmspell_cli_base::progress::Progress;

const MORE_HELP: &str = r#"With --vectors, the new vectors come from a file of JSON lines {"id": "note-1", "scope": "user:ada", "vector": [0.1, …]};
other fields do not count. `--json list --all` writes what there is to embed.

Until the end everything goes on with the old vectors. Then the new space takes the place of the old one, in one
transaction. If the migration is cut short, run it again: what was copied is not embedded again.

Examples:
  llmspell-storage --db memory.db migrate --from all-MiniLM-L6-v2 --to bge-m3 --with 'python embed.py'
  llmspell-storage --db memory.db migrate --from default --to ours-2 --dim 768 --vectors new.jsonl
  llmspell-storage --db memory.db migrate --from bge-m3 --to text-embedding-3-large --store-dim 1024 --with ./embed"#;

const JOB: Job = Job {
    hint: "mend the command and run the same migration again: what was copied is not embedded again; `migrate --help` \
           says what it reads and writes",
    doubt: "the migration is done, but vectors may be those of other entries",
};

/// Give every entry of a model a vector of another model, and put that in its place
#[derive(Debug, Args)]
#[command(after_help = format!("{PROTOCOL}\n\n{MORE_HELP}"))]
pub(crate) struct MigrateArgs {
    /// Model, or space, whose entries get new vectors
    #[arg(long, value_name = "MODEL_OR_SPACE")]
    from: String,

    /// Model that makes the new vectors: a preset, or one that --dim describes
    #[arg(long, value_name = "MODEL")]
    to: String,

    #[command(flatten)]
    model: ModelArgs,

    /// Command that makes a vector of each entry, with its arguments
    #[arg(
        long,
        value_name = "COMMAND",
        required_unless_present = "vectors",
        conflicts_with = "vectors"
    )]
    with: Option<String>,

    /// Field of the metadata that the command gets as `text`
    #[arg(long, value_name = "FIELD", requires = "with", default_value = TEXT_FIELD, value_parser = parse_text_field)]
    embed_field: FieldPath,

    /// Let the command have the old vector of each entry too, as `vector`
    #[arg(long, requires = "with")]
    send_vectors: bool,

    /// JSON lines that hold the new vectors
    #[arg(long, value_name = "JSONL")]
    vectors: Option<PathBuf>,
}

/// What makes the new vectors.
enum Source {
    Command {
        embedder: Embedder,
        text_field: FieldPath,
        sends_vectors: bool,
    },
    File(VectorsFile),
}

impl Source {
    fn open(args: &MigrateArgs, fits: Fits, session: &Session<'_>) -> Result<Self, CliError> {
        Ok(match (&args.with, &args.vectors) {
            (Some(command), _) => Self::Command {
                embedder: Embedder::new(command, Expected::Of(fits), JOB),
                text_field: args.embed_field.clone(),
                sends_vectors: args.send_vectors,
            },
            (None, Some(path)) => Self::File(VectorsFile::open(path, session.scope(), fits)?),
            (None, None) => unreachable!("the arguments require one of the two"),
        })
    }

    fn embed(&mut self, entries: Vec<VectorEntry>) -> Result<Vec<Vec<f32>>, CliError> {
        match self {
            Self::Command {
                embedder,
                text_field,
                sends_vectors,
            } => {
                let entries = entries.into_iter();
                let questions = entries.map(|entry| Question::about(entry, text_field, *sends_vectors));
                embedder.embed(&questions.collect::<Vec<_>>())
            }
            Self::File(file) => file.embed(&entries),
        }
    }

    /// That nothing is left over.
    fn finish(self) -> Result<(), CliError> {
        match self {
            Self::Command { embedder, .. } => embedder.finish(),
            Self::File(_) => Ok(()),
        }
    }
}

pub(crate) async fn run(args: MigrateArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let database = session.open_here("migrate").await?;
    let spaces = database.spaces().await?;
    let from = space_from(&args.from, &spaces)?.clone();
    let to = space_to(&args, &from, &spaces)?;
    let mut source = Source::open(&args, fits(&to), session)?;
    let router = router(&database).await?;
    if from.role == SpaceRole::Plain {
        router.adopt_space(&from.name, None).await?;
    }

    let vectors = vectors_of(&database, &from).await?;
    let copied_before = copied_so_far(&router, &from).await?;
    if copied_before > 0 {
        output.text(format!(
            "{} of {} were copied before",
            grouped(copied_before),
            counted(vectors, "entry", "entries")
        ))?;
        output.flush()?;
    }
    let progress = Progress::new(Some(vectors), "entries", output.is_json());
    let (name, mut done) = (to.model().name.clone(), copied_before);
    progress.set(done);
    let started = Instant::now();
    let migrated = router
        .migrate_space(&from.name, to.space.clone(), |entries| {
            let count = entries.len() as u64;
            // The command, or the file, is what everything waits for.
            let embedded = tokio::task::block_in_place(|| source.embed(entries));
            done += count;
            progress.set(done);
            ready(embedded)
        })
        .await;
    let seconds = started.elapsed().as_secs_f64();
    drop(progress);
    let MigrationReport {
        embedded,
        copied,
        rounds,
        ..
    } = migrated.map_err(own_error)?;
    output.object(&json!({
        "from": from.name, "to": name, "model": to.model(), "store_dim": to.space.store_dim(), "vectors": vectors,
        "embedded": embedded, "copied": copied, "copied_before": copied_before, "rounds": rounds, "seconds": seconds,
    }))?;
    let sentence = format!(
        "{} embedded in {seconds:.2} s; `{name}` has taken the place of `{}`",
        counted(embedded, "entry", "entries"),
        from.name
    );
    output.text(sentence)?;
    source.finish()?;
    drop(router);
    database.close().await?;
    Ok(())
}

/// What the source of the vectors said itself, if it was that which failed.
fn own_error(error: StorageError) -> CliError {
    match error {
        StorageError::Embedding { source } => match source.downcast_ref::<CliError>() {
            Some(own) => own.clone(),
            None => StorageError::Embedding { source }.into(),
        },
        other => other.into(),
    }
}

/// The space of a name, or of a model.
fn space_from<'s>(name: &str, spaces: &'s [SpaceInfo]) -> Result<&'s SpaceInfo, CliError> {
    let preset = EmbeddingModel::preset(name);
    let of_model = |space: &&SpaceInfo| {
        let model = space.model.as_ref().map(|model| model.name.as_str());
        model == Some(name) || (model.is_some() && model == preset.as_ref().map(|preset| preset.name.as_str()))
    };
    let of_name = spaces.iter().find(|space| space.name == name);
    of_name.or_else(|| spaces.iter().find(of_model)).ok_or_else(|| {
        let known = spaces
            .iter()
            .map(|space| format!("`{}` ({} components)", space.name, space.dim));
        CliError::from(StorageError::UnknownSpace {
            name: name.chars().take(64).collect(),
            known: known.collect(),
        })
    })
}

/// The model that will be there, and how its vectors will be stored.
struct To {
    space: ModelSpace,
    model: EmbeddingModel,
}

impl To {
    fn model(&self) -> &EmbeddingModel {
        &self.model
    }
}

fn space_to(args: &MigrateArgs, from: &SpaceInfo, spaces: &[SpaceInfo]) -> Result<To, CliError> {
    let name = EmbeddingModel::preset(&args.to).map_or_else(|| args.to.clone(), |preset| preset.name);
    let known = spaces.iter().find(|space| space.name == name);
    let is_done = from.role == SpaceRole::Replaced;
    if known.is_some_and(|known| known.role == SpaceRole::Routed) && !is_done {
        return Err(CliError::usage(
            format!("`{name}` is in use; a migration makes the space of its model itself"),
            "name a model that was not added before; one that is no preset is described by --dim, --metric and --cut",
        ));
    }
    // One that was cut short goes on with what it began with.
    let begun = known.filter(|known| is_done || known.role == SpaceRole::Successor { of: from.name.clone() });
    let model = args.model.model(&name, begun.and_then(|space| space.model.clone()))?;
    let stored = begun.map(|space| space.dim).filter(|_| !args.model.names_store_dim());
    let space = args.model.space(model.clone(), stored).with_index(from.config.clone());
    space.validate()?;
    Ok(To { space, model })
}

fn fits(to: &To) -> Fits {
    Fits {
        model: Some(to.model.clone()),
        stored: to.space.store_dim(),
        metric: to.model.metric,
        texts: None,
    }
}

async fn vectors_of(database: &Database, space: &SpaceInfo) -> Result<u64, CliError> {
    match database.existing_vectors(&space.name).await? {
        Some(store) if space.role != SpaceRole::Replaced => Ok(store.stats().await?.vectors),
        _ => Ok(0),
    }
}

async fn copied_so_far(router: &DimensionRouter, from: &SpaceInfo) -> Result<u64, CliError> {
    let migrations = router.migrations().await?;
    let own = migrations.iter().find(|migration| migration.from == from.name);
    Ok(own.map_or(0, |migration| migration.copied))
}
