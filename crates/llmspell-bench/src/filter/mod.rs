//! `bench filter`: speed and recall of filtered search through the public async API.
//!
//! | file         | question                                                             |
//! |--------------|----------------------------------------------------------------------|
//! | `fields.rs`  | what metadata has each row, and which filters are measured?          |
//! | `given.rs`   | … and which, with metadata of the user?                              |
//! | `truth.rs`   | which rows that pass are nearest to each query, exactly?             |
//! | `measure.rs` | what does one filter cost, at which recall and by which way?         |
//! | `files.rs`   | how do others get the same rows, queries, filters and truth?         |

mod fields;
mod files;
mod given;
mod measure;
mod truth;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use llmspell_storage::limits::K_MAX;
use llmspell_storage::{DistanceMetric, Filter, HNSWConfig, HNSWVectorStorage, Memory, StateScope, VectorEntry};
use serde_json::{Value, json};

use self::fields::{Fields, Kind, PIVOTS, SHARES, near_pivot};
use self::given::Given;
use self::measure::{Asked, FilterReport, Settings};
use self::truth::Nearest;
use crate::again::build_elsewhere;
use crate::directory::BenchDirectory;
use crate::load::{Load, load};
use crate::measure::latency::rounded;
use crate::measure::memory::ProcessMemory;
use crate::report::{announce, report};
use crate::seconds::parse_seconds;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::memory_arg::MemoryArg;
use llmspell_cli_base::output::{Output, bytes_text, grouped, number_cell, row, table, text_cell};
use llmspell_cli_base::progress::Progress;

/// Another seed gives other metadata.
const SEED: u64 = 1;
/// Rows per inserted batch.
const BATCH_ROWS: usize = 1_000;

const AFTER_HELP: &str = "\
Each row gets seeded metadata, so that 50, 20, 10, 5, 2, 1, 0.1 and 0.01 % pass: by one field, by two independent fields
at once, by a range of a field of many values, and correlated with the query: only the farthest from it (far), only the
nearest (near). With --metadata, also by the fields of that file: the values, and pairs of values, that come nearest to
these shares. What should be found is computed by comparing everything. A result that does not pass ends the run.

Phases, each a JSON line: machine, build, metadata (the first filtered search, which builds the index of the metadata),
filter (without a filter first, then one per filter and share). `found` are the results as a share of what there must
be. `first_us` is the first call with a filter, when nobody knows yet who passes. `p99_ratio` is p99 as a multiple of that without a filter. Times are those of the calls, with ids and scores.

Example:
  llmspell-storage bench filter --base base.npy --queries queries.npy --metric cosine --json";

