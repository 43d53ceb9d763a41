//! `recall`: measures how much an index misses on the user's own vectors, and recommends a width.
//!
//! | file        | question                                                        |
//! |-------------|-----------------------------------------------------------------|
//! | `sample.rs` | which stored vectors are searched with, and what should be found? |
//! | `chart.rs`  | how do recall and latency look in a terminal?                   |

mod chart;
mod sample;

use std::time::Instant;

use clap::Args;
use llmspell_storage::limits::{EF_SEARCH_MAX, K_MAX, RECALL_TARGET_RANGE};
use llmspell_storage::{EfChoice, EfSource, HNSWVectorStorage, StateScope};
use serde::Serialize;
use serde_json::json;

use self::sample::{Sampled, Truth};
use crate::session::Session;
use llmspell_bench::measure::latency::{Latencies, rounded};
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::index_view::SCANNED;
use llmspell_cli_base::output::{Output, grouped, number_cell, row, table};
use llmspell_cli_base::progress::Progress;

/// Widths of the beam, unless the call names its own.
const WIDTHS: [usize; 16] = [
    10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 800, 1200, 2000, 4000,
];
/// Wider beams have nothing more to find.
const RECALL_ENOUGH: f64 = 0.9995;

const AFTER_HELP: &str = "\
A random sample of the entries of the scope is searched with: first exactly, then with the index at each ef. An entry
does not count as its own neighbor. Recall is the share of the k nearest others that was found; what is exactly as near
as the last of them counts as well. The search that is timed asks for k + 1 on one thread, without metadata.

Example:
  llmspell-storage --db memory.db --scope user:ada recall --sample 1000 -k 10 --target 0.98";

/// Measure how much an index misses, on the vectors that are stored, and recommend an `ef_search`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RecallArgs {
    /// Entries to search with
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = parse_sample)]
    sample: usize,

    /// How many neighbors
    #[arg(short, value_name = "COUNT", default_value_t = 10, value_parser = parse_k)]
    k: usize,

    /// Recall to reach; several are possible
    #[arg(long, value_name = "RECALL", value_delimiter = ',', default_value = "0.95,0.99", value_parser = parse_target)]
    target: Vec<f64>,

    /// Widths of the beam, each measured by itself [default: 10 to 4000, in 16 steps, until nothing is missed]
    #[arg(long, value_delimiter = ',', value_parser = parse_ef)]
    ef: Option<Vec<usize>>,

    /// Another seed draws another sample
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn parse_within(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("write a number from {min} to {max}"))
}

fn parse_sample(text: &str) -> Result<usize, String> {
    parse_within(text, 1, 1_000_000)
}

fn parse_k(text: &str) -> Result<usize, String> {
    parse_within(text, 1, K_MAX - 1)
}

fn parse_ef(text: &str) -> Result<usize, String> {
    parse_within(text, 1, EF_SEARCH_MAX)
}

