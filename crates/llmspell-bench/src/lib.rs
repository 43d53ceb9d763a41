//! Measures llmspell-storage on this machine: speed, recall, memory and disk.
//!
//! The verb `bench` of the command line is [`BenchArgs`] and [`run`]. The examples measure what lies below the store.
//!
//! | file or folder | question                                                    |
//! |----------------|-------------------------------------------------------------|
//! | `measure/`     | how fast, how large, on which machine?                      |
//! | `seconds.rs`, `directory.rs`, `report.rs` | what do benchmarks share: lengths of time, where they write, what they print? |
//! | `again.rs`     | how is a step measured in a process of its own?             |
//! | `load.rs`      | how long does a load take?                                  |
//! | `generate/`    | vectors to measure with, and their true neighbors           |
//! | `ann/`         | vectors: build, open, recall and latency, inserts, memory   |
//! | `filter/`      | filters: recall and latency at each share that matches      |
//! | `kv.rs`        | keys: reads, durable writes alone and together, batches, scans |
//! | `matryoshka/`  | vectors stored or indexed in part: disk, recall and speed against whole ones |
//! | `router/`      | several models: what routing costs, and a space for each of eight dimensions |
//! | `sets/`        | data that are hard: near-duplicates, exact duplicates, Gaussian; recall beside its floors |
//! | `tenants/`     | scopes: very many small ones, a large one among them, removing one |
//!
//! With `--json` each line has its `phase`. The fields are fixed; more may be added.

mod again;
mod ann;
mod directory;
mod filter;
mod generate;
mod kv;
mod load;
mod matryoshka;
pub mod measure;
mod report;
mod router;
mod seconds;
mod sets;
mod tenants;

pub use generate::kernel_metric;

use clap::{Args, Subcommand};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

/// Measure speed, recall, memory and disk on this machine
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
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

/// Measures what was asked for, and writes a line per phase.
///
/// # Errors
///
/// Those of the store, of files and of the terminal, and figures that a promise forbids.
pub async fn run(args: BenchArgs, output: &mut Output) -> Result<(), CliError> {
    match args.command {
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
