//! `scope` and `space`: lists, quotas, removal.

use serde_json::json;

use crate::common::Workplace;

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
        .fails(64, "there is no terminal to confirm");
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
        .fails(64, "there is no terminal to confirm");
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
        .fails(64, "there is no terminal to confirm");
    place.run(["space", "rm", "none", "--yes"]).fails(3, "no space `none`");
    let removed = place.run(["--json", "space", "rm", "wide", "--yes"]).succeeds().json();
    assert_eq!(removed, [json!({"space": "wide", "vectors": 1})]);
    place.run(["--space", "wide", "count"]).fails(3, "no space `wide`");
    let narrow = br#"{"id": "n", "vector": [1, 2]}"#;
    place
        .run_with_input(["--space", "wide", "import", "-", "--recall-target", "0.9"], narrow)
        .succeeds();
    let spaces = place.run(["--json", "space", "ls"]).succeeds().json();
    assert_eq!((&spaces[1]["space"], &spaces[1]["dim"]), (&json!("wide"), &json!(2)));
    assert_eq!(spaces[1]["config"]["recall_target"], json!(0.9));
    place.run(["check"]).succeeds();
}
