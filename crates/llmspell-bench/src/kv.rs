//! `bench kv`: speed of keys through the async trait.
//!
//! Each phase warms up, then takes [`SAMPLES`] samples; reported is the median of the samples, for each figure by
//! itself. Calls are timed one by one, and what reading the clock takes (about 20-40 ns, measured at the start and
//! printed) is subtracted: it would be a tenth of a read from memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use llmspell_storage::{MemoryBackend, RedbBackend, SledBackend, StorageBackend};
use serde_json::json;

use crate::directory::BenchDirectory;
use crate::measure::disk::fdatasync_p50_us;
use crate::measure::latency::{Latencies, clock_overhead, median, rounded};
use crate::report::announce;
use crate::seconds::parse_seconds;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, grouped, number_cell, row, table, text_cell};

const SAMPLES: usize = 5;
const VALUE_BYTES: usize = 1024;
/// Keys that reads and scans find; 10 MB, so that they stay in every cache.
const KEYS: usize = 10_000;
const WRITERS: usize = 64;
const BATCH_ITEMS: usize = 1000;
const SCAN_PAGE: usize = 1000;
/// Calls of one sample at most: memory is quick, and needs no millions.
const CALLS_MAX: usize = 200_000;
/// Calls after which a writer lets others go first.
const CALLS_IN_TURN: usize = 16;

/// Keys: reads, durable writes alone and together, batches, scans
#[derive(Debug, Args)]
#[command(after_help = "\
Phases, each a JSON line: machine, get (values of 1 KiB, cached), put (one writer), put_64 (64 concurrent writers
of one log: each key is the next), put_64_spread (each of the 64 has keys of its own, so that a commit touches as many
places), batch (1,000 values at once), scan (pages of 1,000). Puts are durable when they return, as far as the backend
is.

Example:
  llmspell-storage bench kv --backend redb --dir . --json")]
pub(crate) struct KvArgs {
    /// What is measured
    #[arg(long, value_enum)]
    backend: BackendArg,

    /// Directory on the disk to measure; the files of the run go away again [default: the system's temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// How long each of the five samples of a phase lasts; 0.6 for figures that are to be compared
    #[arg(long, value_name = "SECONDS", default_value = "0.1", value_parser = parse_seconds)]
    seconds: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendArg {
    Memory,
    Sled,
    Redb,
}

pub(crate) async fn run(args: KvArgs, output: &mut Output) -> Result<(), CliError> {
    announce(output)?;
    let directory = BenchDirectory::new(args.dir)?;
    let inner = tempfile::Builder::new()
        .prefix("bench-kv-")
        .tempdir_in(directory.path())
        .map_err(|source| CliError::file("create a directory in", directory.path(), source))?;
    let backend: Arc<dyn StorageBackend> = match args.backend {
        BackendArg::Memory => Arc::new(MemoryBackend::new()),
        BackendArg::Sled => Arc::new(SledBackend::open(inner.path().join("sled")).await?),
        BackendArg::Redb => Arc::new(RedbBackend::open(inner.path().join("redb")).await?),
    };

    let bench = Bench {
        backend,
        clock: clock_overhead(),
        next_key: Arc::default(),
    };
    output.text(format!(
        "reading the clock takes {} ns, subtracted from each call",
        bench.clock.as_nanos()
    ))?;
    bench.fill().await?;
    let mut lines = table(["phase", "p50 µs", "p99 µs", "a second", "fdatasync p50 µs"]);
    let mut fdatasync_us = fdatasync_p50_us(inner.path())?;
    for phase in Phase::ALL {
        // Again beside each phase that writes to the disk: what the disk needs may change from minute to minute.
        if phase.writes() && !matches!(args.backend, BackendArg::Memory) {
            fdatasync_us = fdatasync_p50_us(inner.path())?;
        }
        bench.sample(phase, args.seconds / 3).await?;
        let mut samples = Vec::new();
        for _ in 0..SAMPLES {
            samples.push(bench.sample(phase, args.seconds).await?);
        }
        let middle = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
        let (p50_us, p99_us) = (middle(|sample| sample.p50_us), middle(|sample| sample.p99_us));
        let ops_per_second = middle(|sample| sample.calls_per_second) * phase.items_per_call() as f64;
        output.object(&json!({
            "phase": phase.name(), "backend": bench.backend.backend_type(),
            "durability": bench.backend.characteristics().durability,
            "p50_us": rounded(p50_us), "p99_us": rounded(p99_us), "ops_per_second": ops_per_second.round(),
            "fdatasync_p50_us": rounded(fdatasync_us), "value_bytes": VALUE_BYTES, "samples": SAMPLES,
            "items_per_call": phase.items_per_call(), "writers": phase.writers(),
            "clock_ns": bench.clock.as_nanos() as u64,
        }))?;
        output.flush()?;
        lines.add_row(row([
            text_cell(phase.name()),
            number_cell(format!("{p50_us:.2}")),
            number_cell(format!("{p99_us:.2}")),
            number_cell(grouped(ops_per_second as u64)),
            number_cell(format!("{fdatasync_us:.0}")),
        ]));
    }
    output.table(lines)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Get,
    Put,
    Put64,
    Put64Spread,
    Batch,
    Scan,
}

impl Phase {
    const ALL: [Self; 6] = [
        Self::Get,
        Self::Put,
        Self::Put64,
        Self::Put64Spread,
        Self::Batch,
        Self::Scan,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Put64 => "put_64",
            Self::Put64Spread => "put_64_spread",
            Self::Batch => "batch",
            Self::Scan => "scan",
        }
    }

    fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::Scan)
    }

    /// Writers at once.
    fn writers(self) -> usize {
        match self {
            Self::Put64 | Self::Put64Spread => WRITERS,
            Self::Get | Self::Put | Self::Batch | Self::Scan => 1,
        }
    }

    /// Keys that one call reads or writes; operations per second count keys.
    fn items_per_call(self) -> usize {
        match self {
            Self::Get | Self::Put | Self::Put64 | Self::Put64Spread => 1,
            Self::Batch => BATCH_ITEMS,
            Self::Scan => SCAN_PAGE,
        }
    }
}

struct Sample {
    p50_us: f64,
    p99_us: f64,
    calls_per_second: f64,
}

struct Bench {
    backend: Arc<dyn StorageBackend>,
    clock: Duration,
    next_key: Arc<AtomicU64>,
}

impl Bench {
    async fn fill(&self) -> Result<(), CliError> {
        for first in (0..KEYS).step_by(BATCH_ITEMS) {
            let items = (first..first + BATCH_ITEMS)
                .map(|number| (read_key(number), value(number)))
                .collect();
            self.backend.set_batch(items).await?;
        }
        Ok(())
    }

    async fn sample(&self, phase: Phase, time: Duration) -> Result<Sample, CliError> {
        let started = Instant::now();
        let mut latencies = match phase {
            Phase::Get => self.get(time).await?,
            Phase::Put => put(&*self.backend, &KeyOrder::own(0), started, time, self.clock).await?,
            Phase::Put64 => {
                self.put_together(time, |_| KeyOrder::Shared(Arc::clone(&self.next_key)))
                    .await?
            }
            Phase::Put64Spread => self.put_together(time, KeyOrder::own).await?,
            Phase::Batch => self.batch(time).await?,
            Phase::Scan => self.scan(time).await?,
        };
        let seconds = started.elapsed().as_secs_f64();
        Ok(Sample {
            calls_per_second: latencies.calls() as f64 / seconds,
            p50_us: latencies.p50_us(),
            p99_us: latencies.p99_us(),
        })
    }

