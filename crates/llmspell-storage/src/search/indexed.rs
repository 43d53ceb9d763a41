//! Searches by the graph, with a scan of the tail.
//!
//! ```text
//! walk      the graph gives a shortlist
//! rescore   exact distances of the shortlist, from the slots; and of the tail
//! resolve   ids from the index, which needs no transaction; of tail and metadata from the truth
//! ```
//!
//! Everything is as of one state. A shortlist that is too short is made longer, until finally everything is compared:
//! `k` means `k`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::iter::repeat;
use std::sync::Arc;

use llmspell_core::{Memory, PathCost, Result, SearchPath, VectorQuery, VectorResult, limits::EF_SEARCH_MAX};
use llmspell_vector::Scratch as GraphScratch;
use llmspell_vector::{Among, Candidate, ExactDistance, Neighbor, PointId, Shortlist, TopK, WalkReport, prefetch_row};
use roaring::RoaringBitmap;

use super::Search;
use super::filtered::Chosen;
use super::tail::Tail;
use super::trace::Trace;
use super::width::ef_choice;
use crate::base::error::{corrupted, io_error};
use crate::base::ids::{Generation, Slot};
use crate::base::record::{OwnMark, Record};
use crate::indexes::graph::{Index, kernel_metric};
use crate::indexes::queue::Due;
use crate::namespace::{Namespace, State, damaged_slot};
use crate::slots::{SlotView, Waiting, layout};
use crate::spaces::registry::{Row, Scratch, Space};
use crate::truth::Read;

/// If the graph uses fewer components than are compared, at most this many times `k` candidates are compared by all.
const FUNNEL: usize = 4;
/// The comparison ends earlier after this many candidates in a row that are not among the best: a share of the beam,
/// and of `k`.
const FUNNEL_PATIENCE: (usize, usize) = (8, 2);
/// Prefetch distance for rescoring, in rows; the last rows may not be needed.
const AHEAD: usize = 3;
/// The same for reads from the disk: as many as a disk answers at once.
const READS_AHEAD: usize = 24;
/// Up to this many vertices, a beam as wide as the graph walks all of it; a larger graph is scanned.
const WALKED_WHOLE_MAX: u64 = 4_096;
/// If fewer than one in this many of the expected matches is met, the matches are far from the query.
const FAR_SHARE: u64 = 4;

/// One search by the index of one state.
pub(super) struct Indexed<'a> {
    search: &'a Search<'a>,
    state: &'a State,
    index: &'a Index,
    view: &'a Arc<SlotView>,
}

/// Why there is no answer by the index.
pub(super) enum Miss {
    /// It would have to wait for the disk, and must not.
    WouldWait,
    /// The graph does not find enough: everything must be compared.
    Exhausted,
    /// The index is damaged, or not of this namespace.
    Unusable,
    Error(llmspell_core::StorageError),
}

/// The outcome of one path among the matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Enough,
    /// Too few results to rely on.
    Short,
    /// Hardly any match is near the query.
    Far,
}

/// The shortlist of a walk or a scan, its report, and the number of matches that it should have met.
type Walked<'s> = (Shortlist<'s>, WalkReport, u64);

impl From<llmspell_core::StorageError> for Miss {
    fn from(error: llmspell_core::StorageError) -> Self {
        Self::Error(error)
    }
}

/// A point with its exact distance, whose slot was verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    distance: f32,
    point: PointId,
    /// None for a point of the tail.
    vertex: Option<u32>,
    generation: Generation,
}

impl Hit {
    /// The point, and its exact distance.
    pub(super) fn neighbor(&self) -> Neighbor {
        Neighbor {
            distance: self.distance,
            point: self.point,
        }
    }
}

impl<'a> Indexed<'a> {
    /// The view must be taken after the state: it must reach every slot that the state names.
    pub(super) fn new(search: &'a Search<'a>, state: &'a State, index: &'a Index, view: &'a Arc<SlotView>) -> Self {
        Self {
            search,
            state,
            index,
            view,
        }
    }

