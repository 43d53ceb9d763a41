//! The verifier: one thread that verifies, a little at a time, a truth that was too large to be verified when it was
//! opened.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use llmspell_core::Result;

use crate::base::error::no_thread;

/// After each step the thread rests this many times as long as the step took, so it uses a quarter of a processor at most.
const REST: u32 = 3;
const REST_MIN: Duration = Duration::from_millis(1);

/// A handle to the thread. Dropping it stops the thread after its current step.
#[derive(Debug)]
pub(crate) struct Verifier {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    is_wanted: Mutex<bool>,
    wanted: Condvar,
}

impl Verifier {
    /// Starts the thread, which calls `step` until that breaks.
    ///
    /// # Errors
    ///
    /// `Io` if the system starts no thread.
    pub(crate) fn start(name: &str, mut step: impl FnMut() -> ControlFlow<()> + Send + 'static) -> Result<Self> {
        let stop = Arc::<Stop>::default();
        let thread = std::thread::Builder::new().name(name.to_string()).spawn({
            let stop = Arc::clone(&stop);
            move || {
                loop {
                    let begun = Instant::now();
                    if step().is_break() || stop.is_wanted_within(REST_MIN.max(begun.elapsed() * REST)) {
                        break;
                    }
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread.map_err(no_thread)?),
        })
    }
}

impl Stop {
    fn is_wanted_within(&self, time: Duration) -> bool {
        let mut is_wanted = self.is_wanted.lock();
        if !*is_wanted {
            self.wanted.wait_for(&mut is_wanted, time);
        }
        *is_wanted
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        *self.stop.is_wanted.lock() = true;
        self.stop.wanted.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_goes_on_until_a_step_is_the_last() {
        let (sender, seen) = mpsc::channel();
        let mut count = 0;
        let verifier = Verifier::start("test", move || {
            count += 1;
            sender.send(count).unwrap();
            if count == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
        assert_eq!(seen.iter().collect::<Vec<_>>(), [1, 2, 3]);
        drop(verifier);
    }

    #[test]
    fn dropping_it_ends_the_thread_in_the_midst() {
        let (sender, seen) = mpsc::channel();
        let verifier = Verifier::start("test", move || {
            sender.send(()).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
        seen.recv_timeout(Duration::from_secs(20)).unwrap();
        drop(verifier);
        let _ = seen.try_iter().count();
        assert_eq!(
            seen.recv(),
            Err(mpsc::RecvError),
            "the thread has ended, and its sender with it"
        );
    }
}
