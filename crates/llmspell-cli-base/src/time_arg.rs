//! Moments and lengths of time on the command line.

use std::time::Duration;

use llmspell_storage::Timestamp;
use llmspell_storage::filter::instant_nanos;

/// Reads RFC 3339, a day alone (its midnight in UTC), or milliseconds since 1970.
pub fn parse_moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    // A day alone; other dates were read above.
    let millis = instant_nanos(text).and_then(|nanos| i64::try_from(nanos.div_euclid(1_000_000)).ok());
    millis
        .map(Timestamp::from_millis)
        .ok_or_else(|| "write a date such as 2026-11-22T10:00:00Z or 2026-11-22, or milliseconds since 1970".into())
}

/// Reads a whole number and its unit, such as `7d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 6] = [
        ("ms", 1),
        ("s", 1_000),
        ("min", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
        ("w", 7 * 86_400_000),
    ];
    let digits = text.find(|character: char| !character.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let millis = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .and_then(|(_, millis)| number.parse::<u64>().ok()?.checked_mul(*millis));
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| "write a number with its unit: ms, s, min, h, d or w, such as 7d".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_a_number_with_its_unit() {
        for (text, millis) in [
            ("0ms", 0),
            ("5s", 5_000),
            ("90min", 5_400_000),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "7", "d", "-7d", "7 d", "1.5h", "7m", "99999999999999999d", "7dd"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_is_a_date_a_day_or_milliseconds() {
        for (text, millis) in [
            ("1970-01-02", 86_400_000),
            ("1970-01-01T01:00:00+01:00", 0),
            ("-5", -5),
            ("1500", 1_500),
        ] {
            assert_eq!(parse_moment(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in ["", "soon", "1970-13-01", "1970-01-01T00:00:00"] {
            assert!(parse_moment(text).is_err(), "{text}");
        }
    }
}
