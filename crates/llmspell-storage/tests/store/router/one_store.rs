//! Are ids, deletions, filters and quotas about all spaces?

use std::collections::BTreeSet;

use llmspell_storage::{
    DimensionRouter, EmbeddingModel, FieldPath, Filter, HNSWConfig, OnExisting, Quota, StateScope, StorageError,
    VectorEntry, VectorQuery,
};
use serde_json::json;

use super::{SCOPE, axis, entry, three_models};

#[tokio::test]
async fn an_id_stands_in_one_space_of_its_scope() {
    let router = three_models().await;
    router
        .insert(vec![entry("1", "a", 4).with_metadata(json!({"n": 1}))])
        .await
        .unwrap();
    let created_at = router.get(&SCOPE, "1").await.unwrap().unwrap().created_at;
    let error = router
        .insert(vec![entry("2", "b", 4), entry("1", "b", 4)])
        .await
        .unwrap_err();
    assert!(matches!(error, StorageError::IdExists { id } if id == "1"));
    assert_eq!(router.count(&SCOPE).await.unwrap(), 1);
    // In another scope it is another entry.
    let ada = StateScope::User("ada".into());
    router
        .insert(vec![entry("1", "b", 4).with_scope(ada.clone())])
        .await
        .unwrap();

    router.upsert(vec![entry("1", "c", 8)]).await.unwrap();
    let moved = router.get(&SCOPE, "1").await.unwrap().unwrap();
    assert_eq!(moved.model.unwrap().name(), "c");
    assert_eq!(moved.created_at, created_at);
    assert_eq!(router.count(&SCOPE).await.unwrap(), 1);
    let left = router
        .search(&VectorQuery::new(axis(4, 0), 10).with_model("a"))
        .await
        .unwrap();
    assert!(left.is_empty());
    assert_eq!(router.count(&ada).await.unwrap(), 1);
}

#[tokio::test]
async fn deletes_lists_filters_and_counts_are_about_all_spaces() {
    let router = three_models().await;
    let models = [("a", 4), ("b", 4), ("c", 8)];
    let batch = (0..30).map(|number| {
        let (model, dim) = models[number % 3];
        let metadata = json!({"even": number % 2 == 0, "model": model});
        entry(&format!("{number:02}"), model, dim).with_metadata(metadata)
    });
    router.insert(batch.collect()).await.unwrap();
    let even = Filter::eq("even", true);
    assert_eq!(router.count(&SCOPE).await.unwrap(), 30);
    assert_eq!(router.count_matching(&SCOPE, &even).await.unwrap(), 15);
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = router.list(&SCOPE, after.as_deref(), 7).await.unwrap();
        let is_last = page.len() < 7;
        ids.extend(page.into_iter().map(|entry| entry.id));
        after = ids.last().cloned();
        if is_last {
            break;
        }
    }
    assert_eq!(ids, (0..30).map(|number| format!("{number:02}")).collect::<Vec<_>>());
    let page = router.list_matching(&SCOPE, &even, Some("10"), 3).await.unwrap();
    assert_eq!(
        page.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(),
        ["12", "14", "16"]
    );
    let field = FieldPath::from("model");
    let facets = router.facet(&SCOPE, &field, &even, 10).await.unwrap();
    let counts: BTreeSet<_> = facets
        .iter()
        .map(|facet| (facet.value.to_string(), facet.count))
        .collect();
    assert_eq!(counts.len(), 3);
    assert!(counts.iter().all(|(_, count)| *count == 5), "{counts:?}");

    let stats = router.stats().await.unwrap();
    assert_eq!((stats.vectors, stats.scopes, stats.dim), (30, 1, 0));
    assert_eq!(stats.vector_bytes, 10 * 4 * (4 + 4 + 8));
    assert_eq!(router.stats_for_scope(&SCOPE).await.unwrap().vectors, 30);

    router
        .update_metadata(&SCOPE, "02", json!({"even": false}).as_object().unwrap().clone())
        .await
        .unwrap();
    assert_eq!(router.count_matching(&SCOPE, &even).await.unwrap(), 14);
    let missing = router.update_metadata(&SCOPE, "99", serde_json::Map::new()).await;
    assert!(matches!(missing, Err(StorageError::NotFound { .. })));
    let ids = ["00", "01", "02", "77"].map(String::from);
    assert_eq!(router.delete(&SCOPE, &ids).await.unwrap(), 3);
    assert_eq!(router.delete_matching(&SCOPE, &even).await.unwrap(), 13);
    assert_eq!(router.count(&SCOPE).await.unwrap(), 14);
    assert_eq!(router.delete_scope(&SCOPE).await.unwrap(), 14);
    assert_eq!(router.scopes().await.unwrap(), []);
}

