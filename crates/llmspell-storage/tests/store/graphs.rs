//! Namespaces with a graph answer like those without, whatever happens to the graph.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::{Path, PathBuf};

use llmspell_storage::{
    Database, DatabaseOptions, DistanceMetric, HNSWConfig, HNSWVectorStorage, Memory, StateScope, VectorEntry,
    VectorQuery, VectorResult,
};

const DIM: usize = 8;
const GRAPH_POINTS_MIN: u64 = 16;

fn config() -> HNSWConfig {
    // Wide enough to see everything, so equal means equal.
    HNSWConfig::fast()
        .with_metric(DistanceMetric::Euclidean)
        .with_ef_search(5_000)
}

fn vector(number: u32) -> Vec<f32> {
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..DIM)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 24) as f32
        })
        .collect()
}

fn entry(number: u32) -> VectorEntry {
    VectorEntry::new(format!("id-{number:05}"), vector(number)).with_metadata(serde_json::json!({ "number": number }))
}

fn entries(numbers: std::ops::Range<u32>) -> Vec<VectorEntry> {
    numbers.map(entry).collect()
}

async fn open(dir: &Path) -> (Database, HNSWVectorStorage) {
    open_with(dir, config()).await
}

async fn open_with(dir: &Path, config: HNSWConfig) -> (Database, HNSWVectorStorage) {
    let database = DatabaseOptions::new()
        .graph_points_min(GRAPH_POINTS_MIN)
        .open(dir)
        .await
        .unwrap();
    let vectors = database.vectors("s", DIM, config).await.unwrap();
    (database, vectors)
}

async fn close((database, vectors): (Database, HNSWVectorStorage)) {
    drop(vectors);
    database.close().await.unwrap();
}

fn seen(hits: &[VectorResult]) -> Vec<(String, f32)> {
    hits.iter().map(|hit| (hit.id.clone(), hit.distance)).collect()
}

/// Every way to search gives the same answer as comparing everything.
async fn assert_answers(vectors: &HNSWVectorStorage, place: &str) {
    for number in [3, 70, 5_000, 70_001] {
        for k in [1, 10, 400] {
            let query = VectorQuery::new(vector(number), k);
            let exact = vectors.search(&query.clone().with_exact(true)).await.unwrap();
            let hits = vectors.search(&query).await.unwrap();
            assert_eq!(seen(&hits), seen(&exact), "{place}: query {number}, k {k}");
            for hit in &hits {
                let number: u32 = hit.id["id-".len()..].parse().unwrap();
                assert_eq!(hit.metadata.as_ref().unwrap()["number"], number, "{place}");
            }
            let bare = query.with_metadata(false).with_vectors(true);
            let hits = vectors.search(&bare).await.unwrap();
            assert_eq!(
                seen(&hits),
                seen(&exact),
                "{place}: query {number}, k {k}, without metadata"
            );
            for hit in &hits {
                let stored = vectors.get(&StateScope::Global, &hit.id).await.unwrap().unwrap();
                assert_eq!(hit.vector.as_ref(), Some(&stored.embedding), "{place}");
            }
        }
    }
}

async fn assert_sound(database: &Database, place: &str) {
    let report = database.check().await.unwrap();
    assert!(report.is_ok(), "{place}: {report:#?}");
}

fn index_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(dir.join("spaces/00000001/index")) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
    // Not those of metadata.
    files.retain(|path| path.extension().is_some_and(|extension| extension != "meta"));
    files.sort();
    files
}

async fn indexed(vectors: &HNSWVectorStorage) -> u64 {
    vectors.stats().await.unwrap().indexed_vectors
}

#[tokio::test]
async fn a_graph_answers_like_a_scan_before_and_after_every_kind_of_change() {
    for memory in [Memory::Speed, Memory::Balanced, Memory::Lean] {
        let dir = tempfile::tempdir().unwrap();
        let config = config().with_memory(memory);
        let mut opened = open_with(dir.path(), config.clone()).await;
        opened.1.insert(entries(0..300)).await.unwrap();
        opened.1.build_index().await.unwrap();
        let stats = opened.1.stats_for_scope(&StateScope::Global).await.unwrap();
        let index = stats.index.unwrap();
        assert_eq!((stats.tail_vectors, index.points, index.memory), (0, 300, memory));
        assert!(index.file_bytes > 0 && index.code_bytes > 0);
        assert_answers(&opened.1, "built").await;

        opened.1.insert(entries(300..350)).await.unwrap();
        assert_answers(&opened.1, "with a tail").await;
        let deleted: Vec<String> = (0..40).map(|number| format!("id-{number:05}")).collect();
        assert_eq!(opened.1.delete(&StateScope::Global, &deleted).await.unwrap(), 40);
        assert_answers(&opened.1, "with tombstones").await;
        opened.1.build_index().await.unwrap();
        assert_eq!(indexed(&opened.1).await, 310);
        assert_answers(&opened.1, "extended").await;
        assert_sound(&opened.0, "extended").await;

        close(opened).await;
        opened = open_with(dir.path(), config.clone()).await;
        assert_answers(&opened.1, "reopened").await;
        assert_eq!(indexed(&opened.1).await, 310);
        opened.1.upsert(entries(30..60)).await.unwrap();
        opened.1.optimize_index().await.unwrap();
        let stats = opened.1.stats_for_scope(&StateScope::Global).await.unwrap();
        let index = stats.index.unwrap();
        assert_eq!((index.points, index.tombstones), (320, 0));
        assert_answers(&opened.1, "optimized").await;
        assert_sound(&opened.0, "optimized").await;
        assert_eq!(index_files(dir.path()).len(), 1, "older files are gone");
        close(opened).await;
    }
}

