//! Filters on times are right with a metadata index and a graph.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use llmspell_storage::{
    Database, DatabaseOptions, DateFields, DistanceMetric, Filter, HNSWConfig, HNSWVectorStorage, SearchPath,
    StateScope, Timestamp, VectorEntry, VectorQuery, VectorResult, recency_score,
};
use proptest::prelude::*;
use serde_json::json;

const SCOPE: StateScope = StateScope::Global;
const DAY_MS: i64 = 86_400_000;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
        .block_on(future)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

async fn open(dir: &Path) -> (Database, HNSWVectorStorage) {
    let options = DatabaseOptions::new().metadata_points_min(1).graph_points_min(100_000);
    let database = options.open(dir).await.unwrap();
    let vectors = database.vectors("s", 2, HNSWConfig::fast()).await.unwrap();
    (database, vectors)
}

/// A number, and when it happened, was created and changed, in milliseconds.
type Row = (u8, Option<i64>, Option<i64>, Option<i64>);

/// What happens to a scope.
#[derive(Debug, Clone)]
enum Step {
    Upsert(Vec<Row>),
    Update(u8),
    Delete(u8),
    Ask(String),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let time = || prop::option::of(-3..20_i64);
    let entries = prop::collection::vec((0..30_u8, time(), time(), time()), 1..6);
    let name = || prop::sample::select(vec!["@event_time", "@created_at", "@updated_at"]);
    let one = (
        name(),
        prop::sample::select(vec!["<", "<=", ">", ">=", "=", "!="]),
        -4..22_i64,
    )
        .prop_map(|(name, operator, millis)| format!("{name} {operator} {millis}"));
    let range =
        (name(), -4..22_i64, 0..9_i64).prop_map(|(name, low, more)| format!("{name} between {low} and {}", low + more));
    let there = name().prop_map(|name| format!("exists {name}"));
    let atom = prop_oneof![4 => one, 2 => range, 1 => there, 1 => Just("parity = 1".to_string())];
    let filter = (atom.clone(), atom, prop::sample::select(vec!["and", "or", "and not"]))
        .prop_map(|(a, b, join)| format!("{a} {join} {b}"));
    prop_oneof![
        6 => entries.prop_map(Step::Upsert),
        2 => (0..30_u8).prop_map(Step::Update),
        2 => (0..30_u8).prop_map(Step::Delete),
        6 => filter.prop_map(Step::Ask),
        1 => Just(Step::Reopen),
    ]
}

fn entries(of: Vec<Row>) -> Vec<VectorEntry> {
    let mut seen = BTreeSet::new();
    let entry = |(number, event, created, updated): Row| {
        let mut entry = VectorEntry::new(format!("e{number:02}"), vec![1.0, f32::from(number)])
            .with_metadata(json!({"parity": number % 2}));
        entry.event_time = event.map(at);
        entry.created_at = created.map(at);
        entry.updated_at = updated.map(at);
        entry
    };
    of.into_iter()
        .filter(|(number, ..)| seen.insert(*number))
        .map(entry)
        .collect()
}

/// The same by listing everything and looking at it.
async fn check(vectors: &HNSWVectorStorage, text: &str) {
    let filter: Filter = text.parse().unwrap();
    let compiled = filter.compile(&DateFields::none()).unwrap();
    let all = vectors.list(&SCOPE, None, 10_000).await.unwrap();
    let expected: Vec<&str> = all
        .iter()
        .filter(|entry| compiled.matches_entry(entry))
        .map(|entry| entry.id.as_str())
        .collect();
    let count = vectors.count_matching(&SCOPE, &filter).await.unwrap();
    assert_eq!(count, expected.len() as u64, "{text}");
    let query = VectorQuery::new(vec![1.0, 0.0], 10_000).with_filter(filter);
    let mut found: Vec<String> = vectors
        .search(&query)
        .await
        .unwrap()
        .into_iter()
        .map(|hit| hit.id)
        .collect();
    found.sort_unstable();
    assert_eq!(found, expected, "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whenever a time is first named, and whatever is written before and after.
    #[test]
    fn times_are_filtered_as_everything_else_is(steps in prop::collection::vec(step(), 1..40)) {
        block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (mut database, mut vectors) = open(dir.path()).await;
            for step in steps {
                match step {
                    Step::Upsert(of) => drop(vectors.upsert(entries(of)).await.unwrap()),
                    Step::Update(number) => {
                        let fields = json!({"parity": 1}).as_object().unwrap().clone();
                        let _missing = vectors.update_metadata(&SCOPE, &format!("e{number:02}"), fields).await;
                    }
                    Step::Delete(number) => drop(vectors.delete(&SCOPE, &[format!("e{number:02}")]).await.unwrap()),
                    Step::Ask(text) => check(&vectors, &text).await,
                    Step::Reopen => {
                        drop(vectors);
                        database.close().await.unwrap();
                        (database, vectors) = open(dir.path()).await;
                    }
                }
            }
        });
    }
}

