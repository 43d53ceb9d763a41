//! What somebody meets who uses the command line for the first time.

use crate::common::{Workplace, path};

#[test]
fn a_missing_vector_is_told_with_both_ways_to_ask() {
    let stderr = Workplace::with_notes().run(["search"]).fails(64, "--vector").stderr();
    assert!(stderr.contains("--like"), "{stderr}");
}

#[test]
fn a_vector_may_stand_on_the_command_line() {
    let place = Workplace::with_notes();
    let search = ["--json", "--scope", "user:ada", "search", "-k", "1", "--vector"];
    let search = |vector| place.run(search.into_iter().chain([vector]));
    assert_eq!(search("[0, 1]").succeeds().json()[0]["id"], "north");
    let file = place.file("[1, 0]", "[1, 0]");
    assert_eq!(search(path(&file)).succeeds().json()[0]["id"], "east");
    assert_eq!(search("[1, 0]").succeeds().json()[0]["id"], "east");
    search("[0, x]").fails(64, "--vector: no JSON array of numbers");
}

#[test]
fn filters_are_read_as_other_languages_write_them() {
    let place = Workplace::with_notes();
    let count = |filter| {
        let out = place.run(["--scope", "user:ada", "count", "--filter", filter]);
        out.succeeds().stdout().trim().to_string()
    };
    assert_eq!(count("lang == 'en' && n == 1"), "1");
    assert_eq!(count("n == 1 || n == 3"), "2");
    assert_eq!(count("n in (1, 2)"), "2");
    assert_eq!(count("!(lang == 'en')"), "1");
    assert_eq!(count("lang==en"), "2");
}

#[test]
fn an_error_of_a_filter_is_told_once_with_a_caret_under_its_place() {
    let place = Workplace::with_notes();
    let out = place.run(["count", "--filter", "n = 1 and lang >> 2"]);
    let stderr = out.fails(64, "\n  n = 1 and lang >> 2\n                  ^\n").stderr();
    assert_eq!(stderr.matches("expected a value").count(), 1, "{stderr}");
}

#[test]
fn an_entry_that_is_not_there_is_told_with_its_scope() {
    let place = Workplace::with_notes();
    for verb in [
        &["get", "north"][..],
        &["search", "--like", "north"],
        &["delete", "north"],
    ] {
        let stderr = place
            .run(verb.to_vec())
            .fails(3, "no entry `north` in scope global")
            .stderr();
        assert!(stderr.contains("try: check the id"), "{stderr}");
    }
    let nowhere = place.run(["--scope", "user:eve", "get", "north"]);
    let stderr = nowhere.fails(3, "in scope user:eve of space `default`").stderr();
    assert!(stderr.contains("scope ls"), "{stderr}");
}

#[test]
fn a_search_of_an_empty_scope_says_that_others_hold_something() {
    let place = Workplace::with_notes();
    let search = |scope| place.run(["--scope", scope, "search", "--vector", "[1, 0]"]).succeeds();
    let stderr = search("user:eve").stderr();
    assert!(stderr.contains("note: scope user:eve holds no entries"), "{stderr}");
    assert!(stderr.contains("`scope ls`"), "{stderr}");
    assert_eq!(search("user:ada").stderr(), "");
    let explain = |args: &[&'static str]| {
        let fixed = ["search", "--vector", "[1, 0]", "--explain", "--scope"];
        place.run([&fixed, args].concat()).succeeds()
    };
    for args in [&["user:eve"][..], &["user:eve", "--json"]] {
        let stderr = explain(args).stderr();
        assert!(stderr.contains("note: scope user:eve holds no entries"), "{stderr}");
    }
    assert!(explain(&["user:eve"]).stdout().contains("nothing is in this scope"));
    assert_eq!(explain(&["user:ada"]).stderr(), "");
}

#[test]
fn removing_what_is_not_there_is_3() {
    let place = Workplace::with_notes();
    place.run(["delete", "nobody"]).fails(3, "nobody");
    place.run(["delete", "nobody", "east"]).succeeds();
    place
        .run(["scope", "rm", "user:nobody", "--yes"])
        .fails(3, "nothing of user:nobody");
    place.run(["kv", "set", "theme", "dark"]).succeeds();
    place
        .run(["kv", "del", "them"])
        .fails(3, "no key `them` outside of all scopes");
    place.run(["kv", "del", "theme"]).succeeds();
    // Keys alone are something too.
    place
        .run(["--scope", "user:bob", "kv", "set", "theme", "dark"])
        .succeeds();
    place.run(["scope", "rm", "user:bob", "--yes"]).succeeds();
}

#[test]
fn a_first_import_that_failed_leaves_nothing() {
    let place = Workplace::new();
    place
        .run_with_input(["import", "-"], b"no row\n")
        .fails(64, "-:1: not a JSON object");
    assert!(!place.path("db").exists());
    place
        .run_with_input(["import", "-", "--batch", "1"], b"{\"vector\": [1, 0]}\nno row\n")
        .fails(64, "1 row stored before");
    place.run(["count"]).succeeds();
    // What was there before stays, however the import ends.
    place
        .run_with_input(["--space", "x", "import", "-"], b"no row\n")
        .fails(64, "");
    place.run(["count"]).succeeds();
}

#[test]
fn a_value_on_stdin_is_read_no_farther_than_a_value_can_be() {
    let place = Workplace::new();
    let zeros = std::fs::File::open("/dev/zero").unwrap();
    let mut command = place.command(["kv", "set", "big", "-"]);
    let out = command.stdin(zeros).output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(64), "{stderr}");
    assert!(stderr.contains("larger than 268435456 bytes"), "{stderr}");
}

#[test]
fn tables_that_are_piped_are_whole() {
    let place = Workplace::new();
    let words = "word ".repeat(60);
    let words = words.trim_end();
    let row = format!(r#"{{"id": "a", "vector": [1, 0], "metadata": {{"text": "{words}"}}}}"#);
    place.run_with_input(["import", "-"], row.as_bytes()).succeeds();
    assert!(place.run(["list"]).succeeds().stdout().contains(words));
    let search = ["search", "--vector", "[1, 0]"];
    assert!(place.run(search).succeeds().stdout().contains(words));
    let stats = place.run(["stats"]).succeeds().stdout();
    assert!(
        stats.contains("balanced") && stats.contains("metadata bytes"),
        "{stats}"
    );
    assert!(!stats.contains('…'), "{stats}");
    assert!(stats.lines().all(|line| line.chars().count() <= 80), "{stats}");
}
