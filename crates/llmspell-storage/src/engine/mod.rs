//! One directory: key-value data and vector spaces in one truth, under one lock, by one commit path.
//!
//! | file         | question                                            |
//! |--------------|-----------------------------------------------------|
//! | `mod.rs`     | which handle does an application hold? [`Database`] |
//! | `open.rs`    | how is a directory opened, or created?              |
//! | `shared.rs`  | what do all handles and the committer share?        |
//! | `clock.rs`   | which time does the database go by?                 |
//! | `expiring_keys.rs` | how are expired keys purged?                  |
//! | `request.rs` | how does a handle send a write to the committer, and get its answer? |
//! | `calls.rs`   | which kinds of write are there, and what does each concern? |
//! | `writer.rs`  | how does a batch become durable, and then visible?  |
//! | `large.rs`   | how is a large batch written between others?        |
//! | `held.rs`    | which requests wait until a large batch is done?    |
//! | `batch/`     | how do requests change the database?                |
//! | `attached.rs` | what ends before the database does?               |
//! | `backlog.rs` | what is to be purged, and how urgently?             |
//! | `purge.rs`   | how is space freed?                                 |
//! | `survey.rs`  | which scopes have space to free that no list names? |
//! | `routing.rs` | which spaces share their ids?                       |
//! | `owned.rs`   | what must a forked process leave alone?             |
//! | `committer.rs` | which thread makes writes durable, and which writes share a sync? |
//! | `indexer.rs` | which thread builds indexes?                        |
//! | `indexing/`  | what does an index need, and how is it done?        |
//! | `verifier.rs` | which thread verifies a truth that was too large at opening? |
//! | `pool.rs`    | where does work run that would block an executor?   |
//! | `value_cache.rs` | which values are in RAM, so that reading them cannot block? |
//! | `removal.rs` | how are scopes and spaces dropped?                  |
//! | `quotas.rs`  | how much may a scope hold, and how much does it?    |
//! | `check.rs`   | are all rows and slots right?                       |

mod attached;
mod backlog;
pub(crate) mod backup;
mod batch;
pub(crate) mod calls;
mod check;
mod clock;
pub(crate) mod committer;
mod expiring_keys;
mod held;
pub(crate) mod indexer;
pub(crate) mod indexing;
mod large;
pub(crate) mod open;
mod owned;
pub(crate) mod pool;
mod purge;
mod quotas;
mod removal;
pub(crate) mod request;
mod routing;
pub(crate) mod shared;
mod survey;
#[cfg(test)]
mod tests;
pub(crate) mod value_cache;
mod verifier;
pub(crate) mod workers;
mod writer;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use llmspell_core::{
    DistanceMetric, EmbeddingModel, ErrorKind, HNSWConfig, OnExisting, Result, StorageError, Timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

pub use backup::{BackupOptions, BackupProgress, BackupReceipt};
pub(crate) use batch::KV_SCOPE;
pub(crate) use clock::{Boot, Clock};
#[cfg(feature = "sled")]
pub(crate) use owned::Owned as OwnedByProcess;
pub(crate) use quotas::status as quota_status;
pub use request::Removed;
use request::Reply;
use request::is_large;
pub(crate) use request::{
    Copied, Entries, NewMetadata, Opening, Part, PreparedEntry, Request, Scopes, Spaces, WriteCall,
};
pub(crate) use shared::Shared;

use crate::base::failures::{BackgroundFailure, Place, Task};
use crate::base::ids::SpaceId;
use crate::base::options::DatabaseOptions;
use crate::base::report::CheckReport;
use crate::engine::attached::Attached;
use crate::engine::committer::Committer;
use crate::engine::indexer::Indexer;
use crate::engine::indexing::Indexing;
use crate::engine::pool::Pool;
use crate::engine::verifier::Verifier;
use crate::engine::workers::Workers;
use crate::indexes::files;
use crate::slots::ForkMark;
use crate::spaces::registry::Space;
use crate::truth::{self, FIRST_SPACE, Role, SpaceRecord, Truth, Verification};
use owned::Owned;
use writer::Writer;

/// How long writes wait for a space that is about to be replaced.
const GATE_WAIT_MAX: Duration = Duration::from_secs(10);

/// Batches up to this many entries are sorted in place: about 100 µs.
const ORDERED_IN_PLACE: usize = 1_024;

const IN_MEMORY: &str = "a database in memory needs nothing but memory";

/// A directory that holds an application's key-value state and its vector memory.
///
/// Cheap to clone; all clones, and the [`RedbBackend`](crate::RedbBackend) and
/// [`HNSWVectorStorage`](crate::HNSWVectorStorage)s made from it, are handles to the same database. When the last of
/// them is dropped, it waits for the writes under way, closes the database and releases the lock.
///
/// ```no_run
/// # async fn example() -> llmspell_storage::Result<()> {
/// use llmspell_storage::{Database, HNSWConfig, VectorEntry};
///
/// let database = Database::open("agent.db").await?;
/// database.kv().set("theme", b"dark".to_vec()).await?;
/// let memories = database.vectors("memories", 384, HNSWConfig::balanced()).await?;
/// memories.insert(vec![VectorEntry::new("m-1", vec![0.1; 384])]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) inner: Arc<Inner>,
}

