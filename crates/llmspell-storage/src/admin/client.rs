//! The client: a database that another process has open, by its socket.

use std::collections::HashMap;
use std::fmt;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use llmspell_core::{
    BackendCharacteristics, BackendType, Durability, EmbeddingModel, Expiry, HNSWConfig, KeyValueEntry, KeyValueWrite,
    Result, StorageBackend, StorageError, Timestamp, WriteSummary, validate_key_value,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::{FrameError, read_frame, write_frame};
use super::protocol::{Bytes, Call, Change, Hello, KeyCall, PROTOCOL, Pair, Reply, Request, Store};
use super::vectors::RemoteVectors;
use super::{ANSWER_BYTES_MAX, REQUEST_BYTES_MAX, socket};
use crate::base::error::io_error;
use crate::base::report::CheckReport;
use crate::engine::workers::{Stop, Workers};
use crate::engine::{BackupOptions, BackupProgress, BackupReceipt, DatabaseStats, SpaceInfo};

const SERVER: &str = "the process that has the database open";

/// How often a call that waits looks whether it is still wanted.
const TICK: Duration = Duration::from_millis(250);
/// A server that works says so each second; one that is silent for this long does not work any more.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A database that another process has open and [serves](crate::Database::serve_admin): its calls travel over a socket.
///
/// Cheap to clone. Each call is a connection of its own. The calls have the names, answers and errors that they have on
/// [`Database`](crate::Database); of an error that has no fields to look into, kind and message arrive, as
/// [`Elsewhere`](StorageError::Elsewhere). A request has at most
/// [`ADMIN_REQUEST_BYTES_MAX`](crate::ADMIN_REQUEST_BYTES_MAX) bytes of JSON, an answer
/// [`ADMIN_ANSWER_BYTES_MAX`](crate::ADMIN_ANSWER_BYTES_MAX).
#[derive(Clone)]
pub struct AdminClient {
    inner: Arc<Inner>,
}

struct Inner {
    socket: PathBuf,
    hello: Hello,
    workers: Workers,
}

impl fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminClient")
            .field("socket", &self.inner.socket)
            .field("server", &self.inner.hello)
            .finish_non_exhaustive()
    }
}

impl AdminClient {
    /// Finds the process that serves the database in `dir`; none if there is none.
    ///
    /// # Errors
    ///
    /// [`UnsupportedVersion`](StorageError::UnsupportedVersion) if it speaks another protocol;
    /// [`ForeignDirectory`](StorageError::ForeignDirectory) if the socket is of another database;
    /// [`ReadOnly`](StorageError::ReadOnly) without permission to connect; [`Timeout`](StorageError::Timeout),
    /// [`ConnectionLost`](StorageError::ConnectionLost), [`Io`](StorageError::Io).
    pub async fn connect(dir: impl AsRef<Path>) -> Result<Option<Self>> {
        let dir = dir.as_ref().to_path_buf();
        let workers = Workers::default();
        let found = workers.run("llmspell-admin-call", move |stop| find(&dir, stop)).await?;
        Ok(found.map(|(socket, hello)| Self {
            inner: Arc::new(Inner { socket, hello, workers }),
        }))
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.inner.socket
    }

