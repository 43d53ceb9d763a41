//! `check`: verifies everything that is stored.

use clap::Args;
use llmspell_storage::DatabaseOptions;
use serde_json::json;

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, grouped, number_cell, one_line, row, table, text_cell};

/// How `check` is called.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Also verify every row of every table, the pages of the file that holds them, and the names of all files
    #[arg(long)]
    deep: bool,
}

pub(crate) async fn run(args: CheckArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let report = if args.deep {
        // However large it is, all of the truth is verified while it is opened.
        let options = DatabaseOptions::new().verify_bytes_max(u64::MAX);
        let database = session.open_existing_with(options).await?;
        if database.is_elsewhere() {
            eprintln!("note: the database is open elsewhere; the pages of truth.redb are verified when it is opened");
        }
        database.check_deep().await?
    } else {
        session.open_existing().await?.check().await?
    };

    let mut lines = table(["", "section", "checked", "problems"]);
    for section in &report.sections {
        output.object(&json!({
            "section": section.name, "checked": section.checked, "ok": section.problems.is_empty(),
            "problems": section.problems, "notes": section.notes,
        }))?;
        lines.add_row(row([
            text_cell(if section.problems.is_empty() { "ok" } else { "BAD" }),
            text_cell(&section.name),
            number_cell(grouped(section.checked)),
            number_cell(grouped(section.problems.len() as u64)),
        ]));
    }
    output.table(lines)?;
    let problems: Vec<&String> = report.sections.iter().flat_map(|section| &section.problems).collect();
    for problem in &problems {
        output.text(format!("  {}", one_line(problem, 300)))?;
    }
    for note in report.sections.iter().flat_map(|section| &section.notes) {
        output.text(format!("  note: {}", one_line(note, 300)))?;
    }
    if report.is_ok() {
        return Ok(());
    }
    Err(CliError::CheckFailed {
        problems: problems.len() as u64,
    })
}
