//! The reserve: disk space that is set aside, so that a full disk can be freed.
//!
//! A deletion writes before it frees: pages of the truth with remaining rows are written again. On a full disk that
//! would fail, and a failed commit closes the database for writing. So a file of blocks without content lies beside the
//! truth, and is removed as soon as a write to the truth finds no space: the write then uses its blocks. It is made
//! again once there is space for other writes as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Disk;

/// Name of the file.
pub(crate) const RESERVE_FILE: &str = "RESERVE";
/// Its size: a share of that of the truth, within bounds in bytes.
const SHARE: u64 = 8;
const BYTES: (u64, u64) = (256 << 10, 4 << 20);

/// The file that is removed when room is needed.
#[derive(Debug)]
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    /// Its size; zero while there is none.
    bytes: AtomicU64,
    /// Its size when there was one last: blocks that were given up are used by the truth from then on.
    last_bytes: AtomicU64,
    /// It could not be made: the file system cannot do it, or has no room for it.
    is_refused: AtomicBool,
}

impl Reserve {
    /// The reserve of a disk, if an earlier run made one.
    pub(crate) fn of(disk: &Arc<dyn Disk>) -> Self {
        let bytes = disk.occupied_bytes(RESERVE_FILE).unwrap_or(0);
        Self {
            bytes: AtomicU64::new(bytes),
            last_bytes: AtomicU64::new(bytes),
            is_refused: AtomicBool::new(disk.available_bytes().is_none()),
            disk: Arc::clone(disk),
        }
    }

    /// Makes the reserve large enough for a truth of this size. If that fails, only calls on a full disk are affected.
    pub(crate) fn keep(&self, truth_bytes: u64) {
        let wanted = (truth_bytes / SHARE).clamp(BYTES.0, BYTES.1);
        // A truth that grows by a page must not cause it to be made again.
        if 2 * self.bytes.load(Ordering::Relaxed) >= wanted || self.is_refused.load(Ordering::Relaxed) {
            return;
        }
        let made = self.disk.create(RESERVE_FILE).and_then(|file| {
            let made = file.allocate(wanted);
            file.let_go();
            made
        });
        if made.is_ok() {
            self.bytes.store(wanted, Ordering::Relaxed);
            self.last_bytes.store(wanted, Ordering::Relaxed);
        } else {
            self.is_refused.store(true, Ordering::Relaxed);
            self.give();
        }
    }

    /// About how many bytes can be written on a full disk: those of the reserve, or of the free pages that came of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.last_bytes.load(Ordering::Relaxed)
    }

    /// Frees its blocks for the next write. Returns whether there were any.
    pub(crate) fn give(&self) -> bool {
        let had_some = self.bytes.swap(0, Ordering::Relaxed) > 0;
        self.disk.remove(RESERVE_FILE).is_ok() && had_some
    }
}
