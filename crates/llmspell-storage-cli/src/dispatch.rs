//! The choice of the verb that was asked for.

use clap::CommandFactory;

use crate::args::{Cli, Command};
use crate::commands::{
    backup, check, clock, compact, completions, count, delete, demo, export, facet, get, import, index, kv, list,
    migrate, model, recall, repair, sample, scope, search, serve, space, stats, touch,
};
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

/// Checks the options that every verb takes, and runs the verb.
pub(crate) async fn run(cli: Cli, output: &mut Output) -> Result<(), CliError> {
    let session = Session::new(&cli.global);
    if !takes_several_scopes(&cli.command) {
        session.check_one_scope()?;
    }
    session.check_one_space()?;
    if !matches!(cli.command, Command::Kv(_)) {
        session.check_directory()?;
    }
    if !takes_a_model(&cli.command) {
        session.check_no_model()?;
    }
    match cli.command {
        Command::Demo(args) => demo::run(args, output).await,
        Command::Import(args) => import::run(args, &session, output).await,
        Command::Export(args) => export::run(args, &session, output).await,
        Command::Search(args) => search::run(args, &session, output).await,
        Command::Get(args) => get::run(args, &session, output).await,
        Command::List(args) => list::run(args, &session, output).await,
        Command::Sample(args) => sample::run(args, &session, output).await,
        Command::Count(args) => count::run(args, &session, output).await,
        Command::Delete(args) => delete::run(args, &session, output).await,
        Command::Touch(args) => touch::run(args, &session, output).await,
        Command::Facet(args) => facet::run(args, &session, output).await,
        Command::Scope(command) => scope::run(command, &session, output).await,
        Command::Space(command) => space::run(command, &session, output).await,
        Command::Model(command) => model::run(command, &session, output).await,
        Command::Migrate(args) => migrate::run(args, &session, output).await,
        Command::Stats => stats::run(&session, output).await,
        Command::Kv(command) => kv::run(command, &session, output).await,
        Command::Index(command) => index::run(command, &session, output).await,
        Command::Recall(args) => recall::run(args, &session, output).await,
        Command::Compact => compact::run(&session, output).await,
        Command::Repair(args) => repair::run(args, &session, output).await,
        Command::Serve(args) => serve::run(args, &session, output).await,
        #[cfg(feature = "mcp")]
        Command::Mcp(args) => crate::commands::mcp::run(args, &session).await,
        Command::Clock(args) => clock::run(args, &session, output).await,
        Command::Backup(args) => backup::back_up(args, &session, output).await,
        Command::Verify(args) => backup::verify(args, output).await,
        Command::Restore(args) => backup::restore(args, output).await,
        Command::Check(args) => check::run(args, &session, output).await,
        Command::Bench(args) => llmspell_bench::run(args, output).await,
        Command::Completions(args) => completions::run(&args, &mut Cli::command(), output),
    }
}

/// Whether a verb works in several scopes at once.
fn takes_several_scopes(command: &Command) -> bool {
    match command {
        Command::Search(_) => true,
        #[cfg(feature = "mcp")]
        Command::Mcp(_) => true,
        _ => false,
    }
}

/// Whether a verb is about one space, which may be named by its model.
fn takes_a_model(command: &Command) -> bool {
    match command {
        Command::Import(_)
        | Command::Export(_)
        | Command::Search(_)
        | Command::Get(_)
        | Command::List(_)
        | Command::Sample(_)
        | Command::Count(_)
        | Command::Delete(_)
        | Command::Touch(_)
        | Command::Facet(_)
        | Command::Scope(_)
        | Command::Stats
        | Command::Index(_)
        | Command::Recall(_)
        | Command::Model(model::ModelCommand::CheckMatryoshka(_)) => true,
        #[cfg(feature = "mcp")]
        Command::Mcp(_) => false,
        Command::Demo(_)
        | Command::Space(_)
        | Command::Model(_)
        | Command::Migrate(_)
        | Command::Kv(_)
        | Command::Backup(_)
        | Command::Verify(_)
        | Command::Restore(_)
        | Command::Check(_)
        | Command::Compact
        | Command::Repair(_)
        | Command::Serve(_)
        | Command::Clock(_)
        | Command::Bench(_)
        | Command::Completions(_) => false,
    }
}
