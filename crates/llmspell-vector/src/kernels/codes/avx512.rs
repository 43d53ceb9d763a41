//! AVX-512 F, BW and VNNI, and VPOPCNTDQ where there is: tables of 16 values are looked up 64 times by one byte shuffle.

use std::arch::x86_64::{
    __m256i, __m512, __m512i, _CMP_GT_OQ, _CMP_LT_OQ, _mm_add_epi16, _mm_storeu_si128, _mm_unpackhi_epi16,
    _mm_unpacklo_epi16, _mm256_add_epi16, _mm256_and_si256, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm256_set_m128i, _mm256_set1_epi8, _mm256_srli_epi16, _mm512_abs_ps, _mm512_add_epi8,
    _mm512_add_epi16, _mm512_add_epi32, _mm512_add_epi64, _mm512_add_ps, _mm512_and_si512, _mm512_castsi256_si512,
    _mm512_castsi512_si256, _mm512_cmp_ps_mask, _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps, _mm512_cvtepu16_epi32,
    _mm512_cvtph_ps, _mm512_cvtps_epi32, _mm512_dpbusd_epi32, _mm512_extracti64x4_epi64, _mm512_fmadd_ps,
    _mm512_inserti64x4, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_add_ps, _mm512_mask_mov_ps,
    _mm512_maskz_loadu_epi64, _mm512_min_ps, _mm512_mul_ps, _mm512_permute_ps, _mm512_popcnt_epi64,
    _mm512_reduce_add_epi32, _mm512_reduce_add_epi64, _mm512_reduce_add_ps, _mm512_set1_epi8, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_f32x4, _mm512_slli_epi16,
    _mm512_srli_epi16, _mm512_storeu_ps, _mm512_sub_epi16, _mm512_sub_epi32, _mm512_sub_epi64, _mm512_sub_ps,
    _mm512_xor_si512,
};

use super::{BATCH, CodeKernels, GROUP_BYTES, PLANE_BLOCK, PlaneBlock, Scale, SignSums, TABLE_MAX, avx2, scalar};

/// Bytes per register.
const BYTES: usize = 64;
/// Groups of components whose table entries add up within 16 bits.
const GROUPS_MAX: usize = u16::MAX as usize / TABLE_MAX / 32 * 32;
/// Registers whose table entries add up within bytes.
const REGISTERS_MAX: usize = u8::MAX as usize / TABLE_MAX;

