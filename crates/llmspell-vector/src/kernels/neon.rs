//! NEON: 4 components per register, 16 per turn.

use std::arch::aarch64::{
    float32x4_t, vabdq_f32, vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32, vfmsq_f32, vld1q_f32, vsubq_f32,
};
use std::arch::is_aarch64_feature_detected;

use super::Kernels;

const LANES: usize = 4;
/// One sum alone would wait for each fused multiply-add to finish.
const SUMS: usize = 4;
const BLOCK: usize = SUMS * LANES;

pub(super) fn detect() -> Option<Kernels> {
    is_aarch64_feature_detected!("neon").then_some(Kernels {
        name: "neon",
        dot,
        l2_squared,
        scaled_l2_squared,
        manhattan,
        dot_and_norm_squared,
    })
}

#[target_feature(enable = "neon")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [dot] = sum_over_pairs(a, b, |[sum], a, b| [vfmaq_f32(sum, a, b)]);
    dot
}

#[target_feature(enable = "neon")]
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = sum_over_pairs(a, b, |[sum], a, b| {
        let difference = vsubq_f32(a, b);
        [vfmaq_f32(sum, difference, difference)]
    });
    sum
}

#[target_feature(enable = "neon")]
fn scaled_l2_squared(query: &[f32], scale: f32, vector: &[f32]) -> f32 {
    let scale = vdupq_n_f32(scale);
    let [sum] = sum_over_pairs(query, vector, |[sum], query, vector| {
        // The opposite of the difference, which has the same square.
        let difference = vfmsq_f32(vector, scale, query);
        [vfmaq_f32(sum, difference, difference)]
    });
    sum
}

#[target_feature(enable = "neon")]
fn manhattan(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = sum_over_pairs(a, b, |[sum], a, b| [vaddq_f32(sum, vabdq_f32(a, b))]);
    sum
}

#[target_feature(enable = "neon")]
fn dot_and_norm_squared(query: &[f32], vector: &[f32]) -> (f32, f32) {
    let [dot, norm_squared] = sum_over_pairs(query, vector, |[dot, norm_squared], query, vector| {
        [vfmaq_f32(dot, query, vector), vfmaq_f32(norm_squared, vector, vector)]
    });
    (dot, norm_squared)
}

/// Feeds all components to `add`, a register at a time, and adds up each of the `R` results.
///
/// What is missing in the last register counts as zero in both vectors, so `add` must add nothing for two zeros.
#[inline]
#[target_feature(enable = "neon")]
fn sum_over_pairs<const R: usize>(
    a: &[f32],
    b: &[f32],
    add: impl Fn([float32x4_t; R], float32x4_t, float32x4_t) -> [float32x4_t; R],
) -> [f32; R] {
    let (a_blocks, a_rest) = a.as_chunks::<BLOCK>();
    let (b_blocks, b_rest) = b.as_chunks::<BLOCK>();

    let mut sums = [[vdupq_n_f32(0.0); R]; SUMS];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        let registers = a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0);
        for (sum, (a, b)) in sums.iter_mut().zip(registers) {
            *sum = add(*sum, load(a), load(b));
        }
    }

    let [s0, s1, s2, s3] = sums;
    let mut sum: [float32x4_t; R] =
        std::array::from_fn(|r| vaddq_f32(vaddq_f32(s0[r], s1[r]), vaddq_f32(s2[r], s3[r])));

    let (a_registers, a_tail) = a_rest.as_chunks::<LANES>();
    let (b_registers, b_tail) = b_rest.as_chunks::<LANES>();
    for (a, b) in a_registers.iter().zip(b_registers) {
        sum = add(sum, load(a), load(b));
    }
    if !a_tail.is_empty() {
        sum = add(sum, load(&padded(a_tail)), load(&padded(b_tail)));
    }
    sum.map(|register| vaddvq_f32(register))
}

#[inline]
#[target_feature(enable = "neon")]
fn load(lanes: &[f32; LANES]) -> float32x4_t {
    // SAFETY: the array is 16 readable bytes, and this load needs no alignment beyond that of `f32`.
    unsafe { vld1q_f32(lanes.as_ptr()) }
}

/// Fewer than 4 components, zeros behind them: NEON has no masked loads.
#[inline]
fn padded(tail: &[f32]) -> [f32; LANES] {
    std::array::from_fn(|lane| tail.get(lane).copied().unwrap_or(0.0))
}
