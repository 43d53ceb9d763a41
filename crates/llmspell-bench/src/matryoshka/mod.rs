//! `bench matryoshka`: what storing only the leading components of vectors saves, and what it costs.
//!
//! | file         | question                                                        |
//! |--------------|-----------------------------------------------------------------|
//! | `mod.rs`     | which ways of storing are compared, on which vectors?           |
//! | `variant.rs` | how large, how fast and how good is one of them?                |
//! | `truth.rs`   | what should be found, by whole vectors and by their beginnings? |

mod truth;
mod variant;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use llmspell_storage::limits::K_MAX;
use llmspell_storage::{DistanceMetric, HNSWConfig};
use serde_json::{Value, json};

use self::truth::Truths;
use self::variant::{Variant, Way, table_of};
use crate::ann::AtRecall;
use crate::directory::BenchDirectory;
use crate::report::{announce, report};
use crate::seconds::parse_seconds;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::memory_arg::MemoryArg;
use llmspell_cli_base::output::Output;
use llmspell_cli_base::preset_arg::Preset;

/// Widths of the beam, unless the call names its own.
const SWEEP: [usize; 10] = [16, 24, 32, 48, 64, 100, 160, 256, 400, 800];
/// Recalls at which speeds are compared.
const TARGETS: [f64; 3] = [0.95, 0.97, 0.99];

const AFTER_HELP: &str = "\
Each way of storing gets a database of its own, in which a model is registered and asked through the router, with whole
queries: `whole`; `stored-N`, of which only the leading N components are stored; `walked-N`, whose graph and codes look at the
leading N, and which compares the shortlist by all (a funnel). They are searched by turns. Phases, each a JSON line:
  machine
  exact     the share of the k nearest by whole vectors that is among the k nearest by their leading components, both by
            comparing everything: what no search of the leading components can exceed by much
  load      one per way: insert, index, bytes on the disk and per byte of whole vectors
  search    one per way and ef: `recall` against the k nearest by whole vectors, `recall_stored` against the k nearest by
            what is stored; `is_default` for the ef of the index; `qps` of the best repetition
  compare   each other way beside `whole`: `disk_ratio`, the recall at the default ef beside that of exact search, and
            `at`, queries a second of both at the same recall (null where it was not reached)

Example:
  llmspell-storage bench matryoshka --base base.npy --queries queries.npy --store-dim 512 --json";

/// Vectors stored by their leading components: disk, recall and speed against whole vectors
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct MatryoshkaArgs {
    /// Vectors to store: f32 or f16 [n, dim]
    #[arg(long, value_name = "NPY")]
    base: PathBuf,

    /// Vectors to search with: f32 or f16 [queries, dim]
    #[arg(long, value_name = "NPY")]
    queries: PathBuf,

    /// Leading components that are stored
    #[arg(long, value_name = "COMPONENTS", default_value_t = 512)]
    store_dim: usize,

    /// Leading components that the graph looks at, while all are stored [default: that of --store-dim]
    #[arg(long, value_name = "COMPONENTS", value_delimiter = ',')]
    index_dim: Option<Vec<usize>>,

    /// How vectors are compared: cosine, euclidean, dot, manhattan
    #[arg(long, default_value = "cosine")]
    metric: DistanceMetric,

    /// Rows of the base that count [default: all]
    #[arg(long, value_name = "COUNT")]
    rows: Option<u64>,

    /// Settings of the index
    #[arg(long, value_enum, default_value = "balanced")]
    config: Preset,

    /// What of the index is kept in RAM [default: that of --config]
    #[arg(long, value_enum)]
    memory: Option<MemoryArg>,

    /// How many neighbors
    #[arg(long, default_value_t = 10)]
    k: usize,

    /// Widths of the beam, each measured by itself; that of the index always is [default: 16 to 800, in 10 steps]
    #[arg(long, value_delimiter = ',')]
    ef: Option<Vec<usize>>,

    /// Repetitions for each ef
    #[arg(long, default_value_t = 3)]
    reps: usize,

    /// Least time of each repetition: the queries are asked again until it has passed
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = parse_seconds)]
    seconds: Duration,

    /// Rows per inserted batch
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    batch: usize,

    /// Directory on the disk to measure [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Do not load what --dir has from an earlier run
    #[arg(long, requires = "dir")]
    reuse: bool,
}

impl MatryoshkaArgs {
    /// How many of the rows of the base count.
    fn rows_of(&self, base_rows: u64) -> u64 {
        self.rows.unwrap_or(base_rows).min(base_rows)
    }

    fn index_dims(&self) -> Vec<usize> {
        self.index_dim.clone().unwrap_or_else(|| vec![self.store_dim])
    }

    /// The width that is not named.
    fn default_ef(&self) -> usize {
        self.config.config().ef_search().max(self.k)
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = self.ef.clone().unwrap_or_else(|| SWEEP.to_vec());
        widths.push(self.default_ef());
        widths.retain(|ef| *ef >= self.k);
        widths.sort_unstable();
        widths.dedup();
        widths
    }
}

