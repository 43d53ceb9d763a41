//! `search`: scopes, explanations, where the vector comes from, filters, times.

use serde_json::json;

use crate::common::{Workplace, le_bytes, npy, path};

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
    assert_eq!(shared.len(), 1, "the entry of the global scope, and none of Ada's");
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
        (
            &["--filter", "@deleted_at > 5"],
            "column 1: `@deleted_at` is not a field",
        ),
        (&["--event-from", "2", "--event-to", "1"], "ends earlier"),
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
        .fails(64, "column 24: \"soon\" is not a date");
    place
        .run(["import", path(&more), "--upsert", "--date-field", "other"])
        .succeeds();
    assert_eq!(count("sent < \"2026-01-01\""), 1, "strings from now on");
}
