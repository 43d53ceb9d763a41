//! AVX2: tables of 16 values are looked up 32 times by one byte shuffle.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _CMP_GT_OQ, _CMP_LT_OQ, _mm_add_epi32, _mm_cvtsi128_si32, _mm_loadu_si128,
    _mm_shuffle_epi32, _mm256_abs_epi8, _mm256_add_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_epi64,
    _mm256_add_ps, _mm256_and_si256, _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castsi256_si128, _mm256_cmp_ps,
    _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_extracti128_si256, _mm256_fmadd_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_movemask_ps,
    _mm256_permute_ps, _mm256_permute2f128_ps, _mm256_sad_epu8, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi64x, _mm256_set1_ps, _mm256_setr_epi8, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_sign_epi8, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_ps, _mm256_sub_epi16, _mm256_sub_epi64,
    _mm256_sub_ps,
};

use super::{BATCH, CodeKernels, GROUP_BYTES, PLANE_BLOCK, PlaneBlock, Scale, SignSums, TABLE_MAX, scalar};

/// Bytes per register.
const BYTES: usize = 32;
/// Groups of components whose table entries add up within 16 bits.
const GROUPS_MAX: usize = u16::MAX as usize / TABLE_MAX / 32 * 32;
/// Registers whose table entries add up within bytes.
const REGISTERS_MAX: usize = u8::MAX as usize / TABLE_MAX;

pub(super) fn detect() -> Option<CodeKernels> {
    let has_all =
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    has_all.then_some(CodeKernels {
        name: "avx2",
        hadamard,
        nibble_dot,
        byte_dot,
        plane_dot_4: plane_dot::<4>,
        plane_dot_8: plane_dot::<8>,
        quantize_levels,
        quantize_nibbles,
        quantize_bytes,
        tables,
        signs,
        estimates,
        below,
    })
}

/// The portable loop, compiled for these registers.
#[target_feature(enable = "avx2,fma")]
fn quantize_bytes(values: &[f32], scale: f32, levels: &mut [i8]) -> i32 {
    scalar::quantize_bytes(values, scale, levels)
}

/// The portable loop, compiled for these registers.
#[target_feature(enable = "avx2,fma")]
fn tables(values: &[f32], scale: f32, tables: &mut [u8]) {
    scalar::tables(values, scale, tables);
}

/// The first three stages within registers: each component meets the one whose number differs in one bit.
#[target_feature(enable = "avx2,fma")]
fn hadamard(values: &mut [f32]) {
    let signs = [1, 2, 4].map(|bit| {
        let signs: [f32; 8] = std::array::from_fn(|lane| if lane & bit == 0 { 1.0 } else { -1.0 });
        load_floats(&signs)
    });
    for lanes in values.as_chunks_mut::<8>().0 {
        let mut sums = load_floats(lanes);
        sums = _mm256_fmadd_ps(sums, signs[0], _mm256_permute_ps::<0b10_11_00_01>(sums));
        sums = _mm256_fmadd_ps(sums, signs[1], _mm256_permute_ps::<0b01_00_11_10>(sums));
        sums = _mm256_fmadd_ps(sums, signs[2], _mm256_permute2f128_ps::<1>(sums, sums));
        store(lanes, sums);
    }
    scalar::hadamard_from(8, values);
}

/// The portable loop, compiled for these registers.
#[target_feature(enable = "avx2,fma")]
fn quantize_nibbles(values: &[f32], scale: f32, code: &mut [u8]) -> (f32, f32) {
    scalar::quantize_nibbles(values, scale, code)
}

/// The portable loop, compiled for these registers.
#[target_feature(enable = "avx2,fma")]
fn quantize_levels(values: &[f32], scale: f32, top: u8, levels: &mut [u8]) -> (f32, f32) {
    scalar::quantize_levels(values, scale, top, levels)
}

/// Bits are counted by two shuffles of a table of 16 counts (Muła, Kurz and Lemire, "Faster population counts using
/// AVX2 instructions", 2018, section 3).
#[target_feature(enable = "avx2")]
pub(super) fn plane_dot<const PLANES: usize>(plane: &[u8], query: &[PlaneBlock]) -> i32 {
    let (blocks, rest) = plane.as_chunks::<PLANE_BLOCK>();
    let (query, _) = query.as_chunks::<PLANES>();
    let mut sum = _mm256_setzero_si256();
    for (bits, query) in blocks.iter().zip(query) {
        sum = _mm256_add_epi64(sum, dot_of_block(bits, query));
    }
    if let Some(query) = query.get(blocks.len()) {
        let mut bits = [0; PLANE_BLOCK];
        bits[..rest.len()].copy_from_slice(rest);
        sum = _mm256_add_epi64(sum, dot_of_block(&bits, query));
    }
    // The lower half of a lane is the whole sum, which is far within 31 bits; the upper half repeats its sign.
    sum_of_lanes(_mm256_and_si256(sum, _mm256_set1_epi64x(0xffff_ffff)))
}

