//! The loops over codes, the fastest that this CPU has.
//!
//! | file        | instruction set                                                     |
//! |-------------|---------------------------------------------------------------------|
//! | `scalar.rs` | none; the definition of every operation                             |
//! | `avx2.rs`   | AVX2, FMA and F16C                                                  |
//! | `avx512.rs` | AVX-512 F, BW and VNNI; VPOPCNTDQ where there is                    |
//! | `tests.rs`  | one suite for every table this CPU has                              |
//!
//! The integer operations give the same numbers on every table. Those on floats differ in the last bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::LazyLock;

/// Neighbors whose sign codes are scored together.
pub(crate) const BATCH: usize = 32;
/// Bytes of one batch of sign codes for four components: half a byte per neighbor.
pub(crate) const GROUP_BYTES: usize = 16;
/// The largest table entry: eight of them fit a byte, and their rounding is lost in the error of signs.
pub(crate) const TABLE_MAX: usize = 31;
/// Components that rotated vectors are padded to a multiple of.
pub(crate) const PADDING: usize = 64;

/// Bytes of a plane of bits that are compared at once.
pub(crate) const PLANE_BLOCK: usize = 64;
/// One bit of each of 512 components of a query.
pub(crate) type PlaneBlock = [u8; PLANE_BLOCK];

/// What turns sums of table entries into estimated distances; see [`CodeKernels::estimates`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Worth of one unit of a sum.
    pub(crate) step: f32,
    /// Added to a sum after that.
    pub(crate) offset: f32,
    /// Distance that all neighbors of the batch have in common.
    pub(crate) base: f32,
}

/// What the signs of `neighbor - center` leave out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct SignSums {
    /// Sum of the squares of the differences.
    pub(crate) squares: f32,
    /// Sum of their absolute values.
    pub(crate) absolute: f32,
    /// Sum of the components of `center`, each with the sign of its difference.
    pub(crate) of_center: f32,
}

impl std::ops::Add for SignSums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            squares: self.squares + other.squares,
            absolute: self.absolute + other.absolute,
            of_center: self.of_center + other.of_center,
        }
    }
}

type QuantizeNibbles = unsafe fn(&[f32], f32, &mut [u8]) -> (f32, f32);
type QuantizeLevels = unsafe fn(&[f32], f32, u8, &mut [u8]) -> (f32, f32);
type Estimates = unsafe fn(&[u8], &[u8], &[u8; 2 * BATCH], &[u8; 2 * BATCH], Scale, &mut [f32; BATCH]);

/// One loop per operation on codes. Get one with [`CodeKernels::detect`] and keep it.
#[derive(Clone, Copy)]
pub(crate) struct CodeKernels {
    name: &'static str,
    // As in `Kernels`: features are detected and lengths checked before a function is called.
    hadamard: unsafe fn(&mut [f32]),
    nibble_dot: unsafe fn(&[u8], &[i8]) -> i32,
    byte_dot: unsafe fn(&[i8], &[i8]) -> i32,
    plane_dot_4: unsafe fn(&[u8], &[PlaneBlock]) -> i32,
    plane_dot_8: unsafe fn(&[u8], &[PlaneBlock]) -> i32,
    quantize_levels: QuantizeLevels,
    quantize_nibbles: QuantizeNibbles,
    quantize_bytes: unsafe fn(&[f32], f32, &mut [i8]) -> i32,
    tables: unsafe fn(&[f32], f32, &mut [u8]),
    signs: unsafe fn(&[f32], &[f32], &mut [u16]) -> SignSums,
    estimates: Estimates,
    below: unsafe fn(&[f32; BATCH], f32) -> u32,
}

impl CodeKernels {
    /// The fastest table this CPU can run, or that `LLMSPELL_ISA_MAX` allows. Asks once per process.
    pub(crate) fn detect() -> Self {
        static FASTEST: LazyLock<CodeKernels> = LazyLock::new(|| {
            CodeKernels::available()
                .find(|table| super::is_allowed(table.name))
                .expect("the portable table runs everywhere")
        });
        *FASTEST
    }

