//! Every database that a released version wrote can still be read.
//!
//! `tests/fixtures/v1` was written once, by `LLMSPELL_WRITE_FIXTURE=DIR cargo test --test store format_fixtures`, and is never
//! written again: a change that cannot read it needs a new format version, and a way from the old one to it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::path::Path;

use llmspell_storage::{Database, DistanceMetric, Expiry, HNSWConfig, StateScope, Timestamp, VectorEntry, VectorQuery};
use serde_json::json;

const DIM: usize = 4;

fn ada() -> StateScope {
    StateScope::User("ada".to_string())
}

fn vector(number: u8) -> Vec<f32> {
    (0..4_u8).map(|i| f32::from(number) + f32::from(i) / 4.0).collect()
}

/// Every kind of row: values, several scopes and spaces, replaced and deleted entries, a dropped scope, expiry, times,
/// and enough mutations for a checkpoint.
async fn write(dir: &Path) {
    let database = Database::open(dir).await.unwrap();
    let kv = database.kv();
    kv.set("key", b"value".to_vec()).await.unwrap();
    kv.set("gone", b"value".to_vec()).await.unwrap();
    kv.delete("gone").await.unwrap();
    let config = HNSWConfig::accurate().with_metric(DistanceMetric::Euclidean);
    let vectors = database.vectors("memories", DIM, config).await.unwrap();
    for number in 0..300 {
        let number = u8::try_from(number % 50).unwrap();
        let entry = VectorEntry::new(format!("m-{number}"), vector(number))
            .with_scope(ada())
            .with_metadata(json!({ "number": number }))
            .with_created_at(Timestamp::from_millis(1_000 + i64::from(number)))
            .with_event_time(Timestamp::from_millis(2_000))
            .with_expires_at("9999-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
        vectors.upsert(vec![entry]).await.unwrap();
    }
    vectors.delete(&ada(), &["m-7".to_string()]).await.unwrap();
    vectors.insert(vec![VectorEntry::new("g", vector(9))]).await.unwrap();
    let dropped = StateScope::Custom("dropped".to_string());
    vectors
        .insert(vec![VectorEntry::new("d", vector(1)).with_scope(dropped.clone())])
        .await
        .unwrap();
    vectors.delete_scope(&dropped).await.unwrap();
    let other = database.vectors("other", 2, HNSWConfig::fast()).await.unwrap();
    other.insert(vec![VectorEntry::new("o", vec![1.0, 0.0])]).await.unwrap();
    drop((kv, vectors, other));
    database.close().await.unwrap();
}

/// That everything [`write`] wrote is there.
async fn assert_readable(dir: &Path) {
    let database = Database::open(dir).await.unwrap();
    let values = database.kv().scan("", None, 10).await.unwrap();
    assert_eq!(values, [("key".to_string(), b"value".to_vec())]);
    let spaces: Vec<_> = database
        .spaces()
        .await
        .unwrap()
        .into_iter()
        .map(|space| (space.name, space.dim))
        .collect();
    assert_eq!(spaces, [("memories".to_string(), 4), ("other".to_string(), 2)]);
    let vectors = database.existing_vectors("memories").await.unwrap().unwrap();
    assert_eq!(vectors.metric(), DistanceMetric::Euclidean);
    assert_eq!(vectors.scopes().await.unwrap(), [StateScope::Global, ada()]);
    assert_eq!(vectors.count(&ada()).await.unwrap(), 49);
    for number in (0..50).filter(|number| *number != 7) {
        let entry = vectors.get(&ada(), &format!("m-{number}")).await.unwrap().unwrap();
        assert_eq!(entry.embedding, vector(number));
        assert_eq!(entry.metadata, json!({ "number": number }));
        assert_eq!(
            entry.created_at,
            Some(Timestamp::from_millis(1_000 + i64::from(number)))
        );
        assert_eq!(entry.event_time, Some(Timestamp::from_millis(2_000)));
    }
    let hits = vectors
        .search(&VectorQuery::new(vector(20), 1).with_scope(ada()))
        .await
        .unwrap();
    assert_eq!((hits[0].id.as_str(), hits[0].distance), ("m-20", 0.0));
    let report = database.check().await.unwrap();
    assert!(report.is_ok(), "{report:#?}");
    drop(vectors);
    database.close().await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_of_format_1_is_read() {
    if let Ok(dir) = std::env::var("LLMSPELL_WRITE_FIXTURE") {
        write(Path::new(&dir)).await;
    }
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    let dir = tempfile::tempdir().unwrap();
    copy(&fixture, dir.path());
    assert_readable(dir.path()).await;
    assert_can_end(dir.path()).await;
}

/// What was written before keys could expire and entries be touched can be given an end.
async fn assert_can_end(dir: &Path) {
    let database = Database::open(dir).await.unwrap();
    let kv = database.kv();
    let end = Timestamp::from_millis(9_000_000_000_000);
    assert!(
        kv.swap("key", Some(b"value"), Some(b"mortal".to_vec()), Expiry::At(end))
            .await
            .unwrap()
    );
    assert_eq!(kv.expires_at("key").await.unwrap(), Some(end));
    let vectors = database.existing_vectors("memories").await.unwrap().unwrap();
    assert!(
        vectors
            .touch(&ada(), &["m-1".to_string()], Expiry::At(end))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(vectors.get(&ada(), "m-1").await.unwrap().unwrap().expires_at, Some(end));
    assert!(database.check().await.unwrap().is_ok());
}
