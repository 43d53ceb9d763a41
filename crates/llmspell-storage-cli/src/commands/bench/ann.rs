//! `bench ann`: how fast and how good are vectors, through the public async API?

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use llmspell_storage::limits::K_MAX;
use llmspell_storage::{DistanceMetric, HNSWVectorStorage, StateScope, VectorEntry, VectorStorage};
use serde::Serialize;
use serde_json::json;

use super::ann_data::{Queries, next_batch};
use super::ann_search::{SearchReport, SearchSettings, measure};
use super::{BenchDirectory, announce, parse_seconds};
use crate::commands::import::Preset;
use crate::errors::CliError;
use crate::input::npy::NpyReader;
use crate::measure::disk::{disk_bytes, fdatasync_p50_us};
use crate::measure::latency::{Latencies, rounded};
use crate::measure::machine::Machine;
use crate::measure::memory::ProcessMemory;
use crate::output::{Output, bytes_text, grouped, number_cell, row, table};
use crate::progress::Progress;

const SINGLE_INSERTS: usize = 1000;

const AFTER_HELP: &str = "\
Phases, each a JSON line: machine, build, open, search (one per ef), memory, insert.
`memory` is the growth of the process since before `build` or `open`, after the searches; with --reuse the store is
only opened, so that nothing of building it is in the figure.

Example:
  llmspell-storage bench ann --base base.npy --queries queries.npy --truth truth.npy \
    --metric cosine --json";

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

    /// How many neighbors
    #[arg(long, default_value_t = 10)]
    k: usize,

    /// Widths of the beam, each measured by itself
    #[arg(long, value_delimiter = ',', default_value = "16,32,64,128,256")]
    ef: Vec<usize>,

    /// Threads that search, each one query at a time
    #[arg(long, default_value_t = 1)]
    threads: usize,

    /// Ask the queries again until so much time has passed, for each ef
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    seconds: Duration,

    /// Rows per inserted batch
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    batch: usize,

    /// Compare with every entry, instead of using an index
    #[arg(long)]
    exact: bool,

    /// Directory on the disk to measure [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Do not build: --dir has the vectors from an earlier run
    #[arg(long, requires = "dir")]
    reuse: bool,
}

pub(crate) async fn run(args: AnnArgs, output: &mut Output) -> Result<(), CliError> {
    check(&args)?;
    let base = NpyReader::open(&args.base)?;
    let (dim, rows) = (base.header().columns, base.header().rows);
    let queries = Arc::new(Queries::open(&args.queries, &args.truth, args.k, dim, rows)?);
    let directory = BenchDirectory::new(args.dir.clone())?;
    let bench = Bench {
        directory: directory.path(),
        dim,
        args: &args,
    };
    announce(output)?;
    report(
        output,
        &json!({"phase": "machine", "machine": Machine::detect()}),
        String::new(),
    )?;

    // Queries and truth are in memory already; the base never is, so what comes on top belongs to the store.
    let before = ProcessMemory::now().unwrap_or_default();
    if !args.reuse {
        bench.build(base, output).await?;
    }
    let store = bench.open(output).await?;
    let vectors = store.count(&StateScope::Global).await?;
    bench.search(&store, &queries, output)?;
    bench.memory(before, vectors, output)?;
    bench.insert(&store, &queries, output).await?;
    store.close().await?;
    Ok(())
}

fn check(args: &AnnArgs) -> Result<(), CliError> {
    let hint = "see `llmspell-storage bench ann --help`";
    if !(1..=K_MAX).contains(&args.k) {
        return Err(CliError::usage(
            format!("k is {}; it must be within 1..={K_MAX}", args.k),
            hint,
        ));
    }
    if let Some(ef) = args.ef.iter().find(|ef| **ef < args.k) {
        return Err(CliError::usage(format!("ef {ef} is smaller than k = {}", args.k), hint));
    }
    if args.threads == 0 || args.batch == 0 {
        return Err(CliError::usage("threads and batch must be at least 1", hint));
    }
    Ok(())
}

/// A JSON line, at once; or a sentence for people.
fn report(output: &mut Output, line: &impl Serialize, sentence: String) -> Result<(), CliError> {
    output.object(line)?;
    if !sentence.is_empty() {
        output.text(sentence)?;
    }
    output.flush()
}

struct Bench<'a> {
    directory: &'a Path,
    dim: usize,
    args: &'a AnnArgs,
}

