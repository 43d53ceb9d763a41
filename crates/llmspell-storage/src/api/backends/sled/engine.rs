//! The engine around sled: makes batches durable.
//!
//! Work out, apply, flush sled, sync its files ourselves, answer. sled's own flush leaves data in the cache of the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use llmspell_core::{Result, StorageError, Timestamp, WriteSummary};

use super::changes::{Change, Changed, Effect, work_out};
use super::directory::{self, Disk};
use super::reader::Reader;
use super::record::{self, CLOCK_KEY, HEAD_KEY, Head};
use super::watch::{Ticket, Watch};
use super::{catch_panic, io_error, sled_error};
use crate::engine::committer::CommitEngine;

/// Commits between two writes of the watermark.
const WATERMARK_COMMITS: u64 = 10_000;
/// Keys that one step of the purge removes; a few milliseconds.
const PURGE_KEYS: usize = 512;
/// Keys that are over and go with each one that will be.
const PURGED_PER_PUT: usize = 2;
/// Keys that are over are invisible at once; their space is given back at this pace.
const EXPIRY_DELAY_MS: i64 = 1_000;
/// How long the purge waits where it found no descriptors.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// One caller's change.
pub(super) struct Request {
    pub(super) ticket: Ticket,
    pub(super) change: Change,
}

/// What a change did, for its caller.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Whether the key had the expected value; a batch expects none.
    pub(super) was_expected: bool,
    pub(super) summary: WriteSummary,
}

/// The only writer of sled.
pub(super) struct Engine {
    reader: Arc<Reader>,
    watch: Arc<Watch>,
    disk: Disk,
    head: Head,
    /// Commits that are durable for certain.
    durable_commits: u64,
    watermark: u64,
    /// Which version of how the clocks go together was written last.
    clock_version: u64,
    /// The earliest moment at which a key expires, in milliseconds since 1970, or an earlier one.
    first_end: Option<i64>,
    /// Whether the process had too few descriptors for the last attempt.
    is_short: bool,
}

impl Engine {
    pub(super) fn new(reader: Arc<Reader>, watch: Arc<Watch>, disk: Disk, head: Head, first_end: Option<i64>) -> Self {
        Self {
            reader,
            watch,
            disk,
            head,
            durable_commits: head.commits,
            watermark: head.commits,
            clock_version: 0,
            // Keys that expired by the stored time are removed at once: time stands still while the clock is behind it.
            first_end: first_end.map(|moment| if moment <= head.clock_ms { i64::MIN } else { moment }),
            is_short: false,
        }
    }

    /// Answers all changes. If one cannot be applied or made durable, the content of the disk is unknown.
    fn commit_all(&mut self, changes: Vec<Change>) -> Vec<Result<Applied>> {
        if let Err(error) = self.check_space(&changes).and_then(|()| self.check_descriptors()) {
            return changes.iter().map(|_| Err(error.clone())).collect();
        }
        self.disk.lend_descriptors();
        let answers = self.commit_prepared(changes);
        // Where it fails, the next commit finds out before it writes anything.
        let _ = self.disk.hold_descriptors();
        answers
    }

    /// As [`commit_all`](Self::commit_all), once there is room and a descriptor for whatever sled opens.
    fn commit_prepared(&mut self, changes: Vec<Change>) -> Vec<Result<Applied>> {
        let count = changes.len();
        let expiring = changes.iter().map(Change::expiring_count).sum::<usize>();
        let mut answers = Vec::with_capacity(count);
        for change in changes {
            let now = self.reader.now();
            match work_out(&self.reader, change, now) {
                Ok((effect, applied)) => {
                    if let Err(error) = self.apply(&effect, now) {
                        return self.poisoned(&error, count);
                    }
                    answers.push(Ok(applied));
                }
                Err(error) => answers.push(Err(error)),
            }
        }
        // In proportion: however fast keys come that end, those that are over do not pile up.
        let purged = match self.first_end.is_some_and(|moment| moment <= self.reader.confirmed()) {
            true => self.remove_over(PURGED_PER_PUT * expiring),
            false => Ok(()),
        };
        if let Err(error) = purged.and_then(|()| self.make_durable()) {
            return self.poisoned(&error, count);
        }
        answers
    }

