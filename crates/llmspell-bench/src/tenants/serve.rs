//! The time of opening and searching, cold and warm, and the RAM of scopes.

use std::time::{Duration, Instant};

use llmspell_storage::HNSWVectorStorage;
use serde_json::json;

use super::{Bench, promise};
use crate::measure::disk::read_bytes;
use crate::measure::latency::{Latencies, rounded};
use crate::measure::memory::ProcessMemory;
use crate::report::report;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, bytes_text, grouped};
use llmspell_cli_base::progress::Progress;
use llmspell_cli_base::random::Random;

/// So often a scope of `cold` is searched again.
const WARM_TURNS: u64 = 20;

impl Bench<'_> {
    pub(super) async fn serve(&self, output: &mut Output) -> Result<(), CliError> {
        let before = ProcessMemory::now().unwrap_or_default();
        let started = Instant::now();
        let (database, store) = self.open(self.directory).await?;
        let seconds = started.elapsed().as_secs_f64();
        let opened = ProcessMemory::now().unwrap_or_default().grown_since(before);
        let found = store.stats().await?.scopes;
        promise(found >= self.args.scopes, || {
            format!("{} scopes, not {found}", self.args.scopes)
        })?;
        let cache = self.args.scope_cache;
        let cache_text = if cache == u64::MAX {
            "no bound".to_string()
        } else {
            bytes_text(cache)
        };
        let per_scope = |bytes: u64| rounded(bytes as f64 / self.args.scopes as f64);
        let line = json!({
            "phase": "open", "scope_cache_bytes": cache, "scopes": self.args.scopes, "seconds": rounded(seconds),
            "resident_bytes": opened.rss_bytes, "anonymous_bytes": opened.anonymous_bytes,
            "bytes_per_idle_scope": per_scope(opened.rss_bytes),
            "anonymous_bytes_per_idle_scope": per_scope(opened.anonymous_bytes),
        });
        let sentence = format!(
            "open    {:.1} ms; {} resident, {:.1} bytes per idle scope (cache of scopes: {cache_text})",
            seconds * 1000.0,
            bytes_text(opened.rss_bytes),
            per_scope(opened.rss_bytes)
        );
        report(output, &line, sentence)?;

        let sample = self.sample();
        let read_before = read_bytes();
        let cold = self.search_all(&store, &sample).await?;
        let read = read_bytes().zip(read_before).map(|(now, before)| now - before);
        let source = match read {
            Some(0) => "all from the cache of the system".to_string(),
            Some(bytes) => format!("{} from the disk", bytes_text(bytes)),
            None => "disk or cache of the system, it does not say".to_string(),
        };
        self.report_searches("cold", cold, &json!({"disk_read_bytes": read}), &source, output)?;

        let turns = WARM_TURNS.min(1 + 2_000_000 / sample.len() as u64);
        let mut random = Random::new(&[3]);
        let again: Vec<u64> = (0..turns * sample.len() as u64)
            .map(|_| sample[usize::try_from(random.below(sample.len() as u64)).expect("a place in the sample")])
            .collect();
        let warm = self.search_all(&store, &again).await?;
        self.report_searches("warm", warm, &json!({}), "the same scopes, in any order", output)?;

        self.touch_all(&store, output).await?;
        let touched = ProcessMemory::now().unwrap_or_default().grown_since(before);
        let stats = database.stats().await?;
        let line = json!({
            "phase": "touched", "scope_cache_bytes": cache, "scopes": self.args.scopes,
            "resident_bytes": touched.rss_bytes, "anonymous_bytes": touched.anonymous_bytes,
            "anonymous_bytes_per_scope": per_scope(touched.anonymous_bytes),
            "scopes_loaded": stats.scopes_loaded, "scope_bytes": stats.scope_bytes,
            "scopes_unloaded": stats.scopes_unloaded,
        });
        let sentence = format!(
            "touched {} of {} scopes are loaded and take {}; {} not of files, {:.0} bytes for each scope that was \
             touched",
            grouped(stats.scopes_loaded),
            grouped(self.args.scopes),
            bytes_text(stats.scope_bytes),
            bytes_text(touched.anonymous_bytes),
            per_scope(touched.anonymous_bytes)
        );
        report(output, &line, sentence)?;
        drop(store);
        database.close().await?;
        Ok(())
    }

    /// Different scopes, in any order.
    fn sample(&self) -> Vec<u64> {
        let mut all: Vec<u64> = (0..self.args.scopes).collect();
        let count = self.args.searches.min(self.args.scopes);
        let mut random = Random::new(&[2]);
        for place in 0..count {
            let other = place + random.below(self.args.scopes - place);
            all.swap(
                usize::try_from(place).expect("scopes are in memory"),
                usize::try_from(other).expect("scopes are in memory"),
            );
        }
        all.truncate(usize::try_from(count).expect("scopes are in memory"));
        all
    }

    /// Searches scopes one after the other, each for one of its vectors.
    async fn search_all(&self, store: &HNSWVectorStorage, scopes: &[u64]) -> Result<Latencies, CliError> {
        let mut latencies = Latencies::with_capacity(scopes.len());
        let mut random = Random::new(&[1]);
        for scope in scopes {
            latencies.record(self.search_once(store, *scope, random.below(self.args.vectors)).await?);
        }
        Ok(latencies)
    }

    /// How long one search takes, whose answer is checked.
    pub(super) async fn search_once(
        &self,
        store: &HNSWVectorStorage,
        scope: u64,
        vector: u64,
    ) -> Result<Duration, CliError> {
        let query = self.tenants.query(scope, vector);
        let started = Instant::now();
        let hits = store.search(&query).await?;
        let taken = started.elapsed();
        promise(self.tenants.is_right(scope, vector, &hits), || {
            let ids: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
            format!(
                "`{}` first, and nothing of another scope: {ids:?}",
                self.tenants.id(scope, vector)
            )
        })?;
        Ok(taken)
    }

    async fn touch_all(&self, store: &HNSWVectorStorage, output: &mut Output) -> Result<(), CliError> {
        let progress = Progress::new(Some(self.args.scopes), "scopes", output.is_json());
        for scope in 0..self.args.scopes {
            self.search_once(store, scope, scope % self.args.vectors).await?;
            if scope % 1024 == 0 {
                progress.set(scope);
            }
        }
        Ok(())
    }

    fn report_searches(
        &self,
        phase: &str,
        mut latencies: Latencies,
        more: &serde_json::Value,
        remark: &str,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let (p50, p99) = (latencies.p50_us(), latencies.p99_us());
        let mut line = json!({
            "phase": phase, "scope_cache_bytes": self.args.scope_cache, "searches": latencies.calls(),
            "p50_us": rounded(p50), "p99_us": rounded(p99),
        });
        if let (Some(line), Some(more)) = (line.as_object_mut(), more.as_object()) {
            line.extend(more.clone());
        }
        let sentence = format!(
            "{phase:<7} p50 {p50:.1} µs, p99 {p99:.1} µs, {} searches; {remark}",
            grouped(latencies.calls() as u64)
        );
        report(output, &line, sentence)
    }
}
