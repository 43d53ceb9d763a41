//! The memory budget: how much RAM loaded namespaces take, and which are unloaded if it is too much.
//!
//! The least recently used namespace is unloaded first. Time is counted in turns: a new one begins whenever a namespace
//! is loaded. So a search of a loaded namespace only reads the turn, and writes it down if the namespace has an older
//! one: processors do not contend for a cache line, and there is no lock.
//!
//! A pass visits all loaded namespaces, so it makes room for many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// A pass frees this share of the budget beyond the excess; if it finds too little, the next one waits until this much
/// more was loaded: one eighth.
const STEP_SHARE: u64 = 8;

/// Bytes of the queries that all namespaces of one database remember together. With the 4 MiB that measuring takes besides
/// (`engine/indexing/tuning.rs`) it is 16 MiB in all.
const QUERIES_BYTES_MAX: u64 = 12 << 20;

/// What the loaded namespaces of one database may take, and do.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    bytes_max: u64,
    bytes: AtomicU64,
    /// A look is worth while when there are more bytes than this.
    look_above: AtomicU64,
    turn: AtomicU64,
    unloaded: AtomicU64,
    looking: Mutex<()>,
    /// What remembered queries take, which are counted among the bytes of their namespaces too.
    pub(crate) queries: Arc<QueryBudget>,
}

/// Bytes of RAM of the queries that all namespaces of one database remember.
#[derive(Debug)]
pub(crate) struct QueryBudget {
    bytes_max: u64,
    bytes: AtomicU64,
}

impl QueryBudget {
    /// Nothing remembered yet.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: AtomicU64::new(0),
        }
    }

    /// Takes this many bytes, if they are available.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let take = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.bytes_max);
        let taken = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }

    /// Returns bytes that were taken.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether less than half is available: then namespaces remember only what they still need.
    pub(crate) fn is_tight(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max / 2
    }
}

/// When a namespace was used last, and how much RAM it takes.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    turn: AtomicU64,
    /// None while it is not loaded.
    bytes: Mutex<Option<u64>>,
}

impl Usage {
    /// The turn in which it was used last.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Bytes that were counted last; 0 while it is not loaded.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.lock().unwrap_or(0)
    }
}

impl MemoryBudget {
    /// Nothing loaded yet.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: AtomicU64::new(0),
            look_above: AtomicU64::new(bytes_max),
            turn: AtomicU64::new(1),
            unloaded: AtomicU64::new(0),
            looking: Mutex::new(()),
            queries: Arc::new(QueryBudget::new(QUERIES_BYTES_MAX)),
        }
    }

    /// Bytes that loaded namespaces may take.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How often one was unloaded.
    pub(crate) fn unloaded(&self) -> u64 {
        self.unloaded.load(Ordering::Relaxed)
    }

    /// A namespace is used now.
    pub(crate) fn touch(&self, usage: &Usage) {
        let turn = self.turn.load(Ordering::Relaxed);
        if usage.turn() != turn {
            usage.turn.store(turn, Ordering::Relaxed);
        }
    }

    /// A namespace was loaded.
    pub(crate) fn enter(&self, usage: &Usage, bytes: u64) {
        let mut counted = usage.bytes.lock();
        debug_assert!(counted.is_none(), "a namespace is loaded once");
        self.replace(counted.replace(bytes), bytes);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        usage.turn.store(turn, Ordering::Relaxed);
    }

    /// A namespace takes so much now. Nothing happens if it is not loaded any more.
    pub(crate) fn weigh(&self, usage: &Usage, bytes: u64) {
        let mut counted = usage.bytes.lock();
        if let Some(before) = counted.as_mut() {
            self.replace(Some(std::mem::replace(before, bytes)), bytes);
        }
    }

    /// A namespace is not loaded any more.
    pub(crate) fn leave(&self, usage: &Usage) {
        let counted = usage.bytes.lock().take();
        self.replace(counted, 0);
    }

    /// The same, to make room.
    pub(crate) fn unload(&self, usage: &Usage) {
        self.leave(usage);
        self.unloaded.fetch_add(1, Ordering::Relaxed);
    }

    fn replace(&self, before: Option<u64>, now: u64) {
        self.bytes.fetch_add(now, Ordering::Relaxed);
        self.bytes.fetch_sub(before.unwrap_or(0), Ordering::Relaxed);
    }

    /// Begins a pass, if it is worthwhile and no other one is under way.
    pub(crate) fn look(&self) -> Option<Look<'_>> {
        if self.bytes() <= self.look_above.load(Ordering::Relaxed) {
            return None;
        }
        let turn = self.looking.try_lock()?;
        let goal = self.bytes_max - self.bytes_max / STEP_SHARE;
        Some(Look {
            excess: self.bytes().saturating_sub(goal),
            budget: self,
            _turn: turn,
        })
    }

    /// Namespaces that could not be unloaded may be unloaded now.
    pub(crate) fn look_again(&self) {
        self.look_above.store(self.bytes_max, Ordering::Relaxed);
    }
}