#[tokio::test]
async fn points_are_used_again_only_when_no_graph_holds_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path()).await;
    opened.1.insert(entries(0..100)).await.unwrap();
    opened.1.build_index().await.unwrap();
    // Everything is replaced several times; the numbers of dead points come back with every new graph.
    for round in 0..8_u32 {
        for start in (0..100).step_by(10) {
            let replaced: Vec<VectorEntry> = (start..start + 10)
                .map(|id| {
                    let number = 1_000 * (round + 1) + id;
                    VectorEntry::new(format!("id-{number:05}"), vector(number))
                        .with_metadata(serde_json::json!({ "number": number }))
                })
                .collect();
            let gone: Vec<String> = (start..start + 10)
                .map(|id| format!("id-{:05}", if round == 0 { id } else { 1_000 * round + id }))
                .collect();
            opened.1.insert(replaced).await.unwrap();
            assert_eq!(opened.1.delete(&StateScope::Global, &gone).await.unwrap(), 10);
            assert_answers(&opened.1, &format!("round {round}, {start}")).await;
        }
        match round % 4 {
            0 => opened.1.build_index().await.unwrap(),
            1 => opened.1.optimize_index().await.unwrap(),
            2 => {
                close(opened).await;
                opened = open(dir.path()).await;
            }
            _ => {}
        }
        assert_answers(&opened.1, &format!("after round {round}")).await;
        assert_sound(&opened.0, &format!("after round {round}")).await;
    }
    opened.1.optimize_index().await.unwrap();
    opened.1.insert(entries(50_000..50_100)).await.unwrap();
    let stats = opened.1.stats_for_scope(&StateScope::Global).await.unwrap();
    let slots = stats.reusable_bytes / (4 * DIM as u64 + 16) + stats.vectors;
    assert!(slots < 600, "{slots} slots for {} entries", stats.vectors);
}

/// `Balanced` reads a graph where its file is mapped, `Speed` in a copy; built by this process or by an earlier one.
#[tokio::test]
async fn only_the_tier_speed_holds_a_graph_in_memory_of_its_own() {
    for memory in [Memory::Speed, Memory::Balanced, Memory::Lean] {
        let dir = tempfile::tempdir().unwrap();
        for (number, place) in (0..).zip(["built", "reopened", "extended", "reopened again"]) {
            let database = DatabaseOptions::new()
                .graph_points_min(GRAPH_POINTS_MIN)
                .cache_bytes(0)
                .open(dir.path())
                .await
                .unwrap();
            let vectors = database.vectors("s", DIM, config().with_memory(memory)).await.unwrap();
            if number % 2 == 0 {
                vectors
                    .insert(entries(2_000 * number..2_000 * (number + 1)))
                    .await
                    .unwrap();
            }
            vectors.build_index().await.unwrap();
            let stats = vectors.stats().await.unwrap();
            assert_eq!(
                stats.memory_bytes >= stats.index_bytes,
                memory != Memory::Balanced,
                "{place}: {memory:?} holds {} bytes, the index has {}",
                stats.memory_bytes,
                stats.index_bytes
            );
            assert_answers(&vectors, place).await;
            close((database, vectors)).await;
        }
    }
}

#[tokio::test]
async fn a_lost_or_damaged_index_file_costs_no_answer() {
    for memory in [Memory::Speed, Memory::Balanced, Memory::Lean] {
        assert_damage_costs_no_answer(config().with_memory(memory)).await;
    }
}

