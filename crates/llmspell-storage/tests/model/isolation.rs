//! Are the answers of one scope the same with and without the others?
//!
//! `LLMSPELL_ISOLATION_CASES` pairs of programs; `cargo xtask soak` runs more. A runs its program twice: alone, and beside
//! B, whose calls come before those of A or share a commit with them. Whatever A can see is compared: ids, scores,
//! order, entries, counts, facets, plans, quotas and errors. B marks all that it stores, and no answer to A has the mark. B
//! also drops scopes, several at once, and a space beside with all that it has there. All of it once with one space, and
//! once with models behind a router, where both also try models of their own.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::block_on;
use crate::program::{Call, Seen, Step, Write, beside, call, dropped_scopes, event, many, model_call, runner, setting};
use crate::store::{Graphs, Spaces, Store, directory};

/// In all metadata of B.
const MARK: &str = "mark-of-b";

/// Calls that concern these scopes, with models of their own before a router. What writes, writes entries and keys that end
/// soon, and gives them other ends.
fn of_scopes(scopes: std::ops::Range<u8>, spaces: Spaces) -> BoxedStrategy<Step> {
    let calls = prop_oneof![15 => call(scopes.clone()), 1 => dropped_scopes(scopes.clone())];
    match spaces {
        Spaces::One => calls.boxed(),
        Spaces::Routed => prop_oneof![5 => calls, 1 => model_call(scopes)].boxed(),
    }
}

/// A call of B, and whether it waits for its answer before A calls.
type Foreign = (Step, bool);

/// A is `user:a`.
fn program_of_a(spaces: Spaces) -> impl Strategy<Value = Vec<Step>> {
    let steps = vec(prop_oneof![6 => of_scopes(1..2, spaces), 1 => event()], 1..40);
    (large(1..2), steps).prop_map(|(large, steps)| large.into_iter().chain(steps).collect())
}

/// B is everybody else, the likes of `user:ab` and `custom:user:a` among them.
fn program_of_b(spaces: Spaces) -> impl Strategy<Value = Vec<Foreign>> {
    let calls = prop_oneof![6 => of_scopes(2..4, spaces), 6 => of_scopes(0..1, spaces), 1 => beside(2..4)];
    let steps = vec((calls, any::<bool>()), 1..40);
    (large(2..4), steps).prop_map(|(large, mut steps)| {
        steps.splice(0..0, large.map(|step| (step, true)));
        for (step, _) in &mut steps {
            mark(step);
        }
        steps
    })
}

/// Now and then a large scope to begin with.
fn large(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Option<Step>> {
    prop::option::weighted(0.3, many(scopes, 100..200).prop_map(Step::Write))
}

fn mark(step: &mut Step) {
    let mark_all = |write: &mut Write| {
        for entry in &mut write.entries {
            entry.fields.insert("mark".to_string(), MARK.into());
        }
    };
    match step {
        Step::Write(write) | Step::Rewrite { write, .. } | Step::Beside(write) => mark_all(write),
        Step::Of {
            call: Call::Write(write),
            ..
        } => mark_all(write),
        Step::Of {
            call: Call::UpdateMetadata { fields, .. },
            ..
        } => {
            fields.insert("mark".to_string(), MARK.into());
        }
        _ => {}
    }
}

/// What the calls of A return; those of B run in between if there is a B.
async fn seen_by_a(spaces: Spaces, a: &[Step], b: &[Foreign]) -> Vec<Seen> {
    let dir = directory();
    let mut store = Store::open(&dir.path().join("db"), Graphs::FromTheFirstEntries, spaces).await;
    let mut seen = Vec::new();
    for (number, step) in a.iter().enumerate() {
        seen.push(match b.get(number) {
            None => store.run(step).await,
            Some((foreign, true)) => {
                store.run(foreign).await;
                store.run(step).await
            }
            Some((foreign, false)) => store.run_both(foreign, step).await.1,
        });
    }
    seen
}

#[test]
fn the_answers_of_one_scope_are_the_same_with_and_without_the_others() {
    answers_are_the_same(Spaces::One);
}

#[test]
fn the_answers_of_one_scope_are_the_same_with_and_without_the_others_by_the_router_too() {
    answers_are_the_same(Spaces::Routed);
}

fn answers_are_the_same(spaces: Spaces) {
    let cases = setting("LLMSPELL_ISOLATION_CASES", 256);
    let result = runner(cases).run(&(program_of_a(spaces), program_of_b(spaces)), |(a, b)| {
        let (alone, beside) = block_on(async { (seen_by_a(spaces, &a, &[]).await, seen_by_a(spaces, &a, &b).await) });
        for (number, (alone, beside)) in alone.iter().zip(&beside).enumerate() {
            prop_assert_eq!(alone, beside, "step {}: {:?}", number, &a[number]);
        }
        prop_assert!(!format!("{beside:?}").contains(MARK), "A was told of B");
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
