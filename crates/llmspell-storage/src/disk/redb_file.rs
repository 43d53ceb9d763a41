//! redb's storage backend on our disk.

use std::io;
use std::sync::Arc;

use super::{DiskFile, Reserve};

/// One of our files as redb's storage. That only we use it, the lock of the directory sees to.
#[derive(Debug)]
pub(crate) struct RedbFile {
    file: Arc<dyn DiskFile>,
    /// The reserve to free if a write finds no space. redb takes any failed write for the end of the file.
    reserve: Option<Arc<Reserve>>,
}

impl RedbFile {
    /// A file that writes without a reserve.
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, reserve: None }
    }

    /// A file that gives up the reserve where it finds no room.
    pub(crate) fn with_reserve(file: Arc<dyn DiskFile>, reserve: &Arc<Reserve>) -> Self {
        Self {
            file,
            reserve: Some(Arc::clone(reserve)),
        }
    }

    fn write(&self, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match (write(), &self.reserve) {
            (Err(error), Some(reserve)) if is_full(&error) && reserve.give() => write(),
            (done, _) => done,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl redb::StorageBackend for RedbFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.write(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.write(|| self.file.write_at(offset, data))
    }
}
