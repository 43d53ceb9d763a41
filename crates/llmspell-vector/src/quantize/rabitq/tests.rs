//! Tests of estimates: right on average, as near as promised, and within their bounds as often as promised.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::random::Random;

fn noise(dim: usize, random: &mut Random) -> Vec<f32> {
    (0..dim)
        .map(|_| (0..12).map(|_| random.below(1000) as f32 / 1000.0).sum::<f32>() - 6.0)
        .collect()
}

fn around(center: &[f32], random: &mut Random) -> Vec<f32> {
    let noise = noise(center.len(), random);
    noise.iter().zip(center).map(|(noise, center)| noise + center).collect()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum()
}

fn codec(seed: u64, center: &[f32], bits: u8) -> RabitqCodec {
    RabitqCodec::new(Rotation::new(center.len(), seed), center, bits).unwrap()
}

fn encoded(codec: &RabitqCodec, vector: &[f32]) -> Vec<u8> {
    let mut record = vec![0xaa; codec.record_bytes()];
    codec.encode(vector, &mut record).unwrap();
    record
}

/// Errors of many pairs under many rotations: as shares of `2 |r| |q-c| / √dim`, and in deviations.
struct Errors {
    relative: Vec<f64>,
    deviations: Vec<f64>,
}

impl Errors {
    fn of(dim: usize, bits: u8, query_bits: Option<QueryBits>) -> Self {
        let mut random = Random::new(11);
        let mut errors = Self {
            relative: Vec::new(),
            deviations: Vec::new(),
        };
        let center = noise(dim, &mut random);
        for seed in 0..60 {
            let codec = codec(seed, &center, bits);
            // Seen from the center, everything stands at right angles: there the bounds are exact.
            let query = around(&center, &mut random);
            let prepared = match query_bits {
                Some(bits) => codec.query_of_bits(&query, bits).unwrap(),
                None => codec.query(&query).unwrap(),
            };
            for _ in 0..30 {
                let vector = around(&center, &mut random);
                let exact = squared_distance(&vector, &query);
                let estimate = codec.estimate(&prepared.clone().with_deviations(1.0), &encoded(&codec, &vector));
                let error = f64::from(estimate.squared_distance) - exact;
                let lengths = (squared_distance(&vector, &center) * squared_distance(&query, &center)).sqrt();
                errors.relative.push(error / (2.0 * lengths) * (dim as f64).sqrt());
                errors.deviations.push(error / f64::from(estimate.error_bound));
            }
        }
        errors
    }

    fn typical(&self) -> f64 {
        (self.relative.iter().map(|error| error * error).sum::<f64>() / self.relative.len() as f64).sqrt()
    }

    fn share(&self, is_in: impl Fn(f64) -> bool) -> f64 {
        let count = self.deviations.iter().filter(|error| is_in(**error)).count();
        count as f64 / self.deviations.len() as f64
    }
}

#[test]
fn estimates_are_unbiased_and_within_their_bounds_as_often_as_promised() {
    for dim in [96, 384] {
        for bits in BITS_RANGE {
            let errors = Errors::of(dim, bits, None);
            let count = errors.deviations.len() as f64;

            let mean = errors.deviations.iter().sum::<f64>() / count;
            assert!(
                mean.abs() < 4.0 / count.sqrt(),
                "dim {dim}, {bits} bits: biased by {mean} deviations"
            );

            for (deviations, both, one) in [(1.0, 0.683, 0.841), (1.9, 0.943, 0.971), (3.0, 0.997, 0.999)] {
                let chance = 3.5 * (both * (1.0 - both) / count).sqrt();
                let within = errors.share(|error| error.abs() <= deviations);
                assert!(
                    within > both - chance,
                    "dim {dim}, {bits} bits, {deviations}: {within} within"
                );
                // Nor are the bounds wider than they need to be.
                assert!(
                    within < both + 0.05,
                    "dim {dim}, {bits} bits, {deviations}: {within} within"
                );
                let above = errors.share(|error| error <= deviations);
                assert!(
                    above > one - chance,
                    "dim {dim}, {bits} bits, {deviations}: {above} not below"
                );
            }
        }
    }
}

#[test]
fn every_bit_makes_the_error_smaller_and_as_small_as_documented() {
    let mut last = f64::INFINITY;
    for (bits, promised) in BITS_RANGE.zip([0.77, 0.38, 0.20, 0.105, 0.057, 0.032, 0.020, 0.014]) {
        let typical = Errors::of(384, bits, None).typical();
        assert!(typical < promised, "{bits} bits: {typical}");
        assert!(typical < 0.8 * last, "{bits} bits: {typical}, one bit less {last}");
        last = typical;
    }
}

#[test]
fn a_query_of_four_bits_costs_what_is_documented() {
    for (bits, grows_by) in [(1, 0.03), (2, 0.08)] {
        let [four, eight] =
            [QueryBits::Four, QueryBits::Eight].map(|query| Errors::of(384, bits, Some(query)).typical());
        assert!(
            four > eight && four < (1.0 + grows_by) * eight,
            "{bits} bits: {four} instead of {eight}"
        );
    }
}

