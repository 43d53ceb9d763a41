//! Serializing any serde value to a [`Scalar`].

use std::fmt;

use serde::ser::{Impossible, Serialize, Serializer};

use super::number::Number;
use super::path::FieldPath;
use super::scalar::Scalar;

const HAS_PARTS: &str = "it is compared with an array or an object; a filter compares with null, a boolean, a number or a \
                         string";

/// Why a value is no scalar: it has parts, or its type refuses to be serialized.
#[derive(Debug)]
struct NoScalar;

impl fmt::Display for NoScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HAS_PARTS)
    }
}

impl std::error::Error for NoScalar {}

impl serde::ser::Error for NoScalar {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// A field and the values to compare it with. If a value is no scalar, the field carries that problem until the filter
/// is checked.
pub(super) fn compared<const COUNT: usize>(
    field: FieldPath,
    values: [&dyn ErasedScalar; COUNT],
) -> (FieldPath, [Scalar; COUNT]) {
    let mut scalars = values.map(ErasedScalar::scalar);
    match scalars.iter().all(Option::is_some) {
        true => (
            field,
            scalars.each_mut().map(|scalar| scalar.take().unwrap_or(Scalar::Null)),
        ),
        false => (field.refused(HAS_PARTS), [const { Scalar::Null }; COUNT]),
    }
}

/// The scalar that a value is for serde, if it is one.
pub(super) trait ErasedScalar {
    fn scalar(&self) -> Option<Scalar>;
}

impl<T: Serialize> ErasedScalar for T {
    fn scalar(&self) -> Option<Scalar> {
        self.serialize(Scalars).ok()
    }
}

struct Scalars;

type No = Impossible<Scalar, NoScalar>;

macro_rules! numbers {
    ($($name:ident: $of:ty),*) => {$(
        fn $name(self, value: $of) -> Result<Scalar, NoScalar> {
            Ok(Scalar::Number(value.into()))
        }
    )*};
}

impl Serializer for Scalars {
    type Ok = Scalar;
    type Error = NoScalar;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = No;
    type SerializeStructVariant = No;

    numbers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_f32: f32, serialize_f64: f64
    );

    /// An integer of 128 bits: exact if JSON can hold it, else the nearest float.
    fn serialize_i128(self, value: i128) -> Result<Scalar, NoScalar> {
        let number = i64::try_from(value)
            .map(Number::from)
            .or_else(|_| u64::try_from(value).map(Number::from));
        Ok(Scalar::Number(number.unwrap_or_else(|_| (value as f64).into())))
    }

    /// An integer of 128 bits: exact if JSON can hold it, else the nearest float.
    fn serialize_u128(self, value: u128) -> Result<Scalar, NoScalar> {
        Ok(Scalar::Number(
            u64::try_from(value).map_or_else(|_| (value as f64).into(), Number::from),
        ))
    }

    fn serialize_bool(self, value: bool) -> Result<Scalar, NoScalar> {
        Ok(Scalar::Bool(value))
    }

    fn serialize_char(self, value: char) -> Result<Scalar, NoScalar> {
        Ok(Scalar::Text(value.into()))
    }

    fn serialize_str(self, value: &str) -> Result<Scalar, NoScalar> {
        Ok(Scalar::Text(value.to_string()))
    }

    fn serialize_none(self) -> Result<Scalar, NoScalar> {
        Ok(Scalar::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Scalar, NoScalar> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Scalar, NoScalar> {
        Ok(Scalar::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Scalar, NoScalar> {
        Ok(Scalar::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Scalar, NoScalar> {
        Ok(Scalar::Text(variant.to_string()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Scalar, NoScalar> {
        value.serialize(self)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Scalar, NoScalar> {
        Err(NoScalar)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Scalar, NoScalar> {
        Err(NoScalar)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<No, NoScalar> {
        Err(NoScalar)
    }

    fn serialize_tuple(self, _: usize) -> Result<No, NoScalar> {
        Err(NoScalar)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<No, NoScalar> {
        Err(NoScalar)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<No, NoScalar> {
        Err(NoScalar)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<No, NoScalar> {
        Err(NoScalar)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<No, NoScalar> {
        Err(NoScalar)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<No, NoScalar> {
        Err(NoScalar)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<Scalar, NoScalar> {
        Ok(Scalar::Text(value.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::filter::{Filter, Scalar};
    use crate::timestamp::Timestamp;

    #[derive(serde::Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Lang {
        En,
    }

    #[derive(serde::Serialize)]
    struct Year(u16);

    fn value(filter: &Filter) -> Scalar {
        match filter {
            Filter::Eq { value, .. } => value.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_of_every_type_are_those_of_their_json() {
        let text = |text: &str| Scalar::Text(text.to_string());
        assert_eq!(value(&Filter::eq("a", json!("x"))), text("x"));
        assert_eq!(value(&Filter::eq("a", json!(1.5))), Scalar::from(1.5));
        assert_eq!(value(&Filter::eq("a", json!(null))), Scalar::Null);
        assert_eq!(value(&Filter::eq("a", Lang::En)), text("en"));
        assert_eq!(value(&Filter::eq("a", Year(2026))), Scalar::from(2026));
        assert_eq!(value(&Filter::eq("a", Some("x"))), text("x"));
        assert_eq!(value(&Filter::eq("a", None::<u8>)), Scalar::Null);
        assert_eq!(value(&Filter::eq("a", 'x')), text("x"));
        assert_eq!(value(&Filter::eq("a", u128::from(u64::MAX))), Scalar::from(u64::MAX));
        let moment = Timestamp::from_millis(0);
        assert_eq!(value(&Filter::eq("a", moment)), text("1970-01-01T00:00:00Z"));
        assert_eq!(value(&Filter::eq("a", Scalar::Bool(true))), Scalar::Bool(true));
        assert_eq!(
            Filter::is_in("a", [json!(1), json!("x")]),
            r#"a in [1, "x"]"#.parse().unwrap()
        );
    }

    #[test]
    fn a_value_with_parts_is_refused_when_the_filter_is_checked() {
        let empty: [u8; 0] = [];
        for filter in [
            Filter::eq("tags", json!(["a"])),
            Filter::ge("tags", json!({"a": 1})),
            Filter::between("tags", 1, [2]),
            Filter::contains("tags", empty.as_slice()),
            Filter::is_in("tags", [json!(1), json!([1])]),
        ] {
            let error = filter.validate().unwrap_err().to_string();
            assert!(
                error.contains("`tags`") && error.contains("it is compared with an array or an object"),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_scalar_of_json_is_the_same_by_both_ways(
            json in prop_oneof![
                any::<bool>().prop_map(Value::from),
                any::<i64>().prop_map(Value::from),
                any::<u64>().prop_map(Value::from),
                any::<f64>().prop_map(Value::from),
                any::<String>().prop_map(Value::from),
            ]
        ) {
            prop_assert_eq!(value(&Filter::eq("a", &json)), Scalar::try_from(&json).unwrap());
        }
    }
}
