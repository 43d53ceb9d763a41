//! One suite for every table this CPU has.

use super::{Kernels, scalar};

/// A vector-to-vector operation, its exact value term by term, and how tables compute it.
struct Operation {
    name: &'static str,
    term: fn(f64, f64) -> f64,
    run: fn(&Kernels, &[f32], &[f32]) -> f32,
}

const OPERATIONS: [Operation; 6] = [
    Operation {
        name: "dot",
        term: |a, b| a * b,
        run: |kernels, a, b| kernels.dot(a, b),
    },
    Operation {
        name: "l2_squared",
        term: |a, b| (a - b) * (a - b),
        run: |kernels, a, b| kernels.l2_squared(a, b),
    },
    Operation {
        name: "manhattan",
        term: |a, b| (a - b).abs(),
        run: |kernels, a, b| kernels.manhattan(a, b),
    },
    Operation {
        name: "dot of dot_and_norm_squared",
        term: |a, b| a * b,
        run: |kernels, a, b| kernels.dot_and_norm_squared(a, b).0,
    },
    Operation {
        name: "norm_squared of dot_and_norm_squared",
        term: |_, b| b * b,
        run: |kernels, a, b| kernels.dot_and_norm_squared(a, b).1,
    },
    Operation {
        name: "scaled_l2_squared by a half",
        term: |a, b| (0.5 * a - b) * (0.5 * a - b),
        run: |kernels, a, b| kernels.scaled_l2_squared(a, 0.5, b),
    },
];

/// Every length up to twice the longest block, and the sizes of real embeddings with their neighbors.
fn dims() -> impl Iterator<Item = usize> {
    let real = [384, 768, 1536, 3072, 4096];
    (0..=130).chain(real.into_iter().flat_map(|dim| [dim - 1, dim, dim + 1]))
}

/// Components in −1..1 with 24 random bits each, so that sums do round. `SplitMix64`, the same on every run.
fn random_vector(dim: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut component = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..dim).map(|_| component()).collect()
}

/// Holds every table to exact arithmetic.
fn check(a: &[f32], b: &[f32]) {
    for operation in &OPERATIONS {
        let terms = || {
            a.iter()
                .zip(b)
                .map(|(a, b)| (operation.term)(f64::from(*a), f64::from(*b)))
        };
        let exact: f64 = terms().sum();
        // Rounding grows with the terms, not with their sum, which may cancel to almost nothing. Below the
        // smallest normal number it is no longer relative: half of the smallest denormal per term.
        let dim = a.len() as f64;
        let allowed = (dim + 1.0) * f64::from(f32::EPSILON) * terms().map(f64::abs).sum::<f64>()
            + dim * f64::from(f32::from_bits(1));
        for kernels in Kernels::available() {
            let got = f64::from((operation.run)(&kernels, a, b));
            assert!(
                (got - exact).abs() <= allowed,
                "{} of {}, dim {dim}: {got}, not {exact} ± {allowed}",
                operation.name,
                kernels.name()
            );
        }
    }
}

#[test]
fn every_table_agrees_with_exact_arithmetic() {
    for dim in dims() {
        check(&random_vector(dim, 1), &random_vector(dim, 2));
    }
}

/// One component that differs from zero, at every place: a lane that is skipped or counted twice cannot hide.
#[test]
fn every_component_counts_once() {
    for dim in (1..=130).chain([384, 1536]) {
        for place in 0..dim {
            let (mut a, mut b) = (vec![0.0; dim], vec![0.0; dim]);
            (a[place], b[place]) = (2.0, 5.0);
            for kernels in Kernels::available() {
                let got = OPERATIONS.each_ref().map(|operation| (operation.run)(&kernels, &a, &b));
                assert_eq!(
                    got,
                    [10.0, 9.0, 3.0, 10.0, 25.0, 16.0],
                    "{} dim {dim} place {place}",
                    kernels.name()
                );
            }
        }
    }
}

