//! Open files: a bounded number, whatever the number of spaces and of large scopes.
//!
//! A [`RealFile`] opens its file when it needs it. Beyond [`OPEN_FILES_MAX`], or when the process has no descriptors
//! left, the least recently used file is closed, but never one with unsynced writes (the system reports a failed write
//! only to processes that have the file open), nor one in use at that moment. Memory maps outlive the descriptor they
//! were made from.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use super::DiskFile;
use super::tree::{Identity, Tree, identity, is_out_of_files};

/// Files of a database that are kept open, not counting `truth.redb`, `LOCK` and files with unsynced writes.
pub(crate) const OPEN_FILES_MAX: usize = 32;

/// The files of a directory that are open, and that may be closed.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    /// In the order in which they were opened, or were last passed over because they had been used.
    files: Mutex<VecDeque<Weak<RealFile>>>,
}

impl OpenFiles {
    /// Runs what opens files; while the process has no descriptors left, closes files of ours and tries again.
    pub(super) fn with_room<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match open() {
                Err(error) if is_out_of_files(&error) && self.close_one() => {}
                done => return done,
            }
        }
    }

    /// Counts a file that was just opened, and closes others if there are too many.
    fn add(&self, file: &Weak<RealFile>) {
        self.files.lock().push_back(Weak::clone(file));
        self.trim();
    }

    /// Closes files while there are too many, as far as that can be.
    fn trim(&self) {
        while self.files.lock().len() > OPEN_FILES_MAX && self.close_one() {}
    }

    /// Closes the file that was not used for longest. False if none can be closed.
    fn close_one(&self) -> bool {
        let mut files = self.files.lock();
        // Each file is passed over at most once because it was used: the second look at it closes it.
        for _ in 0..2 * files.len() {
            let Some(next) = files.pop_front() else { break };
            // The file was dropped, so it is closed already.
            let Some(file) = next.upgrade() else { return true };
            let is_in_use = file.was_used.swap(false, Ordering::Relaxed);
            if !is_in_use
                && let Some(mut handle) = file.handle.try_write()
                && !file.is_unsynced.load(Ordering::SeqCst)
            {
                let closed = handle.take();
                drop(handle);
                drop(closed);
                return true;
            }
            files.push_back(next);
        }
        false
    }
}

/// A file of a real directory.
#[derive(Debug)]
pub(super) struct RealFile {
    tree: Arc<Tree>,
    /// None: this file stays open for good.
    open_files: Option<Arc<OpenFiles>>,
    path: String,
    identity: Identity,
    handle: RwLock<Option<Arc<File>>>,
    /// It holds writes that were not synced, and is not closed until they are.
    is_unsynced: AtomicBool,
    was_used: AtomicBool,
    me: Weak<RealFile>,
}

impl RealFile {
    /// A file that was just opened. Without `open_files` it stays open for good.
    pub(super) fn new(
        tree: &Arc<Tree>,
        open_files: Option<&Arc<OpenFiles>>,
        path: &str,
        file: File,
    ) -> io::Result<Arc<Self>> {
        let identity = identity(&file)?;
        let real = Arc::new_cyclic(|me| Self {
            tree: Arc::clone(tree),
            open_files: open_files.map(Arc::clone),
            path: path.to_string(),
            identity,
            handle: RwLock::new(Some(Arc::new(file))),
            is_unsynced: AtomicBool::new(false),
            was_used: AtomicBool::new(true),
            me: Weak::clone(me),
        });
        if let Some(open_files) = open_files {
            open_files.add(&real.me);
        }
        Ok(real)
    }

    /// Whether its name still denotes this file.
    pub(super) fn has_its_name(&self) -> io::Result<bool> {
        Ok(self.tree.identity_of(&self.path)? == self.identity)
    }

