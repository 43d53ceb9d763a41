//! The directory of a store: its owner, its lock and its files.
//!
//! ```text
//! FORMAT      "llmspell-storage sled\nversion 2\n"
//! LOCK        "process 1234\n"                        locked by the system while open; the text is for people
//! WATERMARK   "commits 1234 checksum 89abcdef\n"      CRC-32C of "commits 1234", in hexadecimal
//! ```
//!
//! FORMAT and WATERMARK are written under another name, synced and renamed. A directory with files but without FORMAT
//! is foreign, and no file in it is touched.
//!
//! v1 (0.1.0): as above. v2: keys may expire; see `record.rs`. A directory of version 1 becomes one of version 2 when
//! it is opened, before anything is written: builds that know only the first would report such keys as damaged.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use llmspell_core::{Result, StorageError};

use super::io_error;
use crate::base::error::holder_of;
use crate::base::options::DEFAULT_FILE_MODE;
use crate::disk::{Directory, Disk as _, Locked, create_folders, sync_folder};

const LOCK: &str = "LOCK";
const FORMAT: &str = "FORMAT";
const WATERMARK: &str = "WATERMARK";
const DATA: &str = "data";
const QUARANTINE: &str = "quarantine";
/// Suffix of a file that is not complete yet.
const NEW: &str = ".new";
const KIND_LINE: &str = "llmspell-storage sled";
const VERSION: u32 = 2;
const OLDEST_VERSION: u32 = 1;

/// Bytes of the disk that stay free, so that a nearly full store can still be opened, cleared and closed.
pub(super) const RESERVE_BYTES: u64 = 16 << 20;
/// Descriptors that a commit of sled needs at most: a folder that is read, and a file in it.
const SPARE_DESCRIPTORS: usize = 2;

/// Locks a directory and makes sure that it is ours; makes it if it is empty or missing.
///
/// # Errors
///
/// As [`SledOptions::open`](super::SledOptions::open).
pub(super) fn claim(path: &Path) -> Result<File> {
    if path.is_file() {
        return Err(foreign(path, "it is a file".into()));
    }
    create_folders(path, DEFAULT_FILE_MODE).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => foreign(path, "it is a file".into()),
        _ => io_error("create", path, error),
    })?;
    // Checked before a file is created in it, and again when no other process can change it.
    check_format(path)?;
    let lock = lock(path)?;
    if check_format(path)? != Format::Ours {
        replace(path, FORMAT, &format!("{KIND_LINE}\nversion {VERSION}\n"))?;
        if let Some(parent) = path.parent() {
            sync_directory(parent).map_err(|error| io_error("sync", parent, error))?;
        }
    }
    // sled would make it readable for everybody, and follow a link.
    directory(path)
        .and_then(|directory| directory.create_dir(DATA))
        .map_err(|source| unsound(source, "create", &path.join(DATA)))?;
    Ok(lock)
}

/// The directory, in which no link is followed.
fn directory(path: &Path) -> io::Result<Directory> {
    Directory::open(path.to_path_buf(), DEFAULT_FILE_MODE)
}

/// An error of a call that refuses links: a link there is not a file of ours, and no damage either.
fn unsound(source: io::Error, op: &'static str, path: &Path) -> StorageError {
    match source.kind() {
        io::ErrorKind::InvalidInput => foreign(path, source.to_string()),
        _ => io_error(op, path, source),
    }
}

#[derive(PartialEq)]
enum Format {
    Ours,
    Older,
    None,
}

fn check_format(path: &Path) -> Result<Format> {
    let text = match fs::read(path.join(FORMAT)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match stranger(path).map_err(|error| io_error("list", path, error))? {
                Some(name) => Err(foreign(path, format!("it holds `{}` and no FORMAT", name.display()))),
                None => Ok(Format::None),
            };
        }
        Err(error) => return Err(io_error("read", &path.join(FORMAT), error)),
    };
    let mut lines = text.lines();
    if lines.next() != Some(KIND_LINE) {
        return Err(foreign(path, "FORMAT says that it is something else".into()));
    }
    let version = lines
        .next()
        .and_then(|line| line.strip_prefix("version ")?.parse().ok());
    match version {
        Some(VERSION) => Ok(Format::Ours),
        Some(OLDEST_VERSION..VERSION) => Ok(Format::Older),
        Some(found) => Err(StorageError::UnsupportedVersion {
            path: path.to_path_buf(),
            found,
            min: OLDEST_VERSION,
            max: VERSION,
        }),
        None => Err(foreign(path, "FORMAT names no version".into())),
    }
}

