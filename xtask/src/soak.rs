//! How are the tests run for long that take their length from the environment? And sessions that come and go, before them.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::churn;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Random operations of each case of the models.
    #[arg(long, default_value_t = 10_000)]
    steps: u64,
    /// Cases of each model.
    #[arg(long, default_value_t = 4)]
    cases: u64,
    /// Pairs of programs of which one must not see what the other does.
    #[arg(long, default_value_t = 10_000)]
    isolation_cases: u64,
    /// Start of the chance of the models; another one each time by default.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    churn: churn::ChurnArguments,
}

/// Tests that take their length from the environment.
struct LongTests {
    /// What comes after `cargo test --release`.
    arguments: &'static [&'static str],
    environment: Vec<(&'static str, u64)>,
}

/// Runs all of them, in release, and says what is run.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    churn::run(
        &arguments.churn,
        arguments.seed.unwrap_or_else(|| u64::from(std::process::id())),
    )?;
    let tests = if arguments.churn.churn_only {
        Vec::new()
    } else {
        long_tests(arguments)
    };
    for tests in tests {
        let mut command = Command::new(env!("CARGO"));
        command.args(["test", "--release", "-p", "llmspell-storage"]);
        command.args(tests.arguments);
        let mut line = String::new();
        for (name, number) in tests.environment {
            command.env(name, number.to_string());
            line.push_str(&format!("{name}={number} "));
        }
        println!(
            "{line}cargo test --release -p llmspell-storage {}",
            tests.arguments.join(" ")
        );
        let begun = Instant::now();
        let status = command.status().context("start cargo")?;
        ensure!(status.success(), "it failed");
        println!("passed in {:.0} s", begun.elapsed().as_secs_f64());
    }
    println!("all passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn long_tests(arguments: &Arguments) -> Vec<LongTests> {
    let mut model = vec![
        ("LLMSPELL_MODEL_STEPS", arguments.steps),
        ("LLMSPELL_MODEL_CASES", arguments.cases),
    ];
    let mut isolation = vec![("LLMSPELL_ISOLATION_CASES", arguments.isolation_cases)];
    let mut canaries = vec![("LLMSPELL_CANARY_CASES", arguments.isolation_cases / 10)];
    let mut key_values = vec![
        // Their values are large, and a program is made before it runs.
        ("LLMSPELL_KEY_VALUE_STEPS", arguments.steps / 10),
        ("LLMSPELL_KEY_VALUE_CASES", 10 * arguments.cases),
    ];
    for environment in [&mut model, &mut isolation, &mut canaries, &mut key_values] {
        environment.extend(arguments.seed.map(|seed| ("PROPTEST_RNG_SEED", seed)));
    }
    vec![
        LongTests {
            arguments: &["--test", "model", "answers::"],
            environment: model,
        },
        LongTests {
            arguments: &["--test", "model", "isolation::"],
            environment: isolation,
        },
        LongTests {
            arguments: &["--test", "model", "canaries::"],
            environment: canaries,
        },
        LongTests {
            arguments: &["--test", "quotas"],
            environment: vec![("LLMSPELL_MODEL_CASES", 50 * arguments.cases)],
        },
        LongTests {
            arguments: &["--test", "key_value_model"],
            environment: key_values,
        },
        LongTests {
            arguments: &["--lib", "power_lost"],
            environment: vec![("LLMSPELL_POWER_LOSS_SEEDS", 30)],
        },
        LongTests {
            arguments: &["--test", "bad_environment"],
            environment: vec![("LLMSPELL_BIT_FLIPS", 2_000)],
        },
    ]
}
