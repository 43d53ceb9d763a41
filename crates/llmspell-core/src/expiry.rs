//! [`Expiry`]: when an entry or a key expires.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Result, StorageError};
use crate::timestamp::Timestamp;

/// A longer lifetime, added to a moment, might not fit a [`Timestamp`].
const TTL_MILLIS_MAX: i64 = i64::MAX / 2;

/// When a key or an entry expires: from that moment on it does not exist any more.
///
/// ```
/// use llmspell_core::Expiry;
/// use std::time::Duration;
///
/// let in_an_hour = Expiry::from(Duration::from_secs(3600));
/// assert_eq!(in_an_hour, Expiry::After(Duration::from_secs(3600)));
/// assert_eq!(Expiry::from(None), Expiry::Never);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// It does not expire.
    Never,
    /// This long after the call; at least a millisecond, in whole milliseconds.
    After(#[serde(with = "crate::duration")] Duration),
    /// At this moment; one in the past means at once.
    At(Timestamp),
}

impl Expiry {
    /// Checks that it can be a moment.
    ///
    /// # Errors
    ///
    /// [`StorageError::OutOfRange`] for a lifetime below a millisecond or beyond half of what an `i64` of milliseconds
    /// holds.
    pub fn validate(self) -> Result<()> {
        let Self::After(ttl) = self else {
            return Ok(());
        };
        if (1..=TTL_MILLIS_MAX as u128).contains(&ttl.as_millis()) {
            return Ok(());
        }
        Err(out_of_range(ttl))
    }

    /// The moment, if the call is at `now`; none if it never ends. For implementers.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate), and if the moment does not fit an `i64` of milliseconds.
    pub fn moment(self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.validate()?;
        match self {
            Self::Never => Ok(None),
            Self::At(moment) => Ok(Some(moment)),
            Self::After(ttl) => now.checked_add(ttl).map(Some).ok_or_else(|| out_of_range(ttl)),
        }
    }
}

impl From<Duration> for Expiry {
    fn from(ttl: Duration) -> Self {
        Self::After(ttl)
    }
}

impl From<Timestamp> for Expiry {
    fn from(moment: Timestamp) -> Self {
        Self::At(moment)
    }
}

/// None means never.
impl From<Option<Timestamp>> for Expiry {
    fn from(moment: Option<Timestamp>) -> Self {
        moment.map_or(Self::Never, Self::At)
    }
}

fn out_of_range(ttl: Duration) -> StorageError {
    StorageError::OutOfRange {
        what: "ttl in milliseconds",
        got: ttl.as_millis() as f64,
        min: 1.0,
        max: TTL_MILLIS_MAX as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_becomes_a_moment_and_one_that_does_not_fit_is_refused() {
        let now = Timestamp::from_millis(100);
        let moment = |expiry: Expiry| expiry.moment(now).ok();
        assert_eq!(moment(Expiry::Never), Some(None));
        assert_eq!(
            moment(Expiry::At(Timestamp::from_millis(-5))),
            Some(Some(Timestamp::from_millis(-5)))
        );
        let second = Expiry::After(Duration::from_secs(1));
        assert_eq!(moment(second), Some(Some(Timestamp::from_millis(1_100))));
        for ttl in [Duration::ZERO, Duration::from_nanos(999_999), Duration::MAX] {
            let error = Expiry::After(ttl).moment(now).unwrap_err().to_string();
            assert!(error.starts_with("ttl in milliseconds is"), "{error}");
        }
        let longest = Expiry::After(Duration::from_millis(TTL_MILLIS_MAX as u64));
        longest.moment(now).unwrap();
        longest.moment(Timestamp::from_millis(i64::MAX)).unwrap_err();
    }
}
