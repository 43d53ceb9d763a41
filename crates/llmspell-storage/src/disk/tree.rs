//! A directory tree in which no name leads outside: symbolic links are refused, new files are new.
//!
//! A directory that other users may write to can have links under the names of our files. So every name is opened in
//! the folder that was opened before it, without following a link, and a file that is created must not exist.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The kind of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A symbolic link, a pipe, a device.
    Other,
}

/// Tells one file from another, whatever their names.
pub(super) type Identity = (u64, u64);

/// A root folder and its content. Paths are relative to the root; the empty path is the root.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    #[cfg(unix)]
    folder: File,
    #[cfg(unix)]
    file_mode: u32,
}

/// Permission bits of a folder for files with `file_mode`: users who may read the files may enter.
#[cfg(unix)]
fn folder_mode(file_mode: u32) -> u32 {
    0o700 | file_mode | ((file_mode & 0o444) >> 2)
}

/// Makes a folder, its parents too, and makes their names durable up to the first that was there before.
pub(crate) fn create_folders(path: &Path, file_mode: u32) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut existing = std::path::absolute(path)?;
    while !existing.try_exists()? {
        missing.push(existing.clone());
        if !existing.pop() {
            break;
        }
    }
    while let Some(folder) = missing.pop() {
        match make_folder(&folder, file_mode) {
            // Another process makes the same ones.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        sync_folder(&existing)?;
        existing = folder;
    }
    Ok(())
}

#[cfg(unix)]
fn make_folder(path: &Path, file_mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(folder_mode(file_mode)).create(path)
}

#[cfg(not(unix))]
fn make_folder(path: &Path, _file_mode: u32) -> io::Result<()> {
    std::fs::create_dir(path)
}

/// Makes the names in a folder durable. Does nothing without the permission to read the folder.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        // Other systems make names durable with the file, or give no way to ask.
        return Ok(());
    }
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        folder => folder?.sync_all(),
    }
}

/// Bytes that can still be written to the file system of `path`, as far as known.
#[cfg(all(unix, feature = "sled"))]
pub(crate) fn available_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(all(not(unix), feature = "sled"))]
pub(crate) fn available_bytes(_path: &Path) -> Option<u64> {
    None
}

impl Tree {
    /// The path of a name below the root.
    pub(super) fn full_path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

#[cfg(unix)]
mod unix {
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
    use rustix::io::Errno;

    use super::{File, Identity, Kind, PathBuf, Tree, folder_mode, io};

    /// The folder of a name.
    enum Parent<'a> {
        Root(BorrowedFd<'a>),
        Below(File),
    }

