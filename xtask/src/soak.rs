//! How are the model tests run for long?

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Random operations of each case.
    #[arg(long, default_value_t = 10_000)]
    steps: u64,
    /// Cases of each test.
    #[arg(long, default_value_t = 4)]
    cases: u64,
    /// Start of all chance; another one each time by default.
    #[arg(long)]
    seed: Option<u64>,
}

/// A test that takes its length from the environment.
struct LongTest {
    package: &'static str,
    /// File of the test.
    target: &'static str,
}

/// They read `LLMSPELL_MODEL_STEPS`, `LLMSPELL_MODEL_CASES` and, by proptest, `PROPTEST_RNG_SEED`.
const LONG_TESTS: [LongTest; 1] = [LongTest {
    package: "llmspell-storage",
    target: "model",
}];

/// Runs all of them, in release, and says what was run.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for test in LONG_TESTS {
        let mut command = Command::new(env!("CARGO"));
        command
            .args(["test", "--release", "-p", test.package, "--test", test.target])
            .args(["--", "--include-ignored", "--nocapture"])
            .env("LLMSPELL_MODEL_STEPS", arguments.steps.to_string())
            .env("LLMSPELL_MODEL_CASES", arguments.cases.to_string());
        if let Some(seed) = arguments.seed {
            command.env("PROPTEST_RNG_SEED", seed.to_string());
        }
        println!("{} cases of {} steps: {command:?}", arguments.cases, arguments.steps);
        let started = Instant::now();
        let status = command.status().context("start cargo")?;
        ensure!(status.success(), "{} of {} failed", test.target, test.package);
        println!("{}: passed in {:.1} s", test.target, started.elapsed().as_secs_f64());
    }
    Ok(())
}
