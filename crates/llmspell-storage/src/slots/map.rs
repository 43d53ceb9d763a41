//! Memory of slots, and bytes of files that never change. The one place outside the kernels with `unsafe`.
//!
//! [`SlotMemory`] changes while it is shared, so it is private to `slots/`. What makes it sound is the protocol of the
//! slots, kept by the committer: the bytes of a slot change only while no reader can reach it (it is free, or not named by
//! any state that `Reuse` watches), and files grow but do not shrink while they are mapped. So a reader holds the published
//! state that names a slot as long as it looks at the slot, makes slices of single slots and never of a whole file. A reader
//! without such a state copies slots through their file instead ([`SlotView::read`](super::SlotView::read)).
//!
//! [`FrozenBytes`] need no protocol: an index file is written under another name, synced, renamed and mapped after that; it
//! is never written again, only removed, which leaves the mapping as it is. Memory of our own is filled before it is shared.
//!
//! Another process that writes into the files, against the lock, breaks this as it breaks every memory-mapped store.

#![allow(unsafe_code, reason = "memory-mapped slots; see the module's protocol")]

use std::fs::File;
use std::io;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut, MmapOptions, MmapRaw};

#[cfg(target_endian = "big")]
compile_error!("slots hold little-endian components and are read in place");

/// A piece of memory that holds slots.
#[derive(Debug)]
pub(super) struct SlotMemory {
    map: MmapRaw,
    /// The pages of a file, which is written through the file; our own otherwise, written by [`SlotMemory::write`].
    is_mapped: bool,
}

impl SlotMemory {
    /// The first `len` bytes of a file.
    pub(super) fn map(file: &File, len: usize) -> io::Result<Self> {
        Ok(Self {
            map: MmapOptions::new().len(len).map_raw_read_only(file)?,
            is_mapped: true,
        })
    }

    /// `len` zeros.
    pub(super) fn anonymous(len: usize) -> io::Result<Self> {
        Ok(Self {
            map: MmapRaw::from(MmapMut::map_anon(len)?),
            is_mapped: false,
        })
    }

    /// The bytes of a slot.
    ///
    /// # Panics
    ///
    /// If they are not all inside.
    pub(super) fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        self.assert_inside(offset, len);
        // SAFETY: the range is inside the mapping (asserted), lives as long as `self`, and by the protocol of the
        // module no thread writes to it while a reader can name it.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(offset), len) }
    }

    /// The components of a slot.
    ///
    /// # Panics
    ///
    /// If they are not all inside, or `offset` is no multiple of four.
    pub(super) fn components(&self, offset: usize, dim: usize) -> &[f32] {
        let bytes = self.bytes(offset, 4 * dim);
        assert!(
            offset.is_multiple_of(align_of::<f32>()),
            "slots begin at multiples of four bytes"
        );
        // SAFETY: `bytes` has `4 * dim` readable bytes; mappings begin at a page, so the pointer is aligned
        // (asserted for the offset); every bit pattern is an f32; target is little-endian (checked above).
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), dim) }
    }

    /// Writes to memory of our own; for a mapped file the file itself is written.
    ///
    /// # Panics
    ///
    /// If the range is not inside, or the memory belongs to a file.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(!self.is_mapped, "mapped slots are written through their file");
        self.assert_inside(offset, bytes.len());
        // SAFETY: the range is inside the mapping (asserted); only the committer writes, one thread, and by the
        // protocol of the module no reader can name these slots now. `bytes` is no part of the mapping.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(offset), bytes.len()) }
    }

    fn assert_inside(&self, offset: usize, len: usize) {
        let is_inside = offset.checked_add(len).is_some_and(|end| end <= self.map.len());
        assert!(is_inside, "slots lie inside their memory");
    }

    /// Gives the pages of a mapped file back to the system, which keeps them in its cache as long as it likes.
    /// Reading them again costs a fault each, and the disk only if the cache has let them go.
    pub(super) fn forget_pages(&self) {
        #[cfg(target_os = "linux")]
        if self.is_mapped {
            // SAFETY: the mapping is shared and read-only: a page that is given back reads the same again.
            let _ = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    /// Tells the system whether pages that follow a page that is read will be read too. Otherwise it reads up to megabytes
    /// around each.
    pub(super) fn will_read(&self, follows: bool) {
        #[cfg(unix)]
        if self.is_mapped {
            use memmap2::Advice;
            // Only advice.
            let _ = self.map.advise(if follows { Advice::Normal } else { Advice::Random });
        }
        #[cfg(not(unix))]
        let _ = follows;
    }

    /// Bytes of RAM that only this process pays for.
    pub(super) fn own_bytes(&self) -> usize {
        if self.is_mapped { 0 } else { self.map.len() }
    }
}

/// Bytes that never change and stay where they are: a part of an index file, or of memory that is like one.
#[derive(Debug, Clone)]
pub(crate) struct FrozenBytes {
    frozen: Arc<Frozen>,
    offset: usize,
    len: usize,
}

#[derive(Debug)]
struct Frozen {
    map: Mmap,
    is_mapped: bool,
}

impl FrozenBytes {
    /// The first `len` bytes of an index file.
    pub(crate) fn map(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: the file is ours by the lock on the directory, and once it has its name it is never written again.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(Self::whole(map, true))
    }

    /// `len` bytes, at least one, which `fill` writes over zeros, in large pages if the system has them: a walk of a
    /// graph touches another page with nearly every step, and looking up small pages takes a good part of its time.
    pub(crate) fn filled<E: From<io::Error>>(
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut map = MmapMut::map_anon(len)?;
        // Only advice: a system without large pages uses small ones.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        fill(&mut map)?;
        Ok(Self::whole(map.make_read_only()?, false))
    }

    fn whole(map: Mmap, is_mapped: bool) -> Self {
        let len = map.len();
        Self {
            frozen: Arc::new(Frozen { map, is_mapped }),
            offset: 0,
            len,
        }
    }

    /// `len` of these bytes from `offset`; none if there are not that many.
    pub(crate) fn part(&self, offset: u64, len: u64) -> Option<Self> {
        let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(len).ok()?);
        offset.checked_add(len).filter(|end| *end <= self.len)?;
        Some(Self {
            frozen: Arc::clone(&self.frozen),
            offset: self.offset + offset,
            len,
        })
    }

    /// Whether these are pages of a file, not memory of our own.
    pub(crate) fn is_mapped(&self) -> bool {
        self.frozen.is_mapped
    }

    /// Tells the system that single pages of a mapped file are read, here and there: not those around them.
    pub(crate) fn will_read_pages(&self) {
        #[cfg(unix)]
        if self.frozen.is_mapped {
            // Only advice.
            let _ = self.frozen.map.advise(memmap2::Advice::Random);
        }
    }

    /// Gives the pages of a mapped file back to the system, as those of slots.
    pub(crate) fn forget_pages(&self) {
        #[cfg(target_os = "linux")]
        if self.frozen.is_mapped {
            // SAFETY: the mapping is shared and read-only: a page that is given back reads the same again.
            let _ = unsafe { self.frozen.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
}

impl AsRef<[u8]> for FrozenBytes {
    fn as_ref(&self) -> &[u8] {
        &self.frozen.map[self.offset..self.offset + self.len]
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
