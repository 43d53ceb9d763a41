//! [`SledBackend`]: key-value state on sled 0.34, made safe.
//!
//! sled is beta and no longer maintained. This backend adds what it lacks: a lock that names its holder, a format
//! marker, a sync that reaches the disk, checksums and a count of its own, and one writer at a time under a watchdog.
//!
//! ```text
//! <dir>/LOCK         held while open; names the process
//! <dir>/FORMAT       the kind of the directory, and its version
//! <dir>/WATERMARK    a lower bound of durable commits: reveals a log that lost its end
//! <dir>/data/        sled's own files
//! <dir>/quarantine/  snapshots that sled could not read; safe to delete once the store works
//! ```
//!
//! | file           | question                                            |
//! |----------------|-----------------------------------------------------|
//! | `directory.rs` | who owns the directory, and which files are in it?  |
//! | `open.rs`      | how is sled started, if necessary without snapshots? |
//! | `record.rs`    | how are keys and values laid out in the tree?       |
//! | `reader.rs`    | how is sled read?                                   |
//! | `changes.rs`   | what is the net effect of a batch?                  |
//! | `engine.rs`    | how does a batch become durable?                    |
//! | `watch.rs`     | which callers wait for a commit, and for how long?  |

mod changes;
mod directory;
mod engine;
mod open;
mod reader;
mod record;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use llmspell_core::{
    BackendCharacteristics, BackendType, Durability, Expiry, KeyValueEntry, KeyValueWrite, Result, StorageBackend,
    StorageError, Timestamp, WriteSummary, validate_key_value as validate,
};

use crate::base::options::TimeSource;
use crate::engine::OwnedByProcess;
use crate::engine::committer::Committer;
use crate::engine::pool::Pool;
use crate::slots::ForkMark;
use changes::Change;
use engine::{Applied, Engine, Request};
use open::Clocks;
use reader::Reader;
use watch::{Watch, Watchdog};

pub use reader::SledReport;

/// RAM that sled may use for pages unless the options say otherwise, in bytes.
const DEFAULT_CACHE_BYTES: u64 = 256 << 20;
/// How long a commit may take unless the options say otherwise.
const DEFAULT_COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Key-value state on sled 0.34.7, for applications that come from sled.
///
/// When a write returns, it survives a crash of the process. Loss of power is survived as far as sled's own file order
/// allows, which is not always: for new applications prefer the redb backend, and move with
/// [`export`](fn@crate::export).
///
/// Reads and writes do not block the async executor: reads run on a small pool of threads, writes on one thread that
/// shares each sync among waiting callers. If a sync fails or sled stops answering, the handle refuses further writes
/// until it is reopened.
///
/// Dropping the handle waits until queued writes are durable.
pub struct SledBackend {
    // In the order in which they end: writers, their watchdog, readers, files.
    committer: Option<Committer<Engine>>,
    watchdog: OwnedByProcess<Watchdog>,
    pool: OwnedByProcess<Pool>,
    reader: Arc<Reader>,
    mark: Arc<ForkMark>,
}

/// How a [`SledBackend`] is opened.
#[derive(Debug, Clone)]
pub struct SledOptions {
    cache_bytes: u64,
    commit_timeout: Duration,
    clocks: Clocks,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self {
            cache_bytes: DEFAULT_CACHE_BYTES,
            commit_timeout: DEFAULT_COMMIT_TIMEOUT,
            clocks: Clocks::default(),
        }
    }
}

impl SledOptions {
    /// RAM that sled may use for pages, in bytes; 256 MiB by default. sled may exceed it by half under load.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How long a commit may take before its writers get [`StorageError::Timeout`] and the handle refuses writes; one
    /// minute by default.
    #[must_use]
    pub fn commit_timeout(mut self, timeout: Duration) -> Self {
        self.commit_timeout = timeout;
        self
    }

