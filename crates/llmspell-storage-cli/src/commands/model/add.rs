//! `model add`: registers a model.

use clap::Args;
use serde_json::json;

use crate::model_args::{ModelArgs, model_sentence};
use crate::session::{Session, find_space_of, router};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

const AFTER_HELP: &str = "\
A preset needs its name only; see `model ls --presets`. A model that is known may be added again, with other cut points;
its dimension, its metric and what is stored of its vectors stay as they are.

Examples:
  llmspell-storage --db memory.db model add text-embedding-3-small --store-dim 512
  llmspell-storage --db memory.db model add ours-2 --dim 768 --metric dot --cut 128,256
  llmspell-storage --db memory.db model add bge-m3 --adopt default   # vectors that were imported without a model";

/// Make a model known: its vectors get a space of their own
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct AddArgs {
    /// Name of the model
    name: String,

    #[command(flatten)]
    model: ModelArgs,

    /// Take the vectors of this space for those of the model, instead of making a space
    #[arg(long, value_name = "SPACE", conflicts_with = "store_dim")]
    adopt: Option<String>,
}

pub(crate) async fn run(args: &AddArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    // A new directory is made only for a model that can be added.
    let has_database = session.directory()?.exists();
    if !has_database {
        let model = args.model.model(&args.name, None)?;
        args.model.space(model, None).validate()?;
    }
    let database = match args.adopt {
        Some(_) => session.open_here("model add").await?,
        None => session.open_or_create_here("model add").await?,
    };
    let known = find_space_of(&(&database).into(), &args.name).await?;
    let stored = known.as_ref().map(|space| space.dim);
    let model = args
        .model
        .model(&args.name, known.as_ref().and_then(|space| space.model.clone()))?;
    let router = router(&database).await?;
    match &args.adopt {
        Some(space) => router.adopt_space(space, Some(model.clone())).await?,
        None => {
            let mut space = args.model.space(model.clone(), stored);
            // Adding it again says nothing about its index.
            if let Some(known) = &known {
                space = space.with_index(known.config.clone());
            }
            router.register_model(space).await?;
        }
    }
    let space = crate::session::space_of(&(&database).into(), &model.name).await?;
    output.object(&json!({"model": model, "store_dim": space.dim, "space": space.name}))?;
    output.text(format!("{}: {}", model.name, model_sentence(&model, space.dim)))?;
    drop(router);
    database.close().await?;
    Ok(())
}
