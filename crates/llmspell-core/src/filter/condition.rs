//! [`Filter`]: the conditions, and functions that build them.

use std::mem;

use serde::Serialize;

use super::any_value::compared;
use super::path::FieldPath;
use super::scalar::Scalar;

/// A condition on the metadata of an entry; the [module](crate::filter) says what each one means.
///
/// These functions build any filter; [`validate`](Self::validate) and [`compile`](Self::compile) report what is wrong
/// with it. Until then the nesting of a filter built in code is not bounded, and `clone`, `==` and `Debug` recurse as
/// deeply as it does; dropping and writing it do not recurse. Filters read from text or JSON are bounded at once.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// Every entry.
    All,
    /// The field equals the value.
    Eq {
        /// Which field.
        field: FieldPath,
        /// Value to equal.
        value: Scalar,
    },
    /// Not [`Eq`](Self::Eq): true also if the field is missing.
    Ne {
        /// Which field.
        field: FieldPath,
        /// Value not to equal.
        value: Scalar,
    },
    /// The field equals one of the values. Without values it matches nothing.
    In {
        /// Which field.
        field: FieldPath,
        /// Values to equal; their order and repetitions do not matter.
        values: Vec<Scalar>,
    },
    /// The field is less than the value, a number or a string.
    Lt {
        /// Which field.
        field: FieldPath,
        /// Bound, excluded.
        value: Scalar,
    },
    /// The field is less than the value, a number or a string, or equals it.
    Le {
        /// Which field.
        field: FieldPath,
        /// Bound, included.
        value: Scalar,
    },
    /// The field is greater than the value, a number or a string.
    Gt {
        /// Which field.
        field: FieldPath,
        /// Bound, excluded.
        value: Scalar,
    },
    /// The field is greater than the value, a number or a string, or equals it.
    Ge {
        /// Which field.
        field: FieldPath,
        /// Bound, included.
        value: Scalar,
    },
    /// The field lies between two numbers or two strings, both included.
    Between {
        /// Which field.
        field: FieldPath,
        /// Lower bound.
        low: Scalar,
        /// Upper bound, not below the lower one.
        high: Scalar,
    },
    /// The field exists, with any value, null included.
    Exists {
        /// Which field.
        field: FieldPath,
    },
    /// The field exists and is null.
    IsNull {
        /// Which field.
        field: FieldPath,
    },
    /// The field is an array, and one of its elements equals the value.
    Contains {
        /// Which field.
        field: FieldPath,
        /// Element to find.
        value: Scalar,
    },
    /// The field is a string that begins with these bytes. Every string begins with the empty one.
    StartsWith {
        /// Which field.
        field: FieldPath,
        /// First bytes.
        prefix: String,
    },
    /// The field is a string that has every one of the [`terms`](super::terms) of the text, in any order.
    MatchesText {
        /// Which field.
        field: FieldPath,
        /// Text with at least one term.
        text: String,
    },
    /// All conditions hold; at least one.
    And(Vec<Filter>),
    /// Some condition holds; at least one.
    Or(Vec<Filter>),
    /// The condition does not hold.
    Not(Box<Filter>),
}

/// Values are anything that serde writes as null, a boolean, a number or a string: `json!("x")`, an enum, a
/// [`Timestamp`](crate::Timestamp). A value with parts, such as an array, is refused when the filter is checked.
///
/// ```
/// # use llmspell_core::Filter;
/// let filter = Filter::eq("lang", "en") & (Filter::ge("year", 2026) | !Filter::exists("year"));
/// assert_eq!(filter, "lang = \"en\" and (year >= 2026 or not exists year)".parse()?);
/// # Ok::<(), llmspell_core::FilterError>(())
/// ```
impl Filter {
    /// Every entry.
    #[must_use]
    pub fn all() -> Self {
        Self::All
    }

    /// The field equals the value.
    pub fn eq(field: impl Into<FieldPath>, value: impl Serialize) -> Self {
        let (field, [value]) = compared(field.into(), [&value]);
        Self::Eq { field, value }
    }

    /// The field does not equal the value, or is missing.
    pub fn ne(field: impl Into<FieldPath>, value: impl Serialize) -> Self {
        let (field, [value]) = compared(field.into(), [&value]);
        Self::Ne { field, value }
    }

    /// The field equals one of the values.
    pub fn is_in<V: Serialize>(field: impl Into<FieldPath>, values: impl IntoIterator<Item = V>) -> Self {
        let mut field = field.into();
        let values = values.into_iter().map(|value| {
            let (checked, [value]) = compared(field.clone(), [&value]);
            field = checked;
            value
        });
        Self::In {
            values: values.collect(),
            field,
        }
    }

    /// The field is less than the value.
    pub fn lt(field: impl Into<FieldPath>, value: impl Serialize) -> Self {
        let (field, [value]) = compared(field.into(), [&value]);
        Self::Lt { field, value }
    }

    /// The field is at most the value.
    pub fn le(field: impl Into<FieldPath>, value: impl Serialize) -> Self {
        let (field, [value]) = compared(field.into(), [&value]);
        Self::Le { field, value }
    }

    /// The field is greater than the value.
    pub fn gt(field: impl Into<FieldPath>, value: impl Serialize) -> Self {
        let (field, [value]) = compared(field.into(), [&value]);
        Self::Gt { field, value }
    }

    /// The field is at least the value.
    pub fn ge(field: impl Into<FieldPath>, value: impl Serialize) -> Self {
        let (field, [value]) = compared(field.into(), [&value]);
        Self::Ge { field, value }
    }

