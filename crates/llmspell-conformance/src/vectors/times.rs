//! Times of entries decide which are found, and recency their order.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::{DIM, assert_invalid, entry, exact, ids, listed, scattered, user};
use llmspell_core::{
    DateFields, DistanceMetric, Filter, StateScope, Timestamp, VectorEntry, VectorQuery, VectorResult, VectorStorage,
    recency_score,
};

const SCOPE: StateScope = StateScope::Global;
const DAY_MS: i64 = 86_400_000;
/// So long that the time between two calls changes no score by more than a rounding error.
const HALF_LIFE: Duration = Duration::from_secs(1_000 * 86_400);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Entries with all kinds of times, and without.
fn timed() -> Vec<VectorEntry> {
    let events = [
        i64::MIN,
        -1,
        0,
        1,
        999,
        1_000,
        1_700_000_000_000,
        253_402_300_800_000,
        i64::MAX,
    ];
    let moments = events.into_iter().map(Some).chain([None, None]);
    scattered(events.len() + 2)
        .zip(moments)
        .enumerate()
        .map(|(number, (vector, event))| {
            let created = at(1_000 * number as i64);
            let mut entry = entry(&format!("t{number:02}"), vector)
                .with_metadata(json!({"@event_time": number, "parity": number % 2}))
                .with_created_at(created)
                .with_updated_at(at(created.as_millis() + 500));
            entry.event_time = event.map(at);
            entry
        })
        .collect()
}

/// Every condition on a time matches by its definition in searches, counts, lists and deletions, and a metadata key
/// with the name of a time is a different field.
pub async fn times_are_filtered_like_their_definition(store: &dyn VectorStorage) {
    store.insert(timed()).await.unwrap();
    let entries = store.list(&SCOPE, None, 100).await.unwrap();
    for text in [
        "@event_time >= 0",
        "@event_time > 0",
        "@event_time < \"1970-01-01\"",
        "@event_time <= \"1970-01-01T00:00:00.001Z\"",
        "@event_time = \"1970-01-01T01:00:01+01:00\"",
        "@event_time != 999",
        "not @event_time = 999",
        "@event_time in [\"1970-01-01T00:00:00Z\", 1000, 1000.5]",
        "@event_time between \"1969-12-31T23:59:59.9985Z\" and \"1970-01-01T00:00:00.9995Z\"",
        "@event_time > \"1970-01-01T00:00:00.9989Z\"",
        "@event_time >= \"9999-12-30\"",
        "@event_time >= 1e30",
        "@event_time > -1e30",
        "exists @event_time",
        "not exists @event_time",
        "@created_at >= 3000 and @created_at < \"1970-01-01T00:00:07Z\"",
        "@updated_at > 3500",
        "exists @created_at and exists @updated_at",
        "\"@event_time\" > 4",
        "\"@event_time\" > 4 and @event_time > 4 or parity = 1 and not exists @event_time",
    ] {
        let filter: Filter = text.parse().unwrap();
        let compiled = filter.compile(&DateFields::none()).unwrap();
        let matching = entries.iter().filter(|entry| compiled.matches_entry(entry));
        let expected: Vec<&str> = matching.map(|entry| entry.id.as_str()).collect();
        let found = store
            .search(&exact([0.0; DIM], 100).with_filter(filter.clone()))
            .await
            .unwrap();
        let mut found = ids(&found);
        found.sort_unstable();
        assert_eq!(found, expected, "found by {text}");
        let count = store.count_matching(&SCOPE, &filter).await.unwrap();
        assert_eq!(count, expected.len() as u64, "counted by {text}");
        let listed = store.list_matching(&SCOPE, &filter, None, 100).await.unwrap();
        let listed: Vec<&str> = listed.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(listed, expected, "listed by {text}");
        let facet = store.facet(&SCOPE, &"parity".into(), &filter, 9).await.unwrap();
        let counted: u64 = facet.iter().map(|value| value.count).sum();
        assert_eq!(counted, expected.len() as u64, "facets by {text}");
    }
    let of_time = store.facet(&SCOPE, &"@created_at".into(), &Filter::all(), 9).await;
    assert_invalid(of_time, "facets of a time");

    let old: Filter = "@event_time < 1000".parse().unwrap();
    assert_eq!(store.delete_matching(&SCOPE, &old).await.unwrap(), 5);
    assert_eq!(store.delete_matching(&SCOPE, &old).await.unwrap(), 0);
    assert_eq!(listed(store, &SCOPE).await, ["t05", "t06", "t07", "t08", "t09", "t10"]);
}