/// A plane counts twice the one below: sums are doubled on the way from the last plane down.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_of_block<const PLANES: usize>(bits: &PlaneBlock, query: &[PlaneBlock; PLANES]) -> __m256i {
    let zero = _mm256_setzero_si256();
    let [low, high] = halves_of_block(bits);
    let mut sum = zero;
    for (j, query) in query.iter().enumerate().rev() {
        let [query_low, query_high] = halves_of_block(query);
        let counts = _mm256_add_epi8(
            counts_of_bits(_mm256_and_si256(low, query_low)),
            counts_of_bits(_mm256_and_si256(high, query_high)),
        );
        let common = _mm256_sad_epu8(counts, zero);
        sum = _mm256_add_epi64(sum, sum);
        sum = if j == PLANES - 1 {
            _mm256_sub_epi64(sum, common)
        } else {
            _mm256_add_epi64(sum, common)
        };
    }
    sum
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves_of_block(block: &PlaneBlock) -> [__m256i; 2] {
    let [low, high] = block.as_chunks().0 else {
        unreachable!("64 bytes are two registers")
    };
    [load(low), load(high)]
}

/// Of each byte, the number of its bits.
#[inline]
#[target_feature(enable = "avx2")]
fn counts_of_bits(bytes: __m256i) -> __m256i {
    let low_half = _mm256_set1_epi8(15);
    let counts = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
    );
    let low = _mm256_shuffle_epi8(counts, _mm256_and_si256(bytes, low_half));
    let high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low_half));
    _mm256_add_epi8(low, high)
}

#[target_feature(enable = "avx2")]
fn nibble_dot(code: &[u8], query: &[i8]) -> i32 {
    let low_half = _mm256_set1_epi8(15);
    let ones = _mm256_set1_epi16(1);
    let mut sum = _mm256_setzero_si256();
    for (bytes, query) in code.as_chunks::<BYTES>().0.iter().zip(query.as_chunks::<64>().0) {
        let (query_low, query_high) = halves(query);
        let bytes = load(bytes);
        let low = _mm256_and_si256(bytes, low_half);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low_half);
        // At most 4 * 15 * 128 per lane: far within 16 bits.
        let products = _mm256_add_epi16(
            _mm256_maddubs_epi16(low, query_low),
            _mm256_maddubs_epi16(high, query_high),
        );
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, ones));
    }
    sum_of_lanes(sum)
}

#[target_feature(enable = "avx2,fma")]
fn signs(center: &[f32], neighbor: &[f32], bits: &mut [u16]) -> SignSums {
    let zero = _mm256_setzero_ps();
    let sign_bit = _mm256_set1_ps(-0.0);
    let [mut squares, mut absolute, mut of_center] = [zero; 3];
    let lanes = center.as_chunks::<16>().0.iter().zip(neighbor.as_chunks::<16>().0);
    for ((center, neighbor), bits) in lanes.zip(bits) {
        *bits = 0;
        let halves = center.as_chunks::<8>().0.iter().zip(neighbor.as_chunks::<8>().0);
        for (half, (center, neighbor)) in halves.enumerate() {
            let center = load_floats(center);
            let rest = _mm256_sub_ps(load_floats(neighbor), center);
            let is_positive = _mm256_cmp_ps::<_CMP_GT_OQ>(rest, zero);
            squares = _mm256_fmadd_ps(rest, rest, squares);
            absolute = _mm256_add_ps(absolute, _mm256_andnot_ps(sign_bit, rest));
            let opposite = _mm256_sub_ps(zero, center);
            of_center = _mm256_add_ps(of_center, _mm256_blendv_ps(opposite, center, is_positive));
            *bits |= (_mm256_movemask_ps(is_positive) as u16) << (8 * half);
        }
    }
    let sum = |lanes: __m256| {
        let mut array = [0.0; 8];
        store(&mut array, lanes);
        array.iter().sum()
    };
    SignSums {
        squares: sum(squares),
        absolute: sum(absolute),
        of_center: sum(of_center),
    }
}

