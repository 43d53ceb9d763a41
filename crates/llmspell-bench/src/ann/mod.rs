//! `bench ann`: speed and recall of vector search through the public async API.
//!
//! | file        | question                                                        |
//! |-------------|-----------------------------------------------------------------|
//! | `data.rs`   | what is searched, with what, and what should be found?          |
//! | `build.rs`  | how long do loading, indexing and opening take, and how much RAM? |
//! | `search.rs` | how fast is it at which recall, over all widths of the beam?    |
//! | `rounds.rs` | … and for one width?                                            |
//! | `at.rs`     | how fast is it at a recall that was not measured itself?        |
//! | `insert.rs` | how long does a durable insert take, while others search too?   |

mod at;
mod build;
mod data;
mod insert;
mod rounds;
mod search;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use llmspell_storage::limits::{BATCH_ITEMS_MAX, K_MAX};
use llmspell_storage::{DistanceMetric, HNSWConfig, StateScope};

pub(super) use self::at::AtRecall;
pub(super) use self::data::{Queries, next_batch};
pub(super) use self::rounds::{SearchReport, SearchSettings, measure};
use crate::again::build_elsewhere;
use crate::directory::BenchDirectory;
use crate::measure::memory::ProcessMemory;
use crate::report::announce;
use crate::seconds::parse_seconds;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::memory_arg::MemoryArg;
use llmspell_cli_base::output::Output;
use llmspell_cli_base::preset_arg::Preset;

/// Widths of the beam, unless the call names its own.
const SWEEP: [usize; 21] = [
    10, 12, 16, 20, 24, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256, 320, 400, 512, 800, 1200, 2000,
];

const AFTER_HELP: &str = "\
Phases, each a JSON line: machine, build, open, search (one per ef), at (speed at recall 0.95 and 0.99, between the
searches measured), memory, insert, and with --insert-while-searching that. `build` ends when every vector is in the
index. Of a search the call is timed, with ids and scores and without metadata: `qps` is that of the best repetition,
`qps_median` of the middle one. A process of its own does `machine` and `build`, and ends. `memory` is what the process
that opens the store holds after the searches, beyond what it held before opening.

Example:
  llmspell-storage bench ann --base base.npy --queries queries.npy --truth truth.npy \\
    --metric cosine --memory speed --json";

/// Vectors: build, open, search (recall, latency), durable inserts, memory
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct AnnArgs {
    /// Vectors to store: f32 or f16 [n, dim]
    #[arg(long, value_name = "NPY")]
    base: PathBuf,

    /// Vectors to search with: f32 or f16 [queries, dim]
    #[arg(long, value_name = "NPY")]
    queries: PathBuf,

    /// Rows of the base that are nearest to each query, best first: int32 or int64 [queries, >= k]
    #[arg(long, value_name = "NPY")]
    truth: PathBuf,

    /// How vectors are compared: cosine, euclidean, dot, manhattan
    #[arg(long)]
    metric: DistanceMetric,

    /// Settings of the index
    #[arg(long, value_enum, default_value = "balanced")]
    config: Preset,

    /// What of the index is kept in RAM [default: that of --config]
    #[arg(long, value_enum)]
    memory: Option<MemoryArg>,

    /// Links per point [default: that of --config]
    #[arg(long)]
    m: Option<usize>,

    /// Width of the beam while building [default: that of --config]
    #[arg(long, value_name = "COUNT")]
    ef_construction: Option<usize>,

    /// How many neighbors
    #[arg(long, default_value_t = 10)]
    k: usize,

    /// Widths of the beam, each measured by itself [default: 10 to 2000, in 21 steps, until the recall is 0.999]
    #[arg(long, value_delimiter = ',')]
    ef: Option<Vec<usize>>,

    /// Threads that search, each one query at a time; several numbers are measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "1")]
    threads: Vec<usize>,

    /// Repetitions for each ef
    #[arg(long, default_value_t = 3)]
    reps: usize,

    /// Least time of each repetition: the queries are asked again until it has passed
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = parse_seconds)]
    seconds: Duration,

    /// Rows per inserted batch
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    batch: usize,

    /// Compare with every entry, instead of using an index
    #[arg(long)]
    exact: bool,

    /// Finally insert this many vectors, one at a time, while another thread searches; each must be found at once
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    insert_while_searching: usize,

    /// RAM for pages and values of the rows, in MiB [default: that of the library]
    #[arg(long, value_name = "MIB")]
    cache_mib: Option<usize>,

    /// Directory on the disk to measure [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Do not build: --dir has the vectors from an earlier run
    #[arg(long, requires = "dir")]
    reuse: bool,

    /// Build the store in --dir and end: phases machine and build
    #[arg(long, requires = "dir", conflicts_with = "reuse")]
    build_only: bool,
}

