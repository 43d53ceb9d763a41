//! A real directory as a disk of the engine.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open_files::{OpenFiles, RealFile};
use super::tree::{Tree, identity};
use super::{Disk, DiskDir, DiskFile};

/// How often a lock is taken again because the locked file lost its name meanwhile.
const LOCK_ATTEMPTS: u32 = 100;

/// What came of locking a file.
#[derive(Debug)]
pub(crate) enum Locked {
    /// It is locked until this is dropped.
    Ours(File),
    /// Another process has locked it.
    Theirs(File),
}

/// A directory of the file system.
#[derive(Debug)]
pub(crate) struct Directory {
    tree: Arc<Tree>,
    open_files: Arc<OpenFiles>,
}

impl Directory {
    /// The directory at `root`, which exists. New files get the permission bits `file_mode`.
    pub(crate) fn open(root: PathBuf, file_mode: u32) -> io::Result<Self> {
        Ok(Self {
            tree: Arc::new(Tree::open(root, file_mode)?),
            open_files: Arc::default(),
        })
    }

    /// Locks a file of the root, which is created if it does not exist.
    ///
    /// The locked file has that name at the end: if another file has taken the name, that one is locked instead.
    pub(crate) fn lock(&self, name: &str) -> io::Result<Locked> {
        for _ in 0..LOCK_ATTEMPTS {
            let file = self.open_files.with_room(|| self.tree.open_or_create_file(name))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Locked::Theirs(file)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let is_it = match self.tree.identity_of(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                named => named? == identity(&file)?,
            };
            if is_it {
                return Ok(Locked::Ours(file));
            }
        }
        Err(io::Error::other("somebody removes it again and again"))
    }

    fn opened(&self, path: &str, file: File) -> io::Result<Arc<dyn DiskFile>> {
        Ok(RealFile::new(&self.tree, Some(&self.open_files), path, file)?)
    }
}

