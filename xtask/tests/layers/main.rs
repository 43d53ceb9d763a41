//! The source keeps to its layers: in each crate a module uses only those before it in ARCHITECTURE.md, and only some use
//! files, threads or clocks.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for code")]

mod order;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use order::Order;
use source::Source;

/// Packages whose modules have an order, and their `src` folders.
const PACKAGES: [(&str, &str); 9] = [
    ("llmspell-core", "crates/llmspell-core/src"),
    ("llmspell-vector", "crates/llmspell-vector/src"),
    ("llmspell-text", "crates/llmspell-text/src"),
    ("llmspell-postgres", "crates/llmspell-postgres/src"),
    ("llmspell-storage", "crates/llmspell-storage/src"),
    ("llmspell-cli-base", "crates/llmspell-cli-base/src"),
    ("llmspell-mcp", "crates/llmspell-mcp/src"),
    ("llmspell-bench", "crates/llmspell-bench/src"),
    ("llmspell-storage-cli", "crates/llmspell-storage-cli/src"),
];

/// Privileges in llmspell-storage: code that reaches outside, and the files that may contain it.
const PRIVILEGES: [(&str, &[&str], &[&str]); 7] = [
    ("opens a transaction", &["begin_write()", "begin_read()"], &["truth/"]),
    (
        "touches files",
        &["std::fs", "fs::", "File::open", "File::create", "OpenOptions"],
        // These hold the lock's handle, or only name the type.
        &[
            "disk/",
            "slots/map.rs",
            "engine/open.rs",
            "engine/shared.rs",
            "engine/backup.rs",
            "api/backends/sled/",
            // The socket, which holds no data.
            "admin/socket.rs",
        ],
    ),
    (
        "owns a thread",
        &["thread::Builder", "thread::spawn", "thread::scope"],
        &[
            "engine/committer.rs",
            "engine/indexer.rs",
            "engine/verifier.rs",
            "engine/pool.rs",
            "engine/workers.rs",
            "engine/mod.rs",
            "api/backends/sled/watch.rs",
            "admin/server.rs",
        ],
    ),
    (
        "reads the clock or draws randomness",
        &["SystemTime::now", "Instant::now", "Uuid::now", "Uuid::new"],
        &[
            "engine/clock.rs",
            "engine/backup.rs",
            "api/vectors/",
            "api/router/",
            "engine/committer.rs",
            "engine/verifier.rs",
            // The time that a reader has waited for a consistent view.
            "spaces/snapshot.rs",
            "indexes/queue.rs",
            "engine/indexing/mod.rs",
            "engine/indexing/tuning.rs",
            "api/backends/sled/open.rs",
            "api/backends/sled/watch.rs",
            // Time for a frame to arrive.
            "admin/",
        ],
    ),
    // A state is published by a `Publisher`, and only the committer has one.
    ("may show states", &["Publisher::new()"], &["engine/writer.rs"]),
    (
        "stores the state of a namespace",
        &["current.write()"],
        &["namespace/mod.rs"],
    ),
    ("has `unsafe`", &["unsafe ", "allow(unsafe_code"], &["slots/map.rs"]),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn order_of(package: &str) -> Order {
    Order::of(
        &fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap(),
        package,
    )
}

/// Uses of a file that violate the order of its package.
fn violations(file: &Source, order: &Order) -> Vec<String> {
    let Some((own, own_step)) = order.of_file(&file.path) else {
        return vec![format!("{} has no line in ARCHITECTURE.md", file.path)];
    };
    let mut found = Vec::new();
    for path in file.uses() {
        match order.of_use(&path) {
            Some((used, step)) if used != own && step > own_step => found.push(format!("{} uses {path}", file.path)),
            Some(_) => {}
            None if path.is_empty() || own.starts_with(&format!("{path}/")) => {}
            None => found.push(format!(
                "{} uses {path} by the root of the crate; name its module",
                file.path
            )),
        }
    }
    found
}

#[test]
fn each_module_has_its_line_and_uses_only_those_before_it() {
    let mut found = Vec::new();
    for (package, src) in PACKAGES {
        let order = order_of(package);
        for file in Source::all_of(&workspace().join(src)) {
            if !file.is_root() {
                found.extend(
                    violations(&file, &order)
                        .into_iter()
                        .map(|text| format!("{package}: {text}")),
                );
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_line_names_a_module_that_is_there() {
    for (package, src) in PACKAGES {
        let src = workspace().join(src);
        let order = order_of(package);
        let modules: BTreeSet<&str> = order.modules().collect();
        let gone: Vec<_> = modules.iter().filter(|module| !src.join(module).exists()).collect();
        assert!(!modules.is_empty() && gone.is_empty(), "{package}: {gone:?}");
    }
}

#[test]
fn only_the_named_places_touch_the_outside() {
    let mut violations = Vec::new();
    for file in Source::all_of(&workspace().join("crates/llmspell-storage/src")) {
        for (what, signs, places) in PRIVILEGES {
            let may = places.iter().any(|place| file.path.starts_with(place));
            if !may && let Some(sign) = signs.iter().find(|sign| file.code.contains(**sign)) {
                violations.push(format!("{} {what}: {sign}", file.path));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

/// The tests above read text; this one shows that they detect violations.
#[test]
fn a_use_is_seen_in_every_form_and_comments_and_tests_are_not() {
    let uses = |path, text| Source::new(path, text).uses().into_iter().collect::<Vec<_>>();
    assert_eq!(uses("codec.rs", "use crate::truth::Truth;"), ["truth/Truth"]);
    assert_eq!(
        uses("codec.rs", "use crate::{ids::{Lsn, Slot}, op};"),
        ["ids/Lsn", "ids/Slot", "op"]
    );
    assert_eq!(
        uses("codec.rs", "use crate::truth::{self, read::Read};"),
        ["truth", "truth/read/Read"]
    );
    assert_eq!(
        uses("truth/read.rs", "use super::super::search::Snapshot;"),
        ["search/Snapshot"]
    );
    assert_eq!(uses("truth/mod.rs", "fn f(_: super::hnsw::X) {}"), ["hnsw/X"]);
    assert_eq!(
        uses("truth/read.rs", "use super::search::Local;"),
        ["truth/search/Local"]
    );
    assert!(uses("codec.rs", "//! See [`crate::truth`].\n    // crate::hnsw").is_empty());
    assert!(uses("codec.rs", "#[cfg(test)]\nmod tests {\n    use crate::truth::Truth;\n}").is_empty());
}

#[test]
fn a_use_of_a_later_module_and_a_detour_by_the_root_are_violations() {
    let text = "## Which modules has p?\n\n| module | question |\n|---|---|\n| `a.rs` | x `y` |\n| `b/`, `c.rs` | |\n| `b/late/` | |\n\n## Next\n| `d.rs` |\n";
    let order = Order::of(text, "p");
    assert_eq!(order.modules().collect::<Vec<_>>(), ["a.rs", "b/", "c.rs", "b/late/"]);
    let found = |path, code| violations(&Source::new(path, code), &order);
    assert!(found("b/x.rs", "use crate::{a::A, c::C}; use super::y;").is_empty());
    assert!(found("b/late/x.rs", "use crate::b::B; use super::super::B;").is_empty());
    assert_eq!(found("a.rs", "use crate::c::C;"), ["a.rs uses c/C"]);
    assert_eq!(found("b/x.rs", "use super::late::L;"), ["b/x.rs uses b/late/L"]);
    assert_eq!(
        found("c.rs", "use crate::A;"),
        ["c.rs uses A by the root of the crate; name its module"]
    );
    assert_eq!(found("e.rs", ""), ["e.rs has no line in ARCHITECTURE.md"]);
}
