//! `mcp`: a server of the Model Context Protocol on stdin and stdout.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use llmspell_mcp::{Config, Embed};
use llmspell_storage::{DistanceMetric, StateScope};

use super::embedder::{Embedder, Expected, Job, Question};
use crate::session::Session;
use llmspell_cli_base::errors::CliError;

const JOB: Job = Job {
    hint: "mend the command; `search --help` says what it reads and writes",
    doubt: "vectors may be those of other texts",
};

/// How `mcp` is called.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  llmspell-storage --db memory.db --scope user:ada mcp
  llmspell-storage --db memory.db --scope user:ada --scope global mcp --read-only
  llmspell-storage --db memory.db mcp --with 'python embed.py'

A client of the protocol starts it and speaks over its stdin and stdout; docs/mcp.md has configurations. --scope names what it may
see, several times for several; new entries go to the first.")]
pub(crate) struct McpArgs {
    /// Offer no tool that changes anything
    #[arg(long)]
    read_only: bool,

    /// Command that makes vectors of texts, so that they are found by meaning too; it is asked as that of `search --with`
    #[arg(long, value_name = "COMMAND")]
    with: Option<String>,
}

pub(crate) async fn run(args: McpArgs, session: &Session<'_>) -> Result<(), CliError> {
    let scopes = session.scopes();
    for scope in &scopes {
        scope.validate().map_err(llmspell_storage::StorageError::from)?;
    }
    let config = Config {
        directory: session.directory()?.to_path_buf(),
        space: session.space_without_model(),
        scopes,
        is_read_only: args.read_only,
        embed: args
            .with
            .map(|command| Arc::new(Command::new(command)) as Arc<dyn Embed>),
    };
    if config.is_read_only && !config.directory.exists() {
        return Err(CliError::NotFound {
            message: format!("there is no database at {}", config.directory.display()),
            hint: "check --db, or leave out --read-only: then it is made".into(),
        });
    }
    #[cfg(unix)]
    let stop = super::serve::stopped()?;
    #[cfg(not(unix))]
    let stop = std::future::pending();
    llmspell_mcp::serve(config, stop).await.map_err(CliError::protocol)?;
    // A read of stdin that waits keeps threads from ending, and the database is closed.
    std::process::exit(0)
}

/// The command of --with, which is started again after a failure.
#[derive(Debug)]
struct Command {
    command: String,
    running: Mutex<Option<Embedder>>,
}

impl Command {
    fn new(command: String) -> Self {
        Self {
            command,
            running: Mutex::new(None),
        }
    }
}

impl Embed for Command {
    fn embed(&self, text: &str, scope: &StateScope, is_query: bool) -> Result<Vec<f32>, String> {
        let question = match is_query {
            true => Question::query(text, scope.clone()),
            false => Question::stored(text, scope.clone()),
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Embedder::new(&self.command, Expected::Alike(DistanceMetric::default()), JOB);
        let embedder = running.get_or_insert_with(new);
        let made = embedder.embed(&[question]);
        if made.is_err() {
            *running = None;
        }
        let vectors = made.map_err(|error| error.to_string())?;
        Ok(vectors.into_iter().next().expect("one question has one answer"))
    }
}
