//! Compaction of a database that no process has open: it is written anew without gaps, and takes the place of the old one
//! in one step.

use std::path::Path;
use std::sync::Arc;

use llmspell_core::{Result, StorageError};
use serde::{Deserialize, Serialize};

use super::salvage::{SalvageProgress, SalvageReport, block_on, save};
use crate::base::error::{corrupted, io_error};
use crate::base::options::DEFAULT_FILE_MODE;
use crate::disk::{Directory, Disk};
use crate::engine::open::{LOCK_FILE, folder_and_name, lock_damaged, remove_remains};
use crate::engine::workers::{Stop, Workers};
use crate::engine::{Database, calls};
use crate::truth::{Read, Role, Truth, raw};

/// Pages that are held in RAM while the truth is written anew.
const CACHE_BYTES: usize = 16 << 20;

/// What a compaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CompactReport {
    /// Entries that were copied.
    pub entries: u64,
    /// Keys that were copied.
    pub keys: u64,
    /// Bytes that the directory occupied before.
    pub bytes_before: u64,
    /// Bytes that it occupies now, without index files, which are built again in the background.
    pub bytes_after: u64,
}

impl Database {
    /// Writes a database that no process has open anew, without the gaps that deleted data left, and puts it in place of
    /// the old one.
    ///
    /// It needs as much free space beside the directory as the living data take. All that lives is read and verified, and
    /// written to `.NAME.compacting`; then the two directories exchange their names in one step, and the old one is removed.
    /// A process that is killed before that step leaves the database as it was, later the new one; the next compaction
    /// removes what was left. Indexes are built again in the background.
    ///
    /// # Errors
    ///
    /// [`Corrupted`](StorageError::Corrupted) if anything cannot be read: the database stays as it is;
    /// [`AlreadyOpen`](StorageError::AlreadyOpen); [`ForeignDirectory`](StorageError::ForeignDirectory);
    /// [`Unsupported`](StorageError::Unsupported) during a migration, and on systems that cannot exchange two names;
    /// [`NoSpace`](StorageError::NoSpace), [`Io`](StorageError::Io).
    pub async fn compact(
        dir: impl AsRef<Path>,
        on_progress: impl Fn(SalvageProgress) + Send + 'static,
    ) -> Result<CompactReport> {
        let dir = dir.as_ref().to_path_buf();
        let compact = move |stop: &Stop| compact(&dir, &on_progress, stop);
        Workers::default().run("llmspell-compact", compact).await
    }
}

fn compact(dir: &Path, on_progress: &dyn Fn(SalvageProgress), stop: &Stop) -> Result<CompactReport> {
    let (disk, lock) = lock_damaged(dir)?;
    let dir = &dir.canonicalize().map_err(|source| io_error("find", dir, source))?;
    let (parent, name) = folder_and_name(dir)?;
    // All of it is verified, and what was left of a crash is completed.
    let id = {
        let truth = Truth::open(&disk, CACHE_BYTES, u64::MAX)?;
        let read = truth.read()?;
        refuse_migrations(&read)?;
        read.database_id()?
    };
    let above = Directory::open(parent.to_path_buf(), DEFAULT_FILE_MODE);
    let above = above.map_err(|source| io_error("open", parent, source))?;
    let provisional = format!(".{name}.compacting");
    let path = parent.join(&provisional);
    remove_database(&above, &provisional, &path)?;
    let bytes_before = occupied(&above, name, dir)?;

    let written = write_anew(&disk, &path, id, on_progress, stop);
    if written.is_err() {
        // Only tidiness: the next compaction removes what is left.
        let _ = remove_database(&above, &provisional, &path);
    }
    let report = written?;
    above
        .exchange(&provisional, name)
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::Unsupported | std::io::ErrorKind::InvalidInput => StorageError::Unsupported {
                backend: "this file system",
                feature: "exchanging the names of two directories",
            },
            _ => io_error("exchange the name of", dir, source),
        })?;
    above.sync_dir("").map_err(|source| io_error("sync", parent, source))?;
    // From here on the new one is the database.
    drop(lock);
    remove_database(&above, &provisional, &path)?;
    Ok(CompactReport {
        entries: report.entries,
        keys: report.keys,
        bytes_before,
        bytes_after: occupied(&above, name, dir)?,
    })
}

fn occupied(above: &Directory, name: &str, path: &Path) -> Result<u64> {
    let bytes = above.occupied_bytes(name);
    bytes.map_err(|source| io_error("measure", path, source))
}

/// A migration under way has a copy that is no database's own yet.
fn refuse_migrations(read: &Read) -> Result<()> {
    let spaces = read.spaces()?;
    let is_moving = |role: Role| matches!(role, Role::Staging { .. });
    match spaces.iter().any(|(_, record)| is_moving(record.role)) {
        true => Err(StorageError::Unsupported {
            backend: "compaction",
            feature: "a database with an unfinished migration",
        }),
        false => Ok(()),
    }
}

fn write_anew(
    disk: &Arc<dyn Disk>,
    path: &Path,
    id: Option<[u8; 16]>,
    on_progress: &dyn Fn(SalvageProgress),
    stop: &Stop,
) -> Result<SalvageReport> {
    let report = save(disk, path, on_progress, stop)?;
    if let Some(first) = report.lost.first() {
        let detail = format!("{} parts cannot be read, the first: {first}", report.lost_count);
        return Err(corrupted(disk.full_path(""), detail));
    }
    if let Some(id) = id {
        let database = block_on(Database::open(path))?;
        block_on(database.inner.request(calls::Identify { id }))?;
        block_on(database.close())?;
    }
    let (fresh, _lock) = lock_damaged(path)?;
    let truth = Truth::open(&fresh, CACHE_BYTES, 0)?;
    let builder = raw::Builder::new(&fresh)?;
    builder.copy(&truth.read()?)?;
    builder.finish()?;
    Ok(report)
}

/// Removes a directory with a database, or a part of one; it need not exist.
fn remove_database(above: &Directory, name: &str, path: &Path) -> Result<()> {
    let exists = above.exists(name);
    if !exists.map_err(|source| io_error("look for", path, source))? {
        return Ok(());
    }
    let directory = Directory::open(path.to_path_buf(), DEFAULT_FILE_MODE);
    let directory: Arc<dyn Disk> = Arc::new(directory.map_err(|source| io_error("open", path, source))?);
    remove_remains(&directory)?;
    let removed = directory.remove(LOCK_FILE).and_then(|()| above.remove_dir(name));
    removed.map_err(|source| io_error("remove", path, source))
}