    impl Parent<'_> {
        fn fd(&self) -> BorrowedFd<'_> {
            match self {
                Self::Root(fd) => *fd,
                Self::Below(folder) => folder.as_fd(),
            }
        }
    }

    const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

    fn no_link(path: &str) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{path}` is a symbolic link or no plain file or folder; nothing in a database may be"),
        )
    }

    impl Tree {
        /// The existing folder at `root`. New files get `file_mode`, new folders the bits that go with it.
        pub(in crate::disk) fn open(root: PathBuf, file_mode: u32) -> io::Result<Self> {
            let folder = File::open(&root)?;
            Ok(Self {
                root,
                folder,
                file_mode,
            })
        }

        fn mode(&self) -> Mode {
            Mode::from_raw_mode(self.file_mode as rustix::fs::RawMode)
        }

        /// Opens a file that exists, for reading and writing.
        pub(in crate::disk) fn open_file(&self, path: &str) -> io::Result<File> {
            let (parent, name) = self.parent(path)?;
            // A pipe under this name must not keep us waiting for its other end.
            let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
            let file = match rustix::fs::openat(parent.fd(), name, flags, Mode::empty()) {
                Err(Errno::LOOP) => return Err(no_link(path)),
                file => File::from(file?),
            };
            if file.metadata()?.is_file() {
                Ok(file)
            } else {
                Err(no_link(path))
            }
        }

        /// Creates a file. A file that an interrupted run left under this name is removed first; anything but a plain
        /// file is refused.
        pub(in crate::disk) fn create_file(&self, path: &str) -> io::Result<File> {
            let (parent, name) = self.parent(path)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(parent.fd(), name, flags, self.mode()) {
                Err(Errno::EXIST) => {}
                file => return Ok(File::from(file?)),
            }
            if kind_in(parent.fd(), name)? != Some(Kind::File) {
                return Err(no_link(path));
            }
            rustix::fs::unlinkat(parent.fd(), name, AtFlags::empty())?;
            Ok(File::from(rustix::fs::openat(parent.fd(), name, flags, self.mode())?))
        }

        /// Opens a file, or creates it if it does not exist.
        pub(in crate::disk) fn open_or_create_file(&self, path: &str) -> io::Result<File> {
            let (parent, name) = self.parent(path)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(parent.fd(), name, flags, self.mode()) {
                Err(Errno::EXIST) => self.open_file(path),
                file => Ok(File::from(file?)),
            }
        }

        /// Opens a folder, to make its names durable. None where the system has no such thing.
        pub(in crate::disk) fn folder_to_sync(&self, path: &str) -> io::Result<Option<File>> {
            self.open_folder(path).map(Some)
        }

        fn open_folder(&self, path: &str) -> io::Result<File> {
            if path.is_empty() {
                return self.folder.try_clone();
            }
            let (parent, name) = self.parent(path)?;
            open_folder_in(parent.fd(), name, path)
        }

        /// Makes a folder; it may be there.
        pub(in crate::disk) fn create_folder(&self, path: &str) -> io::Result<()> {
            let (parent, name) = self.parent(path)?;
            let mode = Mode::from_raw_mode(folder_mode(self.file_mode) as rustix::fs::RawMode);
            match rustix::fs::mkdirat(parent.fd(), name, mode) {
                Err(Errno::EXIST) => match kind_in(parent.fd(), name)? {
                    Some(Kind::Folder) => Ok(()),
                    _ => Err(no_link(path)),
                },
                made => Ok(made?),
            }
        }

        /// The kind of a name; none if it does not exist.
        pub(in crate::disk) fn kind(&self, path: &str) -> io::Result<Option<Kind>> {
            match self.parent(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                parent => {
                    let (parent, name) = parent?;
                    kind_in(parent.fd(), name)
                }
            }
        }

        /// The names in a folder; none if it does not exist.
        pub(in crate::disk) fn list(&self, path: &str) -> io::Result<Vec<String>> {
            let folder = match self.open_folder(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                folder => folder?,
            };
            let mut names = Vec::new();
            for entry in Dir::read_from(&folder)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name != "." && name != ".." {
                    names.push(name);
                }
            }
            Ok(names)
        }

        /// Gives a file another name, replacing what had it.
        pub(in crate::disk) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            let (from_parent, from) = self.parent(from)?;
            let (to_parent, to) = self.parent(to)?;
            Ok(rustix::fs::renameat(from_parent.fd(), from, to_parent.fd(), to)?)
        }

        /// Gives each of two names what the other had, both at once.
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        pub(in crate::disk) fn exchange(&self, one: &str, other: &str) -> io::Result<()> {
            let (one_parent, one) = self.parent(one)?;
            let (other_parent, other) = self.parent(other)?;
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            Ok(rustix::fs::renameat_with(
                one_parent.fd(),
                one,
                other_parent.fd(),
                other,
                flags,
            )?)
        }

        #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
        pub(in crate::disk) fn exchange(&self, _one: &str, _other: &str) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Removes a name that is not a folder's; it need not be there.
        pub(in crate::disk) fn remove(&self, path: &str) -> io::Result<()> {
            let removed = self
                .parent(path)
                .and_then(|(parent, name)| Ok(rustix::fs::unlinkat(parent.fd(), name, AtFlags::empty())?));
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            }
        }

        /// Removes a folder without anything in it; it need not be there.
        pub(in crate::disk) fn remove_folder(&self, path: &str) -> io::Result<()> {
            let removed = self
                .parent(path)
                .and_then(|(parent, name)| Ok(rustix::fs::unlinkat(parent.fd(), name, AtFlags::REMOVEDIR)?));
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            }
        }

        /// The file that a name denotes now.
        pub(in crate::disk) fn identity_of(&self, path: &str) -> io::Result<Identity> {
            let metadata = std::fs::symlink_metadata(self.full_path(path))?;
            Ok((metadata.dev(), metadata.ino()))
        }

        /// Bytes that can still be written.
        pub(in crate::disk) fn available_bytes(&self) -> Option<u64> {
            let stat = rustix::fs::fstatvfs(&self.folder).ok()?;
            Some(stat.f_bavail.saturating_mul(stat.f_frsize))
        }

        /// The folder that holds the last name of a path, and that name.
        fn parent<'a, 'p>(&'a self, path: &'p str) -> io::Result<(Parent<'a>, &'p str)> {
            let mut parent = Parent::Root(self.folder.as_fd());
            let mut rest = path;
            while let Some((folder, below)) = rest.split_once('/') {
                parent = Parent::Below(open_folder_in(parent.fd(), folder, path)?);
                rest = below;
            }
            Ok((parent, rest))
        }
    }

    fn open_folder_in(parent: BorrowedFd<'_>, name: &str, path: &str) -> io::Result<File> {
        match rustix::fs::openat(parent, name, OFlags::RDONLY | FOLDER, Mode::empty()) {
            Err(Errno::LOOP | Errno::NOTDIR) => Err(no_link(path)),
            folder => Ok(File::from(folder?)),
        }
    }

    fn kind_in(parent: BorrowedFd<'_>, name: &str) -> io::Result<Option<Kind>> {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            stat => Ok(Some(match FileType::from_raw_mode(stat?.st_mode) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Folder,
                _ => Kind::Other,
            })),
        }
    }

    /// Which file this is.
    pub(in crate::disk) fn identity(file: &File) -> io::Result<Identity> {
        let metadata = file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Whether the process or the system has no more descriptors.
    pub(in crate::disk) fn is_out_of_files(error: &io::Error) -> bool {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE))
    }
}

/// Plain paths, for systems without folders that can be opened. Links are refused where they are seen.
#[cfg(not(unix))]
mod plain {
    use std::fs::{self, OpenOptions};

    use super::{File, Identity, Kind, Path, PathBuf, Tree, io};

    fn no_link(path: &Path) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{}` is a symbolic link or no plain file or folder", path.display()),
        )
    }

    impl Tree {
        pub(in crate::disk) fn open(root: PathBuf, _file_mode: u32) -> io::Result<Self> {
            Ok(Self { root })
        }

        pub(in crate::disk) fn open_file(&self, path: &str) -> io::Result<File> {
            let path = self.root.join(path);
            if !fs::symlink_metadata(&path)?.is_file() {
                return Err(no_link(&path));
            }
            OpenOptions::new().read(true).write(true).open(path)
        }

        pub(in crate::disk) fn create_file(&self, path: &str) -> io::Result<File> {
            let path = self.root.join(path);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if !metadata.is_file() => return Err(no_link(&path)),
                Ok(_) => fs::remove_file(&path)?,
                Err(_) => {}
            }
            OpenOptions::new().read(true).write(true).create_new(true).open(path)
        }

        pub(in crate::disk) fn open_or_create_file(&self, path: &str) -> io::Result<File> {
            match OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(self.root.join(path))
            {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open_file(path),
                file => file,
            }
        }

        pub(in crate::disk) fn folder_to_sync(&self, _path: &str) -> io::Result<Option<File>> {
            Ok(None)
        }

        pub(in crate::disk) fn create_folder(&self, path: &str) -> io::Result<()> {
            match fs::create_dir(self.root.join(path)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            }
        }

        pub(in crate::disk) fn kind(&self, path: &str) -> io::Result<Option<Kind>> {
            match fs::symlink_metadata(self.root.join(path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
                Ok(metadata) if metadata.is_file() => Ok(Some(Kind::File)),
                Ok(metadata) if metadata.is_dir() => Ok(Some(Kind::Folder)),
                Ok(_) => Ok(Some(Kind::Other)),
            }
        }

        pub(in crate::disk) fn list(&self, path: &str) -> io::Result<Vec<String>> {
            match fs::read_dir(self.root.join(path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                entries => entries?
                    .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                    .collect(),
            }
        }

        pub(in crate::disk) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            fs::rename(self.root.join(from), self.root.join(to))
        }

        pub(in crate::disk) fn exchange(&self, _one: &str, _other: &str) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in crate::disk) fn remove(&self, path: &str) -> io::Result<()> {
            match fs::remove_file(self.root.join(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        }

        pub(in crate::disk) fn remove_folder(&self, path: &str) -> io::Result<()> {
            match fs::remove_dir(self.root.join(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        }

        pub(in crate::disk) fn identity_of(&self, _path: &str) -> io::Result<Identity> {
            Ok((0, 0))
        }

        pub(in crate::disk) fn available_bytes(&self) -> Option<u64> {
            None
        }
    }

    pub(in crate::disk) fn identity(_file: &File) -> io::Result<Identity> {
        Ok((0, 0))
    }

    pub(in crate::disk) fn is_out_of_files(_error: &io::Error) -> bool {
        false
    }
}

#[cfg(not(unix))]
pub(super) use plain::{identity, is_out_of_files};
#[cfg(unix)]
pub(super) use unix::{identity, is_out_of_files};
