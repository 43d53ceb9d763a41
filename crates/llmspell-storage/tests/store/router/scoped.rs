//! What may a handle for one scope do, and what is it told? It works on all spaces, and learns of no other scope.

use llmspell_storage::{
    DimensionRouter, EmbeddingModel, HNSWConfig, HNSWVectorStorage, RouterConfig, StateScope, StorageError,
    VectorEntry, VectorQuery,
};

use super::{SCOPE, axis, entry, text, three_models};

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
