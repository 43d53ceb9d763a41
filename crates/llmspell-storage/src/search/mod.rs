//! Searches: which entries are nearest.
//!
//! A search sees one mutation of the namespace: a state, and a snapshot of the truth that ends with the same mutation.
//!
//! | file      | question                                                    |
//! |-----------|-------------------------------------------------------------|
//! | `mod.rs`  | how is a search of one namespace done, and what else does a reader see? |
//! | `indexed.rs` | … by the graph and a scan of the tail?                   |
//! | `filtered.rs` | … with a filter, in a namespace with a graph?           |
//! | `metadata.rs` | which points match a filter?                           |
//! | `ordered.rs` | which entries are on a page by time or id, or in a sample? |
//! | `question.rs` | how is a query prepared, once?                         |
//! | `ranking.rs` | in which order are results?                             |
//! | `selection.rs` | how are diverse or grouped results selected?          |
//! | `plan.rs` | by which path is a filtered query answered?                 |
//! | `trace.rs` | what did a search do?                                      |
//! | `small.rs` | how is a small scope searched whose ids are in memory?     |
//! | `copies.rs` | which entries have no copy in another space yet?          |
//! | `tail.rs` | which vectors are compared by a scan?                       |
//! | `words.rs` | how are words searched for, alone or beside a vector?      |
//! | `width.rs` | how wide is the beam of a search, and why?                 |

mod copies;
mod filtered;
mod indexed;
mod metadata;
mod ordered;
mod plan;
mod question;
mod ranking;
mod selection;
mod small;
mod tail;
mod trace;
mod width;
mod words;

use std::sync::Arc;

use llmspell_core::{DistanceMetric, Result, SearchPath, StateScope, VectorEntry, VectorQuery, VectorResult};
use llmspell_vector::{ExactDistance, Neighbor};
use roaring::RoaringBitmap;

use crate::base::error::corrupted;
use crate::base::ids::{Generation, PointId, Slot};
use crate::base::record::Record;
use crate::base::stored_text::StoredText;
use crate::indexes::graph::{Index, kernel_metric};
use crate::indexes::queue::Due;
use crate::namespace::{Namespace, State, damaged_slot};
use crate::slots::{SlotStore, SlotView, Waiting};
use crate::spaces::registry::{Scratch, Space};
use crate::spaces::snapshot::Snapshot;
use crate::truth::Truth;
pub(crate) use copies::Uncopied;
use indexed::{Indexed, Miss};
pub(crate) use metadata::{Condition, index_for_list, index_metadata};
pub(crate) use question::Question;
use ranking::Ranking;
pub(crate) use selection::Selection;
use tail::Tail;
pub(crate) use trace::Trace;
pub(crate) use width::ef_choice;
use width::width;
pub(crate) use words::{SearchedScope, WordSearch, answer_together};

/// The outcome of a search.
#[derive(Debug)]
pub(crate) enum Answer {
    Found(Vec<VectorResult>),
    /// It would have to wait for the disk, and must not.
    WouldWait,
}

/// A search with more candidates than this is not cheap.
const CHEAP_EF: usize = 512;
/// A search that compares more bytes one by one is not cheap: about 100 µs.
const CHEAP_BYTES: u64 = 1 << 20;
/// A filtered search that is estimated to take longer is not cheap.
const CHEAP_MICROS: f64 = 200.0;

/// The index that answers a query; none if everything is compared.
fn index_for<'s>(query: &VectorQuery, state: &'s State) -> Option<&'s Index> {
    let index = state.index.as_deref()?;
    (!query.exact && !index.is_damaged()).then_some(index)
}

/// A search of one namespace.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    pub(crate) truth: &'a Truth,
    pub(crate) space: &'a Space,
    pub(crate) namespace: &'a Arc<Namespace>,
    pub(crate) question: &'a Question<'a>,
    pub(crate) waiting: Waiting,
}

