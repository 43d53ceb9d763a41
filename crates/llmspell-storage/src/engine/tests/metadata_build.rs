//! Filters stay right while writers write and the metadata index is rebuilt again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use llmspell_core::{Filter, StateScope, VectorEntry, limits::PAGE_MAX};
use serde_json::json;

use super::workload::{Store, block_on};
use crate::disk::sim::SimDisk;
use crate::indexes::files::Kind;
use crate::namespace::Namespace;
use crate::spaces::handover::{Answer, Built};
use crate::spaces::metadata;
use crate::truth::FIRST_SPACE;

const WRITERS: u32 = 3;
const PAIRS: u32 = 20;
const TIME: Duration = Duration::from_secs(4);

fn scope() -> StateScope {
    StateScope::Global
}

/// Both entries of a pair are always written at once, with the same value.
fn pair(writer: u32, pair: u32, value: u32) -> Vec<VectorEntry> {
    let entry = |half: u32| {
        let id = format!("{writer}-{pair}-{half}");
        let vector = vec![writer as f32, pair as f32, half as f32];
        VectorEntry::new(id, vector).with_metadata(json!({"pair": writer * PAIRS + pair, "value": value, "half": half}))
    };
    vec![entry(0), entry(1)]
}

/// The next filter makes the index again.
fn forget(namespace: &Arc<Namespace>, store: &Store) {
    let door = &store.database.inner.shared.door;
    let answer = door.hand_over(namespace, Built::Nothing(Kind::Metadata), None).unwrap();
    assert!(matches!(answer, Some(Answer::Adopted)));
}

fn random(seed: &mut u64, below: u32) -> u32 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (((*seed >> 33) * u64::from(below)) >> 31) as u32
}

/// Writes until the time is up. Returns the last value of each pair that is there, and of each of its halves.
fn write(store: &Store, writer: u32, is_over: &AtomicBool) -> BTreeMap<String, u32> {
    let (mut model, mut seed) = (BTreeMap::new(), u64::from(writer) + 1);
    while !is_over.load(Ordering::Relaxed) {
        let (number, value) = (random(&mut seed, PAIRS), random(&mut seed, 5));
        let ids = [0, 1].map(|half| format!("{writer}-{number}-{half}"));
        if random(&mut seed, 4) == 0 {
            block_on(store.vectors().delete(&scope(), &ids)).unwrap();
            model.retain(|id, _| !ids.contains(id));
        } else {
            block_on(store.vectors().upsert(pair(writer, number, value))).unwrap();
            model.extend(ids.into_iter().map(|id| (id, value)));
        }
    }
    model
}

/// What a filter finds is of one moment: it matches, and no pair is torn.
fn assert_filter(store: &Store, filter: &Filter) {
    let compiled = filter.compile(&llmspell_core::DateFields::none()).unwrap();
    let found = block_on(store.vectors().list_matching(&scope(), filter, None, PAGE_MAX)).unwrap();
    let mut halves = BTreeMap::<u64, u32>::new();
    for entry in &found {
        let metadata = entry.metadata.as_object().unwrap();
        assert!(compiled.matches(metadata), "{filter}: {metadata:?}");
        *halves.entry(metadata["pair"].as_u64().unwrap()).or_default() += 1;
    }
    assert!(halves.values().all(|count| *count == 2), "{filter}: {found:?}");
    let count = block_on(store.vectors().count_matching(&scope(), filter)).unwrap();
    assert!(count.is_multiple_of(2), "{filter}: {count}");
}

