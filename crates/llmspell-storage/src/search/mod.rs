//! Which entries are nearest?
//!
//! Everything a search sees is as of one mutation of the namespace: a state, and a snapshot of the truth that ends with
//! the same mutation.
//!
//! | file      | question                                                    |
//! |-----------|-------------------------------------------------------------|
//! | `mod.rs`  | which entries are nearest, and what else does a reader see? |
//! | `indexed.rs` | which are, by the graph and a scan of the tail?          |
//! | `filtered.rs` | which are, among those that a filter lets through?      |
//! | `metadata.rs` | which match a filter?                                  |
//! | `ranking.rs` | in which order do they come?                             |
//! | `plan.rs` | … and by which way are they found?                          |
//! | `trace.rs` | what was done by a search?                                 |
//! | `small.rs` | which are, in a small scope whose ids are known?           |
//! | `copies.rs` | which entries have no copy in another space yet?     |
//! | `tail.rs` | which vectors are compared by a scan?                       |
//! | `width.rs` | how wide is the beam of a search, and why?                 |

mod copies;
mod filtered;
mod indexed;
mod metadata;
mod plan;
mod ranking;
mod small;
mod tail;
mod trace;
mod width;

use std::sync::Arc;

use llmspell_core::{DistanceMetric, Result, SearchPath, StateScope, VectorEntry, VectorQuery, VectorResult};
use llmspell_vector::{ExactDistance, Neighbor};
use roaring::RoaringBitmap;

use crate::error::corrupted;
use crate::ids::{Generation, PointId, Slot};
use crate::indexes::graph::{Index, kernel_metric};
use crate::indexes::queue::Due;
use crate::namespace::{Namespace, State, damaged_slot};
use crate::record::Record;
use crate::registry::Space;
use crate::slots::{SlotStore, SlotView, Waiting};
use crate::snapshot::Snapshot;
use crate::truth::Truth;
pub(crate) use copies::Uncopied;
use indexed::{Indexed, Miss};
pub(crate) use metadata::{Condition, index_metadata};
use ranking::Ranking;
use tail::Tail;
pub(crate) use trace::Trace;
pub(crate) use width::ef_choice;
use width::width;

/// What comes of a search.
#[derive(Debug)]
pub(crate) enum Answer {
    Found(Vec<VectorResult>),
    /// It would have to wait for the disk, and must not.
    WouldWait,
}

/// Searches that look at more candidates than this are not cheap.
const CHEAP_EF: usize = 512;
/// Nor are those that compare more bytes one by one: about 100 µs.
const CHEAP_BYTES: u64 = 1 << 20;
/// Nor those with a filter that are estimated to take longer.
const CHEAP_MICROS: f64 = 200.0;

/// The index that a query is answered by; none if everything is compared.
fn index_for<'s>(query: &VectorQuery, state: &'s State) -> Option<&'s Index> {
    let index = state.index.as_deref()?;
    (!query.exact && !index.is_damaged()).then_some(index)
}

/// Whether a search costs less than a change of threads or little more, and probably has nothing to read from the disk.
pub(crate) fn is_cheap(query: &VectorQuery, space: &Space, namespace: &Namespace, is_durable: bool) -> bool {
    if query.recency.is_some() {
        return false;
    }
    let state = namespace.state();
    if let Some(filter) = query.whole_filter()
        && !state.knows_quickly(&filter, &space.dates())
    {
        return false;
    }
    if let Some(index) = index_for(query, &state) {
        return width(query, space, namespace).max(query.k) <= CHEAP_EF
            && state.tail.len() * space.slots.stride() <= CHEAP_BYTES
            && index.is_in_ram();
    }
    state.live_count() * space.slots.stride() <= CHEAP_BYTES && (namespace.is_verified(&state) || !is_durable)
}

/// The answer to a valid query at `now`, in milliseconds since 1970.
pub(crate) fn search(
    truth: &Truth,
    space: &Space,
    namespace: &Arc<Namespace>,
    query: &VectorQuery,
    (now, waiting): (i64, Waiting),
    trace: &mut Trace<'_>,
) -> Result<Answer> {
    let ranking = Ranking::new(query, now);
    trace.plan.k = query.k;
    let longer;
    let query = if ranking.shortlist() == query.k {
        query
    } else {
        longer = query.clone().with_k(ranking.shortlist());
        &longer
    };
    if let Some(filter) = query.whole_filter() {
        let condition = Condition::new(&filter, space.dates())?;
        return filtered::search(
            truth,
            (space, namespace),
            (query, ranking),
            &condition,
            (now, waiting),
            trace,
        );
    }
    let state = namespace.state();
    if let Some(index) = index_for(query, &state) {
        match search_index(
            truth,
            (space, namespace),
            &state,
            (query, ranking),
            (now, waiting),
            trace,
        ) {
            Ok(found) => return Ok(Answer::Found(found)),
            Err(Miss::WouldWait) => return Ok(Answer::WouldWait),
            Err(miss) => fall_back(miss, space, index, query)?,
        }
        if waiting == Waiting::Never {
            // What is left is a long scan.
            return Ok(Answer::WouldWait);
        }
    }
    if let Some(found) = small::search(space, namespace, &state, query, now, trace) {
        return found.map(Answer::Found);
    }
    drop(state);
    match Snapshot::take(truth, &space.slots, namespace)? {
        Some(snapshot) => {
            let hidden = snapshot.state.hidden(now);
            trace.plan.live = snapshot.state.visible_count(now);
            trace.plan.matching = trace.plan.live;
            let found = snapshot.scan((query, ranking), space.metric, &hidden, None, trace)?;
            if !query.include_metadata {
                small::learn(space, &snapshot)?;
            }
            Ok(Answer::Found(found))
        }
        None => Ok(Answer::Found(Vec::new())),
    }
}

