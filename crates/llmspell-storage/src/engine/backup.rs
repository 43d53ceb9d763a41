//! Backups of a database that is open, and databases made of backups.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use llmspell_core::{Result, StorageError, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::open::{self, FORMAT_VERSION};
use super::workers::{Stop, Workers};
use super::{Database, Inner, Shared, calls};
use crate::backup::{self, LOCK_FILE, Manifest, Source, Wanted};
use crate::base::error::{holder_of, io_error};
use crate::base::options::DEFAULT_FILE_MODE;
use crate::disk::{Directory, Disk, Locked, create_folders};
use crate::truth::Role;

/// What [`BackupOptions::on_progress`] is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupProgress {
    /// Bytes that were read and verified so far.
    pub done_bytes: u64,
    /// Bytes in all: an estimate for a backup, exact for a restore. Zero until it is known.
    pub total_bytes: u64,
}

type OnProgress = Arc<dyn Fn(BackupProgress) + Send + Sync>;

/// How a backup is taken, verified or restored.
///
/// ```no_run
/// # async fn example() -> llmspell_storage::Result<()> {
/// use llmspell_storage::{BackupOptions, Database};
///
/// let database = Database::open("agent.db").await?;
/// let options = BackupOptions::new().bytes_per_second_max(50 << 20);
/// let receipt = database.backup_with("backups/agent", options).await?;
/// println!("{} bytes written, {} were there", receipt.written_bytes, receipt.reused_bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct BackupOptions {
    pub(crate) with_indexes: bool,
    pub(crate) keep_going: bool,
    pub(crate) bytes_per_second_max: Option<u64>,
    pub(crate) on_progress: Option<OnProgress>,
}

impl fmt::Debug for BackupOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupOptions")
            .field("with_indexes", &self.with_indexes)
            .field("keep_going", &self.keep_going)
            .field("bytes_per_second_max", &self.bytes_per_second_max)
            .finish_non_exhaustive()
    }
}

impl BackupOptions {
    /// The defaults: without indexes, as fast as the disks are, an error where the database is damaged.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the files of indexes are part of the backup. Without them it is smaller, and a restored database builds its
    /// indexes in the background; until then searches of large scopes are slower. Default: no.
    #[must_use]
    pub fn with_indexes(mut self, with_indexes: bool) -> Self {
        self.with_indexes = with_indexes;
        self
    }

    /// Whether to go on where the database is damaged. What can be read is then in the backup, damaged bytes as they are,
    /// and the receipt lists the damage. Default: no, so that a good backup is not replaced by a damaged one.
    #[must_use]
    pub fn keep_going(mut self, keep_going: bool) -> Self {
        self.keep_going = keep_going;
        self
    }

    /// Most bytes a second that are read. Default: no limit.
    #[must_use]
    pub fn bytes_per_second_max(mut self, bytes: u64) -> Self {
        self.bytes_per_second_max = Some(bytes.max(1));
        self
    }

    /// Is called after each block, about every 256 KiB, on a thread of the database.
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl Fn(BackupProgress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(on_progress));
        self
    }
}

/// What a backup holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BackupReceipt {
    /// Directory of the database that was backed up.
    pub database: PathBuf,
    /// When the snapshot was taken, by the clock of the database.
    pub taken_at: Option<Timestamp>,
    /// Number of the last change of entries that it includes.
    pub mutation: u64,
    /// Which backup to this directory it is, from 1.
    pub sequence: u32,
    /// Rows: entries, keys, and what belongs to them.
    pub rows: u64,
    /// Files with vectors, and of indexes if they are included.
    pub files: u64,
    /// Bytes of the content.
    pub content_bytes: u64,
    /// Bytes that the backup occupies in its directory.
    pub backup_bytes: u64,
    /// The part of the content that this call wrote.
    pub written_bytes: u64,
    /// The part of the content that an earlier backup in the directory had; each byte was compared.
    pub reused_bytes: u64,
    /// Whether there was an earlier backup in the directory.
    pub is_incremental: bool,
    /// Whether files of indexes are included.
    pub has_indexes: bool,
    /// Damage of the database that was found while the backup was taken.
    pub damage: Vec<String>,
}

