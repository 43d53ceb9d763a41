//! Validation of filters: whether one makes sense and is within the limits.
//!
//! Readers of text and JSON call [`comparison`] and [`Budget`] as they go, so that they can name the place and stop
//! early; [`Filter::validate`] walks over filters built in code.

use std::fmt::Write;

use super::condition::Filter;
use super::dates::{DateFields, instant_nanos};
use super::error::{FilterError, FilterPlace, FilterProblem, shown};
use super::path::FieldPath;
use super::scalar::Scalar;
use super::terms::terms;
use super::times::{OwnTime, millis_of};
use crate::limits::{FILTER_DEPTH_MAX, FILTER_NODES_MAX, FILTER_TEXT_BYTES_MAX, FILTER_VALUES_MAX, METADATA_DEPTH_MAX};

/// Which part of a comparison is wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part {
    Field,
    Value,
    ValueOf(usize),
    Low,
    High,
    Text,
}

type Checked = Result<(), (Part, FilterProblem)>;

impl Filter {
    /// Checks everything that does not depend on the date fields. Takes time in proportion to the filter.
    ///
    /// # Errors
    ///
    /// The first problem, with its place in the JSON form.
    pub fn validate(&self) -> Result<(), FilterError> {
        self.checked(None)
    }

    /// Checks everything, with these as the only date fields. Takes time in proportion to the filter.
    ///
    /// # Errors
    ///
    /// The first problem, with its place in the JSON form.
    pub fn validate_with(&self, dates: &DateFields) -> Result<(), FilterError> {
        self.checked(Some(dates))
    }

    fn checked(&self, dates: Option<&DateFields>) -> Result<(), FilterError> {
        let mut walk = Walk {
            budget: Budget::default(),
            dates,
            place: String::new(),
        };
        walk.check(self, 1)
            .map_err(|problem| FilterError::new(FilterPlace::Json(walk.place), problem))
    }
}

/// Counts the nodes and values of a filter against the limits.
#[derive(Default)]
pub(super) struct Budget {
    nodes: usize,
    values: usize,
}

impl Budget {
    /// Counts a condition at this depth; call it before looking inside.
    pub(super) fn node(&mut self, depth: usize) -> Result<(), FilterProblem> {
        self.nodes += 1;
        depth_at_most(depth)?;
        FilterProblem::at_most("the filter", self.nodes, FILTER_NODES_MAX, "conditions")
    }

    /// Counts the values of an `in`.
    pub(super) fn values(&mut self, count: usize) -> Result<(), FilterProblem> {
        self.values = self.values.saturating_add(count);
        FilterProblem::at_most("the filter", self.values, FILTER_VALUES_MAX, "values in lists")
    }
}

pub(super) fn depth_at_most(depth: usize) -> Result<(), FilterProblem> {
    FilterProblem::at_most("the filter", depth, FILTER_DEPTH_MAX, "levels")
}

/// After an error, `place` is its place.
struct Walk<'a> {
    budget: Budget,
    dates: Option<&'a DateFields>,
    place: String,
}

impl Walk<'_> {
    /// The recursion is bounded by the depth limit, because the depth is checked first.
    fn check(&mut self, filter: &Filter, depth: usize) -> Result<(), FilterProblem> {
        self.budget.node(depth)?;
        let operator = filter.operator();
        let outside = self.place.len();
        self.step(operator);
        match filter {
            Filter::And(conditions) | Filter::Or(conditions) => {
                if conditions.is_empty() {
                    return Err(FilterProblem::NoConditions { operator });
                }
                for (index, condition) in conditions.iter().enumerate() {
                    let inside = self.place.len();
                    self.step(index);
                    self.check(condition, depth + 1)?;
                    self.place.truncate(inside);
                }
            }
            Filter::Not(condition) => self.check(condition, depth + 1)?,
            comparison => {
                if let Filter::In { values, .. } = comparison {
                    self.budget.values(values.len())?;
                }
                self::comparison(comparison, self.dates).map_err(|(part, problem)| {
                    self.step(member(part, operator));
                    if let Part::ValueOf(index) = part {
                        self.step(index);
                    }
                    problem
                })?;
            }
        }
        self.place.truncate(outside);
        Ok(())
    }

    fn step(&mut self, step: impl std::fmt::Display) {
        write!(self.place, "/{step}").expect("a string takes every text");
    }
}

