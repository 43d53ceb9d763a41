//! Measures the store beside hand-written SQL through the same driver: `DATABASE_URL=… cargo run --release -p llmspell-postgres
//! --example measure [ENTRIES [SCOPES]]`, or by `cargo xtask postgres -- cargo run …`.
//!
//! The hand-written SQL has a table of its own without row-level security, a prepared statement and one connection, and returns ids and
//! distances. Times of both are taken in turn, so that other work on the machine slows both.

#![expect(clippy::unwrap_used, reason = "a measurement ends with the first error")]

use std::time::{Duration, Instant};

use llmspell_core::{HNSWConfig, StateScope, VectorEntry, VectorQuery};
use llmspell_postgres::{PostgresConfig, PostgresDatabase};
use pgvector::Vector;

const DIM: usize = 384;
const SCHEMA: &str = "llmspell_measure";
const ROUNDS: usize = 300;

#[tokio::main]
async fn main() {
    let url = std::env::var("DATABASE_URL").expect("set DATABASE_URL to a server that may be written to");
    let mut numbers = std::env::args()
        .skip(1)
        .map(|number| number.parse::<usize>().expect("a number"));
    let (entries, scopes) = (numbers.next().unwrap_or(20_000), numbers.next().unwrap_or(2_000));
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        .await
        .unwrap();
    let config = PostgresConfig::new(&url)
        .with_schema(SCHEMA)
        .with_exact_scan_max(entries as u64 / 2);
    let database = PostgresDatabase::open(config).await.unwrap();
    let store = database.vectors("notes", DIM, HNSWConfig::balanced()).await.unwrap();
    let table = format!("{SCHEMA}.by_hand");
    client
        .batch_execute(&format!(
            "CREATE TABLE {table} (scope bytea, id bytea, v vector({DIM}) NOT NULL, fields jsonb NOT NULL, PRIMARY KEY (scope, id)); \
             ALTER TABLE {table} ALTER COLUMN v SET STORAGE EXTERNAL"
        ))
        .await
        .unwrap();

    // Load.
    let large = StateScope::User("large".to_string());
    let started = Instant::now();
    for begin in (0..entries).step_by(5_000) {
        let batch = (begin..entries.min(begin + 5_000)).map(|number| entry(number, &large));
        store.insert(batch.collect()).await.unwrap();
    }
    let elapsed = started.elapsed().as_secs_f64();
    println!(
        "load: {:.0} vectors of {DIM} a second, in batches of 5,000, without an index",
        entries as f64 / elapsed
    );
    let copied = format!(
        "INSERT INTO {table} SELECT scope, id, v, fields FROM {SCHEMA}.space_1; \
         CREATE INDEX ON {table} USING hnsw (v vector_cosine_ops) WITH (m = 16, ef_construction = 100); ANALYZE {table}"
    );
    client.batch_execute("SET maintenance_work_mem = '1GB'").await.unwrap();
    let started = Instant::now();
    client.batch_execute(&copied).await.unwrap();
    println!("index by hand: {:.0} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    store.build_index().await.unwrap();
    println!("index of the store: {:.0} s", started.elapsed().as_secs_f64());

    let scope = large.to_bytes();
    let get = client
        .prepare(&format!(
            "SELECT id, v, fields::text FROM {table} WHERE scope = $1 AND id = $2"
        ))
        .await
        .unwrap();
    let mut times = Pair::default();
    for round in 0..ROUNDS {
        let id = id(round * 7 % entries);
        times
            .one(async || drop(client.query(&get, &[&scope, &id.as_bytes()]).await.unwrap()))
            .await;
        times
            .other(async || drop(store.get(&large, &id).await.unwrap().unwrap()))
            .await;
    }
    times.print("get");

    let insert = format!("INSERT INTO {table} (scope, id, v, fields) VALUES ($1, $2, $3, $4::text::jsonb)");
    let insert = client.prepare(&insert).await.unwrap();
    let mut times = Pair::default();
    for round in 0..ROUNDS {
        let new = entry(entries + round, &large);
        let (id, vector, json) = (
            new.id.clone(),
            Vector::from(new.embedding.clone()),
            new.metadata.to_string(),
        );
        times
            .one(async || {
                assert_eq!(
                    client
                        .execute(&insert, &[&scope, &id.as_bytes(), &vector, &json])
                        .await
                        .unwrap(),
                    1
                );
            })
            .await;
        times
            .other(async || drop(store.insert(vec![new.clone()]).await.unwrap()))
            .await;
    }
    times.print("insert of one, with an index");

    client.batch_execute("SET hnsw.ef_search = 100").await.unwrap();
    let by_index = format!("SELECT id, v <=> $2 FROM {table} WHERE scope = $1 ORDER BY v <=> $2 LIMIT 10");
    search(
        &client,
        &by_index,
        &store,
        &large,
        "search by an index, k 10, ef 100",
        false,
    )
    .await;

    // Many scopes.
    for begin in (0..scopes).step_by(100) {
        let batch = (begin..scopes.min(begin + 100)).flat_map(|number| {
            let scope = StateScope::User(format!("{number}"));
            (0..50).map(move |place| entry(number * 50 + place, &scope))
        });
        store.insert(batch.collect()).await.unwrap();
    }
    client
        .batch_execute(&format!(
            "TRUNCATE {table}; DROP INDEX {SCHEMA}.by_hand_v_idx; INSERT INTO {table} \
        SELECT scope, id, v, fields FROM {SCHEMA}.space_1; ANALYZE {table}; ANALYZE {SCHEMA}.space_1"
        ))
        .await
        .unwrap();
    let exact = format!("SELECT id, v <=> $2 AS d FROM {table} WHERE scope = $1 ORDER BY d, id LIMIT 10");
    let one = StateScope::User(format!("{}", scopes / 2));
    search(
        &client,
        &exact,
        &store,
        &one,
        &format!("search in one of {scopes} scopes of 50"),
        true,
    )
    .await;
    client
        .batch_execute(&format!("DROP SCHEMA {SCHEMA} CASCADE"))
        .await
        .unwrap();
}

async fn search(
    client: &tokio_postgres::Client,
    sql: &str,
    store: &llmspell_postgres::PostgresVectors,
    scope: &StateScope,
    what: &str,
    is_exact: bool,
) {
    let statement = client.prepare(sql).await.unwrap();
    let mut times = Pair::default();
    let bytes = scope.to_bytes();
    for round in 0..ROUNDS {
        let vector = entry(round * 31 + 1_000_000, scope).embedding;
        let query = VectorQuery::new(vector.clone(), 10)
            .with_scope(scope.clone())
            .with_ef_search(100)
            .with_exact(is_exact);
        let vector = Vector::from(vector);
        times
            .one(async || assert_eq!(client.query(&statement, &[&bytes, &vector]).await.unwrap().len(), 10))
            .await;
        times
            .other(async || assert_eq!(store.search(&query).await.unwrap().len(), 10))
            .await;
    }
    times.print(what);
}

fn id(number: usize) -> String {
    format!("note-{number:08}")
}

/// Around one of 100 centers, so that neighbors are near.
fn entry(number: usize, scope: &StateScope) -> VectorEntry {
    let mut state = number as u64 + 1;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    let vector: Vec<f32> = (0..DIM)
        .map(|axis| next() + ((number % 100 * 7 + axis) % 13) as f32 / 13.0 - 0.5)
        .collect();
    let metadata = serde_json::json!({"lang": "en", "n": number});
    VectorEntry::new(id(number), vector)
        .with_scope(scope.clone())
        .with_metadata(metadata)
}

/// Times by hand and of the store.
#[derive(Default)]
struct Pair {
    by_hand: Vec<Duration>,
    store: Vec<Duration>,
}

impl Pair {
    async fn one(&mut self, call: impl AsyncFn()) {
        let started = Instant::now();
        call().await;
        self.by_hand.push(started.elapsed());
    }

    async fn other(&mut self, call: impl AsyncFn()) {
        let started = Instant::now();
        call().await;
        self.store.push(started.elapsed());
    }

    fn print(&mut self, what: &str) {
        self.by_hand.sort();
        self.store.sort();
        let micros = |times: &[Duration]| times[times.len() / 2].as_secs_f64() * 1e6;
        let (by_hand, store) = (micros(&self.by_hand), micros(&self.store));
        println!(
            "{what}: p50 {store:.0} µs, by hand {by_hand:.0} µs, ratio {:.2}",
            store / by_hand
        );
    }
}
