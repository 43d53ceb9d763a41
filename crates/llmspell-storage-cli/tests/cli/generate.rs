//! Is a generated set what was asked for, and is its truth true?

use std::fs;

use crate::common::{Workplace, array_args, path};

fn floats(bytes: &[u8], dim: usize) -> Vec<Vec<f32>> {
    let numbers: Vec<f32> = bytes[128..]
        .as_chunks()
        .0
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect();
    numbers.chunks(dim).map(<[f32]>::to_vec).collect()
}

fn integers(bytes: &[u8], columns: usize) -> Vec<Vec<i32>> {
    let numbers: Vec<i32> = bytes[128..]
        .as_chunks()
        .0
        .iter()
        .map(|chunk| i32::from_le_bytes(*chunk))
        .collect();
    numbers.chunks(columns).map(<[i32]>::to_vec).collect()
}

const SMALL: [&str; 12] = [
    "--n",
    "700",
    "--dim",
    "20",
    "--queries",
    "15",
    "--clusters",
    "9",
    "--intrinsic",
    "5",
    "--k",
    "8",
];

fn generate<'a>(place: &Workplace, out: &'a str, more: &[&'a str]) {
    let args = ["bench", "generate", "--out", out].into_iter().chain(SMALL);
    place.run(args.chain(more.iter().copied())).succeeds();
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_the_threads() {
    let place = Workplace::new();
    generate(&place, "one", &["--threads", "1"]);
    generate(&place, "three", &["--threads", "3"]);
    generate(&place, "other", &["--seed", "2"]);
    let file = |set: &str, name: &str| fs::read(place.path(set).join(name)).unwrap();
    for name in ["base.npy", "queries.npy", "truth.npy", "info.json"] {
        assert_eq!(file("one", name), file("three", name), "{name}");
        assert_ne!(file("one", name), file("other", name), "{name}");
    }
}

#[test]
fn a_smaller_set_is_the_beginning_of_a_larger_one() {
    let place = Workplace::new();
    generate(&place, "large", &[]);
    place
        .run(
            ["bench", "generate", "--out", "small"]
                .into_iter()
                .chain(SMALL)
                .map(|word| if word == "700" { "300" } else { word }),
        )
        .succeeds();
    let base = |set: &str| fs::read(place.path(set).join("base.npy")).unwrap()[128..].to_vec();
    assert!(base("large").starts_with(&base("small")));
    assert_eq!(base("small").len(), 300 * 20 * 4);
}

#[test]
fn the_truth_is_what_a_plain_comparison_finds() {
    let place = Workplace::new();
    for (metric, distance) in [
        (
            "euclidean",
            (|a, b| a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum()) as fn(&[f32], &[f32]) -> f64,
        ),
        ("cosine", |a, b| {
            -a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
        }),
        ("manhattan", |a, b| {
            a.iter().zip(b).map(|(x, y)| f64::from((x - y).abs())).sum()
        }),
    ] {
        generate(&place, metric, &["--metric", metric]);
        let read = |name: &str| fs::read(place.path(metric).join(name)).unwrap();
        let (base, queries) = (floats(&read("base.npy"), 20), floats(&read("queries.npy"), 20));
        let truth = integers(&read("truth.npy"), 8);
        assert_eq!((base.len(), queries.len(), truth.len()), (700, 15, 15));
        for (query, nearest) in queries.iter().zip(truth) {
            let mut rows: Vec<i32> = (0..700).collect();
            rows.sort_by(|a, b| distance(query, &base[*a as usize]).total_cmp(&distance(query, &base[*b as usize])));
            assert_eq!(rows[..8], nearest, "{metric}");
        }
    }
}

#[test]
fn sixteen_bits_are_read_back_and_searched_without_a_miss() {
    let place = Workplace::new();
    generate(&place, "half", &["--f16"]);
    let file = |name: &str| place.path("half").join(name);
    assert_eq!(fs::metadata(file("base.npy")).unwrap().len(), 128 + 700 * 20 * 2);
    let (base, queries, truth) = (file("base.npy"), file("queries.npy"), file("truth.npy"));
    let arrays = array_args(path(&base), path(&queries), path(&truth));
    let rest = [
        "--metric",
        "cosine",
        "--k",
        "8",
        "--ef",
        "8",
        "--seconds",
        "0",
        "--exact",
        "--json",
    ];
    let lines = place
        .run(["bench", "ann"].into_iter().chain(arrays).chain(rest))
        .succeeds()
        .json();
    let search = lines.iter().find(|line| line["phase"] == "search").unwrap();
    assert_eq!(search["recall"], 1.0, "{search}");
}

/// Sets without clusters: their queries come with true neighbors too, and with the arguments that made them.
#[test]
fn every_kind_of_data_has_its_truth_and_names_its_options() {
    let place = Workplace::new();
    let size = [
        "--n",
        "600",
        "--dim",
        "20",
        "--queries",
        "10",
        "--k",
        "8",
        "--metric",
        "euclidean",
    ];
    for (data, options, described) in [
        (
            "groups",
            &["--group-size", "30", "--cosine", "0.97"][..],
            "\"cosine\":0.97",
        ),
        ("few", &["--group-size", "40"], "\"group_size\":40"),
        ("gaussian", &[], "\"data\":\"gaussian\""),
        ("duplicates", &["--share", "0.5"], "\"share\":0.5"),
        ("lengths", &["--ratio", "9"], "\"ratio\":9.0"),
    ] {
        for (out, threads) in [(data.to_string(), "1"), (format!("{data}-again"), "3")] {
            let args = ["bench", "generate", "--out", &out, "--data", data, "--threads", threads];
            place
                .run(args.into_iter().chain(size).chain(options.iter().copied()))
                .succeeds();
        }
        let read = |name: &str| fs::read(place.path(data).join(name)).unwrap();
        for name in ["base.npy", "queries.npy", "truth.npy", "info.json"] {
            let again = fs::read(place.path(&format!("{data}-again")).join(name)).unwrap();
            assert_eq!(read(name), again, "{data}: {name}");
        }
        assert!(
            String::from_utf8(read("info.json")).unwrap().contains(described),
            "{data}"
        );

        let (base, queries) = (floats(&read("base.npy"), 20), floats(&read("queries.npy"), 20));
        let truth = integers(&read("truth.npy"), 8);
        assert_eq!((base.len(), queries.len(), truth.len()), (600, 10, 10));
        for (query, nearest) in queries.iter().zip(truth) {
            let squared = |row: usize| -> f64 {
                let pairs = query.iter().zip(&base[row]);
                pairs.map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
            };
            let mut all: Vec<f64> = (0..600).map(squared).collect();
            all.sort_by(f64::total_cmp);
            for (row, expected) in nearest.into_iter().zip(all) {
                let distance = squared(usize::try_from(row).unwrap()).sqrt();
                assert!(
                    (distance - expected.sqrt()).abs() < 1e-4,
                    "{data}: {distance}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let place = Workplace::new();
    for (args, part) in [
        (&["--n", "0"][..], "n is 0; it must be within 1..="),
        (&["--dim", "70000"], "dim is 70000; it must be within 1..=65535"),
        (&["--n", "5", "--k", "6"], "k is 6; it must be within 1..=5"),
        (&["--queries", "0"], "queries is 0"),
        (&["--clusters", "0"], "clusters is 0"),
        (
            &["--dim", "8", "--intrinsic", "9"],
            "intrinsic is 9; it must be within 1..=8",
        ),
        (&["--threads", "0"], "threads is 0"),
        (
            &["--data", "gaussian", "--cosine", "0.9"],
            "--data gaussian has no --cosine",
        ),
        (&["--share", "0.1"], "--data clusters has no --share"),
        (&["--data", "few", "--clusters", "3"], "--data few has no --clusters"),
        (
            &["--data", "groups", "--cosine", "1.5"],
            "cosine is 1.5; it must be within 0.01..=1",
        ),
        (&["--data", "groups", "--cosine", "NaN"], "cosine is NaN"),
        (
            &["--data", "groups", "--n", "50", "--k", "5", "--group-size", "51"],
            "group-size is 51; it must be within 1..=50",
        ),
        (
            &["--data", "duplicates", "--share", "1.1"],
            "share is 1.1; it must be within 0..=1",
        ),
        (&["--data", "lengths", "--ratio", "0.5"], "ratio is 0.5"),
        (
            &["--dim", "65535", "--clusters", "4000000000", "--intrinsic", "65535"],
            "of RAM",
        ),
    ] {
        let args = ["bench", "generate", "--out", "set"]
            .into_iter()
            .chain(args.iter().copied());
        place.run(args).fails(64, part);
        assert!(!place.path("set").exists());
    }
    generate(&place, "set", &[]);
    place
        .run(["bench", "generate", "--out", "set"].into_iter().chain(SMALL))
        .fails(64, "exists already");
}
