//! `cargo xtask crash`: acknowledged writes must survive a kill of the process.
//!
//! ```text
//! cargo xtask crash --backend redb|sled|vectors|router|backup|all --cycles 1000
//! ```
//!
//! A writing process says on a pipe what it is about to do and, when the call has returned, that it is done. At a
//! random moment it is killed; in some cycles the process that opens the store next is killed as well, while it opens.
//! Then a third process opens the store and reports its content, which is compared with the messages of the writers.
//!
//! | file           | question                                                   |
//! |----------------|------------------------------------------------------------|
//! | `cycle.rs`     | what happens in a cycle?                                   |
//! | `model/`       | which content must the store have?                         |
//! | `process.rs`   | how is a process started, listened to and killed?          |
//! | `children.rs`  | what do the started processes do?                          |
//! | `store.rs`     | how are operations done, through the public API?           |
//! | `router.rs`    | how are entries moved, and spaces replaced?                |
//! | `workload.rs`  | which operations does a writer do?                         |
//! | `operation.rs` | what do the processes tell each other?                     |
//! | `backup.rs`    | do backups and restores survive a kill?                    |
//! | `content.rs`   | how are values, vectors and metadata made from numbers?    |
//!
//! A kill does not lose bytes that the process wrote to the system. Loss of power is tested with the simulated disk in
//! the tests of `llmspell-storage`.

mod backup;
mod children;
mod content;
mod cycle;
mod model;
mod operation;
mod process;
mod router;
mod store;
mod workload;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

pub(crate) use backup::{ChildArguments as BackupChildArguments, child as back_up};
pub(crate) use children::{ChildArguments, check, write};

use cycle::{Generation, Tally};
use llmspell_testkit::Random;
use model::Territory;
use workload::{Subject, WRITERS};

/// A new store begins after this many cycles.
const GENERATION_CYCLES: u64 = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The backend to test.
    #[arg(long, value_enum, default_value_t = Backend::All)]
    backend: Backend,
    /// Number of cycles for each backend.
    #[arg(long, default_value_t = 1_000)]
    cycles: u64,
    /// First cycle; rounded down to the beginning of a store.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Seed of all random choices; the moment of a kill also depends on the scheduler. From the clock by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Directory for stores; the system's temporary directory by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Percentage of cycles in which recovery is killed too; of these, the same percentage a second time, and so on.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=90))]
    recovery_kill: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    Redb,
    Sled,
    Vectors,
    Router,
    /// Backups and restores beside a writer.
    Backup,
    All,
}

/// Runs the cycles and prints their results. After a violation the exit code is 1.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(1, |since| since.as_secs())
    });
    let subjects = match arguments.backend {
        Backend::Redb => vec![Subject::Redb],
        Backend::Sled => vec![Subject::Sled],
        Backend::Vectors => vec![Subject::Vectors],
        Backend::Router => vec![Subject::Router],
        Backend::Backup => Vec::new(),
        Backend::All => vec![Subject::Redb, Subject::Sled, Subject::Vectors, Subject::Router],
    };
    println!("seed {seed}, {} cycles for each backend", arguments.cycles);
    if matches!(arguments.backend, Backend::Backup | Backend::All) {
        backup::run(arguments.dir.as_deref(), seed, (arguments.from, arguments.cycles))?;
    }
    if subjects.is_empty() {
        return Ok(());
    }
    println!(
        "| backend | cycles | kills | while opening | acknowledged | in flight | of which happened | purges cut | compared | \
         max reopen ms | ms per cycle | violations |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for subject in subjects {
        let started = Instant::now();
        let tally = run_subject(arguments, subject, seed)?;
        print_row(subject, &tally, started.elapsed().as_millis());
    }
    Ok(())
}

fn run_subject(arguments: &Arguments, subject: Subject, seed: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    let first = arguments.from - arguments.from % GENERATION_CYCLES;
    let end = arguments.from + arguments.cycles;
    let mut cycle = first;
    while cycle < end {
        let home = match &arguments.dir {
            Some(dir) => tempfile::Builder::new().prefix("crash-").tempdir_in(dir),
            None => tempfile::Builder::new().prefix("llmspell-crash-").tempdir(),
        };
        let home = home.context("make a directory for the store")?;
        let mut generation = Generation {
            subject,
            dir: &home.path().join("store"),
            recovery_kill_percent: arguments.recovery_kill,
            territories: vec![Territory::default(); WRITERS],
            journal: Vec::new(),
            opening: std::time::Duration::ZERO,
        };
        let from = cycle;
        let result = (|| {
            generation.begin(Random::new(&[seed, from]).number(), &mut tally)?;
            while cycle < end.min(from + GENERATION_CYCLES) {
                generation.cycle(Random::new(&[seed, cycle]).number(), &mut tally)?;
                cycle += 1;
            }
            Ok(())
        })();
        if let Err(violation) = result {
            let violation: anyhow::Error = violation;
            let journal = std::mem::take(&mut generation.journal);
            let kept = home.keep();
            keep_journal(&kept, &journal)?;
            anyhow::bail!(
                "{violation:#}\n\
                 again: cargo xtask crash --backend {} --seed {seed} --from {from} --cycles {}   \
                 (cycle {cycle}; store and journal are in {})",
                subject.name(),
                cycle - from + 1,
                kept.display()
            );
        }
    }
    Ok(tally)
}

fn keep_journal(dir: &Path, journal: &[operation::Line]) -> Result<()> {
    let mut text = String::new();
    for line in journal {
        text.push_str(&serde_json::to_string(line)?);
        text.push('\n');
    }
    std::fs::write(dir.join("journal.jsonl"), text).context("write the journal")
}

fn print_row(subject: Subject, tally: &Tally, elapsed_ms: u128) {
    println!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} | {} | 0 |",
        subject.name(),
        tally.cycles,
        tally.kills,
        tally.recovery_kills,
        tally.acknowledged,
        tally.in_flight,
        tally.happened,
        tally.purges_cut,
        tally.checked,
        tally.reopen_max.as_secs_f64() * 1_000.0,
        elapsed_ms / u128::from(tally.cycles.max(1)),
    );
    if tally.panics > 0 {
        println!("{}: {} panics were caught by the backend", subject.name(), tally.panics);
    }
}
