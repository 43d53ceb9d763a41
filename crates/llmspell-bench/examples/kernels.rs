//! How fast are the kernels? `cargo run --release -p llmspell-bench --features measure --example kernels`
//!
//! Three tables. The first: one pair of vectors that stay in the nearest cache, so it shows arithmetic. The second:
//! exact search over more rows than the caches of most machines hold, so it shows memory; rows in order, as a full
//! scan reads them, and scattered, as a filter leaves them. The third: what keeping the best `k` costs beside that. Every answer is checked.

use std::hint::black_box;
use std::time::{Duration, Instant};

use llmspell_vector::{ExactDistance, Kernels, Metric, PointId, TopK, scan};

const DIMS: [usize; 5] = [384, 768, 1536, 3072, 4096];
/// Long enough to drown the clock, short enough for a coffee.
const RUN: Duration = Duration::from_millis(20);
/// Repetitions, the fastest of which counts: other work on the machine only adds time.
const RUNS: usize = 7;
const SCAN_BYTES: usize = 512 << 20;

type Kernel = fn(&Kernels, &[f32], &[f32]) -> f32;
type Term = fn(f64, f64) -> f64;

const OPERATIONS: [(&str, Kernel, Term); 4] = [
    ("dot", |kernels, a, b| kernels.dot(a, b), |a, b| a * b),
    (
        "l2_squared",
        |kernels, a, b| kernels.l2_squared(a, b),
        |a, b| (a - b) * (a - b),
    ),
    (
        "manhattan",
        |kernels, a, b| kernels.manhattan(a, b),
        |a, b| (a - b).abs(),
    ),
    (
        "dot_and_norm_squared",
        |kernels, a, b| {
            let (dot, norm_squared) = kernels.dot_and_norm_squared(a, b);
            dot + norm_squared
        },
        |a, b| a * b + b * b,
    ),
];

fn main() {
    let names: Vec<&str> = Kernels::available().map(|kernels| kernels.name()).collect();
    println!(
        "{}; tables: {}; chosen: {}\n",
        cpu(),
        names.join(", "),
        Kernels::detect().name()
    );
    print_kernels();
    print_scans();
    print_top_k();
}

fn print_kernels() {
    println!("One pair of vectors, cached, aligned to 64 bytes. GB/s: bytes of both vectors over time.");
    println!(
        "{:<22}{:>6}  {:<8}{:>10}{:>9}{:>11}",
        "operation", "dim", "table", "ns/call", "GB/s", "× scalar"
    );
    for (name, kernel, term) in OPERATIONS {
        for dim in DIMS {
            let (a, b) = (random_vector(dim + 15, 1), random_vector(dim + 15, 2));
            let (a, b) = (on_a_line(&a, dim), on_a_line(&b, dim));
            let terms = || a.iter().zip(b).map(|(a, b)| term(f64::from(*a), f64::from(*b)));
            let exact: f64 = terms().sum();
            let allowed = dim as f64 * f64::from(f32::EPSILON) * terms().map(f64::abs).sum::<f64>().max(1.0) * 2.0;

            let timed: Vec<(&str, f64)> = Kernels::available()
                .map(|kernels| {
                    let got = f64::from(kernel(&kernels, a, b));
                    assert!(
                        (got - exact).abs() <= allowed,
                        "{name} of {kernels:?}: {got}, not {exact}"
                    );
                    (
                        kernels.name(),
                        ns_per_call(|| kernel(&kernels, black_box(a), black_box(b))),
                    )
                })
                .collect();

            let scalar_ns = timed.last().expect("the portable table runs everywhere").1;
            for (table, ns) in timed {
                let gb_per_s = (2 * dim * size_of::<f32>()) as f64 / ns;
                println!(
                    "{name:<22}{dim:>6}  {table:<8}{ns:>10.1}{gb_per_s:>9.1}{:>11.1}",
                    scalar_ns / ns
                );
            }
        }
    }
}