fn parse_target(text: &str) -> Result<f64, String> {
    let target = text.parse().ok().filter(|target| *target > 0.0 && *target <= 1.0);
    target.ok_or_else(|| "write a recall above 0, at most 1".to_string())
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Measured {
    ef: usize,
    recall: f64,
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    /// On one thread.
    qps: f64,
}

pub(crate) async fn run(args: RecallArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let database = session.open_here("recall").await?;
    let store = session.vectors_here(&database).await?;
    let scope = session.scope();
    let stats = store.stats_for_scope(&scope).await?;

    let progress = Progress::new(Some(stats.vectors), "entries", output.is_json());
    progress.say("drawing a sample".into());
    let (sample, vectors) = sample::draw(&store, &scope, args.sample, args.seed, &progress).await?;
    drop(progress);
    if vectors < 2 {
        return Err(CliError::NotFound {
            message: format!("scope `{scope}` has {vectors} entries; two are needed to find one by the other"),
            hint: "name another one with --scope; `scope ls` lists them".into(),
        });
    }
    let k = args.k.min(usize::try_from(vectors - 1).unwrap_or(usize::MAX));
    let progress = Progress::new(Some(sample.len() as u64), "exact searches", output.is_json());
    progress.say("exact answers".into());
    let truths = tokio::task::block_in_place(|| sample::truths(&store, &scope, &sample, k, &progress))?;
    drop(progress);

    let in_use = stats.index.as_ref().and_then(|index| index.ef);
    output.text(format!(
        "{} of {} vectors of {scope} in space `{}`, {} nearest others each\n{}",
        grouped(sample.len() as u64),
        grouped(vectors),
        store.space_name(),
        k,
        match in_use {
            Some(choice) => format!("ef_search in use: {choice}"),
            None => SCANNED.to_string(),
        }
    ))?;
    output.flush()?;

    let searches = Searches {
        store: &store,
        scope: &scope,
        sample: &sample,
        truths: &truths,
        k,
    };
    let mut measured = Vec::new();
    for ef in widths(args.ef.as_deref(), k + 1) {
        let one = searches.measure(ef).await?;
        output.object(&json!({
            "ef": one.ef, "recall": one.recall, "p50_us": one.p50_us, "p95_us": one.p95_us, "p99_us": one.p99_us,
            "qps": one.qps, "k": k, "sample": sample.len(),
        }))?;
        output.flush()?;
        let is_enough = args.ef.is_none() && one.recall >= RECALL_ENOUGH;
        measured.push(one);
        if is_enough {
            break;
        }
    }
    tell(&measured, output)?;
    recommend(&measured, &args.target, (&store, in_use.as_ref()), output)?;
    drop(store);
    database.close().await?;
    Ok(())
}

/// Those named, or the usual ones; none narrower than the answer.
fn widths(named: Option<&[usize]>, ef_min: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = named.unwrap_or(&WIDTHS).iter().map(|ef| (*ef).max(ef_min)).collect();
    widths.sort_unstable();
    widths.dedup();
    widths
}

struct Searches<'a> {
    store: &'a HNSWVectorStorage,
    scope: &'a StateScope,
    sample: &'a [Sampled],
    truths: &'a [Truth],
    k: usize,
}

impl Searches<'_> {
    /// Searches with each vector of the sample, after a warm-up with some of them.
    async fn measure(&self, ef: usize) -> Result<Measured, CliError> {
        const WARM_UP: usize = 50;
        let query = |sampled: &Sampled| sample::query(sampled, self.scope, self.k).with_ef_search(ef);
        for sampled in self.sample.iter().take(WARM_UP) {
            self.store.search(&query(sampled)).await?;
        }
        let mut latencies = Latencies::with_capacity(self.sample.len());
        let (mut found, mut owed, mut seconds) = (0, 0, 0.0);
        for (sampled, truth) in self.sample.iter().zip(self.truths) {
            let query = query(sampled);
            let started = Instant::now();
            let results = self.store.search(&query).await?;
            let duration = started.elapsed();
            latencies.record(duration);
            seconds += duration.as_secs_f64();
            found += truth.found(&sampled.id, results);
            owed += truth.len();
        }
        Ok(Measured {
            ef,
            recall: found as f64 / owed.max(1) as f64,
            p50_us: rounded(latencies.p50_us()),
            p95_us: rounded(latencies.p95_us()),
            p99_us: rounded(latencies.p99_us()),
            qps: (self.sample.len() as f64 / seconds * 10.0).round() / 10.0,
        })
    }
}

fn tell(measured: &[Measured], output: &mut Output) -> Result<(), CliError> {
    let mut lines = table(["ef", "recall", "p50 µs", "p95 µs", "p99 µs", "queries a second"]);
    for one in measured {
        lines.add_row(row([
            number_cell(one.ef),
            number_cell(format!("{:.4}", one.recall)),
            number_cell(format!("{:.1}", one.p50_us)),
            number_cell(format!("{:.1}", one.p95_us)),
            number_cell(format!("{:.1}", one.p99_us)),
            number_cell(grouped(one.qps as u64)),
        ]));
    }
    output.table(lines)?;
    output.text("")?;
    let points: Vec<(f64, f64)> = measured.iter().map(|one| (one.p50_us, one.recall)).collect();
    for line in chart::lines(&points) {
        output.text(line)?;
    }
    output.text("")
}