/// Something in the directory that an interrupted first opening cannot have left.
fn stranger(path: &Path) -> io::Result<Option<OsString>> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name != LOCK && name != "FORMAT.new" {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn lock(path: &Path) -> Result<File> {
    let lock_path = path.join(LOCK);
    let locked = directory(path).and_then(|directory| directory.lock(LOCK));
    let mut lock = match locked.map_err(|source| unsound(source, "lock", &lock_path))? {
        Locked::Ours(lock) => lock,
        Locked::Theirs(mut lock) => {
            let mut holder = String::new();
            // The text is a courtesy: it may be missing for a moment, or unreadable on some systems.
            let _ = lock.read_to_string(&mut holder);
            let holder = if holder.is_empty() {
                "unknown process"
            } else {
                holder.trim_end()
            };
            return Err(StorageError::AlreadyOpen {
                path: path.to_path_buf(),
                holder: holder_of(holder),
            });
        }
    };
    let text = format!("process {}\n", std::process::id());
    lock.set_len(0)
        .and_then(|()| lock.write_all(text.as_bytes()))
        .map_err(|error| io_error("write", &lock_path, error))?;
    Ok(lock)
}

/// Where sled's files are.
pub(super) fn data_path(path: &Path) -> PathBuf {
    path.join(DATA)
}

/// Moves those snapshots of sled away whose name `is_bad` accepts. Says how many.
///
/// sled deletes an old snapshot only when the new one has its name, so one that is still being generated is not needed.
/// Without any snapshot sled reads its whole log.
pub(super) fn quarantine_snapshots(path: &Path, is_bad: impl Fn(&str) -> bool) -> io::Result<usize> {
    let data = data_path(path);
    let entries = match fs::read_dir(&data) {
        Ok(entries) => entries.collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut moved = 0;
    for entry in entries {
        let name = entry.file_name();
        if !name
            .to_str()
            .is_some_and(|name| name.starts_with("snap.") && is_bad(name))
        {
            continue;
        }
        let quarantine = path.join(QUARANTINE);
        fs::create_dir_all(&quarantine)?;
        fs::rename(entry.path(), free_name(&quarantine, &name))?;
        moved += 1;
    }
    if moved > 0 {
        sync_directory(&path.join(QUARANTINE))?;
        sync_directory(&data)?;
    }
    Ok(moved)
}

/// Nothing in quarantine is overwritten.
fn free_name(quarantine: &Path, name: &OsString) -> PathBuf {
    let mut candidate = quarantine.join(name);
    let mut number = 0;
    while candidate.exists() {
        number += 1;
        let mut numbered = name.clone();
        numbered.push(format!(".{number}"));
        candidate = quarantine.join(numbered);
    }
    candidate
}

/// A lower bound of the number of commits that were once durable; 0 if none was written.
///
/// # Errors
///
/// [`StorageError::Corrupted`] if the file is damaged.
pub(super) fn read_watermark(path: &Path) -> Result<u64> {
    let file = path.join(WATERMARK);
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(io_error("read", &file, error)),
    };
    let commits = std::str::from_utf8(&bytes).ok().and_then(|text| {
        let (commits, _) = text.strip_prefix("commits ")?.split_once(' ')?;
        let commits = commits.parse().ok()?;
        (text == watermark_text(commits)).then_some(commits)
    });
    commits.ok_or_else(|| StorageError::Corrupted {
        path: file,
        detail: "it does not match its checksum".into(),
    })
}

pub(super) fn write_watermark(path: &Path, commits: u64) -> Result<()> {
    replace(path, WATERMARK, &watermark_text(commits))
}

fn watermark_text(commits: u64) -> String {
    let text = format!("commits {commits}");
    let checksum = crc32c::crc32c(text.as_bytes());
    format!("{text} checksum {checksum:08x}\n")
}

/// Puts a small file in place, whole or not at all.
fn replace(path: &Path, name: &str, text: &str) -> Result<()> {
    let new = format!("{name}{NEW}");
    let write = || {
        let directory = directory(path)?;
        let file = directory.create(&new)?;
        file.write_at(0, text.as_bytes())?;
        file.sync()?;
        directory.rename(&new, name)?;
        directory.sync_dir("")
    };
    write().map_err(|error| unsound(error, "write", &path.join(new)))
}

/// sled's files as far as we sync them.
pub(super) struct Disk {
    pub(super) db: File,
    data: PathBuf,
    blobs: PathBuf,
    /// Open, so that a shortage of descriptors is no failed sync. None where a folder cannot be opened.
    blobs_folder: Option<File>,
    blobs_modified: Option<SystemTime>,
    blobs_synced: HashSet<OsString>,
    /// Descriptors reserved for a commit: sled opens a file for each large page in the middle of a batch, and if that
    /// fails it is unknown how much of the batch is written.
    spare: Vec<File>,
}

impl Disk {
    /// Opens sled's files and makes durable what opening left.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let data = data_path(path);
        let mut disk = Self {
            db: File::open(data.join("db"))?,
            blobs: data.join("blobs"),
            blobs_folder: if cfg!(unix) {
                Some(File::open(data.join("blobs"))?)
            } else {
                None
            },
            blobs_modified: None,
            blobs_synced: HashSet::new(),
            spare: Vec::with_capacity(SPARE_DESCRIPTORS),
            data,
        };
        File::open(disk.data.join("conf"))?.sync_all()?;
        disk.sync()?;
        sync_directory(&disk.data)?;
        sync_directory(path)?;
        disk.hold_descriptors()?;
        Ok(disk)
    }

    /// Sets aside the descriptors of the next commit.
    ///
    /// # Errors
    ///
    /// The process has too few. Nothing was written yet.
    pub(super) fn hold_descriptors(&mut self) -> io::Result<()> {
        while self.spare.len() < SPARE_DESCRIPTORS {
            self.spare.push(self.db.try_clone()?);
        }
        Ok(())
    }

    /// Leaves those descriptors to sled, which is about to write.
    pub(super) fn lend_descriptors(&mut self) {
        self.spare.clear();
    }

    /// Returns once what sled has written is on the disk, the files of its large pages included, which sled never syncs.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let modified = fs::metadata(&self.blobs)?.modified().ok();
        if modified.is_none() || modified != self.blobs_modified {
            match self.sync_blobs() {
                // Without a descriptor for each of them, all that the file system has to write is synced.
                Err(error) if is_out_of_descriptors(&error) => sync_file_system(&self.db).map_err(|_| error)?,
                done => done?,
            }
            self.blobs_modified = modified;
        }
        self.db.sync_all()
    }

    fn sync_blobs(&mut self) -> io::Result<()> {
        let mut present = HashSet::new();
        for entry in fs::read_dir(&self.blobs)? {
            let entry = entry?;
            let name = entry.file_name();
            if !self.blobs_synced.contains(&name) {
                match File::open(entry.path()) {
                    Ok(blob) => blob.sync_all()?,
                    // sled has already replaced it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            present.insert(name);
        }
        self.blobs_synced = present;
        self.blobs_folder.as_ref().map_or(Ok(()), File::sync_all)
    }

    /// # Errors
    ///
    /// [`StorageError::NoSpace`] unless that many bytes are free. Systems that do not say are taken to have them.
    pub(super) fn check_space(&self, needed_bytes: u64) -> Result<()> {
        match available_bytes(&self.data) {
            Some(available_bytes) if available_bytes < needed_bytes => Err(StorageError::NoSpace {
                path: self.data.clone(),
                available_bytes: Some(available_bytes),
                needed_bytes: Some(needed_bytes),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether a file could not be opened because too many are open, in this process or in all.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let errno = Errno::from_io_error(error);
        errno == Some(Errno::MFILE) || errno == Some(Errno::NFILE)
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

/// Syncs all of the file system that a file is on.
fn sync_file_system(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::fs::syncfs(file).map_err(io::Error::from)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

pub(super) use crate::disk::available_bytes;

fn sync_directory(path: &Path) -> io::Result<()> {
    let is_here = path.as_os_str().is_empty();
    sync_folder(if is_here { Path::new(".") } else { path })
}

fn foreign(path: &Path, reason: String) -> StorageError {
    StorageError::ForeignDirectory {
        path: path.to_path_buf(),
        reason,
    }
}