/// The parts that the handles of one database own together.
#[derive(Debug)]
pub(crate) struct Inner {
    /// Dropped first: it serves the database to others.
    pub(crate) attached: Owned<Attached>,
    /// Only read the database.
    workers: Owned<Workers>,
    /// Only reads.
    _verifier: Option<Owned<Verifier>>,
    /// Dropped before the committer, which it uses to name files.
    _indexer: Owned<Indexer>,
    /// Dropped next: the committer finishes what is queued.
    committer: Owned<Committer<Writer>>,
    pub(crate) pool: Owned<Pool>,
    pub(crate) shared: Arc<Shared>,
    is_closed: AtomicBool,
    mark: Arc<ForkMark>,
}

/// A vector space of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpaceInfo {
    /// Name it was created with.
    pub name: String,
    /// Components per vector.
    pub dim: usize,
    /// How vectors are compared.
    pub metric: DistanceMetric,
    /// How its index is built.
    pub config: HNSWConfig,
    /// The model of the vectors, as far as known. `dim` is smaller than its dimension if only the leading components
    /// are stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<EmbeddingModel>,
    /// How it is used.
    #[serde(default)]
    pub role: SpaceRole,
}

/// How a vector space is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpaceRole {
    /// By its name.
    #[default]
    Plain,
    /// By a [`DimensionRouter`](crate::DimensionRouter) too.
    Routed,
    /// Not yet: the entries of another space are being copied to it.
    Successor {
        /// Name of that space.
        of: String,
    },
    /// Not any more: another space has replaced it, and its remains are being removed.
    Replaced,
}

