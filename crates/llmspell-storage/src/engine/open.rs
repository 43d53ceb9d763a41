//! Opening a directory, or creating one.
//!
//! ```text
//! <dir>/LOCK                          held by the process that has it open; says which one
//! <dir>/FORMAT                        format version; read before anything else is touched, written last
//! <dir>/truth.redb                    everything but the vectors; made under another name and renamed when complete
//! <dir>/admin.sock                    while the database is served: the admin socket, or a link to it
//! <dir>/RESERVE                       blocks without content, which a full disk is freed with
//! <dir>/spaces/<space id>/slots-<n>   the vectors
//! <dir>/spaces/<space id>/index/      the indexes of large scopes: derived
//! ```

use std::fs;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use llmspell_core::{Result, StorageError};

use super::clock;
use super::shared::{Lock, Shared};
use crate::base::error::{corrupted, holder_of, io_error};
use crate::base::options::{DEFAULT_FILE_MODE, DatabaseOptions};
use crate::disk::{Directory, Disk, Locked, RESERVE_FILE, create_folders, sync_folder};
use crate::truth::{self, Truth};

pub(crate) const LOCK_FILE: &str = "LOCK";
/// The admin socket, or a link to it; only while the database is served, and after a kill.
pub(crate) const ADMIN_SOCKET: &str = "admin.sock";
const FORMAT_FILE: &str = "FORMAT";
const NEW_FORMAT_FILE: &str = "FORMAT.new";
const FORMAT_TEXT: &str = "llmspell-storage format ";
/// Version of everything in the directory; see `docs/format.md`.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Opens the database in `dir`, or creates one.
pub(super) fn open(dir: &Path, options: &DatabaseOptions) -> Result<Shared> {
    let is_new = refuse_foreign(dir, options.must_exist)?;
    if is_new {
        create_folders(dir, options.file_mode).map_err(|source| io_error("create", dir, source))?;
    }
    let dir = &dir.canonicalize().map_err(|source| io_error("find", dir, source))?;
    if let (true, Some(parent)) = (is_new, dir.parent()) {
        // The process that made the directory may not have made its name durable.
        sync_folder(parent).map_err(|source| io_error("sync", parent, source))?;
    }
    let directory = Directory::open(dir.clone(), options.file_mode).map_err(|source| io_error("open", dir, source))?;
    let lock = take_lock(&directory, dir)?;
    open_on(Arc::new(directory), Some(lock), options)
}

/// Locks a directory with a database that may be damaged.
pub(crate) fn lock_damaged(dir: &Path) -> Result<(Arc<dyn Disk>, Lock)> {
    let foreign = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StorageError::ForeignDirectory {
            path: dir.to_path_buf(),
            reason: "there is no such directory".to_string(),
        },
        _ => io_error("find", dir, source),
    };
    let dir = &dir.canonicalize().map_err(foreign)?;
    let names = fs::read_dir(dir).map_err(foreign)?;
    let is_ours = |name: io::Result<fs::DirEntry>| {
        name.is_ok_and(|name| {
            [truth::FILE, FORMAT_FILE, "spaces"]
                .iter()
                .any(|ours| name.file_name() == **ours)
        })
    };
    if !names.into_iter().any(is_ours) {
        return Err(StorageError::ForeignDirectory {
            path: dir.clone(),
            reason: "it holds nothing of a database".to_string(),
        });
    }
    let directory = Directory::open(dir.clone(), DEFAULT_FILE_MODE).map_err(|source| io_error("open", dir, source))?;
    let lock = take_lock(&directory, dir)?;
    Ok((Arc::new(directory), lock))
}

/// The folder that a directory lies in, and its name there.
pub(crate) fn folder_and_name(dir: &Path) -> Result<(&Path, &str)> {
    let names = dir.parent().zip(dir.file_name().and_then(|name| name.to_str()));
    names.ok_or_else(|| StorageError::InvalidName {
        what: "directory",
        name: dir.display().to_string(),
        reason: "it has no name in UTF-8, or is the root of the file system",
    })
}