pub(crate) async fn run(args: AnnArgs, output: &mut Output) -> Result<(), CliError> {
    check(&args)?;
    let config = config(&args)?;
    let base = NpyReader::open(&args.base)?;
    let (dim, rows) = (base.header().columns, base.header().rows);
    let queries = Arc::new(Queries::open(&args.queries, &args.truth, args.k, dim, rows)?);
    let directory = BenchDirectory::new(args.dir.clone())?;
    let bench = Bench {
        directory: directory.path(),
        dim,
        config,
        args: &args,
    };
    if args.build_only || args.reuse {
        announce(output)?;
    }
    if args.build_only {
        return bench.build(base, output).await;
    }
    drop(base);
    if !args.reuse {
        tokio::task::block_in_place(|| build_elsewhere((bench.directory, args.dir.is_some()), output))?;
    }

    // Queries and truth are in memory already; the base never is, so what comes on top belongs to the store.
    let before = ProcessMemory::now().unwrap_or_default();
    let store = bench.open(&queries, output).await?;
    if args.reuse {
        bench.settle(&store, output).await?;
    }
    let vectors = store.count(&StateScope::Global).await?;
    let ef = bench.search(&store, &queries, output)?;
    bench.memory(&store, before, vectors, output).await?;
    bench.insert(&store, &queries, output).await?;
    if args.insert_while_searching > 0 {
        bench.insert_while_searching(&store, &queries, ef, output).await?;
    }
    store.close().await?;
    Ok(())
}

fn check(args: &AnnArgs) -> Result<(), CliError> {
    let refused = |message: String| Err(CliError::usage(message, "see `llmspell-storage bench ann --help`"));
    if !(1..=K_MAX).contains(&args.k) {
        return refused(format!("k is {}; it must be within 1..={K_MAX}", args.k));
    }
    if let Some(ef) = args.ef.iter().flatten().find(|ef| **ef < args.k) {
        return refused(format!("ef {ef} is smaller than k = {}", args.k));
    }
    if args.threads.contains(&0) || args.batch == 0 || args.reps == 0 {
        return refused("threads, batch and reps must be at least 1".into());
    }
    if args.insert_while_searching > BATCH_ITEMS_MAX {
        return refused(format!(
            "insert-while-searching is {}; it must be at most {BATCH_ITEMS_MAX}",
            args.insert_while_searching
        ));
    }
    Ok(())
}

/// The settings of the index, checked.
fn config(args: &AnnArgs) -> Result<HNSWConfig, CliError> {
    let mut config = args.config.config().with_metric(args.metric);
    if let Some(memory) = args.memory {
        config = config.with_memory(memory.into());
    }
    if let Some(m) = args.m {
        config = config.with_m(m);
    }
    if let Some(ef_construction) = args.ef_construction {
        config = config.with_ef_construction(ef_construction);
    }
    config.validate()?;
    Ok(config)
}

struct Bench<'a> {
    directory: &'a Path,
    dim: usize,
    config: HNSWConfig,
    args: &'a AnnArgs,
}
