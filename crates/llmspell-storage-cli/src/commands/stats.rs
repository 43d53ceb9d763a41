//! `stats`: counts, and the room that they take.

use comfy_table::Table;
use llmspell_storage::{BackgroundFailure, SpaceRole, StorageStats};
use serde_json::json;

use super::clock::clock_rows;
use super::scope::quota_rows;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::index_view::{index_rows, memory_name};
use llmspell_cli_base::opened::Opened;
use llmspell_cli_base::output::{Output, bytes_text, grouped, line_cell, number_cell, row, table, text_cell};

pub(crate) async fn run(session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let database = session.open_existing().await?;
    if let Some(scope) = session.named_scope() {
        let stats = session.vectors(&database).await?.stats_for_scope(scope).await?;
        output.object(&stats)?;
        let mut lines = table(["", ""]);
        lines.add_row(row([text_cell("scope"), number_cell(scope)]));
        for (name, value) in [
            ("vectors", grouped(stats.vectors)),
            ("vector bytes", bytes_text(stats.vector_bytes)),
            ("metadata bytes", bytes_text(stats.metadata_bytes)),
            ("metadata index", bytes_text(stats.metadata_index_bytes)),
            ("searched by scanning", grouped(stats.tail_vectors)),
            ("reusable bytes", bytes_text(stats.reusable_bytes)),
        ]
        .into_iter()
        .chain(index_rows(stats.index.as_ref()))
        {
            lines.add_row(row([text_cell(name), number_cell(value)]));
        }
        for (name, used, limit) in stats.quota.as_ref().map(quota_rows).into_iter().flatten() {
            let name = format!("quota of {name}");
            lines.add_row(row([text_cell(name), number_cell(format!("{used} of {limit}"))]));
        }
        output.table(lines)?;
    } else {
        whole_database(&database, session, output).await?;
    }
    Ok(())
}

async fn whole_database(database: &Opened, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let only = match session.names_space() {
        true => Some(session.vectors(database).await?.space_name().to_string()),
        false => None,
    };
    let stats = database.stats().await?;
    let mut object = json!({
        "disk_bytes": stats.disk_bytes, "truth_bytes": stats.truth_bytes, "slot_bytes": stats.slot_bytes,
        "memory_bytes": stats.memory_bytes, "keys": stats.keys,
        "scopes_loaded": stats.scopes_loaded, "scope_bytes": stats.scope_bytes,
        "scope_bytes_max": stats.scope_bytes_max, "scopes_unloaded": stats.scopes_unloaded,
        "stored_time": stats.stored_time, "system_time": stats.system_time,
        "is_time_unconfirmed": stats.is_time_unconfirmed,
    });
    if !stats.background_failures.is_empty() {
        object["background_failures"] = json!(stats.background_failures);
    }
    output.object(&object)?;
    let mut lines = table(["", ""]);
    for (name, value) in [
        ("on disk", bytes_text(stats.disk_bytes)),
        ("  ids, metadata, keys", bytes_text(stats.truth_bytes)),
        ("  vectors", bytes_text(stats.slot_bytes)),
        ("in memory", bytes_text(stats.memory_bytes)),
        ("  loaded scopes, at most", bytes_text(stats.scope_bytes_max)),
        ("keys", grouped(stats.keys)),
    ]
    .into_iter()
    .chain(clock_rows(
        stats.stored_time,
        stats.system_time,
        stats.is_time_unconfirmed,
    )) {
        lines.add_row(row([text_cell(name), number_cell(value)]));
    }
    output.table(lines)?;
    if !stats.background_failures.is_empty() {
        output.text("")?;
        output.table(failures_table(&stats.background_failures))?;
    }

    let mut spaces = table(["space", "dim", "metric", "scopes", "vectors", "indexed", "memory"]);
    let mut bytes = table([
        "space",
        "vector bytes",
        "metadata bytes",
        "index bytes",
        "metadata index",
        "reusable",
    ]);
    for space in database.spaces().await? {
        let is_other = only.as_ref().is_some_and(|only| *only != space.name);
        if is_other || space.role == SpaceRole::Replaced {
            continue;
        }
        let Some(store) = database.existing_vectors(&space.name).await? else {
            continue;
        };
        let stats = store.stats().await?;
        output.object(&json!({
            "space": space.name, "dim": space.dim, "metric": space.metric, "config": space.config, "stats": stats,
        }))?;
        spaces.add_row(row([
            line_cell(&space.name),
            number_cell(space.dim),
            text_cell(space.metric),
            number_cell(grouped(stats.scopes)),
            number_cell(grouped(stats.vectors)),
            number_cell(indexed_text(&stats)),
            text_cell(memory_name(space.config.memory())),
        ]));
        bytes.add_row(row([
            line_cell(&space.name),
            number_cell(bytes_text(stats.vector_bytes)),
            number_cell(bytes_text(stats.metadata_bytes)),
            number_cell(bytes_text(stats.index_bytes)),
            number_cell(bytes_text(stats.metadata_index_bytes)),
            number_cell(bytes_text(stats.reusable_bytes)),
        ]));
    }
    if spaces.row_count() > 0 {
        for lines in [spaces, bytes] {
            output.text("")?;
            output.table(lines)?;
        }
    }
    Ok(())
}

/// What failed in the background, the latest first.
fn failures_table(failures: &[BackgroundFailure]) -> Table {
    let mut lines = table(["failed in the background", "for", "times", "last at", "because"]);
    for failure in failures {
        lines.add_row(row([
            text_cell(&failure.task),
            text_cell(&failure.place),
            number_cell(grouped(failure.times)),
            text_cell(failure.last_at),
            text_cell(&failure.error),
        ]));
    }
    lines
}

/// How many vectors a graph holds, and whether more are on their way.
fn indexed_text(stats: &StorageStats) -> String {
    let more = if stats.indexing { "…" } else { "" };
    format!("{}{more}", grouped(stats.indexed_vectors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_shown_with_its_place_its_number_and_its_reason() {
        let failure: BackgroundFailure = serde_json::from_value(json!({
            "task": "build the index", "place": "scope user:ada of space `m`", "error": "the disk is full",
            "times": 3, "first_at": "2026-01-01T00:00:00Z", "last_at": "2026-01-02T03:04:05Z",
        }))
        .expect("it is a failure");
        let shown = failures_table(&[failure]).to_string();
        for part in ["build the index", "user:ada", "3", "2026-01-02", "disk is full"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }
}
