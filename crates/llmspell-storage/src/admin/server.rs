//! The server: which threads answer clients, and how they are protected against them.
//!
//! One thread accepts connections; each connection has a thread and carries one call. Nothing that a client sends or omits
//! can harm others: the number of connections, the size of frames, the memory of all frames together and the time in which a
//! frame must arrive or be taken are limited. The server gives up a call once its client has gone.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use llmspell_core::{Result, StorageError};
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};

use super::execute::{Progress, busy, execute};
use super::frame::{FrameError, read_frame, write_frame};
use super::memory::{Buffer, Memory};
use super::protocol::{AnyRequest, Call, Fault, Hello, PROTOCOL, Reply, Request};
use super::socket::Socket;
use super::{ANSWER_BYTES_MAX, AdminOptions, REQUEST_BYTES_MAX};
use crate::base::error::{io_error, no_thread};
use crate::engine::{Database, Inner};

/// Bytes that the requests and answers of all connections may take together.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// Time for each further MiB of a frame.
const TIME_PER_MIB: Duration = Duration::from_secs(1);
/// How often a frame that does not come is looked at again.
const TICK: Duration = Duration::from_millis(250);
/// How often a client that waits is told that its call is being done.
const WORKING_EVERY: Duration = Duration::from_secs(1);
/// Pause after the system has refused a connection or a thread.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// A server of a database. Dropping it ends all connections, waits for the calls under way, and removes the socket.
#[derive(Debug)]
pub(super) struct Server {
    common: Arc<Common>,
    acceptor: Option<JoinHandle<()>>,
    /// Wakes the acceptor when it is dropped.
    wake: Option<UnixStream>,
    // Dropped last: until then a new server finds this one.
    _socket: Socket,
}

/// What the threads of a server share.
#[derive(Debug)]
struct Common {
    /// The database lives as long as the application has handles to it.
    database: Weak<Inner>,
    hello: Hello,
    options: AdminOptions,
    socket: std::path::PathBuf,
    memory: Arc<Memory>,
    is_stopping: AtomicBool,
    connections: Mutex<Connections>,
    /// A connection has ended, or the server is stopping.
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// None until the thread has been started.
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Makes the socket and starts to serve.
    pub(super) fn start(database: Weak<Inner>, dir: Option<&Path>, path: &Path, options: AdminOptions) -> Result<Self> {
        let (socket, listener) = Socket::make(path, dir)?;
        let hello = Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_string(),
            process: std::process::id(),
            database: dir.map(Path::to_path_buf),
            writes: options.writes,
        };
        let common = Arc::new(Common {
            database,
            hello,
            options,
            socket: path.to_path_buf(),
            memory: Memory::new(MEMORY_BYTES_MAX),
            is_stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            freed: Condvar::new(),
        });
        let (wake, woken) = UnixStream::pair().map_err(|source| io_error("make the socket", path, source))?;
        let accept = {
            let common = Arc::clone(&common);
            move || accept(&common, &listener, &woken)
        };
        let acceptor = std::thread::Builder::new()
            .name("llmspell-admin".to_string())
            .spawn(accept);
        Ok(Self {
            common,
            acceptor: Some(acceptor.map_err(no_thread)?),
            wake: Some(wake),
            _socket: socket,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.common.is_stopping.store(true, Ordering::SeqCst);
        drop(self.wake.take());
        self.common.freed.notify_all();
        let this_thread = std::thread::current().id();
        let join = |thread: JoinHandle<()>| {
            if thread.thread().id() != this_thread {
                // A panic was reported when it happened.
                let _ = thread.join();
            }
        };
        self.acceptor.take().into_iter().for_each(join);
        let open = std::mem::take(&mut self.common.connections.lock().open);
        for connection in open.values() {
            // Ends waits for the client.
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        open.into_values()
            .filter_map(|connection| connection.thread)
            .for_each(join);
    }
}

/// Accepts connections until the server stops.
fn accept(common: &Arc<Common>, listener: &UnixListener, woken: &UnixStream) {
    loop {
        {
            let mut connections = common.connections.lock();
            while connections.open.len() >= common.options.connections_max && !common.is_stopping() {
                common.freed.wait(&mut connections);
            }
        }
        let mut ready = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(woken, PollFlags::IN | PollFlags::HUP),
        ];
        let polled = poll(&mut ready, None);
        if common.is_stopping() {
            return;
        }
        let begun = polled
            .map_err(io::Error::from)
            .and_then(|_| listener.accept())
            .and_then(|(stream, _)| begin(common, stream));
        match begun {
            Ok(()) => {}
            // The client has gone meanwhile, or a signal came.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // No descriptor or no thread is left: wait for one.
            Err(_) => drop(common.freed.wait_for(&mut common.connections.lock(), REFUSED_PAUSE)),
        }
    }
}

/// Starts the thread of a connection.
fn begin(common: &Arc<Common>, stream: UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))?;
    let mut connections = common.connections.lock();
    let number = connections.next;
    connections.next += 1;
    let connection = Connection {
        stream: stream.try_clone()?,
        thread: None,
    };
    connections.open.insert(number, connection);
    let serve = {
        let common = Arc::clone(common);
        move || {
            // The call of one client that meets a mistake of ours must not end the service for the others.
            let _ = catch_unwind(AssertUnwindSafe(|| serve(&common, &stream)));
            drop(stream);
            let ended = common.connections.lock().open.remove(&number);
            common.freed.notify_all();
            drop(ended);
        }
    };
    match std::thread::Builder::new()
        .name("llmspell-admin-call".to_string())
        .spawn(serve)
    {
        Ok(thread) => {
            // The lock is held since before the thread began, so it has not ended yet.
            if let Some(connection) = connections.open.get_mut(&number) {
                connection.thread = Some(thread);
            }
            Ok(())
        }
        Err(error) => {
            connections.open.remove(&number);
            Err(error)
        }
    }
}

