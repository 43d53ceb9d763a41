//! Filters mean what is written, in every form.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

mod naive;

use llmspell_core::filter::terms;
use llmspell_core::{DateFields, EntryTimes, FieldPath, Filter};
use llmspell_testkit::filters::{self as random, filter, metadata};
use proptest::prelude::*;
use serde_json::json;

fn dates() -> DateFields {
    DateFields::of(["when"]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_compiled_filter_decides_like_its_definition(
        filter in filter(), entries in prop::collection::vec((metadata(), random::times()), 8),
    ) {
        let compiled = filter.compile(&dates()).unwrap();
        for (entry, times) in entries {
            let expected = naive::matches(&filter, &entry, &times);
            prop_assert_eq!(compiled.matches_with(&entry, &times), expected, "{} {:?} {:?}", filter, entry, times);
        }
    }

    #[test]
    fn times_as_numbers_of_milliseconds_decide_alike(filter in filter(), entry in metadata(), times in random::times()) {
        let matches = |filter: &Filter| filter.compile(&dates()).unwrap().matches_with(&entry, &times);
        let in_millis = filter.in_millis();
        prop_assert_eq!(matches(&in_millis), matches(&filter), "{} {}", filter, in_millis);
    }

    #[test]
    fn a_comparison_decides_like_its_definition((filter, entries) in random::comparison_and_entries()) {
        let compiled = filter.compile(&dates()).unwrap();
        for entry in entries {
            let expected = naive::matches(&filter, &entry, &EntryTimes::default());
            prop_assert_eq!(compiled.matches(&entry), expected, "{} {:?}", filter, entry);
        }
    }

    #[test]
    fn not_is_a_complement(filter in filter(), entry in metadata()) {
        let matches = |filter: &Filter| filter.compile(&dates()).unwrap().matches(&entry);
        prop_assert_eq!(matches(&Filter::not(filter.clone())), !matches(&filter));
    }

    #[test]
    fn the_text_form_reads_back(filter in filter()) {
        let text = filter.to_string();
        let read = Filter::parse(&text, &dates());
        prop_assert_eq!(read.as_ref(), Ok(&filter), "{}", text);
        prop_assert_eq!(read.unwrap().to_string(), text);
    }

    #[test]
    fn the_json_form_reads_back(filter in filter()) {
        let json = serde_json::to_value(&filter).unwrap();
        let read = Filter::from_json(&json);
        prop_assert_eq!(read.as_ref(), Ok(&filter), "{}", json);
        let text = serde_json::to_string(&filter).unwrap();
        prop_assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter, "{}", text);
    }

    #[test]
    fn any_text_is_a_filter_or_an_error_within_it(text in random::text()) {
        check_text(&text)?;
    }

    #[test]
    fn any_bytes_are_a_filter_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_text(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn a_spoiled_filter_is_a_filter_or_an_error(filter in filter(), spoils in random::spoils()) {
        check_text(&random::spoiled(&filter.to_string(), &spoils))?;
    }

    #[test]
    fn any_json_is_a_filter_or_an_error(json in random::json_almost_a_filter()) {
        if let Ok(filter) = Filter::from_json(&json) {
            prop_assert!(filter.validate().is_ok());
            check_text(&filter.to_string())?;
        }
    }
}

/// What is read is valid and reads back; what is refused names a column of the text.
fn check_text(text: &str) -> Result<(), TestCaseError> {
    use llmspell_core::filter::FilterPlace;
    match Filter::parse(text, &dates()) {
        Ok(filter) => {
            prop_assert!(filter.validate_with(&dates()).is_ok(), "{}", text);
            prop_assert_eq!(Filter::parse(&filter.to_string(), &dates()).unwrap(), filter);
        }
        Err(error) => {
            let FilterPlace::Column(column) = *error.place() else {
                return Err(TestCaseError::fail(format!("{text}: {error}")));
            };
            prop_assert!((1..=text.chars().count() + 1).contains(&column), "{} {}", text, error);
        }
    }
    Ok(())
}

/// The table of the module, line by line.
#[test]
fn missing_null_and_arrays_are_as_the_table_says() {
    let of = |value: serde_json::Value| json!({ "a": value }).as_object().unwrap().clone();
    let entries = [
        serde_json::Map::new(),
        of(json!(null)),
        of(json!([1])),
        of(json!(1)),
        of(json!(2)),
        of(json!("t u")),
    ];
    for (text, expected) in [
        ("a = 1", [false, false, false, true, false, false]),
        ("a in [1]", [false, false, false, true, false, false]),
        ("a in []", [false; 6]),
        ("a = null", [false, true, false, false, false, false]),
        ("a is null", [false, true, false, false, false, false]),
        ("a != 1", [true, true, true, false, true, true]),
        ("not a in [1]", [true, true, true, false, true, true]),
        ("a != null", [true, false, true, true, true, true]),
        ("a >= 1", [false, false, false, true, true, false]),
        ("not a >= 1", [true, true, true, false, false, true]),
        ("a < \"u\"", [false, false, false, false, false, true]),
        ("a between 2 and 2.5", [false, false, false, false, true, false]),
        ("exists a", [false, true, true, true, true, true]),
        ("exists a and a != 1", [false, true, true, false, true, true]),
        ("a contains 1.0", [false, false, true, false, false, false]),
        ("a starts with \"t\"", [false, false, false, false, false, true]),
        ("a starts with \"u\"", [false; 6]),
        ("a matches \"U T\"", [false, false, false, false, false, true]),
        ("a matches \"u v\"", [false; 6]),
        ("true", [true; 6]),
    ] {
        let filter = text.parse::<Filter>().unwrap().compile(&DateFields::none()).unwrap();
        assert_eq!(
            entries.each_ref().map(|entry| filter.matches(entry)),
            expected,
            "{text}"
        );
    }
}

#[test]
fn a_nest_of_a_million_levels_is_written_without_a_deep_stack() {
    let nested = (0..1_000_000).fold(Filter::exists("a"), |inner, _| Filter::not(inner));
    assert_eq!(nested.to_string().len(), "not ".len() * 1_000_000 + "exists a".len());
    assert!(nested.compile(&dates()).is_err());
    assert!(serde_json::to_string(&nested).is_err());
}

#[test]
fn what_cannot_be_written_does_not_panic() {
    for filter in [
        Filter::all_of([]),
        Filter::not(Filter::any_of([])).and(Filter::all_of([])),
        Filter::eq("a..b", f64::NAN),
        Filter::exists(FieldPath::of_keys::<&str>([])),
        Filter::And(vec![Filter::Or(vec![Filter::all()])]),
    ] {
        assert!(!filter.to_string().is_empty(), "{filter:?}");
        let _ = serde_json::to_string(&filter);
    }
    assert_eq!(terms("").next(), None);
}
