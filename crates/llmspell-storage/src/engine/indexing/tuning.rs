//! Tuning: measures the width of the beam that the searches of a namespace need for the recall target.
//!
//! ```text
//! draw      recent queries of the namespace, or vectors between two of its neighbors
//! compare   the exact answer of each, by comparing it with every point: several queries at once, some rows at a time
//! search    with the graph, at one width after the other, until the smallest one that reaches the target is known
//! choose    searches use it; the manifest names it beside the index file
//! ```
//!
//! A caller that waits in `build_index` or `optimize_index` gets it at once, within [`AT_ONCE`]. Otherwise it is done
//! in steps of [`STEP`], each followed by a rest [`REST_SHARE`] times as long, one namespace after the other: 2 % of
//! one processor for a whole database. All other work comes first.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use llmspell_core::{HNSWConfig, Result, StateScope, VectorQuery, VectorResult};
use llmspell_vector::{ExactDistance, PointId, TopK};
use roaring::RoaringBitmap;

use super::ladder::{self, Estimate, LadderSearch, Next, RUNGS, Sums};
use super::{Indexing, Work};
use crate::base::failures::{Place, Task};
use crate::base::ids::SpaceId;
use crate::indexes::files::{IndexRow, Kind, Measured, millionths};
use crate::indexes::graph::kernel_metric;
use crate::indexes::named::NewFile;
use crate::indexes::queue::Named;
use crate::namespace::{Namespace, QUERIES_MAX, State, mixed};
use crate::search::{Answer, Question, Search, Trace};
use crate::slots::{SlotView, Waiting};
use crate::spaces::registry::Space;

/// The number of nearest entries whose recall is measured.
const K: usize = 10;
/// A stored vector is moved halfway to one of this many neighbors, which are found with a beam of this width.
const NEIGHBORS: usize = 32;
const NEIGHBORS_EF: usize = 64;
/// With stored vectors a search may miss this share of what it may miss with queries, because they are easier to find.
const MISSED_SHARE: f64 = 0.5;
/// How long a step takes in the background.
const STEP: Duration = Duration::from_millis(20);
/// A rest is this many times as long as the step before it.
const REST_SHARE: u32 = 49;
/// The longest time that a caller of `build_index` waits for measuring, for each namespace. The background does the
/// rest.
const AT_ONCE: Duration = Duration::from_secs(30);
/// The part of it for exact answers, once there are a few of them.
const COMPARING_AT_ONCE: Duration = Duration::from_secs(2);
/// This many are a few; there are never fewer queries unless they are very long.
const QUERIES_AT_ONCE_MIN: usize = 64;
/// Most components compared for exact answers, unless that leaves too few queries.
const COMPONENTS_MAX: u64 = 1 << 36;
/// Most bytes of the queries that a namespace is measured with, and of a block of them.
const QUERY_BYTES_MAX: usize = 3 << 20;
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Queries that are compared together, so that each row is read once for all of them.
const BLOCK: usize = 32;
/// Components that are compared between two reads of the clock.
const CHUNK_COMPONENTS: usize = 1 << 21;
/// Bytes of rows that are read in one step: their pages count as the process's own until its end.
const STEP_ROW_BYTES: usize = 4 << 20;
/// A measurement is discarded once one in this many of the points has changed meanwhile.
const CHANGED_SHARE: u64 = 20;

/// A namespace that is being measured.
pub(super) struct Measuring {
    named: Named,
    /// In millionths.
    target: u32,
    search: LadderSearch,
    is_by_queries: bool,
    /// The numbers of living and of dead points at its beginning.
    began_with: (u64, u64),
    probes: Vec<Probe>,
    /// Number of probes whose exact answer is known.
    compared: usize,
    /// The comparison of the next block of probes.
    comparison: Option<Comparison>,
    known: BTreeMap<usize, Estimate>,
    /// The rung that is being measured, and its sums so far.
    rung: Option<(usize, Sums)>,
}

