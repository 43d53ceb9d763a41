//! Is what passes a filter found, however few pass, and wherever they are?

use std::collections::BTreeSet;

use llmspell_vector::{
    Among, Candidate, ExactDistance, Graph, GraphLayout, Metric, PointId, Rows, Scratch, Shortlist, TopK, scan,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::data::{Noise, Set, Watch, clustered, compared, config};
use super::{LAYOUTS, build};

const K: usize = 10;

/// Distances of the nearest, best first.
fn nearest(set: &Set, exact: &ExactDistance, points: impl Iterator<Item = PointId>, k: usize) -> Vec<f32> {
    let mut top = TopK::new(k);
    scan(exact, points.map(|point| (point, set.row(point))), None, &mut top);
    top.into_sorted().0.iter().map(|neighbor| neighbor.distance).collect()
}

/// How many of the `K` nearest that pass a way finds; fails if it finds a point that does not pass.
struct Tally {
    hits: usize,
    wanted: usize,
}

impl Tally {
    fn add(&mut self, set: &Set, query: &[f32], passing: &[PointId], found: &[Candidate]) {
        let exact = ExactDistance::new(Metric::Cosine, query);
        let passes: BTreeSet<PointId> = passing.iter().copied().collect();
        let names: BTreeSet<PointId> = found.iter().map(|candidate| candidate.point).collect();
        assert!(names.is_subset(&passes), "who does not pass is found");
        assert_eq!(names.len(), found.len(), "nobody is found twice");
        let truth = nearest(set, &exact, passing.iter().copied(), K);
        let near = nearest(set, &exact, names.into_iter(), K);
        self.wanted += truth.len();
        let farthest = truth.last().copied().unwrap_or_default();
        self.hits += near.iter().filter(|distance| **distance <= farthest).count();
    }

    fn recall(&self) -> f64 {
        self.hits as f64 / self.wanted as f64
    }
}

/// What a search compares exactly.
fn worth(set: &Set, query: &[f32], shortlist: Shortlist<'_>) -> Vec<Candidate> {
    compared(set, &ExactDistance::new(Metric::Cosine, query), K, shortlist)
}

fn sample(passing: &[PointId]) -> Vec<PointId> {
    passing.iter().copied().step_by(passing.len() / 64 + 1).collect()
}

fn among(
    graph: &Graph,
    set: &Set,
    query: &[f32],
    passing: &[PointId],
    ef: usize,
    budget: u64,
) -> (Vec<Candidate>, bool) {
    let passes: BTreeSet<PointId> = passing.iter().copied().collect();
    let sample = sample(passing);
    let among = Among {
        is_allowed: &|point| passes.contains(&point),
        sample: &sample,
        budget,
    };
    let mut scratch = Scratch::default();
    let (found, report) = graph.shortlist_among(query, K, ef, &among, &mut scratch);
    (worth(set, query, found), report.is_complete)
}

#[test]
fn random_points_that_pass_are_found_at_every_share() {
    let set = clustered(4_000, 96, 1);
    let queries = clustered(40, 96, 1);
    for layout in LAYOUTS {
        let graph = build(&set, Metric::Cosine, layout);
        for percent in [50, 20, 10, 5] {
            let mut noise = Noise(percent);
            let [mut scanned, mut grouped, mut inside, mut after] = [0; 4].map(|hits| Tally { hits, wanted: 0 });
            for (_, query) in queries.rows() {
                // About normally distributed: so `next` is below its quantile for this share.
                let passing: Vec<PointId> = set
                    .points()
                    .into_iter()
                    .filter(|_| (noise.next().to_bits() >> 3) % 100 < percent as u32)
                    .collect();
                let mut scratch = Scratch::default();
                let points = passing.iter().copied();
                scanned.add(
                    &set,
                    query,
                    &passing,
                    &worth(&set, query, graph.scan(query, K, 0, points, &mut scratch)),
                );
                let groups = graph.grouped(passing.iter().copied());
                let (found, codes) = graph.scan_grouped(query, (K, 0), &groups, &mut scratch);
                grouped.add(&set, query, &passing, &worth(&set, query, found));
                assert!(codes <= passing.len() as u64);
                let (found, _) = among(&graph, &set, query, &passing, 100, u64::MAX);
                inside.add(&set, query, &passing, &found);
                let passes: BTreeSet<PointId> = passing.iter().copied().collect();
                let ef = 6_000 / percent as usize;
                let is_allowed = |point: PointId| passes.contains(&point);
                let (found, report) = graph.shortlist_past(query, K, ef, &is_allowed, &mut scratch);
                assert!(report.passed as usize == found.len() && report.lists >= report.passed);
                after.add(&set, query, &passing, &worth(&set, query, found));
            }
            let recalls = [scanned, inside, after, grouped].map(|tally| tally.recall());
            assert!(recalls[0] >= 0.99, "{layout:?}, {percent} %: scan {recalls:?}");
            assert!(recalls[1] >= 0.95, "{layout:?}, {percent} %: inside {recalls:?}");
            assert!(recalls[2] >= 0.95, "{layout:?}, {percent} %: after {recalls:?}");
            assert!(recalls[3] >= 0.98, "{layout:?}, {percent} %: groups {recalls:?}");
        }
    }
}

/// The groups near the query come first and the others are left out, but points far from the query are found too.
#[test]
fn a_scan_of_groups_ends_early_and_finds_what_passes_far_from_the_query() {
    let mut set = clustered(16_000, 64, 7);
    // Clusters that do not overlap.
    for (row, vector) in set.values.chunks_exact_mut(64).enumerate() {
        let center = Noise(row as u64 % 20 * 7 + 1).vector(64, 1.0);
        vector.iter_mut().zip(center).for_each(|(x, c)| *x += c);
    }
    for layout in LAYOUTS {
        let graph = build(&set, Metric::Cosine, layout);
        let groups = graph.grouped(set.points().into_iter());
        assert_eq!(groups.len(), 16_000);
        let [mut all, mut far] = [0; 2].map(|hits| Tally { hits, wanted: 0 });
        let (mut scratch, mut codes) = (Scratch::default(), 0);
        for number in 0..30 {
            let query = set.row(PointId(number));
            if number == 0 {
                let unready = graph.scan_grouped_if_ready(query, (K, 0), &groups, &mut scratch);
                // A lean graph does without signs.
                let is_lean = layout == GraphLayout::Lean;
                assert_eq!(unready.is_some(), is_lean, "nobody has put signs in order yet");
            }
            let (found, compared) = graph.scan_grouped(query, (K, 0), &groups, &mut scratch);
            let (found, compared) = (worth(&set, query, found), compared);
            let ready = graph.scan_grouped_if_ready(query, (K, 0), &groups, &mut scratch);
            let ready = ready.map(|(found, compared)| (worth(&set, query, found), compared));
            assert_eq!(ready, Some((found.clone(), compared)));
            let found = &found[..];
            codes += compared;
            all.add(&set, query, &set.points(), found);

            let exact = ExactDistance::new(Metric::Cosine, query);
            let distances = nearest(&set, &exact, set.points().into_iter(), 16_000);
            let is_far = |point: &PointId| exact.distance(set.row(*point)) >= distances[8_000];
            let passing: Vec<PointId> = set.points().into_iter().filter(is_far).collect();
            let groups = graph.grouped(passing.iter().copied());
            far.add(
                &set,
                query,
                &passing,
                &worth(&set, query, graph.scan_grouped(query, (K, 0), &groups, &mut scratch).0),
            );
        }
        assert!(codes < 30 * 16_000 / 2, "{layout:?}: {codes} codes of {}", 30 * 16_000);
        assert!(all.recall() >= 0.98, "{layout:?}: {}", all.recall());
        // Without signs, a scan of a lean graph learns later that it is near.
        let least = if layout == GraphLayout::Lean { 0.92 } else { 0.95 };
        assert!(far.recall() >= least, "{layout:?}: far {}", far.recall());
    }
}

/// Where many pass, signs rule most of them out before their codes are compared.
#[test]
fn signs_spare_a_scan_of_groups_most_codes() {
    let set = clustered(20_000, 96, 9);
    let queries = clustered(30, 96, 9);
    for layout in [GraphLayout::Compact, GraphLayout::Blocks] {
        let graph = build(&set, Metric::Cosine, layout);
        for share in [2, 10] {
            let mut noise = Noise(share);
            let passes = |_: &PointId| u64::from(noise.next().to_bits() >> 3) % share == 0;
            let passing: Vec<PointId> = set.points().into_iter().filter(passes).collect();
            let groups = graph.grouped(passing.iter().copied());
            assert!(groups.bytes() < passing.len() * 4, "a list of them would take no more");
            let mut tally = Tally { hits: 0, wanted: 0 };
            let (mut scratch, mut codes) = (Scratch::default(), 0);
            for (_, query) in queries.rows() {
                let (found, compared) = graph.scan_grouped(query, (K, 0), &groups, &mut scratch);
                codes += compared;
                tally.add(&set, query, &passing, &worth(&set, query, found));
            }
            let most = (30 * passing.len() / 3) as u64;
            assert!(
                codes < most,
                "{layout:?}, one of {share}: {codes} codes, expected {most}"
            );
            assert!(tally.recall() >= 0.98, "{layout:?}, one of {share}: {}", tally.recall());
        }
    }
}

/// Groups that were made once know the points that join later: a few beside those in order, or all put in order anew.
#[test]
fn groups_of_a_graph_that_grew_hold_the_newcomers() {
    let set = clustered(1_500, 32, 5);
    let points = set.points();
    let config = config(Metric::Cosine, 32, LAYOUTS[0]);
    let graph = Graph::build(&config, &points[..1_000], &set, 1, &Watch::patient()).unwrap();
    assert_eq!(graph.grouped(points.iter().copied()).len(), 1_000);
    for count in [1_020, 1_500] {
        let grown = graph.extended(&points[1_000..count], &set, &Watch::patient()).unwrap();
        let mut scratch = Scratch::default();
        for step in [1, 2, 200] {
            let passing: Vec<PointId> = points.iter().copied().step_by(step).collect();
            let groups = grown.grouped(passing.iter().copied());
            assert_eq!(groups.len(), count.div_ceil(step));
            for point in [0, 1_000, 1_018].map(PointId) {
                let (mut found, _) = grown.scan_grouped(set.row(point), (1, 0), &groups, &mut scratch);
                let is_there = (point.0 as usize).is_multiple_of(step);
                let first = found.next(f32::INFINITY).unwrap();
                assert_eq!(first.point == point, is_there, "{count} points, one of {step}");
            }
        }
    }
}

/// A filter is far if no point near the query passes, and one that passes points by chance is not.
#[test]
fn groups_tell_who_is_far_from_all_that_passes() {
    let set = clustered(16_000, 64, 7);
    let graph = build(&set, Metric::Cosine, LAYOUTS[0]);
    let mut scratch = Scratch::default();
    let by_chance = graph.grouped(set.points().into_iter().step_by(3));
    for number in 0..20 {
        let query = set.row(PointId(number));
        let exact = ExactDistance::new(Metric::Cosine, query);
        let distances = nearest(&set, &exact, set.points().into_iter(), 16_000);
        let beyond = |point: &PointId| exact.distance(set.row(*point)) >= distances[8_000];
        let far = graph.grouped(set.points().into_iter().filter(beyond));
        assert!(graph.is_far(query, &far, &mut scratch), "query {number}");
        assert!(!graph.is_far(query, &by_chance, &mut scratch), "query {number}");
    }
}

/// What passes lies in other clusters than the query, or beyond a border around it, where many are equally far.
#[test]
fn points_that_pass_far_from_the_query_are_found_by_a_walk_or_it_gives_up() {
    let set = clustered(4_000, 96, 2);
    for layout in LAYOUTS {
        let graph = build(&set, Metric::Cosine, layout);
        let [mut scanned, mut inside] = [0; 2].map(|hits| Tally { hits, wanted: 0 });
        for number in 0..40 {
            let query = set.row(PointId(number));
            let exact = ExactDistance::new(Metric::Cosine, query);
            let passing: Vec<PointId> = if number % 2 == 0 {
                // A fifth of the clusters, not that of the query.
                let is_far = |point: &PointId| (point.0 + 20 - number % 20) % 20 % 5 == 1;
                set.points().into_iter().filter(is_far).collect()
            } else {
                let all = nearest(&set, &exact, set.points().into_iter(), 4_000);
                let is_far = |point: &PointId| exact.distance(set.row(*point)) >= all[3_000];
                set.points().into_iter().filter(is_far).collect()
            };
            let points = passing.iter().copied();
            let mut scratch = Scratch::default();
            scanned.add(
                &set,
                query,
                &passing,
                &worth(&set, query, graph.scan(query, K, 0, points, &mut scratch)),
            );
            let (found, is_complete) = among(&graph, &set, query, &passing, 100, u64::MAX);
            if is_complete {
                inside.add(&set, query, &passing, &found);
            }
        }
        assert!(scanned.recall() >= 0.95, "{layout:?}: scan {}", scanned.recall());
        assert!(inside.wanted >= 100, "{layout:?}: {} wanted of walks", inside.wanted);
        assert!(inside.recall() >= 0.95, "{layout:?}: inside {}", inside.recall());
    }
}

#[test]
fn a_walk_that_becomes_expensive_stops_and_says_so() {
    let set = clustered(2_000, 32, 3);
    for layout in LAYOUTS {
        let graph = build(&set, Metric::Cosine, layout);
        let passing: Vec<PointId> = set.points().into_iter().step_by(20).collect();
        let query = set.row(PointId(7));
        assert!(among(&graph, &set, query, &passing, 50, u64::MAX).1);
        assert!(!among(&graph, &set, query, &passing, 50, 200).1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However few pass, a scan finds as many as are wanted; points that came later, or are not there, included.
    #[test]
    fn a_scan_finds_as_many_as_there_are(
        passing in btree_set(0_u32..700, 0..60),
        k in 1_usize..40,
        cut in 1_usize..600,
    ) {
        let set = clustered(600, 16, 4);
        let points = set.points();
        let first = config(Metric::Cosine, 16, LAYOUTS[cut % 2]);
        let graph = Graph::build(&first, &points[cut..], &set, 1, &Watch::patient()).unwrap();
        let mut scratch = Scratch::default();
        let asked_before = cut % 3 == 0;
        if asked_before {
            prop_assert_eq!(graph.vertex(PointId(0)), None);
        }
        let graph = graph.extended(&points[..cut], &set, &Watch::patient()).unwrap();
        for (place, point) in points[cut..].iter().chain(&points[..cut]).enumerate() {
            prop_assert_eq!(graph.vertex(*point), Some(place as u32));
        }
        let there: BTreeSet<u32> = passing.iter().copied().filter(|point| *point < 600).collect();
        let points = passing.iter().copied().map(PointId);
        let found = graph.scan(set.row(PointId(0)), k, 0, points, &mut scratch);
        let found = found.candidates();
        let names: BTreeSet<u32> = found.iter().map(|candidate| candidate.point.0).collect();
        prop_assert!(names.is_subset(&there) && names.len() == found.len());
        prop_assert!(found.len() >= k.min(there.len()));
        for candidate in found {
            prop_assert_eq!(graph.point(candidate.vertex), candidate.point);
        }
    }

    /// So does a scan of groups, of those only that pass, however many do and wherever.
    #[test]
    fn a_scan_of_groups_finds_as_many_as_there_are(
        passing in vec(any::<bool>(), 700),
        clusters in 1_usize..20,
        k in 1_usize..90,
        grown in 0_usize..60,
    ) {
        let set = clustered(700, 16, 4);
        let points = set.points();
        let config = config(Metric::Cosine, 16, LAYOUTS[k % 2]);
        let graph = Graph::build(&config, &points[..640], &set, 1, &Watch::patient()).unwrap();
        let _ = graph.grouped(points.iter().copied());
        let graph = graph.extended(&points[640..640 + grown], &set, &Watch::patient()).unwrap();
        let passes = |point: &PointId| passing[point.0 as usize] && (point.0 as usize % 20) < clusters;
        let passing: BTreeSet<PointId> = points.into_iter().filter(passes).collect();
        let there = passing.iter().filter(|point| (point.0 as usize) < 640 + grown).count();
        let groups = graph.grouped(passing.iter().copied());
        prop_assert_eq!(groups.len(), there);
        let mut scratch = Scratch::default();
        let (found, codes) = graph.scan_grouped(set.row(PointId(3)), (k, 0), &groups, &mut scratch);
        let found = found.candidates();
        let names: BTreeSet<PointId> = found.iter().map(|candidate| candidate.point).collect();
        prop_assert!(names.is_subset(&passing) && names.len() == found.len());
        prop_assert!(found.len() >= k.min(there) && codes <= there as u64);
    }
}