/// Counts and bytes of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DatabaseStats {
    /// Keys of the key-value data.
    pub keys: u64,
    /// Vector spaces.
    pub spaces: u64,
    /// Bytes that all files occupy on the disk.
    pub disk_bytes: u64,
    /// The part of these for everything but the vectors.
    pub truth_bytes: u64,
    /// Whether all of that file was verified since the database was opened: at once, or in the background if it is
    /// larger than [`verify_bytes_max`](crate::DatabaseOptions::verify_bytes_max).
    #[serde(default)]
    pub is_truth_verified: bool,
    /// The part of these for vectors.
    pub slot_bytes: u64,
    /// The part of these for indexes of large scopes.
    #[serde(default)]
    pub index_bytes: u64,
    /// Bytes of RAM that the database itself holds: cached pages and values, loaded scopes, and vectors if it is in
    /// memory. Not memory-mapped files.
    pub memory_bytes: u64,
    /// Scopes that are loaded into RAM, counted once for each space in which they have vectors.
    #[serde(default)]
    pub scopes_loaded: u64,
    /// Bytes of RAM that loaded scopes take, including graphs and metadata indexes; not memory-mapped files.
    #[serde(default)]
    pub scope_bytes: u64,
    /// Most bytes that they may take:
    /// [`DatabaseOptions::scope_cache_bytes`](crate::DatabaseOptions::scope_cache_bytes).
    #[serde(default)]
    pub scope_bytes_max: u64,
    /// Number of scopes that were unloaded since the database was opened, to make room for others.
    #[serde(default)]
    pub scopes_unloaded: u64,
    /// The latest confirmed time of a write or a purge, as stored: the database's time never goes back before it. None
    /// before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_time: Option<Timestamp>,
    /// The system's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_time: Option<Timestamp>,
    /// Whether the system clock has jumped ahead, and that is not confirmed yet: entries that have expired by it are
    /// hidden, but not purged.
    #[serde(default)]
    pub is_time_unconfirmed: bool,
    /// Work in the background that failed since the database was opened and has not succeeded since, the latest first,
    /// at most
    /// 16. Empty if all is well. Calls lose no data by such a failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub background_failures: Vec<BackgroundFailure>,
}

impl DatabaseOptions {
    /// Opens the database in `dir`, creating it (and the directory) if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`Database::open`]; with [`must_exist`](Self::must_exist) also
    /// [`ForeignDirectory`](crate::StorageError::ForeignDirectory) if there is none.
    pub async fn open(self, dir: impl AsRef<Path>) -> Result<Database> {
        Database::open_with(dir.as_ref(), self).await
    }
}

