//! How long do writes, loads and searches of texts take? `cargo run --release -p llmspell-bench --features measure --example words --
//! [TEXTS] [SCOPES]`: 1,000,000 texts in one scope and 100,000 scopes of 10 texts by default, about eight minutes on two cores.
//!
//! Texts are drawn by Zipf's law from 100,000 made-up words, 50 words each; of small scopes 10. Each part has a space of its own in a new
//! directory, without vectors where nothing else is said.
//!
//! ```text
//! search   the best 10 of 2 to 4 words that stand in one text; then with a filter that one in ten matches
//! load     batches of 1,000; until all words are in indexes; files and truth as shares of the text
//! insert   one entry with a vector, durable: with a text of 50 words, and without
//! scopes   the first search of a scope after opening, and memory for each scope that is not used
//! both     100,000 texts beside vectors of 8 components: words with a vector
//! ```

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use llmspell_bench::measure::memory::ProcessMemory;
use llmspell_storage::{
    Database, Filter, HNSWConfig, HNSWVectorStorage, StateScope, TextConfig, VectorEntry, VectorQuery, VectorResult,
};

const DIM: usize = 8;
const WORDS: usize = 100_000;
const TEXT_WORDS: usize = 50;
const BATCH: usize = 1_000;
const SINGLE: usize = 400;
const QUERIES: usize = 2_000;
const HYBRID_TEXTS: usize = 100_000;
const SCOPE_TEXTS: usize = 10;
const COLD_SCOPES: usize = 1_000;

/// A small generator of numbers, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A word: the n-th is about n times rarer than the first.
    fn word(&mut self) -> String {
        let place = (WORDS as f64).powf(self.share()) as u64;
        format!("w{}", place.wrapping_mul(2_654_435_761) % 1_000_003)
    }

    fn text(&mut self, words: usize) -> String {
        (0..words).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIM).map(|_| self.share() as f32 - 0.5).collect()
    }

    /// Two to four words of a text.
    fn words_of(&mut self, text: &str) -> String {
        let words: Vec<&str> = text.split(' ').collect();
        let count = 2 + self.below(3);
        (0..count)
            .map(|_| words[self.below(words.len())])
            .collect::<Vec<_>>()
            .join(" ")
    }
}

async fn open(path: &Path, dim: usize) -> anyhow::Result<(Database, HNSWVectorStorage)> {
    let database = Database::open(path).await?;
    let config = HNSWConfig::balanced().with_texts(TextConfig::default());
    let space = database.vectors("s", dim, config).await?;
    Ok((database, space))
}

fn entry(number: usize, text: String) -> VectorEntry {
    VectorEntry::text_only(format!("e{number:07}"), text).with_metadata(serde_json::json!({"tenth": number % 10}))
}

/// The middle, and what 99 of 100 are below.
fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    format!(
        "p50 {:.1?}, p99 {:.1?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    )
}

/// What a load took, its texts, and words to search for.
struct Load {
    took: Duration,
    bytes: usize,
    asked: Vec<String>,
}

/// Loads texts; the time counts without that of making them up. `with` makes an entry of each.
async fn load(
    space: &HNSWVectorStorage,
    random: &mut Random,
    count: usize,
    with: impl Fn(&mut Random, VectorEntry) -> VectorEntry,
) -> anyhow::Result<Load> {
    let mut load = Load {
        took: Duration::ZERO,
        bytes: 0,
        asked: Vec::new(),
    };
    let every = (count / QUERIES).max(1);
    for first in (0..count).step_by(BATCH) {
        let mut batch = Vec::with_capacity(BATCH);
        for number in first..(first + BATCH).min(count) {
            let text = random.text(TEXT_WORDS);
            load.bytes += text.len();
            if number.is_multiple_of(every) {
                load.asked.push(random.words_of(&text));
            }
            batch.push(with(random, entry(number, text)));
        }
        let begin = Instant::now();
        space.insert(batch).await?;
        load.took += begin.elapsed();
    }
    Ok(load)
}

