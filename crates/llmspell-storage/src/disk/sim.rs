//! A simulated disk, which knows what would be on it if the power failed now.
//!
//! A disk in RAM that remembers every operation in order. From any point of that history it makes images of what a real
//! disk could hold after a loss of power there:
//!
//! * synced bytes are there;
//! * of each write since, any part of 512 bytes may be there or not, whatever came after it (dropped, reordered, torn);
//! * a change of length may be there or not, and so may every write behind it;
//! * names change in order within a directory, and those not synced may be lost from any point on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskDir, DiskFile};

const SECTOR_BYTES: usize = 512;

/// One operation.
#[derive(Debug, Clone)]
enum Event {
    Write { file: usize, offset: u64, bytes: Vec<u8> },
    SetLen { file: usize, len: u64 },
    Sync { file: usize },
    Name { path: String, file: Option<usize> },
    SyncDir { path: String },
}

#[derive(Debug, Default)]
struct World {
    /// Content as a running system sees it.
    files: Vec<Vec<u8>>,
    /// File of a name, or [`DIRECTORY`].
    names: BTreeMap<String, usize>,
    history: Vec<Event>,
    /// Content of the files before the history begins.
    files_before: Vec<Vec<u8>>,
    names_before: BTreeMap<String, usize>,
    /// Operations that fail: from this number on, for a while.
    failure: Option<Failure>,
}

/// Operations that fail.
#[derive(Debug)]
struct Failure {
    from: usize,
    kind: io::ErrorKind,
    lasts: Lasts,
}

/// How long a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// The next operation works again.
    Once,
    ForEver,
}

/// The content after a loss of power.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image {
    files: BTreeMap<String, Vec<u8>>,
    dirs: Vec<String>,
}

/// How much of the unsynced operations survives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Luck {
    Nothing,
    Everything,
    /// Each part by a throw of dice.
    Some(u64),
}

