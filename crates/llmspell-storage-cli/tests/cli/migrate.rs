//! Do entries get vectors of another model, by a command and from a file, and again after it was cut short?

use crate::common::{Workplace, path};
use serde_json::{Value, json};

/// Answers each line with a vector of three components, the first of which is the number in its text.
const EMBED: &str = r#"sed -u 's/.*"text":"\([0-9]*\)".*/[\1, 1, 0.5]/'"#;

/// 150 entries of the model `old`, in two scopes; entry `n` has the text `n`.
fn place_with_entries() -> Workplace {
    let place = Workplace::new();
    place.run(["model", "add", "old", "--dim", "2"]).succeeds();
    let rows = (0..150).map(|n| {
        let scope = if n % 3 == 0 { "user:ada" } else { "global" };
        let id = format!("{n:03}");
        json!({"id": id, "vector": [1, n], "scope": scope, "metadata": {"text": n.to_string()}}).to_string()
    });
    let file = place.file("rows.jsonl", rows.collect::<Vec<_>>().join("\n"));
    place.run(["import", path(&file), "--model", "old"]).succeeds();
    place
}

fn migrate<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [&["--json", "migrate", "--from", "old", "--to", "new"], args].concat()
}

/// Every entry of both scopes, by its id.
fn entries(place: &Workplace, model: &str) -> Vec<Value> {
    let mut entries = Vec::new();
    for scope in ["user:ada", "global"] {
        let args = [
            "--json",
            "--scope",
            scope,
            "--model",
            model,
            "list",
            "--all",
            "--vectors",
        ];
        entries.extend(place.run(args).succeeds().json());
    }
    entries.sort_by_key(|entry| entry["id"].as_str().unwrap().to_string());
    entries
}

/// Each has the vector that was made of its own text.
fn assert_all_new(place: &Workplace) {
    let entries = entries(place, "new");
    assert_eq!(entries.len(), 150);
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!(entry["metadata"]["text"], n.to_string());
        assert_eq!(entry["vector"], json!([n as f64, 1.0, 0.5]));
    }
}

#[test]
fn a_command_makes_the_vectors_and_the_new_model_takes_the_place_of_the_old_one() {
    let place = place_with_entries();
    let before = entries(&place, "old");
    let args = migrate(&["--dim", "3", "--with", EMBED]);
    let report = place.run(args.clone()).succeeds().json().remove(0);
    for (field, value) in [
        ("embedded", 150),
        ("copied", 150),
        ("copied_before", 0),
        ("vectors", 150),
        ("store_dim", 3),
    ] {
        assert_eq!(report[field], value, "{field}");
    }
    assert_all_new(&place);
    for (before, after) in before.iter().zip(entries(&place, "new")) {
        assert_eq!(
            (&before["created_at"], &before["scope"]),
            (&after["created_at"], &after["scope"])
        );
    }
    place
        .run(["count", "--model", "old"])
        .fails(3, "no space for the model `old`");
    let spaces = place.run(["--json", "space", "ls"]).succeeds().json();
    assert_eq!(
        (&spaces[0]["role"], &spaces[1]["role"]),
        (&json!("replaced"), &json!("routed"))
    );
    place.run(["check"]).succeeds();
    // A second run is no error, and the command is not started.
    let again = place
        .run(migrate(&["--dim", "3", "--with", "exit 1"]))
        .succeeds()
        .json();
    assert_eq!(again[0]["embedded"], 0);
}

#[test]
fn a_migration_that_was_cut_short_goes_on_where_it_was() {
    let place = place_with_entries();
    // It answers 100 lines of 150.
    let first = format!("sed -u 100q | {EMBED}");
    let args = migrate(&["--dim", "3", "--with", &first]);
    place.run(args).fails(1, "it ended before it answered");
    assert_eq!(entries(&place, "old").len(), 150, "all of it is still there");
    let spaces = place.run(["--json", "space", "ls"]).succeeds().json();
    assert_eq!(
        (&spaces[1]["role"], &spaces[1]["successor_of"]),
        (&json!("successor"), &json!("old"))
    );
    let copied = spaces[1]["vectors"].as_u64().unwrap();
    assert!((1..150).contains(&copied), "{copied}");

    // The database knows what the new model is.
    let rest = format!("tee asked.jsonl | {EMBED}");
    let report = place.run(migrate(&["--with", &rest])).succeeds().json().remove(0);
    assert_eq!(
        (&report["copied_before"], &report["embedded"]),
        (&json!(copied), &json!(150 - copied))
    );
    let asked = std::fs::read_to_string(place.path("asked.jsonl")).unwrap();
    assert_eq!(
        asked.lines().count() as u64,
        150 - copied,
        "what was copied is not asked again"
    );
    assert_all_new(&place);
}

