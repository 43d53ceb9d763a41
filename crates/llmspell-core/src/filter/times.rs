//! The times of an entry that a filter can name, and the moments they are compared with.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::condition::Filter;
use super::dates::instant_nanos;
use super::number::Number;
use super::path::FieldPath;
use super::scalar::Scalar;
use crate::timestamp::Timestamp;

/// A time that an entry has beside its metadata. A filter names it by [`name`](Self::name), in place of a field.
///
/// ```
/// # use llmspell_core::filter::{FieldPath, OwnTime};
/// # use llmspell_core::{Filter, FilterError};
/// let filter: Filter = r#"@event_time >= "2026-11-22" and not @created_at > 1795341600000"#.parse()?;
/// assert_eq!(filter.own_times(), [OwnTime::Event, OwnTime::Created]);
///
/// // A key of the metadata that begins so is quoted.
/// assert_eq!(FieldPath::from("@event_time"), OwnTime::Event.into());
/// assert_eq!(FieldPath::from("\"@event_time\""), FieldPath::of_keys(["@event_time"]));
/// # Ok::<(), FilterError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OwnTime {
    /// [`VectorEntry::event_time`](crate::VectorEntry::event_time): when the event that the entry describes happened.
    /// It may be absent.
    Event,
    /// [`VectorEntry::created_at`](crate::VectorEntry::created_at): when the entry was first stored. Always present.
    Created,
    /// [`VectorEntry::updated_at`](crate::VectorEntry::updated_at): when vector or metadata last changed. Always
    /// present.
    Updated,
}

impl OwnTime {
    /// All times.
    pub const ALL: [Self; 3] = [Self::Event, Self::Created, Self::Updated];

    /// Its name in filters: `@event_time`, `@created_at`, `@updated_at`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "@event_time",
            Self::Created => "@created_at",
            Self::Updated => "@updated_at",
        }
    }

    /// The time that an unquoted name beginning with `@` stands for.
    pub(super) fn named(name: &str) -> Result<Self, &'static str> {
        Self::ALL.into_iter().find(|time| time.name() == name).ok_or(
            "the times of entries are @event_time, @created_at and @updated_at; a key of the metadata that begins with \
             @ is quoted",
        )
    }
}

/// As its [name](OwnTime::name).
impl Serialize for OwnTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for OwnTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).map_err(serde::de::Error::custom)
    }
}

/// The times of an entry that filters and recency use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntryTimes {
    /// When the event it describes happened.
    pub event_time: Option<Timestamp>,
    /// When it was first stored.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

impl EntryTimes {
    /// One of them, if the entry has it.
    #[must_use]
    pub fn get(&self, time: OwnTime) -> Option<Timestamp> {
        match time {
            OwnTime::Event => self.event_time,
            OwnTime::Created => self.created_at,
            OwnTime::Updated => self.updated_at,
        }
    }

    /// One of them as the number that filters compare: milliseconds since 1970.
    #[must_use]
    pub fn value(&self, time: OwnTime) -> Option<Value> {
        self.get(time).map(|moment| moment.as_millis().into())
    }

    /// Age of the entry at `now`, in milliseconds: since its event time or, without one, since it was created. A time
    /// in the future gives age 0.
    #[must_use]
    pub fn age_ms(&self, now: Timestamp) -> u64 {
        match self.event_time.or(self.created_at) {
            Some(since) if since < now => now.as_millis().abs_diff(since.as_millis()),
            _ => 0,
        }
    }
}

impl Filter {
    /// The times of entries that the filter names, each once. Takes time in proportion to the filter.
    #[must_use]
    pub fn own_times(&self) -> Vec<OwnTime> {
        let mut times = Vec::new();
        let mut rest = vec![self];
        while let Some(filter) = rest.pop() {
            match filter {
                Self::And(conditions) | Self::Or(conditions) => rest.extend(conditions),
                Self::Not(condition) => rest.push(condition),
                comparison => times.extend(comparison.field().and_then(FieldPath::own_time)),
            }
        }
        times.sort_unstable();
        times.dedup();
        times
    }

