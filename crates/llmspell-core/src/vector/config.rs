//! How is an index built?

use serde::{Deserialize, Serialize};

use super::metric::DistanceMetric;
use super::validate::in_range;
use crate::error::{Result, StorageError};
use crate::filter::{DateFields, FieldPath};
use crate::limits::{DIM_RANGE, EF_CONSTRUCTION_RANGE, EF_SEARCH_MAX, M_RANGE};

/// How the vectors of a space are compared, and how the graph of a large namespace is built and walked.
///
/// Names and meaning are those of the HNSW paper (arXiv 1603.09320). Dimension and metric are fixed when a space is
/// created; the other settings may change when it is opened again.
///
/// | preset                           | `m` | `ef_construction` | `ef_search` | for                        |
/// |----------------------------------|----:|------------------:|------------:|----------------------------|
/// | [`fast`](Self::fast)             |  12 |                64 |          40 | prototypes, small machines |
/// | [`balanced`](Self::balanced)     |  16 |               100 |         100 | most applications          |
/// | [`accurate`](Self::accurate)     |  32 |               256 |         256 | when a miss is expensive   |
///
/// A namespace without a graph is searched exactly and needs none of the three numbers.
///
/// ```
/// # use llmspell_core::{DistanceMetric, HNSWConfig};
/// let config = HNSWConfig::balanced().with_metric(DistanceMetric::InnerProduct).with_ef_search(200);
/// config.validate()?;
/// # Ok::<(), llmspell_core::StorageError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HNSWConfig {
    metric: DistanceMetric,
    m: usize,
    ef_construction: usize,
    ef_search: usize,
    seed: u64,
    /// Spaces stored before there was a choice have none.
    #[serde(default)]
    memory: Memory,
    /// Left out where there are none, as in spaces stored before there were any.
    #[serde(default, skip_serializing_if = "DateFields::is_empty")]
    date_fields: DateFields,
    /// Left out where there is none, as in spaces stored before there was any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index_dim: Option<usize>,
}

/// What of the index of a large namespace is kept in RAM: speed against bytes.
///
/// It changes no answer's meaning: distances are exact in every tier, and recall rises with `ef_search` in every tier.
/// Changing it later rebuilds the index in the background.
///
/// Bytes per vector of the graph, computed, with `m` at 16, beside those of the vector itself:
///
/// | dimension | [`Balanced`](Self::Balanced) | [`Speed`](Self::Speed) | the vector |
/// |----------:|-----------------------------:|-----------------------:|-----------:|
/// |       128 |                          212 |                    900 |        512 |
/// |       384 |                          340 |                  2,052 |      1,536 |
/// |       768 |                          532 |                  3,780 |      3,072 |
/// |      1536 |                          916 |                  7,236 |      6,144 |
///
/// With `padded`, the dimension (under inner product one more) rounded up to a multiple of 64:
///
/// ```text
/// balanced = padded / 2 + 12 + 8 * m                                 rounded up to 16
/// speed    = balanced + ceil(2 * m / 32) * (128 + 4 * padded)        rounded up to 64; in both, 4 more for the point
/// ```
///
/// Centroids and entry points add up to 2 in 100. In `Speed` that is memory of the process's own, in large pages where
/// the system has them (Linux, transparent huge pages `madvise` or `always`): a search begins on the mapped file, and a
/// copy takes its place when the file was verified, in the background. In `Balanced` it is the mapped file itself, whose
/// pages count as resident once they were read, and which the system may take back; so are the ids in both, some 8 bytes
/// and themselves for each result. In `Speed` the mapped vectors count as resident once they were compared, 16 bytes and
/// `4 * dimension` each, until the system wants their pages back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Memory {
    /// Beside every point the codes of all its neighbors, so that one step of a search reads one place; exact vectors
    /// are read from memory-mapped files.
    Speed,
    /// One code of half a byte per component and the links per point; exact vectors are read from the disk cache.
    #[default]
    Balanced,
    /// At most 200 bytes per point. Not there yet: a configuration that names it is refused.
    Lean,
}

impl Default for HNSWConfig {
    fn default() -> Self {
        Self::balanced()
    }
}

impl HNSWConfig {
    /// Small and quick.
    #[must_use]
    pub fn fast() -> Self {
        Self::preset(12, 64, 40)
    }

    /// The default.
    #[must_use]
    pub fn balanced() -> Self {
        Self::preset(16, 100, 100)
    }

    /// Highest recall.
    #[must_use]
    pub fn accurate() -> Self {
        Self::preset(32, 256, 256)
    }

    fn preset(m: usize, ef_construction: usize, ef_search: usize) -> Self {
        Self {
            metric: DistanceMetric::Cosine,
            m,
            ef_construction,
            ef_search,
            seed: 0,
            memory: Memory::Balanced,
            date_fields: DateFields::none(),
            index_dim: None,
        }
    }

    /// How vectors are compared; [`DistanceMetric::Cosine`] unless said otherwise.
    #[must_use]
    pub fn with_metric(mut self, metric: DistanceMetric) -> Self {
        self.metric = metric;
        self
    }

    /// Connections per point, within [`M_RANGE`]; twice as many at the bottom. Costs `8 * m` bytes per point.
    #[must_use]
    pub fn with_m(mut self, connections: usize) -> Self {
        self.m = connections;
        self
    }

    /// Width of the beam while building, within [`EF_CONSTRUCTION_RANGE`]. Building slows down in proportion.
    #[must_use]
    pub fn with_ef_construction(mut self, candidates: usize) -> Self {
        self.ef_construction = candidates;
        self
    }

    /// Width of the beam of a search that does not name its own, within 1 to [`EF_SEARCH_MAX`]; at least `k` is used.
    #[must_use]
    pub fn with_ef_search(mut self, candidates: usize) -> Self {
        self.ef_search = candidates;
        self
    }

