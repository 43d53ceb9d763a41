//! Results, statistics and plans carry what they should.

use std::sync::Arc;

use serde_json::json;

use super::super::{DIM, assert_invalid, assert_kind, exact, ids, user};
use super::{entries, found, search};
use llmspell_core::{
    ErrorKind, OWN_TEXT, RecommendQuery, SearchPath, StateScope, VectorEntry, VectorQuery, VectorStorage,
    VectorStorageExt as _,
};

const GLOBAL: StateScope = StateScope::Global;

/// Texts and snippets are in results if the query asks for them; a snippet is a part of a text with its matches marked.
pub async fn results_carry_texts_and_snippets_if_asked(store: &Arc<dyn VectorStorage>) {
    let long = format!(
        "{} the needle of a HayStack lies here {}",
        "filler ".repeat(50),
        "more ".repeat(50)
    );
    let batch = vec![
        VectorEntry::new("long", [1.0; DIM]).with_text(&*long),
        VectorEntry::new("title", [2.0; DIM])
            .with_text("nothing")
            .with_metadata(json!({"title": "the needle"})),
        VectorEntry::new("vector", [3.0; DIM]),
    ];
    store.insert(batch).await.unwrap();
    let hybrid = exact([1.0; DIM], 10).with_text("needle haystack");
    for query in [VectorQuery::text("needle haystack", 10), hybrid] {
        let plain = search(&**store, &query).await;
        assert!(
            plain
                .iter()
                .all(|result| result.text.is_none() && result.snippet.is_none())
        );
        assert!(
            plain
                .iter()
                .all(|result| result.metadata.is_some() && result.vector.is_none())
        );
        let with = query
            .clone()
            .with_texts(true)
            .with_snippets(60)
            .with_metadata(false)
            .with_vectors(true);
        let results = search(&**store, &with).await;
        assert_eq!(ids(&results), ids(&plain));
        let of = |id: &str| results.iter().find(|result| result.id == id).unwrap();
        assert_eq!(of("long").text.as_deref(), Some(&*long));
        assert_eq!(of("long").vector.as_deref(), Some(&[1.0; DIM][..]));
        assert!(of("long").metadata.is_none());
        let snippet = of("long").snippet.as_ref().unwrap();
        assert_eq!(snippet.field, OWN_TEXT);
        assert!(
            snippet.text.len() <= 60 && long[snippet.start..].starts_with(&snippet.text),
            "{snippet:?}"
        );
        let marked: Vec<&str> = snippet.matches.iter().map(|word| &snippet.text[word.clone()]).collect();
        assert_eq!(marked, ["needle", "HayStack"]);
        let snippet = of("title").snippet.as_ref().unwrap();
        assert_eq!((snippet.field.as_str(), snippet.text.as_str()), ("title", "the needle"));
        if query.is_hybrid() {
            assert_eq!((&of("vector").snippet, &of("vector").text), (&None, &None));
        }
    }
    let by_vector = search(&**store, &exact([1.0; DIM], 3).with_texts(true)).await;
    assert_eq!(
        by_vector[0].text.as_deref(),
        Some(&*long),
        "a search by vector alone returns texts too"
    );
    assert_eq!(by_vector[0].text_score, None);
}

/// For a store that does not keep texts: they are found, and never returned.
pub async fn a_text_that_is_not_kept_is_found_and_never_returned(store: &Arc<dyn VectorStorage>) {
    store
        .insert(vec![VectorEntry::new("a", [1.0; DIM]).with_text("word")])
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(found(store, "word").await, ["a"]);
        assert_eq!(store.get(&GLOBAL, "a").await.unwrap().unwrap().text, None);
        assert_eq!(store.list(&GLOBAL, None, 10).await.unwrap()[0].text, None);
        let fields = json!({"b": 1}).as_object().cloned().unwrap();
        store.patch_metadata(&GLOBAL, "a", fields).await.unwrap();
        assert_eq!(found(store, "word").await, ["a"], "a patch leaves the words");
        store.build_index().await.unwrap();
    }
    assert_eq!(store.stats_for_scope(&GLOBAL).await.unwrap().text_bytes, 0);
    assert_eq!(store.stats_for_scope(&GLOBAL).await.unwrap().texts, 1);
    assert_invalid(
        store.search(&VectorQuery::text("word", 1).with_texts(true)).await,
        "texts that are not kept",
    );
    assert_invalid(
        store.search(&VectorQuery::text("word", 1).with_snippets(100)).await,
        "snippets of them",
    );
}

