//! Random filters with entries that they often match, and texts that are almost filters.

use llmspell_core::{DateFields, EntryTimes, FieldPath, Filter, Metadata, OwnTime, Scalar, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

fn field() -> impl Strategy<Value = FieldPath> {
    prop_oneof![6 => metadata_field(), 1 => select(OwnTime::ALL.to_vec()).prop_map(FieldPath::from)]
}

/// Paths that occur in entries, paths that never do, and keys that must be quoted.
fn metadata_field() -> impl Strategy<Value = FieldPath> {
    let met = select(vec![
        "a",
        "a",
        "a",
        "a",
        "b",
        "b",
        "a.b",
        "a.b.a",
        "when",
        "when",
        "\"a.b\"",
        "\"\"",
        "a.when",
        "and",
        "\"@event_time\"",
    ]);
    let odd = prop::collection::vec(r#"[a-bNOT0-9_$@. "\\é\n-]{0,4}"#, 1..4);
    prop_oneof![9 => met.prop_map(FieldPath::from), 1 => odd.prop_map(FieldPath::of_keys)]
}

/// Multiples of 1/1024, many of them near the integers that floats begin to skip.
fn number() -> impl Strategy<Value = Value> {
    let border = select(vec![0_i128, 1 << 52, 1 << 53, 1 << 63, 1 << 64]);
    (border, -1..=1_i128, any::<bool>(), 0..4_u8).prop_map(|(border, shift, is_negative, form)| {
        let value = if is_negative { -border } else { border } + shift;
        match (form, i64::try_from(value), u64::try_from(value)) {
            (0 | 1, Ok(integer), _) => json!(integer),
            (0 | 1, _, Ok(integer)) => json!(integer),
            (2, ..) => json!(value as f64 + 0.5),
            _ => json!(value as f64),
        }
    })
}

fn date() -> impl Strategy<Value = String> {
    let day = (
        select(vec![1970, 1999, 2000, 2024, 2025]),
        select(vec![(1, 1), (2, 28), (3, 1), (12, 31)]),
    );
    let time = (select(vec![0, 1, 22, 23]), select(vec![0, 30]), select(vec![0, 1, 999]));
    let offset = select(vec!["Z", "+00:00", "+01:00", "-01:30", "+23:00", "date only"]);
    (day, time, offset).prop_map(|((year, (month, day)), (hour, minute, milli), offset)| {
        let day = format!("{year}-{month:02}-{day:02}");
        match offset {
            "date only" => day,
            offset => format!("{day}T{hour:02}:{minute:02}:00.{milli:03}{offset}"),
        }
    })
}

fn words() -> impl Strategy<Value = String> {
    let odd = select(vec!["a", "A", "ab", "é", "É", "日", "1", " ", "-", "\"", "\\", "\n"]);
    prop_oneof![
        4 => prop::collection::vec(select(vec!["a", "B", " "]), 0..4).prop_map(|parts| parts.concat()),
        2 => prop::collection::vec(odd, 0..6).prop_map(|parts| parts.concat()),
        1 => any::<String>(),
    ]
}

fn scalar_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        4 => number(),
        2 => words().prop_map(Value::from),
        2 => date().prop_map(Value::from),
    ]
}

/// An entry with few keys, so that the paths above often exist.
pub fn metadata() -> impl Strategy<Value = Metadata> {
    let key = || select(vec!["a", "b", "when", "a.b", "", "and", "@event_time"]);
    let value = scalar_json().prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..4).prop_map(|fields| fields
                .into_iter()
                .map(|(key, value)| (key.to_string(), value))
                .collect()),
        ]
    });
    prop::collection::btree_map(key(), value, 0..7).prop_map(|fields| {
        fields
            .into_iter()
            .map(|(key, value)| (key.to_string(), value))
            .collect()
    })
}

fn millis() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => date().prop_map(|text| match text.parse::<Timestamp>() {
            Ok(moment) => moment.as_millis(),
            // A day alone.
            Err(_) => 0,
        }),
        2 => -2..2_i64,
        1 => select(vec![i64::MIN, i64::MAX, 1 << 53]),
    ]
}

/// The times of an entry.
pub fn times() -> impl Strategy<Value = EntryTimes> {
    prop::array::uniform3(prop::option::of(millis().prop_map(Timestamp::from_millis))).prop_map(
        |[event_time, created_at, updated_at]| EntryTimes {
            event_time,
            created_at,
            updated_at,
        },
    )
}

/// A value that may be compared with the field.
fn scalar(field: &FieldPath) -> BoxedStrategy<Scalar> {
    if field.own_time().is_some() {
        let halves = (-4..4_i8).prop_map(|halves| Scalar::from(f64::from(halves) / 2.0));
        return prop_oneof![date().prop_map(Scalar::from), millis().prop_map(Scalar::from), halves].boxed();
    }
    if *field.keys() == ["when"] {
        return prop_oneof![8 => date().prop_map(Scalar::from), 1 => Just(Scalar::Null)].boxed();
    }
    scalar_json()
        .prop_map(|value| Scalar::try_from(&value).unwrap())
        .boxed()
}