    /// A function that replaces the system clock: for tests of expiry.
    ///
    /// Time never goes back: while the function returns an earlier time than before, or than a commit has stored, time
    /// stands still.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clocks.time = Some(TimeSource::new(now));
        self
    }

    /// Opens a directory, or makes one. One that an older version made is brought up to this one's format; the older
    /// version refuses it from then on.
    ///
    /// # Errors
    ///
    /// [`AlreadyOpen`](StorageError::AlreadyOpen), also within one process;
    /// [`ForeignDirectory`](StorageError::ForeignDirectory) for one that is not empty and not of this kind;
    /// [`UnsupportedVersion`](StorageError::UnsupportedVersion); [`Corrupted`](StorageError::Corrupted);
    /// [`ReadOnly`](StorageError::ReadOnly), [`NoSpace`](StorageError::NoSpace) or [`Io`](StorageError::Io).
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.open", level = "info", skip_all, fields(backend = "sled"))
    )]
    pub async fn open(self, path: impl AsRef<Path>) -> Result<SledBackend> {
        let path = path.as_ref().to_path_buf();
        let pool = Pool::new();
        let (cache_bytes, clocks) = (self.cache_bytes, self.clocks);
        let opened = pool.run(move || open::open(&path, cache_bytes, clocks)).await?;
        SledBackend::start(opened, pool, self.commit_timeout)
    }
}

impl SledBackend {
    /// Opens a directory with the default options, or makes one; see [`SledOptions::open`].
    ///
    /// # Errors
    ///
    /// As [`SledOptions::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(path).await
    }

    /// The default options.
    #[must_use]
    pub fn options() -> SledOptions {
        SledOptions::default()
    }

    /// Reads everything, checks the checksum of every value and counts. Writers wait meanwhile.
    ///
    /// # Errors
    ///
    /// [`Corrupted`](StorageError::Corrupted) for the first thing that is not as it was written.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.verify", level = "info", skip_all, fields(backend = "sled"))
    )]
    pub async fn verify(&self) -> Result<SledReport> {
        self.read(Reader::verify).await
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.reader.path()
    }

    fn start(opened: open::Opened, pool: Pool, commit_timeout: Duration) -> Result<Self> {
        let mark = Arc::new(ForkMark::new());
        let reader = Arc::new(opened.reader);
        let watch = Arc::new(Watch::new(commit_timeout));
        let engine = Engine::new(
            Arc::clone(&reader),
            Arc::clone(&watch),
            opened.disk,
            opened.head,
            opened.first_end,
        );
        Ok(Self {
            committer: Some(Committer::start("llmspell-sled", engine)?),
            watchdog: OwnedByProcess::new(Watchdog::start(watch)?, &mark),
            pool: OwnedByProcess::new(pool, &mark),
            reader,
            mark,
        })
    }

    /// Runs a read where it may wait for the disk. The hop costs about 5 µs; a cache of values would stand here.
    async fn read<T: Send + 'static>(&self, job: impl FnOnce(&Reader) -> Result<T> + Send + 'static) -> Result<T> {
        self.check_process()?;
        let reader = Arc::clone(&self.reader);
        self.pool.run(move || job(&reader)).await
    }

    /// That this is the process that opened the directory: a forked one has none of the threads.
    fn check_process(&self) -> Result<()> {
        if self.mark.is_forked() {
            Err(StorageError::Closed)
        } else {
            Ok(())
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.reader.now())
    }

    async fn commit(&self, change: Change) -> Result<Applied> {
        self.check_process()?;
        let watch = self.watchdog.watch();
        let (ticket, answer) = watch.expect_answer()?;
        let committer = self
            .committer
            .as_ref()
            .expect("the committer lives as long as the backend");
        if let Err(error) = committer.submit(Request { ticket, change }) {
            watch.forget(ticket);
            return Err(error);
        }
        answer.await.unwrap_or(Err(StorageError::Closed))
    }
}

llmspell_core::inherent_key_value!(SledBackend);

