//! `backup`, `verify` and `restore`: the whole database, as of one commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use llmspell_storage::{BackupOptions, BackupReceipt, Database};
use serde_json::{Value, json};

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, bytes_text, counted, one_line};
use llmspell_cli_base::progress::Progress;

/// How `backup` is called.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Directory of the backup; if it holds an earlier one of this database, only what has changed is written
    dir: PathBuf,
    /// Include the files of indexes: larger, but a restored database need not build them
    #[arg(long)]
    with_indexes: bool,
    /// Go on where the database is damaged, and list the damage; exit code 2 if there is any
    #[arg(long)]
    keep_going: bool,
    /// Read at most this many MiB a second
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    max_rate: Option<u64>,
}

/// How `verify` is called.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Directory of the backup
    backup: PathBuf,
}

/// How `restore` is called.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Directory of the backup
    backup: PathBuf,
    /// Directory of the new database, which must be empty or not exist
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(crate) async fn back_up(args: BackupArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let database = session.open_existing().await?;
    let begun = Instant::now();
    let mut options = with_progress(output)
        .with_indexes(args.with_indexes)
        .keep_going(args.keep_going);
    if let Some(mib) = args.max_rate {
        options = options.bytes_per_second_max(mib << 20);
    }
    let receipt = database.backup_with(&args.dir, options).await?;
    let mut object = receipt_object("backup", &receipt, begun);
    object["written_bytes"] = json!(receipt.written_bytes);
    object["reused_bytes"] = json!(receipt.reused_bytes);
    object["is_incremental"] = json!(receipt.is_incremental);
    output.object(&object)?;
    let before = match receipt.is_incremental {
        true => format!(", {} of an earlier backup used again", bytes_text(receipt.reused_bytes)),
        false => String::new(),
    };
    output.text(format!(
        "backed up {} to {}: {} written{before}, in {:.1} s",
        content_of(&receipt),
        args.dir.display(),
        bytes_text(receipt.written_bytes),
        begun.elapsed().as_secs_f64(),
    ))?;
    finish(&receipt, output)
}

pub(crate) async fn verify(args: VerifyArgs, output: &mut Output) -> Result<(), CliError> {
    let begun = Instant::now();
    let receipt = Database::verify_backup(&args.backup, with_progress(output)).await?;
    output.object(&receipt_object("verify", &receipt, begun))?;
    output.text(format!(
        "verified {}: every byte of {} is as it was written",
        args.backup.display(),
        content_of(&receipt),
    ))?;
    finish(&receipt, output)
}

pub(crate) async fn restore(args: RestoreArgs, output: &mut Output) -> Result<(), CliError> {
    let begun = Instant::now();
    let receipt = Database::restore(&args.backup, &args.to, with_progress(output)).await?;
    output.object(&receipt_object("restore", &receipt, begun))?;
    output.text(format!(
        "restored {} to {}, in {:.1} s",
        content_of(&receipt),
        args.to.display(),
        begun.elapsed().as_secs_f64(),
    ))?;
    finish(&receipt, output)
}

/// Options that show a bar.
fn with_progress(output: &Output) -> BackupOptions {
    let progress = Arc::new(std::sync::OnceLock::new());
    let json = output.is_json();
    BackupOptions::new().on_progress(move |at| {
        let bar = progress.get_or_init(|| Progress::new(Some(at.total_bytes), "bytes", json));
        bar.set(at.done_bytes);
    })
}

fn content_of(receipt: &BackupReceipt) -> String {
    let taken = receipt.taken_at.map_or_else(String::new, |at| format!(" as of {at}"));
    format!(
        "{} and {} ({}){taken}",
        counted(receipt.rows, "row", "rows"),
        counted(receipt.files, "file", "files"),
        bytes_text(receipt.content_bytes),
    )
}

fn receipt_object(phase: &str, receipt: &BackupReceipt, begun: Instant) -> Value {
    json!({
        "phase": phase,
        "database": receipt.database, "taken_at": receipt.taken_at, "mutation": receipt.mutation,
        "sequence": receipt.sequence, "rows": receipt.rows, "files": receipt.files,
        "content_bytes": receipt.content_bytes, "backup_bytes": receipt.backup_bytes,
        "has_indexes": receipt.has_indexes, "damage": receipt.damage,
        "seconds": begun.elapsed().as_secs_f64(),
    })
}

/// Lists the damage that the backup has noted.
fn finish(receipt: &BackupReceipt, output: &mut Output) -> Result<(), CliError> {
    for damage in &receipt.damage {
        output.text(format!("  damaged: {}", one_line(damage, 300)))?;
    }
    match receipt.damage.len() as u64 {
        0 => Ok(()),
        problems => Err(CliError::CheckFailed { problems }),
    }
}
