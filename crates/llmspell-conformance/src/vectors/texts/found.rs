//! Words are found at once when written, and no more once they are gone.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::{DIM, exact, ids, user};
use super::{found, found_in, search};
use llmspell_core::{Expiry, Filter, StateScope, VectorEntry, VectorQuery, VectorStorage};

const GLOBAL: StateScope = StateScope::Global;

fn fields(value: &serde_json::Value) -> llmspell_core::Metadata {
    value.as_object().cloned().unwrap()
}

/// An insert is found by its words, an upsert by its new ones only, and what is deleted by none, whatever the way; also
/// once all of it is in an index.
pub async fn words_are_found_at_once_and_no_more_once_they_are_gone(store: &Arc<dyn VectorStorage>) {
    let entry = |id: &str, text: &str| VectorEntry::new(id, [1.0; DIM]).with_text(text);
    for is_indexed in [false, true] {
        let settle = async || {
            if is_indexed {
                store.build_index().await.unwrap();
            }
        };
        let batch = ["a", "b", "c", "d"].map(|id| entry(id, &format!("common only{id}")));
        store.insert(batch.to_vec()).await.unwrap();
        settle().await;
        assert_eq!(found(store, "common").await, ["a", "b", "c", "d"]);
        assert_eq!(found(store, "onlyb").await, ["b"]);
        store.upsert(vec![entry("b", "common changed")]).await.unwrap();
        assert_eq!(found(store, "onlyb").await, [""; 0], "an upsert replaces the text");
        assert_eq!(found(store, "changed").await, ["b"]);
        settle().await;
        assert_eq!(found(store, "onlyb").await, [""; 0], "and stays so");
        store.upsert(vec![VectorEntry::new("b", [1.0; DIM])]).await.unwrap();
        assert_eq!(
            found(store, "common").await,
            ["a", "c", "d"],
            "an upsert without a text has none"
        );
        assert_eq!(store.delete(&GLOBAL, &["a".into(), "b".into()]).await.unwrap(), 2);
        assert_eq!(found(store, "common onlya").await, ["c", "d"]);
        store.insert(vec![entry("a", "new")]).await.unwrap();
        assert_eq!(
            found(store, "common").await,
            ["c", "d"],
            "an id that is free again has its own words"
        );
        let gone = Filter::eq("gone", true);
        store
            .update_metadata(&GLOBAL, "c", fields(&json!({"gone": true})))
            .await
            .unwrap();
        assert_eq!(store.delete_matching(&GLOBAL, &gone).await.unwrap(), 1);
        assert_eq!(found(store, "common").await, ["d"]);
        store
            .insert(vec![entry("x", "common").with_scope(user("ada"))])
            .await
            .unwrap();
        assert_eq!(store.delete_scope(&GLOBAL).await.unwrap(), 2);
        assert_eq!(found(store, "common new").await, [""; 0]);
        assert_eq!(found_in(store, &user("ada"), "common").await, ["x"]);
        store.delete_scope(&user("ada")).await.unwrap();
    }
}

/// Strings of declared fields are found, those of arrays too; updates and patches keep that true, and the entry's own text
/// stays.
pub async fn words_follow_the_metadata(store: &Arc<dyn VectorStorage>) {
    let metadata = json!({
        "title": "first heading", "meta": {"tags": ["red", 7, ["inner"], "green"], "other": "hidden"}, "kind": "secret",
    });
    let entry = VectorEntry::new("a", [1.0; DIM])
        .with_metadata(metadata)
        .with_text("own words");
    store.insert(vec![entry]).await.unwrap();
    let check = async |there: &[&str], gone: &[&str]| {
        for word in there {
            assert_eq!(found(store, word).await, ["a"], "{word}");
        }
        for word in gone {
            assert_eq!(found(store, word).await, [""; 0], "{word}");
        }
    };
    check(
        &["own", "first", "red", "green"],
        &["inner", "hidden", "secret", "7", "title", "tags"],
    )
    .await;
    for is_indexed in [false, true] {
        let patch = json!({"title": "second heading", "meta": {"tags": null}});
        store.patch_metadata(&GLOBAL, "a", fields(&patch)).await.unwrap();
        check(&["own", "second", "heading"], &["first", "red", "green"]).await;
        let title = json!({"title": ["first", "third"], "meta": {"tags": "red"}});
        store.update_metadata(&GLOBAL, "a", fields(&title)).await.unwrap();
        check(&["own", "first", "third", "red"], &["second", "heading"]).await;
        store.update_metadata(&GLOBAL, "a", fields(&json!({}))).await.unwrap();
        check(&["own", "words"], &["first", "third", "red"]).await;
        let read = store.get(&GLOBAL, "a").await.unwrap().unwrap();
        assert_eq!(read.text.as_deref(), Some("own words"));
        if !is_indexed {
            store.build_index().await.unwrap();
        }
    }
}