/// The instruction wants one factor without a sign: it goes over to the other one.
#[target_feature(enable = "avx2")]
fn byte_dot(a: &[i8], b: &[i8]) -> i32 {
    let ones = _mm256_set1_epi16(1);
    let mut sum = _mm256_setzero_si256();
    for (a, b) in a.as_chunks::<64>().0.iter().zip(b.as_chunks::<64>().0) {
        let ((a_low, a_high), (b_low, b_high)) = (halves(a), halves(b));
        for (a, b) in [(a_low, b_low), (a_high, b_high)] {
            // Two products of at most 127 * 127 fit into 16 bits.
            let products = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, ones));
        }
    }
    sum_of_lanes(sum)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn estimates(
    codes: &[u8],
    tables: &[u8],
    adds: &[u8; 2 * BATCH],
    factors: &[u8; 2 * BATCH],
    scale: Scale,
    out: &mut [f32; BATCH],
) {
    let low_half = _mm256_set1_epi8(15);
    // Sums of neighbors 0-7, 8-15, 16-23 and 24-31.
    let mut sums = [_mm256_setzero_si256(); 4];
    let parts = codes.chunks(GROUPS_MAX * GROUP_BYTES);
    for (codes, tables) in parts.zip(tables.chunks(GROUPS_MAX * GROUP_BYTES)) {
        // Of neighbors 0-15 and 16-31, over two groups at once: whole 16-bit lanes, and only their upper bytes.
        let (mut both_low, mut upper_low) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        let (mut both_high, mut upper_high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        let parts = codes.chunks(REGISTERS_MAX * BYTES);
        for (codes, tables) in parts.zip(tables.chunks(REGISTERS_MAX * BYTES)) {
            let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for (codes, table) in codes.as_chunks::<BYTES>().0.iter().zip(tables.as_chunks::<BYTES>().0) {
                let (codes, table) = (load(codes), load(table));
                let choices = _mm256_and_si256(codes, low_half);
                low = _mm256_add_epi8(low, _mm256_shuffle_epi8(table, choices));
                let choices = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low_half);
                high = _mm256_add_epi8(high, _mm256_shuffle_epi8(table, choices));
            }
            both_low = _mm256_add_epi16(both_low, low);
            upper_low = _mm256_add_epi16(upper_low, _mm256_srli_epi16::<8>(low));
            both_high = _mm256_add_epi16(both_high, high);
            upper_high = _mm256_add_epi16(upper_high, _mm256_srli_epi16::<8>(high));
        }
        for (place, both, upper) in [(0, both_low, upper_low), (2, both_high, upper_high)] {
            let even = _mm256_sub_epi16(both, _mm256_slli_epi16::<8>(upper));
            let (even, odd) = (sum_of_halves(even), sum_of_halves(upper));
            let first = std::arch::x86_64::_mm_unpacklo_epi16(even, odd);
            let second = std::arch::x86_64::_mm_unpackhi_epi16(even, odd);
            sums[place] = _mm256_add_epi32(sums[place], _mm256_cvtepu16_epi32(first));
            sums[place + 1] = _mm256_add_epi32(sums[place + 1], _mm256_cvtepu16_epi32(second));
        }
    }
    let (step, offset) = (_mm256_set1_ps(scale.step), _mm256_set1_ps(scale.offset));
    let base = _mm256_set1_ps(scale.base);
    let halves = adds.as_chunks::<16>().0.iter().zip(factors.as_chunks::<16>().0);
    for ((sum, (add, factor)), out) in sums.into_iter().zip(halves).zip(out.as_chunks_mut::<8>().0) {
        let product = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), step, offset);
        let add = _mm256_add_ps(base, _mm256_cvtph_ps(load_half(add)));
        store(out, _mm256_fmadd_ps(_mm256_cvtph_ps(load_half(factor)), product, add));
    }
}

#[target_feature(enable = "avx2")]
fn below(values: &[f32; BATCH], bound: f32) -> u32 {
    let bound = _mm256_set1_ps(bound);
    let mut mask = 0;
    for (i, values) in values.as_chunks::<8>().0.iter().enumerate() {
        let is_below = _mm256_cmp_ps::<_CMP_LT_OQ>(load_floats(values), bound);
        mask |= (_mm256_movemask_ps(is_below) as u32) << (8 * i);
    }
    mask
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves(query: &[i8; 64]) -> (__m256i, __m256i) {
    // SAFETY: the array is 64 readable bytes, and these loads need no alignment.
    unsafe {
        let start = query.as_ptr();
        (
            _mm256_loadu_si256(start.cast()),
            _mm256_loadu_si256(start.add(BYTES).cast()),
        )
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; BYTES]) -> __m256i {
    // SAFETY: the array is 32 readable bytes, and this load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_half(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the array is 16 readable bytes, and this load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_floats(lanes: &[f32; 8]) -> __m256 {
    // SAFETY: the array is 32 readable bytes, and this load needs no alignment.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(lanes: &mut [f32; 8], values: __m256) {
    // SAFETY: the array is 32 writable bytes, and this store needs no alignment.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), values) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_halves(lanes: __m256i) -> __m128i {
    std::arch::x86_64::_mm_add_epi16(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes))
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_lanes(lanes: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
}
