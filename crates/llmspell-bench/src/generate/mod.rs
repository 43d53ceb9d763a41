//! `bench generate`: vectors to measure with where no real ones are at hand.
//!
//! | file          | question                                          |
//! |---------------|---------------------------------------------------|
//! | `data.rs`     | which kinds of data are there, and which options has each? |
//! | `mixture.rs`  | which vectors are made? The formula of clusters   |
//! | `groups.rs`   | … of groups of near-duplicates                    |
//! | `scattered.rs` | … of vectors without any order: Gaussian, exact duplicates, lengths that differ |
//! | `truth.rs`    | which of them are nearest to each query, exactly? |
//! | `npy_file.rs` | how does an array get into a file?                |

mod data;
mod groups;
mod mixture;
mod npy_file;
mod scattered;
mod truth;

use std::path::{Path, PathBuf};

use clap::Args;
use half::f16;
use half::slice::HalfFloatSliceExt;
use llmspell_storage::DistanceMetric;
use llmspell_storage::limits::DIM_RANGE;
use llmspell_vector::share_out;
use serde_json::{Value, json};

pub(super) use self::data::DataArg;
use self::data::{Maker, Recipe, within};
use self::mixture::Kind;
pub(super) use self::npy_file::NpyFile;
use self::npy_file::refuse_existing;
pub use self::truth::kernel_metric;
pub(super) use self::truth::{Base, nearest};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, bytes_text, grouped};
use llmspell_cli_base::progress::Progress;

/// Rows that are made before they are written, in bytes.
const CHUNK_BYTES: usize = 16 << 20;
/// Raised whenever the formula changes.
const GENERATOR_VERSION: u32 = 1;

const AFTER_HELP: &str = "\
Writes base.npy, queries.npy, truth.npy (rows of the base that are nearest to each query, exactly) and, last, info.json
with the arguments. The same arguments give the same bytes, whatever the machine and its threads; a set of fewer rows
is the beginning of a larger one, unless it has groups, which are shuffled.

By default (--data clusters) each vector is  center + Σ a_j g axis_j + 0.1 s g :  a cluster's center, a point in the few dimensions of the cluster
(--intrinsic, with a decaying spectrum a_j), and noise. Components decay by s_i = 1 / √(1 + 16 i / dim); g is drawn from
the normal distribution. Clusters differ in size and overlap. Queries are drawn in the same way and are not in the base.

--data groups       center + spread g : groups of --group-size (100) near-duplicates, --cosine (.99) between two of them;
                    each query is one more member of a group
--data few          the same, one group (200) among unrelated vectors; all queries are members of it
--data gaussian     g in each component
--data duplicates   gaussian, of which the --share (.2) are exact copies of other rows; so are queries
--data lengths      gaussian directions, the longest vector --ratio (100) times as long as the shortest, evenly in the
                    logarithm

Examples:
  llmspell-storage bench generate --out near --data groups --n 20000 --dim 384 --group-size 50 --cosine 0.97
  llmspell-storage bench generate --out set --n 100000 --dim 128 --metric euclidean";

/// A seeded set of vectors, with queries and their true neighbors
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct GenerateArgs {
    /// Directory for the files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Vectors to store
    #[arg(long, value_name = "ROWS", default_value_t = 1_000_000)]
    n: u64,

    /// Components of a vector
    #[arg(long, default_value_t = 128)]
    dim: usize,

    /// How vectors are compared: cosine (rows get length 1), euclidean, dot, manhattan
    #[arg(long, default_value = "cosine")]
    pub(super) metric: DistanceMetric,

    /// Vectors to search with
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    queries: usize,

    /// What the vectors are like
    #[arg(long, value_enum, default_value = "clusters")]
    pub(super) data: DataArg,

    /// Clusters; the first is the largest [default: 200]
    #[arg(long, value_name = "COUNT")]
    clusters: Option<usize>,

    /// Dimensions of a cluster [default: 24]
    #[arg(long, value_name = "DIM")]
    pub(super) intrinsic: Option<usize>,

    /// Near-duplicates in a group [default: 100, of few 200; at most n]
    #[arg(long, value_name = "ROWS")]
    pub(super) group_size: Option<u64>,

    /// Cosine between two members of a group [default: 0.99]
    #[arg(long)]
    pub(super) cosine: Option<f64>,

    /// Rows that are copies of others, 0 to 1 [default: 0.2]
    #[arg(long)]
    share: Option<f64>,

    /// How many times as long as the shortest the longest vector is [default: 100]
    #[arg(long)]
    ratio: Option<f64>,

    /// Another seed gives another set
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,

    /// True neighbors of each query
    #[arg(long, default_value_t = 100)]
    k: usize,

    /// Store the base in 16 bits a component; the truth is that of the rounded vectors
    #[arg(long)]
    f16: bool,

    /// Threads [default: all]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
}

impl GenerateArgs {
    /// A set of vectors of unit length, compared by their cosine.
    pub(super) fn of(out: PathBuf, n: u64, dim: usize, queries: usize, k: usize) -> Self {
        Self {
            out,
            n,
            dim,
            metric: DistanceMetric::Cosine,
            queries,
            data: DataArg::Clusters,
            clusters: None,
            intrinsic: Some(24.min(dim)),
            group_size: None,
            cosine: None,
            share: None,
            ratio: None,
            seed: 1,
            k,
            f16: false,
            threads: None,
        }
    }
}

