//! What a benchmark writes: the machine first, then a line per phase.

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;
use serde::Serialize;
use serde_json::json;

use crate::measure::machine::Machine;

/// Says on what it is measured, phase `machine`, and warns where the figures would mean little.
pub(crate) fn announce(output: &mut Output) -> Result<(), CliError> {
    let machine = Machine::detect();
    output.text(output.dim(&machine.summary()))?;
    if machine.build == "debug" {
        eprintln!("note: this is a debug build; measure with `cargo run --release`");
    }
    report(output, &json!({"phase": "machine", "machine": machine}), String::new())
}

/// A JSON line, at once; or a sentence for people.
pub(crate) fn report(output: &mut Output, line: &impl Serialize, sentence: String) -> Result<(), CliError> {
    output.object(line)?;
    if !sentence.is_empty() {
        output.text(sentence)?;
    }
    output.flush()
}
