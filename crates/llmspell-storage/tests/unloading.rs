//! Unloading of scopes changes nothing but the memory in use.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llmspell_storage::{
    Database, DatabaseOptions, DistanceMetric, Filter, HNSWConfig, HNSWVectorStorage, Memory, Metadata, StateScope,
    VectorEntry, VectorQuery,
};
use proptest::prelude::*;
use serde_json::json;

const DIM: usize = 4;
const GRAPH_POINTS_MIN: u64 = 12;
/// Less than any loaded scope takes: whatever may be unloaded is.
const TINY: u64 = 1;

async fn open(dir: &Path, scope_cache_bytes: u64) -> (Database, HNSWVectorStorage) {
    let options = DatabaseOptions::new()
        .graph_points_min(GRAPH_POINTS_MIN)
        .metadata_points_min(4)
        .scope_cache_bytes(scope_cache_bytes);
    let database = options.open(dir).await.unwrap();
    // Wide enough to see everything, so equal means equal.
    let config = HNSWConfig::fast()
        .with_metric(DistanceMetric::Euclidean)
        .with_memory(Memory::Speed)
        .with_ef_search(1_000);
    let vectors = database.vectors("s", DIM, config).await.unwrap();
    (database, vectors)
}

fn scope(number: u8) -> StateScope {
    StateScope::User(format!("user-{number}"))
}

fn id(number: u8) -> String {
    format!("id-{number:03}")
}

/// Whole numbers: distances are exact.
fn vector(seed: u16) -> Vec<f32> {
    (0..DIM as u32)
        .map(|place| f32::from((seed >> (4 * place)) as u8 & 15))
        .collect()
}

fn entry(owner: u8, number: u8, seed: u16) -> VectorEntry {
    VectorEntry::new(id(number), vector(seed))
        .with_scope(scope(owner))
        .with_metadata(json!({ "parity": seed % 2, "owner": owner }))
}

#[derive(Debug, Clone)]
enum Step {
    Upsert { owner: u8, first: u8, count: u8, seed: u16 },
    Delete { owner: u8, first: u8, count: u8 },
    Update { owner: u8, number: u8, seed: u16 },
    DropScope { owner: u8 },
    Search { owner: u8, seed: u16, k: usize, form: u8 },
    Look { owner: u8 },
    BuildIndex,
    Reopen,
}

const OWNERS: u8 = 5;
const IDS: u8 = 40;

fn step() -> impl Strategy<Value = Step> {
    let owner = || 0..OWNERS;
    prop_oneof![
        6 => (owner(), 0..IDS, 1..30_u8, any::<u16>())
            .prop_map(|(owner, first, count, seed)| Step::Upsert { owner, first, count, seed }),
        4 => (owner(), 0..IDS, 1..12_u8).prop_map(|(owner, first, count)| Step::Delete { owner, first, count }),
        2 => (owner(), 0..IDS, any::<u16>()).prop_map(|(owner, number, seed)| Step::Update { owner, number, seed }),
        1 => owner().prop_map(|owner| Step::DropScope { owner }),
        10 => (owner(), any::<u16>(), 1..50_usize, 0..4_u8)
            .prop_map(|(owner, seed, k, form)| Step::Search { owner, seed, k, form }),
        3 => owner().prop_map(|owner| Step::Look { owner }),
        1 => Just(Step::BuildIndex),
        1 => Just(Step::Reopen),
    ]
}

