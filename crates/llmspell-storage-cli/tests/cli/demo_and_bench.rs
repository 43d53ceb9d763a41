//! Do the demo and the benches run to their end, and say what they must?

use crate::common::{Workplace, array_args, le_bytes, npy, path, phases};

#[test]
fn the_demo_answers_every_question_and_can_be_searched_afterwards() {
    let place = Workplace::new();
    let steps = place.run(["--json", "demo", "--dir", "docs.db"]).succeeds().json();
    let of = |name: &str| steps.iter().filter(|step| step["step"] == name).collect::<Vec<_>>();
    assert_eq!(of("load")[0]["vectors"], 6200);
    let answers = of("answer");
    assert_eq!(answers.len(), 40);
    assert!(
        answers
            .iter()
            .all(|answer| answer["score"].as_f64().unwrap() > 0.4 && answer["text"] != "")
    );
    assert_eq!(of("reopen")[0]["identical"], true);
    for step in ["isolation", "filter", "duplicate", "delete_scope", "summary"] {
        assert_eq!(of(step).len(), 1, "{step}");
    }
    let ways = of("ways");
    assert_eq!(ways.len(), 28, "questions that a passage answers");
    for (only, found) in [
        ("words", [true, false]),
        ("meaning", [false, true]),
        ("both", [false, false]),
    ] {
        let is_shown = |step: &&&serde_json::Value| step["only"] == only && !step["both"].is_null();
        let one = ways.iter().find(is_shown).expect(only);
        assert_eq!(["words", "meaning"].map(|way| !one[way].is_null()), found, "{one}");
    }
    let total = of("ways_total")[0];
    let found = |way: &str| total[way].as_u64().unwrap();
    assert_eq!(found("questions"), 28);
    assert!(found("both") > found("words"), "{total}");
    assert!(found("both") >= found("meaning"), "{total}");
    assert!(of("summary")[0]["disk_bytes"].as_u64().unwrap() > 9_000_000);

    let like = [
        "--db",
        "docs.db",
        "--scope",
        "std",
        "search",
        "--like",
        "std/struct.Rc#9",
        "-k",
        "3",
    ];
    let found = std::process::Command::new(env!("CARGO_BIN_EXE_llmspell-storage"))
        .args(like)
        .current_dir(place.path("."))
        .output()
        .unwrap();
    assert!(String::from_utf8(found.stdout).unwrap().contains("Rc"));
    place.run(["demo", "--dir", "docs.db"]).fails(64, "is not empty");
}

#[test]
fn the_demo_for_people_fits_a_hundred_columns() {
    let out = Workplace::new().run(["demo"]).succeeds().stdout();
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    for part in [
        "Durable.",
        "Words, meaning, or both.",
        "Isolated.",
        "Filtered.",
        "Gone.",
        "on disk",
    ] {
        assert!(out.contains(part), "{part}");
    }
}

