//! `delete`: deletes entries.

use clap::Args;
use serde_json::json;

use crate::filter_arg::FilterArgs;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, counted};

const AFTER_HELP: &str = r#"Examples:
  llmspell-storage --db memory.db delete note-7 note-8
  llmspell-storage --db memory.db delete --filter 'lang = "en" and year < 2020' --dry-run
  llmspell-storage --db memory.db delete --filter true     # every entry of the scope"#;

/// Delete entries by id or by a filter
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DeleteArgs {
    /// Ids of the entries in their scope; exit code 3 if none of them is there
    #[arg(required_unless_present = "filters", conflicts_with = "filters")]
    ids: Vec<String>,

    #[command(flatten)]
    filters: FilterArgs,

    /// With --filter: only say how many would be deleted
    #[arg(long, conflicts_with = "ids")]
    dry_run: bool,
}

pub(crate) async fn run(args: DeleteArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let filter = args.filters.filter()?;
    let database = session.open_existing().await?;
    let scope = session.scope();
    let store = session.vectors(&database).await?;
    args.filters.check(store.config().date_fields())?;
    let mut answer = json!({"scope": scope.to_string(), "space": store.space_name()});
    let (count, happened) = match &filter {
        Some(filter) if args.dry_run => (store.count_matching(&scope, filter).await?, "would_be_deleted"),
        Some(filter) => (store.delete_matching(&scope, filter).await?, "deleted"),
        None => (store.delete(&scope, &args.ids).await?, "deleted"),
    };
    if let (0, Some(id)) = (count, args.ids.first()) {
        return Err(session.no_entry(&store, id).await?);
    }
    answer[happened] = json!(count);
    output.object(&answer)?;
    output.text(format!(
        "{} {}",
        counted(count, "entry", "entries"),
        happened.replace('_', " ")
    ))
}
