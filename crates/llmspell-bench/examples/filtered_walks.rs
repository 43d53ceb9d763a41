//! What does each way of a filtered search cost, at which recall?
//! `cargo run --release -p llmspell-bench --features measure --example filtered_walks -- BASE.f32 QUERIES.f32 DIM`
//!
//! The files are plain little-endian rows of `DIM` floats. For each share of points that pass and each way to choose
//! them: recall@10 and microseconds of shortlist and rescoring, mean and 99th percentile. The environment may set `EF`,
//! the width of the beam; `KEEP`, a path to keep the graphs under and take them from again; `QUERIES`, how many.

mod common;

use std::time::Instant;

use common::{Floats, Noise, kept_graph, number, rescored};
use llmspell_vector::{
    Among, ExactDistance, Graph, GraphConfig, GraphLayout, Metric, PointId, Rows, Scratch, Shortlist, TopK, scan,
};

const K: usize = 10;

/// Points that pass.
struct Passing {
    words: Vec<u64>,
    points: Vec<PointId>,
    sample: Vec<PointId>,
}

impl Passing {
    fn new(count: usize, noise: &mut Noise, mut passes: impl FnMut(usize, &mut Noise) -> bool) -> Self {
        let mut words = vec![0; count.div_ceil(64)];
        let mut points = Vec::new();
        for point in 0..count {
            if passes(point, noise) {
                words[point / 64] |= 1 << (point % 64);
                points.push(PointId(point as u32));
            }
        }
        let samples = number("SAMPLE", 128);
        let mut sample: Vec<PointId> = (0..samples.min(points.len()))
            .map(|_| points[noise.below(points.len())])
            .collect();
        sample.sort_unstable();
        Self { words, points, sample }
    }

    fn contains(&self, PointId(point): PointId) -> bool {
        self.words[point as usize / 64] >> (point % 64) & 1 == 1
    }
}

fn graph(layout: GraphLayout, rows: &Floats) -> Graph {
    let config = GraphConfig {
        metric: Metric::Cosine,
        dim: rows.dim,
        m: 16,
        ef_construction: 100,
        seed: 1,
        layout,
    };
    kept_graph(&config, rows, &format!("{layout:?}"))
}

/// Recall and times of one way.
#[derive(Default)]
struct Tally {
    hits: usize,
    wanted: usize,
    micros: Vec<f64>,
    shortlist: usize,
    codes: u64,
    lists: u64,
    gave_up: usize,
}

impl Tally {
    fn add(&mut self, rows: &Floats, exact: &ExactDistance, start: Instant, found: Shortlist<'_>, nearest: &[f32]) {
        let (top, compared) = rescored(rows, exact, K, found);
        self.shortlist += compared.len();
        let (top, _) = top.into_sorted();
        self.micros.push(start.elapsed().as_secs_f64() * 1e6);
        self.wanted += nearest.len();
        let farthest = nearest.last().copied().unwrap_or(0.0);
        self.hits += top.iter().filter(|neighbor| neighbor.distance <= farthest).count();
    }

