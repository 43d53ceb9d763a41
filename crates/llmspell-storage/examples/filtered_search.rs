//! Searches by meaning among the entries that match a filter.
//!
//! `cargo run --release -p llmspell-storage --example filtered_search`
//!
//! Stores the passages of the demo data (the Rust documentation) with their metadata, asks a question of it with filters
//! written as text, counts the values of a field, and shows how one of the queries was answered. What it says, it checks.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, ensure};
use llmspell_storage::{
    DatabaseOptions, FieldPath, Filter, HNSWConfig, HNSWVectorStorage, Metadata, Scalar, StateScope, VectorEntry,
    VectorQuery,
};
use serde_json::Value;

/// The first values of a `.npy` file, after its header.
const HEADER_BYTES: usize = 128;
const DIM: usize = 384;
const K: usize = 5;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/demo")
}

/// A number of 16 bits; those of embeddings are never infinite.
fn half(bits: u16) -> f32 {
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

fn bytes(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = data().join(name);
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    ensure!(bytes.len() > HEADER_BYTES, "{name} has no values");
    Ok(bytes[HEADER_BYTES..].to_vec())
}

fn lines(name: &str) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(data().join(name)).with_context(|| format!("read {name}"))?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn passages() -> anyhow::Result<Vec<VectorEntry>> {
    let numbers: Vec<f32> = bytes("passages.npy")?
        .as_chunks()
        .0
        .iter()
        .map(|two| half(u16::from_le_bytes(*two)))
        .collect();
    let lines = lines("passages.jsonl")?;
    ensure!(lines.len() * DIM == numbers.len(), "each passage has a vector");
    let entry = |(line, vector): (Value, &[f32])| {
        let id = line["id"].as_str().context("a passage has an id")?;
        Ok(VectorEntry::new(id, vector.to_vec()).with_metadata(line["metadata"].clone()))
    };
    lines.into_iter().zip(numbers.chunks_exact(DIM)).map(entry).collect()
}

/// The first question, and its vector.
fn question() -> anyhow::Result<(String, Vec<f32>)> {
    let lines = lines("questions.jsonl")?;
    let text = lines[0]["question"].as_str().context("a question has a text")?;
    let bytes = bytes("questions.npy")?;
    let vector = bytes
        .as_chunks()
        .0
        .iter()
        .take(DIM)
        .map(|four| f32::from_le_bytes(*four));
    Ok((text.into(), vector.collect()))
}

/// What is nearest among the entries that match: printed, and checked against a comparison of them all.
async fn ask(vectors: &HNSWVectorStorage, vector: &[f32], filter: &str) -> anyhow::Result<()> {
    let filter = Filter::from_str(filter)?;
    let query = VectorQuery::new(vector.to_vec(), K).with_filter(filter.clone());
    let found = vectors.search(&query).await?;
    let matching = vectors.count_matching(&StateScope::Global, &filter).await?;
    println!("\n{filter}\n{matching} entries match, the nearest {}:", found.len());
    for result in &found {
        let metadata: &Metadata = result.metadata.as_ref().context("metadata was asked for")?;
        ensure!(
            filter.compile(&llmspell_storage::DateFields::none())?.matches(metadata),
            "every result matches"
        );
        let text: String = metadata["text"].as_str().unwrap_or_default().chars().take(70).collect();
        println!("  {:.3}  {:<40}  {text}…", result.score, result.id);
    }
    ensure!(found.len() as u64 == matching.min(K as u64), "if k match, k come back");

    let exact = vectors.search(&query.with_exact(true)).await?;
    let is_near = |distance: f32| exact.last().is_some_and(|last| distance <= last.distance);
    let hits = found.iter().filter(|result| is_near(result.distance)).count();
    ensure!(
        hits + 1 >= exact.len(),
        "at most one of {K} is missed, not {}",
        exact.len() - hits
    );
    Ok(())
}

async fn run() -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join(format!("llmspell-filtered-search-{}", std::process::id()));
    let database = DatabaseOptions::new().open(&dir).await?;
    let vectors = database.vectors("passages", DIM, HNSWConfig::balanced()).await?;
    let entries = passages()?;
    let count = entries.len() as u64;
    for batch in entries.chunks(1_000) {
        vectors.insert(batch.to_vec()).await?;
    }
    vectors.build_index().await?;

    let (text, vector) = question()?;
    println!("{count} passages; asked: {text}");
    ask(&vectors, &vector, r#"book = "std""#).await?;
    ask(
        &vectors,
        &vector,
        r#"book in ["book", "rust-by-example"] and length between 200 and 400"#,
    )
    .await?;
    ask(&vectors, &vector, r#"text matches "panic" and not book = "std""#).await?;
    ask(&vectors, &vector, r#"page starts with "ch08" and depth <= 2"#).await?;

    let book = FieldPath::from("book");
    let books = vectors.facet(&StateScope::Global, &book, &Filter::all(), 100).await?;
    println!("\nbooks");
    for value in &books {
        println!("  {:>5}  {}", value.count, value.value);
    }
    ensure!(
        books.iter().map(|value| value.count).sum::<u64>() == count,
        "each passage is of one book"
    );
    let Some(Scalar::Text(largest)) = books.first().map(|value| value.value.clone()) else {
        anyhow::bail!("the books have names");
    };

    let filter = Filter::eq("book", largest.as_str()).and(Filter::gt("length", 100));
    let query = VectorQuery::new(vector, K).with_filter(filter.clone());
    let plan = vectors.explain(&query).await?;
    println!("\nhow a search with `{filter}` went\n{plan}");
    ensure!(
        plan.live == count && plan.matching < count,
        "the filter leaves some out"
    );
    ensure!(
        plan.results == K && !plan.estimates.is_empty(),
        "ways were weighed, and one gave the answer"
    );
    ensure!(plan.codes < count, "most entries are not even looked at");

    drop(vectors);
    database.close().await?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().build()?.block_on(run())
}
