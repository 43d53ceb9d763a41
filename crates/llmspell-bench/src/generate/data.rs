//! The kinds of generated data, and the options of each.

use clap::ValueEnum;
use llmspell_storage::DistanceMetric;
use serde_json::{Value, json};

use super::GenerateArgs;
use super::groups::Groups;
use super::mixture::{Kind, Mixture, Shape};
use super::scattered::Scattered;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::bytes_text;

/// Most RAM for what is kept while rows are made: centers and axes, the group of each row.
const BYTES_MAX: u64 = 4 << 30;
/// Near-duplicates, and cosine between two of them, unless the call says otherwise.
const GROUP_SIZE: u64 = 100;
const FEW_SIZE: u64 = 200;
const COSINE: f64 = 0.99;
/// Copies among exact duplicates.
const SHARE: f64 = 0.2;
/// The longest vector as a multiple of the shortest.
const RATIO: f64 = 100.0;

/// What vectors are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataArg {
    /// Clusters of few dimensions that overlap, like embeddings
    Clusters,
    /// Groups of near-duplicates, and nothing else
    Groups,
    /// One group of near-duplicates among unrelated vectors
    Few,
    /// Each component by itself from the normal distribution
    Gaussian,
    /// The same, and some are copies of others
    Duplicates,
    /// The same, with lengths that differ
    Lengths,
}

impl DataArg {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Groups => "groups",
            Self::Few => "few",
            Self::Gaussian => "gaussian",
            Self::Duplicates => "duplicates",
            Self::Lengths => "lengths",
        }
    }
}

/// What vectors are like, and how much so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Data {
    Clusters { clusters: usize, intrinsic: usize },
    Groups { size: u64, cosine: f64 },
    Few { size: u64, cosine: f64 },
    Gaussian,
    Duplicates { share: f64 },
    Lengths { ratio: f64 },
}

impl Data {
    /// Refuses values out of their range, and options of other kinds of data.
    pub(super) fn of(args: &GenerateArgs) -> Result<Self, CliError> {
        let of_others = |own: &[&str]| {
            let given = [
                ("clusters", args.clusters.is_some()),
                ("intrinsic", args.intrinsic.is_some()),
                ("group-size", args.group_size.is_some()),
                ("cosine", args.cosine.is_some()),
                ("share", args.share.is_some()),
                ("ratio", args.ratio.is_some()),
            ];
            match given.iter().find(|(name, is_given)| *is_given && !own.contains(name)) {
                Some((name, _)) => refused(format!("--data {} has no --{name}", args.data.name())),
                None => Ok(()),
            }
        };
        let size = |default: u64| {
            let size = args.group_size.unwrap_or(default.min(args.n));
            within("group-size", size, 1, args.n).map(|()| size)
        };
        let cosine = || {
            let cosine = args.cosine.unwrap_or(COSINE);
            within("cosine", cosine, 0.01, 1.0).map(|()| cosine)
        };
        match args.data {
            DataArg::Clusters => {
                of_others(&["clusters", "intrinsic"])?;
                let clusters = args.clusters.unwrap_or(200);
                let intrinsic = args.intrinsic.unwrap_or(24);
                within("clusters", clusters as u64, 1, u64::from(u32::MAX))?;
                within("intrinsic", intrinsic as u64, 1, args.dim as u64)?;
                Ok(Self::Clusters { clusters, intrinsic })
            }
            DataArg::Groups => {
                of_others(&["group-size", "cosine"])?;
                Ok(Self::Groups {
                    size: size(GROUP_SIZE)?,
                    cosine: cosine()?,
                })
            }
            DataArg::Few => {
                of_others(&["group-size", "cosine"])?;
                Ok(Self::Few {
                    size: size(FEW_SIZE)?,
                    cosine: cosine()?,
                })
            }
            DataArg::Gaussian => of_others(&[]).map(|()| Self::Gaussian),
            DataArg::Duplicates => {
                of_others(&["share"])?;
                let share = args.share.unwrap_or(SHARE);
                within("share", share, 0.0, 1.0)?;
                Ok(Self::Duplicates { share })
            }
            DataArg::Lengths => {
                of_others(&["ratio"])?;
                let ratio = args.ratio.unwrap_or(RATIO);
                within("ratio", ratio, 1.0, 1.0e12)?;
                Ok(Self::Lengths { ratio })
            }
        }
    }

