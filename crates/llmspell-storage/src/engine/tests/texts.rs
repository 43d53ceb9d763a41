//! Entries are read for words once, and not each time that their scope is loaded.

use std::path::Path;
use std::sync::Arc;

use llmspell_core::{HNSWConfig, StateScope, TextConfig, VectorEntry, VectorQuery};
use serde_json::json;

use super::workload::block_on;
use crate::HNSWVectorStorage;
use crate::base::options::DatabaseOptions;
use crate::indexes::files::Kind;
use crate::namespace::Namespace;
use crate::spaces::registry::Space;
use crate::truth::FIRST_SPACE;

const ROWS_MAX: usize = 8;

fn open(directory: &Path) -> HNSWVectorStorage {
    let database = block_on(DatabaseOptions::new().text_rows_max(ROWS_MAX).open(directory)).unwrap();
    let config = HNSWConfig::fast().with_texts(TextConfig::default());
    block_on(database.vectors("s", 2, config)).unwrap()
}

fn loaded(store: &HNSWVectorStorage) -> (Arc<Space>, Arc<Namespace>) {
    let shared = &store.database().unwrap().inner.shared;
    let space = shared.space(FIRST_SPACE).unwrap();
    let namespace = space.load(&shared.truth, &StateScope::Global).unwrap().unwrap();
    (space, namespace)
}

/// Whether the indexer would read words of the scope, as it is loaded now.
fn is_due(store: &HNSWVectorStorage) -> bool {
    let (space, namespace) = loaded(store);
    space.is_text_work_due(&namespace.state())
}

fn changed(store: &HNSWVectorStorage) -> u64 {
    let (_, namespace) = loaded(store);
    let state = namespace.state();
    state.files.get(Kind::Texts).map_or(0, |file| file.changed.len())
}

fn entries(count: usize) -> Vec<VectorEntry> {
    (0..count)
        .map(|number| VectorEntry::new(format!("e{number:03}"), [number as f32, 1.0]))
        .collect()
}

fn found(store: &HNSWVectorStorage, words: &str) -> usize {
    block_on(store.search(&VectorQuery::text(words, 50))).unwrap().len()
}

#[test]
fn given_many_entries_without_words_when_their_scope_is_loaded_again_then_none_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    block_on(store.insert(entries(10 * ROWS_MAX))).unwrap();
    block_on(store.build_index()).unwrap();
    block_on(store.close()).unwrap();

    let store = open(directory.path());
    assert!(!is_due(&store), "that there is nothing is known");
    assert_eq!(found(&store, "word"), 0);
    let (_, namespace) = loaded(&store);
    assert_eq!(
        namespace.state().files.rows_of(Kind::Texts).count(),
        1,
        "a file says so"
    );

    // The first words are found, whatever that file says, and it goes once others are there.
    block_on(store.insert(vec![VectorEntry::text_only("first", "word")])).unwrap();
    assert_eq!(found(&store, "word"), 1);
    let many = (0..2 * ROWS_MAX).map(|number| VectorEntry::text_only(format!("t{number}"), "word"));
    block_on(store.insert(many.collect())).unwrap();
    block_on(store.build_index()).unwrap();
    assert_eq!(found(&store, "word"), 2 * ROWS_MAX + 1);
    block_on(store.close()).unwrap();
    let store = open(directory.path());
    assert!(!is_due(&store));
    assert_eq!(found(&store, "word"), 2 * ROWS_MAX + 1);
    let report = block_on(store.database().unwrap().check()).unwrap();
    assert!(report.is_ok(), "{report:#?}");
}

#[test]
fn given_many_changes_that_bring_no_words_when_the_scope_is_loaded_again_then_none_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    block_on(store.insert(entries(10 * ROWS_MAX))).unwrap();
    block_on(store.build_index()).unwrap();
    for number in 0..3 * ROWS_MAX {
        let fields = json!({"n": number}).as_object().cloned().unwrap();
        block_on(store.patch_metadata(&StateScope::Global, &format!("e{number:03}"), fields)).unwrap();
    }
    assert!(changed(&store) > ROWS_MAX as u64, "the file is out of date for them");
    block_on(store.build_index()).unwrap();
    assert_eq!(changed(&store), 0, "they were read, and the truth knows it");
    block_on(store.close()).unwrap();
    assert!(!is_due(&open(directory.path())));
}