/// Where everything is compared, the best are those of a plain ranking of everything: more than one shortlist holds, with
/// every metric, and from half-lives that leave nothing to those that take nothing.
#[test]
fn a_small_scope_ranks_everything_by_age() {
    let strategy = (
        0..4_usize,
        1..40_usize,
        0..10_u32,
        prop::option::of(0.0..0.4_f32),
        any::<bool>(),
        any::<u64>(),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(32));
    let now = Timestamp::from(std::time::SystemTime::now()).as_millis();
    let days = |number: u64| (number * 7_919 % 1_201) as i64;
    let filled = |metric: DistanceMetric| {
        let vectors = HNSWVectorStorage::new(16, HNSWConfig::fast().with_metric(metric));
        let batch = (0..1_500).map(|number| {
            VectorEntry::new(format!("e{number:04}"), vector(number))
                .with_event_time(at(now - days(number) * DAY_MS))
                .with_metadata(json!({"parity": number % 2}))
        });
        block_on(vectors.insert(batch.collect())).unwrap();
        vectors
    };
    let stores = DistanceMetric::ALL.map(filled);
    let check = |(metric, k, scale, threshold, is_odd, question): (usize, usize, u32, Option<f32>, bool, u64)| {
        let half_life = Duration::from_secs(3_600 * 4_u64.pow(scale));
        let mut plain = VectorQuery::new(vector(question), 10_000);
        plain.threshold = threshold;
        plain.filter = is_odd.then(|| Filter::eq("parity", 1));
        let mut all = block_on(stores[metric].search(&plain)).unwrap();
        for hit in &mut all {
            let since = now - days(hit.id[1..].parse().unwrap()) * DAY_MS;
            let age = (Timestamp::from(std::time::SystemTime::now()).as_millis() - since) as u64;
            hit.recency_score = Some(recency_score(hit.score, age, half_life));
        }
        all.sort_by(|a, b| a.rank(b).then_with(|| a.id.cmp(&b.id)));
        all.truncate(k);
        let found = block_on(stores[metric].search(&plain.with_k(k).with_recency(half_life))).unwrap();
        prop_assert_eq!(found.len(), all.len());
        // What passes between the two takes a little of each score, so neighbors in rank may change places.
        let least = |hits: &[VectorResult]| hits.last().and_then(|hit| hit.recency_score).unwrap_or(0.0);
        let slack = 1e-3 * least(&all).abs().max(1e-3);
        for hit in &found {
            let ranked = hit.recency_score.unwrap();
            prop_assert!(ranked >= least(&all) - slack, "{:?} below {}", hit, least(&all));
        }
        prop_assert!(least(&found) >= least(&all) - slack && least(&found) <= least(&all) + slack);
        Ok(())
    };
    runner.run(&strategy, check).unwrap();
}

/// A time is first named while entries come, change and go: the index of it is right then and later.
#[test]
fn a_time_is_indexed_while_entries_come_and_go() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (_database, vectors) = open(dir.path()).await;
        let batch = |from: i64| {
            let entry = |number: i64| {
                VectorEntry::new(format!("e{number:05}"), vec![1.0, number as f32])
                    .with_event_time(at(number))
                    .with_created_at(at(2 * number))
                    .with_metadata(json!({"parity": number % 2}))
            };
            (from..from + 20).map(entry).collect::<Vec<_>>()
        };
        vectors
            .insert((0..50).flat_map(|part| batch(20 * part)).collect())
            .await
            .unwrap();
        assert_eq!(
            vectors.count_matching(&SCOPE, &Filter::eq("parity", 1)).await.unwrap(),
            500
        );
        let writer = vectors.clone();
        let writing = tokio::spawn(async move {
            for part in 50..150 {
                writer.insert(batch(20 * part)).await.unwrap();
                let old: Vec<String> = batch(20 * (part - 50)).into_iter().map(|entry| entry.id).collect();
                writer.delete(&SCOPE, &old[..10]).await.unwrap();
            }
        });
        for text in ["@event_time >= 0", "@created_at >= 0 and parity = 1", "@updated_at > 0"] {
            for _ in 0..20 {
                let count = vectors.count_matching(&SCOPE, &text.parse().unwrap()).await.unwrap();
                assert!(count >= 250, "{text}: {count}");
            }
        }
        writing.await.unwrap();
        for text in [
            "@event_time >= 1500",
            "@event_time between 100 and 2500 and parity = 0",
            "@created_at < 3000",
            "not @created_at < 3000 and exists @updated_at",
        ] {
            check(&vectors, text).await;
        }
    });
}

/// Numbers that look random, the same in every run: about normally distributed.
fn vector(number: u64) -> Vec<f32> {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        let mut sum = 0.0;
        for _ in 0..6 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (state >> 40) as f32 / (1 << 24) as f32;
        }
        sum - 3.0
    };
    (0..16).map(|_| next()).collect()
}

