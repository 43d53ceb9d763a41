//! Statistics of a space and of a scope.

use std::collections::HashSet;
use std::sync::Arc;

use llmspell_core::{IndexStats, Memory, Result, ScopedStats, StateScope, StorageStats};
use llmspell_vector::{Graph, GraphLayout};

use crate::base::ids::{ScopeId, SpaceId};
use crate::engine::Shared;
use crate::namespace::{Namespace, State};
use crate::search;
use crate::slots::SlotStore;
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;
use crate::truth::{self, Read};

/// For a scope that does not exist.
pub(crate) fn of_unknown(scope: &StateScope) -> ScopedStats {
    let mut stats = ScopedStats::default();
    stats.scope = scope.clone();
    stats
}

/// A scope, at `now` in milliseconds since 1970.
///
/// # Errors
///
/// `Data` or `Io` when entries that have expired cannot be read.
pub(crate) fn of_scope(
    (space, namespace): (&Space, &Namespace),
    scope: &StateScope,
    snapshot: &Snapshot<'_>,
    now: i64,
) -> Result<ScopedStats> {
    let (expired_bytes, expired_text_bytes) = snapshot.expired_bytes(now)?;
    let state = snapshot.state();
    let mut stats = of_unknown(scope);
    stats.vectors = state.visible_count(now);
    stats.vector_bytes = state.visible_vectors(now) * 4 * space.dim as u64;
    stats.metadata_bytes = state.metadata_bytes.saturating_sub(expired_bytes);
    stats.text_bytes = state.text_bytes.saturating_sub(expired_text_bytes);
    if let Some(rules) = space.texts() {
        stats.texts = snapshot.text_count(space, &rules, now)?;
    }
    stats.text_index_bytes = text_index_bytes(state);
    stats.tail_vectors = state.counts().tail.min(stats.vectors);
    stats.reusable_bytes = (state.slot_count() - state.vector_count()) * space.slots.stride();
    stats.index = of_index(state);
    if let Some(index) = &mut stats.index {
        index.ef = Some(search::ef_choice(None, space, namespace));
    }
    stats.metadata_index_bytes = metadata_index_bytes(state);
    Ok(stats)
}

fn text_index_bytes(state: &State) -> u64 {
    state.texts.as_ref().map_or(0, |index| index.bytes() as u64)
}

fn metadata_index_bytes(state: &State) -> u64 {
    state.metadata.as_ref().map_or(0, |index| index.memory_bytes() as u64)
}

