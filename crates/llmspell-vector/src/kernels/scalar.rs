//! The loops over floats for any CPU: the definition that the other tables are held to.

use super::Kernels;

/// Independent sums per result. One alone would wait for each addition; sixteen fill four SSE or NEON registers
/// when the compiler vectorizes.
const SUMS: usize = 16;

pub(super) const KERNELS: Kernels = Kernels {
    name: "scalar",
    dot,
    l2_squared,
    scaled_l2_squared,
    manhattan,
    dot_and_norm_squared,
};

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [dot] = sum_over_pairs(a, b, |a, b| [a * b]);
    dot
}

fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = sum_over_pairs(a, b, |a, b| [(a - b) * (a - b)]);
    sum
}

fn scaled_l2_squared(query: &[f32], scale: f32, vector: &[f32]) -> f32 {
    let [sum] = sum_over_pairs(query, vector, |query, component| {
        let difference = scale * query - component;
        [difference * difference]
    });
    sum
}

fn manhattan(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = sum_over_pairs(a, b, |a, b| [(a - b).abs()]);
    sum
}

fn dot_and_norm_squared(query: &[f32], vector: &[f32]) -> (f32, f32) {
    let [dot, norm_squared] = sum_over_pairs(query, vector, |query, component| {
        [query * component, component * component]
    });
    (dot, norm_squared)
}

/// Sums of the `R` terms that each pair of components gives.
#[inline(always)]
fn sum_over_pairs<const R: usize>(a: &[f32], b: &[f32], terms: impl Fn(f32, f32) -> [f32; R]) -> [f32; R] {
    let (a_blocks, a_tail) = a.as_chunks::<SUMS>();
    let (b_blocks, b_tail) = b.as_chunks::<SUMS>();

    let mut sums = [[0.0; SUMS]; R];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..SUMS {
            let terms = terms(a[lane], b[lane]);
            for result in 0..R {
                sums[result][lane] += terms[result];
            }
        }
    }
    for (lane, (a, b)) in a_tail.iter().zip(b_tail).enumerate() {
        let terms = terms(*a, *b);
        for result in 0..R {
            sums[result][lane] += terms[result];
        }
    }
    sums.map(sum_of_lanes)
}

/// Halves until one is left, as the registers of the other tables do.
fn sum_of_lanes(mut lanes: [f32; SUMS]) -> f32 {
    let mut half = SUMS / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}