/// Does a step, and says everything that can be seen of its answer.
async fn answer(vectors: &HNSWVectorStorage, step: &Step) -> String {
    match step {
        Step::Upsert {
            owner,
            first,
            count,
            seed,
        } => {
            let entries = (0..*count).map(|place| {
                let number = first.wrapping_add(place) % IDS;
                entry(*owner, number, seed.wrapping_add(u16::from(number) * 977))
            });
            format!("{:?}", vectors.upsert(entries.collect()).await)
        }
        Step::Delete { owner, first, count } => {
            let ids: Vec<String> = (0..*count).map(|place| id(first.wrapping_add(place) % IDS)).collect();
            format!("{:?}", vectors.delete(&scope(*owner), &ids).await)
        }
        Step::Update { owner, number, seed } => {
            let metadata = [("parity", json!(seed % 2)), ("owner", json!(owner))];
            let metadata: Metadata = metadata
                .map(|(key, value)| (key.to_string(), value))
                .into_iter()
                .collect();
            let done = vectors.update_metadata(&scope(*owner), &id(*number), metadata).await;
            format!("{:?}", done.map_err(|error| error.to_string()))
        }
        Step::DropScope { owner } => format!("{:?}", vectors.delete_scope(&scope(*owner)).await),
        Step::Search { owner, seed, k, form } => {
            let query = VectorQuery::new(vector(*seed), *k).with_scope(scope(*owner));
            let query = match form {
                0 => query,
                1 => query.with_metadata(false),
                2 => query.with_metadata(false).with_vectors(true),
                _ => query.with_filter(Filter::eq("parity", 1)),
            };
            // Again, which may go another way.
            let first = format!("{:?}", vectors.search(&query).await.unwrap());
            for _ in 0..2 {
                assert_eq!(format!("{:?}", vectors.search(&query).await.unwrap()), first);
            }
            first
        }
        Step::Look { owner } => {
            let owner = scope(*owner);
            let odd = Filter::eq("parity", 1);
            let ids: Vec<String> = vectors
                .list(&owner, None, 1_000)
                .await
                .unwrap()
                .into_iter()
                .map(|e| e.id)
                .collect();
            let counts = (vectors.count(&owner).await, vectors.count_matching(&owner, &odd).await);
            let stats = vectors.stats_for_scope(&owner).await.unwrap();
            format!("{ids:?} {counts:?} {} {}", stats.vectors, stats.metadata_bytes)
        }
        Step::BuildIndex => format!("{:?}", vectors.build_index().await),
        Step::Reopen => String::new(),
    }
}

async fn assert_programs_agree(steps: &[Step]) -> Result<(), TestCaseError> {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut roomy = open(dirs[0].path(), u64::MAX).await;
    let mut tight = open(dirs[1].path(), TINY).await;
    for (place, step) in steps.iter().enumerate() {
        if matches!(step, Step::Reopen) {
            for (of, dir, cache) in [(&mut roomy, &dirs[0], u64::MAX), (&mut tight, &dirs[1], TINY)] {
                let (database, vectors) = std::mem::replace(of, open_in_memory());
                drop(vectors);
                database.close().await.unwrap();
                *of = open(dir.path(), cache).await;
            }
            continue;
        }
        let (expected, got) = (answer(&roomy.1, step).await, answer(&tight.1, step).await);
        prop_assert_eq!(got, expected, "step {}: {:?}", place, step);
    }
    let stats = roomy.0.stats().await.unwrap();
    prop_assert_eq!(stats.scopes_unloaded, 0);
    let report = tight.0.check().await.unwrap();
    prop_assert!(report.is_ok(), "{:#?}", report);
    Ok(())
}

/// Something to put in the place of a database that is closed.
fn open_in_memory() -> (Database, HNSWVectorStorage) {
    let vectors = HNSWVectorStorage::new(DIM, HNSWConfig::fast());
    (vectors.database().unwrap().clone(), vectors)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Whatever happens, a database that may keep nothing loaded answers like one that keeps everything.
    #[test]
    fn a_database_without_room_answers_like_one_with_all_of_it(steps in prop::collection::vec(step(), 1..60)) {
        runtime().block_on(assert_programs_agree(&steps))?;
    }
}

#[tokio::test]
async fn given_more_scopes_than_fit_when_all_are_searched_then_those_used_last_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path(), 30_000).await;
    for owner in 0..200 {
        vectors
            .insert((0..3).map(|number| entry(owner, number, 7)).collect())
            .await
            .unwrap();
    }
    for owner in 0..200 {
        let hits = vectors
            .search(&VectorQuery::new(vector(7), 3).with_scope(scope(owner)))
            .await
            .unwrap();
        assert_eq!(hits.len(), 3);
    }
    let stats = database.stats().await.unwrap();
    assert!(stats.scope_bytes <= stats.scope_bytes_max, "{stats:?}");
    assert_eq!(stats.scope_bytes_max, 30_000);
    assert!((5..100).contains(&stats.scopes_loaded), "{stats:?}");
    assert!(stats.scopes_unloaded >= 200, "{stats:?}");

    // The last ones need not be loaded again, the first ones must.
    let unloaded = stats.scopes_unloaded;
    for _ in 0..1_000 {
        vectors
            .search(&VectorQuery::new(vector(7), 3).with_scope(scope(199)))
            .await
            .unwrap();
    }
    assert_eq!(database.stats().await.unwrap().scopes_unloaded, unloaded);
}

