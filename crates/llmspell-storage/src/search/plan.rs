//! The planner: by which path a filtered query is answered.
//!
//! A pure function of a few numbers: the cheapest of four ways, by what each step was measured to cost
//! (`docs/decisions/0016-filtered-search.md`). That the estimates hold is not needed for a right answer: a walk that
//! meets too few points that pass gives way to a scan of the codes, and a scan always gives `k`.

use llmspell_core::{PathCost, SearchPath};
use llmspell_vector::GraphLayout;

/// What is known before a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Case {
    /// Points of the graph.
    pub(crate) vertices: u64,
    /// Of them, those that pass.
    pub(crate) matching: u64,
    pub(crate) k: usize,
    /// Width of the beam that was asked for.
    pub(crate) ef: usize,
    /// Components that the graph and its codes look at.
    pub(crate) dim: usize,
    /// Components by which vectors are compared exactly: more, or fewer, where either has but the leading ones.
    pub(crate) compared_dim: usize,
    pub(crate) layout: GraphLayout,
}

/// Nanoseconds of the steps of the ways.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Costs {
    /// Comparing one vector: for itself, and per component.
    exact: (f64, f64),
    /// Comparing one code that lies anywhere: for itself, and per component.
    code: (f64, f64),
    /// Looking at the signs of one vertex of a group, with what that needs of order: for itself, and per component.
    sign: (f64, f64),
    /// Putting a point that passes into its group, which is kept for the next time.
    group: f64,
    /// What a shortlist of codes costs besides, per candidate: reading and comparing the vector.
    rescore: f64,
    /// A walk over all points, per place of its beam: for itself, and per component.
    step: (f64, f64),
    /// A walk among the points that pass, per place of its beam: for itself, and per component.
    inside: (f64, f64),
    /// The same, per point that it looks through for each that passes.
    through: f64,
    /// Preparing a query for codes: for itself, and per component.
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

/// With the sign codes of the neighbors in between.
const BLOCKS: Costs = Costs {
    step: (350.0, 0.4),
    // Nodes are larger, and each of them in another page.
    inside: (1_200.0, 3.25),
    ..COMPACT
};

/// A step of a walk takes that much longer, as a share of its own cost, for each time that the graph is twice as large as here.
const STEP_PER_DOUBLING: f64 = 0.3;
const CACHED_VERTICES: f64 = 50_000.0;
/// Members that a scan of groups looks at: at least, and of those that pass the root of so many by the number of vertices.
const GROUPED_LOOKED: (f64, f64) = (1_000.0, 10_000.0);
/// Codes that it compares of them where their signs were seen first: at least, and as a share.
const SIFTED_CODES: (f64, f64) = (250.0, 0.1);
/// Where fewer pass, a scan of them all takes little longer and misses nobody.
const GROUPED_MIN: u64 = 8_192;
/// Who leaves out afterwards what does not pass wants to meet so many times `k` that do.
const AFTER_PER_K: usize = 2;
/// And this share of the beam that was asked for.
const AFTER_EF_SHARE: usize = 4;
/// A vertex stands in the beam of a walk over blocks once for every neighbor that offered it.
const BLOCKS_PLACES_PER_VERTEX: f64 = 2.5;
/// Fewer than one in so many of the points that should pass, and the filter is correlated with the query.
const AFTER_EXPECTED_PER_PASSED: f64 = 3.0;
/// A beam wider than this share of the graph is no walk any more.
const AFTER_VERTICES_SHARE: usize = 8;
/// Fewer pass, and a walk among them does not find its way.
const INSIDE_SHARE_MIN: f64 = 0.01;
/// Where fewer pass than this share, those that do are not linked well: the beam is wider, at most by a factor.
const INSIDE_WIDER_BELOW: f64 = 0.03;
const INSIDE_WIDER_MAX: f64 = 2.0;
/// Where fewer pass than this share, a walk among them has read all lists around, and a place costs no more than here.
const THROUGH_SHARE_MIN: f64 = 0.033;
/// A narrower beam among the points that pass does not find its way out of a crowd of those that do not.
const INSIDE_EF_MIN: usize = 64;
/// Codes and lists that a walk among the points that pass reads per place of its beam.
const INSIDE_READS: f64 = 30.0;

