//! Does each vector go to the space of its model, and are all spaces one store?

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;

use llmspell_storage::{
    Database, DimensionRouter, EmbeddingModel, ErrorKind, FieldPath, Filter, HNSWConfig, HNSWVectorStorage, ModelSpace,
    OnExisting, Quota, Result, RouterConfig, SpaceRole, StateScope, StorageError, VectorEntry, VectorQuery,
};
use serde_json::json;

const SCOPE: StateScope = StateScope::Global;

fn axis(dim: usize, place: usize) -> Vec<f32> {
    (0..dim)
        .map(|component| if component == place { 1.0 } else { 0.01 })
        .collect()
}

fn entry(id: &str, model: &str, dim: usize) -> VectorEntry {
    VectorEntry::new(id, axis(dim, 0)).with_model(model)
}

/// Models `a` and `b` of four components each, and `c` of eight, which may be cut at four.
async fn three_models() -> DimensionRouter {
    let router = DimensionRouter::new(HNSWConfig::balanced());
    for model in [
        EmbeddingModel::new("a", 4),
        EmbeddingModel::new("b", 4),
        EmbeddingModel::new("c", 8).with_matryoshka([4]),
    ] {
        router.register_model(model).await.unwrap();
    }
    router
}

fn text<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn two_models_of_one_dimension_never_share_a_space() {
    let router = three_models().await;
    let batch = vec![entry("1", "a", 4), entry("2", "b", 4), entry("3", "c", 8)];
    assert_eq!(router.insert(batch).await.unwrap(), ["1", "2", "3"]);
    for (model, dim, id) in [("a", 4, "1"), ("b", 4, "2"), ("c", 8, "3")] {
        let hits = router
            .search(&VectorQuery::new(axis(dim, 0), 10).with_model(model))
            .await
            .unwrap();
        let found: Vec<_> = hits.iter().map(|hit| (hit.id.as_str(), hit.space.as_deref())).collect();
        assert_eq!(found, [(id, Some(model))]);
        let got = router.get(&SCOPE, id).await.unwrap().unwrap();
        assert_eq!(got.model.unwrap().name(), model);
        assert_eq!(got.embedding.len(), dim);
    }
}

#[tokio::test]
async fn without_a_model_the_dimension_decides_if_it_can() {
    let router = three_models().await;
    let of_dim = |dim| VectorEntry::new("x", axis(dim, 0));
    router.insert(vec![of_dim(8)]).await.unwrap();
    let hits = router.search(&VectorQuery::new(axis(8, 0), 1)).await.unwrap();
    assert_eq!(hits[0].space.as_deref(), Some("c"));

    let error = router.upsert(vec![of_dim(4)]).await.unwrap_err();
    assert!(
        matches!(&error, StorageError::AmbiguousDimension { dim: 4, models } if models == &["a", "b"]),
        "{error}"
    );
    let error = text(router.upsert(vec![of_dim(5)]).await);
    assert_eq!(
        error,
        "no space holds vectors of 5 components; there are: `a` (4 components), `b` (4 components), `c` (8 components)"
    );
    // The space of a dimension alone comes before those of models.
    router.register_dimension(4).await.unwrap();
    router.upsert(vec![of_dim(4)]).await.unwrap();
    let hits = router.search(&VectorQuery::new(axis(4, 0), 1)).await.unwrap();
    assert_eq!(hits[0].space.as_deref(), Some("dimension-4"));
}

#[tokio::test]
async fn what_is_not_known_is_refused_or_gets_a_space_of_its_own() {
    let strict = three_models().await;
    let unknown = || vec![VectorEntry::new("1", axis(6, 0)).with_model("mine")];
    let error = strict.insert(unknown()).await.unwrap_err();
    assert!(matches!(&error, StorageError::UnknownModel { model, known } if model == "mine" && known.len() == 3));
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let query = VectorQuery::new(axis(6, 0), 1);
    assert!(matches!(
        strict.search(&query).await,
        Err(StorageError::UnknownDimension { dim: 6, .. })
    ));

    let lenient = DimensionRouter::new(RouterConfig::new(HNSWConfig::balanced()).with_new_spaces(true));
    lenient.insert(unknown()).await.unwrap();
    lenient.insert(vec![VectorEntry::new("2", axis(7, 0))]).await.unwrap();
    let hits = lenient.search(&query.clone().with_model("mine")).await.unwrap();
    assert_eq!(hits[0].id, "1");
    assert_eq!(lenient.models(), [EmbeddingModel::new("mine", 6)]);
    // A search makes no space.
    let error = lenient.search(&VectorQuery::new(axis(9, 0), 1)).await.unwrap_err();
    assert!(matches!(error, StorageError::UnknownDimension { .. }));
}

