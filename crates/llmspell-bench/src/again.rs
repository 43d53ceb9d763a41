//! Measuring a step in a process of its own.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

/// Runs this program with these arguments, in the same directory if it `is_named` among them, and waits for its end. It
/// says itself what it found, and what went wrong.
pub(super) fn run_again(
    arguments: impl IntoIterator<Item = OsString>,
    (directory, is_named): (&Path, bool),
    output: &mut Output,
) -> Result<(), CliError> {
    output.flush()?;
    let failed = |source| CliError::system("cannot start the process of this step", source);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(arguments);
    if !is_named {
        command.arg("--dir").arg(directory);
    }
    let status = command.status().map_err(failed)?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(CliError::Reported {
            exit_code: u8::try_from(code).unwrap_or(1),
        }),
        None => {
            let ended = std::io::Error::other(format!("it ended by {status}"));
            Err(CliError::system("the process of this step was stopped", ended))
        }
    }
}

/// Builds the store in a process of its own, with the same arguments and `--build-only`: what building needed is gone
/// when it is measured.
pub(super) fn build_elsewhere(place: (&Path, bool), output: &mut Output) -> Result<(), CliError> {
    let arguments = std::env::args_os().skip(1).chain([OsString::from("--build-only")]);
    run_again(arguments, place, output)
}