#[tokio::test]
async fn given_a_graph_in_no_file_when_there_is_no_room_then_it_is_written_before_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path(), TINY).await;
    vectors
        .insert(
            (0..IDS)
                .map(|number| entry(1, number, u16::from(number) * 977))
                .collect(),
        )
        .await
        .unwrap();
    vectors.build_index().await.unwrap();
    // A few more, which the graph takes in without a new file.
    vectors
        .insert(
            (IDS..IDS + 3)
                .map(|number| entry(1, number, u16::from(number) * 977))
                .collect(),
        )
        .await
        .unwrap();
    let patience = std::time::Instant::now();
    loop {
        // Something else, so that somebody looks for room.
        vectors.upsert(vec![entry(2, 0, 1)]).await.unwrap();
        let stats = database.stats().await.unwrap();
        if stats.scopes_loaded == 0 {
            break;
        }
        assert!(patience.elapsed().as_secs() < 20, "{stats:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // What comes back has the graph, and with it all points: none has to be linked again.
    let stats = vectors.stats_for_scope(&scope(1)).await.unwrap();
    assert_eq!(stats.vectors, u64::from(IDS) + 3);
    assert_eq!(
        (stats.index.unwrap().points, stats.tail_vectors),
        (u64::from(IDS) + 3, 0)
    );
}

/// Searches, writes, deletions and unloading at once; each writer knows what its scopes must hold.
#[test]
fn given_everything_at_once_without_room_then_every_reader_sees_what_its_writer_wrote() {
    const WRITERS: u8 = 4;
    const TURNS: u16 = 150;
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (database, vectors) = open(dir.path(), TINY).await;
        let is_done = Arc::new(AtomicBool::new(false));
        // Readers that see scopes of others half-way, but never anything foreign or half a batch.
        let readers: Vec<_> = (0..2_u8)
            .map(|reader| {
                let (vectors, is_done) = (vectors.clone(), Arc::clone(&is_done));
                tokio::spawn(async move {
                    let mut searches = 0_u32;
                    while !is_done.load(Ordering::Relaxed) {
                        let owner = (searches as u8).wrapping_mul(7).wrapping_add(reader) % (2 * WRITERS);
                        let query = VectorQuery::new(vector(searches as u16), 100).with_scope(scope(owner));
                        let with_metadata = searches.is_multiple_of(2);
                        for hit in vectors.search(&query.with_metadata(with_metadata)).await.unwrap() {
                            let metadata = hit.metadata.map_or(json!(owner), |metadata| metadata["owner"].clone());
                            assert_eq!(metadata, json!(owner), "search {searches}");
                        }
                        searches += 1;
                    }
                    searches
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let vectors = vectors.clone();
                tokio::spawn(async move {
                    let mut models: BTreeMap<u8, BTreeMap<String, Vec<f32>>> = BTreeMap::new();
                    for turn in 0..TURNS {
                        let owner = writer + WRITERS * (turn % 2) as u8;
                        let model = models.entry(owner).or_default();
                        let first = (turn * 11 % u16::from(IDS)) as u8;
                        match turn % 7 {
                            5 => {
                                let ids: Vec<String> = (0..6).map(|place| id((first + place) % IDS)).collect();
                                let gone = ids.iter().filter(|id| model.remove(*id).is_some()).count();
                                assert_eq!(vectors.delete(&scope(owner), &ids).await.unwrap(), gone as u64);
                            }
                            6 if turn % 5 == 0 => {
                                let gone = vectors.delete_scope(&scope(owner)).await.unwrap();
                                assert_eq!(gone, model.len() as u64);
                                model.clear();
                            }
                            _ => {
                                let numbers = (0..8).map(|place| (first + place) % IDS);
                                let entries: Vec<VectorEntry> = numbers
                                    .map(|number| entry(owner, number, turn.wrapping_mul(977) ^ u16::from(number)))
                                    .collect();
                                model.extend(entries.iter().map(|e| (e.id.clone(), e.embedding.clone())));
                                vectors.upsert(entries).await.unwrap();
                            }
                        }
                        let query = VectorQuery::new(vector(turn), 100)
                            .with_scope(scope(owner))
                            .with_vectors(true);
                        let hits = vectors.search(&query).await.unwrap();
                        let found = hits.into_iter().map(|hit| (hit.id, hit.vector.unwrap())).collect();
                        assert_eq!(*model, found, "writer {writer}, turn {turn}");
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.await.unwrap() > 0);
        }
        let stats = database.stats().await.unwrap();
        // How many depends on how busy they were kept; a share of the turns says that it happens all the time.
        assert!(stats.scopes_unloaded > u64::from(TURNS) / 8, "{stats:?}");
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
    });
}
