//! `bench router`: the cost of several models in one database.
//!
//! | file          | question                                                    |
//! |---------------|-------------------------------------------------------------|
//! | `overhead.rs` | how much longer does a query take that is routed?           |
//! | `build.rs`    | how long does it take to load a space of each dimension?    |
//! | `serve.rs`    | how long do opening and searches take, and how much RAM?    |

mod build;
mod overhead;
mod serve;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use llmspell_storage::EmbeddingModel;
use llmspell_storage::limits::{DIM_RANGE, K_MAX};

use crate::again::build_elsewhere;
use crate::directory::BenchDirectory;
use crate::report::announce;
use crate::seconds::parse_seconds;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;

const AFTER_HELP: &str = "\
Phases, each a JSON line:
  machine
  overhead  a search through the router beside the same search of the same space without it, by turns, --pairs times: by
            the name of the model, and by the length of the vector alone; `added_ns` is the median of the differences
  load      one per dimension: seeded vectors as `bench generate` makes them, insert and index, bytes on the disk that came
            on top, and per byte of vectors
  open      until the router of all spaces is there, and until the first answer of the one with the fewest dimensions, which
            is loaded from then on
  search    one per dimension, through the router, with the default settings: first answer, recall, p50 and p99 in µs,
            resident bytes per vector that came on top
  total     disk and resident memory of all spaces together
A process of its own does `machine`, `overhead` and `load`, and ends.

Example:
  llmspell-storage bench router --vectors 20000 --json";

/// Several models: what routing costs, and a space for each of eight dimensions
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RouterArgs {
    /// Dimensions, each of a model and a space of its own
    #[arg(
        long,
        value_name = "COMPONENTS",
        value_delimiter = ',',
        default_value = "256,384,512,768,1024,1536,3072,4096"
    )]
    dims: Vec<usize>,

    /// Vectors of each
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    vectors: u64,

    /// Queries for each
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    queries: usize,

    /// How many neighbors
    #[arg(long, default_value_t = 10)]
    k: usize,

    /// Searches with and without the router that are compared
    #[arg(long, value_name = "COUNT", default_value_t = 20_000)]
    pairs: usize,

    /// Repetitions of the queries of each dimension
    #[arg(long, default_value_t = 3)]
    reps: usize,

    /// Least time of each repetition: the queries are asked again until it has passed
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = parse_seconds)]
    seconds: Duration,

    /// Directory on the disk to measure [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Do not build: --dir has the spaces from an earlier run
    #[arg(long, requires = "dir")]
    reuse: bool,

    /// Build the spaces in --dir and end: phases machine, overhead and load
    #[arg(long, requires = "dir", conflicts_with = "reuse")]
    build_only: bool,
}

pub(crate) async fn run(mut args: RouterArgs, output: &mut Output) -> Result<(), CliError> {
    args.dims.sort_unstable();
    args.dims.dedup();
    check(&args)?;
    let directory = BenchDirectory::new(args.dir.clone())?;
    let bench = Bench {
        directory: directory.path(),
        args: &args,
    };
    if args.build_only || args.reuse {
        announce(output)?;
    }
    if args.build_only {
        bench.overhead(output)?;
        return bench.build(output).await;
    }
    if !args.reuse {
        tokio::task::block_in_place(|| build_elsewhere((bench.directory, args.dir.is_some()), output))?;
    }
    bench.serve(output).await
}

fn check(args: &RouterArgs) -> Result<(), CliError> {
    let refused = |message: String| Err(CliError::usage(message, "see `llmspell-storage bench router --help`"));
    if let Some(dim) = args.dims.iter().find(|dim| !DIM_RANGE.contains(*dim)) {
        return refused(format!(
            "dim is {dim}; it must be within {}..={}",
            DIM_RANGE.start(),
            DIM_RANGE.end()
        ));
    }
    let k_max = args.vectors.min(K_MAX as u64);
    if !(1..=k_max).contains(&(args.k as u64)) {
        return refused(format!("k is {}; it must be within 1..={k_max}", args.k));
    }
    if args.queries == 0 || args.reps == 0 || args.pairs == 0 {
        return refused("queries, reps and pairs must be at least 1".into());
    }
    Ok(())
}

struct Bench<'a> {
    directory: &'a Path,
    args: &'a RouterArgs,
}

impl Bench<'_> {
    fn database(&self) -> PathBuf {
        self.directory.join("db")
    }

    /// Where the queries of a dimension are, and their true neighbors.
    fn set(&self, dim: usize) -> PathBuf {
        self.directory.join("sets").join(dim.to_string())
    }
}

/// What ids of a dimension begin with: an id stands in one of the spaces only.
fn prefix(dim: usize) -> String {
    format!("{dim}-")
}

fn model(dim: usize) -> EmbeddingModel {
    EmbeddingModel::new(format!("model-{dim}"), dim)
}