/// The best of all grid vectors: between two steps at which a component changes its level, nothing changes.
fn best_tangent_squared(rest: &[f32], bits: u8) -> f64 {
    let middle = f64::from((1_u32 << bits) - 1) / 2.0;
    let mut steps: Vec<(f64, usize)> = Vec::new();
    for (i, component) in rest.iter().enumerate() {
        for level in 1..1 << (bits - 1) {
            steps.push((f64::from(component.abs()) / f64::from(level), i));
        }
    }
    steps.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut grid = vec![0.5; rest.len()];
    let length_squared: f64 = rest.iter().map(|value| f64::from(*value).powi(2)).sum();
    let mut dot: f64 = rest.iter().map(|value| 0.5 * f64::from(value.abs())).sum();
    let mut squares = 0.25 * rest.len() as f64;
    let mut best = dot * dot / squares;
    for (_, i) in steps {
        assert!(grid[i] < middle);
        squares += 2.0 * grid[i] + 1.0;
        grid[i] += 1.0;
        dot += f64::from(rest[i].abs());
        best = best.max(dot * dot / squares);
    }
    length_squared / best - 1.0
}

#[test]
fn the_scale_of_the_grid_is_nearly_the_best_of_all() {
    let mut random = Random::new(3);
    for dim in [64, 384] {
        for bits in 2..=8 {
            let codec = codec(1, &vec![0.0; dim], bits);
            let (mut ours, mut best) = (0.0, 0.0);
            for _ in 0..20 {
                let rest = noise(dim, &mut random);
                let levels = codec.nearest_on_grid(&rest);
                let middle = f64::from(codec.levels.top()) / 2.0;
                let grid: Vec<f64> = levels.iter().map(|level| f64::from(*level) - middle).collect();
                let pairs = || rest.iter().map(|value| f64::from(*value)).zip(&grid);
                let dot: f64 = pairs().map(|(value, grid)| value * grid).sum();
                let squares: f64 = grid.iter().map(|grid| grid * grid).sum();
                let length_squared: f64 = pairs().map(|(value, _)| value * value).sum();
                ours += length_squared * squares / (dot * dot) - 1.0;
                best += best_tangent_squared(&rest, bits);
            }
            let larger = f64::sqrt(ours / best);
            let larger_max = if dim == 64 { 1.15 } else { 1.05 };
            assert!(
                (0.9999..larger_max).contains(&larger),
                "dim {dim}, {bits} bits: {larger} times the best"
            );
        }
    }
}