impl Database {
    /// Opens the database in `dir`, creating it (and the directory) if it does not exist.
    ///
    /// One process has it open at a time, once.
    ///
    /// # Errors
    ///
    /// [`AlreadyOpen`](StorageError::AlreadyOpen) with the holder; [`ForeignDirectory`](StorageError::ForeignDirectory)
    /// if the directory holds something else; [`UnsupportedVersion`](StorageError::UnsupportedVersion);
    /// [`Corrupted`](StorageError::Corrupted); [`ReadOnly`](StorageError::ReadOnly) or [`Io`](StorageError::Io).
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self> {
        DatabaseOptions::new().open(dir).await
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "database.open", level = "info", skip_all)
    )]
    pub(crate) async fn open_with(dir: &Path, options: DatabaseOptions) -> Result<Self> {
        let dir = dir.to_path_buf();
        let pool = Pool::new();
        let (shared, writer) = pool
            .run(move || {
                let shared = Arc::new(open::open(&dir, &options)?);
                let writer = Writer::new(Arc::clone(&shared))?;
                Ok((shared, writer))
            })
            .await?;
        Self::start(pool, shared, writer)
    }

    /// A database in RAM, which ends with its last handle: for tests, and for state that need not last. It runs the
    /// same code as one in a directory.
    ///
    /// ```
    /// # async fn example() -> llmspell_storage::Result<()> {
    /// use llmspell_storage::{Database, HNSWConfig, VectorEntry};
    ///
    /// let database = Database::in_memory();
    /// database.kv().set("theme", b"dark".to_vec()).await?;
    /// let memories = database.vectors("memories", 3, HNSWConfig::balanced()).await?;
    /// memories.insert(vec![VectorEntry::new("m-1", vec![0.1, 0.2, 0.3])]).await?;
    /// assert_eq!(database.path(), None);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
    /// ```
    ///
    /// # Panics
    ///
    /// When the system has no memory or threads left.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::make_in_memory(None).expect(IN_MEMORY)
    }

    /// A database in RAM with one space, which is returned with it.
    ///
    /// # Panics
    ///
    /// When the system has no memory or threads left.
    pub(crate) fn in_memory_with(space: &SpaceRecord) -> (Self, Arc<Space>) {
        let make = || {
            let database = Self::make_in_memory(Some(space))?;
            let space = database.inner.shared.space(FIRST_SPACE)?;
            Ok((database, space))
        };
        let made: Result<_> = make();
        made.expect(IN_MEMORY)
    }

    fn make_in_memory(space: Option<&SpaceRecord>) -> Result<Self> {
        let truth = Truth::in_memory(space)?;
        let shared = Arc::new(Shared::new(truth, None, None, &DatabaseOptions::new())?);
        let writer = Writer::new(Arc::clone(&shared))?;
        Self::start(Pool::new(), shared, writer)
    }

    /// The database on a disk of the tests.
    #[cfg(test)]
    pub(crate) fn open_on(disk: Arc<dyn crate::disk::Disk>, options: &DatabaseOptions) -> Result<Self> {
        let shared = Arc::new(open::open_on(disk, None, options)?);
        let writer = Writer::new(Arc::clone(&shared))?;
        Self::start(Pool::new(), shared, writer)
    }

    fn start(pool: Pool, shared: Arc<Shared>, writer: Writer) -> Result<Self> {
        let committer = Committer::start("llmspell-commit", writer)?;
        let submitter = committer.submitter();
        shared.door.open(move |built| submitter.submit(Request::Built(built)));
        let indexing = Indexing::new(Arc::clone(&shared), committer.submitter());
        let indexer = Indexer::start("llmspell-index", Arc::clone(&shared.queue), indexing)?;
        let mark = Arc::new(ForkMark::new());
        let verifier = match shared.truth.is_verified {
            true => None,
            false => Some(Owned::new(verify(Arc::clone(&shared))?, &mark)),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                attached: Owned::new(Attached::default(), &mark),
                workers: Owned::new(Workers::default(), &mark),
                _verifier: verifier,
                _indexer: Owned::new(indexer, &mark),
                committer: Owned::new(committer, &mark),
                pool: Owned::new(pool, &mark),
                shared,
                is_closed: AtomicBool::new(false),
                mark,
            }),
        })
    }

    /// All vector spaces, in the order of their creation.
    ///
    /// # Errors
    ///
    /// [`Closed`](StorageError::Closed).
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "database.spaces", level = "debug", skip_all)
    )]
    pub async fn spaces(&self) -> Result<Vec<SpaceInfo>> {
        self.inner.check_open()?;
        let records = self.inner.shared.space_records();
        let info = |(_, record): &(SpaceId, SpaceRecord)| SpaceInfo {
            metric: record.config.metric(),
            name: record.name.clone(),
            dim: record.dim,
            config: record.config.clone(),
            model: record.model.clone(),
            role: match record.role {
                Role::Plain => SpaceRole::Plain,
                Role::Routed => SpaceRole::Routed,
                Role::Staging { of } => SpaceRole::Successor {
                    of: records
                        .iter()
                        .find(|(id, _)| id.0 == of)
                        .map_or_else(String::new, |(_, of)| of.name.clone()),
                },
                Role::Retired | Role::Dropped => SpaceRole::Replaced,
            },
        };
        Ok(records.iter().map(info).collect())
    }

    /// Counts and bytes of the whole database.
    ///
    /// # Errors
    ///
    /// `Data` or `Io` when it cannot be read.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "database.stats", level = "debug", skip_all)
    )]
    pub async fn stats(&self) -> Result<DatabaseStats> {
        let shared = Arc::clone(&self.inner.shared);
        self.inner
            .run(move || {
                let spaces = shared.open_spaces();
                let slots = spaces.iter().map(|space| space.slots.memory_bytes()).sum::<u64>();
                let index_bytes = shared
                    .space_records()
                    .iter()
                    .map(|(id, _)| shared.occupied_bytes(&files::dir(*id)))
                    .sum::<Result<u64>>()?;
                let read = shared.truth.read()?;
                let stored_ms = read.head()?.clock_ms;
                Ok(DatabaseStats {
                    stored_time: (stored_ms > i64::MIN).then(|| Timestamp::from_millis(stored_ms)),
                    system_time: Some(Timestamp::from_millis(shared.clock.system())),
                    is_time_unconfirmed: !shared.clock.is_confirmed(),
                    keys: read.key_count(shared.clock.now())?,
                    spaces: shared.space_records().len() as u64,
                    disk_bytes: shared.occupied_bytes("")?,
                    truth_bytes: shared.occupied_bytes(truth::FILE)?,
                    is_truth_verified: shared.is_verified.load(Ordering::SeqCst),
                    slot_bytes: shared.occupied_bytes("spaces")?.saturating_sub(index_bytes),
                    index_bytes,
                    scopes_loaded: spaces.iter().map(|space| space.loaded_count() as u64).sum(),
                    scope_bytes: shared.budget.bytes(),
                    scope_bytes_max: shared.budget.bytes_max(),
                    scopes_unloaded: shared.budget.unloaded(),
                    memory_bytes: shared.truth.cached_bytes() + shared.values.bytes() + slots + shared.budget.bytes(),
                    background_failures: shared.background_failures(),
                })
            })
            .await
    }

    /// The time that the database goes by: that of the system or of
    /// [`DatabaseOptions::clock`](crate::DatabaseOptions::clock), but never before an earlier confirmed one.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.inner.shared.clock.now())
    }

    /// Reads everything and reports problems. It repairs nothing.
    ///
    /// Takes as long as reading all files.
    ///
    /// # Errors
    ///
    /// `Io` when files cannot be read. Damage is not an error but part of the report.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "database.check", level = "info", skip_all)
    )]
    pub async fn check(&self) -> Result<CheckReport> {
        // Of a damaged one, too.
        self.inner.check_not_closed()?;
        let shared = Arc::clone(&self.inner.shared);
        self.inner.run_on_pool(move || check::check(&shared)).await
    }

    /// [`check`](Self::check), and more: every row of every table is verified by itself and found by its key, those of
    /// deleted entries too, and every file in the directory must be one that the database has.
    ///
    /// To verify the pages of the file with the rows as well, open the database with
    /// [`verify_bytes_max`](crate::DatabaseOptions::verify_bytes_max) of `u64::MAX`.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "database.check_deep", level = "info", skip_all)
    )]
    pub async fn check_deep(&self) -> Result<CheckReport> {
        self.inner.check_not_closed()?;
        let shared = Arc::clone(&self.inner.shared);
        self.inner.run_on_pool(move || check::check_deep(&shared)).await
    }

    /// The directory of the database; none in memory.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.inner.shared.is_durable().then(|| self.inner.shared.path())
    }

    /// Refuses further calls through any handle, and waits for the writes under way.
    ///
    /// If this was the last handle, the files are closed and the lock is released when it returns. Else that happens
    /// when the others are dropped.
    ///
    /// # Errors
    ///
    /// [`Poisoned`](StorageError::Poisoned) if an earlier write failed.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "database.close", level = "info", skip_all)
    )]
    pub async fn close(self) -> Result<()> {
        if self.inner.mark.is_forked() {
            // The process that opened it closes it.
            return Ok(());
        }
        let flushed = self.inner.request(calls::Flush).await;
        self.inner.is_closed.store(true, Ordering::SeqCst);
        self.inner.workers.stop();
        self.inner.shared.queue.save_when_stopped();
        let (sender, receiver) = oneshot::channel();
        let inner = self.inner;
        // Closing the files takes a while, so it is not done here; nor in the pool, which is itself closed.
        let closer = std::thread::Builder::new()
            .name("llmspell-close".to_string())
            .spawn(move || {
                // Calls of other processes hold the database, too.
                drop(inner.attached.take());
                drop(inner);
                let _ = sender.send(());
            });
        // Without a thread for it the files were closed here, when the closure was dropped.
        drop(closer);
        let _ = receiver.await;
        match flushed {
            Err(StorageError::Closed) => Ok(()),
            flushed => flushed,
        }
    }
}

