//! Does a graph find what is near, whatever the data, and keep what it promises?

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for code")]

mod data;
mod filtered;
mod repair;

use std::collections::BTreeSet;
use std::sync::Arc;

use llmspell_vector::{
    Candidate, ExactDistance, Graph, GraphConfig, GraphLayout, Metric, PointId, Rows, Scratch, TopK, scan,
};

use data::{Noise, Set, Watch, clustered, compared, config};

const LAYOUTS: [GraphLayout; 3] = [GraphLayout::Compact, GraphLayout::Blocks, GraphLayout::Lean];

fn build(set: &Set, metric: Metric, layout: GraphLayout) -> Graph {
    let graph = Graph::build(
        &config(metric, set.dim, layout),
        &set.points(),
        set,
        2,
        &Watch::patient(),
    )
    .unwrap();
    graph.check().unwrap();
    graph
}

/// Distances of the `k` nearest that a search finds: shortlist, then exact distances.
fn found(graph: &Graph, set: &Set, query: &[f32], k: usize, ef: usize) -> Vec<f32> {
    let exact = ExactDistance::new(graph.config().metric, query);
    let mut scratch = Scratch::default();
    let compared = compared(set, &exact, k, graph.shortlist(query, k, ef, None, &mut scratch));
    let mut distances: Vec<f32> = compared
        .iter()
        .map(|candidate| exact.distance(set.row(candidate.point)))
        .collect();
    distances.sort_by(f32::total_cmp);
    distances.truncate(k);
    distances
}

/// Share of the `k` nearest that is found, equally near ones counting the same.
fn recall(graph: &Graph, set: &Set, queries: &Set, k: usize, ef: usize) -> f64 {
    let (mut hits, mut wanted) = (0, 0);
    for (_, query) in queries.rows() {
        let exact = ExactDistance::new(graph.config().metric, query);
        let mut top = TopK::new(k);
        scan(&exact, set.rows(), None, &mut top);
        let (nearest, _) = top.into_sorted();
        let farthest = nearest.last().unwrap().distance;
        wanted += nearest.len();
        hits += found(graph, set, query, k, ef)
            .iter()
            .filter(|distance| **distance <= farthest)
            .count();
    }
    hits as f64 / wanted as f64
}

fn assert_recall(name: &str, set: &Set, queries: &Set, metric: Metric) {
    for layout in LAYOUTS {
        let graph = build(set, metric, layout);
        let at_100 = recall(&graph, set, queries, 10, 100);
        assert!(
            at_100 >= 0.95,
            "{name}, {metric:?}, {layout:?}: recall {at_100} at ef 100"
        );
        assert_eq!(graph.stats(&|_| false).unreachable, 0, "{name}, {metric:?}, {layout:?}");
    }
}

#[test]
fn clustered_vectors_are_found_by_every_metric_and_nearly_all_with_a_wide_beam() {
    let set = clustered(4_000, 96, 1);
    let queries = clustered(60, 96, 1);
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct] {
        assert_recall("clustered", &set, &queries, metric);
    }
    for layout in LAYOUTS {
        let graph = build(&set, Metric::Cosine, layout);
        let wide = recall(&graph, &set, &queries, 10, 1_500);
        assert!(wide >= 0.999, "{layout:?}: {wide}");
    }
}

#[test]
fn vectors_of_one_component_are_found() {
    let mut noise = Noise(2);
    let set = Set::new(1, (0..3_000).map(|_| noise.vector(1, 1.0)));
    let queries = Set::new(1, (0..60).map(|_| noise.vector(1, 1.0)));
    assert_recall("one component", &set, &queries, Metric::Euclidean);
}

#[test]
fn clusters_far_apart_are_all_found() {
    let mut noise = Noise(3);
    let mut far = |count: usize| {
        Set::new(
            24,
            (0..count).map(|row| {
                let mut vector = noise.vector(24, 1.0);
                vector[row % 24] += 1_000.0 * (1 + row % 5) as f32;
                vector
            }),
        )
    };
    let (set, queries) = (far(3_000), far(60));
    assert_recall("far apart", &set, &queries, Metric::Euclidean);
}

#[test]
fn duplicates_hide_nothing() {
    let mut noise = Noise(4);
    let set = Set::new(
        32,
        (0..3_000).map(|row| {
            if row % 3 == 0 {
                vec![0.5; 32]
            } else {
                noise.vector(32, 1.0)
            }
        }),
    );
    let queries = Set::new(32, (0..60).map(|_| noise.vector(32, 1.0)));
    assert_recall("duplicates", &set, &queries, Metric::Euclidean);
}