/// Filters: recall and latency at each share of entries that match
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct FilterArgs {
    /// Vectors to store: f32 or f16 [n, dim]
    #[arg(long, value_name = "NPY")]
    base: PathBuf,

    /// Vectors to search with: f32 or f16 [queries, dim]
    #[arg(long, value_name = "NPY")]
    queries: PathBuf,

    /// How vectors are compared: cosine, euclidean, dot, manhattan
    #[arg(long)]
    metric: DistanceMetric,

    /// Metadata of the rows besides: one JSON object per line
    #[arg(long, value_name = "JSONL")]
    metadata: Option<PathBuf>,

    /// What of the index is kept in RAM
    #[arg(long, value_enum, default_value = "balanced")]
    memory: MemoryArg,

    /// How many neighbors
    #[arg(long, default_value_t = 10)]
    k: usize,

    /// Width of the beam [default: that of the store]
    #[arg(long)]
    ef: Option<usize>,

    /// Number of queries to use
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    count: usize,

    /// Repetitions for each filter
    #[arg(long, default_value_t = 3)]
    reps: usize,

    /// Least time of each repetition: the queries are asked again until it has passed
    #[arg(long, value_name = "SECONDS", default_value = "0.2", value_parser = parse_seconds)]
    seconds: Duration,

    /// Write metadata, queries, filters and truth here, for others to measure with
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Directory on the disk to measure [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Do not build: --dir has the entries from an earlier run with the same arguments
    #[arg(long, requires = "dir")]
    reuse: bool,

    /// Build the store in --dir and end: phases machine and build
    #[arg(long, requires = "dir", conflicts_with = "reuse")]
    build_only: bool,
}

/// One filter that is measured.
#[derive(Debug)]
pub(super) struct Case {
    name: &'static str,
    /// Of the rows, those that should pass.
    share: f64,
    is_by_pivot: bool,
    /// None without a filter, one for all queries, or one for each pivot.
    filters: Vec<Filter>,
}

/// Everything that is known before the store is asked.
struct Data {
    fields: Fields,
    given: Given,
    /// As they are, and moved to their pivots.
    queries: [Vec<(Vec<f32>, usize)>; 2],
}

pub(crate) async fn run(args: FilterArgs, output: &mut Output) -> Result<(), CliError> {
    check(&args)?;
    let base = NpyReader::open(&args.base)?;
    let (dim, rows) = (base.header().columns, base.header().rows);
    drop(base);
    let directory = BenchDirectory::new(args.dir.clone())?;
    if !(args.build_only || args.reuse) {
        tokio::task::block_in_place(|| build_elsewhere((directory.path(), args.dir.is_some()), output))?;
    } else {
        announce(output)?;
    }
    let data = tokio::task::block_in_place(|| Data::read(&args, dim, rows, output))?;
    let config = HNSWConfig::balanced()
        .with_metric(args.metric)
        .with_memory(Memory::from(args.memory));
    let store = HNSWVectorStorage::open(directory.path(), dim, config).await?;
    if args.build_only {
        build(&args, &data, &store, rows, output).await?;
    } else {
        measure(&args, &data, &store, rows, output).await?;
    }
    store.close().await?;
    Ok(())
}

fn check(args: &FilterArgs) -> Result<(), CliError> {
    let refused = |message: String| Err(CliError::usage(message, "see `llmspell-storage bench filter --help`"));
    if !(1..=K_MAX).contains(&args.k) {
        return refused(format!("k is {}; it must be within 1..={K_MAX}", args.k));
    }
    if let Some(ef) = args.ef.filter(|ef| *ef < args.k) {
        return refused(format!("ef {ef} is smaller than k = {}", args.k));
    }
    if args.reps == 0 || args.count == 0 {
        return refused("reps and count must be at least 1".into());
    }
    Ok(())
}

impl Data {
    fn read(args: &FilterArgs, dim: usize, rows: u64, output: &Output) -> Result<Self, CliError> {
        let mut reader = NpyReader::open(&args.queries)?;
        let columns = reader.header().columns;
        if columns != dim || reader.header().rows == 0 {
            let message = format!("queries have {columns} components, the base has {dim}; there must be some");
            return Err(CliError::usage(message, "name arrays that were made together"));
        }
        let mut queries = Vec::new();
        while queries.len() < args.count
            && let Some(query) = reader.next_row()?
        {
            queries.push(query);
        }
        let progress = Progress::new(Some(rows), "rows", output.is_json());
        progress.say("distances to pivots".into());
        let pivots = &queries[..queries.len().min(PIVOTS)];
        let distances = truth::distances(&args.base, pivots, args.metric, &progress)?;
        let given = match &args.metadata {
            Some(path) => Given::read(path, rows as usize)?,
            None => Given::default(),
        };
        Ok(Self {
            fields: Fields::new(SEED, &distances),
            given,
            queries: [
                queries.iter().map(|query| (query.clone(), 0)).collect(),
                (0..queries.len()).map(|number| near_pivot(&queries, number)).collect(),
            ],
        })
    }

    fn metadata(&self, row: usize) -> Value {
        let mut metadata = self.given.of_row(row);
        if let Value::Object(fields) = self.fields.of(row) {
            metadata.extend(fields);
        }
        Value::Object(metadata)
    }

    /// All filters: those of each bit of [`passes`](Self::passes), with and without pivots.
    fn cases(&self) -> [Vec<Case>; 2] {
        let of = |kinds: &[Kind], is_by_pivot: bool| -> Vec<Case> {
            let pivots = if is_by_pivot {
                self.queries[1].len().min(PIVOTS)
            } else {
                1
            };
            let shares = |kind: Kind| {
                SHARES.into_iter().enumerate().map(move |(place, share)| Case {
                    name: kind.name(),
                    share,
                    is_by_pivot,
                    filters: (0..pivots).map(|pivot| kind.filter(place, pivot)).collect(),
                })
            };
            kinds.iter().flat_map(|kind| shares(*kind)).collect()
        };
        let mut by_chance = of(&Kind::BY_CHANCE, false);
        by_chance.extend(self.given.cases().map(|(name, share, filter)| Case {
            name,
            share,
            is_by_pivot: false,
            filters: vec![filter],
        }));
        by_chance.push(Case {
            name: "none",
            share: 1.0,
            is_by_pivot: false,
            filters: Vec::new(),
        });
        [by_chance, of(&Kind::BY_PIVOT, true)]
    }

    fn passes(&self, is_by_pivot: bool, row: usize, pivot: usize) -> u64 {
        if is_by_pivot {
            return self.fields.passes_by_pivot(row, pivot);
        }
        let own = Kind::BY_CHANCE.len() * SHARES.len();
        let given = self.given.passes(row) << own;
        let everything = 1 << (own + self.given.cases().count());
        self.fields.passes_by_chance(row) | given | everything
    }
}

/// Inserts the base with its metadata, and waits until all of it is in the graph.
async fn build(
    args: &FilterArgs,
    data: &Data,
    store: &HNSWVectorStorage,
    rows: u64,
    output: &mut Output,
) -> Result<(), CliError> {
    let mut base = NpyReader::open(&args.base)?;
    let progress = Progress::new(Some(rows), "rows", output.is_json());
    let mut metadata_bytes = 0;
    let next_batch = || {
        let mut batch = Vec::with_capacity(BATCH_ROWS);
        while batch.len() < BATCH_ROWS {
            let row = base.rows_read();
            let Some(vector) = base.next_row()? else { break };
            let metadata = data.metadata(row as usize);
            metadata_bytes += metadata.to_string().len() as u64;
            batch.push(VectorEntry::new(row.to_string(), vector).with_metadata(metadata));
        }
        Ok(batch)
    };
    let directory = args.dir.as_deref().unwrap_or(Path::new("--dir"));
    let Load {
        vectors,
        insert_seconds,
        seconds,
    } = load(store, directory, next_batch, progress).await?;
    let line = json!({
        "phase": "build", "vectors": vectors, "seconds": rounded(seconds), "insert_seconds": rounded(insert_seconds),
        "metadata_bytes": metadata_bytes,
    });
    let sentence = format!(
        "build   {} vectors with {} of metadata in {seconds:.2} s: durable after {insert_seconds:.2} s",
        grouped(vectors),
        bytes_text(metadata_bytes)
    );
    report(output, &line, sentence)
}

async fn measure(
    args: &FilterArgs,
    data: &Data,
    store: &HNSWVectorStorage,
    rows: u64,
    output: &mut Output,
) -> Result<(), CliError> {
    let vectors = store.count(&StateScope::Global).await?;
    if vectors != rows {
        let message = format!("the store has {vectors} vectors, the base {rows}");
        return Err(CliError::usage(message, "build it anew, without --reuse"));
    }
    store.build_index().await?;
    let cases = data.cases();
    let truths = tokio::task::block_in_place(|| truths(args, data, &cases, rows, output))?;
    let truth = |by_pivot: usize, bit: usize| -> Vec<&Nearest> {
        truths[by_pivot].iter().map(|nearest| &nearest[bit]).collect()
    };
    if let Some(directory) = &args.out {
        let metadata = (0..rows as usize).map(|row| data.metadata(row));
        let described = [0, 1].into_iter().flat_map(|by_pivot| {
            let cases = cases[by_pivot].iter().enumerate();
            cases.map(move |(bit, case)| (case, by_pivot, bit))
        });
        let described: Vec<_> = described
            .map(|(case, by_pivot, bit)| (case, truth(by_pivot, bit)))
            .collect();
        files::write(directory, metadata, &data.queries[1], &described, args.k)?;
    }
    first_filter(data, store, output).await?;

    let settings = Settings {
        k: args.k,
        ef: args.ef,
        reps: args.reps,
        time_min: args.seconds,
    };
    let mut lines = table([
        "filter",
        "passes",
        "recall",
        "found",
        "queries a second",
        "p50 µs",
        "p99 µs",
        "p99 ratio",
        "first µs",
        "codes",
        "distances",
        "way",
    ]);
    let mut unfiltered = None;
    let order = cases[0]
        .iter()
        .enumerate()
        .rev()
        .take(1)
        .map(|(bit, case)| (0, bit, case));
    let rest = cases.iter().enumerate().flat_map(|(by_pivot, cases)| {
        let filtered = cases.iter().enumerate().filter(|(_, case)| !case.filters.is_empty());
        filtered.map(move |(bit, case)| (by_pivot, bit, case))
    });
    for (by_pivot, bit, case) in order.chain(rest) {
        let asked = Asked {
            case,
            queries: &data.queries[by_pivot],
            truth: &truth(by_pivot, bit),
            passes: &|row, pivot| row < rows as usize && data.passes(by_pivot == 1, row, pivot) >> bit & 1 == 1,
        };
        let measured = asked.measure(store, settings, unfiltered).await?;
        unfiltered = unfiltered.or(Some(measured.p99_us));
        report(output, &measured, String::new())?;
        lines.add_row(line_of(&measured));
    }
    output.table(lines)
}

fn truths(
    args: &FilterArgs,
    data: &Data,
    cases: &[Vec<Case>; 2],
    rows: u64,
    output: &Output,
) -> Result<[Vec<Vec<Nearest>>; 2], CliError> {
    let progress = Progress::new(Some(rows), "rows", output.is_json());
    progress.say("true neighbors".into());
    let of = |by_pivot: usize| {
        let passes = |row: usize, pivot: usize| data.passes(by_pivot == 1, row, pivot);
        let counts = (args.k, cases[by_pivot].len());
        truth::nearest(
            &args.base,
            &data.queries[by_pivot],
            args.metric,
            counts,
            &passes,
            &progress,
        )
    };
    Ok([of(0)?, of(1)?])
}

/// The first search with a filter: it builds the index of the metadata.
async fn first_filter(data: &Data, store: &HNSWVectorStorage, output: &mut Output) -> Result<(), CliError> {
    let before = ProcessMemory::now().unwrap_or_default();
    let started = Instant::now();
    let filter = Kind::OneField.filter(0, 0);
    let matching = store.count_matching(&StateScope::Global, &filter).await?;
    let seconds = started.elapsed().as_secs_f64();
    let grown = ProcessMemory::now()
        .unwrap_or_default()
        .grown_since(before)
        .anonymous_bytes;
    let fields = data.metadata(0).as_object().map_or(0, serde_json::Map::len);
    let line = json!({
        "phase": "metadata", "seconds": rounded(seconds), "matching": matching, "fields": fields,
        "anonymous_bytes": grown,
    });
    let sentence = format!(
        "metadata  {fields} fields, first count with a filter after {seconds:.3} s, {} of RAM more",
        bytes_text(grown)
    );
    report(output, &line, sentence)
}

fn line_of(measured: &FilterReport) -> comfy_table::Row {
    let way = measured
        .paths
        .iter()
        .max_by_key(|(_, count)| **count)
        .map_or("", |(way, _)| way);
    row([
        text_cell(measured.filter),
        number_cell(format!("{} %", rounded(100.0 * measured.share))),
        number_cell(format!("{:.4}", measured.recall)),
        number_cell(format!("{:.4}", measured.found)),
        number_cell(grouped(measured.qps as u64)),
        number_cell(format!("{:.1}", measured.p50_us)),
        number_cell(format!("{:.1}", measured.p99_us)),
        number_cell(format!("{:.2}", measured.p99_ratio)),
        number_cell(format!("{:.1}", measured.first_us)),
        number_cell(grouped(measured.codes as u64)),
        number_cell(grouped(measured.distances as u64)),
        text_cell(way),
    ])
}
