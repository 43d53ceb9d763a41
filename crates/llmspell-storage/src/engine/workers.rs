//! Workers: a thread of its own for each job that takes long, so that the pool stays free for calls that do not.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use llmspell_core::{Result, StorageError};

use crate::base::error::no_thread;

/// The threads. Dropping them stops each after its current step, and waits for that.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    threads: Mutex<Vec<Worker>>,
}

#[derive(Debug)]
struct Worker {
    thread: JoinHandle<()>,
    stop: Stop,
}

/// Whether a job should end early.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    fn want(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    /// Checks that the job may go on, after a pause of at most `pause`.
    ///
    /// # Errors
    ///
    /// `Closed` if it is to end.
    pub(crate) fn check_after(&self, pause: Duration) -> Result<()> {
        let mut is_wanted = self.0.0.lock();
        if !*is_wanted && !pause.is_zero() {
            self.0.1.wait_for(&mut is_wanted, pause);
        }
        match *is_wanted {
            true => Err(StorageError::Closed),
            false => Ok(()),
        }
    }
}

/// Stops a job whose caller has gone.
struct Caller(Stop);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.want();
    }
}

impl Workers {
    /// Runs a job on a thread of its own. If the future is dropped, the job is to stop.
    ///
    /// # Errors
    ///
    /// What the job returns; `Closed` if it panicked; `Io` if the system starts no thread.
    pub(crate) async fn run<T, F>(&self, name: &str, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Stop) -> Result<T> + Send + 'static,
    {
        let stop = Stop::default();
        let (sender, receiver) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_string()).spawn({
            let stop = stop.clone();
            move || {
                let _ = sender.send(job(&stop));
            }
        });
        let worker = Worker {
            thread: thread.map_err(no_thread)?,
            stop: stop.clone(),
        };
        let caller = Caller(stop);
        {
            let mut threads = self.threads.lock();
            threads.retain(|worker| !worker.thread.is_finished());
            threads.push(worker);
        }
        let done = receiver.await.unwrap_or(Err(StorageError::Closed));
        drop(caller);
        done
    }

    /// Stops all jobs.
    pub(crate) fn stop(&self) {
        self.threads.lock().iter().for_each(|worker| worker.stop.want());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
        let this_thread = std::thread::current().id();
        for worker in self.threads.get_mut().drain(..) {
            if worker.thread.thread().id() != this_thread {
                // A panic was reported when it happened.
                let _ = worker.thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_whose_caller_is_gone_stops_and_dropping_the_workers_waits_for_it() {
        let workers = Workers::default();
        assert_eq!(workers.run("test", |_| Ok(7)).await.unwrap(), 7);
        let (sender, ended) = std::sync::mpsc::channel();
        let job = move |stop: &Stop| {
            let done = stop.check_after(Duration::from_secs(60));
            sender.send(()).unwrap();
            done
        };
        let call = tokio::time::timeout(Duration::from_millis(50), workers.run("test", job));
        assert!(call.await.is_err());
        drop(workers);
        ended.try_recv().expect("it has ended");
    }
}
