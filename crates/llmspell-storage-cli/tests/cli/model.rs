//! What do the verbs about models and their spaces say: `model`, `space`, `--model`?

use crate::common::{Workplace, le_bytes, npy, path};
use serde_json::{Value, json};

/// Two entries of a model `ours` of four components, of which two are stored.
fn place_with_a_model() -> Workplace {
    let place = Workplace::new();
    place
        .run(["model", "add", "ours", "--dim", "4", "--cut", "2", "--store-dim", "2"])
        .succeeds();
    let rows = [
        r#"{"id": "east", "vector": [3, 0, 9, 0], "metadata": {"text": "To the east"}}"#,
        r#"{"id": "north", "vector": [0, 5, 9, 0], "metadata": {"text": "To the north"}}"#,
    ];
    let file = place.file("rows.jsonl", rows.join("\n"));
    place.run(["import", path(&file), "--model", "ours"]).succeeds();
    place
}

/// A space of each name, with what is said of it.
fn spaces(place: &Workplace) -> Vec<Value> {
    place.run(["--json", "space", "ls"]).succeeds().json()
}

#[test]
fn a_preset_needs_its_name_only_and_another_model_its_dimension() {
    let place = Workplace::new();
    place.run(["model", "add", "ours"]).fails(64, "how many components");
    assert!(
        !place.path("db").exists(),
        "nothing is made for a model that cannot be added"
    );
    let added = place
        .run(["--json", "model", "add", "openai/text-embedding-3-small"])
        .succeeds()
        .json();
    assert_eq!(added[0]["model"]["name"], "text-embedding-3-small");
    place
        .run(["model", "add", "ours", "--dim", "3", "--metric", "dot"])
        .succeeds();

    let models = place.run(["--json", "model", "ls"]).succeeds().json();
    assert_eq!(models.len(), 2);
    let preset = json!({
        "model": "text-embedding-3-small", "dim": 1536, "store_dim": 1536, "metric": "cosine", "cut_points": [512],
        "space": "text-embedding-3-small", "vectors": 0,
    });
    assert_eq!(models[0], preset);
    assert_eq!(
        (&models[1]["model"], &models[1]["metric"]),
        (&json!("ours"), &json!("inner_product"))
    );
    let table = place.run(["model", "ls"]).succeeds().stdout();
    assert!(table.contains("ours") && table.contains("512"), "{table}");

    let presets = place.run(["--json", "model", "ls", "--presets"]).succeeds().json();
    assert!(presets.iter().any(|preset| preset["model"] == "bge-m3") && presets.len() > 15);
}

#[test]
fn a_cut_that_no_model_was_made_for_is_refused_unless_forced() {
    let place = Workplace::new();
    let add = |args: &[&'static str]| {
        let all = ["model", "add", "bge-m3"].into_iter().chain(args.iter().copied());
        place.run(all)
    };
    add(&["--store-dim", "256"]).fails(64, "cannot be cut to 256 components");
    add(&["--force"]).fails(64, "--store-dim");
    let forced = add(&["--store-dim", "256", "--force"]).succeeds().stdout();
    assert!(forced.contains("256 of them stored"), "{forced}");
    // Other cut points may be said later; what is stored stays.
    add(&["--cut", "128"]).succeeds();
    let models = place.run(["--json", "model", "ls"]).succeeds().json();
    assert_eq!(
        (&models[0]["store_dim"], &models[0]["cut_points"]),
        (&json!(256), &json!([128]))
    );
    add(&["--store-dim", "512", "--force"]).fails(5, "dimension 256, not 512");
}

#[test]
fn vectors_of_a_model_go_to_its_space_and_are_found_there() {
    let place = place_with_a_model();
    let search = |vector: &'static str| {
        let args = ["--json", "search", "--model", "ours", "--vector", "-", "-k", "1"];
        place.run_with_input(args, vector.as_bytes()).succeeds().json()
    };
    for vector in ["[1, 0.1, -9, 0]", "[1, 0.1]"] {
        let found = search(vector);
        assert_eq!((&found[0]["id"], &found[0]["space"]), (&json!("east"), &json!("ours")));
    }
    let args = ["search", "--model", "ours", "--vector", "-"];
    place
        .run_with_input(args, b"[1, 2, 3]")
        .fails(64, "model `ours` makes vectors of 4");
    let like = place
        .run(["--json", "search", "--model", "ours", "--like", "east"])
        .succeeds();
    assert_eq!(like.json().len(), 1);

    for args in [["count", "--model", "ours"], ["count", "--space", "ours"]] {
        assert_eq!(place.run(args).succeeds().stdout(), "2\n");
    }
    let got = place
        .run(["--json", "get", "east", "--vectors", "--model", "ours"])
        .succeeds();
    assert_eq!(got.json()[0]["vector"], json!([1.0, 0.0]), "cut, and normalized again");
    let listed = place.run(["--json", "list", "--model", "ours"]).succeeds().json();
    assert_eq!(listed.len(), 2);
    place.run(["index", "build", "--model", "ours"]).succeeds();
    place.run(["delete", "north", "--model", "ours"]).succeeds();
    assert_eq!(place.run(["count", "--model", "ours"]).succeeds().stdout(), "1\n");
}