/// A range of times includes its beginning and excludes its end; it combines with the filter and the other range. An
/// empty range finds nothing, and a full one all entries that have the time.
pub async fn ranges_of_times_include_their_beginning_and_not_their_end(store: &dyn VectorStorage) {
    store.insert(timed()).await.unwrap();
    let query = || exact([0.0; DIM], 100);
    let found = async |query: VectorQuery| {
        let found = store.search(&query).await.unwrap();
        let mut found: Vec<String> = ids(&found).into_iter().map(str::to_string).collect();
        found.sort_unstable();
        found
    };
    let table = [
        (
            query().with_event_time_range(at(0)..at(1_000)),
            vec!["t02", "t03", "t04"],
        ),
        (query().with_event_time_range(..at(0)), vec!["t00", "t01"]),
        (
            query().with_event_time_range(at(253_402_300_800_000)..),
            vec!["t07", "t08"],
        ),
        (query().with_event_time_range(at(i64::MAX)..), vec!["t08"]),
        (query().with_event_time_range(..at(i64::MIN)), vec![]),
        (query().with_event_time_range(at(999)..at(999)), vec![]),
        (
            query().with_event_time_range(..),
            vec!["t00", "t01", "t02", "t03", "t04", "t05", "t06", "t07", "t08"],
        ),
        (query().with_ingested_range(at(9_000)..), vec!["t09", "t10"]),
        (query().with_ingested_range(at(1_000)..at(3_000)), vec!["t01", "t02"]),
        (
            query().with_ingested_range(..at(4_000)).with_event_time_range(at(0)..),
            vec!["t02", "t03"],
        ),
        (
            query()
                .with_filter(Filter::eq("parity", 0))
                .with_event_time_range(at(0)..at(1_000)),
            vec!["t02", "t04"],
        ),
        (
            query()
                .with_filter(Filter::eq("parity", 0).or(Filter::eq("parity", 1)))
                .with_ingested_range(..at(2_000)),
            vec!["t00", "t01"],
        ),
    ];
    for (query, expected) in table {
        assert_eq!(found(query.clone()).await, expected, "{query:?}");
        assert_eq!(found(query.clone().with_exact(false)).await, expected, "{query:?}");
        let matching = expected.len() as u64;
        assert_eq!(store.explain(&query).await.unwrap().matching, matching, "{query:?}");
    }
}

/// An update of the metadata moves the time of the last change and no other.
pub async fn the_time_of_the_last_change_changes_with_the_metadata(store: &dyn VectorStorage) {
    store.insert(timed()).await.unwrap();
    let count = async |text: &str| store.count_matching(&SCOPE, &text.parse().unwrap()).await.unwrap();
    let before = [count("@updated_at < 100000").await, count("@created_at < 100000").await];
    assert_eq!(before, [11, 11]);
    let fields = json!({"parity": 7}).as_object().unwrap().clone();
    store.update_metadata(&SCOPE, "t03", fields).await.unwrap();
    assert_eq!(count("@updated_at < 100000").await, 10);
    assert_eq!(
        count("@updated_at >= 100000 and parity = 7 and @event_time = 1").await,
        1
    );
    assert_eq!(count("@created_at < 100000").await, 11);
    let moved = entry("t03", [1.0; DIM]).with_event_time(at(5)).with_updated_at(at(6));
    store.upsert(vec![moved]).await.unwrap();
    assert_eq!(
        count("@event_time = 5 and @updated_at = 6 and @created_at = 3000").await,
        1
    );
    assert_eq!(count("@event_time = 1").await, 0);
}

/// Entries of all ages, in this scope.
fn aged(scope: &StateScope, skipped: usize, count: usize) -> Vec<VectorEntry> {
    let now = now().as_millis();
    let vectors = scattered(skipped + count).skip(skipped).enumerate();
    vectors
        .map(|(number, vector)| {
            let days = (number as i64 * 7_919) % 4_001;
            let entry = entry(&format!("a{number:03}"), vector)
                .with_scope(scope.clone())
                .with_metadata(json!({"parity": number % 2}))
                .with_created_at(at(now - days * DAY_MS));
            match number % 4 {
                // The event happened long before the entry was created, or lies in the future.
                0 => entry.with_event_time(at(now - (4_000 - days) * DAY_MS)),
                1 => entry.with_event_time(at(now + days * DAY_MS)),
                _ => entry,
            }
        })
        .collect()
}

/// The results of a search without recency, ranked by recency.
async fn ranked_anew(store: &dyn VectorStorage, query: &VectorQuery, scopes: &[StateScope]) -> Vec<VectorResult> {
    let mut everything = query.clone();
    (everything.k, everything.recency) = (10_000, None);
    let mut found = Vec::new();
    for (place, scope) in scopes.iter().enumerate() {
        for mut result in store.search_scoped(&everything, scope).await.unwrap() {
            let entry = store.get(scope, &result.id).await.unwrap().expect("it was just found");
            let since = entry.event_time.or(entry.created_at).expect("every entry has a time");
            let age = u64::try_from(now().as_millis() - since.as_millis()).unwrap_or(0);
            result.recency_score = Some(recency_score(result.score, age, HALF_LIFE));
            result.scope = query.scopes.is_some().then(|| scope.clone());
            found.push((place, result));
        }
    }
    found.sort_by(|(a_place, a), (b_place, b)| {
        let tie = || a_place.cmp(b_place).then_with(|| a.id.cmp(&b.id));
        let by_recency = b.recency_score.unwrap().total_cmp(&a.recency_score.unwrap());
        by_recency
            .then_with(|| a.distance.total_cmp(&b.distance))
            .then_with(tie)
    });
    found.truncate(query.k);
    found.into_iter().map(|(_, result)| result).collect()
}