fn print_scans() {
    println!(
        "\nExact search, k = 10, {} MiB of rows, {}.",
        SCAN_BYTES >> 20,
        Kernels::detect().name()
    );
    println!(
        "{:<15}{:>6}  {:<12}{:>10}{:>10}{:>9}",
        "metric", "dim", "rows", "read", "ns/row", "GB/s"
    );
    for dim in [384, 1536] {
        let row_count = SCAN_BYTES / size_of::<f32>() / dim;
        let components = random_vector(row_count * dim + 15, 3);
        let components = on_a_line(&components, row_count * dim);
        let row = |index: usize| (PointId(index as u32), &components[index * dim..][..dim]);
        let scattered = shuffled(row_count);

        // A row is nearest to itself under all metrics but the inner product, which this query settles by its length.
        let wanted = row_count / 3;
        let query: Vec<f32> = row(wanted).1.to_vec();
        for metric in Metric::ALL {
            let distance = ExactDistance::new(metric, &query);
            let in_order = best_of_three(|top| scan(&distance, (0..row_count).map(row), None, top), wanted);
            let at_random = best_of_three(
                |top| scan(&distance, scattered.iter().map(|index| row(*index as usize)), None, top),
                wanted,
            );
            for (read, time) in [("in order", in_order), ("scattered", at_random)] {
                let ns = time.as_nanos() as f64 / row_count as f64;
                let gb_per_s = (dim * size_of::<f32>()) as f64 / ns;
                println!(
                    "{:<15}{dim:>6}  {row_count:<12}{read:>10}{ns:>10.1}{gb_per_s:>9.1}",
                    format!("{metric:?}")
                );
            }
        }
    }
}

fn print_top_k() {
    const OFFERS: u32 = 1_000_000;
    println!("\n{OFFERS} offers to a top k.");
    println!("{:<22}{:>6}{:>12}", "order", "k", "ns/offer");
    let random = shuffled(OFFERS as usize);
    let descending: Vec<u32> = (0..OFFERS).rev().collect();
    for (order, distances) in [("random", &random), ("ever nearer (worst)", &descending)] {
        for k in [10, 100, 10_000] {
            let run = |_| {
                let start = Instant::now();
                let mut top = TopK::new(k);
                for (point, distance) in (0..).zip(distances) {
                    top.offer(*distance as f32, PointId(point));
                }
                let (nearest, _) = top.into_sorted();
                let time = start.elapsed();
                assert!(nearest.iter().map(|neighbor| neighbor.distance as usize).eq(0..k));
                time
            };
            let best = (0..RUNS).map(run).min().expect("some runs");
            println!("{order:<22}{k:>6}{:>12.2}", best.as_nanos() as f64 / f64::from(OFFERS));
        }
    }
}

fn best_of_three(search: impl Fn(&mut TopK), wanted: usize) -> Duration {
    let run = |_| {
        let mut top = TopK::new(10);
        let start = Instant::now();
        search(&mut top);
        let time = start.elapsed();
        let (nearest, _) = top.into_sorted();
        assert_eq!(nearest.len(), 10);
        assert_eq!(
            nearest[0].point,
            PointId(wanted as u32),
            "the row that was searched for is the nearest"
        );
        time
    };
    (0..3).map(run).min().expect("three runs")
}

fn ns_per_call(call: impl Fn() -> f32) -> f64 {
    let mut calls = 1_u32;
    let time = |calls: u32| {
        let start = Instant::now();
        for _ in 0..calls {
            black_box(call());
        }
        start.elapsed()
    };
    while time(calls) < RUN {
        calls *= 2;
    }
    let best = (0..RUNS).map(|_| time(calls)).min().expect("some runs");
    best.as_nanos() as f64 / f64::from(calls)
}

/// Components in −1..1; `SplitMix64`, the same on every run.
fn random_vector(dim: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..dim)
        .map(|_| (next(&mut state) >> 40) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

/// The `len` components from the first multiple of 64 bytes on.
fn on_a_line(components: &[f32], len: usize) -> &[f32] {
    &components[components.as_ptr().align_offset(64)..][..len]
}

/// 0 to `count - 1` in random order.
fn shuffled(count: usize) -> Vec<u32> {
    let mut state = 4;
    let mut indices: Vec<u32> = (0..count as u32).collect();
    for last in (1..count).rev() {
        indices.swap(last, (next(&mut state) % (last as u64 + 1)) as usize);
    }
    indices
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The name of the CPU where the system tells it.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    model.map_or("CPU unknown".into(), |model| {
        model.trim_start_matches([' ', '\t', ':']).to_string()
    })
}