/// A vector to search for.
struct Probe {
    vector: Arc<[f32]>,
    /// The points that it was made from, which do not count as its neighbors.
    own: Vec<(PointId, String)>,
    /// The number of neighbors to find, and the distance of the farthest.
    neighbors: usize,
    farthest: f32,
}

/// A block of queries that is being compared with all points.
struct Comparison {
    distances: Vec<ExactDistance>,
    nearest: Vec<TopK>,
    next_point: u32,
}

/// The outcome of a step.
enum Outcome {
    Unfinished,
    /// Given up: the namespace has changed too much.
    GivenUp,
    Done(Measured),
}

/// When a step must end.
struct Until<'a> {
    is_over: &'a dyn Fn() -> bool,
    /// Whether the time for exact answers is over: the existing ones are used, if they are enough.
    is_comparing_over: &'a dyn Fn() -> bool,
    row_bytes: usize,
}

impl Indexing {
    /// Measures a namespace for a while, and schedules the next step after a rest.
    pub(super) fn measure_a_little(&mut self, named: &Named) {
        let begun = Instant::now();
        let queue = Arc::clone(&self.shared.queue);
        let is_over = || begun.elapsed() >= STEP || queue.is_urgent() || queue.is_stopping();
        let until = Until {
            is_over: &is_over,
            is_comparing_over: &|| false,
            row_bytes: STEP_ROW_BYTES,
        };
        self.measuring = self.measuring_step(named, &until);
        let unfinished = self.measuring.as_ref().map(|measuring| measuring.named.clone());
        queue.rest_from_measuring(begun.elapsed() * REST_SHARE, unfinished);
    }

    /// One step; returns the remaining work.
    fn measuring_step(&mut self, named: &Named, until: &Until<'_>) -> Option<Measuring> {
        let before = self.measuring.take().filter(|measuring| measuring.named == *named);
        let (space, namespace) = self.loaded(named)?;
        let work = Work {
            indexing: self,
            space: &space,
            namespace: &namespace,
            goal: None,
        };
        let mut measuring = match before {
            Some(measuring) => measuring,
            None if space.is_measuring_due(&namespace) => work.begin_measuring(named)?,
            None => return None,
        };
        let outcome = self.shared.truth.guard(|| measuring.step(&work, until));
        work.forget_pages();
        match outcome {
            Ok(Outcome::Unfinished) => return Some(measuring),
            Ok(Outcome::GivenUp) => {}
            Ok(Outcome::Done(measured)) => {
                work.set_measured(measured);
                work.note_measuring(named, &Ok(()));
            }
            Err(error) => {
                namespace.set_measuring_failed();
                work.note_measuring(named, &Err(error));
            }
        }
        None
    }
}

