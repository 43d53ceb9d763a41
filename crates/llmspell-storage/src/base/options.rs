//! [`DatabaseOptions`]: the settings of a database.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llmspell_core::Timestamp;

/// Default of [`DatabaseOptions::cache_bytes`].
pub const DEFAULT_CACHE_BYTES: usize = 96 << 20;
/// Default of [`DatabaseOptions::free_bytes_min`].
pub const DEFAULT_FREE_BYTES_MIN: u64 = 64 << 20;

/// Default of [`DatabaseOptions::verify_bytes_max`].
pub const DEFAULT_VERIFY_BYTES_MAX: u64 = 256 << 20;

/// Default of [`DatabaseOptions::graph_points_min`].
pub const DEFAULT_GRAPH_POINTS_MIN: u64 = 4_096;

/// Default of [`DatabaseOptions::metadata_points_min`].
pub const DEFAULT_METADATA_POINTS_MIN: u64 = 256;

/// Default of [`DatabaseOptions::text_rows_max`].
const DEFAULT_TEXT_ROWS_MAX: usize = 16_384;

/// Default of [`DatabaseOptions::metadata_at_once_max`].
pub(crate) const DEFAULT_METADATA_AT_ONCE_MAX: u64 = 64;

/// Default of [`DatabaseOptions::scope_cache_bytes`].
pub const DEFAULT_SCOPE_CACHE_BYTES: u64 = 1 << 30;

/// Default of [`DatabaseOptions::large_batch_entries`].
pub const DEFAULT_LARGE_BATCH_ENTRIES: usize = 1_024;

/// Default of [`DatabaseOptions::file_mode`]: only the owner reads and writes.
pub const DEFAULT_FILE_MODE: u32 = 0o600;

/// How a [`Database`](crate::Database) is opened.
///
/// ```no_run
/// # async fn example() -> llmspell_storage::Result<()> {
/// use llmspell_storage::DatabaseOptions;
///
/// let database = DatabaseOptions::new().cache_bytes(32 << 20).open("agent.db").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DatabaseOptions {
    pub(crate) cache_bytes: usize,
    pub(crate) free_bytes_min: u64,
    pub(crate) verify_bytes_max: u64,
    pub(crate) graph_points_min: u64,
    pub(crate) metadata_points_min: u64,
    pub(crate) metadata_at_once_max: u64,
    pub(crate) text_rows_max: usize,
    pub(crate) scope_cache_bytes: u64,
    pub(crate) large_batch_entries: usize,
    pub(crate) must_exist: bool,
    pub(crate) file_mode: u32,
    pub(crate) reset_clock: bool,
    pub(crate) trace_scope_ids: bool,
    /// None: the clock of the system.
    pub(crate) time: Option<TimeSource>,
    /// None: that of the machine.
    pub(crate) boot: Option<BootSource>,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            cache_bytes: DEFAULT_CACHE_BYTES,
            free_bytes_min: DEFAULT_FREE_BYTES_MIN,
            verify_bytes_max: DEFAULT_VERIFY_BYTES_MAX,
            graph_points_min: DEFAULT_GRAPH_POINTS_MIN,
            metadata_points_min: DEFAULT_METADATA_POINTS_MIN,
            metadata_at_once_max: DEFAULT_METADATA_AT_ONCE_MAX,
            text_rows_max: DEFAULT_TEXT_ROWS_MAX,
            scope_cache_bytes: DEFAULT_SCOPE_CACHE_BYTES,
            large_batch_entries: DEFAULT_LARGE_BATCH_ENTRIES,
            must_exist: false,
            file_mode: DEFAULT_FILE_MODE,
            reset_clock: false,
            trace_scope_ids: false,
            time: None,
            boot: None,
        }
    }
}

impl DatabaseOptions {
    /// The part of the cache that holds values; the rest holds pages.
    pub(crate) fn value_cache_bytes(&self) -> usize {
        self.cache_bytes / 3
    }

    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Most bytes of RAM for cached pages and values; default [`DEFAULT_CACHE_BYTES`]. A third of it holds values, the
    /// rest pages. The vectors are memory-mapped and not counted.
    ///
    /// The cache begins empty and grows with the data read and written: keys, ids, metadata. Searches without metadata
    /// and filter read none of these, so a database with only such searches uses almost none of it.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Writes are refused with [`NoSpace`](crate::StorageError::NoSpace) while the file system has fewer free bytes
    /// than this; default [`DEFAULT_FREE_BYTES_MIN`]. The reserve keeps a full disk from failing a commit half-way,
    /// which would close the database. 0 switches it off, and with it the file `RESERVE`, by which what frees room works on a
    /// full disk.
    #[must_use]
    pub fn free_bytes_min(mut self, bytes: u64) -> Self {
        self.free_bytes_min = bytes;
        self
    }

    /// The file of ids, metadata and key-value data is read and verified as a whole each time it is opened, if it is not
    /// larger than this, in bytes; default [`DEFAULT_VERIFY_BYTES_MAX`], a few tenths of a second.
    ///
    /// Every value that is read is verified anyway, and so is every vector. Only a damaged key of a larger file can go
    /// unnoticed, by hiding its row, until a thread in the background has verified all rows
    /// ([`DatabaseStats::is_truth_verified`](crate::DatabaseStats::is_truth_verified)). If it finds one, every call but
    /// [`Database::check`](crate::Database::check) returns [`Corrupted`](crate::StorageError::Corrupted) from then on.
    ///
    /// redb panics on some damaged pages. That is caught and becomes `Corrupted`, but with `panic = "abort"` the
    /// application ends: then choose a limit that no file exceeds.
    #[must_use]
    pub fn verify_bytes_max(mut self, bytes: u64) -> Self {
        self.verify_bytes_max = bytes;
        self
    }