#[test]
fn bench_ann_finds_the_recall_of_sets_whose_answers_are_known() {
    let place = Workplace::new();
    // Points on a line: the nearest to 3.2 are 3, 4 and 2.
    let base: Vec<f32> = (0..50).flat_map(|number| [number as f32, 1.0]).collect();
    let base = place.file("base.npy", npy("<f4", "(50, 2)", &le_bytes(&base)));
    let queries = place.file("queries.npy", npy("<f4", "(2, 2)", &le_bytes(&[3.2, 1.0, 40.2, 1.0])));
    let truth: Vec<u8> = [3_i32, 4, 2, 40, 41, 39]
        .iter()
        .flat_map(|row| row.to_le_bytes())
        .collect();
    let truth = place.file("truth.npy", npy("<i4", "(2, 3)", &truth));
    let arrays = array_args(path(&base), path(&queries), path(&truth));
    let rest = [
        "--metric",
        "euclidean",
        "--k",
        "3",
        "--ef",
        "8,16",
        "--threads",
        "1,2",
        "--seconds",
        "0.1",
        "--memory",
        "speed",
        "--m",
        "8",
        "--ef-construction",
        "50",
        "--insert-while-searching",
        "5",
        "--json",
    ];
    let lines = place
        .run(["bench", "ann"].into_iter().chain(arrays).chain(rest))
        .succeeds()
        .json();

    let of = |phase: &str| lines.iter().filter(|line| line["phase"] == phase).collect::<Vec<_>>();
    let searches = of("search");
    assert!(searches.iter().all(|line| line["recall"] == 1.0), "{searches:?}");
    let threads: Vec<_> = searches.iter().map(|line| line["threads"].as_u64().unwrap()).collect();
    assert_eq!(threads, [1, 1, 2, 2]);
    let build = of("build")[0];
    assert_eq!(
        (&build["vectors"], &build["config"]["memory"]),
        (&50.into(), &"speed".into())
    );
    assert_eq!(build["config"]["m"], 8);
    assert_eq!(of("insert_while_searching")[0]["found_at_once"], 5);

    place
        .run(
            ["bench", "ann"]
                .into_iter()
                .chain(arrays)
                .chain(["--metric", "l2", "--k", "4"]),
        )
        .fails(64, "fewer than k");

    // Where the truth of one of the two queries is another one, half is found, however the threads share them.
    let half: Vec<u8> = [3_i32, 4, 2, 0, 1, 2]
        .iter()
        .flat_map(|row| row.to_le_bytes())
        .collect();
    place.file("truth.npy", npy("<i4", "(2, 3)", &half));
    let quick = [
        "--metric",
        "l2",
        "--k",
        "3",
        "--ef",
        "8",
        "--threads",
        "1,2,5",
        "--seconds",
        "0",
        "--json",
    ];
    let lines = place
        .run(["bench", "ann"].into_iter().chain(arrays).chain(quick))
        .succeeds()
        .json();
    let recalls: Vec<_> = lines
        .iter()
        .filter(|line| line["phase"] == "search")
        .map(|line| &line["recall"])
        .collect();
    assert_eq!(recalls, [0.5, 0.5, 0.5]);

    for (wrong, part) in [
        (["--ef", "2"], "ef 2 is smaller than k"),
        (["--reps", "0"], "reps must be at least 1"),
        (["--threads", "1,0"], "threads"),
        (["--m", "3"], "m is 3; it must be within 4..=128"),
    ] {
        let args = ["bench", "ann"]
            .into_iter()
            .chain(arrays)
            .chain(["--metric", "l2", "--k", "3"]);
        place.run(args.chain(wrong)).fails(64, part);
    }
}

#[test]
fn bench_ann_measures_a_store_of_an_earlier_run_and_stops_when_nothing_is_missed() {
    let place = Workplace::new();
    let set = [
        "--out",
        "set",
        "--n",
        "300",
        "--dim",
        "8",
        "--intrinsic",
        "4",
        "--k",
        "10",
        "--queries",
        "20",
    ];
    place.run(["bench", "generate"].into_iter().chain(set)).succeeds();
    let arrays = array_args("set/base.npy", "set/queries.npy", "set/truth.npy");
    let rest = ["--metric", "cosine", "--seconds", "0", "--dir", "ann.db", "--json"];
    let ann = || ["bench", "ann"].into_iter().chain(arrays).chain(rest);
    let built = place.run(ann().chain(["--build-only"])).succeeds().json();
    assert_eq!(phases(&built), ["machine", "build"]);
    let again = place.run(ann());
    assert!(
        again.stdout().lines().count() == 1,
        "nothing is measured: {}",
        again.stdout()
    );
    assert_eq!(again.0.status.code(), Some(64));
    assert!(again.stderr().contains("has vectors already"), "{}", again.stderr());

    let lines = place.run(ann().chain(["--reuse", "--reps", "1"])).succeeds().json();
    assert_eq!(
        phases(&lines),
        ["machine", "open", "settle", "search", "at", "at", "memory", "insert"]
    );
    // 300 vectors are scanned: the narrowest beam misses nothing, and the sweep ends with it.
    assert_eq!((&lines[3]["ef"], &lines[3]["recall"]), (&10.into(), &1.0.into()));
    assert_eq!(lines[4]["at_least"], true);
    assert_eq!(lines[6]["vectors"], 300);
    assert!(lines[6]["index"].is_null());
}