#[tokio::test]
async fn a_quota_is_about_all_spaces_together() {
    let router = three_models().await;
    let ada = StateScope::User("ada".into());
    let of = |id: &str, model, dim| entry(id, model, dim).with_scope(ada.clone());
    router
        .database()
        .set_quota(&ada, Quota::new().with_vectors(3))
        .await
        .unwrap();
    router.insert(vec![of("1", "a", 4), of("2", "b", 4)]).await.unwrap();
    let error = router.insert(vec![of("3", "a", 4), of("4", "c", 8)]).await.unwrap_err();
    assert!(
        matches!(error, StorageError::QuotaExceeded { used: 2, asked: 2, .. }),
        "{error}"
    );
    // One comes and one goes.
    router.upsert(vec![of("1", "c", 8), of("3", "c", 8)]).await.unwrap();
    let quota = router.stats_for_scope(&ada).await.unwrap().quota.unwrap();
    assert_eq!((quota.used.vectors, quota.used.vector_bytes), (3, 4 * (4 + 8 + 8)));
}

/// Each thread moves entries of its own from space to space, and none is ever missed or seen twice.
#[test]
fn an_entry_that_moves_is_seen_once_all_the_time() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let router = three_models().await;
        let models = [("a", 4), ("b", 4), ("c", 8)];
        let ids: Vec<String> = (0..8).map(|number| number.to_string()).collect();
        let place = |round: usize| {
            ids.iter().enumerate().map(move |(number, id)| {
                let (model, dim) = models[(round + number) % 3];
                entry(id, model, dim)
            })
        };
        router.upsert(place(0).collect()).await.unwrap();
        let reader = {
            let (router, ids) = (router.clone(), ids.clone());
            tokio::spawn(async move {
                for turn in 0..400 {
                    let id = &ids[turn % ids.len()];
                    assert!(router.get(&SCOPE, id).await.unwrap().is_some(), "{id} was missed");
                    assert_eq!(router.count(&SCOPE).await.unwrap(), 8);
                    let listed = router.list(&SCOPE, None, 100).await.unwrap();
                    assert_eq!(
                        listed.iter().map(|entry| &entry.id).collect::<Vec<_>>(),
                        ids.iter().collect::<Vec<_>>()
                    );
                }
            })
        };
        let mut round = 1;
        while !reader.is_finished() {
            router.upsert(place(round).collect()).await.unwrap();
            round += 1;
            tokio::time::sleep(std::time::Duration::from_micros(300)).await;
        }
        reader.await.unwrap();
        assert!(round > 10);
    });
}

/// While the first call is committed the others wait, to be committed together.
#[tokio::test]
async fn a_space_that_is_made_in_the_transaction_of_a_deletion_is_not_in_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let router = DimensionRouter::open(dir.path(), HNSWConfig::balanced()).await.unwrap();
    router.register_model(EmbeddingModel::new("0", 4)).await.unwrap();
    let user = StateScope::User("ada".into());
    for round in 0..10 {
        let (old, new) = (round.to_string(), EmbeddingModel::new((round + 1).to_string(), 4));
        let write = |id: &str| {
            let entry = entry(id, &old, 4).with_scope(user.clone());
            router.write(vec![entry], OnExisting::Replace)
        };
        write("1").await.unwrap();
        let other = EmbeddingModel::new(format!("other {round}"), 4);
        let (id, ids) = (format!("{round}"), ["1".to_string()]);
        let (wrote, registered, deleted) =
            tokio::join!(write(&id), router.register_model(other), router.delete(&user, &ids));
        wrote.unwrap();
        registered.unwrap();
        assert_eq!(deleted.unwrap(), 1);

        let same = async |entries: Vec<VectorEntry>| {
            Ok::<_, StorageError>(entries.into_iter().map(|entry| entry.embedding).collect())
        };
        let (wrote, migrated, dropped) = tokio::join!(
            write("2"),
            router.migrate_space(&old, new, same),
            router.delete_scope(&user)
        );
        wrote.unwrap();
        migrated.unwrap();
        dropped.unwrap();
        assert_eq!(router.count(&user).await.unwrap(), 0);
    }
}
