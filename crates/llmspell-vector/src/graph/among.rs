//! Walks among the points that a filter lets through.
//!
//! | way                       | looks at                                    | fits where…                |
//! |---------------------------|---------------------------------------------|----------------------------|
//! | [`Graph::scan`]           | the codes of all that pass                  | few pass                   |
//! | [`Graph::scan_grouped`]   | the same, where the query is first          | some pass                  |
//! | [`Graph::shortlist_among`]| those that pass; it goes through the others | some pass                  |
//! | [`Graph::shortlist_past`] | all; those that do not pass are left out    | most pass                  |
//!
//! Which of them a query takes is not decided here.

use crate::graph::pool::Visited;
use crate::graph::shortlist::{Shortlist, Yardstick};
use crate::graph::walk::{BEGINNINGS_MIN, Blocks, Memory, Nodes};
use crate::graph::{Candidate, Graph, Scratch};
use crate::neighbor::PointId;
use crate::quantize::QueryCode;

/// Records that a scan asks for before it needs them.
const SCAN_AHEAD: usize = 16;
/// Lists that a walk asks for before it needs them.
const LISTS_AHEAD: usize = 6;
/// Candidates that a scan has found before it first drops the farthest.
const SCAN_ROOM: usize = 256;
/// A walk goes through others until it has found this share of the links of a vertex.
const FRESH_SHARE: (usize, usize) = (3, 8);
/// Standard deviations of the error of an estimate by which a candidate may be beyond the `k`-th estimate before it is
/// dropped: the best of many estimates are too small by one or two, and the candidate that is sought may be too large by two.
const DEVIATIONS: f32 = 3.2;

/// What a walk with a filter has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalkReport {
    /// Codes compared.
    pub codes: u64,
    /// Lists of links read.
    pub lists: u64,
    /// Vertices within the beam that pass.
    pub passed: u64,
    /// It came to its end. If not, it would have cost more than was allowed.
    pub is_complete: bool,
}

/// How a walk among the points that pass may go.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "a function has nothing to show")]
pub struct Among<'a> {
    /// Whether a point passes.
    pub is_allowed: &'a dyn Fn(PointId) -> bool,
    /// A random sample of the points that pass. The walk begins at the nearest of them and at the entry points, so it begins
    /// in the right place when all points that pass are far from the query.
    pub sample: &'a [PointId],
    /// Lists and codes that may be read before the walk gives up.
    pub budget: u64,
}