impl Work<'_> {
    /// Measures now, for a caller that waits, if it is due or if the index was rebuilt. The background does what takes
    /// too long.
    pub(super) fn measure_at_once(&self, scope: &Named, is_rebuilt: bool) {
        let (space, namespace) = (self.space, self.namespace);
        let is_wanted = is_rebuilt && space.recall_target().is_some();
        if !is_wanted && !space.is_measuring_due(namespace) {
            return;
        }
        let begun = Instant::now();
        let Some(mut measuring) = self.begin_measuring(scope) else {
            return;
        };
        let until = Until {
            is_over: &|| {
                self.index_what_filters_want();
                begun.elapsed() >= AT_ONCE || self.is_cancelled()
            },
            is_comparing_over: &|| begun.elapsed() >= COMPARING_AT_ONCE,
            row_bytes: usize::MAX,
        };
        let outcome = measuring.step(self, &until);
        self.forget_pages();
        match outcome {
            Ok(Outcome::Done(measured)) => {
                self.namespace.set_measured(Some(measured));
                self.note_measuring(scope, &Ok(()));
            }
            Ok(Outcome::Unfinished | Outcome::GivenUp) => {}
            Err(error) => {
                self.namespace.set_measuring_failed();
                self.note_measuring(scope, &Err(error));
            }
        }
    }

    fn note_measuring(&self, (space, scope): &Named, done: &Result<()>) {
        let place = Place::Scope(*space, scope.clone());
        self.indexing.shared.note_background(Task::Measure, &place, done);
    }

    /// Sets the width of searches from now on, also after a restart.
    fn set_measured(&self, measured: Measured) {
        self.namespace.set_measured(Some(measured));
        if measured.is_by_queries {
            self.namespace
                .give_way_with_queries(&self.indexing.shared.budget.queries);
        }
        self.name_measured();
    }

    /// Writes the measurement into the manifest, beside the name of the index file.
    pub(super) fn name_measured(&self) {
        let measured = self.namespace.measured();
        let state = self.namespace.state();
        let named = state
            .files
            .get(Kind::Graph)
            .and_then(|file| Some((file.row?, &file.held)));
        let Some((row, held)) = named.filter(|(row, _)| row.measured != measured) else {
            return;
        };
        let file = NewFile {
            row: IndexRow { measured, ..row },
            held: Arc::clone(held),
            noted: None,
        };
        // Without it, it is measured again after a restart.
        let _ = self.name_file(Kind::Graph, Some(file));
    }

    /// Begins to measure a namespace; none if it cannot be measured.
    fn begin_measuring(&self, named: &Named) -> Option<Measuring> {
        let (space, namespace) = (self.space, self.namespace);
        let state = namespace.state();
        let target = space.recall_target()?;
        let live = state.live_count();
        let count = query_count(live, space.dim);
        let queries = namespace.remembered_queries();
        let is_by_queries = queries.is_some();
        let probes = match queries {
            Some(mut queries) => {
                queries.truncate(count);
                queries.into_iter().map(Probe::of_query).collect()
            }
            None => self.own_vectors(&state, count),
        };
        let measured = namespace.measured().filter(|measured| measured.target == target);
        let config = space.config.read().clone();
        (!probes.is_empty()).then(|| Measuring {
            named: named.clone(),
            target,
            search: search_for(&config, measured, is_by_queries),
            is_by_queries,
            began_with: (live, namespace.died_since_measured()),
            probes,
            compared: 0,
            comparison: None,
            known: BTreeMap::new(),
            rung: None,
        })
    }

    /// Some vertices from all over the graph, with their ids. Damaged ones are left out: searches report them.
    fn own_vectors(&self, state: &State, count: usize) -> Vec<Probe> {
        let Some(index) = &state.index else { return Vec::new() };
        let view = self.space.slots.view();
        let living = &index.points - &state.hidden(self.indexing.shared.clock.now());
        let count = living.len().min(count as u64);
        let seed = mixed(self.namespace.scope_id.0 ^ state.lsn.0.rotate_left(32));
        let probe = |number: u64| {
            let (from, to) = (number * living.len() / count, (number + 1) * living.len() / count);
            let rank = from + mixed(seed ^ number) % (to - from);
            let point = living.select(u32::try_from(rank).ok()?)?;
            self.namespace
                .verify_points([point], state, &self.space.slots, &view)
                .ok()?;
            let slot = state.slot(PointId(point))?;
            let vertex = index.graph.vertex(PointId(point))?;
            let (_, id) = index.ids.get(vertex, PointId(point)).ok()?;
            Some(Probe {
                own: vec![(PointId(point), id.to_string())],
                ..Probe::of_query(view.vector(slot).into())
            })
        };
        (0..count).filter_map(probe).collect()
    }
}

/// The number of queries that are worth their exact answers.
fn query_count(live: u64, dim: usize) -> usize {
    let worth = COMPONENTS_MAX / (live * dim as u64).max(1);
    let worth = usize::try_from(worth).unwrap_or(QUERIES_MAX);
    worth
        .clamp(QUERIES_AT_ONCE_MIN, QUERIES_MAX)
        .min(QUERY_BYTES_MAX / (4 * dim))
}

