//! The index answers filters as the metadata itself does.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::BTreeMap;

use llmspell_core::{DateFields, FacetValue, FieldPath, Filter, Metadata, Scalar};
use llmspell_metadata::{IndexType, MetadataIndex, MetadataIndexConfig};
use llmspell_testkit::filters as random;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// What happens to an index.
#[derive(Debug, Clone)]
enum Step {
    Insert(u32, Metadata),
    Remove(u32),
    Configure(&'static str, IndexType),
    Distrust(u32),
}

fn points() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..40_u32, 1 => (1 << 18) - 2..(1 << 18) + 2_u32, 1 => u32::MAX - 2..=u32::MAX]
}

fn entry() -> impl Strategy<Value = Metadata> {
    let text = prop::collection::vec(select(vec!["a", "b", "ab", "A", "é"]), 0..9).prop_map(|words| words.join(" "));
    let long = (0..3_usize, select(vec!["x", "y"])).prop_map(|(more, end)| format!("{}{end}", "a".repeat(62 + more)));
    let of = |value: String| Metadata::from_iter([("a".to_string(), json!(value))]);
    prop_oneof![6 => random::metadata(), 2 => text.prop_map(of), 1 => long.prop_map(of)]
}

fn step() -> impl Strategy<Value = Step> {
    let field = select(vec!["a", "b", "a.b", "c.d", "and"]);
    let index_type = select(vec![
        IndexType::Exact,
        IndexType::Range,
        IndexType::FullText,
        IndexType::ArrayContains,
    ]);
    prop_oneof![
        30 => (points(), entry()).prop_map(|(point, metadata)| Step::Insert(point, metadata)),
        8 => points().prop_map(Step::Remove),
        1 => (field, index_type).prop_map(|(field, index_type)| Step::Configure(field, index_type)),
        1 => points().prop_map(Step::Distrust),
    ]
}

fn filters() -> impl Strategy<Value = Vec<Filter>> {
    let long = (60..68_usize, select(vec!["x", "y", ""])).prop_map(|(len, end)| format!("{}{end}", "a".repeat(len)));
    let of_long = (long, 0..5_u8).prop_map(|(text, form)| match form {
        0 => Filter::eq("a", text),
        1 => Filter::starts_with("a", text),
        2 => Filter::matches_text("a", text),
        3 => Filter::lt("a", text),
        _ => Filter::not(Filter::ge("a", text)),
    });
    prop::collection::vec(prop_oneof![6 => random::filter(), 1 => of_long], 8)
}

fn dates() -> DateFields {
    DateFields::of(["when"]).unwrap()
}

/// What is in an index, as a map.
type Model = BTreeMap<u32, Metadata>;

fn run(index: &mut MetadataIndex, model: &mut Model, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Insert(point, metadata) => {
                if let Some(before) = model.insert(point, metadata.clone()) {
                    index.remove(point, &before);
                }
                index.insert(point, &metadata);
            }
            Step::Remove(point) => {
                if let Some(before) = model.remove(&point) {
                    index.remove(point, &before);
                }
            }
            Step::Configure(field, index_type) => index.configure_field(field, index_type).unwrap(),
            Step::Distrust(point) if model.contains_key(&point) => index.distrust(&[point].into_iter().collect()),
            Step::Distrust(_) => {}
        }
    }
}

/// Nothing is missed, nothing is called sure that does not match, and after looking the answers are equal.
fn check(index: &MetadataIndex, model: &Model, filter: &Filter) -> Result<(), TestCaseError> {
    let compiled = filter.compile(&dates()).unwrap();
    let expected: Vec<u32> = model
        .iter()
        .filter(|(_, metadata)| compiled.matches(metadata))
        .map(|(point, _)| *point)
        .collect();
    let Some(found) = index.candidates(filter).unwrap() else {
        prop_assert_eq!(index.cardinality(filter).unwrap(), None);
        return Ok(());
    };
    prop_assert!(found.unsure.is_subset(&found.points), "{}", filter);
    prop_assert_eq!(found.is_exact, found.unsure.is_empty());
    prop_assert!(
        found.points.iter().all(|point| model.contains_key(&point)),
        "{}",
        filter
    );
    let looked = |point: &u32| !found.unsure.contains(*point) || compiled.matches(&model[point]);
    let got: Vec<u32> = found.points.iter().filter(looked).collect();
    prop_assert_eq!(&got, &expected, "{}", filter);
    let count = found.is_exact.then_some(expected.len() as u64);
    prop_assert_eq!(index.cardinality(filter).unwrap(), count);
    Ok(())
}

