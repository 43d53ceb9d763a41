//! The planner: by which path a filtered query is answered.
//!
//! A pure function of a few numbers: it chooses the cheapest of four paths, by the measured cost of each step
//! (`docs/decisions/0016-filtered-search.md`). Answers are right even if the estimates are wrong: a walk that meets too
//! few matches is followed by a scan of the codes, and a scan always gives `k`.

use llmspell_core::{PathCost, SearchPath};
use llmspell_vector::GraphLayout;

/// The numbers that are known before a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Case {
    /// Points of the graph.
    pub(crate) vertices: u64,
    /// Number of matches among them.
    pub(crate) matching: u64,
    pub(crate) k: usize,
    /// Requested width of the beam.
    pub(crate) ef: usize,
    /// Components that the graph and its codes use.
    pub(crate) dim: usize,
    /// Components by which vectors are compared exactly; the graph or the query may have only the leading ones.
    pub(crate) compared_dim: usize,
    pub(crate) layout: GraphLayout,
}

/// Costs of the steps of the paths, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Costs {
    /// Comparing one vector: fixed, and per component.
    exact: (f64, f64),
    /// Comparing one code at a random place: fixed, and per component.
    code: (f64, f64),
    /// Comparing the 1-bit code of one member of a group, with its share of sorting: fixed, and per component.
    sign: (f64, f64),
    /// Assigning a match to its group; the groups are cached.
    group: f64,
    /// Additional cost of each candidate of a shortlist: reading and comparing the vector.
    rescore: f64,
    /// A walk over all points, per position of its beam: fixed, and per component.
    step: (f64, f64),
    /// A walk among the matches, per position of its beam: fixed, and per component.
    inside: (f64, f64),
    /// The same, per point that it passes through for each match.
    through: f64,
    /// Preparing a query for codes: fixed, and per component.
    prepare: (f64, f64),
}

/// With codes beside the links.
const COMPACT: Costs = Costs {
    exact: (15.0, 0.5),
    code: (16.0, 0.045),
    sign: (0.0, 0.009),
    group: 0.1,
    rescore: 200.0,
    step: (250.0, 1.2),
    inside: (600.0, 3.25),
    through: 120.0,
    prepare: (1_000.0, 3.0),
};

/// With the 1-bit codes of the neighbors between them.
const BLOCKS: Costs = Costs {
    step: (350.0, 0.4),
    // Nodes are larger, each on another page.
    inside: (1_200.0, 3.25),
    ..COMPACT
};

/// Relative cost added per step for each doubling of the graph beyond `CACHED_VERTICES`.
const STEP_PER_DOUBLING: f64 = 0.3;
const CACHED_VERTICES: f64 = 50_000.0;
/// A grouped scan inspects at least `.0` members, plus `sqrt(.1 / vertices)` of the matches.
const GROUPED_LOOKED: (f64, f64) = (1_000.0, 10_000.0);
/// Codes that it compares after the 1-bit codes: at least `.0`, plus `.1` of the members.
const SIFTED_CODES: (f64, f64) = (250.0, 0.1);
/// With fewer matches, a scan of them all takes little longer and misses none.
const GROUPED_MIN: u64 = 8_192;
/// A post-filtered walk aims to find this many times `k` matches,
const AFTER_PER_K: usize = 2;
/// and this share of the requested beam.
const AFTER_EF_SHARE: usize = 4;
/// In a walk over blocks, a vertex is in the beam once for every neighbor that offered it.
const BLOCKS_PLACES_PER_VERTEX: f64 = 2.5;
/// If fewer than one in this many of the expected matches is met, the filter is correlated with the query.
const AFTER_EXPECTED_PER_PASSED: f64 = 3.0;
/// A beam wider than this share of the graph is not worth a walk.
const AFTER_VERTICES_SHARE: usize = 8;
/// With a smaller share of matches, a walk among them loses its way.
const INSIDE_SHARE_MIN: f64 = 0.01;
/// With a smaller share, the matches are not linked well: the beam is made wider, by at most a factor.
const INSIDE_WIDER_BELOW: f64 = 0.03;
const INSIDE_WIDER_MAX: f64 = 2.0;
/// With a smaller share, a walk among the matches has read all lists nearby, and a position costs no more than here.
const THROUGH_SHARE_MIN: f64 = 0.033;
/// A narrower beam among the matches cannot cross a crowd of points that do not match.
const INSIDE_EF_MIN: usize = 64;
/// Codes and lists that a walk among the matches reads per position of its beam.
const INSIDE_READS: f64 = 30.0;

