//! The disk: the few operations that the engine needs of a file system.
//!
//! | file            | question                                               |
//! |-----------------|--------------------------------------------------------|
//! | `boot.rs`       | which start of the machine is this?                    |
//! | `directory.rs`  | how does a real directory do them?                     |
//! | `open_files.rs` | how many of its files are open at once?                |
//! | `tree.rs`       | how does a name lead nowhere else, and for whom is a new file? |
//! | `redb_file.rs`  | how does redb use them?                                |
//! | `overlay.rs`    | how is a damaged file read without being changed?      |
//! | `reserve.rs`    | how can a full disk be freed?                          |
//! | `sim.rs`        | what would be on the disk if the power failed now? (tests) |
//!
//! Paths are relative to the root, made of our own words and numbers: nothing a user names is ever part of one.

mod boot;
mod directory;
mod open_files;
mod overlay;
mod redb_file;
mod reserve;
#[cfg(test)]
pub(crate) mod sim;
mod tree;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use boot::boot_id;
pub(crate) use directory::{Directory, Locked};
pub(crate) use overlay::Overlay;
pub(crate) use redb_file::RedbFile;
pub(crate) use reserve::{RESERVE_FILE, Reserve};
#[cfg(feature = "sled")]
pub(crate) use tree::available_bytes;
pub(crate) use tree::{create_folders, sync_folder};

/// A file that is read and written at offsets.
pub(crate) trait DiskFile: fmt::Debug + Send + Sync {
    /// Current length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Fills `buffer` from `offset`; fails at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// As [`read_at`](Self::read_at), but never waits for the disk: false if it would have to, or cannot know.
    fn read_cached(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool>;
    /// Asks the system to read a range into its cache meanwhile. Does nothing where it cannot be asked.
    fn will_need(&self, _offset: u64, _len: u64) {}
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything written so far survives loss of power.
    fn sync(&self) -> io::Result<()>;
    /// Frees the blocks of a range, which reads as zeros from then on. Does nothing if the system cannot.
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Takes blocks for the first `len` bytes.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Opens the file if it is not open, and keeps it open until [`sync`](Self::sync) has succeeded or it is
    /// [released](Self::let_go): so a later failure is that of the disk, not a lack of descriptors.
    fn hold(&self) -> io::Result<()>;
    /// Bytes written since the last [`sync`](Self::sync) need not become durable: the file may be closed.
    fn let_go(&self);
    /// Whether it can be mapped into memory.
    fn is_mappable(&self) -> bool;
    /// The file to map into memory, where that is possible.
    fn mappable(&self) -> io::Result<Option<Arc<File>>>;
}

/// A directory that is open, so that nothing but the disk itself can keep its names from becoming durable.
pub(crate) trait DiskDir: fmt::Debug + Send + Sync {
    /// Returns when the names in it survive loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// A directory tree.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file that exists.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that exists and locks it until it is dropped; `WouldBlock` if another has locked it. It stays open.
    fn open_alone(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a file, in place of one that an interrupted run has left. The name is durable after
    /// [`sync_dir`](Self::sync_dir).
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a directory; its parent must exist. It may exist already.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// Whether a file or directory is there.
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// The names in a directory, in no order; none if it does not exist.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Gives each of two files or directories the name of the other, both at once.
    fn exchange(&self, one: &str, other: &str) -> io::Result<()> {
        let _ = (one, other);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Removes a file; it need not exist.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Removes a directory without anything in it; it need not exist.
    fn remove_dir(&self, path: &str) -> io::Result<()>;
    /// Opens a directory, to make its names durable later; the root is the empty path.
    fn open_dir(&self, path: &str) -> io::Result<Box<dyn DiskDir>>;
    /// Makes the names in a directory durable; the root is the empty path.
    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.open_dir(path)?.sync()
    }
    /// Bytes that can still be written, as far as known.
    fn available_bytes(&self) -> Option<u64>;
    /// Bytes that a file or directory occupies, everything in it included.
    fn occupied_bytes(&self, path: &str) -> io::Result<u64>;
    /// The whole path, for error texts.
    fn full_path(&self, path: &str) -> PathBuf;
}
