//! An application replaces its embedding model by a larger one, without interruption.
//!
//! ```text
//! cargo run --release -p llmspell-storage --example two_models
//! ```
//!
//! Notes are embedded by a small model, searched, and then migrated to a larger one in the background, while searches and
//! inserts go on. The models are toys: they count hashed words and groups of three letters, and understand nothing. What
//! matters here is that their vectors have different lengths and mean different things. The texts are those of `data/demo`.
//! What is printed is checked as well.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use llmspell_storage::{
    DimensionRouter, EmbeddingModel, HNSWConfig, StateScope, StorageError, VectorEntry, VectorQuery, VectorResult,
};
use serde_json::{Value, json};

const SMALL: Toy = Toy {
    name: "toy-small",
    dim: 48,
};
const LARGE: Toy = Toy {
    name: "toy-large",
    dim: 768,
};
/// Notes that are there before, and that are written during the migration.
const NOTES: usize = 2_000;
const WRITTEN_MEANWHILE: usize = 100;
/// What a call of a service that embeds would take.
const EMBEDDING_TAKES: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let texts = texts(NOTES + WRITTEN_MEANWHILE)?;
    let (first, later) = texts.split_at(NOTES);
    let directory = tempfile::tempdir()?;
    let storage = DimensionRouter::open(directory.path(), HNSWConfig::balanced()).await?;
    storage.register_model(SMALL.model()).await?;
    let app = App { storage };

    app.write(first, 0).await?;
    let found_before = app.share_found(first).await?;
    println!(
        "{NOTES} notes by `{}`: {found_before:.3} of them are found by a part of their text",
        SMALL.name
    );

    // The migration is a future like any other: it runs while the rest of the program does.
    let started = Instant::now();
    let migrated = app.storage.clone();
    let migration = tokio::spawn(async move { migrated.migrate_space(SMALL.name, LARGE.model(), embed_again).await });
    let (mut searches, mut written) = (0, 0);
    while !migration.is_finished() {
        let note = &first[searches * 7 % NOTES];
        let hits = app.search(note).await?;
        ensure!(
            hits.iter().any(|hit| text_of(hit) == Some(note)),
            "a note is found by its own text, at any moment"
        );
        if written < later.len() {
            app.write(&later[written..=written], NOTES + written).await?;
            written += 1;
        }
        searches += 1;
        if searches % 40 == 0
            && let Some(progress) = app.storage.migrations().await?.first()
        {
            println!(
                "  {} of {} copied, {searches} searches",
                progress.copied, progress.vectors
            );
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let report = migration.await??;
    println!(
        "migrated in {:.2} s: {} embedded in {} rounds; {searches} searches and {written} new notes meanwhile",
        started.elapsed().as_secs_f64(),
        report.embedded,
        report.rounds
    );
    ensure!(searches > 0 && written > 0, "the application went on");

    let unasked = VectorQuery::new(SMALL.embed("anything"), 1).with_model(SMALL.name);
    ensure!(
        matches!(
            app.storage.search(&unasked).await,
            Err(StorageError::UnknownModel { .. })
        ),
        "the old model is not known any more"
    );
    let count = app.storage.count(&StateScope::Global).await?;
    ensure!(
        count == (NOTES + written) as u64,
        "no note was lost, and none came twice: {count}"
    );
    for entry in app.storage.list(&StateScope::Global, None, NOTES + written).await? {
        let text = entry.metadata["text"].as_str().context("a note has a text")?;
        ensure!(
            entry.embedding == LARGE.embed(text),
            "`{}` has a vector of its own text",
            entry.id
        );
    }
    let found_after = app.share_found(first).await?;
    println!(
        "{count} notes by `{}`: {found_after:.3} of them are found by a part of their text",
        LARGE.name
    );
    ensure!(found_after > found_before, "the larger model tells more notes apart");

    for space in app.storage.distribution().await? {
        println!(
            "space `{}`: {} vectors of {} components, {} searches, half of them within {:.0} µs",
            space.space, space.vectors, space.store_dim, space.queries, space.p50_us
        );
    }
    app.storage.close().await?;
    Ok(())
}

/// What an application does with its notes, whatever model they have at the moment.
struct App {
    storage: DimensionRouter,
}

impl App {
    /// The model of the moment. It may be another one when the next call arrives: then that call is made again.
    fn current(&self) -> Toy {
        let has_large = self.storage.models().iter().any(|model| model.name == LARGE.name);
        if has_large { LARGE } else { SMALL }
    }

    async fn write(&self, texts: &[String], first_id: usize) -> anyhow::Result<()> {
        loop {
            let toy = self.current();
            let entries = (first_id..).zip(texts).map(|(id, text)| {
                VectorEntry::new(format!("note-{id:04}"), toy.embed(text))
                    .with_model(toy.name)
                    .with_metadata(json!({"text": text}))
            });
            match self.storage.insert(entries.collect()).await {
                Err(StorageError::UnknownModel { .. }) => {}
                done => return Ok(done.map(drop)?),
            }
        }
    }

    async fn search(&self, text: &str) -> anyhow::Result<Vec<VectorResult>> {
        loop {
            let toy = self.current();
            let query = VectorQuery::new(toy.embed(text), 5).with_model(toy.name);
            match self.storage.search(&query).await {
                Err(StorageError::UnknownModel { .. }) => {}
                done => return Ok(done?),
            }
        }
    }

    /// How many of the notes are the first answer to the second half of their own words.
    async fn share_found(&self, texts: &[String]) -> anyhow::Result<f64> {
        let (mut asked, mut found) = (0.0, 0.0);
        for text in texts.iter().step_by(5) {
            let words: Vec<&str> = text.split_whitespace().collect();
            let part = words[words.len() / 2..].join(" ");
            let hits = self.search(&part).await?;
            asked += 1.0;
            if hits.first().and_then(text_of) == Some(text) {
                found += 1.0;
            }
        }
        Ok(found / asked)
    }
}

/// New vectors for entries, as a service would make them: after a while, and all of them at once.
async fn embed_again(entries: Vec<VectorEntry>) -> anyhow::Result<Vec<Vec<f32>>> {
    tokio::time::sleep(EMBEDDING_TAKES).await;
    let embed = |entry: &VectorEntry| Ok(LARGE.embed(entry.metadata["text"].as_str().context("a note has a text")?));
    entries.iter().map(embed).collect()
}

/// A model that counts: each word, and each group of three letters, at a component that its hash names.
#[derive(Debug, Clone, Copy)]
struct Toy {
    name: &'static str,
    dim: usize,
}

impl Toy {
    fn model(self) -> EmbeddingModel {
        EmbeddingModel::new(self.name, self.dim)
    }

    fn embed(self, text: &str) -> Vec<f32> {
        let mut vector = vec![0.0; self.dim];
        let mut count = |part: &[u8], weight: f32| {
            let hash = fnv(self.name.as_bytes()) ^ fnv(part);
            let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
            vector[(hash >> 20) as usize % self.dim] += sign * weight;
        };
        // So that no text is without direction.
        count(b"", 0.01);
        for word in text.to_lowercase().split(|letter: char| !letter.is_alphanumeric()) {
            count(word.as_bytes(), 1.0);
            for letters in word.as_bytes().windows(3) {
                count(letters, 0.3);
            }
        }
        vector
    }
}

/// FNV-1a, 64 bits: the same on every machine.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn text_of(hit: &VectorResult) -> Option<&String> {
    match hit.metadata.as_ref()?.get("text")? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Different passages of the Rust documentation.
fn texts(count: usize) -> anyhow::Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/demo/passages.jsonl");
    let lines = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut texts = Vec::with_capacity(count);
    for line in lines.lines() {
        let passage: Value = serde_json::from_str(line)?;
        let text = passage["metadata"]["text"].as_str().context("a passage has a text")?;
        if text.split_whitespace().count() >= 12 {
            texts.push(text.to_string());
        }
    }
    texts.sort_unstable();
    texts.dedup();
    // From everywhere, not only those that begin with A.
    let step = (texts.len() / count).max(1);
    let texts: Vec<String> = texts.into_iter().step_by(step).take(count).collect();
    ensure!(texts.len() == count, "there are {} passages of {count}", texts.len());
    Ok(texts)
}
