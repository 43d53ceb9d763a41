//! The transactional truth: everything but the vectors, in one redb file. The only place that opens transactions.
//!
//! | file        | question                                     |
//! |-------------|----------------------------------------------|
//! | `tables.rs` | which tables are there?                      |
//! | `read.rs`   | which data exist, as of one moment?          |
//! | `write.rs`  | which rows does a mutation change?           |
//! | `texts.rs`  | which entries have a text?                   |
//! | `values.rs` | which rows do keys have, and which have expired? |
//! | `quota.rs`  | how are quotas and their usage stored?       |
//! | `staged.rs` | which rows are written before their batch is complete? |
//! | `purge.rs`  | how are rows of dropped scopes removed?      |
//! | `check.rs`  | do all rows agree?                           |
//! | `verify.rs` | is every row found by its key?               |
//! | `raw.rs`    | how are rows copied, whatever their table?   |
//! | `row_check.rs` | is a row what was written for its key?    |
//!
//! redb checks its pages only after a crash, so every value of ours carries its own checksum over its key and itself.
//! Only redb's plain parts are used: `get`, `range`, `insert`, `remove`, and a durable `commit`.

pub(crate) mod check;
mod purge;
mod quota;
pub(crate) mod raw;
mod read;
mod row_check;
mod staged;
mod tables;
mod texts;
mod values;
mod verify;
mod write;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llmspell_core::{EmbeddingModel, HNSWConfig, Result, StorageError};
use redb::{ReadableDatabase, TableHandle};
use serde::{Deserialize, Serialize};

pub(crate) use purge::ExpiredRow;
pub(crate) use quota::StoredQuota;
pub(crate) use read::{Read, Records};
pub(crate) use row_check::row_damage;
pub(crate) use staged::Staged;
pub(crate) use tables::{ClockJump, ClockRow, Head, SurveyRow};
pub(crate) use values::ExpiredKey;
pub(crate) use verify::Verification;
pub(crate) use write::{Rows, Write};

use crate::base::error::{corrupted, io_error, redb_error};
use crate::base::ids::SpaceId;
use crate::disk::{Disk, DiskFile, Overlay, RedbFile, Reserve};

/// Name of the file.
pub(crate) const FILE: &str = "truth.redb";
/// Name it has until it is complete.
pub(crate) const NEW_FILE: &str = "truth.redb.new";

/// Number of the first space of a database; zero is the key-value data.
pub(crate) const FIRST_SPACE: SpaceId = SpaceId(1);
/// redb caches pages of a file in RAM, too; a few are enough there.
const IN_MEMORY_CACHE_BYTES: usize = 4 << 20;
/// Fewer are enough to read a file once, from one end to the other.
const VERIFY_CACHE_BYTES: usize = 1 << 20;

/// One space, as it was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpaceRecord {
    pub(crate) name: String,
    /// Components that are stored: all of those of its model, or the leading ones.
    pub(crate) dim: usize,
    pub(crate) config: HNSWConfig,
    /// Whose vectors these are, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<EmbeddingModel>,
    #[serde(default, skip_serializing_if = "Role::is_plain")]
    pub(crate) role: Role,
}

/// How a space is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// By its name, independently of others.
    #[default]
    Plain,
    /// By the router too: an id exists in only one of these spaces.
    Routed,
    /// The entries of a routed space are copied to it, with vectors of another model. It is not visible until it
    /// replaces that space.
    Staging {
        /// Number of that space.
        of: u32,
    },
    /// Another space has replaced it. Its remains are to be removed.
    Retired,
    /// It was dropped, and its name is free. The record is removed last.
    Dropped,
}

impl Role {
    fn is_plain(&self) -> bool {
        *self == Self::Plain
    }

    /// Whether its entries count for the quota of their scope: copies do not, nor do the remains of a retired space.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Plain | Self::Routed)
    }
}

/// Its name and dimension, as errors list them.
impl fmt::Display for SpaceRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.model {
            Some(model) if model.dim != self.dim => {
                write!(f, "`{}` ({} of {} components)", self.name, self.dim, model.dim)
            }
            _ => write!(f, "`{}` ({} components)", self.name, self.dim),
        }
    }
}

