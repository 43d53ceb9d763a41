//! `llmspell-storage`: load, search, inspect, check and measure a database from the command line.
//!
//! Data goes to stdout, everything else to stderr; the exit code says what kind of failure it was.
//!
//! | file or folder  | question                                                |
//! |-----------------|---------------------------------------------------------|
//! | `args.rs`       | what can be asked, and with which words?                |
//! | `scope_arg.rs`  | how is a scope written on a command line and in a file? |
//! | `filter_arg.rs` | how is a filter written on a command line?               |
//! | `time_arg.rs`   | how are moments and lengths of time written there?      |
//! | `memory_arg.rs` | how is a memory tier written on a command line?          |
//! | `model_args.rs` | how is an embedding model written on a command line?     |
//! | `global_args.rs` | which options does every verb take?                    |
//! | `session.rs`    | which database, space and scope is this call about?     |
//! | `input/`        | how do vectors get in? JSON, CSV, `.npy`, `.fvecs`      |
//! | `commands/`     | what does each verb do?                                 |
//! | `dispatch.rs`   | which verb is run?                                      |
//! | `output.rs`     | how are answers written, for people and for programs?   |
//! | `progress.rs`   | how does a long job show that it lives?                 |
//! | `errors.rs`     | what went wrong, what to try, which exit code?          |
//! | `random.rs`     | where does chance come from?                            |
//! | `measure/`      | how fast, how large, on which machine?                  |

#![forbid(unsafe_code)]

mod args;
mod commands;
mod dispatch;
mod errors;
mod filter_arg;
mod global_args;
mod input;
mod measure;
mod memory_arg;
mod model_args;
mod output;
mod progress;
mod random;
mod scope_arg;
mod session;
mod time_arg;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::errors::CliError;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return errors::report_usage(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => errors::report(&error),
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .build()
        .map_err(|source| CliError::system("cannot start threads", source))?;
    let mut output = Output::new(cli.global.json);
    runtime.block_on(dispatch::run(cli, &mut output))?;
    output.finish()
}
