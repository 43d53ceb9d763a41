//! The watchdog: waiting for a commit, with a time limit.
//!
//! Answers are kept here and not with the requests: if sled stops answering, the watchdog can still answer all callers,
//! including those whose request has not been processed yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use llmspell_core::{Result, StorageError};

use super::engine::Applied;
use crate::base::error::no_thread;

/// The number of a waiting caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

type Answer = Result<Applied>;

/// All waiting callers, and whether the handle can still write.
pub(super) struct Watch {
    state: Mutex<State>,
    changed: Condvar,
    timeout: Duration,
}

#[derive(Default)]
struct State {
    waiting: HashMap<Ticket, oneshot::Sender<Answer>>,
    tickets: u64,
    commit: Option<Commit>,
    poisoned: Option<String>,
    is_stuck: bool,
    is_closed: bool,
}

/// The commit under way.
struct Commit {
    started: Instant,
    tickets: Vec<Ticket>,
}

impl Watch {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            timeout,
        }
    }

    /// Adds a caller to those that wait.
    ///
    /// # Errors
    ///
    /// [`StorageError::Poisoned`].
    pub(super) fn expect_answer(&self) -> Result<(Ticket, oneshot::Receiver<Answer>)> {
        let mut state = self.state.lock();
        if let Some(first_error) = state.poisoned.clone() {
            return Err(StorageError::Poisoned { first_error });
        }
        let ticket = Ticket(state.tickets);
        state.tickets += 1;
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(ticket, sender);
        Ok((ticket, receiver))
    }

    pub(super) fn forget(&self, ticket: Ticket) {
        self.state.lock().waiting.remove(&ticket);
    }

    /// The clock of a commit starts.
    ///
    /// # Errors
    ///
    /// [`StorageError::Poisoned`].
    pub(super) fn start_commit(&self, tickets: Vec<Ticket>) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(first_error) = state.poisoned.clone() {
            return Err(StorageError::Poisoned { first_error });
        }
        state.commit = Some(Commit {
            started: Instant::now(),
            tickets,
        });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// The clock stops, and everybody in the commit gets an answer.
    pub(super) fn finish_commit(&self, answers: Vec<(Ticket, Answer)>) {
        let mut state = self.state.lock();
        state.commit = None;
        for (ticket, answer) in answers {
            if let Some(sender) = state.waiting.remove(&ticket) {
                // The caller may have dropped its future.
                let _ = sender.send(answer);
            }
        }
    }

    /// No more writes. The first reason is kept.
    pub(super) fn poison(&self, error: &StorageError) {
        self.state.lock().poisoned.get_or_insert_with(|| error.to_string());
    }

    /// Whether there are no more writes.
    pub(super) fn is_poisoned(&self) -> bool {
        self.state.lock().poisoned.is_some()
    }

    /// Whether a commit took too long and has not come back.
    pub(super) fn is_stuck(&self) -> bool {
        let state = self.state.lock();
        state.is_stuck && state.commit.is_some()
    }

    /// Sleeps and looks after the commit under way, until closed.
    fn guard(&self) {
        let mut state = self.state.lock();
        while !state.is_closed {
            let deadline = match &state.commit {
                Some(commit) if !state.is_stuck => commit.started + self.timeout,
                Some(_) | None => {
                    self.changed.wait(&mut state);
                    continue;
                }
            };
            if Instant::now() < deadline {
                self.changed.wait_until(&mut state, deadline);
            } else {
                state.give_up(self.timeout);
            }
        }
    }
}

impl State {
    fn give_up(&mut self, timeout: Duration) {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let late = || StorageError::Timeout {
            what: "a commit of sled",
            timeout_ms,
        };
        self.is_stuck = true;
        let first_error = self.poisoned.get_or_insert_with(|| late().to_string()).clone();
        let in_commit = self.commit.as_ref().map_or(&[][..], |commit| &commit.tickets);
        for (ticket, sender) in self.waiting.drain() {
            let error = if in_commit.contains(&ticket) {
                late()
            } else {
                StorageError::Poisoned {
                    first_error: first_error.clone(),
                }
            };
            let _ = sender.send(Err(error));
        }
    }
}

/// The thread that looks at the clock. Dropping it ends the thread.
pub(super) struct Watchdog {
    watch: Arc<Watch>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(super) fn start(watch: Arc<Watch>) -> Result<Self> {
        let thread = std::thread::Builder::new()
            .name("llmspell-sled-watchdog".to_string())
            .spawn({
                let watch = Arc::clone(&watch);
                move || watch.guard()
            })
            .map_err(no_thread)?;
        Ok(Self {
            watch,
            thread: Some(thread),
        })
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.watch.state.lock().is_closed = true;
        self.watch.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Answer {
        Ok(Applied::default())
    }

    #[test]
    fn a_commit_that_hangs_is_a_timeout_for_its_writers_and_the_end_of_the_handle() {
        let watchdog = Watchdog::start(Arc::new(Watch::new(Duration::from_millis(20)))).unwrap();
        let watch = watchdog.watch();
        let (first, first_answer) = watch.expect_answer().unwrap();
        let (_, queued_answer) = watch.expect_answer().unwrap();
        watch.start_commit(vec![first]).unwrap();

        let error = first_answer.blocking_recv().unwrap().unwrap_err();
        assert!(matches!(error, StorageError::Timeout { timeout_ms: 20, .. }), "{error}");
        let error = queued_answer.blocking_recv().unwrap().unwrap_err();
        assert!(matches!(error, StorageError::Poisoned { .. }), "{error}");
        assert!(matches!(watch.expect_answer(), Err(StorageError::Poisoned { .. })));
        assert!(watch.is_stuck());

        watch.finish_commit(vec![(first, done())]);
        assert!(!watch.is_stuck(), "a thread that came back can be waited for");
        assert!(matches!(
            watch.start_commit(Vec::new()),
            Err(StorageError::Poisoned { .. })
        ));
    }

    #[test]
    fn a_commit_in_time_is_answered_and_the_next_one_has_all_the_time_again() {
        let watchdog = Watchdog::start(Arc::new(Watch::new(Duration::from_millis(200)))).unwrap();
        let watch = watchdog.watch();
        for _ in 0..5 {
            let (ticket, answer) = watch.expect_answer().unwrap();
            watch.start_commit(vec![ticket]).unwrap();
            std::thread::sleep(Duration::from_millis(60));
            watch.finish_commit(vec![(ticket, done())]);
            answer.blocking_recv().unwrap().unwrap();
        }
    }
}
