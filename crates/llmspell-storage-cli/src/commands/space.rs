//! `space`: which embedding spaces are there?

use clap::Subcommand;
use llmspell_storage::{SpaceInfo, SpaceRole, StorageStats, VectorStorage};
use serde_json::{Value, json};

use crate::errors::CliError;
use crate::output::{Output, bytes_text, grouped, number_cell, one_line, row, table, text_cell};
use crate::session::Session;

/// List embedding spaces
#[derive(Debug, Subcommand)]
pub(crate) enum SpaceCommand {
    /// List the spaces: dimension, metric, model, what each is used for, and how much it holds: vectors and their bytes, with
    /// the index
    Ls,
}

pub(crate) async fn run(command: SpaceCommand, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let SpaceCommand::Ls = command;
    let database = session.open_existing().await?;
    let mut lines = table(["space", "dim", "metric", "model", "role", "vectors", "bytes"]);
    for space in database.spaces().await? {
        let stats = match database.existing_vectors(&space.name).await? {
            // Nobody is to see what is left of a space that was replaced.
            Some(store) if space.role != SpaceRole::Replaced => store.stats().await?,
            _ => StorageStats::default(),
        };
        output.object(&line(&space, &stats))?;
        let model = space.model.as_ref().map(|model| model.name.as_str());
        lines.add_row(row([
            text_cell(one_line(&space.name, 40)),
            number_cell(dim_text(&space)),
            text_cell(space.metric),
            text_cell(one_line(model.unwrap_or_default(), 40)),
            text_cell(one_line(&role_text(&space.role), 40)),
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
        "scopes": stats.scopes, "vectors": stats.vectors, "vector_bytes": stats.vector_bytes,
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