impl BackupReceipt {
    fn of(manifest: Manifest) -> Self {
        Self {
            taken_at: Some(Timestamp::from_millis(manifest.taken_at)),
            mutation: manifest.lsn,
            sequence: manifest.sequence,
            rows: manifest.rows(),
            files: manifest.files(),
            content_bytes: manifest.content_bytes(),
            backup_bytes: manifest.pack_bytes(),
            has_indexes: manifest.has_indexes,
            database: manifest.origin.into(),
            damage: manifest.damage,
            ..Self::default()
        }
    }
}

impl Database {
    /// Writes a backup to a directory, while reads and writes go on.
    ///
    /// The backup is the state after one commit: everything that was acknowledged before the call is in it, of a batch
    /// all or nothing. `dir` is created if it does not exist. If it holds an earlier backup of this database, only what
    /// has changed is written, and that backup stays valid until the new one is complete; the directory then holds the new
    /// one. If the call fails or the process ends, an earlier backup is as it was.
    ///
    /// Meanwhile no disk space is freed: slots of deleted vectors are used again once the backup is complete.
    ///
    /// # Errors
    ///
    /// [`NotABackup`](StorageError::NotABackup) if the directory holds other files or a backup of another database;
    /// [`AlreadyOpen`](StorageError::AlreadyOpen) if another backup is being written there;
    /// [`Corrupted`](StorageError::Corrupted) if the database is damaged; [`NoSpace`](StorageError::NoSpace),
    /// [`ReadOnly`](StorageError::ReadOnly), [`Io`](StorageError::Io);
    /// [`InvalidName`](StorageError::InvalidName) if `dir` lies inside the database.
    pub async fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReceipt> {
        self.backup_with(dir, BackupOptions::new()).await
    }