/// The member of the JSON form that holds the part.
pub(super) fn member(part: Part, operator: &str) -> &'static str {
    match part {
        Part::Field => "field",
        Part::Value => "value",
        Part::ValueOf(_) => "values",
        Part::Low => "low",
        Part::High => "high",
        Part::Text if operator == "starts_with" => "prefix",
        Part::Text => "text",
    }
}

/// Checks a filter without inner conditions; others are left alone.
///
/// Without `dates` the date fields are not known, and checks that depend on them are left for later.
pub(super) fn comparison(filter: &Filter, dates: Option<&DateFields>) -> Checked {
    if let Some(time) = filter.field().and_then(FieldPath::own_time) {
        return self::time(filter, time);
    }
    match filter {
        Filter::All | Filter::And(_) | Filter::Or(_) | Filter::Not(_) => Ok(()),
        Filter::Exists { field } | Filter::IsNull { field } => self::field(field),
        Filter::Eq { field, value } | Filter::Ne { field, value } | Filter::Contains { field, value } => {
            self::field(field)?;
            equal(field, value, Part::Value, dates)
        }
        Filter::In { field, values } => {
            self::field(field)?;
            let mut places = values.iter().enumerate();
            places.try_for_each(|(index, value)| equal(field, value, Part::ValueOf(index), dates))
        }
        Filter::Lt { field, value }
        | Filter::Le { field, value }
        | Filter::Gt { field, value }
        | Filter::Ge { field, value } => {
            self::field(field)?;
            ordered(field, value, Part::Value, dates)
        }
        Filter::Between { field, low, high } => {
            self::field(field)?;
            ordered(field, low, Part::Low, dates)?;
            ordered(field, high, Part::High, dates)?;
            bounds(field, low, high, dates).map_err(|problem| (Part::High, problem))
        }
        Filter::StartsWith { field, prefix } => {
            self::field(field)?;
            text(prefix, Part::Text)
        }
        Filter::MatchesText { field, text } => {
            self::field(field)?;
            self::text(text, Part::Text)?;
            let is_empty = terms(text).next().is_none();
            let problem = || FilterProblem::NoTerms {
                text: shown(&text.into()),
            };
            if is_empty { Err((Part::Text, problem())) } else { Ok(()) }
        }
    }
}

/// Checks a comparison of a time of the entry.
fn time(filter: &Filter, time: OwnTime) -> Checked {
    let moment = |value: &Scalar, part: Part| {
        if let Scalar::Number(number) = value
            && !number.is_finite()
        {
            let value = number.to_string();
            return Err((part, FilterProblem::NotFinite { value }));
        }
        if let Scalar::Text(text) = value {
            self::text(text, part)?;
        }
        let problem = || FilterProblem::NoMoment {
            time: time.name(),
            value: shown(value),
        };
        millis_of(value).ok_or_else(|| (part, problem()))
    };
    match filter {
        Filter::Exists { .. } => Ok(()),
        Filter::Eq { value, .. }
        | Filter::Ne { value, .. }
        | Filter::Lt { value, .. }
        | Filter::Le { value, .. }
        | Filter::Gt { value, .. }
        | Filter::Ge { value, .. } => moment(value, Part::Value).map(drop),
        Filter::In { values, .. } => {
            let mut places = values.iter().enumerate();
            places.try_for_each(|(index, value)| moment(value, Part::ValueOf(index)).map(drop))
        }
        Filter::Between { low, high, .. } => {
            if moment(low, Part::Low)? <= moment(high, Part::High)? {
                return Ok(());
            }
            let problem = FilterProblem::ReversedBounds {
                low: shown(low),
                high: shown(high),
            };
            Err((Part::High, problem))
        }
        other => {
            let problem = FilterProblem::NotOfTimes {
                time: time.name(),
                operator: other.operator(),
            };
            Err((Part::Field, problem))
        }
    }
}

