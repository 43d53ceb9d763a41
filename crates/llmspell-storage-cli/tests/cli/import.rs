//! Does every kind of file come in, whole and once, whatever happens on the way?

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::common::{Workplace, le_bytes, npy, path};

#[test]
fn jsonl_with_fields_of_its_own() {
    let place = Workplace::new();
    let rows = r#"{"_id": 7, "emb": [1, 0], "lang": "en", "owner": "ada", "at": "2026-11-22T10:00:00Z"}"#;
    let file = place.file("dump.jsonl", rows);
    let fields = [
        "--field",
        "id=_id",
        "--field",
        "vector=emb",
        "--field",
        "scope=owner",
        "--field",
        "event_time=at",
    ];
    let import = ["import", path(&file)].into_iter().chain(fields);
    place
        .run(import.clone())
        .fails(64, "dump.jsonl:1: no option says what field `lang` means");
    place.run(import.chain(["--other-fields", "metadata"])).succeeds();
    let entry = &place.run(["--json", "--scope", "ada", "get", "7"]).succeeds().json()[0];
    assert_eq!(entry["metadata"], json!({"lang": "en"}));
    assert_eq!(entry["event_time"], "2026-11-22T10:00:00Z");
}

#[test]
fn npy_of_halves_with_metadata_lines() {
    let place = Workplace::new();
    let halves: Vec<u8> = [1.0, 0.0, 0.0, 1.0]
        .iter()
        .flat_map(|x| half::f16::from_f32(*x).to_le_bytes())
        .collect();
    let array = place.file("vectors.npy", npy("<f2", "(2, 2)", &halves));
    let lines = place.file(
        "rows.jsonl",
        "{\"metadata\": {\"lang\": \"en\"}}\n{\"id\": \"b\", \"scope\": \"ada\", \"metadata\": {\"lang\": \"de\"}}\n",
    );
    let import = [
        "import",
        path(&array),
        "--metadata",
        path(&lines),
        "--id-prefix",
        "row-",
    ];
    place.run(import).succeeds();
    assert_eq!(
        place.run(["--json", "get", "row-0"]).succeeds().json()[0]["metadata"]["lang"],
        "en"
    );
    let named = place
        .run(["--json", "--scope", "ada", "get", "b", "--vectors"])
        .succeeds()
        .json();
    assert_eq!(
        (&named[0]["vector"], &named[0]["metadata"]["lang"]),
        (&json!([0.0, 1.0]), &json!("de"))
    );

    let short = place.file("short.jsonl", "{}\n");
    let import = ["--space", "other", "import", path(&array), "--metadata", path(&short)];
    place.run(import).fails(64, "1 lines for the 2 rows");
    place.run(["--space", "other", "count"]).fails(3, "no space");
}

#[test]
fn npy_that_cannot_be_read_says_how_to_write_it() {
    let place = Workplace::new();
    let array = place.file("big.npy", npy(">f4", "(1, 1)", &[0; 4]));
    let stderr = place.run(["import", path(&array)]).fails(64, "big-endian").stderr();
    assert!(stderr.contains("array.astype('<f4')"), "{stderr}");
    assert!(!place.path("db").exists());
}

#[test]
fn fvecs_get_their_number_as_id() {
    let place = Workplace::new();
    let mut bytes = Vec::new();
    for vector in [[1.0, 0.0], [0.0, 2.0]] {
        bytes.extend(2_i32.to_le_bytes());
        bytes.extend(le_bytes(&vector));
    }
    let file = place.file("base.fvecs", &bytes);
    place
        .run(["import", path(&file), "--metric", "euclidean", "--preset", "fast"])
        .succeeds();
    assert_eq!(
        place.run(["--json", "get", "1", "--vectors"]).succeeds().json()[0]["vector"],
        json!([0.0, 2.0])
    );
    bytes.pop();
    let cut = place.file("cut.fvecs", &bytes);
    place
        .run(["--space", "cut", "import", path(&cut)])
        .fails(64, "row 1: the file ends inside a vector");
}

