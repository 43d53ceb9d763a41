//! `sample`: shows a random sample of the entries of a scope.

use std::hash::{BuildHasher, RandomState};

use clap::Args;
use llmspell_storage::SampleQuery;

use super::entry_view::{EntryView, summary_of};
use crate::filter_arg::FilterArgs;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, line_cell, row, table};

/// Show a random sample of the entries of a scope
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  llmspell-storage --db memory.db --scope user:ada sample 20
  llmspell-storage --db memory.db --json sample 1000 --seed 7 --vectors > sample.jsonl   # the same each time")]
pub(crate) struct SampleArgs {
    /// Number of entries, 1 to 10000; if the scope has fewer, all are shown
    #[arg(value_name = "COUNT", default_value_t = 10)]
    count: usize,

    /// The same seed gives the same sample as long as nothing changes [default: random, printed on stderr]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    #[command(flatten)]
    filters: FilterArgs,

    /// With --json: print the vectors too
    #[arg(long)]
    vectors: bool,
}

pub(crate) async fn run(args: SampleArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let filter = args.filters.filter()?;
    let database = session.open_existing().await?;
    let store = session.vectors(&database).await?;
    args.filters.check(store.config().date_fields())?;
    // The keys of a new hasher are the randomness of the system that the standard library has.
    let seed = args.seed.unwrap_or_else(|| RandomState::new().hash_one(0) >> 32);
    let query = SampleQuery::new(session.scope(), args.count, seed);
    let query = match filter {
        Some(filter) => query.with_filter(filter),
        None => query,
    };
    let entries = store.sample(&query).await?;
    if args.seed.is_none() {
        eprintln!("--seed {seed} takes this sample again");
    }
    let mut lines = table(["id", "metadata"]);
    for entry in entries {
        if output.is_json() {
            output.object(&EntryView::new(entry, args.vectors))?;
            continue;
        }
        let fields = summary_of(&entry);
        lines.add_row(row([line_cell(&entry.id), line_cell(&fields)]));
    }
    if lines.row_count() == 0 && !output.is_json() {
        output.text("no entries")?;
        return session.note_empty_scopes(&store).await;
    }
    output.table(lines)
}
