//! Does a repair pay? `cargo run --release -p llmspell-bench --features measure --example repair -- BASE.f32 QUERIES.f32 DIM`, or `-- clustered COUNT DIM`
//!
//! The files are rows of `DIM` floats, little-endian. Of the points 15 in a hundred are deleted, or as many as the
//! environment says in `DELETED`, at random and in whole regions. Recall is that of the ten nearest living points, at
//! equal width; `crowded` are queries of whose ten nearest at least five were deleted. Behind the arguments may stand
//! `blocks` or `compact` for one layout only.

mod common;

use std::time::Instant;

use common::{Floats, Noise, Quiet, number, rescored};
use llmspell_vector::{ExactDistance, Graph, GraphConfig, GraphLayout, Metric, PointId, Rows, Scratch, TopK, scan};

/// Deleted points, in percent.
const DELETED: usize = 15;
const REGIONS: usize = 20;
const REPEATS: usize = 5;

/// Vectors around 200 centers, within a few directions: like embeddings.
fn clustered(noise: &mut Noise, centers: &[Vec<f32>], directions: &[Vec<f32>], count: usize, dim: usize) -> Floats {
    let mut values = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let center = noise.bits() as usize % centers.len();
        let mut vector = centers[center].clone();
        for direction in directions {
            let amount = noise.next();
            vector.iter_mut().zip(direction).for_each(|(x, d)| *x += amount * d);
        }
        vector.iter_mut().for_each(|x| *x += noise.next() * 0.1);
        values.extend(vector);
    }
    Floats { dim, values }
}

fn data(arguments: &[String]) -> (Floats, Floats) {
    let [base, queries, dim, ..] = arguments else {
        panic!("BASE QUERIES DIM, or `clustered` COUNT DIM")
    };
    let dim: usize = dim.parse().expect("a number");
    if base == "clustered" {
        let mut noise = Noise(7);
        let mut vectors = |count: usize, size: f32| -> Vec<Vec<f32>> {
            (0..count)
                .map(|_| (0..dim).map(|_| noise.next() * size).collect())
                .collect()
        };
        let (centers, directions) = (vectors(200, 0.5), vectors(12, 0.3));
        let count = queries.parse().expect("a number");
        let base = clustered(&mut noise, &centers, &directions, count, dim);
        return (base, clustered(&mut noise, &centers, &directions, 1_000, dim));
    }
    (Floats::read(base, dim), Floats::read(queries, dim))
}

fn random_deletes(rows: &Floats, percent: usize) -> Vec<bool> {
    let mut noise = Noise(1);
    (0..rows.len())
        .map(|_| (noise.bits() as usize % 100) < percent)
        .collect()
}

/// The points nearest to some of them.
fn region_deletes(rows: &Floats, percent: usize) -> Vec<bool> {
    let mut noise = Noise(2);
    let mut is_dead = vec![false; rows.len()];
    for _ in 0..REGIONS {
        let center = PointId(noise.bits() % rows.len() as u32);
        let exact = ExactDistance::new(Metric::Cosine, rows.row(center));
        let mut top = TopK::new(rows.len() * percent / 100 / REGIONS);
        let living = rows.rows().filter(|(point, _)| !is_dead[point.0 as usize]);
        scan(&exact, living, None, &mut top);
        for neighbor in top.into_sorted().0 {
            is_dead[neighbor.point.0 as usize] = true;
        }
    }
    is_dead
}

/// The ten nearest of the living to each query.
fn nearest(rows: &Floats, queries: &Floats, is_dead: &[bool]) -> Vec<Vec<u32>> {
    let of = |query: &[f32]| {
        let mut top = TopK::new(10);
        let living = rows.rows().filter(|(point, _)| !is_dead[point.0 as usize]);
        scan(&ExactDistance::new(Metric::Cosine, query), living, None, &mut top);
        top.into_sorted().0.iter().map(|neighbor| neighbor.point.0).collect()
    };
    queries.rows().map(|(_, query)| of(query)).collect()
}

struct Measured<'a> {
    rows: &'a Floats,
    queries: &'a Floats,
    is_dead: &'a [bool],
    truth: &'a [Vec<u32>],
}

