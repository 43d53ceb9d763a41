//! The time of a load until it is durable, and until it is indexed.

use std::path::Path;
use std::time::Instant;

use llmspell_storage::{HNSWVectorStorage, VectorEntry};

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::progress::Progress;

/// What was loaded, and how long that took: reading the files is part of it.
pub(super) struct Load {
    pub(super) vectors: u64,
    /// Until all of it is durable.
    pub(super) insert_seconds: f64,
    /// Until all of it is in the index too.
    pub(super) seconds: f64,
}

/// Inserts batch after batch into an empty store, until one is empty, and waits for the index.
pub(super) async fn load(
    store: &HNSWVectorStorage,
    directory: &Path,
    mut next_batch: impl FnMut() -> Result<Vec<VectorEntry>, CliError>,
    progress: Progress,
) -> Result<Load, CliError> {
    if store.stats().await?.vectors > 0 {
        return Err(CliError::usage(
            format!("{} has vectors already", directory.display()),
            "name another --dir, or measure those with --reuse",
        ));
    }
    let started = Instant::now();
    let mut vectors = 0;
    loop {
        let batch = next_batch()?;
        if batch.is_empty() {
            break;
        }
        vectors += store.insert(batch).await?.len() as u64;
        progress.set(vectors);
    }
    store.flush().await?;
    let insert_seconds = started.elapsed().as_secs_f64();
    progress.say("building the index".into());
    store.build_index().await?;
    Ok(Load {
        vectors,
        insert_seconds,
        seconds: started.elapsed().as_secs_f64(),
    })
}
