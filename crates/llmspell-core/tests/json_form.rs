//! Entries, queries and results survive a round trip through JSON.

use std::time::Duration;

use llmspell_core::{Filter, StateScope, TimeRange, Timestamp, VectorEntry, VectorQuery, VectorResult};
use proptest::prelude::*;
use serde_json::{Value, json};

fn scopes() -> impl Strategy<Value = StateScope> {
    prop_oneof![
        Just(StateScope::Global),
        "[a-z%:\\n]{1,9}".prop_map(StateScope::User),
        ".{1,9}".prop_map(StateScope::Session),
        "Global|global|user:ada".prop_map(StateScope::Custom),
    ]
}

fn moments() -> impl Strategy<Value = Option<Timestamp>> {
    prop::option::of((-1_000_000_000_000_i64..4_000_000_000_000).prop_map(Timestamp::from_millis))
}

fn durations() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((0_u64..u64::MAX / 2, 0_u32..1_000_000_000).prop_map(|(secs, nanos)| Duration::new(secs, nanos)))
}

fn vectors() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(
        any::<f32>().prop_filter("finite", |component| component.is_finite()),
        0..5,
    )
}

fn metadata() -> impl Strategy<Value = Value> {
    ("[a-z]{1,4}", any::<i64>(), any::<f64>()).prop_map(|(key, number, float)| json!({key: [number, null], "f": float}))
}

fn read<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("it becomes JSON");
    serde_json::from_str(&text).expect("what was written is read")
}

proptest! {
    #[test]
    fn an_entry_comes_back(
        (id, vector, scope, metadata, text) in (".{0,9}", vectors(), scopes(), metadata(), prop::option::of(".{0,9}")),
        (created_at, event_time, expires_at, ttl) in (moments(), moments(), moments(), durations()),
    ) {
        let mut entry = VectorEntry::new(id, vector).with_scope(scope.clone()).with_metadata(metadata);
        entry.text = text;
        (entry.created_at, entry.event_time, entry.expires_at, entry.ttl) = (created_at, event_time, expires_at, ttl);
        prop_assert_eq!(&read(&entry), &entry);
        let json = serde_json::to_value(&entry).unwrap();
        prop_assert_eq!(&json["scope"], &json!(scope.to_string()));
        prop_assert_eq!(json["vector"].is_array(), !entry.embedding.is_empty());
        prop_assert!(json.get("embedding").is_none());
    }

    #[test]
    fn a_query_comes_back(
        (vector, k, scope, scopes) in (vectors(), 1_usize..100, scopes(), prop::option::of(prop::collection::vec(scopes(), 0..3))),
        (from, to, recency) in (moments(), moments(), durations()),
        (threshold, ef_search, flags) in (prop::option::of(-1.0_f32..1.0), prop::option::of(1_usize..100), any::<[bool; 4]>()),
    ) {
        let mut query = VectorQuery::new(vector, k).with_scope(scope);
        query.scopes = scopes;
        query.event_time = Some(TimeRange { from, to });
        (query.recency, query.threshold, query.ef_search) = (recency, threshold, ef_search);
        query.filter = flags[0].then(|| Filter::eq("a", 1) & !Filter::exists("b"));
        (query.exact, query.include_metadata, query.include_vectors) = (flags[1], flags[2], flags[3]);
        prop_assert_eq!(&read(&query), &query);
    }

    #[test]
    fn a_result_comes_back(
        (id, score, scope, metadata) in (".{0,9}", any::<f32>(), prop::option::of(scopes()), metadata()),
    ) {
        prop_assume!(score.is_finite());
        let mut result = VectorResult::new(id, score, -score);
        result.scope = scope;
        result.metadata = metadata.as_object().cloned();
        prop_assert_eq!(&read(&result), &result);
    }
}

#[test]
fn what_is_optional_may_be_left_out_or_null() {
    let query: VectorQuery = serde_json::from_value(json!({"vector": [1.0], "k": 5})).unwrap();
    assert_eq!(query, VectorQuery::new([1.0], 5));
    assert_eq!(
        serde_json::to_value(&query).unwrap(),
        json!({"vector": [1.0], "k": 5, "scope": "global"})
    );
    let nulls = json!({"vector": [1.0], "k": 5, "filter": null, "recency": null, "scopes": null, "threshold": null});
    assert_eq!(serde_json::from_value::<VectorQuery>(nulls).unwrap(), query);

    let entry: VectorEntry = serde_json::from_value(json!({"vector": [1.0], "ttl": null})).unwrap();
    assert_eq!(entry, serde_json::from_value(json!({"embedding": [1.0]})).unwrap());
    assert_eq!(
        (entry.id.as_str(), entry.scope, entry.metadata),
        ("", StateScope::Global, Value::Null)
    );
}

#[test]
fn other_forms_of_scopes_and_durations_are_read() {
    let read = |scope: Value, ttl: Value| {
        let json = json!({"vector": [], "scope": scope, "ttl": ttl});
        let entry: Result<VectorEntry, _> = serde_json::from_value(json);
        entry
            .map(|entry| (entry.scope, entry.ttl))
            .map_err(|error| error.to_string())
    };
    let expected = Ok((StateScope::user("ada"), Some(Duration::from_secs(90))));
    for ttl in [json!("90s"), json!(90), json!(90.0), json!({"secs": 90, "nanos": 0})] {
        assert_eq!(read(json!("user:ada"), ttl.clone()), expected);
        assert_eq!(read(json!({"User": "ada"}), ttl), expected);
    }
    let error = read(json!("global"), json!("soon")).unwrap_err();
    assert!(
        error.contains(r#""soon" is no length of time: write a number with its unit"#),
        "{error}"
    );
    assert!(read(json!("global"), json!(-1)).is_err());
    assert!(
        read(json!("ada"), json!(1))
            .unwrap_err()
            .contains("`ada` is not a scope")
    );
}
