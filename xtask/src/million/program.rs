//! The command-line tool as a process: building, running, listening and killing.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::limit::Limit;
use crate::memcheck::executables;

/// The built `llmspell-storage`.
pub(super) struct Program {
    path: PathBuf,
    /// The file that a process writes its number to, to be within a limit.
    group: Option<PathBuf>,
}

impl Program {
    pub(super) fn build() -> Result<Self> {
        let output = Command::new(env!("CARGO"))
            .args([
                "build",
                "--release",
                "-p",
                "llmspell-storage-cli",
                "--message-format=json-render-diagnostics",
            ])
            .stderr(Stdio::inherit())
            .output()
            .context("start cargo")?;
        ensure!(output.status.success(), "llmspell-storage cannot be built");
        let program = executables(&String::from_utf8_lossy(&output.stdout)).pop();
        program
            .map(|path| Self { path, group: None })
            .context("cargo does not say where llmspell-storage is")
    }

    /// The same, whose processes are within a limit.
    pub(super) fn within(&self, limit: &Limit) -> Self {
        Self {
            path: self.path.clone(),
            group: Some(limit.processes()),
        }
    }

    /// Runs it to its end. Its messages go to the terminal, the lines of its phases are returned.
    pub(super) fn run(&self, args: &Args) -> Result<Phases> {
        let mut started = self.start(args)?;
        let mut phases = Phases::default();
        while let Some(line) = started.next_line()? {
            phases.0.push(line);
        }
        let status = started.child.wait().context("wait")?;
        ensure!(
            status.success(),
            "llmspell-storage {} failed ({status})",
            args.0.join(" ")
        );
        Ok(phases)
    }

    /// Starts it, and kills it once it has been in `phase` for `pause`. Returns its earlier lines.
    pub(super) fn kill_after(&self, args: &Args, phase: &str, pause: std::time::Duration) -> Result<Phases> {
        let mut started = self.start(args)?;
        let mut phases = Phases::default();
        loop {
            let Some(line) = started.next_line()? else {
                bail!("llmspell-storage {} ended before phase {phase}", args.0.join(" "));
            };
            let is_there = line["phase"] == phase;
            phases.0.push(line);
            if is_there {
                break;
            }
        }
        std::thread::sleep(pause);
        ensure!(
            started.child.try_wait()?.is_none(),
            "it ended before it could be killed"
        );
        started.child.kill().context("kill")?;
        started.child.wait().context("wait")?;
        Ok(phases)
    }

    fn start(&self, args: &Args) -> Result<Started> {
        let mut command = match &self.group {
            None => Command::new(&self.path),
            Some(group) => {
                let mut shell = Command::new("sh");
                shell
                    .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
                    .arg(group)
                    .arg(&self.path);
                shell
            }
        };
        let mut child = command
            .args(&args.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", self.path.display()))?;
        let lines = BufReader::new(child.stdout.take().expect("its output is piped"));
        Ok(Started { child, lines })
    }
}

struct Started {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Started {
    fn next_line(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).context("read its output")? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line)
            .with_context(|| format!("no JSON: {line}"))
            .map(Some)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // After an error it may still run.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Words of a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Args(Vec<String>);

impl Args {
    pub(super) fn new(words: &str) -> Self {
        Self(words.split_whitespace().map(str::to_string).collect())
    }

    pub(super) fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.0.push(name.to_string());
        self.0.push(value.to_string());
        self
    }

    pub(super) fn with_path(self, name: &str, path: &Path) -> Self {
        self.with(name, path.display())
    }

    pub(super) fn with_words(mut self, words: &str) -> Self {
        self.0.extend(Self::new(words).0);
        self
    }
}

/// The output of a bench, line by line.
#[derive(Debug, Clone, Default)]
pub(super) struct Phases(pub(super) Vec<Value>);

impl Phases {
    /// A figure of the first line of a phase.
    pub(super) fn figure(&self, phase: &str, field: &str) -> Result<f64> {
        let line = self.0.iter().find(|line| line["phase"] == phase);
        let line = line.with_context(|| format!("the bench has no phase {phase}"))?;
        line[field]
            .as_f64()
            .with_context(|| format!("phase {phase} has no {field}: {line}"))
    }

    /// Queries a second at a recall; none if it was not reached.
    pub(super) fn qps_at(&self, recall: f64) -> Option<f64> {
        let line = self
            .0
            .iter()
            .find(|line| line["phase"] == "at" && line["recall"] == recall)?;
        line["qps"].as_f64()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_found_by_phase_and_field() {
        let phases = Phases(vec![
            json!({"phase": "open", "seconds": 0.25}),
            json!({"phase": "at", "recall": 0.95, "qps": 1000.5}),
            json!({"phase": "at", "recall": 0.99, "qps": null}),
        ]);
        assert_eq!(phases.figure("open", "seconds").unwrap(), 0.25);
        assert!(
            phases
                .figure("open", "minutes")
                .unwrap_err()
                .to_string()
                .contains("no minutes")
        );
        assert!(
            phases
                .figure("build", "seconds")
                .unwrap_err()
                .to_string()
                .contains("no phase build")
        );
        assert_eq!((phases.qps_at(0.95), phases.qps_at(0.99)), (Some(1000.5), None));
    }

    #[test]
    fn a_path_with_spaces_stays_one_word() {
        let args = Args::new("bench ann")
            .with_path("--dir", Path::new("/a b"))
            .with_words("--reps 1");
        assert_eq!(args.0, ["bench", "ann", "--dir", "/a b", "--reps", "1"]);
    }
}