    async fn get(&self, time: Duration) -> Result<Latencies, CliError> {
        let keys: Vec<String> = (0..KEYS).map(read_key).collect();
        let mut latencies = Latencies::with_capacity(CALLS_MAX);
        let started = Instant::now();
        let mut at = 0;
        while latencies.calls() < CALLS_MAX && started.elapsed() < time {
            // Far from the last one; 7,919 and 10,000 have no common divisor, so every key gets its turn.
            at = (at + 7_919) % KEYS;
            let call = Instant::now();
            let found = self.backend.get(&keys[at]).await?;
            latencies.record(call.elapsed().saturating_sub(self.clock));
            assert_eq!(
                found.map(|found| found.len()),
                Some(VALUE_BYTES),
                "a fast wrong answer is not a result"
            );
        }
        Ok(latencies)
    }

    async fn put_together(&self, time: Duration, order: impl Fn(usize) -> KeyOrder) -> Result<Latencies, CliError> {
        let started = Instant::now();
        let writers: Vec<_> = (1..=WRITERS)
            .map(|writer| {
                let (backend, clock, order) = (Arc::clone(&self.backend), self.clock, order(writer));
                tokio::spawn(async move { put(&*backend, &order, started, time, clock).await })
            })
            .collect();
        let mut latencies = Latencies::default();
        for writer in writers {
            latencies.append(writer.await.expect("a writer does not panic")?);
        }
        Ok(latencies)
    }

    async fn batch(&self, time: Duration) -> Result<Latencies, CliError> {
        let mut latencies = Latencies::default();
        let started = Instant::now();
        while started.elapsed() < time {
            let items: HashMap<_, _> = (0..BATCH_ITEMS)
                .map(|number| (format!("batch/{number:08}"), value(number)))
                .collect();
            let call = Instant::now();
            self.backend.set_batch(items).await?;
            latencies.record(call.elapsed().saturating_sub(self.clock));
        }
        Ok(latencies)
    }

    async fn scan(&self, time: Duration) -> Result<Latencies, CliError> {
        let mut latencies = Latencies::default();
        let started = Instant::now();
        let mut after: Option<String> = None;
        while started.elapsed() < time {
            let call = Instant::now();
            let page = self.backend.scan("read/", after.as_deref(), SCAN_PAGE).await?;
            let duration = call.elapsed().saturating_sub(self.clock);
            after = page.last().map(|(key, _)| key.clone());
            // The empty page after the last one is no reading of a thousand keys.
            if after.is_some() {
                assert_eq!(page.len(), SCAN_PAGE, "a fast wrong answer is not a result");
                latencies.record(duration);
            }
        }
        Ok(latencies)
    }
}

/// Which keys a writer writes.
enum KeyOrder {
    /// Its own thousand, again and again: the writers touch as many places of the tree.
    Own(Vec<String>),
    /// The next of all writers, as in a log of events.
    Shared(Arc<AtomicU64>),
}

impl KeyOrder {
    fn own(writer: usize) -> Self {
        Self::Own((0..1000).map(|number| format!("put/{writer:03}/{number:08}")).collect())
    }

    fn key(&self, number: usize) -> Cow<'_, str> {
        match self {
            Self::Own(keys) => Cow::Borrowed(&keys[number % keys.len()]),
            Self::Shared(next) => Cow::Owned(format!("log/{:012}", next.fetch_add(1, Ordering::Relaxed))),
        }
    }
}

/// One writer, one value after the other, for `time` since `started`, which writers at once have in common.
async fn put(
    backend: &dyn StorageBackend,
    order: &KeyOrder,
    started: Instant,
    time: Duration,
    clock: Duration,
) -> Result<Latencies, CliError> {
    let mut latencies = Latencies::default();
    while latencies.calls() < CALLS_MAX && started.elapsed() < time {
        let number = latencies.calls();
        let (key, value) = (order.key(number), value(number));
        let call = Instant::now();
        backend.set(&key, value).await?;
        latencies.record(call.elapsed().saturating_sub(clock));
        // A backend in RAM never waits: without this a writer would be done before the next one begins.
        if number % CALLS_IN_TURN == CALLS_IN_TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(latencies)
}

fn read_key(number: usize) -> String {
    format!("read/{number:08}")
}

fn value(number: usize) -> Vec<u8> {
    let mut value = vec![0; VALUE_BYTES];
    value[..8].copy_from_slice(&(number as u64).to_le_bytes());
    value
}
