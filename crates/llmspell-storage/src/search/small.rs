//! Searches of small scopes whose ids are in memory.
//!
//! The same comparison as in any scope without an index, but nothing is read from the truth: as with an index, each
//! result is compared with its slot by the generation.

use llmspell_core::{Result, SearchPath, VectorResult};
use llmspell_vector::ExactDistance;

use super::{Search, Tail, Trace, verified_vector};
use crate::base::ids::{Generation, PointId};
use crate::indexes::graph::kernel_metric;
use crate::namespace::{NAMED_POINTS_MAX, Names, State};
use crate::spaces::registry::Space;
use crate::spaces::snapshot::Snapshot;

/// Reading the ids also reads the metadata beside them, so there must not be much of it.
const METADATA_BYTES_MAX: u64 = 64 << 10;

/// The answer to a query without filter, recency and metadata, if the ids of the namespace are in memory; none if not.
pub(super) fn search(search: &Search<'_>, state: &State, trace: &mut Trace<'_>) -> Option<Result<Vec<VectorResult>>> {
    if search.question.needs_records() || state.index.is_some() || state.is_dropped {
        return None;
    }
    let names = search.namespace.names(state.lsn)?;
    Some(search_named(search, state, &names, trace))
}

fn search_named(search: &Search<'_>, state: &State, names: &Names, trace: &mut Trace<'_>) -> Result<Vec<VectorResult>> {
    let Search { space, namespace, .. } = *search;
    let (query, now) = (search.query(), search.question.now());
    // After the state: it must reach every slot that the state names.
    let view = space.slots.view();
    let hidden = state.hidden(now);
    trace.plan.live = state.visible_vectors(now);
    trace.plan.matching = trace.plan.live;
    trace.plan.distances += trace.plan.live;
    trace.plan.tail = trace.plan.live;
    trace.record_path(SearchPath::Exact);
    namespace.verify(state, &space.slots, &view)?;

    let metric = space.metric;
    let distance = ExactDistance::new(kernel_metric(metric), &query.vector);
    let tail = Tail {
        dim: distance.dim(),
        state,
        view: &view,
        hidden: &hidden,
        candidates: None,
    };
    let mut found = Vec::with_capacity(query.k);
    for neighbor in tail.nearest(&distance, query.k) {
        if query
            .threshold
            .is_some_and(|threshold| metric.score(neighbor.distance) < threshold)
        {
            continue;
        }
        let (generation, id) = names.get(neighbor.point).expect("living points have names");
        let vector = verified_vector(namespace, (state, &space.slots, &view), neighbor.point, generation)?;
        found.push((neighbor.distance, id, vector));
    }
    trace.stage("search");
    found.sort_by(|(a, a_id, _), (b, b_id, _)| a.total_cmp(b).then_with(|| a_id.cmp(b_id)));
    found.truncate(query.k);
    let results = found.into_iter().map(|(distance, id, vector)| {
        let mut result = VectorResult::new(id.to_string(), metric.score(distance), distance);
        result.vector = query.include_vectors.then(|| vector.to_vec());
        result
    });
    let results = results.collect();
    trace.stage("resolve");
    Ok(results)
}

/// Keeps the ids of a small namespace that is searched for the second time since it changed.
///
/// # Errors
///
/// `Data` or `Io` if they cannot be read.
pub(super) fn learn(space: &Space, snapshot: &Snapshot<'_>) -> Result<()> {
    let Snapshot { state, namespace, .. } = snapshot;
    let is_small = state.live_count() <= NAMED_POINTS_MAX && state.metadata_bytes <= METADATA_BYTES_MAX;
    if state.index.is_some() || !is_small || !namespace.ask_names(state.lsn) {
        return Ok(());
    }
    let mut names = Vec::with_capacity(usize::try_from(state.live_count()).expect("few points"));
    snapshot
        .read
        .records(namespace.scope_id)?
        .visit(|point: PointId, record| {
            if state.lives(point) {
                let generation = record.generation.unwrap_or(Generation(0));
                names.push((point, generation, record.id.into_boxed_str()));
            }
            Ok(())
        })?;
    // Missing rows are damage, which their readers report.
    if names.len() as u64 == state.live_count() {
        namespace.set_names(Names::new(state.lsn, names));
        space.weigh(namespace);
    }
    Ok(())
}
