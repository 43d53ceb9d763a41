//! Is a database that was exported and imported the same?

use std::fs;

use crate::common::{Workplace, path};
use serde_json::{Value, json};

/// Two spaces, a model whose vectors are cut, times, quotas, and keys of all kinds.
fn furnished() -> Workplace {
    let place = Workplace::with_notes();
    let run = |args: &[&str]| drop(place.run(args.to_vec()).succeeds());
    let later = json!({
        "id": "later", "vector": [0.1, 0.2], "scope": "session:s-1", "metadata": {"ä": [1, null, {"b": "\n\""}]},
        "created_at": "2026-01-01T00:00:00Z", "event_time": "2025-01-01", "expires_at": "2999-01-01",
    });
    let later = place.file("later.jsonl", later.to_string());
    run(&["import", path(&later)]);
    let wide = place.file(
        "wide.jsonl",
        "{\"id\": \"w\", \"vector\": [1, 2, 3], \"scope\": \"user:bob\"}\n",
    );
    run(&[
        "--space",
        "wide",
        "import",
        path(&wide),
        "--metric",
        "euclidean",
        "--date-field",
        "sent",
    ]);
    run(&["model", "add", "toy", "--dim", "4", "--cut", "2", "--store-dim", "2"]);
    let toy = place.file("toy.jsonl", "{\"id\": \"t\", \"vector\": [0.9, 0.1, 0.3, 0.2]}\n");
    run(&["import", path(&toy), "--model", "toy"]);
    run(&["scope", "quota", "user:ada", "--vectors", "10", "--kv-bytes", "1000"]);
    run(&["scope", "quota", "user:nobody", "--bytes", "4096"]);
    run(&["kv", "set", "theme", "dark"]);
    run(&["--scope", "user:ada", "kv", "set", "token", "abc", "--ttl", "1000w"]);
    place
        .run_with_input(["kv", "set", "bytes", "-"], &[0, 255, 10, 1])
        .succeeds();
    place
}

