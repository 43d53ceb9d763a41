//! `clock`: shows the stored moment beside the system's, and sets it right.

use clap::Args;
use llmspell_storage::{DatabaseOptions, Timestamp};
use serde_json::json;

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, number_cell, row, table, text_cell};

/// Show the moment that is stored beside that of the system, or set it to that
#[derive(Debug, Args)]
pub(crate) struct ClockArgs {
    /// Store what the system says now: for a database that was written while the clock was ahead
    #[arg(long)]
    reset: bool,
}

pub(crate) async fn run(args: ClockArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let stats = if args.reset {
        let options = DatabaseOptions::new().reset_clock(true);
        session.open_here_with("clock --reset", options).await?.stats().await?
    } else {
        session.open_existing().await?.stats().await?
    };
    output.object(&json!({
        "stored_time": stats.stored_time, "system_time": stats.system_time,
        "is_time_unconfirmed": stats.is_time_unconfirmed, "reset": args.reset,
    }))?;
    let mut lines = table(["", ""]);
    for (name, time) in clock_rows(stats.stored_time, stats.system_time, stats.is_time_unconfirmed) {
        lines.add_row(row([text_cell(name), number_cell(time)]));
    }
    output.table(lines)
}

/// What a person wants to know of the two moments.
pub(super) fn clock_rows(
    stored: Option<Timestamp>,
    system: Option<Timestamp>,
    is_unconfirmed: bool,
) -> Vec<(&'static str, String)> {
    let text = |time: Option<Timestamp>| time.map_or_else(|| "none".to_string(), |time| time.to_string());
    let doubt = if is_unconfirmed { " (ahead, not confirmed)" } else { "" };
    vec![
        ("stored time", text(stored)),
        ("system time", format!("{}{doubt}", text(system))),
    ]
}
