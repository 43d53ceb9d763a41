//! Holds writers back for a moment.
//!
//! Before a space replaces another, all entries must have been copied. A task that writes without pause would never let
//! that happen, so it waits at this gate while the last entries are copied.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Holds writers back. Waiting may time out, so check again.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_closed: AtomicBool,
    waiters: Mutex<usize>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Closes it until the guard is dropped.
    pub(crate) fn close(&self) -> Closed<'_> {
        self.is_closed.store(true, Ordering::SeqCst);
        Closed(self)
    }

    /// Waits until it is open, and not for longer than `wait_max`.
    pub(crate) fn wait(&self, wait_max: Duration) {
        let mut waiters = self.waiters.lock();
        if self.is_closed() {
            *waiters += 1;
            self.opened.wait_while_for(&mut waiters, |_| self.is_closed(), wait_max);
            *waiters -= 1;
        }
    }
}

/// Opens the gate when it is dropped.
pub(crate) struct Closed<'g>(&'g Gate);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let lock = self.0.waiters.lock();
        self.0.is_closed.store(false, Ordering::SeqCst);
        drop(lock);
        self.0.opened.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn an_open_gate_holds_nobody_back() {
        let start = Instant::now();
        Gate::default().wait(PATIENCE);
        assert!(start.elapsed() < PATIENCE / 2);
    }

    #[test]
    fn a_waiter_goes_on_after_its_time_though_the_gate_is_closed() {
        let gate = Gate::default();
        let _closed = gate.close();
        let start = Instant::now();
        gate.wait(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert!(gate.is_closed());
    }

    #[test]
    fn a_waiter_goes_on_when_the_gate_opens_and_not_before() {
        let gate = Arc::new(Gate::default());
        let closed = gate.close();
        let waiter = {
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || gate.wait(PATIENCE))
        };
        let start = Instant::now();
        while *gate.waiters.lock() == 0 {
            assert!(start.elapsed() < PATIENCE, "the waiter did not wait");
            std::thread::yield_now();
        }
        assert!(!waiter.is_finished());
        drop(closed);
        waiter.join().expect("it does not panic");
        assert!(start.elapsed() < PATIENCE);
        assert!(!gate.is_closed());
    }
}