impl Measured<'_> {
    /// Prints recall and time of the queries that are chosen.
    fn print(&self, name: &str, graph: &Graph, is_chosen: impl Fn(usize) -> bool) {
        for ef in [16, 32, 64, 128] {
            let (mut best, mut hits, mut count) = (f64::INFINITY, 0, 0);
            let mut scratch = Scratch::default();
            for _ in 0..REPEATS {
                (hits, count) = (0, 0);
                let start = Instant::now();
                for (place, (_, query)) in self.queries.rows().enumerate() {
                    if !is_chosen(place) {
                        continue;
                    }
                    count += 1;
                    let exact = ExactDistance::new(Metric::Cosine, query);
                    let is_hidden = |point: PointId| self.is_dead[point.0 as usize];
                    let shortlist = graph.shortlist(query, 10, ef, Some(&is_hidden), &mut scratch);
                    let (top, _) = rescored(self.rows, &exact, 10, shortlist);
                    let found = top.into_sorted().0;
                    hits += found
                        .iter()
                        .filter(|found| self.truth[place].contains(&found.point.0))
                        .count();
                }
                best = best.min(start.elapsed().as_secs_f64());
            }
            println!(
                "{name:24} {count:4} queries  ef {ef:3}  recall {:.4}  {:6.1} µs",
                hits as f64 / (10 * count.max(1)) as f64,
                1e6 * best / f64::from(count.max(1))
            );
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (rows, queries) = data(&arguments);
    let percent = number("DELETED", DELETED);
    let none_dead = vec![false; rows.len()];
    let all = nearest(&rows, &queries, &none_dead);
    let points = rows.points();
    for layout in [GraphLayout::Blocks, GraphLayout::Compact] {
        let name = format!("{layout:?}").to_lowercase();
        if arguments.iter().any(|word| word == "compact" || word == "blocks") && !arguments.contains(&name) {
            continue;
        }
        let config = GraphConfig {
            metric: Metric::Cosine,
            dim: rows.dim,
            m: 16,
            ef_construction: 100,
            seed: 1,
            layout,
        };
        let build = |points: &[PointId]| {
            let start = Instant::now();
            let graph = Graph::build(&config, points, &rows, 1, &Quiet).expect("nobody cancels");
            (graph, start.elapsed().as_secs_f64())
        };
        let (graph, seconds) = build(&points);
        println!("\n{name}: built by one thread in {seconds:.2} s");
        let before = Measured {
            rows: &rows,
            queries: &queries,
            is_dead: &none_dead,
            truth: &all,
        };
        before.print("before", &graph, |_| true);
        for (deleted, is_dead) in [
            ("random", random_deletes(&rows, percent)),
            ("regions", region_deletes(&rows, percent)),
        ] {
            let living: Vec<PointId> = points
                .iter()
                .copied()
                .filter(|point| !is_dead[point.0 as usize])
                .collect();
            let truth = nearest(&rows, &queries, &is_dead);
            let start = Instant::now();
            let is_hidden = |point: PointId| is_dead[point.0 as usize];
            let repaired = graph.repaired(&is_hidden, &rows, &Quiet).expect("nobody cancels");
            let seconds = start.elapsed().as_secs_f64();
            repaired.check().expect("a repair keeps the promises");
            let start = Instant::now();
            let again = repaired.repaired(&is_hidden, &rows, &Quiet).expect("nobody cancels");
            assert_eq!(again.changed(), repaired.changed(), "nothing is left to do");
            println!("{deleted}: found that out in {:.3} s", start.elapsed().as_secs_f64());
            println!(
                "{deleted}: {} living; repaired in {seconds:.2} s, {} vertices changed, {} not reachable",
                living.len(),
                repaired.changed(),
                repaired.stats(&is_hidden).unreachable
            );
            let (rebuilt, seconds) = build(&living);
            println!("{deleted}: rebuilt in {seconds:.2} s");
            let after = Measured {
                rows: &rows,
                queries: &queries,
                is_dead: &is_dead,
                truth: &truth,
            };
            let is_crowded = |query: usize| all[query].iter().filter(|point| is_dead[**point as usize]).count() >= 5;
            for (state, graph) in [("tombstones", &graph), ("repaired", &repaired), ("rebuilt", &rebuilt)] {
                after.print(&format!("{deleted}, {state}"), graph, |_| true);
            }
            for (state, graph) in [("tombstones", &graph), ("repaired", &repaired), ("rebuilt", &rebuilt)] {
                after.print(&format!("{deleted}, {state}, crowded"), graph, is_crowded);
            }
        }
    }
}
