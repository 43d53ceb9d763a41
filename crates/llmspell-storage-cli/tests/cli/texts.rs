//! Texts on the command line: they are imported, searched by words, alone and with vectors, shown and exported.

use crate::common::{Workplace, path};
use serde_json::{Value, json};

const NOTES: [&str; 4] = [
    r#"{"id": "graph", "vector": [1, 0], "text": "The HNSWConfig of a graph has presets", "metadata": {"title": "Graphs"}}"#,
    r#"{"id": "words", "vector": [0, 1], "text": "An index of words finds E0308", "metadata": {"title": "BM25"}}"#,
    r#"{"id": "bare", "text": "A graph without a vector"}"#,
    r#"{"id": "vector", "vector": [1, 1], "metadata": {"title": "graph index"}}"#,
];

/// A database with those notes, whose titles are indexed too.
fn with_notes() -> Workplace {
    let place = Workplace::new();
    let file = place.file("notes.jsonl", NOTES.join("\n"));
    place.run(["import", path(&file), "--words-of", "title"]).succeeds();
    place
}

fn ids(found: &[Value]) -> Vec<&str> {
    found.iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

/// The ids that words find, in order of ids.
fn found(place: &Workplace, words: &str) -> Vec<String> {
    let hits = place.run(["--json", "search", "--text", words]).succeeds().json();
    let mut ids: Vec<String> = ids(&hits).into_iter().map(String::from).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn words_are_found_alone_and_with_a_vector() {
    let place = with_notes();
    assert_eq!(found(&place, "graph"), ["bare", "graph", "vector"]);
    assert_eq!(found(&place, "hnsw config"), ["graph"]);
    assert_eq!(found(&place, "E0308"), ["words"]);
    assert_eq!(found(&place, "title:graph"), ["vector"]);
    assert_eq!(found(&place, "@text:graph -HNSWConfig"), ["bare"]);
    assert_eq!(found(&place, "gra*"), ["bare", "graph", "vector"]);
    assert_eq!(found(&place, "\"index of words\""), ["words"]);

    let hybrid = ["--json", "search", "--text", "graph", "--vector", "[0, 1]", "-k", "4"];
    let hits = place.run(hybrid).succeeds().json();
    let mut sorted = ids(&hits);
    sorted.sort_unstable();
    assert_eq!(sorted, ["bare", "graph", "vector", "words"]);
    let of = |id: &str| hits.iter().find(|hit| hit["id"] == id).unwrap();
    assert!(of("words")["text_score"].is_null() && of("words")["vector_score"].as_f64() > Some(0.99));
    assert!(of("bare")["vector_score"].is_null() && of("bare")["text_score"].as_f64() > Some(0.0));
    assert_eq!(of("bare")["snippet"]["text"], "A graph without a vector");
    assert_eq!(of("bare")["snippet"]["matches"], json!([{"start": 2, "end": 7}]));
    assert!(of("bare")["text"].is_null());
    let with_texts = place.run(hybrid.into_iter().chain(["--texts"])).succeeds().json();
    assert!(with_texts.iter().any(|hit| hit["text"] == "A graph without a vector"));

    // With the share of one side all is of that side.
    let first = |fusion: &str| {
        let hits = place
            .run(hybrid.into_iter().chain(["--fusion", fusion]))
            .succeeds()
            .json();
        ids(&hits)[0].to_string()
    };
    assert_eq!(first("linear:1"), "words");
    assert_ne!(first("linear:0"), "words");
    for fusion in ["rrf", "rrf:60", "dbsf"] {
        first(fusion);
    }
    let like = place
        .run(["--json", "search", "--like", "graph", "--text", "E0308"])
        .succeeds()
        .json();
    assert!(ids(&like).contains(&"words") && !ids(&like).contains(&"graph"));
}

#[test]
fn tables_show_the_part_that_matches_and_plans_both_sides() {
    let place = with_notes();
    let table = place.run(["search", "--text", "E0308 hnsw"]).succeeds().stdout();
    assert!(
        table.contains("finds *E0308*") && table.contains("The *HNSW*Config"),
        "{table}"
    );
    let hybrid = ["search", "--text", "graph", "--vector", "[0, 1]"];
    let table = place.run(hybrid).succeeds().stdout();
    assert!(table.contains("by vector") && table.contains("by words"), "{table}");
    let plan = place.run(hybrid.into_iter().chain(["--explain"])).succeeds().stdout();
    assert!(
        plan.contains("\nwords      ") && plan.contains("\nfusion     rrf:10, 3 by vector and 3 by words"),
        "{plan}"
    );
    let json = place
        .run(["--json", "search", "--text", "graph", "--explain"])
        .succeeds()
        .json();
    assert_eq!(json[0]["text"]["candidates"], 3);
    let list = place.run(["list"]).succeeds().stdout();
    assert!(
        list.contains("A graph without a vector") && list.contains("title=Graphs"),
        "{list}"
    );
    let get = place.run(["get", "bare"]).succeeds().stdout();
    assert!(
        get.contains("A graph without a vector") && get.contains("none"),
        "{get}"
    );
    let get = place.run(["--json", "get", "graph"]).succeeds().json();
    assert_eq!(get[0]["text"], "The HNSWConfig of a graph has presets");
    let nothing = place.run(["search", "--text", "absent"]).succeeds();
    assert_eq!(nothing.stdout(), "nothing matches\n");
}

#[test]
fn texts_come_from_any_field_and_with_a_language() {
    let place = Workplace::new();
    let csv = place.file(
        "pages.csv",
        "id,body,title\n1,the houses,First\n2,a house,Second\n3,42,Third\n",
    );
    let import = [
        "import",
        path(&csv),
        "--text-field",
        "body",
        "--stemmer",
        "en",
        "--stop-words",
        "english",
    ];
    place.run(import).succeeds();
    assert_eq!(found(&place, "house"), ["1", "2"]);
    assert_eq!(found(&place, "the"), [""; 0], "a stop word");
    assert_eq!(found(&place, "42"), ["3"], "a number is a text there");
    assert_eq!(found(&place, "first"), [""; 0], "the title is not indexed");
    place.run([&import[..], &["--resume"]].concat()).succeeds();
    // From now on the titles are, and the stemmer stays.
    let more = place.file("more.csv", "id,body,title\n4,other,Fourth house\n");
    place
        .run(["import", path(&more), "--text-field", "body", "--words-of", "title"])
        .succeeds();
    assert_eq!(found(&place, "houses"), ["1", "2", "4"]);

    let dropped = Workplace::new();
    let rows = dropped.file("rows.jsonl", r#"{"id": "a", "vector": [1], "text": "secret words"}"#);
    dropped.run(["import", path(&rows), "--drop-texts"]).succeeds();
    assert_eq!(found(&dropped, "secret"), ["a"]);
    assert!(dropped.run(["--json", "get", "a"]).succeeds().json()[0]["text"].is_null());
    let texts = ["--json", "search", "--text", "secret", "--texts"];
    dropped.run(texts).fails(64, "without keeping them");
    let exported = dropped.run(["export", "-"]).succeeds();
    assert!(exported.stderr().contains("the export does not have them") && !exported.stdout().contains("secret"));
}

#[test]
fn an_export_has_the_texts_and_how_they_are_indexed() {
    let place = with_notes();
    let before = place.run(["--json", "list", "--vectors"]).succeeds().stdout();
    for file in ["notes.jsonl", "arrays.npy"] {
        let copy = Workplace::new();
        let exported = copy.path(file);
        place.run(["export", path(&exported)]).succeeds();
        copy.run(["import", path(&exported.with_extension("jsonl"))]).succeeds();
        assert_eq!(copy.run(["--json", "list", "--vectors"]).succeeds().stdout(), before);
        assert_eq!(found(&copy, "title:graph"), ["vector"]);
        assert_eq!(found(&copy, "graph"), ["bare", "graph", "vector"]);
        copy.run(["check"]).succeeds();
    }
    // What `list` prints is imported too.
    let copy = Workplace::new();
    let rows = copy.file("rows.jsonl", before);
    copy.run(["import", path(&rows)]).succeeds();
    assert_eq!(found(&copy, "E0308"), ["words"]);
}

#[test]
fn words_where_none_are_indexed_are_refused_with_advice() {
    let place = Workplace::with_notes();
    place
        .run(["search", "--text", "graph"])
        .fails(64, "this space does not index words");
    let rows = place.file("rows.jsonl", r#"{"id": "a", "vector": [1, 0], "text": "words"}"#);
    place.run(["import", path(&rows)]).fails(64, "does not index words");
    place
        .run(["import", path(&rows), "--text-field", "text", "--scope", "user:ada"])
        .succeeds();
    let found = ["--json", "--scope", "user:ada", "search", "--text", "words"];
    assert_eq!(ids(&place.run(found).succeeds().json()), ["a"]);
}

#[test]
fn calls_that_mean_nothing_are_refused() {
    let place = with_notes();
    let refused = |args: &[&str]| {
        let ran = place.run(["search"].iter().chain(args).copied());
        assert_eq!(ran.0.status.code(), Some(64), "{args:?}: {}", ran.stderr());
    };
    refused(&[]);
    refused(&["--text", "a", "--fusion", "rrf"]);
    refused(&["--vector", "[1, 0]", "--fusion", "rrf"]);
    refused(&["--text", "a", "--vector", "[1, 0]", "--fusion", "rrf:0"]);
    refused(&["--text", "a", "--vector", "[1, 0]", "--fusion", "best"]);
    refused(&["--vector", "[1, 0]", "--snippet", "100"]);
    refused(&["--text", "a", "--snippet", "3"]);
    refused(&["--vector", "[1, 0]", "--like", "graph"]);
    refused(&["--like", "bare"]);
    let rows = place.file("rows.jsonl", "{\"id\": \"a\", \"text\": 7}\n");
    place.run(["import", path(&rows)]).fails(64, "field `text`");
    let language = ["import", path(&rows), "--stemmer", "klingon"];
    assert_eq!(place.run(language).0.status.code(), Some(64));
}

#[test]
fn sparse_vectors_are_imported_searched_for_and_exported() {
    let place = Workplace::new();
    let rows = [
        r#"{"id": "a", "vector": [1, 0], "sparse": {"splade": {"indices": [9, 3], "values": [0.5, 2]}}}"#,
        r#"{"id": "b", "vector": [0, 1], "text": "a word", "sparse": {"splade": {"indices": [3], "values": [1]}}}"#,
        r#"{"id": "c", "sparse": {"splade": {"indices": [3, 7], "values": [0.25, 1]}, "bge": {"indices": [1], "values": [4]}}}"#,
        r#"{"id": "d", "vector": [1, 1], "sparse": {"splade": {"indices": [3], "values": [-1]}}}"#,
    ];
    let file = place.file("rows.jsonl", rows.join("\n").as_bytes());
    place
        .run(["import", path(&file)])
        .fails(64, "its value at index 3 is -1");
    place
        .run(["import", path(&file), "--skip-invalid", "rejected.jsonl"])
        .succeeds();
    let rejected = std::fs::read_to_string(place.path("rejected.jsonl")).unwrap();
    assert!(rejected.contains("its value at index 3 is -1"), "{rejected}");

    let scores = |args: &[&str]| {
        let args = ["--json", "search"].iter().chain(args).copied();
        let found = place.run(args).succeeds().json();
        let of = |hit: &serde_json::Value| (hit["id"].as_str().unwrap().to_string(), hit["score"].as_f64().unwrap());
        found.iter().map(of).collect::<Vec<_>>()
    };
    let expected = |scores: &[(&str, f64)]| {
        scores
            .iter()
            .map(|(id, score)| (id.to_string(), *score))
            .collect::<Vec<_>>()
    };
    let splade = r#"splade={"indices": [3], "values": [2]}"#;
    assert_eq!(
        scores(&["--sparse", splade]),
        expected(&[("a", 4.0), ("b", 2.0), ("c", 0.5)])
    );
    let query = place.file("q.json", br#"{"indices": [1], "values": [0.5]}"#);
    let by_file = format!("bge={}", path(&query));
    assert_eq!(scores(&["--sparse", &by_file]), expected(&[("c", 2.0)]));
    let both = ["--text", "word", "--sparse", splade, "--fusion", "linear:0.5"];
    assert_eq!(scores(&both)[0].0, "b");
    let shown = place
        .run(["search", "--vector", "[1, 0]", "--text", "word", "--sparse", splade])
        .succeeds()
        .stdout();
    assert!(
        shown.contains("by vector") && shown.contains("by words") && shown.contains("by splade"),
        "{shown}"
    );

    place.run(["export", "all.jsonl"]).succeeds();
    let exported = std::fs::read_to_string(place.path("all.jsonl")).unwrap();
    assert!(
        exported.contains(r#""sparse":{"splade":{"indices":[3,9],"values":[2.0,0.5]}}"#),
        "{exported}"
    );
    let other = Workplace::new();
    let copied = other.file("all.jsonl", exported.as_bytes());
    other.run(["import", path(&copied)]).succeeds();
    let again = other.run(["--json", "search", "--sparse", splade]).succeeds().json();
    assert_eq!(again.len(), 3);

    for wrong in ["splade", "splade={", "splade=[1]", "splade=none.json"] {
        let ran = place.run(["search", "--sparse", wrong]);
        assert_ne!(ran.0.status.code(), Some(0), "{wrong}");
    }
    let twice = place.run(["search", "--sparse", splade, "--sparse", splade]);
    assert_eq!(twice.0.status.code(), Some(64));
    let unknown = place.run(["search", "--sparse", r#"other={"indices": [3], "values": [2]}"#]);
    assert!(
        unknown
            .stderr()
            .contains("indexes none of that name; there are: bge, splade"),
        "{}",
        unknown.stderr()
    );
}
