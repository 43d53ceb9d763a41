//! Work on the project itself, with what cargo gives: `cargo xtask help`.

mod crash;
mod soak;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Work on llmspell-storage itself", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kills a writing process again and again, and checks what is left.
    Crash(crash::Arguments),
    /// Runs the model tests for long.
    Soak(soak::Arguments),
    /// What `crash` starts, and kills.
    #[command(hide = true)]
    CrashWriter(crash::ChildArguments),
    /// What `crash` asks for what is left.
    #[command(hide = true)]
    CrashChecker(crash::ChildArguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a backtrace: what failed is what was asked for, not this program.
            eprintln!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Crash(arguments) => crash::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::CrashWriter(arguments) => crash::write(&arguments),
        Command::CrashChecker(arguments) => crash::check(&arguments),
    }
}
