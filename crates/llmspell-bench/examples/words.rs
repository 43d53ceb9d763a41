//! How long do writes, loads and searches of texts take? `cargo run --release -p llmspell-bench --features measure --example words -- [TEXTS]`
//!
//! In a directory of its own: texts of 50 words, drawn by Zipf's law from 20,000 made-up words, beside vectors of 8 components.
//! Single inserts with a text and without one; a load in batches with and without; the first search, the time until all words are in
//! indexes, the first search after opening again; and searches of 2 words, alone, with a vector, and with a filter.

use std::time::{Duration, Instant};

use llmspell_storage::{
    Database, Filter, HNSWConfig, HNSWVectorStorage, StateScope, TextConfig, VectorEntry, VectorQuery,
};

const DIM: usize = 8;
const WORDS: usize = 20_000;
const TEXT_WORDS: usize = 50;
const BATCH: usize = 1_000;
const SINGLE: usize = 200;
const QUERIES: usize = 200;

/// A small generator of numbers, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A word: the n-th is about n times rarer than the first.
    fn word(&mut self) -> String {
        let place = (WORDS as f64).powf(self.share()) as u64;
        format!("w{}", place.wrapping_mul(2_654_435_761) % 1_000_003)
    }

    fn text(&mut self) -> String {
        (0..TEXT_WORDS).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIM).map(|_| self.share() as f32 - 0.5).collect()
    }
}

fn entries(random: &mut Random, first: usize, count: usize, has_text: bool) -> Vec<VectorEntry> {
    let entry = |number: usize| {
        let entry = VectorEntry::new(format!("e{number:07}"), random.vector());
        let entry = entry.with_metadata(serde_json::json!({"tenth": number % 10}));
        match has_text {
            true => entry.with_text(random.text()),
            false => entry,
        }
    };
    (first..first + count).map(entry).collect()
}

async fn open(path: &std::path::Path) -> anyhow::Result<(Database, HNSWVectorStorage)> {
    let database = Database::open(path).await?;
    let config = HNSWConfig::balanced().with_texts(TextConfig::default());
    let space = database.vectors("s", DIM, config).await?;
    Ok((database, space))
}

async fn singles(space: &HNSWVectorStorage, random: &mut Random, has_text: bool) -> anyhow::Result<Duration> {
    let mut times = Vec::new();
    for entry in entries(random, 9_000_000, SINGLE, has_text) {
        let scope = StateScope::user(if has_text { "texts" } else { "plain" });
        let begin = Instant::now();
        space.upsert(vec![entry.with_scope(scope)]).await?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

async fn searches(
    space: &HNSWVectorStorage,
    make: impl Fn(&mut Random) -> VectorQuery,
) -> anyhow::Result<[Duration; 2]> {
    let (mut random, mut times) = (Random(77), Vec::new());
    for _ in 0..QUERIES {
        let query = make(&mut random);
        let begin = Instant::now();
        let found = space.search(&query).await?;
        times.push(begin.elapsed());
        anyhow::ensure!(found.len() <= 10, "k means k");
    }
    times.sort();
    Ok([times[QUERIES / 2], times[QUERIES * 99 / 100]])
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let count: usize = std::env::args().nth(1).map_or(Ok(100_000), |count| count.parse())?;
    let directory = tempfile::tempdir()?;
    let mut random = Random(7);
    let (database, space) = open(directory.path()).await?;
    // The index of the scope is in use, as in a scope that is searched.
    space
        .upsert(
            entries(&mut random, 0, 1, true)
                .into_iter()
                .map(|entry| entry.with_scope(StateScope::user("texts")))
                .collect(),
        )
        .await?;
    space
        .search(&VectorQuery::text("w", 1).with_scope(StateScope::user("texts")))
        .await?;
    println!(
        "one insert, p50: {:?} with a text, {:?} without",
        singles(&space, &mut random, true).await?,
        singles(&space, &mut random, false).await?
    );

    let mut bytes = 0;
    for has_text in [true, false] {
        let scope = StateScope::user(if has_text { "many" } else { "vectors" });
        let mut batches = Vec::new();
        for first in (0..count).step_by(BATCH) {
            let mut batch = entries(&mut random, first, BATCH.min(count - first), has_text);
            batch.iter_mut().for_each(|entry| entry.scope = scope.clone());
            bytes += batch
                .iter()
                .filter_map(|entry| entry.text.as_ref())
                .map(String::len)
                .sum::<usize>();
            batches.push(batch);
        }
        let begin = Instant::now();
        for batch in batches {
            space.insert(batch).await?;
        }
        println!(
            "load of {count}, texts: {has_text}: {:.0} a second",
            count as f64 / begin.elapsed().as_secs_f64()
        );
    }
    let many = || StateScope::user("many");
    let words =
        |random: &mut Random| VectorQuery::text(format!("{} {}", random.word(), random.word()), 10).with_scope(many());
    let begin = Instant::now();
    space.search(&words(&mut random)).await?;
    println!("first search: {:?}", begin.elapsed());
    let begin = Instant::now();
    loop {
        let text = space.explain(&words(&mut random)).await?.text.unwrap_or_default();
        if text.rows <= 16_384 && text.indexes > 0 || begin.elapsed() > Duration::from_secs(600) {
            println!(
                "after {:?}: {} indexes, {} rows one by one",
                begin.elapsed(),
                text.indexes,
                text.rows
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("words: p50, p99 {:?}", searches(&space, words).await?);
    let hybrid = |random: &mut Random| {
        VectorQuery::new(random.vector(), 10)
            .with_text(format!("{} {}", random.word(), random.word()))
            .with_scope(many())
    };
    println!("words and a vector: {:?}", searches(&space, hybrid).await?);
    let filtered = |random: &mut Random| words(random).with_filter(Filter::eq("tenth", 3));
    println!("words, one in ten: {:?}", searches(&space, filtered).await?);
    let stats = database.stats().await?;
    println!(
        "texts {} MB, truth {} MB, index files {} MB",
        bytes >> 20,
        stats.truth_bytes >> 20,
        stats.index_bytes >> 20
    );
    drop(space);
    database.close().await?;
    let (_database, space) = open(directory.path()).await?;
    let begin = Instant::now();
    space.search(&words(&mut random)).await?;
    println!("first search after opening: {:?}", begin.elapsed());
    Ok(())
}