    /// The number of the process that has the database open.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.inner.hello.process
    }

    /// Whether it lets clients write.
    #[must_use]
    pub fn allows_writes(&self) -> bool {
        self.inner.hello.writes
    }

    /// All vector spaces, as [`Database::spaces`](crate::Database::spaces).
    ///
    /// # Errors
    ///
    /// As there, and as [`connect`](Self::connect).
    pub async fn spaces(&self) -> Result<Vec<SpaceInfo>> {
        self.call(Call::Spaces).await
    }

    /// Counts and bytes of the whole database, as [`Database::stats`](crate::Database::stats).
    ///
    /// # Errors
    ///
    /// As there, and as [`connect`](Self::connect).
    pub async fn stats(&self) -> Result<DatabaseStats> {
        self.call(Call::Stats).await
    }

    /// Reads everything and reports problems, as [`Database::check`](crate::Database::check).
    ///
    /// # Errors
    ///
    /// As there, and as [`connect`](Self::connect).
    pub async fn check(&self) -> Result<CheckReport> {
        self.call(Call::Check { deep: false }).await
    }

    /// [`check`](Self::check), and more: as [`Database::check_deep`](crate::Database::check_deep).
    ///
    /// # Errors
    ///
    /// As there, and as [`connect`](Self::connect).
    pub async fn check_deep(&self) -> Result<CheckReport> {
        self.call(Call::Check { deep: true }).await
    }

    /// Has the other process write a backup to a directory, as [`Database::backup_with`](crate::Database::backup_with). A
    /// relative path counts from the working directory of this process.
    ///
    /// # Errors
    ///
    /// As there, and as [`connect`](Self::connect).
    pub async fn backup_with(&self, dir: impl AsRef<Path>, options: BackupOptions) -> Result<BackupReceipt> {
        let dir = dir.as_ref();
        let call = Call::Backup {
            dir: std::path::absolute(dir).map_err(|source| io_error("find", dir, source))?,
            with_indexes: options.with_indexes,
            keep_going: options.keep_going,
            bytes_per_second_max: options.bytes_per_second_max,
        };
        self.call_with(call, move |at| {
            if let Some(on_progress) = &options.on_progress {
                on_progress(at);
            }
        })
        .await
    }

    /// The key-value half.
    #[must_use]
    pub fn kv(&self) -> RemoteKeys {
        RemoteKeys { client: self.clone() }
    }

    /// A vector space, if it exists.
    ///
    /// # Errors
    ///
    /// As [`spaces`](Self::spaces).
    pub async fn existing_vectors(&self, name: &str) -> Result<Option<RemoteVectors>> {
        let spaces = self.spaces().await?;
        let space = spaces.into_iter().find(|space| space.name == name);
        Ok(space.map(|space| RemoteVectors::new(self.clone(), Store::Space(space.name))))
    }

    /// A vector space, which is made if it does not exist, as [`Database::vectors`](crate::Database::vectors).
    ///
    /// # Errors
    ///
    /// As there, and [`WritesRefused`](StorageError::WritesRefused); as [`connect`](Self::connect).
    pub async fn vectors(&self, name: &str, dim: usize, config: HNSWConfig) -> Result<RemoteVectors> {
        let call = Call::OpenSpace {
            name: name.to_string(),
            dim,
            config: Box::new(config),
        };
        self.call::<()>(call).await?;
        Ok(RemoteVectors::new(self.clone(), Store::Space(name.to_string())))
    }

    /// The spaces of models together, as [`Database::router`](crate::Database::router).
    #[must_use]
    pub fn router(&self) -> RemoteVectors {
        RemoteVectors::new(self.clone(), Store::Router)
    }

    /// Makes a model known, as [`DimensionRouter::register_model`](crate::DimensionRouter::register_model).
    ///
    /// # Errors
    ///
    /// As there, and as [`vectors`](Self::vectors).
    pub async fn register_model(&self, model: EmbeddingModel) -> Result<()> {
        self.call(Call::RegisterModel { model }).await
    }

    pub(super) async fn call<T: DeserializeOwned + Send + 'static>(&self, call: Call) -> Result<T> {
        self.call_with(call, |_| {}).await
    }

    async fn call_with<T: DeserializeOwned + Send + 'static>(
        &self,
        call: Call,
        on_progress: impl Fn(BackupProgress) + Send + 'static,
    ) -> Result<T> {
        let (name, writes) = call.about();
        if writes && !self.inner.hello.writes {
            return Err(StorageError::WritesRefused {
                socket: self.inner.socket.clone(),
            });
        }
        let socket = self.inner.socket.clone();
        let job = move |stop: &Stop| {
            let request = Request {
                protocol: PROTOCOL,
                call,
            };
            exchange(&socket, name, &request, &on_progress, stop)
        };
        self.inner.workers.run("llmspell-admin-call", job).await
    }
}

/// The socket of a database and the hello of its server; none if none serves.
fn find(dir: &Path, stop: &Stop) -> Result<Option<(PathBuf, Hello)>> {
    let Some(path) = socket::find(dir)? else {
        return Ok(None);
    };
    let Some(stream) = socket::connect(&path)? else {
        return Ok(None);
    };
    let hello = hello(&stream, &path, stop)?;
    match &hello.database {
        Some(database) if socket::is_same_directory(database, dir) => Ok(Some((path, hello))),
        other => Err(StorageError::ForeignDirectory {
            path,
            reason: match other {
                Some(other) => format!("it serves the database in {}", other.display()),
                None => "it serves a database in memory".to_string(),
            },
        }),
    }
}

/// The first frame of a server.
fn hello(stream: &UnixStream, path: &Path, stop: &Stop) -> Result<Hello> {
    let set = stream
        .set_read_timeout(Some(TICK))
        .and_then(|()| stream.set_write_timeout(Some(TICK)));
    set.map_err(|source| io_error("prepare", path, source))?;
    match receive::<()>(stream, "hello", stop)? {
        Reply::Hello(hello) if hello.protocol == PROTOCOL => Ok(hello),
        Reply::Hello(hello) => Err(StorageError::UnsupportedVersion {
            path: path.to_path_buf(),
            found: hello.protocol,
            min: PROTOCOL,
            max: PROTOCOL,
        }),
        Reply::Error(fault) => Err(fault.into()),
        Reply::Working(_) | Reply::Answer(()) => Err(lost("it did not say hello")),
    }
}