fn facet_of(model: &Model, path: &FieldPath) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for value in model.values().filter_map(|metadata| path.find(metadata)) {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let scalars = values.iter().filter_map(|value| Scalar::try_from(value).ok());
        let different: std::collections::HashSet<Scalar> = scalars.collect();
        for scalar in different {
            *counts.entry(spelled(&scalar)).or_default() += 1;
        }
    }
    counts
}

/// One spelling for equal numbers.
fn spelled(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Number(number) if number.to_f64_lossy().abs() < 1.0e15 => format!("{:?}", number.to_f64_lossy() + 0.0),
        other => other.to_string(),
    }
}

fn check_facet(index: &MetadataIndex, model: &Model, path: &FieldPath) -> Result<(), TestCaseError> {
    let Some(found) = index.facet(path, None, usize::MAX) else {
        return Ok(());
    };
    prop_assert!(found.is_sorted_by(|a, b| a.count >= b.count));
    let mut got = BTreeMap::new();
    for FacetValue { value, count } in found {
        // Beyond 1.0e15 a float and an integer that are equal are spelled differently.
        *got.entry(spelled(&value)).or_default() += count;
    }
    let expected = facet_of(model, path);
    prop_assert_eq!(got.values().sum::<u64>(), expected.values().sum::<u64>());
    for (value, count) in &expected {
        if !value.contains('e') && value.len() < 15 {
            prop_assert_eq!(got.get(value), Some(count), "{} {}", path, value);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn an_index_answers_as_the_metadata_does(steps in prop::collection::vec(step(), 0..120), filters in filters()) {
        let mut index = MetadataIndex::new(MetadataIndexConfig::default());
        index.configure_field("when", IndexType::Date).unwrap();
        let mut model = Model::new();
        run(&mut index, &mut model, steps);
        for filter in &filters {
            check(&index, &model, filter)?;
        }
        for field in ["a", "b", "a.b", "and"] {
            check_facet(&index, &model, &field.into())?;
        }
    }

    #[test]
    fn a_learned_index_is_exact_where_values_are_short((filter, entries) in random::comparison_and_entries()) {
        let mut index = MetadataIndex::new(MetadataIndexConfig::default());
        index.configure_field("when", IndexType::Date).unwrap();
        index.configure_field("when", IndexType::ArrayContains).unwrap();
        let model: Model = (0..).zip(entries).collect();
        model.iter().for_each(|(point, metadata)| index.insert(*point, metadata));
        check(&index, &model, &filter)?;
        let longest = model.values().flat_map(Metadata::values).map(|value| value.to_string().len()).max();
        let written = filter.to_string();
        if longest < Some(12) && !written.contains("when") {
            prop_assert!(index.candidates(&filter).unwrap().is_some_and(|found| found.is_exact), "{}", written);
        }
    }

    #[test]
    fn an_index_that_gives_up_most_still_answers(
        steps in prop::collection::vec(step(), 0..120), filters in filters(), bytes in 0..20_000_usize,
    ) {
        let mut index = MetadataIndex::new(MetadataIndexConfig { bytes, bytes_per_point: 0 });
        index.configure_field("when", IndexType::Date).unwrap();
        let mut model = Model::new();
        run(&mut index, &mut model, steps);
        for filter in &filters {
            check(&index, &model, filter)?;
        }
    }

    #[test]
    fn a_copy_does_not_change_with_its_original(
        before in prop::collection::vec(step(), 0..200), after in prop::collection::vec(step(), 0..60),
        filters in filters(),
    ) {
        let mut index = MetadataIndex::new(MetadataIndexConfig::default());
        index.configure_field("when", IndexType::Date).unwrap();
        let mut model = Model::new();
        run(&mut index, &mut model, before);
        let (copy, copied) = (index.clone(), model.clone());
        run(&mut index, &mut model, after);
        for filter in &filters {
            check(&copy, &copied, filter)?;
            check(&index, &model, filter)?;
        }
    }
}

/// Pages are cut in two, lists become sets and lists again, and all of it ends empty.
#[test]
fn many_values_of_many_points_come_and_go() {
    let entry = |point: u32| {
        let value = json!({"unique": point, "few": point % 7, "word": format!("w{} w{}", point % 900, point % 3)});
        value.as_object().unwrap().clone()
    };
    let mut index = MetadataIndex::new(MetadataIndexConfig::default());
    index.configure_field("word", IndexType::FullText).unwrap();
    let mut model = Model::new();
    let order = |step: u32| (0..20_000).map(move |number: u32| number * step % 20_000);
    for point in order(7_919) {
        index.insert(point, &entry(point));
        model.insert(point, entry(point));
    }
    let filters = [
        "unique between 100 and 12000",
        "few = 3 and unique >= 19000",
        "word matches \"w17 w2\"",
        "not few < 5",
        "unique < 50 or few in [1, 2.0, \"x\"]",
        "word matches \"w1\" and unique < 3000",
    ];
    for (round, point) in order(4_007).enumerate() {
        if round % 4_000 == 0 {
            for filter in filters {
                check(&index, &model, &filter.parse().unwrap()).unwrap();
            }
            check_facet(&index, &model, &"few".into()).unwrap();
        }
        index.remove(point, &entry(point));
        model.remove(&point);
    }
    assert!(index.points().is_empty());
    assert!(
        index.memory_bytes() < 10_000,
        "{} bytes of nothing",
        index.memory_bytes()
    );
    assert!(
        index
            .candidates(&Filter::exists("few"))
            .unwrap()
            .unwrap()
            .points
            .is_empty()
    );
}

#[test]
fn what_is_nearly_all_different_is_given_up_first() {
    let mut index = MetadataIndex::new(MetadataIndexConfig {
        bytes: 60_000,
        bytes_per_point: 8,
    });
    for point in 0..20_000_u32 {
        let id = format!("{:08x}", point.wrapping_mul(2_654_435_761));
        let lang = if point % 2 == 0 { "de" } else { "en" };
        let entry = json!({"id": id, "lang": lang});
        index.insert(point, entry.as_object().unwrap());
        assert!(index.memory_bytes() <= 60_000 + 8 * (point as usize + 1));
    }
    let of = |filter: Filter| index.candidates(&filter).unwrap();
    assert!(of(Filter::eq("lang", "de")).unwrap().is_exact);
    assert_eq!(of(Filter::eq("id", "00000000")), None, "all have to be looked at");
    assert_eq!(
        of(Filter::eq("lang", "de").and(Filter::eq("id", "0")))
            .unwrap()
            .points
            .len(),
        10_000
    );
    let lang = index.facet(&"lang".into(), None, 1).unwrap();
    assert_eq!((lang[0].value.clone(), lang[0].count), ("de".into(), 10_000));
}

#[test]
fn more_fields_than_are_learned_are_looked_at() {
    let mut index = MetadataIndex::new(MetadataIndexConfig {
        bytes: usize::MAX,
        bytes_per_point: 0,
    });
    let mut model = Model::new();
    for point in 0..300_u32 {
        let entry: Metadata = [(format!("f{point:03}"), Value::from(1))].into_iter().collect();
        index.insert(point, &entry);
        model.insert(point, entry);
    }
    for field in ["f000", "f255", "f256", "f299", "none"] {
        check(&index, &model, &Filter::eq(field, 1)).unwrap();
        check(&index, &model, &Filter::ne(field, 1)).unwrap();
    }
    assert!(index.candidates(&Filter::eq("f255", 1)).unwrap().unwrap().is_exact);
    assert_eq!(index.candidates(&Filter::eq("f256", 1)).unwrap(), None);
}

#[test]
fn a_bad_filter_or_path_is_refused() {
    let mut index = MetadataIndex::new(MetadataIndexConfig::default());
    assert!(index.configure_field("a..b", IndexType::Exact).is_err());
    index.configure_field("when", IndexType::Date).unwrap();
    assert!(index.candidates(&Filter::eq("when", 5)).is_err());
    assert!(index.candidates(&Filter::eq("a", f64::NAN)).is_err());
}
