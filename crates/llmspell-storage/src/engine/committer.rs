//! The committer: one thread that makes writes durable, in order, and shares one sync among waiting requests.
//!
//! Requests that arrive while a commit is under way share the next one (group commit). So a lone writer never waits for
//! others, and sixty-four writers pay one sync. A request carries the channel for its answer; if its caller goes away,
//! the request is still done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use llmspell_core::StorageError;

use crate::base::error::no_thread;
use crate::base::observe;

/// Most requests of one commit.
const BATCH_REQUESTS_MAX: usize = 1024;
/// No request joins a batch that already has this many bytes.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// How long a commit may wait for the writers of the last one: a share of that commit's time, and a maximum.
const WINDOW_SHARE: u32 = 4;
const WINDOW_MAX: Duration = Duration::from_millis(1);
/// The time of a step of a large batch while other requests wait, and while none does: then fewer and larger steps are
/// cheaper. The commit takes about as long again.
const SLICE: Duration = Duration::from_millis(4);
const SLICE_MAX: Duration = Duration::from_millis(16);

/// What a committer thread drives.
pub(crate) trait CommitEngine: Send + 'static {
    /// One write, with the channel for its answer.
    type Request: Send + 'static;

    /// Approximate bytes of a request.
    fn request_bytes(request: &Self::Request) -> usize;

    /// Makes the requests durable, in order, and answers each of them.
    fn commit(&mut self, requests: Vec<Self::Request>);

    /// Whether work that takes several steps is under way.
    fn is_under_way(&self) -> bool {
        false
    }

    /// Does a step of it, about until `is_over` returns true.
    fn advance(&mut self, is_over: &dyn Fn() -> bool) {
        let _ = is_over;
    }

    /// How long housekeeping may wait; none if there is nothing to do.
    fn tidy_after(&mut self) -> Option<Duration> {
        None
    }

    /// The share of housekeeping beside writers that never pause, relative to commits.
    fn tidy_share(&self) -> f64 {
        0.0
    }

    /// Does a little housekeeping (milliseconds).
    fn tidy(&mut self) {}
}

/// A handle to the thread. Dropping it lets the thread finish what is queued, and waits for that.
pub(crate) struct Committer<E: CommitEngine> {
    queue: Arc<Queue<E::Request>>,
    thread: Option<JoinHandle<()>>,
}

/// Another way to the thread, which does not keep it alive.
pub(crate) struct Submitter<R>(Arc<Queue<R>>);

impl<R> Submitter<R> {
    /// Queues a request.
    ///
    /// # Errors
    ///
    /// [`StorageError::Closed`] once the committer was closed.
    pub(crate) fn submit(&self, request: R) -> Result<(), StorageError> {
        self.0.submit(request)
    }
}

struct Queue<R> {
    state: Mutex<QueueState<R>>,
    arrived: Condvar,
}

struct QueueState<R> {
    requests: VecDeque<R>,
    /// The number of requests at which the thread wakes.
    wake_at: usize,
    is_closed: bool,
}

impl<R> Queue<R> {
    fn new() -> Self {
        Self {
            state: Mutex::new(QueueState {
                requests: VecDeque::new(),
                wake_at: 1,
                is_closed: false,
            }),
            arrived: Condvar::new(),
        }
    }

    fn submit(&self, request: R) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(StorageError::Closed);
        }
        state.requests.push_back(request);
        let wakes = state.requests.len() >= state.wake_at;
        drop(state);
        if wakes {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits until there are `count` requests, no more can come, or the deadline has passed.
    fn wait_for_requests(&self, state: &mut MutexGuard<'_, QueueState<R>>, count: usize, deadline: Instant) {
        state.wake_at = count;
        while state.requests.len() < count && !state.is_closed {
            if self.arrived.wait_until(state, deadline).timed_out() {
                break;
            }
        }
        state.wake_at = 1;
    }
}