impl Graph {
    /// The points probably nearest to `query` among those that pass, best first: like [`shortlist`](Self::shortlist),
    /// but the beam of `ef` holds only points that pass, and links of those that do not are followed one step further
    /// (ACORN-1: Patel et al., arXiv 2403.04871, §5.2). Also says what it cost, and whether it came to its end: if not,
    /// what it found is nothing to rely on, and a [`scan`](Self::scan) is cheaper.
    ///
    /// Each point that is met is asked about once. Fewer than `k` if no more were met.
    ///
    /// # Panics
    ///
    /// If `query` has not `dim` components.
    pub fn shortlist_among<'s>(
        &'s self,
        query: &[f32],
        k: usize,
        ef: usize,
        among: &Among<'_>,
        scratch: &'s mut Scratch,
    ) -> (Shortlist<'s>, WalkReport) {
        let ef = ef.max(k).clamp(1, self.len() as usize);
        let equals_max = if ef < self.len() as usize { k.max(1) } else { usize::MAX };
        let Scratch { memory, found } = scratch;
        self.prepare(query, memory);
        let mut report = self.walk_among(ef, equals_max, among, memory);
        found.clear();
        found.extend(memory.pool.held().map(|(estimate, vertex)| Candidate {
            estimate,
            vertex,
            point: self.point(vertex),
        }));
        report.passed = found.len() as u64;
        let farthest = found.last().map_or(f32::INFINITY, |last| last.estimate);
        let is_full = found.len() == ef;
        let yardstick = Yardstick::new(&self.base.head.encoder, query, memory.query.code.step());
        let bound = self.drop_farther(found, k, &yardstick, ef);
        // Beyond the beam there may be more of those that codes cannot tell apart.
        report.is_complete &= !is_full || farthest > bound;
        (Shortlist::new(self, found, yardstick, (k, ef)).of_filter(ef), report)
    }

    /// The same by a walk over all points, with those left out that do not pass: `ef` counts them all. Fewer than `k` if
    /// the walk met no more that pass.
    ///
    /// # Panics
    ///
    /// If `query` has not `dim` components.
    pub fn shortlist_past<'s>(
        &'s self,
        query: &[f32],
        k: usize,
        ef: usize,
        is_allowed: &dyn Fn(PointId) -> bool,
        scratch: &'s mut Scratch,
    ) -> (Shortlist<'s>, WalkReport) {
        let ef = ef.max(k).clamp(1, self.len() as usize);
        let Scratch { memory, found } = scratch;
        self.prepare(query, memory);
        // Of equal points, all that would be wanted may be among those left out.
        self.walk(ef / 2, ef, None, memory, found);
        let met = found.len();
        found.retain(|candidate| is_allowed(candidate.point));
        let report = WalkReport {
            codes: memory.visited.count() as u64,
            lists: met as u64,
            passed: found.len() as u64,
            is_complete: true,
        };
        (self.shortlist_of(query, found, memory, (k, ef)), report)
    }

    /// The points probably nearest to `query` among `points`, best first, by comparing the codes of them all: those that
    /// codes cannot tell from the `k` nearest, but at most `compared_max`, or 4,096 if that is more, in a lean graph 512. Fast where `points`
    /// ascend: about 5 KiB of codes per microsecond.
    ///
    /// # Panics
    ///
    /// If `query` has not `dim` components.
    pub fn scan<'s>(
        &'s self,
        query: &[f32],
        k: usize,
        compared_max: usize,
        points: impl Iterator<Item = PointId>,
        scratch: &'s mut Scratch,
    ) -> Shortlist<'s> {
        let Scratch { memory, found } = scratch;
        self.prepare_codes(query, memory);
        let yardstick = Yardstick::new(&self.base.head.encoder, query, memory.query.code.step());
        let mut scan = self.begin_scan(k, compared_max, yardstick, found);
        scan.compare(&mut memory.query.code, self.places().vertices(points), |_, _| {});
        scan.end()
    }

    /// A scan that has compared nothing yet.
    pub(crate) fn begin_scan<'a>(
        &'a self,
        k: usize,
        compared_max: usize,
        yardstick: Yardstick,
        found: &'a mut Vec<Candidate>,
    ) -> Scan<'a> {
        found.clear();
        Scan {
            graph: self,
            k,
            bound: f32::INFINITY,
            compared_max,
            yardstick,
            room: SCAN_ROOM.max(2 * k),
            kept: 0,
            found,
        }
    }

    /// Drops those that the codes can tell from the `k` nearest, and of the others those that are more than may be
    /// compared. Gives the estimate from which on they are dropped.
    fn drop_farther(&self, found: &mut Vec<Candidate>, k: usize, yardstick: &Yardstick, compared_max: usize) -> f32 {
        if found.len() <= k {
            return f32::INFINITY;
        }
        let by_estimate = |a: &Candidate, b: &Candidate| a.estimate.total_cmp(&b.estimate);
        let nth = |found: &mut Vec<Candidate>, place| found.select_nth_unstable_by(place, by_estimate).1.estimate;
        let kth = nth(found, k.saturating_sub(1));
        let bound = kth + DEVIATIONS * self.error_max() * yardstick.deviation(kth);
        found.retain(|candidate| candidate.estimate.total_cmp(&bound).is_le());
        let most = Shortlist::filtered_max(self, compared_max.max(k));
        if found.len() <= most {
            return bound;
        }
        let bound = nth(found, most - 1);
        found.truncate(most);
        bound
    }

    /// The vertex of a point; none if the graph does not hold it. The first call reads all points once.
    #[must_use]
    pub fn vertex(&self, point: PointId) -> Option<u32> {
        self.places().vertex(point)
    }

    /// Walks for the query that stands in `memory`; what was found is in its pool.
    fn walk_among(&self, ef: usize, equals_max: usize, among: &Among<'_>, memory: &mut Memory) -> WalkReport {
        let encoder = &self.base.head.encoder;
        let mut report = WalkReport::default();
        let entries = &*self.entries;
        let beginnings = entries.nearest(encoder, &memory.query, entries.vertices.len(), ef);
        let Memory {
            query,
            pool,
            visited,
            done,
            links,
            fresh,
            through,
            ..
        } = memory;
        pool.reset(ef);
        visited.reset(self.len());
        done.reset(self.len());
        let mut front = Front {
            graph: self,
            first_point: self.places().only_run(),
            is_allowed: among.is_allowed,
            visited,
            done,
        };

        // The sample first: only the nearest of it, or the walk would go through all of it.
        fresh.clear();
        fresh.extend(self.places().vertices(among.sample.iter().copied()));
        fresh.iter().for_each(|vertex| self.prefetch_record(*vertex));
        let mut nearest = [(f32::INFINITY, u32::MAX); BEGINNINGS_MIN];
        for vertex in fresh.iter() {
            let estimate = encoder.codec.distance(&mut query.code, self.record(*vertex));
            let place = nearest.partition_point(|(other, _)| *other <= estimate);
            if place < nearest.len() {
                nearest[place..].rotate_right(1);
                nearest[place] = (estimate, *vertex);
            }
        }
        report.codes += fresh.len() as u64;
        for (estimate, vertex) in nearest {
            if vertex != u32::MAX && front.visited.insert(vertex) {
                front.done.insert(vertex);
                pool.offer_among_equals(estimate, vertex, equals_max, |_| false);
            }
        }

        links.clear();
        links.extend(beginnings.iter().map(|(_, vertex)| vertex));
        let fresh_max = (self.base.head.config.degree_max() * FRESH_SHARE.0).div_ceil(FRESH_SHARE.1);
        loop {
            fresh.clear();
            through.clear();
            front.step(links, fresh, through);
            for vertex in through.iter().take(LISTS_AHEAD) {
                self.prefetch_list(*vertex);
            }
            for (place, vertex) in through.iter().enumerate() {
                if fresh.len() >= fresh_max {
                    break;
                }
                if let Some(ahead) = through.get(place + LISTS_AHEAD) {
                    self.prefetch_list(*ahead);
                }
                front.done.insert(*vertex);
                links.clear();
                self.links(*vertex, links);
                report.lists += 1;
                front.step_through(links, fresh);
            }
            for vertex in fresh.iter() {
                self.prefetch_record(*vertex);
            }
            if let Some(next) = pool.peek() {
                self.prefetch_list(next);
            }
            for vertex in fresh.iter() {
                let distance = encoder.codec.distance(&mut query.code, self.record(*vertex));
                pool.offer_among_equals(distance, *vertex, equals_max, |_| false);
            }
            report.codes += fresh.len() as u64;
            if report.codes + report.lists > among.budget {
                return report;
            }
            let Some((vertex, _)) = pool.expand() else {
                report.is_complete = true;
                return report;
            };
            links.clear();
            self.links(vertex, links);
            report.lists += 1;
        }
    }

    #[inline]
    fn prefetch_list(&self, vertex: u32) {
        self.base.layout.prefetch_list(self.node(vertex));
    }
}

