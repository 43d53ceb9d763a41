//! How well do codes of each width rank? `cargo run --release -p llmspell-bench --features measure --example codes -- BASE.f32 QUERIES.f32 TRUTH.i32 DIM`
//!
//! The files are plain little-endian numbers: rows of `DIM` floats, and 100 places of the nearest rows per query, under
//! cosine. Behind `DIM` may stand the number of queries to ask. Every row's code is compared with the query. Two tables:
//! recall@10 if the best `r` by estimate are compared exactly; and what the bounds make of the same, where nothing is
//! chosen by hand.

mod common;

use std::time::Instant;

use common::{Floats, words};
use llmspell_vector::{
    BITS_RANGE, CodeStore, ExactDistance, Metric, PointId, QueryBits, RabitqCodec, RabitqQuery, Rotation, TopK,
};

const K: usize = 10;
const RESCORED: [usize; 4] = [10, 20, 40, 100];
/// Repetitions, the fastest of which is the time of a query: other work on the machine only adds time.
const RUNS: usize = 5;

/// Brings rows to length one, as codes and truth under cosine want them.
fn unit_rows(path: &str, dim: usize) -> Vec<f32> {
    let mut values = Floats::read(path, dim).values;
    for row in values.chunks_mut(dim) {
        let length = row
            .iter()
            .map(|value| value * value)
            .sum::<f32>()
            .sqrt()
            .max(f32::MIN_POSITIVE);
        row.iter_mut().for_each(|value| *value /= length);
    }
    values
}

struct Set {
    dim: usize,
    rows: Vec<f32>,
    queries: Vec<f32>,
    truth: Vec<u32>,
}

impl Set {
    fn row(&self, point: PointId) -> &[f32] {
        &self.rows[point.0 as usize * self.dim..][..self.dim]
    }

    fn mean(&self) -> Vec<f32> {
        let mut sums = vec![0.0_f64; self.dim];
        for row in self.rows.chunks(self.dim) {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let count = (self.rows.len() / self.dim) as f64;
        sums.into_iter().map(|sum| (sum / count) as f32).collect()
    }

    fn store(&self, bits: u8) -> CodeStore {
        let codec = RabitqCodec::new(Rotation::new(self.dim, 1), &self.mean(), bits).expect("a dimension in range");
        let mut store = CodeStore::new(Metric::Cosine, codec).expect("cosine has codes");
        for row in self.rows.chunks(self.dim) {
            store.push(row).expect("rows have one dimension");
        }
        store
    }

    fn queries(&self) -> impl ExactSizeIterator<Item = (&[f32], &[u32])> {
        let truth = self.truth.chunks(100).map(|truth| &truth[..K]);
        self.queries.chunks(self.dim).zip(truth)
    }

    fn hits(&self, query: &[f32], truth: &[u32], points: impl Iterator<Item = PointId>) -> usize {
        let exact = ExactDistance::new(Metric::Cosine, query);
        let mut top = TopK::new(K);
        points.for_each(|point| top.offer(exact.distance(self.row(point)), point));
        count(top, truth)
    }
}

fn count(top: TopK, truth: &[u32]) -> usize {
    let (nearest, _) = top.into_sorted();
    nearest
        .iter()
        .filter(|neighbor| truth.contains(&neighbor.point.0))
        .count()
}

/// Seconds per item: the best of several runs of each, and of those the mean.
fn seconds_each<T>(items: impl ExactSizeIterator<Item = T>, mut run: impl FnMut(&T)) -> f64 {
    let count = items.len() as f64;
    let best = items.map(|item| {
        let times = (0..RUNS).map(|_| {
            let start = Instant::now();
            run(&item);
            start.elapsed().as_secs_f64()
        });
        times.fold(f64::INFINITY, f64::min)
    });
    best.sum::<f64>() / count
}

/// The nearest by estimate alone.
fn ranked(store: &CodeStore, query: &RabitqQuery, count: usize) -> Vec<PointId> {
    let mut top = TopK::new(count);
    let records = store.bytes().chunks_exact(store.codec().record_bytes());
    for (point, record) in (0..).map(PointId).zip(records) {
        top.offer(store.codec().estimate(query, record).squared_distance, point);
    }
    top.into_sorted().0.into_iter().map(|neighbor| neighbor.point).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, queries, truth, dim, rest @ ..] = &arguments[..] else {
        panic!("BASE QUERIES TRUTH DIM [QUERY_COUNT]")
    };
    let dim: usize = dim.parse().expect("a number");
    let mut set = Set {
        dim,
        rows: unit_rows(base, dim),
        queries: unit_rows(queries, dim),
        truth: words(truth).into_iter().map(u32::from_le_bytes).collect(),
    };
    if let Some(query_count) = rest.first() {
        let query_count: usize = query_count.parse().expect("a number");
        set.queries.truncate(query_count * dim);
    }
    let (row_count, query_count) = (set.rows.len() / dim, set.queries.len() / dim);
    println!("{row_count} rows of {dim} components, {query_count} queries, cosine, recall@{K}\n");