impl Case {
    /// The share of points that match.
    fn share(&self) -> f64 {
        self.matching as f64 / self.vertices.max(1) as f64
    }

    /// The beam of a walk among the matches.
    pub(crate) fn ef_inside(&self) -> usize {
        let wider = (INSIDE_WIDER_BELOW / self.share()).sqrt().clamp(1.0, INSIDE_WIDER_MAX);
        (self.ef.max(INSIDE_EF_MIN) as f64 * wider).ceil() as usize
    }

    /// The beam of a walk over all points, so that it meets enough matches. All within the beam are found, so this is a
    /// few more than `k`.
    pub(crate) fn ef_after(&self) -> usize {
        let wanted = (AFTER_PER_K * self.k).max(self.ef / AFTER_EF_SHARE) as f64;
        ((wanted * self.places_per_vertex() / self.share()).ceil() as usize).max(self.ef)
    }

    /// Positions of the beam that one vertex takes in a walk over all points.
    fn places_per_vertex(&self) -> f64 {
        match self.layout {
            GraphLayout::Compact | GraphLayout::Lean => 1.0,
            GraphLayout::Blocks => BLOCKS_PLACES_PER_VERTEX,
        }
    }

    /// Number of matches that a walk over all points must meet: with fewer the filter is correlated with the query, and
    /// the matches lie at the border of the beam, where some are missed.
    pub(crate) fn passed_after(&self) -> u64 {
        let expected = self.ef_after() as f64 * self.share() / self.places_per_vertex();
        let few = (expected / AFTER_EXPECTED_PER_PASSED) as u64;
        few.max((self.k + self.k.div_ceil(4)) as u64).min(self.matching)
    }

    /// Codes and lists that a walk among the matches may read before a scan would be cheaper.
    pub(crate) fn budget_inside(&self) -> u64 {
        let costs = self.layout_costs();
        let per_place = self.inside_nanos(costs) / INSIDE_READS;
        let scan = self.scan_nanos(costs);
        (scan / per_place.max(1.0)) as u64
    }

    /// The cost of each possible path, the cheapest first.
    pub(crate) fn costs(&self) -> Vec<PathCost> {
        let costs = self.layout_costs();
        let shortlist = self.per_dim(costs.prepare) + costs.rescore * (AFTER_PER_K * self.k) as f64;
        let mut ways = vec![
            (SearchPath::Exact, self.exact_nanos(costs) * self.matching as f64),
            (SearchPath::CodeScan, shortlist + self.scan_nanos(costs)),
        ];
        // If a large part of the matches is wanted, a walk does not help.
        let is_walk = self.matching > 2 * self.ef_inside() as u64;
        if is_walk && self.share() >= INSIDE_SHARE_MIN {
            let nanos = self.inside_nanos(costs) * self.ef_inside() as f64;
            ways.push((SearchPath::GraphInside, shortlist + nanos));
        }
        if is_walk && (self.ef_after() * AFTER_VERTICES_SHARE) as u64 <= self.vertices {
            let nanos = self.step_nanos(costs) * self.ef_after() as f64;
            ways.push((SearchPath::GraphAfter, shortlist + nanos));
        }
        ways.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        ways.into_iter()
            .map(|(path, nanos)| PathCost::new(path, nanos / 1_000.0))
            .collect()
    }

