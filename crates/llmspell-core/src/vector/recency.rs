//! [`recency_score`]: how age lowers a score.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Result, StorageError};
use crate::limits::HALF_LIFE_MS_RANGE;

/// The score of an entry at an age: a positive score halves with each half-life.
///
/// ```text
/// recency score = score - |score| * (1 - 2^(-age / half life))
/// ```
///
/// A score below zero falls by as much as its absolute value would, to twice itself at most. So with every metric a
/// better score never ranks lower at the same age, an older entry never higher at the same score, and no entry rises
/// above its score. Multiplying all vectors of a space by one number does not change the order.
///
/// ```
/// # use std::time::Duration;
/// # use llmspell_core::recency_score;
/// let (day, week) = (86_400_000, Duration::from_secs(7 * 86_400));
/// assert_eq!(recency_score(0.8, 0, week), 0.8);
/// assert_eq!(recency_score(0.8, 7 * day, week), 0.4);
/// assert_eq!(recency_score(0.8, 14 * day, week), 0.2);
/// assert_eq!(recency_score(-0.8, 7 * day, week), -1.2);
/// ```
#[must_use]
pub fn recency_score(score: f32, age_ms: u64, half_life: Duration) -> f32 {
    let half_lives = age_ms as f64 / (half_life.as_secs_f64() * 1e3);
    let left = (-half_lives).exp2();
    let plain = f64::from(score);
    // Rounding keeps the order. Twice the lowest score of an inner product may not fit into an `f32`.
    ((plain - plain.abs() * (1.0 - left)) as f32).max(f32::MIN)
}

/// The part of a [`SearchPlan`](super::SearchPlan) about recency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecencyPlan {
    /// The half-life, in milliseconds.
    pub half_life_ms: u64,
    /// The size of the shortlist that was asked for; it is at least this long if there are enough entries.
    pub shortlist: u64,
    /// Entries that were found and ranked.
    pub ranked: u64,
}

impl RecencyPlan {
    /// The values of a search. For implementers.
    #[must_use]
    pub fn new(half_life: Duration, shortlist: u64, ranked: u64) -> Self {
        Self {
            half_life_ms: u64::try_from(half_life.as_millis()).unwrap_or(u64::MAX),
            shortlist,
            ranked,
        }
    }
}

/// Checks a half-life.
///
/// # Errors
///
/// [`StorageError::OutOfRange`].
pub(super) fn check(half_life: Duration) -> Result<()> {
    let millis = half_life.as_millis();
    let (min, max) = (*HALF_LIFE_MS_RANGE.start(), *HALF_LIFE_MS_RANGE.end());
    if (u128::from(min)..=u128::from(max)).contains(&millis) {
        return Ok(());
    }
    Err(StorageError::OutOfRange {
        what: "half-life in milliseconds",
        got: half_life.as_secs_f64() * 1e3,
        min: min as f64,
        max: max as f64,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn score() -> impl Strategy<Value = f32> {
        prop_oneof![
            -1.0_f32..1.0,
            prop::num::f32::NORMAL,
            Just(0.0),
            Just(f32::MAX),
            Just(f32::MIN)
        ]
    }

    fn age() -> impl Strategy<Value = u64> {
        prop_oneof![0..1_000_000_000_u64, any::<u64>()]
    }

    proptest! {
        #[test]
        fn a_better_score_and_a_younger_entry_never_rank_lower(
            a in score(), b in score(), young in age(), old in age(), half_life in HALF_LIFE_MS_RANGE,
        ) {
            let half_life = Duration::from_millis(half_life);
            let (low, high) = (a.min(b), a.max(b));
            let (young, old) = (young.min(old), young.max(old));
            let ranked = |score, age| recency_score(score, age, half_life);
            prop_assert!(ranked(low, old) <= ranked(high, old));
            prop_assert!(ranked(low, old) <= ranked(low, young));
            prop_assert!(ranked(high, old) <= high);
            prop_assert!(ranked(low, old).is_finite());
            prop_assert_eq!(ranked(low, 0), low);
        }
    }

    #[test]
    fn a_half_life_out_of_range_is_refused() {
        for millis in [1, 86_400_000, *HALF_LIFE_MS_RANGE.end()] {
            check(Duration::from_millis(millis)).unwrap();
        }
        let refused = [
            Duration::ZERO,
            Duration::from_nanos(999_999),
            Duration::from_millis(HALF_LIFE_MS_RANGE.end() + 1),
            Duration::MAX,
        ];
        for half_life in refused {
            let error = check(half_life).unwrap_err().to_string();
            assert!(error.starts_with("half-life in milliseconds is "), "{error}");
        }
    }
}