/// How many are in both.
fn overlap(found: &[VectorResult], truth: &[VectorResult]) -> usize {
    let ids: BTreeSet<&str> = truth.iter().map(|hit| hit.id.as_str()).collect();
    found.iter().filter(|hit| ids.contains(hit.id.as_str())).count()
}

/// With a graph a shortlist is ranked anew: in the right order, by the right scores, and nearly what everything would be.
#[test]
fn a_large_scope_ranks_a_shortlist_by_age() {
    const COUNT: u64 = 4_000;
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let options = DatabaseOptions::new().graph_points_min(1_000);
        let database = options.open(dir.path()).await.unwrap();
        let config = HNSWConfig::fast().with_metric(DistanceMetric::Cosine);
        let vectors = database.vectors("s", 16, config).await.unwrap();
        let now = Timestamp::from(std::time::SystemTime::now()).as_millis();
        let days = |number: u64| (number * 7_919 % 365) as i64;
        let batch = (0..COUNT).map(|number| {
            VectorEntry::new(format!("e{number:04}"), vector(number))
                .with_event_time(at(now - days(number) * DAY_MS))
                .with_metadata(json!({"number": number, "dice": number * 31 % 100}))
        });
        vectors.insert(batch.collect()).await.unwrap();
        vectors.build_index().await.unwrap();

        let half_life = Duration::from_millis(180 * DAY_MS as u64);
        let mut paths = BTreeSet::new();
        for filter in [
            None,
            Some(Filter::lt("dice", 50)),
            Some(Filter::lt("dice", 10)),
            Some(Filter::eq("dice", 1)),
        ] {
            let (mut hits, mut wanted) = (0, 0);
            for question in 0..20 {
                let mut query = VectorQuery::new(vector(100_000 + question), 10).with_recency(half_life);
                query.filter = filter.clone();
                let found = vectors.search(&query).await.unwrap();
                let truth = vectors.search(&query.clone().with_exact(true)).await.unwrap();
                assert_eq!(found.len(), truth.len());
                let bare = query.clone().with_metadata(false).with_vectors(true);
                let bare = vectors.search(&bare).await.unwrap();
                assert!(bare.iter().map(|hit| &hit.id).eq(found.iter().map(|hit| &hit.id)));
                assert!(bare.iter().all(|hit| hit.vector.is_some() && hit.metadata.is_none()));
                let ranked: Vec<f32> = found.iter().map(|hit| hit.recency_score.unwrap()).collect();
                assert!(ranked.is_sorted_by(|a, b| a >= b), "{ranked:?}");
                for hit in &found {
                    let number = hit.metadata.as_ref().unwrap()["number"].as_u64().unwrap();
                    let expected = recency_score(hit.score, (days(number) * DAY_MS) as u64, half_life);
                    assert!(
                        (hit.recency_score.unwrap() - expected).abs() < 1e-4,
                        "{hit:?}, not {expected}"
                    );
                }
                let plan = vectors.explain(&query).await.unwrap();
                let recency = plan.recency.unwrap();
                assert_eq!((plan.k, recency.shortlist >= 200), (10, true), "{plan}");
                assert!(recency.ranked >= plan.matching.min(200), "{plan}");
                paths.insert(serde_json::to_string(&plan.path()).unwrap());
                wanted += truth.len();
                hits += overlap(&found, &truth);
            }
            assert!(hits * 100 >= wanted * 90, "{filter:?}: {hits} of {wanted}");
        }
        assert!(
            paths.contains(&serde_json::to_string(&SearchPath::Graph).unwrap()),
            "{paths:?}"
        );
        assert!(paths.len() >= 2, "{paths:?}");
        // The nearest by itself need not be the first by age; without recency it is.
        let plain = VectorQuery::new(vector(100_000), 10);
        let (by_score, by_age) = (plain.clone(), plain.with_recency(Duration::from_millis(DAY_MS as u64)));
        let young = vectors.search(&by_age.clone().with_exact(true)).await.unwrap();
        assert!(overlap(&young, &vectors.search(&by_score).await.unwrap()) < 10);

        // A handle for this scope, and several scopes at once, answer alike.
        let handle = vectors.scoped(SCOPE).unwrap();
        let found = vectors.search(&by_age).await.unwrap();
        assert!(
            handle
                .search(&by_age)
                .await
                .unwrap()
                .iter()
                .map(|hit| &hit.id)
                .eq(found.iter().map(|hit| &hit.id))
        );
        let nobody = StateScope::User("nobody".to_string());
        let several = vectors.search(&by_age.with_scopes([nobody, SCOPE])).await.unwrap();
        assert!(several.iter().map(|hit| &hit.id).eq(found.iter().map(|hit| &hit.id)));
    });
}