#[test]
fn rejected_rows_go_to_a_file_with_their_reason() {
    let place = Workplace::new();
    let rows = [
        r#"{"id": "a", "vector": [1, 0]}"#,
        "no JSON at all",
        r#"{"id": "b", "vector": [1, 0, 0]}"#,
        r#"{"id": "c", "vector": [0, 0]}"#,
        r#"{"id": "a", "vector": [0, 1]}"#,
        "",
        r#"{"id": "d", "vector": [1, 1e39]}"#,
        r#"{"id": "e", "vector": [0, 1]}"#,
    ];
    let file = place.file("rows.jsonl", rows.join("\n"));
    place
        .run(["import", path(&file)])
        .fails(64, "rows.jsonl:2: not a JSON object");
    assert_eq!(
        place
            .run(["--json", "import", path(&file), "--skip-invalid", "bad.jsonl"])
            .succeeds()
            .json()[0]["rejected"],
        5
    );
    let bad = fs::read_to_string(place.path("bad.jsonl")).unwrap();
    let bad: Vec<Value> = bad.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<_> = bad.iter().map(|row| row["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [2, 3, 4, 5, 7]);
    for (row, part) in bad
        .iter()
        .zip(["not a JSON", "expected 2, got 3", "are zero", "twice", "out of range"])
    {
        assert!(row["reason"].as_str().unwrap().contains(part), "{row}");
    }
    assert_eq!(bad[1]["input"], rows[2]);
    assert_eq!(place.run(["count"]).succeeds().stdout(), "2\n");
}

#[test]
fn upsert_lets_the_last_row_win() {
    let place = Workplace::with_notes();
    let rows = b"{\"id\": \"east\", \"vector\": [0, 1]}\n{\"id\": \"east\", \"vector\": [0, 3]}";
    place.run_with_input(["import", "-", "--upsert"], rows).succeeds();
    assert_eq!(
        place.run(["--json", "get", "east", "--vectors"]).succeeds().json()[0]["vector"],
        json!([0.0, 3.0])
    );
    assert_eq!(place.run(["count"]).succeeds().stdout(), "1\n");
}

#[test]
fn given_an_import_killed_on_the_way_when_resumed_then_every_row_is_there_once() {
    // Given: an import of many small batches, killed when some of them are stored.
    let place = Workplace::new();
    const ROWS: usize = 6000;
    let mut rows = String::new();
    for number in 0..ROWS {
        writeln!(
            rows,
            r#"{{"id": "{number:05}", "vector": [1, {number}], "metadata": {{"n": {number}}}}}"#
        )
        .unwrap();
    }
    let file = place.file("rows.jsonl", &rows);
    let mut import = place.command(["import", "-", "--batch", "10"]);
    let mut import = import
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let half = rows
        .lines()
        .take(ROWS / 2)
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    let mut stdin = import.stdin.take().unwrap();
    stdin.write_all(half.as_bytes()).unwrap();
    stdin.flush().unwrap();
    // These are more bytes than a pipe and two buffers hold. So most rows have been read, and each batch of them is
    // stored before the next is read.
    import.kill().unwrap();
    import.wait().unwrap();

    // When: it is run again. Without --resume the rows that are there are in the way.
    place.run(["import", path(&file)]).fails(5, "exists");
    let summary = place
        .run(["--json", "import", path(&file), "--resume"])
        .succeeds()
        .json()[0]
        .clone();

    // Then: all rows are there, those stored before were passed over, and a third run finds nothing to do.
    let (stored, there) = (
        summary["stored"].as_u64().unwrap(),
        summary["already_there"].as_u64().unwrap(),
    );
    assert_eq!(stored + there, ROWS as u64);
    assert!(there > 0, "the killed import had stored something");
    assert_eq!(place.run(["count"]).succeeds().stdout(), format!("{ROWS}\n"));
    let again = place
        .run(["--json", "import", path(&file), "--resume"])
        .succeeds()
        .json()[0]
        .clone();
    assert_eq!((&again["stored"], &again["already_there"]), (&json!(0), &json!(ROWS)));
    place.run(["check"]).succeeds();
}

#[test]
fn resume_passes_over_the_same_row_and_not_over_another_with_its_id() {
    let place = Workplace::with_notes();
    place
        .run_with_input(["import", "-", "--resume"], br#"{"id": "east", "vector": [9, 9]}"#)
        .fails(64, "exists");
    let summary = place.run_with_input(
        ["--json", "import", "-", "--resume"],
        br#"{"id": "east", "vector": [1, 0.1]}"#,
    );
    assert_eq!(summary.succeeds().json()[0]["already_there"], 1);
}

#[test]
fn an_import_may_say_what_searches_are_to_find() {
    let place = Workplace::new();
    let row = |id: &str| format!("{{\"id\": \"{id}\", \"vector\": [1, 0]}}");
    let import = |id: &str, args: &[&'static str]| {
        let args = [&["import", "-"], args].concat();
        place.run_with_input(args, row(id).as_bytes())
    };
    // The second line of an export has the settings of the space.
    let target = || place.run(["export", "-"]).succeeds().json()[1]["config"]["recall_target"].clone();
    import("a", &["--recall-target", "1.5"]).fails(64, "recall target is 1.5");
    assert!(!place.path("db").exists());
    import("a", &["--recall-target", "0.97"]).succeeds();
    assert_eq!(target(), json!(0.97));
    import("b", &[]).succeeds();
    assert_eq!(target(), json!(0.97), "it stays");
    import("c", &["--recall-target", "0.99"]).succeeds();
    assert_eq!(target(), json!(0.99));
}
