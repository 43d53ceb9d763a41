//! How are slots and index files seen as memory? The one place outside the kernels with `unsafe`.
//!
//! What makes it sound is the protocol of the slots, kept by the committer: the bytes of a slot change only while no
//! reader can reach it (it is free, or not named by any state that is held), and files grow but do not shrink while
//! they are mapped. Readers make slices of single slots that a state they hold names, never of a whole file.
//!
//! An index file is written under another name, synced, renamed and mapped after that; it is never written again, only
//! removed, which leaves the mapping as it is.
//!
//! Another process that writes into the files, against the lock, breaks this as it breaks every memory-mapped store.

#![allow(unsafe_code, reason = "memory-mapped slots; see the module's protocol")]

use std::fs::File;
use std::io;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut, MmapOptions, MmapRaw};

#[cfg(target_endian = "big")]
compile_error!("slots hold little-endian components and are read in place");

/// A piece of memory that holds slots, or an index file.
#[derive(Debug)]
pub(crate) enum Memory {
    /// The pages of a file. Written through the file.
    Mapped(Mmap),
    /// Our own; written by [`Memory::write`].
    Anonymous(MmapRaw),
}

impl Memory {
    /// The first `len` bytes of a file.
    pub(crate) fn map(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: the file is ours by the lock on the directory; see the protocol above for who writes when.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(Self::Mapped(map))
    }

    /// `len` zeros.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        Ok(Self::Anonymous(MmapRaw::from(MmapMut::map_anon(len)?)))
    }

    /// `len` bytes that `fill` writes over zeros, in large pages where the system has them: a walk of a graph touches
    /// a page anew with nearly every step, and looking up where small ones are is a good part of its time.
    pub(crate) fn large_pages<E: From<io::Error>>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut map = MmapMut::map_anon(len)?;
        // Only advice: a system without large pages uses small ones.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        fill(&mut map)?;
        Ok(Self::Anonymous(MmapRaw::from(map)))
    }

    fn start(&self) -> *const u8 {
        match self {
            Self::Mapped(map) => map.as_ptr(),
            Self::Anonymous(map) => map.as_ptr(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Mapped(map) => map.len(),
            Self::Anonymous(map) => map.len(),
        }
    }

    /// The bytes of a slot.
    ///
    /// # Panics
    ///
    /// If they are not all inside.
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len()),
            "slots lie inside their memory"
        );
        // SAFETY: the range is inside the mapping (asserted), lives as long as `self`, and by the protocol of the
        // module nobody writes to it while a reader can name it.
        unsafe { std::slice::from_raw_parts(self.start().add(offset), len) }
    }

    /// The components of a slot.
    ///
    /// # Panics
    ///
    /// If they are not all inside, or `offset` is no multiple of four.
    pub(crate) fn components(&self, offset: usize, dim: usize) -> &[f32] {
        let bytes = self.bytes(offset, 4 * dim);
        assert!(
            offset.is_multiple_of(align_of::<f32>()),
            "slots begin at multiples of four bytes"
        );
        // SAFETY: `bytes` has `4 * dim` readable bytes; mappings begin at a page, so the pointer is aligned
        // (asserted for the offset); every bit pattern is an f32; target is little-endian (checked above).
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), dim) }
    }

    /// Writes to anonymous memory; for a mapped file the file itself is written.
    ///
    /// # Panics
    ///
    /// If the range is not inside, or the memory belongs to a file.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let Self::Anonymous(map) = self else {
            panic!("mapped slots are written through their file")
        };
        assert!(
            offset.checked_add(bytes.len()).is_some_and(|end| end <= map.len()),
            "slots lie inside their memory"
        );
        // SAFETY: the range is inside the mapping (asserted); only the committer writes, one thread, and by the
        // protocol of the module no reader can name these slots now. `bytes` is no part of the mapping.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), map.as_mut_ptr().add(offset), bytes.len()) }
    }

    /// Gives the pages of a mapped file back to the system, which keeps them in its cache as long as it likes.
    /// Reading them again costs a fault each, and the disk only if the cache has let them go.
    pub(crate) fn forget_pages(&self) {
        #[cfg(target_os = "linux")]
        if let Self::Mapped(map) = self {
            // SAFETY: the mapping is shared and read-only: a page that is given back reads the same again.
            let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    /// Bytes of RAM that only this process pays for.
    pub(crate) fn own_bytes(&self) -> usize {
        match self {
            Self::Mapped(_) => 0,
            Self::Anonymous(map) => map.len(),
        }
    }
}

/// Bytes that stay where they are: a part of some memory, which they keep alive.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBytes {
    memory: Arc<Memory>,
    offset: usize,
    len: usize,
}

impl MemoryBytes {
    /// `len` bytes from `offset`; none if the memory has not that many.
    pub(crate) fn new(memory: &Arc<Memory>, offset: u64, len: u64) -> Option<Self> {
        let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(len).ok()?);
        offset.checked_add(len).filter(|end| *end <= memory.len())?;
        Some(Self {
            memory: Arc::clone(memory),
            offset,
            len,
        })
    }

    /// `len` bytes that `fill` writes, at least one, in [large pages](Memory::large_pages).
    pub(crate) fn large_pages<E: From<io::Error>>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        Ok(Self {
            memory: Arc::new(Memory::large_pages(len, fill)?),
            offset: 0,
            len,
        })
    }
}

impl AsRef<[u8]> for MemoryBytes {
    fn as_ref(&self) -> &[u8] {
        self.memory.bytes(self.offset, self.len)
    }
}

/// A page that a forked process finds empty: such a process has none of our threads, and must not wait for them.
#[derive(Debug)]
pub(crate) struct ForkMark {
    /// None where the system cannot empty a page.
    page: Option<MmapMut>,
    process: u32,
}

impl ForkMark {
    /// Marks this process.
    pub(crate) fn new() -> Self {
        Self {
            page: wiped_page().ok(),
            process: std::process::id(),
        }
    }

    /// Whether this is a copy of the process that made the mark.
    pub(crate) fn is_forked(&self) -> bool {
        match &self.page {
            // Asking the system takes longer than a read of a cached value.
            Some(page) => page[0] == 0,
            None => std::process::id() != self.process,
        }
    }
}

#[cfg(target_os = "linux")]
fn wiped_page() -> io::Result<MmapMut> {
    use rustix::mm::{Advice, madvise};
    let mut page = MmapMut::map_anon(1)?;
    // SAFETY: the page is our own, anonymous and private, and all bytes are as good as others when it is read.
    unsafe { madvise(page.as_mut_ptr().cast(), page.len(), Advice::LinuxWipeOnFork)? };
    page[0] = 1;
    Ok(page)
}

#[cfg(not(target_os = "linux"))]
fn wiped_page() -> io::Result<MmapMut> {
    Err(io::ErrorKind::Unsupported.into())
}