/// The parameters of the search for the width, given the last measurement.
fn search_for(config: &HNSWConfig, measured: Option<Measured>, is_by_queries: bool) -> LadderSearch {
    let preset = ladder::rung_of(config.ef_search());
    let in_use = measured.map(|measured| ladder::rung_of(measured.ef as usize));
    // Stored vectors may be easier to find than queries, so they only make the beam wider.
    let lowest = match (is_by_queries, measured) {
        (true, _) => 0,
        (false, Some(measured)) if measured.is_by_queries => in_use.unwrap_or(preset),
        (false, _) => preset,
    };
    LadderSearch {
        lowest,
        first: in_use.unwrap_or(preset),
        is_chosen: in_use.is_some(),
        target: match is_by_queries {
            true => config.recall_target(),
            false => 1.0 - (1.0 - config.recall_target()) * MISSED_SHARE,
        },
    }
}

impl Probe {
    fn of_query(vector: Arc<[f32]>) -> Self {
        Self {
            vector,
            own: Vec::new(),
            neighbors: 0,
            farthest: f32::INFINITY,
        }
    }
}

impl Measuring {
    /// Whether it is about a namespace of this space.
    pub(super) fn is_of(&self, space: SpaceId) -> bool {
        self.named.0 == space
    }

    fn step(&mut self, work: &Work<'_>, until: &Until<'_>) -> Result<Outcome> {
        let mut row_bytes = 0;
        // As of one mutation during a step.
        let state = work.namespace.state();
        let hidden = state.hidden(work.indexing.shared.clock.now());
        let view = work.space.slots.view();
        loop {
            if !self.is_worth_it(work.space, work.namespace) {
                return Ok(Outcome::GivenUp);
            }
            if self.compared < self.probes.len() {
                if self.comparison.is_none() {
                    let block = self.block(work.space.dim);
                    for probe in &mut self.probes[block] {
                        probe.leave_point(work, &self.named.1, &state, &view)?;
                    }
                }
                row_bytes += self.compare(work, &state, &hidden, &view)?;
                if (until.is_comparing_over)() && self.compared >= QUERIES_AT_ONCE_MIN {
                    self.probes.truncate(self.compared);
                    self.comparison = None;
                }
            } else if let Some(measured) = self.search(work)? {
                return Ok(Outcome::Done(measured));
            }
            if (until.is_over)() || row_bytes >= until.row_bytes {
                return Ok(Outcome::Unfinished);
            }
        }
    }

    /// Whether the namespace still resembles that at the beginning.
    fn is_worth_it(&self, space: &Space, namespace: &Namespace) -> bool {
        let state = namespace.state();
        let has_index = state.index.as_ref().is_some_and(|index| !index.is_damaged());
        let (live, died) = self.began_with;
        // Another measurement resets the number of dead points.
        let changed = state.live_count().abs_diff(live) + namespace.died_since_measured().saturating_sub(died);
        has_index && space.recall_target() == Some(self.target) && changed * CHANGED_SHARE <= live
    }

    /// The next block of queries.
    fn block(&self, dim: usize) -> Range<usize> {
        let count = BLOCK.min(BLOCK_BYTES_MAX / (4 * dim)).max(1);
        self.compared..(self.compared + count).min(self.probes.len())
    }