pub(super) fn detect() -> Option<CodeKernels> {
    let has_all = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma");
    let counts_bits = is_x86_feature_detected!("avx512vpopcntdq");
    has_all.then_some(CodeKernels {
        name: "avx512",
        hadamard,
        nibble_dot,
        byte_dot,
        plane_dot_4: if counts_bits {
            plane_dot::<4>
        } else {
            avx2::plane_dot::<4>
        },
        plane_dot_8: if counts_bits {
            plane_dot::<8>
        } else {
            avx2::plane_dot::<8>
        },
        quantize_levels,
        quantize_nibbles,
        quantize_bytes,
        tables,
        signs,
        estimates,
        below,
    })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn quantize_bytes(values: &[f32], scale: f32, levels: &mut [i8]) -> i32 {
    let scale = _mm512_set1_ps(scale);
    let mut sum = _mm512_setzero_si512();
    for (values, levels) in values.as_chunks::<16>().0.iter().zip(levels.as_chunks_mut::<16>().0) {
        let rounded = _mm512_cvtps_epi32(_mm512_mul_ps(load_floats(values), scale));
        sum = _mm512_add_epi32(sum, rounded);
        // SAFETY: the array is 16 writable bytes, and this store needs no alignment.
        unsafe { _mm_storeu_si128(levels.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(rounded)) }
    }
    _mm512_reduce_add_epi32(sum)
}

/// Four groups per turn, one per quarter of a register.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn tables(values: &[f32], scale: f32, tables: &mut [u8]) {
    let (zero, scale) = (_mm512_setzero_ps(), _mm512_set1_ps(scale));
    let tables = tables.as_chunks_mut::<{ 4 * GROUP_BYTES }>().0;
    for (values, tables) in values.as_chunks::<16>().0.iter().zip(tables) {
        let values = _mm512_mul_ps(load_floats(values), scale);
        let negative = _mm512_min_ps(values, zero);
        let pairs = _mm512_add_ps(negative, _mm512_permute_ps::<0b10_11_00_01>(negative));
        let lowest = _mm512_add_ps(pairs, _mm512_permute_ps::<0b01_00_11_10>(pairs));
        // The lowest sum of each group becomes zero.
        let from = _mm512_sub_ps(zero, lowest);
        let groups = [
            (
                _mm512_shuffle_f32x4::<0b00_00_00_00>(values, values),
                _mm512_shuffle_f32x4::<0b00_00_00_00>(from, from),
            ),
            (
                _mm512_shuffle_f32x4::<0b01_01_01_01>(values, values),
                _mm512_shuffle_f32x4::<0b01_01_01_01>(from, from),
            ),
            (
                _mm512_shuffle_f32x4::<0b10_10_10_10>(values, values),
                _mm512_shuffle_f32x4::<0b10_10_10_10>(from, from),
            ),
            (
                _mm512_shuffle_f32x4::<0b11_11_11_11>(values, values),
                _mm512_shuffle_f32x4::<0b11_11_11_11>(from, from),
            ),
        ];
        for ((values, from), table) in groups.into_iter().zip(tables.as_chunks_mut::<GROUP_BYTES>().0) {
            // Which choices, of 16, contain each of the four values.
            let sums = _mm512_mask_add_ps(from, 0xaaaa, from, _mm512_permute_ps::<0b00_00_00_00>(values));
            let sums = _mm512_mask_add_ps(sums, 0xcccc, sums, _mm512_permute_ps::<0b01_01_01_01>(values));
            let sums = _mm512_mask_add_ps(sums, 0xf0f0, sums, _mm512_permute_ps::<0b10_10_10_10>(values));
            let sums = _mm512_mask_add_ps(sums, 0xff00, sums, _mm512_permute_ps::<0b11_11_11_11>(values));
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(sums));
            // SAFETY: the array is 16 writable bytes, and this store needs no alignment.
            unsafe { _mm_storeu_si128(table.as_mut_ptr().cast(), bytes) }
        }
    }
}

/// The first four stages within registers: each component meets the one whose number differs in one bit.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
fn hadamard(values: &mut [f32]) {
    let one = _mm512_set1_ps(1.0);
    let signs = [0xaaaa, 0xcccc, 0xf0f0, 0xff00].map(|second| _mm512_mask_mov_ps(one, second, _mm512_set1_ps(-1.0)));
    for lanes in values.as_chunks_mut::<16>().0 {
        let mut sums = load_floats(lanes);
        sums = _mm512_fmadd_ps(sums, signs[0], _mm512_permute_ps::<0b10_11_00_01>(sums));
        sums = _mm512_fmadd_ps(sums, signs[1], _mm512_permute_ps::<0b01_00_11_10>(sums));
        sums = _mm512_fmadd_ps(sums, signs[2], _mm512_shuffle_f32x4::<0b10_11_00_01>(sums, sums));
        sums = _mm512_fmadd_ps(sums, signs[3], _mm512_shuffle_f32x4::<0b01_00_11_10>(sums, sums));
        store(lanes, sums);
    }
    scalar::hadamard_from(16, values);
}

/// The portable loop, compiled for these registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
fn quantize_nibbles(values: &[f32], scale: f32, code: &mut [u8]) -> (f32, f32) {
    scalar::quantize_nibbles(values, scale, code)
}

/// The portable loop, compiled for these registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
fn quantize_levels(values: &[f32], scale: f32, top: u8, levels: &mut [u8]) -> (f32, f32) {
    scalar::quantize_levels(values, scale, top, levels)
}

