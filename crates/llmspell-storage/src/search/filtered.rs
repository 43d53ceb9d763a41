//! Filtered searches of namespaces with a graph.
//!
//! ```text
//! filter    the matches: cached, or found by the metadata index, or by reading metadata
//! plan      the cheapest path for this number of matches, in `plan.rs`
//! search    by that path, or by the next one if it does not find enough
//! resolve   ids by the index, or ids and metadata from the truth
//! ```
//!
//! If this needs nothing from the truth, no transaction is opened, and the call may not even change its thread.

use std::sync::Arc;

use llmspell_core::{Result, SearchPath, VectorQuery, VectorResult};
use llmspell_vector::PointId;

use super::indexed::{Hit, Indexed, Miss};
use super::plan::Case;
use super::trace::Trace;
use super::width::ef_choice;
use super::{Answer, CHEAP_MICROS, Condition, Search, index_for, index_metadata};
use crate::indexes::graph::Index;
use crate::namespace::{Passing, State};
use crate::slots::Waiting;
use crate::spaces::registry::Scratch;
use crate::spaces::snapshot::Snapshot;
use llmspell_metadata::MetadataIndex;
use roaring::RoaringBitmap;

/// Most points among which a walk looks for its start.
const SAMPLE_POINTS: u32 = 128;

/// The living points that match a filter, and what is known before they are searched.
pub(super) struct Chosen<'a> {
    pub(super) case: Case,
    pub(super) passing: &'a Passing,
}

impl<'a> Chosen<'a> {
    fn new(passing: &'a Passing, index: &Index, (query, ef): (&VectorQuery, usize)) -> Self {
        let case = Case {
            vertices: u64::from(index.graph.len()),
            matching: passing.vertices.len(),
            k: query.k,
            ef,
            dim: index.graph.config().dim,
            compared_dim: query.vector.len(),
            layout: index.graph.config().layout,
        };
        Self { case, passing }
    }

    /// Some of the matches in the graph, spread over all of them.
    pub(super) fn sample(&self) -> Vec<PointId> {
        let vertices = &self.passing.vertices;
        let (Some(first), Some(last)) = (vertices.min(), vertices.max()) else {
            return Vec::new();
        };
        let step = (last - first) / SAMPLE_POINTS + 1;
        let mut points = vertices.iter();
        let mut sample = Vec::with_capacity(SAMPLE_POINTS as usize);
        let mut from = first;
        loop {
            points.advance_to(from);
            let Some(point) = points.next() else {
                return sample;
            };
            sample.push(PointId(point));
            match (point - first - (point - first) % step)
                .checked_add(first)
                .and_then(|at| at.checked_add(step))
            {
                Some(next) => from = next,
                None => return sample,
            }
        }
    }
}

