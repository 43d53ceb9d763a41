//! `bench tenants`: many small scopes, a large one among them, and one that is removed.
//!
//! | file        | question                                                                    |
//! |-------------|-----------------------------------------------------------------------------|
//! | `data.rs`   | which vectors has which scope?                                              |
//! | `create.rs` | how many scopes are made in a second, and what do they take on the disk?    |
//! | `serve.rs`  | how long do opening and searches take, cold and warm, and how much RAM?     |
//! | `large.rs`  | is a large scope as fast among small ones as alone, and they beside it?     |
//! | `drop.rs`   | how long does removing the large one take, and when is its space reusable?  |
//!
//! Each step is a process of its own, so that none finds what another left in memory.

mod create;
mod data;
mod drop;
mod large;
mod serve;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use llmspell_storage::{DEFAULT_SCOPE_CACHE_BYTES, Database, DatabaseOptions, HNSWConfig, HNSWVectorStorage, Memory};

use self::data::Tenants;
use crate::again::run_again;
use crate::directory::BenchDirectory;
use crate::report::announce;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

const SPACE: &str = "tenants";

const AFTER_HELP: &str = "\
Phases, each a JSON line, by step:
  create  machine, create
  serve   open, cold (the first search of a scope), warm (later ones), touched (RAM once every scope was searched)
  large   large (searches of one large scope, alone and in turn with small ones), delete (removing it)
`serve` comes twice: with --scope-cache and without a bound, which `scope_cache_bytes` tells. RAM is what the process
holds beyond what it held before opening. `disk_read_bytes` of `cold` are bytes that came from the disk and not from
the cache of the system. Each answer is checked: the first hit of a stored vector is that vector, and nothing of another
scope is among the hits.

Example:
  llmspell-storage bench tenants --scopes 100000 --vectors 10 --dim 384 --json";

/// Scopes: very many small ones, a large one among them, removing one
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TenantsArgs {
    /// How many small scopes
    #[arg(long = "scopes", id = "scope_count", value_name = "COUNT", default_value_t = 100_000)]
    scopes: u64,

    /// Vectors of each of them
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    vectors: u64,

    /// Components per vector; those of --base, if it is named
    #[arg(long, value_name = "COUNT", default_value_t = 384)]
    dim: usize,

    /// Take the vectors from here, row after row and again from the first: f32 or f16 [n, dim] [default: random ones]
    #[arg(long, value_name = "NPY")]
    base: Option<PathBuf>,

    /// Take the metadata from here, line after line and again from the first: JSON objects [default: none]
    #[arg(long, value_name = "JSONL")]
    metadata: Option<PathBuf>,

    /// Scopes per inserted batch
    #[arg(long, value_name = "SCOPES", default_value_t = 500)]
    batch: u64,

    /// Batches under way at a time
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    writers: usize,

    /// Searches of `cold`, each of another scope, for `warm` twenty times as many of the same scopes, and of each round of
    /// `large`, at most 4,000
    #[arg(long, value_name = "COUNT", default_value_t = 5_000)]
    searches: u64,

    /// RAM for scopes that were touched, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SCOPE_CACHE_BYTES)]
    scope_cache: u64,

    /// Vectors of the large scope
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    large: u64,

    /// Small scopes beside the large one; the first of --scopes
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    beside: u64,

    /// What to do
    #[arg(long, value_enum, value_delimiter = ',', default_value = "create,serve,large")]
    steps: Vec<Step>,

    /// Directory on the disk to measure; `serve` without `create` finds there what an earlier run made
    /// [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Do one step in this process: what the others are started with
    #[arg(long, hide = true, requires = "dir")]
    only: Option<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    Create,
    Serve,
    Large,
}

pub(crate) async fn run(args: TenantsArgs, output: &mut Output) -> Result<(), CliError> {
    check(&args)?;
    let directory = BenchDirectory::new(args.dir.clone())?;
    let Some(step) = args.only else {
        announce(output)?;
        return tokio::task::block_in_place(|| all_steps(&args, directory.path(), output));
    };
    let tenants = Tenants::new(&args)?;
    let bench = Bench {
        directory: directory.path(),
        args: &args,
        tenants: &tenants,
    };
    match step {
        Step::Create => bench.create(output).await,
        Step::Serve => bench.serve(output).await,
        Step::Large => bench.large(output).await,
    }
}

fn check(args: &TenantsArgs) -> Result<(), CliError> {
    let least = [
        args.scopes,
        args.vectors,
        args.batch,
        args.searches,
        args.large,
        args.beside,
    ]
    .into_iter()
    .min();
    if least == Some(0) || args.writers == 0 {
        return Err(CliError::usage(
            "scopes, vectors, batch, searches, large, beside and writers must be at least 1",
            "see `llmspell-storage bench tenants --help`",
        ));
    }
    Ok(())
}

/// Every step, each in a process of its own.
fn all_steps(args: &TenantsArgs, directory: &Path, output: &mut Output) -> Result<(), CliError> {
    for step in &args.steps {
        let name = step
            .to_possible_value()
            .expect("no step is skipped")
            .get_name()
            .to_string();
        elsewhere(&name, args.scope_cache, directory, args.dir.is_some(), output)?;
        if *step == Step::Serve {
            elsewhere(&name, u64::MAX, directory, args.dir.is_some(), output)?;
        }
    }
    Ok(())
}

/// Measures one step in a process of its own, with the same arguments.
fn elsewhere(step: &str, cache: u64, directory: &Path, is_named: bool, output: &mut Output) -> Result<(), CliError> {
    let mut arguments = Vec::new();
    // What is said twice counts the last time.
    let mut own = std::env::args_os().skip(1);
    while let Some(argument) = own.next() {
        match argument.to_str() {
            Some("--scope-cache") => drop(own.next()),
            Some(text) if text.starts_with("--scope-cache=") => {}
            _ => arguments.push(argument),
        }
    }
    let cache = cache.to_string();
    arguments.extend(["--only", step, "--scope-cache", &cache].map(OsString::from));
    run_again(arguments, (directory, is_named), output)
}

/// That an answer was as it must be.
fn promise(is_kept: bool, expected: impl FnOnce() -> String) -> Result<(), CliError> {
    if is_kept {
        Ok(())
    } else {
        Err(CliError::PromiseBroken { expected: expected() })
    }
}

struct Bench<'a> {
    directory: &'a Path,
    args: &'a TenantsArgs,
    tenants: &'a Tenants,
}

impl Bench<'_> {
    async fn open(&self, directory: &Path) -> Result<(Database, HNSWVectorStorage), CliError> {
        let options = DatabaseOptions::new().scope_cache_bytes(self.args.scope_cache);
        let database = options.open(directory).await?;
        let store = database
            .vectors(
                SPACE,
                self.tenants.dim(),
                HNSWConfig::balanced().with_memory(Memory::Speed),
            )
            .await?;
        Ok((database, store))
    }
}
