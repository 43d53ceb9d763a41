//! The entries of one model become those of another, whatever happens meanwhile.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use llmspell_storage::{
    Database, DimensionRouter, EmbeddingModel, ErrorKind, HNSWConfig, ModelSpace, Quota, SpaceRole, StateScope,
    StorageError, Timestamp, VectorEntry, VectorQuery,
};
use serde_json::json;

const SCOPE: StateScope = StateScope::Global;

fn user(name: &str) -> StateScope {
    StateScope::User(name.into())
}

fn text_entry(id: usize, text: usize) -> VectorEntry {
    VectorEntry::new(format!("{id:04}"), old_vector(text))
        .with_model("old")
        .with_metadata(json!({"text": text}))
}

fn old_vector(text: usize) -> Vec<f32> {
    vec![1.0, text as f32]
}

/// What the new model makes of the text of an entry.
fn new_vector(entry: &VectorEntry) -> Vec<f32> {
    let text = entry.metadata["text"].as_u64().unwrap() as f32;
    vec![1.0, text.sin(), text.cos()]
}

async fn embed(entries: Vec<VectorEntry>) -> Result<Vec<Vec<f32>>, StorageError> {
    Ok(entries.iter().map(new_vector).collect())
}

fn old() -> EmbeddingModel {
    EmbeddingModel::new("old", 2)
}

fn new() -> EmbeddingModel {
    EmbeddingModel::new("new", 3)
}

async fn filled(count: usize) -> DimensionRouter {
    let router = DimensionRouter::new(HNSWConfig::balanced());
    router.register_model(old()).await.unwrap();
    fill(&router, count).await;
    router
}

async fn fill(router: &DimensionRouter, count: usize) {
    let entries = (0..count).map(|id| {
        let scope = if id % 3 == 0 { user("ada") } else { SCOPE };
        text_entry(id, id).with_scope(scope)
    });
    router.insert(entries.collect()).await.unwrap();
}

/// Every entry of both scopes has the vector that the new model makes of its text.
async fn assert_all_new(router: &DimensionRouter, count: usize) {
    let mut seen = 0;
    for scope in [SCOPE, user("ada")] {
        let entries = router.list(&scope, None, 1_000).await.unwrap();
        for entry in &entries {
            assert_eq!(entry.embedding, new_vector(entry), "{}", entry.id);
            assert_eq!(entry.model.as_ref().unwrap().name(), "new");
        }
        seen += entries.len();
    }
    assert_eq!(seen, count);
}

#[tokio::test]
async fn ids_scopes_metadata_times_and_expiry_stay_as_they_are() {
    let router = filled(200).await;
    let event = Timestamp::from_millis(1_000_000);
    let special = text_entry(900, 7)
        .with_event_time(event)
        .with_created_at(Timestamp::from_millis(5))
        .with_updated_at(Timestamp::from_millis(6))
        .with_ttl(Duration::from_secs(3_600));
    router.insert(vec![special]).await.unwrap();
    let before = router.get(&SCOPE, "0900").await.unwrap().unwrap();
    let of_old = router.database().existing_vectors("old").await.unwrap().unwrap();
    let report = router.migrate_space("old", new(), embed).await.unwrap();
    assert_eq!((report.embedded, report.copied, report.rounds), (201, 201, 1));

    assert_all_new(&router, 201).await;
    let mut after = router.get(&SCOPE, "0900").await.unwrap().unwrap();
    assert_eq!(after.embedding, new_vector(&before));
    (after.embedding, after.model) = (before.embedding.clone(), before.model.clone());
    assert_eq!(after, before);

    let query = VectorQuery::new(old_vector(1), 1).with_model("old");
    assert!(matches!(
        router.search(&query).await,
        Err(StorageError::UnknownModel { .. })
    ));
    assert_eq!(router.models(), [new()]);
    // A handle of the old space says that there is none, not that it is empty.
    let unknown = |error: StorageError| matches!(error, StorageError::UnknownSpace { .. });
    assert!(unknown(
        of_old.search(&VectorQuery::new(old_vector(1), 1)).await.unwrap_err()
    ));
    assert!(unknown(of_old.count(&SCOPE).await.unwrap_err()));
    assert!(unknown(of_old.delete(&SCOPE, &["0001".to_string()]).await.unwrap_err()));
    assert!(unknown(of_old.insert(vec![text_entry(1, 1)]).await.unwrap_err()));
    assert_eq!(router.stats().await.unwrap().vectors, 201);
    let old_space = &router.database().spaces().await.unwrap()[0];
    assert_eq!(
        (old_space.name.as_str(), &old_space.role),
        ("old", &SpaceRole::Replaced)
    );
    // Once more is no error, and does nothing.
    let again = router.migrate_space("old", new(), embed).await.unwrap();
    assert_eq!(again.embedded, 0);
    // The old model may come back, with nothing in it.
    router.register_model(old()).await.unwrap();
    assert!(router.search(&query).await.unwrap().is_empty());
}

