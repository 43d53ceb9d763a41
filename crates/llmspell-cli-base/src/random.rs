//! Random numbers from a seed, by whole numbers only, so that every machine draws the same.

/// `SplitMix64` (Steele, Lea, Flood 2014): every seed is a good one, and so is every number that comes of it.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A stream of its own for each list of numbers.
    #[must_use]
    pub fn new(seeds: &[u64]) -> Self {
        let mut random = Self(0);
        for seed in seeds {
            random.0 ^= *seed;
            random.0 = random.number();
        }
        random
    }

    /// The next 64 random bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..end`; `end` must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.number()) * u128::from(end);
        (wide >> 64) as u64
    }

    /// Within `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Close to the normal distribution, mean 0 and variance 1: a sum of eight uniform numbers of 16 bits.
    ///
    /// No logarithm and no cosine, whose last bits differ between systems; never beyond ±4.9.
    pub fn normal(&mut self) -> f32 {
        let lanes =
            |number: u64| (number & 0xffff) + (number >> 16 & 0xffff) + (number >> 32 & 0xffff) + (number >> 48);
        let sum = lanes(self.number()) + lanes(self.number());
        // Eight times the mean of 0..=65535, and the root of eight times its variance, (2^32 - 1) / 12.
        const MEAN: f64 = 8.0 * 32767.5;
        const DEVIATION: f64 = 53_509.919_921_450_08;
        ((sum as f64 - MEAN) / DEVIATION) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_zero_and_variance_one() {
        let mut random = Random::new(&[1, 2]);
        let numbers: Vec<f64> = (0..100_000).map(|_| f64::from(random.normal())).collect();
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
    }

    #[test]
    fn streams_differ_by_each_of_their_seeds() {
        let first = |seeds: &[u64]| Random::new(seeds).number();
        assert_ne!(first(&[1, 2]), first(&[2, 1]));
        assert_ne!(first(&[1, 2]), first(&[1, 3]));
        assert_eq!(first(&[1, 2]), first(&[1, 2]));
    }

    #[test]
    fn uniform_numbers_stay_below_their_end() {
        let mut random = Random::new(&[7]);
        let drawn: Vec<u64> = (0..1000).map(|_| random.below(3)).collect();
        assert!((0..3).all(|number| drawn.contains(&number)) && drawn.iter().all(|number| *number < 3));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&random.unit())));
    }
}