impl<E: CommitEngine> Committer<E> {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// `Io` if the system starts none.
    pub(crate) fn start(name: &str, mut engine: E) -> Result<Self, StorageError> {
        let queue = Arc::new(Queue::new());
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

    /// Queues a request.
    ///
    /// # Errors
    ///
    /// [`StorageError::Closed`] after [`close`](Self::close).
    pub(crate) fn submit(&self, request: E::Request) -> Result<(), StorageError> {
        self.queue.submit(request)
    }

    /// Another way to queue requests.
    pub(crate) fn submitter(&self) -> Submitter<E::Request> {
        Submitter(Arc::clone(&self.queue))
    }

    /// Refuses new requests, and finishes the queued ones in the background.
    pub(crate) fn close(&self) {
        self.queue.state.lock().is_closed = true;
        self.queue.arrived.notify_one();
    }
}

impl<E: CommitEngine> Drop for Committer<E> {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened; its callers got `Closed`.
            let _ = thread.join();
        }
    }
}

impl<E: CommitEngine> std::fmt::Debug for Committer<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committer").finish_non_exhaustive()
    }
}

fn run<E: CommitEngine>(queue: &Queue<E::Request>, engine: &mut E) {
    /// However the thread ends, no caller may wait for it in vain.
    struct CloseOnExit<'a, R>(&'a Queue<R>);
    impl<R> Drop for CloseOnExit<'_, R> {
        fn drop(&mut self) {
            let mut state = self.0.state.lock();
            state.is_closed = true;
            let orphans = std::mem::take(&mut state.requests);
            drop(state);
            drop(orphans);
        }
    }
    let _guard = CloseOnExit(queue);
    let mut allowance = Allowance::default();
    let mut window = GroupCommitWindow {
        writers: 1,
        commit: Duration::ZERO,
    };

    loop {
        let is_under_way = engine.is_under_way();
        let tidy_after = engine.tidy_after();
        let mut state = queue.state.lock();
        if state.requests.is_empty() && is_under_way {
            drop(state);
            let taken = advance(queue, engine);
            allowance.earn(taken, engine.tidy_share());
            tidy(engine, &mut allowance);
            continue;
        }
        if state.requests.is_empty() && !state.is_closed {
            let is_due = match tidy_after {
                None => {
                    queue.arrived.wait(&mut state);
                    false
                }
                // After a failure the engine may give the same delay each time it is asked.
                Some(delay) => delay.is_zero() || queue.arrived.wait_for(&mut state, delay).timed_out(),
            };
            drop(state);
            if is_due {
                engine.tidy();
            }
            continue;
        }
        if state.requests.is_empty() {
            return;
        }
        window.wait_for_writers(queue, &mut state);
        let batch = next_batch::<E>(&mut state.requests);
        let waiting = state.requests.len();
        drop(state);
        let begun = Instant::now();
        let count = batch.len();
        let bytes = observe::if_on(|| batch.iter().map(E::request_bytes).sum());
        engine.commit(batch);
        observe::committed(count, bytes, begun.elapsed());
        window = GroupCommitWindow {
            writers: count + waiting,
            commit: begun.elapsed(),
        };
        let mut taken = window.commit;
        if engine.is_under_way() {
            // Small requests that never pause must not block a large one.
            taken += advance(queue, engine);
        }
        // Writers that never pause must not block the purge.
        allowance.earn(taken, engine.tidy_share());
        tidy(engine, &mut allowance);
    }
}

/// Does a step of the work under way. Returns how long it took.
fn advance<E: CommitEngine>(queue: &Queue<E::Request>, engine: &mut E) -> Duration {
    let begun = Instant::now();
    engine.advance(&|| {
        let taken = begun.elapsed();
        taken >= SLICE_MAX || (taken >= SLICE && !queue.state.lock().requests.is_empty())
    });
    begun.elapsed()
}

fn tidy<E: CommitEngine>(engine: &mut E, allowance: &mut Allowance) {
    while allowance.is_left() && engine.tidy_after() == Some(Duration::ZERO) {
        let begun = Instant::now();
        engine.tidy();
        allowance.spend(begun.elapsed());
    }
}

/// How long housekeeping may still take before the next commit. A step that takes longer is compensated later.
#[derive(Debug, Default)]
struct Allowance {
    seconds: f64,
}

impl Allowance {
    /// Adds the share of a commit. Unused time is not saved up.
    fn earn(&mut self, commit: Duration, share: f64) {
        self.seconds = self.seconds.min(0.0) + commit.as_secs_f64() * share;
    }

