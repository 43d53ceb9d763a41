//! `space`: lists and removes embedding spaces.

use clap::{Args, Subcommand};
use llmspell_storage::{Database, SpaceInfo, SpaceRole, StorageStats};
use serde_json::{Value, json};

use super::scope::confirmed;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::opened::Opened;
use llmspell_cli_base::output::{
    Output, bytes_text, counted, grouped, line_cell, number_cell, one_line, row, table, text_cell,
};

/// List or remove embedding spaces
#[derive(Debug, Subcommand)]
pub(crate) enum SpaceCommand {
    /// List the spaces: dimension, metric, model, what each is used for, and how much it holds: vectors and their bytes, with
    /// the index
    Ls,
    /// Remove a space with everything in it, in all scopes; its model is unknown afterwards, and its name is free
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Name of the space
    name: String,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(command: SpaceCommand, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    match command {
        SpaceCommand::Ls => list(&session.open_existing().await?, output).await,
        SpaceCommand::Rm(args) => remove(&args, &session.open_here("space rm").await?, output).await,
    }
}

async fn remove(args: &RemoveArgs, database: &Database, output: &mut Output) -> Result<(), CliError> {
    let name = &args.name;
    let vectors = match database.existing_vectors(name).await? {
        // The remains of a space that was replaced cannot be seen.
        Some(store) => store.stats().await.map_or(0, |stats| stats.vectors),
        None => 0,
    };
    let what = format!(
        "the space `{}` ({})",
        one_line(name, 40),
        counted(vectors, "vector", "vectors")
    );
    let is_there = database.spaces().await?.iter().any(|space| space.name == *name);
    if is_there && !args.yes && !confirmed(&what, "a space")? {
        return Err(CliError::usage(
            format!("nothing was removed of {what}"),
            "answer y, or give --yes",
        ));
    }
    database.drop_space(name).await?;
    output.object(&json!({"space": name, "vectors": vectors}))?;
    output.text(format!("{what} removed"))
}

async fn list(database: &Opened, output: &mut Output) -> Result<(), CliError> {
    let mut lines = table(["space", "dim", "metric", "model", "role", "vectors", "bytes"]);
    for space in database.spaces().await? {
        let stats = match database.existing_vectors(&space.name).await? {
            // The remains of a space that was replaced must not be shown.
            Some(store) if space.role != SpaceRole::Replaced => store.stats().await?,
            _ => StorageStats::default(),
        };
        output.object(&line(&space, &stats))?;
        let model = space.model.as_ref().map(|model| model.name.as_str());
        lines.add_row(row([
            line_cell(&space.name),
            number_cell(dim_text(&space)),
            text_cell(space.metric),
            line_cell(model.unwrap_or_default()),
            line_cell(&role_text(&space.role)),
            number_cell(grouped(stats.vectors)),
            number_cell(bytes_text(stats.vector_bytes + stats.index_bytes)),
        ]));
    }
    output.table(lines)
}

fn line(space: &SpaceInfo, stats: &StorageStats) -> Value {
    let (role, successor_of) = match &space.role {
        SpaceRole::Successor { of } => ("successor", Some(of)),
        other => (role_name(other), None),
    };
    let mut line = json!({
        "space": space.name, "dim": space.dim, "metric": space.metric, "model": space.model, "role": role,
        "config": space.config, "scopes": stats.scopes, "vectors": stats.vectors, "vector_bytes": stats.vector_bytes,
        "index_bytes": stats.index_bytes, "metadata_bytes": stats.metadata_bytes,
    });
    if let Some(of) = successor_of {
        line["successor_of"] = json!(of);
    }
    line
}

/// What is stored, and of how many components where that is less.
fn dim_text(space: &SpaceInfo) -> String {
    match &space.model {
        Some(model) if model.dim != space.dim => format!("{} of {}", space.dim, model.dim),
        _ => space.dim.to_string(),
    }
}

fn role_name(role: &SpaceRole) -> &'static str {
    match role {
        SpaceRole::Plain => "plain",
        SpaceRole::Routed => "routed",
        SpaceRole::Successor { .. } => "successor",
        SpaceRole::Replaced => "replaced",
        // A later version of the engine may know more.
        _ => "other",
    }
}

fn role_text(role: &SpaceRole) -> String {
    match role {
        SpaceRole::Successor { of } => format!("successor of {of}"),
        other => role_name(other).to_string(),
    }
}
