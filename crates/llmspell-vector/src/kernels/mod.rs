//! The loops over floats, the fastest that this CPU has. Home of all `unsafe` arithmetic.
//!
//! Every instruction set fills in one table of the same five operations. The fastest table that the CPU can run is
//! chosen once per process, by what the CPU says at run time: the same program runs everywhere.
//!
//! | file          | registers                                   | components per turn |
//! |---------------|---------------------------------------------|--------------------:|
//! | `scalar.rs`   | none; what the others are held to           |                  16 |
//! | `avx2.rs`     | AVX2 with FMA, 8 components each            |                  32 |
//! | `avx512.rs`   | AVX-512F, 16 components each                |                  64 |
//! | `neon.rs`     | NEON, 4 components each                     |                  16 |
//! | `codes/`      | the same for loops over compact codes       |                     |
//! | `tests.rs`    | one suite for every table this CPU has      |                     |
//!
//! Each table adds up in its own order, so two tables may differ in the last bits; one table gives the same bits for
//! the same two vectors wherever they lie in memory. Sums are `f32`: the error of a sum of `n` terms is at most
//! `n * f32::EPSILON` of the sum of their absolute values. Denormal numbers are kept, not flushed.

#![expect(
    unsafe_code,
    reason = "calls of functions made for a CPU feature, and loads through pointers"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod codes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;

pub(crate) use codes::{BATCH, CodeKernels, GROUP_BYTES, PADDING, PLANE_BLOCK, PlaneBlock, Scale, SignSums, TABLE_MAX};

use std::fmt;
use std::sync::LazyLock;

/// Names an instruction set: no larger one is used. For measurements, and for tools that do not know the newest.
const ISA_MAX_VARIABLE: &str = "LLMSPELL_ISA_MAX";

/// Whether `LLMSPELL_ISA_MAX` lets a table be chosen. Unset, or not one of the names, it lets all.
fn is_allowed(name: &str) -> bool {
    let rank = |name: &str| ["scalar", "avx2", "avx512"].iter().position(|known| *known == name);
    let largest = std::env::var(ISA_MAX_VARIABLE).ok().and_then(|largest| rank(&largest));
    match (rank(name), largest) {
        (Some(rank), Some(largest)) => rank <= largest,
        (None, _) | (_, None) => true,
    }
}

/// Cache lines of a vector that are asked for; the CPU goes on by itself where memory is read in order.
const ROW_LINES: usize = 12;

/// Asks the CPU for a vector that will be compared soon, or other values that will be read, so that they arrive while
/// others are looked at. Changes nothing else, and does nothing on CPUs where it is not known how.
#[inline]
pub fn prefetch_row<T>(row: &[T]) {
    prefetch(row, ROW_LINES);
}

/// Prefetches the first `lines` cache lines of `values`, or all if there are fewer.
#[inline]
pub(crate) fn prefetch<T>(values: &[T], lines: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start: *const i8 = values.as_ptr().cast();
        for line in 0..size_of_val(values).div_ceil(64).min(lines) {
            // SAFETY: a prefetch reads nothing that the program sees, from any address; this one is inside `values`.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(64 * line)) }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, lines);
}

/// One loop per operation, all for the same instruction set. Get one with [`Kernels::detect`] and keep it.
#[derive(Clone, Copy)]
pub struct Kernels {
    name: &'static str,
    // The function that fills in a table has detected the CPU features that its functions need, and lengths are checked here:
    // the functions may rely on both.
    dot: unsafe fn(&[f32], &[f32]) -> f32,
    l2_squared: unsafe fn(&[f32], &[f32]) -> f32,
    scaled_l2_squared: unsafe fn(&[f32], f32, &[f32]) -> f32,
    manhattan: unsafe fn(&[f32], &[f32]) -> f32,
    dot_and_norm_squared: unsafe fn(&[f32], &[f32]) -> (f32, f32),
}

impl Kernels {
    /// The fastest table this CPU can run. Asks the CPU once per process; after that it is a copy.
    #[must_use]
    pub fn detect() -> Self {
        static FASTEST: LazyLock<Kernels> = LazyLock::new(|| {
            Kernels::available()
                .find(|table| is_allowed(table.name))
                .expect("the portable table runs everywhere")
        });
        *FASTEST
    }

    /// Every table this CPU can run, fastest first, the portable one last. For tests and benchmarks.
    pub fn available() -> impl Iterator<Item = Self> {
        [
            #[cfg(target_arch = "x86_64")]
            avx512::detect(),
            #[cfg(target_arch = "x86_64")]
            avx2::detect(),
            #[cfg(target_arch = "aarch64")]
            neon::detect(),
            Some(scalar::KERNELS),
        ]
        .into_iter()
        .flatten()
    }

    /// The instruction set: `avx512`, `avx2`, `neon` or `scalar`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Sum of `a[i] * b[i]`; zero for empty vectors.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[inline]
    #[must_use]
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        assert_same_dim(a, b);
        // SAFETY: the CPU features were detected by the `detect` that filled in this table.
        unsafe { (self.dot)(a, b) }
    }

    /// Sum of `(a[i] - b[i])²`; zero for empty vectors.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[inline]
    #[must_use]
    pub fn l2_squared(&self, a: &[f32], b: &[f32]) -> f32 {
        assert_same_dim(a, b);
        // SAFETY: the CPU features were detected by the `detect` that filled in this table.
        unsafe { (self.l2_squared)(a, b) }
    }

    /// Sum of `(scale * query[i] - vector[i])²`; zero for empty vectors. What two vectors of nearly one direction differ
    /// by, once the first is made as long as the second.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[inline]
    #[must_use]
    pub fn scaled_l2_squared(&self, query: &[f32], scale: f32, vector: &[f32]) -> f32 {
        assert_same_dim(query, vector);
        // SAFETY: the CPU features were detected by the `detect` that filled in this table.
        unsafe { (self.scaled_l2_squared)(query, scale, vector) }
    }

    /// Sum of `|a[i] - b[i]|`; zero for empty vectors.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[inline]
    #[must_use]
    pub fn manhattan(&self, a: &[f32], b: &[f32]) -> f32 {
        assert_same_dim(a, b);
        // SAFETY: the CPU features were detected by the `detect` that filled in this table.
        unsafe { (self.manhattan)(a, b) }
    }

    /// Sum of `query[i] * vector[i]`, and sum of `vector[i]²`: what a cosine needs, in one pass over `vector`.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    #[inline]
    #[must_use]
    pub fn dot_and_norm_squared(&self, query: &[f32], vector: &[f32]) -> (f32, f32) {
        assert_same_dim(query, vector);
        // SAFETY: the CPU features were detected by the `detect` that filled in this table.
        unsafe { (self.dot_and_norm_squared)(query, vector) }
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernels").field(&self.name).finish()
    }
}

#[inline]
fn assert_same_dim(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "vectors of one space have one dimension");
}