impl Case {
    /// Points that pass, as a share of all.
    fn share(&self) -> f64 {
        self.matching as f64 / self.vertices.max(1) as f64
    }

    /// The beam of a walk among the points that pass.
    pub(crate) fn ef_inside(&self) -> usize {
        let wider = (INSIDE_WIDER_BELOW / self.share()).sqrt().clamp(1.0, INSIDE_WIDER_MAX);
        (self.ef.max(INSIDE_EF_MIN) as f64 * wider).ceil() as usize
    }

    /// The beam of a walk over all points, so that enough pass: all within the beam are found, so a few more than `k`.
    pub(crate) fn ef_after(&self) -> usize {
        let wanted = (AFTER_PER_K * self.k).max(self.ef / AFTER_EF_SHARE) as f64;
        ((wanted * self.places_per_vertex() / self.share()).ceil() as usize).max(self.ef)
    }

    /// Places of the beam of a walk over all points that one vertex takes.
    fn places_per_vertex(&self) -> f64 {
        match self.layout {
            GraphLayout::Compact => 1.0,
            GraphLayout::Blocks => BLOCKS_PLACES_PER_VERTEX,
        }
    }

    /// Points that must pass of a walk over all points: with fewer the filter is correlated with the query, and those that
    /// passed stand at the border of the beam, where some are missed.
    pub(crate) fn passed_after(&self) -> u64 {
        let expected = self.ef_after() as f64 * self.share() / self.places_per_vertex();
        let few = (expected / AFTER_EXPECTED_PER_PASSED) as u64;
        few.max((self.k + self.k.div_ceil(4)) as u64).min(self.matching)
    }

    /// Codes and lists that a walk among the points that pass may read until a scan would have been cheaper.
    pub(crate) fn budget_inside(&self) -> u64 {
        let costs = self.layout_costs();
        let per_place = self.inside_nanos(costs) / INSIDE_READS;
        let scan = self.scan_nanos(costs);
        (scan / per_place.max(1.0)) as u64
    }

    /// What each way costs that may be gone, the cheapest first.
    pub(crate) fn costs(&self) -> Vec<PathCost> {
        let costs = self.layout_costs();
        let shortlist = self.per_dim(costs.prepare) + costs.rescore * (AFTER_PER_K * self.k) as f64;
        let mut ways = vec![
            (SearchPath::Exact, self.exact_nanos(costs) * self.matching as f64),
            (SearchPath::CodeScan, shortlist + self.scan_nanos(costs)),
        ];
        // Who wants a large part of what passes is not helped by a walk.
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
            GraphLayout::Compact => &COMPACT,
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
        // Signs are those of all members of a group, whoever passes.
        let (least, share) = SIFTED_CODES;
        let by_signs =
            self.per_dim(costs.sign) * looked / self.share().max(f64::MIN_POSITIVE) + code * (least + share * looked);
        let grouped = by_code.min(by_signs) + costs.group * all;
        grouped.min(code * all)
    }

    /// Whether a scan is of groups, the nearest first.
    pub(crate) fn is_grouped(&self) -> bool {
        self.matching >= GROUPED_MIN
    }

    /// Per place of the beam of a walk over all points. Of a larger graph less is in the caches.
    fn step_nanos(&self, costs: &Costs) -> f64 {
        let (own, each) = costs.step;
        let doublings = (self.vertices as f64 / CACHED_VERTICES).max(1.0).log2();
        own * (1.0 + STEP_PER_DOUBLING * doublings) + each * self.dim as f64
    }

    /// Per place of the beam of a walk among the points that pass.
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

    /// How much of a graph a way needs.
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
        /// One point less that passes never means more of the graph, by whatever layout, dimension and width: but for scans of
        /// groups, which gain with the number of points.
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
            // Small shares are where ways change.
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
