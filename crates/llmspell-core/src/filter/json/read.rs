//! Reading of the JSON form.

use std::fmt::Write;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::{Map, Value};

use crate::filter::check::{self, Budget, Part};
use crate::filter::condition::Filter;
use crate::filter::error::{FilterError, FilterPlace, FilterProblem};
use crate::filter::path::FieldPath;
use crate::filter::scalar::Scalar;
use crate::text::shortened;

impl Filter {
    /// Reads the JSON form. Checks that depend on the date fields are left to [`compile`](Self::compile).
    ///
    /// Takes time in proportion to the JSON.
    ///
    /// # Errors
    ///
    /// The first problem, with its place.
    pub fn from_json(json: &Value) -> Result<Self, FilterError> {
        let mut reader = Reader {
            budget: Budget::default(),
            place: String::new(),
        };
        reader
            .filter(json, 1)
            .map_err(|problem| FilterError::new(FilterPlace::Json(reader.place), problem))
    }
}

impl<'de> Deserialize<'de> for Filter {
    /// Reads the JSON form, from self-describing formats.
    ///
    /// # Errors
    ///
    /// The text of the [`FilterError`] of [`Filter::from_json`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

type Result<T, E = FilterProblem> = std::result::Result<T, E>;

/// After an error, `place` is its place.
struct Reader {
    budget: Budget,
    place: String,
}

impl Reader {
    /// The recursion is bounded by the depth limit, because the depth is checked first.
    fn filter(&mut self, json: &Value, depth: usize) -> Result<Filter> {
        self.budget.node(depth)?;
        const EXPECTED: &str = "an object with one operator, such as {\"exists\": {\"field\": \"a\"}}";
        let Value::Object(members) = json else {
            return Err(shape(EXPECTED, json));
        };
        let (Some((operator, operand)), 1) = (members.iter().next(), members.len()) else {
            let got = format!("an object with {} members", members.len());
            return Err(FilterProblem::Shape {
                expected: EXPECTED,
                got,
            });
        };
        let Some(reads) = reader_of(operator) else {
            let name = shortened(operator);
            return Err(FilterProblem::UnknownOperator { name });
        };
        let outside = self.place.len();
        self.step(operator);
        let filter = reads(self, operand, depth)?;
        self.comparison(&filter)?;
        self.place.truncate(outside);
        Ok(filter)
    }

    fn comparison(&mut self, filter: &Filter) -> Result<()> {
        check::comparison(filter, None).map_err(|(part, problem)| {
            self.step(check::member(part, filter.operator()));
            if let Part::ValueOf(index) = part {
                self.step(index);
            }
            problem
        })
    }

    fn conditions(&mut self, json: &Value, depth: usize, operator: &'static str) -> Result<Vec<Filter>> {
        let Value::Array(conditions) = json else {
            return Err(shape("an array of conditions", json));
        };
        if conditions.is_empty() {
            return Err(FilterProblem::NoConditions { operator });
        }
        let inside = self.place.len();
        let mut read = Vec::new();
        for (index, condition) in conditions.iter().enumerate() {
            self.step(index);
            read.push(self.filter(condition, depth + 1)?);
            self.place.truncate(inside);
        }
        Ok(read)
    }

    /// The operand of `operator`: an object with exactly the members of that operator.
    fn members<'a>(
        &self,
        json: &'a Value,
        operator: &'static str,
        takes: &[&'static str],
    ) -> Result<&'a Map<String, Value>> {
        let Value::Object(members) = json else {
            return Err(shape("an object with the members of the operator", json));
        };
        let bad = |trouble, member: &str| FilterProblem::Member {
            operator,
            trouble,
            member: shortened(member),
            takes: if takes.is_empty() {
                "none".into()
            } else {
                takes.join(", ")
            },
        };
        if let Some(missing) = takes.iter().find(|name| !members.contains_key(**name)) {
            return Err(bad("lacks", missing));
        }
        if let Some(foreign) = members.keys().find(|name| !takes.contains(&name.as_str())) {
            return Err(bad("does not know", foreign));
        }
        Ok(members)
    }

    fn string<'a>(&mut self, members: &'a Map<String, Value>, name: &'static str) -> Result<&'a str> {
        let value = &members[name];
        value.as_str().ok_or_else(|| {
            self.step(name);
            shape("a string", value)
        })
    }

