//! The queue of the indexer: namespaces that wait for it, and callers that wait for them.
//!
//! Code that changes a namespace notes it here and continues. Work that can wait does: a few new points are cheaper to
//! link together than one by one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use llmspell_core::{Result as CoreResult, StateScope};
use tokio::sync::oneshot;

use crate::base::ids::SpaceId;

/// New points are linked when none was added for this long.
const QUIET: Duration = Duration::from_millis(200);

/// A namespace, by its name.
pub(crate) type Named = (SpaceId, StateScope);

/// When the indexer looks at a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    /// When it was not noted again for a while.
    WhenQuiet,
}

/// A job that a caller waits for.
#[derive(Debug)]
pub(crate) struct IndexJob {
    pub(crate) space: SpaceId,
    pub(crate) scopes: Vec<StateScope>,
    pub(crate) goal: Goal,
    pub(crate) reply: oneshot::Sender<CoreResult<()>>,
}

/// The goal of a job for an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// No tail.
    Complete,
    /// Rebuilt.
    Rebuilt,
}

/// The queue of one database.
#[derive(Debug)]
pub(crate) struct IndexQueue {
    state: Mutex<State>,
    arrived: Condvar,
    /// Number of jobs that are queued or under way.
    urgent: AtomicUsize,
    is_stopping: AtomicBool,
    is_metadata_wanted: AtomicBool,
    saves_when_stopped: AtomicBool,
}

#[derive(Debug)]
struct State {
    noted: HashMap<Named, Instant>,
    jobs: VecDeque<IndexJob>,
    /// Namespaces whose metadata index a filter needs.
    wanted: VecDeque<Named>,
    /// Namespaces whose searches must be measured, each once.
    unmeasured: VecDeque<Named>,
    are_unmeasured: HashSet<Named>,
    /// When the next measurement begins.
    measure_at: Instant,
    busy_with: Option<SpaceId>,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    Job(IndexJob),
    /// A metadata index is needed.
    Metadata(Named),
    Namespace(Named),
    /// The searches of a namespace are measured for a while.
    Measure(Named),
    Stop,
}

impl Default for IndexQueue {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                noted: HashMap::new(),
                jobs: VecDeque::new(),
                wanted: VecDeque::new(),
                unmeasured: VecDeque::new(),
                are_unmeasured: HashSet::new(),
                measure_at: Instant::now(),
                busy_with: None,
            }),
            arrived: Condvar::new(),
            urgent: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
            is_metadata_wanted: AtomicBool::new(false),
            saves_when_stopped: AtomicBool::new(false),
        }
    }
}

impl IndexQueue {
    /// Notes that a namespace has work for the indexer.
    pub(crate) fn note(&self, space: SpaceId, scope: &StateScope, due: Due) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let key = (space, scope.clone());
        match due {
            Due::Now => {
                state.noted.insert(key, now);
            }
            Due::WhenQuiet => {
                let at = state.noted.entry(key).or_insert(now + QUIET);
                if *at > now {
                    *at = now + QUIET;
                }
            }
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// The indexer looks at a namespace after a delay; earlier notes wait until then too.
    pub(crate) fn note_after(&self, named: Named, delay: Duration) {
        let at = Instant::now() + delay;
        self.state.lock().noted.insert(named, at);
        self.arrived.notify_one();
    }

    /// A filter needs the metadata index of a namespace. It comes before all other work, even during graph builds: it
    /// takes less time than they do, and filters read all metadata until then.
    pub(crate) fn want_metadata(&self, named: Named) {
        let mut state = self.state.lock();
        if self.is_stopping() || state.wanted.contains(&named) {
            return;
        }
        state.wanted.push_back(named);
        self.is_metadata_wanted.store(true, Ordering::Release);
        drop(state);
        self.arrived.notify_one();
    }

    /// The next namespace whose metadata index a filter [needs](Self::want_metadata).
    pub(crate) fn take_wanted_metadata(&self) -> Option<Named> {
        if !self.is_metadata_wanted.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.state.lock();
        let named = state.wanted.pop_front();
        self.is_metadata_wanted
            .store(!state.wanted.is_empty(), Ordering::Release);
        named
    }

    /// The searches of a namespace are to be measured, when there is no other work. This does not count as
    /// [busy](Self::is_busy_with).
    pub(crate) fn want_measuring(&self, named: Named) {
        let mut state = self.state.lock();
        if self.is_stopping() || !state.are_unmeasured.insert(named.clone()) {
            return;
        }
        state.unmeasured.push_back(named);
        drop(state);
        self.arrived.notify_one();
    }

    /// Pauses measuring; an unfinished namespace is the next one.
    pub(crate) fn rest_from_measuring(&self, rest: Duration, unfinished: Option<Named>) {
        let mut state = self.state.lock();
        state.measure_at = Instant::now() + rest;
        if let Some(named) = unfinished
            && state.are_unmeasured.insert(named.clone())
        {
            state.unmeasured.push_front(named);
        }
    }

    /// Queues a job that a caller waits for. Returns the job if the queue has been stopped.
    pub(crate) fn submit(&self, job: IndexJob) -> Result<(), IndexJob> {
        let mut state = self.state.lock();
        if self.is_stopping() {
            return Err(job);
        }
        self.urgent.fetch_add(1, Ordering::SeqCst);
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// A job from [`next`](Self::next) is done.
    pub(crate) fn finished(&self) {
        self.urgent.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether a caller waits.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::SeqCst) > 0
    }

    /// Ends all work soon. Drops queued jobs.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        self.is_stopping.store(true, Ordering::SeqCst);
        let jobs = std::mem::take(&mut state.jobs);
        state.noted.clear();
        state.wanted.clear();
        state.unmeasured.clear();
        state.are_unmeasured.clear();
        drop(state);
        drop(jobs);
        self.arrived.notify_all();
    }