/// Sends a call over a connection of its own, and waits for the answer.
fn exchange<T: DeserializeOwned>(
    path: &Path,
    name: &'static str,
    request: &impl Serialize,
    on_progress: &dyn Fn(BackupProgress),
    stop: &Stop,
) -> Result<T> {
    let request = serde_json::to_vec(request)?;
    if request.len() > REQUEST_BYTES_MAX {
        return Err(StorageError::LimitExceeded {
            what: "request of the admin socket",
            name: name.to_string(),
            got: request.len() as u64,
            limit: REQUEST_BYTES_MAX as u64,
            unit: "bytes",
        });
    }
    let stream = socket::connect(path)?.ok_or_else(|| lost("it has ended, or serves no more"))?;
    hello(&stream, path, stop)?;
    let mut silence = Silence::begin(stop);
    let sent = write_frame(&mut &stream, &request, REQUEST_BYTES_MAX, &mut |count| {
        silence.check(count)
    });
    match sent {
        // A server that refuses a request says why, even before it has read all of it.
        Ok(()) | Err(FrameError::Io(_) | FrameError::Cut) => {}
        Err(error) => return Err(failed(error, name)),
    }
    loop {
        match receive(&stream, name, stop)? {
            Reply::Working(working) => on_progress(BackupProgress {
                done_bytes: working.done_bytes,
                total_bytes: working.total_bytes,
            }),
            Reply::Answer(answer) => {
                let _ = stream.shutdown(Shutdown::Both);
                return Ok(answer);
            }
            Reply::Error(fault) => return Err(fault.into()),
            Reply::Hello(_) => return Err(lost("it said hello twice")),
        }
    }
}

fn receive<T: DeserializeOwned>(stream: &UnixStream, name: &'static str, stop: &Stop) -> Result<Reply<T>> {
    let mut silence = Silence::begin(stop);
    let frame = read_frame(&mut &*stream, ANSWER_BYTES_MAX, &mut |count| silence.check(count));
    let frame = frame.map_err(|error| failed(error, name))?;
    serde_json::from_slice(&frame).map_err(|error| lost(format!("its answer cannot be read: {error}")))
}

/// How long the server has been silent.
struct Silence<'a> {
    stop: &'a Stop,
    since: Instant,
}

impl<'a> Silence<'a> {
    fn begin(stop: &'a Stop) -> Self {
        Self {
            stop,
            since: Instant::now(),
        }
    }

    fn check(&mut self, count: usize) -> Result<(), FrameError> {
        if self.stop.check_after(Duration::ZERO).is_err() {
            return Err(FrameError::Stopped);
        }
        if count > 0 {
            self.since = Instant::now();
        }
        match self.since.elapsed() > SILENCE_MAX {
            true => Err(FrameError::TooSlow {
                after_ms: u64::try_from(SILENCE_MAX.as_millis()).unwrap_or(u64::MAX),
            }),
            false => Ok(()),
        }
    }
}

fn failed(error: FrameError, name: &'static str) -> StorageError {
    match error {
        FrameError::TooSlow { after_ms } => StorageError::Timeout {
            what: "an answer of the process that has the database open",
            timeout_ms: after_ms,
        },
        FrameError::Stopped => StorageError::Closed,
        FrameError::Ended | FrameError::Cut => lost(format!("it ended the connection before it had answered `{name}`")),
        other => lost(other.to_string()),
    }
}

fn lost(reason: impl Into<String>) -> StorageError {
    StorageError::ConnectionLost {
        server: SERVER,
        reason: reason.into(),
    }
}

/// The keys of a database that another process has open.
#[derive(Debug, Clone)]
pub struct RemoteKeys {
    client: AdminClient,
}

impl RemoteKeys {
    async fn call<T: DeserializeOwned + Send + 'static>(&self, call: KeyCall) -> Result<T> {
        self.client.call(Call::Keys(call)).await
    }
}

llmspell_core::inherent_key_value!(RemoteKeys);

#[async_trait]
impl StorageBackend for RemoteKeys {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let value: Option<Bytes> = self.call(KeyCall::Get { key: key.to_string() }).await?;
        Ok(value.map(|value| value.0))
    }

    async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>> {
        let pairs: Vec<(String, Bytes)> = self.call(KeyCall::GetBatch { keys: keys.to_vec() }).await?;
        Ok(pairs.into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    async fn write(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
        validate_key_value::batch(&batch)?;
        let batch = batch.into_iter().map(Change::from).collect();
        Ok(WriteSummary {
            deleted: self.call(KeyCall::Write { batch }).await?,
        })
    }

    async fn scan_entries(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<KeyValueEntry>> {
        let call = KeyCall::Scan {
            prefix: prefix.to_string(),
            after: after.map(str::to_string),
            limit,
        };
        let page: Vec<Pair> = self.call(call).await?;
        Ok(page.into_iter().map(KeyValueEntry::from).collect())
    }

    async fn expires_at(&self, key: &str) -> Result<Option<Timestamp>> {
        self.call(KeyCall::ExpiresAt { key: key.to_string() }).await
    }

    async fn swap(&self, key: &str, expected: Option<&[u8]>, new: Option<Vec<u8>>, expiry: Expiry) -> Result<bool> {
        self.call(KeyCall::Swap {
            key: key.to_string(),
            expected: expected.map(|value| Bytes(value.to_vec())),
            new: new.map(Bytes),
            expiry,
        })
        .await
    }

    fn backend_type(&self) -> BackendType {
        BackendType::Redb
    }

    /// Those of a database in a directory: clients find no other.
    fn characteristics(&self) -> BackendCharacteristics {
        BackendCharacteristics::new(Durability::Power, true, true)
    }
}
