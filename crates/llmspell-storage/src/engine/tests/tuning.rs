//! Searches reach the recall target although no `ef_search` is set.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use llmspell_core::{EfChoice, EfSource, HNSWConfig, MeasuredWith, StateScope, VectorEntry, VectorQuery};

use crate::indexes::files::Kind;
use crate::namespace::{Namespace, mixed};
use crate::{Database, DatabaseOptions, HNSWVectorStorage};

const DIM: usize = 24;
const COUNT: usize = 2_000;
/// The target of `config`, and the beam until it is measured.
const TARGET: f64 = 0.95;
const FIRST_EF: usize = 40;

/// A graph that is too sparse for its data, so that the beam of its preset misses much.
fn config() -> HNSWConfig {
    HNSWConfig::fast().with_m(4).with_ef_construction(8)
}

/// A number around zero: about normal.
fn noise(seed: u64) -> f32 {
    let uniform = |part: u64| (mixed(seed * 6 + part) >> 40) as f32 / (1 << 24) as f32;
    (0..6).map(uniform).sum::<f32>() - 3.0
}

/// Noise in all directions, which no graph likes.
fn vector(number: usize) -> Vec<f32> {
    (0..DIM).map(|i| noise((number * DIM + i) as u64)).collect()
}

/// A vector that is not stored.
fn query(number: usize) -> Vec<f32> {
    vector(1_000_000 + number)
}

fn tenant(name: &str) -> StateScope {
    StateScope::User(name.to_string())
}

async fn open(dir: &Path, config: HNSWConfig) -> (Database, HNSWVectorStorage) {
    let options = DatabaseOptions::new().graph_points_min(100);
    let database = options.open(dir).await.unwrap();
    let vectors = database.vectors("s", DIM, config).await.unwrap();
    (database, vectors)
}

async fn fill(vectors: &HNSWVectorStorage, scope: &StateScope, count: usize) {
    let entry = |number: usize| VectorEntry::new(format!("{number:05}"), vector(number)).with_scope(scope.clone());
    vectors.insert((0..count).map(entry).collect()).await.unwrap();
}

fn namespace(database: &Database, scope: &StateScope) -> Arc<Namespace> {
    let space = database.inner.shared.open_spaces().pop().unwrap();
    space.loaded(scope).unwrap()
}

async fn choice(vectors: &HNSWVectorStorage, scope: &StateScope) -> EfChoice {
    let stats = vectors.stats_for_scope(scope).await.unwrap();
    stats.index.unwrap().ef.unwrap()
}

/// Recall@10 of searches with vectors that are not stored, by distance, against exact answers.
async fn recall(vectors: &HNSWVectorStorage, scope: &StateScope, ef: Option<usize>) -> f64 {
    const QUERIES: usize = 200;
    let mut found = 0;
    for number in 0..QUERIES {
        let mut query = VectorQuery::new(query(number), 10).with_scope(scope.clone());
        let exact = vectors.search(&query.clone().with_exact(true)).await.unwrap();
        query.ef_search = ef;
        let results = vectors.search(&query).await.unwrap();
        let is_near = |distance: f32| distance <= exact[9].distance;
        found += results.iter().filter(|result| is_near(result.distance)).count();
    }
    found as f64 / (10 * QUERIES) as f64
}

