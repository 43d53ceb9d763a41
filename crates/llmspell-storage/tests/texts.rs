//! A space with texts keeps the contract: in memory, on disk, with graphs; and its indexes change no answer.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::cell::Cell;
use std::sync::Arc;

use llmspell_conformance::vectors;
use llmspell_storage::{
    AnalyzerConfig, Database, DatabaseOptions, Filter, HNSWConfig, HNSWVectorStorage, Language, Memory, StateScope,
    TextConfig, VectorEntry, VectorQuery, VectorResult,
};

#[tokio::test]
async fn texts_in_memory_keep_the_contract() {
    vectors::texts::check_texts(async |dim, config| Arc::new(HNSWVectorStorage::new(dim, config)) as _).await;
}

#[tokio::test]
async fn texts_on_disk_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Cell::new(0);
    vectors::texts::check_texts(async |dim, config| {
        opened.set(opened.get() + 1);
        let path = directory.path().join(opened.get().to_string());
        Arc::new(HNSWVectorStorage::open(path, dim, config).await.unwrap()) as _
    })
    .await;
}

/// Scopes have graphs and indexes of the metadata from the first entries on, and the beam sees all of them.
#[tokio::test]
async fn texts_keep_the_contract_with_graphs_in_every_tier() {
    for memory in [Memory::Speed, Memory::Balanced, Memory::Lean] {
        let directory = tempfile::tempdir().unwrap();
        let opened = Cell::new(0);
        vectors::texts::check_texts(async |dim, config: HNSWConfig| {
            opened.set(opened.get() + 1);
            let path = directory.path().join(opened.get().to_string());
            let options = DatabaseOptions::new()
                .graph_points_min(2)
                .metadata_points_min(1)
                .text_rows_max(3);
            let database = options.open(path).await.unwrap();
            let config = config.with_memory(memory).with_ef_search(10_000);
            Arc::new(database.vectors("s", dim, config).await.unwrap()) as _
        })
        .await;
    }
}

#[tokio::test]
async fn texts_are_there_after_reopening() {
    for (graph_points_min, text_rows_max) in [(2, 3), (10_000, 16_384), (10_000, 25)] {
        let directory = tempfile::tempdir().unwrap();
        let texts = TextConfig::default().with_fields(["title"]);
        let config = HNSWConfig::fast().with_metric(vectors::METRIC).with_texts(texts);
        let config = config.with_ef_search(10_000);
        vectors::texts::texts_are_there_after_reopening(async || {
            let options = DatabaseOptions::new().graph_points_min(graph_points_min);
            let options = options.text_rows_max(text_rows_max);
            let database = options.open(directory.path()).await.unwrap();
            Arc::new(database.vectors("s", vectors::DIM, config.clone()).await.unwrap()) as _
        })
        .await;
        let database = Database::open(directory.path()).await.unwrap();
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:?}");
    }
}

fn options(text_rows_max: usize) -> DatabaseOptions {
    DatabaseOptions::new().text_rows_max(text_rows_max)
}

fn config() -> HNSWConfig {
    HNSWConfig::fast()
        .with_texts(TextConfig::default())
        .with_sparse(["s", "other"])
}

/// Components of which low ones are frequent; values that round nothing.
fn components(number: u32) -> (Vec<u32>, Vec<f32>) {
    let random = |place: u32| (number * 17 + place).wrapping_mul(2_654_435_761) >> 16;
    let indices: std::collections::BTreeSet<u32> = (0..2 + number % 6)
        .map(|place| random(place) % (1 + random(place + 50) % 30))
        .collect();
    let values = indices.iter().map(|index| 0.25 * (1 + random(index + 90) % 7) as f32);
    (indices.iter().copied().collect(), values.collect())
}

/// A text in which low words are frequent.
fn text(number: u32) -> String {
    let word = |place: u32| {
        let random = (number * 31 + place).wrapping_mul(2_654_435_761) >> 16;
        format!("w{}", random % (1 + random % 40))
    };
    (0..3 + number % 9).map(word).collect::<Vec<_>>().join(" ")
}

fn entry(number: u32) -> VectorEntry {
    let entry = VectorEntry::new(format!("e{number:05}"), [number as f32, 1.0]).with_text(text(number));
    let entry = entry.with_metadata(serde_json::json!({"third": number % 3}));
    let mut entry = entry;
    if number.is_multiple_of(5) {
        entry.embedding.clear();
    }
    if !number.is_multiple_of(3) {
        let (indices, values) = components(number);
        entry = entry.with_sparse("s", indices, values);
    }
    if number.is_multiple_of(4) {
        let (indices, values) = components(number + 1);
        entry = entry.with_sparse("other", indices, values);
    }
    entry
}