    fn spend(&mut self, time: Duration) {
        self.seconds -= time.as_secs_f64();
    }

    fn is_left(&self) -> bool {
        self.seconds > 0.0
    }
}

/// The number of writers by the last commit, and how long that commit took.
///
/// Writers that were just answered are about to write again. Beginning at once would leave them to the next commit, so
/// that two halves take turns and each pays a sync of its own; a short wait brings them together. A lone writer is
/// never kept waiting.
struct GroupCommitWindow {
    writers: usize,
    commit: Duration,
}

impl GroupCommitWindow {
    /// How many requests the next commit waits for, and how long at most; none: it begins at once.
    fn wanted(&self) -> Option<(usize, Duration)> {
        let longest = (self.commit / WINDOW_SHARE).min(WINDOW_MAX);
        (self.writers > 1).then_some((self.writers.min(BATCH_REQUESTS_MAX), longest))
    }

    fn wait_for_writers<R>(&self, queue: &Queue<R>, state: &mut MutexGuard<'_, QueueState<R>>) {
        if let Some((requests, longest)) = self.wanted() {
            queue.wait_for_requests(state, requests, Instant::now() + longest);
        }
    }
}

fn next_batch<E: CommitEngine>(requests: &mut VecDeque<E::Request>) -> Vec<E::Request> {
    let mut bytes = 0;
    let count = requests
        .iter()
        .take(BATCH_REQUESTS_MAX)
        .take_while(|request| {
            let has_room = bytes < BATCH_BYTES_MAX;
            bytes += E::request_bytes(request);
            has_room
        })
        .count();
    requests.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Records the batches it is given; a request is a number of bytes.
    struct Recorder {
        batches: mpsc::Sender<Vec<usize>>,
        gate: mpsc::Receiver<()>,
    }

    impl CommitEngine for Recorder {
        type Request = usize;

        fn request_bytes(request: &usize) -> usize {
            *request
        }

        fn commit(&mut self, requests: Vec<usize>) {
            self.batches.send(requests).unwrap();
            self.gate.recv().unwrap();
        }
    }

    fn recorder() -> (Committer<Recorder>, mpsc::Receiver<Vec<usize>>, mpsc::Sender<()>) {
        let (batches, seen) = mpsc::channel();
        let (open, gate) = mpsc::channel();
        (
            Committer::start("test", Recorder { batches, gate }).unwrap(),
            seen,
            open,
        )
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn requests_that_arrive_during_a_commit_share_the_next_one() {
        let (committer, seen, open) = recorder();
        committer.submit(1).unwrap();
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), [1]);
        for request in [2, 3, 4] {
            committer.submit(request).unwrap();
        }
        open.send(()).unwrap();
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), [2, 3, 4]);
        open.send(()).unwrap();
    }

    #[test]
    fn writers_that_were_answered_together_are_waited_for_a_quarter_of_a_commit_but_never_for_long() {
        let us = Duration::from_micros;
        let table = [
            // (writers, time of the last commit in µs), (requests to wait for, longest wait in µs)
            ((0, 4_000), None),
            ((1, 4_000), None),
            ((2, 0), Some((2, 0))),
            ((2, 400), Some((2, 100))),
            ((64, 4_000), Some((64, 1_000))),
            ((64, 9_000_000), Some((64, 1_000))),
            ((5_000, 400), Some((BATCH_REQUESTS_MAX, 100))),
        ];
        for ((writers, commit), wanted) in table {
            let window = GroupCommitWindow {
                writers,
                commit: us(commit),
            };
            let wanted = wanted.map(|(requests, longest)| (requests, us(longest)));
            assert_eq!(window.wanted(), wanted, "{writers} writers, {commit} µs");
        }
    }

    #[test]
    fn a_commit_begins_when_its_writers_are_there_when_its_window_is_over_and_when_no_more_can_come() {
        let hour = Duration::from_secs(3600);
        let begins = |requests: usize, is_closed: bool, window: Duration| {
            let queue: Arc<Queue<usize>> = Arc::new(Queue::new());
            let (begun, seen) = mpsc::channel();
            let waiting = {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || {
                    let mut state = queue.state.lock();
                    queue.wait_for_requests(&mut state, 2, Instant::now() + window);
                    begun.send((state.requests.len(), state.wake_at)).unwrap();
                })
            };
            for request in 0..requests {
                queue.submit(request).unwrap();
            }
            if is_closed {
                queue.state.lock().is_closed = true;
                queue.arrived.notify_one();
            }
            let begun = seen.recv_timeout(PATIENCE).unwrap();
            waiting.join().unwrap();
            begun
        };
        assert_eq!(begins(2, false, hour), (2, 1), "both are there");
        assert_eq!(begins(0, false, Duration::ZERO), (0, 1), "the window is over");
        assert_eq!(begins(0, true, hour), (0, 1), "no more can come");
    }

    /// Housekeeping that never ends, beside a writer that never pauses: each step and each commit takes a while.
    struct Tidier {
        share: f64,
        steps: mpsc::Sender<bool>,
    }

    impl CommitEngine for Tidier {
        type Request = usize;

        fn request_bytes(_: &usize) -> usize {
            1
        }

        fn commit(&mut self, _: Vec<usize>) {
            let _ = self.steps.send(true);
            std::thread::sleep(Duration::from_millis(2));
        }

        fn tidy_after(&mut self) -> Option<Duration> {
            Some(Duration::ZERO)
        }

        fn tidy_share(&self) -> f64 {
            self.share
        }

        fn tidy(&mut self) {
            let _ = self.steps.send(false);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn housekeeping_gets_its_share_beside_writers_that_never_pause() {
        for (share, (least, most)) in [(0.25, (3, 30)), (2.0, (60, 300))] {
            let (steps, seen) = mpsc::channel();
            let committer = Committer::start("test", Tidier { share, steps }).unwrap();
            // More requests than go into one batch wait at any time.
            (0..51 * BATCH_REQUESTS_MAX).for_each(|_| committer.submit(1).unwrap());
            let (mut commits, mut tidied) = (0, 0);
            while commits < 50 {
                match seen.recv_timeout(PATIENCE).unwrap() {
                    true => commits += 1,
                    // Steps before the first commit are those of a thread that had nothing else to do.
                    false => tidied += u32::from(commits > 0),
                }
            }
            assert!(
                (least..=most).contains(&tidied),
                "{tidied} steps beside {commits} commits, share {share}"
            );
        }
    }

    /// Housekeeping that waits as long each time, as after a failure.
    struct Waiter(mpsc::Sender<()>);

    impl CommitEngine for Waiter {
        type Request = usize;

        fn request_bytes(_: &usize) -> usize {
            1
        }

        fn commit(&mut self, _: Vec<usize>) {}

        fn tidy_after(&mut self) -> Option<Duration> {
            Some(Duration::from_millis(5))
        }

        fn tidy(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn housekeeping_that_waits_has_its_turn_when_its_delay_is_over() {
        let (steps, seen) = mpsc::channel();
        let _committer = Committer::start("test", Waiter(steps)).unwrap();
        for _ in 0..3 {
            seen.recv_timeout(PATIENCE).unwrap();
        }
    }

    #[test]
    fn a_full_batch_leaves_the_rest_for_the_next_one() {
        let mut requests: VecDeque<usize> = [BATCH_BYTES_MAX - 1, 7, 8, 9].into();
        assert_eq!(next_batch::<Recorder>(&mut requests), [BATCH_BYTES_MAX - 1, 7]);
        assert_eq!(next_batch::<Recorder>(&mut requests), [8, 9]);
    }

    #[test]
    fn what_is_queued_is_done_before_a_closed_committer_ends_and_nothing_after() {
        let (committer, seen, open) = recorder();
        committer.submit(1).unwrap();
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), [1]);
        committer.submit(2).unwrap();
        committer.close();
        assert!(matches!(committer.submit(3), Err(StorageError::Closed)));
        open.send(()).unwrap();
        open.send(()).unwrap();
        drop(committer);
        assert_eq!(seen.recv().unwrap(), [2]);
        assert!(seen.recv().is_err());
    }
}
