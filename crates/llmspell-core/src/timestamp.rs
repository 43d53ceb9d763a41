//! How are moments written?

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
/// # Ok::<(), llmspell_core::StorageError>(())
/// ```
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

    /// This much later; none if the sum does not fit.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let millis = i64::try_from(duration.as_millis()).ok()?;
        self.0.checked_add(millis).map(Self)
    }
}

impl From<SystemTime> for Timestamp {
    /// Cut to the millisecond; what lies outside of an `i64` becomes the nearest moment inside.
    fn from(time: SystemTime) -> Self {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(millis(after)),
            Err(before) => Self(-millis(before.duration())),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment}"),
            // Outside of the years that RFC 3339 can write.
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = crate::StorageError;

    /// Reads RFC 3339, or a whole number of milliseconds.
    ///
    /// # Errors
    ///
    /// [`StorageError::InvalidName`](crate::StorageError::InvalidName) with the text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(millis) = text.trim_end_matches(" ms").parse() {
            return Ok(Self(millis));
        }
        text.parse::<jiff::Timestamp>()
            .map(|moment| Self(moment.as_millisecond()))
            .map_err(|_| crate::StorageError::InvalidName {
                what: "time",
                name: crate::error::shortened(text),
                reason: "write RFC 3339 such as 2026-11-22T10:00:00Z, or milliseconds since 1970",
            })
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
    fn a_time_before_the_epoch_is_negative() {
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_millis(5)).as_millis(), -5);
    }
}
