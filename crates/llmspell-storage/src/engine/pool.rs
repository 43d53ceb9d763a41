//! The pool: a few threads for work that would block an async executor.
//!
//! They are started when there is work for them, at most one for each processor (and at least two, so that one slow
//! disk read does not block everything), and live as long as the pool. They need no async runtime: any executor can
//! drive the futures.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use llmspell_core::{Result, StorageError};

use crate::base::error::no_thread;

type Job = Box<dyn FnOnce() + Send>;

/// A handle to the threads. Dropping it lets them finish what is queued, and waits for that.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads_max: usize,
}

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: Vec<JoinHandle<()>>,
    idle_threads: usize,
    is_closed: bool,
}

impl Pool {
    /// A pool without threads yet.
    pub(crate) fn new() -> Self {
        let threads_max = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                arrived: Condvar::new(),
            }),
            threads_max,
        }
    }

    /// Runs `job` on one of the threads.
    ///
    /// # Errors
    ///
    /// What the job returns; [`StorageError::Closed`] if it panicked; `Io` if there is no thread to run it and the system
    /// starts none.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.push(Box::new(move || {
            // The caller may have dropped its future.
            let _ = sender.send(job());
        }))?;
        receiver.await.unwrap_or(Err(StorageError::Closed))
    }

    fn push(&self, job: Job) -> Result<()> {
        let mut state = self.shared.state.lock();
        state.jobs.push_back(job);
        if state.idle_threads < state.jobs.len() && state.threads.len() < self.threads_max {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name(format!("llmspell-pool-{}", state.threads.len()))
                .spawn(move || run(&shared));
            match thread {
                Ok(thread) => state.threads.push(thread),
                // The existing threads will do it.
                Err(_) if !state.threads.is_empty() => {}
                Err(source) => {
                    state.jobs.pop_back();
                    return Err(no_thread(source));
                }
            }
        }
        drop(state);
        self.shared.arrived.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let threads = {
            let mut state = self.shared.state.lock();
            state.is_closed = true;
            std::mem::take(&mut state.threads)
        };
        self.shared.arrived.notify_all();
        let this_thread = std::thread::current().id();
        for thread in threads {
            // The last owner of a pool may be a job that runs in it.
            if thread.thread().id() != this_thread {
                let _ = thread.join();
            }
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("threads_max", &self.threads_max)
            .finish_non_exhaustive()
    }
}

fn run(shared: &Shared) {
    let mut state = shared.state.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            // A panic of a job was reported by the hook and must not end the thread.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            state = shared.state.lock();
        } else if state.is_closed {
            return;
        } else {
            state.idle_threads += 1;
            shared.arrived.wait(&mut state);
            state.idle_threads -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_is_an_error_and_the_pool_goes_on() {
        let pool = Pool::new();
        for _ in 0..2 * pool.threads_max {
            let result: Result<()> = pool.run(|| panic!("a test panics on purpose")).await;
            assert!(matches!(result, Err(StorageError::Closed)));
        }
        assert_eq!(pool.run(|| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn jobs_run_side_by_side() {
        let pool = Arc::new(Pool::new());
        let barrier = Arc::new(std::sync::Barrier::new(2));
        let meet = |barrier: Arc<std::sync::Barrier>| move || Ok(barrier.wait().is_leader());
        let (a, b) = tokio::join!(
            pool.run(meet(Arc::clone(&barrier))),
            pool.run(meet(Arc::clone(&barrier)))
        );
        assert_ne!(a.unwrap(), b.unwrap());
    }
}
