//! Are the answers of one scope the same with and without the others?
//!
//! `LLMSPELL_ISOLATION_CASES` pairs of programs; `cargo xtask soak` runs more.

use crate::block_on;
use crate::program::{Entry, Seen, Step, setting, step};
use crate::store::Store;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Calls of one tenant: no key-value data, which all of them share here.
fn calls_of(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Step> {
    step(scopes).prop_filter("vectors only", |step| {
        !matches!(step, Step::Set { .. } | Step::Remove { .. } | Step::Swap { .. })
    })
}

/// What the calls of A return; those of B run in between if there is a B.
async fn seen_by_a(a: &[Step], b: Option<&[Step]>) -> Vec<Seen> {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(&dir.path().join("db")).await;
    let mut seen = Vec::new();
    for (number, step) in a.iter().enumerate() {
        if let Some(step) = b.and_then(|steps| steps.get(number)) {
            store.run(step).await;
        }
        seen.push(store.run(step).await);
    }
    seen
}

#[test]
fn the_answers_of_one_scope_are_the_same_with_and_without_the_others() {
    let cases = setting("LLMSPELL_ISOLATION_CASES", 12);
    let config = Config {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    // A is `user:a`; B is everybody else, the likes of `user:ab` and `custom:user:a` among them.
    let programs = (
        vec(calls_of(1..2), 1..30),
        vec(prop_oneof![calls_of(2..4), calls_of(0..1)], 1..30),
    );
    let result = TestRunner::new(config).run(&programs, |(a, b)| {
        let (alone, beside) = block_on(async { (seen_by_a(&a, None).await, seen_by_a(&a, Some(&b)).await) });
        prop_assert_eq!(alone, beside);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_one_scope_holds_is_found_nowhere_else() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("db")).await;
        let secret = Entry {
            scope: 1,
            id: 7,
            vector: [1, 2, 3, 4],
            color: 2,
            expires: None,
        };
        store.run(&Step::Insert(vec![secret])).await;
        for other in [0, 2, 3] {
            let query = Step::Search {
                scope: other,
                query: [1, 2, 3, 4],
                k: 10,
                color: None,
                threshold: None,
            };
            assert_eq!(store.run(&query).await, Seen::Hits(vec![]));
            assert_eq!(
                store
                    .run(&Step::Page {
                        scope: other,
                        after: None,
                        limit: 10
                    })
                    .await,
                Seen::Entries(vec![])
            );
            assert_eq!(
                store
                    .run(&Step::Delete {
                        scope: other,
                        ids: vec![7]
                    })
                    .await,
                Seen::Count(0)
            );
            assert_eq!(store.run(&Step::DropScope { scope: other }).await, Seen::Count(0));
            let update = Step::UpdateMetadata {
                scope: other,
                id: 7,
                color: 0,
            };
            assert_eq!(
                store.run(&update).await,
                Seen::Refused("no entry `id-07` in this scope".to_string())
            );
        }
        let query = Step::Search {
            scope: 1,
            query: [1, 2, 3, 4],
            k: 10,
            color: Some(2),
            threshold: None,
        };
        assert_eq!(
            store.run(&query).await,
            Seen::Hits(vec![("id-07".to_string(), 1.0, 0.0, 2)])
        );
    });
}