    /// Its options and their values, for `info.json`.
    pub(super) fn describe(self) -> Value {
        match self {
            Self::Clusters { clusters, intrinsic } => json!({ "clusters": clusters, "intrinsic": intrinsic }),
            Self::Groups { size, cosine } | Self::Few { size, cosine } => {
                json!({ "group_size": size, "cosine": cosine })
            }
            Self::Gaussian => json!({}),
            Self::Duplicates { share } => json!({ "share": share }),
            Self::Lengths { ratio } => json!({ "ratio": ratio }),
        }
    }
}

/// What decides each row of a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recipe {
    pub(super) data: Data,
    pub(super) n: u64,
    pub(super) dim: usize,
    /// Whether rows are divided by their length.
    pub(super) unit_length: bool,
    pub(super) seed: u64,
}

impl Recipe {
    /// Refuses before anything is written.
    pub(super) fn of(args: &GenerateArgs) -> Result<Self, CliError> {
        let recipe = Self {
            data: Data::of(args)?,
            n: args.n,
            dim: args.dim,
            unit_length: args.metric == DistanceMetric::Cosine,
            seed: args.seed,
        };
        let (bytes, hint) = match recipe.data {
            Data::Clusters { clusters, intrinsic } => (
                recipe.mixture(clusters, intrinsic).bytes(),
                "lower --clusters or --intrinsic",
            ),
            Data::Groups { .. } | Data::Few { .. } => (Some(Groups::bytes(args.n)), "lower --n"),
            Data::Gaussian | Data::Duplicates { .. } | Data::Lengths { .. } => (Some(0), ""),
        };
        if bytes.is_none_or(|bytes| bytes > BYTES_MAX) {
            let message = format!("making these vectors takes more than {} of RAM", bytes_text(BYTES_MAX));
            return Err(CliError::usage(message, hint));
        }
        Ok(recipe)
    }

    fn mixture(self, clusters: usize, intrinsic: usize) -> Shape {
        Shape {
            dim: self.dim,
            clusters,
            intrinsic,
            unit_length: self.unit_length,
            seed: self.seed,
        }
    }
}

/// Makes the rows of a set, any of them at any time.
#[derive(Debug)]
pub(super) enum Maker {
    Mixture(Mixture),
    Groups(Groups),
    Scattered(Scattered),
}

impl Maker {
    pub(super) fn new(recipe: Recipe) -> Self {
        match recipe.data {
            Data::Clusters { clusters, intrinsic } => Self::Mixture(Mixture::new(recipe.mixture(clusters, intrinsic))),
            Data::Groups { size, cosine } => Self::Groups(Groups::of_all(recipe, size, cosine)),
            Data::Few { size, cosine } => Self::Groups(Groups::of_few(recipe, size, cosine)),
            Data::Gaussian => Self::Scattered(Scattered::new(recipe, 0.0, 1.0)),
            Data::Duplicates { share } => Self::Scattered(Scattered::new(recipe, share, 1.0)),
            Data::Lengths { ratio } => Self::Scattered(Scattered::new(recipe, 0.0, ratio)),
        }
    }

    /// Writes row `number` of its kind.
    pub(super) fn row(&self, kind: Kind, number: u64, row: &mut [f32]) {
        match self {
            Self::Mixture(mixture) => mixture.row(kind, number, row),
            Self::Groups(groups) => groups.row(kind, number, row),
            Self::Scattered(scattered) => scattered.row(kind, number, row),
        }
    }
}

/// Refuses a value out of its range.
pub(super) fn within<T: Copy + PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    min: T,
    max: T,
) -> Result<(), CliError> {
    if value >= min && value <= max {
        return Ok(());
    }
    refused(format!("{name} is {value}; it must be within {min}..={max}"))
}

fn refused<T>(message: String) -> Result<T, CliError> {
    Err(CliError::usage(message, "see `llmspell-storage bench generate --help`"))
}
