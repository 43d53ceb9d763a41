//! Keys: values written as bytes that sort in the order of the values.
//!
//! ```text
//! field is there  00
//! null            01
//! false, true     02, 03
//! number          04, float rounded down (8, order-preserving), what is above it (2); zeros at the end are left out
//! string          05, its first bytes
//! moment          06, seconds since year -1 (6), nanoseconds (4); zeros at the end are left out
//! element         09..0e: one of 01..06, of an array
//! term            10, its first bytes
//! ```
//!
//! Numbers and moments are written exactly; different ones have different keys. A string that fills the space for its
//! first bytes may be longer, so its key stands for all strings with these first bytes.

use std::borrow::Cow;
use std::ops::Bound;

use llmspell_core::filter::{Number, instant_nanos};
use llmspell_core::{FieldPath, Metadata, Scalar};
use serde_json::Value;

use super::postings::KeyRange;

pub(super) const EXISTS: u8 = 0;
const NULL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
pub(super) const NUMBER: u8 = 4;
pub(super) const STRING: u8 = 5;
pub(super) const INSTANT: u8 = 6;
/// Added to the first byte of a key if it is an element of an array.
pub(super) const ELEMENT: u8 = 8;
pub(super) const TERM: u8 = 16;

/// Number of a string's first bytes that its key holds; fewer in a field for ranges only.
pub(super) const STRING_BYTES_MAX: usize = 64;
pub(super) const RANGE_STRING_BYTES_MAX: usize = 16;
/// Bytes of the longest key.
pub(super) const KEY_BYTES_MAX: usize = 1 + STRING_BYTES_MAX;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// Before year 0, the first year that a date can have.
const FIRST_SECOND: i128 = -63_000_000_000;

/// How the strings of a field are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strings {
    pub(super) are_dates: bool,
    pub(super) bytes_max: usize,
}

/// The key of a value: exact, or shared with other values that begin with the same bytes.
#[derive(Debug, PartialEq)]
pub(super) enum Key {
    Exact(Vec<u8>),
    Beginning(Vec<u8>),
}

