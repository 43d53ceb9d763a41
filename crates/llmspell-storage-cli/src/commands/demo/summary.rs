//! The cost of the demo: time, memory and disk.

use serde::Serialize;

use super::Demo;
use super::answers::Timing;
use llmspell_bench::measure::disk::disk_bytes;
use llmspell_bench::measure::latency::rounded;
use llmspell_bench::measure::machine::Machine;
use llmspell_bench::measure::memory::ProcessMemory;
use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::{Output, bytes_text, grouped, row, table, text_cell};

/// The figures of a run. Latencies are in microseconds; a question takes one search for each scope.
#[derive(Debug, Serialize)]
pub(super) struct Costs {
    step: &'static str,
    vectors: u64,
    scopes: usize,
    load_seconds: f64,
    vectors_per_second: f64,
    reopen_seconds: f64,
    question_p50_us: f64,
    question_p99_us: f64,
    search_p50_us: f64,
    search_p99_us: f64,
    searches: usize,
    disk_bytes: u64,
    vector_bytes: u64,
    metadata_bytes: u64,
    rss_bytes: Option<u64>,
    anonymous_bytes: Option<u64>,
    machine: Machine,
}

impl Demo<'_> {
    /// Taken while everything is loaded and nothing is dropped yet.
    pub(super) async fn costs(
        &self,
        load_seconds: f64,
        reopen_seconds: f64,
        timing: Timing,
    ) -> Result<Costs, CliError> {
        let stats = self.store.stats().await?;
        let memory = ProcessMemory::now();
        let Timing {
            mut searches,
            mut questions,
        } = timing;
        Ok(Costs {
            step: "summary",
            vectors: stats.vectors,
            scopes: self.scopes.len(),
            load_seconds: rounded(load_seconds),
            vectors_per_second: (stats.vectors as f64 / load_seconds).round(),
            reopen_seconds: (reopen_seconds * 1e6).round() / 1e6,
            question_p50_us: rounded(questions.p50_us()),
            question_p99_us: rounded(questions.p99_us()),
            search_p50_us: rounded(searches.p50_us()),
            search_p99_us: rounded(searches.p99_us()),
            searches: searches.calls(),
            disk_bytes: disk_bytes(self.directory)?,
            vector_bytes: stats.vector_bytes,
            metadata_bytes: stats.metadata_bytes,
            rss_bytes: memory.map(|memory| memory.rss_bytes),
            anonymous_bytes: memory.map(|memory| memory.anonymous_bytes),
            machine: Machine::detect(),
        })
    }
}

impl Costs {
    pub(super) fn show(&self, output: &mut Output) -> Result<(), CliError> {
        output.object(self)?;
        let mut lines = table(["", "", ""]);
        let mut line = |name: &str, figure: String, remark: String| {
            lines.add_row(row([text_cell(name), text_cell(figure), text_cell(remark)]));
        };
        line("vectors", grouped(self.vectors), format!("in {} scopes", self.scopes));
        line(
            "load",
            format!("{:.2} s", self.load_seconds),
            format!("{} vectors a second, durable", grouped(self.vectors_per_second as u64)),
        );
        line(
            "reopen",
            format!("{:.1} ms", self.reopen_seconds * 1000.0),
            String::new(),
        );
        line(
            "question",
            format!("p50 {:.0} µs", self.question_p50_us),
            format!(
                "p99 {:.0} µs, all {} scopes one after the other",
                self.question_p99_us, self.scopes
            ),
        );
        line(
            "search",
            format!("p50 {:.1} µs", self.search_p50_us),
            format!(
                "p99 {:.1} µs, one scope, exact, of {} searches",
                self.search_p99_us,
                grouped(self.searches as u64)
            ),
        );
        line(
            "on disk",
            bytes_text(self.disk_bytes),
            format!(
                "for {} of vectors and {} of metadata",
                bytes_text(self.vector_bytes),
                bytes_text(self.metadata_bytes)
            ),
        );
        if let (Some(rss), Some(anonymous)) = (self.rss_bytes, self.anonymous_bytes) {
            let remark = format!(
                "resident, the whole process; {} without mapped files",
                bytes_text(anonymous)
            );
            line("in memory", bytes_text(rss), remark);
        }
        output.text("")?;
        output.table(lines)?;
        output.text(output.dim(&self.machine.summary()))
    }
}
