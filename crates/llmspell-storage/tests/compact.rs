//! Compaction: nothing is lost, and what deleted data took is given back.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs;
use std::path::Path;

use llmspell_storage::{
    BackupOptions, Database, EmbeddingModel, HNSWConfig, ModelSpace, Quota, StateScope, StorageError, VectorEntry,
};

const DIM: usize = 64;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

fn entry(id: u32) -> VectorEntry {
    let vector: Vec<f32> = (0..DIM as u32)
        .map(|at| ((id * 13 + at * at) % 101) as f32 + 1.0)
        .collect();
    VectorEntry::new(format!("id-{id}"), vector)
        .with_scope(StateScope::User(format!("u-{}", id % 7)))
        .with_metadata(serde_json::json!({ "n": id }))
}

async fn entries(dir: &Path) -> (Vec<VectorEntry>, usize) {
    let database = Database::open(dir).await.unwrap();
    let report = database.check_deep().await.unwrap();
    assert!(report.is_ok(), "{report:#?}");
    let vectors = database.existing_vectors("s").await.unwrap().unwrap();
    let mut found = Vec::new();
    for scope in vectors.scopes().await.unwrap() {
        found.extend(vectors.list(&scope, None, 10_000).await.unwrap());
    }
    let keys = database.kv().count("").await.unwrap();
    database.close().await.unwrap();
    (found, usize::try_from(keys).unwrap())
}

fn size(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => size(&entry.path()),
            false => entry.metadata().unwrap().blocks() * 512,
        })
        .sum()
}

#[test]
fn given_many_deletions_when_it_is_compacted_then_all_that_lives_is_there_and_takes_little_more_than_itself() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        let database = Database::open(&db).await.unwrap();
        let vectors = database.vectors("s", DIM, HNSWConfig::fast()).await.unwrap();
        for first in (0..24_000).step_by(2_000) {
            vectors
                .insert((first..first + 2_000).map(entry).collect())
                .await
                .unwrap();
        }
        for number in 0..500_u32 {
            database.kv().set(&format!("k-{number}"), vec![7; 4_000]).await.unwrap();
        }
        // Three in four, spread over all slots.
        let mut doomed: std::collections::BTreeMap<StateScope, Vec<String>> = std::collections::BTreeMap::new();
        for id in (0..24_000).filter(|id| id % 4 != 0) {
            let entry = entry(id);
            doomed.entry(entry.scope).or_default().push(entry.id);
        }
        for (scope, ids) in doomed {
            vectors.delete(&scope, &ids).await.unwrap();
        }
        for number in 50..500 {
            database.kv().delete(&format!("k-{number}")).await.unwrap();
        }
        database
            .set_quota(&StateScope::user("u-1"), Quota::new().with_vectors(10_000))
            .await
            .unwrap();
        database.backup(dir.path().join("backup")).await.unwrap();
        drop(vectors);
        database.close().await.unwrap();
        let expected = entries(&db).await;

        let report = Database::compact(&db, |_| {}).await.unwrap();

        assert_eq!((report.entries, report.keys), (6_000, 50));
        let bytes = size(&db);
        assert!(bytes < report.bytes_before / 2, "{report:?}");
        assert!(bytes.abs_diff(report.bytes_after) < 64 << 10, "{bytes}: {report:?}");
        // What lives: slots, and rows of entries, ids, keys.
        let slots = 6_000 * (16 + 4 * DIM as u64);
        let rows: u64 = expected.0.iter().map(|entry| 2 * entry.id.len() as u64 + 90).sum();
        let live = slots + rows + 50 * 4_020;
        assert!(bytes * 100 < live * 115 + (100 << 16), "{bytes} bytes for {live}");
        assert_eq!(entries(&db).await, expected);
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|name| name.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "the old one is removed: {names:?}");

        // It is the same database: quotas hold, and backups of it go on.
        let database = Database::open(&db).await.unwrap();
        let status = database.quota(&StateScope::user("u-1")).await.unwrap().unwrap();
        assert_eq!(status.quota.vectors, Some(10_000));
        let receipt = database.backup(dir.path().join("backup")).await.unwrap();
        assert!(receipt.is_incremental);
        Database::verify_backup(dir.path().join("backup"), BackupOptions::new())
            .await
            .unwrap();
    });
}

#[test]
fn a_damaged_database_is_not_compacted_and_an_open_one_neither() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("db");
        let database = Database::open(&db).await.unwrap();
        let router = database.router(HNSWConfig::fast()).await.unwrap();
        let model = EmbeddingModel::new("m", DIM);
        router.register_model(ModelSpace::new(model)).await.unwrap();
        let vectors = database.vectors("s", DIM, HNSWConfig::fast()).await.unwrap();
        vectors.insert((0..100).map(entry).collect()).await.unwrap();
        let error = Database::compact(&db, |_| {}).await.unwrap_err();
        assert!(matches!(&error, StorageError::AlreadyOpen { .. }), "{error}");
        drop((vectors, router));
        let spaces = database.spaces().await.unwrap();
        database.close().await.unwrap();
        // What an interrupted compaction has left does not matter.
        fs::create_dir_all(dir.path().join(".db.compacting/spaces/00000001")).unwrap();
        fs::write(dir.path().join(".db.compacting/spaces/00000001/slots-0"), b"half").unwrap();
        Database::compact(&db, |_| {}).await.unwrap();
        let database = Database::open(&db).await.unwrap();
        assert_eq!(database.spaces().await.unwrap(), spaces);
        database.close().await.unwrap();

        let before = entries(&db).await;
        let slots = fs::read_dir(db.join("spaces"))
            .unwrap()
            .map(|space| space.unwrap().path().join("slots-0"))
            .find(|path| path.exists())
            .unwrap();
        let good = fs::read(&slots).unwrap();
        let mut bad = good.clone();
        bad[20] ^= 1;
        fs::write(&slots, bad).unwrap();
        let error = Database::compact(&db, |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("slot 0"), "{error}");
        assert!(!dir.path().join(".db.compacting").exists());
        fs::write(&slots, good).unwrap();
        assert_eq!(entries(&db).await, before);
    });
}
