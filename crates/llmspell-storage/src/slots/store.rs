//! The slot files of a space: writing, and making durable.
//!
//! Slot `s` lies in file `slots-<s / slots_per_file>`. A file grows in steps, so that not every write changes its
//! length, and is mapped again when it has grown; older views keep their older mapping. If there is no file (a store in
//! RAM), or it cannot be mapped, the slots are kept in anonymous memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use llmspell_core::Result;

use super::layout;
use super::map::SlotMemory;
use super::view::{Segment, SlotView};
use crate::base::error::{corrupted, io_error, out_of_memory};
use crate::base::ids::{Generation, Slot, SpaceId};
use crate::disk::{Disk, DiskDir, DiskFile};
use llmspell_codec::try_zeros;

/// Files stay below this size.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Step in which a file grows: a share of its size, within bounds.
const FILE_GROWTH_SHARE: u64 = 32;
const FILE_GROWTH_BYTES: (u64, u64) = (64 << 10, 8 << 20);
/// Blocks of file systems, or a multiple of theirs; pages of memory.
const BLOCK_BYTES: u64 = 4096;
/// Anonymous memory costs nothing until it is touched, so it grows in larger steps.
const MEMORY_GROWTH_SHARE: u64 = 1;
const MEMORY_GROWTH_BYTES: (u64, u64) = (64 << 10, 64 << 20);

/// The slots of one space.
#[derive(Debug)]
pub(crate) struct SlotStore {
    dim: usize,
    stride: u64,
    slots_per_file: u64,
    /// Slots from here on were not written since the space was opened, and no row names them.
    fresh_from: AtomicU64,
    /// None: in RAM only.
    home: Option<Home>,
    view: RwLock<Arc<SlotView>>,
    /// Only the committer writes.
    writer: Mutex<WriterState>,
}

#[derive(Debug)]
struct Home {
    disk: Arc<dyn Disk>,
    dir: String,
}

#[derive(Debug, Default)]
struct WriterState {
    files: Vec<OpenFile>,
    /// The directory, open, if a file was created in it since the last sync.
    new_names: Option<Box<dyn DiskDir>>,
}

#[derive(Debug)]
struct OpenFile {
    /// None in RAM.
    file: Option<Arc<dyn DiskFile>>,
    capacity: u64,
    is_dirty: bool,
}

impl SlotStore {
    /// Slots in RAM.
    pub(crate) fn in_memory(dim: usize) -> Self {
        Self::new(dim, None)
    }

    /// The directory of a space's files.
    pub(crate) fn dir(space: SpaceId) -> String {
        format!("spaces/{:08x}", space.0)
    }

    /// The files of a space, of which `end` slots are in use.
    ///
    /// # Errors
    ///
    /// `Corrupted` if a file is missing or shorter than the slots in use, `Io` if one cannot be opened.
    pub(crate) fn open(disk: &Arc<dyn Disk>, space: SpaceId, dim: usize, end: u64) -> Result<Self> {
        let dir = Self::dir(space);
        let store = Self::new(
            dim,
            Some(Home {
                disk: Arc::clone(disk),
                dir: dir.clone(),
            }),
        );
        let mut state = store.writer.lock();
        let mut segments = Vec::new();
        for number in 0..end.div_ceil(store.slots_per_file) {
            let name = format!("{dir}/slots-{number}");
            let path = disk.full_path(&name);
            if !disk
                .exists(&name)
                .map_err(|source| io_error("look for", &path, source))?
            {
                return Err(corrupted(path, "the file is missing"));
            }
            let file = disk.open(&name).map_err(|source| io_error("open", &path, source))?;
            let len = file.len().map_err(|source| io_error("measure", &path, source))?;
            let capacity = (len / store.stride).min(store.slots_per_file);
            let needed = (end - number * store.slots_per_file).min(store.slots_per_file);
            if capacity < needed {
                let detail = format!("it has {len} bytes; {} are in use", needed * store.stride);
                return Err(corrupted(path, detail));
            }
            let mut open = OpenFile {
                file: Some(file),
                capacity: 0,
                is_dirty: false,
            };
            store.extend_segments(&mut open, number, capacity, &mut segments)?;
            state.files.push(open);
        }
        *store.view.write() = Arc::new(SlotView::new(dim, segments));
        store.fresh_from.store(end, Ordering::Relaxed);
        drop(state);
        Ok(store)
    }

