//! Metadata as `jsonb`, so that SQL compares it exactly as filters do, and back.
//!
//! * `jsonb` refuses U+0000. In strings and keys U+0000 becomes U+0001 `0`, and U+0001 becomes U+0001 `1`: equality, byte order and
//!   prefixes stay what they were, and nearly all strings stay the same.
//! * A float beyond 2^53 is written with all its digits, so that it compares with integers by its exact value.
//! * What `jsonb` cannot give back as it was (the sign of -0.0, a float written with an exponent) is kept beside it, as `raw`.

use llmspell_core::Metadata;
use serde_json::{Number, Value};

/// Above it, the shortest decimal form of a float may be another number than the float.
const WHOLE_MIN: f64 = 9_007_199_254_740_992.0;
const ESCAPE: char = '\u{1}';

/// Metadata in its stored form.
#[derive(Debug, PartialEq)]
pub(super) struct StoredFields {
    /// Text of the column `fields`.
    pub(super) json: String,
    /// Compact JSON as given, where the column cannot give it back.
    pub(super) raw: Option<Vec<u8>>,
    /// Length of the compact JSON in bytes.
    pub(super) bytes: usize,
}

impl StoredFields {
    /// # Errors
    ///
    /// If the metadata cannot be written as JSON.
    pub(super) fn of(metadata: &Metadata) -> serde_json::Result<Self> {
        let compact = serde_json::to_vec(metadata)?;
        let mut json = String::with_capacity(compact.len());
        let mut is_exact = true;
        write_object(metadata, &mut json, &mut is_exact);
        Ok(Self {
            json,
            bytes: compact.len(),
            raw: (!is_exact).then_some(compact),
        })
    }
}

/// The metadata of a row.
///
/// # Errors
///
/// If the text is not what [`StoredFields::of`] wrote.
pub(super) fn read(json: Option<&str>, raw: Option<&[u8]>) -> serde_json::Result<Metadata> {
    if let Some(raw) = raw {
        return serde_json::from_slice(raw);
    }
    let json = json.unwrap_or("{}");
    let fields: Metadata = serde_json::from_str(json)?;
    // As the server writes it.
    if !json.contains("\\u0001") {
        return Ok(fields);
    }
    let decoded = fields
        .into_iter()
        .map(|(key, value)| (decoded(&key), decoded_value(value)));
    Ok(decoded.collect())
}

/// A string as it stands in the column.
pub(super) fn encoded(text: &str) -> String {
    if !text.contains(['\0', ESCAPE]) {
        return text.to_string();
    }
    text.replace(ESCAPE, "\u{1}1").replace('\0', "\u{1}0")
}

fn decoded(text: &str) -> String {
    text.replace("\u{1}0", "\0").replace("\u{1}1", "\u{1}")
}

fn decoded_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(decoded(&text)),
        Value::Array(values) => values.into_iter().map(decoded_value).collect(),
        Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .map(|(key, value)| (decoded(&key), decoded_value(value)));
            Value::Object(fields.collect())
        }
        other => other,
    }
}

/// A JSON string as it stands in the column.
pub(super) fn quoted(text: &str) -> String {
    Value::String(encoded(text)).to_string()
}

/// A number by all its digits, and whether the server gives back the text that JSON has for it.
pub(super) fn number(number: &Number) -> (String, bool) {
    let text = number.to_string();
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        return (text, true);
    };
    if float.abs() >= WHOLE_MIN {
        return (format!("{float:.0}"), false);
    }
    let is_lost = text.contains(['e', 'E']) || float == 0.0 && float.is_sign_negative();
    (text, !is_lost)
}

fn write_object(fields: &Metadata, json: &mut String, is_exact: &mut bool) {
    json.push('{');
    for (place, (key, value)) in fields.iter().enumerate() {
        if place > 0 {
            json.push(',');
        }
        json.push_str(&quoted(key));
        json.push(':');
        write_value(value, json, is_exact);
    }
    json.push('}');
}

/// The recursion is as deep as the metadata, whose nesting was checked.
fn write_value(value: &Value, json: &mut String, is_exact: &mut bool) {
    match value {
        Value::Null => json.push_str("null"),
        Value::Bool(true) => json.push_str("true"),
        Value::Bool(false) => json.push_str("false"),
        Value::Number(value) => {
            let (text, is_same) = number(value);
            json.push_str(&text);
            *is_exact &= is_same;
        }
        Value::String(text) => json.push_str(&quoted(text)),
        Value::Array(values) => {
            json.push('[');
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    json.push(',');
                }
                write_value(value, json, is_exact);
            }
            json.push(']');
        }
        Value::Object(fields) => write_object(fields, json, is_exact),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Metadata {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn only_what_the_column_cannot_give_back_is_kept_twice() {
        let is_raw = |value: Value| {
            StoredFields::of(&object(&json!({ "a": [value] })))
                .unwrap()
                .raw
                .is_some()
        };
        for plain in [
            json!(1),
            json!(1.0),
            json!(0.1),
            json!(u64::MAX),
            json!(i64::MIN),
            json!("\0\u{1}"),
            json!(0.00001),
        ] {
            assert!(!is_raw(plain.clone()), "{plain}");
        }
        for odd in [json!(-0.0), json!(1e300), json!(1e-300), json!(1e16)] {
            assert!(is_raw(odd.clone()), "{odd}");
        }
    }

    #[test]
    fn a_large_float_has_all_its_digits() {
        let of = |float: f64| number(&Number::from_f64(float).unwrap()).0;
        assert_eq!(of(1.234_567_890_123_456_8e18), "1234567890123456768");
        assert_eq!(of(9_007_199_254_740_992.0), "9007199254740992");
        assert_eq!(of(0.5), "0.5");
    }

    proptest! {
        #[test]
        fn strings_keep_order_prefixes_and_come_back(a in "[\\x00-\\x03a]{0,5}", b in "[\\x00-\\x03a]{0,5}") {
            prop_assert_eq!(decoded(&encoded(&a)), a.clone());
            prop_assert_eq!(encoded(&a).cmp(&encoded(&b)), a.cmp(&b));
            prop_assert_eq!(encoded(&a).starts_with(&encoded(&b)), a.starts_with(&b));
            prop_assert!(!encoded(&a).contains('\0'));
        }

        #[test]
        fn metadata_comes_back(key in "[\\x00-\\x02a\"]{0,3}", text in ".*", float in any::<f64>(), int in any::<i64>()) {
            let metadata = object(&json!({key: {"t": text, "f": float, "i": [int, {"n": null}]}}));
            let stored = StoredFields::of(&metadata).unwrap();
            prop_assert_eq!(read(Some(&stored.json), stored.raw.as_deref()).unwrap(), metadata);
        }
    }
}
