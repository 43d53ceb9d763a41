//! `kv`, `stats`, `check`, `clock`, and completions.

use serde_json::json;

use crate::common::Workplace;

#[test]
fn keys_hold_bytes_and_change_only_as_asked() {
    let place = Workplace::new();
    let bytes = [0, 255, b'\n', b'a'];
    place.run_with_input(["kv", "set", "bin/1", "-"], &bytes).succeeds();
    assert_eq!(place.run(["kv", "get", "bin/1"]).succeeds().0.stdout, bytes);
    assert_eq!(
        place.run(["--json", "kv", "get", "bin/1"]).succeeds().json()[0]["value_hex"],
        "00ff0a61"
    );

    for (key, value) in [("a/1", "one"), ("a/2", "two"), ("a/3", "three"), ("b", "four")] {
        place.run(["kv", "set", key, value]).succeeds();
    }
    let scan = place
        .run(["--json", "kv", "scan", "a/", "--after", "a/1", "--limit", "1"])
        .succeeds()
        .json();
    assert_eq!(scan, [json!({"key": "a/2", "value": "two"})]);

    place
        .run(["kv", "cas", "a/1", "--expect", "two", "--new", "x"])
        .fails(5, "was not changed");
    place
        .run(["kv", "cas", "a/1", "--expect", "one", "--new", "uno"])
        .succeeds();
    place
        .run(["kv", "cas", "a/1", "--absent", "--new", "x"])
        .fails(5, "was not changed");
    place
        .run(["kv", "cas", "a/1", "--expect", "uno", "--delete"])
        .succeeds();
    place.run(["kv", "get", "a/1"]).fails(3, "no key");
    place.run(["kv", "del", "a/1"]).fails(3, "no key");
    assert_eq!(
        place.run(["--json", "kv", "del", "a/2"]).succeeds().json()[0]["deleted"],
        true
    );
}

#[test]
fn stats_and_check_report_what_is_there() {
    let place = Workplace::with_notes();
    let stats = place.run(["--json", "stats"]).succeeds().json();
    assert!(stats[0]["disk_bytes"].as_u64().unwrap() > 0);
    assert_eq!((&stats[1]["space"], &stats[1]["dim"]), (&json!("default"), &json!(2)));
    assert_eq!(stats[1]["stats"]["vectors"], 4);
    let scope = place.run(["--json", "--scope", "user:ada", "stats"]).succeeds().json();
    assert_eq!(scope[0]["vector_bytes"], 24);

    let check = place.run(["--json", "check"]).succeeds().json();
    assert!(
        !check.is_empty() && check.iter().all(|section| section["ok"] == true),
        "{check:?}"
    );
}

#[test]
fn completions_name_the_verbs() {
    let place = Workplace::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(["completions", shell]).succeeds().stdout();
        assert!(script.contains("import") && script.contains("skip-invalid"), "{shell}");
    }
}

#[test]
fn the_stored_time_is_shown_beside_that_of_the_system_and_can_be_reset() {
    let place = Workplace::with_notes();
    for arguments in [vec!["clock"], vec!["clock", "--reset"], vec!["stats"]] {
        let shown = place
            .run(["--json"].into_iter().chain(arguments.clone()))
            .succeeds()
            .json();
        let (stored, system) = (&shown[0]["stored_time"], &shown[0]["system_time"]);
        assert!(stored.is_string() && system.is_string(), "{arguments:?}: {shown:?}");
        assert_eq!(shown[0]["is_time_unconfirmed"], false, "{arguments:?}");
    }
    let clock = place.run(["clock"]).succeeds().stdout();
    assert!(
        clock.contains("stored time") && clock.contains("system time"),
        "{clock}"
    );
    let check = place.run(["check"]).succeeds().stdout();
    assert!(check.contains("stored time"), "{check}");
}

#[test]
fn a_key_with_a_lifetime_is_shown_with_its_end_and_then_not_at_all() {
    let place = Workplace::new();
    place.run(["kv", "set", "a", "1", "--ttl", "1h"]).succeeds();
    place.run(["kv", "set", "b", "2", "--ttl", "1ms"]).succeeds();
    place.run(["kv", "set", "c", "3"]).succeeds();
    let scanned = place.run(["--json", "kv", "scan"]).succeeds().json();
    assert_eq!(scanned.len(), 2, "{scanned:?}");
    assert!(
        scanned[0]["expires_at"].is_string() && scanned[1]["expires_at"].is_null(),
        "{scanned:?}"
    );
    let got = place.run(["--json", "kv", "get", "a"]).succeeds().json();
    assert_eq!(got[0], scanned[0]);
    place.run(["kv", "get", "b"]).fails(3, "no key");
    place.run(["kv", "set", "a", "1"]).succeeds();
    let got = place.run(["--json", "kv", "get", "a"]).succeeds().json();
    assert!(got[0]["expires_at"].is_null(), "a plain set clears it: {got:?}");
    let lease = [
        "--json", "kv", "cas", "lease", "--absent", "--new", "me", "--ttl", "1ms",
    ];
    assert_eq!(place.run(lease).succeeds().json()[0]["swapped"], true);
    assert_eq!(place.run(lease).succeeds().json()[0]["swapped"], true, "it is over");
    place
        .run(["kv", "set", "a", "1", "--ttl", "0s"])
        .fails(64, "ttl in milliseconds is 0");
    place
        .run(["kv", "set", "a", "1", "--ttl", "1"])
        .fails(64, "ms, s, min, h, d or w");
}
