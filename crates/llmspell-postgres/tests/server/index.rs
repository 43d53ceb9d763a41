//! Indexes are used, and answers are right with them.

use llmspell_core::{DistanceMetric, Filter, HNSWConfig, SearchPath, StateScope, VectorEntry, VectorQuery};
use llmspell_postgres::{PostgresConfig, PostgresDatabase, PostgresVectors};
use llmspell_testkit::Random;
use serde_json::json;

use super::common::{connect, drop_schema, new_schema, with_server};

fn vectors(count: usize, dim: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut random = Random::new(&[seed]);
    let component = |random: &mut Random| random.below(2_001) as f32 / 1_000.0 - 1.0;
    (0..count)
        .map(|_| (0..dim).map(|_| component(&mut random)).collect())
        .collect()
}

fn scope() -> StateScope {
    StateScope::User("many".to_string())
}

async fn filled(database: &PostgresDatabase, count: usize, dim: usize, config: HNSWConfig) -> PostgresVectors {
    let name = format!("{dim} {}", config.metric());
    let store = database.vectors(&name, dim, config).await.unwrap();
    let entries = vectors(count, dim, 1).into_iter().enumerate().map(|(number, vector)| {
        VectorEntry::new(format!("{number:05}"), vector)
            .with_scope(scope())
            .with_metadata(json!({"n": number, "rare": number % 500 == 0, "text": "some words"}))
    });
    store.insert(entries.collect()).await.unwrap();
    store
        .insert(vec![VectorEntry::new("elsewhere", vectors(1, dim, 9).remove(0))])
        .await
        .unwrap();
    store
}

/// Share of the ten nearest that are found, and whether all scores are those of whole vectors.
async fn recall(store: &PostgresVectors, dim: usize) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for query in vectors(if dim > 1_000 { 5 } else { 20 }, dim, 2) {
        let query = VectorQuery::new(query, 10).with_scope(scope());
        let exact = store.search(&query.clone().with_exact(true)).await.unwrap();
        let approximate = store.search(&query).await.unwrap();
        assert_eq!(approximate.len(), 10);
        wanted += exact.len();
        for result in &approximate {
            if let Some(same) = exact.iter().find(|other| other.id == result.id) {
                assert_eq!(same, result, "an index changes no score");
                found += 1;
            }
        }
    }
    f64::from(found) / wanted as f64
}

#[test]
fn a_large_scope_is_searched_by_its_index_and_k_is_k() {
    with_server("indexes", async |url| {
        let schema = new_schema();
        let config = PostgresConfig::new(&url)
            .with_schema(&schema)
            .with_exact_scan_max(1_000);
        let database = PostgresDatabase::open(config).await.unwrap();
        for metric in DistanceMetric::ALL {
            let store = filled(&database, 2_000, 16, HNSWConfig::balanced().with_metric(metric)).await;
            let query = || VectorQuery::new(vectors(1, 16, 3).remove(0), 10).with_scope(scope());
            assert_eq!(
                store.explain(&query()).await.unwrap().paths,
                [SearchPath::Exact],
                "before it is built"
            );
            store.build_index().await.unwrap();
            let plan = store.explain(&query()).await.unwrap();
            assert_eq!(plan.paths, [SearchPath::Graph]);
            assert_eq!((plan.live, plan.tail, plan.results), (2_000, 0, 10));
            assert!(recall(&store, 16).await > 0.95, "{metric}");

            // Four entries of 2,000 match: the walk ends before it has met them all, or not, and all four are found.
            let rare = query().with_filter(Filter::eq("rare", true));
            assert_eq!(store.search(&rare).await.unwrap().len(), 4);
            let words = query().with_filter("text matches 'words' and n < 700".parse().unwrap());
            assert_eq!(store.search(&words).await.unwrap().len(), 10);
            let none = query().with_filter("text matches 'absent'".parse().unwrap());
            let plan = store.explain(&none).await.unwrap();
            assert_eq!((plan.results, plan.matching), (0, 0));
            assert_eq!(
                plan.paths,
                [SearchPath::GraphAfter, SearchPath::Exact],
                "too few, so all are compared"
            );
            assert!(
                plan.stages[0].name.contains("SQL cannot decide"),
                "{}",
                plan.stages[0].name
            );
            assert_eq!(store.search(&query().with_k(1_500)).await.unwrap().len(), 1_500);

            // What is written later is in the index at once.
            let new = VectorEntry::new("new", query().vector).with_scope(scope());
            store.upsert(vec![new]).await.unwrap();
            let nearest = store.search(&query().with_k(2_001)).await.unwrap();
            assert!(nearest.iter().any(|result| result.id == "new"), "{metric}");
            store.optimize_index().await.unwrap();
            assert!(store.stats_for_scope(&scope()).await.unwrap().index.is_some());
            assert_eq!(store.stats().await.unwrap().indexed_vectors, 2_001);
        }
        drop_schema(&url, &schema).await;
    });
}

