//! `count`: how many entries does a scope have?

use llmspell_storage::VectorStorage;
use serde_json::json;

use crate::errors::CliError;
use crate::output::Output;
use crate::session::Session;

pub(crate) async fn run(session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let database = session.open_existing().await?;
    let scope = session.scope();
    let count = session.vectors(&database).await?.count(&scope).await?;
    output.object(&json!({"scope": scope.to_string(), "space": session.space(), "count": count}))?;
    output.text(count.to_string())?;
    Ok(())
}
