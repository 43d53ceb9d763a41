//! Tasks for the project itself, with cargo's own tools: `cargo xtask help`.

mod churn;
mod crash;
mod memcheck;
mod million;
mod postgres;
mod soak;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code if this machine lacks a tool that a command needs.
const EXIT_TOOL_MISSING: u8 = 2;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Work on llmspell-storage itself", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kills a writing process again and again, and checks what it has stored.
    Crash(crash::Arguments),
    /// Runs session churn and the model tests for a long time.
    Soak(soak::Arguments),
    /// Loads, opens, searches and extends a large store; with `--growth` also compares it with a tenth.
    BenchMillion(million::Arguments),
    /// Runs the tests of `llmspell-vector` under the address sanitizer.
    Asan(memcheck::Arguments),
    /// Runs checks of a database beside its writers under the thread sanitizer.
    Tsan(memcheck::RaceArguments),
    /// Runs the tests of `llmspell-vector` under valgrind.
    Valgrind(memcheck::Arguments),
    /// Runs the lists that threads share in every interleaving of their steps.
    Loom,
    /// Starts a PostgreSQL server, runs the tests of `llmspell-postgres` with it, and stops it.
    Postgres(postgres::Arguments),
    /// The process that `crash` starts and kills.
    #[command(hide = true)]
    CrashWriter(crash::ChildArguments),
    /// The process that `crash` kills while it writes, backs up and restores.
    #[command(hide = true)]
    CrashBackup(crash::BackupChildArguments),
    /// The process in which `crash` checks the store.
    #[command(hide = true)]
    CrashChecker(crash::ChildArguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // No backtrace: the failure is in the tested program, not in this one.
            eprintln!("failed: {error:#}");
            if error.is::<memcheck::ToolMissing>() {
                ExitCode::from(EXIT_TOOL_MISSING)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Crash(arguments) => crash::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::BenchMillion(arguments) => million::run(&arguments),
        Command::Asan(arguments) => memcheck::asan(&arguments),
        Command::Tsan(arguments) => memcheck::tsan(&arguments),
        Command::Loom => memcheck::loom(),
        Command::Valgrind(arguments) => memcheck::valgrind(&arguments),
        Command::Postgres(arguments) => postgres::run(&arguments),
        Command::CrashWriter(arguments) => crash::write(&arguments),
        Command::CrashBackup(arguments) => crash::back_up(&arguments),
        Command::CrashChecker(arguments) => crash::check(&arguments),
    }
}
