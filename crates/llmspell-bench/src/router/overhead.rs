//! The time that routing adds to a query.
//!
//! The same space is searched with the same vector, by turns with and without the router; each goes first every other
//! time. The space is small, so that little else is in the difference.

use std::time::{Duration, Instant};

use llmspell_storage::{DimensionRouter, HNSWConfig, HNSWVectorStorage, VectorEntry, VectorQuery};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::{Bench, model};
use crate::measure::latency::median;
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::Output;
use llmspell_cli_base::random::Random;

const DIM: usize = 256;
const VECTORS: u64 = 100;
/// Models that the router knows beside the one that is asked.
const OTHER_DIMS: [usize; 7] = [384, 512, 768, 1024, 1536, 3072, 4096];
const WARM_UP: usize = 500;

impl Bench<'_> {
    pub(super) fn overhead(&self, output: &mut Output) -> Result<(), CliError> {
        let pairs = self.args.pairs;
        // A thread of its own, with an executor that runs nothing else.
        let measured = std::thread::scope(|scope| scope.spawn(|| measure(pairs)).join());
        let measured = measured.expect("a search does not panic")?;
        for Overhead {
            named_by,
            plain_ns,
            routed_ns,
            added_ns,
        } in measured
        {
            let line = json!({
                "phase": "overhead", "named_by": named_by, "plain_ns": plain_ns, "routed_ns": routed_ns,
                "added_ns": added_ns, "pairs": pairs, "dim": DIM, "vectors": VECTORS,
                "models": OTHER_DIMS.len() + 1,
            });
            let sentence = format!(
                "overhead  by {named_by}: {added_ns:.0} ns more than the {plain_ns:.0} ns without the router (medians of \
                 {pairs} pairs)"
            );
            report(output, &line, sentence)?;
        }
        Ok(())
    }
}

/// Medians over all pairs.
struct Overhead {
    named_by: &'static str,
    plain_ns: f64,
    routed_ns: f64,
    added_ns: f64,
}

fn measure(pairs: usize) -> Result<Vec<Overhead>, CliError> {
    let runtime = Builder::new_current_thread().build();
    let runtime = runtime.map_err(|source| CliError::system("cannot start threads", source))?;
    let router = DimensionRouter::new(HNSWConfig::balanced());
    let own = model(DIM);
    let (plain, query) = runtime.block_on(async {
        for dim in OTHER_DIMS {
            router.register_model(model(dim)).await?;
        }
        router.register_model(own.clone()).await?;
        let mut random = Random::new(&[1]);
        let mut vector = || (0..DIM).map(|_| random.normal()).collect::<Vec<f32>>();
        let entries = (0..VECTORS).map(|id| VectorEntry::new(id.to_string(), vector()).with_model(own.name.as_str()));
        let entries = entries.collect();
        router.insert(entries).await?;
        let plain = router.database().existing_vectors(&own.name).await?;
        let query = VectorQuery::new(vector(), 10).with_metadata(false);
        Ok::<_, CliError>((plain.expect("its model was just registered"), query))
    })?;

    let by_model = query.clone().with_model(own.name.as_str());
    [("model", &by_model), ("dimension", &query)]
        .into_iter()
        .map(|(named_by, routed)| {
            compare(&runtime, (&plain, &query), (&router, routed), WARM_UP)?;
            let pairs = compare(&runtime, (&plain, &query), (&router, routed), pairs)?;
            let of = |value: fn(&(f64, f64)) -> f64| median(pairs.iter().map(value).collect());
            Ok(Overhead {
                named_by,
                plain_ns: of(|(plain, _)| *plain),
                routed_ns: of(|(_, routed)| *routed),
                added_ns: of(|(plain, routed)| routed - plain),
            })
        })
        .collect()
}

/// The time of each pair of searches, without and with the router, in nanoseconds.
fn compare(
    runtime: &Runtime,
    (plain, query): (&HNSWVectorStorage, &VectorQuery),
    (router, routed): (&DimensionRouter, &VectorQuery),
    pairs: usize,
) -> Result<Vec<(f64, f64)>, CliError> {
    let nanos = |duration: Duration| duration.as_nanos() as f64;
    runtime.block_on(async {
        let mut taken = Vec::with_capacity(pairs);
        let mut answers = (Vec::new(), Vec::new());
        for number in 0..pairs {
            let is_plain_first = number % 2 == 0;
            let start = Instant::now();
            if is_plain_first {
                answers.0 = plain.search(query).await?;
            } else {
                answers.1 = router.search(routed).await?;
            }
            let middle = Instant::now();
            if is_plain_first {
                answers.1 = router.search(routed).await?;
            } else {
                answers.0 = plain.search(query).await?;
            }
            let end = Instant::now();
            let (first, second) = (nanos(middle - start), nanos(end - middle));
            taken.push(if is_plain_first {
                (first, second)
            } else {
                (second, first)
            });
        }
        let ids = |results: &[llmspell_storage::VectorResult]| -> Vec<String> {
            results.iter().map(|result| result.id.clone()).collect()
        };
        if answers.0.is_empty() || ids(&answers.0) != ids(&answers.1) {
            return Err(CliError::PromiseBroken {
                expected: "the same answer with the router as without it".into(),
            });
        }
        Ok(taken)
    })
}
