//! The socket in the file system: how it is made, found, and removed.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use llmspell_core::{Result, StorageError};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::base::error::io_error;
use crate::engine::open::ADMIN_SOCKET;

/// Longest path of a socket, in bytes: what the system has room for in its address.
pub const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Connections that wait until there is room for them; the system refuses or delays more.
const WAITING_MAX: i32 = 128;

/// The socket of a server. Dropping it removes its names, unless others have taken them.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    /// Device and number of the socket's file.
    own: (u64, u64),
    /// A link in the directory of the database.
    link: Option<PathBuf>,
}

impl Socket {
    /// Makes the socket at `path`, which is absolute. In the directory of the database there is a link to it if it lies
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` if the path is too long; `AlreadyOpen` if a process serves there; `InvalidName` if a file that is no
    /// socket is in the way.
    pub(super) fn make(path: &Path, database: Option<&Path>) -> Result<(Self, UnixListener)> {
        check_len(path)?;
        make_room(path)?;
        let failed = |source| io_error("make the socket", path, source);
        let listener = bind(path).map_err(failed)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let mut socket = Self {
            path: path.to_path_buf(),
            own: (metadata.dev(), metadata.ino()),
            link: None,
        };
        if let Some(database) = database {
            let link = database.join(ADMIN_SOCKET);
            if !is_same(path, &link) {
                make_room(&link)?;
                std::os::unix::fs::symlink(path, &link)
                    .map_err(|source| io_error("link the socket as", &link, source))?;
                socket.link = Some(link);
            }
        }
        Ok((socket, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Tidiness only: a name that stays is replaced by the next server.
        if let Some(link) = &self.link
            && fs::read_link(link).is_ok_and(|target| target == self.path)
        {
            let _ = fs::remove_file(link);
        }
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.own) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The socket of the database in `dir`, if there is one: the target of the link, or the well-known name.
pub(super) fn find(dir: &Path) -> Result<Option<PathBuf>> {
    let known = dir.join(ADMIN_SOCKET);
    match fs::read_link(&known) {
        Ok(target) => Ok(Some(dir.join(target))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // No link, so it is the socket, or no directory.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(Some(known)),
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(None),
        Err(source) => Err(io_error("look for", &known, source)),
    }
}

/// Connects to a socket; none if no process serves there.
pub(super) fn connect(path: &Path) -> Result<Option<UnixStream>> {
    check_len(path)?;
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if is_nobody(&error) => Ok(None),
        Err(source) => Err(io_error("connect to", path, source)),
    }
}

/// The same directory, by whichever names.
pub(super) fn is_same_directory(one: &Path, other: &Path) -> bool {
    let of = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((of(one), of(other)), (Ok(one), Ok(other)) if one == other)
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// The same name in the same directory.
fn is_same(path: &Path, link: &Path) -> bool {
    match (path.parent(), link.parent()) {
        (Some(one), Some(other)) => path.file_name() == link.file_name() && is_same_directory(one, other),
        _ => false,
    }
}

fn check_len(path: &Path) -> Result<()> {
    let got = path.as_os_str().len();
    if got <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    Err(StorageError::LimitExceeded {
        what: "path of the socket",
        name: path.display().to_string(),
        got: got as u64,
        limit: SOCKET_PATH_BYTES_MAX as u64,
        unit: "bytes",
    })
}

/// Removes what a process that has ended left under the name.
fn make_room(path: &Path) -> Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(|source| io_error("look for", path, source))?,
    };
    let kind = metadata.file_type();
    if !kind.is_socket() && !kind.is_symlink() {
        return Err(StorageError::InvalidName {
            what: "path of the socket",
            name: path.display().to_string(),
            reason: "a file that is no socket has this name; it was not touched",
        });
    }
    match UnixStream::connect(path) {
        Err(error) if is_nobody(&error) => {}
        // A server that has no room for a connection serves all the same.
        _ => {
            return Err(StorageError::AlreadyOpen {
                path: path.to_path_buf(),
                holder: "a process serves at this socket".to_string(),
            });
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| io_error("remove", path, source)),
    }
}

/// A socket that only its owner may connect to: it does not listen before its permissions are right.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let listens = fs::set_permissions(path, Permissions::from_mode(0o600))
        .and_then(|()| Ok(rustix::net::listen(&socket, WAITING_MAX)?));
    if let Err(error) = listens {
        let _ = fs::remove_file(path);
        return Err(error);
    }
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}
