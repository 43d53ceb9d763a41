//! Does the source keep to its layers? Each module uses only those before it, and only some may touch the outside.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of `src`, each of which may use those before it.
const LAYERS: [&str; 29] = [
    "error",
    "gate",
    "ids",
    "options",
    "report",
    "codec",
    "disk",
    "record",
    "stored_value",
    "op",
    "slots",
    "metadata_index",
    "index_files",
    "index_queue",
    "memory_budget",
    "namespace",
    "truth",
    "registry",
    "search",
    "committer",
    "indexer",
    "verifier",
    "pool",
    "value_cache",
    "database",
    "hnsw",
    "router",
    "backends",
    "export",
];

/// What touches the outside, and where it may stand.
const PRIVILEGES: [(&str, &[&str], &[&str]); 5] = [
    ("opens a transaction", &["begin_write()", "begin_read()"], &["truth/"]),
    (
        "touches files",
        &["std::fs", "fs::", "File::open", "File::create", "OpenOptions"],
        // The one that holds the lock's handle and the one that maps a file name only the type.
        &[
            "disk/",
            "slots/map.rs",
            "database/open.rs",
            "database/shared.rs",
            "backends/sled/",
        ],
    ),
    (
        "owns a thread",
        &["thread::Builder", "thread::spawn", "thread::scope"],
        &[
            "committer.rs",
            "indexer.rs",
            "verifier.rs",
            "pool.rs",
            "database/mod.rs",
            "backends/sled/watch.rs",
        ],
    ),
    (
        "reads the clock or draws randomness",
        &["SystemTime::now", "Instant::now", "Uuid::now", "Uuid::new"],
        &[
            "database/clock.rs",
            "hnsw/",
            "router/",
            "committer.rs",
            "verifier.rs",
            // How long a reader has looked for a consistent view.
            "search/mod.rs",
            "index_queue.rs",
            "database/indexing/mod.rs",
            "database/indexing/tuning.rs",
            "backends/sled/open.rs",
            "backends/sled/watch.rs",
        ],
    ),
    ("has `unsafe`", &["unsafe ", "allow(unsafe_code"], &["slots/map.rs"]),
];

/// The code of a file of `src`: without comments and without what only tests compile.
struct Source {
    path: String,
    code: String,
}

impl Source {
    /// The top-level module it is part of; none for `lib.rs`.
    fn layer(&self) -> Option<&str> {
        let first = self.path.split('/').next().expect("a path has a first part");
        let name = first.trim_end_matches(".rs");
        (name != "lib").then_some(name)
    }

    /// Top-level modules it names, by `crate::` or by as many `super::` as lead to the root.
    fn uses(&self) -> BTreeSet<&str> {
        let depth = self.path.matches('/').count() + usize::from(!self.path.ends_with("mod.rs"));
        let to_root = "super::".repeat(depth);
        ["crate::", to_root.as_str()]
            .into_iter()
            .flat_map(|root| self.code.split(root).skip(1))
            .map(|rest| {
                rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or("")
            })
            .filter(|name| LAYERS.contains(name))
            .collect()
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let test_only = test_modules(&files);
    files
        .into_iter()
        .filter(|path| !test_only.iter().any(|test| path.starts_with(test)))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            Source {
                path: relative,
                code: code_of(&text),
            }
        })
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Files and folders of modules that are declared under `#[cfg(test)]`.
fn test_modules(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut modules = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let name = pair[1].split("mod ").nth(1).and_then(|rest| rest.strip_suffix(';'));
            if let ("#[cfg(test)]", Some(name)) = (pair[0], name) {
                let dir = file.parent().unwrap();
                modules.extend([dir.join(format!("{name}.rs")), dir.join(name)]);
            }
        }
    }
    modules
}

fn code_of(text: &str) -> String {
    let without_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    without_tests.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_module_has_its_place() {
    let found: BTreeSet<String> = sources()
        .iter()
        .filter_map(|file| file.layer().map(String::from))
        .collect();
    let listed: BTreeSet<String> = LAYERS.iter().map(ToString::to_string).collect();
    assert_eq!(found, listed);
}

#[test]
fn each_module_uses_only_those_before_it() {
    let place: BTreeMap<&str, usize> = LAYERS.iter().enumerate().map(|(place, name)| (*name, place)).collect();
    let mut violations = Vec::new();
    for file in &sources() {
        let Some(layer) = file.layer() else { continue };
        for used in file.uses() {
            if place[used] > place[layer] {
                violations.push(format!("{} uses {used}", file.path));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn only_the_named_places_touch_the_outside() {
    let mut violations = Vec::new();
    for file in &sources() {
        for (what, signs, places) in PRIVILEGES {
            let may = places.iter().any(|place| file.path.starts_with(place));
            if !may && let Some(sign) = signs.iter().find(|sign| file.code.contains(**sign)) {
                violations.push(format!("{} {what}: {sign}", file.path));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

/// The three tests above read text; this one shows that they would see something.
#[test]
fn a_use_of_a_later_module_is_seen_and_comments_and_tests_are_not() {
    let file = |path: &str, text: &str| Source {
        path: path.to_string(),
        code: code_of(text),
    };
    let uses = |path, text| {
        file(path, text)
            .uses()
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(uses("codec.rs", "use crate::truth::Truth;"), ["truth"]);
    assert_eq!(uses("truth/read.rs", "use super::super::search::Snapshot;"), ["search"]);
    assert_eq!(uses("truth/mod.rs", "fn f(_: super::hnsw::X) {}"), ["hnsw"]);
    assert!(uses("truth/read.rs", "use super::search::Local;").is_empty());
    assert!(uses("codec.rs", "//! See [`crate::truth`].\n    // crate::hnsw").is_empty());
    assert!(uses("codec.rs", "#[cfg(test)]\nmod tests {\n    use crate::truth::Truth;\n}").is_empty());
}