async fn searches(space: &HNSWVectorStorage, queries: impl Iterator<Item = VectorQuery>) -> anyhow::Result<String> {
    let mut times = Vec::new();
    for query in queries {
        let begin = Instant::now();
        let found = space.search(&query.with_metadata(false)).await?;
        times.push(begin.elapsed());
        anyhow::ensure!(found.len() <= 10, "k means k");
        anyhow::ensure!(found.is_sorted_by_key(|hit: &VectorResult| -hit.score), "best first");
    }
    Ok(percentiles(times))
}

/// One large scope.
async fn many_texts(count: usize) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut random = Random(7);
    let (database, space) = open(directory.path(), 0).await?;
    let load = load(&space, &mut random, count, |_, entry| entry).await?;
    let begin = Instant::now();
    let first = VectorQuery::text(load.asked[0].clone(), 10);
    space.search(&first).await?;
    println!("search   first after a load, nothing indexed: {:.1?}", begin.elapsed());
    space.build_index().await?;
    let indexed = load.took + begin.elapsed();
    let rate = |took: Duration| count as f64 / took.as_secs_f64();
    println!("load     {count} texts: {:.0} a second", rate(load.took));
    println!("load     until all words are in indexes: {:.0} a second", rate(indexed));
    let plan = space.explain(&first).await?.text.unwrap_or_default();
    println!("search   {} indexes, {} rows one by one", plan.indexes, plan.rows);
    let words = || load.asked.iter().map(|words| VectorQuery::text(words.clone(), 10));
    searches(&space, words()).await?;
    println!("search   2 to 4 words: {}", searches(&space, words()).await?);
    let filtered = words().map(|query| query.with_filter(Filter::eq("tenth", 3)));
    println!("search   … of one in ten: {}", searches(&space, filtered).await?);
    space.optimize_index().await?;
    let plan = space.explain(&first).await?.text.unwrap_or_default();
    let found = searches(&space, words()).await?;
    println!("search   … in {} index: {found}", plan.indexes);
    let stats = database.stats().await?;
    let share = |bytes: u64| bytes as f64 / load.bytes as f64;
    println!(
        "load     {} MB of text; index files {:.3} of it, truth {:.3} of it",
        load.bytes >> 20,
        share(stats.index_bytes),
        share(stats.truth_bytes)
    );
    drop(space);
    database.close().await?;
    let begin = Instant::now();
    let (_database, space) = open(directory.path(), 0).await?;
    let opened = begin.elapsed();
    space.search(&first).await?;
    println!(
        "search   first after opening: {:.1?}, opening took {opened:.1?}",
        begin.elapsed() - opened
    );
    Ok(())
}

/// Single durable inserts.
async fn single_inserts() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut random = Random(9);
    let (_database, space) = open(directory.path(), DIM).await?;
    let scope = |has_text: bool| StateScope::user(if has_text { "texts" } else { "plain" });
    // The index of the scope is in use, as in one that is searched.
    let first = entry(0, random.text(TEXT_WORDS)).with_scope(scope(true));
    space.insert(vec![first]).await?;
    space.search(&VectorQuery::text("w", 1).with_scope(scope(true))).await?;
    let mut times = [Vec::new(), Vec::new()];
    // In turns, so that the disk is the same for both.
    for number in 0..2 * SINGLE {
        let has_text = number % 2 == 1;
        let mut entry = VectorEntry::new(format!("e{:07}", 1 + number), random.vector()).with_scope(scope(has_text));
        let text = random.text(TEXT_WORDS);
        entry.text = has_text.then_some(text);
        let begin = Instant::now();
        space.insert(vec![entry]).await?;
        times[usize::from(has_text)].push(begin.elapsed());
    }
    let [without, with] = times.map(percentiles);
    println!("insert   with a text: {with}; without: {without}");
    Ok(())
}

/// Says to a process of its own to open a database and to print what memory it needs then.
const MEMORY: &str = "--memory-of";