    /// The field lies between the two values, both included.
    pub fn between(field: impl Into<FieldPath>, low: impl Serialize, high: impl Serialize) -> Self {
        let (field, [low, high]) = compared(field.into(), [&low, &high]);
        Self::Between { field, low, high }
    }

    /// The field exists, null included.
    pub fn exists(field: impl Into<FieldPath>) -> Self {
        Self::Exists { field: field.into() }
    }

    /// The field exists and is null.
    pub fn is_null(field: impl Into<FieldPath>) -> Self {
        Self::IsNull { field: field.into() }
    }

    /// The field is an array with this element.
    pub fn contains(field: impl Into<FieldPath>, value: impl Serialize) -> Self {
        let (field, [value]) = compared(field.into(), [&value]);
        Self::Contains { field, value }
    }

    /// The field is a string with these first bytes.
    pub fn starts_with(field: impl Into<FieldPath>, prefix: impl Into<String>) -> Self {
        Self::StartsWith {
            field: field.into(),
            prefix: prefix.into(),
        }
    }

    /// The field is a string with all terms of the text.
    pub fn matches_text(field: impl Into<FieldPath>, text: impl Into<String>) -> Self {
        Self::MatchesText {
            field: field.into(),
            text: text.into(),
        }
    }

    /// All conditions hold. A single condition is returned as it is; an empty list is refused when the filter is
    /// checked.
    pub fn all_of(conditions: impl IntoIterator<Item = Filter>) -> Self {
        only_or_many(conditions.into_iter().collect(), Self::And)
    }

    /// Some condition holds. A single condition is returned as it is; an empty list is refused when the filter is
    /// checked.
    pub fn any_of(conditions: impl IntoIterator<Item = Filter>) -> Self {
        only_or_many(conditions.into_iter().collect(), Self::Or)
    }

    /// The condition does not hold.
    #[expect(clippy::should_implement_trait, reason = "the trait is there too, as `!condition`")]
    #[must_use]
    pub fn not(condition: Filter) -> Self {
        Self::Not(Box::new(condition))
    }

    /// Both hold. A conjunction gets one more condition instead of nesting deeper.
    #[must_use]
    pub fn and(mut self, other: Filter) -> Self {
        if let Self::And(conditions) = &mut self {
            conditions.push(other);
            return self;
        }
        Self::And(vec![self, other])
    }

    /// One of both holds. A disjunction gets one more condition instead of nesting deeper.
    #[must_use]
    pub fn or(mut self, other: Filter) -> Self {
        if let Self::Or(conditions) = &mut self {
            conditions.push(other);
            return self;
        }
        Self::Or(vec![self, other])
    }
}

/// [`and`](Filter::and).
impl std::ops::BitAnd for Filter {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.and(other)
    }
}

/// [`or`](Filter::or).
impl std::ops::BitOr for Filter {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

impl std::ops::Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

/// A loop, so that a deeply nested filter is dropped without a deep stack.
impl Drop for Filter {
    fn drop(&mut self) {
        let mut rest = Vec::new();
        take_conditions(self, &mut rest);
        while let Some(mut filter) = rest.pop() {
            take_conditions(&mut filter, &mut rest);
        }
    }
}

fn take_conditions(filter: &mut Filter, rest: &mut Vec<Filter>) {
    match filter {
        Filter::And(conditions) | Filter::Or(conditions) => rest.append(conditions),
        Filter::Not(condition) => rest.push(mem::replace(&mut **condition, Filter::All)),
        Filter::All
        | Filter::Eq { .. }
        | Filter::Ne { .. }
        | Filter::In { .. }
        | Filter::Lt { .. }
        | Filter::Le { .. }
        | Filter::Gt { .. }
        | Filter::Ge { .. }
        | Filter::Between { .. }
        | Filter::Exists { .. }
        | Filter::IsNull { .. }
        | Filter::Contains { .. }
        | Filter::StartsWith { .. }
        | Filter::MatchesText { .. } => {}
    }
}

fn only_or_many(mut conditions: Vec<Filter>, many: fn(Vec<Filter>) -> Filter) -> Filter {
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        Some(last) => {
            conditions.push(last);
            many(conditions)
        }
        None => many(conditions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_nests_no_deeper_and_one_condition_is_itself() {
        let a = || Filter::exists("a");
        assert_eq!(a().and(a()).and(a()), Filter::And(vec![a(), a(), a()]));
        assert_eq!(a().or(a()).or(a()), Filter::Or(vec![a(), a(), a()]));
        assert_eq!(a().and(a()).or(a()), Filter::Or(vec![Filter::And(vec![a(), a()]), a()]));
        assert_eq!(Filter::all_of([a()]), a());
        assert_eq!(Filter::any_of([]), Filter::Or(vec![]));
        assert_eq!(!a(), Filter::not(a()));
        assert_eq!(a() & a() & a(), a().and(a()).and(a()));
        assert_eq!(a() | a() & !a(), a().or(a().and(Filter::not(a()))));
    }

    #[test]
    fn a_nest_of_a_million_levels_is_dropped_and_refused() {
        let nots = (0..1_000_000).fold(Filter::all(), |inner, _| Filter::not(inner));
        let ands = (0..1_000_000).fold(nots, |inner, _| Filter::And(vec![inner, Filter::exists("a")]));
        let error = ands.validate().unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("the filter has 33 levels; at most 32 are allowed"),
            "{error}"
        );
    }
}
