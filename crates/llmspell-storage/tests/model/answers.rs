//! Does a store answer like a map and a sort, whatever happened before?
//!
//! `LLMSPELL_MODEL_CASES` programs of up to `LLMSPELL_MODEL_STEPS` calls, with reopening; `cargo xtask soak` runs more.

use crate::block_on;
use crate::plain::Model;
use crate::program::{Step, setting, step};
use crate::store::{Store, directory};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn run(cases: usize, steps: usize) {
    let config = Config {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    let programs = vec(step(0..4), 1..=steps);
    let result = TestRunner::new(config).run(&programs, |steps: Vec<Step>| {
        block_on(async {
            let dir = directory();
            let mut store = Store::open(&dir.path().join("db")).await;
            let mut model = Model::new();
            for (number, step) in steps.iter().enumerate() {
                prop_assert_eq!(store.run(step).await, model.run(step), "step {}: {:?}", number, step);
            }
            prop_assert_eq!(store.content().await, model.content());
            store.run(&Step::Reopen).await;
            prop_assert_eq!(store.content().await, model.content(), "after reopening");
            Ok(())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_store_answers_like_a_map_and_a_sort_whatever_happened_before() {
    run(setting("LLMSPELL_MODEL_CASES", 48), setting("LLMSPELL_MODEL_STEPS", 80));
}