/// Codes that are compared one after the other.
pub(crate) struct Scan<'a> {
    graph: &'a Graph,
    k: usize,
    compared_max: usize,
    yardstick: Yardstick,
    /// What is farther is not among those that may be wanted.
    bound: f32,
    /// Candidates that are found before the farthest are dropped.
    room: usize,
    /// Candidates that were left when they were dropped early.
    kept: usize,
    found: &'a mut Vec<Candidate>,
}

impl<'a> Scan<'a> {
    /// Compares the codes of some vertices; `see` is shown each estimate.
    pub(crate) fn compare(
        &mut self,
        query: &mut QueryCode,
        mut vertices: impl Iterator<Item = u32>,
        mut see: impl FnMut(f32, u32),
    ) {
        let graph = self.graph;
        let codec = &graph.base.head.encoder.codec;
        // A ring: as one is compared, another one is asked for.
        let mut ahead = [0; SCAN_AHEAD];
        let (mut asked, mut compared) = (0, 0);
        loop {
            if asked < compared + SCAN_AHEAD
                && let Some(vertex) = vertices.next()
            {
                graph.prefetch_record(vertex);
                ahead[asked % SCAN_AHEAD] = vertex;
                asked += 1;
                if asked < SCAN_AHEAD {
                    continue;
                }
            }
            if compared == asked {
                return;
            }
            let vertex = ahead[compared % SCAN_AHEAD];
            compared += 1;
            let estimate = codec.distance(query, graph.record(vertex));
            see(estimate, vertex);
            let is_beyond = estimate > self.bound;
            if !is_beyond {
                self.found.push(Candidate {
                    estimate,
                    vertex,
                    point: PointId(0),
                });
                if self.found.len() >= self.room {
                    self.bound = self.drop_farther();
                    self.room = self.room.max(2 * self.found.len());
                }
            }
        }
    }