/// After this everything is compared: an index that is of no use is made anew.
fn fall_back(miss: Miss, space: &Space, index: &Index, query: &VectorQuery) -> Result<()> {
    match miss {
        Miss::Error(error) => return Err(error),
        Miss::Exhausted | Miss::WouldWait => {}
        Miss::Unusable => {
            index.set_damaged();
            space.queue.note(space.id, &query.scope, Due::Now);
        }
    }
    Ok(())
}

fn search_index(
    truth: &Truth,
    (space, namespace): (&Space, &Namespace),
    state: &Arc<State>,
    (query, ranking): (&VectorQuery, Ranking),
    (now, waiting): (i64, Waiting),
    trace: &mut Trace<'_>,
) -> Result<Vec<VectorResult>, Miss> {
    let mut scratch = space.take_scratch();
    let found = (|| {
        if !query.include_metadata && !ranking.needs_times() {
            // After the state: it must reach every slot that the state names.
            let view = space.slots.view();
            let index = index_for(query, state).ok_or(Miss::Exhausted)?;
            let search = indexed(space, namespace, (state, index, &view), (query, ranking), now, waiting);
            let hits = search.find(&mut scratch, trace)?;
            trace.stage("search");
            if search.knows_ids(&hits) {
                return search.resolve(&hits, &mut scratch);
            }
            let read = truth.read()?;
            if read.scope_lsn(namespace.scope_id)? == Some(state.lsn) {
                return search.resolve_by(&read, &hits, &mut scratch);
            }
        }
        let Some(Snapshot { state, view, read, .. }) = Snapshot::take(truth, &space.slots, namespace)? else {
            return Ok(Vec::new());
        };
        let index = index_for(query, &state).ok_or(Miss::Exhausted)?;
        let search = indexed(space, namespace, (&state, index, &view), (query, ranking), now, waiting);
        let hits = search.find(&mut scratch, trace)?;
        ranking.note(trace, query.k, hits.len());
        trace.stage("search");
        search.resolve_by(&read, &hits, &mut scratch)
    })();
    space.give_scratch(scratch);
    trace.stage("resolve");
    found
}

fn indexed<'a>(
    space: &'a Space,
    namespace: &'a Namespace,
    (state, index, view): (&'a State, &'a Index, &'a Arc<SlotView>),
    (query, ranking): (&'a VectorQuery, Ranking),
    now: i64,
    waiting: Waiting,
) -> Indexed<'a> {
    Indexed {
        space,
        namespace,
        state,
        index,
        view,
        query,
        ranking,
        metric: space.metric,
        now,
        waiting,
    }
}

/// A result, its point and its record.
type Found = (VectorResult, (PointId, Record));