    /// Allows writing unsaved indexes to files before the end.
    pub(crate) fn save_when_stopped(&self) {
        self.saves_when_stopped.store(true, Ordering::SeqCst);
    }

    /// Whether unsaved indexes are written before the end.
    pub(crate) fn saves_when_stopped(&self) -> bool {
        self.saves_when_stopped.load(Ordering::SeqCst)
    }

    /// Whether all work is to end soon.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Whether an index of a space is being worked on, or waits for it.
    pub(crate) fn is_busy_with(&self, space: SpaceId) -> bool {
        let state = self.state.lock();
        state.busy_with == Some(space) || state.noted.keys().any(|(of, _)| *of == space)
    }

    /// Sets the space that is being worked on.
    pub(crate) fn set_busy_with(&self, space: Option<SpaceId>) {
        self.state.lock().busy_with = space;
    }

    /// Waits for something to do. Jobs come first.
    pub(crate) fn next(&self) -> Next {
        let mut state = self.state.lock();
        loop {
            if self.is_stopping() {
                return Next::Stop;
            }
            if let Some(named) = state.wanted.pop_front() {
                self.is_metadata_wanted
                    .store(!state.wanted.is_empty(), Ordering::Release);
                state.busy_with = Some(named.0);
                return Next::Metadata(named);
            }
            if let Some(job) = state.jobs.pop_front() {
                return Next::Job(job);
            }
            let now = Instant::now();
            let first = state.noted.iter().min_by_key(|(_, at)| **at);
            let first = first.map(|(named, at)| (named.clone(), *at));
            if let Some((named, _)) = first.as_ref().filter(|(_, at)| *at <= now) {
                state.noted.remove(named);
                state.busy_with = Some(named.0);
                return Next::Namespace(named.clone());
            }
            let measure_at = (!state.unmeasured.is_empty()).then_some(state.measure_at);
            if measure_at.is_some_and(|at| at <= now)
                && let Some(named) = state.unmeasured.pop_front()
            {
                state.are_unmeasured.remove(&named);
                return Next::Measure(named);
            }
            match first.map(|(_, at)| at).into_iter().chain(measure_at).min() {
                None => self.arrived.wait(&mut state),
                Some(at) => {
                    self.arrived.wait_until(&mut state, at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(name: &str) -> StateScope {
        StateScope::User(name.to_string())
    }

    fn job(space: u32) -> IndexJob {
        IndexJob {
            space: SpaceId(space),
            scopes: Vec::new(),
            goal: Goal::Complete,
            reply: oneshot::channel().0,
        }
    }

    #[test]
    fn metadata_comes_before_jobs_jobs_before_namespaces_and_stopping_before_all() {
        let queue = IndexQueue::default();
        queue.note(SpaceId(1), &scope("a"), Due::Now);
        queue.submit(job(7)).unwrap();
        assert!(queue.is_urgent());
        assert!(queue.take_wanted_metadata().is_none());
        for name in ["b", "c", "b"] {
            queue.want_metadata((SpaceId(2), scope(name)));
        }
        assert_eq!(queue.take_wanted_metadata(), Some((SpaceId(2), scope("b"))));
        assert!(matches!(queue.next(), Next::Metadata((SpaceId(2), of)) if of == scope("c")));
        assert!(queue.take_wanted_metadata().is_none(), "each once");
        assert!(matches!(queue.next(), Next::Job(job) if job.space == SpaceId(7)));
        queue.finished();
        assert!(!queue.is_urgent());
        assert!(matches!(queue.next(), Next::Namespace((SpaceId(1), _))));
        queue.note(SpaceId(1), &scope("a"), Due::Now);
        queue.stop();
        assert!(matches!(queue.next(), Next::Stop));
        assert!(queue.submit(job(8)).is_err());
    }

    #[test]
    fn measuring_comes_after_everything_else_rests_and_goes_on_with_what_is_unfinished() {
        let queue = IndexQueue::default();
        let named = |name| (SpaceId(1), scope(name));
        for name in ["a", "b", "a"] {
            queue.want_measuring(named(name));
        }
        queue.note(SpaceId(1), &scope("c"), Due::Now);
        assert!(matches!(queue.next(), Next::Namespace(of) if of == named("c")));
        queue.set_busy_with(None);
        assert!(!queue.is_busy_with(SpaceId(1)), "nobody waits for it");
        assert!(matches!(queue.next(), Next::Measure(of) if of == named("a")));
        let rest = Duration::from_millis(150);
        let begun = Instant::now();
        queue.rest_from_measuring(rest, Some(named("a")));
        queue.submit(job(7)).unwrap();
        assert!(matches!(queue.next(), Next::Job(_)));
        assert!(matches!(queue.next(), Next::Measure(of) if of == named("a")));
        assert!(begun.elapsed() >= rest);
        queue.rest_from_measuring(Duration::ZERO, None);
        assert!(
            matches!(queue.next(), Next::Measure(of) if of == named("b")),
            "each once"
        );
    }

    #[test]
    fn what_may_wait_waits_until_it_is_quiet_and_what_is_due_is_not_put_off() {
        let queue = IndexQueue::default();
        let begun = Instant::now();
        queue.note(SpaceId(1), &scope("a"), Due::WhenQuiet);
        assert!(matches!(queue.next(), Next::Namespace(_)));
        assert!(begun.elapsed() >= QUIET);

        let begun = Instant::now();
        queue.note(SpaceId(1), &scope("a"), Due::Now);
        queue.note(SpaceId(1), &scope("a"), Due::WhenQuiet);
        assert!(matches!(queue.next(), Next::Namespace(_)));
        assert!(begun.elapsed() < QUIET);
    }
}