/// `count` members of groups of `size` near-duplicates; members have a cosine of about `1 / (1 + spread²)`.
fn groups(count: usize, size: usize, dim: usize, spread: f32, noise: &mut Noise) -> (Set, Set) {
    let centers: Vec<Vec<f32>> = (0..count.div_ceil(size)).map(|_| noise.vector(dim, 1.0)).collect();
    let mut member = |place: usize| {
        let center = &centers[place * 7 % centers.len()];
        let around = noise.vector(dim, spread);
        center
            .iter()
            .zip(around)
            .map(|(x, more)| x + more)
            .collect::<Vec<f32>>()
    };
    let set = Set::new(dim, (0..count).map(&mut member));
    let queries = Set::new(dim, (0..30).map(&mut member));
    (set, queries)
}

#[test]
fn near_duplicates_are_found_and_the_wider_the_beam_the_more_of_them() {
    for (size, dim, spread) in [(50, 64, 0.2), (100, 96, 0.1), (120, 32, 0.014)] {
        let (set, queries) = groups(3_000, size, dim, spread, &mut Noise(17));
        for metric in [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct] {
            for layout in LAYOUTS {
                let graph = build(&set, metric, layout);
                let [at_200, at_1000, at_all] = [200, 1_000, 3_000].map(|ef| recall(&graph, &set, &queries, 10, ef));
                let name = format!("groups of {size}, {dim} components, {metric:?}, {layout:?}");
                assert!(at_200 >= 0.95, "{name}: {at_200} at ef 200");
                // A lean graph has fewer links, and a group more members than a vertex has links.
                let least = if layout == GraphLayout::Lean { 0.995 } else { 0.999 };
                assert!(at_1000 >= least, "{name}: {at_1000} at ef 1,000");
                assert!(at_all == 1.0, "{name}: {at_all} as wide as the graph");
            }
        }
    }
}

#[test]
fn where_the_nearest_are_clearly_nearer_only_they_are_compared() {
    let set = clustered(3_000, 256, 18);
    for layout in LAYOUTS {
        let graph = build(&set, Metric::Cosine, layout);
        let mut scratch = Scratch::default();
        let counts = (0..40).map(|number| {
            let query = set.row(PointId(number));
            let exact = ExactDistance::new(Metric::Cosine, query);
            compared(&set, &exact, 1, graph.shortlist(query, 1, 100, None, &mut scratch)).len()
        });
        let most = counts.max().unwrap();
        assert!(
            most <= 3,
            "{layout:?}: {most} of 100 candidates compared for the vector itself"
        );
    }
}

#[test]
fn what_was_updated_again_and_again_is_found_as_in_a_new_graph() {
    let set = clustered(6_000, 64, 19);
    let points = set.points();
    for layout in LAYOUTS {
        let config = config(Metric::Cosine, 64, layout);
        let watch = Watch::patient();
        let mut graph = Graph::build(&config, &points[..4_000], &set, 2, &watch).unwrap();
        // Those that are asked for are replaced by near ones: 10 times 200 of 4,000.
        let mut living: Vec<PointId> = points[..4_000].to_vec();
        for round in 0..10 {
            let newer = &points[4_000 + 200 * round..4_200 + 200 * round];
            let same_cluster = |dead: &PointId, new: &PointId| dead.0 % 20 == new.0 % 20;
            for new in newer {
                let place = living.iter().position(|dead| same_cluster(dead, new)).unwrap();
                living.remove(place);
            }
            graph = graph.extended(newer, &set, &watch).unwrap();
            living.extend(newer);
        }
        let new = Graph::build(&config, &living, &set, 2, &watch).unwrap();
        let lives: BTreeSet<PointId> = living.iter().copied().collect();
        let is_hidden = |point: PointId| !lives.contains(&point);
        for ef in [16, 32] {
            let hits = |graph: &Graph| {
                let mut hits = 0;
                for query in living.iter().step_by(40).map(|point| set.row(*point)) {
                    let exact = ExactDistance::new(Metric::Cosine, query);
                    let mut nearest = TopK::new(10);
                    scan(
                        &exact,
                        living.iter().map(|point| (*point, set.row(*point))),
                        None,
                        &mut nearest,
                    );
                    let mut scratch = Scratch::default();
                    let shortlist = graph.shortlist(query, 10, ef, Some(&is_hidden), &mut scratch);
                    let found = compared(&set, &exact, 10, shortlist);
                    let near = |candidate: &&Candidate| exact.distance(set.row(candidate.point)) <= nearest.bound();
                    hits += found.iter().filter(near).count().min(10);
                }
                hits
            };
            let (updated, fresh) = (hits(&graph), hits(&new));
            assert!(
                updated + 30 >= fresh,
                "{layout:?}, ef {ef}: {updated} of 1,000, a new one {fresh}"
            );
        }
    }
}