    /// The same filter with all moments for times of entries turned into numbers of milliseconds. The filter is valid.
    /// For implementers.
    #[must_use]
    pub fn in_millis(&self) -> Cow<'_, Self> {
        if self.own_times().is_empty() {
            return Cow::Borrowed(self);
        }
        let mut filter = self.clone();
        filter.turn_to_millis();
        Cow::Owned(filter)
    }

    /// The recursion is as deep as the filter, which is bounded.
    fn turn_to_millis(&mut self) {
        let turn = |value: &mut Scalar| {
            if let Some(millis) = millis_of(value) {
                *value = Scalar::Number(millis);
            }
        };
        match self {
            Self::And(conditions) | Self::Or(conditions) => conditions.iter_mut().for_each(Self::turn_to_millis),
            Self::Not(condition) => condition.turn_to_millis(),
            Self::Eq { field, value }
            | Self::Ne { field, value }
            | Self::Lt { field, value }
            | Self::Le { field, value }
            | Self::Gt { field, value }
            | Self::Ge { field, value }
                if field.own_time().is_some() =>
            {
                turn(value);
            }
            Self::Between { field, low, high } if field.own_time().is_some() => {
                turn(low);
                turn(high);
            }
            Self::In { field, values } if field.own_time().is_some() => values.iter_mut().for_each(turn),
            _ => {}
        }
    }

    /// The field of a comparison.
    pub(super) fn field(&self) -> Option<&FieldPath> {
        match self {
            Self::All | Self::And(_) | Self::Or(_) | Self::Not(_) => None,
            Self::Eq { field, .. }
            | Self::Ne { field, .. }
            | Self::In { field, .. }
            | Self::Lt { field, .. }
            | Self::Le { field, .. }
            | Self::Gt { field, .. }
            | Self::Ge { field, .. }
            | Self::Between { field, .. }
            | Self::Exists { field }
            | Self::IsNull { field }
            | Self::Contains { field, .. }
            | Self::StartsWith { field, .. }
            | Self::MatchesText { field, .. } => Some(field),
        }
    }
}

/// The milliseconds of a value that is compared with a time; none if the value is no moment.
///
/// A moment between two milliseconds becomes the number half-way between them: it equals no time, and compares
/// correctly.
pub(super) fn millis_of(value: &Scalar) -> Option<Number> {
    const NANOS_PER_MILLI: i128 = 1_000_000;
    match value {
        Scalar::Number(number) => number.is_finite().then_some(*number),
        Scalar::Text(text) => {
            let nanos = instant_nanos(text)?;
            let millis = i64::try_from(nanos.div_euclid(NANOS_PER_MILLI)).ok()?;
            // Years of four digits are less than 2^52 ms, so the half is exact.
            Some(match nanos.rem_euclid(NANOS_PER_MILLI) {
                0 => millis.into(),
                _ => (millis as f64 + 0.5).into(),
            })
        }
        Scalar::Null | Scalar::Bool(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_that_of_the_event_and_the_future_has_none() {
        let at = |event: Option<i64>, created: Option<i64>| EntryTimes {
            event_time: event.map(Timestamp::from_millis),
            created_at: created.map(Timestamp::from_millis),
            updated_at: Some(Timestamp::from_millis(99)),
        };
        let now = Timestamp::from_millis(100);
        assert_eq!(at(Some(40), Some(90)).age_ms(now), 60);
        assert_eq!(at(None, Some(90)).age_ms(now), 10);
        assert_eq!(at(Some(101), Some(90)).age_ms(now), 0);
        assert_eq!(at(None, None).age_ms(now), 0);
        let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        assert_eq!(at(Some(first.as_millis()), None).age_ms(last), u64::MAX);
    }

    #[test]
    fn a_moment_between_two_milliseconds_equals_none_of_them() {
        let millis = |text: &str| millis_of(&text.into()).unwrap();
        assert_eq!(millis("1970-01-01T00:00:00.001Z"), Number::from(1));
        for text in ["1970-01-01T00:00:00.001000001Z", "1970-01-01T00:00:00.001999999Z"] {
            assert!(
                Number::from(1) < millis(text) && millis(text) < Number::from(2),
                "{text}"
            );
        }
        let before = millis("1969-12-31T23:59:59.999999999Z");
        assert!(Number::from(-1) < before && before < Number::from(0));
        assert_eq!(millis_of(&Scalar::Bool(true)), None);
        assert_eq!(millis_of(&"yesterday".into()), None);
    }
}