/// The narrowest beam that reached each target, and what helps where none did.
fn recommend(
    measured: &[Measured],
    targets: &[f64],
    (store, in_use): (&HNSWVectorStorage, Option<&EfChoice>),
    output: &mut Output,
) -> Result<(), CliError> {
    let ef_search = in_use.map_or(store.config().ef_search(), |choice| choice.ef);
    let mut recommended = Vec::new();
    for target in targets {
        let best = narrowest(measured, *target);
        recommended.push(json!({
            "target": target, "ef_search": best.map(|one| one.ef), "recall": best.map(|one| one.recall),
            "p99_us": best.map(|one| one.p99_us),
        }));
        output.text(match best {
            Some(one) => format!(
                "for recall {target}: ef_search {} (recall {:.4}, p99 {:.0} µs)",
                one.ef, one.recall, one.p99_us
            ),
            None => format!("for recall {target}: {}", what_helps(measured)),
        })?;
    }
    if let Some(choice) = in_use {
        output.text(keeping(choice, targets))?;
    }
    output.object(&json!({
        "recommended": recommended, "ef_search": ef_search, "indexed": in_use.is_some(), "in_use": in_use,
    }))
}

/// What to do when no beam was wide enough: recall rises with the beam until everything is compared.
fn what_helps(measured: &[Measured]) -> String {
    let widest = measured.iter().max_by_key(|one| one.ef);
    match widest {
        Some(one) if one.ef < EF_SEARCH_MAX => {
            let wider = |factor: usize| (one.ef * factor).min(EF_SEARCH_MAX);
            format!(
                "none of these reached it; wider ones find more (ef {} found {:.4}), so measure --ef {},{}",
                one.ef,
                one.recall,
                wider(2),
                wider(4)
            )
        }
        _ => "the widest beam there is missed it; an exact search misses nothing".to_string(),
    }
}

/// How a target is reached without naming a width.
fn keeping(choice: &EfChoice, targets: &[f64]) -> String {
    let wanted = targets.iter().copied().fold(0.0, f64::max);
    let wanted = wanted.clamp(*RECALL_TARGET_RANGE.start(), *RECALL_TARGET_RANGE.end());
    let how = format!("`index build --recall-target {wanted}`, or with_recall_target({wanted})");
    match choice.source {
        EfSource::Config => format!("the configuration names an ef_search; {how} leaves the choice to the store"),
        _ if wanted > choice.target => {
            format!(
                "the store keeps recall@10 at {} by itself; for more, {how}",
                choice.target
            )
        }
        _ => format!("the store keeps recall@10 at {} by itself", choice.target),
    }
}

fn narrowest(measured: &[Measured], target: f64) -> Option<&Measured> {
    measured
        .iter()
        .filter(|one| one.recall >= target)
        .min_by_key(|one| one.ef)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(ef: usize, recall: f64) -> Measured {
        Measured {
            ef,
            recall,
            p50_us: 1.0,
            p95_us: 1.0,
            p99_us: 1.0,
            qps: 1.0,
        }
    }

    #[test]
    fn the_narrowest_beam_that_reaches_the_target_is_recommended_if_there_is_one() {
        let all = [measured(16, 0.9), measured(32, 0.96), measured(64, 0.955)];
        assert_eq!(narrowest(&all, 0.95).map(|one| one.ef), Some(32));
        assert_eq!(narrowest(&all, 0.99), None);
    }

    #[test]
    fn where_no_beam_reached_the_target_a_wider_one_is_recommended_up_to_the_widest() {
        let hint = what_helps(&[measured(64, 0.7), measured(4_000, 0.9)]);
        assert!(
            hint.contains("ef 4000 found 0.9000") && hint.ends_with("--ef 8000,16000"),
            "{hint}"
        );
        assert!(what_helps(&[measured(40_000, 0.9)]).ends_with("--ef 80000,100000"));
        assert!(what_helps(&[measured(EF_SEARCH_MAX, 0.9)]).contains("exact search"));
    }

    #[test]
    fn a_target_is_recommended_where_it_changes_something() {
        let say = |source, targets: &[f64]| keeping(&EfChoice::new(100, source, 0.98, None), targets);
        assert!(say(EfSource::Config, &[0.9, 0.95]).contains("--recall-target 0.95"));
        assert!(say(EfSource::Measured, &[0.95, 0.99]).contains("with_recall_target(0.99)"));
        assert!(say(EfSource::Measured, &[1.0]).contains("--recall-target 0.9999"));
        assert!(!say(EfSource::Preset, &[0.95]).contains("recall-target"));
    }

    #[test]
    fn no_beam_is_narrower_than_the_answer() {
        assert_eq!(widths(Some(&[64, 5, 7]), 11), [11, 64]);
        assert_eq!(widths(None, 11)[..3], [11, 16, 24]);
        assert_eq!(widths(None, 9000), [9000]);
    }
}
