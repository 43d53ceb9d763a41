//! Tests of scans of codes: they leave out only what cannot be among the nearest.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::distance::ExactDistance;
use crate::quantize::Rotation;

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Euclidean, Metric::InnerProduct];

fn store_of(metric: Metric, dim: usize, bits: u8, seed: u64, vectors: &[Vec<f32>]) -> CodeStore {
    let codec = RabitqCodec::new(Rotation::new(dim, seed), &vec![0.25; dim], bits).unwrap();
    let mut store = CodeStore::new(metric, codec).unwrap();
    for (row, vector) in (0..).zip(vectors) {
        assert_eq!(store.push(vector), Ok(PointId(row)));
    }
    store
}

/// A query and vectors of one dimension, some the same, some without a direction.
fn query_and_vectors() -> impl Strategy<Value = (Vec<f32>, Vec<Vec<f32>>)> {
    (1..70_usize).prop_flat_map(|dim| {
        let one = move || {
            prop_oneof![
                8 => vec(-1.0_f32..1.0, dim),
                1 => Just(vec![0.0; dim]),
                1 => Just(vec![0.5; dim]),
            ]
        };
        (one(), vec(one(), 0..60))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// With bounds that hold, comparing the candidates until the bounds say enough gives the exact answer; and without
    /// comparing any, the candidates are those of the definition.
    #[test]
    fn candidates_are_all_that_may_be_among_the_nearest(
        (query, vectors) in query_and_vectors(), bits in 1..=8_u8, seed in any::<u64>(), metric in 0..3_usize,
        k in 0..12_usize, skipped in 2..6_u32,
    ) {
        let metric = METRICS[metric];
        let store = store_of(metric, query.len(), bits, seed, &vectors);
        prop_assert_eq!(store.len(), vectors.len());
        let keep = |point: PointId| !point.0.is_multiple_of(skipped);
        let prepared = store.query(&query).unwrap().with_deviations(8.0);
        let candidates = store.nearest_to(&prepared, k, keep);

        // As defined: all whose lower bound is not above the k-th upper bound.
        let records = || (0..).map(PointId).zip(store.bytes().chunks(store.codec().record_bytes()));
        let ranges = || records().filter(|(point, _)| keep(*point))
            .map(|(point, record)| (point, store.range(&prepared, record)));
        let mut uppers: Vec<f32> = ranges().map(|(_, (_, _, upper))| upper).collect();
        uppers.sort_by(f32::total_cmp);
        let bound = if k == 0 { f32::NEG_INFINITY } else { uppers.get(k - 1).copied().unwrap_or(f32::INFINITY) };
        let expected = ranges().filter(|(_, (_, lower, _))| *lower <= bound);
        let mut expected: Vec<PointId> = expected.map(|(point, _)| point).collect();
        let mut found: Vec<PointId> = candidates.iter().map(|candidate| candidate.point).collect();
        found.sort();
        expected.sort();
        prop_assert_eq!(&found, &expected);
        prop_assert!(candidates.is_sorted_by(|a, b| a.lower <= b.lower));

        // The k smallest estimates are among them.
        let mut estimates: Vec<(f32, PointId)> = ranges().map(|(point, (estimate, _, _))| (estimate, point)).collect();
        estimates.sort_by(|a, b| a.0.total_cmp(&b.0));
        let kth = k.checked_sub(1).and_then(|last| estimates.get(last)).map(|(estimate, _)| *estimate);
        for (estimate, point) in &estimates {
            prop_assert!(kth.is_none_or(|kth| *estimate >= kth) || found.contains(point));
        }

        let exact = ExactDistance::new(metric, &query);
        let mut top = TopK::new(k);
        for candidate in candidates {
            if candidate.lower > top.bound() {
                break;
            }
            let distance = exact.distance(&vectors[candidate.point.0 as usize]);
            prop_assert!(candidate.lower <= distance + 1.0e-6, "{:?} is {} away", candidate, distance);
            top.offer(distance, candidate.point);
        }
        let mut all = TopK::new(k);
        for (point, vector) in (0..).map(PointId).zip(&vectors).filter(|(point, _)| keep(*point)) {
            all.offer(exact.distance(vector), point);
        }
        let distances = |top: TopK| top.into_sorted().0.iter().map(|neighbor| neighbor.distance).collect::<Vec<_>>();
        for (got, exact) in distances(top).into_iter().zip(distances(all)) {
            // Bounds leave room for the last bits of equal distances.
            prop_assert!((got - exact).abs() <= 1.0e-6, "{} instead of {}", got, exact);
        }
    }
}

#[test]
fn more_than_are_kept_at_once_are_not_lost() {
    // The farthest first, so that each is nearer than all before and a candidate for a while, also the last one.
    for count in [CANDIDATES_MIN as u16, 5_000] {
        let vectors: Vec<Vec<f32>> = (0..count).rev().map(|row| vec![f32::from(row), 1.0]).collect();
        let store = store_of(Metric::Euclidean, 2, 8, 3, &vectors);
        let candidates = store.nearest(&[0.0, 1.0], 3, |_| true).unwrap();
        for back in 1..=3 {
            let point = PointId(u32::from(count) - back);
            assert!(candidates.iter().any(|candidate| candidate.point == point), "{point:?}");
        }
        assert!(candidates.len() < 500, "{}", candidates.len());
    }
}

#[test]
fn a_vector_that_is_not_finite_is_always_a_candidate() {
    for metric in METRICS {
        let mut store = store_of(metric, 2, 4, 3, &vec![vec![1.0, 0.5]; 20]);
        let odd = store.push(&[f32::NAN, 1.0]).unwrap();
        let candidates = store.nearest(&[1.0, 0.0], 1, |_| true).unwrap();
        assert!(candidates.iter().any(|candidate| candidate.point == odd), "{metric:?}");
        assert!(
            candidates
                .iter()
                .all(|candidate| !candidate.lower.is_nan() && !candidate.distance.is_nan())
        );
        assert_eq!(store.nearest(&[1.0, 0.0], 0, |_| true), Ok(vec![]));
    }
}

#[test]
fn records_are_found_by_their_point_and_outlive_the_store() {
    let vectors = [vec![1.0, 2.0], vec![-3.0, 0.0]];
    let store = store_of(Metric::Cosine, 2, 3, 3, &vectors);
    let record = store.codec().record_bytes();
    assert_eq!((store.len(), store.bytes().len()), (2, 2 * record));
    assert_eq!(store.get(PointId(1)), Some(&store.bytes()[record..]));
    assert_eq!(store.get(PointId(2)), None);
    assert_eq!(store.get(PointId(u32::MAX)), None);

    let again = CodeStore::from_bytes(Metric::Cosine, store.codec().clone(), store.bytes().to_vec()).unwrap();
    let nearest = |store: &CodeStore| store.nearest(&[1.0, 0.0], 1, |_| true).unwrap();
    assert_eq!(nearest(&again), nearest(&store));
}

#[test]
fn what_a_store_cannot_take_is_refused_and_nothing_is_added() {
    let mut store = store_of(Metric::Euclidean, 2, 1, 3, &[]);
    let wrong_dim = CodeError::WrongDim { expected: 2, got: 1 };
    assert_eq!(store.push(&[1.0]), Err(wrong_dim));
    assert!(store.is_empty());
    assert_eq!(store.nearest(&[1.0], 1, |_| true), Err(wrong_dim));
    let codec = store.codec().clone();
    let opened = |metric, bytes| CodeStore::from_bytes(metric, codec.clone(), vec![0; bytes]).map(|_| ());
    assert_eq!(opened(Metric::Manhattan, 0), Err(CodeError::Metric));
    assert_eq!(
        opened(Metric::Cosine, 25),
        Err(CodeError::WrongBytes { record: 24, got: 25 })
    );
    assert_eq!(opened(Metric::Cosine, 48), Ok(()));
}