    /// [`backup`](Self::backup), with options.
    ///
    /// # Errors
    ///
    /// As [`backup`](Self::backup). With [`keep_going`](BackupOptions::keep_going) damage is no error.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "database.backup", level = "info", skip_all)
    )]
    pub async fn backup_with(&self, dir: impl AsRef<Path>, options: BackupOptions) -> Result<BackupReceipt> {
        let dir = dir.as_ref().to_path_buf();
        let own = self.path();
        self.inner
            .back_up(options, move || {
                refuse_inside(&dir, own.as_deref())?;
                create_folders(&dir, DEFAULT_FILE_MODE).map_err(|source| io_error("create", &dir, source))?;
                let dir = dir.canonicalize().map_err(|source| io_error("find", &dir, source))?;
                refuse_inside(&dir, own.as_deref())?;
                let target =
                    Directory::open(dir.clone(), DEFAULT_FILE_MODE).map_err(|source| io_error("open", &dir, source))?;
                let lock = lock(&target, &dir)?;
                Ok((Arc::new(target) as Arc<dyn Disk>, Some(lock)))
            })
            .await
    }

    /// A backup on a disk of the tests.
    #[cfg(test)]
    pub(crate) async fn backup_on(&self, disk: Arc<dyn Disk>, options: BackupOptions) -> Result<BackupReceipt> {
        self.inner.back_up(options, move || Ok((disk, ()))).await
    }

    /// Reads a whole backup, and checks that every byte is what was written. It changes nothing.
    ///
    /// # Errors
    ///
    /// [`Corrupted`](StorageError::Corrupted) with the place of the first damage;
    /// [`NotABackup`](StorageError::NotABackup) if it was cut short, or is none;
    /// [`UnsupportedVersion`](StorageError::UnsupportedVersion), [`Io`](StorageError::Io).
    pub async fn verify_backup(dir: impl AsRef<Path>, options: BackupOptions) -> Result<BackupReceipt> {
        let dir = dir.as_ref().to_path_buf();
        let verify = move |stop: &Stop| {
            let backup = open_backup(&dir)?;
            let mut pace = Pace::new(stop.clone(), options);
            pace.total = Manifest::read(&backup)?.content_bytes();
            let manifest = backup::verify(&backup, &mut |bytes| pace.after(bytes))?;
            Ok(BackupReceipt::of(manifest))
        };
        Workers::default().run("llmspell-verify", verify).await
    }

    /// Makes a database of a backup, in a directory that is empty or does not exist.
    ///
    /// Every byte is verified while it is copied. The directory appears when everything in it is durable; until then the
    /// files are beside it, in `.NAME.restoring`. What a restore that was interrupted has left there is removed by the next
    /// one.
    ///
    /// ```no_run
    /// # async fn example() -> llmspell_storage::Result<()> {
    /// use llmspell_storage::{BackupOptions, Database};
    ///
    /// Database::restore("backups/agent", "agent.db", BackupOptions::new()).await?;
    /// let database = Database::open("agent.db").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`verify_backup`](Self::verify_backup); [`DirectoryNotEmpty`](StorageError::DirectoryNotEmpty),
    /// [`NoSpace`](StorageError::NoSpace), [`ReadOnly`](StorageError::ReadOnly);
    /// [`AlreadyOpen`](StorageError::AlreadyOpen) if another process restores to the same directory.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "database.restore", level = "info", skip_all)
    )]
    pub async fn restore(
        backup: impl AsRef<Path>,
        dir: impl AsRef<Path>,
        options: BackupOptions,
    ) -> Result<BackupReceipt> {
        let (backup, dir) = (backup.as_ref().to_path_buf(), dir.as_ref().to_path_buf());
        let restore = move |stop: &Stop| {
            let mut pace = Pace::new(stop.clone(), options);
            let backup = open_backup(&backup)?;
            pace.total = Manifest::read(&backup)?.content_bytes();
            let manifest = open::create_from(&dir, |target| {
                backup::restore(&backup, target, &mut |bytes| pace.after(bytes))
            })?;
            Ok(BackupReceipt::of(manifest))
        };
        Workers::default().run("llmspell-restore", restore).await
    }
}

impl Inner {
    async fn back_up<L: Send + 'static>(
        &self,
        options: BackupOptions,
        open_target: impl FnOnce() -> Result<(Arc<dyn Disk>, L)> + Send + 'static,
    ) -> Result<BackupReceipt> {
        match options.keep_going {
            // Of a damaged one, too.
            true => self.check_not_closed()?,
            false => self.check_open()?,
        }
        let id = self.database_id().await;
        let shared = Arc::clone(&self.shared);
        let work = move |stop: &Stop| {
            let (target, _lock) = open_target()?;
            back_up(&shared, &target, id, Pace::new(stop.clone(), options).beside_others())
        };
        self.workers.run("llmspell-backup", work).await
    }

    /// What tells the database from others; zero if it has not got that, and cannot be written.
    async fn database_id(&self) -> [u8; 16] {
        let known = self.shared.truth.guard(|| self.shared.truth.read()?.database_id());
        if let Ok(Some(id)) = known {
            return id;
        }
        let id = Uuid::now_v7().into_bytes();
        self.request(calls::Identify { id }).await.unwrap_or_default()
    }
}