type Answer = Vec<(String, f32, Option<f32>, Option<f32>, Vec<f32>)>;

async fn answers(space: &HNSWVectorStorage) -> Vec<Answer> {
    let third = || Filter::eq("third", 1);
    let exact = || VectorQuery::new([3.0, 1.0], 20).with_exact(true);
    let queries = [
        VectorQuery::text("w1 w7", 15),
        VectorQuery::text("w3*", 15),
        VectorQuery::text("\"w0 w0\" -w2", 15),
        VectorQuery::text("w1 w7", 15).with_filter(third()),
        exact().with_text("w5 w9"),
        exact().with_text("w5 w9").with_filter(third()),
        VectorQuery::sparse("s", [1, 2, 25], [1.0, 0.5, 2.0], 15),
        VectorQuery::sparse("other", [1, 4], [1.0, 0.5], 15).with_filter(third()),
        exact()
            .with_text("w5 w9")
            .with_sparse("s", [0, 3], [1.0, 0.5])
            .with_sparse("other", [2], [1.0]),
    ];
    let mut answers = Vec::new();
    for query in queries {
        let found = space.search(&query).await.unwrap();
        assert!(!found.is_empty(), "{query:?}");
        let seen = |result: VectorResult| {
            let sparse = result.sparse_scores.into_values().collect();
            (result.id, result.score, result.text_score, result.vector_score, sparse)
        };
        answers.push(found.into_iter().map(seen).collect());
    }
    answers
}

/// Large batches leave words unread, single entries bring theirs, patches and deletions change what an index has. Whatever is
/// in an index, in rows or unread: answers are the same.
#[tokio::test]
async fn what_is_in_an_index_changes_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = |number: usize| directory.path().join(number.to_string());
    let mut stores = Vec::new();
    for (number, rows_max) in [7, 150, 100_000].into_iter().enumerate() {
        let database = options(rows_max).open(path(number)).await.unwrap();
        stores.push(database.vectors("s", 2, config()).await.unwrap());
    }
    let mut expected: Vec<Vec<Vec<Answer>>> = Vec::new();
    for (number, space) in stores.iter().enumerate() {
        let mut seen = Vec::new();
        for batch in 0..3 {
            space
                .insert((batch * 300..(batch + 1) * 300).map(entry).collect())
                .await
                .unwrap();
            seen.push(answers(space).await);
            for single in 0..20 {
                space
                    .upsert(vec![
                        entry(batch * 300 + single * 7),
                        entry(5_000 + batch * 20 + single),
                    ])
                    .await
                    .unwrap();
            }
            seen.push(answers(space).await);
            let gone: Vec<String> = (0..60).map(|place| format!("e{:05}", batch * 290 + place)).collect();
            space.delete(&StateScope::Global, &gone).await.unwrap();
            let fields = serde_json::json!({"third": 1}).as_object().cloned().unwrap();
            space
                .patch_metadata(&StateScope::Global, &format!("e{:05}", batch * 300 + 250), fields)
                .await
                .unwrap();
            seen.push(answers(space).await);
            if batch == 1 {
                space.build_index().await.unwrap();
                seen.push(answers(space).await);
            }
        }
        if number == 0 {
            let plan = space.explain(&VectorQuery::text("w1", 1)).await.unwrap().text.unwrap();
            assert!(plan.indexes > 0 && plan.texts > 600, "{plan}");
        }
        expected.push(seen);
    }
    assert!(expected[0] == expected[2] && expected[1] == expected[2]);
    for (number, space) in stores.into_iter().enumerate() {
        space.close().await.unwrap();
        let database = options([7, 150, 100_000][number]).open(path(number)).await.unwrap();
        let space = database.vectors("s", 2, config()).await.unwrap();
        assert_eq!(
            answers(&space).await,
            *expected[2].last().unwrap(),
            "after opening, {number}"
        );
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
    }
}

