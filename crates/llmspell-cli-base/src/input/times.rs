//! Moments in rows: RFC 3339, a day alone, milliseconds since 1970, and seconds, which are told.

use std::cell::Cell;

use llmspell_storage::Timestamp;
use serde_json::Value;

use crate::time_arg::parse_moment;

/// Whole numbers from here on, and below [`SECONDS_END`], are seconds: 1973 to 5138, where milliseconds would be the
/// first weeks and years after 1970.
const SECONDS_BEGIN: i64 = 100_000_000;
const SECONDS_END: i64 = 100_000_000_000;

/// Reads moments, and says once that numbers were taken for seconds.
#[derive(Debug, Clone, Default)]
pub struct Moments {
    has_told: Cell<bool>,
}

impl Moments {
    /// The moment; none for null.
    pub(super) fn read(&self, field: &str, value: &Value) -> Result<Option<Timestamp>, String> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) => parse_moment(text).map(Some),
            Value::Number(number) => match number.as_i64() {
                Some(seconds) if (SECONDS_BEGIN..SECONDS_END).contains(&seconds) => {
                    self.tell(field, value);
                    Ok(Some(Timestamp::from_millis(seconds * 1000)))
                }
                Some(millis) => Ok(Some(Timestamp::from_millis(millis))),
                None => self.fraction(field, value).map(Some),
            },
            other => Err(format!("{other} is no moment")),
        }
    }

    fn fraction(&self, field: &str, value: &Value) -> Result<Timestamp, String> {
        let seconds = value.as_f64().unwrap_or(f64::NAN);
        if !(SECONDS_BEGIN as f64..SECONDS_END as f64).contains(&seconds) {
            return Err(format!("{value} is no moment; milliseconds since 1970 are whole"));
        }
        self.tell(field, value);
        Ok(Timestamp::from_millis((seconds * 1000.0).round() as i64))
    }

    fn tell(&self, field: &str, value: &Value) {
        if !self.has_told.replace(true) {
            eprintln!("note: {value} in field `{field}` is read as seconds since 1970, and so are numbers of its size");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_moment_is_a_date_a_day_milliseconds_or_seconds() {
        for (value, millis) in [
            (json!("2024-01-01"), 1_704_067_200_000),
            (json!("2024-01-01T00:00:00Z"), 1_704_067_200_000),
            (json!(1_704_067_200_000_i64), 1_704_067_200_000),
            (json!(1_704_067_200), 1_704_067_200_000),
            (json!(1_704_067_200.5), 1_704_067_200_500),
            (json!(5), 5),
        ] {
            let moment = Moments::default().read("t", &value).unwrap().unwrap();
            assert_eq!(moment.as_millis(), millis, "{value}");
        }
        assert_eq!(Moments::default().read("t", &Value::Null), Ok(None));
        for value in [json!("soon"), json!([1]), json!(0.5), json!(1e300)] {
            assert!(Moments::default().read("t", &value).is_err(), "{value}");
        }
    }
}
