//! [`EfChoice`]: the width of the beam of searches, and the reason for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What decided the width of a beam.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EfSource {
    /// The query sets it.
    Query,
    /// The configuration of the space sets it.
    Config,
    /// Not measured yet: the number of the preset.
    #[default]
    Preset,
    /// By measurement this width reaches the recall target, or comes closest to it.
    Measured,
}

/// Which vectors a recall was measured with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MeasuredWith {
    /// Vectors made from two neighbors in the scope; these two do not count as results.
    #[default]
    StoredVectors,
    /// Queries of callers in this scope.
    Queries,
}

/// The measured recall of searches in one scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MeasuredRecall {
    /// Width of the beam, in candidates.
    pub ef: usize,
    /// Share of the ten nearest entries that was found: results no farther away than the tenth.
    pub recall: f64,
    /// Number of searches that were compared with exact ones.
    pub queries: u64,
    /// The vectors that were searched for.
    pub with: MeasuredWith,
    /// Whether the recall is below the target although the beam is the widest that the store chooses
    /// ([`EF_SEARCH_CHOSEN_MAX`](crate::limits::EF_SEARCH_CHOSEN_MAX)).
    pub is_capped: bool,
}

/// The width of the beam of searches in one scope, and the reason for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EfChoice {
    /// Width of the beam, in candidates; a query with a larger `k` uses that instead.
    pub ef: usize,
    /// What decided the width.
    pub source: EfSource,
    /// The [recall target](super::HNSWConfig::with_recall_target) of the space.
    pub target: f64,
    /// The measurement for this target; none before the first one.
    pub measured: Option<MeasuredRecall>,
}

impl EfChoice {
    /// A width and its reason. For implementers.
    #[must_use]
    pub fn new(ef: usize, source: EfSource, target: f64, measured: Option<MeasuredRecall>) -> Self {
        Self {
            ef,
            source,
            target,
            measured,
        }
    }
}

impl MeasuredRecall {
    /// A recall that is not known to be capped. For implementers.
    #[must_use]
    pub fn new(ef: usize, recall: f64, (queries, with): (u64, MeasuredWith)) -> Self {
        Self {
            ef,
            recall,
            queries,
            with,
            is_capped: false,
        }
    }

    /// The same with `is_capped` set: whether it is below the target at the widest beam. For implementers.
    #[must_use]
    pub fn capped(self, is_capped: bool) -> Self {
        Self { is_capped, ..self }
    }
}

/// `measured .9871 with 256 queries`.
impl fmt::Display for MeasuredRecall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = match self.with {
            MeasuredWith::StoredVectors => "stored vectors",
            MeasuredWith::Queries => "queries",
        };
        write!(f, "measured {:.4} with {} {with}", self.recall, self.queries)
    }
}

/// A sentence without its full stop.
impl fmt::Display for EfChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ef, target, .. } = self;
        match (self.source, &self.measured) {
            (EfSource::Query, _) => write!(f, "{ef}, named by the query"),
            (EfSource::Config, _) => write!(f, "{ef}, named by the configuration"),
            (EfSource::Measured, Some(measured)) if measured.is_capped => write!(
                f,
                "{ef}, the widest that is chosen: recall@10 misses its target {target}, {measured}"
            ),
            (EfSource::Measured, Some(measured)) => write!(f, "{ef}, chosen for recall@10 {target}: {measured}"),
            (EfSource::Preset | EfSource::Measured, _) => {
                write!(f, "{ef}, until it is measured which reaches recall@10 {target}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_says_its_reason() {
        let measured = MeasuredRecall::new(160, 0.98714, (256, MeasuredWith::Queries));
        let say = |source, measured| EfChoice::new(160, source, 0.98, measured).to_string();
        assert_eq!(say(EfSource::Query, Some(measured)), "160, named by the query");
        assert_eq!(say(EfSource::Config, None), "160, named by the configuration");
        assert_eq!(
            say(EfSource::Preset, None),
            "160, until it is measured which reaches recall@10 0.98"
        );
        assert_eq!(
            say(EfSource::Measured, Some(measured)),
            "160, chosen for recall@10 0.98: measured 0.9871 with 256 queries"
        );
        let capped = MeasuredRecall {
            with: MeasuredWith::StoredVectors,
            ..measured.capped(true)
        };
        assert_eq!(
            say(EfSource::Measured, Some(capped)),
            "160, the widest that is chosen: recall@10 misses its target 0.98, measured 0.9871 with 256 stored vectors"
        );
    }
}
