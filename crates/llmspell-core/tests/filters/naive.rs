//! What every condition means, in the plainest way: no compiling, no sorting, numbers as fixed-point integers.

use std::cmp::Ordering;

use llmspell_core::{EntryTimes, FieldPath, Filter, Metadata, OwnTime, Scalar, Timestamp};
use serde_json::{Value, json};

/// `when` is the only field that holds dates.
pub(crate) fn matches(filter: &Filter, metadata: &Metadata, times: &EntryTimes) -> bool {
    let value = |field: &FieldPath| match field.own_time() {
        Some(time) => time_of(times, time).map(Value::from),
        None => find(field.keys(), &Value::Object(metadata.clone())),
    };
    let order = |field: &FieldPath, wanted: &Scalar| match (field.own_time(), wanted) {
        (Some(time), Scalar::Text(wanted)) => Some(time_of(times, time)?.cmp(&millis(wanted)?)),
        _ => order(&value(field)?, wanted, is_date(field)),
    };
    match filter {
        Filter::All => true,
        Filter::Eq { field, value } => order(field, value) == Some(Ordering::Equal),
        Filter::Ne { field, value } => order(field, value) != Some(Ordering::Equal),
        Filter::In { field, values } => values.iter().any(|value| order(field, value) == Some(Ordering::Equal)),
        Filter::Lt { field, value } => order(field, value) == Some(Ordering::Less),
        Filter::Le { field, value } => matches!(order(field, value), Some(Ordering::Less | Ordering::Equal)),
        Filter::Gt { field, value } => order(field, value) == Some(Ordering::Greater),
        Filter::Ge { field, value } => matches!(order(field, value), Some(Ordering::Greater | Ordering::Equal)),
        Filter::Between { field, low, high } => {
            matches!(order(field, low), Some(Ordering::Greater | Ordering::Equal))
                && matches!(order(field, high), Some(Ordering::Less | Ordering::Equal))
        }
        Filter::Exists { field } => value(field).is_some(),
        Filter::IsNull { field } => value(field) == Some(Value::Null),
        Filter::Contains { field, value: wanted } => match value(field) {
            Some(Value::Array(elements)) => {
                let mut orders = elements
                    .iter()
                    .map(|element| self::order(element, wanted, is_date(field)));
                orders.any(|order| order == Some(Ordering::Equal))
            }
            _ => false,
        },
        Filter::StartsWith { field, prefix } => match value(field) {
            Some(Value::String(text)) => text.as_bytes().starts_with(prefix.as_bytes()),
            _ => false,
        },
        Filter::MatchesText { field, text } => match value(field) {
            Some(Value::String(found)) => words(text).iter().all(|word| words(&found).contains(word)),
            _ => false,
        },
        Filter::And(conditions) => !conditions.iter().any(|condition| !matches(condition, metadata, times)),
        Filter::Or(conditions) => conditions.iter().any(|condition| matches(condition, metadata, times)),
        Filter::Not(condition) => !matches(condition, metadata, times),
        _ => panic!("a form that this evaluator does not know: {filter}"),
    }
}

fn time_of(times: &EntryTimes, time: OwnTime) -> Option<i64> {
    let moment = match time {
        OwnTime::Event => times.event_time,
        OwnTime::Created => times.created_at,
        OwnTime::Updated => times.updated_at,
        _ => panic!("a time that this evaluator does not know: {time:?}"),
    };
    moment.map(Timestamp::as_millis)
}

fn is_date(field: &FieldPath) -> bool {
    *field.keys() == ["when"]
}

fn find(keys: &[String], value: &Value) -> Option<Value> {
    let Some((key, inner)) = keys.split_first() else {
        return Some(value.clone());
    };
    match value {
        Value::Object(fields) => find(inner, fields.get(key)?),
        _ => None,
    }
}

/// None if the two have different types. Only equality counts for booleans and null.
fn order(found: &Value, wanted: &Scalar, is_date: bool) -> Option<Ordering> {
    match (found, wanted) {
        (Value::Null, Scalar::Null) => Some(Ordering::Equal),
        (Value::Bool(found), Scalar::Bool(wanted)) => Some(found.cmp(wanted)),
        (Value::Number(_), Scalar::Number(_)) => Some(thousandths(found).cmp(&thousandths(&json!(wanted)))),
        (Value::String(found), Scalar::Text(wanted)) if is_date => Some(millis(found)?.cmp(&millis(wanted)?)),
        (Value::String(found), Scalar::Text(wanted)) => Some(found.as_bytes().cmp(wanted.as_bytes())),
        _ => None,
    }
}

/// The number in steps of 1/1024: exact for the integers and the floats of these tests.
fn thousandths(number: &Value) -> i128 {
    if let Some(integer) = number.as_u64() {
        return i128::from(integer) << 10;
    }
    if let Some(integer) = number.as_i64() {
        return i128::from(integer) << 10;
    }
    let steps = number.as_f64().unwrap() * 1024.0;
    assert!(
        steps.fract() == 0.0 && steps.abs() < 1.0e30,
        "{number} is no multiple of 1/1024"
    );
    steps as i128
}

/// Milliseconds of a date as `random` writes it: a day, or a day, a time and an offset.
fn millis(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let days = (1970..year).map(|year| 365 + leap(year)).sum::<i64>()
        + (1..month)
            .map(|month| [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30][month as usize - 1])
            .sum::<i64>()
        + day
        - 1;
    if text.len() == 10 {
        return Some(days * 86_400_000);
    }
    let time = number(11, 13)? * 3_600_000 + number(14, 16)? * 60_000 + number(17, 19)? * 1000 + number(20, 23)?;
    let offset = match &text[23..] {
        "Z" => 0,
        sign => {
            let minutes = number(24, 26)? * 60 + number(27, 29)?;
            if sign.starts_with('-') { -minutes } else { minutes }
        }
    };
    Some(days * 86_400_000 + time - offset * 60_000)
}

fn leap(year: i64) -> i64 {
    i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
}

fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for character in text.chars() {
        if character.is_alphanumeric() {
            words.last_mut().unwrap().extend(character.to_lowercase());
        } else {
            words.push(String::new());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
