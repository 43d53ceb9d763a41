//! `facet`: counts the values of a field.

use clap::Args;
use llmspell_storage::{FieldPath, Filter};

use crate::filter_arg::FilterArgs;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, line_cell, number_cell, row, table};

/// Show which values a field has in a scope, and how many entries have each
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  llmspell-storage --db memory.db facet lang
  llmspell-storage --db memory.db --scope user:ada facet meta.author --filter 'size > 100' --limit 5")]
pub(crate) struct FacetArgs {
    /// Field by its path, such as meta.author; of arrays the elements count
    field: String,

    #[command(flatten)]
    filters: FilterArgs,

    /// Most values to show; the most frequent come first
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

pub(crate) async fn run(args: FacetArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let filter = args.filters.filter()?.unwrap_or_else(Filter::all);
    let database = session.open_existing().await?;
    let store = session.vectors(&database).await?;
    args.filters.check(store.config().date_fields())?;
    let field = FieldPath::from(args.field);
    let values = store.facet(&session.scope(), &field, &filter, args.limit).await?;
    let mut lines = table(["entries", "value"]);
    for facet in &values {
        output.object(facet)?;
        lines.add_row(row([number_cell(facet.count), line_cell(&facet.value.to_string())]));
    }
    if values.is_empty() {
        output.text("no entry has the field")?;
        session.note_empty_scopes(&store).await?;
    } else {
        output.table(lines)?;
    }
    Ok(())
}