impl Search<'_> {
    /// The answer, whose entries all match the condition.
    pub(super) fn answer_filtered(&self, condition: &Condition, trace: &mut Trace<'_>) -> Result<Answer> {
        let Self { space, namespace, .. } = *self;
        if self.waiting == Waiting::Allowed {
            index_metadata(self.truth, space, &self.query().scope, namespace, condition)?;
        }
        let state = namespace.state();
        if let Some(index) = index_for(self.query(), &state)
            && !state.is_dropped
            && let Some(passing) = state.passing(condition, self.question.now())?
        {
            self.count(&state, &passing, trace);
            match self.among_by_index(&state, index, &passing, trace) {
                Ok(found) => return Ok(Answer::Found(found)),
                Err(Miss::WouldWait) if self.waiting == Waiting::Never => return Ok(Answer::WouldWait),
                // The truth has a newer mutation: the following code takes a state that belongs to it.
                Err(Miss::WouldWait) => {}
                Err(miss) => self.fall_back(miss, index)?,
            }
        }
        if self.waiting == Waiting::Never && state.index.is_some() {
            return Ok(Answer::WouldWait);
        }
        drop(state);
        Ok(Answer::Found(
            match Snapshot::take(self.truth, &space.slots, namespace)? {
                Some(snapshot) => self.among_by_truth(&snapshot, condition, trace)?,
                None => Vec::new(),
            },
        ))
    }

    /// Notes the number of entries in the scope, and of matches.
    pub(super) fn count(&self, state: &State, passing: &Passing, trace: &mut Trace<'_>) {
        trace.plan.live = state.visible_vectors(self.question.now());
        trace.plan.matching = passing.len();
        trace.stage("filter");
    }

    /// Without the truth, unless ids or records are needed from it: then as of the same mutation, or not at all.
    fn among_by_index(
        &self,
        state: &State,
        index: &Index,
        passing: &Passing,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<VectorResult>, Miss> {
        // After the state: it must reach every slot that the state names.
        let view = self.space.slots.view();
        let search = Indexed::new(self, state, index, &view);
        let mut scratch = self.space.scratch();
        let hits = self.hits_among(&search, (state, index), passing, &mut scratch, trace)?;
        let found = search.resolve_if_current(&hits, &mut scratch)?;
        trace.stage("resolve");
        found.ok_or(Miss::WouldWait)
    }

    /// The answer by the truth. May wait for the disk.
    fn among_by_truth(
        &self,
        snapshot: &Snapshot<'_>,
        condition: &Condition,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<VectorResult>> {
        let Snapshot { state, view, read, .. } = snapshot;
        let now = self.question.now();
        let hidden = state.hidden(now);
        let passing = snapshot.passing(condition, &hidden, now)?;
        self.count(state, &passing, trace);
        if let Some(index) = index_for(self.query(), state) {
            let search = Indexed::new(self, state, index, view);
            let mut scratch = self.space.scratch();
            let hits = self.hits_among(&search, (state, index), &passing, &mut scratch, trace);
            let found = hits.and_then(|hits| search.resolve_by(read, &hits, &mut scratch));
            match found {
                Ok(found) => {
                    trace.stage("resolve");
                    return Ok(found);
                }
                Err(miss) => self.fall_back(miss, index)?,
            }
        }
        snapshot.scan(self, &hidden, Some(&passing.points()), trace)
    }

    /// The nearest of the matches.
    pub(super) fn hits_among(
        &self,
        search: &Indexed<'_>,
        (state, index): (&State, &Index),
        passing: &Passing,
        scratch: &mut Scratch,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<Hit>, Miss> {
        let (query, ranking, ef) = (self.query(), self.question.ranking(), self.ef());
        let chosen = Chosen::new(passing, index, (query, ef));
        let ways = chosen.case.costs();
        trace.plan.tail = passing.tail.len();
        trace.plan.ef = ef;
        trace.width(|| ef_choice(Some(query), self.space, self.namespace));
        trace.plan.estimates.clone_from(&ways);
        if ways[0].path == SearchPath::Exact && ranking.needs_times() {
            // If everything is compared, the shortlist grows until no other entry can rank higher.
            return Err(Miss::Exhausted);
        }
        if self.waiting == Waiting::Never && ways[0].micros > CHEAP_MICROS {
            return Err(Miss::WouldWait);
        }
        let was_grouped = passing.is_grouped();
        let hits = search.find_among(&chosen, &ways, scratch, trace)?;
        ranking.note(trace, query.k, hits.len());
        if !was_grouped && passing.is_grouped() {
            // The cached matches take more memory now.
            state.known_filters.measure_again(state.live_count());
        }
        trace.stage("search");
        Ok(hits)
    }
}

impl Snapshot<'_> {
    /// The matches of a filter at `now` that are not hidden and have a vector.
    pub(super) fn passing(&self, condition: &Condition, hidden: &RoaringBitmap, now: i64) -> Result<Arc<Passing>> {
        let state = &self.state;
        if let Some(passing) = state.known_passing(condition, now) {
            return Ok(passing);
        }
        let points = self.candidates(condition, hidden)? - &*state.without_vector;
        let passing = Arc::new(Passing::new(&points, &state.tail));
        state.keep_passing(condition, &passing, now);
        Ok(passing)
    }
}

impl State {
    /// The matches of a filter at `now`, if they are cached.
    fn known_passing(&self, condition: &Condition, now: i64) -> Option<Arc<Passing>> {
        self.known_filters.get(condition.key(), &self.expiries.expired(now))
    }

    /// The matches of a filter at `now`; none if metadata must be read to find them.
    fn passing(&self, condition: &Condition, now: i64) -> Result<Option<Arc<Passing>>> {
        if let Some(passing) = self.known_passing(condition, now) {
            return Ok(Some(passing));
        }
        let Some(metadata) = self.metadata.as_ref().filter(|index| condition.is_read_by(index)) else {
            return Ok(None);
        };
        let Some(found) = metadata
            .candidates(condition.filter())?
            .filter(|found| found.unsure.is_empty())
        else {
            return Ok(None);
        };
        let points = found.points - &self.hidden(now) - &*self.without_vector;
        let passing = Arc::new(Passing::new(&points, &self.tail));
        self.keep_passing(condition, &passing, now);
        Ok(Some(passing))
    }

    /// Caches the matches for the next query with the same filter, unless entries are hidden now that may be seen at
    /// another time.
    fn keep_passing(&self, condition: &Condition, passing: &Arc<Passing>, now: i64) {
        if self.index.is_some() && self.expiries.expired(now).is_empty() {
            self.known_filters.put(condition.key(), passing, self.live_count());
        }
    }

    /// Whether the matches are found within some tens of microseconds.
    pub(super) fn knows_quickly(&self, condition: &Condition) -> bool {
        let is_quick = |metadata: &Arc<MetadataIndex>| {
            condition.is_read_by(metadata) && metadata.effort_max(condition.filter()) <= CHEAP_EFFORT
        };
        self.known_filters.has(condition.key()) || self.metadata.as_ref().is_some_and(is_quick)
    }
}

/// Most points that are combined to find the matches, if that must be quick.
const CHEAP_EFFORT: u64 = 32_768;

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use roaring::RoaringBitmap;

    use super::*;
    use llmspell_vector::GraphLayout;

    proptest! {
        /// A sample has different matches, from the first to near the last.
        #[test]
        fn a_sample_is_from_everywhere(points in btree_set(any::<u32>(), 0..400), dense in 0..3_000_u32) {
            let mut vertices: RoaringBitmap = points.into_iter().collect();
            vertices.insert_range(500..500 + dense);
            let case = Case { vertices: 0, matching: 0, k: 1, ef: 1, dim: 1, compared_dim: 1, layout: GraphLayout::Compact };
            let passing = Passing::new(&vertices, &RoaringBitmap::new());
            let chosen = Chosen { case, passing: &passing };
            let sample = chosen.sample();
            prop_assert!(sample.len() <= SAMPLE_POINTS as usize + 1);
            prop_assert!(sample.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(sample.iter().all(|point| vertices.contains(point.0)));
            prop_assert_eq!(sample.first().map(|point| point.0), vertices.min());
            let (first, last) = (vertices.min().unwrap_or(0), vertices.max().unwrap_or(0));
            let step = (last - first) / SAMPLE_POINTS + 1;
            for part in 0..=(last - first) / step {
                let begin = first + part * step;
                let range = begin..=begin.saturating_add(step - 1);
                let is_empty = vertices.range(range.clone()).next().is_none();
                prop_assert!(is_empty || sample.iter().any(|point| range.contains(&point.0)));
            }
        }
    }
}
