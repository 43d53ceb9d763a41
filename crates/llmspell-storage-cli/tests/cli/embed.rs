//! Do texts come in, and are they found, by a command that makes the vectors?

use crate::common::{Workplace, path};
use serde_json::{Value, json};

/// Makes of each text a vector of three components: how often it has the letters a, e and o, and always a little.
const EMBED: &str = r#"{
    count() { IFS=$1; set -- $2.; n=$(($# - 1)); IFS=' '; }
    while read -r line; do
        text=${line#*'"text":"'}; text=${text%%'"'*}
        count a "$text"; a=$n; count e "$text"; e=$n; count o "$text"
        echo "[$a.5, $e.5, $n.5]"
    done
}"#;

fn texts(count: usize) -> String {
    let rows = (0..count).map(|n| {
        let text = format!("{}{}{}", "a".repeat(n % 7), "e".repeat(n % 5), "o".repeat(n % 3));
        json!({"id": format!("{n:03}"), "body": format!("{text}."), "lang": "en"}).to_string()
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn import<'a>(file: &'a str, command: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["--json", "import", file, "--embed-field", "body", "--with", command];
    [&fixed, args].concat()
}

fn vector_of(place: &Workplace, id: &str) -> Value {
    let got = place.run(["--json", "get", id, "--vectors"]).succeeds();
    got.json()[0]["vector"].clone()
}

/// How many lines a command was asked that begins with `tee asked.jsonl |`.
fn asked(place: &Workplace) -> usize {
    let text = std::fs::read_to_string(place.path("asked.jsonl")).unwrap_or_default();
    text.lines().count()
}

#[test]
fn rows_of_text_get_their_vectors_and_are_found_by_a_text() {
    let place = Workplace::new();
    let file = place.file("rows.jsonl", texts(150));
    let command = format!("tee asked.jsonl | {EMBED}");
    let summary = place
        .run(import(path(&file), &command, &[]))
        .succeeds()
        .json()
        .remove(0);
    assert_eq!((&summary["stored"], &summary["rejected"]), (&json!(150), &json!(0)));
    assert_eq!(asked(&place), 150);
    // 118 is 6 modulo 7, 3 modulo 5 and 1 modulo 3.
    assert_eq!(vector_of(&place, "118"), json!([6.5, 3.5, 1.5]));
    let entry = place.run(["--json", "get", "118"]).succeeds().json().remove(0);
    assert_eq!(entry["metadata"], json!({"body": "aaaaaaeeeo.", "lang": "en"}));

    let search = |args: &[&'static str]| {
        let fixed = ["--json", "search", "--embed", "aaaaaaeeeo", "--with", EMBED];
        place.run([&fixed, args].concat()).succeeds().json()
    };
    let hits = search(&["-k", "2"]);
    assert_eq!((&hits[0]["id"], hits.len()), (&json!("013"), 2), "{hits:?}");
    assert!(hits[0]["score"].as_f64().unwrap() > 0.9999);
    assert_eq!(search(&["--explain"])[0]["live"], 150);

    // What a command reads of a text that is searched for.
    let ask = "head -n 1 > asked.jsonl; echo '[1, 1, 1]'";
    let args = ["--scope", "user:ada", "search", "--embed", "what?", "--with", ask];
    place.run(args).succeeds();
    let question: Value = serde_json::from_str(&std::fs::read_to_string(place.path("asked.jsonl")).unwrap()).unwrap();
    let expected = json!({
        "text": "what?", "query": true, "id": "query", "scope": "user:ada", "metadata": {"text": "what?"}
    });
    assert_eq!(question, expected);
}

#[test]
fn tables_and_arrays_of_rows_have_texts_too() {
    let place = Workplace::new();
    let table = place.file("rows.csv", "id,body,year\na,aaa,2026\nb,42,2025\n");
    place.run(import(path(&table), EMBED, &[])).succeeds();
    let entry = |id: &'static str| place.run(["--json", "get", id]).succeeds().json().remove(0);
    assert_eq!(entry("a")["metadata"], json!({"body": "aaa", "year": 2026}));
    assert_eq!(
        entry("b")["metadata"],
        json!({"body": "42", "year": 2025}),
        "a text stays text"
    );
    let array = place.file(
        "rows.json",
        r#"[{"id": "c", "metadata": {"in": {"ner": "eee"}}}, {"id": "d", "in": {"ner": "ooo"}}]"#,
    );
    let args = ["import", path(&array), "--embed-field", "in.ner", "--with", EMBED];
    place.run(args).succeeds();
    assert_eq!(vector_of(&place, "c"), json!([0.5, 3.5, 0.5]));
    assert_eq!(vector_of(&place, "d"), json!([0.5, 0.5, 3.5]));

    let args = ["import", path(&table), "--with", EMBED];
    place
        .run(args)
        .fails(64, "no column is named `text`; there are id, body, year");
    let args = ["--other-fields", "drop", "--upsert"];
    place.run(import(path(&table), EMBED, &args)).succeeds();
    assert_eq!(entry("a")["metadata"], json!({"body": "aaa"}), "the text is kept");
    let args = ["--other-fields", "refuse", "--upsert"];
    place
        .run(import(path(&table), EMBED, &args))
        .fails(64, "no option says what field `year` means");
}

#[test]
fn what_is_stored_is_not_embedded_again() {
    let place = Workplace::new();
    let file = place.file("rows.jsonl", texts(150));
    // It answers 100 lines of 150: one group of 64, and a part of the next.
    let first = format!("sed -u 100q | {EMBED}");
    let ran = place.run(import(path(&file), &first, &[]));
    let stderr = ran.fails(1, "line 101: it ended before it answered").stderr();
    assert!(stderr.contains("with --resume"), "{stderr}");
    assert_eq!(place.run(["count"]).succeeds().stdout(), "64\n");

    let rest = format!("tee asked.jsonl | {EMBED}");
    let again = place.run(import(path(&file), &rest, &[]));
    again.fails(5, "exists");
    assert_eq!(asked(&place), 0, "a row whose id is in the way is not embedded");

    let summary = place.run(import(path(&file), &rest, &["--resume"])).succeeds().json();
    let of = |summary: &[Value]| ["stored", "already_there"].map(|field| summary[0][field].as_u64().unwrap());
    assert_eq!((of(&summary), asked(&place)), ([86, 64], 86));
    assert_eq!(vector_of(&place, "013"), json!([6.5, 3.5, 1.5]));

    // Nothing is left to do: the command is not even started.
    let summary = place
        .run(import(path(&file), "exit 1", &["--resume"]))
        .succeeds()
        .json();
    assert_eq!(of(&summary), [0, 150]);
    // Another text under the same id is another row.
    let other = place.file("other.jsonl", r#"{"id": "013", "body": "ooo", "lang": "en"}"#);
    place
        .run(import(path(&other), EMBED, &["--resume"]))
        .fails(64, "exists in its scope");
    place
        .run(import(path(&other), EMBED, &["--resume", "--upsert"]))
        .succeeds();
    assert_eq!(vector_of(&place, "013"), json!([0.5, 0.5, 3.5]));
}

#[test]
fn rows_without_text_are_bad_rows_in_the_order_of_the_file() {
    let place = Workplace::new();
    let rows = [
        r#"{"id": "a", "body": "aa"}"#,
        "no JSON",
        r#"{"id": "b"}"#,
        r#"{"id": "c", "body": "  "}"#,
        r#"{"id": "d", "body": 7}"#,
        r#"{"id": "e", "body": "ee", "vector": [1, 2, 3]}"#,
        r#"{"id": "f", "body": "ff", "vector": null}"#,
        r#"{"id": "a", "body": "oo"}"#,
    ];
    let file = place.file("rows.jsonl", rows.join("\n"));
    place
        .run(import(path(&file), EMBED, &[]))
        .fails(64, "rows.jsonl:2: not a JSON object");
    assert!(!place.path("db").exists(), "nothing was stored");
    let args = ["--skip-invalid", "bad.jsonl"];
    let summary = place.run(import(path(&file), EMBED, &args)).succeeds().json().remove(0);
    assert_eq!((&summary["stored"], &summary["rejected"]), (&json!(2), &json!(6)));
    let bad = std::fs::read_to_string(place.path("bad.jsonl")).unwrap();
    let bad: Vec<Value> = bad.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let parts = [
        (2, "not a JSON object"),
        (3, "field `body` holds no text"),
        (4, "field `body` holds no text"),
        (5, "field `body` holds no text"),
        (6, "has a vector already, in field `vector`"),
        (8, "id `a` stands twice"),
    ];
    assert_eq!(bad.len(), parts.len());
    for (row, (line, part)) in bad.iter().zip(parts) {
        assert_eq!(row["line"], line);
        assert!(row["reason"].as_str().unwrap().contains(part), "{row}");
    }
}

#[test]
fn what_the_command_does_wrong_is_told_with_its_line_and_leaves_nothing_behind() {
    let place = Workplace::new();
    let file = place.file("rows.jsonl", texts(3));
    let fails = |command: &str, part: &str| {
        let ran = place.run(import(path(&file), command, &["--skip-invalid", "bad.jsonl"]));
        ran.fails(1, part);
        assert!(!place.path("db").exists());
    };
    fails(
        "exit 7",
        "`exit 7`: line 1: it ended before it answered this line (exit status: 7)",
    );
    fails("no-such-command-of-anybody 2>&-", "line 1: it ended before it answered");
    // It hangs up after its first answer, and reads no more.
    fails("echo '[1, 2]'; exec 0<&- 1>&-; sleep 0.1", "line 2: it ended");
    fails(
        "read -r line; echo '[1, 2]'; read -r line; echo '[1, 2, 3]'; cat > /dev/null",
        "line 2: vector `001`: dimension mismatch: expected 2, got 3",
    );
    fails("echo '[]'; cat > /dev/null", "line 1: a vector of 0 components");
    fails(
        "echo '[1, NaN]'; cat > /dev/null",
        "line 1: not a JSON array of numbers",
    );
    fails(
        "echo '[1, 1e39]'; cat > /dev/null",
        "line 1: not a JSON array of numbers (number out of range",
    );
    fails("echo '[0, 0]'; cat > /dev/null", "line 1: vector `000`");
    fails("echo; cat > /dev/null", "line 1: not a JSON array of numbers");
    // More answers than questions: which vector belongs to which row is not known.
    let more = "while read -r line; do echo '[1, 2]'; done; echo '[1, 2]'";
    place
        .run(import(path(&file), more, &[]))
        .fails(1, "line 4: it answered more lines than it was asked");
}

#[test]
fn vectors_must_be_those_of_the_space_and_of_its_model() {
    let place = Workplace::with_notes();
    let file = place.file("rows.jsonl", texts(3));
    let with = |args: &[&'static str], code: i32, part: &str| {
        let args = import(path(&file), EMBED, args);
        place.run(args).fails(code, part);
    };
    let two = "line 1: vector `000`: dimension mismatch: expected 2, got 3";
    with(&[], 1, two);
    with(&["--space", "new", "--dim", "2"], 1, two);
    place.run(["--space", "new", "count"]).fails(3, "no space");
    with(
        &["--model", "all-MiniLM-L6-v2"],
        1,
        "model `all-MiniLM-L6-v2` makes vectors of 384 components; got 3",
    );
    with(&["--model", "ours"], 3, "no space for the model `ours`");
    let search = |args: &[&'static str]| {
        let fixed = ["--scope", "user:ada", "search", "--embed", "aaa", "--with", EMBED];
        place.run([&fixed, args].concat())
    };
    search(&[]).fails(1, "line 1: vector `query`: dimension mismatch: expected 2, got 3");

    // A model that stores a part of its vectors: they are cut, of rows and of questions.
    let add = ["model", "add", "ours", "--dim", "3", "--cut", "2", "--store-dim", "2"];
    place.run(add).succeeds();
    place.run(import(path(&file), EMBED, &["--model", "ours"])).succeeds();
    let models = place.run(["--json", "model", "ls"]).succeeds().json();
    assert_eq!(
        (&models[0]["model"], &models[0]["vectors"]),
        (&json!("ours"), &json!(3)),
        "{models:?}"
    );
    for space in [["--model", "ours"], ["--space", "ours"]] {
        let score = |text| {
            let args = ["--json", "search", "--embed", text, "--with", EMBED, "-k", "1"];
            let hits = place.run([&args[..], &space].concat()).succeeds().json();
            hits[0]["score"].as_f64().unwrap()
        };
        // The third component, which is not stored, would make a difference.
        assert!(score("aaee") > 0.9999 && score("aaa") < 0.9, "{space:?}");
    }
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    let place = Workplace::with_notes();
    let array = place.file("rows.npy", crate::common::npy("<f4", "(1, 1)", &[0; 4]));
    place
        .run(import(path(&array), EMBED, &[]))
        .fails(64, "an array has vectors already");
    place.run(["export", "all.jsonl"]).succeeds();
    place
        .run(import("all.jsonl", EMBED, &[]))
        .fails(64, "an export has vectors already");
    place
        .run(["import", "all.jsonl", "--embed-field", "body"])
        .fails(64, "--with");
    place.run(["search", "--embed", "text"]).fails(64, "--with");
    place
        .run(["search", "--like", "east", "--with", EMBED])
        .fails(64, "cannot be used with");
    place
        .run(["search", "--embed", " ", "--with", EMBED])
        .fails(64, "is blank");
    place
        .run(["import", "all.jsonl", "--with", EMBED, "--embed-field", "@created_at"])
        .fails(64, "a time of the entry");
}
