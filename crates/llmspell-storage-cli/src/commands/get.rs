//! `get`: shows the entry with an id.

use clap::Args;

use super::entry_view::EntryView;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, one_line, row, table, text_cell};

/// Components that people are shown of a vector.
const COMPONENTS_SHOWN: usize = 6;

/// Show one entry
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Id of the entry in its scope
    id: String,

    /// With --json: print the vector too
    #[arg(long)]
    vectors: bool,
}

pub(crate) async fn run(args: GetArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let database = session.open_existing().await?;
    let store = session.vectors(&database).await?;
    let Some(entry) = store.get(&session.scope(), &args.id).await? else {
        return Err(session.no_entry(&store, &args.id).await?);
    };

    let mut shown = entry
        .embedding
        .iter()
        .take(COMPONENTS_SHOWN)
        .map(|x| format!("{x:.4}"))
        .collect::<Vec<_>>();
    if entry.embedding.len() > COMPONENTS_SHOWN {
        shown.push("…".into());
    }
    let vector = match entry.embedding.len() {
        0 => "none".to_string(),
        components => format!("{components} components: {}", shown.join(" ")),
    };
    let view = EntryView::new(entry, args.vectors);
    output.object(&view)?;

    let mut lines = table(["", ""]);
    let mut line = |name: &str, text: &str| {
        lines.add_row(row([text_cell(name), text_cell(text)]));
    };
    line("id", &one_line(&view.id, usize::MAX));
    line("scope", &view.scope);
    line("vector", &vector);
    let times = [
        ("created", view.created_at),
        ("updated", view.updated_at),
        ("event", view.event_time),
        ("expires", view.expires_at),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            line(name, &time.to_string());
        }
    }
    output.table(lines)?;
    if let Some(text) = &view.text {
        output.text(text)?;
    }
    // Whole, and where a terminal wraps it as it likes: this is what one asks `get` for.
    output.text(serde_json::to_string_pretty(&view.metadata).expect("JSON came out of the store"))?;
    Ok(())
}