/// `EXPLAIN` as the service role, under row-level security: the index of the scope gives the order.
#[test]
fn the_index_serves_under_row_level_security() {
    with_server("indexes under row-level security", async |url| {
        let schema = new_schema();
        let service = super::common::new_role(&url, "service").await;
        let config = PostgresConfig::new(&url)
            .with_schema(&schema)
            .with_exact_scan_max(100)
            .with_service_role(&service);
        let database = PostgresDatabase::open(config).await.unwrap();
        let store = filled(&database, 500, 8, HNSWConfig::balanced()).await;
        store.build_index().await.unwrap();
        let client = connect(&super::common::as_role(&url, &service)).await;
        let hex: String = scope().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let settings = format!(
            "BEGIN; SET LOCAL llmspell.scope = 'x{hex}'; SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off"
        );
        client.batch_execute(&settings).await.unwrap();
        let explain = |order: &str| {
            format!("EXPLAIN SELECT id FROM \"{schema}\".space_1 WHERE scope = '\\x{hex}' ORDER BY {order} LIMIT 10")
        };
        let plan = async |sql: String| {
            let rows = client.query(&sql, &[]).await.unwrap();
            rows.iter()
                .map(|row| row.get::<_, String>(0))
                .collect::<Vec<_>>()
                .join("\n")
        };
        let by_index = plan(explain("v <=> '[1,0,0,0,0,0,0,0]'::vector")).await;
        assert!(by_index.contains("Index Scan using s1_"), "{by_index}");
        let exact = plan(explain("(v <=> '[1,0,0,0,0,0,0,0]'::vector) + 0")).await;
        assert!(!exact.contains("s1_"), "{exact}");
        // The primary key leads to the rows of a scope: its condition is one that row-level security lets come first.
        client.batch_execute("SET LOCAL enable_bitmapscan = off").await.unwrap();
        let of_scope = plan(format!(
            "EXPLAIN SELECT id FROM \"{schema}\".space_1 WHERE scope = '\\x00'"
        ))
        .await;
        assert!(of_scope.contains("Index Cond: (scope = "), "{of_scope}");
        drop(client);
        drop((store, database));
        drop_schema(&url, &schema).await;
        super::common::drop_role(&url, &service).await;
    });
}

/// Above 2,000 components `vector` has no index, above 4,000 `halfvec` neither; 4,096 are those of a large model.
#[test]
fn long_vectors_have_indexes_of_less_and_scores_of_all_components() {
    with_server("indexes of long vectors", async |url| {
        let schema = new_schema();
        let config = PostgresConfig::new(&url).with_schema(&schema).with_exact_scan_max(50);
        let database = PostgresDatabase::open(config).await.unwrap();
        for (dim, leading, code) in [
            (2_500, None, "half"),
            (4_096, None, "signs"),
            (4_096, Some(1_024), "leading 1024"),
        ] {
            let metric = if leading.is_some() {
                DistanceMetric::Euclidean
            } else {
                DistanceMetric::Cosine
            };
            let config = HNSWConfig::balanced().with_metric(metric).with_index_dim(leading);
            let store = filled(&database, 120, dim, config).await;
            store.build_index().await.unwrap();
            let stats = store.stats_for_scope(&scope()).await.unwrap();
            let index = stats.index.unwrap();
            assert_eq!(index.code, code);
            assert!(index.file_bytes > 0);
            let recall = recall(&store, dim).await;
            println!("{dim} components, {code}: {recall:.2} of the ten nearest of 120");
            assert!(recall > 0.9, "{dim} components, {code}: {recall}");
        }
        drop_schema(&url, &schema).await;
    });
}