/// Answers the call of a connection.
fn serve(common: &Common, stream: &UnixStream) {
    let stream = &mut Quiet(stream);
    if common.send_hello(stream).is_err() {
        return;
    }
    let mut answer = Buffer::new(common.memory.hold(), ANSWER_BYTES_MAX);
    let done = match common.receive(stream) {
        Ok(call) => common.answer(call, &mut answer, stream),
        Err(Refusal::Gone) => return,
        Err(Refusal::Because(error)) => Some(Err(error)),
    };
    let sent = match done {
        // The client has gone.
        None => return,
        Some(Ok(())) => common.send(stream, answer.bytes()),
        Some(Err(error)) => {
            drop(answer);
            let fault: Reply<()> = Reply::Error(Fault::from(&error));
            serde_json::to_vec(&fault).map_or(Ok(()), |fault| common.send(stream, &fault))
        }
    };
    // A client that does not take its answer has none.
    drop(sent);
}

/// Why there is no call to be done.
enum Refusal {
    /// Nobody waits for an answer.
    Gone,
    Because(StorageError),
}

impl Common {
    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    fn send_hello(&self, stream: &mut Quiet<'_>) -> Result<(), FrameError> {
        let hello: Reply<()> = Reply::Hello(self.hello.clone());
        let hello = serde_json::to_vec(&hello).map_err(|error| FrameError::Io(error.into()))?;
        self.send(stream, &hello)
    }

    fn send(&self, stream: &mut Quiet<'_>, frame: &[u8]) -> Result<(), FrameError> {
        let mut limit = FrameTime::begin(self.options.frame_time);
        write_frame(stream, frame, ANSWER_BYTES_MAX, &mut |count| {
            limit.check(count, self.is_stopping())
        })
    }

    /// Reads the call of a client.
    fn receive(&self, stream: &mut Quiet<'_>) -> Result<Call, Refusal> {
        let mut limit = FrameTime::begin(self.options.frame_time);
        let mut held = self.memory.hold();
        let frame = read_frame(stream, REQUEST_BYTES_MAX, &mut |count| {
            held.add(count)?;
            limit.check(count, self.is_stopping())
        });
        let frame = frame.map_err(|error| match error {
            FrameError::TooLong { got, limit } => Refusal::Because(StorageError::LimitExceeded {
                what: "request to",
                name: "the admin socket".to_string(),
                got,
                limit: limit as u64,
                unit: "bytes",
            }),
            FrameError::TooSlow { after_ms } => Refusal::Because(StorageError::Timeout {
                what: "the arrival of the request",
                timeout_ms: after_ms,
            }),
            FrameError::Busy => Refusal::Because(busy()),
            FrameError::Stopped => Refusal::Because(StorageError::Closed),
            FrameError::Ended | FrameError::Cut | FrameError::Io(_) => Refusal::Gone,
        })?;
        let unreadable = |error: serde_json::Error| Refusal::Because(error.into());
        let AnyRequest { protocol } = serde_json::from_slice(&frame).map_err(unreadable)?;
        if protocol != PROTOCOL {
            return Err(Refusal::Because(StorageError::UnsupportedVersion {
                path: self.socket.clone(),
                found: protocol,
                min: PROTOCOL,
                max: PROTOCOL,
            }));
        }
        let Request { call, .. } = serde_json::from_slice::<Request<Call>>(&frame).map_err(unreadable)?;
        match call.about() {
            (_, true) if !self.options.writes => Err(Refusal::Because(StorageError::WritesRefused {
                socket: self.socket.clone(),
            })),
            _ => Ok(call),
        }
    }