/// Statistics count the entries that have words, and the bytes of their own texts.
pub async fn statistics_count_texts(store: &Arc<dyn VectorStorage>) {
    let check = async |texts: u64, text_bytes: u64| {
        let of_scope = store.stats_for_scope(&GLOBAL).await.unwrap();
        assert_eq!((of_scope.texts, of_scope.text_bytes), (texts, text_bytes));
        let elsewhere = store.stats_for_scope(&user("ada")).await.unwrap();
        assert_eq!(
            store.stats().await.unwrap().text_bytes,
            text_bytes + elsewhere.text_bytes
        );
    };
    check(0, 0).await;
    let batch = vec![
        VectorEntry::new("a", [1.0; DIM]).with_text("twelve bytes"),
        VectorEntry::new("b", [1.0; DIM]).with_metadata(json!({"title": "words"})),
        VectorEntry::new("c", [1.0; DIM]).with_text("…"),
        VectorEntry::new("d", [1.0; DIM]),
        VectorEntry::text_only("e", "other").with_scope(user("ada")),
    ];
    store.insert(batch).await.unwrap();
    check(2, 15).await;
    store
        .upsert(vec![VectorEntry::new("a", [1.0; DIM]).with_text("word")])
        .await
        .unwrap();
    check(2, 7).await;
    store.update_metadata(&GLOBAL, "b", Default::default()).await.unwrap();
    store.build_index().await.unwrap();
    check(1, 7).await;
    store.delete(&GLOBAL, &["a".into(), "c".into()]).await.unwrap();
    check(0, 0).await;
}

/// A plan counts the texts of its scope alone, and what both sides found.
pub async fn a_plan_shows_both_sides(store: &Arc<dyn VectorStorage>) {
    store.insert(entries(&user("ada"), 0, 70)).await.unwrap();
    store.insert(entries(&GLOBAL, 0, 30)).await.unwrap();
    let count = found(store, "wd").await.len() as u64;
    let words = store.explain(&VectorQuery::text("wd", 100)).await.unwrap();
    let text = words.text.clone().expect("the query has words");
    assert_eq!((text.texts, text.candidates, words.results as u64), (30, count, count));
    assert_eq!(
        (text.fusion, words.path(), words.distances),
        (None, SearchPath::Words, 0)
    );
    let hybrid = exact([1.0; DIM], 50).with_text("wd");
    let plan = store.explain(&hybrid).await.unwrap();
    let text = plan.text.clone().expect("the query has words");
    assert_eq!((text.candidates, text.vector_candidates, text.fused), (count, 30, 30));
    assert_eq!(text.fusion, Some(hybrid.fusion()));
    assert_eq!((plan.results, plan.path(), plan.live), (30, SearchPath::Exact, 30));
    let alone = store.explain(&exact([1.0; DIM], 5)).await.unwrap();
    assert_eq!(alone.text, None);
}

/// A handle for one scope writes and finds the words of that scope alone.
pub async fn a_handle_for_one_scope_searches_no_other_words(store: &Arc<dyn VectorStorage>) {
    store.insert(entries(&user("bob"), 0, 30)).await.unwrap();
    let handle = store.scoped(user("ada")).unwrap();
    let query = VectorQuery::text("wb", 10);
    assert_eq!(handle.search(&query).await.unwrap(), []);
    handle
        .insert(vec![
            VectorEntry::text_only("a", "wb"),
            VectorEntry::new("b", [1.0; DIM]),
        ])
        .await
        .unwrap();
    let hybrid = exact([1.0; DIM], 10).with_text("wb").with_snippets(50);
    for query in [query, hybrid] {
        let found = handle.search(&query).await.unwrap();
        assert_eq!(found, store.search_scoped(&query, &user("ada")).await.unwrap());
        assert_eq!(found[0].id, "a");
        assert_eq!(
            handle.search_batch(std::slice::from_ref(&query)).await.unwrap()[0],
            found
        );
        assert_eq!(handle.explain(&query).await.unwrap().text.unwrap().texts, 1);
        assert_invalid(
            handle.search(&query.clone().with_scope(user("bob"))).await,
            "another scope",
        );
        assert_invalid(
            handle.search(&query.with_scopes([user("ada"), user("bob")])).await,
            "others too",
        );
    }
    assert_eq!(handle.get("a").await.unwrap().unwrap().text.as_deref(), Some("wb"));
    assert_eq!(handle.stats().await.unwrap().texts, 1);
    let as_store: Arc<dyn VectorStorage> = Arc::new(handle);
    assert_eq!(as_store.stats().await.unwrap().text_bytes, 2);
}

/// An example of a recommendation needs a vector; the recommendation may have words, and is a hybrid search then.
pub async fn examples_need_vectors_and_may_have_words(store: &Arc<dyn VectorStorage>) {
    store.insert(entries(&GLOBAL, 0, 40)).await.unwrap();
    store.insert(vec![VectorEntry::text_only("bare", "wb")]).await.unwrap();
    let bare = store.recommend(&RecommendQuery::like("bare", 5)).await;
    assert_kind(ErrorKind::Invalid, bare, "an example without a vector");
    let like = RecommendQuery::like("t003", 5).with_query(|query| query.with_exact(true).with_text("wf wi"));
    let found = store.recommend(&like).await.unwrap();
    let vector = store.get(&GLOBAL, "t003").await.unwrap().unwrap().embedding;
    let hybrid = VectorQuery::new(vector, 6).with_exact(true).with_text("wf wi");
    let mut expected = search(&**store, &hybrid).await;
    expected.retain(|result| result.id != "t003");
    expected.truncate(5);
    assert_eq!(found, expected);
}
