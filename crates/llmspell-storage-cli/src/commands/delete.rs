//! `delete`: how do entries go away?

use clap::Args;
use llmspell_storage::VectorStorage;
use serde_json::json;

use crate::errors::CliError;
use crate::output::{Output, counted};
use crate::session::Session;

/// Delete entries by id
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Ids of the entries in their scope; those that are not there do not count
    #[arg(required = true)]
    ids: Vec<String>,
}

pub(crate) async fn run(args: DeleteArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let database = session.open_existing().await?;
    let scope = session.scope();
    let deleted = session.vectors(&database).await?.delete(&scope, &args.ids).await?;
    output.object(&json!({"scope": scope.to_string(), "space": session.space(), "deleted": deleted}))?;
    output.text(format!("{} deleted", counted(deleted, "entry", "entries")))
}