/// 512 components per turn. A plane counts twice the one below: sums are doubled on the way from the last plane down.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn plane_dot<const PLANES: usize>(plane: &[u8], query: &[PlaneBlock]) -> i32 {
    let mut sum = _mm512_setzero_si512();
    for (bits, query) in plane.chunks(PLANE_BLOCK).zip(query.as_chunks::<PLANES>().0) {
        let bits = load_words(bits);
        let mut of_block = _mm512_setzero_si512();
        for (j, query) in query.iter().enumerate().rev() {
            let common = _mm512_popcnt_epi64(_mm512_and_si512(bits, load(query)));
            of_block = _mm512_add_epi64(of_block, of_block);
            of_block = if j == PLANES - 1 {
                _mm512_sub_epi64(of_block, common)
            } else {
                _mm512_add_epi64(of_block, common)
            };
        }
        sum = _mm512_add_epi64(sum, of_block);
    }
    _mm512_reduce_add_epi64(sum) as i32
}

/// At most eight words, the lanes behind them zero.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_words(bytes: &[u8]) -> __m512i {
    let words = (bytes.len() / 8).min(8);
    let mask = (0xff_u16 >> (8 - words)) as u8;
    // SAFETY: the mask lets through the words that the slice has; the others are neither read nor checked for access.
    unsafe { _mm512_maskz_loadu_epi64(mask, bytes.as_ptr().cast()) }
}

/// 64 components per turn: their 32 bytes become one register, low halves first.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn nibble_dot(code: &[u8], query: &[i8]) -> i32 {
    let low_half = _mm256_set1_epi8(15);
    let levels = |bytes: &[u8; 32]| {
        let bytes = load_half(bytes);
        let low = _mm256_and_si256(bytes, low_half);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low_half);
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    };
    // Two sums, because one would wait for itself.
    let [mut even, mut odd] = [_mm512_setzero_si512(); 2];
    let (pairs, last) = code.as_chunks::<64>();
    let (query_pairs, query_last) = query.as_chunks::<128>();
    for (bytes, query) in pairs.iter().zip(query_pairs) {
        let ([first, second], [query_first, query_second]) = (bytes.as_chunks().0, query.as_chunks().0) else {
            unreachable!("two halves")
        };
        even = _mm512_dpbusd_epi32(even, levels(first), load_query(query_first));
        odd = _mm512_dpbusd_epi32(odd, levels(second), load_query(query_second));
    }
    if let (Some(bytes), Some(query)) = (last.first_chunk(), query_last.first_chunk()) {
        even = _mm512_dpbusd_epi32(even, levels(bytes), load_query(query));
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(even, odd))
}

#[target_feature(enable = "avx512f")]
fn signs(center: &[f32], neighbor: &[f32], bits: &mut [u16]) -> SignSums {
    let zero = _mm512_setzero_ps();
    let [mut squares, mut absolute, mut of_center] = [zero; 3];
    let lanes = center.as_chunks::<16>().0.iter().zip(neighbor.as_chunks::<16>().0);
    for ((center, neighbor), bits) in lanes.zip(bits) {
        let center = load_floats(center);
        let rest = _mm512_sub_ps(load_floats(neighbor), center);
        let is_positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(rest, zero);
        squares = _mm512_fmadd_ps(rest, rest, squares);
        absolute = _mm512_add_ps(absolute, _mm512_abs_ps(rest));
        let opposite = _mm512_sub_ps(zero, center);
        of_center = _mm512_add_ps(of_center, _mm512_mask_mov_ps(opposite, is_positive, center));
        *bits = is_positive;
    }
    SignSums {
        squares: _mm512_reduce_add_ps(squares),
        absolute: _mm512_reduce_add_ps(absolute),
        of_center: _mm512_reduce_add_ps(of_center),
    }
}

/// The instruction wants one factor without a sign: 128 are added to it, and their share is subtracted in the end.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn byte_dot(a: &[i8], b: &[i8]) -> i32 {
    let offset = _mm512_set1_epi8(-128);
    let [mut sum, mut of_offset] = [_mm512_setzero_si512(); 2];
    for (a, b) in a.as_chunks::<BYTES>().0.iter().zip(b.as_chunks::<BYTES>().0) {
        let b = load_query(b);
        sum = _mm512_dpbusd_epi32(sum, _mm512_xor_si512(load_query(a), offset), b);
        of_offset = _mm512_dpbusd_epi32(of_offset, offset, b);
    }
    _mm512_reduce_add_epi32(_mm512_sub_epi32(sum, of_offset))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