#[test]
fn of_equal_vectors_as_many_are_found_as_are_wanted() {
    let set = Set::new(8, (0..500).map(|_| vec![1.0; 8]));
    for (layout, metric) in LAYOUTS
        .into_iter()
        .flat_map(|layout| [Metric::Cosine, Metric::Euclidean].map(|metric| (layout, metric)))
    {
        let graph = build(&set, metric, layout);
        assert_eq!(
            found(&graph, &set, &[1.0; 8], 10, 50),
            [0.0; 10],
            "{layout:?} {metric:?}"
        );
    }
}

#[test]
fn long_and_short_vectors_are_found_by_their_product() {
    let mut noise = Noise(5);
    let mut any = |count: usize| {
        Set::new(
            48,
            (0..count).map(|row| {
                let size = 1.0 + (row * 31 % 997) as f32 / 100.0;
                noise.vector(48, size)
            }),
        )
    };
    let (set, queries) = (any(3_000), any(60));
    assert_recall("norms", &set, &queries, Metric::InnerProduct);
}

#[test]
fn one_point_and_two_points_are_graphs() {
    for (layout, count) in LAYOUTS
        .into_iter()
        .flat_map(|layout| [(layout, 1), (layout, 2), (layout, 40)])
    {
        let set = clustered(count, 20, 6);
        let graph = build(&set, Metric::Cosine, layout);
        assert_eq!(
            found(&graph, &set, set.row(PointId(0)), 100, 100).len(),
            count,
            "{layout:?}"
        );
    }
}

#[test]
fn what_is_hidden_is_not_found_but_still_leads_on() {
    let set = clustered(2_000, 64, 7);
    for layout in LAYOUTS {
        let graph = build(&set, Metric::Cosine, layout);
        let is_hidden = |point: PointId| !point.0.is_multiple_of(4);
        let mut scratch = Scratch::default();
        let shortlist = graph.shortlist(set.row(PointId(3)), 10, 200, Some(&is_hidden), &mut scratch);
        let candidates = shortlist.candidates();
        assert!(candidates.len() >= 10, "{layout:?}");
        assert!(
            candidates.iter().all(|candidate| candidate.point.0.is_multiple_of(4)),
            "{layout:?}"
        );
        assert!(
            candidates
                .iter()
                .all(|candidate| graph.point(candidate.vertex) == candidate.point)
        );
    }
}

#[test]
fn a_crowd_of_deleted_points_hides_no_living_ones() {
    let mut noise = Noise(16);
    // 250 points around one place are deleted; those that live lie farther out.
    let set = Set::new(
        32,
        (0..3_000).map(|row| noise.vector(32, if row < 250 { 0.2 } else { 1.0 })),
    );
    let living = Set::new(32, set.rows().skip(250).map(|(_, row)| row.to_vec()));
    for layout in LAYOUTS {
        let graph = build(&set, Metric::Euclidean, layout);
        let (mut hits, mut wanted) = (0, 0);
        for _ in 0..30 {
            let query = noise.vector(32, 0.1);
            let exact = ExactDistance::new(Metric::Euclidean, &query);
            let mut top = TopK::new(10);
            scan(&exact, living.rows(), None, &mut top);
            let farthest = top.bound();
            let mut scratch = Scratch::default();
            let shortlist = graph.shortlist(&query, 10, 200, Some(&|point| point.0 < 250), &mut scratch);
            let candidates = shortlist.candidates();
            wanted += 10;
            let near = candidates
                .iter()
                .filter(|candidate| exact.distance(set.row(candidate.point)) <= farthest);
            hits += near.count().min(10);
        }
        assert!(hits * 100 >= wanted * 95, "{layout:?}: {hits} of {wanted}");
    }
}