impl SpaceRecord {
    /// A space that is used by its name.
    pub(crate) fn plain(name: impl Into<String>, dim: usize, config: HNSWConfig) -> Self {
        Self {
            name: name.into(),
            dim,
            config,
            model: None,
            role: Role::Plain,
        }
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Truth {
    redb: redb::Database,
    path: PathBuf,
    /// The file, and the reserve with which it can be written on a full disk; none in RAM.
    on_disk: Option<(Arc<dyn DiskFile>, Arc<Reserve>)>,
    /// Whether all of the file was verified when it was opened.
    pub(crate) is_verified: bool,
    /// Held by each snapshot that is read.
    reads: Arc<()>,
}

impl Truth {
    /// A truth in RAM, empty or with one space, which is [`FIRST_SPACE`].
    pub(crate) fn in_memory(space: Option<&SpaceRecord>) -> Result<Self> {
        let path = PathBuf::from("memory");
        let redb = redb::Builder::new()
            .set_cache_size(IN_MEMORY_CACHE_BYTES)
            .create_with_backend(redb::backends::InMemoryBackend::new())
            .map_err(|error| redb_error(&path, error))?;
        let truth = Self::initialized(redb, path)?;
        let Some(space) = space else {
            return Ok(truth);
        };
        let txn = truth.write()?;
        let mut rows = txn.rows();
        rows.put_space(FIRST_SPACE, space)?;
        rows.set_head(&Head {
            next_space_id: FIRST_SPACE.0 + 1,
            ..Head::NEW
        })?;
        drop(rows);
        txn.commit()?;
        Ok(truth)
    }

    /// A new truth with its tables and without rows.
    fn initialized(redb: redb::Database, path: PathBuf) -> Result<Self> {
        let truth = Self {
            redb,
            path,
            on_disk: None,
            reads: Arc::default(),
            is_verified: true,
        };
        truth.initialize()?;
        Ok(truth)
    }

    /// Makes the file, whole or not at all.
    pub(crate) fn create(disk: &Arc<dyn Disk>) -> Result<()> {
        let path = disk.full_path(NEW_FILE);
        let file = disk
            .create(NEW_FILE)
            .map_err(|source| io_error("create", &path, source))?;
        let redb = redb::Builder::new()
            .create_with_backend(RedbFile::new(Arc::clone(&file)))
            .map_err(|error| redb_error(&path, error))?;
        drop(Self::initialized(redb, path.clone())?);
        file.sync().map_err(|source| io_error("sync", &path, source))?;
        drop(file);
        disk.rename(NEW_FILE, FILE)
            .map_err(|source| io_error("rename", &path, source))?;
        disk.sync_dir("")
            .map_err(|source| io_error("sync", &disk.full_path(""), source))
    }

    /// Opens the file that [`create`](Self::create) made.
    pub(crate) fn open(disk: &Arc<dyn Disk>, cache_bytes: usize, verify_bytes_max: u64) -> Result<Self> {
        let path = disk.full_path(FILE);
        let file = disk.open_alone(FILE).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => StorageError::AlreadyOpen {
                path: disk.full_path(""),
                holder: "a process whose LOCK file was removed".to_string(),
            },
            _ => io_error("open", &path, source),
        })?;
        let len = file.len().map_err(|source| io_error("measure", &path, source))?;
        if len == 0 {
            // redb would take it for a new one.
            return Err(corrupted(path, "the file is empty"));
        }
        let reserve = Arc::new(Reserve::of(disk));
        let open = |is_verified: bool, cache_bytes: usize| {
            let mut builder = redb::Builder::new();
            builder
                .set_cache_size(cache_bytes)
                .set_check_integrity_on_open(is_verified);
            guard(&path, || {
                builder
                    .create_with_backend(RedbFile::with_reserve(Arc::clone(&file), &reserve))
                    .map_err(|error| redb_error(&path, error))
            })
        };
        // Our checksums show whether a row is as it was written, but a damaged key can hide its row altogether.
        let is_verified = len <= verify_bytes_max;
        if is_verified {
            // By itself: redb forgets the pages that it has read for this, but an allocator may keep the memory.
            drop(open(true, VERIFY_CACHE_BYTES.min(cache_bytes))?);
        }
        let redb = open(false, cache_bytes)?;
        Ok(Self {
            redb,
            path,
            is_verified,
            on_disk: Some((file, reserve)),
            reads: Arc::default(),
        })
    }

    /// Opens the file to read what can be read of it. It is not verified, and not changed.
    ///
    /// # Errors
    ///
    /// `Corrupted` if it is no file of redb any more, or its last state cannot be found.
    pub(crate) fn open_damaged(disk: &Arc<dyn Disk>) -> Result<Self> {
        Ok(Self {
            redb: open_unchanged(disk, false)?,
            path: disk.full_path(FILE),
            on_disk: None,
            reads: Arc::default(),
            is_verified: false,
        })
    }

    /// Verifies every page of the file, which is not changed: a page that is older than the others, or another one, may hold
    /// rows that seem undamaged, and lack some.
    ///
    /// # Errors
    ///
    /// `Corrupted`, or `Io`.
    pub(crate) fn verify_pages(disk: &Arc<dyn Disk>) -> Result<()> {
        open_unchanged(disk, true).map(drop)
    }

    /// Sets room aside, so that what frees room can be written on a full disk. Asked for while there is room.
    pub(crate) fn keep_reserve(&self) {
        if let Some((file, reserve)) = &self.on_disk
            && let Ok(len) = file.len()
        {
            reserve.keep(len);
        }
    }

