//! `bench matryoshka`: what does it save to store only the leading components of vectors, and what does it cost?
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
use serde_json::json;

use self::truth::Truths;
use self::variant::{Measured, Variant};
use super::{BenchDirectory, announce, parse_seconds, report};
use crate::commands::import::Preset;
use crate::errors::CliError;
use crate::input::npy::NpyReader;
use crate::measure::machine::Machine;
use crate::memory_arg::MemoryArg;
use crate::output::Output;

/// Widths of the beam, unless the call names its own.
const SWEEP: [usize; 10] = [16, 24, 32, 48, 64, 100, 160, 256, 400, 800];

const AFTER_HELP: &str = "\
Each way of storing gets a database of its own, in which a model is registered and asked through the router, with whole
queries. Phases, each a JSON line:
  machine
  exact     the share of the k nearest by whole vectors that is among the k nearest by their leading components, both by
            comparing everything: what no search of the leading components can exceed by much
  load      one per way: insert, index, bytes on the disk and per byte of whole vectors
  search    one per way and ef: `recall` against the k nearest by whole vectors, `recall_stored` against the k nearest by
            what is stored; `is_default` for the ef of the index; `qps` of the best repetition
  compare   each other way beside the first, which stores whole vectors: `disk_ratio`, and the recall at the default ef
            beside that of exact search

Example:
  llmspell-storage bench matryoshka --base base.npy --queries queries.npy --store-dim 512 --json";

/// Vectors of which the leading components are stored: disk, recall and speed against whole ones
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

    /// Ask the queries again until so much time has passed, in each repetition
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
}

pub(crate) async fn run(args: MatryoshkaArgs, output: &mut Output) -> Result<(), CliError> {
    let header = NpyReader::open(&args.base)?.header();
    let dim = header.columns;
    check(&args, dim, args.rows_of(header.rows))?;
    let variants = variants(&args, dim)?;
    let directory = BenchDirectory::new(args.dir.clone())?;
    announce(output)?;
    report(
        output,
        &json!({"phase": "machine", "machine": Machine::detect()}),
        String::new(),
    )?;

    let truths = tokio::task::block_in_place(|| Truths::of(&args, dim, output.is_json()))?;
    let recall = truths.recall_of_leading();
    let line = json!({
        "phase": "exact", "components": args.store_dim, "whole_dim": dim, "recall": rounded4(recall), "k": args.k,
        "queries": truths.queries.len(), "metric": args.metric,
    });
    let (k, store_dim) = (args.k, args.store_dim);
    let sentence = format!("exact   the leading {store_dim} of {dim} components find {recall:.4} of the {k} nearest");
    report(output, &line, sentence)?;

    let mut measured: Vec<Measured> = Vec::new();
    for variant in &variants {
        measured.push(variant.measure(&args, &truths, directory.path(), output).await?);
    }
    let Some((whole, others)) = measured.split_first() else {
        return Ok(());
    };
    for other in others {
        let ratio = other.disk_bytes as f64 / whole.disk_bytes.max(1) as f64;
        let line = json!({
            "phase": "compare", "variant": other.name, "with": whole.name, "disk_ratio": rounded4(ratio),
            "recall": rounded4(other.recall), "recall_of_whole": rounded4(whole.recall), "recall_exact": rounded4(recall),
            "recall_less_than_exact": rounded4(recall - other.recall), "qps": other.qps, "qps_of_whole": whole.qps,
        });
        let sentence = format!(
            "compare {}: {ratio:.3} of the disk; recall {:.4} at the default ef, exact search of the same components \
             {recall:.4}",
            other.name, other.recall
        );
        report(output, &line, sentence)?;
    }
    Ok(())
}

fn check(args: &MatryoshkaArgs, dim: usize, rows: u64) -> Result<(), CliError> {
    let refused = |message: String| {
        Err(CliError::usage(
            message,
            "see `llmspell-storage bench matryoshka --help`",
        ))
    };
    if !(1..dim).contains(&args.store_dim) {
        return refused(format!(
            "store-dim is {}; it must be within 1..={}",
            args.store_dim,
            dim.saturating_sub(1)
        ));
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
    let variant = |name: String, store_dim: usize| Variant {
        name,
        dim,
        store_dim,
        config: config.clone(),
    };
    Ok(vec![
        variant("whole".into(), dim),
        variant(format!("stored-{}", args.store_dim), args.store_dim),
    ])
}

/// Four decimals.
fn rounded4(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
