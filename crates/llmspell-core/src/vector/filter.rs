//! Which entries may be found?

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::entry::Metadata;

/// A condition on the metadata of an entry.
///
/// A *field* is a key of the metadata; `a.b` reaches the key `b` of the object under `a`, unless there is a key
/// `a.b` itself. A field that is missing equals nothing, not even null. Numbers are compared as numbers (`1` equals
/// `1.0`, and integers exactly); strings byte by byte; arrays and objects as a whole.
///
/// As JSON: `{"eq": {"field": "lang", "value": "en"}}`, `{"in": {"field": "year", "values": [2025, 2026]}}`,
/// `{"and": [ … ]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Filter {
    /// The field has this value.
    Eq {
        /// Key or path.
        field: String,
        /// Value to equal.
        value: Value,
    },
    /// The field has one of these values. Without values it matches nothing.
    In {
        /// Key or path.
        field: String,
        /// Values to equal.
        values: Vec<Value>,
    },
    /// All conditions hold. Without conditions it matches everything.
    And(Vec<Filter>),
}

impl Filter {
    /// The field has this value.
    pub fn eq(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Eq {
            field: field.into(),
            value: value.into(),
        }
    }

    /// The field has one of these values.
    pub fn is_in<V: Into<Value>>(field: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Self::In {
            field: field.into(),
            values: values.into_iter().map(Into::into).collect(),
        }
    }

    /// All conditions hold.
    pub fn and(conditions: impl IntoIterator<Item = Filter>) -> Self {
        Self::And(conditions.into_iter().collect())
    }

    /// Whether an entry with this metadata may be found.
    #[must_use]
    pub fn matches(&self, metadata: &Metadata) -> bool {
        match self {
            Self::Eq { field, value } => lookup(metadata, field).is_some_and(|found| values_equal(found, value)),
            Self::In { field, values } => {
                lookup(metadata, field).is_some_and(|found| values.iter().any(|value| values_equal(found, value)))
            }
            Self::And(conditions) => conditions.iter().all(|condition| condition.matches(metadata)),
        }
    }

    /// Nesting and number of comparisons, for the limits.
    pub(crate) fn depth_and_terms(&self) -> (usize, usize) {
        // A loop, not a recursion: this is what bounds the depth for everything after it.
        let (mut depth_max, mut terms) = (0, 0);
        let mut rest = vec![(self, 1)];
        while let Some((filter, depth)) = rest.pop() {
            depth_max = depth_max.max(depth);
            match filter {
                Self::Eq { .. } => terms += 1,
                Self::In { values, .. } => terms += values.len(),
                Self::And(conditions) => rest.extend(conditions.iter().map(|condition| (condition, depth + 1))),
            }
        }
        (depth_max, terms)
    }
}

/// The value of a field: the key itself if there is one, else along the dots.
fn lookup<'a>(metadata: &'a Metadata, field: &str) -> Option<&'a Value> {
    if let Some(value) = metadata.get(field) {
        return Some(value);
    }
    field.match_indices('.').find_map(|(dot, _)| {
        let inner = metadata.get(&field[..dot])?.as_object()?;
        lookup(inner, &field[dot + 1..])
    })
}

fn values_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => numbers_equal(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| values_equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| values_equal(a, b)))
        }
        _ => a == b,
    }
}

fn numbers_equal(a: &Number, b: &Number) -> bool {
    match (as_integer(a), as_integer(b)) {
        (Some(a), Some(b)) => a == b,
        // An integer that is no exact float differs from every float that is no integer.
        (None, None) => a.as_f64() == b.as_f64(),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The number if it is whole, floats such as `1.0` included.
fn as_integer(number: &Number) -> Option<i128> {
    if let Some(integer) = number.as_i64() {
        return Some(i128::from(integer));
    }
    if let Some(integer) = number.as_u64() {
        return Some(i128::from(integer));
    }
    let float = number.as_f64()?;
    // 2^100: beyond every integer JSON can hold here, and exact in both types.
    (float.fract() == 0.0 && float.abs() < 1.3e30).then_some(float as i128)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn metadata(value: &Value) -> Metadata {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_missing_field_equals_nothing_not_even_null() {
        let there = metadata(&json!({"a": null}));
        assert!(Filter::eq("a", Value::Null).matches(&there));
        assert!(!Filter::eq("b", Value::Null).matches(&there));
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_large_integers_exactly() {
        let big = (1_i64 << 53) + 1;
        let there = metadata(&json!({"one": 1, "half": 0.5, "big": big, "max": u64::MAX}));
        assert!(Filter::eq("one", 1.0).matches(&there));
        assert!(Filter::eq("half", 0.5).matches(&there));
        assert!(Filter::eq("big", big).matches(&there));
        assert!(!Filter::eq("big", (1_i64 << 53) as f64).matches(&there));
        assert!(Filter::eq("max", u64::MAX).matches(&there));
        assert!(!Filter::eq("max", -1).matches(&there));
        assert!(!Filter::eq("one", "1").matches(&there));
        assert!(!Filter::eq("one", true).matches(&there));
    }

    #[test]
    fn a_dotted_field_reaches_inside_and_a_key_with_a_dot_comes_first() {
        let there = metadata(&json!({"a": {"b": {"c": 1}}, "x.y": 2, "x": {"y": 3}, "p.q": {"r": 4}}));
        assert!(Filter::eq("a.b.c", 1).matches(&there));
        assert!(Filter::eq("x.y", 2).matches(&there));
        assert!(!Filter::eq("x.y", 3).matches(&there));
        assert!(Filter::eq("p.q.r", 4).matches(&there));
        assert!(!Filter::eq("a.c", 1).matches(&there));
        assert!(!Filter::eq(".", 1).matches(&there));
    }

    #[test]
    fn in_without_values_matches_nothing_and_and_without_conditions_everything() {
        let there = metadata(&json!({"a": 1}));
        assert!(!Filter::is_in("a", Vec::<Value>::new()).matches(&there));
        assert!(Filter::and([]).matches(&there));
        assert!(Filter::is_in("a", [2, 1]).matches(&there));
        assert!(!Filter::and([Filter::eq("a", 1), Filter::eq("b", 1)]).matches(&there));
    }

    #[test]
    fn the_json_form_is_as_documented() {
        let filter = Filter::and([Filter::eq("lang", "en"), Filter::is_in("year", [2025, 2026])]);
        let json = json!({"and": [
            {"eq": {"field": "lang", "value": "en"}},
            {"in": {"field": "year", "values": [2025, 2026]}},
        ]});
        assert_eq!(serde_json::to_value(&filter).unwrap(), json);
        assert_eq!(serde_json::from_value::<Filter>(json).unwrap(), filter);
        assert!(serde_json::from_value::<Filter>(json!({"like": {}})).is_err());
    }

    proptest! {
        #[test]
        fn in_is_eq_with_any_of_the_values(value in -3..3_i64, values in prop::collection::vec(-3..3_i64, 0..4)) {
            let there = metadata(&json!({"a": value}));
            let any = values.iter().any(|value| Filter::eq("a", *value).matches(&there));
            prop_assert_eq!(Filter::is_in("a", values).matches(&there), any);
        }
    }
}
