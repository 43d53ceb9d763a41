//! What do the verbs about the index say: `index`, `recall`, `stats`, `import --memory`?

use crate::common::Workplace;
use serde_json::json;

/// 400 vectors of 8 components in the global scope.
fn place_with_vectors(import: &[&str]) -> Workplace {
    let place = Workplace::new();
    let set = [
        "--out",
        "set",
        "--n",
        "400",
        "--dim",
        "8",
        "--intrinsic",
        "4",
        "--k",
        "1",
        "--queries",
        "1",
    ];
    place.run(["bench", "generate"].into_iter().chain(set)).succeeds();
    let args = ["import", "set/base.npy"].into_iter().chain(import.iter().copied());
    place.run(args).succeeds();
    place
}

#[test]
fn recall_measures_a_sample_of_the_stored_vectors_and_recommends_a_width() {
    let place = place_with_vectors(&[]);
    let recall = ["--json", "recall", "--sample", "50", "-k", "10"];
    let lines = place.run(recall).succeeds().json();
    let (last, searches) = lines.split_last().unwrap();
    assert_eq!(searches[0]["ef"], 11, "one more than k, for the entry itself");
    assert_eq!((&searches[0]["sample"], &searches[0]["k"]), (&json!(50), &json!(10)));
    for search in searches {
        assert!((0.95..=1.0).contains(&search["recall"].as_f64().unwrap()), "{search}");
        assert!(search["p50_us"].as_f64() <= search["p99_us"].as_f64() && search["qps"].as_f64() > Some(0.0));
    }
    let targets: Vec<_> = last["recommended"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["target"])
        .collect();
    assert_eq!(targets, [&json!(0.95), &json!(0.99)]);
    assert!(last["recommended"][0]["ef_search"].as_u64().unwrap() >= 11);
    assert_eq!((&last["ef_search"], &last["indexed"]), (&json!(100), &json!(false)));

    let named = ["--json", "recall", "-k", "3", "--ef", "64,5,2", "--target", "0.9"];
    let lines = place.run(named).succeeds().json();
    let widths: Vec<_> = lines.iter().filter_map(|line| line["ef"].as_u64()).collect();
    assert_eq!(widths, [4, 5, 64]);
    assert_eq!(lines[0]["sample"], 400, "all there are");
}

#[test]
fn recall_for_people_has_a_table_a_chart_and_a_recommendation() {
    let place = place_with_vectors(&[]);
    let out = place.run(["recall", "--sample", "20", "-k", "5"]).succeeds().stdout();
    for part in [
        "20 of 400 vectors of global",
        "scanned",
        "p95 µs",
        "██",
        "for recall 0.95: ef_search",
    ] {
        assert!(out.contains(part), "no `{part}` in\n{out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 110), "{out}");
}

#[test]
fn recall_changes_nothing_and_looks_only_into_its_scope() {
    let place = Workplace::with_notes();
    let listed = || {
        place
            .run(["--json", "--scope", "user:ada", "list", "--all", "--vectors"])
            .succeeds()
            .stdout()
    };
    let before = listed();
    let lines = place.run(["--json", "--scope", "user:ada", "recall"]).succeeds().json();
    assert_eq!(
        (&lines[0]["sample"], &lines[0]["k"]),
        (&json!(3), &json!(2)),
        "three entries: two others"
    );
    assert_eq!(lines[0]["recall"], 1.0);
    assert_eq!(listed(), before);

    place.run(["recall"]).fails(3, "two are needed");
    place
        .run(["--scope", "user:nobody", "recall"])
        .fails(3, "has 0 entries");
    place.run(["--space", "other", "recall"]).fails(3, "no space `other`");
    for wrong in [["--target", "1.5"], ["--sample", "0"], ["-k", "0"], ["--ef", "100001"]] {
        let ran = place.run(["recall"].into_iter().chain(wrong));
        assert_eq!(ran.0.status.code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn the_index_is_built_optimized_and_told_about() {
    let place = place_with_vectors(&["--memory", "speed"]);
    let memory = || place.run(["--json", "stats"]).succeeds().json()[1]["config"]["memory"].clone();
    assert_eq!(memory(), "speed");
    let built = place.run(["--json", "index", "build"]).succeeds().json();
    assert_eq!(
        (&built[0]["index"], &built[0]["vectors"]),
        (&json!("build"), &json!(400))
    );

    let optimized = [
        "--json", "--scope", "global", "index", "optimize", "--memory", "balanced",
    ];
    let optimized = place.run(optimized).succeeds().json();
    assert_eq!(
        (&optimized[0]["index"], &optimized[0]["memory"]),
        (&json!("optimize"), &json!("balanced"))
    );
    assert!(optimized[0].get("scope_index").is_some());
    assert_eq!(memory(), "balanced");
    let out = place.run(["index", "build"]).succeeds().stdout();
    assert!(out.contains("of 400 vectors are in an index"), "{out}");

    let stats = place.run(["--json", "--scope", "global", "stats"]).succeeds().json();
    assert!(stats[0].get("index").is_some(), "{}", stats[0]);
    let out = place.run(["--scope", "global", "stats"]).succeeds().stdout();
    assert!(out.contains("index"), "{out}");
    place
        .run(["--space", "other", "index", "build"])
        .fails(3, "no space `other`");
}

#[test]
fn a_recall_target_and_an_ef_search_are_settings_of_the_space() {
    let place = place_with_vectors(&[]);
    let config = || place.run(["--json", "stats"]).succeeds().json()[1]["config"].clone();
    assert_eq!(config()["recall_target"], 0.98);
    place.run(["index", "build", "--ef", "77"]).succeeds();
    assert_eq!(config()["ef_search"], 77);
    place.run(["index", "build", "--recall-target", "0.9"]).succeeds();
    assert_eq!(
        (&config()["recall_target"], config().get("ef_search")),
        (&json!(0.9), None)
    );
    place
        .run(["index", "build", "--recall-target", "1"])
        .fails(64, "recall target is 1; it must be within 0.5..=0.9999");
    assert_eq!(config()["recall_target"], 0.9);
    let both = place.run(["index", "build", "--recall-target", "0.9", "--ef", "7"]);
    assert_eq!(both.0.status.code(), Some(64));
}

#[test]
fn an_import_without_a_tier_leaves_that_of_the_space() {
    let place = place_with_vectors(&["--memory", "speed"]);
    let again = ["import", "set/base.npy", "--upsert", "--preset", "fast"];
    place.run(again).succeeds();
    let config = &place.run(["--json", "stats"]).succeeds().json()[1]["config"];
    assert_eq!((&config["memory"], &config["m"]), (&json!("speed"), &json!(12)));
}