/// A text is not found once its entry has expired, by its lifetime or by a touch.
pub async fn an_expired_text_is_not_found(store: &Arc<dyn VectorStorage>) {
    let entry = |id: &str| VectorEntry::text_only(id, "word").with_ttl(Duration::from_secs(3600));
    let short = entry("short").with_ttl(Duration::from_millis(1));
    store.insert(vec![short, entry("a"), entry("b")]).await.unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(found(store, "word").await, ["a", "b"]);
    store
        .touch(
            &GLOBAL,
            &["a".into()],
            Expiry::At(llmspell_core::Timestamp::from_millis(1)),
        )
        .await
        .unwrap();
    assert_eq!(found(store, "word").await, ["b"]);
    let hybrid = VectorQuery::new([1.0; DIM], 10).with_text("word");
    assert_eq!(ids(&search(&**store, &hybrid).await), ["b"]);
    store.touch(&GLOBAL, &["b".into()], Expiry::Never).await.unwrap();
    assert_eq!(found(store, "word").await, ["b"]);
}

/// An entry without a vector is found by words, read and listed without one, and never found by a vector.
pub async fn an_entry_needs_no_vector(store: &Arc<dyn VectorStorage>) {
    let both = VectorEntry::new("both", [1.0; DIM]).with_text("word");
    let vector = VectorEntry::new("vector", [2.0; DIM]);
    let title = VectorEntry::new("title", [0.0; 0]).with_metadata(json!({"title": "word"}));
    let text = VectorEntry::text_only("text", "word");
    store.insert(vec![both, vector, title, text]).await.unwrap();
    assert_eq!(store.count(&GLOBAL).await.unwrap(), 4);
    assert_eq!(found(store, "word").await, ["both", "text", "title"]);
    for query in [exact([1.0; DIM], 10), VectorQuery::new([1.0; DIM], 10)] {
        assert_eq!(ids(&search(&**store, &query).await), ["both", "vector"]);
        let filtered = query.with_filter(Filter::exists("title"));
        assert_eq!(ids(&search(&**store, &filtered).await), [""; 0]);
    }
    let read = store.get(&GLOBAL, "text").await.unwrap().unwrap();
    assert_eq!(
        (read.embedding.as_slice(), read.text.as_deref()),
        (&[][..], Some("word"))
    );
    let listed = store.list(&GLOBAL, None, 10).await.unwrap();
    assert_eq!(listed.iter().filter(|entry| entry.embedding.is_empty()).count(), 2);
    for result in search(&**store, &VectorQuery::text("word", 10).with_vectors(true)).await {
        assert_eq!(result.vector.is_some(), result.id == "both", "{}", result.id);
    }
    // It may gain a vector, and lose it again.
    let text = VectorEntry::new("text", [1.0; DIM]).with_text("word");
    store
        .upsert(vec![text, VectorEntry::text_only("both", "word")])
        .await
        .unwrap();
    assert_eq!(ids(&search(&**store, &exact([1.0; DIM], 10)).await), ["text", "vector"]);
    assert_eq!(found(store, "word").await, ["both", "text", "title"]);
    store.build_index().await.unwrap();
    assert_eq!(ids(&search(&**store, &exact([1.0; DIM], 10)).await), ["text", "vector"]);
    assert_eq!(
        store.delete(&GLOBAL, &["both".into(), "title".into()]).await.unwrap(),
        2
    );
    assert_eq!(found(store, "word").await, ["text"]);
}

