//! `bench sets`: recall on hard data with the default settings.
//!
//! | file         | question                                                                          |
//! |--------------|-----------------------------------------------------------------------------------|
//! | `grid.rs`    | which sets are measured, and which recall is the least that they may have?        |
//! | `measure.rs` | which recall, by distance, has one database with one set, and how quickly does it answer? |

mod grid;
mod measure;

use std::path::{Path, PathBuf};

use clap::Args;
use llmspell_storage::DistanceMetric;
use serde_json::json;

use self::grid::{Set, WIDE_EF, sets};
use self::measure::{Data, SetReport};
use crate::directory::BenchDirectory;
use crate::generate::write_set;
use crate::report::{announce, report};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::memory_arg::MemoryArg;
use llmspell_cli_base::output::{Output, grouped};
use llmspell_cli_base::progress::Progress;

const AFTER_HELP: &str = "\
Sets: groups of near-duplicates of 20 to 500 members, of which two have a cosine of .92 to .9998 (or 1: copies), 32 to 1536
components, 10,000 to 100,000 vectors; 200 near-duplicates among 9,800 unrelated vectors; 60,000 x 128 Gaussian; a fifth of
exact duplicates; lengths from 0.1 to 10. `bench generate` makes each of them. Each is stored in a database of its own for
each metric and tier, and asked with the default settings, at ef_search 1,000, and at an ef_search of all vectors.

Recall counts results that are no farther than the tenth true neighbor, by comparing everything; which of several at one
distance come does not count. Floors: .95; of near-duplicates .999 at ef_search 1,000; 1 at all vectors. A recall below
its floor has the floor behind it, and makes the exit code 2.

Phases, each a JSON line: machine; set (per set, metric, tier and width of the beam); floors (how many were missed).

Examples:
  llmspell-storage bench sets --quick
  llmspell-storage bench sets --only groups-100 --metric cosine --memory speed --dump sets --json";

/// Recall on near-duplicates, exact duplicates, Gaussian data and lengths that differ, beside its floors
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SetsArgs {
    /// Small sets of the same kinds, of 5,000 vectors
    #[arg(long)]
    quick: bool,

    /// Sets with this in their name, such as groups-100 [default: all]
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// One metric: cosine, euclidean, dot [default: those of each set]
    #[arg(long)]
    metric: Option<DistanceMetric>,

    /// One tier [default: both]
    #[arg(long, value_enum)]
    memory: Option<MemoryArg>,

    /// Vectors to search with, for each set; everything is compared for the first 25
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    queries: usize,

    /// Another seed gives other vectors
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Leave base.npy, queries.npy, truth.npy and info.json of each set here, in a directory of its name and metric
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,

    /// Directory on the disk for the databases [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl SetsArgs {
    /// What is measured: each set by each metric.
    fn chosen(&self) -> Result<Vec<(Set, DistanceMetric)>, CliError> {
        let refused = |message: String| Err(CliError::usage(message, "see `llmspell-storage bench sets --help`"));
        if self.queries == 0 {
            return refused("queries is 0; it must be at least 1".into());
        }
        let is_named = |set: &&Set| self.only.as_ref().is_none_or(|part| set.name().contains(part.as_str()));
        let named: Vec<&Set> = sets(self.quick).iter().filter(is_named).collect();
        if named.is_empty() {
            let names: Vec<String> = sets(self.quick).iter().map(Set::name).collect();
            let only = self.only.as_deref().unwrap_or_default();
            return refused(format!(
                "no set has `{only}` in its name; there are {}",
                names.join(", ")
            ));
        }
        let by_metric = named
            .into_iter()
            .flat_map(|set| set.metrics.iter().map(|metric| (*set, *metric)));
        let chosen: Vec<_> = by_metric
            .filter(|(_, metric)| self.metric.is_none_or(|wanted| wanted == *metric))
            .collect();
        match self.metric {
            Some(metric) if chosen.is_empty() => refused(format!("none of these sets is measured by {metric}")),
            Some(_) | None => Ok(chosen),
        }
    }
}

pub(crate) async fn run(args: SetsArgs, output: &mut Output) -> Result<(), CliError> {
    let chosen = args.chosen()?;
    let tiers = match args.memory {
        Some(memory) => vec![memory],
        None => vec![MemoryArg::Speed, MemoryArg::Balanced, MemoryArg::Lean],
    };
    let directory = BenchDirectory::new(args.dir.clone())?;
    announce(output)?;
    output.text(output.bold(&heading()))?;

    let (mut figures, mut missed) = (0, 0);
    for (number, (set, metric)) in chosen.iter().enumerate() {
        let name = format!("{}-{metric}", set.name());
        let files = args.dump.as_deref().unwrap_or(directory.path()).join(&name);
        let of = |what: &str| format!("{what} {name}, {} of {}", number + 1, chosen.len());
        let progress = Progress::spinner(of("making"), output.is_json());
        let data = tokio::task::block_in_place(|| {
            write_set(&set.generate(files.clone(), *metric, args.queries, args.seed), true)?;
            Data::read(*set, *metric, &files)
        })?;
        drop(progress);
        for memory in &tiers {
            let progress = Progress::new(Some(set.n), "rows", output.is_json());
            progress.say(of("storing"));
            let store = directory.path().join("store");
            let reports = data.measure((&files, &store), *memory, progress).await?;
            remove(&store)?;
            for line in &reports {
                figures += 1;
                missed += usize::from(!line.meets_floor);
                report(output, line, String::new())?;
            }
            output.text(line_of(&reports))?;
            output.flush()?;
        }
        if args.dump.is_none() {
            remove(&files)?;
        }
    }
    report(
        output,
        &json!({ "phase": "floors", "figures": figures, "missed": missed }),
        format!("{missed} of {figures} recalls are below their floor"),
    )?;
    if missed > 0 {
        return Err(CliError::BelowFloor { missed, figures });
    }
    Ok(())
}

fn remove(directory: &Path) -> Result<(), CliError> {
    std::fs::remove_dir_all(directory).map_err(|source| CliError::file("remove", directory, source))
}

fn heading() -> String {
    let wide = format!("ef {}", grouped(WIDE_EF as u64));
    format!(
        "{:<28} {:<13} {:<8} {:>13} {:>7} {:>13} {:>7} {:>10} {:>7}",
        "set", "metric", "tier", "default", "QPS", wide, "QPS", "ef all", "QPS"
    )
}

/// The recalls of one database, each with its floor behind it where that is missed.
fn line_of(reports: &[SetReport]) -> String {
    let Some(first) = reports.first() else {
        return String::new();
    };
    let tier = match first.memory {
        MemoryArg::Speed => "speed",
        MemoryArg::Balanced => "balanced",
        MemoryArg::Lean => "lean",
    };
    let mut line = format!("{:<28} {:<13} {tier:<8}", first.set, first.metric);
    for (report, width) in reports.iter().zip([13, 13, 10]) {
        let recall = if report.meets_floor {
            format!("{:.4}", report.recall)
        } else {
            format!("{:.4}<{}", report.recall, report.floor)
        };
        line.push_str(&format!(" {recall:>width$} {:>7}", grouped(report.qps as u64)));
    }
    line
}