/// Makes a database in a directory that is empty or does not exist. `fill` makes its files, but for the one that says that
/// it is complete; the directory gets its name when all are durable.
pub(super) fn create_from<T>(dir: &Path, fill: impl FnOnce(&Arc<dyn Disk>) -> Result<T>) -> Result<T> {
    let dir = std::path::absolute(dir).map_err(|source| io_error("find", dir, source))?;
    let (parent, name) = folder_and_name(&dir)?;
    refuse_filled(&dir)?;
    create_folders(parent, DEFAULT_FILE_MODE).map_err(|source| io_error("create", parent, source))?;
    let parent = &parent
        .canonicalize()
        .map_err(|source| io_error("find", parent, source))?;
    let above =
        Directory::open(parent.clone(), DEFAULT_FILE_MODE).map_err(|source| io_error("open", parent, source))?;
    let provisional = format!(".{name}.restoring");
    let path = parent.join(&provisional);
    above
        .create_dir(&provisional)
        .map_err(|source| io_error("create", &path, source))?;
    let directory =
        Directory::open(path.clone(), DEFAULT_FILE_MODE).map_err(|source| io_error("open", &path, source))?;
    let lock = take_lock(&directory, &path)?;
    let target: Arc<dyn Disk> = Arc::new(directory);
    remove_remains(&target)?;
    let filled = fill(&target).and_then(|filled| write_format(&target).map(|()| filled));
    // Only tidiness: the next call removes what is left.
    if filled.is_err() && remove_remains(&target).is_ok() {
        let _ = target.remove(LOCK_FILE).and_then(|()| above.remove_dir(&provisional));
    }
    let filled = filled?;
    // Another process may have filled it meanwhile.
    refuse_filled(&dir)?;
    let named = above
        .remove_dir(name)
        .and_then(|()| above.rename(&provisional, name))
        .and_then(|()| above.sync_dir(""));
    named.map_err(|source| io_error("rename to", &dir, source))?;
    drop(lock);
    Ok(filled)
}

/// Refuses a directory with anything in it.
pub(crate) fn refuse_filled(dir: &Path) -> Result<()> {
    let found = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(StorageError::DirectoryNotEmpty {
                path: dir.to_path_buf(),
                found: "a file".to_string(),
            });
        }
        Err(source) => return Err(io_error("read", dir, source)),
        Ok(mut entries) => entries.next(),
    };
    match found.transpose().map_err(|source| io_error("read", dir, source))? {
        None => Ok(()),
        Some(entry) => Err(StorageError::DirectoryNotEmpty {
            path: dir.to_path_buf(),
            found: entry.file_name().to_string_lossy().into_owned(),
        }),
    }
}

/// Removes the files of a database, or what an interrupted call of [`create_from`] has left; the lock stays.
pub(crate) fn remove_remains(target: &Arc<dyn Disk>) -> Result<()> {
    let remove = || {
        for name in [
            FORMAT_FILE,
            NEW_FORMAT_FILE,
            truth::FILE,
            truth::NEW_FILE,
            RESERVE_FILE,
            ADMIN_SOCKET,
        ] {
            target.remove(name)?;
        }
        for space in target.list("spaces")? {
            let folder = format!("spaces/{space}");
            for below in [&format!("{folder}/index"), &folder] {
                for name in target.list(below)? {
                    if name != "index" {
                        target.remove(&format!("{below}/{name}"))?;
                    }
                }
                target.remove_dir(below)?;
            }
        }
        target.remove_dir("spaces")
    };
    remove().map_err(|source| io_error("remove the remains in", &target.full_path(""), source))
}

/// Opens the database on a disk that is locked.
pub(super) fn open_on(disk: Arc<dyn Disk>, lock: Option<Lock>, options: &DatabaseOptions) -> Result<Shared> {
    let exists = |name: &str| {
        disk.exists(name)
            .map_err(|source| io_error("look for", &disk.full_path(name), source))
    };
    let missing = |name: &str| Err(corrupted(disk.full_path(name), "the file is missing"));
    // A new database gets its truth first and its format last: a directory with a format was complete once.
    match (states_format(&disk)?, exists(truth::FILE)?) {
        (true, true) => {}
        (true, false) => return missing(truth::FILE),
        (false, _) if exists("spaces")? => return missing(FORMAT_FILE),
        (false, true) => {
            // Power was lost while it was created, or the file was removed.
            if !Truth::open(&disk, options.cache_bytes, options.verify_bytes_max)?.is_new()? {
                return missing(FORMAT_FILE);
            }
            write_format(&disk)?;
        }
        (false, false) => {
            Truth::create(&disk)?;
            write_format(&disk)?;
        }
    }
    let page_cache_bytes = options.cache_bytes - options.value_cache_bytes();
    // It has a lock of its own: if the file `LOCK` was removed, nothing was touched until here.
    let truth = Truth::open(&disk, page_cache_bytes, options.verify_bytes_max)?;
    for leftover in [truth::NEW_FILE, NEW_FORMAT_FILE] {
        disk.remove(leftover)
            .map_err(|source| io_error("remove", &disk.full_path(leftover), source))?;
    }
    if options.reset_clock {
        truth.reset_clock(clock::system_ms(options))?;
    }
    Shared::new(truth, Some(disk), lock, options)
}

