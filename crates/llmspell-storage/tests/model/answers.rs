//! Does a store answer like a map and a sort, whatever happened before?
//!
//! `LLMSPELL_MODEL_CASES` programs of up to `LLMSPELL_MODEL_STEPS` calls, with reopening; `cargo xtask soak` runs more.

use llmspell_storage::{Filter, Metadata};

use crate::block_on;
use crate::plain::Model;
use crate::program::{Call, Step, removal, setting, step};
use crate::store::{Graphs, Spaces, Store, directory};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// What is asked after a step in half of the programs: whether what it changed has reached every index, and whether what
/// has just expired can still be touched.
fn questions(step: &Step) -> Vec<Step> {
    let of = |scope, call| Step::Of {
        scope,
        by_handle: false,
        call,
    };
    match step {
        Step::Pass(_) => {
            let fields = || Metadata::from_iter([("color".to_string(), 1.into())]);
            let update = |place: u8| {
                of(
                    place / 3,
                    Call::UpdateMetadata {
                        id: place % 3,
                        fields: fields(),
                    },
                )
            };
            (0..12).map(update).collect()
        }
        Step::Write(_) | Step::Of { .. } | Step::Rewrite { .. } => {
            let facet = |scope| {
                of(
                    scope,
                    Call::Facet {
                        field: "color",
                        filter: Filter::all(),
                    },
                )
            };
            (0..4).map(facet).collect()
        }
        _ => Vec::new(),
    }
}

fn run(cases: usize, steps: usize) {
    let config = Config {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    let programs = (
        any::<bool>(),
        any::<bool>(),
        vec(prop_oneof![30 => step(0..4), 1 => removal(0..4)], 1..=steps),
    );
    let result = TestRunner::new(config).run(&programs, |(asks, has_graphs, steps): (bool, bool, Vec<Step>)| {
        block_on(async {
            let dir = directory();
            let graphs = match has_graphs {
                true => Graphs::FromTheFirstEntries,
                false => Graphs::None,
            };
            let mut store = Store::open(&dir.path().join("db"), graphs, Spaces::One).await;
            let mut model = Model::new();
            for (number, step) in steps.iter().enumerate() {
                prop_assert_eq!(store.run(step).await, model.run(step), "step {}: {:?}", number, step);
                for question in questions(step).iter().filter(|_| asks) {
                    let place = format!("{question:?} after step {number}: {step:?}");
                    prop_assert_eq!(store.run(question).await, model.run(question), "{}", place);
                }
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
