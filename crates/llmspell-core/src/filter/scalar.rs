//! [`Scalar`]: a value that a filter compares fields with.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::number::Number;
use super::text::strings;

/// A value without parts: what a filter compares fields and elements with.
///
/// Arrays and objects are not scalars: use `contains` for an element, a path for an inner field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// JSON's null.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer or a float.
    Number(Number),
    /// Text; a date where the field holds dates.
    Text(String),
}

impl Scalar {
    /// Its type in words: `null`, `boolean`, `number` or `string`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
        }
    }
}

/// The JSON value is an array or an object, so it is no [`Scalar`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{got} is not a single value; a filter compares with null, a boolean, a number or a string")]
pub struct NotScalar {
    /// `an array` or `an object`.
    pub got: &'static str,
}

impl TryFrom<&Value> for Scalar {
    type Error = NotScalar;

    /// # Errors
    ///
    /// [`NotScalar`] for arrays and objects.
    fn try_from(value: &Value) -> Result<Self, NotScalar> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => Self::Number(number.into()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(_) => return Err(NotScalar { got: "an array" }),
            Value::Object(_) => return Err(NotScalar { got: "an object" }),
        })
    }
}

impl<T: Into<Number>> From<T> for Scalar {
    fn from(number: T) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Scalar {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<&String> for Scalar {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Scalar {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Display for Scalar {
    /// As in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => strings::write_quoted(f, text),
        }
    }
}

impl Serialize for Scalar {
    /// # Errors
    ///
    /// A number that is not finite.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}
