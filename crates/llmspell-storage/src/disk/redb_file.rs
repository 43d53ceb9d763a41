//! How does redb use our disk?

use std::io;
use std::sync::Arc;

use super::DiskFile;

/// One of our files as redb's storage. That only we use it, the lock of the directory sees to.
#[derive(Debug)]
pub(crate) struct RedbFile(pub(crate) Arc<dyn DiskFile>);

impl redb::StorageBackend for RedbFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write_at(offset, data)
    }
}