/// Fields and analyzers that are chosen later count for entries that are there, in files and without.
#[tokio::test]
async fn what_is_declared_later_is_found() {
    for rows_max in [4, 1_000] {
        let directory = tempfile::tempdir().unwrap();
        let database = options(rows_max).open(directory.path()).await.unwrap();
        let plain = database.vectors("s", 2, HNSWConfig::fast()).await.unwrap();
        let titled = |number: usize| {
            let title = serde_json::json!({"title": format!("houses {}", "q".repeat(number + 1)), "note": "a note"});
            VectorEntry::new(format!("e{number:02}"), [1.0, 2.0]).with_metadata(title)
        };
        plain.insert((0..40).map(titled).collect()).await.unwrap();
        plain.search(&VectorQuery::text("houses", 50)).await.unwrap_err();
        let count = async |config: HNSWConfig, words: &str| {
            let space = database.vectors("s", 2, config).await.unwrap();
            let mut counts = Vec::new();
            for _ in 0..2 {
                counts.push(space.search(&VectorQuery::text(words, 50)).await.unwrap().len());
                space.build_index().await.unwrap();
            }
            assert_eq!(counts[0], counts[1], "{words}");
            counts[0]
        };
        let of = |fields: &[&str]| HNSWConfig::fast().with_text_fields(fields.iter().copied());
        assert_eq!(count(of(&["title"]), "houses").await, 40);
        assert_eq!(count(of(&["title"]), "qqqqqqqq note house").await, 1);
        assert_eq!(count(of(&["title", "note"]), "note").await, 40);
        let stemmed = AnalyzerConfig::default().with_stemmer(Language::English);
        let stemmed = TextConfig::default().with_fields(["title"]).with_analyzer(stemmed);
        assert_eq!(count(HNSWConfig::fast().with_texts(stemmed), "house").await, 40);
        assert_eq!(count(of(&["title"]), "house").await, 0);
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
    }
}

/// The words of texts that are not kept cannot be made again: by another analyzer they stay those of the time of the insert.
#[tokio::test]
async fn texts_that_are_not_kept_keep_their_words_under_another_analyzer() {
    let directory = tempfile::tempdir().unwrap();
    let database = options(1_000).open(directory.path()).await.unwrap();
    let stemmer = AnalyzerConfig::default().with_stemmer(Language::English);
    let of = |analyzer: &AnalyzerConfig| {
        let texts = TextConfig::default().with_keep(false).with_analyzer(analyzer.clone());
        HNSWConfig::fast().with_texts(texts)
    };
    let houses = |id: &str| VectorEntry::text_only(id, "houses");
    let plain = database.vectors("s", 0, of(&AnalyzerConfig::default())).await.unwrap();
    plain.insert(vec![houses("before")]).await.unwrap();
    let stemmed = database.vectors("s", 0, of(&stemmer)).await.unwrap();
    stemmed.insert(vec![houses("after")]).await.unwrap();
    // "houses" is looked for as its stem, which the older entry lacks.
    let found = stemmed.search(&VectorQuery::text("houses", 5)).await.unwrap();
    assert_eq!(found.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["after"]);
    stemmed.upsert(vec![houses("before")]).await.unwrap();
    assert_eq!(stemmed.search(&VectorQuery::text("house", 5)).await.unwrap().len(), 2);
}

/// A file of words that is damaged or gone is reported and made anew, and no answer changes.
#[tokio::test]
async fn a_damaged_file_of_words_costs_no_answer() {
    for is_gone in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let open = async || {
            let database = options(10).open(directory.path()).await.unwrap();
            let space = database.vectors("s", 2, config()).await.unwrap();
            (database, space)
        };
        let (database, space) = open().await;
        space.insert((0..200).map(entry).collect()).await.unwrap();
        space.build_index().await.unwrap();
        let before = answers(&space).await;
        drop(space);
        database.close().await.unwrap();
        let files = || {
            let folder = directory.path().join("spaces/00000001/index");
            let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
            files
                .filter(|path| path.extension().is_some_and(|end| end == "texts"))
                .collect::<Vec<_>>()
        };
        assert!(!files().is_empty());
        let damaged = files().pop().unwrap();
        if is_gone {
            std::fs::remove_file(&damaged).unwrap();
        } else {
            let mut bytes = std::fs::read(&damaged).unwrap();
            bytes[4_200] ^= 1;
            std::fs::write(&damaged, bytes).unwrap();
        }
        let (database, space) = open().await;
        let report = database.check().await.unwrap();
        assert!(report.is_ok(), "{report:#?}");
        assert!(format!("{report:?}").contains("will be rebuilt"), "{report:#?}");
        assert_eq!(answers(&space).await, before);
        space.build_index().await.unwrap();
        assert_eq!(answers(&space).await, before);
        drop(space);
        database.close().await.unwrap();
        let (database, space) = open().await;
        assert_eq!(answers(&space).await, before);
        let report = database.check().await.unwrap();
        assert!(!format!("{report:?}").contains("will be rebuilt"), "{report:#?}");
    }
}
