//! What does each verb answer, to people and to programs?

mod common;

use serde_json::json;

use common::{Workplace, le_bytes, npy, path};

#[test]
fn search_finds_the_nearest_of_its_scope_and_of_no_other() {
    let place = Workplace::with_notes();
    let query = place.file("query.json", "[1, 0.01]");
    let search = [
        "--json",
        "--scope",
        "user:ada",
        "search",
        "--vector",
        path(&query),
        "-k",
        "2",
    ];
    let found = place.run(search).succeeds().json();
    assert_eq!(found.len(), 2);
    assert_eq!((&found[0]["id"], &found[0]["rank"]), (&json!("east"), &json!(1)));
    assert_eq!(found[0]["metadata"]["text"], "To the east");
    assert_eq!(found[1]["id"], "northeast");
    assert!(found[0]["score"].as_f64().unwrap() > 0.99);

    let shared = place
        .run(["--json", "search", "--vector", path(&query)])
        .succeeds()
        .json();
    assert_eq!(shared.len(), 1, "everybody's entry, and none of Ada's");
    let empty = place
        .run(["--scope", "user:bob", "search", "--vector", path(&query)])
        .succeeds();
    assert_eq!(empty.stdout(), "nothing matches\n");
}

#[test]
fn search_takes_the_best_of_several_scopes_and_says_which() {
    let place = Workplace::with_notes();
    let search = |args: &[&'static str]| {
        let all = ["--json", "search"].into_iter().chain(args.to_vec());
        let found = place.run_with_input(all, b"[1, 0.01]").succeeds().json();
        let name =
            |hit: &serde_json::Value| format!("{} {}", hit["scope"].as_str().unwrap(), hit["id"].as_str().unwrap());
        found.iter().map(name).collect::<Vec<_>>()
    };
    let both = ["--scope", "user:ada", "--scope", "global"];
    let found = search(&[&both[..], &["--vector", "-", "-k", "3"]].concat());
    assert_eq!(found, ["user:ada east", "global east", "user:ada northeast"]);
    // Ada's is the first of that name; the other one stays.
    let like = search(&[&both[..], &["--like", "east", "-k", "2"]].concat());
    assert_eq!(like, ["global east", "user:ada northeast"]);
    let table = place
        .run([
            "search", "--like", "north", "--scope", "user:bob", "--scope", "user:ada",
        ])
        .succeeds();
    assert!(table.stdout().contains("user:ada"), "{}", table.stdout());
    place
        .run(["--scope", "user:ada", "--scope", "global", "count"])
        .fails(64, "only `search`");
}

#[test]
fn a_quota_is_set_shown_kept_and_removed() {
    let place = Workplace::with_notes();
    let quota = |args: &[&'static str]| {
        let all = ["--json", "scope", "quota", "user:ada"]
            .into_iter()
            .chain(args.to_vec());
        place.run(all).succeeds().json().remove(0)["quota"].clone()
    };
    assert_eq!(quota(&[]), json!(null));
    let status = quota(&["--vectors", "3"]);
    assert_eq!(
        (&status["quota"]["vectors"], &status["used"]["vectors"]),
        (&json!(3), &json!(3))
    );
    let status = quota(&["--kv-bytes", "10"]);
    let limits = (&status["quota"]["vectors"], &status["quota"]["kv_bytes"]);
    assert_eq!(limits, (&json!(3), &json!(10)), "what is not named stays");

    let row = br#"{"id": "south", "vector": [0, -1]}"#;
    place
        .run_with_input(["--scope", "user:ada", "import", "-"], row)
        .fails(5, "holds 3 of at most 3 vectors");
    place
        .run(["--scope", "user:ada", "kv", "set", "k", "123456789"])
        .succeeds();
    place
        .run(["--scope", "user:ada", "kv", "set", "k", "1234567890"])
        .fails(5, "bytes of key-value data");
    let listed = place.run(["--json", "scope", "ls"]).succeeds().json();
    let ada = listed.iter().find(|line| line["scope"] == "user:ada").unwrap();
    assert_eq!(ada["quota"]["used"]["kv_bytes"], 10);
    assert!(place.run(["scope", "ls"]).succeeds().stdout().contains("100 %"));
    let stats = place.run(["--scope", "user:ada", "stats"]).succeeds().stdout();
    assert!(stats.contains("3 of 3") && stats.contains("10 B of 10 B"), "{stats}");
    place.run(["check"]).succeeds();

    assert_eq!(quota(&["--none"]), json!(null));
    place
        .run_with_input(["--scope", "user:ada", "import", "-"], row)
        .succeeds();
    place
        .run(["scope", "quota", "user:ada", "--none", "--vectors", "1"])
        .fails(64, "cannot be used with");
}

