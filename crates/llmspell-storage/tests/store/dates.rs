//! Fields that a space declares to hold dates are compared as moments, everywhere.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;

use llmspell_storage::{
    Database, DatabaseOptions, ErrorKind, Filter, HNSWConfig, HNSWVectorStorage, StateScope, StorageError, VectorEntry,
    VectorQuery,
};
use serde_json::json;

const SCOPE: StateScope = StateScope::Global;
/// The same moments in another order as strings; the last is not a date.
const DATES: [&str; 5] = [
    "2026-01-01T05:00:00+06:00",
    "2026-01-01",
    "2026-01-01T00:30:00+00:00",
    "2025-12-31T23:30:00-02:00",
    "soon",
];

async fn open(dir: &Path, points_min: u64, config: HNSWConfig) -> (Database, HNSWVectorStorage) {
    let options = DatabaseOptions::new().metadata_points_min(points_min);
    let database = options.open(dir).await.unwrap();
    let vectors = database.vectors("s", 2, config).await.unwrap();
    (database, vectors)
}

fn dated() -> HNSWConfig {
    HNSWConfig::fast().with_date_fields(["when", "meta.day"])
}

async fn fill(vectors: &HNSWVectorStorage) {
    let entry = |(number, date): (usize, &str)| {
        VectorEntry::new(format!("e{number}"), vec![1.0, number as f32])
            .with_metadata(json!({"when": date, "meta": {"day": date}, "text": date, "list": [date]}))
    };
    vectors
        .insert(DATES.into_iter().enumerate().map(entry).collect())
        .await
        .unwrap();
}

/// What each call says about a filter; all the same.
async fn matching(vectors: &HNSWVectorStorage, text: &str) -> Vec<String> {
    let filter: Filter = text.parse().unwrap();
    let listed = vectors.list_matching(&SCOPE, &filter, None, 100).await.unwrap();
    let listed: Vec<String> = listed.into_iter().map(|entry| entry.id).collect();
    let query = VectorQuery::new(vec![1.0, 0.0], 100).with_filter(filter.clone());
    let mut found: Vec<String> = vectors
        .search(&query)
        .await
        .unwrap()
        .into_iter()
        .map(|hit| hit.id)
        .collect();
    found.sort_unstable();
    assert_eq!(found, listed, "{text}");
    assert_eq!(
        vectors.count_matching(&SCOPE, &filter).await.unwrap(),
        listed.len() as u64,
        "{text}"
    );
    assert_eq!(
        vectors.explain(&query).await.unwrap().matching,
        listed.len() as u64,
        "{text}"
    );
    let facet = vectors.facet(&SCOPE, "text", &filter, 100).await.unwrap();
    assert_eq!(
        facet.iter().map(|value| value.count).sum::<u64>(),
        listed.len() as u64,
        "{text}"
    );
    listed
}

async fn assert_moments(vectors: &HNSWVectorStorage, field: &str) {
    for (condition, expected) in [
        ("< \"2026-01-01\"", vec!["e0"]),
        (">= \"2026-01-01\"", vec!["e1", "e2", "e3"]),
        ("= \"2025-12-31T23:00:00Z\"", vec!["e0"]),
        (
            "in [\"2026-01-01T00:00:00.000Z\", \"2026-01-01T01:30:00Z\"]",
            vec!["e1", "e3"],
        ),
        ("between \"2026-01-01\" and \"2026-01-01T01:00:00Z\"", vec!["e1", "e2"]),
        ("starts with \"so\"", vec!["e4"]),
        ("!= \"2026-01-01T00:00:00Z\"", vec!["e0", "e2", "e3", "e4"]),
    ] {
        let text = format!("{field} {condition}");
        assert_eq!(matching(vectors, &text).await, expected, "{text}");
    }
}

async fn assert_strings(vectors: &HNSWVectorStorage, field: &str) {
    let text = format!("{field} < \"2026-01-01\"");
    assert_eq!(matching(vectors, &text).await, ["e3"], "{text}");
    assert_eq!(matching(vectors, &format!("{field} >= \"s\"")).await, ["e4"]);
}

