//! How a future of the engine is waited for: by the calling thread, or by the event loop of asyncio.
//!
//! The engine's futures run on any executor, because what may block runs on threads of the database. So no runtime is
//! needed: a synchronous call polls its future on the calling thread, and an asynchronous one is an awaitable that the
//! event loop polls. Both release the GIL while they poll and wait.
//!
//! The waker of an awaitable is called by threads of the database, which must not wait for the GIL. They only pass it on
//! to one thread of this module, which takes the GIL and tells the event loop.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use llmspell_storage::{Result, StorageError};
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::errors::raised;

/// How often a thread that waits looks whether Ctrl-C was pressed.
const SIGNALS_EVERY: Duration = Duration::from_millis(100);

/// Whether the calls of an object wait, or return an awaitable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Sync,
    Async,
}

/// Runs a call: waits for its value, or returns an awaitable of it.
pub(crate) fn run<'py, T, F, C>(py: Python<'py>, mode: Mode, future: F, convert: C) -> PyResult<Bound<'py, PyAny>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
    C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
{
    match mode {
        Mode::Sync => {
            let value = wait(py, future)?;
            Ok(convert(py, value)?.into_bound(py))
        }
        Mode::Async => Ok(Bound::new(py, Call::new(future, convert))?.into_any()),
    }
}

/// Waits for a future without the GIL.
pub(crate) fn wait<T, F>(py: Python<'_>, future: F) -> PyResult<T>
where
    T: Send,
    F: Future<Output = Result<T>> + Send,
{
    py.detach(|| block_on(future))?.map_err(raised)
}

/// The waker of a thread.
struct Parked {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The value of the future, or the exception of a signal handler. The future is dropped then, so that a write that it
/// stands for happens completely or not at all.
fn block_on<F: Future>(future: F) -> PyResult<F::Output> {
    let mut future = pin!(future);
    let parked = Arc::new(Parked {
        thread: thread::current(),
        is_woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&parked));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Ok(value);
        }
        while !parked.is_woken.swap(false, Ordering::Acquire) {
            thread::park_timeout(SIGNALS_EVERY);
            if !parked.is_woken.load(Ordering::Acquire) {
                Python::attach(|py| py.check_signals())?;
            }
        }
    }
}

/// Polls a call once and converts its value.
type Step = Box<dyn FnMut(Python<'_>, &Waker) -> Poll<PyResult<Py<PyAny>>> + Send>;

/// A call that is under way: await it once.
///
/// If its task is cancelled, a write happens completely or not at all.
#[pyclass(frozen, module = "llmspell_storage")]
pub(crate) struct Call {
    /// None after its value was returned, or after it was cancelled.
    step: Mutex<Option<Step>>,
    waiting: Arc<Waiting>,
}

impl Call {
    pub(crate) fn new<T, F, C>(future: F, convert: C) -> Self
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StorageError>> + Send + 'static,
        C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let mut future: Pin<Box<F>> = Box::pin(future);
        let mut convert = Some(convert);
        let step: Step = Box::new(move |py, waker| {
            let polled = py.detach(|| future.as_mut().poll(&mut Context::from_waker(waker)));
            polled.map(|value| {
                let convert = convert.take().expect("a call is not polled after its end");
                convert(py, value.map_err(raised)?)
            })
        });
        Self {
            step: Mutex::new(Some(step)),
            waiting: Arc::default(),
        }
    }

    /// The future of asyncio that the event loop should wait for, or the value as a `StopIteration`.
    fn resume<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // Taken out, because other threads may run while it is polled.
        let Some(mut step) = lock(&self.step).take() else {
            return Err(PyRuntimeError::new_err(
                "the call was awaited already, or is being awaited elsewhere",
            ));
        };
        let waker = Waker::from(Arc::clone(&self.waiting));
        loop {
            if let Poll::Ready(value) = step(py, &waker) {
                return Err(PyStopIteration::new_err((value?,)));
            }
            if let Some(future) = self.waiting.wait_for_wake(py)? {
                *lock(&self.step) = Some(step);
                return Ok(future);
            }
        }
    }
}

#[pymethods]
impl Call {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.resume(py)
    }

    #[pyo3(signature = (value, /))]
    fn send<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let _ = value; // As a coroutine that awaits a future: what the event loop sends is none.
        self.resume(py)
    }

    /// Cancels the call and raises the exception.
    #[pyo3(signature = (typ, val=None, tb=None, /))]
    fn throw(
        &self,
        py: Python<'_>,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = tb; // The exception has it already.
        self.cancel(py);
        Err(PyErr::from_value(val.unwrap_or(typ)))
    }

    /// Cancels the call.
    fn close(&self, py: Python<'_>) {
        self.cancel(py);
    }
}

impl Call {
    fn cancel(&self, py: Python<'_>) {
        let step = lock(&self.step).take();
        // Dropping may close a database, which waits for its threads.
        py.detach(|| drop(step));
    }
}

/// The waker of an awaitable.
#[derive(Default)]
struct Waiting(Mutex<Wanted>);

#[derive(Default)]
struct Wanted {
    /// Whether it was woken while nobody waited.
    is_woken: bool,
    future: Option<Woken>,
}

/// A future of asyncio that is to be finished, and its event loop.
struct Woken {
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
}

impl Waiting {
    /// A future that is finished by the next wake; none if there was one already.
    fn wait_for_wake<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        static RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let event_loop = RUNNING_LOOP.import(py, "asyncio", "get_running_loop")?.call0()?;
        let future = event_loop.call_method0("create_future")?;
        future.setattr("_asyncio_future_blocking", true)?;
        let mut wanted = lock(&self.0);
        if std::mem::take(&mut wanted.is_woken) {
            return Ok(None);
        }
        wanted.future = Some(Woken {
            event_loop: event_loop.unbind(),
            future: future.clone().unbind(),
        });
        Ok(Some(future))
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let mut wanted = lock(&self.0);
        match wanted.future.take() {
            Some(woken) => tell(woken),
            None => wanted.is_woken = true,
        }
    }
}

/// Passes a wake on to the thread that takes the GIL.
fn tell(woken: Woken) {
    /// The process that started the thread, which a fork does not have, and the way to the thread.
    static TELLER: Mutex<Option<(u32, Sender<Woken>)>> = Mutex::new(None);
    let mut teller = lock(&TELLER);
    let process = std::process::id();
    if teller.as_ref().is_none_or(|(started_by, _)| *started_by != process) {
        let (sender, receiver) = mpsc::channel::<Woken>();
        let tell_all = move || {
            while let Ok(first) = receiver.recv() {
                let told = Python::try_attach(|py| {
                    finish(py, &first);
                    receiver.try_iter().for_each(|next| finish(py, &next));
                });
                if told.is_none() {
                    return; // The interpreter is being shut down.
                }
            }
        };
        let started = thread::Builder::new()
            .name("llmspell-asyncio".to_string())
            .spawn(tell_all);
        started.expect("the system can start a thread");
        *teller = Some((process, sender));
    }
    if let Some((_, sender)) = teller.as_ref() {
        // Refused only after the interpreter has ended.
        let _ = sender.send(woken);
    }
}

/// Lets the event loop finish a future. A loop that was closed meanwhile needs no wake.
fn finish(py: Python<'_>, woken: &Woken) {
    static SET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let scheduled = SET.import(py, "llmspell_storage._asyncio", "finish").and_then(|set| {
        woken
            .event_loop
            .bind(py)
            .call_method1("call_soon_threadsafe", (set, woken.future.bind(py)))
    });
    drop(scheduled);
}

/// A lock that is only held for moves, which cannot panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