/// A directory with other files is not ours to write into. Returns whether a database must be created.
fn refuse_foreign(dir: &Path, must_exist: bool) -> Result<bool> {
    let foreign = |reason: String| {
        Err(StorageError::ForeignDirectory {
            path: dir.to_path_buf(),
            reason,
        })
    };
    let names = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return foreign("there is no such directory".into()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return foreign("it is a file".into()),
        Err(source) => return Err(io_error("read", dir, source)),
        Ok(entries) => entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|source| io_error("read", dir, source))?,
    };
    let is_database = names.iter().any(|name| name == FORMAT_FILE);
    match names.iter().find(|name| !is_own_name(name)) {
        Some(other) if !is_database => foreign(format!("it holds `{other}` and no {FORMAT_FILE} file")),
        None if must_exist && !is_database => foreign("it is empty".into()),
        _ => Ok(!is_database),
    }
}

/// Whether a database has a file or folder of this name in its directory.
pub(super) fn is_own_name(name: &str) -> bool {
    let ours = [
        LOCK_FILE,
        FORMAT_FILE,
        NEW_FORMAT_FILE,
        truth::FILE,
        truth::NEW_FILE,
        RESERVE_FILE,
        ADMIN_SOCKET,
        "spaces",
    ];
    ours.contains(&name)
}

fn take_lock(directory: &Directory, dir: &Path) -> Result<Lock> {
    let path = dir.join(LOCK_FILE);
    let locked = directory.lock(LOCK_FILE);
    let mut lock = match locked.map_err(|source| io_error("lock", &path, source))? {
        Locked::Ours(file) => Lock(file),
        Locked::Theirs(mut file) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if known {
                holder_of(holder.trim())
            } else {
                "another process".to_string()
            };
            return Err(StorageError::AlreadyOpen {
                path: dir.to_path_buf(),
                holder,
            });
        }
    };
    // For the error text of a second process; the lock itself is the system's and ends with the process.
    let Lock(file) = &mut lock;
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "process {}", std::process::id()))
        .and_then(|()| file.flush());
    written.map_err(|source| io_error("write to", &path, source))?;
    Ok(lock)
}

/// Whether the directory states that it is of the version we read.
///
/// # Errors
///
/// `UnsupportedVersion` if it states another one, `Corrupted` if it states none.
fn states_format(disk: &Arc<dyn Disk>) -> Result<bool> {
    let path = disk.full_path(FORMAT_FILE);
    if !disk
        .exists(FORMAT_FILE)
        .map_err(|source| io_error("look for", &path, source))?
    {
        return Ok(false);
    }
    let file = disk
        .open(FORMAT_FILE)
        .map_err(|source| io_error("open", &path, source))?;
    let len = file.len().map_err(|source| io_error("measure", &path, source))?;
    let mut bytes = vec![0; usize::try_from(len.min(100)).expect("it is at most 100")];
    file.read_at(0, &mut bytes)
        .map_err(|source| io_error("read", &path, source))?;
    let text = String::from_utf8_lossy(&bytes);
    let version = text
        .strip_prefix(FORMAT_TEXT)
        .and_then(|version| version.trim_end().parse::<u32>().ok());
    match version {
        Some(FORMAT_VERSION) => Ok(true),
        Some(found) => Err(StorageError::UnsupportedVersion {
            path,
            found,
            min: FORMAT_VERSION,
            max: FORMAT_VERSION,
        }),
        None => Err(corrupted(path, "it does not state a format version")),
    }
}

pub(super) fn write_format(disk: &Arc<dyn Disk>) -> Result<()> {
    let path = disk.full_path(FORMAT_FILE);
    let write = || {
        let file = disk.create(NEW_FORMAT_FILE)?;
        file.write_at(0, format!("{FORMAT_TEXT}{FORMAT_VERSION}\n").as_bytes())?;
        file.sync()?;
        disk.rename(NEW_FORMAT_FILE, FORMAT_FILE)?;
        disk.sync_dir("")
    };
    write().map_err(|source| io_error("write", &path, source))
}
