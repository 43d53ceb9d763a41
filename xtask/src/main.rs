//! Work on the project itself, with what cargo gives: `cargo xtask help`.

mod crash;
mod soak;

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

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Crash(arguments) => crash::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::CrashWriter(arguments) => crash::write(&arguments),
        Command::CrashChecker(arguments) => crash::check(&arguments),
    }
}