    /// Where the random choices of a graph start from: its rotation, its sample, the order of its points.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What is kept in RAM; [`Memory::Balanced`] unless said otherwise.
    #[must_use]
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Fields of the metadata whose strings are RFC 3339 dates, in place of those named before; none unless said otherwise.
    ///
    /// Filters compare them as moments, and the index of the metadata holds them as such. Values that are no dates may be
    /// stored and match no comparison; a filter that compares such a field with something else than a date is refused.
    /// When a space is opened again, the fields named then count from then on, for old entries as for new ones.
    #[must_use]
    pub fn with_date_fields<P: Into<FieldPath>>(mut self, fields: impl IntoIterator<Item = P>) -> Self {
        self.date_fields = DateFields::unchecked(fields);
        self
    }

    /// Leading components that the graph and its codes look at, at most all of them, which it is unless said otherwise:
    /// for vectors of Matryoshka models, whose leading components are a vector as well. The nearest by these are compared
    /// by all components that are stored, four times as many as are asked for, or two fifths of `ef_search` if that is
    /// more: scores are those of the whole. Codes, links and the walk take that much less; of vectors that were not made
    /// so, more neighbors are missed (`llmspell-storage model check-matryoshka` tells how many). Changing it later
    /// rebuilds the index in the background.
    ///
    /// "Funnel search" of Matryoshka vectors: Kusupati et al., arXiv 2205.13147, section 4.3.1 ("adaptive retrieval").
    #[must_use]
    pub fn with_index_dim(mut self, dim: impl Into<Option<usize>>) -> Self {
        self.index_dim = dim.into();
        self
    }

    /// Leading components that the graph and its codes look at; none for all.
    #[must_use]
    pub fn index_dim(&self) -> Option<usize> {
        self.index_dim
    }

    /// How vectors are compared.
    #[must_use]
    pub fn metric(&self) -> DistanceMetric {
        self.metric
    }

    /// Connections per point.
    #[must_use]
    pub fn m(&self) -> usize {
        self.m
    }

    /// Width of the beam while building, in candidates.
    #[must_use]
    pub fn ef_construction(&self) -> usize {
        self.ef_construction
    }

    /// Width of the beam of a search that does not name its own, in candidates.
    #[must_use]
    pub fn ef_search(&self) -> usize {
        self.ef_search
    }

    /// Where the random choices of a graph start from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What is kept in RAM.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Fields of the metadata whose strings are dates.
    #[must_use]
    pub fn date_fields(&self) -> &DateFields {
        &self.date_fields
    }

    /// Checks every setting; stores do so when they are opened.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`](StorageError::OutOfRange) for the first setting outside its range;
    /// [`Unsupported`](StorageError::Unsupported) for [`Memory::Lean`]; [`Filter`](StorageError::Filter) for a date field
    /// that is no path or a time of the entry.
    pub fn validate(&self) -> Result<()> {
        if self.memory == Memory::Lean {
            return Err(StorageError::Unsupported {
                backend: "this version",
                feature: "the memory tier `lean`; use `balanced`",
            });
        }
        in_range("m", self.m, M_RANGE)?;
        in_range("ef_construction", self.ef_construction, EF_CONSTRUCTION_RANGE)?;
        in_range("ef_search", self.ef_search, 1..=EF_SEARCH_MAX)?;
        if let Some(dim) = self.index_dim {
            in_range("index dimension", dim, DIM_RANGE)?;
        }
        Ok(self.date_fields.validate()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_are_valid() {
        for config in [HNSWConfig::fast(), HNSWConfig::balanced(), HNSWConfig::accurate()] {
            config.validate().unwrap();
        }
    }

    #[test]
    fn a_tier_that_is_not_there_yet_is_refused() {
        let error = HNSWConfig::fast().with_memory(Memory::Lean).validate().unwrap_err();
        assert!(error.to_string().contains("use `balanced`"), "{error}");
    }

    #[test]
    fn a_configuration_stored_before_there_were_tiers_is_balanced() {
        let mut stored = serde_json::to_value(HNSWConfig::fast()).unwrap();
        stored.as_object_mut().unwrap().remove("memory");
        let config: HNSWConfig = serde_json::from_value(stored).unwrap();
        assert_eq!(config.memory(), Memory::Balanced);
    }

    #[test]
    fn date_fields_are_stored_where_there_are_any() {
        let stored = |config: &HNSWConfig| serde_json::to_string(config).unwrap();
        let plain = HNSWConfig::fast();
        let old = r#"{"metric":"cosine","m":12,"ef_construction":64,"ef_search":40,"seed":0,"memory":"balanced"}"#;
        assert_eq!(stored(&plain), old, "as before there were any");
        let dated = plain.clone().with_date_fields(["when", "meta.day"]);
        dated.validate().unwrap();
        let with_fields = old.replace('}', r#","date_fields":["meta.day","when"]}"#);
        assert_eq!(stored(&dated), with_fields);
        assert_eq!(serde_json::from_str::<HNSWConfig>(&with_fields).unwrap(), dated);
        for bad in ["a..b", "@created_at", "@type"] {
            let error = plain.clone().with_date_fields(["when", bad]).validate().unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn a_setting_out_of_range_is_named_with_its_limits() {
        let error = |config: HNSWConfig| config.validate().unwrap_err().to_string();
        assert_eq!(error(HNSWConfig::fast().with_m(3)), "m is 3; it must be within 4..=128");
        assert!(error(HNSWConfig::fast().with_ef_construction(0)).contains("ef_construction is 0"));
        assert!(error(HNSWConfig::fast().with_ef_search(0)).contains("ef_search is 0"));
    }
}
