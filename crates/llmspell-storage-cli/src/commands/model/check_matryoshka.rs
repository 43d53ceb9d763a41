//! `model check-matryoshka`: measures how many neighbors are lost by cutting the user's own vectors.

use std::path::PathBuf;

use clap::Args;
use llmspell_storage::limits::K_MAX;
use llmspell_storage::{DistanceMetric, HNSWVectorStorage, StateScope};
use serde::Serialize;

use super::cuts::{Comparison, CutRecall, Cuts, RESCORED_TIMES};
use super::vectors::Vectors;
use crate::session::Session;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, grouped, number_cell, row, table, text_cell};
use llmspell_cli_base::progress::Progress;

/// What a cut must find to be called fine.
const FINE_RECALL: f64 = 0.97;
/// Shorter cuts are not measured unless the call names them.
const SHORTEST_CUT: usize = 64;

const AFTER_HELP: &str = "\
Compares everything with everything, whole and cut: of the k nearest by whole vectors, `recall` is the share that is among
the k nearest by the leading components alone (cut, and under cosine normalized again), and `rescored` the share that is
left when the best 4 k of the cut are compared whole. A vector is no neighbor of itself; what is as near as the last true
neighbor counts as well.

  fine alone       recall is 0.97 or more: storing the cut only (--store-dim) loses little
  fine rescored    that is so once rescored: whole vectors must be stored, and the cut finds the candidates
  loses neighbors  not even then

Without --vectors the stored vectors of a space are measured: those of --scope, or of all scopes together.

Examples:
  llmspell-storage model check-matryoshka --vectors base.npy --dims 128,256,512
  llmspell-storage --db memory.db --model text-embedding-3-large model check-matryoshka -k 10";

/// Measure how many neighbors are lost when vectors are cut
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CheckArgs {
    /// Vectors to measure on, f16, f32 or f64 [n, dim] [default: those of the space]
    #[arg(long, value_name = "NPY")]
    vectors: Option<PathBuf>,

    /// Vectors to search with [default: a sample of those that are searched]
    #[arg(long, value_name = "NPY")]
    queries: Option<PathBuf>,

    /// How vectors are compared: cosine, euclidean, dot, manhattan [default: that of the space, else cosine]
    #[arg(long)]
    metric: Option<DistanceMetric>,

    /// Lengths to cut at [default: the cut points of the model, else 64, 128, 256 and so on]
    #[arg(long, value_name = "COMPONENTS", value_delimiter = ',')]
    dims: Option<Vec<usize>>,

    /// How many neighbors
    #[arg(short, long, value_name = "COUNT", default_value_t = 10, value_parser = parse_k)]
    k: usize,

    /// Most vectors to search with
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = parse_sample)]
    sample: usize,

    /// Another seed draws another sample
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn parse_within(text: &str, max: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("write a number from 1 to {max}"))
}

fn parse_k(text: &str) -> Result<usize, String> {
    parse_within(text, K_MAX / RESCORED_TIMES)
}

fn parse_sample(text: &str) -> Result<usize, String> {
    parse_within(text, 1_000_000)
}

/// Whether neighbors are lost, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    FineAlone,
    FineRescored,
    LosesNeighbors,
}