/// A look for namespaces that may go; ends when it is dropped.
pub(crate) struct Look<'a> {
    /// Bytes that should go.
    pub(crate) excess: u64,
    budget: &'a MemoryBudget,
    _turn: MutexGuard<'a, ()>,
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let MemoryBudget { bytes_max, .. } = *self.budget;
        let step = bytes_max / STEP_SHARE;
        let bytes = self.budget.bytes();
        let look_above = if bytes > bytes_max {
            bytes.saturating_add(step)
        } else {
            bytes_max
        };
        self.budget.look_above.store(look_above, Ordering::Relaxed);
    }
}

/// The last turn such that the namespaces last used by then take `excess` bytes; that of all, if they take less. Each
/// candidate is the turn of its last use, and its bytes.
pub(crate) fn last_turn_to_unload(mut candidates: Vec<(u64, u64)>, excess: u64) -> Option<u64> {
    candidates.sort_unstable();
    let mut bytes = 0_u64;
    let enough = candidates.iter().position(|(_, own)| {
        bytes = bytes.saturating_add(*own);
        bytes >= excess
    });
    let last = enough.or(candidates.len().checked_sub(1))?;
    Some(candidates[last].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first_and_no_more_than_is_needed() {
        let candidates = vec![(7, 10), (3, 10), (9, 10), (5, 10)];
        assert_eq!(last_turn_to_unload(candidates.clone(), 1), Some(3));
        assert_eq!(last_turn_to_unload(candidates.clone(), 11), Some(5));
        assert_eq!(last_turn_to_unload(candidates.clone(), 30), Some(7));
        assert_eq!(last_turn_to_unload(candidates, 1_000), Some(9));
        assert_eq!(last_turn_to_unload(Vec::new(), 1), None);
    }

    #[test]
    fn what_left_is_not_counted_any_more_however_often_it_is_weighed() {
        let budget = MemoryBudget::new(100);
        let (one, two) = (Usage::default(), Usage::default());
        budget.enter(&one, 30);
        budget.enter(&two, 50);
        budget.weigh(&one, 40);
        assert_eq!((budget.bytes(), one.bytes()), (90, 40));
        budget.leave(&one);
        budget.leave(&one);
        budget.weigh(&one, 70);
        assert_eq!((budget.bytes(), budget.unloaded()), (50, 0));
        budget.unload(&two);
        assert_eq!((budget.bytes(), budget.unloaded()), (0, 1));
    }

    #[test]
    fn a_touch_makes_it_younger_than_what_was_loaded_before_but_not_than_what_comes() {
        let budget = MemoryBudget::new(100);
        let (first, second, third) = (Usage::default(), Usage::default(), Usage::default());
        budget.enter(&first, 1);
        budget.enter(&second, 1);
        budget.touch(&first);
        assert_eq!(first.turn(), second.turn());
        budget.enter(&third, 1);
        assert!(first.turn() < third.turn());
        budget.touch(&first);
        assert!(first.turn() > second.turn());
    }

    #[test]
    fn queries_take_no_more_than_there_is_and_what_is_given_back_can_be_taken_again() {
        let budget = QueryBudget::new(10);
        assert!(budget.take(5) && !budget.is_tight());
        assert!(budget.take(5) && budget.is_tight());
        assert!(!budget.take(1) && !budget.take(u64::MAX));
        budget.give_back(5);
        assert!(!budget.is_tight() && budget.take(1));
    }

    #[test]
    fn who_found_too_little_looks_again_only_once_more_has_come_or_something_may_go() {
        let budget = MemoryBudget::new(80);
        let (one, two) = (Usage::default(), Usage::default());
        budget.enter(&one, 80);
        assert!(budget.look().is_none(), "all of it may be used");
        budget.enter(&two, 5);
        let look = budget.look().unwrap();
        assert_eq!(look.excess, 15);
        assert!(budget.look().is_none(), "one is looking");
        drop(look);
        assert!(budget.look().is_none(), "there is nothing new");
        budget.weigh(&two, 16);
        drop(budget.look().unwrap());
        budget.look_again();
        assert!(budget.look().is_some());
    }
}
