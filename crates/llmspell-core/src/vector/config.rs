//! [`HNSWConfig`]: how an index is built and searched.

use serde::{Deserialize, Serialize};

use super::texts::TextConfig;
use crate::check::in_range;
use crate::error::{Result, StorageError};
use crate::filter::{DateFields, FieldPath};
use crate::limits::{DIM_RANGE, EF_CONSTRUCTION_RANGE, EF_SEARCH_MAX, M_RANGE, RECALL_TARGET_RANGE};
use crate::metric::DistanceMetric;

/// How the vectors of a space are compared, and how the graph of a large namespace is built and walked.
///
/// Names and meaning are those of the HNSW paper (arXiv 1603.09320). Dimension and metric are fixed when a space is
/// created; the other settings may change when it is opened again.
///
/// | preset                           | `m` | `ef_construction` | recall target | `ef_search` at first | for                        |
/// |----------------------------------|----:|------------------:|--------------:|---------------------:|----------------------------|
/// | [`fast`](Self::fast)             |  12 |                64 |           .95 |                   40 | prototypes, small machines |
/// | [`balanced`](Self::balanced)     |  16 |               100 |           .98 |                  100 | most applications          |
/// | [`accurate`](Self::accurate)     |  32 |               256 |          .995 |                  256 | when a miss is expensive   |
///
/// A store chooses `ef_search` for each namespace itself, so that searches reach the [recall
/// target](Self::with_recall_target), unless the configuration or the query [sets an
/// `ef_search`](Self::with_ef_search). A namespace without a graph is searched exactly and needs none of these numbers.
///
/// ```
/// # use llmspell_core::{DistanceMetric, HNSWConfig};
/// let config = HNSWConfig::balanced().with_metric(DistanceMetric::InnerProduct).with_ef_search(200);
/// config.validate()?;
/// # Ok::<(), llmspell_core::StorageError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredConfig")]
pub struct HNSWConfig {
    metric: DistanceMetric,
    m: usize,
    ef_construction: usize,
    /// Omitted from the stored form if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    ef_search: Option<usize>,
    seed: u64,
    memory: Memory,
    recall_target: RecallTarget,
    /// Omitted from the stored form if there are none.
    #[serde(skip_serializing_if = "DateFields::is_empty")]
    date_fields: DateFields,
    /// Omitted from the stored form if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    index_dim: Option<usize>,
    /// Omitted from the stored form if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    texts: Option<TextConfig>,
}

/// A configuration in its stored form, possibly written by an older build.
#[derive(Deserialize)]
struct StoredConfig {
    metric: DistanceMetric,
    m: usize,
    ef_construction: usize,
    ef_search: Option<usize>,
    seed: u64,
    /// Missing in spaces that are older than the memory tiers.
    #[serde(default)]
    memory: Memory,
    /// Missing in spaces that are older than recall targets.
    recall_target: Option<RecallTarget>,
    #[serde(default)]
    date_fields: DateFields,
    #[serde(default)]
    index_dim: Option<usize>,
    #[serde(default)]
    texts: Option<TextConfig>,
}

/// A share of the true neighbors. Two are equal if their bits are equal.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
struct RecallTarget(f64);

impl PartialEq for RecallTarget {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for RecallTarget {}

impl RecallTarget {
    const FAST: Self = Self(0.95);
    const BALANCED: Self = Self(0.98);
    const ACCURATE: Self = Self(0.995);

