//! Each form of a query finds what it says.

use std::sync::Arc;

use serde_json::json;

use super::super::DIM;
use super::{found, search};
use llmspell_core::{VectorEntry, VectorQuery, VectorStorage};

/// Words, phrases, words that must not be there, beginnings of words, and names of fields.
pub async fn each_form_of_a_query_finds_what_it_says(store: &Arc<dyn VectorStorage>) {
    let entry = |id: &str, title: &str, text: &str| {
        VectorEntry::text_only(id, text).with_metadata(json!({"title": title, "meta": {"tags": [title]}}))
    };
    let batch = vec![
        entry("a", "graph", "the block max index"),
        entry("b", "index", "a graph of max block graphs"),
        entry("c", "note", "block the index"),
        entry("d", "block max", "graph"),
    ];
    store.insert(batch).await.unwrap();
    for is_indexed in [false, true] {
        for (typed, expected) in [
            ("graph", &["a", "b", "d"][..]),
            ("GRAPH, index!", &["a", "b", "c", "d"]),
            ("\"block max\"", &["a", "d"]),
            ("\"max block\"", &["b"]),
            ("graph \"block max\"", &["a", "d"]),
            ("block -graph", &["c"]),
            ("block -\"block max\"", &["b", "c"]),
            ("graph*", &["a", "b", "d"]),
            ("gra*", &["a", "b", "d"]),
            ("@text:gra*", &["b", "d"]),
            ("title:graph", &["a"]),
            ("meta.tags:graph", &["a"]),
            ("@text:graph", &["b", "d"]),
            ("title:\"block max\"", &["d"]),
            ("graph -title:graph", &["b", "d"]),
            ("graph -@text:graph", &["a"]),
            ("-graph", &["a", "b", "d"]),
            ("other:graph", &["a", "b", "d"]),
            ("gra", &[]),
            ("title:the", &[]),
            ("", &[]),
            ("absent", &[]),
        ] {
            assert_eq!(
                found(store, typed).await,
                expected,
                "{typed}, in an index: {is_indexed}"
            );
        }
        store.build_index().await.unwrap();
    }
    let more = search(&**store, &VectorQuery::text("block max", 10)).await;
    assert_eq!(more.len(), 4, "one of the words is enough");
    assert!(more[3].id == "c", "both count more");
}

/// No text is refused as words, whatever its signs.
pub async fn whatever_is_typed_is_a_query(store: &Arc<dyn VectorStorage>) {
    store
        .insert(vec![VectorEntry::new("a", [1.0; DIM]).with_text("word")])
        .await
        .unwrap();
    for typed in [
        "", " ", "\"", "\"\"", "-", "--", "*", ":", "title:", "@text:", "(", "word AND", "\"word", "word\"", "-*",
        "\0", "\u{301}", "🦀", "😀 \"", "title:-", "\\", "a:b:c", "~", "^2",
    ] {
        for query in [
            VectorQuery::text(typed, 5),
            VectorQuery::new([1.0; DIM], 5).with_text(typed),
        ] {
            let answer = store.search(&query).await;
            let hybrid = query.is_hybrid();
            assert!(
                answer.is_ok_and(|found| found.len() == 1 || !hybrid),
                "{typed:?} is a query"
            );
        }
    }
    for typed in [
        "word AND", "\"word", "word\"", "(word", "word~", "-word", "+word", "no:word",
    ] {
        assert_eq!(found(store, typed).await, ["a"], "{typed}");
    }
}

/// Identifiers are found whole and by their parts, and texts of scripts without spaces by their words.
pub async fn identifiers_and_scripts_without_spaces_are_found(store: &Arc<dyn VectorStorage>) {
    let texts = [
        ("code", "HNSWConfig::with_ef_search returns"),
        ("error", "failed with E0308 in src/main.rs"),
        ("japanese", "東京都に住んでいます"),
        ("thai", "ภาษาไทยง่ายมาก"),
        ("german", "Größe der Straße"),
        ("wide", "ｆｕｌｌ ｗｉｄｔｈ"),
    ];
    store
        .insert(texts.map(|(id, text)| VectorEntry::text_only(id, text)).to_vec())
        .await
        .unwrap();
    for is_indexed in [false, true] {
        for (typed, id) in [
            ("hnsw config", "code"),
            ("HNSWConfig", "code"),
            ("hnsw_config", "code"),
            ("ef_search", "code"),
            ("search", "code"),
            ("E0308", "error"),
            ("main.rs", "error"),
            ("東京", "japanese"),
            ("京都", "japanese"),
            ("ไทย", "thai"),
            ("größe", "german"),
            ("STRASSE", "german"),
            ("full width", "wide"),
        ] {
            assert_eq!(found(store, typed).await, [id], "{typed}, in an index: {is_indexed}");
        }
        store.build_index().await.unwrap();
    }
}

/// For a store whose analyzer has the stemmer and the stop words of English.
pub async fn the_chosen_analyzer_is_used(store: &Arc<dyn VectorStorage>) {
    let entry = |id: &str, text: &str| VectorEntry::text_only(id, text);
    store
        .insert(vec![
            entry("a", "the houses"),
            entry("b", "a house"),
            entry("c", "the end"),
        ])
        .await
        .unwrap();
    for typed in ["house", "Houses", "housing"] {
        assert_eq!(found(store, typed).await, ["a", "b"], "{typed}");
    }
    assert_eq!(found(store, "the").await, [""; 0], "a stop word");
}
