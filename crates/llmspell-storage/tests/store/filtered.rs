//! A filtered search finds the matches, whatever their share, and on every path.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;

use llmspell_storage::{
    Database, DatabaseOptions, DistanceMetric, Filter, HNSWConfig, HNSWVectorStorage, Memory, SearchPath, StateScope,
    VectorEntry, VectorQuery, VectorResult,
};
use serde_json::json;

const DIM: usize = 16;
const COUNT: u32 = 6_000;

/// Numbers that look random, the same in every run: about normally distributed.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 33) * u64::from(bound)) >> 31) as u32
    }

    fn next(&mut self) -> f32 {
        (0..6)
            .map(|_| self.below(1 << 20) as f32 / (1 << 20) as f32)
            .sum::<f32>()
            - 3.0
    }
}

/// In one of ten clusters.
fn vector(number: u32) -> Vec<f32> {
    let mut center = Noise(u64::from(number % 10) + 1);
    let mut noise = Noise(u64::from(number) + 1_000);
    (0..DIM).map(|_| 2.0 * center.next() + noise.next()).collect()
}

fn entry(number: u32) -> VectorEntry {
    let mut noise = Noise(u64::from(number) << 20);
    noise.next();
    VectorEntry::new(format!("id-{number:05}"), vector(number))
        .with_metadata(json!({ "cluster": number % 10, "dice": noise.below(10_000), "number": number }))
}

async fn store(dir: &std::path::Path, memory: Memory) -> (Database, HNSWVectorStorage) {
    let database = DatabaseOptions::new().graph_points_min(1_000).open(dir).await.unwrap();
    let config = HNSWConfig::fast()
        .with_metric(DistanceMetric::Euclidean)
        .with_memory(memory);
    let vectors = database.vectors("s", DIM, config).await.unwrap();
    let numbers: Vec<u32> = (0..COUNT).collect();
    for part in numbers.chunks(1_000) {
        vectors
            .insert(part.iter().map(|number| entry(*number)).collect())
            .await
            .unwrap();
    }
    vectors.build_index().await.unwrap();
    (database, vectors)
}

fn ids(results: &[VectorResult]) -> Vec<&str> {
    results.iter().map(|result| result.id.as_str()).collect()
}

/// Filters by chance, two at once, and by the cluster: at most those far from a query in cluster 0 are let through.
fn filters() -> Vec<Filter> {
    let below = |count: u32| Filter::lt("dice", count);
    let mut filters: Vec<Filter> = [10_000, 9_000, 5_000, 2_500, 1_000, 500, 100, 20, 0].map(below).into();
    filters.push(below(5_000).and(Filter::ge("cluster", 5)));
    filters.push(below(2_000).and(Filter::is_in("cluster", [1, 3, 7, 8, 9])));
    filters.push(Filter::ne("cluster", 0));
    filters.push(Filter::eq("cluster", 5));
    filters.push(Filter::lt("number", 40));
    filters
}

