//! The time that loading, indexing and opening take, and the RAM that they need.
//!
//! A process that has built something holds memory that its allocator keeps, and that no process that opens the database
//! later needs. So another process builds, and this one has only opened.

use std::time::Instant;

use llmspell_storage::{DEFAULT_SPACE, DatabaseOptions, HNSWVectorStorage, StateScope, VectorQuery};
use serde_json::json;

use super::Bench;
use super::data::{Queries, next_batch};
use super::insert::remove_leftovers;
use crate::load::{Load, load};
use crate::measure::disk::disk_bytes;
use crate::measure::latency::rounded;
use crate::measure::memory::ProcessMemory;
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::index_view::{index_sentence, ram_bytes};
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::output::{Output, bytes_text, grouped};
use llmspell_cli_base::progress::Progress;

impl Bench<'_> {
    async fn open_store(&self) -> Result<HNSWVectorStorage, CliError> {
        let mut options = DatabaseOptions::new();
        if let Some(mib) = self.args.cache_mib {
            options = options.cache_bytes(mib << 20);
        }
        let database = options.open(self.directory).await?;
        Ok(database.vectors(DEFAULT_SPACE, self.dim, self.config.clone()).await?)
    }

    /// Inserts the base, batch after batch, and waits until all of it is in the index. Reading the file is part of
    /// the time.
    pub(super) async fn build(&self, mut base: NpyReader, output: &mut Output) -> Result<(), CliError> {
        let store = self.open_store().await?;
        let before = ProcessMemory::now().unwrap_or_default();
        let progress = Progress::new(Some(base.header().rows), "rows", output.is_json());
        let Load {
            vectors,
            insert_seconds,
            seconds,
        } = load(
            &store,
            self.directory,
            || next_batch(&mut base, self.args.batch),
            progress,
        )
        .await?;
        let memory = ProcessMemory::now().unwrap_or_default();
        let stats = store.stats_for_scope(&StateScope::Global).await?;
        store.close().await?;

        let per_second = vectors as f64 / seconds;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let line = json!({
            "phase": "build", "vectors": vectors, "dim": self.dim, "seconds": rounded(seconds), "threads": threads,
            "insert_seconds": rounded(insert_seconds), "index_seconds": rounded(seconds - insert_seconds),
            "vectors_per_second": (per_second * 10.0).round() / 10.0, "batch": self.args.batch,
            "metric": self.args.metric, "config": self.config, "tail_vectors": stats.tail_vectors,
            "index": stats.index, "resident_bytes": memory.grown_since(before).rss_bytes,
            "rss_bytes": memory.rss_bytes, "anonymous_bytes": memory.anonymous_bytes, "file_bytes": memory.file_bytes(),
        });
        let sentence = format!(
            "build   {} vectors of {} components in {seconds:.2} s, {} a second: durable after {insert_seconds:.2} s, \
             indexed {:.2} s later",
            grouped(vectors),
            self.dim,
            grouped(per_second as u64),
            seconds - insert_seconds
        );
        report(output, &line, sentence)
    }

    /// Opens the database and asks it something at once.
    pub(super) async fn open(&self, queries: &Queries, output: &mut Output) -> Result<HNSWVectorStorage, CliError> {
        let first = VectorQuery::new(queries.vectors[0].clone(), self.args.k).with_metadata(false);
        let started = Instant::now();
        let store = self.open_store().await?;
        let seconds = started.elapsed().as_secs_f64();
        let answer = store.search(&first).await?;
        let first_answer_seconds = started.elapsed().as_secs_f64();
        let vectors = store.count(&StateScope::Global).await?;
        if (answer.len() as u64) < vectors.min(self.args.k as u64) {
            return Err(CliError::PromiseBroken {
                expected: format!("{} results of {vectors} vectors, not {}", self.args.k, answer.len()),
            });
        }
        let memory = ProcessMemory::now().unwrap_or_default();
        let micros = |seconds: f64| (seconds * 1e6).round() / 1e6;
        let line = json!({
            "phase": "open", "seconds": micros(seconds), "first_answer_seconds": micros(first_answer_seconds),
            "rss_bytes": memory.rss_bytes, "anonymous_bytes": memory.anonymous_bytes,
            "file_bytes": memory.file_bytes(),
        });
        let sentence = format!(
            "open    {:.1} ms, first answer after {:.1} ms; {} resident, {} of it not files",
            seconds * 1000.0,
            first_answer_seconds * 1000.0,
            bytes_text(memory.rss_bytes),
            bytes_text(memory.anonymous_bytes)
        );
        report(output, &line, sentence)?;
        Ok(store)
    }

    /// Waits until a store from an earlier run is as that run had built it: without what a killed one left, and indexed
    /// with the settings of this one.
    pub(super) async fn settle(&self, store: &HNSWVectorStorage, output: &mut Output) -> Result<(), CliError> {
        let removed = remove_leftovers(store).await?;
        let progress = Progress::spinner("building the index".into(), output.is_json());
        let started = Instant::now();
        store.build_index().await?;
        let seconds = started.elapsed().as_secs_f64();
        drop(progress);
        let line = json!({"phase": "settle", "seconds": rounded(seconds), "leftovers_removed": removed});
        report(
            output,
            &line,
            format!("settle  {seconds:.2} s until all is indexed; {removed} vectors of a killed run removed"),
        )
    }

    pub(super) async fn memory(
        &self,
        store: &HNSWVectorStorage,
        before: ProcessMemory,
        vectors: u64,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let now = ProcessMemory::now().unwrap_or_default();
        let disk = disk_bytes(self.directory)?;
        let index = store.stats_for_scope(&StateScope::Global).await?.index;
        let grown = now.grown_since(before);
        let per_vector = |bytes: u64| rounded(bytes as f64 / vectors.max(1) as f64);
        let line = json!({
            "phase": "memory", "rss_bytes": now.rss_bytes, "anonymous_bytes": now.anonymous_bytes,
            "file_bytes": now.file_bytes(), "resident_bytes": grown.rss_bytes,
            "resident_anonymous_bytes": grown.anonymous_bytes, "resident_file_bytes": grown.file_bytes(),
            "bytes_per_vector": per_vector(grown.rss_bytes),
            "anonymous_bytes_per_vector": per_vector(grown.anonymous_bytes),
            "file_bytes_per_vector": per_vector(grown.file_bytes()),
            "index_bytes_per_vector": per_vector(index.as_ref().map_or(0, ram_bytes)), "index": index,
            "disk_bytes": disk, "vectors": vectors,
        });
        let sentence = format!(
            "memory  {} resident since before opening, {} of it not files: {:.0} and {:.0} bytes per vector; \
             {} on disk\nindex   {}",
            bytes_text(grown.rss_bytes),
            bytes_text(grown.anonymous_bytes),
            per_vector(grown.rss_bytes),
            per_vector(grown.anonymous_bytes),
            bytes_text(disk),
            index_sentence(index.as_ref())
        );
        report(output, &line, sentence)
    }
}