    /// Compares some queries with some rows. Returns the bytes of these rows.
    fn compare(&mut self, work: &Work<'_>, state: &State, hidden: &RoaringBitmap, view: &SlotView) -> Result<usize> {
        let (space, namespace) = (work.space, work.namespace);
        let block = self.block(space.dim);
        let end = block.end;
        let probes = &mut self.probes[block];
        let metric = kernel_metric(space.metric);
        let Comparison {
            distances,
            nearest,
            next_point,
        } = self.comparison.get_or_insert_with(|| Comparison {
            distances: probes
                .iter()
                .map(|probe| ExactDistance::new(metric, &probe.vector))
                .collect(),
            nearest: probes.iter().map(|_| TopK::new(K)).collect(),
            next_point: 0,
        });
        let rows = CHUNK_COMPONENTS / (probes.len() * space.dim) + 1;
        let until = next_point.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX));
        let until = until.min(state.next_point);
        let mut compared = 0;
        for run in state.runs(*next_point..until, hidden) {
            let first = run.first_point.0;
            namespace.verify_points(first..first + run.len, state, &space.slots, view)?;
            for (point, row) in (first..).map(PointId).zip(view.vectors(run)) {
                compared += 1;
                for ((probe, distance), nearest) in probes.iter().zip(&*distances).zip(&mut *nearest) {
                    if probe.own.iter().all(|(own, _)| *own != point) {
                        nearest.offer(distance.distance(row), point);
                    }
                }
            }
        }
        *next_point = until;
        if until >= state.next_point {
            let nearest = std::mem::take(nearest);
            for (probe, nearest) in probes.iter_mut().zip(nearest) {
                let (nearest, _) = nearest.into_sorted();
                probe.neighbors = nearest.len();
                probe.farthest = nearest.last().map_or(f32::INFINITY, |last| last.distance);
            }
            self.compared = end;
            self.comparison = None;
        }
        Ok(compared * 4 * space.dim)
    }

    /// Searches for one of the probes at the width being measured. Returns the measurement, once the width is chosen.
    fn search(&mut self, work: &Work<'_>) -> Result<Option<Measured>> {
        let (rung, mut sums) = match self.rung.take() {
            Some(rung) => rung,
            None => match self.search.next(&self.known) {
                Next::Measure(rung) => (rung, Sums::default()),
                Next::Choose(rung) => return Ok(Some(self.measured(rung, work.namespace))),
            },
        };
        sums.add(self.probes[sums.count].recall(work, &self.named, RUNGS[rung])?);
        let is_highest = rung + 1 == RUNGS.len();
        let is_lost = !is_highest && sums.is_lost(self.probes.len(), self.search.target);
        if is_lost || sums.count == self.probes.len() {
            self.known.insert(rung, sums.estimate_of(self.probes.len()));
        } else {
            self.rung = Some((rung, sums));
        }
        Ok(None)
    }

    fn measured(&self, rung: usize, namespace: &Namespace) -> Measured {
        let mean = self.known.get(&rung).map_or(0.0, |estimate| estimate.mean);
        Measured {
            target: self.target,
            ef: u32::try_from(RUNGS[rung]).expect("rungs are small"),
            recall: millionths(mean),
            queries: u32::try_from(self.probes.len()).expect("there are few"),
            is_by_queries: self.is_by_queries,
            points: namespace.state().live_count(),
        }
    }
}

/// The vector halfway between two, with their average length; none if it is undefined.
fn between(one: &[f32], other: &[f32]) -> Option<Vec<f32>> {
    let norm = |vector: &[f32]| vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let half: Vec<f32> = one.iter().zip(other).map(|(a, b)| a / 2.0 + b / 2.0).collect();
    let scale = f64::midpoint(norm(one), norm(other)) / norm(&half);
    let between: Vec<f32> = half.iter().map(|x| (f64::from(*x) * scale) as f32).collect();
    let is_fine = scale.is_finite() && scale > 0.0 && between.iter().all(|x| x.is_finite());
    is_fine.then_some(between)
}

impl Probe {
    /// The share of the nearest that a search of this width finds: results no farther away than the farthest of them.
    fn recall(&self, work: &Work<'_>, (_, scope): &Named, ef: usize) -> Result<f64> {
        if self.neighbors == 0 {
            return Ok(1.0);
        }
        let others = self.search(work, scope, self.neighbors, ef)?;
        let found = others.iter().filter(|other| other.distance <= self.farthest);
        Ok(found.count() as f64 / self.neighbors as f64)
    }

    /// The results of a search of this width, without the points that the probe was made from.
    fn search(&self, work: &Work<'_>, scope: &StateScope, count: usize, ef: usize) -> Result<Vec<VectorResult>> {
        let k = count + self.own.len();
        let query = VectorQuery::new(self.vector.to_vec(), k)
            .with_scope(scope.clone())
            .with_metadata(false)
            .with_ef_search(ef.max(k));
        let shared = &work.indexing.shared;
        let search = Search {
            truth: &shared.truth,
            space: work.space,
            namespace: work.namespace,
            question: &Question::new(&query, work.space, shared.clock.now())?,
            waiting: Waiting::Allowed,
        };
        let mut results = match search.answer(&mut Trace::quiet())? {
            Answer::Found(results) => results,
            Answer::WouldWait => Vec::new(),
        };
        results.retain(|result| self.own.iter().all(|(_, own)| *own != result.id));
        results.truncate(count);
        Ok(results)
    }