    /// Does a call, while the client is told that it is being done; none if the client has gone.
    fn answer(&self, call: Call, answer: &mut Buffer, stream: &mut Quiet<'_>) -> Option<Result<()>> {
        let Some(inner) = self.database.upgrade() else {
            return Some(Err(StorageError::Closed));
        };
        let database = Database { inner };
        let progress = Progress::default();
        let call = execute(&database, call, Arc::clone(&progress), answer);
        drive(call, WORKING_EVERY, || {
            let working: Reply<()> = Reply::Working(*progress.lock());
            let sent = serde_json::to_vec(&working).map(|working| self.send(stream, &working));
            matches!(sent, Ok(Ok(())))
        })
    }
}

/// The time that a frame may take.
struct FrameTime {
    begun: Instant,
    least: Duration,
    bytes: u64,
}

impl FrameTime {
    fn begin(least: Duration) -> Self {
        Self {
            begun: Instant::now(),
            least,
            bytes: 0,
        }
    }

    fn check(&mut self, count: usize, is_stopping: bool) -> Result<(), FrameError> {
        self.bytes += count as u64;
        if is_stopping {
            return Err(FrameError::Stopped);
        }
        let mib = u32::try_from(self.bytes >> 20).unwrap_or(u32::MAX);
        let limit = self.least.saturating_add(TIME_PER_MIB.saturating_mul(mib));
        match self.begun.elapsed() > limit {
            true => Err(FrameError::TooSlow {
                after_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            }),
            false => Ok(()),
        }
    }
}

/// A stream; writing to a client that has gone is an error, never a signal.
struct Quiet<'a>(&'a UnixStream);

impl Read for Quiet<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Quiet<'_> {
    #[cfg(target_os = "linux")]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, rustix::net::SendFlags::NOSIGNAL)?)
    }

    // Elsewhere the standard library asks for it when it makes a socket.
    #[cfg(not(target_os = "linux"))]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for a future on this thread, and calls `at_tick` now and then; none if that says that it is not wanted any more.
fn drive<T>(future: impl Future<Output = T>, every: Duration, mut at_tick: impl FnMut() -> bool) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut next_tick = Instant::now() + every;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        loop {
            let left = next_tick.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if !at_tick() {
                    return None;
                }
                next_tick = Instant::now() + every;
                break;
            }
            std::thread::park_timeout(left);
            // Woken by the future, or for no reason: it is polled again.
            if !next_tick.saturating_duration_since(Instant::now()).is_zero() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_is_never_ready_is_given_up_when_it_is_not_wanted_any_more() {
        let mut ticks = 0;
        let done = drive(std::future::pending::<()>(), Duration::from_millis(5), || {
            ticks += 1;
            ticks < 3
        });
        assert_eq!((done, ticks), (None, 3));
        assert_eq!(drive(async { 7 }, Duration::from_secs(60), || false), Some(7));
    }

    #[test]
    fn a_frame_has_more_time_the_longer_it_is() {
        let mut time = FrameTime {
            begun: Instant::now().checked_sub(Duration::from_secs(15)).unwrap(),
            least: Duration::from_secs(10),
            bytes: 0,
        };
        assert!(matches!(
            time.check(0, false),
            Err(FrameError::TooSlow { after_ms: 10_000 })
        ));
        time.check(6 << 20, false).unwrap();
        assert!(matches!(time.check(0, true), Err(FrameError::Stopped)));
    }
}
