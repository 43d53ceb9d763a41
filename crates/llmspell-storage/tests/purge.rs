//! The slots of a dropped scope are freed, once, wherever the purge is interrupted.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::time::{Duration, Instant};

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use llmspell_storage::{
    Database, DatabaseOptions, EmbeddingModel, ErrorKind, HNSWConfig, HNSWVectorStorage, Quota, ScopeKind,
    ScopedBackend, StateScope, StorageError, Timestamp, VectorEntry, VectorQuery,
};

const DIM: usize = 32;
/// Many steps of the purge.
const COUNT: u32 = 3_000;
const PATIENCE: Duration = Duration::from_secs(30);

async fn open(dir: &Path) -> (Database, HNSWVectorStorage) {
    let database = Database::open(dir).await.unwrap();
    let vectors = database.vectors("s", DIM, HNSWConfig::fast()).await.unwrap();
    (database, vectors)
}

fn scope(number: u32) -> StateScope {
    StateScope::Session(format!("session-{number}"))
}

fn entries(owner: u32) -> Vec<VectorEntry> {
    let entry = |number: u32| {
        let vector: Vec<f32> = (0..DIM as u32)
            .map(|place| (number * 31 + place * place + owner) as f32 % 97.0 + 1.0)
            .collect();
        VectorEntry::new(format!("id-{number}"), vector).with_scope(scope(owner))
    };
    (0..COUNT).map(entry).collect()
}

async fn assert_sound(database: &Database, place: &str) {
    let report = database.check().await.unwrap();
    assert!(report.is_ok(), "{place}: {report:#?}");
}

async fn wait_for_purge(vectors: &HNSWVectorStorage) {
    let begun = Instant::now();
    while vectors.stats().await.unwrap().scopes_to_purge > 0 {
        assert!(begun.elapsed() < PATIENCE, "the purge takes too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn given_a_purge_that_is_interrupted_again_and_again_then_every_slot_is_given_back_once() {
    let dir = tempfile::tempdir().unwrap();
    let slots = dir.path().join("spaces/00000001/slots-0");
    let (database, vectors) = open(dir.path()).await;
    vectors.insert(entries(0)).await.unwrap();
    vectors.insert(entries(1)).await.unwrap();
    vectors.delete_scope(&scope(0)).await.unwrap();
    let mut handles = (database, vectors);
    let mut interrupted = 0;
    for pause_ms in [0, 1, 2, 4, 8, 16] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        let (database, vectors) = handles;
        interrupted += vectors.stats().await.unwrap().scopes_to_purge;
        drop(vectors);
        database.close().await.unwrap();
        handles = open(dir.path()).await;
        assert_sound(&handles.0, &format!("after {pause_ms} ms")).await;
    }
    let (database, vectors) = handles;
    assert!(interrupted > 0, "the purge was over before it could be interrupted");
    wait_for_purge(&vectors).await;
    assert_sound(&database, "purged").await;
    assert_eq!(vectors.count(&scope(1)).await.unwrap(), u64::from(COUNT));

    // What comes next fits where the dropped scope was.
    vectors.insert(entries(2)).await.unwrap();
    assert_sound(&database, "written again").await;
    drop(vectors);
    database.close().await.unwrap();
    let stride = 16 + 4 * DIM as u64;
    let used = std::fs::metadata(&slots).unwrap().len() / stride;
    assert!(
        used < u64::from(2 * COUNT) + 2_000,
        "{used} slots for {} vectors",
        2 * COUNT
    );
}

#[tokio::test]
async fn given_a_dropped_scope_when_its_rows_are_not_gone_yet_then_its_slots_are_free() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await;
    vectors.insert(entries(0)).await.unwrap();
    let before = database.stats().await.unwrap().slot_bytes;
    vectors.delete_scope(&scope(0)).await.unwrap();
    let begun = Instant::now();
    // Free runs are given back to the file system too, where it takes holes.
    while database.stats().await.unwrap().slot_bytes > before / 2 {
        if vectors.stats().await.unwrap().scopes_to_purge == 0 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the slots are not given back");
    }
    vectors.insert(entries(1)).await.unwrap();
    wait_for_purge(&vectors).await;
    assert_sound(&database, "written again").await;
    assert_eq!(vectors.count(&scope(1)).await.unwrap(), u64::from(COUNT));
    assert_eq!(vectors.count(&scope(0)).await.unwrap(), 0);
}

