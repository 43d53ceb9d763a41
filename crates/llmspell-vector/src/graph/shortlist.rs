//! The candidates of a search, nearest first by their codes, and how many of them need an exact distance.
//!
//! The estimate of a code is unbiased, and its error is known: for a record whose grid vector stands for `r + e`, with
//! `e` at a right angle to `r`, the estimate of the squared distance `d` is off by `2 <e, q>`. Only the part of
//! `q` at a right angle to `r` counts, which is at most `√d` long. After a random rotation such a product has a
//! standard deviation of `|e| √(d / (components - 1))` (RaBitQ: Gao and Long, SIGMOD 2024, arXiv 2405.12497, section
//! 3.2.2). The query is rounded to bytes, which adds `|r| step / √12`.
//!
//! So a candidate is compared exactly unless its estimate is more than [`DEVIATIONS`] (in a lean graph
//! [`DEVIATIONS_LEAN`]) beyond the exact distance of the
//! `k`-th best so far. Where the nearest are clearly nearer than the others, that ends after a few; where codes cannot
//! tell a crowd of near-duplicates apart, all of the crowd is compared.

use crate::distance::Metric;
use crate::graph::encoder::Encoder;
use crate::graph::{Candidate, Graph, GraphLayout, lean_width};

/// Standard deviations of the error of an estimate that a candidate is given the benefit of.
const DEVIATIONS: f32 = 3.0;
/// The same in a lean graph, where reading a vector costs more than a place of the beam (docs/decisions/0042-lean.md).
const DEVIATIONS_LEAN: f32 = 2.5;
/// Up to this width of the beam; a beam ten times as wide gives one deviation more, so that recall rises with the width.
const DEVIATIONS_EF: f32 = 100.0;
/// At first this many candidates more than are wanted are put in order; later ones this many at a time, at least.
const CHUNK_MIN: usize = 4;
/// Candidates that are compared at most, unless the search is wider.
const COMPARED_MAX: usize = 4_096;
/// The same in a lean graph, whose codes leave more undecided than may be read.
const COMPARED_MAX_LEAN: usize = 96;
/// The same among points that pass a filter, which may all be far from the query, at about the same distance.
const FILTERED_MAX_LEAN: usize = 512;

/// What an exact distance is in the space of a walk, and how far estimates are off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Yardstick {
    /// A squared distance of the walk is `offset + factor * distance`, under Euclidean `factor * distance²`.
    offset: f64,
    factor: f64,
    is_squared: bool,
    /// What rounding of floats adds to any difference.
    slack: f32,
    /// One divided by the number of components.
    per_component: f32,
    /// Square of the error that the rounding of the query adds, for a record with an error of length 1.
    rounding: f32,
}

impl Yardstick {
    pub(crate) fn new(encoder: &Encoder, query: &[f32], step: f32) -> Self {
        let (offset, factor) = encoder.space.exact_to_walk(query);
        let magnitude = offset.abs() + factor.abs();
        Self {
            offset,
            factor,
            is_squared: encoder.space.metric() == Metric::Euclidean,
            slack: 8.0 * f32::EPSILON * if magnitude.is_finite() { magnitude as f32 } else { 0.0 },
            per_component: 1.0 / (encoder.padded().max(2) - 1) as f32,
            rounding: encoder.codec.shape().rounding_squared(step),
        }
    }

    /// The squared distance in the walk of what has this exact distance.
    pub(crate) fn squared(&self, exact: f32) -> f32 {
        let exact = f64::from(exact);
        let distance = if self.is_squared { exact * exact } else { exact };
        (self.offset + self.factor * distance) as f32
    }

    /// Standard deviation of the estimate of what is at this squared distance, for a record with an error of length 1.
    pub(crate) fn deviation(&self, squared: f32) -> f32 {
        2.0 * (squared.max(0.0) * self.per_component + self.rounding).sqrt()
    }
}

/// How far a shortlist goes.
#[derive(Debug, Clone, Copy)]
enum Reach {
    /// Until the codes say that no other candidate is among the best, given the distance of the last of these.
    Best,
    /// The distances that are found say nothing about the estimates.
    Leading {
        k: usize,
        wanted: usize,
        patience: usize,
        /// How many were compared since the bound shrank.
        unchanged: usize,
    },
    /// All of them.
    All,
}

