//! `repair`: what can be read of a damaged database, in a new one.

use std::path::PathBuf;

use clap::Args;
use llmspell_storage::Database;
use serde_json::json;

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, counted, one_line};
use llmspell_cli_base::progress::Progress;

/// How `repair` is called.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// Write what can be read to a new database in this directory, which must be empty or not exist; the damaged one stays
    /// as it is
    #[arg(long, value_name = "OUT")]
    salvage: PathBuf,
}

pub(crate) async fn run(args: RepairArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let damaged = session.directory()?;
    let progress = Progress::new(None, "entries", output.is_json());
    let report = Database::salvage(damaged, &args.salvage, move |at| progress.set(at.entries + at.keys)).await?;
    output.object(&json!({
        "phase": "salvage", "spaces": report.spaces, "entries": report.entries, "keys": report.keys,
        "quotas": report.quotas, "lost_count": report.lost_count, "lost": report.lost,
    }))?;
    output.text(format!(
        "saved {}, {}, {} and {} to {}",
        counted(report.spaces, "space", "spaces"),
        counted(report.entries, "entry", "entries"),
        counted(report.keys, "key", "keys"),
        counted(report.quotas, "quota", "quotas"),
        args.salvage.display(),
    ))?;
    for lost in &report.lost {
        output.text(format!("  lost: {}", one_line(lost, 300)))?;
    }
    match report.lost_count {
        0 => Ok(()),
        problems => Err(CliError::CheckFailed { problems }),
    }
}