/// A comparison, and entries that all have its field.
pub fn comparison_and_entries() -> impl Strategy<Value = (Filter, Vec<Metadata>)> {
    metadata_field().prop_flat_map(|field| {
        let value =
            prop_oneof![3 => scalar_json(), 1 => prop::collection::vec(scalar_json(), 0..4).prop_map(Value::from)];
        let keys = field.keys().to_vec();
        let entry = value.prop_map(move |value| {
            let (first, inner) = keys.split_first().unwrap();
            let value = inner.iter().rev().fold(value, |value, key| json!({ key: value }));
            Metadata::from_iter([(first.clone(), value)])
        });
        (comparison_of(&field), prop::collection::vec(entry, 8))
    })
}

fn comparison() -> impl Strategy<Value = Filter> {
    field().prop_flat_map(|field| comparison_of(&field))
}

fn comparison_of(field: &FieldPath) -> impl Strategy<Value = Filter> + use<> {
    let values = prop::collection::vec(scalar(field), 0..6);
    (
        Just(field.clone()),
        0..14_usize,
        scalar(field),
        scalar(field),
        values,
        words(),
    )
        .prop_filter_map("an invalid comparison", |(field, form, value, other, values, text)| {
            let filter = match form {
                0 => Filter::eq(field, value),
                1 => Filter::ne(field, value),
                2 => Filter::lt(field, value),
                3 => Filter::le(field, value),
                4 => Filter::gt(field, value),
                5 => Filter::ge(field, value),
                6 => Filter::between(field, value, other),
                7 => Filter::contains(field, value),
                8 => Filter::is_in(field, values),
                9 => Filter::exists(field),
                10 => Filter::is_null(field),
                11 => Filter::starts_with(field, text),
                12 => Filter::matches_text(field, text),
                _ => Filter::all(),
            };
            let dates = DateFields::of(["when"]).unwrap();
            filter.validate_with(&dates).is_ok().then_some(filter)
        })
}

/// A valid filter; `when` holds dates.
pub fn filter() -> impl Strategy<Value = Filter> {
    comparison().prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5).prop_map(Filter::all_of),
            prop::collection::vec(inner.clone(), 1..5).prop_map(Filter::any_of),
            inner.prop_map(Filter::not),
        ]
    })
}

const SCRAPS: [&str; 47] = [
    "a",
    "when",
    "a.b",
    "@event_time",
    "@created_at",
    "@",
    "\"a b\"",
    ".",
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "==",
    "and",
    "OR",
    "not",
    "(",
    ")",
    "[",
    "]",
    ",",
    "in",
    "between",
    "is",
    "null",
    "exists",
    "contains",
    "starts",
    "with",
    "matches",
    "true",
    "false",
    "1",
    "-0.5e3",
    "1e999",
    "0x",
    "\"",
    "\\",
    "\\u12",
    "\"x\"",
    "\"2026-01-01\"",
    "é",
    "'",
    "\n",
    "{",
];

/// Words of the language in any order, or any text.
pub fn text() -> impl Strategy<Value = String> {
    let scraps = (prop::collection::vec(select(SCRAPS.to_vec()), 0..16), any::<bool>());
    prop_oneof![
        3 => scraps.prop_map(|(scraps, is_spaced)| scraps.join(if is_spaced { " " } else { "" })),
        1 => any::<String>(),
    ]
}

/// Edits that may break a text: where, and whether to remove, insert or cut off.
pub fn spoils() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, &'static str)>> {
    prop::collection::vec(
        (any::<prop::sample::Index>(), 0..4_usize, select(SCRAPS.to_vec())),
        1..4,
    )
}

/// The text with each edit applied in turn.
#[must_use]
pub fn spoiled(text: &str, spoils: &[(prop::sample::Index, usize, &'static str)]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for (place, form, scrap) in spoils {
        let at = place.index(characters.len() + 1);
        let end = (at + form).min(characters.len());
        characters.splice(at..end, scrap.chars().take(if *form == 3 { 0 } else { usize::MAX }));
    }
    characters.into_iter().collect()
}

/// JSON with the operators and members of filters, in any arrangement.
pub fn json_almost_a_filter() -> impl Strategy<Value = Value> {
    let names = [
        "all",
        "eq",
        "in",
        "between",
        "exists",
        "contains",
        "starts_with",
        "matches_text",
        "and",
        "or",
        "not",
        "field",
        "value",
        "values",
        "low",
        "high",
        "prefix",
        "text",
        "like",
    ];
    let broken = scalar_json().prop_recursive(4, 24, 4, move |inner| {
        let named = (select(names.to_vec()), inner.clone()).prop_map(|(name, inner)| json!({ name: inner }));
        prop_oneof![
            3 => named,
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            1 => (inner.clone(), inner).prop_map(|(field, value)| json!({"field": field, "value": value})),
        ]
    });
    let mixed = (prop::collection::vec(filter(), 0..3), broken.clone(), any::<bool>()).prop_map(
        |(filters, broken, has_broken)| {
            let mut conditions: Vec<Value> = filters.iter().map(|filter| json!(filter)).collect();
            conditions.extend(has_broken.then_some(broken));
            json!({ "and": conditions })
        },
    );
    prop_oneof![broken, mixed]
}
