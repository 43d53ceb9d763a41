//! `get`, `list`, `count`, `facet`, `delete` and `touch`.

use serde_json::json;

use crate::common::Workplace;

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
fn tables_are_for_people_and_cut_nothing_where_there_is_no_terminal() {
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
        assert!(!out.contains('…'), "{out}");
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
    place.run(["get", "north"]).fails(3, "no entry `north` in scope global");
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
fn list_goes_by_time_or_backwards_and_on_after_an_entry() {
    let place = Workplace::new();
    let lines: Vec<String> = [("a", 5), ("b", 9), ("c", 5), ("d", 1)]
        .iter()
        .map(|(id, second)| {
            let at = |second: u32| format!("1970-01-01T00:00:0{second}Z");
            let mut entry = json!({"id": id, "vector": [1, 0], "created_at": at(*second)});
            if *id != "d" {
                entry["event_time"] = json!(at(9 - second));
            }
            entry.to_string()
        })
        .collect();
    place
        .run_with_input(["import", "-"], lines.join("\n").as_bytes())
        .succeeds();
    let ids = |args: &[&str]| -> Vec<String> {
        let args = ["--json", "list"].into_iter().chain(args.iter().copied());
        let listed = place.run(args.collect::<Vec<_>>()).succeeds().json();
        listed
            .iter()
            .map(|entry| entry["id"].as_str().unwrap().to_string())
            .collect()
    };
    assert_eq!(ids(&["--newest"]), ["b", "c", "a", "d"]);
    assert_eq!(ids(&["--newest", "--limit", "2"]), ["b", "c"]);
    assert_eq!(ids(&["--newest", "--after", "c"]), ["a", "d"]);
    assert_eq!(ids(&["--oldest", "--all"]), ["d", "a", "c", "b"]);
    assert_eq!(ids(&["--newest", "--by", "event"]), ["c", "a", "b"]);
    assert_eq!(ids(&["--reverse", "--after", "cc"]), ["c", "b", "a"]);
    place
        .run(["list", "--newest", "--after", "nobody"])
        .fails(3, "no entry `nobody`");
    place
        .run(["list", "--newest", "--oldest"])
        .fails(64, "cannot be used with");
    place.run(["list", "--by", "event"]).fails(64, "--newest");
    let shown = place.run(["list", "--newest", "--by", "event"]).succeeds().stdout();
    assert!(
        shown.contains("event") && shown.contains("1970-01-01T00:00:04Z"),
        "{shown}"
    );
}

#[test]
fn a_sample_is_some_of_the_entries_and_its_seed_gives_it_again() {
    let place = Workplace::with_notes();
    let sample = |args: &[&str]| {
        let args = ["--json", "--scope", "user:ada", "sample"]
            .into_iter()
            .chain(args.iter().copied());
        place.run(args.collect::<Vec<_>>()).succeeds()
    };
    let whole = sample(&["99", "--seed", "1"]).json();
    assert_eq!(whole.len(), 3);
    assert_eq!(sample(&["2", "--seed", "1"]).json(), whole[..2]);
    assert_eq!(
        sample(&["2", "--filter", "@created_at < 0", "--seed", "1"])
            .json()
            .len(),
        0
    );
    let drawn = sample(&["1"]);
    let (entry, said) = (drawn.json(), drawn.stderr());
    let seed = said.split_whitespace().nth(1).unwrap();
    assert_eq!(sample(&["1", "--seed", seed]).json(), entry, "{said}");
    place.run(["sample", "0"]).fails(64, "size of the sample is 0");
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