#[test]
fn an_import_is_resumed_though_less_is_stored_than_the_file_has() {
    let place = place_with_a_model();
    let args = ["--json", "import", "rows.jsonl", "--model", "ours", "--resume"];
    let summary = place.run(args).succeeds().json();
    assert_eq!(
        (&summary[0]["stored"], &summary[0]["already_there"]),
        (&json!(0), &json!(2))
    );

    // Three components are none of this model; the zeros would have no direction once cut.
    let rows = "{\"vector\": [1, 2, 3]}\n{\"vector\": [0, 0, 1, 1]}\n{\"vector\": [1, 1, 1, 1]}\n";
    let args = [
        "--json",
        "import",
        "-",
        "--model",
        "ours",
        "--skip-invalid",
        "bad.jsonl",
    ];
    let summary = place.run_with_input(args, rows.as_bytes()).succeeds().json();
    assert_eq!((&summary[0]["stored"], &summary[0]["rejected"]), (&json!(1), &json!(2)));
}

#[test]
fn an_id_stands_in_one_space_of_the_models_only() {
    let place = place_with_a_model();
    place.run(["model", "add", "theirs", "--dim", "3"]).succeeds();
    let row = br#"{"id": "east", "vector": [1, 2, 3]}"#;
    let import = ["import", "-", "--model", "theirs"];
    place.run_with_input(import, row).fails(5, "id `east` exists");
    let skipped = import.into_iter().chain(["--skip-invalid", "bad.jsonl"]);
    place.run_with_input(skipped, row).succeeds();
    assert!(
        std::fs::read_to_string(place.path("bad.jsonl"))
            .unwrap()
            .contains("exists in its scope")
    );
    place
        .run_with_input(import.into_iter().chain(["--upsert"]), row)
        .succeeds();
    assert_eq!(place.run(["count", "--model", "ours"]).succeeds().stdout(), "1\n");
}

#[test]
fn an_import_adds_a_preset_and_refuses_a_model_that_nobody_knows() {
    let place = Workplace::new();
    let zeros = vec!["0"; 383].join(",");
    let file = place.file("rows.jsonl", format!("{{\"id\": \"a\", \"vector\": [1,{zeros}]}}"));
    let import = |model: &'static str| place.run(["import", path(&file), "--model", model]);
    import("ours").fails(3, "no space for the model `ours`");
    assert!(
        !place.path("db").exists(),
        "a wrong name leaves no empty database behind"
    );
    import("sentence-transformers/all-MiniLM-L6-v2").succeeds();
    import("ours").fails(3, "`all-MiniLM-L6-v2` (384 components)");
    place.run(["count", "--model", "ours"]).fails(3, "`all-MiniLM-L6-v2`");
    let counted = place
        .run(["--json", "count", "--model", "ALL-minilm-l6-v2"])
        .succeeds()
        .json();
    assert_eq!(
        (&counted[0]["count"], &counted[0]["space"]),
        (&json!(1), &json!("all-MiniLM-L6-v2"))
    );
}

#[test]
fn a_model_is_named_only_where_it_says_something() {
    let place = place_with_a_model();
    for args in [&["kv", "scan"][..], &["check"], &["space", "ls"], &["model", "ls"]] {
        let all = args.iter().copied().chain(["--model", "ours"]);
        place.run(all).fails(64, "--model says nothing");
    }
    place
        .run(["--space", "ours", "count", "--model", "ours"])
        .fails(64, "both name a space");
}