#[tokio::test]
async fn an_entry_makes_its_model_known_and_presets_have_several_names() {
    let router = DimensionRouter::new(HNSWConfig::balanced());
    let ours = EmbeddingModel::new("ours", 3).with_matryoshka([2]);
    router
        .insert(vec![VectorEntry::new("1", axis(3, 0)).with_model(ours.clone())])
        .await
        .unwrap();
    router
        .insert(vec![entry("2", "sentence-transformers/ALL-MINILM-L6-v2", 384)])
        .await
        .unwrap();
    assert_eq!(
        router.models(),
        [ours, EmbeddingModel::preset("all-MiniLM-L6-v2").unwrap()]
    );
    let query = VectorQuery::new(axis(384, 0), 1).with_model("all-minilm-l6-v2");
    assert_eq!(router.search(&query).await.unwrap()[0].id, "2");

    let other = VectorEntry::new("3", axis(4, 0)).with_model(EmbeddingModel::new("ours", 4));
    assert_eq!(
        text(router.insert(vec![other]).await),
        "space `ours` was created with dimension 3, not 4"
    );
}

#[tokio::test]
async fn a_bad_entry_is_refused_with_its_batch_whichever_spaces_it_touches() {
    let router = three_models().await;
    let before = router.distribution().await.unwrap();
    for bad in [
        entry("3", "a", 5),
        entry("3", "c", 5),
        entry("3", "unknown", 4),
        entry("1", "b", 4),
        VectorEntry::new("3", vec![f32::NAN; 8]).with_model("c"),
        VectorEntry::new("3", axis(5, 0)).with_model(EmbeddingModel::new("new", 4)),
    ] {
        let batch = vec![
            entry("1", "a", 4),
            entry("2", "new one", 4).with_model(EmbeddingModel::new("fine", 4)),
            bad,
        ];
        router.insert(batch).await.unwrap_err();
        assert_eq!(router.distribution().await.unwrap(), before);
    }
    let error = text(router.insert(vec![entry("1", "c", 5)]).await);
    assert_eq!(
        error,
        "vector `1`: model `c` makes vectors of 8 components, cut at 4; got 5"
    );
}

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

#[tokio::test]
async fn only_the_leading_components_are_stored_and_everything_is_compared_by_them() {
    let router = DimensionRouter::new(HNSWConfig::balanced());
    let model = EmbeddingModel::new("m", 8).with_matryoshka([2, 4]);
    router
        .register_model(ModelSpace::new(model.clone()).with_store_dim(4))
        .await
        .unwrap();
    let whole = vec![3.0, 4.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0];
    let other = vec![0.0, 0.0, 1.0, 0.0, 9.0, 9.0, 9.0, 9.0];
    let cut = vec![0.6, 0.8, 0.0, 0.0];
    router
        .insert(vec![
            VectorEntry::new("whole", whole.clone()).with_model("m"),
            VectorEntry::new("cut", cut.clone()).with_model("m"),
            VectorEntry::new("other", other).with_model("m"),
        ])
        .await
        .unwrap();
    assert_eq!(router.get(&SCOPE, "whole").await.unwrap().unwrap().embedding, cut);
    for query in [whole, cut] {
        let hits = router
            .search(&VectorQuery::new(query, 3).with_model("m"))
            .await
            .unwrap();
        let ids: Vec<_> = hits.iter().map(|hit| hit.id.as_str()).collect();
        assert_eq!(ids, ["cut", "whole", "other"]);
        assert!(hits[..2].iter().all(|hit| hit.score > 0.9999), "{hits:?}");
        assert!(hits[2].score.abs() < 1e-6);
    }
    let nothing = VectorEntry::new("none", vec![0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).with_model("m");
    assert!(matches!(
        router.insert(vec![nothing]).await,
        Err(StorageError::ZeroVector { .. })
    ));
    let usage = &router.distribution().await.unwrap()[0];
    assert_eq!((usage.dim, usage.store_dim, usage.vectors, usage.queries), (8, 4, 3, 2));

    let error = router
        .register_model(ModelSpace::new(model).with_store_dim(2))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let plain = ModelSpace::new(EmbeddingModel::new("plain", 8)).with_store_dim(4);
    let error = text(router.register_model(plain.clone()).await);
    assert_eq!(error, "vectors of model `plain` are not made to be cut at 4");
    router.register_model(plain.forced()).await.unwrap();
}

#[tokio::test]
async fn a_router_knows_its_models_after_reopening_and_other_handles_learn_of_them_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(directory.path()).await.unwrap();
    let one = database.router(HNSWConfig::balanced()).await.unwrap();
    let other = database.router(HNSWConfig::balanced()).await.unwrap();
    one.register_model(EmbeddingModel::new("m", 3)).await.unwrap();
    other.insert(vec![entry("1", "m", 3)]).await.unwrap();
    // Cut points may be learned later.
    let with_cuts = EmbeddingModel::new("m", 3).with_matryoshka([2]);
    one.register_model(with_cuts.clone()).await.unwrap();
    assert_eq!(other.models(), std::slice::from_ref(&with_cuts));
    drop((one, other));
    database.close().await.unwrap();

    let router = DimensionRouter::open(directory.path(), HNSWConfig::balanced())
        .await
        .unwrap();
    assert_eq!(router.models(), [with_cuts]);
    let hits = router
        .search(&VectorQuery::new(axis(3, 0), 1).with_model("m"))
        .await
        .unwrap();
    assert_eq!(hits[0].id, "1");
}