#[test]
fn search_explains_how_it_was_done() {
    let place = Workplace::with_notes();
    let search = [
        "--scope",
        "user:ada",
        "search",
        "--like",
        "east",
        "-k",
        "1",
        "--explain",
    ];
    let text = place.run(search).succeeds().stdout();
    assert!(text.contains("path       exact\n"), "{text}");
    let filtered = search.into_iter().chain(["--filter", "nobody=1"]);
    let plan = place.run(["--json"].into_iter().chain(filtered)).succeeds().json();
    assert_eq!(plan.len(), 1, "a plan in place of the results");
    assert_eq!((&plan[0]["matching"], &plan[0]["results"]), (&json!(0), &json!(0)));
    assert_eq!(plan[0]["paths"], json!(["exact"]));
    assert_eq!(plan[0]["live"], 3);
}

#[test]
fn search_takes_its_vector_from_stdin_an_array_or_an_entry() {
    let place = Workplace::with_notes();
    let ada = ["--json", "--scope", "user:ada", "search"];
    let with = |args: &[&'static str]| ada.into_iter().chain(args.to_vec()).collect::<Vec<_>>();

    let stdin = place.run_with_input(with(&["--vector", "-"]), b"[0, 1]").succeeds();
    assert_eq!(stdin.json()[0]["id"], "north");
    let array = npy("<f4", "(1, 2)", &le_bytes(&[0.0, 1.0]));
    let piped = place.run_with_input(with(&["--vector", "-"]), &array).succeeds();
    assert_eq!(piped.json()[0]["id"], "north");
    place.file("query.npy", array);
    assert_eq!(
        place.run(with(&["--vector", "query.npy"])).succeeds().json()[0]["id"],
        "north"
    );

    let like = place.run(with(&["--like", "east", "-k", "1"])).succeeds().json();
    assert_eq!(like.len(), 1);
    assert_eq!(like[0]["id"], "northeast", "an entry is not like itself");
}

#[test]
fn search_narrows_by_filter_and_threshold() {
    let place = Workplace::with_notes();
    let ids = |args: &[&str]| {
        let all = ["--json", "--scope", "user:ada", "search", "--like", "northeast"]
            .into_iter()
            .chain(args.to_vec());
        let found = place.run(all).succeeds().json();
        found
            .into_iter()
            .map(|result| result["id"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&["--filter", "lang=en"]).len(), 2);
    assert_eq!(ids(&["--filter", "lang=en", "--filter", "n=2"]), ["north"]);
    assert_eq!(
        ids(&["--filter", r#"{"in": {"field": "n", "values": [1, 7]}}"#]),
        ["east"]
    );
    assert_eq!(ids(&["--threshold", "0.9"]).len(), 0);
    assert_eq!(ids(&["--exact", "--ef", "50"]).len(), 2);
}

#[test]
fn search_narrows_by_times_and_ranks_by_age() {
    let place = Workplace::new();
    let rows = [
        r#"{"id": "old", "vector": [1, 0], "event_time": "2020-01-01T00:00:00Z", "created_at": "2020-01-02T00:00:00Z"}"#,
        r#"{"id": "new", "vector": [1, 0.5], "event_time": "2025-01-01T00:00:00Z", "created_at": "2025-01-02T00:00:00Z"}"#,
        r#"{"id": "never", "vector": [1, 1], "created_at": "2022-01-01T00:00:00Z"}"#,
    ];
    let file = place.file("notes.jsonl", rows.join("\n"));
    place.run(["import", path(&file)]).succeeds();
    let search = |args: &[&'static str]| {
        let all = ["--json", "search", "--vector", "-"].into_iter().chain(args.to_vec());
        place.run_with_input(all, b"[1, 0]").succeeds().json()
    };
    let ids = |args: &[&'static str]| {
        let found = search(args);
        let ids = found.iter().map(|hit| hit["id"].as_str().unwrap().to_string());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["old", "new", "never"]);
    assert_eq!(ids(&["--event-from", "2020-01-01"]), ["old", "new"]);
    assert_eq!(ids(&["--event-from", "2020-01-01T00:00:00.001Z"]), ["new"]);
    assert_eq!(ids(&["--event-to", "1735689600000"]), ["old"]);
    assert_eq!(
        ids(&["--ingested-from", "2021-01-01", "--ingested-to", "2024-01-01"]),
        ["never"]
    );
    assert_eq!(
        ids(&["--filter", "not exists @event_time or @created_at < \"2021-01-01\""]),
        ["old", "never"]
    );
    assert_eq!(ids(&["--recency", "365d"]), ["new", "never", "old"]);
    let found = search(&["--recency", "365d", "-k", "1"]);
    let (score, with_age) = (
        found[0]["score"].as_f64().unwrap(),
        found[0]["recency_score"].as_f64().unwrap(),
    );
    assert!(
        (score - 0.894).abs() < 0.001 && with_age < score / 2.0 && with_age > 0.0,
        "{found:?}"
    );
    let plan = search(&["--recency", "365d", "--explain"]);
    assert_eq!(plan[0]["recency"]["half_life_ms"], 31_536_000_000_u64);
    assert_eq!(plan[0]["recency"]["ranked"], 3);
    let table = place
        .run_with_input(["search", "--vector", "-", "--recency", "365d"], b"[1, 0]")
        .succeeds();
    assert!(table.stdout().contains("with age"), "{}", table.stdout());
    for (bad, part) in [
        (&["--recency", "0s"][..], "half-life in milliseconds is 0"),
        (&["--recency", "soon"], "such as 7d"),
        (&["--event-from", "yesterday"], "write a date such as"),
        (&["--filter", "@deleted_at > 5"], "column 1: `@deleted_at` is no field"),
        (&["--event-from", "2", "--event-to", "1"], "and ends before"),
    ] {
        let all = ["search", "--vector", "-"].into_iter().chain(bad.iter().copied());
        place.run_with_input(all, b"[1, 0]").fails(64, part);
    }
}

#[test]
fn declared_dates_are_kept_and_used_by_filters() {
    let place = Workplace::new();
    let rows = [
        r#"{"id": "a", "vector": [1, 0], "metadata": {"sent": "2026-01-01T05:00:00+06:00"}}"#,
        r#"{"id": "b", "vector": [0, 1], "metadata": {"sent": "2026-01-01T00:30:00Z"}}"#,
    ];
    let file = place.file("mails.jsonl", rows.join("\n"));
    place.run(["import", path(&file), "--date-field", "sent"]).succeeds();
    let count = |filter: &'static str| {
        let count = place.run(["--json", "count", "--filter", filter]).succeeds().json();
        count[0]["count"].as_u64().unwrap()
    };
    assert_eq!(count("sent < \"2026-01-01\""), 1);
    assert_eq!(count("sent=2025-12-31T23:00:00Z"), 1);
    let more = place.file(
        "more.jsonl",
        r#"{"id": "c", "vector": [1, 1], "metadata": {"sent": "2025-12-31T23:30:00-01:00"}}"#,
    );
    place.run(["import", path(&more), "--preset", "fast"]).succeeds();
    assert_eq!(
        count("sent >= \"2026-01-01T00:30:00Z\""),
        2,
        "an import that says nothing changes nothing"
    );
    place
        .run(["count", "--filter", "exists sent and sent < \"soon\""])
        .fails(64, "column 24: \"soon\" is no date");
    place
        .run(["import", path(&more), "--upsert", "--date-field", "other"])
        .succeeds();
    assert_eq!(count("sent < \"2026-01-01\""), 1, "strings from now on");
}

#[test]
fn count_list_facet_and_delete_narrow_by_filter() {
    let place = Workplace::with_notes();
    let run = |args: &[&str]| {
        let all = ["--json", "--scope", "user:ada"].into_iter().chain(args.to_vec());
        place.run(all).succeeds().json()
    };
    let narrow = "n > 1 and lang = \"en\"";
    assert_eq!(run(&["count", "--filter", narrow])[0]["count"], 1);
    let listed = run(&["list", "--filter", narrow]);
    assert_eq!((listed.len(), &listed[0]["id"]), (1, &json!("north")));
    assert_eq!(
        run(&["facet", "lang", "--filter", "n <= 2"]),
        [json!({"value": "en", "count": 2})]
    );
    let all = run(&["count"])[0]["count"].clone();
    let would = run(&["delete", "--filter", narrow, "--dry-run"]);
    assert_eq!(would[0]["would_be_deleted"], 1);
    assert_eq!(run(&["count"])[0]["count"], all, "a dry run deletes nothing");
    assert_eq!(run(&["delete", "--filter", narrow])[0]["deleted"], 1);
    assert_eq!(run(&["count", "--filter", narrow])[0]["count"], 0);
    place
        .run(["delete", "north", "--dry-run"])
        .fails(64, "cannot be used with");
    place.run(["delete", "--dry-run"]).fails(64, "");
    place
        .run(["delete", "north", "--filter", "true"])
        .fails(64, "cannot be used with");
    place.run(["delete"]).fails(64, "");
}

#[test]
fn tables_are_for_people_and_fit_a_hundred_columns() {
    let place = Workplace::new();
    let long = format!(
        r#"{{"id": "a", "vector": [1], "metadata": {{"text": "{}"}}}}"#,
        "many words ".repeat(50)
    );
    place.run_with_input(["import", "-"], long.as_bytes()).succeeds();
    place
        .run_with_input(["import", "-"], br#"{"id": "b", "vector": [2]}"#)
        .succeeds();
    for args in [
        &["search", "--like", "b"][..],
        &["list"],
        &["stats"],
        &["scope", "ls"],
        &["check"],
    ] {
        let out = place.run(args.to_vec()).succeeds().stdout();
        assert!(out.lines().count() >= 2, "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
        assert!(!out.contains('\x1b'), "no color where there is no terminal");
    }
}

#[test]
fn get_shows_an_entry_in_the_form_that_import_reads() {
    let place = Workplace::with_notes();
    let text = place.run(["--scope", "user:ada", "get", "east"]).succeeds().stdout();
    assert!(
        text.contains("2 components: 1.0000 0.0000") && text.contains("\"To the east\""),
        "{text}"
    );

    let entry = place
        .run(["--json", "--scope", "user:ada", "get", "east", "--vectors"])
        .succeeds();
    assert_eq!(entry.json()[0]["vector"], json!([1.0, 0.0]));
    let other = Workplace::new();
    other.run_with_input(["import", "-"], &entry.0.stdout).succeeds();
    let copy = other
        .run(["--json", "--scope", "user:ada", "get", "east", "--vectors"])
        .succeeds();
    assert_eq!(copy.json()[0]["created_at"], entry.json()[0]["created_at"]);
    place.run(["get", "north"]).fails(3, "no entry `north` in this scope");
}

#[test]
fn list_pages_by_id_and_counts_agree() {
    let place = Workplace::with_notes();
    let ada = ["--json", "--scope", "user:ada"];
    let page = place
        .run(ada.into_iter().chain(["list", "--limit", "2"]))
        .succeeds()
        .json();
    assert_eq!([&page[0]["id"], &page[1]["id"]], ["east", "north"]);
    let rest = place
        .run(ada.into_iter().chain(["list", "--after", "north", "--all"]))
        .succeeds()
        .json();
    assert_eq!((rest.len(), &rest[0]["id"]), (1, &json!("northeast")));
    assert_eq!(
        place.run(ada.into_iter().chain(["count"])).succeeds().json()[0]["count"],
        3
    );
    assert_eq!(place.run(["count"]).succeeds().stdout(), "1\n");
}

#[test]
fn delete_removes_by_id_within_its_scope() {
    let place = Workplace::with_notes();
    let out = place
        .run(["--json", "--scope", "user:ada", "delete", "east", "nobody"])
        .succeeds();
    assert_eq!(out.json()[0]["deleted"], 1);
    place.run(["--scope", "user:ada", "get", "east"]).fails(3, "no entry");
    place.run(["get", "east"]).succeeds();
}

#[test]
fn a_scope_is_listed_with_its_size_and_goes_with_its_keys() {
    let place = Workplace::with_notes();
    place
        .run(["--scope", "user:ada", "kv", "set", "theme", "dark"])
        .succeeds();
    place.run(["kv", "set", "theme", "light"]).succeeds();
    let scopes = place.run(["--json", "scope", "ls"]).succeeds().json();
    assert_eq!(scopes.len(), 2);
    assert_eq!(
        scopes
            .iter()
            .map(|scope| scope["vectors"].as_u64().unwrap())
            .sum::<u64>(),
        4
    );

    place
        .run(["scope", "rm", "user:ada"])
        .fails(64, "nobody is there to confirm");
    let removed = place
        .run(["--json", "scope", "rm", "user:ada", "--yes"])
        .succeeds()
        .json();
    assert_eq!((&removed[0]["vectors"], &removed[0]["keys"]), (&json!(3), &json!(1)));
    assert_eq!(place.run(["--scope", "user:ada", "count"]).succeeds().stdout(), "0\n");
    place
        .run(["--scope", "user:ada", "kv", "get", "theme"])
        .fails(3, "no key `theme`");
    assert_eq!(place.run(["kv", "get", "theme"]).succeeds().stdout(), "light");
}

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
    assert_eq!(
        place.run(["--json", "kv", "del", "a/1"]).succeeds().json()[0]["deleted"],
        false
    );
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
fn spaces_are_apart() {
    let place = Workplace::with_notes();
    let wide = br#"{"id": "w", "vector": [1, 2, 3]}"#;
    place
        .run_with_input(["import", "-"], wide)
        .fails(64, "expected 2, got 3");
    place
        .run_with_input(["--space", "wide", "import", "-", "--metric", "dot"], wide)
        .succeeds();
    assert_eq!(place.run(["--space", "wide", "count"]).succeeds().stdout(), "1\n");
    place
        .run_with_input(["--space", "wide", "import", "-", "--metric", "cosine"], wide)
        .fails(5, "metric inner_product, not cosine");
    place.run(["--space", "none", "count"]).fails(3, "no space `none`");
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
fn scopes_are_listed_by_name_by_size_and_by_count() {
    let place = Workplace::new();
    let rows = [
        r#"{"id": "1", "vector": [1, 0], "scope": "user:ada", "metadata": {"text": "a long text that weighs something"}}"#,
        r#"{"id": "1", "vector": [1, 0], "scope": "user:bob"}"#,
        r#"{"id": "2", "vector": [0, 1], "scope": "user:bob"}"#,
        r#"{"id": "1", "vector": [1, 0], "scope": "user:carol"}"#,
    ];
    place
        .run_with_input(["import", "-"], rows.join("\n").as_bytes())
        .succeeds();
    let listed = |args: &[&str]| -> Vec<String> {
        let lines = place
            .run(["--json", "scope", "ls"].into_iter().chain(args.iter().copied()))
            .succeeds()
            .json();
        lines
            .iter()
            .map(|line| line["scope"].as_str().unwrap().to_string())
            .collect()
    };
    assert_eq!(listed(&[]), ["user:ada", "user:bob", "user:carol"]);
    assert_eq!(listed(&["--sort", "vectors"]), ["user:bob", "user:ada", "user:carol"]);
    assert_eq!(listed(&["--sort", "size"]), ["user:ada", "user:bob", "user:carol"]);
    assert_eq!(listed(&["--sort", "size", "--limit", "1"]), ["user:ada"]);
    place.run(["scope", "ls", "--sort", "age"]).fails(64, "age");
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
fn scopes_go_together_and_by_kind() {
    let place = Workplace::new();
    let scopes = ["session:1", "session:2", "user:ada", "user:bob", "user:carol"];
    let rows = scopes.map(|scope| format!(r#"{{"id": "1", "vector": [1, 0], "scope": "{scope}"}}"#));
    place
        .run_with_input(["import", "-"], rows.join("\n").as_bytes())
        .succeeds();
    place
        .run(["--scope", "session:1", "kv", "set", "theme", "dark"])
        .succeeds();
    let removed = |args: &[&str]| {
        let args = ["--json", "scope", "rm", "--yes"]
            .into_iter()
            .chain(args.iter().copied());
        place.run(args).succeeds().json()[0].clone()
    };
    let gone = removed(&["user:ada", "user:bob", "user:nobody"]);
    assert_eq!(
        gone,
        json!({"scopes": ["user:ada", "user:bob", "user:nobody"], "vectors": 2, "keys": 0})
    );
    let gone = removed(&["--kind", "session"]);
    assert_eq!(gone, json!({"kind": "session", "vectors": 2, "keys": 1}));
    let left = place.run(["--json", "scope", "ls"]).succeeds().json();
    assert_eq!((left.len(), &left[0]["scope"]), (1, &json!("user:carol")));
    place.run(["scope", "rm", "--yes"]).fails(64, "SCOPE");
    place
        .run(["scope", "rm", "--kind", "tenant", "--yes"])
        .fails(64, "tenant");
    place
        .run(["scope", "rm", "user:a", "--kind", "user"])
        .fails(64, "--kind");
    place
        .run(["scope", "rm", "--kind", "user"])
        .fails(64, "nobody is there to confirm");
}

#[test]
fn a_space_goes_with_everything_in_it_and_its_name_is_free() {
    let place = Workplace::with_notes();
    let wide = br#"{"id": "w", "vector": [1, 2, 3]}"#;
    place
        .run_with_input(["--space", "wide", "import", "-"], wide)
        .succeeds();
    place
        .run(["space", "rm", "wide"])
        .fails(64, "nobody is there to confirm");
    place.run(["space", "rm", "none", "--yes"]).fails(3, "no space `none`");
    let removed = place.run(["--json", "space", "rm", "wide", "--yes"]).succeeds().json();
    assert_eq!(removed, [json!({"space": "wide", "vectors": 1})]);
    place.run(["--space", "wide", "count"]).fails(3, "no space `wide`");
    let narrow = br#"{"id": "n", "vector": [1, 2]}"#;
    place
        .run_with_input(["--space", "wide", "import", "-"], narrow)
        .succeeds();
    let spaces = place.run(["--json", "space", "ls"]).succeeds().json();
    assert_eq!((&spaces[1]["space"], &spaces[1]["dim"]), (&json!("wide"), &json!(2)));
    place.run(["check"]).succeeds();
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

#[test]
fn a_touch_gives_entries_another_end_and_names_what_is_not_there() {
    let place = Workplace::with_notes();
    let ada = |args: &[&'static str]| {
        let args = ["--json", "--scope", "user:ada"]
            .into_iter()
            .chain(args.iter().copied());
        place.run(args.collect::<Vec<_>>()).succeeds().json()
    };
    let touched = ada(&["touch", "east", "nowhere", "east", "north", "--ttl", "7d"]);
    assert_eq!(touched[0]["touched"], 2);
    assert_eq!(touched[0]["missing"], serde_json::json!(["nowhere"]));
    assert!(ada(&["get", "east"])[0]["expires_at"].is_string());
    ada(&["touch", "east", "--until", "2100-01-01"]);
    assert_eq!(ada(&["get", "east"])[0]["expires_at"], "2100-01-01T00:00:00Z");
    ada(&["touch", "east", "--forever"]);
    assert!(ada(&["get", "east"])[0]["expires_at"].is_null());
    ada(&["touch", "north", "--until", "1970-01-02"]);
    place.run(["--scope", "user:ada", "get", "north"]).fails(3, "north");
    let touched = ada(&["touch", "north", "--forever"]);
    assert_eq!(touched[0]["touched"], 0, "what has ended does not come back");
    let shown = place
        .run(["--scope", "user:ada", "touch", "north", "east", "--ttl", "1h"])
        .succeeds()
        .stdout();
    assert!(
        shown.contains("1 entry touched") && shown.contains("not there: north"),
        "{shown}"
    );
    assert!(
        ada(&["check"])
            .iter()
            .all(|line| line["problems"] == serde_json::json!([]))
    );
    place.run(["touch", "east"]).fails(64, "--ttl");
    place
        .run(["touch", "east", "--ttl", "1h", "--forever"])
        .fails(64, "cannot be used");
}
