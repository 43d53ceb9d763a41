//! The sets that are measured, and the least recall that each may have.

use std::path::PathBuf;

use llmspell_storage::DistanceMetric;
use llmspell_storage::DistanceMetric::{Cosine, Euclidean, InnerProduct};

use crate::generate::{DataArg, GenerateArgs};

/// Neighbors that are asked for.
pub(super) const K: usize = 10;
/// What the default settings may not miss more of.
const AT_DEFAULT: f64 = 0.95;
/// The wide beam; and the least that it finds of near-duplicates.
pub(super) const WIDE_EF: usize = 1_000;
const NEAR_AT_WIDE: f64 = 0.999;

const ALL: &[DistanceMetric] = &[Cosine, Euclidean, InnerProduct];
const BY_LENGTH: &[DistanceMetric] = &[Euclidean, InnerProduct];
const BY_ANGLE: &[DistanceMetric] = &[Cosine, Euclidean];

/// Vectors to measure with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Set {
    data: DataArg,
    /// Members of a group, and the cosine of two of them; none if there are no groups.
    near: Option<(u64, f64)>,
    pub(super) dim: usize,
    pub(super) n: u64,
    pub(super) metrics: &'static [DistanceMetric],
}

/// How wide the beam is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// Nothing is said: what every caller gets.
    Default,
    Wide,
    /// As many places as there are vectors: nothing may be missed.
    All,
}

impl Width {
    pub(super) const EACH: [Self; 3] = [Self::Default, Self::Wide, Self::All];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Wide => "wide",
            Self::All => "all",
        }
    }
}

const fn groups(size: u64, cosine: f64, dim: usize, n: u64) -> Set {
    Set {
        data: DataArg::Groups,
        near: Some((size, cosine)),
        dim,
        n,
        metrics: ALL,
    }
}

const fn few(size: u64, cosine: f64, dim: usize, n: u64) -> Set {
    Set {
        data: DataArg::Few,
        ..groups(size, cosine, dim, n)
    }
}

const fn scattered(data: DataArg, dim: usize, n: u64, metrics: &'static [DistanceMetric]) -> Set {
    Set {
        data,
        near: None,
        dim,
        n,
        metrics,
    }
}

/// Groups of every size, tight and loose, of few and of many components; few and many of them.
const WHOLE: [Set; 17] = [
    groups(20, 0.99, 384, 10_000),
    groups(20, 0.9998, 32, 50_000),
    groups(50, 0.96, 384, 10_000),
    groups(50, 0.92, 1536, 10_000),
    groups(100, 0.9998, 32, 10_000),
    groups(100, 0.99, 384, 20_000),
    groups(100, 0.92, 384, 20_000),
    groups(100, 0.997, 128, 100_000),
    groups(500, 0.9998, 32, 10_000),
    groups(500, 0.98, 768, 20_000),
    groups(500, 0.95, 128, 50_000),
    groups(500, 0.9998, 1536, 10_000),
    groups(200, 1.0, 64, 10_000),
    few(200, 0.99, 384, 10_000),
    scattered(DataArg::Gaussian, 128, 60_000, BY_ANGLE),
    scattered(DataArg::Duplicates, 128, 20_000, ALL),
    scattered(DataArg::Lengths, 64, 10_000, BY_LENGTH),
];

/// The same kinds, with no more vectors than a graph needs to be made.
const QUICK: [Set; 8] = [
    groups(20, 0.99, 64, 5_000),
    groups(50, 0.96, 96, 5_000),
    groups(100, 0.9998, 32, 5_000),
    groups(500, 0.92, 32, 5_000),
    few(200, 0.99, 64, 5_000),
    scattered(DataArg::Gaussian, 32, 5_000, BY_ANGLE),
    scattered(DataArg::Duplicates, 32, 5_000, ALL),
    scattered(DataArg::Lengths, 32, 5_000, BY_LENGTH),
];

/// All sets, or the small ones.
pub(super) fn sets(is_quick: bool) -> &'static [Set] {
    if is_quick { &QUICK } else { &WHOLE }
}

impl Set {
    /// For tables, options and files: `groups-100-0.99-384x20000`.
    pub(super) fn name(&self) -> String {
        let near = self
            .near
            .map_or(String::new(), |(size, cosine)| format!("-{size}-{cosine}"));
        format!("{}{near}-{}x{}", self.data.name(), self.dim, self.n)
    }

    /// How wide the beam is, if the query says so.
    pub(super) fn ef(&self, width: Width) -> Option<usize> {
        match width {
            Width::Default => None,
            Width::Wide => Some(WIDE_EF),
            Width::All => Some(self.n as usize),
        }
    }

    /// The least recall; 0 where nothing is promised: the default settings may have a wider beam than the wide one.
    pub(super) fn floor(&self, width: Width) -> f64 {
        match width {
            Width::Default => AT_DEFAULT,
            Width::Wide if self.near.is_some() => NEAR_AT_WIDE,
            Width::Wide => 0.0,
            Width::All => 1.0,
        }
    }

    /// The generator of the set, with this many queries.
    pub(super) fn generate(&self, out: PathBuf, metric: DistanceMetric, queries: usize, seed: u64) -> GenerateArgs {
        let mut args = GenerateArgs::of(out, self.n, self.dim, queries, K);
        (args.metric, args.seed) = (metric, seed);
        (args.data, args.intrinsic) = (self.data, None);
        args.group_size = self.near.map(|(size, _)| size);
        args.cosine = self.near.map(|(_, cosine)| cosine);
        args
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use llmspell_storage::limits::EF_SEARCH_MAX;

    use super::*;

    #[test]
    fn every_set_has_a_name_of_its_own_and_a_beam_can_hold_all_of_it() {
        for all in [&WHOLE[..], &QUICK] {
            let names: HashSet<String> = all.iter().map(Set::name).collect();
            assert_eq!(names.len(), all.len());
            assert!(
                all.iter()
                    .all(|set| (WIDE_EF..=EF_SEARCH_MAX).contains(&(set.n as usize)))
            );
        }
        assert_eq!(WHOLE[5].name(), "groups-100-0.99-384x20000");
        assert_eq!(WHOLE[14].name(), "gaussian-128x60000");
    }
}