    /// The beam that is used until a measurement shows which one reaches the target: that of the preset with the next
    /// higher target.
    fn first_ef(self) -> usize {
        match self.0 {
            target if target <= Self::FAST.0 => 40,
            target if target <= Self::BALANCED.0 => 100,
            _ => 256,
        }
    }
}

impl From<StoredConfig> for HNSWConfig {
    fn from(stored: StoredConfig) -> Self {
        let mut config = Self {
            metric: stored.metric,
            m: stored.m,
            ef_construction: stored.ef_construction,
            ef_search: stored.ef_search,
            seed: stored.seed,
            memory: stored.memory,
            recall_target: stored.recall_target.unwrap_or(RecallTarget::BALANCED),
            date_fields: stored.date_fields,
            index_dim: stored.index_dim,
            texts: stored.texts,
        };
        if stored.recall_target.is_none() {
            // Older configurations always had an `ef_search`. If it is that of a preset, the user did not choose it.
            let numbers = |config: &Self| (config.m, config.ef_construction, config.ef_search());
            let presets = [Self::fast(), Self::balanced(), Self::accurate()];
            if let Some(preset) = presets.iter().find(|preset| numbers(preset) == numbers(&config)) {
                (config.ef_search, config.recall_target) = (None, preset.recall_target);
            }
        }
        config
    }
}

/// Which parts of the index of a large namespace are kept in RAM: a trade of speed against bytes.
///
/// Every tier returns exact distances, and in every tier recall rises with `ef_search`.
/// Changing it later rebuilds the index in the background.
///
/// Bytes per vector of the graph, computed, with `m` at 16, beside those of the vector itself:
///
/// | dimension | [`Lean`](Self::Lean), of a million | [`Balanced`](Self::Balanced) | [`Speed`](Self::Speed) | the vector |
/// |----------:|-----------------------------------:|-----------------------------:|-----------------------:|-----------:|
/// |       128 |                                105 |                          212 |                    900 |        512 |
/// |       384 |                          up to 153 |                          340 |                  2,052 |      1,536 |
/// |       768 |                          up to 185 |                          532 |                  3,780 |      3,072 |
/// |      1536 |                          up to 185 |                          916 |                  7,236 |      6,144 |
///
/// With `padded`, the dimension (under inner product one more) rounded up to a multiple of 64:
///
/// ```text
/// lean     = code + 9 + ceil(bits * ceil(3 * m / 2) / 8)             with bits = 20 for a million points, 16 at least
/// balanced = padded / 2 + 12 + 8 * m                                 rounded up to 16
/// speed    = balanced + ceil(2 * m / 32) * (128 + 4 * padded)        rounded up to 64; in all, 4 more for the point
/// ```
///
/// `code` is at most 32 bytes up to 128 components, 64 up to 256, 80 up to 512, 112 up to 1,536, beyond that in
/// proportion. For graphs of fewer than 8,192 points it has one, two or four bits per component, whatever fits, but at
/// least one; for larger ones, bits and directions are chosen by a sample of the vectors.
///
/// Centroids and entry points add up to 2 in 100. In `Speed` and `Lean` the graph is memory of the process's own, in large pages
/// if the system has them (Linux, transparent huge pages `madvise` or `always`): searches start on the mapped file, and
/// a copy replaces it once the file has been verified in the background. In `Balanced` it is the mapped file itself,
/// whose pages count as resident once they were read, and which the system may reclaim. So are the ids in all tiers,
/// about 8 bytes plus the id for each result. In `Speed` the mapped vectors count as resident once they were compared,
/// 16 bytes and `4 * dimension` each, until the system reclaims their pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Memory {
    /// The codes of all neighbors are stored beside every point, so that one step of a search reads one place; exact
    /// vectors are read from memory-mapped files.
    Speed,
    /// One code of half a byte per component and the links per point; exact vectors are read from the page cache.
    #[default]
    Balanced,
    /// As little as possible: a code of the main directions of the vectors, and links of as many bits as needed; at most 200
    /// bytes per point up to 1,536 components, with `m` at 16. A search compares 30 to 100 exact vectors instead of 13, and
    /// reads them from the disk at once where they are not in the page cache. Less recall than in the other tiers at equal
    /// `ef_search`; the store chooses a larger one by the [recall target](HNSWConfig::with_recall_target).
    ///
    /// Codes: RaBitQ (Gao and Long, SIGMOD 2024; Gao et al., SIGMOD 2025). Main directions: principal components, as in
    /// `LeanVec` (Tepper et al., arXiv 2312.16335).
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
        Self::preset(12, 64, RecallTarget::FAST)
    }

    /// The default.
    #[must_use]
    pub fn balanced() -> Self {
        Self::preset(16, 100, RecallTarget::BALANCED)
    }

    /// Highest recall.
    #[must_use]
    pub fn accurate() -> Self {
        Self::preset(32, 256, RecallTarget::ACCURATE)
    }

    fn preset(m: usize, ef_construction: usize, recall_target: RecallTarget) -> Self {
        Self {
            metric: DistanceMetric::Cosine,
            m,
            ef_construction,
            ef_search: None,
            seed: 0,
            memory: Memory::Balanced,
            recall_target,
            date_fields: DateFields::none(),
            index_dim: None,
            texts: None,
        }
    }

    /// How vectors are compared; [`DistanceMetric::Cosine`] by default.
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

    /// Sets the width of the beam for searches that do not set their own, within 1 to [`EF_SEARCH_MAX`]; at least `k`
    /// is used. By default it is not set, and the store chooses one by the [recall target](Self::with_recall_target).
    #[must_use]
    pub fn with_ef_search(mut self, candidates: usize) -> Self {
        self.ef_search = Some(candidates);
        self
    }

    /// Lets the store choose the width of the beam again, after [`with_ef_search`](Self::with_ef_search).
    #[must_use]
    pub fn without_ef_search(mut self) -> Self {
        self.ef_search = None;
        self
    }

    /// The share of the ten nearest entries that a search should find on average, within [`RECALL_TARGET_RANGE`].
    ///
    /// For each namespace with a graph the store measures the recall of searches, and uses the smallest `ef_search`
    /// that reaches the target, at most [`EF_SEARCH_CHOSEN_MAX`](crate::limits::EF_SEARCH_CHOSEN_MAX). It measures in
    /// the background, with recent queries of the namespace, or with its own vectors as long as there are not enough
    /// queries; in [`build_index`](super::VectorStorage::build_index) it measures at once. Statistics and
    /// [`explain`](super::VectorStorage::explain) show the measured recall and the `ef_search` in use. Before the first
    /// measurement, the `ef_search` of the preset with this or the next higher target is used.
    ///
    /// It has no effect if the configuration or a query [sets an `ef_search`](Self::with_ef_search).
    #[must_use]
    pub fn with_recall_target(mut self, recall: f64) -> Self {
        self.recall_target = RecallTarget(recall);
        self
    }

    /// Seed of the random choices of a graph: its rotation, its sample, the order of its points.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What is kept in RAM; [`Memory::Balanced`] by default.
    #[must_use]
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Fields of the metadata whose strings are RFC 3339 dates; replaces those set before. None by default.
    ///
    /// Filters compare them as moments, and the index of the metadata holds them as such. Values that are not dates may
    /// be stored and match no comparison; a filter that compares such a field with a value that is not a date is
    /// refused. When a space is opened again with other fields, these apply from then on, to old entries as well as new
    /// ones.
    #[must_use]
    pub fn with_date_fields<P: Into<FieldPath>>(mut self, fields: impl IntoIterator<Item = P>) -> Self {
        self.date_fields = DateFields::unchecked(fields);
        self
    }

    /// Number of leading components that the graph and its codes use; all of them by default. For vectors of Matryoshka
    /// models, whose leading components are a vector as well. The nearest by these are compared by all stored
    /// components: four times `k` of them, or two fifths of `ef_search` if that is more. So scores are those of whole
    /// vectors. Codes, links and walks cost proportionally less; with other vectors more neighbors are missed
    /// (`llmspell-storage model check-matryoshka` measures how many). Changing it later rebuilds the index in the
    /// background.
    ///
    /// "Funnel search" of Matryoshka vectors: Kusupati et al., arXiv 2205.13147, section 4.3.1 ("adaptive retrieval").
    #[must_use]
    pub fn with_index_dim(mut self, dim: impl Into<Option<usize>>) -> Self {
        self.index_dim = dim.into();
        self
    }

    /// Indexes the words of entries: their own texts, and the strings of declared fields; see [`TextConfig`]. Off by
    /// default: an entry with a text, and a query of words, are refused then.
    ///
    /// In a space with texts an entry may have no vector, and a space of dimension 0 is for texts alone.
    ///
    /// When a space is opened again with other fields or another analyzer, searches are by these at once, also of older
    /// entries: what was indexed before counts no more. Entries are analyzed anew in the background; until that is done,
    /// each search of a scope analyzes what is missing, which for a large scope takes as long as reading all its texts. The
    /// words of texts that are not [kept](TextConfig::with_keep) cannot be made again: such an entry is found by the words
    /// that its text had when it was stored, until it is written again.
    #[must_use]
    pub fn with_texts(mut self, texts: TextConfig) -> Self {
        self.texts = Some(texts);
        self
    }

    /// Indexes the words of these fields of the metadata, besides those of entries' own texts:
    /// [`with_texts`](Self::with_texts) with [`TextConfig::with_fields`].
    #[must_use]
    pub fn with_text_fields<P: Into<FieldPath>>(mut self, fields: impl IntoIterator<Item = P>) -> Self {
        self.texts = Some(self.texts.unwrap_or_default().with_fields(fields));
        self
    }

    /// Indexes sparse vectors of these names, such as those that SPLADE or BGE-M3 make:
    /// [`with_texts`](Self::with_texts) with [`TextConfig::with_sparse`]. An entry may have a vector, a text, and sparse vectors.
    #[must_use]
    pub fn with_sparse<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.texts = Some(self.texts.unwrap_or_default().with_sparse(names));
        self
    }

    /// Indexes no words and no sparse vectors, after [`with_texts`](Self::with_texts).
    #[must_use]
    pub fn without_texts(mut self) -> Self {
        self.texts = None;
        self
    }

    /// Which texts are indexed; none if words are not.
    #[must_use]
    pub fn texts(&self) -> Option<&TextConfig> {
        self.texts.as_ref()
    }

    /// Number of leading components that the graph and its codes use; none for all.
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

    /// Width of the beam for searches that do not set their own, in candidates: the one that was
    /// [set](Self::named_ef_search), else the one used until the namespace is measured.
    #[must_use]
    pub fn ef_search(&self) -> usize {
        self.ef_search.unwrap_or_else(|| self.recall_target.first_ef())
    }

    /// Width of the beam that was set, in candidates; none if the store chooses it.
    #[must_use]
    pub fn named_ef_search(&self) -> Option<usize> {
        self.ef_search
    }

    /// The share of the ten nearest entries that a search should find on average.
    #[must_use]
    pub fn recall_target(&self) -> f64 {
        self.recall_target.0
    }

    /// Seed of the random choices of a graph.
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
    /// [`OutOfRange`](StorageError::OutOfRange) for the first setting outside its range; [`Filter`](StorageError::Filter) for a date field
    /// that is no path or a time of the entry; as [`TextConfig::validate`].
    pub fn validate(&self) -> Result<()> {
        in_range("m", self.m, M_RANGE)?;
        in_range("ef_construction", self.ef_construction, EF_CONSTRUCTION_RANGE)?;
        in_range("ef_search", self.ef_search(), 1..=EF_SEARCH_MAX)?;
        if !RECALL_TARGET_RANGE.contains(&self.recall_target.0) {
            return Err(StorageError::OutOfRange {
                what: "recall target",
                got: self.recall_target.0,
                min: *RECALL_TARGET_RANGE.start(),
                max: *RECALL_TARGET_RANGE.end(),
            });
        }
        if let Some(dim) = self.index_dim {
            in_range("index dimension", dim, DIM_RANGE)?;
        }
        if let Some(texts) = &self.texts {
            texts.validate()?;
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
    fn a_configuration_stored_before_there_were_tiers_is_balanced() {
        let mut stored = serde_json::to_value(HNSWConfig::fast()).unwrap();
        stored.as_object_mut().unwrap().remove("memory");
        let config: HNSWConfig = serde_json::from_value(stored).unwrap();
        assert_eq!(config.memory(), Memory::Balanced);
    }

    #[test]
    fn an_ef_search_that_was_stored_before_there_were_targets_is_named_unless_it_is_that_of_its_preset() {
        let read = |m: usize, ef_construction: usize, ef_search: usize| -> HNSWConfig {
            let stored = serde_json::json!({
                "metric": "cosine", "m": m, "ef_construction": ef_construction, "ef_search": ef_search, "seed": 0,
            });
            serde_json::from_value(stored).unwrap()
        };
        assert_eq!(read(12, 64, 40), HNSWConfig::fast());
        assert_eq!(read(16, 100, 100), HNSWConfig::balanced());
        assert_eq!(read(32, 256, 256), HNSWConfig::accurate());
        for (m, ef_construction, ef_search) in [(12, 64, 41), (16, 64, 40), (12, 100, 100), (20, 100, 100)] {
            let config = read(m, ef_construction, ef_search);
            assert_eq!(
                config.named_ef_search(),
                Some(ef_search),
                "m {m}, {ef_construction}, {ef_search}"
            );
            assert_eq!(config.ef_search(), ef_search);
        }
    }

    #[test]
    fn a_named_ef_search_and_a_target_come_back_as_they_were_stored() {
        let balanced = HNSWConfig::balanced();
        let configs = [
            balanced.clone(),
            balanced.clone().with_ef_search(100),
            balanced.clone().with_recall_target(0.9),
            HNSWConfig::fast().with_m(16).with_ef_construction(100),
            HNSWConfig::accurate().with_recall_target(0.98).with_ef_search(7),
        ];
        for config in configs {
            let stored = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<HNSWConfig>(&stored).unwrap(), config, "{stored}");
        }
        assert_eq!(balanced.clone().with_ef_search(7).without_ef_search(), balanced);
    }

    #[test]
    fn until_it_is_measured_a_target_has_the_ef_search_of_the_preset_above() {
        let ef = |target| HNSWConfig::balanced().with_recall_target(target).ef_search();
        assert_eq!(
            [0.5, 0.95, 0.951, 0.98, 0.981, 0.9999].map(ef),
            [40, 40, 100, 100, 256, 256]
        );
        let presets = [HNSWConfig::fast(), HNSWConfig::balanced(), HNSWConfig::accurate()];
        assert_eq!(presets.map(|preset| preset.ef_search()), [40, 100, 256]);
    }

    #[test]
    fn a_target_out_of_range_is_refused_with_its_limits() {
        for bad in [0.0, 0.49, 1.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = HNSWConfig::fast().with_recall_target(bad).validate().unwrap_err();
            let expected = format!("recall target is {bad}; it must be within 0.5..=0.9999");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn date_fields_are_stored_where_there_are_any() {
        let stored = |config: &HNSWConfig| serde_json::to_string(config).unwrap();
        let plain = HNSWConfig::fast();
        let plain_text =
            r#"{"metric":"cosine","m":12,"ef_construction":64,"seed":0,"memory":"balanced","recall_target":0.95}"#;
        assert_eq!(stored(&plain), plain_text, "as before there were any");
        let dated = plain.clone().with_date_fields(["when", "meta.day"]);
        dated.validate().unwrap();
        let with_fields = plain_text.replace('}', r#","date_fields":["meta.day","when"]}"#);
        assert_eq!(stored(&dated), with_fields);
        assert_eq!(serde_json::from_str::<HNSWConfig>(&with_fields).unwrap(), dated);
        for bad in ["a..b", "@created_at", "@type"] {
            let error = plain.clone().with_date_fields(["when", bad]).validate().unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn texts_are_stored_where_words_are_indexed() {
        let plain = HNSWConfig::fast();
        assert_eq!(
            serde_json::to_value(&plain).unwrap().get("texts"),
            None,
            "as before there were any"
        );
        let config = plain.clone().with_text_fields(["title"]);
        config.validate().unwrap();
        let stored = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<HNSWConfig>(&stored).unwrap(), config, "{stored}");
        let unkept = config.clone().with_texts(TextConfig::default().with_keep(false));
        assert_eq!(
            unkept.clone().with_text_fields(["a"]).texts().map(TextConfig::keep),
            Some(false)
        );
        assert_eq!(unkept.without_texts(), plain);
        assert!(
            config
                .with_text_fields(["a", "a"])
                .validate()
                .unwrap_err()
                .to_string()
                .contains("named twice")
        );
    }

    #[test]
    fn a_setting_out_of_range_is_named_with_its_limits() {
        let error = |config: HNSWConfig| config.validate().unwrap_err().to_string();
        assert_eq!(error(HNSWConfig::fast().with_m(3)), "m is 3; it must be within 4..=128");
        assert!(error(HNSWConfig::fast().with_ef_construction(0)).contains("ef_construction is 0"));
        assert!(error(HNSWConfig::fast().with_ef_search(0)).contains("ef_search is 0"));
    }
}
