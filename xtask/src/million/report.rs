//! The report: measured figures beside their targets.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

use super::program::Phases;
use super::reads::Reads;

/// The results of the runs of a set.
#[derive(Debug)]
pub(super) struct Runs {
    /// None if the store existed already.
    pub(super) build: Option<Phases>,
    /// A process that only opened the store, searched, and inserted while it searched.
    pub(super) search: Phases,
    /// A process that could use little memory.
    pub(super) limited: Option<Limited>,
    /// A process that opened the store after another one was killed.
    pub(super) after_kill: Phases,
    /// The same search over a tenth of the set.
    pub(super) tenth: Option<Phases>,
}

/// The results of a process within a limit of memory.
#[derive(Debug)]
pub(super) struct Limited {
    pub(super) mib: u64,
    pub(super) phases: Phases,
    pub(super) reads: Reads,
    /// The most bytes that it used, if the system says so.
    pub(super) peak: Option<u64>,
}

impl Limited {
    fn lines(&self, add: &mut impl FnMut(&str, String, &'static str)) -> Result<()> {
        let search = |field: &str| self.phases.figure("search", field);
        let measured = format!(
            "recall {:.4}, p50 {:.0} µs, p99 {:.0} µs, {:.0} queries",
            search("recall")?,
            search("p50_us")?,
            search("p99_us")?,
            search("queries")?
        );
        let what = format!("search within {} MiB, page cache included", self.mib);
        add(
            &what,
            measured,
            "300 MiB: recall >= .95, p50 <= 4,000 µs, p99 < 10,000 µs",
        );
        let insert = |field: &str| self.phases.figure("insert_while_searching", field);
        let measured = format!("p50 {:.0} µs, p99 {:.0} µs", insert("p50_us")?, insert("p99_us")?);
        add("durable insert while searching, within it", measured, "");
        if let Some(peak) = self.peak {
            add(
                "most memory used within it",
                format!("{:.0} MiB", peak as f64 / f64::from(1 << 20)),
                "",
            );
        }
        let Reads { one, many } = self.reads;
        add(
            "random reads of 8 KiB a second, one and 32 at a time",
            format!("{one:.0}, {many:.0}"),
            "",
        );
        Ok(())
    }
}

/// A figure beside its target.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    what: String,
    measured: String,
    target: &'static str,
}

impl Runs {
    pub(super) fn lines(&self) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut add = |what: &str, measured: String, target: &'static str| {
            lines.push(Line {
                what: what.to_string(),
                measured,
                target,
            });
        };
        let mega = |bytes: f64| format!("{:.0} MB", bytes / 1e6);
        if let Some(build) = &self.build {
            let seconds = |field: &str| build.figure("build", field);
            let measured = format!(
                "{:.1} min ({:.0} s insert, {:.0} s index), {:.0} vectors/s",
                seconds("seconds")? / 60.0,
                seconds("insert_seconds")?,
                seconds("index_seconds")?,
                seconds("vectors_per_second")?
            );
            add(
                "bulk load, durable and indexed",
                measured,
                "<= 10 min at 1,000,000 x 1536",
            );
        }
        let memory = |field: &str| self.search.figure("memory", field);
        add("disk", mega(memory("disk_bytes")?), "");
        let resident = format!(
            "{}, {} of it not files; index {:.0} bytes/vector",
            mega(memory("rss_bytes")?),
            mega(memory("anonymous_bytes")?),
            memory("index_bytes_per_vector")?
        );
        add("resident after the searches", resident, "");
        for (what, phases) in [
            ("after a clean close", &self.search),
            ("after kill -9", &self.after_kill),
        ] {
            let measured = format!(
                "{:.3} s ({:.3} s until open), files cached by the system",
                phases.figure("open", "first_answer_seconds")?,
                phases.figure("open", "seconds")?
            );
            add(&format!("first answer {what}"), measured, "< 0.5 s");
        }
        for recall in [0.95, 0.99] {
            add(
                &format!("search at recall {recall}, one thread"),
                speed(self.search.qps_at(recall)),
                "",
            );
        }
        let insert = |field: &str| self.search.figure("insert_while_searching", field);
        let measured = format!(
            "p50 {:.0} µs, p99 {:.0} µs at fdatasync {:.0} µs; all {:.0} found at once",
            insert("p50_us")?,
            insert("p99_us")?,
            insert("fdatasync_p50_us")?,
            insert("found_at_once")?
        );
        add("durable insert while searching", measured, "p99 < 10,000 µs");
        if let Some(limited) = &self.limited {
            limited.lines(&mut add)?;
        }
        if let Some(tenth) = &self.tenth {
            for recall in [0.95, 0.99] {
                let (small, large) = (tenth.qps_at(recall), self.search.qps_at(recall));
                let measured = match (small, large) {
                    (Some(small), Some(large)) => format!("{:.2} x slower ({small:.0} to {large:.0})", small / large),
                    (Some(_) | None, _) => format!("{} to {}", speed(small), speed(large)),
                };
                add(
                    &format!("ten times the vectors, recall {recall}"),
                    measured,
                    "<= 2.5 x slower",
                );
            }
        }
        Ok(lines)
    }

    /// All results, for programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "build": self.build.as_ref().map(|phases| &phases.0), "search": self.search.0,
            "limited": self.limited.as_ref().map(|limited| &limited.phases.0), "after_kill": self.after_kill.0, "tenth": self.tenth.as_ref().map(|phases| &phases.0),
        })
    }
}

