//! Searches by leading components are as good as documented.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::HashSet;

use llmspell_storage::{
    DatabaseOptions, DimensionRouter, DistanceMetric, EmbeddingModel, Filter, HNSWConfig, Memory, ModelSpace,
    StateScope, StorageError, VectorEntry, VectorQuery,
};
use serde_json::json;

const SCOPE: StateScope = StateScope::Global;
const DIM: usize = 96;
const CUTS: [usize; 3] = [16, 32, 48];
const COUNT: usize = 4_000;
const K: usize = 10;

/// Vectors of a model that is Matryoshka: what comes later tells less. Clustered, and of any length.
struct Vectors(u64);

impl Vectors {
    fn uniform(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5
    }

    fn next(&mut self) -> Vec<f32> {
        let cluster = (self.uniform() * 40.0) as i32;
        let mut center = Self((cluster + 100) as u64);
        let length = 1.0 + self.uniform();
        (0..DIM)
            .map(|place| length * (center.uniform() + 0.7 * self.uniform()) * 0.96_f32.powi(place as i32))
            .collect()
    }
}

fn model() -> EmbeddingModel {
    EmbeddingModel::new("m", DIM).with_matryoshka(CUTS)
}

fn distance(metric: DistanceMetric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    match metric {
        DistanceMetric::Cosine => {
            let norm = |v: &[f32]| v.iter().map(|c| f64::from(*c).powi(2)).sum::<f64>().sqrt();
            1.0 - dot / norm(a) / norm(b)
        }
        DistanceMetric::InnerProduct => -dot,
        _ => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
    }
}

/// The nearest by so many leading components.
fn nearest(vectors: &[Vec<f32>], query: &[f32], dim: usize, metric: DistanceMetric) -> HashSet<String> {
    let mut all: Vec<(f64, usize)> = vectors
        .iter()
        .enumerate()
        .map(|(number, vector)| (distance(metric, &query[..dim], &vector[..dim]), number))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.iter().take(K).map(|(_, number)| number.to_string()).collect()
}

async fn store(space: ModelSpace, vectors: &[Vec<f32>], graph_points_min: u64) -> (tempfile::TempDir, DimensionRouter) {
    let directory = tempfile::tempdir().unwrap();
    let options = DatabaseOptions::new().graph_points_min(graph_points_min);
    let database = options.open(directory.path()).await.unwrap();
    let router = database.router(HNSWConfig::balanced()).await.unwrap();
    router.register_model(space).await.unwrap();
    let entries = vectors.iter().enumerate().map(|(number, vector)| {
        VectorEntry::new(number.to_string(), vector.clone())
            .with_model("m")
            .with_metadata(json!({"third": number % 3}))
    });
    router.insert(entries.collect()).await.unwrap();
    router.build_index().await.unwrap();
    (directory, router)
}

fn made(seed: u64, count: usize) -> Vec<Vec<f32>> {
    let mut vectors = Vectors(seed);
    (0..count).map(|_| vectors.next()).collect()
}

/// Recall of the router's answers to whole queries cut at `asked`, against the nearest by `truth` components.
async fn recall(
    router: &DimensionRouter,
    vectors: &[Vec<f32>],
    (asked, truth): (usize, usize),
    metric: DistanceMetric,
    adjust: impl Fn(VectorQuery) -> VectorQuery,
) -> f64 {
    let queries = made(99, 50);
    let mut found = 0;
    for query in &queries {
        let hits = router
            .search(&adjust(VectorQuery::new(query[..asked].to_vec(), K).with_model("m")))
            .await
            .unwrap();
        assert_eq!(hits.len(), K);
        for hit in &hits {
            let vector = &vectors[hit.id.parse::<usize>().unwrap()];
            let exact = distance(metric, &query[..truth], &vector[..truth]);
            assert!(
                (f64::from(hit.distance) - exact).abs() < 1e-4,
                "{} is not {exact}",
                hit.distance
            );
        }
        let nearest = nearest(vectors, query, truth, metric);
        found += hits.iter().filter(|hit| nearest.contains(&hit.id)).count();
    }
    found as f64 / (K * queries.len()) as f64
}