impl<'a> Search<'a> {
    fn query(&self) -> &'a VectorQuery {
        self.question.query()
    }

    /// Whether it costs little more than a change of threads, and probably reads nothing from the disk.
    pub(crate) fn is_cheap(&self, is_durable: bool) -> bool {
        if self.question.ranking().needs_times() {
            return false;
        }
        let Self { space, namespace, .. } = *self;
        let state = namespace.state();
        let is_slow = |condition: &Condition| !state.knows_quickly(condition);
        if self.question.condition().is_some_and(is_slow) {
            return false;
        }
        if let Some(index) = index_for(self.query(), &state) {
            return self.ef() <= CHEAP_EF
                && state.tail.len() * space.slots.stride() <= CHEAP_BYTES
                && index.is_in_ram();
        }
        state.live_count() * space.slots.stride() <= CHEAP_BYTES && (namespace.is_verified(&state) || !is_durable)
    }

    /// The requested width of the beam.
    fn ef(&self) -> usize {
        width(self.query(), self.space, self.namespace).max(self.query().k)
    }

    /// The answer.
    pub(crate) fn answer(&self, trace: &mut Trace<'_>) -> Result<Answer> {
        trace.plan.k = self.question.k();
        match self.question.condition() {
            Some(condition) => self.answer_filtered(condition, trace),
            None => self.answer_unfiltered(trace),
        }
    }

    fn answer_unfiltered(&self, trace: &mut Trace<'_>) -> Result<Answer> {
        let state = self.namespace.state();
        if let Some(index) = index_for(self.query(), &state) {
            match self.by_index(&state, trace) {
                Ok(found) => return Ok(Answer::Found(found)),
                Err(Miss::WouldWait) => return Ok(Answer::WouldWait),
                Err(miss) => self.fall_back(miss, index)?,
            }
            if self.waiting == Waiting::Never {
                // The remaining path is a long scan.
                return Ok(Answer::WouldWait);
            }
        }
        if let Some(found) = small::search(self, &state, trace) {
            return found.map(Answer::Found);
        }
        drop(state);
        self.by_scan(trace).map(Answer::Found)
    }

    /// Marks a useless index, which is then built again, before everything is compared.
    fn fall_back(&self, miss: Miss, index: &Index) -> Result<()> {
        match miss {
            Miss::Error(error) => return Err(error),
            Miss::Exhausted | Miss::WouldWait => {}
            Miss::Unusable => {
                index.set_damaged();
                self.space.queue.note(self.space.id, &self.query().scope, Due::Now);
            }
        }
        Ok(())
    }

    /// By the index of this state, or of a newer one if the truth is needed and has a newer mutation.
    fn by_index(&self, state: &Arc<State>, trace: &mut Trace<'_>) -> Result<Vec<VectorResult>, Miss> {
        let mut scratch = self.space.scratch();
        if !self.question.needs_records()
            && let Some(found) = self.by_index_alone(state, &mut scratch, trace)?
        {
            return Ok(found);
        }
        let snapshot = Snapshot::take(self.truth, &self.space.slots, self.namespace)?;
        let Some(Snapshot { state, view, read, .. }) = snapshot else {
            return Ok(Vec::new());
        };
        let index = index_for(self.query(), &state).ok_or(Miss::Exhausted)?;
        let search = Indexed::new(self, &state, index, &view);
        let hits = search.find(&mut scratch, trace)?;
        self.question.ranking().note(trace, self.query().k, hits.len());
        trace.stage("search");
        let found = search.resolve_by(&read, &hits, &mut scratch);
        trace.stage("resolve");
        found
    }

    /// Without the truth, unless ids of the tail are needed from it; none if the truth has a newer mutation.
    fn by_index_alone(
        &self,
        state: &State,
        scratch: &mut Scratch,
        trace: &mut Trace<'_>,
    ) -> Result<Option<Vec<VectorResult>>, Miss> {
        // After the state: it must reach every slot that the state names.
        let view = self.space.slots.view();
        let index = index_for(self.query(), state).ok_or(Miss::Exhausted)?;
        let search = Indexed::new(self, state, index, &view);
        let hits = search.find(scratch, trace)?;
        trace.stage("search");
        let found = search.resolve_if_current(&hits, scratch);
        trace.stage("resolve");
        found
    }

    /// By comparing everything.
    fn by_scan(&self, trace: &mut Trace<'_>) -> Result<Vec<VectorResult>> {
        let Some(snapshot) = Snapshot::take(self.truth, &self.space.slots, self.namespace)? else {
            return Ok(Vec::new());
        };
        let now = self.question.now();
        trace.plan.live = snapshot.state.visible_vectors(now);
        trace.plan.matching = trace.plan.live;
        let found = snapshot.scan(self, &snapshot.state.hidden(now), None, trace)?;
        if !self.query().include_metadata {
            small::learn(self.space, &snapshot)?;
        }
        Ok(found)
    }
}

