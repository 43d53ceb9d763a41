//! `model`: the embedding models of a database, and whether their vectors may be cut.
//!
//! | file        | question                                                        |
//! |-------------|-----------------------------------------------------------------|
//! | `add.rs`    | how does a model become known?                                  |
//! | `list.rs`   | which models are known: those of the database, and presets      |
//! | `check_matryoshka.rs` | how many neighbors does a cut cost, as a table?       |
//! | `cuts.rs`   | … and how is that measured?                                     |
//! | `vectors.rs` | which vectors is it measured on?                               |

mod add;
mod check_matryoshka;
mod cuts;
mod list;
mod vectors;

use clap::Subcommand;

use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

/// List or add embedding models, or measure what it costs to cut their vectors
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// List the models that the database knows, or with --presets those that need no `model add`
    Ls(list::ListArgs),
    /// Make a model known: its vectors get a space of their own
    Add(add::AddArgs),
    /// Measure how many neighbors are lost when vectors are cut
    CheckMatryoshka(check_matryoshka::CheckArgs),
}

pub(crate) async fn run(command: ModelCommand, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    match command {
        ModelCommand::Ls(args) => list::run(&args, session, output).await,
        ModelCommand::Add(args) => add::run(&args, session, output).await,
        ModelCommand::CheckMatryoshka(args) => check_matryoshka::run(args, session, output).await,
    }
}