#[tokio::test]
async fn plain_spaces_are_none_of_the_router_until_they_are_adopted() {
    let directory = tempfile::tempdir().unwrap();
    let plain = HNSWVectorStorage::open(directory.path(), 3, HNSWConfig::balanced())
        .await
        .unwrap();
    plain
        .insert(vec![
            VectorEntry::new("1", axis(3, 0)),
            VectorEntry::new("2", axis(3, 1)),
        ])
        .await
        .unwrap();
    let router = plain.database().unwrap().router(HNSWConfig::balanced()).await.unwrap();
    assert_eq!(router.count(&SCOPE).await.unwrap(), 0);
    router.register_dimension(4).await.unwrap();
    router.insert(vec![VectorEntry::new("1", axis(4, 0))]).await.unwrap();

    let error = router.adopt_space("default", None).await.unwrap_err();
    assert!(matches!(error, StorageError::IdExists { id } if id == "1"));
    router.delete(&SCOPE, &["1".to_string()]).await.unwrap();
    let error = router
        .adopt_space("default", Some(EmbeddingModel::new("m", 4)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(matches!(
        router.adopt_space("x", None).await,
        Err(StorageError::UnknownSpace { .. })
    ));
    router
        .adopt_space("default", Some(EmbeddingModel::new("m", 3)))
        .await
        .unwrap();
    assert_eq!(router.count(&SCOPE).await.unwrap(), 2);
    assert_eq!(
        router.get(&SCOPE, "2").await.unwrap().unwrap().model.unwrap().name(),
        "m"
    );
    // The plain handle is one of a space of the router now.
    assert!(matches!(
        router.insert(vec![VectorEntry::new("2", axis(4, 0))]).await,
        Err(StorageError::IdExists { .. })
    ));
    router.insert(vec![VectorEntry::new("3", axis(4, 0))]).await.unwrap();
    let taken = plain
        .write(vec![VectorEntry::new("3", axis(3, 0))], OnExisting::Refuse)
        .await;
    assert!(matches!(taken, Err(StorageError::IdExists { .. })));
    let spaces = router.database().spaces().await.unwrap();
    assert!(spaces.iter().all(|space| space.role == SpaceRole::Routed));
}

#[tokio::test]
async fn a_store_of_one_space_refuses_another_model_than_its_own() {
    let plain = HNSWVectorStorage::new(3, HNSWConfig::balanced());
    let error = text(plain.insert(vec![entry("1", "m", 3)]).await);
    assert_eq!(
        error,
        "no space for the model `m`; there are: `default`, which is of no model"
    );
    let query = VectorQuery::new(axis(3, 0), 1).with_model("m");
    assert!(matches!(
        plain.search(&query).await,
        Err(StorageError::UnknownModel { .. })
    ));

    let router = three_models().await;
    let of_a = router.database().existing_vectors("a").await.unwrap().unwrap();
    of_a.insert(vec![entry("1", "a", 4)]).await.unwrap();
    assert!(matches!(
        of_a.insert(vec![entry("2", "b", 4)]).await,
        Err(StorageError::UnknownModel { .. })
    ));
    assert_eq!(router.count(&SCOPE).await.unwrap(), 1);
}

#[tokio::test]
async fn a_handle_for_one_scope_works_on_all_spaces() {
    let router = three_models().await;
    let ada = StateScope::User("ada".into());
    let scoped = router.clone().scoped(ada.clone()).unwrap();
    scoped
        .insert(vec![entry("1", "a", 4), entry("2", "c", 8)])
        .await
        .unwrap();
    assert_eq!(scoped.count().await.unwrap(), 2);
    assert_eq!(router.count(&ada).await.unwrap(), 2);
    assert_eq!(router.count(&SCOPE).await.unwrap(), 0);
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

// ---- handles for one scope ----

fn of(name: &str) -> StateScope {
    StateScope::User(name.to_string())
}

/// A lenient router would make spaces for all of it, if its owner wrote it.
#[tokio::test]
async fn a_handle_for_one_scope_makes_no_model_known_and_disturbs_nobody() {
    let strict = DimensionRouter::new(HNSWConfig::fast());
    let lenient = DimensionRouter::new(RouterConfig::new(HNSWConfig::fast()).with_new_spaces(true));
    for router in [strict, lenient] {
        router.register_model(EmbeddingModel::new("m", 8)).await.unwrap();
        let (ada, bob) = (router.scoped(of("ada")).unwrap(), router.scoped(of("bob")).unwrap());
        bob.insert(vec![VectorEntry::new("1", axis(8, 0))]).await.unwrap();

        let of_her_own = [
            VectorEntry::new("x", axis(8, 0)).with_model(EmbeddingModel::new("evil", 8)),
            VectorEntry::new("x", axis(3, 0)).with_model(EmbeddingModel::new("text-embedding-9", 3)),
            VectorEntry::new("x", axis(384, 0)).with_model("all-MiniLM-L6-v2"),
            VectorEntry::new("x", axis(5, 0)).with_model("by-name"),
            VectorEntry::new("x", axis(5, 0)),
        ];
        for entry in of_her_own {
            let known = VectorEntry::new("y", axis(8, 1));
            let refused = ada.insert(vec![known, entry.clone()]).await;
            let (is_unknown, model) = match &refused {
                Err(StorageError::UnknownModel { known, .. }) => (known.is_empty(), true),
                Err(StorageError::UnknownDimension { known, .. }) => (known.is_empty(), false),
                other => panic!("{entry:?} was answered by {other:?}"),
            };
            assert_eq!((is_unknown, model), (true, entry.model.is_some()), "{refused:?}");
        }
        assert_eq!(ada.count().await.unwrap(), 0, "nothing of such a batch is stored");

        assert_eq!(router.models().len(), 1);
        assert_eq!(router.distribution().await.unwrap().len(), 1);
        assert_eq!(bob.search(&VectorQuery::new(axis(8, 0), 5)).await.unwrap().len(), 1);
        bob.insert(vec![VectorEntry::new("2", axis(8, 0))]).await.unwrap();
        router
            .register_model(EmbeddingModel::new("text-embedding-9", 16))
            .await
            .unwrap();
        let described = VectorEntry::new("3", axis(16, 0)).with_model(EmbeddingModel::new("text-embedding-9", 3));
        bob.insert(vec![described]).await.unwrap();
    }
}

#[tokio::test]
async fn a_handle_for_one_scope_is_told_of_no_models_or_spaces() {
    let router = three_models().await;
    let handle = router.scoped(of("ada")).unwrap();
    let query = |dim| VectorQuery::new(axis(dim, 0), 5);
    let insert = |entry| handle.insert(vec![entry]);
    let told = [
        (
            text(handle.search(&query(4)).await),
            "vectors of 4 components belong to several models; name one",
        ),
        (
            text(insert(VectorEntry::new("1", axis(4, 0))).await),
            "vectors of 4 components belong to several models; name one",
        ),
        (
            text(handle.explain(&query(5)).await),
            "no space holds vectors of 5 components",
        ),
        (
            text(handle.search(&query(4).with_model("d")).await),
            "no space for the model `d`",
        ),
        (text(insert(entry("1", "d", 4)).await), "no space for the model `d`"),
    ];
    for (told, right) in told {
        assert_eq!(told, right);
    }

    let single = HNSWVectorStorage::new(4, HNSWConfig::fast());
    let refused = single.scoped(of("ada")).unwrap().insert(vec![entry("1", "d", 4)]).await;
    assert_eq!(text(refused), "no space for the model `d`");
}
