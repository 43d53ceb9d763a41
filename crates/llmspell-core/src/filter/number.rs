//! [`Number`]: integers and floats that compare exactly.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Serialize, Serializer};

/// A number as in JSON: an integer within `i64::MIN..=u64::MAX`, or a float.
///
/// Numbers are ordered, equal and hashed by their exact value, in whichever form they are stored: `1` equals `1.0`,
/// `-0.0` equals `0`, and 2^53 + 1 lies between the floats 2^53 and 2^53 + 2. NaN, which JSON does not have, is a
/// single value above all others, so that the order is total; a filter with NaN is refused.
#[derive(Clone, Copy)]
pub struct Number(Form);

#[derive(Clone, Copy)]
enum Form {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

impl Number {
    /// Whether it is neither NaN nor infinite. Integers are always finite.
    #[must_use]
    pub fn is_finite(self) -> bool {
        match self.0 {
            Form::Signed(_) | Form::Unsigned(_) => true,
            Form::Float(float) => float.is_finite(),
        }
    }

    /// The nearest float, for estimates and display: beyond 2^53 integers lose digits.
    #[must_use]
    pub fn to_f64_lossy(self) -> f64 {
        match self.0 {
            Form::Signed(integer) => integer as f64,
            Form::Unsigned(integer) => integer as f64,
            Form::Float(float) => float,
        }
    }

    /// A number of JSON text: an integer if it has digits only and fits, else the nearest float, as `serde_json` reads
    /// it.
    pub(super) fn from_json_text(text: &str) -> Option<Self> {
        if let Ok(integer) = text.parse::<i64>() {
            return Some(integer.into());
        }
        if let Ok(integer) = text.parse::<u64>() {
            return Some(integer.into());
        }
        text.parse::<f64>().ok().map(Into::into)
    }
}

macro_rules! from {
    ($($wide:ident($inner:ty): $($narrow:ty)+;)+) => {$($(
        impl From<$narrow> for Number {
            fn from(value: $narrow) -> Self {
                Self(Form::$wide(value as $inner))
            }
        }
    )+)+};
}

// Every cast here widens.
from! {
    Signed(i64): i8 i16 i32 i64 isize;
    Unsigned(u64): u8 u16 u32 u64 usize;
    Float(f64): f32 f64;
}

impl From<&serde_json::Number> for Number {
    fn from(number: &serde_json::Number) -> Self {
        if let Some(integer) = number.as_i64() {
            return integer.into();
        }
        if let Some(integer) = number.as_u64() {
            return integer.into();
        }
        // With arbitrary precision, `serde_json` has numbers without a float; they are outside of its range.
        number.as_f64().unwrap_or(f64::NAN).into()
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0, other.0) {
            (Form::Signed(a), Form::Signed(b)) => a.cmp(&b),
            (Form::Float(a), Form::Float(b)) => floats(a, b),
            (Form::Float(a), b) => integer_and_float(whole(b), a).reverse(),
            (a, Form::Float(b)) => integer_and_float(whole(a), b),
            (a, b) => whole(a).cmp(&whole(b)),
        }
    }
}

/// Only for the integer forms; a float gives its integer part.
fn whole(form: Form) -> i128 {
    match form {
        Form::Signed(integer) => i128::from(integer),
        Form::Unsigned(integer) => i128::from(integer),
        Form::Float(float) => float as i128,
    }
}

fn floats(a: f64, b: f64) -> Ordering {
    // Incomparable means that one is NaN.
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn integer_and_float(integer: i128, float: f64) -> Ordering {
    if float.is_nan() {
        return Ordering::Less;
    }
    // The cast rounds toward zero and saturates far beyond every integer of the other side.
    integer.cmp(&(float as i128)).then_with(|| floats(0.0, float.fract()))
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Number {}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            Form::Float(float) if float.is_nan() => u64::MAX.hash(state),
            // Beyond that the cast saturates, and no integer equals the float.
            Form::Float(float) if float.fract() != 0.0 || float.abs() > 1.0e38 => float.to_bits().hash(state),
            form => whole(form).hash(state),
        }
    }
}

impl fmt::Display for Number {
    /// As in JSON, so that it reads back exactly; `NaN` and `inf` for values that JSON does not have.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Form::Signed(integer) => write!(f, "{integer}"),
            Form::Unsigned(integer) => write!(f, "{integer}"),
            Form::Float(float) => write!(f, "{float:?}"),
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Number {
    /// # Errors
    ///
    /// For NaN and infinity, which most formats would turn into null.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Form::Signed(integer) => serializer.serialize_i64(integer),
            Form::Unsigned(integer) => serializer.serialize_u64(integer),
            Form::Float(float) if float.is_finite() => serializer.serialize_f64(float),
            Form::Float(float) => Err(serde::ser::Error::custom(format_args!("JSON has no number {float}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::*;

    fn around_the_borders() -> impl Strategy<Value = Number> {
        let border = prop::sample::select(vec![0_i128, 1 << 52, 1 << 53, 1 << 54, 1 << 62, 1 << 63, 1 << 64]);
        (border, -2..=2_i128, any::<bool>(), 0..4_u8).prop_map(|(border, shift, is_negative, form)| {
            let value = if is_negative { -border } else { border } + shift;
            match (form, i64::try_from(value), u64::try_from(value)) {
                (0, Ok(integer), _) => integer.into(),
                (1, _, Ok(integer)) => integer.into(),
                (2, ..) => (value as f64 + 0.5).into(),
                _ => (value as f64).into(),
            }
        })
    }

    fn number() -> impl Strategy<Value = Number> {
        prop_oneof![
            4 => around_the_borders(),
            1 => any::<i64>().prop_map(Number::from),
            1 => any::<u64>().prop_map(Number::from),
            2 => prop::num::f64::ANY.prop_map(Number::from),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_order_is_total_and_equal_numbers_hash_equal(mut three in prop::array::uniform3(number())) {
            three.sort();
            let [a, b, c] = three;
            prop_assert!(a <= b && b <= c && a <= c, "{a} {b} {c}");
            for (a, b) in [(a, b), (b, c), (a, c)] {
                prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
                if a == b {
                    let hasher = RandomState::new();
                    prop_assert_eq!(hasher.hash_one(a), hasher.hash_one(b), "{} {}", a, b);
                }
            }
        }

        #[test]
        fn a_finite_number_reads_back_from_its_text(number in number()) {
            prop_assume!(number.is_finite());
            let text = number.to_string();
            let json: serde_json::Number = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Number::from_json_text(&text).unwrap(), number);
            prop_assert_eq!(Number::from(&json), number);
        }
    }

    #[test]
    fn integers_beyond_2_to_the_53_are_not_rounded() {
        let big = (1_i64 << 53) + 1;
        let (below, above) = ((1_i64 << 53) as f64, ((1_i64 << 53) + 2) as f64);
        assert!(Number::from(below) < Number::from(big) && Number::from(big) < Number::from(above));
        assert!(
            Number::from(u64::MAX) < Number::from(u64::MAX as f64),
            "the float is 2^64"
        );
        assert_eq!(Number::from(i64::MIN), Number::from(i64::MIN as f64));
        assert!(Number::from(-1) < Number::from(u64::MAX));
        assert!(Number::from(-1) < Number::from(-0.5) && Number::from(-0.5) < Number::from(0));
        assert_eq!(Number::from(1_u8), Number::from(1.0));
        assert_eq!(Number::from(-0.0), Number::from(0));
        assert!(Number::from(f64::INFINITY) > Number::from(u64::MAX));
        assert!(Number::from(f64::NAN) > Number::from(f64::INFINITY));
    }
}