#[tokio::test]
async fn until_the_switch_everything_goes_on_with_the_old_space() {
    let router = filled(130).await;
    let calls = Arc::new(AtomicU64::new(0));
    let (during, counted) = (router.clone(), Arc::clone(&calls));
    let embed = move |entries: Vec<VectorEntry>| {
        let (router, call) = (during.clone(), counted.fetch_add(1, Ordering::SeqCst));
        async move {
            let vectors = embed(entries).await;
            let hits = router
                .search(&VectorQuery::new(old_vector(1), 200).with_model("old"))
                .await?;
            assert!(hits.iter().all(|hit| hit.space.as_deref() == Some("old")));
            let query = VectorQuery::new(vec![1.0, 0.0, 0.0], 1).with_model("new");
            assert!(matches!(
                router.search(&query).await,
                Err(StorageError::UnknownModel { .. })
            ));
            let progress = router.migrations().await?;
            assert_eq!((progress[0].from.as_str(), progress[0].to.as_str()), ("old", "new"));
            match call {
                0 => {
                    // Of what is in hand, of what was not read yet; and a new one, before all others.
                    router
                        .upsert(vec![text_entry(1, 1_001), text_entry(128, 1_128)])
                        .await?;
                    router.delete(&SCOPE, &["0002".to_string()]).await?;
                    router
                        .insert(vec![text_entry(500, 500).with_scope(user("ada"))])
                        .await?;
                }
                1 => {
                    // Of what was copied.
                    let metadata = json!({"text": 1_004}).as_object().unwrap().clone();
                    router.update_metadata(&SCOPE, "0004", metadata).await?;
                    router.upsert(vec![text_entry(5, 1_005)]).await?;
                    router.delete(&SCOPE, &["0007".to_string()]).await?;
                }
                _ => {}
            }
            vectors
        }
    };
    let report = router.migrate_space("old", new(), embed).await.unwrap();
    assert!(report.rounds > 1, "{report:?}");
    assert_all_new(&router, 129).await;
    for (id, text) in [("0001", 1_001), ("0128", 1_128), ("0004", 1_004), ("0005", 1_005)] {
        let entry = router.get(&SCOPE, id).await.unwrap().unwrap();
        assert_eq!(entry.metadata["text"], text);
    }
    assert!(calls.load(Ordering::SeqCst) >= 4);
}

