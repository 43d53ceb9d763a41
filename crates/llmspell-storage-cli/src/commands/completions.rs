//! `completions`: prints a completion script for a shell.

use clap::Args;
use clap_complete::Shell;

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:
  llmspell-storage completions bash > ~/.local/share/bash-completion/completions/llmspell-storage")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the script for `command`, the whole command line.
pub(crate) fn run(args: &CompletionsArgs, command: &mut clap::Command, output: &mut Output) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "llmspell-storage", &mut script);
    output.bytes(&script)
}