fn lines_of(place: &Workplace, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(lines: &[Value], kind: &str) -> usize {
    lines.iter().filter(|line| line["type"] == kind).count()
}

/// What every verb shows of one is what it shows of the other.
fn assert_same(place: &Workplace, copy: &Workplace) {
    for verb in [
        &["--json", "space", "ls"][..],
        &["--json", "scope", "ls"],
        &["--json", "--scope", "user:ada", "list", "--all", "--vectors"],
        &["--json", "--scope", "session:s-1", "list", "--all", "--vectors"],
        &["--json", "--model", "toy", "list", "--all", "--vectors"],
        &["--json", "model", "ls"],
        &["--json", "kv", "scan"],
        &["--json", "--scope", "user:ada", "kv", "scan"],
        &["--json", "scope", "quota", "user:ada"],
        &["--json", "scope", "quota", "user:nobody"],
    ] {
        let of = |place: &Workplace| place.run(verb.to_vec()).succeeds().stdout();
        assert_eq!(of(place), of(copy), "{verb:?}");
    }
}

#[test]
fn given_a_database_when_it_is_exported_and_imported_then_everything_is_as_it_was() {
    // Given
    let place = furnished();

    // When
    place.run(["export", "all.jsonl"]).succeeds();
    let copy = Workplace::new();
    let file = place.path("all.jsonl");
    copy.run(["import", path(&file)]).succeeds();
    copy.run(["export", "again.jsonl"]).succeeds();

    // Then: it holds the same, to the byte, and all of it.
    let (first, again) = (
        fs::read_to_string(file).unwrap(),
        fs::read_to_string(copy.path("again.jsonl")).unwrap(),
    );
    assert_eq!(first, again);
    let lines = lines_of(&place, "all.jsonl");
    assert_eq!(lines[0], json!({"llmspell_storage": "export", "version": 1}));
    let counts = ["space", "entry", "key", "quota", "end"].map(|kind| count(&lines, kind));
    assert_eq!(counts, [3, 7, 3, 2, 1]);
    assert_same(&place, &copy);
    copy.run(["check"]).succeeds();
}

#[test]
fn a_scope_or_a_space_is_exported_alone() {
    let place = furnished();
    place.run(["--scope", "user:ada", "export", "ada.jsonl"]).succeeds();
    let lines = lines_of(&place, "ada.jsonl");
    let counts = ["space", "entry", "key", "quota"].map(|kind| count(&lines, kind));
    assert_eq!(counts, [3, 3, 1, 1]);
    let piped = place.run(["--space", "wide", "export", "-"]).succeeds().json();
    let counts = ["space", "entry", "key", "quota"].map(|kind| count(&piped, kind));
    assert_eq!(counts, [1, 1, 0, 0]);
}

#[test]
fn an_export_goes_into_a_database_that_holds_nothing_or_replaces_what_is_there() {
    let place = furnished();
    place.run(["export", "all.jsonl"]).succeeds();
    place.run(["import", "all.jsonl"]).fails(64, "holds something already");
    place.run(["--scope", "user:ada", "delete", "east"]).succeeds();
    place.run(["import", "all.jsonl", "--upsert"]).succeeds();
    place.run(["--scope", "user:ada", "get", "east"]).succeeds();
    let refused = place.run(["--scope", "user:ada", "import", "all.jsonl"]);
    refused.fails(64, "says itself which spaces and scopes");
}

#[test]
fn an_export_that_is_cut_or_of_another_version_is_told() {
    let place = furnished();
    place.run(["export", "all.jsonl"]).succeeds();
    let text = fs::read_to_string(place.path("all.jsonl")).unwrap();
    let (cut, _) = text.trim_end().rsplit_once('\n').unwrap();
    let copy = Workplace::new();
    let cut = copy.file("cut.jsonl", cut);
    copy.run(["import", path(&cut)]).fails(64, "the export is cut");
    let copy = Workplace::new();
    let other = copy.file("other.jsonl", text.replacen("\"version\":1", "\"version\":9", 1));
    copy.run(["import", path(&other)]).fails(64, "other.jsonl:1: version 9");
}

#[test]
fn given_a_database_when_its_vectors_are_exported_to_arrays_then_everything_is_as_it_was() {
    // Given: a space whose name is no name of a file, and an empty one.
    let place = furnished();
    let row = place.file("row.jsonl", "{\"id\": \"o\", \"vector\": [0.25]}\n");
    place.run(["--space", "a/b", "import", path(&row)]).succeeds();
    place.run(["--space", "a:b", "import", path(&row)]).succeeds();
    place.run(["--space", "a:b", "delete", "o"]).succeeds();

    // When
    let said = place.run(["--json", "export", "all.npy"]).succeeds().json().remove(0);
    assert_eq!((&said["file"], &said["entries"]), (&json!("all.jsonl"), &json!(8)));
    let names = [
        "all.default.npy",
        "all.wide.npy",
        "all.toy.npy",
        "all.a-b.npy",
        "all.a-b.2.npy",
    ];
    assert_eq!(said["arrays"], json!(names));
    let copy = Workplace::new();
    copy.run(["import", path(&place.path("all.jsonl"))]).succeeds();

    // Then: lines hold no vectors, arrays nothing else, and both together all of it.
    let lines = lines_of(&place, "all.jsonl");
    assert!(lines.iter().all(|line| line.get("vector").is_none()));
    let sizes = names.map(|name| fs::metadata(place.path(name)).unwrap().len());
    assert_eq!(sizes, [128 + 5 * 8, 128 + 12, 128 + 8, 128 + 4, 128]);
    assert_same(&place, &copy);
    for place in [&place, &copy] {
        place.run(["export", "lines.jsonl"]).succeeds();
    }
    let text = |place: &Workplace| fs::read_to_string(place.path("lines.jsonl")).unwrap();
    assert_eq!(text(&place), text(&copy));
    copy.run(["check"]).succeeds();

    // An array is one for every other program too.
    let alone = Workplace::new();
    let wide = place.path("all.wide.npy");
    let import = ["--json", "import", path(&wide), "--metric", "euclidean"];
    assert_eq!(alone.run(import).succeeds().json()[0]["stored"], 1);
    // One scope of one space, by the option; the older files are replaced.
    let args = ["--scope", "session:s-1", "export", "all.jsonl", "--format", "npy"];
    place.run(args).succeeds();
    assert_eq!(count(&lines_of(&place, "all.jsonl"), "entry"), 1);
    assert_eq!(fs::metadata(place.path("all.default.npy")).unwrap().len(), 128 + 8);
    place
        .run(["export", "-", "--format", "npy"])
        .fails(64, "cannot go to stdout");
}

#[test]
fn arrays_that_do_not_belong_to_their_lines_are_told() {
    let place = furnished();
    place.run(["export", "all.npy"]).succeeds();
    let (lines, array) = (place.path("all.jsonl"), place.path("all.default.npy"));
    let text = fs::read_to_string(&lines).unwrap();
    let whole = fs::read(&array).unwrap();
    let fails = |code: i32, part: &str| {
        Workplace::new().run(["import", path(&lines)]).fails(code, part);
    };
    let with_rows = |rows: usize, numbers: &[u8]| {
        let mut bytes = whole[..128].to_vec();
        let at = bytes.windows(2).position(|pair| pair == b"(5").unwrap();
        bytes[at + 1] = b'0' + u8::try_from(rows).unwrap();
        bytes.extend(numbers);
        fs::write(&array, bytes).unwrap();
    };
    with_rows(4, &whole[128..whole.len() - 8]);
    fails(64, "all.default.npy has fewer rows than its space has entries");
    with_rows(6, &[&whole[128..], &whole[128..136]].concat());
    fails(64, "all.default.npy has more rows than its space has entries");
    fs::write(&array, &whole[..whole.len() - 1]).unwrap();
    fails(64, "where its header describes");
    fs::copy(place.path("all.wide.npy"), &array).unwrap();
    fails(
        64,
        "vectors of the space have 2 components, rows of all.default.npy have 3",
    );
    fs::remove_file(&array).unwrap();
    fails(3, "cannot open");
    for name in ["../all.default.npy", "/etc/hostname", "..", ""] {
        let other = text.replace("\"all.default.npy\"", &format!("\"{name}\""));
        fs::write(&lines, other).unwrap();
        fails(64, "is no name of a file beside this one");
    }
}
