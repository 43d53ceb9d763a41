//! The conformance suites pass correct stores, and catch each store that breaks one promise.

mod naive;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llmspell_conformance::{block_on, key_value, vectors};
use llmspell_core::{HNSWConfig, TextConfig};
use naive::key_value::NaiveBackend;
use naive::vectors::NaiveStore;

fn check_key_value(fault: Option<naive::key_value::Fault>) {
    block_on(key_value::check_all(async || Arc::new(NaiveBackend::new(fault)) as _));
}

fn check_vectors(fault: Option<naive::faults::Fault>) {
    block_on(vectors::check_all(async |dim, metric| {
        Arc::new(NaiveStore::new(dim, metric, fault)) as _
    }));
}

fn check_words(fault: Option<naive::word_faults::WordFault>) {
    block_on(vectors::texts::check_texts(async |dim, config: HNSWConfig| {
        let store = NaiveStore::new(dim, config.metric(), None);
        Arc::new(store.of_texts(config.texts().cloned(), fault)) as _
    }));
}

#[test]
fn a_backend_that_keeps_every_promise_passes() {
    check_key_value(None);
}

#[test]
fn a_vector_store_that_keeps_every_promise_passes() {
    check_vectors(None);
}

#[test]
fn a_backend_that_breaks_one_promise_is_caught() {
    for fault in naive::key_value::Fault::ALL {
        let result = catch_unwind(AssertUnwindSafe(|| check_key_value(Some(fault))));
        assert!(result.is_err(), "{fault:?} was not caught");
    }
}

#[test]
fn a_vector_store_that_breaks_one_promise_is_caught() {
    for fault in naive::faults::Fault::ALL {
        let result = catch_unwind(AssertUnwindSafe(|| check_vectors(Some(fault))));
        assert!(result.is_err(), "{fault:?} was not caught");
    }
}

#[test]
fn a_vector_store_that_keeps_every_promise_about_words_passes() {
    check_words(None);
}

#[test]
fn a_vector_store_that_breaks_one_promise_about_words_is_caught() {
    let is_caught = |fault| catch_unwind(AssertUnwindSafe(|| check_words(Some(fault)))).is_err();
    let mut missed = naive::word_faults::WordFault::ALL.to_vec();
    missed.retain(|fault| !is_caught(*fault));
    assert!(missed.is_empty(), "{missed:?} were not caught");
}

fn check_words_after_reopening(open: impl Fn() -> Arc<NaiveStore>) {
    block_on(vectors::texts::texts_are_there_after_reopening(async || open() as _));
}

#[test]
fn a_store_that_keeps_its_texts_passes_and_one_that_forgets_them_is_caught() {
    let texts = TextConfig::default().with_fields(["title"]);
    let fresh = || Arc::new(NaiveStore::new(vectors::DIM, vectors::METRIC, None).of_texts(Some(texts.clone()), None));
    let store = fresh();
    check_words_after_reopening(|| Arc::clone(&store));
    let result = catch_unwind(AssertUnwindSafe(|| check_words_after_reopening(fresh)));
    assert!(result.is_err(), "a store that forgets all was not caught");
}
