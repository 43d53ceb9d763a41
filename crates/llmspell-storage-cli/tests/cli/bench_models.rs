//! Do the benchmarks of several models print what they promise, and is it true of vectors whose answers are known?

use crate::common::{Workplace, le_bytes, npy, phases};
use serde_json::{Value, json};

fn of_phase<'l>(lines: &'l [Value], phase: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["phase"] == phase).collect()
}

#[test]
fn bench_router_finds_everything_in_each_space_and_measures_an_earlier_run_again() {
    let place = Workplace::new();
    let bench = [
        "--json",
        "bench",
        "router",
        "--dims",
        "32,16",
        "--vectors",
        "300",
        "--queries",
        "10",
        "--pairs",
        "20",
        "--reps",
        "1",
        "--seconds",
        "0",
        "--dir",
        "kept",
    ];
    let lines = place.run(bench).succeeds().json();
    assert_eq!(
        phases(&lines),
        [
            "machine", "overhead", "overhead", "load", "load", "open", "search", "search", "total"
        ]
    );
    for (line, named_by) in of_phase(&lines, "overhead").into_iter().zip(["model", "dimension"]) {
        assert_eq!(line["named_by"], named_by);
    }
    let loads = of_phase(&lines, "load");
    for (line, dim) in loads.iter().zip([16, 32]) {
        assert_eq!((&line["dim"], &line["raw_bytes"]), (&json!(dim), &json!(300 * dim * 4)));
    }
    assert_eq!(of_phase(&lines, "open")[0]["spaces"], 2);
    for (line, dim) in of_phase(&lines, "search").into_iter().zip([16, 32]) {
        // So few are compared one by one, and nothing is missed.
        assert_eq!((&line["dim"], &line["recall"]), (&json!(dim), &json!(1.0)));
    }
    let total = of_phase(&lines, "total")[0];
    assert_eq!(
        (&total["vectors"], &total["raw_bytes"]),
        (&json!(600), &json!(300 * 48 * 4))
    );
    assert!(
        !place.path("kept/sets/16/base.npy").exists(),
        "sets are not left on the disk"
    );

    let again = place.run(bench.into_iter().chain(["--reuse"])).succeeds().json();
    assert_eq!(phases(&again), ["machine", "open", "search", "search", "total"]);
    place.run(["bench", "router", "--k", "0"]).fails(64, "k is 0");
    place.run(["bench", "router", "--dims", "0"]).fails(64, "dim is 0");
}

/// 60 vectors on a circle in their last two components; the leading two say half as much as they could: each of them
/// belongs to two opposite places.
fn halves() -> Vec<f32> {
    let row = |number: u8| {
        let angle = f32::from(number) * std::f32::consts::TAU / 60.0;
        let twice = 2.0 * angle;
        [0.3 * twice.cos(), 0.3 * twice.sin(), angle.cos(), angle.sin()]
    };
    (0..60).flat_map(row).collect()
}

#[test]
fn bench_matryoshka_compares_stored_parts_with_whole_vectors() {
    let place = Workplace::new();
    let vectors = halves();
    place.file("base.npy", npy("<f4", "(60, 4)", &le_bytes(&vectors)));
    // Off the places of the base, so that no two of them are equally near.
    let queries: Vec<f32> = vectors[..80]
        .iter()
        .zip(&vectors[4..])
        .map(|(a, b)| 0.9 * a + 0.1 * b)
        .collect();
    place.file("queries.npy", npy("<f4", "(20, 4)", &le_bytes(&queries)));
    let bench = [
        "--json",
        "bench",
        "matryoshka",
        "--base",
        "base.npy",
        "--queries",
        "queries.npy",
        "--store-dim",
        "2",
        "--k",
        "1",
        "--ef",
        "16",
        "--reps",
        "1",
        "--seconds",
        "0",
        "--dir",
        "kept",
    ];
    let lines = place.run(bench).succeeds().json();
    let searches = ["search"; 6];
    let expected = [
        &["machine", "exact", "load", "load", "load"],
        &searches[..],
        &["compare", "compare"],
    ];
    assert_eq!(phases(&lines), expected.concat());
    // Opposite places look the same, so about every other answer is the wrong one of the two.
    let exact = of_phase(&lines, "exact")[0];
    let recall = exact["recall"].as_f64().unwrap();
    assert!((0.1..0.9).contains(&recall), "{exact}");
    let searches = of_phase(&lines, "search");
    // By turns, for each width.
    for lines in searches.chunks(3) {
        let [whole, stored, walked] = lines else {
            panic!("there are three ways: {lines:?}")
        };
        assert_eq!(
            (&whole["variant"], &whole["recall"], &whole["recall_stored"]),
            (&json!("whole"), &json!(1.0), &json!(1.0))
        );
        assert_eq!(stored["variant"], "stored-2");
        assert!(stored["recall"].as_f64().unwrap() < 1.0, "{stored}");
        // It compares what it finds by all components.
        assert_eq!(
            (&walked["variant"], &walked["recall"]),
            (&json!("walked-2"), &json!(1.0))
        );
    }
    let is_default: Vec<_> = searches.iter().map(|line| &line["is_default"]).collect();
    let (no, yes) = (json!(false), json!(true));
    assert_eq!(is_default, [&no, &no, &no, &yes, &yes, &yes]);
    let loads = of_phase(&lines, "load");
    let dims: Vec<_> = loads
        .iter()
        .map(|load| (load["store_dim"].as_u64(), load["config"]["index_dim"].as_u64()))
        .collect();
    assert_eq!(dims, [(Some(4), None), (Some(2), None), (Some(4), Some(2))]);
    for compare in of_phase(&lines, "compare") {
        assert_eq!(compare["at"].as_array().unwrap().len(), 3);
    }
    // What was found whole was found by both.
    let walked = of_phase(&lines, "compare")[1];
    assert_eq!(walked["variant"], "walked-2");

    let again = place.run(bench.into_iter().chain(["--reuse"])).succeeds().json();
    assert!(of_phase(&again, "load").is_empty() && of_phase(&again, "search").len() == 6);
    let few = bench.into_iter().chain(["--reuse", "--rows", "30"]);
    let ran = place.run(few);
    assert_eq!(ran.0.status.code(), Some(64));
    assert!(
        ran.stderr().contains("kept/whole has 60 vectors, not 30"),
        "{}",
        ran.stderr()
    );
    let other = [
        "--json",
        "bench",
        "matryoshka",
        "--base",
        "base.npy",
        "--queries",
        "queries.npy",
    ];
    let refused = |args: &[&'static str], part: &str| {
        place.run(other.into_iter().chain(args.iter().copied())).fails(64, part);
    };
    refused(&["--store-dim", "4"], "store-dim is 4; it must be within 1..=3");
    refused(
        &["--store-dim", "2", "--index-dim", "1,4"],
        "index-dim is 4; it must be within 1..=3",
    );
    refused(&["--store-dim", "2", "--k", "61"], "60 rows of the base count; k is 61");
    refused(&["--store-dim", "2", "--ef", "5"], "ef 5 is smaller than k = 10");
}