// ---- sessions without end ----

/// Sessions of so many entries, one after the other in each of a few tasks, each dropped as soon as it was written.
const SESSIONS: u32 = 25;
const TASKS: u32 = 4;
const SESSION_ENTRIES: u32 = 150;

fn session(task: u32, number: u32) -> StateScope {
    StateScope::Session(format!("{task}-{number}"))
}

fn small_entries(owner: &StateScope, count: u32) -> Vec<VectorEntry> {
    let entry = |number: u32| {
        let vector: Vec<f32> = (0..DIM as u32)
            .map(|place| (number + place * place) as f32 % 89.0 + 1.0)
            .collect();
        VectorEntry::new(format!("id-{number}"), vector).with_scope(owner.clone())
    };
    (0..count).map(entry).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_sessions_written_and_dropped_without_a_pause_then_purging_keeps_pace() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await;
    let life = |task: u32| {
        let vectors = vectors.clone();
        async move {
            for number in 0..SESSIONS {
                let scope = session(task, number);
                vectors.insert(small_entries(&scope, SESSION_ENTRIES)).await.unwrap();
                assert_eq!(vectors.delete_scope(&scope).await.unwrap(), u64::from(SESSION_ENTRIES));
            }
        }
    };
    let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(life(task))).collect();
    let mut most = 0;
    while tasks.iter().any(|task| !task.is_finished()) {
        most = most.max(vectors.stats().await.unwrap().scopes_to_purge);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    // Of a hundred that were dropped; without a share of the time of commits two of three wait.
    assert!(most <= 40, "{most} dropped scopes waited at once");
    wait_for_purge(&vectors).await;
    assert_sound(&database, "after all of them").await;
    let stats = database.stats().await.unwrap();
    assert!(
        stats.slot_bytes <= 256 << 10,
        "{} bytes for no vector",
        stats.slot_bytes
    );
}

// ---- scopes that end ----

/// A database that is told what time it is.
async fn open_at(dir: &Path, time: &Arc<AtomicI64>) -> (Database, HNSWVectorStorage) {
    let (source, boot) = (Arc::clone(time), Arc::clone(time));
    let options = DatabaseOptions::new()
        .clock(move || Timestamp::from_millis(source.load(Ordering::SeqCst)))
        // The machine's own clock agrees.
        .boot_clock(move || Duration::from_millis(boot.load(Ordering::SeqCst).unsigned_abs()));
    let database = options.open(dir).await.unwrap();
    let vectors = database.vectors("s", DIM, HNSWConfig::fast()).await.unwrap();
    (database, vectors)
}

