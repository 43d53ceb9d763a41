//! Where does chance come from? From a seed, so that a run can be repeated.

/// `SplitMix64` (Steele, Lea, Flood 2014): every seed is a good one, and so is every number that comes of it.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A stream of its own for each list of numbers.
    pub(crate) fn new(seeds: &[u64]) -> Self {
        let mut random = Self(0);
        for seed in seeds {
            random.0 ^= *seed;
            random.0 = random.number();
        }
        random
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// One of `from..end`.
    pub(crate) fn between(&mut self, from: usize, end: usize) -> usize {
        from + usize::try_from(self.below((end - from) as u64)).expect("it is below a usize")
    }

    /// True so many times out of a hundred.
    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::try_from(self.number() >> 32).expect("32 bits are left")
    }

    /// Within `-1.0..1.0`.
    pub(crate) fn component(&mut self) -> f32 {
        let bits = u16::try_from(self.number() >> 48).expect("16 bits are left");
        (f32::from(bits) - 32768.0) / 32768.0
    }
}