#[tokio::test]
async fn a_migration_that_was_cut_short_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let open = async || {
        DimensionRouter::open(directory.path(), HNSWConfig::balanced())
            .await
            .unwrap()
    };
    let router = open().await;
    router.register_model(old()).await.unwrap();
    fill(&router, 300).await;
    let mut calls = 0;
    let failing = |entries: Vec<VectorEntry>| {
        calls += 1;
        let fails = calls == 3;
        async move {
            match fails {
                true => Err("the model is out of reach".into()),
                false => embed(entries)
                    .await
                    .map_err(|error| -> Box<dyn std::error::Error + Send + Sync> { error.into() }),
            }
        }
    };
    let error = router.migrate_space("old", new(), failing).await.unwrap_err();
    assert!(matches!(&error, StorageError::Embedding { source } if source.to_string() == "the model is out of reach"));
    // To another model it cannot go meanwhile.
    let other = router
        .migrate_space("old", EmbeddingModel::new("third", 3), embed)
        .await
        .unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
    router.close().await.unwrap();

    let router = open().await;
    // Neither copies nor what expires among them count for a quota, nor for who checks it.
    let ada = user("ada");
    router
        .database()
        .set_quota(&ada, Quota::new().with_vectors(100))
        .await
        .unwrap();
    assert_eq!(router.database().quota(&ada).await.unwrap().unwrap().used.vectors, 100);
    assert!(router.database().check().await.unwrap().is_ok());
    let progress = &router.migrations().await.unwrap()[0];
    assert_eq!((progress.copied, progress.vectors), (128, 300));
    assert_eq!(
        router.count(&SCOPE).await.unwrap() + router.count(&user("ada")).await.unwrap(),
        300
    );
    let report = router.migrate_space("old", new(), embed).await.unwrap();
    assert_eq!(report.embedded, 300 - 128);
    assert_all_new(&router, 300).await;
    router.close().await.unwrap();
    let router = open().await;
    assert_all_new(&router, 300).await;
    assert!(router.migrations().await.unwrap().is_empty());
    assert!(router.database().check().await.unwrap().is_ok());
}

#[tokio::test]
async fn a_scope_that_holds_nothing_any_more_is_none_afterwards_and_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["deleted", "expired", "filled"].map(user);
    {
        let router = DimensionRouter::open(dir.path(), HNSWConfig::balanced()).await.unwrap();
        router.register_model(old()).await.unwrap();
        let entries = names.iter().map(|scope| text_entry(1, 1).with_scope(scope.clone()));
        let mut entries: Vec<VectorEntry> = entries.collect();
        entries[1].expires_at = Some(Timestamp::from_millis(1));
        router.insert(entries).await.unwrap();
        assert_eq!(router.delete(&names[0], &["0001".to_string()]).await.unwrap(), 1);
        router.migrate_space("old", new(), embed).await.unwrap();
        assert_eq!(router.scopes().await.unwrap(), names[2..]);
        for (scope, held) in names.iter().zip([0, 0, 1]) {
            assert_eq!(router.list(scope, None, 10).await.unwrap().len(), held);
        }
        router.close().await.unwrap();
    }
    let router = DimensionRouter::open(dir.path(), HNSWConfig::balanced()).await.unwrap();
    assert_eq!(router.scopes().await.unwrap(), names[2..]);
    for (scope, held) in names.iter().zip([0, 0, 1]) {
        assert_eq!(router.list(scope, None, 10).await.unwrap().len(), held);
        let entry = VectorEntry::new("0002", vec![1.0, 0.0, 1.0]).with_model("new");
        router.insert(vec![entry.with_scope(scope.clone())]).await.unwrap();
        assert_eq!(router.list(scope, None, 10).await.unwrap().len(), held + 1);
    }
    assert_eq!(router.scopes().await.unwrap(), names);
}

#[tokio::test]
async fn a_scope_that_is_dropped_meanwhile_does_not_come_back_with_its_copies() {
    let router = filled(100).await;
    let calls = Arc::new(AtomicU64::new(0));
    let failing = |entries: Vec<VectorEntry>| {
        let is_last = calls.fetch_add(1, Ordering::SeqCst) > 0;
        async move {
            if is_last {
                Err("no more".to_string())
            } else {
                Ok(entries.iter().map(new_vector).collect())
            }
        }
    };
    router.migrate_space("old", new(), failing).await.unwrap_err();
    assert_eq!(router.migrations().await.unwrap()[0].copied, 64);
    for scope in [SCOPE, user("ada")] {
        assert!(router.delete_scope(&scope).await.unwrap() > 0);
    }
    router.insert(vec![text_entry(1, 1_001)]).await.unwrap();
    router.migrate_space("old", new(), embed).await.unwrap();
    assert_all_new(&router, 1).await;
    assert_eq!(router.stats().await.unwrap().vectors, 1);
}

