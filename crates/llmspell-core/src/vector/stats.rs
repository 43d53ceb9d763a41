//! Statistics of a store and of a scope: real bytes and counts, never estimates unless a field says so.

use llmspell_state_traits::StateScope;
use serde::{Deserialize, Serialize};

use super::config::Memory;
use super::ef::EfChoice;
use crate::metric::DistanceMetric;
use crate::quota::QuotaStatus;

/// A whole store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StorageStats {
    /// Components per vector; 0 if the store holds several dimensions.
    pub dim: usize,
    /// How vectors are compared.
    pub metric: DistanceMetric,
    /// Scopes that have or had entries and were not dropped.
    pub scopes: u64,
    /// Live entries in all scopes.
    pub vectors: u64,
    /// Bytes of their vectors, as `f32`.
    pub vector_bytes: u64,
    /// Bytes of their metadata, as compact JSON.
    pub metadata_bytes: u64,
    /// Bytes of their own texts that are kept, and of their sparse vectors, eight for each component.
    #[serde(default)]
    pub text_bytes: u64,
    /// Bytes that the files occupy on the disk, all included; 0 in memory.
    pub disk_bytes: u64,
    /// Part of these: bytes of slots that are deleted or not used yet and will be written again.
    pub reusable_bytes: u64,
    /// Bytes of RAM that the store itself holds (caches and index; not memory-mapped files).
    pub memory_bytes: u64,
    /// Scopes that are loaded into RAM.
    pub scopes_loaded: u64,
    /// Dropped scopes whose disk space is not freed yet.
    pub scopes_to_purge: u64,
    /// Whether the store survives the process.
    pub durable: bool,
    /// Entries in graphs of loaded scopes; the others are scanned.
    pub indexed_vectors: u64,
    /// Whether an index is being built or extended now.
    pub indexing: bool,
    /// Bytes of RAM of the indexes of all loaded scopes, memory-mapped index files included.
    pub index_bytes: u64,
    /// Bytes of RAM of the indexes of metadata of all loaded scopes.
    #[serde(default)]
    pub metadata_index_bytes: u64,
    /// Bytes of RAM of the indexes of words of all loaded scopes, memory-mapped index files included.
    #[serde(default)]
    pub text_index_bytes: u64,
}

/// One scope of a store. An unknown scope has zeros.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ScopedStats {
    /// The scope of the entries.
    pub scope: StateScope,
    /// Live entries.
    pub vectors: u64,
    /// Bytes of their vectors, as `f32`.
    pub vector_bytes: u64,
    /// Bytes of their metadata, as compact JSON.
    pub metadata_bytes: u64,
    /// Live entries that have indexed words.
    #[serde(default)]
    pub texts: u64,
    /// Bytes of their own texts that are kept, and of their sparse vectors, eight for each component. They count in a
    /// [quota](crate::Quota) as bytes of metadata.
    #[serde(default)]
    pub text_bytes: u64,
    /// Entries that are scanned, because no graph holds them (yet).
    pub tail_vectors: u64,
    /// Bytes of vectors that are deleted or not used yet and will be written again.
    pub reusable_bytes: u64,
    /// How much the scope may hold, in all spaces together, and its usage; none without a quota, and in stores without
    /// quotas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaStatus>,
    /// Its graph; none while the scope is so small that it is scanned.
    pub index: Option<IndexStats>,
    /// Bytes of RAM of the index of its metadata; 0 until one is built, and in stores that have none.
    #[serde(default)]
    pub metadata_index_bytes: u64,
    /// Bytes of RAM of the index of its words; 0 without texts.
    #[serde(default)]
    pub text_index_bytes: u64,
}

/// The graph of one scope.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IndexStats {
    /// What is kept in RAM.
    pub memory: Memory,
    /// Points in the graph, tombstones included.
    pub points: u64,
    /// Points in it that are deleted.
    pub tombstones: u64,
    /// Links between points.
    pub links: u64,
    /// Living points that no walk from the entry points reaches.
    pub unreachable: u64,
    /// Number of leading components that the graph uses.
    #[serde(default)]
    pub dim: usize,
    /// The width of the beam, the reason for it, and the measured recall; none in stores that do not choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef: Option<EfChoice>,
    /// The codes that searches walk on, for example `4-bit`.
    pub code: String,
    /// Bytes of RAM of the codes of the points.
    pub code_bytes: u64,
    /// Bytes of RAM of the links.
    pub link_bytes: u64,
    /// Bytes of RAM of the codes of the neighbors, beside each point; 0 unless the tier is [`Memory::Speed`].
    pub block_bytes: u64,
    /// Bytes of RAM of all other parts: the map from vertices to points, entry points, centroids, changes.
    pub other_bytes: u64,
    /// Bytes on the disk; 0 in memory and before the first checkpoint.
    pub file_bytes: u64,
}