fn field(field: &FieldPath) -> Checked {
    if let Some(reason) = field.problem() {
        return Err((Part::Field, FilterProblem::bad_path(field, reason)));
    }
    FilterProblem::at_most("the field", field.keys().len(), METADATA_DEPTH_MAX, "keys")
        .map_err(|problem| (Part::Field, problem))?;
    field.keys().iter().try_for_each(|key| text(key, Part::Field))
}

fn text(text: &str, part: Part) -> Checked {
    FilterProblem::at_most("the text", text.len(), FILTER_TEXT_BYTES_MAX, "bytes").map_err(|problem| (part, problem))
}

/// Checks a value that a field is compared with for equality.
fn equal(field: &FieldPath, value: &Scalar, part: Part, dates: Option<&DateFields>) -> Checked {
    let is_date_field = dates.is_some_and(|dates| dates.contains(field));
    match value {
        Scalar::Number(number) if !number.is_finite() => {
            let value = number.to_string();
            return Err((part, FilterProblem::NotFinite { value }));
        }
        Scalar::Text(text) => {
            self::text(text, part)?;
            if !is_date_field || instant_nanos(text).is_some() {
                return Ok(());
            }
        }
        Scalar::Null => return Ok(()),
        Scalar::Bool(_) | Scalar::Number(_) if !is_date_field => return Ok(()),
        Scalar::Bool(_) | Scalar::Number(_) => {}
    }
    let problem = FilterProblem::InvalidDate {
        field: crate::text::shortened(&field.to_string()),
        value: shown(value),
    };
    Err((part, problem))
}

/// Checks a value that a field is ordered against.
fn ordered(field: &FieldPath, value: &Scalar, part: Part, dates: Option<&DateFields>) -> Checked {
    if matches!(value, Scalar::Null | Scalar::Bool(_)) {
        return Err((part, FilterProblem::NotOrdered { value: shown(value) }));
    }
    equal(field, value, part, dates)
}

