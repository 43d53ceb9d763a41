//! Does the source keep to its layers? Each module uses only those before it, and only some may touch the outside.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of `src`, each of which may use those before it. The parts of some folders stand on lines of their own.
const LAYERS: [&str; 43] = [
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
    "indexes",
    "indexes::files",
    "indexes::queue",
    "indexes::graph",
    "indexes::changes",
    "indexes::builds",
    "indexes::named",
    "memory_budget",
    "namespace",
    "indexes::handover",
    "truth",
    "registry",
    "snapshot",
    "indexes::metadata",
    "search",
    "committer",
    "indexes::indexer",
    "verifier",
    "pool",
    "value_cache",
    "database::clock",
    "database::routing",
    "database::request",
    "database::shared",
    "indexes::work",
    "database",
    "hnsw",
    "router",
    "backends",
    "export",
    "lib",
];

/// What touches the outside, and where it may stand.
const PRIVILEGES: [(&str, &[&str], &[&str]); 7] = [
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
            "indexes/indexer.rs",
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
            "snapshot.rs",
            "indexes/queue.rs",
            "indexes/work/mod.rs",
            "indexes/work/tuning.rs",
            "backends/sled/open.rs",
            "backends/sled/watch.rs",
        ],
    ),
    // Whoever else wanted to show a state would have to have what only the committer has.
    ("may show states", &["Publisher::new()"], &["database/writer.rs"]),
    (
        "stores the state of a namespace",
        &["current.write()"],
        &["namespace/mod.rs"],
    ),
    ("has `unsafe`", &["unsafe ", "allow(unsafe_code"], &["slots/map.rs"]),
];

/// The code of a file of `src`: without comments and without what only tests compile.
struct Source {
    path: String,
    code: String,
}

impl Source {
    /// The module that the file is.
    fn module(&self) -> Vec<&str> {
        let parts = self.path.trim_end_matches(".rs").split('/');
        parts.filter(|part| *part != "mod").collect()
    }

    /// The line it stands on.
    fn layer(&self) -> Option<&'static str> {
        line_of(&self.module())
    }

    /// The lines of what it names, by `crate::` or by `super::`.
    fn uses(&self) -> BTreeSet<&'static str> {
        let own = self.module();
        let by_crate = paths_after(&self.code, "crate::");
        let by_super = paths_after(&self.code, "super::").filter_map(|path| {
            let ups = 1 + path.iter().take_while(|part| **part == "super").count();
            let parent = own.get(..own.len().checked_sub(ups)?)?;
            Some([parent, &path[ups - 1..]].concat())
        });
        by_crate.chain(by_super).filter_map(|path| line_of(&path)).collect()
    }
}

/// The longest line that a path begins with.
fn line_of(path: &[&str]) -> Option<&'static str> {
    let begins = |line: &&&str| path.starts_with(&line.split("::").collect::<Vec<_>>());
    LAYERS.iter().filter(begins).max_by_key(|line| line.len()).copied()
}

/// What follows `root`, where that is the beginning of a path, in its parts.
fn paths_after<'a>(code: &'a str, root: &str) -> impl Iterator<Item = Vec<&'a str>> {
    let places = code
        .match_indices(root)
        .map(|(place, found)| (place, place + found.len()));
    let beginnings =
        places.filter(|(place, _)| !code[..*place].ends_with(|c: char| c == ':' || c == '_' || c.is_alphanumeric()));
    let paths: Vec<Vec<&str>> = beginnings
        .map(|(_, end)| {
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path = code[end..].split(|c| !is_part(c)).next().unwrap_or("");
            path.split("::").filter(|part| !part.is_empty()).collect()
        })
        .collect();
    paths.into_iter()
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
        .map(|file| file.layer().map_or(file.path.clone(), String::from))
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
    assert_eq!(
        uses("indexes/graph.rs", "use crate::indexes::work::Work;"),
        ["indexes::work"]
    );
    assert_eq!(
        uses("indexes/work/files.rs", "use super::super::metadata::M;"),
        ["indexes::metadata"]
    );
    assert_eq!(
        uses("database/clock.rs", "use super::shared::S;\nuse super::X;"),
        ["database", "database::shared"]
    );
    assert_eq!(uses("truth/read.rs", "use super::search::Local;"), ["truth"]);
    assert!(uses("codec.rs", "//! See [`crate::truth`].\n    // crate::hnsw").is_empty());
    assert!(uses("codec.rs", "#[cfg(test)]\nmod tests {\n    use crate::truth::Truth;\n}").is_empty());
}