/// Candidates to be compared exactly, probably nearest first.
///
/// ```text
/// while let Some(candidate) = shortlist.next(best.bound()) {
///     best.offer(exact.distance(row(candidate.point)), candidate.point);
/// }
/// ```
#[expect(missing_debug_implementations, reason = "a graph has nothing to show")]
pub struct Shortlist<'s> {
    graph: &'s Graph,
    found: &'s mut Vec<Candidate>,
    yardstick: Yardstick,
    deviations: f32,
    reach: Reach,
    /// The nearest of them that are in order.
    ordered: usize,
    /// Those behind this place are too far.
    end: usize,
    /// The next of these.
    next: usize,
    /// Candidates handed out, and how many there may be.
    compared: usize,
    compared_max: usize,
    limit: Limit,
    /// Hidden vertices that the walk met among them.
    hidden: usize,
}

/// What is farther in the walk than this is not among the best.
#[derive(Debug, Clone, Copy)]
struct Limit {
    /// The exact distance that it was computed from.
    bound: f32,
    squared: f32,
    /// How far beyond it an estimate may be, for a record with an error of length 1.
    margin: f32,
}

impl<'s> Shortlist<'s> {
    /// The candidates of a search for the `k` nearest whose beam had a width of `ef`: as many may be compared, or [`COMPARED_MAX`] if that is
    /// more, in a lean graph [`COMPARED_MAX_LEAN`]. If the beam had room for all vertices, all candidates are handed out.
    pub(crate) fn new(
        graph: &'s Graph,
        found: &'s mut Vec<Candidate>,
        yardstick: Yardstick,
        (k, ef): (usize, usize),
    ) -> Self {
        let is_all = ef >= graph.len() as usize;
        let end = found.len();
        let deviations = match graph.base.head.config.layout {
            GraphLayout::Compact | GraphLayout::Blocks => DEVIATIONS,
            GraphLayout::Lean => DEVIATIONS_LEAN,
        };
        let mut shortlist = Self {
            graph,
            found,
            yardstick,
            deviations: deviations + (ef as f32 / DEVIATIONS_EF).max(1.0).log10(),
            reach: if is_all { Reach::All } else { Reach::Best },
            ordered: 0,
            end,
            next: 0,
            compared: 0,
            compared_max: Self::compared_max(graph, ef),
            limit: Limit {
                bound: f32::INFINITY,
                squared: f32::INFINITY,
                margin: 0.0,
            },
            hidden: 0,
        };
        shortlist.order(k.saturating_add(CHUNK_MIN));
        shortlist
    }

    /// How many may be compared by a search of this width.
    pub(crate) fn compared_max(graph: &Graph, ef: usize) -> usize {
        match graph.base.head.config.layout {
            GraphLayout::Compact | GraphLayout::Blocks => ef.max(COMPARED_MAX),
            GraphLayout::Lean => lean_width(ef).max(COMPARED_MAX_LEAN),
        }
    }

    /// How many may be compared among the points that pass a filter.
    pub(crate) fn filtered_max(graph: &Graph, ef: usize) -> usize {
        match graph.base.head.config.layout {
            GraphLayout::Compact | GraphLayout::Blocks => Self::compared_max(graph, ef),
            GraphLayout::Lean => ef.max(FILTERED_MAX_LEAN),
        }
    }

    /// The same candidates, of which as many may be compared as of those that pass a filter.
    pub(crate) fn of_filter(self, ef: usize) -> Self {
        Self {
            compared_max: Self::filtered_max(self.graph, ef),
            deviations: self.deviations.max(DEVIATIONS),
            ..self
        }
    }