fn bounds(field: &FieldPath, low: &Scalar, high: &Scalar, dates: Option<&DateFields>) -> Result<(), FilterProblem> {
    let is_reversed = match (low, high) {
        (Scalar::Number(low), Scalar::Number(high)) => low > high,
        (Scalar::Text(low), Scalar::Text(high)) => match dates {
            // Their order as bytes may differ from their order as moments.
            None => false,
            Some(dates) if dates.contains(field) => instant_nanos(low) > instant_nanos(high),
            Some(_) => low > high,
        },
        _ => {
            return Err(FilterProblem::MixedBounds {
                low: low.type_name(),
                high: high.type_name(),
            });
        }
    };
    if !is_reversed {
        return Ok(());
    }
    Err(FilterProblem::ReversedBounds {
        low: shown(low),
        high: shown(high),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(filter: &Filter) -> String {
        let dates = DateFields::of(["when"]).unwrap();
        filter.validate_with(&dates).unwrap_err().to_string()
    }

    #[test]
    fn every_problem_names_its_place_and_value() {
        let deep = (0..32).fold(Filter::exists("a"), |inner, _| Filter::not(inner));
        let wide = Filter::all_of((0..1024).map(|_| Filter::exists("a")));
        let not_eq = |value: f64| Filter::exists("b").and(Filter::not(Filter::eq("a", value)));
        for (filter, expected) in [
            (
                deep,
                format!(
                    "at {}: the filter has 33 levels; at most 32 are allowed",
                    "/not".repeat(32)
                ),
            ),
            (
                wide,
                "at /and/1023: the filter has 1025 conditions; at most 1024 are allowed".into(),
            ),
            (
                Filter::is_in("a", 0..65_537).and(Filter::exists("a")),
                "at /and/0/in: the filter has 65537 values in lists; at most 65536 are allowed".into(),
            ),
            (
                not_eq(f64::NAN),
                "at /and/1/not/eq/value: the number is NaN; it must be finite".into(),
            ),
            (
                Filter::is_in("a", [0.0, f64::INFINITY]),
                "at /in/values/1: the number is inf; it must be finite".into(),
            ),
            (
                Filter::eq("", 1),
                "at /eq/field: `` is not a field: a key is empty; keys are separated by one dot".into(),
            ),
            (
                Filter::exists(FieldPath::of_keys::<&str>([])),
                "at /exists/field: `` is not a field: it has no key".into(),
            ),
            (
                Filter::exists(FieldPath::of_keys(vec!["k"; 33])),
                "at /exists/field: the field has 33 keys; at most 32 are allowed".into(),
            ),
            (
                Filter::starts_with("a", "x".repeat(65_537)),
                "at /starts_with/prefix: the text has 65537 bytes; at most 65536 are allowed".into(),
            ),
            (
                Filter::all_of([]),
                "at /and: `and` has no conditions; to match every entry write `true`, in JSON {\"all\": {}}".into(),
            ),
            (
                Filter::lt("a", true),
                "at /lt/value: true has no order; numbers and strings have one".into(),
            ),
            (
                Filter::between("a", 1, "b"),
                "at /between/high: the bounds are a number and a string; both must be numbers, or both strings".into(),
            ),
            (
                Filter::between("a", 5, 1),
                "at /between/high: the lower bound 5 lies above the upper bound 1; swap them".into(),
            ),
            (
                Filter::between("when", "2026-01-01T00:00:00Z", "2026-01-01T00:30:00+01:00"),
                "at /between/high: the lower bound \"2026-01-01T00:00:00Z\" lies above the upper bound \
                 \"2026-01-01T00:30:00+01:00\"; swap them"
                    .into(),
            ),
            (
                Filter::ge("when", 5),
                "at /ge/value: 5 is not a date, and `when` holds dates; write one such as \"2026-11-22T10:00:00Z\" or \
                 \"2026-11-22\""
                    .into(),
            ),
            (
                Filter::ge("@event_time", "yesterday"),
                "at /ge/value: \"yesterday\" is not a moment, and `@event_time` is one; write a date such as \
                 \"2026-11-22T10:00:00Z\", or milliseconds since 1970"
                    .into(),
            ),
            (
                Filter::is_in("@created_at", [Scalar::from(1), Scalar::Null]),
                "at /in/values/1: null is not a moment, and `@created_at` is one; write a date such as \
                 \"2026-11-22T10:00:00Z\", or milliseconds since 1970"
                    .into(),
            ),
            (
                Filter::between("@updated_at", "1970-01-01T00:00:01Z", 999),
                "at /between/high: the lower bound \"1970-01-01T00:00:01Z\" lies above the upper bound 999; swap them"
                    .into(),
            ),
            (
                Filter::is_null("@event_time"),
                "at /is_null/field: `@event_time` is a moment or missing, so `is_null` does not apply to it; compare it, \
                 or use `exists`"
                    .into(),
            ),
            (
                Filter::exists("@type"),
                "at /exists/field: `@type` is not a field: the times of entries are @event_time, @created_at and @updated_at; a \
                 key of the metadata that begins with @ is quoted"
                    .into(),
            ),
            (
                Filter::matches_text("a", "?!"),
                "at /matches_text/text: \"?!\" has no term, neither a letter nor a digit; leave the condition out"
                    .into(),
            ),
        ] {
            assert_eq!(problem(&filter), expected);
        }
        assert!(
            problem(&Filter::contains("when", "yesterday"))
                .starts_with("at /contains/value: \"yesterday\" is not a date")
        );
    }

    #[test]
    fn what_is_just_within_the_limits_passes() {
        (0..31)
            .fold(Filter::exists("a"), |inner, _| Filter::not(inner))
            .validate()
            .unwrap();
        Filter::all_of((0..1023).map(|_| Filter::exists("a")))
            .validate()
            .unwrap();
        Filter::is_in("a", 0..65_536).validate().unwrap();
        Filter::is_in("a", Vec::<i32>::new()).validate().unwrap();
        Filter::between("a", 1, 1.0).validate().unwrap();
        // Whether the bounds are reversed depends on whether these are dates.
        Filter::between("a", "b", "a").validate().unwrap();
        Filter::between("a", "b", "a")
            .validate_with(&DateFields::none())
            .unwrap_err();
        Filter::starts_with("a", "x".repeat(65_536)).validate().unwrap();
        Filter::eq("when", Scalar::Null)
            .validate_with(&DateFields::of(["when"]).unwrap())
            .unwrap();
        Filter::eq("\"\"", "").validate().unwrap();
    }
}