#[test]
fn given_an_index_when_much_is_written_then_it_is_read_up_later_and_filters_find_it_at_once() {
    // Given: an index, and a batch that came after it; some of it replaces what the index knows.
    let store = Store::open(Arc::new(SimDisk::default())).unwrap();
    let write = |pairs: std::ops::Range<u32>, value| {
        let entries = pairs.flat_map(|number| pair(0, number, value)).collect();
        block_on(store.vectors().upsert(entries)).unwrap();
    };
    let count = |value: u32| block_on(store.vectors().count_matching(&scope(), &Filter::eq("value", value))).unwrap();
    write(0..10, 1);
    block_on(store.vectors().build_index()).unwrap();
    assert_eq!(count(1), 20);
    let shared = &store.database.inner.shared;
    let namespace = shared
        .space(FIRST_SPACE)
        .unwrap()
        .load(&shared.truth, &scope())
        .unwrap()
        .unwrap();
    let waiting = || namespace.state().metadata.as_ref().unwrap().distrusted_count();
    assert_eq!(waiting(), 0);
    // The indexer waits until it is quiet; on a busy machine that may be at once.
    let is_later = (0..20).any(|_| {
        write(8..18, 2);
        waiting() >= 20
    });

    // When: a filter asks.
    let found = [count(1), count(2)];

    // Then: it finds the written entries, and the index soon has them.
    assert_eq!(found, [16, 20]);
    assert!(is_later, "a large batch is not read into the index by its writer");
    let begun = Instant::now();
    while waiting() > 0 {
        assert!(begun.elapsed() < TIME * 5, "{} still wait", waiting());
        std::thread::yield_now();
    }
    assert_eq!([count(1), count(2)], [16, 20]);
    store.assert_sound();
}

#[test]
fn given_writers_and_rebuilds_at_once_when_filters_ask_then_they_find_what_is_there() {
    // Given: an index that is forgotten and made again all the time, by filters, by the indexer, from files and rows.
    let store = Store::open(Arc::new(SimDisk::default())).unwrap();
    for writer in 0..WRITERS {
        block_on(store.vectors().upsert(pair(writer, 0, 0))).unwrap();
    }
    block_on(store.vectors().build_index()).unwrap();
    let shared = &store.database.inner.shared;
    let space = shared.space(FIRST_SPACE).unwrap();
    let namespace = space.load(&shared.truth, &scope()).unwrap().unwrap();
    let (is_over, built, begun) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());

    let model = std::thread::scope(|threads| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                threads.spawn({
                    let (store, is_over) = (&store, &is_over);
                    move || write(store, writer, is_over)
                })
            })
            .collect();
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                forget(&namespace, &store);
                metadata::index_in_background(&shared.truth, &space, &namespace, &|| false).unwrap();
                built.fetch_add(1, Ordering::Relaxed);
            }
        });
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                block_on(store.vectors().build_index()).unwrap();
            }
        });

        // When: filters ask meanwhile.
        let mut number = 0;
        while begun.elapsed() < TIME {
            number += 1;
            let value = number % 5;
            assert_filter(&store, &Filter::eq("value", value));
            assert_filter(&store, &Filter::ge("value", value).and(Filter::lt("pair", 30)));
        }
        is_over.store(true, Ordering::Relaxed);
        let models = writers.into_iter().map(|writer| writer.join().unwrap());
        models.fold(BTreeMap::new(), |mut sum, model| {
            sum.extend(model);
            sum
        })
    });

    // Then: every answer was of one moment, and in the end the index has the existing entries, and no others.
    assert!(built.load(Ordering::Relaxed) > 20, "{built:?} builds");
    store.assert_sound();
    for value in 0..5 {
        let found = block_on(
            store
                .vectors()
                .list_matching(&scope(), &Filter::eq("value", value), None, PAGE_MAX),
        )
        .unwrap();
        let found: Vec<&String> = found.iter().map(|entry| &entry.id).collect();
        let of_writers = |id: &&String| model.contains_key(*id);
        let expected: Vec<&String> = model.iter().filter(|(_, of)| **of == value).map(|(id, _)| id).collect();
        assert_eq!(
            found.iter().copied().filter(of_writers).collect::<Vec<_>>(),
            expected,
            "value {value}"
        );
    }
}
