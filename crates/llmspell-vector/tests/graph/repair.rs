//! Do repaired graphs keep their promises, and is it worth the trouble?

use std::collections::BTreeSet;

use llmspell_vector::{ExactDistance, Graph, GraphConfig, Metric, PointId, Rows, Scratch, TopK, scan};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::LAYOUTS;
use crate::data::{Noise, Set, Watch, clustered, compared, config};

#[derive(Debug, Clone)]
enum Step {
    Extend(usize),
    /// One point in this many dies.
    DeleteOneOf(u32),
    /// The nearest of the living to a point die.
    DeleteNear(usize, usize),
    Repair,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..30_usize).prop_map(Step::Extend),
        2 => (2..20_u32).prop_map(Step::DeleteOneOf),
        2 => (any::<prop::sample::Index>(), 1..80_usize)
            .prop_map(|(center, count)| Step::DeleteNear(center.index(400), count)),
        3 => Just(Step::Repair),
    ]
}

/// Vectors without those of the dead points.
struct Living<'a> {
    set: &'a Set,
    dead: &'a BTreeSet<u32>,
}

impl Rows for Living<'_> {
    fn row(&self, point: PointId) -> &[f32] {
        assert!(!self.dead.contains(&point.0), "the vector of {point:?} is gone");
        self.set.row(point)
    }
}

fn bytes(graph: &Graph) -> Vec<u8> {
    let mut bytes = Vec::new();
    graph.write_to(&mut bytes).unwrap();
    bytes
}

/// The `count` nearest of the points that live.
fn nearest(set: &Set, dead: &BTreeSet<u32>, metric: Metric, query: &[f32], count: usize) -> Vec<u32> {
    let living = set.rows().filter(|(point, _)| !dead.contains(&point.0));
    let mut top = TopK::new(count);
    scan(&ExactDistance::new(metric, query), living, None, &mut top);
    top.into_sorted().0.iter().map(|neighbor| neighbor.point.0).collect()
}

fn repaired(graph: &Graph, set: &Set, dead: &BTreeSet<u32>) -> Graph {
    let rows = Living { set, dead };
    graph
        .repaired(&|point| dead.contains(&point.0), &rows, &Watch::patient())
        .unwrap()
}

/// Share of the ten nearest living ones that are found.
fn recall(graph: &Graph, set: &Set, dead: &BTreeSet<u32>, queries: &[Vec<f32>], ef: usize) -> f64 {
    let mut hits = 0;
    for query in queries {
        let exact = ExactDistance::new(graph.config().metric, query);
        let mut top = TopK::new(10);
        let is_hidden = |point: PointId| dead.contains(&point.0);
        let mut scratch = Scratch::default();
        for candidate in compared(
            set,
            &exact,
            10,
            graph.shortlist(query, 10, ef, Some(&is_hidden), &mut scratch),
        ) {
            top.offer(exact.distance(set.row(candidate.point)), candidate.point);
        }
        let truth = nearest(set, dead, graph.config().metric, query, 10);
        let found = top.into_sorted().0;
        hits += found.iter().filter(|found| truth.contains(&found.point.0)).count();
    }
    hits as f64 / (10 * queries.len()) as f64
}

proptest! {
    /// Whatever happened before, a repaired graph keeps its promises, every living point can be reached, and no walk
    /// meets a dead one. Few links per vertex, and few components, so that vertices are easily cut off.
    #[test]
    fn a_repaired_graph_leads_to_every_living_point_and_to_no_dead_one(
        steps in vec(step(), 1..12),
        start in 1..200_usize,
        m in 2..6_usize,
        is_clustered: bool,
        which in (0..LAYOUTS.len(), 0..3_usize),
    ) {
        let mut noise = Noise(start as u64);
        let set = match is_clustered {
            true => clustered(600, 4, 1),
            // Whole numbers: many are equal.
            false => Set::new(3, (0..600).map(|_| noise.vector(3, 2.0).iter().map(|x| x.round()).collect())),
        };
        let metric = [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct][which.1];
        let config = GraphConfig { m, ef_construction: 20, ..config(metric, set.dim, LAYOUTS[which.0]) };
        let points = set.points();
        let mut graph = Graph::build(&config, &points[..start], &set, 1, &Watch::patient()).unwrap();
        let mut dead = BTreeSet::new();

        for step in steps.into_iter().chain([Step::Repair]) {
            let held = graph.len();
            match step {
                Step::Extend(count) => {
                    let end = (held as usize + count).min(points.len());
                    graph = graph.extended(&points[held as usize..end], &set, &Watch::patient()).unwrap();
                }
                Step::DeleteOneOf(share) => dead.extend((0..held).filter(|point| (point * 7 + share) % share == 0)),
                Step::DeleteNear(center, count) => {
                    let center = set.row(PointId(center as u32)).to_vec();
                    dead.extend(nearest(&set, &dead, metric, &center, count).into_iter().filter(|point| *point < held));
                }
                Step::Repair => {
                    let before = bytes(&graph);
                    let after = repaired(&graph, &set, &dead);
                    prop_assert_eq!(after.stats(&|point| dead.contains(&point.0)).unreachable, 0);
                    prop_assert_eq!(bytes(&repaired(&graph, &set, &dead)), bytes(&after), "the same every time");
                    prop_assert_eq!(bytes(&repaired(&after, &set, &dead)), bytes(&after), "nothing is left to do");
                    prop_assert_eq!(bytes(&graph), before, "what was there before is what it was");
                    graph = after;
                    if (0..held).any(|point| !dead.contains(&point)) {
                        let all = held as usize;
                        let mut scratch = Scratch::default();
                        let met = graph.shortlist(set.row(PointId(0)), all, all, None, &mut scratch);
                        prop_assert!(met.candidates().iter().all(|candidate| !dead.contains(&candidate.point.0)));
                    }
                }
            }
            graph.check().map_err(TestCaseError::fail)?;
        }
    }
}

