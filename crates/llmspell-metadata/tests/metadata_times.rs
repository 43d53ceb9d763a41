//! The index answers filters on times as the entries themselves do.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::collections::BTreeMap;

use llmspell_core::{DateFields, EntryTimes, Filter, Metadata, OwnTime, Timestamp};
use llmspell_metadata::{IndexType, MetadataIndex, MetadataIndexConfig};
use llmspell_testkit::filters as random;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

type Model = BTreeMap<u32, (Metadata, EntryTimes)>;

/// What happens to an index.
#[derive(Debug, Clone)]
enum Step {
    Insert(u32, Metadata, EntryTimes),
    Remove(u32),
    Index(OwnTime),
    Fill(u32),
    Distrust(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let point = || 0..40_u32;
    prop_oneof![
        20 => (point(), random::metadata(), random::times()).prop_map(|(point, of, times)| Step::Insert(point, of, times)),
        6 => point().prop_map(Step::Remove),
        2 => select(OwnTime::ALL.to_vec()).prop_map(Step::Index),
        10 => point().prop_map(Step::Fill),
        1 => point().prop_map(Step::Distrust),
    ]
}

fn run(index: &mut MetadataIndex, model: &mut Model, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Insert(point, metadata, times) => {
                if let Some((before, of_before)) = model.insert(point, (metadata.clone(), times)) {
                    index.remove_with_times(point, &before, &of_before);
                }
                index.insert_with_times(point, &metadata, &times);
            }
            Step::Remove(point) => {
                if let Some((before, times)) = model.remove(&point) {
                    index.remove_with_times(point, &before, &times);
                }
            }
            Step::Index(time) => index.index_time(time),
            Step::Fill(point) => {
                if let Some((_, times)) = model.get(&point) {
                    index.fill_times(point, times);
                }
            }
            Step::Distrust(point) if model.contains_key(&point) => index.distrust(&[point].into_iter().collect()),
            Step::Distrust(_) => {}
        }
    }
}

/// Nothing is missed, nothing is called sure that does not match, and after looking the answers are equal.
fn check(index: &MetadataIndex, model: &Model, filter: &Filter) -> Result<(), TestCaseError> {
    let compiled = filter.compile(&DateFields::of(["when"]).unwrap()).unwrap();
    let matches = |point: u32| {
        let (metadata, times) = &model[&point];
        compiled.matches_with(metadata, times)
    };
    let expected: Vec<u32> = model.keys().copied().filter(|point| matches(*point)).collect();
    let Some(found) = index.candidates(filter).unwrap() else {
        return Ok(());
    };
    prop_assert!(found.unsure.is_subset(&found.points), "{}", filter);
    let looked_at = found.points.iter();
    let looked_at = looked_at.filter(|point| !found.unsure.contains(*point) || matches(*point));
    prop_assert_eq!(looked_at.collect::<Vec<_>>(), expected, "{}", filter);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn an_index_answers_as_metadata_and_times_do(
        steps in prop::collection::vec(step(), 0..120), filters in prop::collection::vec(random::filter(), 8),
        bytes in prop_oneof![Just(1 << 20), 0..20_000_usize],
    ) {
        let mut index = MetadataIndex::new(MetadataIndexConfig { bytes, bytes_per_point: 0 });
        index.configure_field("when", IndexType::Date).unwrap();
        let mut model = Model::new();
        run(&mut index, &mut model, steps);
        for filter in &filters {
            check(&index, &model, filter)?;
        }
    }
}

fn at(event: i64) -> EntryTimes {
    EntryTimes {
        event_time: (event % 3 != 0).then(|| Timestamp::from_millis(event)),
        created_at: Some(Timestamp::from_millis(1_795_341_600_000 + event / 100)),
        updated_at: None,
    }
}

/// A time costs nothing until it is indexed; then it is exact once all points have said theirs.
#[test]
fn a_time_is_indexed_once_it_is_asked_for_and_then_counts_are_exact() {
    let of = |point: u32| json!({"@event_time": point % 7}).as_object().unwrap().clone();
    let mut index = MetadataIndex::new(MetadataIndexConfig::default());
    (0..5_000).for_each(|point| index.insert_with_times(point, &of(point), &at(point.into())));
    let bytes = index.memory_bytes();
    let filter: Filter = "@event_time >= 1000 and @event_time < \"1970-01-01T00:00:02.5Z\""
        .parse()
        .unwrap();
    assert!(!index.has_time(OwnTime::Event));
    assert_eq!(index.candidates(&filter).unwrap(), None, "all have to be looked at");

    index.index_time(OwnTime::Event);
    assert_eq!(index.cardinality(&filter).unwrap(), None);
    for point in 0..5_000 {
        index.fill_times(point, &at(point.into()));
    }
    assert_eq!(index.cardinality(&filter).unwrap(), Some(1_000));
    let count = |text: &str| index.cardinality(&text.parse().unwrap()).unwrap();
    assert_eq!(count("not exists @event_time"), Some(1_667));
    assert_eq!(count("@event_time between 10 and 20 and \"@event_time\" = 3"), Some(2));
    assert_eq!(count("@created_at > 0"), None);
    let per_point = (index.memory_bytes() - bytes) / 5_000;
    assert!((2..16).contains(&per_point), "{per_point} bytes per point");

    index.index_time(OwnTime::Event);
    assert_eq!(
        index.cardinality(&filter).unwrap(),
        Some(1_000),
        "it was indexed already"
    );
    index.insert_with_times(5_000, &of(0), &at(1_001));
    assert_eq!(index.cardinality(&filter).unwrap(), Some(1_001));
    index.remove_with_times(5_000, &of(0), &at(1_001));
    assert_eq!(index.cardinality(&filter).unwrap(), Some(1_000));
    assert!(index.configure_field("@event_time", IndexType::Range).is_err());
    assert!(index.facet(&"@updated_at".into(), None, 9).is_none());
}
