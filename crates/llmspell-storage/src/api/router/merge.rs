//! Merging of the answers of several spaces.

use std::collections::HashMap;

use llmspell_core::{FacetValue, IndexStats, Scalar, ScopedStats, VectorEntry};

/// The first `limit` of pages that are each in order of their ids.
pub(super) fn pages(pages: Vec<Vec<VectorEntry>>, limit: usize) -> Vec<VectorEntry> {
    let mut all: Vec<VectorEntry> = pages.into_iter().flatten().collect();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    all.truncate(limit);
    all
}

/// The most frequent values; `facets` has all of them.
pub(super) fn facets(facets: impl IntoIterator<Item = FacetValue>, limit: usize) -> Vec<FacetValue> {
    let mut counts: HashMap<Scalar, u64> = HashMap::new();
    for facet in facets {
        *counts.entry(facet.value).or_default() += facet.count;
    }
    FacetValue::most_frequent(counts, limit)
}

/// What a scope holds in several spaces.
pub(super) fn add_stats(sum: &mut ScopedStats, of_space: ScopedStats) {
    sum.vectors += of_space.vectors;
    sum.vector_bytes += of_space.vector_bytes;
    sum.metadata_bytes += of_space.metadata_bytes;
    sum.texts += of_space.texts;
    sum.text_bytes += of_space.text_bytes;
    sum.text_index_bytes += of_space.text_index_bytes;
    sum.tail_vectors += of_space.tail_vectors;
    sum.reusable_bytes += of_space.reusable_bytes;
    sum.metadata_index_bytes += of_space.metadata_index_bytes;
    // About the scope, not about the space.
    sum.quota = of_space.quota;
    match (&mut sum.index, of_space.index) {
        (Some(sum), Some(index)) => add_index(sum, &index),
        (sum @ None, index) => *sum = index,
        (Some(_), None) => {}
    }
}

fn add_index(sum: &mut IndexStats, index: &IndexStats) {
    if sum.code != index.code {
        sum.code = format!("{}, {}", sum.code, index.code);
    }
    sum.points += index.points;
    sum.tombstones += index.tombstones;
    sum.links += index.links;
    sum.unreachable += index.unreachable;
    sum.code_bytes += index.code_bytes;
    sum.link_bytes += index.link_bytes;
    sum.block_bytes += index.block_bytes;
    sum.other_bytes += index.other_bytes;
    sum.file_bytes += index.file_bytes;
}
