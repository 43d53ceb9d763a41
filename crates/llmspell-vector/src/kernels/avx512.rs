//! AVX-512F: 16 components per register, 64 per turn.

use std::arch::x86_64::{
    __m512, _mm512_abs_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_fmsub_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps,
    _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_sub_ps,
};

use super::Kernels;

const LANES: usize = 16;
/// One sum alone would wait for each fused multiply-add to finish (4 cycles, and one can start per cycle).
const SUMS: usize = 4;
const BLOCK: usize = SUMS * LANES;

pub(super) fn detect() -> Option<Kernels> {
    is_x86_feature_detected!("avx512f").then_some(Kernels {
        name: "avx512",
        dot,
        l2_squared,
        scaled_l2_squared,
        manhattan,
        dot_and_norm_squared,
    })
}

#[target_feature(enable = "avx512f")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [dot] = sum_over_pairs(a, b, |[sum], a, b| [_mm512_fmadd_ps(a, b, sum)]);
    dot
}

#[target_feature(enable = "avx512f")]
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = sum_over_pairs(a, b, |[sum], a, b| {
        let difference = _mm512_sub_ps(a, b);
        [_mm512_fmadd_ps(difference, difference, sum)]
    });
    sum
}

#[target_feature(enable = "avx512f")]
fn scaled_l2_squared(query: &[f32], scale: f32, vector: &[f32]) -> f32 {
    let scale = _mm512_set1_ps(scale);
    let [sum] = sum_over_pairs(query, vector, |[sum], query, vector| {
        let difference = _mm512_fmsub_ps(scale, query, vector);
        [_mm512_fmadd_ps(difference, difference, sum)]
    });
    sum
}

#[target_feature(enable = "avx512f")]
fn manhattan(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = sum_over_pairs(a, b, |[sum], a, b| {
        [_mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(a, b)))]
    });
    sum
}

#[target_feature(enable = "avx512f")]
fn dot_and_norm_squared(query: &[f32], vector: &[f32]) -> (f32, f32) {
    let [dot, norm_squared] = sum_over_pairs(query, vector, |[dot, norm_squared], query, vector| {
        [
            _mm512_fmadd_ps(query, vector, dot),
            _mm512_fmadd_ps(vector, vector, norm_squared),
        ]
    });
    (dot, norm_squared)
}

/// Feeds all components to `add`, a register at a time, and adds up each of the `R` results.
///
/// What is missing in the last register counts as zero in both vectors, so `add` must add nothing for two zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_over_pairs<const R: usize>(
    a: &[f32],
    b: &[f32],
    add: impl Fn([__m512; R], __m512, __m512) -> [__m512; R],
) -> [f32; R] {
    let (a_blocks, a_rest) = a.as_chunks::<BLOCK>();
    let (b_blocks, b_rest) = b.as_chunks::<BLOCK>();

    let mut sums = [[_mm512_setzero_ps(); R]; SUMS];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        let registers = a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0);
        for (sum, (a, b)) in sums.iter_mut().zip(registers) {
            *sum = add(*sum, load(a), load(b));
        }
    }

    let [s0, s1, s2, s3] = sums;
    let mut sum: [__m512; R] =
        std::array::from_fn(|r| _mm512_add_ps(_mm512_add_ps(s0[r], s1[r]), _mm512_add_ps(s2[r], s3[r])));

    let (a_registers, a_tail) = a_rest.as_chunks::<LANES>();
    let (b_registers, b_tail) = b_rest.as_chunks::<LANES>();
    for (a, b) in a_registers.iter().zip(b_registers) {
        sum = add(sum, load(a), load(b));
    }
    if !a_tail.is_empty() {
        sum = add(sum, load_tail(a_tail), load_tail(b_tail));
    }
    sum.map(|register| _mm512_reduce_add_ps(register))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(lanes: &[f32; LANES]) -> __m512 {
    // SAFETY: the array is 64 readable bytes, and this load needs no alignment.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

/// Fewer than 16 components, the lanes behind them zero.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_tail(tail: &[f32]) -> __m512 {
    let mask = (1_u16 << tail.len()) - 1;
    // SAFETY: the mask lets through the lanes below `tail.len()`; the others are neither read nor checked for access.
    unsafe { _mm512_maskz_loadu_ps(mask, tail.as_ptr()) }
}