/// Vectors of any length and any direction, also along an axis, and of one component.
fn vectors() -> impl Strategy<Value = [Vec<f32>; 3]> {
    let component = prop_oneof![4 => -1.0_f32..1.0, 1 => Just(0.0), 1 => Just(1.0)];
    let exponents = [-44..38, -44..38, -44..38_i32];
    (1..80_usize).prop_flat_map(move |dim| {
        let one = || vec(component.clone(), dim);
        (one(), one(), one(), exponents.clone(), 0..4_u8).prop_map(|(a, b, c, exponents, same)| {
            let mut index = 0;
            let mut vectors = [a, b, c].map(|vector| {
                let exponent = exponents[if same & 1 == 1 { 0 } else { index }];
                index += 1;
                let scale = 10.0_f64.powi(exponent);
                vector
                    .iter()
                    .map(|value| (f64::from(*value) * scale) as f32)
                    .collect::<Vec<f32>>()
            });
            if same == 2 {
                vectors[0] = vectors[2].clone();
            }
            vectors
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// With bounds of eight deviations, the truth is never outside, whatever the size of the numbers. What leaves the
    /// range of `f32` is unknown, and no result is NaN.
    #[test]
    fn the_truth_is_within_wide_bounds_for_vectors_of_any_size(
        [vector, query, center] in vectors(), bits in BITS_RANGE, seed in any::<u64>(), four in any::<bool>(),
    ) {
        let codec = codec(seed, &center, bits);
        let record = encoded(&codec, &vector);
        let query_bits = if four { QueryBits::Four } else { QueryBits::Eight };
        let prepared = codec.query_of_bits(&query, query_bits).unwrap().with_deviations(8.0);

        let estimate = codec.estimate(&prepared, &record);
        let exact = squared_distance(&vector, &query);
        prop_assert!(!estimate.squared_distance.is_nan() && estimate.error_bound >= 0.0);
        prop_assert!(f64::from(estimate.lower()) <= exact && exact <= f64::from(estimate.upper()),
            "{estimate:?}, not {exact}");
        let squares = squared_distance(&vector, &center) + squared_distance(&query, &center);
        prop_assert!(squares > 1.0e36 || estimate.squared_distance.is_finite());

        let estimate = codec.estimate_product(&prepared, &record);
        let exact = product(&vector, &query);
        prop_assert!(!estimate.inner_product.is_nan() && estimate.error_bound >= 0.0);
        prop_assert!((f64::from(estimate.inner_product) - exact).abs() <= f64::from(estimate.error_bound),
            "{estimate:?}, not {exact}");
    }
}

#[test]
fn what_stands_at_the_center_is_as_far_as_the_center() {
    for bits in BITS_RANGE {
        let codec = codec(5, &[0.5; 70], bits);
        let record = encoded(&codec, &[0.5; 70]);
        assert!(record.iter().take(record.len() - FACTOR_BYTES).all(|byte| *byte == 0));
        let there = codec.estimate(&codec.query(&[0.5; 70]).unwrap(), &record);
        assert!(
            there.squared_distance == 0.0 && there.error_bound < 1.0e-30,
            "{there:?}"
        );
        let away = codec.estimate(&codec.query(&[1.5; 70]).unwrap(), &record);
        assert!((away.squared_distance - 70.0).abs() <= away.error_bound, "{away:?}");
        assert!(away.error_bound < 0.001, "{away:?}");
    }
}

#[test]
fn nothing_is_known_of_what_is_not_finite() {
    let codec = codec(5, &[0.5; 3], 2);
    let (good, good_query) = (encoded(&codec, &[1.0; 3]), codec.query(&[1.0; 3]).unwrap());
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (record, query) in [
            (encoded(&codec, &[1.0, odd, 1.0]), good_query.clone()),
            (good.clone(), codec.query(&[odd, 1.0, 1.0]).unwrap()),
        ] {
            let estimate = codec.estimate(&query, &record);
            assert_eq!(estimate.squared_distance, f32::INFINITY);
            assert_eq!((estimate.lower(), estimate.upper()), (0.0, f32::INFINITY));
            let estimate = codec.estimate_product(&query, &record);
            assert_eq!((estimate.inner_product, estimate.error_bound), (0.0, f32::INFINITY));
        }
    }
}

#[test]
fn damaged_records_do_not_panic_and_are_not_nan() {
    for bits in BITS_RANGE {
        let codec = codec(5, &[0.5; 384], bits);
        let query = codec.query(&[1.0; 384]).unwrap();
        for byte in 0..=255 {
            let record = vec![byte; codec.record_bytes()];
            let estimate = codec.estimate(&query, &record);
            assert!(
                !estimate.squared_distance.is_nan() && !estimate.error_bound.is_nan(),
                "{byte}"
            );
            let estimate = codec.estimate_product(&query, &record);
            assert!(
                !estimate.inner_product.is_nan() && !estimate.error_bound.is_nan(),
                "{byte}"
            );
        }
    }
}

#[test]
fn the_same_vector_gets_the_same_record_and_another_rotation_another_one() {
    let vector = noise(100, &mut Random::new(1));
    for bits in BITS_RANGE {
        let record = encoded(&codec(7, &[0.1; 100], bits), &vector);
        assert_eq!(record, encoded(&codec(7, &[0.1; 100], bits), &vector));
        assert_ne!(record, encoded(&codec(8, &[0.1; 100], bits), &vector));
    }
}

#[test]
fn the_bytes_of_a_record_never_change() {
    let mut vector = [0.0; 64];
    (vector[0], vector[5]) = (3.0, -4.0);
    let record = encoded(&codec(42, &[0.0; 64], 1), &vector);
    assert_eq!(record.len(), 24);
    let (code, factors) = record.split_at(8);
    assert_eq!(code, [140, 248, 209, 164, 221, 103, 182, 129]);
    assert_eq!(factors[..4], 5.0_f32.to_le_bytes());
    let factors = Factors::read(factors);
    // Signs of halves: |x| = 4.
    let aligned = 5.0 / (4.0 * factors.factor);
    assert!((factors.tangent - (1.0 / (aligned * aligned) - 1.0).sqrt()).abs() < 1.0e-4);
    assert_eq!(factors.of_center, 0.0);
}

#[test]
fn what_a_codec_cannot_take_is_refused() {
    let new = |dim: usize, center: &[f32], bits| RabitqCodec::new(Rotation::new(dim, 1), center, bits).map(|_| ());
    assert_eq!(new(2, &[0.0; 2], 0), Err(CodeError::Bits { bits: 0 }));
    assert_eq!(new(2, &[0.0; 2], 9), Err(CodeError::Bits { bits: 9 }));
    assert_eq!(new(4097, &[0.0; 4097], 1), Err(CodeError::Dim { dim: 4097 }));
    assert_eq!(new(4, &[0.0; 3], 1), Err(CodeError::WrongDim { expected: 4, got: 3 }));
    assert_eq!(new(2, &[0.0, f32::NAN], 1), Err(CodeError::NotFinite));
    assert_eq!(new(4096, &[0.0; 4096], 8), Ok(()));

    let codec = codec(1, &[0.0; 4], 1);
    let mut record = vec![7; codec.record_bytes()];
    let wrong_dim = CodeError::WrongDim { expected: 4, got: 5 };
    assert_eq!(codec.encode(&[0.0; 5], &mut record), Err(wrong_dim));
    assert_eq!(codec.query(&[0.0; 5]).map(|_| ()), Err(wrong_dim));
    let wrong_bytes = CodeError::WrongBytes { record: 24, got: 23 };
    assert_eq!(codec.encode(&[0.0; 4], &mut record[1..]), Err(wrong_bytes));
    assert!(record.iter().all(|byte| *byte == 7), "nothing was written");
}
