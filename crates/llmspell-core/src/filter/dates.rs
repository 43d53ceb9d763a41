//! [`DateFields`], the fields that hold dates, and the moment of a date.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{FilterError, FilterPlace, FilterProblem};
use super::path::FieldPath;

/// The fields whose strings are dates: in them, a filter compares moments instead of bytes.
///
/// ```
/// # use llmspell_core::{DateFields, Filter, FilterError};
/// let dates = DateFields::of(["meta.created"])?;
/// let filter = Filter::ge("meta.created", "2026-01-01").compile(&dates)?;
/// let metadata = serde_json::json!({"meta": {"created": "2025-12-31T23:30:00-01:00"}});
/// assert!(filter.matches(metadata.as_object().unwrap()));
/// # Ok::<(), FilterError>(())
/// ```
///
/// Serialized as an array of paths. Cloning takes constant time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DateFields(Option<Arc<BTreeSet<FieldPath>>>);

impl DateFields {
    /// No field holds dates.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// These fields hold dates.
    ///
    /// # Errors
    ///
    /// [`FilterProblem::BadPath`] for a text that is no path, [`FilterProblem::NotAField`] for a time of the entry.
    pub fn of<P: Into<FieldPath>>(fields: impl IntoIterator<Item = P>) -> Result<Self, FilterError> {
        let fields = Self::unchecked(fields);
        fields.validate()?;
        Ok(fields)
    }

    /// These fields, unchecked.
    pub(crate) fn unchecked<P: Into<FieldPath>>(fields: impl IntoIterator<Item = P>) -> Self {
        let paths: BTreeSet<FieldPath> = fields.into_iter().map(Into::into).collect();
        Self((!paths.is_empty()).then(|| Arc::new(paths)))
    }

    /// Checks that each path names a field.
    pub(crate) fn validate(&self) -> Result<(), FilterError> {
        let problem_of = |path: &FieldPath| match (path.problem(), path.own_time()) {
            (Some(reason), _) => Some(FilterProblem::bad_path(path, reason)),
            (None, Some(time)) => Some(FilterProblem::NotAField { time: time.name() }),
            (None, None) => None,
        };
        match self.iter().find_map(problem_of) {
            Some(problem) => Err(FilterError::new(FilterPlace::Json(String::new()), problem)),
            None => Ok(()),
        }
    }

    /// The fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = &FieldPath> {
        self.0.iter().flat_map(|paths| paths.iter())
    }

    /// Whether no field holds dates.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the field holds dates.
    #[must_use]
    pub fn contains(&self, field: &FieldPath) -> bool {
        // Usually there are none.
        self.0.as_ref().is_some_and(|paths| paths.contains(field))
    }
}

impl Serialize for DateFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for DateFields {
    /// # Errors
    ///
    /// As [`DateFields::of`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let paths = Vec::<String>::deserialize(deserializer)?;
        Self::of(paths).map_err(serde::de::Error::custom)
    }
}

/// The moment of an RFC 3339 date, in nanoseconds since 1970-01-01T00:00:00Z; `None` if the text is no such date.
///
/// `2026-11-22T10:00:00.5+01:00`, or a day alone, which stands for its midnight in UTC. A time without an offset is
/// no moment. Years 0000 to 9999; a leap second counts as the second before it.
#[must_use]
pub fn instant_nanos(text: &str) -> Option<i128> {
    const NANOS_PER_SECOND: i128 = 1_000_000_000;
    const DAY_BYTES: usize = "2026-11-22".len();
    // The library accepts more than RFC 3339: signed years, weeks, times without separators, names of time zones.
    let digits = text.as_bytes().get(..DAY_BYTES)?;
    let is_day = digits.iter().enumerate().all(|(place, byte)| match place {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !is_day || text.ends_with(']') {
        return None;
    }
    if text.len() == DAY_BYTES {
        let day: jiff::civil::Date = text.parse().ok()?;
        let seconds = day.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days();
        return Some(i128::from(seconds) * 86_400 * NANOS_PER_SECOND);
    }
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_moment_is_the_same_whatever_its_offset() {
        let moment = instant_nanos("2026-01-01T00:00:00Z").unwrap();
        assert_eq!(moment, 1_767_225_600_000_000_000);
        for same in [
            "2026-01-01T01:30:00+01:30",
            "2025-12-31t23:00:00.000-01:00",
            "2026-01-01",
            "2026-01-01 00:00:00z",
        ] {
            assert_eq!(instant_nanos(same), Some(moment), "{same}");
        }
        assert_eq!(instant_nanos("2026-01-01T00:00:00.000000001Z"), Some(moment + 1));
        assert_eq!(instant_nanos("1969-12-31"), Some(-86_400_000_000_000));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "now",
            "2026",
            "2026-02-30",
            "2026-13-01",
            "2026-01-01T00:00:00",
            "2026-01-01T25:00:00Z",
            "20260101T000000Z",
            "2026-W01-1",
            "2026-01-01T00:00:00Z[UTC]",
            "1767225600",
            "+002026-01-01",
            "2026-01-0é",
            " 2026-01-01",
            "2026-01-01 ",
        ] {
            assert_eq!(instant_nanos(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_field_that_is_no_path_is_refused() {
        let error = DateFields::of(["created", "a..b"]).unwrap_err();
        assert!(error.to_string().contains("`a..b` is not a field"), "{error}");
        assert!(
            DateFields::of(["a.b"])
                .unwrap()
                .contains(&FieldPath::of_keys(["a", "b"]))
        );
        assert!(!DateFields::of(["a.b"]).unwrap().contains(&FieldPath::of_keys(["a.b"])));
        let error = DateFields::of(["created", "@created_at"]).unwrap_err();
        assert!(
            error.to_string().contains("`@created_at` is a time of the entry"),
            "{error}"
        );
    }

    #[test]
    fn date_fields_are_written_as_their_paths() {
        let fields = DateFields::of(["meta.when", "\"a.b\"", "meta.when"]).unwrap();
        let json = serde_json::to_string(&fields).unwrap();
        assert_eq!(json, r#"["\"a.b\"","meta.when"]"#);
        assert_eq!(serde_json::from_str::<DateFields>(&json).unwrap(), fields);
        assert!(serde_json::from_str::<DateFields>(r#"["a..b"]"#).is_err());
        assert!(DateFields::of(Vec::<&str>::new()).unwrap().is_empty());
    }
}
