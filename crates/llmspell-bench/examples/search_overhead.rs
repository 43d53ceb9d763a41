//! Measures what the async API adds to a graph search, by a tiny graph that takes almost no time itself.
//!
//! `cargo run --release -p llmspell-bench --features measure --example search_overhead`

use std::time::Instant;

use llmspell_storage::{DatabaseOptions, HNSWConfig, Memory, VectorEntry, VectorQuery};

const DIM: usize = 384;
const ENTRIES: usize = 64;
const SEARCHES: u32 = 100_000;

fn vector(number: usize) -> Vec<f32> {
    (0..DIM).map(|i| ((number * 31 + i * 7) % 101) as f32 - 50.0).collect()
}

async fn measure(memory: Memory) -> anyhow::Result<()> {
    let dir = std::env::temp_dir().join(format!("llmspell-overhead-{}-{memory:?}", std::process::id()));
    let database = DatabaseOptions::new().graph_points_min(16).open(&dir).await?;
    let config = HNSWConfig::fast().with_memory(memory).with_ef_search(10);
    let vectors = database.vectors("s", DIM, config).await?;
    let entries = (0..ENTRIES).map(|number| VectorEntry::new(format!("entry-{number}"), vector(number)));
    vectors.insert(entries.collect()).await?;
    vectors.build_index().await?;
    for metadata in [false, true] {
        let queries: Vec<VectorQuery> = (0..ENTRIES)
            .map(|number| VectorQuery::new(vector(number), 10).with_metadata(metadata))
            .collect();
        let mut found = 0;
        let begun = Instant::now();
        for number in 0..SEARCHES as usize {
            found += vectors.search(&queries[number % ENTRIES]).await?.len();
        }
        let each = begun.elapsed() / SEARCHES;
        assert_eq!(found, 10 * SEARCHES as usize, "every search finds ten");
        println!("{memory:?}, metadata {metadata}: {each:?} a search of {ENTRIES} points");
    }
    drop(vectors);
    database.close().await?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        measure(Memory::Speed).await?;
        measure(Memory::Balanced).await
    })
}