const BEGIN: i64 = 2_000_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// Waits until nothing of what has ended takes a slot.
async fn wait_for_slots(database: &Database, bytes_max: u64) {
    let begun = Instant::now();
    loop {
        let bytes = database.stats().await.unwrap().slot_bytes;
        if bytes <= bytes_max {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{bytes} bytes of slots are not given back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn given_sessions_whose_entries_expire_then_they_are_gone_as_if_dropped() {
    // Given: many small sessions, each of less than the file system is told of by itself.
    const COUNT: u32 = 400;
    let (dir, time) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(BEGIN)));
    let (database, vectors) = open_at(dir.path(), &time).await;
    let fill = async |vectors: &HNSWVectorStorage, kind: &str| {
        let scopes = (0..COUNT).map(|number| StateScope::Session(format!("{kind}-{number}")));
        let hour = Duration::from_millis(HOUR_MS as u64);
        let entries = scopes
            .flat_map(|scope| small_entries(&scope, 8))
            .map(|entry| entry.with_ttl(hour));
        vectors.insert(entries.collect()).await.unwrap();
    };
    let kept = StateScope::User("ada".to_string());
    vectors.insert(small_entries(&kept, 8)).await.unwrap();
    let limited = StateScope::Session("old-7".to_string());
    database
        .set_quota(&limited, Quota::new().with_vectors(8))
        .await
        .unwrap();
    fill(&vectors, "old").await;
    assert_eq!(vectors.scopes().await.unwrap().len() as u32, COUNT + 1);
    let full = database.stats().await.unwrap().slot_bytes;

    // When their time is over: at once, before anything was purged.
    time.store(BEGIN + 2 * HOUR_MS, Ordering::SeqCst);
    assert_eq!(vectors.scopes().await.unwrap(), std::slice::from_ref(&kept));
    let stats = vectors.stats().await.unwrap();
    assert_eq!((stats.scopes, stats.vectors), (1, 8));

    // Then: a write wakes the purge, and a scope that is written to meanwhile stays.
    let again = StateScope::Session("old-9".to_string());
    vectors.insert(small_entries(&again, 1)).await.unwrap();
    wait_for_slots(&database, full / 4).await;
    wait_for_purge(&vectors).await;
    let left = [kept.clone(), again.clone()];
    assert_eq!(vectors.scopes().await.unwrap(), left);
    assert_eq!(
        (
            vectors.count(&kept).await.unwrap(),
            vectors.count(&again).await.unwrap()
        ),
        (8, 1)
    );
    let status = database.quota(&limited).await.unwrap().unwrap();
    assert_eq!((status.quota.vectors, status.used.vectors), (Some(8), 0));
    assert_sound(&database, "purged").await;

    // New sessions take the place of the old ones.
    fill(&vectors, "new").await;
    let stride = 16 + 4 * DIM as u64;
    let len = std::fs::metadata(dir.path().join("spaces/00000001/slots-0"))
        .unwrap()
        .len();
    assert!(
        len <= u64::from(8 * COUNT + 600) * stride + (64 << 10),
        "the file has {len} bytes"
    );
    assert_sound(&database, "written again").await;
    drop(vectors);
    database.close().await.unwrap();
    let (_database, vectors) = open_at(dir.path(), &time).await;
    assert_eq!(vectors.scopes().await.unwrap().len() as u32, COUNT + 2);
}

#[tokio::test]
async fn given_a_scope_that_lives_on_then_the_slots_of_its_expired_entries_are_given_back_and_it_grows_again() {
    let (dir, time) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(BEGIN)));
    let (database, vectors) = open_at(dir.path(), &time).await;
    let (owner, other) = (scope(0), scope(1));
    let hour = Duration::from_millis(HOUR_MS as u64);
    let mortal = |entry: (usize, VectorEntry)| match entry {
        // One in a thousand stays, so it lives in the midst of them.
        (number, entry) if number % 1_000 == 500 => entry,
        (_, entry) => entry.with_ttl(hour),
    };
    vectors
        .insert(entries(0).into_iter().enumerate().map(mortal).collect())
        .await
        .unwrap();
    let full = database.stats().await.unwrap().slot_bytes;

    time.store(BEGIN + 2 * HOUR_MS, Ordering::SeqCst);
    vectors.delete(&other, &["none".to_string()]).await.unwrap();
    vectors.flush().await.unwrap();
    wait_for_slots(&database, full / 2).await;
    assert_sound(&database, "given back").await;
    let begun = Instant::now();
    let of_scope = loop {
        let of_scope = vectors.stats_for_scope(&owner).await.unwrap();
        if of_scope.reusable_bytes < 64 << 10 {
            break of_scope;
        }
        let kept = of_scope.reusable_bytes;
        assert!(begun.elapsed() < PATIENCE, "{kept} bytes are kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(of_scope.vectors, u64::from(COUNT / 1_000));

    // Others take the slots, it takes others, and every vector is its own.
    vectors.insert(entries(1)).await.unwrap();
    let more = entries(0).into_iter().map(|mut entry| {
        entry.id = format!("more-{}", entry.id);
        entry
    });
    let more: Vec<_> = more.take(700).collect();
    vectors.insert(more.clone()).await.unwrap();
    assert_sound(&database, "written again").await;
    let len = std::fs::metadata(dir.path().join("spaces/00000001/slots-0"))
        .unwrap()
        .len();
    let stride = 16 + 4 * DIM as u64;
    assert!(len / stride < u64::from(COUNT) + 2_500, "{} slots", len / stride);
    drop(vectors);
    database.close().await.unwrap();

    let (database, vectors) = open_at(dir.path(), &time).await;
    assert_eq!(vectors.count(&owner).await.unwrap(), u64::from(COUNT / 1_000) + 700);
    for entry in entries(0).iter().skip(500).step_by(1_000).chain(&more) {
        let stored = vectors.get(&owner, &entry.id).await.unwrap().unwrap();
        assert_eq!(stored.embedding, entry.embedding, "{}", entry.id);
        let query = VectorQuery::new(entry.embedding.clone(), 5).with_scope(owner.clone());
        let hits = vectors.search(&query).await.unwrap();
        assert!(hits[0].distance < 1e-5, "{}", entry.id);
    }
    for entry in entries(1).iter().step_by(97) {
        assert_eq!(
            vectors.get(&other, &entry.id).await.unwrap().unwrap().embedding,
            entry.embedding
        );
    }
    assert_sound(&database, "reopened").await;
}

// ---- several at once ----

#[tokio::test]
async fn given_scopes_with_vectors_and_keys_when_they_are_deleted_together_then_all_of_them_go_in_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await;
    let others = database.vectors("other", 2, HNSWConfig::fast()).await.unwrap();
    let names = ["a", "ab", "b"].map(|id| StateScope::Session(id.to_string()));
    let user = StateScope::User("session:a".to_string());
    let keys = async |scope: &StateScope| ScopedBackend::new(Arc::new(database.kv()), scope.clone()).unwrap();
    for scope in names.iter().chain([&user]) {
        vectors.insert(small_entries(scope, 3)).await.unwrap();
        others
            .insert(vec![VectorEntry::new("o", vec![1.0, 2.0]).with_scope(scope.clone())])
            .await
            .unwrap();
        let keys = keys(scope).await;
        keys.set("k", b"v".to_vec()).await.unwrap();
        keys.set("l", b"v".to_vec()).await.unwrap();
    }
    database
        .set_quota(&names[0], Quota::new().with_vectors(9))
        .await
        .unwrap();
    let only_keys = StateScope::Session("only keys/é".to_string());
    keys(&only_keys).await.set("k", b"v".to_vec()).await.unwrap();

    let removed = database
        .delete_scopes(&[names[0].clone(), names[0].clone()])
        .await
        .unwrap();
    assert_eq!((removed.vectors, removed.keys), (4, 2));
    let used = database.quota(&names[0]).await.unwrap().unwrap().used;
    assert_eq!((used.vectors, used.kv_bytes), (0, 0));
    assert_eq!(database.delete_scopes(&[]).await.unwrap(), Default::default());
    let too_long = StateScope::User("x".repeat(5_000));
    let refused = database.delete_scopes(&[names[1].clone(), too_long]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(vectors.count(&names[1]).await.unwrap(), 3);

    let removed = database.delete_scopes_of_kind(ScopeKind::Session).await.unwrap();
    assert_eq!((removed.vectors, removed.keys), (8, 5));
    assert_eq!(vectors.scopes().await.unwrap(), std::slice::from_ref(&user));
    assert_eq!(others.scopes().await.unwrap(), std::slice::from_ref(&user));
    assert_eq!(keys(&user).await.count("").await.unwrap(), 2);
    assert_eq!(database.kv().count("").await.unwrap(), 2);
    assert_sound(&database, "deleted").await;
}

// ---- whole spaces ----

#[tokio::test]
async fn given_a_space_when_it_is_dropped_then_its_name_is_free_and_nothing_of_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await;
    vectors.insert(entries(0)).await.unwrap();
    vectors.insert(entries(1)).await.unwrap();
    vectors.delete_scope(&scope(1)).await.unwrap();
    let (limited, kept) = (scope(0), database.vectors("kept", 2, HNSWConfig::fast()).await.unwrap());
    database
        .set_quota(&limited, Quota::new().with_vectors(9_000))
        .await
        .unwrap();
    let entry = || VectorEntry::new("k", vec![1.0, 2.0]).with_scope(scope(0));
    kept.insert(vec![entry()]).await.unwrap();
    let waiting = vectors.clone();

    database.drop_space("s").await.unwrap();
    let used = database.quota(&limited).await.unwrap().unwrap().used;
    assert_eq!((used.vectors, used.vector_bytes), (1, 8));
    let names = async |database: &Database| {
        let spaces = database.spaces().await.unwrap().into_iter();
        spaces.map(|space| (space.name, space.dim)).collect::<Vec<_>>()
    };
    assert_eq!(names(&database).await, [("kept".to_string(), 2)]);
    assert!(database.existing_vectors("s").await.unwrap().is_none());
    let is_gone = |result: Result<(), StorageError>| {
        assert!(matches!(result, Err(StorageError::UnknownSpace { .. })), "{result:?}");
    };
    is_gone(waiting.insert(entries(0)).await.map(drop));
    is_gone(waiting.search(&VectorQuery::new(vec![1.0; DIM], 1)).await.map(drop));
    is_gone(waiting.count(&scope(0)).await.map(drop));
    is_gone(waiting.delete_scope(&scope(0)).await.map(drop));
    is_gone(waiting.build_index().await);
    is_gone(database.drop_space("s").await);
    is_gone(database.drop_space("").await);

    // Its name is taken by another, of another dimension, before and after it is purged and opened again.
    let new = database.vectors("s", 2, HNSWConfig::fast()).await.unwrap();
    new.insert(vec![entry()]).await.unwrap();
    drop((vectors, waiting));
    let begun = Instant::now();
    while dir.path().join("spaces/00000001").exists() {
        assert!(begun.elapsed() < PATIENCE, "its files stay");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_sound(&database, "dropped").await;
    assert_eq!(new.count(&scope(0)).await.unwrap(), 1);
    drop((new, kept));
    database.close().await.unwrap();
    let database = Database::open(dir.path()).await.unwrap();
    assert_eq!(names(&database).await, [("kept".to_string(), 2), ("s".to_string(), 2)]);
    assert_sound(&database, "opened again").await;
}

#[tokio::test]
async fn given_a_router_when_a_space_is_dropped_then_its_model_is_unknown_and_may_come_back_with_another_dimension() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).await.unwrap();
    let router = database.router(HNSWConfig::fast()).await.unwrap();
    let entry = |id: &str, model: &str, dim: usize| {
        VectorEntry::new(id, vec![1.0; dim]).with_model(EmbeddingModel::new(model, dim))
    };
    router
        .insert(vec![entry("1", "old", 3), entry("2", "other", 4)])
        .await
        .unwrap();
    assert!(matches!(
        router.drop_space("nothing").await,
        Err(StorageError::UnknownSpace { .. })
    ));
    router.drop_space("old").await.unwrap();
    let models: Vec<_> = router
        .models()
        .into_iter()
        .map(|model| (model.name, model.dim))
        .collect();
    assert_eq!(models, [("other".to_string(), 4)]);
    let unknown = router
        .search(&VectorQuery::new(vec![1.0; 3], 1).with_model("old"))
        .await;
    assert!(matches!(unknown, Err(StorageError::UnknownModel { .. })), "{unknown:?}");
    assert_eq!(router.get(&StateScope::Global, "1").await.unwrap(), None);
    router.insert(vec![entry("1", "old", 5)]).await.unwrap();
    assert_eq!(
        router.get(&StateScope::Global, "1").await.unwrap().unwrap().embedding,
        [1.0; 5]
    );
    assert_eq!(router.count(&StateScope::Global).await.unwrap(), 2);
    assert_sound(&database, "dropped").await;

    // One that is being migrated takes its copies with it.
    let failing = async |_: Vec<VectorEntry>| Err::<Vec<Vec<f32>>, _>("no network");
    router
        .migrate_space("other", EmbeddingModel::new("new", 2), failing)
        .await
        .unwrap_err();
    assert_eq!(router.migrations().await.unwrap().len(), 1);
    router.drop_space("other").await.unwrap();
    assert!(router.migrations().await.unwrap().is_empty());
    let names: Vec<_> = database
        .spaces()
        .await
        .unwrap()
        .into_iter()
        .map(|space| space.name)
        .collect();
    assert_eq!(names, ["old"]);
    router.register_model(EmbeddingModel::new("new", 7)).await.unwrap();
    assert_sound(&database, "dropped while it was copied").await;
}