impl Verdict {
    fn of(cut: CutRecall) -> Self {
        if cut.recall >= FINE_RECALL {
            Self::FineAlone
        } else if cut.rescored >= FINE_RECALL {
            Self::FineRescored
        } else {
            Self::LosesNeighbors
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::FineAlone => "fine alone",
            Self::FineRescored => "fine rescored",
            Self::LosesNeighbors => "loses neighbors",
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Line {
    dim: usize,
    whole_dim: usize,
    /// Of the bytes of whole vectors.
    bytes_share: f64,
    recall: f64,
    rescored: f64,
    verdict: Verdict,
    k: usize,
    queries: usize,
    vectors: u64,
    metric: DistanceMetric,
}

pub(crate) async fn run(args: CheckArgs, session: &Session<'_>, output: &mut Output) -> Result<(), CliError> {
    let (vectors, cut_points) = match &args.vectors {
        Some(_) if session.names_space() => {
            return Err(CliError::usage(
                "--vectors and a space both say what to measure",
                "leave out one of them",
            ));
        }
        Some(path) => (Vectors::File(path), Vec::new()),
        None => of_space(session).await?,
    };
    let metric = args.metric.unwrap_or(match &vectors {
        Vectors::File(_) => DistanceMetric::Cosine,
        Vectors::Space { store, .. } => store.metric(),
    });
    let (dim, count) = (vectors.dim()?, vectors.count().await?);
    let at = checked_dims(args.dims.as_deref(), cut_points, dim)?;
    let searched = args.queries.as_deref().map(Vectors::File);
    check_together(searched.as_ref(), dim, count)?;
    let others = if searched.is_some() { count } else { count - 1 };
    let k = args.k.min(usize::try_from(others).unwrap_or(usize::MAX));

    let progress = Progress::new(Some(count), "vectors", output.is_json());
    progress.say("drawing a sample".into());
    let sample = searched.as_ref().unwrap_or(&vectors);
    let sample = sample.draw(args.sample, args.seed, &progress).await?;
    let queries = sample.len();
    let cuts = Cuts { metric, dim, at, k };
    let mut comparison = Comparison::new(cuts, sample, searched.is_none())?;
    progress.say("comparing".into());
    vectors
        .each_block(|first, block| {
            comparison.compare(first, block)?;
            progress.set(first + (block.len() / dim) as u64);
            Ok(())
        })
        .await?;
    drop(progress);

    output.text(format!(
        "{} of {} components ({metric}), {} queries",
        llmspell_cli_base::output::counted(count, "vector", "vectors"),
        dim,
        grouped(queries as u64)
    ))?;
    let recall_title = format!("recall@{k}");
    let mut lines = table(["components", "bytes kept", &recall_title, "rescored", "verdict"]);
    for cut in comparison.recalls() {
        let line = Line {
            dim: cut.dim,
            whole_dim: dim,
            bytes_share: cut.dim as f64 / dim as f64,
            recall: cut.recall,
            rescored: cut.rescored,
            verdict: Verdict::of(cut),
            k,
            queries,
            vectors: count,
            metric,
        };
        output.object(&line)?;
        lines.add_row(row([
            number_cell(line.dim),
            number_cell(format!("{:.1} %", 100.0 * line.bytes_share)),
            number_cell(format!("{:.4}", line.recall)),
            number_cell(format!("{:.4}", line.rescored)),
            text_cell(line.verdict.text()),
        ]));
    }
    output.table(lines)
}

/// The stored vectors of a space, and the cut points of its model.
async fn of_space(session: &Session<'_>) -> Result<(Vectors<'static>, Vec<usize>), CliError> {
    let database = session.open_here("model check-matryoshka").await?;
    let store: HNSWVectorStorage = session.vectors_here(&database).await?;
    let scopes: Vec<StateScope> = match session.named_scope() {
        Some(scope) => vec![scope.clone()],
        None => store.scopes().await?,
    };
    let spaces = database.spaces().await?;
    let model = spaces.into_iter().find(|space| space.name == store.space_name());
    let cut_points = model.and_then(|space| space.model?.matryoshka).unwrap_or_default();
    Ok((Vectors::Space { store, scopes }, cut_points))
}

/// Lengths to cut at, ascending, each shorter than a whole vector.
fn checked_dims(given: Option<&[usize]>, cut_points: Vec<usize>, dim: usize) -> Result<Vec<usize>, CliError> {
    let mut dims = match given {
        Some(given) => given.to_vec(),
        None => cut_points.into_iter().filter(|cut| *cut < dim).collect(),
    };
    if dims.is_empty() {
        let doubled = std::iter::successors(Some(SHORTEST_CUT), |cut| cut.checked_mul(2));
        dims = doubled.take_while(|cut| *cut < dim).collect();
    }
    if dims.is_empty() {
        dims.push(dim / 2);
    }
    dims.sort_unstable();
    dims.dedup();
    if let Some(wrong) = dims.iter().find(|cut| !(1..dim).contains(*cut)) {
        return Err(CliError::usage(
            format!("vectors of {dim} components cannot be cut at {wrong}"),
            "name lengths from 1 to one less than the whole with --dims",
        ));
    }
    Ok(dims)
}

/// That there is something to find, and that queries are as long as what they are compared with.
fn check_together(queries: Option<&Vectors<'_>>, dim: usize, count: u64) -> Result<(), CliError> {
    let needed = if queries.is_some() { 1 } else { 2 };
    if count < needed {
        return Err(CliError::NotFound {
            message: format!("there are {count} vectors; {needed} are needed"),
            hint: "name others with --vectors, --space, --model or --scope".into(),
        });
    }
    let given = queries.map_or(Ok(dim), Vectors::dim)?;
    if given != dim {
        return Err(CliError::usage(
            format!("queries have {given} components, the vectors {dim}"),
            "name arrays of the same model",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_those_named_or_of_the_model_or_powers_of_two() {
        let dims = |given: Option<&[usize]>, cut_points: &[usize], dim| checked_dims(given, cut_points.to_vec(), dim);
        assert_eq!(dims(None, &[], 1536).unwrap(), [64, 128, 256, 512, 1024]);
        assert_eq!(dims(None, &[256, 1024, 3072], 3072).unwrap(), [256, 1024]);
        // Of a model whose vectors are stored cut at the first of its cut points.
        assert_eq!(dims(None, &[512], 512).unwrap(), [64, 128, 256]);
        assert_eq!(dims(Some(&[3, 2, 3]), &[512], 512).unwrap(), [2, 3]);
        assert_eq!(dims(None, &[], 8).unwrap(), [4]);
        assert!(dims(Some(&[0]), &[], 8).is_err() && dims(Some(&[8]), &[], 8).is_err());
        assert!(dims(None, &[], 1).is_err());
    }

    #[test]
    fn a_cut_is_fine_alone_or_rescored_or_neither() {
        let verdict = |recall, rescored| {
            Verdict::of(CutRecall {
                dim: 1,
                recall,
                rescored,
            })
        };
        assert_eq!(verdict(0.97, 1.0), Verdict::FineAlone);
        assert_eq!(verdict(0.96, 0.97), Verdict::FineRescored);
        assert_eq!(verdict(0.96, 0.969), Verdict::LosesNeighbors);
    }
}