    fn drop_farther(&mut self) -> f32 {
        self.graph
            .drop_farther(self.found, self.k, &self.yardstick, self.compared_max)
    }

    /// What is farther is not wanted.
    pub(crate) fn bound(&self) -> f32 {
        self.bound
    }

    /// Drops the farthest now if there are half as many again as were left the last time, so that the bound is about that of
    /// all compared so far.
    pub(crate) fn tighten(&mut self) {
        if self.found.len() >= self.kept + self.kept / 2 {
            self.bound = self.drop_farther().min(self.bound);
            self.kept = self.found.len();
        }
    }

    /// What was found.
    pub(crate) fn end(mut self) -> Shortlist<'a> {
        self.drop_farther();
        for candidate in self.found.iter_mut() {
            candidate.point = self.graph.point(candidate.vertex);
        }
        let shortlist = Shortlist::new(self.graph, self.found, self.yardstick, (self.k, self.compared_max));
        shortlist.of_filter(self.compared_max)
    }
}

/// What a walk among the points that pass knows of the vertices.
struct Front<'a> {
    graph: &'a Graph,
    /// That of the first vertex, if those of the others follow it in order.
    first_point: Option<u32>,
    is_allowed: &'a dyn Fn(PointId) -> bool,
    visited: &'a mut Visited,
    /// Those of the visited that pass, and those whose links were followed: nothing is left to do for them.
    done: &'a mut Visited,
}

impl Front<'_> {
    #[inline]
    fn passes(&self, vertex: u32) -> bool {
        let point = match self.first_point {
            Some(first) => PointId(first + vertex),
            None => self.graph.point(vertex),
        };
        (self.is_allowed)(point)
    }

    /// Visits neighbors of a vertex that passes: `fresh` are those that pass and were not met before, `through` those
    /// whose links are worth following.
    fn step(&mut self, links: &mut Vec<u32>, fresh: &mut Vec<u32>, through: &mut Vec<u32>) {
        // Vertices that were met before, whose links were not followed.
        through.extend_from_slice(links);
        self.visited.keep_met(through);
        self.done.keep_unmet(through);
        self.visited.keep_new(links);
        for link in links {
            if self.passes(*link) {
                self.done.insert(*link);
                fresh.push(*link);
            } else {
                through.push(*link);
            }
        }
    }

    /// The same for neighbors of one that does not pass: it leads on to those that do, and no further.
    fn step_through(&mut self, links: &mut Vec<u32>, fresh: &mut Vec<u32>) {
        self.visited.keep_new(links);
        for link in links {
            if self.passes(*link) {
                self.done.insert(*link);
                fresh.push(*link);
            }
        }
    }
}
