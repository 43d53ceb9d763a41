//! How much is there?

use std::sync::Arc;

use llmspell_core::{IndexStats, Memory, Result, ScopedStats, StateScope, StorageStats};
use llmspell_vector::GraphLayout;

use crate::database::Shared;
use crate::ids::ScopeId;
use crate::namespace::State;
use crate::registry::Space;
use crate::search::Snapshot;
use crate::slots::SlotStore;
use crate::truth;

/// A scope that is not there.
pub(super) fn of_unknown(scope: &StateScope) -> ScopedStats {
    let mut stats = ScopedStats::default();
    stats.scope = scope.clone();
    stats
}

/// A scope, at `now` in milliseconds since 1970.
///
/// # Errors
///
/// `Data` or `Io` when entries that have expired cannot be read.
pub(super) fn of_scope(space: &Space, scope: &StateScope, snapshot: Snapshot<'_>, now: i64) -> Result<ScopedStats> {
    let expired_bytes = snapshot.expired_metadata_bytes(now)?;
    let (state, ..) = snapshot.into_parts();
    let mut stats = of_unknown(scope);
    stats.vectors = state.visible_count(now);
    stats.vector_bytes = stats.vectors * 4 * space.dim as u64;
    stats.metadata_bytes = state.metadata_bytes.saturating_sub(expired_bytes);
    stats.tail_vectors = state.counts().tail.min(stats.vectors);
    stats.reusable_bytes = (u64::from(state.capacity) - state.live_count()) * space.slots.stride();
    stats.index = of_index(&state);
    stats.metadata_index_bytes = metadata_index_bytes(&state);
    Ok(stats)
}

fn metadata_index_bytes(state: &State) -> u64 {
    state.metadata.as_ref().map_or(0, |index| index.memory_bytes() as u64)
}

fn of_index(state: &State) -> Option<IndexStats> {
    let index = state.index.as_ref()?;
    let graph = index.stats(&state.dead);
    let mut stats = IndexStats::default();
    (stats.memory, stats.code) = match index.graph.config().layout {
        GraphLayout::Compact => (Memory::Balanced, "4-bit".to_string()),
        GraphLayout::Blocks => (Memory::Speed, "1-bit".to_string()),
    };
    stats.points = graph.vertices;
    stats.tombstones = state.counts().tombstones;
    stats.links = graph.links;
    stats.unreachable = graph.unreachable;
    stats.code_bytes = graph.code_bytes;
    stats.link_bytes = graph.link_bytes;
    stats.block_bytes = graph.block_bytes;
    stats.other_bytes = index.bytes(&state.dead) - graph.code_bytes - graph.link_bytes - graph.block_bytes;
    stats.file_bytes = index.file.as_ref().map_or(0, |file| file.row.bytes);
    Some(stats)
}

/// All scopes of a space.
pub(super) fn of_space(shared: &Shared, space: &Space, now: i64) -> Result<StorageStats> {
    let read = shared.truth.read()?;
    let mut stats = StorageStats::default();
    stats.dim = space.dim;
    stats.metric = space.metric;
    let mut live_slots = 0;
    let mut index_ram_bytes = 0;
    for (scope, scope_id) in read.scopes(space.id)? {
        let state: Arc<State> = match space.loaded(&scope) {
            Some(namespace) if namespace.scope_id == scope_id => namespace.state(),
            _ => Arc::new(read.state(scope_id)?),
        };
        stats.scopes += 1;
        stats.vectors += state.visible_count(now);
        live_slots += state.live_count();
        stats.metadata_bytes += state.metadata_bytes;
        stats.metadata_index_bytes += metadata_index_bytes(&state);
        if !state.expiries.expired(now).is_empty()
            && let Some(namespace) = space.load(&shared.truth, &scope)?
            && let Some(snapshot) = Snapshot::take(&shared.truth, &space.slots, &namespace)?
        {
            let expired_bytes = snapshot.expired_metadata_bytes(now)?;
            stats.metadata_bytes = stats.metadata_bytes.saturating_sub(expired_bytes);
        }
        if let Some(index) = &state.index {
            let counts = state.counts();
            stats.indexed_vectors += counts.live - counts.tail;
            stats.index_bytes += index.bytes(&state.dead);
            index_ram_bytes += index.own_bytes(&state.dead);
        }
    }
    let dropped: Vec<ScopeId> = read
        .dropped_scopes()?
        .into_iter()
        .filter(|(_, of)| *of == space.id)
        .map(|(scope, _)| scope)
        .collect();
    stats.scopes_to_purge = dropped.len() as u64;
    stats.vector_bytes = stats.vectors * 4 * space.dim as u64;
    stats.disk_bytes = shared.occupied_bytes(&SlotStore::dir(space.id))? + shared.occupied_bytes(truth::FILE)?;
    stats.reusable_bytes = (read.slot_end(space.id)?.saturating_sub(live_slots)) * space.slots.stride();
    let caches = shared.truth.cached_bytes() + shared.values.bytes();
    stats.memory_bytes = caches + space.slots.memory_bytes() + index_ram_bytes + stats.metadata_index_bytes;
    stats.indexing = shared.queue.is_busy_with(space.id);
    stats.scopes_loaded = space.loaded_count() as u64;
    stats.durable = shared.is_durable();
    Ok(stats)
}
