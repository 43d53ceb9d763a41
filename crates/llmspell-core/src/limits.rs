//! Every limit, with its unit.
//!
//! A value beyond a limit is refused with a typed error that names both, before anything is written.

use std::ops::RangeInclusive;

pub use llmspell_state_traits::SCOPE_ID_BYTES_MAX;

/// Dimensions a space may have, in components.
pub const DIM_RANGE: RangeInclusive<usize> = 1..=65_535;

/// Longest text of an entry, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Most fields of the metadata whose texts are indexed.
pub const TEXT_FIELDS_MAX: usize = 15;

/// Most names of sparse vectors of one space.
pub const SPARSE_NAMES_MAX: usize = 8;

/// Longest name of sparse vectors, in bytes of UTF-8.
pub const SPARSE_NAME_BYTES_MAX: usize = 64;

/// Most components of one sparse vector.
pub const SPARSE_COMPONENTS_MAX: usize = 4_096;

/// Largest index of a component of a sparse vector.
pub const SPARSE_INDEX_MAX: u32 = (1 << 28) - 1;

/// Longest words of a query, in bytes of UTF-8.
pub const QUERY_TEXT_BYTES_MAX: usize = llmspell_text::QUERY_BYTES_MAX;

/// Longest snippet, in bytes of UTF-8.
pub const SNIPPET_BYTES_RANGE: RangeInclusive<usize> = 16..=65_536;

/// Fewest candidates of each side of a hybrid search; see
/// [`VectorQuery::candidates`](crate::VectorQuery::candidates).
pub const HYBRID_CANDIDATES_MIN: usize = 100;

/// Most results of one search.
pub const K_MAX: usize = 10_000;

/// Most results of one search with MMR: each is compared with each candidate.
pub const MMR_K_MAX: usize = 1_000;

/// Most examples of one recommendation, positive and negative together.
pub const EXAMPLES_MAX: usize = 1_000;

/// Most scopes that one query may name.
pub const QUERY_SCOPES_MAX: usize = 64;

/// Widest beam of one search, in candidates.
pub const EF_SEARCH_MAX: usize = 100_000;

/// Widest beam that a store chooses by itself to reach a recall target, in candidates. Wider ones must be set by the
/// query or the configuration.
pub const EF_SEARCH_CHOSEN_MAX: usize = 4_096;

/// Range of the recall target: the share of the nearest entries that a search should find.
pub const RECALL_TARGET_RANGE: RangeInclusive<f64> = 0.5..=0.9999;

/// Most entries or keys of one page of `list` or `scan`.
pub const PAGE_MAX: usize = 10_000;

/// Longest id of an entry, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 1024;

/// Longest key, in bytes of UTF-8, including the prefix of [`ScopedBackend`](crate::ScopedBackend).
pub const KEY_BYTES_MAX: usize = 4096;

/// Largest value of a key, in bytes.
pub const VALUE_BYTES_MAX: usize = 256 << 20;

/// Largest batch of writes, keys and values together, in bytes; a single value of [`VALUE_BYTES_MAX`] fits.
pub const BATCH_BYTES_MAX: usize = 512 << 20;

/// Most entries, keys or ids of one batch.
pub const BATCH_ITEMS_MAX: usize = 1_000_000;

/// Largest metadata of one entry, as compact JSON, in bytes.
pub const METADATA_BYTES_MAX: usize = 64 << 10;

/// Deepest nesting of metadata: `{"a": 1}` has depth 1, a scalar has none.
pub const METADATA_DEPTH_MAX: usize = 32;

/// Deepest nesting of a filter; a comparison has depth 1.
pub const FILTER_DEPTH_MAX: usize = 32;

/// Most conditions of one filter: comparisons, and the `and`, `or` and `not` that join them.
pub const FILTER_NODES_MAX: usize = 1024;

/// Most values of all `in` of one filter together.
pub const FILTER_VALUES_MAX: usize = 65_536;

/// Longest string of a filter, and longest key of a field, in bytes of UTF-8; metadata cannot hold longer ones.
pub const FILTER_TEXT_BYTES_MAX: usize = METADATA_BYTES_MAX;

/// Half-life of scores in a search with recency, in milliseconds: up to 100 years.
pub const HALF_LIFE_MS_RANGE: RangeInclusive<u64> = 1..=3_155_760_000_000;

/// Longest name of a space, in bytes of UTF-8.
pub const SPACE_NAME_BYTES_MAX: usize = 256;

/// Connections per point, HNSW's `M`.
pub const M_RANGE: RangeInclusive<usize> = 4..=128;

/// Width of the beam while building, in candidates.
pub const EF_CONSTRUCTION_RANGE: RangeInclusive<usize> = 8..=4096;

/// Most cut lengths of one model.
pub const CUT_POINTS_MAX: usize = 64;
