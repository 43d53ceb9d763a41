//! How are writes held up for a moment?
//!
//! Before a space takes the place of another, all entries must have been copied. Who writes without pause would never let
//! that be so; it waits at this gate while the last of them are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Open, or closed for a while. Nobody who waits is sure that it is open then.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_closed: AtomicBool,
    lock: Mutex<()>,
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
        let mut lock = self.lock.lock();
        if self.is_closed() {
            self.opened.wait_while_for(&mut lock, |()| self.is_closed(), wait_max);
        }
    }
}

/// Opens the gate when it is dropped.
pub(crate) struct Closed<'g>(&'g Gate);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let lock = self.0.lock.lock();
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

    #[test]
    fn who_waits_goes_on_when_it_opens_or_after_long() {
        let gate = Arc::new(Gate::default());
        gate.wait(Duration::from_secs(60));
        let closed = gate.close();
        let start = Instant::now();
        gate.wait(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20));
        let waiter = {
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || gate.wait(Duration::from_secs(60)))
        };
        std::thread::sleep(Duration::from_millis(5));
        drop(closed);
        waiter.join().expect("it does not panic");
        assert!(start.elapsed() < Duration::from_secs(30));
        assert!(!gate.is_closed());
    }
}