#[test]
fn where_a_region_was_deleted_what_lies_around_it_is_found_repaired_or_not() {
    let set = clustered(4_000, 64, 21);
    for layout in LAYOUTS {
        let config = config(Metric::Cosine, 64, layout);
        let graph = Graph::build(&config, &set.points(), &set, 2, &Watch::patient()).unwrap();
        let mut dead = BTreeSet::new();
        let centers: Vec<Vec<f32>> = (0..12).map(|center| set.row(PointId(center * 331)).to_vec()).collect();
        for center in &centers {
            dead.extend(nearest(&set, &dead, Metric::Cosine, center, 60));
        }
        let living: Vec<PointId> = set
            .points()
            .into_iter()
            .filter(|point| !dead.contains(&point.0))
            .collect();
        let new = Graph::build(&config, &living, &set, 2, &Watch::patient()).unwrap();
        let after = repaired(&graph, &set, &dead);
        let [before, after, new] = [graph, after, new].map(|graph| recall(&graph, &set, &dead, &centers, 32));
        // Tombstones take no places of a beam: they cost time, not recall.
        assert!(
            before >= new - 0.03 && after >= new - 0.03,
            "{layout:?}: {before}, repaired {after}, a new one {new}"
        );
    }
}

#[test]
fn where_points_die_here_and_there_a_repaired_graph_finds_like_a_new_one() {
    let set = clustered(4_000, 64, 22);
    let queries: Vec<Vec<f32>> = clustered(60, 64, 22).rows().map(|(_, row)| row.to_vec()).collect();
    for layout in LAYOUTS {
        let config = config(Metric::Cosine, 64, layout);
        let points = set.points();
        let mut graph = Graph::build(&config, &points[..3_000], &set, 2, &Watch::patient()).unwrap();
        let mut dead = BTreeSet::new();
        // Three times a tenth, and new ones come in between.
        for round in 0..3_u32 {
            dead.extend((0..graph.len()).filter(|point| point % 10 == round));
            graph = repaired(&graph, &set, &dead);
            let first = graph.len() as usize;
            graph = graph
                .extended(&points[first..(first + 300)], &set, &Watch::patient())
                .unwrap();
        }
        let held = graph.len();
        dead.extend(held..4_000);
        let living: Vec<PointId> = points.into_iter().filter(|point| !dead.contains(&point.0)).collect();
        let new = Graph::build(&config, &living, &set, 2, &Watch::patient()).unwrap();
        let [repaired, new] = [graph, new].map(|graph| recall(&graph, &set, &dead, &queries, 32));
        assert!(repaired >= new - 0.02, "{layout:?}: {repaired}, a new one {new}");
    }
}

#[test]
fn a_repair_that_is_cancelled_gives_nothing_and_one_without_dead_points_changes_nothing() {
    let set = clustered(500, 16, 23);
    for layout in LAYOUTS {
        let config = config(Metric::Cosine, 16, layout);
        let graph = Graph::build(&config, &set.points(), &set, 2, &Watch::patient()).unwrap();
        assert!(
            graph
                .repaired(&|point| point.0.is_multiple_of(3), &set, &Watch::until(20))
                .is_none()
        );
        assert_eq!(repaired(&graph, &set, &BTreeSet::new()).changed(), 0);
    }
}
