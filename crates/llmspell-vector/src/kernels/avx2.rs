//! AVX2 with FMA: 8 components per register, 32 per turn.

use std::arch::x86_64::{
    __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps, _mm256_add_ps,
    _mm256_andnot_ps, _mm256_castps256_ps128, _mm256_cmpgt_epi32, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_fmsub_ps, _mm256_loadu_ps, _mm256_maskload_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32,
    _mm256_setzero_ps, _mm256_sub_ps,
};

use super::Kernels;

const LANES: usize = 8;
/// One sum alone would wait for each fused multiply-add to finish (4 cycles, and one can start per cycle).
const SUMS: usize = 4;
const BLOCK: usize = SUMS * LANES;

pub(super) fn detect() -> Option<Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Kernels {
        name: "avx2",
        dot,
        l2_squared,
        scaled_l2_squared,
        manhattan,
        dot_and_norm_squared,
    })
}

#[target_feature(enable = "avx2,fma")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let [dot] = sum_over_pairs(a, b, |[sum], a, b| [_mm256_fmadd_ps(a, b, sum)]);
    dot
}

#[target_feature(enable = "avx2,fma")]
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    let [sum] = sum_over_pairs(a, b, |[sum], a, b| {
        let difference = _mm256_sub_ps(a, b);
        [_mm256_fmadd_ps(difference, difference, sum)]
    });
    sum
}

#[target_feature(enable = "avx2,fma")]
fn scaled_l2_squared(query: &[f32], scale: f32, vector: &[f32]) -> f32 {
    let scale = _mm256_set1_ps(scale);
    let [sum] = sum_over_pairs(query, vector, |[sum], query, vector| {
        let difference = _mm256_fmsub_ps(scale, query, vector);
        [_mm256_fmadd_ps(difference, difference, sum)]
    });
    sum
}

#[target_feature(enable = "avx2,fma")]
fn manhattan(a: &[f32], b: &[f32]) -> f32 {
    let sign = _mm256_set1_ps(-0.0);
    let [sum] = sum_over_pairs(a, b, |[sum], a, b| {
        [_mm256_add_ps(sum, _mm256_andnot_ps(sign, _mm256_sub_ps(a, b)))]
    });
    sum
}

#[target_feature(enable = "avx2,fma")]
fn dot_and_norm_squared(query: &[f32], vector: &[f32]) -> (f32, f32) {
    let [dot, norm_squared] = sum_over_pairs(query, vector, |[dot, norm_squared], query, vector| {
        [
            _mm256_fmadd_ps(query, vector, dot),
            _mm256_fmadd_ps(vector, vector, norm_squared),
        ]
    });
    (dot, norm_squared)
}

/// Feeds all components to `add`, a register at a time, and adds up each of the `R` results.
///
/// What is missing in the last register counts as zero in both vectors, so `add` must add nothing for two zeros.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum_over_pairs<const R: usize>(
    a: &[f32],
    b: &[f32],
    add: impl Fn([__m256; R], __m256, __m256) -> [__m256; R],
) -> [f32; R] {
    let (a_blocks, a_rest) = a.as_chunks::<BLOCK>();
    let (b_blocks, b_rest) = b.as_chunks::<BLOCK>();

    let mut sums = [[_mm256_setzero_ps(); R]; SUMS];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        let registers = a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0);
        for (sum, (a, b)) in sums.iter_mut().zip(registers) {
            *sum = add(*sum, load(a), load(b));
        }
    }

    let [s0, s1, s2, s3] = sums;
    let mut sum: [__m256; R] =
        std::array::from_fn(|r| _mm256_add_ps(_mm256_add_ps(s0[r], s1[r]), _mm256_add_ps(s2[r], s3[r])));

    let (a_registers, a_tail) = a_rest.as_chunks::<LANES>();
    let (b_registers, b_tail) = b_rest.as_chunks::<LANES>();
    for (a, b) in a_registers.iter().zip(b_registers) {
        sum = add(sum, load(a), load(b));
    }
    if !a_tail.is_empty() {
        sum = add(sum, load_tail(a_tail), load_tail(b_tail));
    }
    sum.map(|register| sum_of_lanes(register))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(lanes: &[f32; LANES]) -> __m256 {
    // SAFETY: the array is 32 readable bytes, and this load needs no alignment.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

/// Fewer than 8 components, the lanes behind them zero.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_tail(tail: &[f32]) -> __m256 {
    let lane_numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let mask: __m256i = _mm256_cmpgt_epi32(_mm256_set1_epi32(tail.len() as i32), lane_numbers);
    // SAFETY: the mask lets through the lanes below `tail.len()`; the others are neither read nor checked for access.
    unsafe { _mm256_maskload_ps(tail.as_ptr(), mask) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum_of_lanes(register: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(register), _mm256_extractf128_ps::<1>(register));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
