//! Bad texts and words are refused, and nothing is changed by them.

use std::sync::Arc;

use serde_json::json;

use super::super::{DIM, assert_invalid, exact, listed};
use super::found;
use llmspell_core::limits::{QUERY_TEXT_BYTES_MAX, SNIPPET_BYTES_RANGE, TEXT_BYTES_MAX};
use llmspell_core::{Fusion, StateScope, VectorEntry, VectorQuery, VectorStorage};

/// For a store that indexes no words: an entry with a text is refused with its whole batch, and so is every query of words.
pub async fn words_are_refused_where_none_are_indexed(store: &Arc<dyn VectorStorage>) {
    let plain = VectorEntry::new("plain", [1.0; DIM]);
    for bad in [
        plain.clone().with_text("word"),
        plain.clone().with_text(""),
        VectorEntry::text_only("a", "word"),
        VectorEntry::new("a", [0.0; 0]).with_metadata(json!({"title": "word"})),
    ] {
        let first = VectorEntry::new("first", [1.0; DIM]);
        assert_invalid(store.insert(vec![first, bad]).await, "a text in a space without texts");
    }
    assert_eq!(listed(&**store, &StateScope::Global).await, [""; 0]);
    store.insert(vec![plain]).await.unwrap();
    for query in [
        VectorQuery::text("word", 5),
        VectorQuery::text("", 5),
        exact([1.0; DIM], 5).with_text("word"),
        exact([1.0; DIM], 5).with_texts(true),
    ] {
        assert_invalid(store.search(&query).await, "words in a space without texts");
        assert_invalid(store.explain(&query).await, "the plan of such a query");
    }
    assert_eq!(
        store.get(&StateScope::Global, "plain").await.unwrap().unwrap().text,
        None
    );
}

/// Entries without anything to be found by, texts and words that are too long, and settings out of range or of no use are
/// refused; texts and words up to the limit are taken.
pub async fn bad_texts_and_words_are_refused(store: &Arc<dyn VectorStorage>) {
    let bare = || VectorEntry::new("a", [0.0; 0]);
    let longest = "word ".repeat(TEXT_BYTES_MAX / 5);
    for (what, bad) in [
        ("neither vector nor text", bare()),
        ("an empty text alone", bare().with_text("")),
        (
            "metadata that is not indexed",
            bare().with_metadata(json!({"other": "word", "title": 7})),
        ),
        (
            "a text that is too long",
            bare().with_text(format!("{longest}{longest}")),
        ),
        ("a wrong dimension", VectorEntry::new("a", [1.0]).with_text("word")),
    ] {
        let good = VectorEntry::text_only("good", "word");
        assert_invalid(store.insert(vec![good, bad]).await, what);
        assert_eq!(
            found(store, "word").await,
            [""; 0],
            "nothing of the batch with {what} is stored"
        );
    }
    store
        .insert(vec![VectorEntry::text_only("long", longest)])
        .await
        .unwrap();
    assert_eq!(found(store, "word").await, ["long"]);
    let words = || VectorQuery::text("word", 5);
    let hybrid = || exact([1.0; DIM], 5).with_text("word");
    for (what, query) in [
        (
            "a vector of a wrong dimension",
            VectorQuery::new([1.0], 5).with_text("word"),
        ),
        ("a query of nothing", VectorQuery::new([0.0; 0], 5)),
        (
            "words that are too long",
            VectorQuery::text("a".repeat(QUERY_TEXT_BYTES_MAX + 1), 5),
        ),
        ("a fusion without vector", words().with_fusion(Fusion::Dbsf)),
        ("a fusion without words", exact([1.0; DIM], 5).with_fusion(Fusion::Dbsf)),
        ("k of 0", hybrid().with_fusion(Fusion::Rrf { k: 0.0 })),
        ("k that is no number", hybrid().with_fusion(Fusion::Rrf { k: f32::NAN })),
        ("alpha above 1", hybrid().with_fusion(Fusion::Linear { alpha: 1.1 })),
        ("snippets without words", exact([1.0; DIM], 5).with_snippets(100)),
        (
            "snippets that are too short",
            words().with_snippets(SNIPPET_BYTES_RANGE.start() - 1),
        ),
        (
            "snippets that are too long",
            words().with_snippets(SNIPPET_BYTES_RANGE.end() + 1),
        ),
        ("a threshold that is no number", words().with_threshold(f32::NAN)),
        ("k of results that is 0", words().with_k(0)),
    ] {
        assert_invalid(store.search(&query).await, what);
        assert_invalid(store.explain(&query).await, what);
    }
    let longest = VectorQuery::text("word ".repeat(QUERY_TEXT_BYTES_MAX / 5), 5);
    assert_eq!(store.search(&longest).await.unwrap().len(), 1);
}