impl Bench<'_> {
    async fn open_store(&self) -> Result<HNSWVectorStorage, CliError> {
        let config = self.args.config.config().with_metric(self.args.metric);
        Ok(HNSWVectorStorage::open(self.directory, self.dim, config).await?)
    }

    /// Inserts the base, batch after batch. Reading the file is part of the time.
    async fn build(&self, mut base: NpyReader, output: &mut Output) -> Result<(), CliError> {
        let store = self.open_store().await?;
        if store.stats().await?.vectors > 0 {
            return Err(CliError::usage(
                format!("{} has vectors already", self.directory.display()),
                "name another --dir, or measure those with --reuse",
            ));
        }
        let progress = Progress::new(Some(base.header().rows), "rows", output.is_json());
        let started = Instant::now();
        let mut vectors = 0;
        loop {
            let batch = next_batch(&mut base, self.args.batch)?;
            if batch.is_empty() {
                break;
            }
            vectors += store.insert(batch).await?.len();
            progress.set(vectors as u64);
        }
        store.flush().await?;
        let seconds = started.elapsed().as_secs_f64();
        drop(progress);
        let tail = store.stats_for_scope(&StateScope::Global).await?.tail_vectors;
        store.close().await?;

        let per_second = vectors as f64 / seconds;
        let line = json!({
            "phase": "build", "vectors": vectors, "dim": self.dim, "seconds": rounded(seconds), "threads": 1,
            "vectors_per_second": (per_second * 10.0).round() / 10.0, "batch": self.args.batch,
            "metric": self.args.metric, "tail_vectors": tail,
        });
        let sentence = format!(
            "build   {} vectors of {} components in {seconds:.2} s, {} a second, durable",
            grouped(vectors as u64),
            self.dim,
            grouped(per_second as u64)
        );
        report(output, &line, sentence)
    }

    async fn open(&self, output: &mut Output) -> Result<HNSWVectorStorage, CliError> {
        let started = Instant::now();
        let store = self.open_store().await?;
        let seconds = started.elapsed().as_secs_f64();
        let line = json!({"phase": "open", "seconds": (seconds * 1e6).round() / 1e6});
        report(output, &line, format!("open    {:.1} ms", seconds * 1000.0))?;
        Ok(store)
    }

    fn search(&self, store: &HNSWVectorStorage, queries: &Arc<Queries>, output: &mut Output) -> Result<(), CliError> {
        let mut lines = table(["search", "ef", "recall", "p50 µs", "p99 µs", "queries a second"]);
        for ef in &self.args.ef {
            let settings = SearchSettings {
                k: self.args.k,
                ef: *ef,
                exact: self.args.exact,
                threads: self.args.threads,
                time_min: self.args.seconds,
            };
            // The search has threads of its own; this one only waits.
            let search: SearchReport = tokio::task::block_in_place(|| measure(store, queries, settings))?;
            lines.add_row(row([
                number_cell(""),
                number_cell(search.ef),
                number_cell(format!("{:.4}", search.recall)),
                number_cell(format!("{:.1}", search.p50_us)),
                number_cell(format!("{:.1}", search.p99_us)),
                number_cell(grouped(search.qps as u64)),
            ]));
            report(output, &search, String::new())?;
        }
        output.table(lines)
    }

    fn memory(&self, before: ProcessMemory, vectors: u64, output: &mut Output) -> Result<(), CliError> {
        let now = ProcessMemory::now().unwrap_or_default();
        let disk = disk_bytes(self.directory)?;
        let grown = now.rss_bytes.saturating_sub(before.rss_bytes);
        let anonymous_grown = now.anonymous_bytes.saturating_sub(before.anonymous_bytes);
        let per_vector = |bytes: u64| rounded(bytes as f64 / vectors.max(1) as f64);
        let line = json!({
            "phase": "memory", "rss_bytes": now.rss_bytes, "anonymous_bytes": now.anonymous_bytes,
            "bytes_per_vector": per_vector(grown), "anonymous_bytes_per_vector": per_vector(anonymous_grown),
            "disk_bytes": disk, "vectors": vectors,
        });
        let sentence = format!(
            "memory  {} resident, {} of it not files: {:.0} and {:.0} bytes per vector; {} on disk",
            bytes_text(now.rss_bytes),
            bytes_text(now.anonymous_bytes),
            per_vector(grown),
            per_vector(anonymous_grown),
            bytes_text(disk)
        );
        report(output, &line, sentence)
    }

    /// Inserts one vector at a time, and measures the disk's sync on the same file system.
    async fn insert(&self, store: &HNSWVectorStorage, queries: &Queries, output: &mut Output) -> Result<(), CliError> {
        let fdatasync = fdatasync_p50_us(self.directory)?;
        let mut latencies = Latencies::with_capacity(SINGLE_INSERTS);
        for number in 0..SINGLE_INSERTS {
            let vector = queries.vectors[number % queries.vectors.len()].clone();
            let entry = VectorEntry::new(format!("insert-{number}"), vector);
            let started = Instant::now();
            store.insert(vec![entry]).await?;
            latencies.record(started.elapsed());
        }
        // The vectors of the base are again what the truth was made for.
        let ids: Vec<String> = (0..SINGLE_INSERTS).map(|number| format!("insert-{number}")).collect();
        store.delete(&StateScope::Global, &ids).await?;
        let (p50, p99) = (latencies.p50_us(), latencies.p99_us());
        let line = json!({
            "phase": "insert", "inserts": SINGLE_INSERTS, "p50_us": rounded(p50), "p99_us": rounded(p99),
            "fdatasync_p50_us": rounded(fdatasync),
        });
        let sentence = format!(
            "insert  one at a time, durable: p50 {p50:.0} µs, p99 {p99:.0} µs; the disk's fdatasync {fdatasync:.0} µs"
        );
        report(output, &line, sentence)
    }
}
