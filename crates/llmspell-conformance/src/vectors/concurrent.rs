//! Batches are atomic for other threads, and dropped futures do no harm.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::super::drive::{BlockOn, start_and_drop};
use super::{entry, exact, ids, listed, scattered, user};
use llmspell_core::{Metadata, StateScope, VectorStorage};

const ROUNDS: u64 = 60;
/// Entries of a batch.
const BATCH: usize = 8;

/// A search or list beside a writer sees each batch completely or not at all, and never an older state after a newer
/// one.
pub async fn readers_see_a_batch_whole_or_not_at_all(store: &dyn VectorStorage, block_on: BlockOn<'_>) {
    let batch = |round: u64| {
        let tagged = |(number, vector)| entry(&format!("v{number}"), vector).with_metadata(json!({"round": round}));
        scattered(BATCH).enumerate().map(tagged).collect::<Vec<_>>()
    };
    store.insert(batch(0)).await.unwrap();
    let is_done = AtomicBool::new(false);
    let check = |rounds: Vec<u64>, newest: &mut u64, call: &str| {
        assert_eq!(rounds.len(), BATCH, "{call} saw {} of {BATCH} entries", rounds.len());
        assert!(
            rounds.iter().all(|round| *round == rounds[0]),
            "{call} saw parts of batches: {rounds:?}"
        );
        assert!(
            rounds[0] >= *newest,
            "{call} saw round {} after round {newest}",
            rounds[0]
        );
        *newest = rounds[0];
    };
    let round_of = |metadata: &Metadata| metadata["round"].as_u64().expect("every entry has its round");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            block_on(Box::pin(async {
                let mut newest = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let results = store.search(&exact([0.5; 3], 100)).await.unwrap();
                    let rounds = results.iter().map(|result| round_of(result.metadata.as_ref().unwrap()));
                    check(rounds.collect(), &mut newest, "search");
                }
            }));
        });
        scope.spawn(|| {
            block_on(Box::pin(async {
                let mut newest = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let entries = store.list(&StateScope::Global, None, 100).await.unwrap();
                    let rounds = entries
                        .iter()
                        .map(|entry| round_of(entry.metadata.as_object().unwrap()));
                    check(rounds.collect(), &mut newest, "list");
                }
            }));
        });
        scope.spawn(|| {
            // The readers must end even if the writer panics.
            let _stop = StopOnDrop(&is_done);
            block_on(Box::pin(async {
                for round in 1..=ROUNDS {
                    store.upsert(batch(round)).await.unwrap();
                }
            }));
        });
    });
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writers of different scopes do not disturb each other, and each finds its own entries at once.
pub async fn writers_of_different_scopes_do_not_disturb_each_other(store: &dyn VectorStorage, block_on: BlockOn<'_>) {
    let names = ["a", "b", "c", "d"].map(user);
    std::thread::scope(|threads| {
        for scope in &names {
            threads.spawn(move || {
                block_on(Box::pin(async move {
                    for (number, vector) in scattered(25).enumerate() {
                        let id = format!("v{number:02}");
                        store
                            .insert(vec![entry(&id, vector).with_scope(scope.clone())])
                            .await
                            .unwrap();
                        let nearest = store.search(&exact(vector, 1).with_scope(scope.clone())).await.unwrap();
                        assert_eq!(ids(&nearest), [id.as_str()], "an insert that returned is found");
                        if number % 5 == 4 {
                            assert_eq!(store.delete(scope, &[id]).await.unwrap(), 1);
                        }
                    }
                }));
            });
        }
    });
    for scope in &names {
        assert_eq!(store.count(scope).await.unwrap(), 20, "in {scope}");
    }
}

/// An insert whose future is dropped happens completely or not at all, and the store can still be used.
pub async fn a_dropped_insert_is_done_or_not(store: &dyn VectorStorage) {
    for round in 0..10 {
        let scope = user(&format!("{round}"));
        let pair = ["left", "right"].map(|id| entry(id, [1.0; 3]).with_scope(scope.clone()));
        start_and_drop(store.insert(pair.into())).await;
        let found = listed(store, &scope).await;
        assert!(
            found.is_empty() || found == ["left", "right"],
            "a dropped insert was half done: {found:?}"
        );
        start_and_drop(store.search(&exact([1.0; 3], 5).with_scope(scope.clone()))).await;
        start_and_drop(store.delete_scope(&user("nobody"))).await;

        store
            .insert(vec![entry("after", [2.0; 3]).with_scope(scope.clone())])
            .await
            .unwrap();
        let nearest = store.search(&exact([2.0; 3], 1).with_scope(scope)).await.unwrap();
        assert_eq!(ids(&nearest), ["after"], "the store works on");
    }
}
