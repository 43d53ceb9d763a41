//! A search for a stored vector finds it as an exact duplicate, on every path.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;

use llmspell_storage::{
    Database, DatabaseOptions, Filter, HNSWConfig, HNSWVectorStorage, Memory, SearchPath, StateScope, VectorEntry,
    VectorQuery,
};
use serde_json::json;

const COUNT: u64 = 200;
/// Of a few components, and of real embeddings.
const DIMS: [usize; 3] = [3, 384, 1536];

/// Components in −0.5..0.5, of 24 random bits each, so that every sum rounds.
fn vector(dim: usize, number: u64) -> Vec<f32> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let component = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    (0..dim).map(component).collect()
}

fn id(number: u64) -> String {
    format!("id-{number:03}")
}

fn entry(dim: usize, number: u64) -> VectorEntry {
    VectorEntry::new(id(number), vector(dim, number)).with_metadata(json!({ "number": number }))
}

async fn open(dir: &Path, dim: usize, config: HNSWConfig, graph_points_min: u64) -> (Database, HNSWVectorStorage) {
    let options = DatabaseOptions::new().graph_points_min(graph_points_min);
    let database = options.open(dir).await.unwrap();
    let vectors = database.vectors("s", dim, config).await.unwrap();
    (database, vectors)
}

/// What is asked with each vector, beyond its nearest that score 1.
type Asking = fn(VectorQuery) -> VectorQuery;

/// Every vector finds itself with a threshold of 1, at a distance of exactly 0.
async fn assert_each_finds_itself(vectors: &HNSWVectorStorage, dim: usize, path: SearchPath, asking: Asking) {
    for number in 0..COUNT {
        let query = asking(VectorQuery::new(vector(dim, number), 1).with_threshold(1.0));
        let explained = vectors.explain(&query).await.unwrap();
        assert!(
            explained.paths.contains(&path),
            "{path:?} is wanted: {:?}",
            explained.paths
        );

        let found = vectors.search(&query).await.unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|result| (result.id.as_str(), result.score, result.distance))
            .collect();
        assert_eq!(
            found,
            [(id(number).as_str(), 1.0, 0.0)],
            "{path:?} dim {dim} vector {number}"
        );
    }
}

#[tokio::test]
async fn an_exact_duplicate_scores_one_in_a_scope_without_a_graph() {
    for dim in DIMS {
        let dir = tempfile::tempdir().unwrap();
        let (_database, vectors) = open(dir.path(), dim, HNSWConfig::balanced(), 1_000_000).await;
        let entries = (0..COUNT).map(|number| entry(dim, number)).collect();
        vectors.insert(entries).await.unwrap();

        let askings: [Asking; 4] = [
            |query| query,
            // Asked again and without metadata, the names of a small scope are known by heart.
            |query| query.with_metadata(false),
            |query| query.with_exact(true),
            |query| query.with_filter(Filter::ge("number", 0)),
        ];
        for asking in askings {
            assert_each_finds_itself(&vectors, dim, SearchPath::Exact, asking).await;
        }
    }
}

#[tokio::test]
async fn an_exact_duplicate_scores_one_by_the_graph_and_in_its_tail_in_both_tiers() {
    for (dim, memory) in DIMS
        .into_iter()
        .flat_map(|dim| [Memory::Speed, Memory::Balanced, Memory::Lean].map(|memory| (dim, memory)))
    {
        let dir = tempfile::tempdir().unwrap();
        let config = HNSWConfig::balanced()
            .with_memory(memory)
            .with_ef_search(2 * COUNT as usize);
        let (_database, vectors) = open(dir.path(), dim, config, 16).await;
        let entries = |numbers: std::ops::Range<u64>| numbers.map(|number| entry(dim, number)).collect();
        vectors.insert(entries(0..COUNT - 20)).await.unwrap();
        vectors.build_index().await.unwrap();
        vectors.insert(entries(COUNT - 20..COUNT)).await.unwrap();

        assert_each_finds_itself(&vectors, dim, SearchPath::Graph, |query| query).await;
        let exact: Asking = |query| query.with_exact(true);
        assert_each_finds_itself(&vectors, dim, SearchPath::Exact, exact).await;
        let filtered: Asking = |query| query.with_filter(Filter::ge("number", 0));
        let query = filtered(VectorQuery::new(vector(dim, 0), 1).with_threshold(1.0));
        let path = vectors.explain(&query).await.unwrap().paths[0];
        assert_each_finds_itself(&vectors, dim, path, filtered).await;
    }
}

#[tokio::test]
async fn an_exact_duplicate_scores_one_in_each_of_several_scopes() {
    let dim = 384;
    let dir = tempfile::tempdir().unwrap();
    let (_database, vectors) = open(dir.path(), dim, HNSWConfig::balanced(), 1_000_000).await;
    let scopes = ["ada", "bob", "eve"].map(|name| StateScope::User(name.into()));
    for number in 0..COUNT {
        let of = |scope: &StateScope| entry(dim, number).with_scope(scope.clone());
        vectors.insert(scopes.iter().map(of).collect()).await.unwrap();
    }

    for number in 0..COUNT {
        let query = VectorQuery::new(vector(dim, number), 10)
            .with_threshold(1.0)
            .with_scopes(scopes.to_vec());
        let found = vectors.search(&query).await.unwrap();
        let found: Vec<_> = found
            .into_iter()
            .map(|result| (result.id, result.scope, result.score))
            .collect();
        let expected = scopes.clone().map(|scope| (id(number), Some(scope), 1.0));
        assert_eq!(found, expected, "vector {number}");
    }
}

/// What a model made from the same text again, and its multiple, are found by a threshold of 1; what is only near is not.
#[tokio::test]
async fn a_threshold_of_one_finds_multiples_and_nothing_that_is_only_near() {
    let dim = 384;
    let dir = tempfile::tempdir().unwrap();
    let (_database, vectors) = open(dir.path(), dim, HNSWConfig::balanced(), 1_000_000).await;
    for number in 0..20 {
        let scope = StateScope::Session(id(number));
        let own = vector(dim, number);
        let times = |factor: f32| own.iter().map(|component| component * factor).collect::<Vec<f32>>();
        let mut near = own.clone();
        near[7] += 0.02;
        let entries = [
            ("same", own.clone()),
            ("double", times(2.0)),
            ("third", times(1.0 / 3.0)),
            ("near", near),
        ];
        let entries = entries.map(|(id, vector)| VectorEntry::new(id, vector).with_scope(scope.clone()));
        vectors.insert(entries.to_vec()).await.unwrap();

        let query = VectorQuery::new(own, 10).with_scope(scope).with_threshold(1.0);
        let found = vectors.search(&query).await.unwrap();
        let mut found: Vec<_> = found.iter().map(|result| (result.id.as_str(), result.score)).collect();
        found.sort_by_key(|(id, _)| *id);
        assert_eq!(
            found,
            [("double", 1.0), ("same", 1.0), ("third", 1.0)],
            "vector {number}"
        );
    }
}