pub(crate) async fn run(args: MatryoshkaArgs, output: &mut Output) -> Result<(), CliError> {
    let header = NpyReader::open(&args.base)?.header();
    let dim = header.columns;
    check(&args, dim, args.rows_of(header.rows))?;
    let variants = variants(&args, dim)?;
    let directory = BenchDirectory::new(args.dir.clone())?;
    announce(output)?;

    let truths = tokio::task::block_in_place(|| Truths::of(&args, dim, output.is_json()))?;
    let recall = truths.recall_of_leading();
    let line = json!({
        "phase": "exact", "components": args.store_dim, "whole_dim": dim, "recall": rounded4(recall), "k": args.k,
        "queries": truths.queries.len(), "metric": args.metric,
    });
    let (k, store_dim) = (args.k, args.store_dim);
    let sentence = format!("exact   the leading {store_dim} of {dim} components find {recall:.4} of the {k} nearest");
    report(output, &line, sentence)?;

    let mut ways = Vec::new();
    for variant in variants {
        ways.push(Way::ready(variant, &args, directory.path(), output).await?);
    }
    for ef in args.widths() {
        for way in &mut ways {
            way.search(&args, &truths, ef, output).await?;
        }
    }
    let Some((whole, others)) = ways.split_first() else {
        return Ok(());
    };
    output.table(table_of(&ways))?;
    for other in others {
        compare(whole, other, recall, output)?;
    }
    for way in ways {
        way.close().await?;
    }
    Ok(())
}

/// A line of phase `compare`; `recall` is what exact search of the leading components finds.
fn compare(whole: &Way, other: &Way, recall: f64, output: &mut Output) -> Result<(), CliError> {
    let ratio = other.disk_bytes as f64 / whole.disk_bytes.max(1) as f64;
    let (of_other, of_whole) = (other.at_default(), whole.at_default());
    let at: Vec<Value> = TARGETS
        .into_iter()
        .map(|target| {
            let (qps, of_whole) = (
                AtRecall::of(&other.searches, target),
                AtRecall::of(&whole.searches, target),
            );
            let median = |qps: &AtRecall| qps.qps_median;
            let ratio = median(&qps)
                .zip(median(&of_whole))
                .map(|(qps, of_whole)| rounded4(qps / of_whole));
            json!({
                "recall": target, "qps": qps.qps, "qps_of_whole": of_whole.qps, "qps_median": qps.qps_median,
                "qps_median_of_whole": of_whole.qps_median, "ratio_of_medians": ratio,
            })
        })
        .collect();
    let times: Vec<String> = at
        .iter()
        .filter_map(|at| Some(format!("{:.2} x at {}", at["ratio_of_medians"].as_f64()?, at["recall"])))
        .collect();
    let times = if times.is_empty() {
        format!("no recall of {}", TARGETS[0])
    } else {
        times.join(", ")
    };
    let line = json!({
        "phase": "compare", "variant": other.name(), "with": whole.name(), "disk_ratio": rounded4(ratio),
        "recall": rounded4(of_other.recall), "recall_of_whole": rounded4(of_whole.recall),
        "recall_exact": rounded4(recall), "recall_less_than_exact": rounded4(recall - of_other.recall),
        "qps": of_other.qps, "qps_of_whole": of_whole.qps, "at": at,
    });
    let sentence = format!(
        "compare {}: {ratio:.3} of the disk; recall {:.4} at the default ef, exact search of the leading components \
         {recall:.4}; queries a second: {times}",
        other.name(),
        of_other.recall
    );
    report(output, &line, sentence)
}

fn check(args: &MatryoshkaArgs, dim: usize, rows: u64) -> Result<(), CliError> {
    let refused = |message: String| {
        Err(CliError::usage(
            message,
            "see `llmspell-storage bench matryoshka --help`",
        ))
    };
    let last = dim.saturating_sub(1);
    if !(1..dim).contains(&args.store_dim) {
        return refused(format!("store-dim is {}; it must be within 1..={last}", args.store_dim));
    }
    if let Some(index_dim) = args
        .index_dims()
        .iter()
        .find(|index_dim| !(1..dim).contains(*index_dim))
    {
        return refused(format!("index-dim is {index_dim}; it must be within 1..={last}"));
    }
    if !(1..=K_MAX).contains(&args.k) {
        return refused(format!("k is {}; it must be within 1..={K_MAX}", args.k));
    }
    if rows < args.k as u64 || rows > u64::from(u32::MAX) {
        return refused(format!("{rows} rows of the base count; k is {}", args.k));
    }
    if let Some(ef) = args.ef.iter().flatten().find(|ef| **ef < args.k) {
        return refused(format!("ef {ef} is smaller than k = {}", args.k));
    }
    if args.batch == 0 || args.reps == 0 {
        return refused("batch and reps must be at least 1".into());
    }
    Ok(())
}

/// The ways of storing that are compared; the first one stores whole vectors.
fn variants(args: &MatryoshkaArgs, dim: usize) -> Result<Vec<Variant>, CliError> {
    let mut config: HNSWConfig = args.config.config().with_metric(args.metric);
    if let Some(memory) = args.memory {
        config = config.with_memory(memory.into());
    }
    config.validate()?;
    let variant = |name: String, store_dim: usize, index_dim: Option<usize>| Variant {
        name,
        dim,
        store_dim,
        config: config.clone().with_index_dim(index_dim),
    };
    let mut variants = vec![
        variant("whole".into(), dim, None),
        variant(format!("stored-{}", args.store_dim), args.store_dim, None),
    ];
    let walked = |index_dim: usize| variant(format!("walked-{index_dim}"), dim, Some(index_dim));
    variants.extend(args.index_dims().into_iter().map(walked));
    Ok(variants)
}

/// Four decimals.
fn rounded4(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