    /// Entries from which on a scope gets a graph, built in the background; default [`DEFAULT_GRAPH_POINTS_MIN`].
    /// Smaller scopes are searched exactly, and so are those of [`Manhattan`](crate::DistanceMetric::Manhattan) spaces,
    /// whatever their size. At least 1.
    #[must_use]
    pub fn graph_points_min(mut self, points: u64) -> Self {
        self.graph_points_min = points.max(1);
        self
    }

    /// Entries from which on a scope gets an index of its metadata, built by the first filter after opening and kept in
    /// RAM while the scope is loaded; default [`DEFAULT_METADATA_POINTS_MIN`]. In smaller scopes filters look at every
    /// entry.
    #[must_use]
    pub fn metadata_points_min(mut self, points: u64) -> Self {
        self.metadata_points_min = points;
        self
    }

    /// If a commit changes at most this many entries of a scope, it also updates the scope's metadata index; default 64.
    /// After a larger commit the index takes all changed metadata in at once, later. For tests: answers are the same
    /// either way.
    #[doc(hidden)]
    #[must_use]
    pub fn metadata_at_once_max(mut self, entries: u64) -> Self {
        self.metadata_at_once_max = entries;
        self
    }

    /// Most entries of a scope whose words a search looks at one by one; more of them go into an index of words in the
    /// background; default 16,384. For tests: answers are the same either way.
    #[doc(hidden)]
    #[must_use]
    pub fn text_rows_max(mut self, entries: usize) -> Self {
        self.text_rows_max = entries.max(1);
        self
    }

    /// Bytes of RAM for loaded scopes: the slots of their vectors, graphs, metadata indexes; default
    /// [`DEFAULT_SCOPE_CACHE_BYTES`]. The least recently used scopes are unloaded first. They are loaded again when
    /// they are next used, which takes about 50 µs for small ones, and for those with a graph of the tier
    /// [`Speed`](crate::Memory::Speed) the time to read it. Choose more than the largest such graph takes.
    ///
    /// More is used while searches and writes under way need it, and for graphs that are being built. Memory-mapped
    /// files are not counted. [`DatabaseStats`](crate::DatabaseStats) has the current use.
    #[must_use]
    pub fn scope_cache_bytes(mut self, bytes: u64) -> Self {
        self.scope_cache_bytes = bytes;
        self
    }

    /// Entries from which on a batch of entries is written in steps, so that writes of other scopes need not wait until all of
    /// it is written; default [`DEFAULT_LARGE_BATCH_ENTRIES`]. At least 1. A batch of 2 MiB and more is written in steps, too,
    /// however few its entries are. With `usize::MAX` none is.
    ///
    /// Such a batch is as atomic as any other. It takes a few commits more, one such batch is written at a time, and writes of
    /// the scopes that it is about wait until it is done.
    #[must_use]
    pub fn large_batch_entries(mut self, entries: usize) -> Self {
        self.large_batch_entries = entries.max(1);
        self
    }

    /// Whether opening fails where there is no database yet, instead of creating one; default false.
    #[must_use]
    pub fn must_exist(mut self, must_exist: bool) -> Self {
        self.must_exist = must_exist;
        self
    }

    /// Permission bits of new files, as in `chmod`; default [`DEFAULT_FILE_MODE`]. Folders get the same, plus the right
    /// to enter for all who may read: 0600 goes with 0700, 0640 with 0750. Existing files are not changed, and the
    /// umask of the process applies. Only on Unix; elsewhere the system decides.
    #[must_use]
    pub fn file_mode(mut self, mode: u32) -> Self {
        self.file_mode = mode & 0o777;
        self
    }

    /// Whether the stored time is replaced by the system's time now; default false.
    ///
    /// For a database that was written while the system clock was ahead: its time stands still until the clock has
    /// caught up, as `stats` and `check` show. Entries that expired by the stored time and were not purged yet return.
    #[must_use]
    pub fn reset_clock(mut self, reset: bool) -> Self {
        self.reset_clock = reset;
        self
    }

    /// Whether spans and events of `tracing` show the ids of scopes, and the texts of errors, which may name one; default
    /// false: then they show the kind of a scope (`user`) and of an error alone.
    #[cfg(feature = "tracing")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
    #[must_use]
    pub fn trace_scope_ids(mut self, shows_ids: bool) -> Self {
        self.trace_scope_ids = shows_ids;
        self
    }

    /// A function that replaces the system clock: for tests of expiry.
    ///
    /// Every call uses it, from any thread. Confirmed time never goes back: while the function returns an earlier time,
    /// time stands still. A time more than a minute ahead of the [`boot_clock`](Self::boot_clock) hides entries that
    /// have expired by then, but nothing is purged by it until it is confirmed: a test of purges sets both clocks.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.time = Some(TimeSource::new(now));
        self
    }

    /// Whom to ask how long the machine is on, in place of the machine: for tests. What the [`clock`](Self::clock) says is
    /// compared with it. All databases that are opened with such a clock take it for the same start of the machine.
    #[must_use]
    pub fn boot_clock(mut self, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.boot = Some(BootSource(Arc::new(elapsed)));
        self
    }
}

/// The source of the time, which may go back.
#[derive(Clone)]
pub(crate) struct TimeSource(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl TimeSource {
    pub(crate) fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for TimeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TimeSource").field(&self.now()).finish()
    }
}

/// The source of the time since the machine was started.
#[derive(Clone)]
pub(crate) struct BootSource(Arc<dyn Fn() -> Duration + Send + Sync>);

impl BootSource {
    pub(crate) fn new(elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(elapsed))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        (self.0)()
    }
}

impl fmt::Debug for BootSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BootSource").field(&self.elapsed()).finish()
    }
}
