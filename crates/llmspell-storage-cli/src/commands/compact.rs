//! `compact`: a database without gaps, in place of one with them.

use llmspell_storage::Database;
use serde_json::json;

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, bytes_text, counted};
use llmspell_cli_base::progress::Progress;

pub(crate) async fn run(session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let directory = session.directory()?;
    let progress = Progress::new(None, "entries", output.is_json());
    let compacted = Database::compact(directory, move |at| progress.set(at.entries + at.keys)).await;
    let report = session.alone("compact", compacted).await?;
    output.object(&json!({
        "phase": "compact", "entries": report.entries, "keys": report.keys,
        "bytes_before": report.bytes_before, "bytes_after": report.bytes_after,
    }))?;
    output.text(format!(
        "compacted {} and {}: {} before, {} now",
        counted(report.entries, "entry", "entries"),
        counted(report.keys, "key", "keys"),
        bytes_text(report.bytes_before),
        bytes_text(report.bytes_after),
    ))
}
