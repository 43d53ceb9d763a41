//! Starting sled, if necessary without its snapshots.

use std::path::Path;
use std::time::{Duration, Instant};

use llmspell_core::{Result, StorageError};

use super::directory::{self, Disk};
use super::reader::Reader;
use super::record::Head;
use super::{catch_panic, io_error, sled_error};
use crate::base::options::{BootSource, TimeSource};
use crate::engine::{Boot, Clock};

/// sled's background threads may hold its file for a moment after the last handle is gone.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
const RELEASE_POLL: Duration = Duration::from_millis(5);

/// A directory of ours, and its content.
pub(super) struct Opened {
    pub(super) reader: Reader,
    pub(super) disk: Disk,
    pub(super) head: Head,
    /// The first moment at which a key expires.
    pub(super) first_end: Option<i64>,
}

/// The sources of time; none: the system, and the machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Clocks {
    pub(super) time: Option<TimeSource>,
    /// None beside a `time` that was given: that one is always confirmed.
    pub(super) boot: Option<BootSource>,
}

/// Opens or makes a directory. Blocks.
///
/// # Errors
///
/// As [`SledOptions::open`](super::SledOptions::open).
pub(super) fn open(path: &Path, cache_bytes: u64, clocks: Clocks) -> Result<Opened> {
    let lock = directory::claim(path)?;
    let watermark = directory::read_watermark(path)?;
    let db = start_sled(path, cache_bytes)?;
    let reader = Reader::new(db, path.to_path_buf(), lock);
    let (head, clock) = catch_panic(path, || Ok((reader.head()?, reader.clock_row()?)))?;
    let Clocks { time, boot } = clocks;
    let boot = boot.map_or_else(|| Boot::beside(time.as_ref()), Boot::given);
    let reader = reader.with_clock(Clock::new(time, boot, head.clock_ms, clock));
    let first_end = reader.first_end()?;
    if head.commits < watermark {
        return Err(StorageError::Corrupted {
            path: path.to_path_buf(),
            detail: format!("the log ends at commit {} of at least {watermark}", head.commits),
        });
    }
    let disk = Disk::open(path).map_err(|error| io_error("sync", path, error))?;
    if watermark < head.commits {
        directory::write_watermark(path, head.commits)?;
    }
    Ok(Opened {
        reader,
        disk,
        head,
        first_end,
    })
}

fn start_sled(path: &Path, cache_bytes: u64) -> Result<::sled::Db> {
    let quarantine = |is_bad: fn(&str) -> bool| {
        directory::quarantine_snapshots(path, is_bad).map_err(|error| io_error("quarantine snapshots in", path, error))
    };
    quarantine(|name| name.ends_with(".generating"))?;
    let start = || catch_panic(path, || try_start(path, cache_bytes));
    match start() {
        // Perhaps only the snapshot is damaged; the log is the truth.
        Err(StorageError::Corrupted { .. }) if quarantine(|_| true)? > 0 => start(),
        started => started,
    }
}

fn try_start(path: &Path, cache_bytes: u64) -> Result<::sled::Db> {
    let config = ::sled::Config::new()
        .path(directory::data_path(path))
        .cache_capacity(cache_bytes);
    let deadline = Instant::now() + RELEASE_TIMEOUT;
    loop {
        match config.open() {
            Err(::sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                if Instant::now() >= deadline {
                    return Err(StorageError::AlreadyOpen {
                        path: path.to_path_buf(),
                        holder: "a process that uses sled directly".into(),
                    });
                }
                std::thread::sleep(RELEASE_POLL);
            }
            started => return started.map_err(|error| sled_error("open", path, error)),
        }
    }
}