async fn assert_damage_costs_no_answer(config: HNSWConfig) {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_with(dir.path(), config.clone()).await;
    opened.1.insert(entries(0..200)).await.unwrap();
    opened.1.build_index().await.unwrap();
    close(opened).await;

    let len = std::fs::metadata(&index_files(dir.path())[0]).unwrap().len();
    let damages: Vec<Option<u64>> = std::iter::once(None)
        .chain((0..40).map(|part| Some(8 * len * part / 40 + 13 * part)))
        .collect();
    for damage in damages {
        let place = format!("{damage:?}");
        let files = index_files(dir.path());
        assert_eq!(files.len(), 1, "{place}");
        match damage {
            None => std::fs::remove_file(&files[0]).unwrap(),
            Some(bit) => {
                let mut bytes = std::fs::read(&files[0]).unwrap();
                let byte = usize::try_from(bit / 8).unwrap() % bytes.len();
                bytes[byte] ^= 1 << (bit % 8);
                std::fs::write(&files[0], bytes).unwrap();
            }
        }
        let opened = open_with(dir.path(), config.clone()).await;
        assert_answers(&opened.1, &place).await;
        opened.1.insert(vec![entry(900)]).await.unwrap();
        assert_eq!(
            opened
                .1
                .delete(&StateScope::Global, &["id-00900".to_string()])
                .await
                .unwrap(),
            1
        );
        opened.1.build_index().await.unwrap();
        assert_answers(&opened.1, &place).await;
        assert_sound(&opened.0, &place).await;
        close(opened).await;
    }
    // Cut at every length that matters.
    for len in [0, 100, 4095, 4096, 5000, len - 1] {
        let files = index_files(dir.path());
        std::fs::File::options()
            .write(true)
            .open(&files[0])
            .unwrap()
            .set_len(len)
            .unwrap();
        let opened = open_with(dir.path(), config.clone()).await;
        assert_answers(&opened.1, &format!("cut to {len}")).await;
        opened.1.build_index().await.unwrap();
        assert_answers(&opened.1, &format!("cut to {len}")).await;
        close(opened).await;
    }
}

#[tokio::test]
async fn other_settings_rebuild_the_graph_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    opened.1.insert(entries(0..100)).await.unwrap();
    opened.1.build_index().await.unwrap();
    close(opened).await;
    let opened = open_with(dir.path(), config().with_memory(Memory::Speed)).await;
    assert_answers(&opened.1, "before").await;
    for _ in 0..200 {
        let stats = opened.1.stats_for_scope(&StateScope::Global).await.unwrap();
        if stats
            .index
            .is_some_and(|index| index.memory == Memory::Speed && index.file_bytes > 0)
        {
            assert_answers(&opened.1, "after").await;
            close(opened).await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the graph was not built anew");
}

#[tokio::test]
async fn a_graph_comes_and_grows_without_being_asked_for() {
    let vectors = HNSWVectorStorage::new(DIM, config());
    vectors.insert(entries(0..4_096)).await.unwrap();
    let mut tail = u64::MAX;
    for _ in 0..400 {
        let stats = vectors.stats_for_scope(&StateScope::Global).await.unwrap();
        tail = stats.tail_vectors;
        if tail == 0 {
            assert_eq!(stats.index.unwrap().points, 4_096);
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(tail, 0, "in RAM there are graphs too");
    vectors.insert(vec![entry(5_000)]).await.unwrap();
    let hits = vectors.search(&VectorQuery::new(vector(5_000), 1)).await.unwrap();
    assert_eq!(hits[0].id, "id-05000", "what is acknowledged is found");
    for _ in 0..400 {
        if vectors.stats_for_scope(&StateScope::Global).await.unwrap().tail_vectors == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the new entry did not join the graph");
}

#[tokio::test]
async fn a_dropped_scope_takes_its_index_file_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).await;
    opened.1.insert(entries(0..100)).await.unwrap();
    opened.1.build_index().await.unwrap();
    assert_eq!(index_files(dir.path()).len(), 1);
    assert_eq!(opened.1.delete_scope(&StateScope::Global).await.unwrap(), 100);
    // It goes after the caller has the answer.
    let begun = std::time::Instant::now();
    while !index_files(dir.path()).is_empty() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "the file stays");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    opened.1.insert(entries(200..230)).await.unwrap();
    opened.1.build_index().await.unwrap();
    assert_answers(&opened.1, "again").await;
    assert_sound(&opened.0, "again").await;
    close(opened).await;
}

#[tokio::test]
async fn a_space_of_sums_of_differences_has_no_graph_and_waits_for_none() {
    let vectors = HNSWVectorStorage::new(DIM, config().with_metric(DistanceMetric::Manhattan));
    vectors.insert(entries(0..4_200)).await.unwrap();
    vectors.build_index().await.unwrap();
    vectors.optimize_index().await.unwrap();
    let stats = vectors.stats_for_scope(&StateScope::Global).await.unwrap();
    assert_eq!((stats.index, stats.tail_vectors), (None, 4_200));
}