/// The same results in the same order, with recency scores that differ by rounding errors only.
fn assert_ranked(found: &[VectorResult], expected: &[VectorResult], what: &str) {
    let without = |results: &[VectorResult]| {
        let plain = results.iter().map(|result| {
            let mut result = result.clone();
            result.recency_score = None;
            result
        });
        plain.collect::<Vec<_>>()
    };
    assert_eq!(without(found), without(expected), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let (found, expected) = (
            found.recency_score.expect("it was asked for"),
            expected.recency_score.unwrap(),
        );
        assert!(
            (found - expected).abs() <= 1e-5 * expected.abs(),
            "{what}: {found}, not {expected}"
        );
    }
}

/// In a scope with few entries, the best `k` with recency are those of all matches, by score and age, for every metric,
/// and with all other settings of a query. The threshold applies to the score. The plan tells how many were ranked.
pub async fn recency_ranks_all_that_match_by_score_and_age(store: &dyn VectorStorage, metric: DistanceMetric) {
    store.insert(aged(&SCOPE, 0, 190)).await.unwrap();
    for (vector, k) in scattered(194).skip(190).zip([1, 5, 30, 1_000]) {
        let plain = VectorQuery::new(vector.to_vec(), k).with_recency(HALF_LIFE);
        let median = store.search(&exact(vector, 95)).await.unwrap()[94].score;
        let queries = [
            plain.clone().with_exact(true),
            plain.clone().with_metadata(false).with_vectors(true),
            plain.clone().with_filter(Filter::eq("parity", 1)),
            plain.clone().with_event_time_range(..).with_exact(true),
            plain.clone().with_threshold(median),
            plain,
        ];
        for query in queries {
            let expected = ranked_anew(store, &query, &[SCOPE]).await;
            let found = store.search(&query).await.unwrap();
            assert_ranked(&found, &expected, &format!("{metric}: {query:?}"));
            let plan = store.explain(&query).await.unwrap();
            let recency = plan.recency.expect("the query asks for it");
            let half_life = u128::from(recency.half_life_ms);
            assert_eq!(
                (half_life, plan.results),
                (HALF_LIFE.as_millis(), found.len()),
                "{plan}"
            );
            assert!(recency.ranked >= found.len() as u64, "{plan}");
        }
    }
    let without = store.search(&exact([1.0; DIM], 3)).await.unwrap();
    assert!(
        without.iter().all(|result| result.recency_score.is_none()),
        "nobody asked"
    );
}

/// Several scopes share one top `k` by the recency score.
pub async fn most_recent_of_several_scopes_share_one_top_k(store: &dyn VectorStorage) {
    let scopes = [StateScope::Session("s".to_string()), user("ada"), SCOPE];
    for (scope, (skipped, count)) in scopes.iter().zip([(0, 10), (20, 90), (120, 60)]) {
        store.insert(aged(scope, skipped, count)).await.unwrap();
    }
    for (vector, k) in scattered(204).skip(200).zip([1, 5, 30, 1_000]) {
        let query = exact(vector, k).with_recency(HALF_LIFE).with_scopes(scopes.clone());
        for query in [query.clone().with_threshold(0.1), query] {
            let expected = ranked_anew(store, &query, &scopes).await;
            assert_ranked(&store.search(&query).await.unwrap(), &expected, "of all scopes");
        }
    }
}

/// If every score has decayed to zero, the nearest come first, then the smallest ids.
pub async fn equal_recency_scores_are_ordered_by_distance_and_id(store: &dyn VectorStorage) {
    let ancient = |id: &str, x: f32| entry(id, [x, 0.0, 0.0]).with_event_time(at(i64::MIN));
    let batch = [("c", 1.0), ("b", 2.0), ("d", 1.0), ("a", 3.0)].map(|(id, x)| ancient(id, x));
    store.insert(batch.into()).await.unwrap();
    for k in 1..=4 {
        let query = exact([0.0; DIM], k).with_recency(Duration::from_millis(1));
        let found = store.search(&query).await.unwrap();
        assert_eq!(ids(&found), &["c", "d", "b", "a"][..k]);
        assert!(found.iter().all(|result| result.recency_score == Some(0.0)));
    }
    store
        .insert(vec![entry("new", [9.0, 0.0, 0.0]).with_event_time(now())])
        .await
        .unwrap();
    let query = exact([0.0; DIM], 2).with_recency(Duration::from_secs(86_400));
    assert_eq!(ids(&store.search(&query).await.unwrap()), ["new", "c"]);
}
