//! The indexer: one thread in the background that builds graphs and survives any failure.

use std::sync::Arc;
use std::thread::JoinHandle;

use llmspell_core::Result;

use crate::base::error::no_thread;
use crate::indexes::queue::{IndexJob, IndexQueue, Named, Next};

/// What an indexer thread drives.
pub(crate) trait IndexEngine: Send + 'static {
    /// Looks at a namespace and does what it needs.
    fn tend(&mut self, named: &Named);

    /// Makes an index of the metadata of a namespace.
    fn index_metadata(&mut self, named: &Named);

    /// Measures the searches of a namespace for a while.
    fn measure(&mut self, named: &Named);

    /// Does a job that a caller waits for, and answers.
    fn run(&mut self, job: IndexJob);

    /// The queue has stopped: the last chance to save indexes.
    fn stop(&mut self) {}
}

/// A handle to the thread. Dropping it cancels the thread's work, and waits for its end.
#[derive(Debug)]
pub(crate) struct Indexer {
    queue: Arc<IndexQueue>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// `Io` if the system starts none.
    pub(crate) fn start(name: &str, queue: Arc<IndexQueue>, mut engine: impl IndexEngine) -> Result<Self> {
        let thread = std::thread::Builder::new()
            .name(name.to_string())
            .spawn({
                let queue = Arc::clone(&queue);
                move || run(&queue, &mut engine)
            })
            .map_err(no_thread)?;
        Ok(Self {
            queue,
            thread: Some(thread),
        })
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.queue.stop();
        if let Some(thread) = self.thread.take() {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn run<E: IndexEngine>(queue: &IndexQueue, engine: &mut E) {
    // The hook has reported a panic; searches work without an index.
    let mut guarded = |work: &mut dyn FnMut(&mut E)| {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(engine)));
        queue.set_busy_with(None);
    };
    loop {
        match queue.next() {
            Next::Job(job) => {
                let mut job = Some(job);
                guarded(&mut |engine| engine.run(job.take().expect("it runs once")));
                queue.finished();
            }
            Next::Metadata(named) => guarded(&mut |engine| engine.index_metadata(&named)),
            Next::Namespace(named) => guarded(&mut |engine| engine.tend(&named)),
            Next::Measure(named) => guarded(&mut |engine| engine.measure(&named)),
            Next::Stop => {
                guarded(&mut IndexEngine::stop);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::base::ids::SpaceId;
    use crate::indexes::queue::Goal;

    /// Tells the spaces of jobs; space zero panics.
    struct Recorder(mpsc::Sender<u32>);

    impl IndexEngine for Recorder {
        fn tend(&mut self, _: &Named) {}

        fn index_metadata(&mut self, _: &Named) {}

        fn measure(&mut self, _: &Named) {}

        fn run(&mut self, job: IndexJob) {
            assert_ne!(job.space.0, 0, "a test panics on purpose");
            self.0.send(job.space.0).unwrap();
        }

        fn stop(&mut self) {
            self.0.send(u32::MAX).unwrap();
        }
    }

    #[test]
    fn a_panic_does_not_end_the_thread_and_the_engine_is_told_of_the_end_once() {
        let job = |space| IndexJob {
            space: SpaceId(space),
            scopes: Vec::new(),
            goal: Goal::Complete,
            reply: oneshot::channel().0,
        };
        let (sender, seen) = mpsc::channel();
        let queue = Arc::new(IndexQueue::default());
        let indexer = Indexer::start("test", Arc::clone(&queue), Recorder(sender)).unwrap();
        queue.submit(job(0)).unwrap();
        queue.submit(job(1)).unwrap();
        assert_eq!(seen.recv_timeout(Duration::from_secs(20)).unwrap(), 1);
        drop(indexer);
        assert_eq!(seen.iter().collect::<Vec<_>>(), [u32::MAX]);
    }
}