impl Snapshot<'_> {
    /// The answer to a valid query, by comparing everything that may match: what is not hidden, or the candidates.
    fn scan(
        &self,
        (query, ranking): (&VectorQuery, Ranking),
        metric: DistanceMetric,
        hidden: &RoaringBitmap,
        candidates: Option<&RoaringBitmap>,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<VectorResult>> {
        trace.go(SearchPath::Exact);
        trace.plan.distances += trace.plan.matching;
        if self.state.index.is_none() {
            trace.plan.tail = trace.plan.matching;
        }
        match candidates {
            // With a graph there are many points, and a filter is to spare us the others.
            Some(candidates) if self.state.index.is_some() => {
                self.namespace
                    .verify_points(candidates, &self.state, self.slots, &self.view)?;
            }
            _ => self.namespace.verify(&self.state, self.slots, &self.view)?,
        }

        let distance = ExactDistance::new(kernel_metric(metric), &query.vector);
        let tail = Tail {
            dim: distance.dim(),
            state: &self.state,
            view: &self.view,
            hidden,
            candidates,
        };
        let mut shortlist = query.k;
        let best = loop {
            let mut neighbors = tail.nearest(&distance, shortlist);
            let is_all = neighbors.len() < shortlist;
            let farthest = neighbors.last().map_or(0.0, |last| metric.score(last.distance));
            if let Some(threshold) = query.threshold {
                neighbors.retain(|neighbor| metric.score(neighbor.distance) >= threshold);
            }
            trace.stage("search");
            ranking.note(trace, shortlist, neighbors.len());
            let best = self.best(&neighbors, ranking, metric)?;
            let is_below = query.threshold.is_some_and(|threshold| farthest < threshold);
            if is_all || is_below || ranking.is_settled(&best, farthest) {
                break best;
            }
            shortlist = shortlist.saturating_mul(4);
        };
        let found = self.resolve(best, query);
        trace.stage("resolve");
        found
    }

    /// Ids and scores of the best of what was found, in their order.
    fn best(&self, neighbors: &[Neighbor], ranking: Ranking, metric: DistanceMetric) -> Result<Vec<Found>> {
        let records = self.read.records(self.namespace.scope_id)?;
        let found = |neighbor: &Neighbor| {
            let record = records.get(neighbor.point)?;
            let score = metric.score(neighbor.distance);
            let mut result = VectorResult::new(record.id.clone(), score, neighbor.distance);
            ranking.age(&mut result, &record.times());
            Ok((result, (neighbor.point, record)))
        };
        let mut found = neighbors.iter().map(found).collect::<Result<Vec<_>>>()?;
        ranking.keep_best(&mut found);
        Ok(found)
    }

    /// With what the query wants to know of them.
    fn resolve(&self, found: Vec<Found>, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        found
            .into_iter()
            .map(|(mut result, (point, record))| {
                let vector = self.vector(point, &record)?;
                let metadata = query
                    .include_metadata
                    .then(|| self.metadata(point, &record))
                    .transpose()?;
                result.metadata = metadata;
                result.vector = query.include_vectors.then(|| vector.to_vec());
                Ok(result)
            })
            .collect()
    }

    /// One entry.
    pub(crate) fn get(&self, scope: &StateScope, id: &str, now: i64) -> Result<Option<VectorEntry>> {
        let Some(point) = self.read.point(self.namespace.scope_id, id)? else {
            return Ok(None);
        };
        let record = self
            .read
            .records(self.namespace.scope_id)?
            .get_by_id(id.as_bytes(), point)?;
        if record.is_expired(llmspell_core::Timestamp::from_millis(now)) {
            return Ok(None);
        }
        self.entry(scope, point, record).map(Some)
    }

    /// Entries in the order of their ids.
    pub(crate) fn list(
        &self,
        scope: &StateScope,
        after: Option<&str>,
        limit: usize,
        now: i64,
    ) -> Result<Vec<VectorEntry>> {
        let records = self.read.records(self.namespace.scope_id)?;
        let now = llmspell_core::Timestamp::from_millis(now);
        let (mut entries, mut visited) = (Vec::new(), 0);
        self.read.visit_ids(self.namespace.scope_id, after, |id, point| {
            visited += 1;
            let record = records.get_by_id(id, point)?;
            if !record.is_expired(now) {
                entries.push(self.entry(scope, point, record)?);
            }
            Ok(entries.len() < limit)
        })?;
        let (is_whole, live) = (after.is_none() && entries.len() < limit, self.state.live_count());
        // A damaged key in the truth can hide what it leads to.
        if is_whole && visited != live {
            let detail = format!(
                "scope {}: {live} points are alive, but {visited} ids are found",
                self.namespace.scope_id.0
            );
            return Err(corrupted(self.read.path(), detail));
        }
        Ok(entries)
    }

    fn entry(&self, scope: &StateScope, point: PointId, record: Record) -> Result<VectorEntry> {
        let vector = self.vector(point, &record)?.to_vec();
        let metadata = self.metadata(point, &record)?;
        let mut entry = VectorEntry::new(record.id, vector)
            .with_scope(scope.clone())
            .with_metadata(metadata);
        entry.created_at = Some(record.created_at);
        entry.updated_at = Some(record.updated_at);
        entry.event_time = record.event_time;
        entry.expires_at = record.expires_at;
        Ok(entry)
    }

    /// The vector of a point, checked now: what leaves the store is what was stored.
    fn vector(&self, point: PointId, record: &Record) -> Result<&[f32]> {
        let place = (&*self.state, self.slots, &*self.view);
        verified_vector(self.namespace, place, point, record.generation)
    }
}

/// The vector of an entry, whose slot is checked now.
fn verified_vector<'v>(
    namespace: &Namespace,
    (state, slots, view): (&State, &SlotStore, &'v SlotView),
    point: PointId,
    generation: Generation,
) -> Result<&'v [f32]> {
    let damaged = |slot: Slot, problem: &str| damaged_slot(slots, point, slot, problem);
    let Some(slot) = state.slot(point) else {
        return Err(damaged(Slot(0), "the point has no slot"));
    };
    let found = view
        .verify(slot, namespace.scope_id)
        .map_err(|problem| damaged(slot, problem))?;
    if found != generation {
        return Err(damaged(slot, "its generation is not that of the entry"));
    }
    Ok(view.vector(slot))
}