impl Strings {
    /// The key of a value in a field; none for a value that no comparison matches.
    pub(super) fn of_value(self, value: &Value) -> Option<Vec<u8>> {
        match value {
            Value::Null => Some(vec![NULL]),
            Value::Bool(truth) => Some(vec![if *truth { TRUE } else { FALSE }]),
            Value::Number(number) => Some(of_number(number)),
            Value::String(text) if self.are_dates => Some(of_instant(instant_nanos(text)?)),
            Value::String(text) => Some(beginning(STRING, text, self.bytes_max)),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The key of an element of an array.
    pub(super) fn of_element(self, element: &Value) -> Option<Vec<u8>> {
        let mut key = self.of_value(element)?;
        key[0] += ELEMENT;
        Some(key)
    }

    /// The key of a value to compare with; none if no value equals it.
    pub(super) fn of_scalar(self, scalar: &Scalar) -> Option<Key> {
        let value = match scalar {
            Scalar::Null => Value::Null,
            Scalar::Bool(truth) => Value::Bool(*truth),
            Scalar::Number(number) => serde_json::to_value(number).ok()?,
            Scalar::Text(text) => Value::String(text.clone()),
        };
        let key = self.of_value(&value)?;
        let is_exact = key[0] != STRING || key.len() <= self.bytes_max;
        Some(if is_exact { Key::Exact(key) } else { Key::Beginning(key) })
    }
}

/// The key of a term; a term of [`STRING_BYTES_MAX`] bytes or more may share it with others that begin with the same
/// bytes.
pub(super) fn of_term(term: &str) -> Key {
    let key = beginning(TERM, term, STRING_BYTES_MAX);
    match key.len() <= STRING_BYTES_MAX {
        true => Key::Exact(key),
        false => Key::Beginning(key),
    }
}

/// The keys of strings that begin with `prefix`, which is not longer than a key.
pub(super) fn beginning_with(prefix: &str) -> KeyRange {
    let low = beginning(STRING, prefix, prefix.len());
    // The upper bound is the next greater text of the same length; bytes of text are less than 255.
    let mut high = low.clone();
    *high.last_mut().expect("a key has a first byte") += 1;
    (Bound::Included(low), Bound::Excluded(high))
}

/// All keys with a first byte within the bounds.
pub(super) fn all_of(first: u8, last: u8) -> KeyRange {
    (Bound::Included(vec![first]), Bound::Excluded(vec![last + 1]))
}

fn beginning(tag: u8, text: &str, bytes_max: usize) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut key = Vec::with_capacity(1 + bytes.len().min(bytes_max));
    key.push(tag);
    key.extend_from_slice(&bytes[..bytes.len().min(bytes_max)]);
    key
}

fn of_number(number: &serde_json::Number) -> Vec<u8> {
    let integer = number
        .as_i64()
        .map(i128::from)
        .or_else(|| number.as_u64().map(i128::from));
    let (float, above) = match integer {
        Some(integer) => {
            let nearest = integer as f64;
            let float = if nearest as i128 > integer {
                nearest.next_down()
            } else {
                nearest
            };
            (float, integer - float as i128)
        }
        None => (number.as_f64().unwrap_or_default(), 0),
    };
    // Both zeros are one number.
    let bits = (float + 0.0).to_bits();
    let ordered = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
    let mut key = vec![NUMBER];
    key.extend_from_slice(&ordered.to_be_bytes());
    // Two floats around an integer of 64 bits are at most 2,048 apart.
    key.extend_from_slice(&(above as u16).to_be_bytes());
    without_zeros(key)
}

/// The key of an integer.
pub(super) fn of_integer(integer: i64) -> Vec<u8> {
    of_number(&integer.into())
}

fn of_instant(nanos: i128) -> Vec<u8> {
    let seconds = nanos.div_euclid(NANOS_PER_SECOND) - FIRST_SECOND;
    let mut key = vec![INSTANT];
    key.extend_from_slice(&(seconds as u64).to_be_bytes()[2..]);
    key.extend_from_slice(&(nanos.rem_euclid(NANOS_PER_SECOND) as u32).to_be_bytes());
    without_zeros(key)
}

/// The order stays: a missing byte is less than all others, as zero is. The first byte of a number or a moment is never
/// zero.
fn without_zeros(mut key: Vec<u8>) -> Vec<u8> {
    while key.last() == Some(&0) {
        key.pop();
    }
    key
}

/// The scalar of a key; none if the key does not determine it.
pub(super) fn value_of(key: &[u8], bytes_max: usize) -> Option<Scalar> {
    let (tag, rest) = key.split_first()?;
    match *tag {
        NULL => Some(Scalar::Null),
        FALSE | TRUE => Some(Scalar::Bool(*tag == TRUE)),
        NUMBER => Some(Scalar::Number(number_of(rest))),
        STRING if rest.len() < bytes_max => Some(Scalar::Text(std::str::from_utf8(rest).ok()?.to_string())),
        _ => None,
    }
}

/// The integer of a key; none if it is of anything else.
pub(super) fn integer_of(key: &[u8]) -> Option<i64> {
    let (tag, rest) = key.split_first()?;
    let (float, integer) = parts_of(rest);
    let is_integer = *tag == NUMBER && float.fract() == 0.0;
    i64::try_from(integer).ok().filter(|_| is_integer)
}

fn number_of(rest: &[u8]) -> Number {
    let (float, integer) = parts_of(rest);
    match (float.fract() == 0.0, i64::try_from(integer), u64::try_from(integer)) {
        (true, Ok(integer), _) => integer.into(),
        (true, _, Ok(integer)) => integer.into(),
        _ => float.into(),
    }
}

/// The float of a number, and the integer that it is if the float is whole.
fn parts_of(rest: &[u8]) -> (f64, i128) {
    let mut bytes = [0; 10];
    bytes[..rest.len()].copy_from_slice(rest);
    let (ordered, above) = (&bytes[..8], &bytes[8..]);
    let ordered = u64::from_be_bytes(ordered.try_into().expect("8 bytes"));
    let float = f64::from_bits(if ordered >> 63 == 1 {
        ordered & !(1 << 63)
    } else {
        !ordered
    });
    (
        float,
        float as i128 + i128::from(u16::from_be_bytes([above[0], above[1]])),
    )
}

/// A key of an entry in the tree of fields. The tree also holds the times of entries, as outermost keys with names that
/// begin with `@`; so an outermost key of the metadata that begins with `@` gets another `@`.
fn in_tree(key: &str, is_outermost: bool) -> Cow<'_, str> {
    match is_outermost && key.starts_with('@') {
        true => format!("@{key}").into(),
        false => key.into(),
    }
}