    println!(
        "bits  query  bytes  encode µs  query µs  ns/code  {}",
        RESCORED.map(|r| format!("   r={r:3}")).concat()
    );
    let widths = BITS_RANGE.flat_map(|bits| [(bits, QueryBits::Four), (bits, QueryBits::Eight)]);
    for (bits, query_bits) in widths.filter(|(bits, query)| *bits < 3 || *query == QueryBits::Eight) {
        let start = Instant::now();
        let store = set.store(bits);
        let encode = start.elapsed().as_secs_f64() / row_count as f64;
        let codec = store.codec();
        let prepare = |query: &[f32]| codec.query_of_bits(query, query_bits).expect("one dimension");
        let mut hits = [0; RESCORED.len()];
        for (query, truth) in set.queries() {
            let best = ranked(&store, &prepare(query), RESCORED[RESCORED.len() - 1]);
            for (hits, r) in hits.iter_mut().zip(RESCORED) {
                *hits += set.hits(query, truth, best.iter().take(r).copied());
            }
        }
        let query_seconds = seconds_each(set.queries(), |(query, _)| {
            std::hint::black_box(prepare(query));
        });
        let scan_seconds = seconds_each(set.queries().take(20), |(query, _)| {
            let query = prepare(query);
            let estimates = store.bytes().chunks_exact(codec.record_bytes());
            let distances = estimates.map(|record| codec.estimate(&query, record).squared_distance);
            std::hint::black_box(distances.fold(f32::INFINITY, f32::min));
        });
        let recall = hits
            .map(|hits| format!("  {:.4}", hits as f64 / (K * query_count) as f64))
            .concat();
        println!(
            "{bits:4}  {:>5}  {:5}  {:9.1}  {:8.1}  {:7.1}  {recall}",
            format!("{query_bits:?}").to_lowercase(),
            codec.record_bytes(),
            1.0e6 * encode,
            1.0e6 * query_seconds,
            1.0e9 * scan_seconds / row_count as f64,
        );
    }

    println!("\nbits  deviations  candidates  compared  recall      µs");
    for bits in [1, 2, 3, 4, 6, 8] {
        let store = set.store(bits);
        for deviations in [1.9, 3.0] {
            let (mut candidates, mut compared, mut hits) = (0, 0, 0);
            let seconds = seconds_each(set.queries(), |(query, truth)| {
                let prepared = store.query(query).expect("one dimension").with_deviations(deviations);
                let exact = ExactDistance::new(Metric::Cosine, query);
                let mut top = TopK::new(K);
                let found = store.nearest_to(&prepared, K, |_| true);
                candidates += found.len();
                for candidate in found {
                    if candidate.lower > top.bound() {
                        break;
                    }
                    top.offer(exact.distance(set.row(candidate.point)), candidate.point);
                    compared += 1;
                }
                hits += count(top, truth);
            });
            let per_query = |count: usize| count as f64 / (RUNS * query_count) as f64;
            println!(
                "{bits:4}  {deviations:10.1}  {:10.1}  {:8.1}  {:.4}  {:6.0}",
                per_query(candidates),
                per_query(compared),
                per_query(hits) / K as f64,
                1.0e6 * seconds,
            );
        }
    }
    let seconds = seconds_each(set.queries().take(20), |(query, truth)| {
        let hits = set.hits(query, truth, (0..row_count as u32).map(PointId));
        assert!(hits >= K - 1, "the truth is that of these rows: {hits} of {K} found");
    });
    println!("\nexact distances of all rows: {:.0} µs", 1.0e6 * seconds);
}