/// Verifies the truth in the background. Damage closes the database, because the row of a damaged key would seem not to
/// exist.
fn verify(shared: Arc<Shared>) -> Result<Verifier> {
    let mut verification = Verification::default();
    Verifier::start("llmspell-verify", move || {
        let done = verification.step(&shared.truth);
        shared.note_background(Task::Verify, &Place::Database, &done);
        match done {
            Ok(false) => return ControlFlow::Continue(()),
            Ok(true) => shared.is_verified.store(true, Ordering::SeqCst),
            Err(error) if error.kind() == ErrorKind::Data => shared.set_damaged(error),
            // The next opening tries again.
            Err(_) => {}
        }
        ControlFlow::Break(())
    })
}

impl Inner {
    /// Has the committer do a call, and waits for its answer.
    pub(crate) async fn request<C: WriteCall>(&self, call: C) -> Result<C::Answer> {
        self.submit(|reply| Request::new(call, reply)).await
    }

    /// [`request`](Self::request) for what an application writes to some spaces.
    pub(crate) async fn write<C: WriteCall>(
        &self,
        spaces: impl IntoIterator<Item = &Arc<Space>>,
        call: C,
    ) -> Result<C::Answer> {
        self.wait_at_gates(spaces).await?;
        self.request(call).await
    }