#[test]
fn spaces_are_listed_with_what_they_are_used_for() {
    let place = place_with_a_model();
    place
        .run_with_input(["import", "-"], br#"{"id": "plain", "vector": [1, 2, 3]}"#)
        .succeeds();
    let listed = spaces(&place);
    let said: Vec<_> = listed
        .iter()
        .map(|space| (&space["space"], &space["dim"], &space["role"], &space["vectors"]))
        .collect();
    let (ours, plain) = (json!("ours"), json!("default"));
    assert_eq!(
        said,
        [
            (&ours, &json!(2), &json!("routed"), &json!(2)),
            (&plain, &json!(3), &json!("plain"), &json!(1)),
        ]
    );
    assert_eq!(
        (&listed[0]["model"]["dim"], &listed[0]["vector_bytes"]),
        (&json!(4), &json!(16))
    );
    assert_eq!(listed[1]["model"], json!(null));
    let table = place.run(["space", "ls"]).succeeds().stdout();
    assert!(table.contains("2 of 4") && table.contains("plain"), "{table}");
    let stats = place.run(["--json", "stats", "--model", "ours"]).succeeds().json();
    assert_eq!((stats.len(), &stats[1]["space"]), (2, &ours), "of that space only");
}

#[test]
fn a_space_that_was_made_without_a_model_is_adopted() {
    let place = Workplace::with_notes();
    place
        .run(["model", "add", "ours", "--dim", "3", "--adopt", "default"])
        .fails(5, "dimension 2, not 3");
    place
        .run(["model", "add", "ours", "--dim", "2", "--adopt", "nothing"])
        .fails(3, "nothing");
    place
        .run(["model", "add", "ours", "--dim", "2", "--adopt", "default"])
        .succeeds();
    assert_eq!(
        (&spaces(&place)[0]["space"], &spaces(&place)[0]["role"]),
        (&json!("default"), &json!("routed"))
    );
    let count = ["--scope", "user:ada", "--model", "ours", "count"];
    assert_eq!(place.run(count).succeeds().stdout(), "3\n");
}

/// Pairs of vectors whose leading two components say which pair it is, and whose others say nothing; then the
/// opposite.
fn pairs(is_leading: bool) -> Vec<f32> {
    let mut numbers = Vec::new();
    for pair in 0..20_u8 {
        for side in [0.0, 0.001] {
            let angle = f32::from(pair) * 0.15 + side;
            let (says, silent) = ([angle.cos(), angle.sin()], [0.1, 0.1]);
            let row = if is_leading { [says, silent] } else { [silent, says] };
            numbers.extend(row.as_flattened());
        }
    }
    numbers
}

#[test]
fn check_matryoshka_tells_a_cut_that_loses_nothing_from_one_that_loses_all() {
    let place = Workplace::new();
    for (is_leading, verdict) in [(true, "fine_alone"), (false, "loses_neighbors")] {
        let file = place.file("base.npy", npy("<f4", "(40, 4)", &le_bytes(&pairs(is_leading))));
        let check = [
            "model",
            "check-matryoshka",
            "--vectors",
            path(&file),
            "--dims",
            "2",
            "-k",
            "1",
        ];
        let lines = place.run(["--json"].into_iter().chain(check)).succeeds().json();
        assert_eq!(lines.len(), 1);
        let line = &lines[0];
        assert_eq!(
            (&line["verdict"], &line["bytes_share"]),
            (&json!(verdict), &json!(0.5)),
            "{line}"
        );
        assert_eq!(
            (&line["queries"], &line["vectors"], &line["k"]),
            (&json!(40), &json!(40), &json!(1))
        );
        let recall = line["recall"].as_f64().unwrap();
        assert!(if is_leading { recall == 1.0 } else { recall < 0.3 }, "{line}");
        let table = place.run(check).succeeds().stdout();
        assert!(table.contains("recall@1") && table.contains("50.0 %"), "{table}");
    }
}

#[test]
fn check_matryoshka_measures_what_a_space_holds_at_the_cut_points_of_its_model() {
    let place = Workplace::new();
    place
        .run(["model", "add", "ours", "--dim", "4", "--cut", "1,2"])
        .succeeds();
    let file = place.file("base.npy", npy("<f4", "(40, 4)", &le_bytes(&pairs(true))));
    place.run(["import", path(&file), "--model", "ours"]).succeeds();
    let check = [
        "--json",
        "model",
        "check-matryoshka",
        "--model",
        "ours",
        "--sample",
        "7",
    ];
    let lines = place.run(check).succeeds().json();
    let dims: Vec<_> = lines.iter().map(|line| &line["dim"]).collect();
    assert_eq!(dims, [&json!(1), &json!(2)]);
    assert_eq!((&lines[1]["vectors"], &lines[1]["queries"]), (&json!(40), &json!(7)));

    let queries = place.file("q.npy", npy("<f4", "(2, 4)", &le_bytes(&pairs(true)[..8])));
    let with_queries = check.into_iter().chain(["--queries", path(&queries)]);
    assert_eq!(place.run(with_queries).succeeds().json()[0]["queries"], 2);
    let short = place.file("s.npy", npy("<f4", "(1, 2)", &le_bytes(&[1.0, 2.0])));
    let with_short = check.into_iter().chain(["--queries", path(&short)]);
    place
        .run(with_short)
        .fails(64, "queries have 2 components, the vectors 4");
    place
        .run(check.into_iter().chain(["--vectors", "base.npy"]))
        .fails(64, "both say what to measure");
    place
        .run(check.into_iter().chain(["--dims", "4"]))
        .fails(64, "cannot be cut at 4");
    place
        .run(check.into_iter().chain(["--scope", "user:nobody"]))
        .fails(3, "there are 0 vectors");
}