    /// Moves the vector of a point halfway to one of its neighbors, if one is found.
    ///
    /// The links of a point lead to its neighbors, so these are found more easily with its own vector than with any
    /// other. Between two neighbors lies a similar vector that no links were chosen for.
    fn leave_point(&mut self, work: &Work<'_>, scope: &StateScope, state: &State, view: &SlotView) -> Result<()> {
        let (space, namespace) = (work.space, work.namespace);
        let Some((own, _)) = self.own.first() else {
            return Ok(());
        };
        let random = mixed(u64::from(own.0));
        let others = self.search(work, scope, NEIGHBORS, NEIGHBORS_EF)?;
        let chosen = random.checked_rem(others.len() as u64);
        let Some(chosen) = chosen.and_then(|chosen| others.get(usize::try_from(chosen).ok()?)) else {
            return Ok(());
        };
        let read = work.indexing.shared.truth.read()?;
        let point = read.point(namespace.scope_id, &chosen.id)?;
        // It may have been added since.
        let lives = |point: &PointId| point.0 < state.next_point && !state.dead.contains(point.0);
        let Some(point) = point.filter(lives) else {
            return Ok(());
        };
        namespace.verify_points([point.0], state, &space.slots, view)?;
        let slot = state.slot(point).expect("living points have slots");
        if let Some(between) = between(&self.vector, view.vector(slot)) {
            self.vector = between.into();
            self.own.push((point, chosen.id.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_vectors_make_the_beam_wider_than_that_of_the_preset_or_of_queries_but_never_narrower() {
        let config = HNSWConfig::balanced();
        let measured = |ef, is_by_queries| {
            Some(Measured {
                target: 980_000,
                ef,
                recall: 990_000,
                queries: 256,
                is_by_queries,
                points: 1,
            })
        };
        let table = [
            (None, false, 100, 100),
            (None, true, 16, 100),
            (measured(160, false), false, 100, 160),
            (measured(160, false), true, 16, 160),
            (measured(160, true), false, 160, 160),
            (measured(24, true), false, 24, 24),
            (measured(24, true), true, 16, 24),
        ];
        for (measured, is_by_queries, lowest, first) in table {
            let search = search_for(&config, measured, is_by_queries);
            assert!((search.target - if is_by_queries { 0.98 } else { 0.99 }).abs() < 1e-9);
            assert_eq!(
                (RUNGS[search.lowest], RUNGS[search.first], search.is_chosen),
                (lowest, first, measured.is_some()),
                "{measured:?}, by queries: {is_by_queries}"
            );
        }
    }

    #[test]
    fn between_two_vectors_lies_one_of_their_length() {
        assert_eq!(
            between(&[3.0, 0.0], &[0.0, 3.0]).unwrap(),
            [4.5_f32.sqrt(), 4.5_f32.sqrt()]
        );
        assert_eq!(between(&[1.0, 0.0], &[1.0, 0.0]).unwrap(), [1.0, 0.0]);
        assert_eq!(between(&[1.0, 2.0], &[-1.0, -2.0]), None);
        assert_eq!(between(&[0.0], &[0.0]), None);
    }

    #[test]
    fn fewer_queries_are_compared_with_more_points_and_their_bytes_are_bounded() {
        assert_eq!(query_count(10_000, 384), QUERIES_MAX);
        assert_eq!(query_count(1_000_000, 384), 178);
        assert_eq!(query_count(100_000_000, 1_536), QUERIES_AT_ONCE_MIN);
        for dim in [1, 384, 4_096, 65_535] {
            let count = query_count(5_000, dim);
            assert!((1..=QUERIES_MAX).contains(&count) && count * 4 * dim <= QUERY_BYTES_MAX);
        }
    }
}