    /// [`write`](Self::write) of entries, in steps if they are many.
    pub(crate) async fn write_entries(
        &self,
        spaces: impl IntoIterator<Item = &Arc<Space>>,
        entries: Entries,
        (on_existing, now): (OnExisting, i64),
    ) -> Result<()> {
        self.wait_at_gates(spaces).await?;
        self.submit(|reply| entries.request(on_existing, now, reply)).await
    }

    async fn submit<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        self.check_open()?;
        let (reply, answer) = oneshot::channel();
        self.committer.submit(request(reply))?;
        answer.await.unwrap_or(Err(StorageError::Closed))
    }

    async fn wait_at_gates(&self, spaces: impl IntoIterator<Item = &Arc<Space>>) -> Result<()> {
        for space in spaces {
            if space.gate.is_closed() {
                let space = Arc::clone(space);
                let wait = move || {
                    space.gate.wait(GATE_WAIT_MAX);
                    Ok(())
                };
                self.run(wait).await?;
            }
        }
        Ok(())
    }

    /// A request for entries, whose parts are validated.
    pub(crate) async fn in_order(&self, parts: Vec<Part>) -> Result<Entries> {
        if !is_large(&parts, self.shared.large_batch_entries) {
            return Ok(Entries::Few(parts));
        }
        if parts.iter().map(|part| part.entries.len()).sum::<usize>() <= ORDERED_IN_PLACE {
            return Ok(Entries::many(parts));
        }
        self.run(move || Ok(Entries::many(parts))).await
    }

    /// Runs a job that may block.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        self.check_open()?;
        self.run_on_pool(job).await
    }

    async fn run_on_pool<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let run = move || {
            let done = shared.truth.guard(job);
            shared.make_room();
            done
        };
        self.pool.run(run).await
    }

    /// Checks that the database was not closed, that this process opened it, and that no damage hides rows.
    ///
    /// # Errors
    ///
    /// `Closed`, or `Corrupted` with the damage.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.check_not_closed()?;
        self.shared.check_undamaged()
    }

    fn check_not_closed(&self) -> Result<()> {
        if self.is_closed.load(Ordering::SeqCst) || self.mark.is_forked() {
            Err(StorageError::Closed)
        } else {
            Ok(())
        }
    }
}