#[test]
fn denormal_numbers_are_not_flushed() {
    for dim in dims() {
        let tiny = |seed| -> Vec<f32> { random_vector(dim, seed).iter().map(|x| x * 1.0e-39).collect() };
        // Denormal in and out; denormal products of normal numbers; denormal times large.
        check(&tiny(1), &tiny(2));
        let small = |seed| -> Vec<f32> { random_vector(dim, seed).iter().map(|x| x * 1.0e-20).collect() };
        check(&small(3), &small(4));
        let large: Vec<f32> = random_vector(dim, 5).iter().map(|x| x * 1.0e16).collect();
        check(&tiny(6), &large);
    }
    for kernels in Kernels::available() {
        let smallest = f32::from_bits(1);
        assert_eq!(
            kernels.manhattan(&[smallest; 19], &[0.0; 19]),
            19.0 * smallest,
            "{}",
            kernels.name()
        );
    }
}

#[test]
fn huge_components_do_not_overflow_while_the_result_is_finite() {
    for dim in dims() {
        // The longest vectors that the contract lets in: a norm just below the root of f32::MAX.
        let component_max = 1.8e19 / (dim.max(1) as f32).sqrt();
        let huge = |seed| -> Vec<f32> { random_vector(dim, seed).iter().map(|x| x * component_max).collect() };
        check(&huge(1), &huge(1));
        check(&huge(1), &huge(2));
    }
}

#[test]
fn what_is_not_finite_stays_not_finite() {
    for kernels in Kernels::available() {
        for dim in [1, 7, 16, 33, 65] {
            for bad in [f32::NAN, f32::INFINITY] {
                let mut a = vec![1.0; dim];
                a[dim - 1] = bad;
                for operation in &OPERATIONS[..3] {
                    let got = (operation.run)(&kernels, &a, &vec![1.0; dim]);
                    assert!(
                        !got.is_finite(),
                        "{} of {} dim {dim}: {got}",
                        operation.name,
                        kernels.name()
                    );
                }
            }
        }
    }
}

/// Searches rely on it: equal vectors are equally far, in whichever slot they lie.
#[test]
fn the_place_in_memory_changes_no_bit() {
    for dim in [1, 9, 31, 64, 100, 384, 1537] {
        let (a, b) = (random_vector(dim, 1), random_vector(dim, 2));
        for kernels in Kernels::available() {
            for operation in &OPERATIONS {
                let expected = (operation.run)(&kernels, &a, &b);
                for start in 0..=16 {
                    let shifted =
                        |vector: &[f32], start| [vec![f32::NAN; start], vector.to_vec(), vec![f32::NAN; 16]].concat();
                    let (a, b) = (shifted(&a, start), shifted(&b, 16 - start));
                    let got = (operation.run)(&kernels, &a[start..][..dim], &b[16 - start..][..dim]);
                    assert_eq!(
                        got.to_bits(),
                        expected.to_bits(),
                        "{} of {} dim {dim} start {start}",
                        operation.name,
                        kernels.name()
                    );
                }
            }
        }
    }
}

#[test]
fn the_first_table_is_the_one_detected_and_the_last_runs_everywhere() {
    let names: Vec<_> = Kernels::available().map(|kernels| kernels.name()).collect();
    assert_eq!(names.first(), Some(&Kernels::detect().name()));
    assert_eq!(names.last(), Some(&scalar::KERNELS.name()));
}

#[test]
#[should_panic(expected = "vectors of one space have one dimension")]
fn vectors_of_two_lengths_are_a_bug() {
    let _ = Kernels::detect().dot(&[1.0, 2.0], &[1.0]);
}

/// CI sets the variable, so that "not tested on this machine" cannot pass for "tested".
#[test]
fn the_required_instruction_set_is_there() {
    if let Ok(required) = std::env::var("LLMSPELL_REQUIRE_ISA") {
        assert!(
            Kernels::available().any(|table| table.name() == required),
            "no {required} on this CPU"
        );
    }
}
