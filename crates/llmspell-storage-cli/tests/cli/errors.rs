//! Does the exit code say what kind of failure it was, and does the text say what to try?

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use crate::common::Workplace;

#[test]
fn a_wrong_call_is_64() {
    let place = Workplace::with_notes();
    for args in [
        &["fly"][..],
        &["search"],
        &["search", "--like", "a", "--vector", "b"],
        &["search", "--like", "a", "-k", "0"],
        &["--scope", "user:", "count"],
        &["--scope", "tenant:7", "count"],
        &["kv", "cas", "key", "--new", "value"],
        &["import", "x", "--metric", "angular"],
        &["import", "x", "--field", "vec=emb"],
    ] {
        place.run(args.to_vec()).fails(64, "");
    }
    place
        .run(["search", "--like", "east", "--filter", "lang"])
        .fails(64, "column 5: expected");
    place.run(["kv", "get", ""]).fails(64, "the key is empty");
    place.run(["list", "--limit", "x"]).fails(64, "invalid value");
}

#[test]
fn help_and_version_are_no_errors() {
    let place = Workplace::new();
    let help = place.run(["--help"]).succeeds().stdout();
    assert!(help.contains("Exit codes:") && help.contains("Examples:"));
    assert!(
        place
            .run(["--version"])
            .succeeds()
            .stdout()
            .starts_with("llmspell-storage 0.")
    );
    for verb in [
        "demo",
        "import",
        "search",
        "list",
        "model",
        "migrate",
        "space",
        "kv",
        "bench",
        "completions",
    ] {
        let help = place.run([verb, "--help"]).succeeds().stdout();
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
}

#[test]
fn what_is_not_there_is_3_and_nothing_is_made() {
    let place = Workplace::new();
    for args in [
        &["count"][..],
        &["stats"],
        &["check"],
        &["kv", "get", "x"],
        &["search", "--like", "x"],
    ] {
        place.run(args.to_vec()).fails(3, "there is no database");
        assert!(!place.path("db").exists());
    }
    place
        .run(["import", "missing.jsonl"])
        .fails(3, "cannot open missing.jsonl");
    assert!(
        !place.path("db").exists(),
        "a wrong file name leaves no empty database behind"
    );
}

#[test]
fn a_directory_with_something_else_is_2_and_stays_as_it_is() {
    let place = Workplace::new();
    fs::create_dir(place.path("db")).unwrap();
    place.file("db/photo.jpg", "not a database");
    place.run(["count"]).fails(2, "");
    place.run(["kv", "set", "a", "b"]).fails(2, "is not a database");
    assert_eq!(fs::read_dir(place.path("db")).unwrap().count(), 1);
}

#[test]
fn damage_is_2_and_check_names_it() {
    let place = Workplace::with_notes();
    let slots = place.path("db/spaces/00000001/slots-0");
    let mut bytes = fs::read(&slots).unwrap();
    for byte in &mut bytes {
        *byte ^= 0x40;
    }
    fs::write(&slots, bytes).unwrap();
    let out = place.run(["--json", "check"]).fails(2, "found");
    assert!(out.json().iter().any(|section| section["ok"] == false));
    place.run(["--scope", "user:ada", "get", "east"]).fails(2, "damaged");
}

/// An import that has the database open until its input, which is returned, is dropped.
fn import_that_waits(place: &Workplace) -> (Child, ChildStdin) {
    let mut import = place
        .command(["import", "-", "--batch", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = import.stdin.take().unwrap();
    writeln!(stdin, r#"{{"id": "held", "vector": [1, 2]}}"#).unwrap();
    stdin.flush().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !place.path("db/spaces/00000001/slots-0").exists() {
        assert!(Instant::now() < deadline, "the import never opened the database");
        std::thread::sleep(Duration::from_millis(5));
    }
    (import, stdin)
}

#[test]
fn a_database_in_use_is_4() {
    // An import that waits for its next line has the database open.
    let place = Workplace::new();
    let (import, stdin) = import_that_waits(&place);

    place.run(["count"]).fails(4, "is open elsewhere");

    drop(stdin);
    let import = import.wait_with_output().unwrap();
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    place.run(["get", "held"]).succeeds();
}

#[test]
fn a_taken_id_is_5() {
    let place = Workplace::with_notes();
    place
        .run_with_input(["import", "-"], br#"{"id": "east", "vector": [1, 2]}"#)
        .fails(5, "id `east` exists");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Workplace::new();
    let rows: String = (0..20_000)
        .map(|n| format!("{{\"id\": \"{n:05}\", \"vector\": [1, {n}]}}\n"))
        .collect();
    place.run_with_input(["import", "-"], rows.as_bytes()).succeeds();
    let mut command = place.command(["--json", "list", "--all"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(first.contains("\"00000\""));
    assert_eq!((out.status.code(), out.stderr.len()), (Some(0), 0));
}

#[test]
fn a_verb_may_wait_until_a_database_is_free() {
    // Given: an import that waits for its next line has the database open.
    let place = Workplace::new();
    let (mut import, stdin) = import_that_waits(&place);

    // When: a short wait ends, and a long one is over when the import is.
    place.run(["--wait", "0", "count"]).fails(4, "is open elsewhere");
    let mut count = place.command(["--wait", "60", "count"]);
    let mut count = count.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(count.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    drop(stdin);
    import.wait().unwrap();

    // Then: it said so once, and has its answer.
    let out = count.wait_with_output().unwrap();
    assert!(said.starts_with("note: the database is open elsewhere"), "{said}");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut rest).unwrap();
    assert_eq!(rest, "");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "1\n");
}