    fn layout_costs(&self) -> &'static Costs {
        match self.layout {
            GraphLayout::Compact | GraphLayout::Lean => &COMPACT,
            GraphLayout::Blocks => &BLOCKS,
        }
    }

    fn per_dim(&self, (own, each): (f64, f64)) -> f64 {
        own + each * self.dim as f64
    }

    fn exact_nanos(&self, costs: &Costs) -> f64 {
        let (own, each) = costs.exact;
        own + each * self.compared_dim as f64
    }

    fn scan_nanos(&self, costs: &Costs) -> f64 {
        let all = self.matching as f64;
        let (own, vertices) = GROUPED_LOOKED;
        let looked = (own + (vertices / self.vertices.max(1) as f64).sqrt() * all).min(all);
        let code = self.per_dim(costs.code);
        let by_code = code * looked;
        // 1-bit codes are compared for all members of a group, matching or not.
        let (least, share) = SIFTED_CODES;
        let by_signs =
            self.per_dim(costs.sign) * looked / self.share().max(f64::MIN_POSITIVE) + code * (least + share * looked);
        let grouped = by_code.min(by_signs) + costs.group * all;
        grouped.min(code * all)
    }

    /// Whether a scan is by groups, the nearest first.
    pub(crate) fn is_grouped(&self) -> bool {
        self.matching >= GROUPED_MIN
    }

    /// Per position of the beam of a walk over all points. Less of a larger graph is in the caches.
    fn step_nanos(&self, costs: &Costs) -> f64 {
        let (own, each) = costs.step;
        let doublings = (self.vertices as f64 / CACHED_VERTICES).max(1.0).log2();
        own * (1.0 + STEP_PER_DOUBLING * doublings) + each * self.dim as f64
    }

    /// Per position of the beam of a walk among the matches.
    fn inside_nanos(&self, costs: &Costs) -> f64 {
        self.per_dim(costs.inside) + costs.through / self.share().max(THROUGH_SHARE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn case(vertices: u64, matching: u64) -> Case {
        Case {
            vertices,
            matching,
            k: 10,
            ef: 100,
            dim: 384,
            compared_dim: 384,
            layout: GraphLayout::Compact,
        }
    }

    fn path(case: Case) -> SearchPath {
        case.costs()[0].path
    }

    /// How much of a graph a path needs.
    fn rank(path: SearchPath) -> usize {
        let order = [
            SearchPath::Exact,
            SearchPath::CodeScan,
            SearchPath::GraphInside,
            SearchPath::GraphAfter,
        ];
        order.iter().position(|other| *other == path).unwrap()
    }

    #[test]
    fn the_fewer_pass_the_less_of_the_graph_is_used() {
        let table = [
            (1_000_000, 0, SearchPath::Exact),
            (1_000_000, 20, SearchPath::Exact),
            (1_000_000, 1_000, SearchPath::CodeScan),
            (1_000_000, 10_000, SearchPath::CodeScan),
            (1_000_000, 20_000, SearchPath::CodeScan),
            (1_000_000, 100_000, SearchPath::GraphAfter),
            (1_000_000, 900_000, SearchPath::GraphAfter),
            (10_000, 20, SearchPath::Exact),
            (10_000, 1_000, SearchPath::CodeScan),
            (10_000, 9_000, SearchPath::GraphAfter),
        ];
        for (vertices, matching, expected) in table {
            let case = case(vertices, matching);
            assert_eq!(path(case), expected, "{matching} of {vertices}: {:?}", case.costs());
        }
    }

    #[test]
    fn where_the_graph_looks_at_few_components_comparing_all_of_them_pays_less_often() {
        let whole = Case {
            dim: 1_536,
            compared_dim: 1_536,
            ..case(100_000, 50)
        };
        let funnel = Case { dim: 128, ..whole };
        assert_eq!(path(case(100_000, 15)), SearchPath::Exact);
        let exact = |case: Case| case.costs().into_iter().find(|cost| cost.path == SearchPath::Exact);
        assert_eq!(exact(funnel), exact(whole));
        let scan = |case: Case| {
            case.costs()
                .into_iter()
                .find(|cost| cost.path == SearchPath::CodeScan)
                .unwrap()
        };
        assert!(scan(funnel).micros < scan(whole).micros);
    }

    proptest! {
        /// With one match less, a search never uses more of the graph, for any layout, dimension and width; except for
        /// scans of groups, which gain with the number of matches.
        #[test]
        fn fewer_points_never_lead_from_a_scan_into_the_graph(
            vertices in 1_u64..20_000_000,
            share in 0.0_f64..1.0,
            less in 0.0_f64..1.0,
            k in 1_usize..1_000,
            wider in 0_usize..2_000,
            dim in 1_usize..4_096,
            has_blocks in any::<bool>(),
        ) {
            let layout = if has_blocks { GraphLayout::Blocks } else { GraphLayout::Compact };
            // Paths change at small shares.
            let matching = (vertices as f64 * share.powi(4)) as u64;
            let more = Case { vertices, matching, k, ef: k + wider, dim, compared_dim: dim, layout };
            let fewer = Case { matching: (matching as f64 * less) as u64, ..more };
            let is_less = rank(path(fewer)) <= rank(path(more));
            prop_assert!(is_less || more.is_grouped(), "{:?} {:?}", fewer.costs(), more.costs());
            for case in [fewer, more] {
                prop_assert!(case.costs().iter().all(|cost| cost.micros.is_finite() && cost.micros >= 0.0));
                prop_assert!(case.matching == 0 || (case.ef_inside() >= case.ef && case.ef_after() >= case.ef));
            }
        }
    }
}