impl Disk for Directory {
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.open_files.with_room(|| self.tree.open_file(path))?;
        self.opened(path, file)
    }

    fn open_alone(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.open_files.with_room(|| self.tree.open_file(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let file = RealFile::new(&self.tree, None, path, file)?;
        if file.has_its_name()? {
            Ok(file)
        } else {
            Err(io::Error::other("another file took its name while it was opened"))
        }
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.open_files.with_room(|| self.tree.create_file(path))?;
        let file = self.opened(path, file)?;
        // Its length and its bytes are to be synced, whatever is written.
        file.hold()?;
        Ok(file)
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.open_files.with_room(|| self.tree.create_folder(path))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(self.open_files.with_room(|| self.tree.kind(path))?.is_some())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.open_files.with_room(|| self.tree.list(path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.open_files.with_room(|| self.tree.rename(from, to))
    }

    fn exchange(&self, one: &str, other: &str) -> io::Result<()> {
        self.open_files.with_room(|| self.tree.exchange(one, other))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.open_files.with_room(|| self.tree.remove(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.open_files.with_room(|| self.tree.remove_folder(path))
    }

    fn open_dir(&self, path: &str) -> io::Result<Box<dyn DiskDir>> {
        let folder = self.open_files.with_room(|| self.tree.folder_to_sync(path))?;
        Ok(Box::new(RealDir(folder)))
    }

    fn available_bytes(&self) -> Option<u64> {
        self.tree.available_bytes()
    }

    fn occupied_bytes(&self, path: &str) -> io::Result<u64> {
        self.open_files.with_room(|| occupied_bytes(&self.tree.full_path(path)))
    }

    fn full_path(&self, path: &str) -> PathBuf {
        self.tree.full_path(path)
    }
}

/// A folder that is open; none where the system has no such thing.
#[derive(Debug)]
struct RealDir(Option<File>);

impl DiskDir for RealDir {
    fn sync(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), File::sync_all)
    }
}

fn occupied_bytes(path: &Path) -> io::Result<u64> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        metadata => metadata?,
    };
    if !metadata.is_dir() {
        return Ok(file_bytes(&metadata));
    }
    // A folder may go while it is looked at.
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut below = Vec::new();
    for entry in entries {
        below.push(entry?.path());
    }
    below.iter().try_fold(0, |sum, path| Ok(sum + occupied_bytes(path)?))
}

/// Blocks, not length: a file may have holes.
#[cfg(unix)]
fn file_bytes(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn file_bytes(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::options::DEFAULT_FILE_MODE;
    use crate::disk::open_files::OPEN_FILES_MAX;

    fn directory() -> (tempfile::TempDir, Directory) {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path().to_path_buf(), DEFAULT_FILE_MODE).unwrap();
        (dir, directory)
    }

    #[cfg(target_os = "linux")]
    fn open_below(dir: &Path) -> usize {
        let links = fs::read_dir("/proc/self/fd").unwrap();
        links
            .filter_map(|link| fs::read_link(link.unwrap().path()).ok())
            .filter(|target| target.starts_with(dir) && target != dir)
            .count()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn more_files_than_may_be_open_are_read_and_written_and_those_with_unsynced_writes_stay_open() {
        let (dir, directory) = directory();
        let files: Vec<_> = (0..3 * OPEN_FILES_MAX)
            .map(|number| directory.create(&number.to_string()).unwrap())
            .collect();
        for (number, file) in files.iter().enumerate() {
            file.write_at(0, &number.to_le_bytes()).unwrap();
        }
        assert_eq!(open_below(dir.path()), files.len(), "none of them was synced");
        for file in &files {
            file.sync().unwrap();
        }
        for _ in 0..2 {
            for (number, file) in files.iter().enumerate() {
                let mut bytes = [0; size_of::<usize>()];
                file.read_at(0, &mut bytes).unwrap();
                assert_eq!(usize::from_le_bytes(bytes), number);
            }
            let open = open_below(dir.path());
            assert!(open <= OPEN_FILES_MAX, "{open} files are open");
        }
    }

    #[test]
    fn a_file_that_was_closed_and_whose_name_another_one_took_is_not_read() {
        let (dir, directory) = directory();
        let file = directory.create("a").unwrap();
        file.sync().unwrap();
        let others: Vec<_> = (0..2 * OPEN_FILES_MAX)
            .map(|number| directory.create(&format!("other {number}")).unwrap())
            .collect();
        others.iter().for_each(|other| other.sync().unwrap());
        fs::write(dir.path().join("b"), [7; 8]).unwrap();
        fs::rename(dir.path().join("b"), dir.path().join("a")).unwrap();
        let error = file.read_at(0, &mut [0; 8]).unwrap_err();
        assert!(error.to_string().contains("another file"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_by_no_call_and_what_they_lead_to_stays_as_it_is() {
        use std::os::unix::fs::symlink;
        let (dir, directory) = directory();
        let victim = tempfile::tempdir().unwrap();
        let precious = victim.path().join("precious");
        fs::write(&precious, b"precious").unwrap();
        symlink(&precious, dir.path().join("file")).unwrap();
        symlink(victim.path(), dir.path().join("folder")).unwrap();
        assert!(directory.open("file").is_err());
        assert!(directory.open_alone("file").is_err());
        assert!(directory.create("file").is_err());
        assert!(directory.lock("file").is_err());
        assert!(directory.open("folder/precious").is_err());
        assert!(directory.create("folder/new").is_err());
        assert!(directory.create_dir("folder").is_err());
        assert!(directory.create_dir("folder/below").is_err());
        assert!(directory.list("folder").is_err());
        assert!(directory.remove("folder/precious").is_err());
        assert!(directory.rename("folder/precious", "mine").is_err());
        assert!(directory.open_dir("folder").is_err());
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn new_files_and_folders_are_for_their_owner_only_unless_asked_otherwise() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (file_mode, folder_mode) in [(DEFAULT_FILE_MODE, 0o700), (0o640, 0o750)] {
            let dir = tempfile::tempdir().unwrap();
            let directory = Directory::open(dir.path().to_path_buf(), file_mode).unwrap();
            directory.create("file").unwrap();
            directory.create_dir("folder").unwrap();
            directory.lock("LOCK").unwrap();
            assert_eq!(mode(&dir.path().join("file")), file_mode);
            assert_eq!(mode(&dir.path().join("LOCK")), file_mode);
            assert_eq!(mode(&dir.path().join("folder")), folder_mode);
        }
    }
}
