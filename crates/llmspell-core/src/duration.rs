//! Serde of durations in JSON: a number and its unit, such as `"7d"`.
//!
//! Units are `ns`, `us`, `ms`, `s`, `min`, `h`, `d` and `w`. A number alone is read as seconds, and serde's own form,
//! `{"secs": 3, "nanos": 0}`, is read too.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

/// From the largest: a duration is written in the first unit that divides it. Weeks are only read.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
const WEEK: (&str, u64) = ("w", 7 * 86_400_000_000_000);

fn text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let unit = UNITS.iter().find(|(_, unit)| nanos.is_multiple_of(u128::from(*unit)));
    let (name, unit) = unit.filter(|_| nanos > 0).unwrap_or(&("s", 1));
    format!("{}{name}", nanos / u128::from(*unit))
}

fn parsed(text: &str) -> Option<Duration> {
    let end = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, name) = text.split_at(end);
    let (_, unit) = UNITS.iter().chain([&WEEK]).find(|(unit, _)| *unit == name)?;
    let nanos = number.parse::<u128>().ok()?.checked_mul(u128::from(*unit))?;
    let second = 1_000_000_000;
    Some(Duration::new(
        u64::try_from(nanos / second).ok()?,
        (nanos % second) as u32,
    ))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Seconds(u64),
    Fraction(f64),
    Text(String),
    Parts(Duration),
}

impl Form {
    fn duration<E: de::Error>(self) -> Result<Duration, E> {
        let duration = match &self {
            Self::Seconds(seconds) => Some(Duration::from_secs(*seconds)),
            Self::Fraction(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Self::Text(text) => parsed(text),
            Self::Parts(duration) => Some(*duration),
        };
        duration.ok_or_else(|| {
            let got = match self {
                Self::Text(text) => format!("{text:?}"),
                Self::Fraction(seconds) => seconds.to_string(),
                Self::Seconds(_) | Self::Parts(_) => "it".to_string(),
            };
            E::custom(format!(
                "{got} is no length of time: write a number with its unit, ns, us, ms, s, min, h, d or w, such as \"7d\", or a \
                 number of seconds"
            ))
        })
    }
}

pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Form::deserialize(deserializer)?.duration()
}

/// For a field that may be absent or null.
pub(crate) mod option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::duration::Form;

    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => crate::duration::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Option::<Form>::deserialize(deserializer)?
            .map(Form::duration)
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_duration_reads_back_from_its_text(seconds in any::<u64>(), nanos in 0_u32..1_000_000_000) {
            for duration in [Duration::new(seconds, nanos), Duration::from_secs(seconds), Duration::from_millis(seconds)] {
                prop_assert_eq!(parsed(&text(duration)), Some(duration));
            }
        }
    }

    #[test]
    fn a_duration_is_written_in_the_largest_unit_that_divides_it() {
        let second = Duration::from_secs(1);
        for (duration, written) in [
            (Duration::ZERO, "0s"),
            (7 * 24 * 3600 * second, "7d"),
            (5400 * second, "90min"),
            (second / 2, "500ms"),
            (Duration::from_nanos(1), "1ns"),
        ] {
            assert_eq!(text(duration), written);
        }
        assert_eq!(parsed("1w"), Some(7 * 24 * 3600 * second));
        for bad in [
            "",
            "7",
            "d",
            "-7d",
            "7 d",
            "1.5h",
            "7m",
            "7dd",
            "99999999999999999999999999w",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
