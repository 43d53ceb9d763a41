//! `llmspell-storage`: load, search, inspect, check and measure a database from the command line.
//!
//! Data goes to stdout, everything else to stderr; the exit code says what kind of failure it was. Reading of files,
//! tables and errors are in `llmspell-cli-base`, the verb `bench` is `llmspell-bench`.
//!
//! | file or folder  | question                                                |
//! |-----------------|---------------------------------------------------------|
//! | `args.rs`       | what can be asked, and with which words?                |
//! | `filter_arg.rs` | how is a filter written on a command line?               |
//! | `model_args.rs` | how is an embedding model written on a command line?     |
//! | `global_args.rs` | which options does every verb take?                    |
//! | `session.rs`    | which database, space and scope is this call about?     |
//! | `commands/`     | what does each verb do?                                 |
//! | `dispatch.rs`   | which verb is run?                                      |

#![forbid(unsafe_code)]

mod args;
mod commands;
mod dispatch;
mod filter_arg;
mod global_args;
mod model_args;
mod session;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return llmspell_cli_base::errors::report_usage(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => llmspell_cli_base::errors::report(&error),
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // A connection to a server needs the drivers; without the feature `postgres` there are none.
        .enable_all()
        .build()
        .map_err(|source| CliError::system("cannot start threads", source))?;
    let mut output = Output::new(cli.global.json);
    runtime.block_on(dispatch::run(cli, &mut output))?;
    output.finish()
}
