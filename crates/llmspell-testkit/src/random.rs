//! Seeded random numbers, so that a run can be repeated.

/// Random numbers from a seed.
///
/// The generator is `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers differ for each list of seeds.
    #[must_use]
    pub fn new(seeds: &[u64]) -> Self {
        let mut random = Self(0);
        for seed in seeds {
            random.0 ^= *seed;
            random.0 = random.number();
        }
        random
    }

    /// The next 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..end`; `end` is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// One of `from..end`, which is not empty.
    pub fn between(&mut self, from: usize, end: usize) -> usize {
        from + usize::try_from(self.below((end - from) as u64)).expect("it is below a usize")
    }

    /// True in `share` of 100 cases.
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> u32 {
        u32::try_from(self.number() >> 32).expect("32 bits are left")
    }

    /// A number within `-1.0..1.0`, a multiple of 1/32768.
    pub fn component(&mut self) -> f32 {
        let bits = u16::try_from(self.number() >> 48).expect("16 bits are left");
        (f32::from(bits) - 32768.0) / 32768.0
    }
}