#[tokio::test]
async fn vectors_that_are_not_what_was_asked_are_refused() {
    let router = filled(3).await;
    let few = async |_: Vec<VectorEntry>| Ok::<_, StorageError>(vec![vec![1.0; 3]]);
    let error = router.migrate_space("old", new(), few).await.unwrap_err();
    assert!(matches!(error, StorageError::Embedding { .. }));
    let long = async |entries: Vec<VectorEntry>| Ok::<_, StorageError>(vec![vec![1.0; 4]; entries.len()]);
    let error = router.migrate_space("old", new(), long).await.unwrap_err();
    assert!(matches!(error, StorageError::ModelDimension { got: 4, .. }), "{error}");
    let unknown = router
        .migrate_space("nobody", EmbeddingModel::new("other", 3), embed)
        .await
        .unwrap_err();
    assert!(matches!(unknown, StorageError::UnknownSpace { .. }));
    let itself = router.migrate_space("old", old(), embed).await.unwrap_err();
    assert_eq!(itself.kind(), ErrorKind::Conflict);
    assert_eq!(router.count(&SCOPE).await.unwrap(), 2);
}

#[tokio::test]
async fn copies_do_not_count_for_quotas_and_the_new_space_does() {
    let router = filled(30).await;
    let ada = user("ada");
    router
        .database()
        .set_quota(&ada, Quota::new().with_vectors(10).with_vector_bytes(10 * 4 * 3))
        .await
        .unwrap();
    router
        .migrate_space("old", ModelSpace::new(new()), embed)
        .await
        .unwrap();
    let quota = router.stats_for_scope(&ada).await.unwrap().quota.unwrap();
    assert_eq!((quota.used.vectors, quota.used.vector_bytes), (10, 10 * 4 * 3));
    let entry = VectorEntry::new("one more", vec![1.0; 3]).with_scope(ada.clone());
    assert!(matches!(
        router.insert(vec![entry]).await,
        Err(StorageError::QuotaExceeded { .. })
    ));
    router.delete(&ada, &["0000".to_string()]).await.unwrap();
    let quota = router.stats_for_scope(&ada).await.unwrap().quota.unwrap();
    assert_eq!(quota.used.vectors, 9);
}

#[tokio::test]
async fn what_expires_meanwhile_is_not_waited_for() {
    let router = filled(5).await;
    let short = |id: usize| text_entry(id, id).with_ttl(Duration::from_millis(30));
    router.insert((600..700).map(short).collect()).await.unwrap();
    let slow = async |entries: Vec<VectorEntry>| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        embed(entries).await
    };
    router.migrate_space("old", new(), slow).await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_all_new(&router, 5).await;
}

#[tokio::test]
async fn searches_and_writes_of_other_threads_never_fail_or_miss_while_a_space_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(directory.path()).await.unwrap();
    let router = database.router(HNSWConfig::balanced()).await.unwrap();
    // Of one dimension, so that nobody has to name a model.
    router.register_model(EmbeddingModel::new("m-0", 2)).await.unwrap();
    let entry =
        |id: usize| VectorEntry::new(format!("{id:04}"), vec![1.0, id as f32]).with_metadata(json!({"text": id}));
    router.insert((0..50).map(entry).collect()).await.unwrap();
    let stop = Arc::new(AtomicU64::new(0));
    let searcher = {
        let (router, stop) = (router.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut number = 50;
            while stop.load(Ordering::SeqCst) == 0 {
                let hits = router
                    .search(&VectorQuery::new(vec![1.0, 1.0], 1_000).with_exact(true))
                    .await
                    .unwrap();
                assert!(hits.len() >= 50, "only {} of 50 and more were found", hits.len());
                assert!(router.get(&SCOPE, "0007").await.unwrap().is_some());
                router.upsert(vec![entry(number % 60)]).await.unwrap();
                number += 1;
                tokio::task::yield_now().await;
            }
        })
    };
    for round in 0..5 {
        let next = EmbeddingModel::new(format!("m-{}", round + 1), 2);
        let same = async |entries: Vec<VectorEntry>| {
            Ok::<_, StorageError>(entries.into_iter().map(|entry| entry.embedding).collect())
        };
        router.migrate_space(&format!("m-{round}"), next, same).await.unwrap();
    }
    stop.store(1, Ordering::SeqCst);
    searcher.await.unwrap();
    assert!(router.count(&SCOPE).await.unwrap() >= 50);
}