/// The memory of a process that has opened a database, without what stands in files.
fn memory_of(path: &Path) -> anyhow::Result<u64> {
    let out = Command::new(std::env::current_exe()?).arg(MEMORY).arg(path).output()?;
    anyhow::ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?.trim().parse()?)
}

async fn print_memory(path: &Path) -> anyhow::Result<()> {
    let (_database, _space) = open(path, 0).await?;
    // Time for what is looked at after opening.
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("{}", ProcessMemory::now().map_or(0, |memory| memory.anonymous_bytes));
    Ok(())
}

/// Many small scopes.
async fn many_scopes(count: usize) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut random = Random(11);
    let scope = |number: usize| StateScope::user(format!("u{number:06}"));
    let (database, space) = open(directory.path(), 0).await?;
    let mut took = Duration::ZERO;
    let mut asked = Vec::new();
    for first in (0..count).step_by(BATCH / SCOPE_TEXTS) {
        let mut batch = Vec::with_capacity(BATCH);
        for number in first..(first + BATCH / SCOPE_TEXTS).min(count) {
            for place in 0..SCOPE_TEXTS {
                let text = random.text(TEXT_WORDS);
                if place == 0 && number.is_multiple_of((count / COLD_SCOPES).max(1)) {
                    asked.push((number, random.words_of(&text)));
                }
                batch.push(entry(place, text).with_scope(scope(number)));
            }
        }
        let begin = Instant::now();
        space.insert(batch).await?;
        took += begin.elapsed();
    }
    let rate = (count * SCOPE_TEXTS) as f64 / took.as_secs_f64();
    println!("scopes   {count} of {SCOPE_TEXTS} texts: {rate:.0} texts a second");
    drop(space);
    database.close().await?;

    let empty = tempfile::tempdir()?;
    let (other, other_space) = open(empty.path(), 0).await?;
    drop(other_space);
    other.close().await?;
    // What an open database needs in any case is that of one without scopes.
    let (of_all, of_none) = (memory_of(directory.path())?, memory_of(empty.path())?);
    let of_each = (of_all as f64 - of_none as f64) / count as f64;
    println!("scopes   memory for each that is not used: {of_each:.1} bytes");
    let (_database, space) = open(directory.path(), 0).await?;
    let mut times = Vec::new();
    for (number, words) in asked {
        let query = VectorQuery::text(words, 10)
            .with_scope(scope(number))
            .with_metadata(false);
        let begin = Instant::now();
        let found = space.search(&query).await?;
        times.push(begin.elapsed());
        anyhow::ensure!(!found.is_empty(), "its words are there");
    }
    println!("scopes   first search of {}: {}", times.len(), percentiles(times));
    Ok(())
}

/// Words beside vectors.
async fn both(count: usize) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut random = Random(13);
    let (_database, space) = open(directory.path(), DIM).await?;
    let with_vector = |random: &mut Random, mut entry: VectorEntry| {
        entry.embedding = random.vector();
        entry
    };
    let load = load(&space, &mut random, count, with_vector).await?;
    space.build_index().await?;
    let mut vectors = Random(17);
    let queries = load
        .asked
        .iter()
        .map(|words| VectorQuery::new(vectors.vector(), 10).with_text(words.clone()));
    println!(
        "both     words and a vector, {count} entries: {}",
        searches(&space, queries).await?
    );
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if let (Some(MEMORY), Some(path)) = (std::env::args().nth(1).as_deref(), std::env::args().nth(2)) {
        return print_memory(Path::new(&path)).await;
    }
    let argument = |place: usize, default: usize| {
        std::env::args()
            .nth(place)
            .map_or(Ok(default), |argument| argument.parse())
    };
    let (texts, scopes) = (argument(1, 1_000_000)?, argument(2, 100_000)?);
    anyhow::ensure!(texts > 0 && scopes > 0, "at least one text and one scope");
    let begin = Instant::now();
    single_inserts().await?;
    many_texts(texts).await?;
    many_scopes(scopes).await?;
    both(HYBRID_TEXTS.min(texts)).await?;
    println!("all      {:.0?}", begin.elapsed());
    Ok(())
}
