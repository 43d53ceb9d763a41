//! Processes: starting, listening and killing.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::operation::Line;
use super::workload::Subject;

/// Longer than any of our processes takes to send an expected message.
const PATIENCE: Duration = Duration::from_secs(60);

/// The hidden command that the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Writes until killed.
    Writer,
    /// Opens the store and waits to be killed.
    Opener,
    /// Reports the content and closes.
    Checker,
    /// Reports the content and exits without closing.
    LeavingChecker,
}

/// One of our processes, and its messages.
pub(super) struct Process {
    child: Child,
    lines: Receiver<Line>,
    heard: Vec<Line>,
}

/// The end of a process.
pub(super) struct Ended {
    /// Everything that it wrote, in order. A last line without its end does not count.
    pub(super) lines: Vec<Line>,
    pub(super) status: ExitStatus,
}

impl Process {
    pub(super) fn start(role: Role, subject: Subject, dir: &Path, seed: u64) -> Result<Self> {
        let (command, idle) = match role {
            Role::Writer => ("crash-writer", false),
            Role::Opener => ("crash-writer", true),
            Role::Checker => ("crash-checker", false),
            Role::LeavingChecker => ("crash-checker", true),
        };
        let program = std::env::current_exe().context("find our own program")?;
        let mut child = Command::new(program)
            .args([command, "--subject", subject.name(), "--seed", &seed.to_string()])
            .args(idle.then_some("--idle"))
            .arg("--dir")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start ourselves")?;
        let out = child.stdout.take().expect("its output is piped");
        let (sender, lines) = mpsc::channel();
        // Reads all the time: a process that waits for its pipe does not write to its store.
        std::thread::spawn(move || {
            let mut out = BufReader::new(out);
            let mut text = Vec::new();
            while let Ok(count) = out.read_until(b'\n', &mut text) {
                let is_whole = text.last() == Some(&b'\n');
                if count == 0 || !is_whole {
                    break;
                }
                let line = serde_json::from_slice(&text)
                    .unwrap_or_else(|error| Line::Problem(format!("a line is no line: {error}")));
                text.clear();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            lines,
            heard: Vec::new(),
        })
    }

    /// Waits until the store is open. Returns how long opening took.
    pub(super) fn wait_until_ready(&mut self) -> Result<Duration> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.heard.push(line);
                    if let Some(Line::Ready { open_us }) = self.heard.last() {
                        return Ok(Duration::from_micros(*open_us));
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("the store is not open after {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    bail!(
                        "the process ended ({status}) before the store was open: {:?}",
                        self.heard
                    );
                }
            }
        }
    }

    /// Kills it (SIGKILL, where there are signals).
    pub(super) fn kill(mut self) -> Result<Ended> {
        if let Some(status) = self.child.try_wait()? {
            let lines = self.drain();
            bail!("the process ended by itself ({status}): {:?}", lines.last());
        }
        self.child.kill().context("kill")?;
        let ended = self.end()?;
        #[cfg(unix)]
        {
            use std::os::unix::process::ExitStatusExt as _;
            const SIGKILL: i32 = 9;
            ensure!(
                ended.status.signal() == Some(SIGKILL),
                "the process ended by itself ({})",
                ended.status
            );
        }
        Ok(ended)
    }

    /// Waits for its end.
    pub(super) fn finish(mut self) -> Result<Ended> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.heard.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.end(),
                Err(RecvTimeoutError::Timeout) => {
                    self.child.kill().context("kill")?;
                    bail!("the process did not end within {PATIENCE:?}");
                }
            }
        }
    }

    fn end(&mut self) -> Result<Ended> {
        let status = self.child.wait().context("wait")?;
        let lines = self.drain();
        Ok(Ended { lines, status })
    }

    fn drain(&mut self) -> Vec<Line> {
        let mut lines = std::mem::take(&mut self.heard);
        // Ends when the process has ended and its pipe is empty.
        lines.extend(self.lines.iter());
        lines
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After an error it may still run.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
