//! `bench`: measures the store on this machine.
//!
//! | file     | question                                                    |
//! |----------|-------------------------------------------------------------|
//! | `again.rs` | how is a step measured in a process of its own?           |
//! | `ann/` | vectors: build, open, recall and latency, inserts, memory    |
//! | `filter/` | filters: recall and latency at each share that matches |
//! | `generate/` | vectors to measure with, and their true neighbors |
//! | `kv.rs`  | keys: reads, durable writes alone and together, batches, scans |
//! | `load.rs` | how long does a load take?                                 |
//! | `matryoshka/` | vectors stored or indexed in part: disk, recall and speed against whole ones |
//! | `sets/` | data that are hard: near-duplicates, exact duplicates, Gaussian; recall beside its floors |
//! | `router/` | several models: what routing costs, and a space for each of eight dimensions |
//! | `tenants/` | scopes: very many small ones, a large one among them, removing one |
//!
//! With `--json` each line has its `phase`. The fields are fixed; more may be added.

mod again;
mod ann;
mod filter;
mod generate;
mod kv;
mod load;
mod matryoshka;
mod router;
mod sets;
mod tenants;

pub(super) use generate::kernel_metric;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;

use crate::errors::CliError;
use crate::measure::machine::Machine;
use crate::output::Output;

/// Measure speed, recall, memory and disk on this machine
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Vectors: build, open, search (recall, latency), durable inserts, memory
    Ann(ann::AnnArgs),
    /// Filters: recall and latency at each share of entries that match
    Filter(filter::FilterArgs),
    /// A seeded set of vectors, with queries and their true neighbors
    Generate(generate::GenerateArgs),
    /// Keys: reads, durable writes alone and together, batches, scans
    Kv(kv::KvArgs),
    /// Vectors stored by their leading components: disk, recall and speed against whole vectors
    Matryoshka(matryoshka::MatryoshkaArgs),
    /// Several models: what routing costs, and a space for each of eight dimensions
    Router(router::RouterArgs),
    /// Recall on near-duplicates, exact duplicates, Gaussian data and lengths that differ, beside its floors
    Sets(sets::SetsArgs),
    /// Scopes: very many small ones, a large one among them, removing one
    Tenants(tenants::TenantsArgs),
}

pub(crate) async fn run(command: BenchCommand, output: &mut Output) -> Result<(), CliError> {
    match command {
        BenchCommand::Ann(args) => ann::run(args, output).await,
        BenchCommand::Filter(args) => filter::run(args, output).await,
        BenchCommand::Generate(args) => tokio::task::block_in_place(|| generate::run(&args, output)),
        BenchCommand::Kv(args) => kv::run(args, output).await,
        BenchCommand::Matryoshka(args) => matryoshka::run(args, output).await,
        BenchCommand::Router(args) => router::run(args, output).await,
        BenchCommand::Sets(args) => sets::run(args, output).await,
        BenchCommand::Tenants(args) => tenants::run(args, output).await,
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    let seconds = seconds.ok_or("write a number of seconds, at most 3600")?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Says on what it is measured, phase `machine`, and warns where the figures would mean little.
fn announce(output: &mut Output) -> Result<(), CliError> {
    let machine = Machine::detect();
    output.text(output.dim(&machine.summary()))?;
    if machine.build == "debug" {
        eprintln!("note: this is a debug build; measure with `cargo run --release`");
    }
    report(output, &json!({"phase": "machine", "machine": machine}), String::new())
}

/// A JSON line, at once; or a sentence for people.
fn report(output: &mut Output, line: &impl Serialize, sentence: String) -> Result<(), CliError> {
    output.object(line)?;
    if !sentence.is_empty() {
        output.text(sentence)?;
    }
    output.flush()
}

/// The directory named, or a temporary one that goes away in the end.
enum BenchDirectory {
    Named(PathBuf),
    Temporary(TempDir),
}

impl BenchDirectory {
    fn new(named: Option<PathBuf>) -> Result<Self, CliError> {
        match named {
            Some(directory) => {
                std::fs::create_dir_all(&directory).map_err(|source| CliError::file("create", &directory, source))?;
                Ok(Self::Named(directory))
            }
            None => tempfile::tempdir()
                .map(Self::Temporary)
                .map_err(|source| CliError::system("cannot make a directory", source)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Named(directory) => directory,
            Self::Temporary(directory) => directory.path(),
        }
    }
}