    /// About how many bytes can be written on a full disk.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.on_disk.as_ref().map_or(0, |(_, reserve)| reserve.bytes())
    }

    /// Whether a snapshot is being read: pages that it sees are not used again meanwhile.
    pub(crate) fn is_being_read(&self) -> bool {
        Arc::strong_count(&self.reads) > 1
    }

    /// Length of the file; zero in RAM, and where it cannot be measured.
    pub(crate) fn file_bytes(&self) -> u64 {
        let len = self.on_disk.as_ref().map(|(file, _)| file.len());
        len.and_then(Result::ok).unwrap_or(0)
    }

    fn initialize(&self) -> Result<()> {
        let txn = self.redb.begin_write().map_err(|error| redb_error(&self.path, error))?;
        let result = (|| -> std::result::Result<(), redb::Error> {
            txn.open_table(tables::META)?
                .insert(tables::HEAD, Head::NEW.encode().as_slice())?;
            // All tables are there from the beginning, so that reading never meets one that is not.
            for table in tables::ALL {
                table.create(&txn)?;
            }
            txn.commit()?;
            Ok(())
        })();
        result.map_err(|error| redb_error(&self.path, error))
    }

    /// Whether nothing was ever written to it.
    ///
    /// # Errors
    ///
    /// `Io`, or `Data` if the file is damaged.
    pub(crate) fn is_new(&self) -> Result<bool> {
        let read = self.read()?;
        Ok(read.head()? == Head::NEW && read.key_count(i64::MIN)? == 0 && !read.has_quotas()?)
    }

    /// Stores `now` as the latest moment that was seen, whatever was stored. A database that has seen none stays so.
    ///
    /// # Errors
    ///
    /// `Io`, or `Data` if the file is damaged.
    pub(crate) fn reset_clock(&self, now: i64) -> Result<()> {
        let read = self.read()?;
        let (mut head, has_row) = (read.head()?, read.clock()?.is_some());
        let has_moment = head.clock_ms != Head::NEW.clock_ms;
        if !has_moment && !has_row {
            return Ok(());
        }
        if has_moment {
            head.clock_ms = now;
        }
        let txn = self.write()?;
        let mut rows = txn.rows();
        rows.set_head(&head)?;
        rows.set_clock(None)?;
        drop(rows);
        txn.commit()
    }

    /// A read transaction as of now.
    ///
    /// # Errors
    ///
    /// `Io`, or `Data` if the file is damaged.
    pub(crate) fn read(&self) -> Result<Read> {
        let txn = self.redb.begin_read().map_err(|error| redb_error(&self.path, error))?;
        Ok(Read::new(txn, self.path.clone(), Arc::clone(&self.reads)))
    }

    /// Begins a transaction. There is one at a time: the committer's.
    ///
    /// # Errors
    ///
    /// `Io`, or `Poisoned` after an earlier failure.
    pub(crate) fn write(&self) -> Result<Write> {
        let txn = self.redb.begin_write().map_err(|error| redb_error(&self.path, error))?;
        Ok(Write::new(txn, self.path.clone()))
    }

    /// Runs what reads the file. redb may panic on pages that were altered in ways its checks do not foresee; that is
    /// damage to report, not a reason to take the application down.
    ///
    /// # Errors
    ///
    /// What `read` returns, or `Corrupted` if it panicked.
    pub(crate) fn guard<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        guard(&self.path, read)
    }

    /// Bytes of pages that are held in RAM.
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.redb.cache_stats().used_bytes() as u64
    }

    /// Where the file is, for error texts.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens the file with what would be written kept in RAM.
fn open_unchanged(disk: &Arc<dyn Disk>, is_verified: bool) -> Result<redb::Database> {
    let path = disk.full_path(FILE);
    let file = disk.open(FILE).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => corrupted(&path, "the file is missing"),
        _ => io_error("open", &path, source),
    })?;
    let overlay = Overlay::new(file).map_err(|source| io_error("measure", &path, source))?;
    if redb::StorageBackend::len(&overlay).is_ok_and(|len| len == 0) {
        // redb would take it for a new one.
        return Err(corrupted(path, "the file is empty"));
    }
    guard(&path, || {
        redb::Builder::new()
            .set_cache_size(IN_MEMORY_CACHE_BYTES)
            .set_check_integrity_on_open(is_verified)
            .create_with_backend(overlay)
            .map_err(|error| redb_error(&path, error))
    })
}

fn guard<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(corrupted(path, format!("reading it panicked: {text}")))
    })
}

/// A table that is there from the beginning is gone, or has other types.
fn table_error(path: &Path, table: &impl TableHandle, error: redb::TableError) -> llmspell_core::StorageError {
    match error {
        redb::TableError::Storage(error) => redb_error(path, error),
        other => corrupted(path, format!("table `{}`: {other}", table.name())),
    }
}