    fn field(&mut self, members: &Map<String, Value>) -> Result<FieldPath> {
        self.string(members, "field").map(FieldPath::from)
    }

    fn scalar(&mut self, value: &Value, steps: &[&dyn std::fmt::Display]) -> Result<Scalar> {
        Scalar::try_from(value).map_err(|not_scalar| {
            steps.iter().for_each(|step| self.step(step));
            FilterProblem::NotScalar { got: not_scalar.got }
        })
    }

    fn field_and_value(&mut self, json: &Value, operator: &'static str) -> Result<(FieldPath, Scalar)> {
        let members = self.members(json, operator, &["field", "value"])?;
        Ok((self.field(members)?, self.scalar(&members["value"], &[&"value"])?))
    }

    fn field_alone(&mut self, json: &Value, operator: &'static str) -> Result<FieldPath> {
        let members = self.members(json, operator, &["field"])?;
        self.field(members)
    }

    fn list(&mut self, json: &Value) -> Result<Filter> {
        let members = self.members(json, "in", &["field", "values"])?;
        let field = self.field(members)?;
        let Value::Array(list) = &members["values"] else {
            self.step("values");
            return Err(shape("an array of values", &members["values"]));
        };
        self.budget.values(list.len())?;
        let mut values = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            values.push(self.scalar(value, &[&"values", &index])?);
        }
        Ok(Filter::In { field, values })
    }

    fn between(&mut self, json: &Value) -> Result<Filter> {
        let members = self.members(json, "between", &["field", "low", "high"])?;
        Ok(Filter::Between {
            field: self.field(members)?,
            low: self.scalar(&members["low"], &[&"low"])?,
            high: self.scalar(&members["high"], &[&"high"])?,
        })
    }

    fn step(&mut self, step: impl std::fmt::Display) {
        write!(self.place, "/{step}").expect("a string takes every text");
    }
}

type Reads = fn(&mut Reader, &Value, usize) -> Result<Filter>;

fn reader_of(operator: &str) -> Option<Reads> {
    Some(match operator {
        "all" => |reader, json, _| reader.members(json, "all", &[]).map(|_| Filter::All),
        "eq" => |reader, json, _| {
            reader
                .field_and_value(json, "eq")
                .map(|(field, value)| Filter::Eq { field, value })
        },
        "ne" => |reader, json, _| {
            reader
                .field_and_value(json, "ne")
                .map(|(field, value)| Filter::Ne { field, value })
        },
        "lt" => |reader, json, _| {
            reader
                .field_and_value(json, "lt")
                .map(|(field, value)| Filter::Lt { field, value })
        },
        "le" => |reader, json, _| {
            reader
                .field_and_value(json, "le")
                .map(|(field, value)| Filter::Le { field, value })
        },
        "gt" => |reader, json, _| {
            reader
                .field_and_value(json, "gt")
                .map(|(field, value)| Filter::Gt { field, value })
        },
        "ge" => |reader, json, _| {
            reader
                .field_and_value(json, "ge")
                .map(|(field, value)| Filter::Ge { field, value })
        },
        "contains" => |reader, json, _| {
            let (field, value) = reader.field_and_value(json, "contains")?;
            Ok(Filter::Contains { field, value })
        },
        "in" => |reader, json, _| reader.list(json),
        "between" => |reader, json, _| reader.between(json),
        "exists" => |reader, json, _| reader.field_alone(json, "exists").map(|field| Filter::Exists { field }),
        "is_null" => |reader, json, _| {
            reader
                .field_alone(json, "is_null")
                .map(|field| Filter::IsNull { field })
        },
        "starts_with" => |reader, json, _| {
            let members = reader.members(json, "starts_with", &["field", "prefix"])?;
            Ok(Filter::starts_with(
                reader.field(members)?,
                reader.string(members, "prefix")?,
            ))
        },
        "matches_text" => |reader, json, _| {
            let members = reader.members(json, "matches_text", &["field", "text"])?;
            Ok(Filter::matches_text(
                reader.field(members)?,
                reader.string(members, "text")?,
            ))
        },
        "and" => |reader, json, depth| reader.conditions(json, depth, "and").map(Filter::all_of),
        "or" => |reader, json, depth| reader.conditions(json, depth, "or").map(Filter::any_of),
        "not" => |reader, json, depth| reader.filter(json, depth + 1).map(Filter::not),
        _ => return None,
    })
}