/// The disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl SimDisk {
    /// A disk that holds an image.
    pub(crate) fn from_image(image: &Image) -> Self {
        let mut world = World::default();
        for (path, content) in &image.files {
            world.names.insert(path.clone(), world.files.len());
            world.files.push(content.clone());
        }
        world
            .names
            .extend(image.dirs.iter().map(|path| (path.clone(), DIRECTORY)));
        world.files_before = world.files.clone();
        world.names_before = world.names.clone();
        Self {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// Operations so far.
    pub(crate) fn now(&self) -> usize {
        self.world.lock().history.len()
    }

    /// The points of the history just before and after each sync.
    pub(crate) fn sync_boundaries(&self) -> Vec<usize> {
        let world = self.world.lock();
        let is_sync = |event: &Event| matches!(event, Event::Sync { .. } | Event::SyncDir { .. });
        let mut points: Vec<usize> = (0..world.history.len())
            .filter(|index| is_sync(&world.history[*index]))
            .flat_map(|index| [index, index + 1])
            .collect();
        points.dedup();
        points
    }

    /// Operations fail from the one with this number on.
    pub(crate) fn fail(&self, from: usize, kind: io::ErrorKind, lasts: Lasts) {
        self.world.lock().failure = Some(Failure { from, kind, lasts });
    }

    /// What a loss of power leaves when the first `time` operations have begun and the others have not.
    pub(crate) fn image_at(&self, time: usize, luck: Luck) -> Image {
        let world = self.world.lock();
        let mut dice = Dice::new(luck, time);
        let history = &world.history[..time];

        let files: Vec<Vec<u8>> = (0..world.files.len())
            .map(|file| surviving(&world, history, file, &mut dice))
            .collect();
        let names = surviving_names(&world, history, &mut dice);
        let mut image = Image::default();
        for (path, file) in names {
            match file {
                DIRECTORY => image.dirs.push(path),
                file => drop(image.files.insert(path, files[file].clone())),
            }
        }
        image
    }

    fn act(&self, event: Event) -> io::Result<()> {
        let mut world = self.world.lock();
        let now = world.history.len();
        if let Some(failure) = world.failure.take_if(|failure| failure.from <= now) {
            let error = failure.kind.into();
            if failure.lasts == Lasts::ForEver {
                world.failure = Some(failure);
            }
            return Err(error);
        }
        match &event {
            Event::Write { file, offset, bytes } => write(&mut world.files[*file], *offset, bytes),
            Event::SetLen { file, len } => world.files[*file].resize(usize::try_from(*len).unwrap(), 0),
            Event::Name { path, file: Some(file) } => drop(world.names.insert(path.clone(), *file)),
            Event::Name { path, file: None } => drop(world.names.remove(path)),
            Event::Sync { .. } | Event::SyncDir { .. } => {}
        }
        world.history.push(event);
        Ok(())
    }
}

/// Content of a file after a loss of power.
fn surviving(world: &World, history: &[Event], file: usize, dice: &mut Dice) -> Vec<u8> {
    let concerns = |event: &Event| match event {
        Event::Write { file: of, .. } | Event::SetLen { file: of, .. } | Event::Sync { file: of } => *of == file,
        Event::Name { .. } | Event::SyncDir { .. } => false,
    };
    let synced = history
        .iter()
        .rposition(|event| matches!(event, Event::Sync { file: of } if *of == file))
        .map_or(0, |index| index + 1);
    let mut content = world.files_before.get(file).cloned().unwrap_or_default();
    for (index, event) in history.iter().enumerate().filter(|(_, event)| concerns(event)) {
        let is_safe = index < synced;
        match event {
            Event::SetLen { len, .. } if is_safe || dice.keep() => content.resize(usize::try_from(*len).unwrap(), 0),
            Event::Write { offset, bytes, .. } if is_safe => write(&mut content, *offset, bytes),
            Event::Write { offset, bytes, .. } => {
                // Cut at the sectors of the disk, not of the write.
                let mut offset = *offset;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let room = SECTOR_BYTES - usize::try_from(offset).unwrap() % SECTOR_BYTES;
                    let (part, after) = rest.split_at(room.min(rest.len()));
                    if dice.keep() {
                        write(&mut content, offset, part);
                    }
                    offset += part.len() as u64;
                    rest = after;
                }
            }
            _ => {}
        }
    }
    content
}

/// Names after a loss of power.
fn surviving_names(world: &World, history: &[Event], dice: &mut Dice) -> BTreeMap<String, usize> {
    let mut names = world.names_before.clone();
    let mut is_lost: BTreeMap<&str, bool> = BTreeMap::new();
    for (index, event) in history.iter().enumerate() {
        let Event::Name { path, file } = event else { continue };
        let dir = parent(path);
        let is_synced = history[index..]
            .iter()
            .any(|event| matches!(event, Event::SyncDir { path } if path == dir));
        let lost = is_lost.entry(dir).or_default();
        if !is_synced && !*lost && !dice.keep() {
            *lost = true;
        }
        if *lost {
            continue;
        }
        match file {
            Some(file) => drop(names.insert(path.clone(), *file)),
            None => drop(names.remove(path)),
        }
    }
    names
}

/// In an event: the name is that of a directory.
const DIRECTORY: usize = usize::MAX;

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn write(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap();
    if content.len() < start + bytes.len() {
        content.resize(start + bytes.len(), 0);
    }
    content[start..start + bytes.len()].copy_from_slice(bytes);
}

/// Decides what survives, the same way for the same seed.
struct Dice {
    luck: Luck,
    state: u64,
}

