//! `backup`, `verify`, `restore`, `check --deep`, `repair`, and `compact`.

use std::fs;

use crate::common::{Workplace, path};

#[test]
fn a_backup_is_taken_verified_restored_and_says_what_it_did() {
    let place = Workplace::with_notes();
    place.run(["kv", "set", "theme", "dark"]).succeeds();
    let first = place.run(["--json", "backup", "b"]).succeeds().json();
    assert_eq!(
        (&first[0]["phase"], &first[0]["is_incremental"]),
        (&"backup".into(), &false.into())
    );
    assert_eq!(first[0]["written_bytes"], first[0]["content_bytes"]);
    assert!(first[0]["rows"].as_u64().unwrap() > 10 && first[0]["damage"].as_array().unwrap().is_empty());
    let again = place
        .run(["--json", "backup", "b", "--max-rate", "500"])
        .succeeds()
        .json();
    assert_eq!(
        (&again[0]["sequence"], &again[0]["is_incremental"]),
        (&2.into(), &true.into())
    );
    assert!(again[0]["reused_bytes"].as_u64().unwrap() > 0);
    let text = place.run(["backup", "b"]).succeeds().stdout();
    assert!(
        text.contains("backed up") && text.contains("of an earlier backup"),
        "{text}"
    );

    let verified = place.run(["--json", "verify", "b"]).succeeds().json();
    assert_eq!(verified[0]["rows"], again[0]["rows"]);
    let text = place.run(["restore", "b", "--to", "copy"]).succeeds().stdout();
    assert!(text.contains("restored"), "{text}");
    let copy = place.path("copy");
    let of_copy = |args: &[&str]| {
        let mut all = vec!["--db", path(&copy), "--json"];
        all.extend(args);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_llmspell-storage"));
        let out = command.args(all).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(of_copy(&["kv", "get", "theme"]).contains("dark"));
    let list = |text: String| text.lines().map(str::to_string).collect::<Vec<_>>();
    let here = place.run(["--json", "--scope", "user:ada", "list"]).succeeds().stdout();
    assert_eq!(list(of_copy(&["--scope", "user:ada", "list"])), list(here));
    let checked = of_copy(&["check", "--deep"]);
    assert!(
        checked.contains("rows of all tables") && checked.contains("names of files"),
        "{checked}"
    );
}

#[test]
fn what_cannot_be_backed_up_or_restored_is_refused_with_the_exit_code_of_its_kind() {
    let place = Workplace::with_notes();
    place.run(["verify", "nowhere"]).fails(2, "no such directory");
    place
        .run(["restore", "nowhere", "--to", "x"])
        .fails(2, "no such directory");
    place.run(["backup", "db/inside"]).fails(64, "inside the database");
    assert_eq!(place.run(["backup", "b", "--max-rate", "0"]).0.status.code(), Some(64));
    fs::create_dir(place.path("full")).unwrap();
    place.file("full/thesis.txt", "precious");
    place.run(["backup", "full"]).fails(2, "thesis.txt");
    place.run(["backup", "b"]).succeeds();
    place.run(["restore", "b", "--to", "full"]).fails(5, "not empty");

    // A bit of a pack is flipped.
    let pack = fs::read_dir(place.path("b"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("pack-"))
        .unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&pack, bytes).unwrap();
    place.run(["verify", "b"]).fails(2, "another checksum");
    place.run(["restore", "b", "--to", "x"]).fails(2, "another checksum");
    assert!(!place.path("x").exists());
    // A new backup does not use what is damaged.
    place.run(["backup", "b"]).succeeds();
    place.run(["verify", "b"]).succeeds();
}

#[test]
fn a_deep_check_finds_what_no_reader_meets_and_names_foreign_files() {
    let place = Workplace::with_notes();
    place.file("db/spaces/notes.txt", "mine");
    let text = place.run(["check", "--deep"]).succeeds().stdout();
    assert!(text.contains("notes.txt"), "{text}");
    let slots = place.path("db/spaces/00000001/slots-0");
    let mut bytes = fs::read(&slots).unwrap();
    bytes[20] ^= 1;
    fs::write(&slots, bytes).unwrap();
    let ran = place.run(["check", "--deep"]);
    assert_eq!(ran.0.status.code(), Some(2));
    assert!(
        ran.stdout().contains("slot 0: its checksum is wrong"),
        "{}",
        ran.stdout()
    );
    place.run(["backup", "b"]).fails(2, "slot 0");
    let ran = place.run(["backup", "b", "--keep-going"]);
    assert_eq!(ran.0.status.code(), Some(2));
    assert!(
        ran.stdout().contains("damaged: ") && ran.stdout().contains("slot 0"),
        "{}",
        ran.stdout()
    );
}

#[test]
fn what_can_be_read_of_a_damaged_database_is_saved_and_the_rest_is_named() {
    let place = Workplace::with_notes();
    place.run(["kv", "set", "theme", "dark"]).succeeds();
    let text = place.run(["repair", "--salvage", "whole"]).succeeds().stdout();
    assert!(text.contains("saved 1 space, 4 entries, 1 key"), "{text}");
    let slots = place.path("db/spaces/00000001/slots-0");
    let mut bytes = fs::read(&slots).unwrap();
    bytes[20] ^= 1;
    fs::write(&slots, bytes).unwrap();
    let ran = place.run(["--json", "repair", "--salvage", "part"]);
    assert_eq!(ran.0.status.code(), Some(2), "{}", ran.stderr());
    let report = &ran.json()[0];
    assert_eq!((&report["entries"], &report["lost_count"]), (&3.into(), &1.into()));
    assert!(report["lost"][0].as_str().unwrap().contains("slot 0"), "{report}");
    place.run(["repair", "--salvage", "part"]).fails(5, "not empty");
    assert_eq!(place.run(["repair"]).0.status.code(), Some(64));
}

#[test]
fn a_compacted_database_answers_as_before() {
    let place = Workplace::with_notes();
    place.run(["--scope", "user:ada", "delete", "north"]).succeeds();
    let before = place.run(["--json", "--scope", "user:ada", "list"]).succeeds().stdout();
    let report = place.run(["--json", "compact"]).succeeds().json();
    assert_eq!((&report[0]["entries"], &report[0]["keys"]), (&3.into(), &0.into()));
    assert_eq!(
        place.run(["--json", "--scope", "user:ada", "list"]).succeeds().stdout(),
        before
    );
    place.run(["check", "--deep"]).succeeds();
    let text = place.run(["compact"]).succeeds().stdout();
    assert!(text.contains("compacted 3 entries"), "{text}");
}