fn speed(qps: Option<f64>) -> String {
    qps.map_or_else(|| "not reached".into(), |qps| format!("{qps:.0} queries/s"))
}

/// The lines below each other.
pub(super) fn table(lines: &[Line]) -> String {
    let width = |text: fn(&Line) -> &str| lines.iter().map(|line| text(line).chars().count()).max().unwrap_or(0);
    let (what_width, measured_width) = (width(|line| &line.what), width(|line| &line.measured));
    let mut text = String::new();
    for line in lines {
        let row = format!(
            "{:<what_width$}  {:<measured_width$}  {}",
            line.what, line.measured, line.target
        );
        writeln!(text, "{}", row.trim_end()).expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(qps_at_99: Value) -> Runs {
        let open = json!({"phase": "open", "seconds": 0.1, "first_answer_seconds": 0.2});
        let at = |recall: f64, qps: Value| json!({"phase": "at", "recall": recall, "qps": qps});
        let search = Phases(vec![
            open.clone(),
            at(0.95, json!(2000.0)),
            at(0.99, qps_at_99),
            json!({"phase": "memory", "disk_bytes": 7e9, "rss_bytes": 1e9, "anonymous_bytes": 5e8, "index_bytes_per_vector": 900.0}),
            json!({"phase": "insert_while_searching", "p50_us": 500.0, "p99_us": 900.0, "fdatasync_p50_us": 100.0, "found_at_once": 10}),
        ]);
        Runs {
            build: None,
            limited: None,
            search,
            after_kill: Phases(vec![open]),
            tenth: Some(Phases(vec![at(0.95, json!(5000.0)), at(0.99, json!(3000.0))])),
        }
    }

    fn measured(runs: &Runs, what: &str) -> String {
        let lines = runs.lines().unwrap();
        lines.into_iter().find(|line| line.what == what).unwrap().measured
    }

    #[test]
    fn growth_is_told_at_equal_recall() {
        let runs = runs(json!(1000.0));
        assert!(measured(&runs, "ten times the vectors, recall 0.95").starts_with("2.50 x slower"));
        assert!(measured(&runs, "ten times the vectors, recall 0.99").starts_with("3.00 x slower"));
    }

    #[test]
    fn a_recall_that_was_not_reached_is_no_figure() {
        let runs = runs(Value::Null);
        assert_eq!(measured(&runs, "search at recall 0.99, one thread"), "not reached");
        assert_eq!(
            measured(&runs, "ten times the vectors, recall 0.99"),
            "3000 queries/s to not reached"
        );
    }

    #[test]
    fn lines_stand_below_each_other() {
        let text = table(&runs(json!(1000.0)).lines().unwrap());
        assert_eq!(text.lines().count(), 9);
        assert!(text.contains("first answer after kill -9"), "{text}");
    }
}
