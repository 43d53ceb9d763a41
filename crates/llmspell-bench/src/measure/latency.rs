//! Latencies: the median and the worst.

use std::time::{Duration, Instant};

/// Durations of single calls.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    nanos: Vec<u64>,
}

impl Latencies {
    /// No calls yet, and room for this number of them.
    #[must_use]
    pub fn with_capacity(calls: usize) -> Self {
        Self {
            nanos: Vec::with_capacity(calls),
        }
    }

    /// Adds one call.
    pub fn record(&mut self, duration: Duration) {
        self.nanos.push(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds the calls of another.
    pub fn append(&mut self, mut other: Self) {
        self.nanos.append(&mut other.nanos);
    }

    /// Number of calls.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.nanos.len()
    }

    /// Half of the calls took no longer, in µs; 0 without calls.
    pub fn p50_us(&mut self) -> f64 {
        self.quantile_us(0.50)
    }

    /// All but a twentieth of the calls took no longer, in µs; 0 without calls.
    pub fn p95_us(&mut self) -> f64 {
        self.quantile_us(0.95)
    }

    /// All but a hundredth of the calls took no longer, in µs; 0 without calls.
    pub fn p99_us(&mut self) -> f64 {
        self.quantile_us(0.99)
    }

    /// By nearest rank.
    fn quantile_us(&mut self, share: f64) -> f64 {
        if self.nanos.is_empty() {
            return 0.0;
        }
        let rank = (share * self.nanos.len() as f64).ceil() as usize;
        let place = rank.clamp(1, self.nanos.len()) - 1;
        let (_, nanos, _) = self.nanos.select_nth_unstable(place);
        *nanos as f64 / 1000.0
    }
}

/// What measuring itself adds to a duration: the median of two readings of the clock that follow each other.
#[must_use]
pub fn clock_overhead() -> Duration {
    let mut readings: Vec<Duration> = (0..10_001).map(|_| Instant::now().elapsed()).collect();
    let middle = readings.len() / 2;
    *readings.select_nth_unstable(middle).1
}

/// The middle value; 0 without values.
pub fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// Three decimals: nanoseconds, where the unit is microseconds.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.p99_us(), 0.0);
        for micros in (1..=100).rev() {
            latencies.record(Duration::from_micros(micros));
        }
        assert_eq!(latencies.p50_us(), 50.0);
        assert_eq!(latencies.p95_us(), 95.0);
        assert_eq!(latencies.p99_us(), 99.0);
        latencies.append(latencies.clone());
        assert_eq!((latencies.calls(), latencies.p50_us()), (200, 50.0));
    }

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
