//! SQL decides as compiled filters do: random filters on random metadata.

use llmspell_core::{DateFields, EntryTimes, Filter, HNSWConfig, Metadata, StateScope, Timestamp, VectorEntry};
use llmspell_testkit::filters;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::json;

use super::common::{drop_schema, open, with_server};

const ENTRIES: usize = 120;
const FILTERS: usize = 250;

fn strange() -> Vec<Metadata> {
    let values = [
        json!({"a": 9_007_199_254_740_993_u64}),
        json!({"a": 9_007_199_254_740_992.0}),
        json!({"a": 1e300, "b": [1e300]}),
        json!({"a": 1.234_567_890_123_456_8e18}),
        json!({"a": 1_234_567_890_123_456_768_u64}),
        json!({"a": u64::MAX}),
        json!({"a": i64::MIN}),
        json!({"a": -0.0}),
        json!({"a": 1e-320}),
        json!({"a": "\0"}),
        json!({"a": "\u{1}"}),
        json!({"a": "\0\u{1}0"}),
        json!({"\0": 1, "\u{1}0": 2}),
        json!({"a": {"0": 1}}),
        json!({"a": [1]}),
        json!({"a": [[1]]}),
        json!({"a": [{"b": 1}]}),
        json!({"a": "é"}),
        json!({"a": "z"}),
        json!({"a": "Z"}),
        json!({"a": null}),
        json!({}),
        json!({"a": "2026-01-01T01:00:00+01:00"}),
        json!({"a": "2026-01-01T00:00:00Z"}),
        json!({"a": "no date"}),
    ];
    values
        .into_iter()
        .map(|value| value.as_object().cloned().unwrap())
        .collect()
}

fn strange_filters() -> Vec<Filter> {
    let texts = [
        "a = 9007199254740993",
        "a = 9007199254740992",
        "a < 9007199254740993",
        "a >= 9007199254740993",
        "a = 1234567890123456768",
        "a > 1e299",
        "a contains 1",
        "b contains 1e300",
        "a = 0",
        "a < 1e-300",
        "a = -0.0",
        "a >= \"\"",
        "a < \"a\"",
        "a > \"z\"",
        "a.\"0\" = 1",
        "a.b = 1",
        "a is null",
        "not a is null",
        "a != null",
        "a in [null, 1, \"z\"]",
        "not a in [1]",
        "a between 0 and 1e20",
        "a starts with \"\"",
        "exists a",
        "not exists a",
        "a matches \"date\"",
        "not a matches \"date\"",
        "a = 1 or not a matches \"no\"",
        "a = \"2026-01-01T00:00:00Z\"",
        "@created_at > 5 and @event_time <= 1000",
        "not @event_time = 10",
        "exists @event_time",
        "a in []",
    ];
    let mut filters: Vec<Filter> = texts.iter().map(|text| text.parse().unwrap()).collect();
    for text in ["\0", "\u{1}", "\u{1}0", "\0\u{1}0"] {
        filters.push(Filter::eq("a", text));
        filters.push(Filter::starts_with("a", text));
        filters.push(Filter::gt("a", text));
        filters.push(Filter::exists(llmspell_core::FieldPath::of_keys([text])));
    }
    filters
}

#[test]
fn sql_selects_what_compiled_filters_select() {
    with_server("filters as SQL", async |url| {
        let (database, schema) = open(&url).await;
        for dates in [
            DateFields::none(),
            DateFields::of(["when"]).unwrap(),
            DateFields::of(["a"]).unwrap(),
        ] {
            let fields: Vec<String> = dates.iter().map(ToString::to_string).collect();
            let config = HNSWConfig::balanced().with_date_fields(fields.clone());
            let name = format!("dates in {fields:?}");
            let store = database.vectors(&name, 1, config).await.unwrap();
            let mut runner = TestRunner::new(Config {
                rng_seed: RngSeed::Fixed(7),
                ..Config::default()
            });
            let mut draw =
                |strategy: &BoxedStrategy<(Metadata, EntryTimes)>| strategy.new_tree(&mut runner).unwrap().current();
            let of_entries = (filters::metadata(), filters::times()).boxed();
            let random: Vec<_> = (0..ENTRIES).map(|_| draw(&of_entries)).collect();
            let all = random
                .into_iter()
                .chain(strange().into_iter().map(|metadata| (metadata, EntryTimes::default())));
            let entries = all.enumerate().map(|(number, (metadata, times))| {
                let mut entry = VectorEntry::new(format!("{number:03}"), [1.0 + number as f32]).with_metadata(metadata);
                entry.created_at = Some(times.created_at.unwrap_or(Timestamp::from_millis(7)));
                (entry.updated_at, entry.event_time) = (times.updated_at, times.event_time);
                entry
            });
            store.insert(entries.collect()).await.unwrap();
            let stored = store.list(&StateScope::Global, None, 10_000).await.unwrap();
            let mut runner = TestRunner::new(Config {
                rng_seed: RngSeed::Fixed(8),
                ..Config::default()
            });
            let of_filters = filters::filter().boxed();
            let mut filters = strange_filters();
            filters.extend((0..FILTERS).map(|_| of_filters.new_tree(&mut runner).unwrap().current()));
            let (mut checked, mut selective) = (0, 0);
            for filter in filters {
                let Ok(compiled) = filter.compile(&dates) else { continue };
                let expected: Vec<&str> = stored
                    .iter()
                    .filter(|entry| compiled.matches_entry(entry))
                    .map(|entry| entry.id.as_str())
                    .collect();
                let found = store
                    .list_matching(&StateScope::Global, &filter, None, 10_000)
                    .await
                    .unwrap();
                let found: Vec<&str> = found.iter().map(|entry| entry.id.as_str()).collect();
                assert_eq!(found, expected, "{filter}");
                let count = store.count_matching(&StateScope::Global, &filter).await.unwrap();
                assert_eq!(count, expected.len() as u64, "{filter}");
                checked += 1;
                selective += usize::from(!expected.is_empty() && expected.len() < stored.len());
            }
            println!("{checked} filters, {selective} of them select some");
            assert!(
                checked > 40 && selective > 15,
                "{checked} filters, {selective} select some"
            );
        }
        drop_schema(&url, &schema).await;
    });
}
