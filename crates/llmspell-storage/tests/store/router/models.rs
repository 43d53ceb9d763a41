//! Which space does a vector go to, and what is refused?

use llmspell_storage::{
    Database, DimensionRouter, EmbeddingModel, ErrorKind, HNSWConfig, HNSWVectorStorage, ModelSpace, OnExisting,
    RouterConfig, SpaceRole, StorageError, VectorEntry, VectorQuery,
};

use super::{SCOPE, axis, entry, text, three_models};

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
    assert_eq!(error, "vectors of model `plain` cannot be cut to 4 components");
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