impl Dice {
    fn new(luck: Luck, time: usize) -> Self {
        let seed = if let Luck::Some(seed) = luck { seed } else { 0 };
        Self {
            luck,
            state: (seed ^ ((time as u64) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    fn keep(&mut self) -> bool {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        match self.luck {
            Luck::Nothing => false,
            Luck::Everything => true,
            Luck::Some(_) => (self.state >> 40) & 1 == 1,
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.world.lock().names.get(path) {
            Some(file) if *file != DIRECTORY => Ok(Arc::new(SimFile {
                disk: self.clone(),
                file: *file,
            })),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn open_alone(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = {
            let mut world = self.world.lock();
            world.files.push(Vec::new());
            world.files.len() - 1
        };
        self.act(Event::Name {
            path: path.to_string(),
            file: Some(file),
        })?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            file,
        }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        if self.exists(path)? {
            return Ok(());
        }
        self.act(Event::Name {
            path: path.to_string(),
            file: Some(DIRECTORY),
        })
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(self.world.lock().names.contains_key(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let world = self.world.lock();
        let inside = world.names.keys().filter(|name| parent(name) == path);
        Ok(inside
            .map(|name| name.rsplit('/').next().unwrap().to_string())
            .collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self
            .world
            .lock()
            .names
            .get(from)
            .copied()
            .ok_or(io::ErrorKind::NotFound)?;
        // The journal of a file system changes both names at once; losing the second alone is the harder case.
        self.act(Event::Name {
            path: to.to_string(),
            file: Some(file),
        })?;
        self.act(Event::Name {
            path: from.to_string(),
            file: None,
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        if self.exists(path)? {
            self.act(Event::Name {
                path: path.to_string(),
                file: None,
            })
        } else {
            Ok(())
        }
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.remove(path)
    }

    fn open_dir(&self, path: &str) -> io::Result<Box<dyn DiskDir>> {
        Ok(Box::new(SimDir {
            disk: self.clone(),
            path: path.to_string(),
        }))
    }

    fn available_bytes(&self) -> Option<u64> {
        None
    }

    fn occupied_bytes(&self, _path: &str) -> io::Result<u64> {
        Ok(self.world.lock().files.iter().map(|file| file.len() as u64).sum())
    }

    fn full_path(&self, path: &str) -> PathBuf {
        PathBuf::from("sim").join(path)
    }
}

#[derive(Debug)]
struct SimDir {
    disk: SimDisk,
    path: String,
}

impl DiskDir for SimDir {
    fn sync(&self) -> io::Result<()> {
        self.disk.act(Event::SyncDir {
            path: self.path.clone(),
        })
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.world.lock().files[self.file].len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.act(Event::SetLen { file: self.file, len })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let world = self.disk.world.lock();
        let start = usize::try_from(offset).unwrap();
        let bytes = world.files[self.file]
            .get(start..start + buffer.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn read_cached(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        self.read_at(offset, buffer).map(|()| true)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.act(Event::Write {
            file: self.file,
            offset,
            bytes: bytes.to_vec(),
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.act(Event::Sync { file: self.file })
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_at(offset, &vec![0; usize::try_from(len).unwrap()])
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn hold(&self) -> io::Result<()> {
        Ok(())
    }

    fn let_go(&self) {}

    fn is_mappable(&self) -> bool {
        false
    }

    fn mappable(&self) -> io::Result<Option<Arc<File>>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_is_in_every_image_and_what_was_not_is_in_some() {
        let disk = SimDisk::default();
        let file = disk.create("a").unwrap();
        file.write_at(0, &[1; 1024]).unwrap();
        file.sync().unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(0, &[2; 1024]).unwrap();
        let content = |luck| disk.image_at(disk.now(), luck).files["a"].clone();
        assert_eq!(content(Luck::Nothing), [1; 1024]);
        assert_eq!(content(Luck::Everything), [2; 1024]);
        let torn = (0..20)
            .map(|seed| content(Luck::Some(seed)))
            .any(|bytes| bytes[0] != bytes[1023]);
        assert!(torn, "half of a write can survive");
    }

    #[test]
    fn a_name_that_was_not_synced_can_be_lost_with_its_content() {
        let disk = SimDisk::default();
        let file = disk.create("a").unwrap();
        file.write_at(0, &[1]).unwrap();
        file.sync().unwrap();
        assert!(disk.image_at(disk.now(), Luck::Nothing).files.is_empty());
        disk.sync_dir("").unwrap();
        assert_eq!(disk.image_at(disk.now(), Luck::Nothing).files["a"], [1]);
    }
}