#[test]
fn bench_kv_measures_every_phase_in_a_short_time() {
    let lines = Workplace::new()
        .run(["bench", "kv", "--backend", "memory", "--seconds", "0.02", "--json"])
        .succeeds()
        .json();
    assert_eq!(
        phases(&lines),
        ["machine", "get", "put", "put_64", "put_64_spread", "batch", "scan"]
    );
    assert!(
        lines[1..].iter().all(|line| line["p50_us"].as_f64().unwrap() > 0.0),
        "{lines:?}"
    );
}

#[test]
fn bench_tenants_unloads_scopes_beyond_its_budget_and_says_how_many() {
    let place = Workplace::new();
    let size = [
        "--scopes",
        "60",
        "--vectors",
        "3",
        "--dim",
        "8",
        "--batch",
        "20",
        "--searches",
        "30",
    ];
    let large = ["--large", "100", "--beside", "10", "--scope-cache", "20000", "--json"];
    let lines = place
        .run(["bench", "tenants"].into_iter().chain(size).chain(large))
        .succeeds()
        .json();
    let touched: Vec<_> = lines.iter().filter(|line| line["phase"] == "touched").collect();
    assert!(touched[0]["scopes_unloaded"].as_u64().unwrap() > 0, "{}", touched[0]);
    assert_eq!(
        (&touched[1]["scopes_unloaded"], &touched[1]["scopes_loaded"]),
        (&0.into(), &60.into())
    );
}

#[test]
fn bench_sets_measures_each_tier_and_leaves_the_files_of_the_set() {
    let place = Workplace::new();
    let which = ["--quick", "--only", "few", "--metric", "euclidean"];
    let rest = ["--queries", "30", "--dump", "sets", "--json"];
    let lines = place
        .run(["bench", "sets"].into_iter().chain(which).chain(rest))
        .succeeds()
        .json();
    for (line, memory) in lines[1..10]
        .chunks(3)
        .zip(["speed", "balanced", "lean"])
        .flat_map(|(lines, memory)| lines.iter().map(move |line| (line, memory)))
    {
        assert_eq!(line["memory"], memory, "{line}");
        assert_eq!(line["set"], "few-200-0.99-64x5000", "{line}");
        // A beam as wide as the scope is none: everything is compared.
        assert_eq!(line["ef"].as_u64().unwrap() > 0, line["width"] != "all", "{line}");
        assert_eq!(line["meets_floor"], true, "{line}");
    }
    let widths: Vec<_> = lines[1..4]
        .iter()
        .map(|line| (line["width"].as_str().unwrap(), line["floor"].as_f64().unwrap()))
        .collect();
    assert_eq!(widths, [("default", 0.95), ("wide", 0.999), ("all", 1.0)]);
    assert_eq!((&lines[2]["ef"], &lines[3]["ef"]), (&1000.into(), &0.into()));
    assert_eq!((&lines[3]["recall"], &lines[3]["queries"]), (&1.0.into(), &25.into()));
    assert_eq!((&lines[10]["figures"], &lines[10]["missed"]), (&9.into(), &0.into()));

    assert!(place.path("sets/few-200-0.99-64x5000-euclidean/truth.npy").exists());

    for (wrong, part) in [
        (
            &["--only", "nothing"][..],
            "no set has `nothing` in its name; there are groups-20-0.99-64x5000",
        ),
        (
            &["--only", "gaussian", "--metric", "dot"],
            "none of these sets is measured by",
        ),
        (&["--queries", "0"], "queries is 0"),
    ] {
        let args = ["bench", "sets", "--quick"].into_iter().chain(wrong.iter().copied());
        place.run(args).fails(64, part);
    }
}