#[test]
fn points_that_come_later_are_found_like_the_others() {
    let set = clustered(3_000, 64, 8);
    let queries = clustered(60, 64, 8);
    let points = set.points();
    for layout in LAYOUTS {
        let first = Graph::build(
            &config(Metric::Cosine, 64, layout),
            &points[..2_000],
            &set,
            1,
            &Watch::patient(),
        )
        .unwrap();
        let mut graph = first.clone();
        for more in points[2_000..].chunks(300) {
            graph = graph.extended(more, &set, &Watch::patient()).unwrap();
        }
        graph.check().unwrap();
        assert_eq!((first.len(), graph.len()), (2_000, 3_000));
        let recall = recall(&graph, &set, &queries, 10, 100);
        assert!(recall >= 0.95, "{layout:?}: {recall}");
        // Each finds itself.
        let lost = points[2_000..].iter().filter(|point| {
            let mut scratch = Scratch::default();
            !graph
                .shortlist(set.row(**point), 10, 100, None, &mut scratch)
                .candidates()
                .iter()
                .any(|candidate| candidate.point == **point)
        });
        assert!(lost.count() <= 2, "{layout:?}");
        // What was there before is what it was.
        assert_eq!(first.changed(), 0);
        first.check().unwrap();
    }
}

#[test]
fn a_graph_that_was_written_answers_as_before_changed_or_not() {
    let set = clustered(1_500, 40, 9);
    let points = set.points();
    for (layout, metric) in LAYOUTS.into_iter().zip([Metric::InnerProduct, Metric::Cosine]) {
        let config = config(metric, 40, layout);
        let built = Graph::build(&config, &points[..1_200], &set, 2, &Watch::patient()).unwrap();
        let changed = built.extended(&points[1_200..], &set, &Watch::patient()).unwrap();
        assert!(changed.changed() > 300);
        for graph in [built, changed] {
            let mut bytes = Vec::new();
            assert_eq!(graph.write_to(&mut bytes).unwrap(), bytes.len() as u64);
            let opened = Graph::open(Arc::new(bytes)).unwrap();
            opened.check().unwrap();
            assert_eq!(
                (opened.config(), opened.len(), opened.changed()),
                (&config, graph.len(), 0)
            );
            for query in (0..1_500).step_by(50) {
                let shortlist = |graph: &Graph| {
                    graph
                        .shortlist(set.row(PointId(query)), 10, 60, None, &mut Scratch::default())
                        .candidates()
                        .to_vec()
                };
                assert_eq!(shortlist(&opened), shortlist(&graph));
            }
        }
    }
}