pub(crate) fn run(args: &GenerateArgs, output: &mut Output) -> Result<(), CliError> {
    let (base, summary) = write_set(args, output.is_json())?;
    output.object(&summary)?;
    let bytes = std::fs::metadata(&base).map_or(0, |metadata| metadata.len());
    output.text(format!(
        "{}: {} vectors of {} components ({}), {} queries, {} true neighbors each",
        args.out.display(),
        grouped(args.n),
        args.dim,
        bytes_text(bytes),
        grouped(args.queries as u64),
        args.k
    ))
}

/// Writes the files of a set. Says which is the base, and what is in `info.json`.
pub(super) fn write_set(args: &GenerateArgs, is_quiet: bool) -> Result<(PathBuf, Value), CliError> {
    let recipe = check(args)?;
    let files = ["base.npy", "queries.npy", "truth.npy", "info.json"].map(|name| args.out.join(name));
    for file in &files {
        refuse_existing(file)?;
    }
    std::fs::create_dir_all(&args.out).map_err(|source| CliError::file("create", &args.out, source))?;
    let [base, queries, truth, info] = files;
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let maker = Maker::new(recipe);

    let progress = Progress::new(Some(args.n), "rows", is_quiet);
    progress.say("base".into());
    write_base(args, &maker, &base, threads, &progress)?;
    let rows = (0..args.queries as u64).map(|number| {
        let mut row = vec![0.0; args.dim];
        maker.row(Kind::Query, number, &mut row);
        row
    });
    let rows: Vec<Vec<f32>> = rows.collect();
    drop(maker);
    write_rows(&queries, "<f4", args.dim, &rows, f32::to_le_bytes)?;

    progress.set(0);
    progress.say("true neighbors".into());
    let nearest = nearest(Base::whole(&base), &rows, args.metric, args.k, threads, &progress)?;
    write_rows(&truth, "<i4", args.k, &nearest, u32::to_le_bytes)?;
    drop(progress);

    let mut summary = json!({
        "generator": GENERATOR_VERSION, "n": args.n, "dim": args.dim, "metric": args.metric, "queries": args.queries,
        "data": args.data.name(), "seed": args.seed, "k": args.k, "f16": args.f16,
    });
    if let (Value::Object(summary), Value::Object(options)) = (&mut summary, recipe.data.describe()) {
        summary.extend(options);
    }
    std::fs::write(&info, format!("{summary}\n")).map_err(|source| CliError::file("write", &info, source))?;
    Ok((base, summary))
}

/// Refuses before anything is written.
fn check(args: &GenerateArgs) -> Result<Recipe, CliError> {
    within("dim", args.dim, *DIM_RANGE.start(), *DIM_RANGE.end())?;
    // Row numbers are written as 32 bits with a sign.
    within("n", args.n, 1, i32::MAX as u64)?;
    within("queries", args.queries as u64, 1, u64::from(u32::MAX))?;
    within("k", args.k as u64, 1, args.n.min(*DIM_RANGE.end() as u64))?;
    within("threads", args.threads.unwrap_or(1), 1, 1024)?;
    Recipe::of(args)
}

/// Makes rows with all threads, a chunk at a time, and writes them in order.
fn write_base(
    args: &GenerateArgs,
    maker: &Maker,
    path: &Path,
    threads: usize,
    progress: &Progress,
) -> Result<(), CliError> {
    let (dim, descr) = (args.dim, if args.f16 { "<f2" } else { "<f4" });
    let mut file = NpyFile::create(path.to_path_buf(), descr, args.n, dim)?;
    let share = (CHUNK_BYTES / (4 * dim)).div_ceil(threads).max(1);
    let mut chunk = vec![0.0_f32; share * threads * dim];
    let mut bytes = Vec::new();
    let mut first = 0;
    while first < args.n {
        let rows = (args.n - first).min((share * threads) as u64);
        let chunk = &mut chunk[..rows as usize * dim];
        let parts = (first..).step_by(share).zip(chunk.chunks_mut(share * dim));
        share_out(parts.map(|(first, rows)| {
            move || {
                for (number, row) in (first..).zip(rows.chunks_exact_mut(dim)) {
                    maker.row(Kind::Base, number, row);
                }
            }
        }));
        bytes.clear();
        if args.f16 {
            let mut halves = vec![f16::ZERO; chunk.len()];
            halves.convert_from_f32_slice(chunk);
            bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
        } else {
            bytes.extend(chunk.iter().flat_map(|number| number.to_le_bytes()));
        }
        file.write(&bytes)?;
        first += rows;
        progress.set(first);
    }
    file.finish()
}

/// Writes rows of numbers of four bytes.
fn write_rows<T: Copy>(
    path: &Path,
    descr: &str,
    columns: usize,
    rows: &[Vec<T>],
    to_bytes: impl Fn(T) -> [u8; 4],
) -> Result<(), CliError> {
    let mut file = NpyFile::create(path.to_path_buf(), descr, rows.len() as u64, columns)?;
    for row in rows {
        let bytes: Vec<u8> = row.iter().flat_map(|number| to_bytes(*number)).collect();
        file.write(&bytes)?;
    }
    file.finish()
}