/// The keys of a field in the tree.
pub(super) fn keys_of(path: &FieldPath) -> Vec<Cow<'_, str>> {
    match path.own_time() {
        Some(time) => vec![time.name().into()],
        None => {
            let keys = path.keys().iter().enumerate();
            keys.map(|(place, key)| in_tree(key, place == 0)).collect()
        }
    }
}

/// Visits every field of an entry, outer ones first, with its keys from the outermost, and its value.
pub(super) fn fields<'a>(metadata: &'a Metadata, visit: &mut impl FnMut(&[Cow<'a, str>], &'a Value)) {
    let mut path = Vec::new();
    fields_of(metadata, &mut path, visit);
}

/// The recursion is as deep as the metadata, whose depth is limited.
fn fields_of<'a>(
    object: &'a Metadata,
    path: &mut Vec<Cow<'a, str>>,
    visit: &mut impl FnMut(&[Cow<'a, str>], &'a Value),
) {
    for (key, value) in object {
        path.push(in_tree(key, path.is_empty()));
        visit(path, value);
        if let Value::Object(inner) = value {
            fields_of(inner, path, visit);
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn number() -> impl Strategy<Value = serde_json::Number> {
        let border = prop::sample::select(vec![0_i128, 1 << 52, 1 << 53, 1 << 62, 1 << 63, 1 << 64]);
        let near = (border, -3..=3_i128, any::<bool>()).prop_map(|(border, shift, is_negative)| {
            let value = if is_negative { -border } else { border } + shift;
            match (i64::try_from(value), u64::try_from(value)) {
                (Ok(integer), _) => json!(integer),
                (_, Ok(integer)) => json!(integer),
                _ => json!(value as f64),
            }
        });
        let any = prop_oneof![
            near,
            any::<i64>().prop_map(|integer| json!(integer)),
            any::<u64>().prop_map(|integer| json!(integer)),
            prop::num::f64::NORMAL.prop_map(|float| json!(float)),
            (-9..9).prop_map(|halves| json!(f64::from(halves) / 2.0)),
        ];
        any.prop_map(|value| value.as_number().unwrap().clone())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn keys_of_numbers_are_ordered_as_they_are_and_tell_them(a in number(), b in number()) {
            let (left, right) = (Number::from(&a), Number::from(&b));
            prop_assert_eq!(of_number(&a).cmp(&of_number(&b)), left.cmp(&right), "{} {}", a, b);
            prop_assert_eq!(value_of(&of_number(&a), 9), Some(Scalar::Number(left)));
            prop_assert!(of_number(&a).len() <= KEY_BYTES_MAX);
        }

        #[test]
        fn keys_of_moments_are_ordered_as_they_are(
            a in -62_200_000_000_i64..253_402_300_800, b in -2..2_i64, nanos in prop::array::uniform2(0..3_i128),
        ) {
            let moment = |seconds: i64, nanos: i128| i128::from(seconds) * NANOS_PER_SECOND + nanos * 500_000_000;
            let (left, right) = (moment(a, nanos[0]), moment(a + b, nanos[1]));
            prop_assert_eq!(of_instant(left).cmp(&of_instant(right)), left.cmp(&right));
        }
    }

    #[test]
    fn the_first_and_last_dates_have_keys_in_order() {
        let key = |text: &str| of_instant(instant_nanos(text).unwrap());
        assert!(key("0000-01-01") < key("1969-12-31") && key("1970-01-01") < key("9999-12-30"));
        assert!(key("0000-01-01").len() > 1);
    }

    #[test]
    fn a_string_that_fills_its_key_stands_for_all_that_begin_so() {
        let strings = Strings {
            are_dates: false,
            bytes_max: 2,
        };
        assert_eq!(strings.of_scalar(&"a".into()), Some(Key::Exact(b"\x05a".to_vec())));
        assert_eq!(
            strings.of_scalar(&"ab".into()),
            Some(Key::Beginning(b"\x05ab".to_vec()))
        );
        assert_eq!(strings.of_value(&json!("abc")), Some(b"\x05ab".to_vec()));
        assert_eq!(value_of(b"\x05ab", 2), None);
    }
}