    /// Runs `act` with the open file; it is not closed meanwhile.
    pub(super) fn with<T>(&self, act: impl FnOnce(&Arc<File>) -> io::Result<T>) -> io::Result<T> {
        if !self.was_used.load(Ordering::Relaxed) {
            self.was_used.store(true, Ordering::Relaxed);
        }
        let handle = self.handle.read();
        if let Some(file) = &*handle {
            return act(file);
        }
        drop(handle);
        let mut handle = self.handle.write();
        if handle.is_none() {
            *handle = Some(Arc::new(self.reopen()?));
            if let Some(open_files) = &self.open_files {
                open_files.add(&self.me);
            }
        }
        let handle = RwLockWriteGuard::downgrade(handle);
        act(handle.as_ref().expect("it was just opened"))
    }

    fn reopen(&self) -> io::Result<File> {
        let open = || self.tree.open_file(&self.path);
        let file = match &self.open_files {
            Some(open_files) => open_files.with_room(open)?,
            None => open()?,
        };
        // Another file has taken this name, and it is not the one that was written.
        if identity(&file)? != self.identity {
            return Err(io::Error::other("another file has taken its name"));
        }
        Ok(file)
    }

    fn write(&self, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        self.with(|file| {
            self.is_unsynced.store(true, Ordering::SeqCst);
            write(file)
        })
    }
}

impl Drop for RealFile {
    fn drop(&mut self) {
        // A forked process keeps the descriptor, and with it the lock, unless that is given up.
        if self.open_files.is_none()
            && let Some(file) = self.handle.get_mut()
        {
            let _ = file.unlock();
        }
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|file| Ok(file.metadata()?.len()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write(|file| file.set_len(len))
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|file| std::os::unix::fs::FileExt::read_exact_at(&**file, buffer, offset))
    }

    #[cfg(target_os = "linux")]
    fn read_cached(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let wanted = buffer.len();
        self.with(
            |file| match preadv2(file, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
                Ok(count) => Ok(count == wanted),
                Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(false),
                Err(error) => Err(error.into()),
            },
        )
    }

    #[cfg(not(target_os = "linux"))]
    fn read_cached(&self, _offset: u64, _buffer: &mut [u8]) -> io::Result<bool> {
        Ok(false)
    }

    #[cfg(target_os = "linux")]
    fn will_need(&self, offset: u64, len: u64) {
        use rustix::fs::{Advice, fadvise};
        // Only advice: what is not read ahead is read when it is needed.
        let _ = self.with(|file| {
            let _ = fadvise(file, offset, std::num::NonZeroU64::new(len), Advice::WillNeed);
            Ok(())
        });
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(|file| std::os::unix::fs::FileExt::write_all_at(file, bytes, offset))
    }

    #[cfg(windows)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        self.with(|file| {
            let mut filled = 0;
            while filled < buffer.len() {
                let count = file.seek_read(&mut buffer[filled..], offset + filled as u64)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                filled += count;
            }
            Ok(())
        })
    }

    #[cfg(windows)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        self.write(|file| {
            let mut written = 0;
            while written < bytes.len() {
                let count = file.seek_write(&bytes[written..], offset + written as u64)?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                written += count;
            }
            Ok(())
        })
    }

    fn hold(&self) -> io::Result<()> {
        self.write(|_| Ok(()))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|file| file.sync_data())?;
        self.let_go();
        Ok(())
    }

    fn let_go(&self) {
        self.is_unsynced.store(false, Ordering::SeqCst);
        if let Some(open_files) = &self.open_files {
            open_files.trim();
        }
    }

    #[cfg(target_os = "linux")]
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        self.with(|file| {
            match fallocate(
                file,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                offset,
                len,
            ) {
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn punch_hole(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.write(|file| {
            Ok(rustix::fs::fallocate(
                file,
                rustix::fs::FallocateFlags::empty(),
                0,
                len,
            )?)
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, len: u64) -> io::Result<()> {
        // Some systems have no other way to take blocks than to write them.
        let zeros = vec![0; 64 << 10];
        for offset in (0..len).step_by(zeros.len()) {
            self.write_at(offset, &zeros)?;
        }
        Ok(())
    }

    fn is_mappable(&self) -> bool {
        true
    }

    fn mappable(&self) -> io::Result<Option<Arc<File>>> {
        self.with(|file| Ok(Some(Arc::clone(file))))
    }
}