    fn query(&self) -> &'a VectorQuery {
        self.search.query()
    }

    fn space(&self) -> &'a Space {
        self.search.space
    }

    fn namespace(&self) -> &'a Namespace {
        self.search.namespace
    }

    fn score(&self, distance: f32) -> f32 {
        self.space().metric.score(distance)
    }

    fn exact_distance(&self) -> ExactDistance {
        ExactDistance::new(kernel_metric(self.space().metric), &self.query().vector)
    }

    /// The best `k` within the threshold, and all that tie with the last of them.
    pub(super) fn find(&self, scratch: &mut Scratch, trace: &mut Trace<'_>) -> Result<Vec<Hit>, Miss> {
        let state = self.state;
        let k = self.query().k;
        let expired = state.expiries.expired(self.search.question.now());
        let live = state.visible_vectors(self.search.question.now());
        let wanted = live.min(k as u64);
        (trace.plan.live, trace.plan.matching) = (live, live);
        let mut ef = self.search.ef();
        // A beam as wide as the scope compares all.
        let is_whole = ef as u64 >= live;
        if is_whole && live > WALKED_WHOLE_MAX {
            return Err(Miss::Exhausted);
        }
        let distance = self.exact_distance();
        let visible = &*state.tail - &expired;
        let mut hits = self.tail_hits(&distance, &visible)?;
        let in_tail = hits.len();
        trace.record_path(SearchPath::Graph);
        trace.plan.tail = visible.len();
        trace.plan.ef = ef;
        trace.width(|| ef_choice(Some(self.query()), self.space(), self.namespace()));
        loop {
            hits.truncate(in_tail);
            let beam = if is_whole { self.index.graph.len() as usize } else { ef };
            trace.plan.undecided = self.graph_hits(beam, &distance, &expired, scratch, &mut hits)?;
            let enough = if is_whole { live } else { wanted };
            if hits.len() as u64 >= enough {
                break;
            }
            if is_whole {
                return Err(Miss::Exhausted);
            }
            if ef >= self.index.graph.len() as usize || ef >= EF_SEARCH_MAX {
                return Err(Miss::Exhausted);
            }
            ef *= 2;
        }
        trace.plan.distances += (hits.len() - in_tail) as u64 + visible.len();
        trace.plan.rescored += (hits.len() - in_tail) as u64;
        Ok(self.best(hits))
    }

    /// The vector to search the graph with: its first components, as many as the graph uses. A shorter query is padded
    /// with zeros.
    fn walked(&self) -> Cow<'_, [f32]> {
        let (vector, dim) = (&self.query().vector, self.index.graph.config().dim);
        match vector.get(..dim) {
            Some(leading) => Cow::Borrowed(leading),
            None => Cow::Owned(vector.iter().copied().chain(repeat(0.0)).take(dim).collect()),
        }
    }

    /// If the graph uses other components than are compared: how many of its nearest are compared exactly, and after
    /// how many in a row that are not among the best the comparison ends.
    fn funnel(&self, ef: usize) -> Option<(usize, usize)> {
        let k = self.query().k;
        let (ef_share, k_share) = FUNNEL_PATIENCE;
        let share = (2 * ef / 5).max(k);
        let compared = (FUNNEL * k).max(share).min(ef.max(k));
        let looks_at_others = self.index.graph.config().dim != self.query().vector.len();
        looks_at_others.then(|| (compared, (ef / ef_share).max(k.div_ceil(k_share))))
    }

    /// The number of nearest candidates to ask the graph for.
    fn nearest(&self, ef: usize) -> usize {
        self.funnel(ef).map_or(self.query().k, |(compared, _)| compared)
    }

    /// The best `k` of `hits` within the threshold, and all that tie with the last of them.
    fn best(&self, mut hits: Vec<Hit>) -> Vec<Hit> {
        let k = self.query().k;
        if let Some(threshold) = self.query().threshold {
            hits.retain(|hit| self.score(hit.distance) >= threshold);
        }
        hits.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance));
        if let Some(last) = hits.get(k - 1).copied() {
            // Among equally near ones, the ids decide.
            let ties = hits[k..]
                .iter()
                .take_while(|hit| hit.distance.total_cmp(&last.distance) == Ordering::Equal);
            let ties = ties.count();
            hits.truncate(k + ties);
        }
        hits
    }

    /// The same among the matches of a filter, by the cheapest path, or by the next if that does not find enough.
    pub(super) fn find_among(
        &self,
        chosen: &Chosen<'_>,
        ways: &[PathCost],
        scratch: &mut Scratch,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<Hit>, Miss> {
        let distance = self.exact_distance();
        let mut hits = self.tail_hits(&distance, &chosen.passing.tail)?;
        trace.plan.distances += chosen.passing.tail.len();
        let in_tail = hits.len();
        let wanted = (self.query().k as u64).min(chosen.passing.len());
        if self.search.ef() as u64 >= trace.plan.live {
            // A beam as wide as the matches compares all.
            trace.record_path(SearchPath::Exact);
            self.compare_all(&chosen.passing.vertices, &distance, &mut scratch.row, &mut hits, trace)?;
            return Ok(self.best(hits));
        }
        // If a scan was chosen before, its groups are known. A walk over all points would only find out later what they
        // show.
        let first = ways.first().map(|way| way.path);
        let is_known_far =
            matches!(first, Some(SearchPath::GraphAfter | SearchPath::GraphInside)) && chosen.passing.is_grouped() && {
                let grouped = chosen.passing.grouped(&self.index.graph);
                self.index.graph.is_far(&self.walked(), &grouped, &mut scratch.graph)
            };
        let mut is_far = is_known_far;
        for path in ways.iter().map(|way| way.path) {
            // If no match is near the query, a walk among the matches ends at the border as well.
            let is_lost = match path {
                SearchPath::GraphInside => is_far,
                SearchPath::GraphAfter => is_known_far,
                SearchPath::Exact | SearchPath::CodeScan | SearchPath::Graph | _ => false,
            };
            if is_lost {
                continue;
            }
            trace.record_path(path);
            hits.truncate(in_tail);
            let outcome = self.hits_by(path, chosen, &distance, scratch, &mut hits, trace)?;
            if outcome == Outcome::Enough && hits.len() as u64 >= wanted {
                return Ok(self.best(hits));
            }
            is_far |= outcome == Outcome::Far;
            if matches!(path, SearchPath::CodeScan | SearchPath::Exact) {
                // It looked at all of them.
                break;
            }
        }
        Err(Miss::Exhausted)
    }

    /// The hits of one path among the matches.
    fn hits_by(
        &self,
        path: SearchPath,
        chosen: &Chosen<'_>,
        distance: &ExactDistance,
        scratch: &mut Scratch,
        hits: &mut Vec<Hit>,
        trace: &mut Trace<'_>,
    ) -> Result<Outcome, Miss> {
        let Scratch { graph, row } = scratch;
        let (candidates, report, passed_min) = match path {
            SearchPath::GraphInside => self.walk_inside(chosen, graph),
            SearchPath::GraphAfter => self.walk_after(chosen, graph),
            SearchPath::Exact => return self.compare_all(&chosen.passing.vertices, distance, row, hits, trace),
            SearchPath::CodeScan | SearchPath::Graph | _ => self.scan_codes(chosen, graph)?,
        };
        trace.plan.codes += report.codes;
        trace.plan.lists += report.lists;
        if report.is_complete && report.passed >= passed_min {
            let before = hits.len();
            trace.plan.undecided = self.rescore(candidates, chosen.case.ef, distance, row, hits)?;
            let count = (hits.len() - before) as u64;
            trace.plan.distances += count;
            trace.plan.rescored += count;
            return Ok(Outcome::Enough);
        }
        trace.plan.undecided = 0;
        let is_far = path == SearchPath::GraphAfter && report.passed * FAR_SHARE < passed_min;
        Ok(if is_far { Outcome::Far } else { Outcome::Short })
    }

    /// A walk that passes through points that do not match, but collects only matches.
    fn walk_inside<'s>(&'s self, chosen: &Chosen<'_>, graph: &'s mut GraphScratch) -> Walked<'s> {
        let (case, vertices) = (&chosen.case, &chosen.passing.vertices);
        let sample = chosen.sample();
        let among = Among {
            is_allowed: &|point: PointId| vertices.contains(point.0),
            sample: &sample,
            budget: case.budget_inside(),
        };
        let ef = case.ef_inside();
        let k = self.nearest(ef);
        let (found, report) = self.index.graph.shortlist_among(&self.walked(), k, ef, &among, graph);
        // A beam that is not full means that the walk lost its way.
        (found, report, case.matching.min(ef as u64))
    }

    /// A walk over all points, whose results are filtered.
    fn walk_after<'s>(&'s self, chosen: &Chosen<'_>, graph: &'s mut GraphScratch) -> Walked<'s> {
        let (case, vertices) = (&chosen.case, &chosen.passing.vertices);
        let is_allowed = |point: PointId| vertices.contains(point.0);
        let k = self.nearest(case.ef_inside());
        let walked = self.walked();
        let (found, report) = self
            .index
            .graph
            .shortlist_past(&walked, k, case.ef_after(), &is_allowed, graph);
        (found, report, case.passed_after())
    }

    /// A scan of the codes of the matches, of all or of those in the nearest groups.
    fn scan_codes<'s>(&'s self, chosen: &Chosen<'_>, graph: &'s mut GraphScratch) -> Result<Walked<'s>, Miss> {
        let (case, vertices) = (&chosen.case, &chosen.passing.vertices);
        let walked = self.walked();
        let k = self.nearest(case.ef_inside());
        let (found, codes) = if case.is_grouped() {
            self.scan_groups(chosen, (&walked, k), graph)?
        } else {
            let points = vertices.iter().map(PointId);
            let found = self.index.graph.scan(&walked, k, case.ef, points, graph);
            (found, case.matching)
        };
        let report = WalkReport {
            codes,
            is_complete: true,
            ..WalkReport::default()
        };
        Ok((found, report, 0))
    }

    fn scan_groups<'s>(
        &'s self,
        chosen: &Chosen<'_>,
        (vector, k): (&[f32], usize),
        scratch: &'s mut GraphScratch,
    ) -> Result<(Shortlist<'s>, u64), Miss> {
        let (graph, ef) = (&self.index.graph, chosen.case.ef);
        if self.search.waiting == Waiting::Allowed {
            let grouped = chosen.passing.grouped(graph);
            return Ok(graph.scan_grouped(vector, (k, ef), &grouped, scratch));
        }
        // Grouping the matches, or deriving 1-bit codes, takes longer than this search may.
        if !chosen.passing.is_grouped() {
            return Err(Miss::WouldWait);
        }
        let grouped = chosen.passing.grouped(graph);
        let scanned = graph.scan_grouped_if_ready(vector, (k, ef), &grouped, scratch);
        scanned.ok_or(Miss::WouldWait)
    }

    /// The exact distances of all these vertices.
    fn compare_all(
        &self,
        vertices: &RoaringBitmap,
        distance: &ExactDistance,
        row: &mut Row,
        hits: &mut Vec<Hit>,
        trace: &mut Trace<'_>,
    ) -> Result<Outcome, Miss> {
        let candidate = |point: PointId| {
            let vertex = self.index.graph.vertex(point)?;
            Some(Candidate {
                estimate: 0.0,
                vertex,
                point,
            })
        };
        let candidates: Vec<Candidate> = vertices.iter().map(PointId).filter_map(candidate).collect();
        trace.plan.distances += candidates.len() as u64;
        let reads_files = self.reads_files();
        for candidate in &candidates {
            hits.push(self.hit(candidate, reads_files, distance, row)?);
        }
        Ok(Outcome::Enough)
    }

    /// Ids, scores and records of the hits, as of the state; none if they are only in the truth, which has a newer
    /// mutation.
    pub(super) fn resolve_if_current(
        &self,
        hits: &[Hit],
        scratch: &mut Scratch,
    ) -> Result<Option<Vec<VectorResult>>, Miss> {
        if !self.search.question.needs_records() && hits.iter().all(|hit| hit.vertex.is_some()) {
            return self.resolve(hits, scratch).map(Some);
        }
        let read = self.search.truth.read()?;
        if read.scope_lsn(self.namespace().scope_id)? != Some(self.state.lsn) {
            return Ok(None);
        }
        self.resolve_by(&read, hits, scratch).map(Some)
    }

    /// Ids and scores of the hits, by the index alone.
    fn resolve(&self, hits: &[Hit], scratch: &mut Scratch) -> Result<Vec<VectorResult>, Miss> {
        let mut found = Vec::with_capacity(hits.len());
        let vertices = || hits.iter().filter_map(|hit| hit.vertex);
        vertices().for_each(|vertex| self.index.ids.prefetch_place(vertex));
        vertices().for_each(|vertex| self.index.ids.prefetch(vertex));
        for hit in hits {
            let vertex = hit.vertex.ok_or(Miss::Unusable)?;
            let (generation, id) = self.index.ids.get(vertex, hit.point).map_err(|_| Miss::Unusable)?;
            if generation != hit.generation {
                return Err(Miss::Unusable);
            }
            found.push((self.result(id.to_string(), hit), *hit));
        }
        self.search.question.ranking().keep_best(&mut found);
        self.with_vectors(found, scratch)
    }

    /// The same with metadata, by the truth as of the same mutation.
    pub(super) fn resolve_by(
        &self,
        read: &Read,
        hits: &[Hit],
        scratch: &mut Scratch,
    ) -> Result<Vec<VectorResult>, Miss> {
        let scope = self.namespace().scope_id;
        let records = read.records(scope)?;
        let ranking = self.search.question.ranking();
        let mut found = Vec::with_capacity(hits.len());
        for hit in hits {
            let record = records.get(hit.point)?;
            if record.generation != Some(hit.generation) {
                let slot = self.state.slot(hit.point).ok_or(Miss::Unusable)?;
                let problem = "its generation is not that of the entry";
                return Err(damaged_slot(&self.space().slots, hit.point, slot, problem).into());
            }
            // A vertex of a damaged file may be taken for another point, which then occurs twice.
            if let Some(vertex) = hit.vertex
                && self.index.ids.get(vertex, hit.point) != Ok((hit.generation, record.id.as_str()))
            {
                return Err(Miss::Unusable);
            }
            let mut result = self.result(record.id.clone(), hit);
            ranking.age(&mut result, &record.times());
            found.push((result, (*hit, record)));
        }
        self.search.question.ranking().keep_best(&mut found);
        let with_metadata = |(mut result, (hit, record)): (VectorResult, (Hit, Record))| {
            let metadata = self.query().include_metadata.then(|| record.metadata()).transpose();
            result.metadata = metadata.map_err(|malformed| {
                let place = format!("entry {} of scope {}", hit.point.0, scope.0);
                corrupted(read.path(), format!("{place}: {}", malformed.0))
            })?;
            if let (true, OwnMark::Kept(_)) = (self.query().include_texts, record.text.own) {
                result.text = read.text(scope, hit.point)?.into_text();
            }
            Ok((result, hit))
        };
        let found = found.into_iter().map(with_metadata).collect::<Result<Vec<_>>>()?;
        self.with_vectors(found, scratch)
    }

    fn result(&self, id: String, hit: &Hit) -> VectorResult {
        VectorResult::new(id, self.score(hit.distance), hit.distance)
    }

    /// With their vectors, if the query wants them.
    fn with_vectors(&self, found: Vec<(VectorResult, Hit)>, scratch: &mut Scratch) -> Result<Vec<VectorResult>, Miss> {
        let mut results = Vec::with_capacity(found.len());
        for (mut result, hit) in found {
            if self.query().include_vectors {
                self.read_slot(hit.point, &mut scratch.row)?;
                result.vector = Some(scratch.row.vector.clone());
            }
            results.push(result);
        }
        Ok(results)
    }

    /// The hits of a walk over all points; also returns how many candidates the codes left undecided.
    fn graph_hits(
        &self,
        ef: usize,
        distance: &ExactDistance,
        expired: &RoaringBitmap,
        scratch: &mut Scratch,
        hits: &mut Vec<Hit>,
    ) -> Result<u64, Miss> {
        let dead = &self.state.dead;
        let is_hidden = |point: PointId| dead.contains(point.0) || expired.contains(point.0);
        let hides_nothing = self.state.counts().tombstones == 0 && expired.is_empty();
        let is_hidden = (!hides_nothing).then_some(&is_hidden as &dyn Fn(PointId) -> bool);
        let Scratch { graph, row } = scratch;
        let k = self.nearest(ef);
        let shortlist = self.index.graph.shortlist(&self.walked(), k, ef, is_hidden, graph);
        if shortlist.hidden() > ef && self.index.note_broken_links() {
            let space = self.space();
            space.queue.note(space.id, &self.query().scope, Due::WhenQuiet);
        }
        self.rescore(shortlist, ef, distance, row, hits)
    }

    /// The exact distances of the candidates that may be among the best; also returns how many candidates the codes
    /// left undecided.
    fn rescore(
        &self,
        mut shortlist: Shortlist<'_>,
        ef: usize,
        distance: &ExactDistance,
        row: &mut Row,
        hits: &mut Vec<Hit>,
    ) -> Result<u64, Miss> {
        let k = self.query().k;
        if let Some((compared, patience)) = self.funnel(ef) {
            shortlist = shortlist.leading(k, compared, patience);
        }
        let mut best = TopK::new(k);
        hits.iter().for_each(|hit| best.offer(hit.distance, hit.point));
        let reads_files = self.reads_files();
        // A search that may wait for the disk has all its reads on the way at once.
        let waits = reads_files && self.search.waiting == Waiting::Allowed;
        let prefetch = |candidate: &Candidate| {
            if let Ok(slot) = self.slot(candidate.point) {
                if waits {
                    self.view.will_need(slot);
                } else if !reads_files {
                    prefetch_row(self.view.vector(slot));
                }
            }
        };
        // The first `k` are always compared.
        let (first, ahead) = if waits {
            (k + READS_AHEAD, READS_AHEAD)
        } else {
            (k, AHEAD)
        };
        let first = shortlist.arrange(first);
        (0..first).filter_map(|ahead| shortlist.peek(ahead)).for_each(prefetch);
        let mut compared = 0;
        while let Some(candidate) = shortlist.next(best.bound()) {
            compared += 1;
            if compared + ahead > first
                && let Some(ahead) = shortlist.peek(ahead - 1)
            {
                prefetch(ahead);
            }
            let hit = self.hit(&candidate, reads_files, distance, row)?;
            best.offer(hit.distance, hit.point);
            hits.push(hit);
        }
        Ok(shortlist.undecided(best.bound()) as u64)
    }

    /// Whether vectors are read from their files instead of the mapping. Takes a lock: once for a search, not for each
    /// candidate.
    fn reads_files(&self) -> bool {
        self.view.has_files() && self.space().config.read().memory() != Memory::Speed
    }

    /// A candidate with its exact distance.
    fn hit(
        &self,
        candidate: &Candidate,
        reads_files: bool,
        distance: &ExactDistance,
        row: &mut Row,
    ) -> Result<Hit, Miss> {
        let point = candidate.point;
        let (exact, generation) = if reads_files {
            let generation = self.read_slot(point, row)?;
            (distance.distance(&row.vector[..distance.dim()]), generation)
        } else {
            let (vector, generation) = self.slot_in_place(point)?;
            (distance.distance(&vector[..distance.dim()]), generation)
        };
        Ok(Hit {
            distance: exact,
            point,
            vertex: Some(candidate.vertex),
            generation,
        })
    }

    /// The nearest points of the tail, and all that tie with the last of them.
    fn tail_hits(&self, distance: &ExactDistance, visible: &RoaringBitmap) -> Result<Vec<Hit>, Miss> {
        let (state, view) = (self.state, self.view);
        if visible.is_empty() {
            return Ok(Vec::new());
        }
        // The tail is new, or was read when the index was verified: it is in RAM.
        self.namespace()
            .verify_points(visible, state, &self.space().slots, view)?;
        let tail = Tail {
            dim: distance.dim(),
            state,
            view,
            hidden: &state.dead,
            candidates: Some(visible),
        };
        let hit = |Neighbor { distance, point }| {
            let slot = state.slot(point).ok_or(Miss::Unusable)?;
            Ok(Hit {
                distance,
                point,
                vertex: None,
                generation: view.stated_generation(slot),
            })
        };
        tail.nearest(distance, self.query().k).into_iter().map(hit).collect()
    }

    /// The slot of a candidate. An index file that is not verified yet may name any point because of a flipped bit, and
    /// the slot of a dead point may be written at this moment.
    fn slot(&self, point: PointId) -> Result<Slot, Miss> {
        let is_trusted = self.index.is_in_ram() || self.state.lives(point);
        let slot = self.state.slot(point).filter(|_| is_trusted);
        slot.ok_or(Miss::Unusable)
    }

    /// The vector of a point in mapped memory, verified if it was not before.
    fn slot_in_place(&self, point: PointId) -> Result<(&[f32], Generation), Miss> {
        let slot = self.slot(point)?;
        if !self.namespace().is_point_verified(point) {
            if self.search.waiting == Waiting::Never && self.view.has_files() {
                return Err(Miss::WouldWait);
            }
            self.view
                .verify(slot, self.namespace().scope_id)
                .map_err(|problem| damaged_slot(&self.space().slots, point, slot, problem))?;
            self.namespace().set_point_verified(point);
        }
        Ok((self.view.vector(slot), self.view.stated_generation(slot)))
    }

    /// Copies the vector of a point to `row.vector`, and verifies it.
    fn read_slot(&self, point: PointId, row: &mut Row) -> Result<Generation, Miss> {
        let slot = self.slot(point)?;
        let read = self.view.read(slot, &mut row.slot, self.search.waiting);
        let is_there = read.map_err(|source| io_error("read", &self.space().slots.path(slot), source))?;
        if !is_there {
            return Err(Miss::WouldWait);
        }
        let generation = layout::verify(slot, self.namespace().scope_id, &row.slot)
            .map_err(|problem| damaged_slot(&self.space().slots, point, slot, problem))?;
        row.vector.clear();
        layout::components(&row.slot, &mut row.vector);
        Ok(generation)
    }
}