/// Every filter and `k`: all that was found matches, `k` means `k`, and recall is that of a search without a filter. Says
/// by which ways.
async fn assert_filtered(vectors: &HNSWVectorStorage, place: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for filter in filters() {
        let (mut hits, mut wanted, mut last) = (0, 0, None);
        for k in [1, 10, 60] {
            for number in 0..4 {
                let query = VectorQuery::new(vector(10 * number + 70_000), k).with_filter(filter.clone());
                let truth = vectors.search(&query.clone().with_exact(true)).await.unwrap();
                let found = vectors.search(&query).await.unwrap();
                assert_eq!(found.len(), truth.len(), "{place}: {filter:?}, k {k}");
                let compiled = filter.compile(&llmspell_storage::DateFields::none()).unwrap();
                assert!(found.iter().all(|hit| compiled.matches(hit.metadata.as_ref().unwrap())));
                assert!(found.is_sorted_by(|a, b| (a.distance, &a.id) < (b.distance, &b.id)));
                let bare = vectors.search(&query.clone().with_metadata(false)).await.unwrap();
                assert_eq!(ids(&bare), ids(&found), "{place}: {filter:?}, k {k}");

                let plan = vectors.explain(&query).await.unwrap();
                assert_eq!(plan.results, found.len(), "{plan}");
                assert!(
                    plan.matching >= found.len() as u64 && plan.live >= plan.matching,
                    "{plan}"
                );
                assert!(plan.distances >= plan.results as u64, "{plan}");
                paths.insert(serde_json::to_string(&plan.path()).unwrap());

                last = Some(plan);
                let truth: BTreeSet<&str> = ids(&truth).into_iter().collect();
                wanted += truth.len();
                hits += ids(&found).into_iter().filter(|id| truth.contains(id)).count();
            }
        }
        assert!(
            hits * 100 >= wanted * 95,
            "{place}: {filter:?}: {hits} of {wanted}; {last:?}"
        );
    }
    paths
}

#[tokio::test]
async fn whatever_share_matches_k_means_k_and_by_all_ways_the_nearest_are_found() {
    for memory in [Memory::Balanced, Memory::Speed, Memory::Lean] {
        let dir = tempfile::tempdir().unwrap();
        let (database, vectors) = store(dir.path(), memory).await;
        let paths = assert_filtered(&vectors, "built").await;
        let all = [SearchPath::Exact, SearchPath::CodeScan, SearchPath::GraphAfter];
        for path in all {
            assert!(
                paths.contains(&serde_json::to_string(&path).unwrap()),
                "{memory:?}: {path:?} of {paths:?}"
            );
        }

        // A tail, tombstones, and metadata that changed.
        vectors.insert((COUNT..COUNT + 200).map(entry).collect()).await.unwrap();
        let gone: Vec<String> = (0..300).map(|number| format!("id-{:05}", 7 * number)).collect();
        vectors.delete(&StateScope::Global, &gone).await.unwrap();
        vectors.upsert((1_000..1_050).map(entry).collect()).await.unwrap();
        for number in (1..300).step_by(7) {
            let fields = entry(number + 1).metadata.as_object().unwrap().clone();
            vectors
                .update_metadata(&StateScope::Global, &format!("id-{number:05}"), fields)
                .await
                .unwrap();
        }
        assert_filtered(&vectors, "changed").await;
        vectors.build_index().await.unwrap();
        assert_filtered(&vectors, "extended").await;
        drop(vectors);
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_plan_counts_what_matches_and_what_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let (_database, vectors) = store(dir.path(), Memory::Balanced).await;
    vectors.insert((COUNT..COUNT + 3).map(entry).collect()).await.unwrap();
    let query = VectorQuery::new(vector(9), 5);

    let plan = vectors.explain(&query).await.unwrap();
    assert_eq!(
        (plan.live, plan.matching, plan.path()),
        (6_003, 6_003, SearchPath::Graph),
        "{plan}"
    );
    assert!(plan.rescored >= 5 && plan.ef > 0, "{plan}");

    let few = query
        .clone()
        .with_filter(Filter::lt("number", 4).or(Filter::ge("number", COUNT)));
    let plan = vectors.explain(&few).await.unwrap();
    assert_eq!((plan.live, plan.matching, plan.tail), (6_003, 7, 3), "{plan}");
    assert_eq!(
        (plan.path(), plan.distances, plan.codes),
        (SearchPath::Exact, 7, 0),
        "{plan}"
    );

    let some = query.with_filter(Filter::lt("number", 600));
    let plan = vectors.explain(&some).await.unwrap();
    assert_eq!(
        (plan.path(), plan.matching, plan.codes),
        (SearchPath::CodeScan, 600, 600),
        "{plan}"
    );
    assert_eq!(plan.distances, plan.rescored, "{plan}");
    let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["filter", "search", "resolve"]);
}
