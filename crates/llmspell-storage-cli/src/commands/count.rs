//! `count`: counts the entries of a scope.

use clap::Args;
use serde_json::json;

use crate::filter_arg::FilterArgs;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

/// Count the entries of a scope
#[derive(Debug, Args)]
pub(crate) struct CountArgs {
    #[command(flatten)]
    filters: FilterArgs,
}

pub(crate) async fn run(args: CountArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let filter = args.filters.filter()?;
    let database = session.open_existing().await?;
    let scope = session.scope();
    let store = session.vectors(&database).await?;
    args.filters.check(store.config().date_fields())?;
    let count = match &filter {
        Some(filter) => store.count_matching(&scope, filter).await?,
        None => store.count(&scope).await?,
    };
    output.object(&json!({"scope": scope.to_string(), "space": store.space_name(), "count": count}))?;
    output.text(count.to_string())?;
    Ok(())
}