    /// Every table this CPU can run, fastest first, the portable one last.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        [
            #[cfg(target_arch = "x86_64")]
            avx512::detect(),
            #[cfg(target_arch = "x86_64")]
            avx2::detect(),
            Some(scalar::KERNELS),
        ]
        .into_iter()
        .flatten()
    }

    /// The Walsh-Hadamard transform in place, not scaled: applied twice it multiplies by the length.
    ///
    /// # Panics
    ///
    /// If the length is not a power of two, or less than 16.
    pub(crate) fn hadamard(&self, values: &mut [f32]) {
        assert!(
            values.len().is_power_of_two() && values.len() >= 16,
            "the transform is made of halves"
        );
        // SAFETY: the CPU features were detected by the `detect` that filled in this table.
        unsafe { (self.hadamard)(values) }
    }

    /// Sum of `nibble[i] * query[i]`.
    ///
    /// Of each 64 components, the first 32 are the low halves of 32 bytes and the last 32 the high halves.
    ///
    /// # Panics
    ///
    /// If `query` is not twice as long as `code`, or no multiple of [`PADDING`].
    #[inline]
    pub(crate) fn nibble_dot(&self, code: &[u8], query: &[i8]) -> i32 {
        assert!(
            query.len() == 2 * code.len() && query.len().is_multiple_of(PADDING),
            "codes and queries of one graph have one length"
        );
        // SAFETY: as above; the lengths were checked.
        unsafe { (self.nibble_dot)(code, query) }
    }

    /// Sum of `a[i] * b[i]`; none may be -128.
    ///
    /// # Panics
    ///
    /// If the lengths differ, or are no multiple of [`PADDING`].
    #[inline]
    pub(crate) fn byte_dot(&self, a: &[i8], b: &[i8]) -> i32 {
        assert!(
            a.len() == b.len() && a.len().is_multiple_of(PADDING),
            "vectors of one graph have one length"
        );
        // SAFETY: as above; the lengths were checked.
        unsafe { (self.byte_dot)(a, b) }
    }

    /// Sum of the `query[i]` whose bit of `plane` is set: how many bits two planes have in common is counted.
    ///
    /// Component `i` is bit `i % 8` of byte `i / 8` of a plane. The query has for each 64 bytes of `plane`, the last of
    /// which may be fewer, a block of each of its 4 or 8 planes, the lowest bits first, and zeros for what `plane` does
    /// not have. It is two's complement: its last plane counts as negative.
    ///
    /// # Panics
    ///
    /// If the length of `plane` is no multiple of 8, or `query` has not 4 or 8 blocks for each 64 bytes.
    #[inline]
    pub(crate) fn plane_dot(&self, plane: &[u8], query: &[PlaneBlock]) -> i32 {
        assert!(plane.len().is_multiple_of(PADDING / 8), "planes are made of words");
        let blocks = plane.len().div_ceil(PLANE_BLOCK);
        let plane_dot = if query.len() == 4 * blocks {
            self.plane_dot_4
        } else {
            assert_eq!(
                query.len(),
                8 * blocks,
                "codes and queries of one store have one length"
            );
            self.plane_dot_8
        };
        // SAFETY: as above; the lengths were checked.
        unsafe { plane_dot(plane, query) }
    }

    /// Rounds `values[i] * scale` to the nearest of `-top / 2`, `-top / 2 + 1`, … `top / 2`; `levels[i]` is that plus
    /// `top / 2`. Returns the sums of `rounded[i] * values[i]` and of `rounded[i]²`.
    ///
    /// # Panics
    ///
    /// If the lengths differ, or are no multiple of [`PADDING`].
    pub(crate) fn quantize_levels(&self, values: &[f32], scale: f32, top: u8, levels: &mut [u8]) -> (f32, f32) {
        assert!(
            values.len() == levels.len() && values.len().is_multiple_of(PADDING),
            "codes and vectors of one store have one length"
        );
        // SAFETY: as above; the lengths were checked.
        unsafe { (self.quantize_levels)(values, scale, top, levels) }
    }

    /// Rounds `values[i] * scale` to the nearest of -7.5, -6.5, … 7.5, and packs that plus 7.5 into half bytes, laid
    /// out as [`nibble_dot`](Self::nibble_dot) wants it. Returns the sums of `rounded[i] * values[i]` and of
    /// `rounded[i]²`.
    ///
    /// # Panics
    ///
    /// As [`nibble_dot`](Self::nibble_dot).
    pub(crate) fn quantize_nibbles(&self, values: &[f32], scale: f32, code: &mut [u8]) -> (f32, f32) {
        assert!(
            values.len() == 2 * code.len() && values.len().is_multiple_of(PADDING),
            "codes and vectors of one graph have one length"
        );
        // SAFETY: as above; the lengths were checked.
        unsafe { (self.quantize_nibbles)(values, scale, code) }
    }

    /// Rounds `values[i] * scale`, which must be within -127 to 127, to whole numbers; returns their sum.
    ///
    /// # Panics
    ///
    /// If the lengths differ, or are no multiple of [`PADDING`].
    pub(crate) fn quantize_bytes(&self, values: &[f32], scale: f32, levels: &mut [i8]) -> i32 {
        assert!(
            values.len() == levels.len() && values.len().is_multiple_of(PADDING),
            "codes and queries of one graph have one length"
        );
        // SAFETY: as above; the lengths were checked.
        unsafe { (self.quantize_bytes)(values, scale, levels) }
    }

    /// For each four values, the 16 sums of choices among them (bit `i` chooses value `i`) times `scale`, above the
    /// lowest of the 16, rounded. None may be above [`TABLE_MAX`].
    ///
    /// # Panics
    ///
    /// If `tables` is not four times as long as `values`, or the length no multiple of [`PADDING`].
    pub(crate) fn tables(&self, values: &[f32], scale: f32, tables: &mut [u8]) {
        assert!(
            tables.len() == 4 * values.len() && values.len().is_multiple_of(PADDING),
            "tables and queries of one graph have one length"
        );
        // SAFETY: as above; the lengths were checked.
        unsafe { (self.tables)(values, scale, tables) }
    }

    /// Which components of `neighbor - center` are positive: bit `i % 16` of `bits[i / 16]` for component `i`.
    ///
    /// # Panics
    ///
    /// If the lengths differ, or are no multiple of [`PADDING`].
    pub(crate) fn signs(&self, center: &[f32], neighbor: &[f32], bits: &mut [u16]) -> SignSums {
        assert!(
            center.len() == neighbor.len() && center.len() == 16 * bits.len() && center.len().is_multiple_of(PADDING),
            "vectors of one graph have one length"
        );
        // SAFETY: as above; the lengths were checked.
        unsafe { (self.signs)(center, neighbor, bits) }
    }

    /// Estimated distances of the 32 neighbors of a batch: `base + add + factor * (step * sum + offset)`.
    ///
    /// `codes` has 16 bytes per four components: byte `i` holds the four sign bits of neighbor `i` in its low half and
    /// those of neighbor `i + 16` in its high half. `tables` has for each four components the 16 values that the bits
    /// choose from, at most [`TABLE_MAX`]; a neighbor's sum is that of its choices. `adds` and `factors` are 32 half-precision numbers.
    ///
    /// # Panics
    ///
    /// If the lengths of `codes` and `tables` differ, or are no multiple of 256.
    #[inline]
    pub(crate) fn estimates(
        &self,
        codes: &[u8],
        tables: &[u8],
        adds: &[u8; 2 * BATCH],
        factors: &[u8; 2 * BATCH],
        scale: Scale,
        out: &mut [f32; BATCH],
    ) {
        assert!(
            codes.len() == tables.len() && codes.len().is_multiple_of(GROUP_BYTES * PADDING / 4),
            "codes and tables of one graph have one length"
        );
        // SAFETY: as above; the lengths were checked.
        unsafe { (self.estimates)(codes, tables, adds, factors, scale, out) }
    }

    /// Which of the values are below `bound`: bit `i` for value `i`. NaN is not.
    #[inline]
    pub(crate) fn below(&self, values: &[f32; BATCH], bound: f32) -> u32 {
        // SAFETY: as above.
        unsafe { (self.below)(values, bound) }
    }
}

impl fmt::Debug for CodeKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CodeKernels").field(&self.name).finish()
    }
}
