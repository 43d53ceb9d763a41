//! Does a store answer like a map and a sort, whatever happened before?
//!
//! `LLMSPELL_MODEL_CASES` programs of up to `LLMSPELL_MODEL_STEPS` calls, with reopening; `cargo xtask soak` runs more.

use llmspell_storage::{Filter, Metadata, Quota};

use crate::block_on;
use crate::plain::Model;
use crate::program::{Call, DIM, Entry, Life, Seen, Step, Write, removal, runner, setting, step};
use crate::store::{Graphs, Spaces, Store, directory};
use proptest::collection::vec;
use proptest::prelude::*;

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

type Program = (bool, bool, Vec<Step>);

/// Runs a program against a store and the model, with or without [`questions`] and graphs.
async fn compare((asks, has_graphs, steps): Program) -> Result<(), TestCaseError> {
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
}

fn run(cases: usize, steps: usize) {
    let programs = (
        any::<bool>(),
        any::<bool>(),
        vec(prop_oneof![30 => step(0..4), 1 => removal(0..4)], 1..=steps),
    );
    let result = runner(cases).run(&programs, |program| block_on(compare(program)));
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_store_answers_like_a_map_and_a_sort_whatever_happened_before() {
    run(setting("LLMSPELL_MODEL_CASES", 48), setting("LLMSPELL_MODEL_STEPS", 80));
}

// ---- programs that failed once ----

/// The scopes in their order, not in that of the batch: a router sorts a batch by spaces before quotas are looked at.
#[test]
fn a_batch_over_the_quotas_of_two_scopes_is_refused_for_the_first_of_them() {
    let entry = |scope| Entry {
        scope,
        id: 0,
        vector: [1; DIM],
        fields: Metadata::new(),
        life: Life::Forever,
    };
    let batch = Step::Write(Write {
        entries: vec![entry(2), entry(1)],
        refuses: false,
    });
    let limit = |scope, quota| Step::SetQuota {
        scope,
        quota: Some(quota),
    };
    let steps = vec![
        limit(1, Quota::new().with_vector_bytes(0)),
        limit(2, Quota::new().with_vectors(0)),
        batch,
    ];
    let mut model = Model::new();
    let refused = steps.iter().map(|step| model.run(step)).last();
    let first = "the scope `user:a` holds 0 of at most 0 bytes of vectors: no room for 16 more";
    assert_eq!(refused, Some(Seen::Refused(first.to_string())));
    block_on(compare((false, false, steps))).unwrap();
}
