//! `list`: lists the entries of a scope.

use clap::{Args, ValueEnum};
use llmspell_storage::{Filter, ListOrder, ListQuery, OwnTime, Pages, StateScope, StorageError};

use super::entry_view::{EntryView, summary_of};
use crate::filter_arg::FilterArgs;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::opened::Space;
use llmspell_cli_base::output::{Output, line_cell, row, table, text_cell};

/// Entries that are read at once.
const PAGE: usize = 500;

/// List the entries of a scope, ordered by id or by a time
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  llmspell-storage --db memory.db --scope user:ada list --after note-41 --limit 20
  llmspell-storage --db memory.db --scope session:42 list --newest --limit 20
  llmspell-storage --db memory.db --json list --all --vectors > backup.jsonl   # `import` reads it back")]
pub(crate) struct ListArgs {
    /// Begin after this id; with --newest or --oldest, after the entry of this id, which must be there
    #[arg(long, value_name = "ID")]
    after: Option<String>,

    /// Most entries to list
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,

    /// The latest first
    #[arg(long, group = "by_time", conflicts_with = "reverse")]
    newest: bool,

    /// The earliest first
    #[arg(long, group = "by_time", conflicts_with = "reverse")]
    oldest: bool,

    /// By id, the greatest first
    #[arg(long)]
    reverse: bool,

    /// The time by which --newest and --oldest sort [default: created]. Entries without an event time are not listed by
    /// it
    #[arg(long, value_name = "TIME", requires = "by_time")]
    by: Option<Time>,

    #[command(flatten)]
    filters: FilterArgs,

    /// Every entry
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// With --json: print the vectors too
    #[arg(long)]
    vectors: bool,
}

/// A time of an entry.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Time {
    Created,
    Updated,
    Event,
}

impl Time {
    fn own_time(self) -> OwnTime {
        match self {
            Self::Created => OwnTime::Created,
            Self::Updated => OwnTime::Updated,
            Self::Event => OwnTime::Event,
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Event => "event",
        }
    }
}

impl ListArgs {
    fn time(&self) -> Time {
        self.by.unwrap_or(Time::Created)
    }

    fn order(&self) -> ListOrder {
        match (self.newest, self.oldest, self.reverse) {
            (true, _, _) => ListOrder::NewestFirst,
            (_, true, _) => ListOrder::OldestFirst,
            (_, _, true) => ListOrder::IdDescending,
            _ => ListOrder::Id,
        }
    }

    async fn query(&self, store: &Space, scope: StateScope, filter: Option<Filter>) -> Result<ListQuery, CliError> {
        let query = ListQuery::new(scope)
            .with_order(self.order())
            .with_time(self.time().own_time());
        let query = match &self.after {
            None => query,
            Some(id) if !query.order.is_by_time() => query.after_id(id),
            Some(id) => match store.get(&query.scope, id).await? {
                Some(entry) => query.after_entry(&entry)?,
                None => return Err(StorageError::NotFound { id: id.clone() }.into()),
            },
        };
        Ok(match filter {
            Some(filter) => query.with_filter(filter),
            None => query,
        })
    }
}

pub(crate) async fn run(args: ListArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let filter = args.filters.filter()?;
    let database = session.open_existing().await?;
    let store = session.vectors(&database).await?;
    args.filters.check(store.config().date_fields())?;
    let mut left = if args.all { usize::MAX } else { args.limit };
    let query = args.query(&store, session.scope(), filter).await?;
    let (time, limit) = (query.time, left.clamp(1, PAGE));
    let mut entries = Pages::of(&*store, query.with_limit(limit)).into_entries();
    let mut lines = table(["id", args.time().heading(), "metadata"]);

    while left > 0 {
        let Some(entry) = entries.next().await? else { break };
        left -= 1;
        if output.is_json() {
            output.object(&EntryView::new(entry, args.vectors))?;
            continue;
        }
        let moment = entry.times().get(time).map(|moment| moment.to_string());
        let fields = summary_of(&entry);
        lines.add_row(row([
            line_cell(&entry.id),
            text_cell(moment.unwrap_or_default()),
            line_cell(&fields),
        ]));
    }
    if lines.row_count() == 0 && !output.is_json() {
        output.text("no entries")?;
        return session.note_empty_scopes(&store).await;
    }
    output.table(lines)
}