/// The largest vectors that pgvector stores come back bit for bit; sums that overflow the server's `f32` mislead no search.
#[test]
fn extreme_vectors_are_stored_and_found() {
    with_server("extreme vectors", async |url| {
        let (database, schema) = super::common::open(&url).await;
        let config = || HNSWConfig::balanced().with_metric(DistanceMetric::Euclidean);
        let store = database.vectors("16000", 16_000, config()).await.unwrap();
        let long = vectors(1, 16_000, 4).remove(0);
        store.insert(vec![VectorEntry::new("long", &long[..])]).await.unwrap();
        let entry = store.get(&StateScope::Global, "long").await.unwrap().unwrap();
        assert_eq!(entry.embedding, long);
        let nearest = store.search(&VectorQuery::new(long, 1)).await.unwrap();
        assert_eq!(nearest[0].distance, 0.0);

        for metric in DistanceMetric::ALL {
            let store = database
                .vectors(metric.name(), 2, config().with_metric(metric))
                .await
                .unwrap();
            let components: [[f32; 2]; 8] = [
                [1.8e19, 0.0],
                [-1.8e19, 1.0],
                [1e-14, 1e-14],
                [1e-30, 2e-15],
                [3.0, -4.0],
                [1.7e19, 1.0],
                [5e-15, 0.0],
                [1.0, 1.0],
            ];
            let entry = |number: usize| VectorEntry::new(format!("{number}"), components[number % 8]);
            // Many of each, so that ties reach beyond every shortlist.
            store.insert((0..160).map(entry).collect()).await.unwrap();
            for query in [[1.8e19_f32, 0.0], [1e-14, 2e-14], [-3.0, 4.0]] {
                let distance = llmspell_vector::ExactDistance::new(kernel(metric), &query);
                let mut expected: Vec<(f32, String)> = (0..160)
                    .map(|number| (distance.distance(&components[number % 8]), format!("{number}")))
                    .collect();
                expected.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
                let found = store
                    .search(&VectorQuery::new(query, 12).with_exact(true))
                    .await
                    .unwrap();
                let found: Vec<(f32, String)> = found.into_iter().map(|result| (result.distance, result.id)).collect();
                assert_eq!(found, expected[..12], "{metric} {query:?}");
            }
        }
        drop_schema(&url, &schema).await;
    });
}

/// Near-duplicates are nearer to each other than the server's rounding: its order says little, and the answer is right all the same.
#[test]
fn near_duplicates_are_ranked_by_their_true_distances() {
    with_server("near-duplicates", async |url| {
        const DIM: usize = 64;
        let (database, schema) = super::common::open(&url).await;
        let base = vectors(1, DIM, 5).remove(0);
        let offsets = vectors(300, DIM, 6);
        let near = |number: usize| -> Vec<f32> {
            let size = 1e-6 * (1.0 + (number * 37 % 300) as f32 / 100.0);
            base.iter()
                .zip(&offsets[number])
                .map(|(own, offset)| own + size * offset)
                .collect()
        };
        for metric in [
            DistanceMetric::Cosine,
            DistanceMetric::InnerProduct,
            DistanceMetric::Euclidean,
        ] {
            let config = HNSWConfig::balanced().with_metric(metric);
            let store = database.vectors(metric.name(), DIM, config).await.unwrap();
            let entry = |number: usize| VectorEntry::new(format!("{number:03}"), near(number));
            store.insert((0..300).map(entry).collect()).await.unwrap();
            let distance = llmspell_vector::ExactDistance::new(kernel(metric), &base);
            let mut expected: Vec<(f32, String)> = (0..300)
                .map(|number| (distance.distance(&near(number)), format!("{number:03}")))
                .collect();
            expected.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
            let found = store
                .search(&VectorQuery::new(&base[..], 10).with_exact(true))
                .await
                .unwrap();
            let found: Vec<(f32, String)> = found.into_iter().map(|result| (result.distance, result.id)).collect();
            assert_eq!(found, expected[..10], "{metric}");
        }
        drop_schema(&url, &schema).await;
    });
}

fn kernel(metric: DistanceMetric) -> llmspell_vector::Metric {
    match metric {
        DistanceMetric::Cosine => llmspell_vector::Metric::Cosine,
        DistanceMetric::Euclidean => llmspell_vector::Metric::Euclidean,
        DistanceMetric::InnerProduct => llmspell_vector::Metric::InnerProduct,
        DistanceMetric::Manhattan => llmspell_vector::Metric::Manhattan,
    }
}
