//! `scope`: which scopes are there, and how does one go away?

use std::io::{self, BufRead, IsTerminal, Write};

use clap::{Args, Subcommand};
use llmspell_storage::{Database, ScopedBackend, StateScope, StorageBackend, VectorStorage};
use serde_json::json;

use crate::errors::CliError;
use crate::output::{Output, bytes_text, counted, grouped, number_cell, row, table, text_cell};
use crate::scope_arg::ScopeArg;
use crate::session::Session;

/// List or remove scopes
#[derive(Debug, Subcommand)]
pub(crate) enum ScopeCommand {
    /// List the scopes that hold vectors, in every space or in that of --space
    Ls,
    /// Remove everything of a scope: its vectors in every space, and its key-value data
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Scope to remove; with --space, only its vectors there
    name: ScopeArg,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(command: ScopeCommand, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let database = session.open_existing().await?;
    match command {
        ScopeCommand::Ls => list(&database, session, output).await?,
        ScopeCommand::Rm(args) => remove(&args, &database, session, output).await?,
    }
    Ok(())
}

/// `--space`, or all of them.
async fn spaces(database: &Database, session: &Session<'_>) -> Result<Vec<String>, CliError> {
    match session.named_space() {
        Some(space) => session.vectors(database).await.map(|_| vec![space.to_string()]),
        None => Ok(database.spaces().await?.into_iter().map(|space| space.name).collect()),
    }
}

async fn list(database: &Database, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let mut lines = table(["scope", "space", "vectors", "vector bytes", "metadata bytes"]);
    for space in spaces(database, session).await? {
        let Some(store) = database.existing_vectors(&space).await? else {
            continue;
        };
        for scope in store.scopes().await? {
            let stats = store.stats_for_scope(&scope).await?;
            let scope = scope.to_string();
            output.object(&json!({
                "scope": scope, "space": space, "vectors": stats.vectors,
                "vector_bytes": stats.vector_bytes, "metadata_bytes": stats.metadata_bytes,
            }))?;
            lines.add_row(row([
                text_cell(scope),
                text_cell(&space),
                number_cell(grouped(stats.vectors)),
                number_cell(bytes_text(stats.vector_bytes)),
                number_cell(bytes_text(stats.metadata_bytes)),
            ]));
        }
    }
    output.table(lines)
}

async fn remove(
    args: &RemoveArgs,
    database: &Database,
    session: &Session<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    let scope = &args.name.0;
    if !args.yes && !confirmed(scope)? {
        return Err(CliError::usage(
            format!("nothing was removed of {scope}"),
            "answer y, or give --yes",
        ));
    }
    let mut vectors = 0;
    for space in spaces(database, session).await? {
        if let Some(store) = database.existing_vectors(&space).await? {
            vectors += store.delete_scope(scope).await?;
        }
    }
    let keys = if session.named_space().is_none() {
        let backend: std::sync::Arc<dyn StorageBackend> = std::sync::Arc::new(database.kv());
        ScopedBackend::new(backend, scope.clone())?.clear().await?
    } else {
        0
    };
    output.object(&json!({"scope": scope.to_string(), "vectors": vectors, "keys": keys}))?;
    let vectors = counted(vectors, "vector", "vectors");
    output.text(format!(
        "{vectors} and {} of {scope} removed",
        counted(keys, "key", "keys")
    ))
}

fn confirmed(scope: &StateScope) -> Result<bool, CliError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::usage(
            "nobody is there to confirm the removal of a scope",
            "add --yes",
        ));
    }
    let ask = || -> io::Result<String> {
        let mut stderr = io::stderr();
        write!(stderr, "Remove everything of {scope}? [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|source| CliError::system("cannot ask", source))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
