//! How does a batch become durable?
//!
//! Work out, apply, flush sled, sync its files ourselves, answer. sled's own flush leaves data in the cache of the disk.

use std::path::Path;
use std::sync::Arc;

use llmspell_core::{Result, StorageError, WriteSummary};

use super::changes::{Change, Effect, work_out};
use super::directory::{self, Disk};
use super::reader::Reader;
use super::record::{self, HEAD_KEY, Head};
use super::watch::{Ticket, Watch};
use super::{catch_panic, io_error, sled_error};
use crate::committer::CommitEngine;

/// Commits between two writes of the watermark.
const WATERMARK_COMMITS: u64 = 10_000;

/// One caller's change.
pub(super) struct Request {
    pub(super) ticket: Ticket,
    pub(super) change: Change,
}

/// What a caller is told.
#[derive(Debug)]
pub(super) enum Outcome {
    Written(WriteSummary),
    Swapped(bool),
}

/// The only one who writes to sled.
pub(super) struct Engine {
    reader: Arc<Reader>,
    watch: Arc<Watch>,
    disk: Disk,
    head: Head,
    /// Commits that are durable for certain.
    durable_commits: u64,
    watermark: u64,
}

impl Engine {
    pub(super) fn new(reader: Arc<Reader>, watch: Arc<Watch>, disk: Disk, head: Head) -> Self {
        Self {
            reader,
            watch,
            disk,
            head,
            durable_commits: head.commits,
            watermark: head.commits,
        }
    }

    /// Answers for all changes. If one cannot be applied or made durable, nobody knows what is on the disk.
    fn commit_all(&mut self, changes: Vec<Change>) -> Vec<Result<Outcome>> {
        if let Err(error) = self.check_space(&changes) {
            return changes.iter().map(|_| Err(directory::repeated(&error))).collect();
        }
        let count = changes.len();
        let mut answers = Vec::with_capacity(count);
        for change in changes {
            match work_out(&self.reader, change) {
                Ok((effect, outcome)) => {
                    if let Err(error) = self.apply(&effect) {
                        return self.poisoned(&error, count);
                    }
                    answers.push(Ok(outcome));
                }
                Err(error) => answers.push(Err(error)),
            }
        }
        if let Err(error) = self.make_durable() {
            return self.poisoned(&error, count);
        }
        answers
    }

    fn poisoned(&self, error: &StorageError, count: usize) -> Vec<Result<Outcome>> {
        self.watch.poison(error);
        let poisoned = || StorageError::Poisoned {
            first_error: error.to_string(),
        };
        std::iter::repeat_with(|| Err(poisoned())).take(count).collect()
    }

    fn check_space(&self, changes: &[Change]) -> Result<()> {
        if !changes.iter().any(Change::stores) {
            return Ok(());
        }
        let bytes: usize = changes.iter().map(Change::len_bytes).sum();
        self.disk.check_space(2 * bytes as u64 + directory::RESERVE_BYTES)
    }

    fn apply(&mut self, effect: &Effect) -> Result<()> {
        if effect.values.is_empty() {
            return Ok(());
        }
        let head = Head {
            commits: self.head.commits + 1,
            keys: self.head.keys + effect.added - effect.deleted,
        };
        let mut batch = ::sled::Batch::default();
        for (key, value) in &effect.values {
            let tree_key = record::tree_key(key);
            match value {
                Some(value) => {
                    let bytes = record::encode(&tree_key, value);
                    batch.insert(tree_key, bytes);
                }
                None => batch.remove(tree_key),
            }
        }
        batch.insert(HEAD_KEY, head.to_bytes());
        let gate = self.reader.exclude_readers();
        let applied = self.reader.db().apply_batch(batch);
        drop(gate);
        applied.map_err(|error| sled_error("write to", self.reader.path(), error))?;
        self.head = head;
        Ok(())
    }

    fn make_durable(&mut self) -> Result<()> {
        if self.durable_commits == self.head.commits {
            return Ok(());
        }
        let path = self.reader.path();
        self.reader
            .db()
            .flush()
            .map_err(|error| sled_error("flush", path, error))?;
        self.disk.sync().map_err(|error| io_error("sync", path, error))?;
        self.durable_commits = self.head.commits;
        if self.durable_commits - self.watermark >= WATERMARK_COMMITS {
            self.raise_watermark();
        }
        Ok(())
    }

    /// A watermark that could not be written is only lower than it could be.
    fn raise_watermark(&mut self) {
        if directory::write_watermark(self.reader.path(), self.durable_commits).is_ok() {
            self.watermark = self.durable_commits;
        }
    }

    fn path(&self) -> &Path {
        self.reader.path()
    }
}

impl CommitEngine for Engine {
    type Request = Request;

    fn request_bytes(request: &Request) -> usize {
        request.change.len_bytes()
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let (tickets, changes): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .map(|request| (request.ticket, request.change))
            .unzip();
        let count = tickets.len();
        let answers = match self.watch.start_commit(tickets.clone()) {
            Ok(()) => {
                let path = self.path().to_path_buf();
                // A panic inside of sled leaves its locks in an unknown state.
                catch_panic(&path, || Ok(self.commit_all(changes))).unwrap_or_else(|error| self.poisoned(&error, count))
            }
            Err(error) => self.poisoned(&error, count),
        };
        self.watch.finish_commit(tickets.into_iter().zip(answers).collect());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.watermark < self.durable_commits {
            self.raise_watermark();
        }
    }
}
