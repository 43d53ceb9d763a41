//! A database that is open can be looked at by other processes: over a socket of its owner's process.
//!
//! One process owns a directory. [`Database::serve_admin`] lets others of the same user ask it; [`AdminClient`] is how they
//! do. The command line does so by itself when a directory is open elsewhere.
//!
//! | file          | question                                                            |
//! |---------------|---------------------------------------------------------------------|
//! | `frame.rs`    | in which pieces do bytes travel?                                    |
//! | `protocol.rs` | what may be asked, and how is it answered?                          |
//! | `memory.rs`   | how much memory may the frames of all connections take?             |
//! | `socket.rs`   | how is the socket made, found and removed?                          |
//! | `execute.rs`  | how is a call done by the database?                                 |
//! | `server.rs`   | which threads answer, and how are they protected against clients?   |
//! | `client.rs`   | how does another process ask, for the database and its keys?        |
//! | `vectors.rs`  | … for vectors?                                                      |

mod client;
mod execute;
mod frame;
mod memory;
mod protocol;
mod server;
mod socket;
mod vectors;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use llmspell_core::{Result, StorageError};

pub use client::{AdminClient, RemoteKeys};
pub use socket::SOCKET_PATH_BYTES_MAX;
pub use vectors::RemoteVectors;

use crate::base::error::io_error;
use crate::engine::{Database, open};
use server::Server;

/// Name of the admin socket in the directory of a database, where the command line looks for it: the socket itself, or a
/// link to one elsewhere.
pub const ADMIN_SOCKET: &str = open::ADMIN_SOCKET;

/// Most bytes of a request over the admin socket, as JSON.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;

/// Most bytes of an answer over the admin socket, as JSON.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Connections that are served at a time, unless [`AdminOptions::connections_max`] says otherwise.
pub const DEFAULT_CONNECTIONS_MAX: usize = 32;

/// Time for a request to arrive, or an answer to be taken, unless [`AdminOptions::frame_time`] says otherwise.
pub const DEFAULT_FRAME_TIME: Duration = Duration::from_secs(10);

/// How a database is served to other processes.
#[derive(Debug, Clone)]
pub struct AdminOptions {
    writes: bool,
    connections_max: usize,
    frame_time: Duration,
}

impl Default for AdminOptions {
    fn default() -> Self {
        Self {
            writes: false,
            connections_max: DEFAULT_CONNECTIONS_MAX,
            frame_time: DEFAULT_FRAME_TIME,
        }
    }
}

impl AdminOptions {
    /// The defaults: clients read, and write nothing; [`DEFAULT_CONNECTIONS_MAX`] connections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets clients write: entries, keys, spaces and models.
    #[must_use]
    pub fn allow_writes(mut self) -> Self {
        self.writes = true;
        self
    }

    /// Connections that are served at a time, at least one; others wait. Each has a thread while it lasts.
    #[must_use]
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections.max(1);
        self
    }

    /// Time in which a client must have sent its request, or taken its answer, and a second more for each MiB. A client that
    /// is slower loses its connection. Default: [`DEFAULT_FRAME_TIME`].
    #[must_use]
    pub fn frame_time(mut self, time: Duration) -> Self {
        self.frame_time = time;
        self
    }
}

impl Database {
    /// Serves this database to other processes of the same user for reading, over a Unix socket at `path`.
    ///
    /// A directory is open in one process at a time; meanwhile this is how others look at it. The command line finds the
    /// socket by itself: `dir.join(ADMIN_SOCKET)` in the directory of the database is the usual place, and for a socket
    /// elsewhere there is a link of that name. Only the owner of the process may connect (mode 0600).
    ///
    /// It serves until the database is closed, its last handle is dropped, or [`stop_admin`](Self::stop_admin) is called;
    /// then the socket is removed. A socket that a killed process has left is replaced.
    ///
    /// ```no_run
    /// # async fn example() -> llmspell_storage::Result<()> {
    /// use llmspell_storage::{ADMIN_SOCKET, Database};
    ///
    /// let database = Database::open("agent.db").await?;
    /// database.serve_admin("agent.db/admin.sock").await?;
    /// assert!(std::path::Path::new("agent.db").join(ADMIN_SOCKET).exists());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](StorageError::LimitExceeded) if the path has more than [`SOCKET_PATH_BYTES_MAX`] bytes;
    /// [`AlreadyOpen`](StorageError::AlreadyOpen) if a process serves at this socket, or this database is served already;
    /// [`InvalidName`](StorageError::InvalidName) if a file that is no socket has this name;
    /// [`ReadOnly`](StorageError::ReadOnly), [`Io`](StorageError::Io), [`Closed`](StorageError::Closed).
    pub async fn serve_admin(&self, path: impl AsRef<Path>) -> Result<()> {
        self.serve_admin_with(path, AdminOptions::new()).await
    }

    /// [`serve_admin`](Self::serve_admin), with options.
    ///
    /// # Errors
    ///
    /// As [`serve_admin`](Self::serve_admin).
    pub async fn serve_admin_with(&self, path: impl AsRef<Path>, options: AdminOptions) -> Result<()> {
        let path = path.as_ref();
        let path = std::path::absolute(path).map_err(|source| io_error("find", path, source))?;
        let served = |path: PathBuf| StorageError::AlreadyOpen {
            path,
            holder: "this database is served already, in this process".to_string(),
        };
        if self.inner.attached.is_some() {
            return Err(served(path));
        }
        let (inner, dir) = (Arc::downgrade(&self.inner), self.path());
        let at = path.clone();
        let server = self
            .inner
            .run(move || Server::start(inner, dir.as_deref(), &at, options))
            .await?;
        self.inner.attached.set(Box::new(server)).map_err(|_| served(path))
    }

    /// Ends the service of [`serve_admin`](Self::serve_admin) after the calls under way, and removes the socket. Returns
    /// whether there was one.
    pub async fn stop_admin(&self) -> bool {
        let Some(server) = self.inner.attached.take() else {
            return false;
        };
        // Waits for calls, which is not for the thread of an executor.
        let dropped = self
            .inner
            .run(move || {
                drop(server);
                Ok(())
            })
            .await;
        // A closed database has ended it.
        drop(dropped);
        true
    }
}