    fn poisoned(&self, error: &StorageError, count: usize) -> Vec<Result<Applied>> {
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

    fn check_descriptors(&mut self) -> Result<()> {
        let held = self.disk.hold_descriptors();
        self.is_short = held.is_err();
        held.map_err(|error| io_error("open another file beside", self.reader.path(), error))
    }

    fn apply(&mut self, effect: &Effect, now: i64) -> Result<()> {
        if effect.keys.is_empty() {
            return Ok(());
        }
        let (added, removed) = effect.added_and_removed();
        let head = Head {
            commits: self.head.commits + 1,
            keys: self.head.keys + added - removed,
            clock_ms: match effect.concerns_time() {
                true => self.head.clock_ms.max(now.min(self.reader.confirmed())),
                false => self.head.clock_ms,
            },
        };
        let mut batch = ::sled::Batch::default();
        for (key, Changed { before, after }) in &effect.keys {
            if let Some(moment) = before.flatten() {
                batch.remove(record::end_key(moment.as_millis(), key));
            }
            let tree_key = record::tree_key(key);
            let Some(stored) = after else {
                batch.remove(tree_key);
                continue;
            };
            let bytes = record::encode(&tree_key, &stored.value, stored.expires_at);
            batch.insert(tree_key, bytes);
            if let Some(moment) = stored.expires_at.map(Timestamp::as_millis) {
                let end_key = record::end_key(moment, key);
                let bytes = record::encode(&end_key, &[], None);
                batch.insert(end_key, bytes);
                self.first_end = Some(self.first_end.map_or(moment, |first| first.min(moment)));
            }
        }
        self.write(batch, head)
    }

    fn write(&mut self, mut batch: ::sled::Batch, head: Head) -> Result<()> {
        batch.insert(HEAD_KEY, head.to_bytes());
        if let Some((version, row)) = self.reader.clock().unsaved()
            && version > self.clock_version
        {
            batch.insert(CLOCK_KEY, row.encode(CLOCK_KEY));
            self.clock_version = version;
        }
        let gate = self.reader.exclude_readers();
        let applied = self.reader.db().apply_batch(batch);
        drop(gate);
        applied.map_err(|error| sled_error("write to", self.reader.path(), error))?;
        self.head = head;
        Ok(())
    }

    /// A step of the purge.
    fn purge(&mut self) -> Result<()> {
        self.remove_over(PURGE_KEYS)?;
        self.make_durable()
    }

    /// Removes some of the keys that are over.
    fn remove_over(&mut self, limit: usize) -> Result<()> {
        if limit == 0 {
            return Ok(());
        }
        // A clock that is ahead without being confirmed hides keys, but takes none.
        let now = self.reader.confirmed();
        let over = self.reader.over(now, limit)?;
        let is_last = over.len() < limit;
        let effect = Effect::purge(&self.reader, &over)?;
        self.apply(&effect, now)?;
        if effect.keys.len() < over.len() {
            // The expiry of a damaged value is unknown: only the note is removed, so that the purge can continue.
            let mut notes = ::sled::Batch::default();
            for (moment, key) in &over {
                notes.remove(record::end_key(*moment, key));
            }
            let commits = self.head.commits + 1;
            self.write(notes, Head { commits, ..self.head })?;
        }
        self.first_end = if is_last {
            self.reader.first_end()?
        } else {
            Some(i64::MIN)
        };
        Ok(())
    }

    /// Keys that were seen to expire and are not purged yet must stay expired after a restart, whatever the clock says
    /// then; and the next opening must know of a jump of the clock.
    fn keep_time(&mut self) -> Result<()> {
        let now = self.reader.confirmed();
        let has_expired = self.first_end.is_some_and(|moment| moment <= now);
        if !has_expired && !self.reader.clock().has_unsaved_jump() {
            return Ok(());
        }
        let head = Head {
            commits: self.head.commits + 1,
            clock_ms: if has_expired {
                self.head.clock_ms.max(now)
            } else {
                self.head.clock_ms
            },
            ..self.head
        };
        self.write(::sled::Batch::default(), head)?;
        self.make_durable()
    }

    /// Does background work, watched by the watchdog. A failure ends writing, as any other does.
    fn in_background(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) {
        if self.check_descriptors().is_err() || self.watch.start_commit(Vec::new()).is_err() {
            return;
        }
        self.disk.lend_descriptors();
        let path = self.path().to_path_buf();
        if let Err(error) = catch_panic(&path, || work(self)) {
            self.watch.poison(&error);
        }
        self.watch.finish_commit(Vec::new());
        let _ = self.disk.hold_descriptors();
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
        self.reader.clock().saved(self.clock_version);
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

    fn tidy_after(&mut self) -> Option<Duration> {
        if self.watch.is_poisoned() {
            return None;
        }
        let due_ms = self
            .first_end?
            .saturating_add(EXPIRY_DELAY_MS)
            .saturating_sub(self.reader.confirmed());
        let due = Duration::from_millis(u64::try_from(due_ms).unwrap_or(0));
        Some(if self.is_short { due.max(AFTER_FAILURE) } else { due })
    }

    fn tidy(&mut self) {
        self.in_background(Self::purge);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.in_background(Self::keep_time);
        if self.watermark < self.durable_commits {
            self.raise_watermark();
        }
    }
}