#[tokio::test]
async fn a_graph_of_leading_components_finds_the_nearest_by_all_of_them() {
    let vectors = made(1, COUNT);
    for metric in [
        DistanceMetric::Cosine,
        DistanceMetric::Euclidean,
        DistanceMetric::InnerProduct,
    ] {
        for memory in [Memory::Balanced, Memory::Speed, Memory::Lean] {
            let index = HNSWConfig::balanced().with_memory(memory);
            let space = ModelSpace::new(model().with_metric(metric))
                .with_index(index)
                .with_index_dim(32);
            let (_directory, router) = store(space, &vectors, 100).await;
            let index = router.stats_for_scope(&SCOPE).await.unwrap().index.unwrap();
            assert_eq!((index.points, index.dim), (COUNT as u64, 32));
            let recall = recall(&router, &vectors, (DIM, DIM), metric, |query| query).await;
            assert!(recall > 0.95, "{metric} {memory:?}: {recall}");
            let plan = router
                .explain(&VectorQuery::new(vectors[0].clone(), K).with_model("m"))
                .await
                .unwrap();
            // As long as there is hope for a better one.
            assert!(plan.rescored >= (K + 100 / 8) as u64, "{plan}");
        }
    }
}

#[tokio::test]
async fn a_filter_chooses_among_all_while_the_graph_looks_at_leading_components() {
    let vectors = made(1, COUNT);
    let space = ModelSpace::new(model()).with_index_dim(32);
    let (_directory, router) = store(space, &vectors, 100).await;
    for query in made(98, 20) {
        let of_third = VectorQuery::new(query.clone(), K)
            .with_model("m")
            .with_filter(Filter::eq("third", 1));
        let hits = router.search(&of_third).await.unwrap();
        let exact = router.search(&of_third.clone().with_exact(true)).await.unwrap();
        let exact: HashSet<_> = exact.iter().map(|hit| &hit.id).collect();
        assert_eq!(hits.len(), K);
        assert!(hits.iter().all(|hit| hit.id.parse::<usize>().unwrap() % 3 == 1));
        assert!(hits.iter().filter(|hit| exact.contains(&hit.id)).count() >= 8);
    }
}

#[tokio::test]
async fn a_filter_that_many_pass_is_answered_by_each_way_while_the_graph_looks_at_leading_components() {
    let vectors = made(3, 15_000);
    let space = ModelSpace::new(model()).with_index_dim(16);
    let (_directory, router) = store(space, &vectors, 100).await;
    let not_first = Filter::ne("third", 0);
    for query in made(97, 5) {
        let query = VectorQuery::new(query, K)
            .with_model("m")
            .with_filter(not_first.clone());
        let exact = router.search(&query.clone().with_exact(true)).await.unwrap();
        let exact: HashSet<_> = exact.iter().map(|hit| &hit.id).collect();
        let mut paths = HashSet::new();
        // So wide a beam is no walk any more: who passes is put into groups, and walks ask these where the query is.
        for ef in [32, 2_000, 32] {
            let query = query.clone().with_ef_search(ef);
            let plan = router.explain(&query).await.unwrap();
            paths.extend(plan.paths.iter().map(|path| format!("{path:?}")));
            let hits = router.search(&query).await.unwrap();
            assert_eq!(hits.len(), K);
            let found = hits.iter().filter(|hit| exact.contains(&hit.id)).count();
            assert!(found >= 7, "{found} of {K} with a beam of {ef}: {plan}");
        }
        assert!(paths.len() >= 2, "{paths:?}");
    }
}