#[tokio::test]
async fn after_a_load_and_build_index_searches_reach_the_target_that_the_preset_misses() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path(), config()).await;
    let scope = tenant("ada");
    fill(&vectors, &scope, COUNT).await;
    vectors.build_index().await.unwrap();

    let chosen = choice(&vectors, &scope).await;
    assert_eq!((chosen.source, chosen.target), (EfSource::Measured, TARGET));
    assert!(chosen.ef > FIRST_EF, "{chosen}");
    let measured = chosen.measured.unwrap();
    assert!(measured.recall >= TARGET && !measured.is_capped, "{chosen}");
    assert_eq!((measured.ef, measured.with), (chosen.ef, MeasuredWith::StoredVectors));
    let with_preset = recall(&vectors, &scope, Some(FIRST_EF)).await;
    assert!(with_preset < TARGET - 0.05, "{with_preset}");
    let by_default = recall(&vectors, &scope, None).await;
    assert!(by_default >= TARGET - 0.01, "{by_default} with {chosen}");

    let asked = VectorQuery::new(query(0), 10).with_scope(scope.clone());
    let plan = vectors.explain(&asked).await.unwrap();
    assert_eq!((plan.ef, plan.ef_choice), (chosen.ef, Some(chosen)));

    // The next opening finds it so, before anything is measured.
    drop(vectors);
    database.close().await.unwrap();
    let (database, vectors) = open(dir.path(), config()).await;
    let plan = vectors.explain(&asked).await.unwrap();
    assert_eq!(plan.ef_choice, Some(chosen));
    drop(vectors);
    database.close().await.unwrap();

    // Another target is another question.
    let (database, vectors) = open(dir.path(), config().with_recall_target(0.6)).await;
    let plan = vectors.explain(&asked).await.unwrap();
    let other = plan.ef_choice.unwrap();
    assert_eq!((other.ef, other.target), (FIRST_EF, 0.6));
    assert!(other.source == EfSource::Preset || other.measured != chosen.measured);
    vectors.build_index().await.unwrap();
    let other = choice(&vectors, &scope).await;
    assert_eq!((other.source, other.target), (EfSource::Measured, 0.6));
    assert!(other.ef < chosen.ef && other.measured.unwrap().recall >= 0.6, "{other}");
    drop(vectors);
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_named_ef_search_wins_and_then_nothing_is_measured_or_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path(), config().with_ef_search(33)).await;
    let scope = tenant("ada");
    fill(&vectors, &scope, 300).await;
    vectors.build_index().await.unwrap();
    vectors.optimize_index().await.unwrap();
    for number in 0..300 {
        let query = VectorQuery::new(query(number), 10).with_scope(scope.clone());
        vectors.search(&query).await.unwrap();
    }
    vectors.build_index().await.unwrap();
    let chosen = choice(&vectors, &scope).await;
    assert_eq!(
        (chosen.ef, chosen.source, chosen.measured),
        (33, EfSource::Config, None)
    );
    let known = namespace(&database, &scope);
    assert_eq!((known.measured(), known.remembered_count()), (None, 0));

    // Of a space that chooses, a query that names its own has its own.
    let vectors = database.vectors("s", DIM, config()).await.unwrap();
    vectors.build_index().await.unwrap();
    assert_eq!(choice(&vectors, &scope).await.source, EfSource::Measured);
    let named = VectorQuery::new(query(0), 10)
        .with_scope(scope.clone())
        .with_ef_search(17);
    let plan = vectors.explain(&named).await.unwrap();
    let chosen = plan.ef_choice.unwrap();
    assert_eq!((plan.ef, chosen.ef, chosen.source), (17, 17, EfSource::Query));
}

#[tokio::test]
async fn a_scope_without_a_graph_is_never_measured_and_its_queries_are_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path(), config()).await;
    let scope = tenant("small");
    fill(&vectors, &scope, 99).await;
    for number in 0..300 {
        let query = VectorQuery::new(query(number), 10).with_scope(scope.clone());
        vectors.search(&query).await.unwrap();
    }
    vectors.build_index().await.unwrap();
    let known = namespace(&database, &scope);
    assert_eq!((known.measured(), known.remembered_count()), (None, 0));
    let plan = vectors
        .explain(&VectorQuery::new(query(0), 10).with_scope(scope.clone()))
        .await
        .unwrap();
    assert_eq!((plan.ef, plan.ef_choice), (0, None));
}

#[tokio::test]
async fn a_tenant_is_measured_with_its_own_queries_and_no_other_tenant_is() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path(), config()).await;
    let (busy, idle) = (tenant("busy"), tenant("idle"));
    fill(&vectors, &busy, 500).await;
    fill(&vectors, &idle, 500).await;
    vectors.build_index().await.unwrap();
    let before = choice(&vectors, &idle).await;
    assert_eq!(
        choice(&vectors, &busy).await.measured.unwrap().with,
        MeasuredWith::StoredVectors
    );

    for number in 0..300 {
        let query = VectorQuery::new(query(number), 10).with_scope(busy.clone());
        vectors.search(&query).await.unwrap();
    }
    vectors.build_index().await.unwrap();
    let measured = choice(&vectors, &busy).await.measured.unwrap();
    assert_eq!((measured.with, measured.queries), (MeasuredWith::Queries, 256));
    assert_eq!(choice(&vectors, &idle).await, before, "it got no query");
    assert_eq!(namespace(&database, &idle).remembered_count(), 0);

    let queries = &database.inner.shared.budget.queries;
    assert!(queries.bytes() > 0);
    let known = namespace(&database, &busy);
    vectors.delete_scope(&busy).await.unwrap();
    assert_eq!(
        (known.remembered_count(), queries.bytes()),
        (0, 0),
        "a dropped scope leaves no query"
    );
    // A caller that held it before cannot bring a query back.
    assert!(!known.remember_query(&query(1), queries));
    assert_eq!(queries.bytes(), 0);
}

#[tokio::test]
async fn it_is_measured_in_the_background_too_and_does_not_count_as_indexing() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path(), config()).await;
    let scope = tenant("ada");
    fill(&vectors, &scope, 1_000).await;
    let mut was_quiet_before = false;
    for _ in 0..600 {
        let stats = vectors.stats_for_scope(&scope).await.unwrap();
        let measured = stats.index.and_then(|index| index.ef?.measured);
        if measured.is_some() {
            let row = namespace(&database, &scope).state().files.row(Kind::Graph);
            if row.is_some_and(|row| row.measured.is_some()) {
                assert!(was_quiet_before, "it rests while it measures");
                return;
            }
        }
        let is_indexed = stats.tail_vectors == 0;
        was_quiet_before |= is_indexed && !vectors.stats().await.unwrap().indexing;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was not measured: {:?}", choice(&vectors, &scope).await);
}
