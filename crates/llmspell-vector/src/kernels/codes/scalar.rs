//! The loops over codes for any CPU: the definition that the other tables are held to.

use super::{BATCH, CodeKernels, GROUP_BYTES, PLANE_BLOCK, PlaneBlock, Scale, SignSums};

pub(super) const KERNELS: CodeKernels = CodeKernels {
    name: "scalar",
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
};

fn hadamard(values: &mut [f32]) {
    hadamard_from(1, values);
}

/// The stages whose halves have `half` components and more.
#[inline(always)]
pub(super) fn hadamard_from(mut half: usize, values: &mut [f32]) {
    while half < values.len() {
        for block in values.chunks_exact_mut(2 * half) {
            let (left, right) = block.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

fn nibble_dot(code: &[u8], query: &[i8]) -> i32 {
    let mut sum = 0;
    for (bytes, query) in code.as_chunks::<32>().0.iter().zip(query.as_chunks::<64>().0) {
        let (low, high) = query.split_at(32);
        for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
            sum += i32::from(byte & 15) * i32::from(*low) + i32::from(byte >> 4) * i32::from(*high);
        }
    }
    sum
}

fn byte_dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

fn plane_dot<const PLANES: usize>(plane: &[u8], query: &[PlaneBlock]) -> i32 {
    let mut sum = 0;
    for (bits, query) in plane.chunks(PLANE_BLOCK).zip(query.as_chunks::<PLANES>().0) {
        for (j, query) in query.iter().enumerate() {
            let words = bits.as_chunks().0.iter().zip(query.as_chunks().0);
            let common = words.map(|(a, b)| (u64::from_le_bytes(*a) & u64::from_le_bytes(*b)).count_ones());
            let worth = (common.sum::<u32>() as i32) << j;
            sum += if j == PLANES - 1 { -worth } else { worth };
        }
    }
    sum
}

/// Added to a number, it leaves no room for a fraction: the sum's low bits are the number, rounded.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
pub(super) fn quantize_levels(values: &[f32], scale: f32, top: u8, levels: &mut [u8]) -> (f32, f32) {
    let (top, middle) = (f32::from(top), f32::from(top) / 2.0);
    // Sums of sixteen lanes, so that the loops vectorize.
    let (mut dots, mut squares) = ([0.0_f32; 16], [0.0_f32; 16]);
    for (values, levels) in values.as_chunks::<16>().0.iter().zip(levels.as_chunks_mut::<16>().0) {
        for lane in 0..16 {
            let level = (values[lane] * scale + middle).clamp(0.0, top) + ROUND;
            let rounded = level - ROUND - middle;
            dots[lane] += rounded * values[lane];
            squares[lane] += rounded * rounded;
            levels[lane] = level.to_bits() as u8;
        }
    }
    (dots.iter().sum(), squares.iter().sum())
}

#[inline(always)]
pub(super) fn quantize_nibbles(values: &[f32], scale: f32, code: &mut [u8]) -> (f32, f32) {
    // Sums of eight lanes, so that the loops vectorize.
    let (mut dots, mut squares) = ([0.0_f32; 8], [0.0_f32; 8]);
    let mut levels = [0_u8; 64];
    for (values, bytes) in values.as_chunks::<64>().0.iter().zip(code.as_chunks_mut::<32>().0) {
        for (values, levels) in values.as_chunks::<8>().0.iter().zip(levels.as_chunks_mut::<8>().0) {
            for lane in 0..8 {
                // Half a step up, then down to a whole number; NaN becomes 0.
                let level = (values[lane] * scale + 8.0).clamp(0.0, 15.0) as i32;
                let rounded = level as f32 - 7.5;
                dots[lane] += rounded * values[lane];
                squares[lane] += rounded * rounded;
                levels[lane] = level as u8;
            }
        }
        let (low, high) = levels.split_at(32);
        for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
            *byte = low | (high << 4);
        }
    }
    (dots.iter().sum(), squares.iter().sum())
}

#[inline(always)]
pub(super) fn quantize_bytes(values: &[f32], scale: f32, levels: &mut [i8]) -> i32 {
    let mut sums = [0; 16];
    for (values, levels) in values.as_chunks::<16>().0.iter().zip(levels.as_chunks_mut::<16>().0) {
        for lane in 0..16 {
            let level = (values[lane] * scale + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i8;
            levels[lane] = level;
            sums[lane] += i32::from(level);
        }
    }
    sums.iter().sum()
}

#[inline(always)]
pub(super) fn tables(values: &[f32], scale: f32, tables: &mut [u8]) {
    for (values, table) in values
        .as_chunks::<4>()
        .0
        .iter()
        .zip(tables.as_chunks_mut::<GROUP_BYTES>().0)
    {
        let [a, b, c, d] = values.map(|value| value * scale);
        // The lowest sum is where exactly the negative ones are chosen.
        let lowest = a.min(0.0) + b.min(0.0) + c.min(0.0) + d.min(0.0);
        let base = -lowest;
        for (choice, entry) in table.iter_mut().enumerate() {
            let bit = |bit: usize| (choice >> bit & 1) as f32;
            let sum = base + (a * bit(0) + b * bit(1)) + (c * bit(2) + d * bit(3));
            *entry = (sum + ROUND).to_bits() as u8;
        }
    }
}

fn signs(center: &[f32], neighbor: &[f32], bits: &mut [u16]) -> SignSums {
    let mut sums = SignSums::default();
    let lanes = center.as_chunks::<16>().0.iter().zip(neighbor.as_chunks::<16>().0);
    for ((center, neighbor), bits) in lanes.zip(bits) {
        *bits = 0;
        for lane in 0..16 {
            let rest = neighbor[lane] - center[lane];
            let is_positive = rest > 0.0;
            sums.squares += rest * rest;
            sums.absolute += rest.abs();
            sums.of_center += if is_positive { center[lane] } else { -center[lane] };
            *bits |= u16::from(is_positive) << lane;
        }
    }
    sums
}

fn estimates(
    codes: &[u8],
    tables: &[u8],
    adds: &[u8; 2 * BATCH],
    factors: &[u8; 2 * BATCH],
    scale: Scale,
    out: &mut [f32; BATCH],
) {
    let mut sums = [0_u32; BATCH];
    let groups = codes.as_chunks::<GROUP_BYTES>().0.iter();
    for (codes, table) in groups.zip(tables.as_chunks::<GROUP_BYTES>().0) {
        for (i, byte) in codes.iter().enumerate() {
            sums[i] += u32::from(table[usize::from(byte & 15)]);
            sums[i + 16] += u32::from(table[usize::from(byte >> 4)]);
        }
    }
    let half = |bytes: &[u8; 2 * BATCH], i: usize| half::f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32();
    for (i, sum) in sums.iter().enumerate() {
        let product = scale.step * *sum as f32 + scale.offset;
        out[i] = scale.base + half(adds, i) + half(factors, i) * product;
    }
}

fn below(values: &[f32; BATCH], bound: f32) -> u32 {
    let bits = values.iter().enumerate();
    bits.fold(0, |mask, (i, value)| mask | (u32::from(*value < bound) << i))
}
