//! [`Timestamp`]: a moment, to the millisecond.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::shortened;

/// Why a text or a time of another type is no [`Timestamp`], or the reverse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// The text is no moment. It is cut to its first 64 characters.
    #[error("`{text}` is not a time; write RFC 3339 such as 2026-11-22T10:00:00Z, or milliseconds since 1970")]
    Unreadable {
        /// The text.
        text: String,
    },
    /// The other type cannot hold the moment.
    #[error("{what} is {got}, outside of {min} to {max}")]
    OutOfRange {
        /// What is out of range, and its unit.
        what: &'static str,
        /// The number.
        got: i64,
        /// The smallest possible number.
        min: i64,
        /// The largest possible number.
        max: i64,
    },
}

/// A moment: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// Written for people and in JSON as RFC 3339 (`2026-11-22T10:00:00Z`); JSON may also give a number of milliseconds.
///
/// ```
/// use llmspell_core::Timestamp;
///
/// let moment: Timestamp = "2026-11-22T10:00:00Z".parse()?;
/// assert_eq!(moment.as_millis(), 1_795_341_600_000);
/// assert_eq!(moment.to_string(), "2026-11-22T10:00:00Z");
///
/// let day = std::time::Duration::from_secs(24 * 3600);
/// assert_eq!((moment - day).to_string(), "2026-11-21T10:00:00Z");
/// assert_eq!(moment - (moment - day), day);
/// assert_eq!(Timestamp::from(std::time::SystemTime::try_from(moment)?), moment);
/// # Ok::<(), llmspell_core::TimestampError>(())
/// ```
///
/// This type has no `now`, because this crate reads no clock: pass `SystemTime::now()`, which converts to a moment; a
/// database of `llmspell-storage` tells its own time (`Database::now`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A moment by its milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment later by a duration; none if the sum does not fit.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let millis = i64::try_from(duration.as_millis()).ok()?;
        self.0.checked_add(millis).map(Self)
    }

    /// The moment earlier by a duration; none if the difference does not fit.
    #[must_use]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        let millis = i64::try_from(duration.as_millis()).ok()?;
        self.0.checked_sub(millis).map(Self)
    }

    /// The time since another moment; zero if that one is later.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Duration {
        let millis = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

/// Later by the whole milliseconds of a duration; the last possible moment if the sum does not fit.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// Earlier by the whole milliseconds of a duration; the first possible moment if the difference does not fit.
impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

/// See [`Timestamp::duration_since`].
impl Sub for Timestamp {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// The whole milliseconds of a duration, or as many as fit.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    /// Truncated to the millisecond; a time outside of an `i64` becomes the nearest moment inside.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            Err(before) => Self(-millis(before.duration())),
        }
    }
}

impl TryFrom<Timestamp> for SystemTime {
    type Error = TimestampError;

    /// # Errors
    ///
    /// [`OutOfRange`](TimestampError::OutOfRange) for a moment that the system's time type cannot hold, far from our
    /// times.
    fn try_from(moment: Timestamp) -> Result<Self, TimestampError> {
        let distance = Duration::from_millis(moment.0.unsigned_abs());
        let time = match moment.0 < 0 {
            true => UNIX_EPOCH.checked_sub(distance),
            false => UNIX_EPOCH.checked_add(distance),
        };
        time.ok_or_else(|| out_of_range("time for the clock of the system, in milliseconds since 1970", moment))
    }
}

impl From<jiff::Timestamp> for Timestamp {
    /// Truncated to the millisecond.
    fn from(moment: jiff::Timestamp) -> Self {
        Self(moment.as_millisecond())
    }
}

impl TryFrom<Timestamp> for jiff::Timestamp {
    type Error = TimestampError;

    /// # Errors
    ///
    /// [`OutOfRange`](TimestampError::OutOfRange) outside of the years -9999 to 9999.
    fn try_from(moment: Timestamp) -> Result<Self, TimestampError> {
        jiff::Timestamp::from_millisecond(moment.0).map_err(|_| out_of_range("time in milliseconds since 1970", moment))
    }
}

fn out_of_range(what: &'static str, moment: Timestamp) -> TimestampError {
    TimestampError::OutOfRange {
        what,
        got: moment.0,
        min: jiff::Timestamp::MIN.as_millisecond(),
        max: jiff::Timestamp::MAX.as_millisecond(),
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment}"),
            // Outside of the years of RFC 3339.
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// Reads RFC 3339, or a whole number of milliseconds.
    ///
    /// # Errors
    ///
    /// [`TimestampError::Unreadable`] with the text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(millis) = text.trim_end_matches(" ms").parse() {
            return Ok(Self(millis));
        }
        text.parse::<jiff::Timestamp>()
            .map(|moment| Self(moment.as_millisecond()))
            .map_err(|_| TimestampError::Unreadable { text: shortened(text) })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Millis(i64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Millis(millis) => Ok(Self(millis)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_moment_reads_back_from_its_text(millis in any::<i64>()) {
            let moment = Timestamp::from_millis(millis);
            prop_assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
            let json = serde_json::to_string(&moment).unwrap();
            prop_assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), moment);
        }
    }

    #[test]
    fn json_may_give_milliseconds() {
        assert_eq!(
            serde_json::from_str::<Timestamp>("1500").unwrap(),
            Timestamp::from_millis(1500)
        );
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none() {
        assert_eq!(
            Timestamp::from_millis(i64::MAX).checked_add(Duration::from_millis(1)),
            None
        );
        assert_eq!(Timestamp::from_millis(0).checked_add(Duration::MAX), None);
    }

    #[test]
    fn arithmetic_stops_at_the_first_and_the_last_moment() {
        let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        let second = Duration::from_secs(1);
        assert_eq!(last + second, last);
        assert_eq!(first - second, first);
        assert_eq!(first - Duration::MAX, first);
        assert_eq!(Timestamp::from_millis(0) + second, Timestamp::from_millis(1000));
        assert_eq!(
            Timestamp::from_millis(0).checked_sub(second),
            Some(Timestamp::from_millis(-1000))
        );
        assert_eq!(first.checked_sub(second), None);
        assert_eq!(first - last, Duration::ZERO, "nothing is earlier than before");
        assert_eq!(last - first, Duration::from_millis(u64::MAX));
    }

    #[test]
    fn a_moment_is_the_same_for_the_system_and_for_jiff() {
        for millis in [-5, 0, 1_795_341_600_123] {
            let moment = Timestamp::from_millis(millis);
            assert_eq!(Timestamp::from(SystemTime::try_from(moment).unwrap()), moment);
            assert_eq!(Timestamp::from(jiff::Timestamp::try_from(moment).unwrap()), moment);
        }
        let error = jiff::Timestamp::try_from(Timestamp::from_millis(i64::MAX)).unwrap_err();
        assert!(
            error.to_string().starts_with("time in milliseconds since 1970 is 922"),
            "{error}"
        );
    }

    #[test]
    fn a_time_before_the_epoch_is_negative() {
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_millis(5)).as_millis(), -5);
    }
}