/// A result, its point and its record.
type Found = (VectorResult, (PointId, Record));

impl Snapshot<'_> {
    /// The answer to a valid query, by comparing all points that are not hidden, or the candidates.
    fn scan(
        &self,
        search: &Search<'_>,
        hidden: &RoaringBitmap,
        candidates: Option<&RoaringBitmap>,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<VectorResult>> {
        let (query, ranking, metric) = (search.query(), search.question.ranking(), search.space.metric);
        trace.record_path(SearchPath::Exact);
        trace.plan.distances += trace.plan.matching;
        if self.state.index.is_none() {
            trace.plan.tail = trace.plan.matching;
        }
        match candidates {
            // With a graph there are many points, and a filter saves comparing most of them.
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

    /// Ids and scores of the best neighbors, in order.
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

    /// Adds what the query asks for.
    fn resolve(&self, found: Vec<Found>, query: &VectorQuery) -> Result<Vec<VectorResult>> {
        found
            .into_iter()
            .map(|(mut result, (point, record))| {
                let vector = self.vector(point, &record)?;
                result.text = match query.include_texts {
                    true => self.stored_text(point, &record)?.and_then(StoredText::into_text),
                    false => None,
                };
                let metadata = query
                    .include_metadata
                    .then(|| self.metadata(point, &record))
                    .transpose()?;
                result.metadata = metadata;
                result.vector = vector.filter(|_| query.include_vectors).map(<[f32]>::to_vec);
                Ok(result)
            })
            .collect()
    }

    /// One entry.
    pub(crate) fn get(&self, scope: &StateScope, id: &str, now: i64) -> Result<Option<VectorEntry>> {
        let point = self.read.point(self.namespace.scope_id, id)?;
        // A point that does not live belongs to a large batch that is not complete.
        let Some(point) = point.filter(|point| self.state.lives(*point)) else {
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
            if !self.state.lives(point) {
                return Ok(true);
            }
            visited += 1;
            let record = records.get_by_id(id, point)?;
            if !record.is_expired(now) {
                entries.push(self.entry(scope, point, record)?);
            }
            Ok(entries.len() < limit)
        })?;
        let (is_whole, live) = (after.is_none() && entries.len() < limit, self.state.live_count());
        // A damaged key in the truth can hide its row.
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
        let vector = self.vector(point, &record)?.map_or_else(Vec::new, <[f32]>::to_vec);
        let metadata = self.metadata(point, &record)?;
        let stored = match record.text.is_returned() {
            true => self.stored_text(point, &record)?,
            false => None,
        };
        let (text, sparse) = stored.map_or_else(Default::default, StoredText::into_parts);
        let mut entry = VectorEntry::new(record.id, vector).with_scope(scope.clone());
        entry.metadata = serde_json::Value::Object(metadata);
        (entry.text, entry.sparse) = (text, sparse);
        entry.created_at = Some(record.created_at);
        entry.updated_at = Some(record.updated_at);
        entry.event_time = record.event_time;
        entry.expires_at = record.expires_at;
        Ok(entry)
    }

    /// The vector of a point, verified now: only vectors as they were stored are returned. None if it has none.
    fn vector(&self, point: PointId, record: &Record) -> Result<Option<&[f32]>> {
        let place = (&*self.state, self.slots, &*self.view);
        let vector = |generation| verified_vector(self.namespace, place, point, generation);
        record.generation.map(vector).transpose()
    }
}

/// The vector of an entry, whose slot is verified now.
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
