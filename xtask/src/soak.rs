//! `cargo xtask soak`: sessions that start and end, then long runs of the tests whose length the environment sets.

use std::hash::{BuildHasher, RandomState};
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
    /// Pairs of programs that must not see each other.
    #[arg(long, default_value_t = 10_000)]
    isolation_cases: u64,
    /// Seed of random programs and of the bytes that survive a loss of power; a new number each time by default. It is
    /// printed.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    churn: churn::ChurnArguments,
}

/// A test run whose length and seed are set by the environment.
struct LongTests {
    /// Arguments after `cargo test --release`.
    arguments: &'static [&'static str],
    environment: Vec<(&'static str, u64)>,
}

/// Runs all of them in release mode, and prints each.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    // Not the seed of the repository, which the test suite runs anyway.
    let seed = arguments.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("seed {seed}");
    churn::run(&arguments.churn, seed)?;
    let tests = if arguments.churn.churn_only {
        Vec::new()
    } else {
        long_tests(arguments, seed)
    };
    for tests in tests {
        let mut command = Command::new(env!("CARGO"));
        command.args(["test", "--release"]);
        command.args(tests.arguments);
        let mut line = String::new();
        let seeds = [("PROPTEST_RNG_SEED", seed)];
        for (name, number) in tests.environment.into_iter().chain(seeds) {
            command.env(name, number.to_string());
            line.push_str(&format!("{name}={number} "));
        }
        println!("{line}cargo test --release {}", tests.arguments.join(" "));
        let begun = Instant::now();
        let status = command.status().context("start cargo")?;
        ensure!(status.success(), "it failed");
        println!("passed in {:.0} s", begun.elapsed().as_secs_f64());
    }
    println!("all passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn long_tests(arguments: &Arguments, seed: u64) -> Vec<LongTests> {
    let model = vec![
        ("LLMSPELL_MODEL_STEPS", arguments.steps),
        ("LLMSPELL_MODEL_CASES", arguments.cases),
    ];
    let isolation = vec![("LLMSPELL_ISOLATION_CASES", arguments.isolation_cases)];
    let canaries = vec![("LLMSPELL_CANARY_CASES", arguments.isolation_cases / 10)];
    let key_values = vec![
        // Their values are large, and a program is generated before it runs.
        ("LLMSPELL_KEY_VALUE_STEPS", arguments.steps / 10),
        ("LLMSPELL_KEY_VALUE_CASES", 10 * arguments.cases),
    ];
    vec![
        LongTests {
            arguments: &["-p", "llmspell-storage", "--test", "model", "answers::"],
            environment: model,
        },
        LongTests {
            arguments: &["-p", "llmspell-storage", "--test", "model", "isolation::"],
            environment: isolation,
        },
        LongTests {
            arguments: &["-p", "llmspell-storage", "--test", "model", "canaries::"],
            environment: canaries,
        },
        LongTests {
            arguments: &["-p", "llmspell-storage", "--test", "store", "quotas::"],
            environment: vec![("LLMSPELL_MODEL_CASES", 50 * arguments.cases)],
        },
        LongTests {
            arguments: &["-p", "llmspell-storage", "--test", "store", "key_value_model::"],
            environment: key_values,
        },
        LongTests {
            arguments: &["-p", "llmspell-storage", "--lib", "power_lost"],
            // The test suite runs the first ones.
            environment: vec![
                ("LLMSPELL_POWER_LOSS_SEEDS", 30),
                ("LLMSPELL_POWER_LOSS_FIRST_SEED", seed >> 1),
            ],
        },
        LongTests {
            arguments: &["-p", "llmspell-storage", "--test", "bad_environment"],
            environment: vec![("LLMSPELL_BIT_FLIPS", 2_000)],
        },
        // Every other random test, once from this seed.
        LongTests {
            arguments: &["--workspace"],
            environment: Vec::new(),
        },
    ]
}