#[test]
fn the_command_reads_what_there_is_of_an_entry() {
    let place = place_with_entries();
    let with = |args: &[&str]| {
        let command = "head -n 1 > asked.jsonl";
        let all = [&["--dim", "3", "--with", command], args].concat();
        place.run(migrate(&all)).fails(1, "line 1: it ended");
        let asked = std::fs::read_to_string(place.path("asked.jsonl")).unwrap();
        serde_json::from_str::<Value>(asked.lines().next().unwrap()).unwrap()
    };
    let entry = with(&[]);
    assert_eq!((&entry["id"], &entry["metadata"]["text"]), (&json!("001"), &json!("1")));
    assert_eq!((&entry["scope"], entry.get("vector")), (&json!("global"), None));
    assert_eq!(with(&["--send-vectors"])["vector"], json!([1.0, 1.0]));
}

#[test]
fn what_the_command_does_wrong_is_told_with_its_line() {
    let place = place_with_entries();
    let fails = |command: &str, part: &str| {
        place.run(migrate(&["--dim", "3", "--with", command])).fails(1, part);
        assert_eq!(entries(&place, "old").len(), 150);
    };
    fails(
        "exit 7",
        "`exit 7`: line 1: it ended before it answered this line (exit status: 7)",
    );
    fails(
        "while read -r line; do echo '[1, 2]'; done",
        "line 1: vector `001`: model `new` makes vectors of 3",
    );
    fails(
        "read -r line; echo '[1, 2, 3]'; echo; cat",
        "line 2: not a JSON array of numbers",
    );
    fails("while read -r line; do echo '[0, 0, 0]'; done", "line 1: vector `001`");
}

#[test]
fn vectors_that_were_made_elsewhere_come_from_a_file() {
    let place = place_with_entries();
    let row = |n: usize| {
        let scope = if n.is_multiple_of(3) { "user:ada" } else { "global" };
        json!({"id": format!("{n:03}"), "scope": scope, "vector": [n, 1, 0.5], "metadata": {"any": "thing"}})
            .to_string()
    };
    let write = |rows: &mut dyn Iterator<Item = usize>| {
        // Backwards, with an empty line: the order does not count.
        let mut rows: Vec<String> = rows.map(row).collect();
        rows.reverse();
        place.file("new.jsonl", rows.join("\n\n"))
    };
    let args = migrate(&["--dim", "3", "--vectors", "new.jsonl"]);
    write(&mut (0..150).filter(|n| *n != 148));
    place
        .run(args.clone())
        .fails(3, "new.jsonl has no vector for `148` of global");
    write(&mut (0..150).chain([7]));
    place.run(args.clone()).fails(64, "id `007` stands twice");
    place.file(
        "new.jsonl",
        format!("{}\n{{\"id\": \"001\", \"vector\": [1, 2]}}", row(0)),
    );
    place
        .run(args.clone())
        .fails(64, "new.jsonl:2: vector `001`: model `new` makes vectors of 3");
    place.run(migrate(&["--dim", "3", "--vectors", "-"])).fails(64, "stdin");
    place.run(migrate(&["--dim", "3"])).fails(64, "--with");

    write(&mut (0..150));
    let report = place.run(args).succeeds().json().remove(0);
    assert!(report["copied_before"].as_u64().unwrap() > 0, "{report}");
    assert_all_new(&place);
}

#[test]
fn a_space_without_a_model_can_be_migrated_to_one_that_stores_a_part() {
    let place = Workplace::with_notes();
    let command = "while read -r line; do echo '[3, 4, 12]'; done";
    let migrate = |to: &'static str, args: &[&'static str]| {
        let all = ["migrate", "--from", "default", "--to", to, "--with", command].into_iter();
        place.run(all.chain(args.to_vec()))
    };
    migrate("ours", &[]).fails(64, "how many components");
    migrate("ours", &["--dim", "3", "--store-dim", "2"]).fails(64, "cannot be cut to 2 components");
    let spaces = place.run(["--json", "space", "ls"]).succeeds().json();
    assert_eq!(spaces[0]["role"], "plain", "a call that is refused changes nothing");
    migrate("ours", &["--dim", "3", "--cut", "2", "--store-dim", "2"]).succeeds();
    let got = ["--json", "--model", "ours", "get", "east", "--vectors"];
    let vector = place.run(got).succeeds().json()[0]["vector"].clone();
    let close = |component: &Value, expected: f64| (component.as_f64().unwrap() - expected).abs() < 1e-6;
    assert!(close(&vector[0], 0.6) && close(&vector[1], 0.8), "{vector}");
}

#[test]
fn where_from_and_where_to_must_be_as_they_are_for_a_migration() {
    let place = place_with_entries();
    place.run(["model", "add", "other", "--dim", "3"]).succeeds();
    let migrate = |from: &'static str, to: &'static str| {
        place.run(["migrate", "--from", from, "--to", to, "--dim", "3", "--with", EMBED])
    };
    migrate("nobody", "new").fails(3, "no space `nobody`; there are: `old` (2 components), `other`");
    migrate("old", "other").fails(64, "`other` is in use");
    migrate("old", "old").fails(64, "`old` is in use");
    place
        .run([
            "migrate", "--from", "old", "--to", "new", "--with", EMBED, "--model", "old",
        ])
        .fails(64, "--model says");
}
