//! Which entries are nearest among those that a filter lets through, where there is a graph?
//!
//! ```text
//! filter    the points that pass, from the metadata
//! plan      the way that is the cheapest for so many, in `plan.rs`
//! search    by it: or by the next, where it falls short
//! resolve   ids and metadata from the truth
//! ```

use llmspell_core::{Result, SearchPath, VectorQuery, VectorResult};
use llmspell_vector::PointId;
use roaring::RoaringBitmap;

use super::indexed::Miss;
use super::plan::Case;
use super::trace::Trace;
use super::{Condition, Ranking, Snapshot, fall_back, index_for, indexed};
use crate::namespace::{Index, State};
use crate::registry::Space;
use crate::slots::Waiting;

/// Points among which a walk looks for where to begin, at most.
const SAMPLE_POINTS: u32 = 128;

/// The living points that pass a filter.
pub(super) struct Chosen {
    pub(super) case: Case,
    /// Those that the graph holds.
    pub(super) vertices: RoaringBitmap,
    /// The others, which are compared one by one.
    pub(super) tail: RoaringBitmap,
}

impl Chosen {
    fn new(candidates: &RoaringBitmap, state: &State, index: &Index, (k, ef, dim): (usize, usize, usize)) -> Self {
        let tail = candidates & &*state.tail;
        let vertices = candidates - &tail;
        let case = Case {
            vertices: u64::from(index.graph.len()),
            matching: vertices.len(),
            k,
            ef,
            dim,
            layout: index.graph.config().layout,
        };
        Self { case, vertices, tail }
    }

    /// Some of those that the graph holds, from everywhere.
    pub(super) fn sample(&self) -> Vec<PointId> {
        let (Some(first), Some(last)) = (self.vertices.min(), self.vertices.max()) else {
            return Vec::new();
        };
        let step = (last - first) / SAMPLE_POINTS + 1;
        let mut points = self.vertices.iter();
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

impl Snapshot<'_> {
    /// The answer to a valid query with this filter at `now`, in milliseconds since 1970. May wait for the disk.
    pub(super) fn search_filtered(
        &self,
        space: &Space,
        (query, ranking): (&VectorQuery, Ranking),
        condition: &Condition,
        now: i64,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<VectorResult>> {
        let hidden = self.state.hidden(now);
        let candidates = self.candidates(condition, &hidden)?;
        trace.plan.live = self.state.visible_count(now);
        trace.plan.matching = candidates.len();
        trace.stage("filter");
        if let Some(index) = index_for(query, &self.state) {
            match self.search_chosen(&candidates, (space, index), (query, ranking), now, trace) {
                Ok(found) => return Ok(found),
                Err(miss) => fall_back(miss, space, index, query)?,
            }
        }
        self.scan((query, ranking), space.metric, &hidden, Some(&candidates), trace)
    }

    fn search_chosen(
        &self,
        candidates: &RoaringBitmap,
        (space, index): (&Space, &Index),
        (query, ranking): (&VectorQuery, Ranking),
        now: i64,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<VectorResult>, Miss> {
        let search = indexed(
            space,
            self.namespace,
            (&self.state, index, &self.view),
            (query, ranking),
            now,
            Waiting::Allowed,
        );
        let chosen = Chosen::new(candidates, &self.state, index, (query.k, search.ef(), space.dim));
        let ways = chosen.case.costs();
        trace.plan.tail = chosen.tail.len();
        trace.plan.ef = search.ef();
        trace.plan.estimates.clone_from(&ways);
        if ways[0].path == SearchPath::Exact {
            return Err(Miss::Exhausted);
        }
        let mut scratch = space.take_scratch();
        let found = (|| {
            let hits = search.find_among(&chosen, &ways, &mut scratch, trace)?;
            ranking.note(trace, query.k, hits.len());
            trace.stage("search");
            let found = search.resolve_by(&self.read, &hits, &mut scratch)?;
            trace.stage("resolve");
            Ok(found)
        })();
        space.give_scratch(scratch);
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;
    use llmspell_vector::GraphLayout;

    proptest! {
        /// A sample is of those that pass, without repetition, from the first to near the last.
        #[test]
        fn a_sample_is_from_everywhere(points in btree_set(any::<u32>(), 0..400), dense in 0..3_000_u32) {
            let mut vertices: RoaringBitmap = points.into_iter().collect();
            vertices.insert_range(500..500 + dense);
            let case = Case { vertices: 0, matching: 0, k: 1, ef: 1, dim: 1, layout: GraphLayout::Compact };
            let chosen = Chosen { case, vertices: vertices.clone(), tail: RoaringBitmap::new() };
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
