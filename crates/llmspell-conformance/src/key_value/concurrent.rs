//! The promises are kept when several threads write, and when futures are dropped.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::drive::{BlockOn, start_and_drop};
use llmspell_core::{KeyValueWrite, StorageBackend};

const THREADS: u64 = 4;
const INCREMENTS: u64 = 50;
const FLIPS: u64 = 200;

/// No increment by compare-and-swap is lost.
pub async fn no_increment_by_compare_and_swap_is_lost(backend: &dyn StorageBackend, block_on: BlockOn<'_>) {
    let increment = async || loop {
        let current = backend.get("counter").await.unwrap();
        let next = current.as_deref().map_or(0, number) + 1;
        let new = Some(next.to_le_bytes().to_vec());
        if backend
            .compare_and_swap("counter", current.as_deref(), new)
            .await
            .unwrap()
        {
            return;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                block_on(Box::pin(async {
                    for _ in 0..INCREMENTS {
                        increment().await;
                    }
                }));
            });
        }
    });
    let counted = backend.get("counter").await.unwrap().as_deref().map(number);
    assert_eq!(
        counted,
        Some(THREADS * INCREMENTS),
        "every swap that said true counted once"
    );
}

/// Readers see a batch completely or not at all, by `get_batch` and by `scan`, also when it deletes; and never an older
/// state after a newer one.
pub async fn readers_see_a_batch_whole_or_not_at_all(backend: &dyn StorageBackend, block_on: BlockOn<'_>) {
    // Far apart in byte order and by prefix, with keys between them.
    let pair = ["a/left", "z/right"].map(String::from);
    for between in 0..50 {
        backend.set(&format!("m/{between}"), Vec::new()).await.unwrap();
    }
    let flip = async |round: u64| {
        let value = round.to_le_bytes().to_vec();
        let mut batch = vec![];
        for key in &pair {
            // In every third round the same batch removes the keys and sets them again: no reader may see them missing.
            if round.is_multiple_of(3) {
                batch.push(KeyValueWrite::DeletePrefix { prefix: key.clone() });
            }
            batch.push(KeyValueWrite::Set {
                key: key.clone(),
                value: value.clone(),
            });
        }
        backend.write(batch).await.unwrap();
    };
    flip(0).await;
    let is_done = AtomicBool::new(false);
    let check = |left: Option<u64>, right: Option<u64>, newest: &mut u64, call: &str| {
        assert_eq!(left, right, "{call} saw half of a batch");
        let seen = left.unwrap_or_else(|| panic!("{call} saw a key deleted that its batch sets"));
        assert!(seen >= *newest, "{call} saw round {seen} after round {newest}");
        *newest = seen;
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            block_on(Box::pin(async {
                while !is_done.load(Ordering::Relaxed) {
                    let mut newest = 0;
                    let found = backend.get_batch(&pair).await.unwrap();
                    let [left, right] = pair.each_ref().map(|key| found.get(key).map(|value| number(value)));
                    check(left, right, &mut newest, "get_batch");
                }
            }));
        });
        scope.spawn(|| {
            block_on(Box::pin(async {
                let mut newest = 0;
                while !is_done.load(Ordering::Relaxed) {
                    let page = backend.scan("", None, 100).await.unwrap();
                    assert!(page.is_sorted(), "a page is in byte order");
                    let value_of =
                        |key: &String| page.iter().find(|(found, _)| found == key).map(|pair| number(&pair.1));
                    let [left, right] = pair.each_ref().map(value_of);
                    check(left, right, &mut newest, "scan");
                }
            }));
        });
        scope.spawn(|| {
            // The readers must end even if the writer panics.
            let _stop = StopOnDrop(&is_done);
            block_on(Box::pin(async {
                for round in 1..=FLIPS {
                    flip(round).await;
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

/// Writers of different keys do not disturb each other, and each reads its own writes at once.
pub async fn writers_of_different_keys_do_not_disturb_each_other(backend: &dyn StorageBackend, block_on: BlockOn<'_>) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                block_on(Box::pin(async move {
                    for round in 0..INCREMENTS {
                        let key = format!("{thread}/{:02}", round % 10);
                        backend.set(&key, round.to_le_bytes().to_vec()).await.unwrap();
                        let found = backend.get(&key).await.unwrap().as_deref().map(number);
                        assert_eq!(found, Some(round), "a write that returned is seen");
                        if round % 10 == 9 {
                            assert!(backend.delete(&key).await.unwrap());
                        }
                    }
                }));
            });
        }
    });
    assert_eq!(backend.count("").await.unwrap(), 9 * THREADS);
}

/// A write whose future is dropped happens completely or not at all; the backend can still be used.
pub async fn a_dropped_write_is_done_or_not(backend: &dyn StorageBackend) {
    let pair = ["left", "right"].map(String::from);
    let batch = |value: &str| {
        let set = |key: &String| KeyValueWrite::Set {
            key: key.clone(),
            value: value.into(),
        };
        pair.iter().map(set).collect::<Vec<_>>()
    };
    backend.write(batch("old")).await.unwrap();
    for round in 0..20 {
        start_and_drop(backend.write(batch("new"))).await;
        let found = backend.get_batch(&pair).await.unwrap();
        let values = pair.each_ref().map(|key| found.get(key).map(Vec::as_slice));
        assert!(
            values == [Some(&b"old"[..]); 2] || values == [Some(&b"new"[..]); 2],
            "a dropped batch was half done: {values:?}"
        );
        start_and_drop(backend.get("left")).await;
        start_and_drop(backend.compare_and_swap("swap", None, Some(b"1".to_vec()))).await;
        let key = format!("after/{round}");
        backend.set(&key, b"works".to_vec()).await.unwrap();
        assert_eq!(
            backend.get(&key).await.unwrap().as_deref(),
            Some(&b"works"[..]),
            "the backend works on"
        );
    }
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(
        value
            .try_into()
            .expect("the value has the eight bytes that were written"),
    )
}
