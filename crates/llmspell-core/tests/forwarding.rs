//! Every call of the traits must be forwarded: tests that compare hand-written lists with the traits.

use std::collections::BTreeSet;
use std::sync::Arc;

use llmspell_core::{ScopedBackend, ScopedVectors, StorageBackend, VectorStorage};

/// Names of the functions that a text defines after `from`.
fn functions(text: &str, from: &str) -> BTreeSet<String> {
    let (_, text) = text.split_once(from).unwrap_or_else(|| panic!("no `{from}`"));
    let lines = text.lines().map(str::trim_start);
    let named = |line: &str| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let line = line.strip_prefix("async ").unwrap_or(line);
        let name = line.strip_prefix("fn ")?;
        let end = name.find(['(', '<'])?;
        Some(name[..end].to_string())
    };
    lines.filter_map(named).collect()
}

/// The functions of a trait: until the first line that ends an item.
fn of_trait(text: &str, name: &str) -> BTreeSet<String> {
    let start = format!("pub trait {name}");
    let place = text.find(&start).unwrap_or_else(|| panic!("no `{start}`"));
    let end = text[place..].find("\n}").expect("a trait ends");
    functions(&text[place..place + end], &start)
}

#[test]
fn every_call_of_a_vector_store_has_a_method_and_goes_through_pointers() {
    let mut calls = of_trait(include_str!("../src/vector/storage.rs"), "VectorStorage");
    assert!(calls.len() > 20, "{calls:?}");
    assert_eq!(
        functions(include_str!("../src/vector/pointers.rs"), "macro_rules!"),
        calls
    );
    calls.extend(of_trait(include_str!("../src/vector/scoped.rs"), "VectorStorageExt"));
    assert_eq!(
        functions(include_str!("../src/vector/inherent.rs"), "macro_rules!"),
        calls
    );
}

#[test]
fn every_call_of_a_backend_has_a_method_and_goes_through_pointers() {
    let mut calls = of_trait(include_str!("../src/key_value/backend.rs"), "StorageBackend");
    assert!(calls.len() > 15, "{calls:?}");
    assert_eq!(
        functions(include_str!("../src/key_value/pointers.rs"), "macro_rules!"),
        calls
    );
    calls.extend(of_trait(include_str!("../src/key_value/typed.rs"), "StorageBackendExt"));
    assert_eq!(
        functions(include_str!("../src/key_value/inherent.rs"), "macro_rules!"),
        calls
    );
}

#[test]
fn what_an_application_holds_is_a_store() {
    fn vectors<S: VectorStorage>() {}
    fn keys<B: StorageBackend>() {}
    vectors::<Arc<dyn VectorStorage>>();
    vectors::<Box<dyn VectorStorage>>();
    vectors::<&dyn VectorStorage>();
    vectors::<&Arc<ScopedVectors>>();
    keys::<Arc<dyn StorageBackend>>();
    keys::<Box<dyn StorageBackend>>();
    keys::<&dyn StorageBackend>();
    keys::<&Arc<ScopedBackend>>();
}