    /// Slots of a whole file of vectors of this dimension.
    pub(crate) fn slots_per_file_of(dim: usize) -> u64 {
        FILE_BYTES_MAX / layout::stride(dim) as u64
    }

    /// The path of a file of a space.
    pub(crate) fn file(space: SpaceId, number: u64) -> String {
        format!("{}/slots-{number}", Self::dir(space))
    }

    fn new(dim: usize, home: Option<Home>) -> Self {
        let stride = layout::stride(dim) as u64;
        Self {
            dim,
            stride,
            slots_per_file: Self::slots_per_file_of(dim),
            fresh_from: AtomicU64::new(0),
            home,
            view: RwLock::new(Arc::new(SlotView::new(dim, Vec::new()))),
            writer: Mutex::default(),
        }
    }

    /// Slots of a whole file; no run of slots that is allocated at once crosses a multiple of it.
    pub(crate) fn slots_per_file(&self) -> u64 {
        self.slots_per_file
    }

    /// Bytes of a slot.
    pub(crate) fn stride(&self) -> u64 {
        self.stride
    }

    /// What can be read now. Take it after the state whose slots you want to read.
    pub(crate) fn view(&self) -> Arc<SlotView> {
        Arc::clone(&self.view.read())
    }

    /// Whether slots lie in RAM only, and can be read there alone.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.home.is_none()
    }

    /// The file a slot lies in, for error texts.
    pub(crate) fn path(&self, slot: Slot) -> PathBuf {
        let name = format!("slots-{}", slot.0 / self.slots_per_file);
        match &self.home {
            Some(home) => home.disk.full_path(&format!("{}/{name}", home.dir)),
            None => PathBuf::from("memory").join(name),
        }
    }

    /// The generation for the next use of a slot. For the committer only, and for slots that no row names.
    ///
    /// It reads the file, not the memory: a free slot may lie in a hole, and reading a hole through memory makes the
    /// system allocate a block, which kills the process if the disk is full.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub(crate) fn next_generation(&self, slot: Slot) -> Result<Generation> {
        if slot.0 >= self.fresh_from.load(Ordering::Relaxed) {
            // Looking would read a page that is about to be written as a whole.
            return Ok(Generation(1));
        }
        let view = self.view();
        let stated = if view.reaches(slot) {
            let mut header = [0; layout::HEADER_BYTES];
            view.read_header(slot, &mut header)
                .map_err(|source| io_error("read", &self.path(slot), source))?;
            layout::stated_generation(&header).0
        } else {
            0
        };
        Ok(Generation(stated.wrapping_add(1)))
    }

    /// Makes the files long enough for `end` slots, written or not: so a file that is shorter has been cut.
    ///
    /// # Errors
    ///
    /// `NoSpace` or `Io`.
    pub(crate) fn extend(&self, end: u64) -> Result<()> {
        let mut state = self.writer.lock();
        // Files before the last one are whole.
        let last = state.files.len().saturating_sub(1) as u64;
        for number in last..end.div_ceil(self.slots_per_file) {
            let needed = (end - number * self.slots_per_file).min(self.slots_per_file);
            self.reserve(&mut state, number, needed)?;
        }
        Ok(())
    }

    /// Writes consecutive slots, beginning with `first`; `bytes` is their content, all in one file.
    ///
    /// # Errors
    ///
    /// `NoSpace` or `Io`. Slots written so far are named by no row.
    pub(crate) fn write(&self, first: Slot, bytes: &[u8]) -> Result<()> {
        let number = first.0 / self.slots_per_file;
        let place = first.0 % self.slots_per_file;
        let count = bytes.len() as u64 / self.stride;
        debug_assert!(place + count <= self.slots_per_file, "a run of slots lies in one file");
        let mut state = self.writer.lock();
        self.reserve(&mut state, number, place + count)?;
        self.fresh_from.fetch_max(first.0 + count, Ordering::Relaxed);
        let open = &mut state.files[usize::try_from(number).expect("few files")];
        if let Some(file) = &open.file {
            open.is_dirty = true;
            file.write_at(place * self.stride, bytes)
                .map_err(|source| io_error("write to", &self.path(first), source))?;
        }
        if open.file.as_ref().is_none_or(|file| !file.is_mappable()) {
            self.write_to_memory(first, bytes);
        }
        Ok(())
    }

    fn write_to_memory(&self, first: Slot, bytes: &[u8]) {
        let view = self.view();
        let stride = usize::try_from(self.stride).expect("a slot fits into memory");
        let mut slot = first.0;
        let mut rest = bytes;
        for segment in view.segments() {
            let place = slot.saturating_sub(segment.first_slot);
            if slot < segment.first_slot || place >= segment.slots || rest.is_empty() {
                continue;
            }
            let count = (segment.slots - place).min((rest.len() / stride) as u64);
            let (here, after) = rest.split_at(usize::try_from(count).expect("it is in memory") * stride);
            segment
                .memory
                .write(usize::try_from(place).expect("it is in memory") * stride, here);
            slot += count;
            rest = after;
        }
        debug_assert!(rest.is_empty(), "room was reserved for every slot");
    }

    /// Makes sure that [`sync`](Self::sync) can fail by the disk only: everything it needs is open.
    ///
    /// # Errors
    ///
    /// `Io` if a file cannot be opened. Nothing is in doubt then.
    pub(crate) fn prepare_sync(&self) -> Result<()> {
        let state = self.writer.lock();
        for (number, open) in state.files.iter().enumerate() {
            if let (Some(file), true) = (&open.file, open.is_dirty) {
                let path = || self.path(Slot(number as u64 * self.slots_per_file));
                file.hold().map_err(|source| io_error("open", &path(), source))?;
            }
        }
        Ok(())
    }

    /// The bytes written since the last sync are named by no row and need not become durable: their files may be
    /// closed. The next sync makes them durable too.
    pub(crate) fn let_go(&self) {
        let state = self.writer.lock();
        for file in state.files.iter().filter_map(|open| open.file.as_ref()) {
            file.let_go();
        }
    }

    /// Returns when everything written so far is durable. [`prepare_sync`](Self::prepare_sync) comes first.
    ///
    /// # Errors
    ///
    /// `Io`. Then it is unknown what is durable, and the database must stop writing.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut state = self.writer.lock();
        for (number, open) in state.files.iter_mut().enumerate() {
            if let (Some(file), true) = (&open.file, open.is_dirty) {
                let path = || self.path(Slot(number as u64 * self.slots_per_file));
                file.sync().map_err(|source| io_error("sync", &path(), source))?;
                open.is_dirty = false;
            }
        }
        if let (Some(home), Some(dir)) = (&self.home, &state.new_names) {
            let path = home.disk.full_path(&home.dir);
            dir.sync().map_err(|source| io_error("sync", &path, source))?;
            state.new_names = None;
        }
        Ok(())
    }

    /// Frees the disk blocks that hold only these slots, which are free.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub(crate) fn punch(&self, first: Slot, len: u32) -> Result<()> {
        let number = usize::try_from(first.0 / self.slots_per_file).expect("few files");
        let state = self.writer.lock();
        let Some(Some(file)) = state.files.get(number).map(|open| &open.file) else {
            return Ok(());
        };
        let offset = first.0 % self.slots_per_file * self.stride;
        let end = offset + u64::from(len) * self.stride;
        // The system would write zeros into blocks that are only partly to go: on a full disk, of all times.
        let (begin, end) = (offset.next_multiple_of(BLOCK_BYTES), end / BLOCK_BYTES * BLOCK_BYTES);
        if begin >= end {
            return Ok(());
        }
        file.punch_hole(begin, end - begin)
            .map_err(|source| io_error("punch a hole into", &self.path(first), source))
    }

    /// Truncates the files behind the slots in use. Only when there are no readers any more.
    pub(crate) fn trim(&self, end: u64) {
        let state = self.writer.lock();
        for (number, open) in state.files.iter().enumerate() {
            let used = end
                .saturating_sub(number as u64 * self.slots_per_file)
                .min(self.slots_per_file);
            if let Some(file) = &open.file
                && used < open.capacity
            {
                // Only tidiness: if it fails, the file is longer than it need be.
                let _ = file.set_len(used * self.stride);
            }
        }
    }

    /// Gives the pages that were read through memory back to the system.
    pub(crate) fn forget_pages(&self) {
        for segment in self.view().segments() {
            segment.memory.forget_pages();
        }
    }

    /// Bytes of RAM that only this process pays for.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.view()
            .segments()
            .iter()
            .map(|segment| segment.memory.own_bytes() as u64)
            .sum()
    }

    /// Makes room in a file for slots up to `needed`, creating it if need be.
    fn reserve(&self, state: &mut WriterState, number: u64, needed: u64) -> Result<()> {
        let index = usize::try_from(number).expect("few files");
        while state.files.len() <= index {
            let number = state.files.len() as u64;
            // Opened before anything is made: what fails at the sync is the disk then.
            let dir = match (&self.home, &state.new_names) {
                (Some(home), None) => {
                    let path = home.disk.full_path(&home.dir);
                    let dir = home.disk.open_dir(&home.dir);
                    Some(dir.map_err(|source| io_error("open", &path, source))?)
                }
                _ => None,
            };
            let file = self.create(number)?;
            state.new_names = state.new_names.take().or(dir);
            state.files.push(OpenFile {
                file,
                capacity: 0,
                is_dirty: false,
            });
        }
        let open = &mut state.files[index];
        if needed <= open.capacity {
            return Ok(());
        }
        let bytes = open.capacity * self.stride;
        let (share, (least, most)) = if open.file.is_some() {
            (FILE_GROWTH_SHARE, FILE_GROWTH_BYTES)
        } else {
            (MEMORY_GROWTH_SHARE, MEMORY_GROWTH_BYTES)
        };
        let step = (bytes / share).clamp(least, most) / self.stride;
        let capacity = needed.max(open.capacity + step).min(self.slots_per_file);
        if let Some(file) = &open.file {
            let path = self.path(Slot(number * self.slots_per_file));
            file.set_len(capacity * self.stride)
                .map_err(|source| io_error("extend", &path, source))?;
            open.is_dirty = true;
        }
        let mut segments = self.view().segments().to_vec();
        self.extend_segments(open, number, capacity, &mut segments)?;
        *self.view.write() = Arc::new(SlotView::new(self.dim, segments));
        Ok(())
    }

    fn create(&self, number: u64) -> Result<Option<Arc<dyn DiskFile>>> {
        let Some(home) = &self.home else { return Ok(None) };
        let name = format!("{}/slots-{number}", home.dir);
        let path = home.disk.full_path(&name);
        home.disk
            .create(&name)
            .map(Some)
            .map_err(|source| io_error("create", &path, source))
    }

    /// Covers the slots of a file up to `capacity` with memory.
    fn extend_segments(
        &self,
        open: &mut OpenFile,
        number: u64,
        capacity: u64,
        segments: &mut Vec<Segment>,
    ) -> Result<()> {
        let first_of_file = number * self.slots_per_file;
        let path = || self.path(Slot(first_of_file));
        let bytes = |slots: u64| usize::try_from(slots * self.stride).expect("a file fits into the address space");
        if capacity == 0 {
            return Ok(());
        }
        let mapped = match &open.file {
            Some(file) => file.mappable().map_err(|source| io_error("open", &path(), source))?,
            None => None,
        };
        let segment = if let Some(file) = mapped {
            let memory = SlotMemory::map(&file, bytes(capacity)).map_err(|source| io_error("map", &path(), source))?;
            segments.retain(|segment| segment.first_slot != first_of_file);
            Segment {
                first_slot: first_of_file,
                slots: capacity,
                memory: Arc::new(memory),
                file: open.file.clone().map(|file| (file, 0)),
            }
        } else {
            let slots = capacity - open.capacity;
            let memory =
                SlotMemory::anonymous(bytes(slots)).map_err(|source| io_error("get memory for", &path(), source))?;
            if let Some(file) = &open.file {
                let mut content = try_zeros(bytes(slots)).map_err(|source| out_of_memory(&path(), source))?;
                file.read_at(open.capacity * self.stride, &mut content)
                    .map_err(|source| io_error("read", &path(), source))?;
                memory.write(0, &content);
            }
            Segment {
                first_slot: first_of_file + open.capacity,
                slots,
                memory: Arc::new(memory),
                file: open.file.clone().map(|file| (file, open.capacity * self.stride)),
            }
        };
        let place = segments.partition_point(|other| other.first_slot < segment.first_slot);
        segments.insert(place, segment);
        open.capacity = capacity;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{Extent, PointId, ScopeId};
    use crate::base::options::DEFAULT_FILE_MODE;
    use crate::disk::Directory;

    const DIM: usize = 5;

    fn write(store: &SlotStore, first: u64, count: u64) {
        let mut bytes = Vec::new();
        for slot in first..first + count {
            let vector: Vec<f32> = (0..DIM).map(|i| slot as f32 + i as f32 / 8.0).collect();
            layout::encode(Slot(slot), Generation(1), ScopeId(1), &vector, &mut bytes);
        }
        store.write(Slot(first), &bytes).unwrap();
    }

    fn assert_written(store: &SlotStore, first: u64, count: u32) {
        let view = store.view();
        let extent = Extent {
            first_point: PointId(0),
            first_slot: Slot(first),
            len: count,
        };
        let firsts: Vec<f32> = view.vectors(extent).map(|vector| vector[0]).collect();
        let expected: Vec<f32> = (first..first + u64::from(count)).map(|slot| slot as f32).collect();
        assert_eq!(firsts, expected);
        for slot in first..first + u64::from(count) {
            assert_eq!(view.verify(Slot(slot), ScopeId(1)), Ok(Generation(1)));
            assert_eq!(view.vector(Slot(slot))[1], slot as f32 + 0.125);
        }
    }

    #[test]
    fn slots_in_memory_read_back_across_every_growth() {
        let store = SlotStore::in_memory(DIM);
        for batch in 0..20 {
            write(&store, batch * 1000, 1000);
        }
        assert_written(&store, 0, 20_000);
        assert!(store.view().segments().len() > 1, "the memory grew");
    }

    #[test]
    fn slots_in_files_survive_closing_and_an_older_view_keeps_its_slots() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Directory::open(dir.path().to_path_buf(), DEFAULT_FILE_MODE).unwrap());
        disk.create_dir("spaces").unwrap();
        disk.create_dir(&SlotStore::dir(SpaceId(1))).unwrap();
        let store = SlotStore::open(&disk, SpaceId(1), DIM, 0).unwrap();
        write(&store, 0, 10);
        let older = store.view();
        write(&store, 10, 20_000);
        store.sync().unwrap();
        assert_eq!(older.vector(Slot(9))[0], 9.0);
        assert_written(&store, 0, 20_010);
        store.trim(20_010);
        drop((store, older));

        let store = SlotStore::open(&disk, SpaceId(1), DIM, 20_010).unwrap();
        assert_written(&store, 0, 20_010);
        drop(store);
        let path = dir.path().join("spaces/00000001/slots-0");
        let len = std::fs::metadata(&path).unwrap().len();
        assert_eq!(
            len,
            20_010 * layout::stride(DIM) as u64,
            "trimming leaves what is in use"
        );
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(len - 1)
            .unwrap();
        let error = SlotStore::open(&disk, SpaceId(1), DIM, 20_010).unwrap_err();
        assert!(error.to_string().contains("bytes; 720360 are in use"), "{error}");
    }
}