    /// The same candidates, for a comparison by more components than the graph looks at: `wanted` of them, fewer if
    /// `patience` in a row did not make the bound smaller, but in any case those that the codes cannot tell from the
    /// `k`-th.
    #[must_use]
    pub fn leading(mut self, k: usize, wanted: usize, patience: usize) -> Self {
        if !matches!(self.reach, Reach::All) && k > 0 && self.order(k) {
            let squared = self.found[k - 1].estimate;
            let margin = self.deviations * self.yardstick.deviation(squared);
            self.limit = Limit {
                bound: f32::INFINITY,
                squared,
                margin,
            };
            self.reach = Reach::Leading {
                k,
                wanted,
                patience,
                unchanged: 0,
            };
        }
        self
    }

    /// How many candidates there are, those that need no exact distance included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The same, of a walk that met this many hidden vertices.
    pub(crate) fn past_hidden(self, hidden: usize) -> Self {
        Self { hidden, ..self }
    }

    /// How many hidden vertices the walk met that are nearer than the last candidate: links that lead to deleted points
    /// cost a search time.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// All candidates, in no order.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        self.found
    }

    /// The next candidate that may be among the best `k`; `bound` is the exact distance of the `k`-th best so far, infinite
    /// while there are fewer. None if no other is, or as many were compared as may be.
    pub fn next(&mut self, bound: f32) -> Option<Candidate> {
        if self.compared == self.compared_max {
            return None;
        }
        let is_wanted = self.note(bound);
        let error_max = self.graph.error_max();
        while self.order(self.next + 1) {
            let candidate = self.found[self.next];
            if !is_wanted && candidate.estimate - error_max * self.limit.margin > self.limit.squared {
                return None;
            }
            self.next += 1;
            if is_wanted || self.is_undecided(&candidate) {
                self.compared += 1;
                return Some(candidate);
            }
        }
        None
    }

    /// Puts the nearest `count` in order, for [`peek`](Self::peek); says how many there are of these.
    pub fn arrange(&mut self, count: usize) -> usize {
        self.order(count);
        self.ordered.min(count)
    }

    /// The candidate that is `ahead` places behind the next one, if it was put in order already: for asking for its vector
    /// early.
    #[must_use]
    pub fn peek(&self, ahead: usize) -> Option<&Candidate> {
        self.found[..self.ordered].get(self.next + ahead)
    }

    /// How many more would have to be compared, given the exact distance of the `k`-th best, but were not because as many
    /// were as may be.
    #[must_use]
    pub fn undecided(mut self, bound: f32) -> usize {
        if self.compared < self.compared_max {
            return 0;
        }
        self.note(bound);
        let left = self.found[self.next..self.end].iter();
        left.filter(|candidate| self.is_undecided(candidate)).count()
    }

    /// Whether codes cannot say that a candidate is beyond the limit.
    fn is_undecided(&self, candidate: &Candidate) -> bool {
        let Limit { squared, margin, .. } = self.limit;
        candidate.estimate <= squared || candidate.estimate - margin * self.graph.error_of(candidate.vertex) <= squared
    }

    /// Sets the limit by an exact distance; says whether the next candidate is wanted whatever its estimate.
    fn note(&mut self, bound: f32) -> bool {
        let has_shrunk = bound != self.limit.bound;
        match &mut self.reach {
            Reach::All => true,
            Reach::Best => {
                if has_shrunk {
                    let squared = self.yardstick.squared(bound);
                    // Beyond what floats can measure, nothing is left out.
                    let squared = if squared.is_finite() { squared } else { f32::INFINITY };
                    self.limit = Limit {
                        bound,
                        squared: squared + self.yardstick.slack,
                        margin: self.deviations * self.yardstick.deviation(squared),
                    };
                }
                bound == f32::INFINITY
            }
            Reach::Leading {
                k,
                wanted,
                patience,
                unchanged,
            } => {
                self.limit.bound = bound;
                *unchanged = if has_shrunk { 0 } else { *unchanged + 1 };
                self.compared < *k || self.compared < *wanted && *unchanged < *patience
            }
        }
    }

    /// Puts the nearest `count` in order; says whether there are as many that are not too far.
    fn order(&mut self, count: usize) -> bool {
        if self.ordered < count && self.ordered < self.end {
            self.leave_out();
            let by_estimate =
                |a: &Candidate, b: &Candidate| a.estimate.total_cmp(&b.estimate).then(a.vertex.cmp(&b.vertex));
            let rest = &mut self.found[self.ordered..self.end];
            let chunk = (count - self.ordered).max(CHUNK_MIN).max(self.ordered).min(rest.len());
            if chunk < rest.len() {
                rest.select_nth_unstable_by(chunk - 1, by_estimate);
            }
            rest[..chunk].sort_unstable_by(by_estimate);
            self.ordered += chunk;
        }
        count <= self.ordered
    }

    /// Puts those that no error of a code can bring within the limit behind the end.
    fn leave_out(&mut self) {
        let Limit { squared, margin, .. } = self.limit;
        let farthest = squared + self.graph.error_max() * margin;
        if !matches!(self.reach, Reach::Best) || !farthest.is_finite() {
            return;
        }
        let mut kept = self.ordered;
        for place in self.ordered..self.end {
            if self.found[place].estimate <= farthest {
                self.found.swap(place, kept);
                kept += 1;
            }
        }
        self.end = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExactDistance;
    use crate::graph::{BuildWatch, GraphConfig, GraphLayout, Rows, Scratch};
    use crate::neighbor::PointId;
    use crate::random::Random;

    struct Floats(Vec<Vec<f32>>);

    impl Rows for Floats {
        fn row(&self, point: PointId) -> &[f32] {
            &self.0[point.0 as usize]
        }
    }

    struct Patient;

    impl BuildWatch for Patient {
        fn advance(&self, _: u64) {}

        fn is_cancelled(&self) -> bool {
            false
        }
    }

    /// The promise that everything rests on: what an estimate is off by has the deviation that the record and the
    /// yardstick say, near to the query and far from it, for every metric.
    #[test]
    fn estimates_are_off_by_as_much_as_is_said() {
        let mut random = Random::new(11);
        let mut normal = |size: f32| {
            let sum: f32 = (0..12).map(|_| random.below(1_000) as f32 / 1_000.0).sum();
            (sum - 6.0) * size
        };
        let dim = 120;
        // Groups, so that some are very near to a query and most are far; lengths that differ.
        let centers: Vec<Vec<f32>> = (0..12).map(|_| (0..dim).map(|_| normal(1.0)).collect()).collect();
        let rows: Vec<Vec<f32>> = (0..1_200)
            .map(|row| {
                let length = 1.0 + (row % 5) as f32 / 4.0;
                centers[row % 12].iter().map(|x| (x + normal(0.05)) * length).collect()
            })
            .collect();
        let rows = Floats(rows);
        let points: Vec<PointId> = (0..1_200).map(PointId).collect();
        for metric in [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct] {
            let config = GraphConfig {
                metric,
                dim,
                m: 8,
                ef_construction: 40,
                seed: 1,
                layout: GraphLayout::Compact,
            };
            let graph = Graph::build(&config, &points, &rows, 1, &Patient).expect("nobody cancels");
            let (mut squares, mut beyond, mut count) = (0.0, 0, 0);
            for query in rows.0.iter().step_by(29) {
                let exact = ExactDistance::new(metric, query);
                let mut scratch = Scratch::default();
                let shortlist = graph.shortlist(query, 10, 1_200, None, &mut scratch);
                for candidate in shortlist.candidates() {
                    let squared = shortlist.yardstick.squared(exact.distance(rows.row(candidate.point)));
                    let error = graph.error_of(candidate.vertex);
                    let said = error * shortlist.yardstick.deviation(squared) + shortlist.yardstick.slack;
                    let off = (candidate.estimate - squared) / said;
                    squares += f64::from(off * off);
                    beyond += usize::from(off.abs() > DEVIATIONS);
                    count += 1;
                }
            }
            let deviation = (squares / f64::from(count)).sqrt();
            assert!(count > 40_000, "{metric:?}: {count}");
            assert!(
                (0.4..1.15).contains(&deviation),
                "{metric:?}: {deviation} of what is said"
            );
            assert!(beyond * 200 < count as usize, "{metric:?}: {beyond} of {count} beyond");
        }
    }
}