fn of_index(state: &State) -> Option<IndexStats> {
    let index = state.index.as_ref()?;
    let graph = index.stats(&state.dead);
    let mut stats = IndexStats::default();
    let dim = index.graph.config().dim;
    (stats.memory, stats.code) = match index.graph.config().layout {
        GraphLayout::Compact => (Memory::Balanced, "4-bit".to_string()),
        GraphLayout::Blocks => (Memory::Speed, "1-bit".to_string()),
        GraphLayout::Lean => (Memory::Lean, lean_code(&index.graph)),
    };
    stats.points = graph.vertices;
    stats.dim = dim;
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

/// Bits per component, and how many components, if these are fewer than those of vectors.
fn lean_code(graph: &Graph) -> String {
    let (bits, components) = graph.code();
    if components < graph.config().dim {
        format!("{bits}-bit, {components} directions")
    } else {
        format!("{bits}-bit")
    }
}

/// The scopes of a space that hold an entry at `now`, in milliseconds since 1970.
///
/// # Errors
///
/// `Data` or `Io` when they cannot be read.
pub(crate) fn living_scopes(shared: &Shared, space: &Space, now: i64) -> Result<Vec<StateScope>> {
    let read = shared.truth.read()?;
    // A scope all of whose entries have expired is dropped by the purge, which has not come to these.
    let doubtful = read.scopes_with_expired(now)?;
    let mut living = Vec::new();
    for (scope, scope_id) in read.scopes(space.id)? {
        if !doubtful.contains(&scope_id) || visible_count(space, &read, (&scope, scope_id), now)? > 0 {
            living.push(scope);
        }
    }
    Ok(living)
}

fn visible_count(space: &Space, read: &Read, (scope, id): (&StateScope, ScopeId), now: i64) -> Result<u64> {
    match space.loaded(scope) {
        Some(namespace) if namespace.scope_id == id => Ok(namespace.state().visible_count(now)),
        _ => Ok(read.state(id)?.visible_count(now)),
    }
}

/// Live entries of each scope of a space that has some.
///
/// # Errors
///
/// `Data` or `Io` when states cannot be read.
pub(crate) fn visible_counts(shared: &Shared, space: &Space, now: i64) -> Result<Vec<(StateScope, u64)>> {
    let read = shared.truth.read()?;
    let count = |(scope, scope_id)| {
        let count = visible_count(space, &read, (&scope, scope_id), now)?;
        Ok((scope, count))
    };
    let counts = read.scopes(space.id)?.into_iter().map(count);
    counts
        .filter(|count| count.as_ref().map_or(true, |(_, count)| *count > 0))
        .collect()
}

/// All scopes of some spaces together; what they share is counted once.
///
/// # Errors
///
/// `Data` or `Io` when it cannot be read.
pub(crate) fn of_spaces(shared: &Shared, spaces: &[Arc<Space>], now: i64) -> Result<StorageStats> {
    let read = shared.truth.read()?;
    let mut stats = StorageStats::default();
    let mut names = HashSet::new();
    let mut holding: Vec<&Arc<Space>> = Vec::new();
    for space in spaces {
        let before = stats.vectors;
        add_space(&mut stats, shared, &read, space, now, &mut names)?;
        if stats.vectors > before {
            holding.push(space);
        }
    }
    if holding.is_empty() {
        holding = spaces.iter().collect();
    }
    if let [first, others @ ..] = holding.as_slice() {
        let is_one = others.iter().all(|other| other.dim == first.dim);
        stats.dim = if is_one { first.dim } else { 0 };
        stats.metric = first.metric;
    }
    stats.scopes = names.len() as u64;
    let is_theirs = |id: SpaceId| spaces.iter().any(|space| space.id == id);
    let dropped = read.dropped_scopes()?;
    stats.scopes_to_purge = dropped.into_iter().filter(|(_, of)| is_theirs(*of)).count() as u64;
    stats.disk_bytes += shared.occupied_bytes(truth::FILE)?;
    stats.memory_bytes += shared.truth.cached_bytes() + shared.values.bytes() + stats.metadata_index_bytes;
    stats.memory_bytes += stats.text_index_bytes;
    stats.durable = shared.is_durable();
    Ok(stats)
}

fn add_space(
    stats: &mut StorageStats,
    shared: &Shared,
    read: &Read,
    space: &Space,
    now: i64,
    names: &mut HashSet<StateScope>,
) -> Result<()> {
    let mut live_slots = 0;
    for (scope, scope_id) in read.scopes(space.id)? {
        let (state, visible) = match space.loaded(&scope) {
            Some(namespace) if namespace.scope_id == scope_id => {
                let state = namespace.state();
                // An entry that moves from one space to another is counted once: as of the transaction.
                let visible = match read.scope_lsn(scope_id)? {
                    Some(lsn) if lsn != state.lsn => read.state(scope_id)?.visible_count(now),
                    _ => state.visible_count(now),
                };
                (state, visible)
            }
            _ => {
                let state = Arc::new(read.state(scope_id)?);
                let visible = state.visible_count(now);
                (state, visible)
            }
        };
        stats.vectors += visible;
        // Of an entry that is being moved from one space to another, it may be counted twice.
        stats.vector_bytes += visible.min(state.visible_vectors(now)) * 4 * space.dim as u64;
        live_slots += state.vector_count();
        stats.metadata_bytes += state.metadata_bytes;
        stats.text_bytes += state.text_bytes;
        stats.text_index_bytes += text_index_bytes(&state);
        stats.metadata_index_bytes += metadata_index_bytes(&state);
        if !state.expiries.expired(now).is_empty()
            && let Some(namespace) = space.load(&shared.truth, &scope)?
            && let Some(snapshot) = Snapshot::take(&shared.truth, &space.slots, &namespace)?
        {
            let (expired_bytes, expired_text_bytes) = snapshot.expired_bytes(now)?;
            stats.metadata_bytes = stats.metadata_bytes.saturating_sub(expired_bytes);
            stats.text_bytes = stats.text_bytes.saturating_sub(expired_text_bytes);
        }
        if let Some(index) = &state.index {
            let counts = state.counts();
            stats.indexed_vectors += counts.live - counts.tail;
            stats.index_bytes += index.bytes(&state.dead);
            stats.memory_bytes += index.own_bytes(&state.dead);
        }
        if visible > 0 {
            names.insert(scope);
        }
    }
    stats.disk_bytes += shared.occupied_bytes(&SlotStore::dir(space.id))?;
    stats.reusable_bytes += (read.slot_end(space.id)?.saturating_sub(live_slots)) * space.slots.stride();
    stats.memory_bytes += space.slots.memory_bytes();
    stats.indexing |= shared.queue.is_busy_with(space.id);
    stats.scopes_loaded += space.loaded_count() as u64;
    Ok(())
}
