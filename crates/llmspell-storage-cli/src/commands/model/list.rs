//! `model ls`: lists the models of the database and the presets.

use clap::Args;
use llmspell_storage::EmbeddingModel;
use serde_json::json;

use crate::model_args::listed;
use crate::session::{Session, model_spaces};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, grouped, line_cell, number_cell, row, table, text_cell};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// List the models that `model add` and `import --model` know by their name alone; needs no database
    #[arg(long)]
    presets: bool,
}

pub(crate) async fn run(args: &ListArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    if args.presets {
        return presets(output);
    }
    let database = session.open_existing().await?;
    let mut lines = table(["model", "dimension", "stored", "metric", "cut points", "vectors"]);
    for space in model_spaces(&database).await? {
        let (Some(model), Some(store)) = (&space.model, database.existing_vectors(&space.name).await?) else {
            continue;
        };
        let vectors = store.stats().await?.vectors;
        output.object(&json!({
            "model": model.name, "dim": model.dim, "store_dim": space.dim, "metric": model.metric,
            "cut_points": model.cut_points(), "space": space.name, "vectors": vectors,
        }))?;
        lines.add_row(row([
            line_cell(&model.name),
            number_cell(model.dim),
            number_cell(space.dim),
            text_cell(model.metric),
            text_cell(listed(model.cut_points())),
            number_cell(grouped(vectors)),
        ]));
    }
    if lines.row_count() == 0 {
        return output.text("no model was added; `model ls --presets` lists those that need only their name");
    }
    output.table(lines)
}

fn presets(output: &mut Output) -> Result<(), CliError> {
    let mut lines = table(["model", "dimension", "metric", "cut points"]);
    for model in EmbeddingModel::presets() {
        output.object(&json!({
            "model": model.name, "dim": model.dim, "metric": model.metric, "cut_points": model.cut_points(),
        }))?;
        lines.add_row(row([
            text_cell(&model.name),
            number_cell(model.dim),
            text_cell(model.metric),
            text_cell(listed(model.cut_points())),
        ]));
    }
    output.table(lines)
}
