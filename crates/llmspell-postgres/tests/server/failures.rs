//! Connections are lost, transactions collide, the pool is exhausted: each call is done or not done, never half.

use std::sync::Arc;
use std::time::Duration;

use llmspell_core::{
    DistanceMetric, ErrorKind, Filter, HNSWConfig, KeyValueWrite, OnExisting, StateScope, StorageError, VectorEntry,
};
use llmspell_postgres::{PostgresConfig, PostgresDatabase};
use uuid::Uuid;

use super::common::{connect, drop_schema, new_schema, open, with_server};
use super::proxy::{Cut, Proxy};

fn batch(round: i64) -> Vec<KeyValueWrite> {
    let set = |key: &str| KeyValueWrite::Set {
        key: format!("{round}/{key}"),
        value: vec![1; 100],
    };
    // Several statements: they must not be half done.
    vec![
        set("a"),
        set("b"),
        KeyValueWrite::Delete { key: "old".to_string() },
        set("c"),
    ]
}

#[test]
fn a_connection_cut_at_any_message_leaves_a_batch_done_or_not_and_a_repetition_does_it_once() {
    with_server("lost connections", async |url| {
        let (direct, schema) = open(&url).await;
        let proxy = Proxy::start(&url).await;
        let config = PostgresConfig::new(proxy.url(&url))
            .with_schema(&schema)
            .with_pool_size(1);
        let database = PostgresDatabase::open(config).await.unwrap();
        let (keys, direct_keys) = (database.key_value(), direct.key_value());
        let (mut cuts, mut done) = (0, 0);
        for cut in [Cut::Before, Cut::After] {
            for message in 0.. {
                let round = message + if cut == Cut::After { 1_000 } else { 0 };
                direct_keys.set("old", b"x".to_vec()).await.unwrap();
                proxy.cut_after(message, cut);
                let request = Uuid::now_v7();
                let first = keys.write_once(request, batch(round)).await;
                let was_cut = !proxy.is_waiting();
                proxy.let_pass();
                if !was_cut {
                    assert_eq!(first.unwrap().deleted, 1);
                    break;
                }
                // A connection that was cut while idle is replaced without a word.
                cuts += 1;
                if let Err(error) = &first {
                    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
                }
                let stored = settled(&direct_keys, round).await;
                assert!(
                    stored == 0 || stored == 3,
                    "{cut:?} after {message} messages: {stored} of 3 keys are there"
                );
                done += u32::from(stored == 3 && first.is_err());
                let again = keys.write_once(request, batch(round)).await.unwrap();
                assert_eq!(
                    again.deleted, 1,
                    "{cut:?} after {message} messages: the answer is that of the write that was done"
                );
                assert_eq!(settled(&direct_keys, round).await, 3);
                assert!(!direct_keys.exists("old").await.unwrap());
            }
        }
        assert!(cuts > 10, "{cuts} messages were cut, of {}", proxy.passed());
        assert!(
            done > 0,
            "no cut hid a commit: the test does not reach the case that it is for"
        );
        drop_schema(&url, &schema).await;
    });
}

/// The number of keys of a round, once the server has noticed that the connection is gone.
async fn settled(keys: &llmspell_postgres::PostgresBackend, round: i64) -> u64 {
    tokio::time::sleep(Duration::from_millis(30)).await;
    keys.count(&format!("{round}/")).await.unwrap()
}

#[test]
fn a_repeated_insert_of_vectors_returns_the_ids_of_the_first() {
    with_server("repeated inserts", async |url| {
        let (database, schema) = open(&url).await;
        let store = database.vectors("s", 2, HNSWConfig::balanced()).await.unwrap();
        let entries = || vec![VectorEntry::new("", [1.0, 0.0]), VectorEntry::new("b", [0.0, 1.0])];
        let request = Uuid::now_v7();
        let first = store.write_once(request, entries(), OnExisting::Refuse).await.unwrap();
        let again = store.write_once(request, entries(), OnExisting::Refuse).await.unwrap();
        assert_eq!(first, again);
        assert_eq!(store.count(&StateScope::Global).await.unwrap(), 2);
        let other = store
            .write_once(Uuid::now_v7(), entries(), OnExisting::Refuse)
            .await
            .unwrap_err();
        assert!(matches!(&other, StorageError::IdExists { id } if id == "b"), "{other}");
        drop_schema(&url, &schema).await;
    });
}