fn back_up(shared: &Shared, target: &Arc<dyn Disk>, id: [u8; 16], mut pace: Pace) -> Result<BackupReceipt> {
    let old = backup::prepare(target, &id)?;
    // First the floor, then the snapshot.
    let _floor = shared.floor.hold();
    let read = shared.truth.read()?;
    let mut in_memory = HashMap::new();
    if shared.disk.is_none() {
        for (space, record) in read.spaces()? {
            if record.role != Role::Dropped && shared.has_space(space) {
                in_memory.insert(space, shared.space(space)?.slots.view());
            }
        }
    }
    let source = Source {
        read: &read,
        disk: shared.disk.as_ref(),
        in_memory,
    };
    let wanted = Wanted {
        with_indexes: pace.options.with_indexes,
        keeps_going: pace.options.keep_going,
        database: id,
        taken_at: shared.clock.now(),
        format: FORMAT_VERSION,
        origin: shared.path().display().to_string(),
        truth_bytes: shared.truth.file_bytes(),
    };
    let total = std::cell::Cell::new(0);
    let taken = backup::take(
        &source,
        target,
        old,
        &wanted,
        &mut |bytes| total.set(bytes),
        &mut |bytes| {
            pace.total = total.get();
            pace.after(bytes)
        },
    )?;
    pace.finish();
    Ok(BackupReceipt {
        written_bytes: taken.written_bytes,
        reused_bytes: taken.reused_bytes,
        is_incremental: taken.is_incremental,
        ..BackupReceipt::of(taken.manifest)
    })
}

/// A backup rests after each block for one in this many parts of the time that the block took, so that calls beside it find
/// a processor and the disk free.
const REST: u32 = 2;

/// How fast a backup is, and what is told of it.
struct Pace {
    stop: Stop,
    options: BackupOptions,
    /// Whether others use the database meanwhile.
    rests: bool,
    begun: Instant,
    /// When the current block was begun.
    block_begun: Instant,
    done: u64,
    total: u64,
}

impl Pace {
    fn new(stop: Stop, options: BackupOptions) -> Self {
        let begun = Instant::now();
        Self {
            stop,
            options,
            rests: false,
            begun,
            block_begun: begun,
            done: 0,
            total: 0,
        }
    }

    /// For work beside searches and writes.
    fn beside_others(self) -> Self {
        Self { rests: true, ..self }
    }

    /// After a block of this many bytes.
    fn after(&mut self, bytes: u64) -> Result<()> {
        self.done += bytes;
        self.tell(self.total);
        let due = self.options.bytes_per_second_max.map_or(Duration::ZERO, |max| {
            Duration::from_secs_f64(self.done as f64 / max as f64)
        });
        let rest = match self.rests {
            true => self.block_begun.elapsed() / REST,
            false => Duration::ZERO,
        };
        self.stop
            .check_after(due.saturating_sub(self.begun.elapsed()).max(rest))?;
        self.block_begun = Instant::now();
        Ok(())
    }

    fn finish(&self) {
        self.tell(self.done);
    }

    fn tell(&self, total: u64) {
        if let Some(on_progress) = &self.options.on_progress {
            on_progress(BackupProgress {
                done_bytes: self.done,
                total_bytes: total.max(self.done),
            });
        }
    }
}

/// A backup inside the database would be part of the next one, or be refused as foreign.
fn refuse_inside(dir: &Path, database: Option<&Path>) -> Result<()> {
    match database {
        Some(database) if dir.starts_with(database) => Err(StorageError::InvalidName {
            what: "backup directory",
            name: dir.display().to_string(),
            reason: "it lies inside the database",
        }),
        _ => Ok(()),
    }
}

fn lock(target: &Directory, dir: &Path) -> Result<std::fs::File> {
    let path = dir.join(LOCK_FILE);
    let locked = target.lock(LOCK_FILE);
    match locked.map_err(|source| io_error("lock", &path, source))? {
        Locked::Ours(file) => Ok(file),
        Locked::Theirs(_) => Err(StorageError::AlreadyOpen {
            path: dir.to_path_buf(),
            holder: holder_of("another backup"),
        }),
    }
}

fn open_backup(dir: &Path) -> Result<Arc<dyn Disk>> {
    let found = dir.canonicalize().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => StorageError::NotABackup {
            path: dir.to_path_buf(),
            reason: "there is no such directory".to_string(),
        },
        _ => io_error("find", dir, source),
    })?;
    let backup = Directory::open(found, DEFAULT_FILE_MODE).map_err(|source| io_error("open", dir, source))?;
    Ok(Arc::new(backup))
}