#[tokio::test]
async fn a_shorter_query_compares_its_components_with_as_many_leading_ones() {
    let vectors = made(2, COUNT);
    for metric in [
        DistanceMetric::Cosine,
        DistanceMetric::Euclidean,
        DistanceMetric::InnerProduct,
    ] {
        let space = ModelSpace::new(model().with_metric(metric));
        // By a scan, which is exact; by a graph over all components, and by one over as many or fewer.
        for (index_dim, graph_points_min, at_least) in [
            (None, 1_000_000, 1.0),
            (None, 100, 0.9),
            (Some(32), 100, 0.95),
            (Some(16), 100, 0.8),
        ] {
            let mut space = space.clone();
            if let Some(dim) = index_dim {
                space = space.with_index_dim(dim);
            }
            let (_directory, router) = store(space, &vectors, graph_points_min).await;
            let recall = recall(&router, &vectors, (32, 32), metric, |query| query).await;
            assert!(recall >= at_least, "{metric}, index over {index_dim:?}: {recall}");
        }
    }
}

#[tokio::test]
async fn a_stored_part_answers_as_an_exact_search_on_that_part_does() {
    let vectors = made(3, COUNT);
    let space = ModelSpace::new(model()).with_store_dim(48);
    let (_directory, router) = store(space, &vectors, 100).await;
    for asked in [DIM, 48] {
        let recall = recall(&router, &vectors, (asked, 48), DistanceMetric::Cosine, |query| query).await;
        assert!(recall > 0.97, "{recall}");
        let exact = |query: VectorQuery| query.with_exact(true);
        assert!(self::recall(&router, &vectors, (asked, 48), DistanceMetric::Cosine, exact).await > 0.999);
    }
    let query = |dim: usize| VectorQuery::new(vec![1.0; dim], 1).with_model("m");
    for dim in [17, 47, 49, 95, 97] {
        let error = router.search(&query(dim)).await.unwrap_err();
        assert!(
            matches!(error, StorageError::ModelDimension { got, .. } if got == dim),
            "{error}"
        );
    }
    assert_eq!(router.search(&query(16)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn other_leading_components_make_another_graph_and_searches_go_on_meanwhile() {
    let vectors = made(4, 1_000);
    let (_directory, router) = store(ModelSpace::new(model()), &vectors, 100).await;
    for dim in [Some(16), Some(48), None] {
        let mut space = ModelSpace::new(model());
        if let Some(dim) = dim {
            space = space.with_index_dim(dim);
        }
        router.register_model(space).await.unwrap();
        let recall = recall(&router, &vectors, (DIM, DIM), DistanceMetric::Cosine, |query| query).await;
        assert!(recall > 0.9, "{recall}");
        router.build_index().await.unwrap();
        let index = router.stats_for_scope(&SCOPE).await.unwrap().index.unwrap();
        assert_eq!(index.dim, dim.unwrap_or(DIM));
        let added = VectorEntry::new(format!("new {dim:?}"), vectors[0].clone()).with_model("m");
        router.insert(vec![added]).await.unwrap();
        router.delete(&SCOPE, &[format!("new {dim:?}")]).await.unwrap();
    }
}

#[tokio::test]
async fn an_index_over_a_part_of_vectors_that_cannot_be_cut_is_refused_unless_forced() {
    let router = DimensionRouter::new(HNSWConfig::balanced());
    let plain = EmbeddingModel::new("plain", DIM);
    let error = router
        .register_model(ModelSpace::new(plain.clone()).with_index_dim(32))
        .await
        .unwrap_err();
    assert!(matches!(error, StorageError::NotMatryoshka { got: 32, .. }));
    let by_config = ModelSpace::new(plain.clone()).with_index(HNSWConfig::fast().with_index_dim(32));
    assert!(matches!(
        router.register_model(by_config.clone()).await,
        Err(StorageError::NotMatryoshka { .. })
    ));
    router.register_model(by_config.forced()).await.unwrap();
    let too_long = ModelSpace::new(model()).with_store_dim(DIM + 1);
    let error = router.register_model(too_long).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "model `m`: a cut point is 97; it must be within 1..=96"
    );
    assert!(HNSWConfig::fast().with_index_dim(0).validate().is_err());
}