fn estimates(
    codes: &[u8],
    tables: &[u8],
    adds: &[u8; 2 * BATCH],
    factors: &[u8; 2 * BATCH],
    scale: Scale,
    out: &mut [f32; BATCH],
) {
    let low_half = _mm512_set1_epi8(15);
    // Sums of neighbors 0-15 and 16-31.
    let mut sums = [_mm512_setzero_si512(); 2];
    let parts = codes.chunks(GROUPS_MAX * GROUP_BYTES);
    for (codes, tables) in parts.zip(tables.chunks(GROUPS_MAX * GROUP_BYTES)) {
        // Of neighbors 0-15 and 16-31, over four groups at once: whole 16-bit lanes, and only their upper bytes.
        let (mut both_low, mut upper_low) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let (mut both_high, mut upper_high) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let parts = codes.chunks(REGISTERS_MAX * BYTES);
        for (codes, tables) in parts.zip(tables.chunks(REGISTERS_MAX * BYTES)) {
            let (mut low, mut high) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            for (codes, table) in codes.as_chunks::<BYTES>().0.iter().zip(tables.as_chunks::<BYTES>().0) {
                let (codes, table) = (load(codes), load(table));
                let choices = _mm512_and_si512(codes, low_half);
                low = _mm512_add_epi8(low, _mm512_shuffle_epi8(table, choices));
                let choices = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), low_half);
                high = _mm512_add_epi8(high, _mm512_shuffle_epi8(table, choices));
            }
            both_low = _mm512_add_epi16(both_low, low);
            upper_low = _mm512_add_epi16(upper_low, _mm512_srli_epi16::<8>(low));
            both_high = _mm512_add_epi16(both_high, high);
            upper_high = _mm512_add_epi16(upper_high, _mm512_srli_epi16::<8>(high));
        }
        for (sum, both, upper) in [(0, both_low, upper_low), (1, both_high, upper_high)] {
            let even = _mm512_sub_epi16(both, _mm512_slli_epi16::<8>(upper));
            sums[sum] = _mm512_add_epi32(sums[sum], _mm512_cvtepu16_epi32(interleaved(even, upper)));
        }
    }
    let (step, offset) = (_mm512_set1_ps(scale.step), _mm512_set1_ps(scale.offset));
    let base = _mm512_set1_ps(scale.base);
    let halves = adds.as_chunks::<32>().0.iter().zip(factors.as_chunks::<32>().0);
    for ((sum, (add, factor)), out) in sums.into_iter().zip(halves).zip(out.as_chunks_mut::<16>().0) {
        let product = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), step, offset);
        let add = _mm512_add_ps(base, _mm512_cvtph_ps(load_half(add)));
        store(out, _mm512_fmadd_ps(_mm512_cvtph_ps(load_half(factor)), product, add));
    }
}

#[target_feature(enable = "avx512f")]
fn below(values: &[f32; BATCH], bound: f32) -> u32 {
    let bound = _mm512_set1_ps(bound);
    let [first, second] = [0, 16].map(|start| {
        let lanes = values[start..].first_chunk().expect("two registers of 16");
        u32::from(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(load_floats(lanes), bound))
    });
    first | (second << 16)
}

/// Sums of four groups' even and odd bytes, each added up, in the order of the neighbors.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
fn interleaved(even: __m512i, odd: __m512i) -> __m256i {
    let [even, odd] = [even, odd].map(|lanes| {
        let two = _mm256_add_epi16(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
        _mm_add_epi16(_mm256_castsi256_si128(two), _mm256_extracti128_si256::<1>(two))
    });
    _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; BYTES]) -> __m512i {
    // SAFETY: the array is 64 readable bytes, and this load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_query(bytes: &[i8; BYTES]) -> __m512i {
    // SAFETY: the array is 64 readable bytes, and this load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_half(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the array is 32 readable bytes, and this load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_floats(lanes: &[f32; 16]) -> __m512 {
    // SAFETY: the array is 64 readable bytes, and this load needs no alignment.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(lanes: &mut [f32; 16], values: __m512) {
    // SAFETY: the array is 64 writable bytes, and this store needs no alignment.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), values) }
}