fn shape(expected: &'static str, got: &Value) -> FilterProblem {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    FilterProblem::Shape {
        expected,
        got: got.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_points_at_its_place() {
        let eq = json!({"eq": {"field": "a", "value": 1}});
        for (json, expected) in [
            (
                json!({"and": [eq, {"like": {}}]}),
                "at /and/1: unknown operator `like`; there are eq, ne, ",
            ),
            (
                json!([]),
                "at the top: expected an object with one operator, such as {\"exists\": {\"field\": \"a\"}}, got an array",
            ),
            (
                json!({"not": {}}),
                "at /not: expected an object with one operator, such as {\"exists\": {\"field\": \"a\"}}, got an object with 0 members",
            ),
            (
                json!({"exists": {"field": "a"}, "all": {}}),
                "at the top: expected an object with one operator",
            ),
            (
                json!({"eq": {"field": "a"}}),
                "at /eq: `eq` lacks `value`; it takes field, value",
            ),
            (
                json!({"exists": {"field": "a", "value": 1}}),
                "at /exists: `exists` does not know `value`; it takes field",
            ),
            (
                json!({"all": {"x": 1}}),
                "at /all: `all` does not know `x`; it takes none",
            ),
            (
                json!({"eq": {"field": 1, "value": 1}}),
                "at /eq/field: expected a string, got a number",
            ),
            (
                json!({"eq": {"field": "a..b", "value": 1}}),
                "at /eq/field: `a..b` is not a field: ",
            ),
            (
                json!({"or": [{"ne": {"field": "a", "value": [1]}}]}),
                "at /or/0/ne/value: an array is not a single value; ",
            ),
            (
                json!({"in": {"field": "a", "values": [1, {}]}}),
                "at /in/values/1: an object is not a single value; ",
            ),
            (
                json!({"in": {"field": "a", "values": 1}}),
                "at /in/values: expected an array of values, got a number",
            ),
            (
                json!({"in": {"field": "a", "values": vec![1; 65_537]}}),
                "at /in: the filter has 65537 values in lists; ",
            ),
            (json!({"and": []}), "at /and: `and` has no conditions; "),
            (
                json!({"or": {}}),
                "at /or: expected an array of conditions, got an object",
            ),
            (
                json!({"between": {"field": "a", "low": 2, "high": 1}}),
                "at /between/high: the lower bound 2 lies above ",
            ),
            (
                json!({"starts_with": {"field": "a", "prefix": null}}),
                "at /starts_with/prefix: expected a string, got null",
            ),
            (
                json!({"not": {"matches_text": {"field": "a", "text": ""}}}),
                "at /not/matches_text/text: \"\" has no term",
            ),
        ] {
            let error = Filter::from_json(&json).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{json}: {error}");
            let text = serde_json::from_value::<Filter>(json).unwrap_err().to_string();
            assert_eq!(text, error, "serde says the same");
        }
    }

    #[test]
    fn a_deep_nest_is_refused_in_both_directions() {
        let nested = |depth: usize| (1..depth).fold(Filter::exists("a"), |inner, _| Filter::not(inner));
        let deepest = nested(32);
        assert_eq!(
            Filter::from_json(&serde_json::to_value(&deepest).unwrap()).unwrap(),
            deepest
        );
        for depth in [33, 100_000] {
            let error = serde_json::to_value(nested(depth)).unwrap_err().to_string();
            assert_eq!(error, format!("the filter has {depth} levels; at most 32 are allowed"));
        }
        let too_deep = (0..40).fold(json!({"all": {}}), |inner, _| json!({ "not": inner }));
        let error = Filter::from_json(&too_deep).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "at {}: the filter has 33 levels; at most 32 are allowed",
                "/not".repeat(32)
            )
        );
    }

    #[test]
    fn a_number_that_json_lacks_is_not_written_as_null() {
        assert!(serde_json::to_value(Filter::eq("a", f64::NAN)).is_err());
    }
}