/// A space of dimension 0 holds texts, and refuses vectors.
pub async fn a_space_may_be_for_texts_alone(store: &Arc<dyn VectorStorage>) {
    let entry = |id: &str, text: &str| VectorEntry::text_only(id, text);
    store
        .insert(vec![entry("a", "red"), entry("b", "red green")])
        .await
        .unwrap();
    assert_eq!(found(store, "red").await, ["a", "b"]);
    assert_eq!(found(store, "green").await, ["b"]);
    let with_vector = store.insert(vec![VectorEntry::new("c", [1.0]).with_text("red")]).await;
    super::super::assert_invalid(with_vector, "a vector in a space of texts");
    super::super::assert_invalid(store.search(&VectorQuery::new([1.0], 1)).await, "a vector in its query");
    store
        .patch_metadata(&GLOBAL, "a", fields(&json!({"title": "blue"})))
        .await
        .unwrap();
    store.build_index().await.unwrap();
    assert_eq!(found(store, "blue").await, ["a"]);
    assert_eq!(store.stats().await.unwrap().dim, 0);
    assert_eq!(store.stats_for_scope(&GLOBAL).await.unwrap().vector_bytes, 0);
    assert_eq!(store.delete(&GLOBAL, &["a".into()]).await.unwrap(), 1);
    assert_eq!(found(store, "red").await, ["b"]);
}

/// For durable stores: texts and their words are there after closing and opening, with the same scores, and what was
/// deleted is not.
///
/// `open` opens the same store with each call, empty at first, of the dimension [`DIM`] and with the
/// [texts](llmspell_core::HNSWConfig::with_texts) `TextConfig::default().with_fields(["title"])`.
///
/// # Panics
///
/// If the promise is broken.
pub async fn texts_are_there_after_reopening(open: impl AsyncFn() -> Arc<dyn VectorStorage>) {
    let store = open().await;
    let scope = user("ada");
    store.insert(super::entries(&scope, 0, 60)).await.unwrap();
    store.insert(super::entries(&GLOBAL, 60, 30)).await.unwrap();
    store
        .upsert(vec![
            VectorEntry::text_only("t005", "wb wb renewed").with_scope(scope.clone()),
        ])
        .await
        .unwrap();
    store.delete(&scope, &["t007".into(), "t008".into()]).await.unwrap();
    let title = fields(&json!({"title": "renewed"}));
    store.patch_metadata(&scope, "t009", title).await.unwrap();
    let query = VectorQuery::text("wb wf renewed -wj", 100)
        .with_texts(true)
        .with_snippets(40);
    let mut hybrid = query.clone();
    hybrid.vector = vec![1.0; DIM];
    let queries = [
        query.clone().with_scope(scope.clone()),
        query.clone(),
        query.with_scopes([GLOBAL, scope.clone()]),
        hybrid.with_exact(true).with_scope(scope.clone()),
    ];
    let answers = async |store: &dyn VectorStorage| {
        let mut answers = Vec::new();
        for query in &queries {
            answers.push(search(store, query).await);
        }
        answers
    };
    let before = answers(&*store).await;
    assert!(before.iter().all(|answer| answer.len() > 10));
    drop(store);
    for round in 0..3 {
        let store = open().await;
        assert!(answers(&*store).await == before, "after opening, {round}");
        assert_eq!(found_in(&*store, &scope, "renewed").await, ["t005", "t009"]);
        if round == 0 {
            store.build_index().await.unwrap();
            assert!(answers(&*store).await == before, "after building the index");
        }
    }
}
