//! `list`: lists the entries of a scope.

use clap::Args;

use super::entry_view::{EntryView, summary};
use crate::filter_arg::FilterArgs;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, line_cell, row, table, text_cell};

/// Entries that are read at once.
const PAGE: usize = 500;

/// List the entries of a scope, ordered by id
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  llmspell-storage --db memory.db --scope user:ada list --after note-41 --limit 20
  llmspell-storage --db memory.db --json list --all --vectors > backup.jsonl   # `import` reads it back")]
pub(crate) struct ListArgs {
    /// Begin after this id
    #[arg(long, value_name = "ID")]
    after: Option<String>,

    /// Most entries to list
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    filters: FilterArgs,

    /// Every entry
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// With --json: print the vectors too
    #[arg(long)]
    vectors: bool,
}

pub(crate) async fn run(args: ListArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let filter = args.filters.filter()?;
    let database = session.open_existing().await?;
    let store = session.vectors(&database).await?;
    args.filters.check(store.config().date_fields())?;
    let scope = session.scope();
    let mut left = if args.all { usize::MAX } else { args.limit };
    let mut after = args.after;
    let mut lines = table(["id", "created", "metadata"]);

    while left > 0 {
        let limit = left.min(PAGE);
        let page = match &filter {
            Some(filter) => store.list_matching(&scope, filter, after.as_deref(), limit).await?,
            None => store.list(&scope, after.as_deref(), limit).await?,
        };
        let is_last = page.len() < limit;
        left -= page.len();
        for entry in page {
            after = Some(entry.id.clone());
            if output.is_json() {
                output.object(&EntryView::new(entry, args.vectors))?;
                continue;
            }
            let created = entry.created_at.map(|moment| moment.to_string()).unwrap_or_default();
            let fields = entry.metadata.as_object().map(summary).unwrap_or_default();
            lines.add_row(row([line_cell(&entry.id), text_cell(created), line_cell(&fields)]));
        }
        if is_last {
            break;
        }
    }
    if lines.row_count() == 0 && !output.is_json() {
        output.text("no entries")?;
        return session.note_empty_scopes(&store).await;
    }
    output.table(lines)
}