#[async_trait]
impl StorageBackend for SledBackend {
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.get", level = "debug", skip_all, fields(backend = "sled"))
    )]
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        validate::key(key)?;
        let key = key.to_string();
        self.read(move |reader| reader.get(&key)).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "kv.get_batch", level = "debug", skip_all, fields(backend = "sled", keys = keys.len())))]
    async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>> {
        keys.iter().try_for_each(|key| validate::key(key))?;
        let keys = keys.to_vec();
        self.read(move |reader| reader.get_batch(keys)).await
    }

    #[cfg_attr(feature = "tracing", tracing::instrument(name = "kv.write", level = "debug", skip_all, fields(backend = "sled", batch = batch.len())))]
    async fn write(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        validate::batch(&batch)?;
        if batch.is_empty() {
            self.check_process()?;
            return Ok(WriteSummary::default());
        }
        let batch = batch
            .into_iter()
            .map(|write| write.at(self.now()))
            .collect::<Result<_>>()?;
        Ok(self.commit(Change::Batch(batch)).await?.summary)
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.scan_entries", level = "debug", skip_all, fields(backend = "sled", limit))
    )]
    async fn scan_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<KeyValueEntry>> {
        validate::page(limit)?;
        let (prefix, after) = (prefix.to_string(), after.map(String::from));
        self.read(move |reader| reader.page(&prefix, after.as_deref(), limit))
            .await
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.expires_at", level = "debug", skip_all, fields(backend = "sled"))
    )]
    async fn expires_at(&self, key: &str) -> Result<Option<Timestamp>> {
        validate::key(key)?;
        let key = key.to_string();
        self.read(move |reader| reader.expires_at(&key)).await
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.swap", level = "debug", skip_all, fields(backend = "sled"))
    )]
    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>, expiry: Expiry) -> Result<bool> {
        validate::swap(key, new.as_deref(), expiry)?;
        let change = Change::Swap {
            key: key.to_string(),
            expected: expected.map(<[u8]>::to_vec),
            new,
            expiry: expiry.moment(self.now())?.into(),
        };
        Ok(self.commit(change).await?.was_expected)
    }

    fn backend_type(&self) -> BackendType {
        BackendType::Sled
    }

    fn characteristics(&self) -> BackendCharacteristics {
        BackendCharacteristics::new(Durability::Process, true, true)
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.list_keys", level = "debug", skip_all, fields(backend = "sled"))
    )]
    async fn list_keys(&self, prefix: &str) -> Result<Vec<String>> {
        let prefix = prefix.to_string();
        self.read(move |reader| reader.keys(&prefix)).await
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "kv.count", level = "debug", skip_all, fields(backend = "sled"))
    )]
    async fn count(&self, prefix: &str) -> Result<u64> {
        let prefix = prefix.to_string();
        self.read(move |reader| reader.count(&prefix)).await
    }
}

impl Drop for SledBackend {
    fn drop(&mut self) {
        if self.mark.is_forked() || self.watchdog.watch().is_stuck() {
            // The thread does not exist, or may never end. Waiting for it would make the caller hang.
            std::mem::forget(self.committer.take());
        }
    }
}

impl fmt::Debug for SledBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledBackend")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// A path and what sled said about it, as one of our errors.
fn sled_error(op: &'static str, path: &Path, error: ::sled::Error) -> StorageError {
    let corrupted = |detail: String| StorageError::Corrupted {
        path: path.to_path_buf(),
        detail,
    };
    match error {
        ::sled::Error::Io(source) => io_error(op, path, source),
        ::sled::Error::Corruption { at: Some(at), .. } => corrupted(format!("sled found damage at {at}")),
        ::sled::Error::Corruption { at: None, .. } => corrupted("sled found damage".to_string()),
        ::sled::Error::ReportableBug(text) => corrupted(format!("sled gave up: {text}")),
        ::sled::Error::CollectionNotFound(_) => corrupted("sled does not find its tree".to_string()),
        ::sled::Error::Unsupported(reason) => StorageError::ForeignDirectory {
            path: path.to_path_buf(),
            reason,
        },
    }
}

fn io_error(op: &'static str, path: &Path, source: std::io::Error) -> StorageError {
    use std::io::ErrorKind;
    let path: PathBuf = path.to_path_buf();
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StorageError::ReadOnly {
            path,
            source: Arc::new(source),
        },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StorageError::NoSpace {
            available_bytes: directory::available_bytes(&path),
            needed_bytes: Some(directory::RESERVE_BYTES),
            path,
        },
        // sled reads what its log says is there.
        ErrorKind::NotFound | ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput => {
            StorageError::Corrupted {
                path,
                detail: format!("cannot {op}: {source}"),
            }
        }
        _ => StorageError::Io {
            op,
            path,
            source: Arc::new(source),
        },
    }
}

/// Runs what may panic inside sled.
///
/// # Errors
///
/// [`StorageError::Corrupted`] with the text of the panic: sled panics where its files are not as it expects.
fn catch_panic<T>(path: &Path, job: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no text");
        Err(StorageError::Corrupted {
            path: path.to_path_buf(),
            detail: format!("sled panicked: {text}"),
        })
    })
}
