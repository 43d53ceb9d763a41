//! How fast is a graph, at which recall? `cargo run --release -p llmspell-bench --features measure --example graph -- BASE.f32 QUERIES.f32 TRUTH.i32 DIM`
//!
//! The files are plain little-endian numbers: rows of `DIM` floats, and 100 places of the nearest rows per query. Behind
//! `DIM` may stand `euclidean`, and `blocks`, `compact` or `lean` for one layout only. The environment may set `EFC`, the width
//! while building; `EF`, the only width that is measured; `KEEP`, a path to keep the graph under and take it from again.

mod common;

use std::time::Instant;

use common::{Floats, kept_graph, number, rescored, words};
use llmspell_vector::{ExactDistance, GraphConfig, GraphLayout, Metric, PointId, Rows, Scratch};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, queries, truth, dim, rest @ ..] = &arguments[..] else {
        panic!("BASE QUERIES TRUTH DIM [cosine|euclidean] [compact|blocks|lean]")
    };
    let dim: usize = dim.parse().expect("a number");
    let rows = Floats::read(base, dim);
    let queries = Floats::read(queries, dim);
    let truth: Vec<u32> = words(truth).into_iter().map(u32::from_le_bytes).collect();
    let metric = if rest.iter().any(|word| word == "euclidean") {
        Metric::Euclidean
    } else {
        Metric::Cosine
    };
    for layout in [GraphLayout::Blocks, GraphLayout::Compact, GraphLayout::Lean] {
        let name = format!("{layout:?}").to_lowercase();
        if rest
            .iter()
            .any(|word| ["compact", "blocks", "lean"].contains(&word.as_str()))
            && !rest.contains(&name)
        {
            continue;
        }
        let config = GraphConfig {
            metric,
            dim,
            m: 16,
            ef_construction: number("EFC", 100),
            seed: 1,
            layout,
        };
        let start = Instant::now();
        let graph = kept_graph(&config, &rows, &name);
        println!(
            "{name}: built in {:.2} s; {:?}",
            start.elapsed().as_secs_f64(),
            graph.stats(&|_| false)
        );
        let mut scratch = Scratch::default();
        let only: Option<usize> = std::env::var("EF").ok().and_then(|text| text.parse().ok());
        for ef in [
            10, 16, 20, 24, 32, 40, 50, 64, 80, 100, 128, 160, 200, 300, 400, 800, 1600,
        ] {
            if only.is_some_and(|only| only != ef) {
                continue;
            }
            let repeats = if only.is_some() { 60 } else { 3 };
            let mut best = f64::INFINITY;
            let mut hits = 0;
            let mut compared = 0;
            for _ in 0..repeats {
                hits = 0;
                compared = 0;
                let start = Instant::now();
                for ((_, query), truth) in queries.rows().zip(truth.chunks(100)) {
                    let exact = ExactDistance::new(metric, query);
                    let shortlist = graph.shortlist(query, 10, ef, None, &mut scratch);
                    let (top, worth) = rescored(&rows, &exact, 10, shortlist);
                    compared += worth.len();
                    let farthest = exact.distance(rows.row(PointId(truth[9])));
                    let (found, _) = top.into_sorted();
                    hits += found.iter().filter(|neighbor| neighbor.distance <= farthest).count();
                }
                best = best.min(start.elapsed().as_secs_f64());
            }
            let count = queries.len();
            let recall = hits as f64 / (10 * count) as f64;
            println!(
                "ef {ef:5}  recall {recall:.4}  {:8.0} QPS  {:6.1} µs  {:6.1} compared",
                count as f64 / best,
                1e6 * best / count as f64,
                compared as f64 / count as f64
            );
            if recall >= 0.9995 {
                break;
            }
        }
    }
}
