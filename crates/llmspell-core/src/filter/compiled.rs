//! [`CompiledFilter`]: decides whether an entry matches.

use std::collections::HashSet;
use std::ops::{Bound, RangeBounds};

use serde_json::Value;

use super::condition::Filter;
use super::dates::{DateFields, instant_nanos};
use super::error::FilterError;
use super::number::Number;
use super::path::FieldPath;
use super::scalar::Scalar;
use super::terms::terms;
use super::times::{EntryTimes, OwnTime};
use crate::fields::Metadata;

/// A filter that was checked and prepared for deciding about many entries.
///
/// Sets are hashed or sorted, dates and terms are parsed once, cheap conditions come first. An `in` of any length takes
/// one look-up per entry.
#[derive(Debug, Clone)]
pub struct CompiledFilter(Node);

impl Filter {
    /// Checks and prepares the filter; `dates` are the fields whose strings are dates.
    ///
    /// Takes time in proportion to the filter, `n log n` for the numbers of an `in`.
    ///
    /// # Errors
    ///
    /// The first problem, as [`validate_with`](Self::validate_with) reports it.
    pub fn compile(&self, dates: &DateFields) -> Result<CompiledFilter, FilterError> {
        self.validate_with(dates)?;
        Ok(CompiledFilter(node(&self.in_millis(), dates)))
    }
}

impl CompiledFilter {
    /// Whether an entry with this metadata, and without times, matches. Never fails: a value of another type does not
    /// match.
    #[must_use]
    pub fn matches(&self, metadata: &Metadata) -> bool {
        self.matches_with(metadata, &EntryTimes::default())
    }

    /// Whether an entry with this metadata and these times matches.
    #[must_use]
    pub fn matches_with(&self, metadata: &Metadata, times: &EntryTimes) -> bool {
        self.0.matches(metadata, times)
    }
}

#[derive(Debug, Clone)]
enum Node {
    All,
    Test { field: FieldPath, test: Test },
    Time { time: OwnTime, test: Test },
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
}

/// A test of a value that exists.
#[derive(Debug, Clone)]
enum Test {
    Exists,
    Equals(Scalar),
    EqualsInstant(i128),
    OneOf(Box<OneOf>),
    Numbers(Range<Number>),
    Texts(Range<String>),
    Instants(Range<i128>),
    Contains(Box<Test>),
    StartsWith(String),
    HasTerms(Vec<String>),
}

type Range<T> = (Bound<T>, Bound<T>);

#[derive(Debug, Clone, Default)]
struct OneOf {
    null: bool,
    truths: [bool; 2],
    /// Sorted.
    numbers: Vec<Number>,
    texts: HashSet<String>,
    /// Sorted; used instead of the texts in date fields.
    instants: Vec<i128>,
}

/// The filter is valid, so its depth is bounded and every date parses.
fn node(filter: &Filter, dates: &DateFields) -> Node {
    let test = |field: &FieldPath, test| match field.own_time() {
        Some(time) => Node::Time { time, test },
        None => Node::Test {
            field: field.clone(),
            test,
        },
    };
    let range = |field: &FieldPath, low: Bound<&Scalar>, high: Bound<&Scalar>| {
        test(field, self::range(low, high, dates.contains(field)))
    };
    let equals = |field: &FieldPath, value: &Scalar| self::equals(value, dates.contains(field));
    match filter {
        Filter::All => Node::All,
        Filter::Eq { field, value } => test(field, equals(field, value)),
        Filter::Ne { field, value } => Node::Not(Box::new(test(field, equals(field, value)))),
        Filter::In { field, values } => test(field, Test::OneOf(Box::new(one_of(values, dates.contains(field))))),
        Filter::Lt { field, value } => range(field, Bound::Unbounded, Bound::Excluded(value)),
        Filter::Le { field, value } => range(field, Bound::Unbounded, Bound::Included(value)),
        Filter::Gt { field, value } => range(field, Bound::Excluded(value), Bound::Unbounded),
        Filter::Ge { field, value } => range(field, Bound::Included(value), Bound::Unbounded),
        Filter::Between { field, low, high } => range(field, Bound::Included(low), Bound::Included(high)),
        Filter::Exists { field } => test(field, Test::Exists),
        Filter::IsNull { field } => test(field, Test::Equals(Scalar::Null)),
        Filter::Contains { field, value } => test(field, Test::Contains(Box::new(equals(field, value)))),
        Filter::StartsWith { field, prefix } => test(field, Test::StartsWith(prefix.clone())),
        Filter::MatchesText { field, text } => test(field, Test::HasTerms(sorted_terms(text))),
        Filter::And(conditions) => Node::And(nodes(conditions, dates)),
        Filter::Or(conditions) => Node::Or(nodes(conditions, dates)),
        Filter::Not(condition) => Node::Not(Box::new(node(condition, dates))),
    }
}

/// Cheap ones first; the order changes no answer.
fn nodes(conditions: &[Filter], dates: &DateFields) -> Vec<Node> {
    let mut nodes: Vec<Node> = conditions.iter().map(|condition| node(condition, dates)).collect();
    nodes.sort_by_cached_key(Node::cost);
    nodes
}

fn equals(value: &Scalar, is_date_field: bool) -> Test {
    match value {
        Scalar::Text(text) if is_date_field => Test::EqualsInstant(instant(text)),
        other => Test::Equals(other.clone()),
    }
}

fn instant(text: &str) -> i128 {
    instant_nanos(text).expect("validation lets only dates through")
}