#[test]
fn one_thread_and_one_seed_make_one_graph() {
    let set = clustered(800, 32, 10);
    let bytes = |seed| {
        let config = GraphConfig {
            seed,
            ..config(Metric::Cosine, 32, GraphLayout::Blocks)
        };
        let mut bytes = Vec::new();
        let graph = Graph::build(&config, &set.points(), &set, 1, &Watch::patient()).unwrap();
        graph.write_to(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(bytes(3), bytes(3));
    assert_ne!(bytes(3), bytes(4));
}

/// Set in the process that the next test starts, in which no thread can be started.
const WITHOUT_THREADS: &str = "LLMSPELL_TEST_WITHOUT_THREADS";

#[test]
fn where_the_system_starts_no_thread_the_caller_builds_the_graph() {
    if std::env::var_os(WITHOUT_THREADS).is_none() {
        let test = "where_the_system_starts_no_thread_the_caller_builds_the_graph";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--test-threads", "1", "--nocapture"])
            .env(WITHOUT_THREADS, "1")
            // No system has room for such a stack.
            .env("RUST_MIN_STACK", (1_u64 << 62).to_string())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && told.contains("1 passed"), "{child:?}");
        return;
    }
    assert!(
        std::thread::Builder::new().spawn(|| ()).is_err(),
        "no thread can be started"
    );
    let set = clustered(800, 32, 10);
    for layout in [GraphLayout::Blocks, GraphLayout::Compact] {
        let bytes = |threads| {
            let config = config(Metric::Cosine, 32, layout);
            let mut bytes = Vec::new();
            let graph = Graph::build(&config, &set.points(), &set, threads, &Watch::patient()).unwrap();
            graph.write_to(&mut bytes).unwrap();
            bytes
        };
        assert!(bytes(1) == bytes(4), "one thread does the work of four");
    }
}

#[test]
fn points_keep_their_names() {
    let set = clustered(300, 16, 11);
    let points: Vec<PointId> = (0..300).rev().map(PointId).collect();
    let graph = Graph::build(
        &config(Metric::Cosine, 16, GraphLayout::Compact),
        &points,
        &set,
        2,
        &Watch::patient(),
    )
    .unwrap();
    let named: Vec<PointId> = (0..graph.len()).map(|vertex| graph.point(vertex)).collect();
    assert_eq!(named, points);
    let mut scratch = Scratch::default();
    let nearest = graph
        .shortlist(set.row(PointId(42)), 5, 50, None, &mut scratch)
        .next(f32::INFINITY);
    assert_eq!(nearest.unwrap().point, PointId(42));
}

#[test]
fn a_build_that_is_cancelled_gives_nothing() {
    let set = clustered(2_000, 16, 12);
    for layout in LAYOUTS {
        let config = config(Metric::Cosine, 16, layout);
        assert!(Graph::build(&config, &set.points(), &set, 2, &Watch::until(1_000)).is_none());
        assert!(Graph::build(&config, &set.points(), &set, 2, &Watch::until(0)).is_none());
    }
    let graph = build(&clustered(200, 16, 12), Metric::Cosine, GraphLayout::Compact);
    assert!(graph.extended(&set.points()[200..], &set, &Watch::until(10)).is_none());
}

#[test]
fn progress_counts_every_point_once() {
    let set = clustered(700, 16, 13);
    let watch = Watch::patient();
    let _ = Graph::build(
        &config(Metric::Cosine, 16, GraphLayout::Compact),
        &set.points(),
        &set,
        2,
        &watch,
    );
    assert_eq!(watch.linked.into_inner(), 700);
}

#[test]
fn queries_beyond_what_floats_can_measure_get_an_answer() {
    let set = clustered(500, 16, 14);
    for (layout, metric) in LAYOUTS
        .into_iter()
        .flat_map(|layout| [Metric::Euclidean, Metric::InnerProduct].map(|metric| (layout, metric)))
    {
        let graph = build(&set, metric, layout);
        for query in [[1.0e19; 16], [f32::MAX; 16], [0.0; 16], [f32::MIN_POSITIVE; 16]] {
            let mut scratch = Scratch::default();
            assert!(
                !graph.shortlist(&query, 5, 20, None, &mut scratch).is_empty(),
                "{layout:?} {metric:?} {query:?}"
            );
        }
    }
}

#[test]
fn vectors_at_the_edges_of_floats_make_a_graph() {
    let set = Set::new(
        4,
        (0..200).map(|row| vec![if row % 2 == 0 { 1.0e-25 } else { 1.0e18 } * (1.0 + row as f32); 4]),
    );
    for layout in LAYOUTS {
        for metric in [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct] {
            let graph = build(&set, metric, layout);
            assert_eq!(graph.len(), 200);
            let _ = found(&graph, &set, &[1.0; 4], 10, 50);
        }
    }
}

#[test]
fn damaged_bytes_are_refused_or_searched_without_a_panic() {
    let set = clustered(300, 16, 15);
    for layout in LAYOUTS {
        let mut bytes = Vec::new();
        build(&set, Metric::Cosine, layout).write_to(&mut bytes).unwrap();
        let (mut opened, mut refused) = (0, 0);
        for place in (0..160).chain((160..bytes.len()).step_by(97)) {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[place] ^= flip;
                match Graph::open(Arc::new(damaged)) {
                    Ok(graph) => {
                        opened += 1;
                        let known: BTreeSet<u32> = (0..graph.len()).collect();
                        let dim = graph.config().dim;
                        let mut scratch = Scratch::default();
                        let mut shortlist = graph.shortlist(&vec![0.3; dim], 5, 30, None, &mut scratch);
                        while shortlist.next(0.5).is_some() {}
                        let mut candidates = shortlist.candidates().iter();
                        assert!(candidates.all(|candidate| known.contains(&candidate.vertex)));
                        let _ = (graph.check(), graph.stats(&|_| false));
                    }
                    Err(damage) => {
                        refused += 1;
                        assert!(!damage.0.is_empty());
                    }
                }
            }
        }
        assert!(opened > 0 && refused > 0);
        for len in [0, 7, 127, 128, bytes.len() - 1] {
            assert!(Graph::open(Arc::new(bytes[..len].to_vec())).is_err(), "{len} bytes");
        }
    }
}