#[test]
fn an_exhausted_pool_is_busy_and_names_the_wait() {
    with_server("an exhausted pool", async |url| {
        let schema = new_schema();
        let wait = Duration::from_millis(200);
        let config = PostgresConfig::new(&url)
            .with_schema(&schema)
            .with_pool_size(1)
            .with_wait(wait);
        let database = PostgresDatabase::open(config).await.unwrap();
        let keys = database.key_value();
        keys.set("a", b"1".to_vec()).await.unwrap();
        let other = connect(&url).await;
        let lock = format!("BEGIN; LOCK TABLE \"{schema}\".keys IN ACCESS EXCLUSIVE MODE");
        other.batch_execute(&lock).await.unwrap();
        let waiting = tokio::spawn({
            let keys = keys.clone();
            async move { keys.get("a").await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let error = keys.get("a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert!(
            error.to_string().contains("no connection was free within 200 ms"),
            "{error}"
        );
        other.batch_execute("COMMIT").await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().as_deref(), Some(&b"1"[..]));
        drop_schema(&url, &schema).await;
    });
}

#[test]
fn a_statement_that_takes_too_long_is_ended_and_named() {
    with_server("statement timeouts", async |url| {
        let schema = new_schema();
        let config = PostgresConfig::new(&url)
            .with_schema(&schema)
            .with_statement_timeout(Duration::from_millis(150));
        let database = PostgresDatabase::open(config).await.unwrap();
        let keys = database.key_value();
        let other = connect(&url).await;
        let lock = format!("BEGIN; LOCK TABLE \"{schema}\".keys IN ACCESS EXCLUSIVE MODE");
        other.batch_execute(&lock).await.unwrap();
        let error = keys.set("a", vec![1]).await.unwrap_err();
        assert!(
            matches!(error, StorageError::Timeout { timeout_ms: 150, .. }),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Busy);
        other.batch_execute("COMMIT").await.unwrap();
        assert_eq!(keys.get("a").await.unwrap(), None, "nothing of the call was done");
        drop_schema(&url, &schema).await;
    });
}

/// Two writers that store the same keys in opposite order lock each other out, and both come through.
#[test]
fn batches_that_collide_are_tried_again() {
    with_server("collisions", async |url| {
        let (database, schema) = open(&url).await;
        let keys = database.key_value();
        let writers = [false, true].map(|is_backward| {
            let keys = keys.clone();
            tokio::spawn(async move {
                for round in 0..12_u8 {
                    let mut names: Vec<String> = (0..8).map(|number| format!("k{number}")).collect();
                    if is_backward {
                        names.reverse();
                    }
                    // A delete between two sets makes statements of their own, in this order.
                    let batch = names.into_iter().flat_map(|key| {
                        let delete = KeyValueWrite::Delete {
                            key: format!("{key}-gone"),
                        };
                        [
                            KeyValueWrite::Set {
                                key,
                                value: vec![round],
                            },
                            delete,
                        ]
                    });
                    keys.write(batch.collect()).await.unwrap();
                }
            })
        });
        for writer in writers {
            writer.await.unwrap();
        }
        let values: Vec<Vec<u8>> = keys
            .scan("k", None, 100)
            .await
            .unwrap()
            .into_iter()
            .map(|(_, value)| value)
            .collect();
        assert_eq!(values.len(), 8);
        let deadlocks = connect(&url).await;
        let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let count: i64 = deadlocks.query_one(sql, &[]).await.unwrap().get(0);
        println!("deadlocks so far on this server: {count}");
        drop_schema(&url, &schema).await;
    });
}

#[test]
fn a_server_that_cannot_be_reached_is_an_io_error() {
    super::common::runtime().block_on(async {
        let config = PostgresConfig::new("postgres://nobody@127.0.0.1:1/nothing").with_wait(Duration::from_secs(2));
        let error = PostgresDatabase::open(config).await.unwrap_err();
        assert!(matches!(error, StorageError::ConnectionLost { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Io);
        let bad = PostgresDatabase::open(PostgresConfig::new("postgres://x:y@h:port/"))
            .await
            .unwrap_err();
        assert_eq!(bad.kind(), ErrorKind::Invalid, "{bad}");
    });
}

/// Several nodes purge at a time: every expired row goes once.
#[test]
fn expired_rows_are_purged_once_by_any_number_of_servers() {
    with_server("purges", async |url| {
        let (database, schema) = open(&url).await;
        let config = HNSWConfig::balanced().with_metric(DistanceMetric::Euclidean);
        let store = Arc::new(database.vectors("s", 1, config).await.unwrap());
        let past = llmspell_core::Timestamp::from_millis(1_000);
        let entry = |number: u32| VectorEntry::new(format!("{number}"), [number as f32]);
        let expired = (0..300).map(|number| entry(number).with_expires_at(past));
        store
            .insert(expired.chain((300..320).map(entry)).collect())
            .await
            .unwrap();
        assert_eq!(
            store.count(&StateScope::Global).await.unwrap(),
            20,
            "expired entries are invisible at once"
        );
        assert_eq!(
            store.count_matching(&StateScope::Global, &Filter::all()).await.unwrap(),
            20
        );
        let purgers = [0; 4].map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut removed = 0;
                loop {
                    match store.purge(40).await.unwrap() {
                        0 => return removed,
                        some => removed += some,
                    }
                }
            })
        });
        let mut removed = 0;
        for purger in purgers {
            removed += purger.await.unwrap();
        }
        assert_eq!(removed, 300);
        let client = connect(&url).await;
        let rows: i64 = client
            .query_one(&format!("SELECT count(*) FROM \"{schema}\".space_1"), &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(rows, 20);
        let keys = database.key_value();
        keys.write(vec![KeyValueWrite::set_expiring("a", vec![1], past)])
            .await
            .unwrap();
        assert_eq!(database.purge(10).await.unwrap(), 1);
        assert_eq!(database.purge(10).await.unwrap(), 0);
        drop_schema(&url, &schema).await;
    });
}
