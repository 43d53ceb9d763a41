//! `touch`: changes when entries end.

use std::time::Duration;

use clap::Args;
use llmspell_storage::{Expiry, Timestamp};
use serde_json::json;

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, counted, one_line};
use llmspell_cli_base::time_arg::{parse_duration, parse_moment};

const AFTER_HELP: &str = "Examples:
  llmspell-storage --db memory.db --scope session:s-17 touch said-1 said-2 --ttl 1h
  llmspell-storage --db memory.db touch note-7 --until 2027-01-01
  llmspell-storage --db memory.db touch note-7 --forever";

/// Give entries another end, or none, and change nothing else of them
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TouchArgs {
    /// Ids of the entries in their scope; those that are not there, or have ended, are named and stay so
    #[arg(required = true)]
    ids: Vec<String>,

    #[command(flatten)]
    end: EndArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct EndArgs {
    /// Time until they end, such as 90min, 1h or 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ttl: Option<Duration>,

    /// They end at this moment: a date, or milliseconds since 1970
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment, allow_hyphen_values = true)]
    until: Option<Timestamp>,

    /// They do not end by themselves
    #[arg(long)]
    forever: bool,
}

pub(crate) async fn run(args: TouchArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let EndArgs { ttl, until, forever: _ } = args.end;
    let expiry = ttl.map_or(Expiry::from(until), Expiry::After);
    let database = session.open_existing().await?;
    let scope = session.scope();
    let store = session.vectors(&database).await?;
    let missing = store.touch(&scope, &args.ids, expiry).await?;
    let mut ids = args.ids;
    ids.sort_unstable();
    ids.dedup();
    let touched = (ids.len() - missing.len()) as u64;
    output.object(&json!({
        "scope": scope.to_string(),
        "space": store.space_name(),
        "touched": touched,
        "missing": missing,
    }))?;
    output.text(format!("{} touched", counted(touched, "entry", "entries")))?;
    for id in missing {
        output.text(format!("not there: {}", one_line(&id, 60)))?;
    }
    Ok(())
}