    fn print(mut self, name: &str) {
        self.micros.sort_unstable_by(f64::total_cmp);
        let count = self.micros.len();
        let mean = self.micros.iter().sum::<f64>() / count as f64;
        println!(
            "    {name:24} recall {:.4}  mean {mean:7.1}  p99 {:7.1} µs  codes {:6} lists {:6} gave up {} shortlist {}",
            self.hits as f64 / self.wanted.max(1) as f64,
            self.micros[count * 99 / 100],
            self.codes / count as u64,
            self.lists / count as u64,
            self.gave_up,
            self.shortlist / count,
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, queries, dim] = &arguments[..] else {
        panic!("BASE QUERIES DIM")
    };
    let dim = dim.parse().expect("a number");
    let rows = Floats::read(base, dim);
    let count = rows.len();
    let queries: Vec<Vec<f32>> = Floats::read(queries, dim)
        .rows()
        .map(|(_, query)| query.to_vec())
        .take(number("QUERIES", 200))
        .collect();
    let ef = number("EF", 64);
    let distances: Vec<Vec<f32>> = queries
        .iter()
        .map(|query| {
            let exact = ExactDistance::new(Metric::Cosine, query);
            (0..count as u32)
                .map(|point| exact.distance(rows.row(PointId(point))))
                .collect()
        })
        .collect();
    for layout in [GraphLayout::Blocks, GraphLayout::Compact]
        .into_iter()
        .take(number("LAYOUTS", 2))
    {
        let graph = graph(layout, &rows);
        let mut scratch = Scratch::default();
        let mut tally = Tally::default();
        for (query, distances) in queries.iter().zip(&distances) {
            let mut all = distances.clone();
            all.select_nth_unstable_by(K - 1, f32::total_cmp);
            let exact = ExactDistance::new(Metric::Cosine, query);
            for _ in 0..2 {
                let start = Instant::now();
                let found = graph.shortlist(query, K, ef, None, &mut scratch);
                tally.add(&rows, &exact, start, found, &all[..K]);
            }
        }
        println!("{layout:?}, ef {ef}");
        tally.print("without a filter");
        for kind in ["random", "far"] {
            for share in [0.5, 0.2, 0.1, 0.05, 0.02, 0.01] {
                println!("  {kind} {share}");
                let mut ways: Vec<(String, Tally)> = Vec::new();
                let mut noise = Noise(7);
                for (query, distances) in queries.iter().zip(&distances) {
                    let border = {
                        let mut all = distances.clone();
                        let place = ((1.0 - share) * count as f64) as usize;
                        *all.select_nth_unstable_by(place.min(count - 1), f32::total_cmp).1
                    };
                    let half = (f64::sqrt(share) * 1e6) as usize;
                    let passing = Passing::new(count, &mut noise, |point, noise| match kind {
                        "random" => noise.below(1_000_000) < (share * 1e6) as usize,
                        "and" => noise.below(1_000_000) < half && noise.below(1_000_000) < half,
                        _ => distances[point] >= border,
                    });
                    let mut nearest: Vec<f32> =
                        passing.points.iter().map(|point| distances[point.0 as usize]).collect();
                    nearest.sort_unstable_by(f32::total_cmp);
                    nearest.truncate(K);
                    let exact = ExactDistance::new(Metric::Cosine, query);
                    let mut way = 0;
                    let mut tally = |name: String, run: &mut dyn FnMut(&mut Tally)| {
                        if ways.len() <= way {
                            ways.push((name, Tally::default()));
                        }
                        run(&mut ways[way].1);
                        way += 1;
                    };
                    if share <= 0.05 {
                        tally("exact".into(), &mut |tally| {
                            let start = Instant::now();
                            let mut top = TopK::new(K);
                            scan(
                                &exact,
                                passing.points.iter().map(|p| (*p, rows.row(*p))),
                                None,
                                &mut top,
                            );
                            tally.micros.push(start.elapsed().as_secs_f64() * 1e6);
                        });
                    }
                    tally("codes".into(), &mut |tally| {
                        let start = Instant::now();
                        let found = graph.scan(query, K, 0, passing.points.iter().copied(), &mut scratch);
                        tally.add(&rows, &exact, start, found, &nearest);
                        tally.codes += passing.points.len() as u64;
                    });
                    if share >= 0.01 {
                        for wide in [1.0, 1.5] {
                            let among = Among {
                                is_allowed: &|point| passing.contains(point),
                                sample: &passing.sample,
                                budget: u64::MAX,
                            };
                            tally(format!("inside ef {}", ef as f64 * wide), &mut |tally| {
                                let start = Instant::now();
                                let (found, report) =
                                    graph.shortlist_among(query, K, (ef as f64 * wide) as usize, &among, &mut scratch);
                                tally.add(&rows, &exact, start, found, &nearest);
                                tally.codes += report.codes;
                                tally.lists += report.lists;
                                tally.gave_up += usize::from(!report.is_complete);
                            });
                        }
                    }
                    if share >= 0.02 {
                        for wide in [0.25, 0.625] {
                            let ef = (ef as f64 * wide / share) as usize;
                            tally(format!("past ef {ef}"), &mut |tally| {
                                let start = Instant::now();
                                let (found, _) =
                                    graph.shortlist_past(query, K, ef, &|point| passing.contains(point), &mut scratch);
                                tally.gave_up += usize::from(found.len() < K);
                                tally.add(&rows, &exact, start, found, &nearest);
                            });
                        }
                    }
                }
                for (name, tally) in ways {
                    tally.print(&name);
                }
            }
        }
    }
}