fn one_of(values: &[Scalar], is_date_field: bool) -> OneOf {
    let mut set = OneOf::default();
    for value in values {
        match value {
            Scalar::Null => set.null = true,
            Scalar::Bool(truth) => set.truths[usize::from(*truth)] = true,
            Scalar::Number(number) => set.numbers.push(*number),
            Scalar::Text(text) if is_date_field => set.instants.push(instant(text)),
            Scalar::Text(text) => drop(set.texts.insert(text.clone())),
        }
    }
    set.numbers.sort_unstable();
    set.instants.sort_unstable();
    set
}

/// Validation made sure that both bounds are of one type.
fn range(low: Bound<&Scalar>, high: Bound<&Scalar>, is_date_field: bool) -> Test {
    let (Bound::Included(one) | Bound::Excluded(one)) = (if low == Bound::Unbounded { high } else { low }) else {
        unreachable!("a range has a bound");
    };
    let text = |value: &Scalar| match value {
        Scalar::Text(text) => text.clone(),
        other => unreachable!("validation lets no {} stand beside a string", other.type_name()),
    };
    match one {
        Scalar::Text(_) if is_date_field => {
            let instant = |value: &Scalar| instant(&text(value));
            Test::Instants((low.map(instant), high.map(instant)))
        }
        Scalar::Text(_) => Test::Texts((low.map(text), high.map(text))),
        Scalar::Null | Scalar::Bool(_) | Scalar::Number(_) => {
            let number = |value: &Scalar| match value {
                Scalar::Number(number) => *number,
                other => unreachable!("validation lets no {} be a bound of numbers", other.type_name()),
            };
            Test::Numbers((low.map(number), high.map(number)))
        }
    }
}

fn sorted_terms(text: &str) -> Vec<String> {
    let mut sorted: Vec<String> = terms(text).map(Into::into).collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

impl Node {
    fn matches(&self, metadata: &Metadata, times: &EntryTimes) -> bool {
        match self {
            Self::All => true,
            Self::Test { field, test } => field.find(metadata).is_some_and(|value| test.passes(value)),
            Self::Time { time, test } => times.value(*time).is_some_and(|value| test.passes(&value)),
            Self::And(nodes) => nodes.iter().all(|node| node.matches(metadata, times)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(metadata, times)),
            Self::Not(node) => !node.matches(metadata, times),
        }
    }

    /// Rough cost of one decision, in reads of a value.
    fn cost(&self) -> usize {
        match self {
            Self::All => 0,
            Self::Test { field, test } => field.keys().len() + test.cost(),
            Self::Time { test, .. } => test.cost(),
            Self::And(nodes) | Self::Or(nodes) => nodes.iter().map(Self::cost).sum(),
            Self::Not(node) => node.cost(),
        }
    }
}

impl Test {
    fn passes(&self, value: &Value) -> bool {
        match self {
            Self::Exists => true,
            Self::Equals(wanted) => match (value, wanted) {
                (Value::Null, Scalar::Null) => true,
                (Value::Bool(truth), Scalar::Bool(wanted)) => truth == wanted,
                (Value::Number(number), Scalar::Number(wanted)) => Number::from(number) == *wanted,
                (Value::String(text), Scalar::Text(wanted)) => text == wanted,
                _ => false,
            },
            Self::EqualsInstant(wanted) => moment(value) == Some(*wanted),
            Self::OneOf(set) => set.has(value),
            Self::Numbers(range) => matches!(value, Value::Number(number) if range.contains(&number.into())),
            Self::Texts(range) => matches!(value, Value::String(text) if range.contains(text)),
            Self::Instants(range) => moment(value).is_some_and(|moment| range.contains(&moment)),
            Self::Contains(test) => value
                .as_array()
                .is_some_and(|array| array.iter().any(|value| test.passes(value))),
            Self::StartsWith(prefix) => matches!(value, Value::String(text) if text.starts_with(prefix)),
            Self::HasTerms(wanted) => matches!(value, Value::String(text) if has_terms(text, wanted)),
        }
    }

    fn cost(&self) -> usize {
        match self {
            Self::Exists => 0,
            Self::Equals(_) | Self::Numbers(_) | Self::Texts(_) | Self::StartsWith(_) => 1,
            Self::OneOf(_) => 2,
            Self::EqualsInstant(_) | Self::Instants(_) => 4,
            Self::Contains(test) => 8 * test.cost(),
            Self::HasTerms(_) => 32,
        }
    }
}

fn moment(value: &Value) -> Option<i128> {
    instant_nanos(value.as_str()?)
}

impl OneOf {
    fn has(&self, value: &Value) -> bool {
        match value {
            Value::Null => self.null,
            Value::Bool(truth) => self.truths[usize::from(*truth)],
            Value::Number(number) => self.numbers.binary_search(&number.into()).is_ok(),
            Value::String(text) if self.texts.contains(text) => true,
            Value::String(text) if !self.instants.is_empty() => {
                instant_nanos(text).is_some_and(|moment| self.instants.binary_search(&moment).is_ok())
            }
            Value::String(_) | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

/// Whether the text has all the terms, which are sorted and different.
fn has_terms(text: &str, wanted: &[String]) -> bool {
    let mut is_missing = vec![true; wanted.len()];
    let mut missing = wanted.len();
    for term in terms(text) {
        if let Ok(place) = wanted.binary_search_by(|wanted| wanted.as_str().cmp(&term))
            && is_missing[place]
        {
            is_missing[place] = false;
            missing -= 1;
            if missing == 0 {
                return true;
            }
        }
    }
    false
}