#[tokio::test]
async fn declared_fields_hold_moments_in_every_call_and_after_opening_again() {
    for points_min in [1, 1_000] {
        let dir = tempfile::tempdir().unwrap();
        let (database, vectors) = open(dir.path(), points_min, dated()).await;
        fill(&vectors).await;
        for field in ["when", "meta.day"] {
            assert_moments(&vectors, field).await;
        }
        assert_strings(&vectors, "text").await;
        drop(vectors);
        database.close().await.unwrap();

        // As they were declared when it was last opened, whoever opens it without saying.
        let database = DatabaseOptions::new()
            .metadata_points_min(points_min)
            .open(dir.path())
            .await
            .unwrap();
        let vectors = database.existing_vectors("s").await.unwrap().unwrap();
        assert_eq!(vectors.config(), &dated());
        assert_moments(&vectors, "when").await;

        // Other fields from now on, for this handle and for others.
        let other = HNSWConfig::fast().with_date_fields(["text"]);
        let again = database.vectors("s", 2, other).await.unwrap();
        for vectors in [&vectors, &again] {
            assert_moments(vectors, "text").await;
            assert_strings(vectors, "when").await;
        }
        let without = database.vectors("s", 2, HNSWConfig::fast()).await.unwrap();
        assert_strings(&without, "text").await;

        let old: Filter = "when < \"2026-01-01\"".parse().unwrap();
        let dated = database.vectors("s", 2, dated()).await.unwrap();
        assert_eq!(dated.delete_matching(&SCOPE, &old).await.unwrap(), 1);
        assert_eq!(
            dated.get(&SCOPE, "e0").await.unwrap(),
            None,
            "the moment before, not the string before"
        );
    }
}

#[tokio::test]
async fn what_is_no_date_is_refused_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let (_database, vectors) = open(dir.path(), 1, dated()).await;
    fill(&vectors).await;
    let bad = Filter::eq("text", "a").and(Filter::is_in("when", ["2026-01-01", "soon"]));
    let place = "at /and/1/in/values/1: \"soon\" is not a date, and `when` holds dates";
    let query = VectorQuery::new(vec![1.0, 0.0], 3).with_filter(bad.clone());
    let with_range = query.clone().with_event_time_range(..);
    let errors: Vec<StorageError> = vec![
        vectors.search(&query).await.unwrap_err(),
        vectors.search(&with_range).await.unwrap_err(),
        vectors
            .search(&query.clone().with_scope(StateScope::User("nobody".to_string())))
            .await
            .unwrap_err(),
        vectors.search(&query.clone().with_scopes([SCOPE])).await.unwrap_err(),
        vectors.explain(&query).await.unwrap_err(),
        vectors.count_matching(&SCOPE, &bad).await.unwrap_err(),
        vectors.list_matching(&SCOPE, &bad, None, 3).await.unwrap_err(),
        vectors.facet(&SCOPE, "text", &bad, 3).await.unwrap_err(),
        vectors.delete_matching(&SCOPE, &bad).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(place), "{error}");
    }
    for field in ["a..b", "@event_time"] {
        let config = HNSWConfig::fast().with_date_fields([field]);
        let error = HNSWVectorStorage::open(dir.path().join("new"), 2, config)
            .await
            .unwrap_err();
        assert!(
            error.kind() == ErrorKind::Invalid && error.to_string().contains(field),
            "{error}"
        );
    }
}

/// In memory, where the index is learned of entries that came before the first filter, and changes with them.
#[tokio::test]
async fn dates_that_come_later_are_moments_too() {
    let vectors = HNSWVectorStorage::new(2, dated());
    fill(&vectors).await;
    let many = (0..400).map(|number| {
        let when = format!("2026-02-{:02}T{:02}:00:00Z", number % 28 + 1, number % 24);
        VectorEntry::new(format!("m{number:03}"), vec![1.0, 1.0]).with_metadata(json!({"when": when}))
    });
    vectors.insert(many.collect()).await.unwrap();
    let count = async |text: &str| vectors.count_matching(&SCOPE, &text.parse().unwrap()).await.unwrap();
    assert_eq!(count("when >= \"2026-02-01T01:00:00+01:00\"").await, 400);
    let day = count("when >= \"2026-02-03\" and when < \"2026-02-04\"").await;
    assert_eq!(day, (0..400).filter(|number| number % 28 == 2).count() as u64);
    let fields = json!({"when": "2026-02-02T23:00:00-03:00"})
        .as_object()
        .unwrap()
        .clone();
    vectors.update_metadata(&SCOPE, "m000", fields).await.unwrap();
    assert_eq!(count("when >= \"2026-02-03\" and when < \"2026-02-04\"").await, day + 1);
}
